"""What a module brings along: what computes can be used without any of the services around it."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from vae.experiments.settings import ModelConfig
from vae.models.networks import build_model
from vae.models.saved_model import save_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
CORE = [
    "vae.models",
    "vae.evaluation.measures",
    "vae.training.step",
    "vae.training.batches",
    "vae.training.cuda_graph",
    "vae.training.cpu",
    "vae.data.binarization",
    "vae.publishing.pictures",
]
SERVICES = ["ray", "prefect", "wandb", "s3fs", "optuna", "pydantic"]
LIGHT = ["flows.cli", "vae.errors", "vae.files", "vae.experiments.settings", "vae.runs.timing"]


def run_python(program: str, *options: str, **environment: str) -> str:
    """What a program prints in a process of its own, in which every warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", program],
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def list_loaded(modules: list[str], names: list[str]) -> str:
    """Those of the names that importing the modules loads."""
    program = f"import sys, {', '.join(modules)}\n"
    return run_python(program + f"print(*(n for n in {names} if n in sys.modules))")


def test_the_core_stands_alone() -> None:
    """Importing all that computes loads torch and none of the services."""
    assert list_loaded(CORE, [*SERVICES, "torch"]) == "torch"


def test_nothing_is_loaded_to_answer_at_once() -> None:
    """The command line, errors, settings and stages need nothing of weight."""
    assert list_loaded(LIGHT, [*SERVICES, "torch", "numpy"]) == ""


def test_a_notebook_keeps_its_environment() -> None:
    """Loading a model sets no variable; importing the cluster sets Ray's, but none that is set."""
    program = "import os; before = dict(os.environ)\n"
    changed = "print(sorted(os.environ.items() - before.items()))"
    assert run_python(f"{program}import vae.models\n{changed}") == "[]"
    found = run_python(f"{program}import vae.cluster\n{changed}", RAY_AUTH_MODE="disabled")
    assert "RAY_USAGE_STATS_ENABLED" in found
    assert "RAY_AUTH_MODE" not in found


def test_the_search_alone_sets_rays_environment_first() -> None:
    """Whatever is imported first, Ray reads the variables after they are set."""
    program = "import os, tuning.search; from ray._private import ray_constants as c\n"
    assert run_python(f"{program}print(os.environ['RAY_ENABLE_AUTO_CONNECT'])") == "0"


def test_ray_may_be_imported_first() -> None:
    """A user's own process that has Ray already gets its session all the same."""
    program = (
        "import ray\n"
        "from vae.cluster.session import Workers, join_cluster\n"
        "with join_cluster(Workers(1, 1)) as cluster:\n"
        "    print('cpus', cluster.result().cpus)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert "cpus" in done.stdout, done.stderr


def find_requirements(names: list[str]) -> set[str]:
    """The installed distributions that these need, and those that they do; also themselves."""
    found: set[str] = set()
    while names:
        name = names.pop().lower()
        if name in found or not list(metadata.distributions(name=name)):
            continue
        found.add(name)
        needed = [text for text in metadata.requires(name) or [] if "extra ==" not in text]
        names += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    return found


def link_distributions(names: set[str], folder: Path) -> None:
    """Make a folder of packages that has these distributions and nothing else."""
    for name in names:
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


@pytest.mark.parametrize("module", ["vae.models", "vae.checkpoint"])
def test_a_model_loads_with_torch_numpy_and_safetensors_alone(module: str, tmp_path: Path) -> None:
    """In an environment of these and what they need: no Ray, Prefect, W&B, s3fs, pydantic."""
    packages = tmp_path / "packages"
    packages.mkdir()
    link_distributions(find_requirements(["torch", "numpy", "safetensors"]), packages)
    (packages / "vae").symlink_to(ROOT / "vae")
    model = build_model(ModelConfig(latent_dim=2, hidden=(8,)), (1, 4, 4), seed=1)
    save_model(model, tmp_path)
    program = (
        f"import sys; sys.path.append({str(packages)!r})\n"
        "from importlib.util import find_spec\n"
        f"assert not any(find_spec(name) for name in {SERVICES})\n"
        f"from {module} import load_model\n"
        f"print(load_model({str(tmp_path)!r}).decode(__import__('torch').zeros(1, 2)).sum().item())"
    )
    # -I and -S: neither the user's nor the virtual environment's packages.
    found = run_python(program, "-I", "-S")
    assert float(found) == model.decode(torch.zeros(1, 2)).sum().item()
