"""Where each second between `vae train` and its first step goes."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.table import lines
from vae.runs.run import open_run
from vae.store.open import open_store

VAE = Path(sys.executable).with_name("vae")
TRAIN = ["train", "--experiment", "tiny", "--set", "search.trials=0", "--workers", "2"]
MODULES = ("flows.cli", "torch", "ray.train.torch", "prefect", "wandb", "flows.pipeline")


def import_s(module: str) -> float:
    """Seconds that a fresh process takes to import a module, the interpreter's start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def milestones(folder: Path) -> list[tuple[str, float]]:
    """What one `vae train` reached, and when: seconds since it was started."""
    began, reached = time.time(), []
    command = [str(VAE), *TRAIN, "--store", str(folder), "--run-id", "bench"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[:1] in (["run"], ["data"], ["search"]):
                reached.append((f"`{line.split()[0]}` is printed", time.time() - began))
    run = open_run(open_store(str(folder)), "bench", None)
    trained = run.read_result("train")
    assert trained is not None
    reached.append(("the first step begins", trained["history"][0]["began"] - began))
    reached.append(("the last epoch has ended", trained["history"][-1]["ended"] - began))
    return [*reached, ("the command ends", time.time() - began)]


def main() -> None:
    """Print both tables; the second `vae train` finds Prefect's database made and files cached."""
    rows: list[list[object]] = [[f"import {name}", import_s(name)] for name in MODULES]
    print(lines(["fresh process", "s"], rows))
    for title in ("first", "second"):
        with tempfile.TemporaryDirectory(prefix="vae-bench-") as folder:
            rows = [[what, seconds] for what, seconds in milestones(Path(folder))]
        print("\n" + lines([f"`vae {' '.join(TRAIN)}`, {title}", "s since its start"], rows))


if __name__ == "__main__":
    main()
