"""Experiments: what ships loads, what round-trips, and every mistake told in one line."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.refusals import catch_refusal
from vae.experiments.loading import list_shipped, load_experiment, parse_experiment, read_toml
from vae.experiments.search import Range
from vae.experiments.settings import Overrides

ROOT = Path(__file__).parents[2]
SHIPPED = pytest.mark.parametrize("name", list(list_shipped()))


def refused(settings: dict[str, Any]) -> str:
    """The one line in which tiny with these settings on top is refused."""
    return catch_refusal(parse_experiment, read_toml("tiny") | settings)


def test_the_manual_names_what_ships() -> None:
    """Every experiment that it says how to run, and every row of its table of results."""
    readme, recipes = (ROOT / name for name in ("README.md", "docs/recipes.md"))
    manual = readme.read_text(encoding="utf-8") + recipes.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)`", manual, re.MULTILINE)
    commands = re.findall(r"--experiment ([a-z0-9-]+)", manual)
    assert rows
    assert commands
    assert {*rows, *commands} <= set(list_shipped())


@SHIPPED
def test_shipped_experiments_load(name: str) -> None:
    """Every shipped experiment is valid under its own name."""
    assert load_experiment(name).name == name


@SHIPPED
def test_round_trip(name: str) -> None:
    """As plain data and back, an experiment is the same."""
    experiment = load_experiment(name)
    again = parse_experiment(experiment.to_dict())
    assert again == experiment
    assert again.to_dict() == experiment.to_dict()


@pytest.mark.parametrize(
    "override",
    [
        {"name": "other"},
        {"seed": 1},
        {"data.limit": 100},
        {"data.binarize": "none"},
        {"model.hidden": [64, 64]},
        {"data.binarize": "none", "model.likelihood": "logistic"},
        {"objective.beta": 2.0},
        {"train.learning_rate": 1e-4},
        {"evaluation.samples": 11},
        {"search.trials": 1},
    ],
)
def test_every_setting_is_in_the_plain_data(override: Overrides) -> None:
    """An override of any part changes what runs are compared by; to the same value, nothing."""
    changed = load_experiment("tiny", override)
    assert changed.to_dict() != load_experiment("tiny").to_dict()
    assert changed.to_dict() == load_experiment("tiny", override).to_dict()


def test_a_users_file(tmp_path: Path) -> None:
    """A TOML file needs no setting at all, is named after itself, and overrides go on top."""
    path = tmp_path / "mine.toml"
    path.write_text("")
    assert load_experiment(str(path)).name == "mine"
    path.write_text('name = "yours"\n[train]\nepochs = 4\n')
    experiment = load_experiment(str(path), {"train.epochs": 5, "model.hidden": [3]})
    assert (experiment.name, experiment.train.epochs) == ("yours", 5)
    assert experiment.model.hidden == (3,)
    assert load_experiment(str(path), {"train.learning_rate": 1}).train.learning_rate == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "unknown setting 'sed', did you mean 'seed'?"),
        ({"quux_zzz": 1}, "unknown setting 'quux_zzz': vae settings lists all"),
        ({"train": {"learning_rat": 1}}, "did you mean 'train.learning_rate'?"),
        ({"train": {"epochs": "3"}}, "train.epochs: input should be a valid integer, given '3'"),
        ({"train": {"epochs": 3.0}}, "train.epochs: input should be a valid integer, given 3.0"),
        ({"train": {"epochs": True}}, "train.epochs: input should be a valid integer, given True"),
        ({"train": 3}, "train: input should be an object, given 3"),
        ({"train": {"schedule": "cosin"}}, "'constant' or 'cosine', given 'cosin'"),
        ({"model": {"kind": "VAE"}}, "'ImprovedVAE' or 'ConvVAE', given 'VAE'"),
        ({"model": {"latent_dim": 0}}, "latent_dim is 0, must be at least 1"),
        ({"train": {"learning_rate": -1}}, "learning_rate is -1.0, must be above 0"),
        ({"train": {"learning_rate": math.nan}}, "learning_rate is nan, must be above 0"),
        ({"train": {"learning_rate": math.inf}}, "learning_rate is inf, must be above 0"),
        (
            {"model": {"likelihood": "logistic"}},
            "model.likelihood is 'logistic', of grey levels, but data.binarize is 'dynamic'",
        ),
        ({"seed": -1}, "seed is -1, must be from 0"),
        ({"seed": 2**31}, "seed is 2147483648, must be from 0 to 2147483647"),
        ({"name": "a/b"}, "name is 'a/b', must be letters"),
        ({"name": "a" * 48}, "at most 47 of them"),
        ({"name": "a\nb"}, r"name is 'a\nb', must be letters"),
        ({"search": {"trials": -1}}, "trials is -1"),
        ({"search": {"trials": 1}}, "space names no setting to search"),
        ({"search": {"epochs": 2, "grace_epochs": 3}}, "grace_epochs is 3, must be from 1 to"),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    """A wrong setting, type or value is told with what was given and what is allowed."""
    assert message in refused(settings)


@pytest.mark.parametrize(
    ("setting", "values", "message"),
    [
        ("model.latent_dim", {"choice": [4, 0]}, "latent_dim is 0"),
        ("model.latent_dim", {"low": 0, "high": 8}, "latent_dim is 0"),
        ("model.latent_dim", {"low": 4.5, "high": 8}, "model.latent_dim: input should be a valid"),
        ("train.learning_rate", {"low": 0.1, "high": math.inf}, "learning_rate is inf"),
        ("train.schedule", {"choice": ["cosine", "linear"]}, "given 'linear'"),
        ("model.latent_dm", {"choice": [4]}, "did you mean 'model.latent_dim'?"),
        ("search.trials", {"choice": [4]}, "search.trials is not a setting a trial may vary"),
        ("train.epochs", {"low": 1, "high": 9}, "train.epochs is not a setting a trial may vary"),
        ("data.binarize", {"choice": ["none"]}, "data.binarize is not a setting a trial may vary"),
        ("objective.samples", {"choice": [5]}, "objective.samples is not a setting a trial may"),
        ("model.likelihood", {"choice": ["gaussian"]}, "model.likelihood is not a setting a trial"),
        ("seed.x", {"choice": [4]}, "unknown setting 'seed.x'"),
        ("model.latent_dim", {"choice": []}, "takes either choice = [...] or low < high"),
        ("model.latent_dim", {"low": 4}, "takes either choice = [...] or low < high"),
        ("model.latent_dim", {"low": 8, "high": 4}, "takes either choice = [...] or low < high"),
        ("model.latent_dim", {"choice": [4], "low": 1}, "takes either choice = [...] or low"),
        ("train.learning_rate", {"low": 0, "high": 1, "log": True}, "must start above 0"),
        ("model.latent_dim", {"choise": [4]}, "unknown setting 'search.space.model.latent_dim"),
        ("model.latent_dim", 3, "input should be an object, given 3"),
    ],
)
def test_mistakes_in_a_search_space(setting: str, values: object, message: str) -> None:
    """A range is refused before any trial if one of its ends would be."""
    assert message in refused({"seed": 1, "search": {"trials": 1, "space": {setting: values}}})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tin", "unknown experiment 'tin': give a .toml file or one of"),
        ("none.toml", "unknown experiment 'none.toml'"),
        (".", "unknown experiment '.'"),
        ("", "unknown experiment ''"),
    ],
)
def test_unknown_experiments(name: str, message: str) -> None:
    """A name that is neither shipped nor a file lists those that are."""
    told = catch_refusal(load_experiment, name)
    assert message in told
    assert "mnist-conv" in told


def test_a_byte_order_mark_is_no_statement(tmp_path: Path) -> None:
    """An editor's mark before the first line is not read as a part of it."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b"seed = 3\n")
    assert load_experiment(str(path)).seed == 3


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("s3://bucket/pets/*.jpg", "mnist-pets"),
        ("photos/pets/", "mnist-pets"),
        ("pets/**", "mnist-pets"),
    ],
)
def test_a_pattern_names_a_model_by_its_folder(dataset: str, name: str) -> None:
    """The part of a URL or path that is no pattern names the model."""
    assert load_experiment("mnist", {"data.name": dataset}).name == name


