"""On a cluster, where each second between a trigger and the training's first step goes."""

import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from tests.benchmarks.table import lines
from tests.support.operator import Operator, operate
from tests.support.prefect_server import start_prefect_server
from vae.runs.run import open_run


def time_run(operator: Operator) -> list[tuple[str, float]]:
    """What one triggered run reached, and when: seconds since its trigger."""
    began = time.time()
    flow_run = operator.trigger()
    started = operator.wait_for(flow_run, "Completed")["start_time"]
    trained = open_run(operator.store, f"tiny-{flow_run}", None).read_result("train")
    assert trained is not None
    return [
        ("the flow begins", datetime.fromisoformat(started).timestamp() - began),
        ("the first step begins", trained["history"][0]["began"] - began),
    ]


def main() -> None:
    """Print a table for each of two runs; head, driver and workers share this machine."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vae-bench-")))
        server = start_prefect_server()
        stack.callback(server.stop)
        operator = stack.enter_context(operate("trigger", server, folder))
        operator.join_a_new_cluster()
        operator.work()
        for title in ("first", "second"):
            rows: list[list[object]] = [[what, seconds] for what, seconds in time_run(operator)]
            print("\n" + lines([f"`pipeline` on a cluster, {title}", "s since its trigger"], rows))


if __name__ == "__main__":
    main()
