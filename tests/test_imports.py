"""What a module brings along: the core can be used without any of the services around it."""

import subprocess
import sys

import pytest

CORE = ["densities", "models", "objectives", "batches", "train", "graphed", "bound", "evaluate"]
CORE += ["figures", "probe", "frechet", "features"]
SERVICES = ["ray", "prefect", "wandb", "s3fs", "optuna"]


@pytest.mark.slow
def test_the_core_stands_alone() -> None:
    """Importing every module of the core loads torch and none of the services."""
    program = (
        f"import sys, {', '.join(f'vae.{module}' for module in CORE)}\n"
        f"loaded = [name for name in {SERVICES} if name in sys.modules]\n"
        "sys.exit(f'loads {loaded}' if loaded or 'torch' not in sys.modules else 0)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_loaded_to_read_an_error() -> None:
    """The package itself, its errors and its timing need nothing that is installed."""
    program = (
        "import sys, vae.errors, vae.timing\n"
        f"loaded = [name for name in {[*SERVICES, 'torch', 'numpy']} if name in sys.modules]\n"
        "sys.exit(f'loads {loaded}' if loaded else 0)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
