"""What a W&B server that is slow to answer costs a run: the same training offline and online.

`python -m tests.benchmarks.tracking` prints one table: a run of three epochs, in turns, where each
answer of the server takes `DELAY_S`.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.table import lines, medians
from tests.support.wandb_server import serve_wandb

VAE = Path(sys.executable).with_name("vae")
TRAIN = ["train", "--experiment", "tiny", "--set", "search.trials=0", "--workers", "1"]
DELAY_S = 1.0
KEY = "0123456789" * 4
REPEATS = 2


def train(folder: Path, tracked: dict[str, str]) -> None:
    """A training of three epochs with a store of its own."""
    inherited = {name: value for name, value in os.environ.items() if "WANDB" not in name}
    with tempfile.TemporaryDirectory(dir=folder) as store:
        places = {"WANDB_DIR": store, "PREFECT_HOME": str(folder / "prefect")}
        subprocess.run(
            [VAE, *TRAIN, "--store", store],
            cwd=folder,
            env=inherited | places | tracked,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def main() -> None:
    """Print the seconds of each, and their ratio."""
    with tempfile.TemporaryDirectory(prefix="vae-bench-") as name, serve_wandb() as server:
        server.delay_s = DELAY_S
        online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        contenders = {
            "offline": partial(train, Path(name), {"WANDB_MODE": "offline"}),
            f"online, {DELAY_S:.0f} s for each answer": partial(train, Path(name), online),
        }
        taken = medians(contenders, repeats=REPEATS)
        assert len(server.runs) == REPEATS + 1, "every online run reaches the server"
    rows: list[list[object]] = [
        [contender, seconds, seconds / taken["offline"]] for contender, seconds in taken.items()
    ]
    print(lines([f"`vae {' '.join(TRAIN)}`", "s", "of offline"], rows))


if __name__ == "__main__":
    main()
