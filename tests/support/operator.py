"""A deployment of the pipeline, and what whoever runs it does: serve, trigger, wait, roll out.

On a real Prefect server, with a real worker and a real Ray cluster.
"""

import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from tests.support.prefect_api import DEADLINE_S, Api, wait_until
from tests.support.prefect_server import PrefectServer, find_free_port
from tests.support.repository import INFRA
from vae.store.open import open_store
from vae.training.checkpoints import list_checkpoints, read_latest

SCRIPTS = Path(sysconfig.get_path("scripts"))
EPOCHS = 40  # enough to be met in the middle, and longer than a worker waits for a run to be saved
SETTINGS = {"search.trials": 0, "train.epochs": EPOCHS, "train.batch_size": 10}


class Operator:
    """One deployment, `pipeline/NAME`, and what is done to it."""

    def __init__(self, name: str, server: PrefectServer, folder: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RAY_"))}
        inherited["PATH"] = f"{SCRIPTS}{os.pathsep}{inherited['PATH']}"
        offline = {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "CUDA_VISIBLE_DEVICES": ""}
        impatient = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        self.env = inherited | offline | impatient | server.env
        self.name, self.folder, self.api = name, folder, Api(server.url)
        self.store = open_store(str(folder / "store"))
        self.log = folder / "log"
        self.started: list[subprocess.Popen[bytes]] = []
        write_deployment(folder, name, self.store.uri)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a program, whose output is added to the log."""
        with self.log.open("ab") as log:
            started = subprocess.Popen(words, env=self.env, cwd=self.folder, stdout=log, stderr=log)
        self.started.append(started)
        return started

    def serve(self) -> "subprocess.Popen[bytes]":
        """`vae serve`, once it is about to look for runs."""
        count = self.output.count("serving pipeline/")
        served = self.start("vae", "serve")
        wait_until(lambda: self.output.count("serving pipeline/") > count, self.explain)
        return served

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def explain(self) -> str:
        """Everything that the programs have said."""
        return self.output

    def join_a_new_cluster(self) -> None:
        """Start a Ray cluster of one node, which the worker joins as another, and deploy to it."""
        port, health = find_free_port(), find_free_port()
        self.env |= {
            "RAY_ADDRESS": f"127.0.0.1:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "a-token-of-32-characters-or-more",
            "PREFECT_DEFAULT_WORK_POOL_NAME": self.name,
            "PREFECT_WORKER_WEBSERVER_PORT": str(health),
        }
        address = ("--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false")
        self.start("ray", "start", "--head", *address, "--num-cpus=1", "--block")
        pool = ("prefect", "--no-prompt", "work-pool", "create", self.name, "--type", "process")
        for command in (pool, ("prefect", "--no-prompt", "deploy", "--all")):
            assert self.start(*command).wait(DEADLINE_S) == 0, self.output

    def work(self) -> "subprocess.Popen[bytes]":
        """The worker of infra/worker.sh."""
        return self.start("bash", str(INFRA / "worker.sh"))

    def check_same(self, one: str, other: str) -> None:
        """The runs that two flow runs began have the same last weights, bit for bit."""
        torch.testing.assert_close(self.read_weights(one), self.read_weights(other), rtol=0, atol=0)

    def trigger(self) -> str:
        """Trigger the deployment by hand; the id of the flow run."""
        deployment = self.api.find_deployment(f"pipeline/{self.name}")["id"]
        run = self.api.post(
            f"/deployments/{deployment}/create_flow_run", state={"type": "SCHEDULED"}
        )
        return str(run["id"])

    def read(self, flow_run: str) -> Any:
        """A flow run as the server knows it."""
        return self.api.send("GET", f"/flow_runs/{flow_run}")

    def wait_for(self, flow_run: str, name: str) -> Any:
        """The flow run once its state has that name; at an end of another name it fails."""
        ends = {"Completed", "Failed", "Crashed", "Cancelled"} - {name}

        def ask() -> Any:
            run = self.read(flow_run)
            assert run["state_name"] not in ends, f"{run['state']}\n{self.explain()}"
            return run if run["state_name"] == name else None

        return wait_until(ask, self.explain)

    def wait_for_epochs(self, flow_run: str, count: int = 1) -> None:
        """Until the run that the flow run began is that many epochs into its training."""

        def trained() -> bool:
            kept = list_checkpoints(self.store, f"runs/tiny-{flow_run}/checkpoints")
            return bool(kept) and kept[0].epoch >= count

        wait_until(trained, self.explain)
        assert not self.store.exists(f"runs/tiny-{flow_run}/train.json")

    def read_weights(self, flow_run: str) -> dict[str, Tensor]:
        """The last weights of the run that a flow run began."""
        content = read_latest(self.store, f"runs/tiny-{flow_run}/checkpoints")
        assert content is not None and content["epoch"] == EPOCHS
        weights: dict[str, Tensor] = content["model"]
        return weights


def write_deployment(folder: Path, name: str, store: str) -> None:
    """A prefect.yaml of the shape of the shipped one, for `vae serve` and `prefect deploy`."""
    parameters = {
        "experiment": "tiny",
        "overrides": SETTINGS,
        "store": store,
        "workers": "1",
        "until": "train",
    }
    deployment = {
        "name": name,
        "entrypoint": "flows.pipeline.pipeline",
        "parameters": parameters,
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
        "work_pool": {
            "name": name,
            "job_variables": {"env": {"PREFECT_LOGGING_EXTRA_LOGGERS": "vae"}},
        },
    }
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    content = {"name": "test", "pull": [step], "deployments": [deployment]}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))


@contextmanager
def operate(name: str, server: PrefectServer, folder: Path) -> Iterator[Operator]:
    """A deployment on the server; whatever was started for it has ended afterwards."""
    operator = Operator(name, server, folder)
    try:
        yield operator
    finally:
        kill([pid for pid in list_processes() if str(folder) in read_environment(pid)])
        for process in operator.started:
            process.wait()
        operator.api.close()


def list_processes() -> list[int]:
    """All processes of the machine: what a killed one has started is nobody's child any more."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*")]


def read_environment(pid: int) -> str:
    """A process's environment; nothing if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""


def kill(pids: list[int]) -> None:
    """SIGKILL them all, as a power cut does."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