@pytest.mark.parametrize("text", [b"epochs = ", b"[train", b"a = 1\na = 2", b"\xff"])
def test_no_toml(text: bytes, tmp_path: Path) -> None:
    """A file that is no TOML is refused by name."""
    path = tmp_path / "bad.toml"
    path.write_bytes(text)
    told = catch_refusal(load_experiment, str(path))
    assert f"{path} is not valid TOML" in told


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    """Its mode or its disk is at fault, and its name is told; here it is a process's memory."""
    path = tmp_path / "mine.toml"
    path.symlink_to("/proc/self/mem")
    assert catch_refusal(read_toml, str(path)) == f"{path} cannot be read: Input/output error"


def test_ends_of_a_range() -> None:
    """What must be valid for a range to be: its choices, or both of its ends."""
    assert Range(choice=(1, 2, 3)).ends == (1, 2, 3)
    assert Range(low=1, high=2.5, log=True).ends == (1, 2.5)


def test_shipped_files_say_what_they_are() -> None:
    """Every shipped file begins with a comment and sets nothing that is not a setting."""
    for path in list_shipped().values():
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert tomllib.loads(text)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"data.name": "photos/pets.npy"}, "tiny-pets"),
        ({"data.name": "fashion-mnist"}, "tiny-fashion-mnist"),
        ({"data.name": "/data/My Cats!/"}, "tiny-My-Cats"),
        ({"data.name": "../.."}, "tiny-data"),
        ({"data.name": "x" * 99}, f"tiny-{'x' * 42}"),
        ({"data.name": "mnist"}, "tiny"),
        ({"data.name": "pets.npy", "name": "cats"}, "cats"),
        ({}, "tiny"),
    ],
)
def test_another_dataset_gives_another_name(overrides: Overrides, name: str) -> None:
    """The versions of one name are of one dataset, unless a person says otherwise."""
    assert load_experiment("tiny", overrides).name == name
