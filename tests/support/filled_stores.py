"""A store in a folder with runs, versions and datasets of any age, written by what writes them."""

import os
from pathlib import Path

import numpy as np

from tests.support.versions import publish_version, write_version
from vae.data.contact_sheet import write_sheet
from vae.data.datasets import DatasetRef, prepare
from vae.experiments.loading import load_experiment
from vae.experiments.settings import DataConfig
from vae.registry.promote import promote
from vae.runs.run import Run, open_run
from vae.store.local import LocalStore

DAY_S = 24 * 3600.0
STAGES = ("data", "search", "train", "evaluate", "publish")
NAME = "tiny"


class FilledStore:
    """The store, and what fills it; files that are used on the way are beside it."""

    def __init__(self, directory: Path, now_s: float) -> None:
        self.directory, self.now_s = directory, now_s
        self.store = LocalStore(directory / "store")

    def add_dataset(self, name: str = "set") -> DatasetRef:
        """A dataset of noise with its contact sheet, and a file as its classifier."""
        file = self.directory / f"{name}.npy"
        seed = sum(name.encode())
        np.save(file, np.random.default_rng(seed).integers(0, 256, (20, 4, 4), dtype=np.uint8))
        ref = prepare(DataConfig(name=str(file), validation=2), self.store)
        write_sheet(ref, self.store)
        self.store.put(f"{ref.key}/classifier-1.safetensors", b"classifier")
        return ref

    def add_run(self, run_id: str, until: str, ref: DatasetRef | None = None) -> Run:
        """A run whose stages are done up to one, or to none of them for ''."""
        run = open_run(self.store, run_id, load_experiment(NAME))
        done = STAGES[: STAGES.index(until) + 1] if until else ()
        for stage in done:
            if stage == "data":
                run.record(stage, {"dataset": ref.to_json() if ref else ""})
            elif stage == "publish":
                uri = f"{self.store.uri}/models/{NAME}/versions/{run.version}"
                run.record(stage, {"version": run.version, "uri": uri, "best": False})
            else:
                run.record(stage, {"stage": stage})
        if "search" in done:
            self.store.put(f"{run.prefix}/search/trial-0001.json", b"a trial")
            folder = f"{run.prefix}/search/candidate-{'0' * 12}"
            self.store.put(f"{folder}/epoch-00001-{'0' * 64}.pt", bytes(10))
        if "train" in done:
            self.store.put(f"{run.prefix}/checkpoints/epoch-00001-{'0' * 64}.pt", bytes(1000))
        return run

    def add_version(
        self, version: str, nll: float = 1.0, name: str = NAME, dataset: str = "d" * 64
    ) -> str:
        """A published version, the best if it is better; its prefix."""
        folder = write_version(self.directory / f"{name}-{version}", nll)
        publish_version(self.store, version, folder, name, dataset)
        promote(self.store, name, version, nll)
        return f"models/{name}/versions/{version}"

    def age(self, prefix: str, days: float) -> None:
        """Make all that is below a prefix, or at it, so old."""
        at_s = self.now_s - days * DAY_S
        path = self.store.root / prefix
        for one in [path, *path.rglob("*")]:
            os.utime(one, (at_s, at_s))
