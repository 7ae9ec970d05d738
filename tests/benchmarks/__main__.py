"""Every benchmark, one after the other; each can be run alone as a module."""

from tests.benchmarks import (
    data,
    ddp,
    folder,
    likelihood,
    pipeline,
    search,
    sharing,
    startup,
    tracking,
    training,
    trigger,
)

if __name__ == "__main__":
    for benchmark in (
        *(training, likelihood, data, folder, ddp, startup, trigger),
        *(search, sharing, tracking, pipeline),
    ):
        print(f"\n## {benchmark.__name__.rpartition('.')[2]}\n", flush=True)
        benchmark.main()
