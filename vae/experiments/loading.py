"""An experiment: everything that decides the trained weights, and nothing about where it runs."""

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vae.data.datasets import DataConfig
from vae.errors import UserError, closest
from vae.evaluation.bounds import EvaluationConfig
from vae.models.networks import ModelConfig
from vae.models.objectives import ObjectiveConfig
from vae.registry.manifest import PLAIN_NAME
from vae.training.step import TrainConfig

Value = str | int | float | bool | list[int] | dict[str, Any]
# A trial may not vary what is shared by all, nor what makes their losses no longer comparable; its
# epochs are search.epochs.
FIXED = (
    *("name", "data.", "evaluation.", "search.", "train.epochs"),
    *("objective.kind", "objective.samples"),
)
NAME_LENGTH = 47  # with a UUID behind it, still the id of a run
SEEDS = 2**31  # NumPy's generators, which Optuna seeds, take 32 bits
Overrides = Mapping[str, Value]  # {"train.learning_rate": 3e-4}: the CLI, flows and Tune speak this


@dataclass(frozen=True, kw_only=True)
class Range:
    """What one setting may be in a search: one of `choice`, or between `low` and `high`."""

    choice: tuple[int | float | str, ...] = ()
    low: int | float = math.nan
    high: int | float = math.nan
    log: bool = False

    def __post_init__(self) -> None:
        bounded = not (math.isnan(self.low) and math.isnan(self.high))
        if bool(self.choice) == bounded or (bounded and not self.low < self.high):
            raise ValueError("takes either choice = [...] or low < high")
        if self.log and not self.low > 0:
            raise ValueError(f"low is {self.low}, a log range must start above 0")

    def ends(self) -> tuple[int | float | str, ...]:
        """The values that must be valid for all of the range to be valid."""
        return self.choice or (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hyper-parameters are searched before training; `trials = 0` trains as written."""

    trials: int = 0
    epochs: int = 4  # of each trial that is not stopped early
    grace_epochs: int = 1  # epochs before which no trial is stopped
    space: dict[str, Range] = field(default_factory=dict)  # by dotted setting

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise ValueError(f"trials is {self.trials}, must be 0 (no search) or above")
        if not 1 <= self.grace_epochs <= self.epochs:
            raise ValueError(
                f"grace_epochs is {self.grace_epochs}, must be from 1 to epochs = {self.epochs}"
            )
        if self.trials and not self.space:
            raise ValueError(f"trials is {self.trials}, but space names no setting to search")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A dataset, a model, how it is trained, judged and searched; validated as a whole."""

    name: str  # of the published model
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        if not PLAIN_NAME.fullmatch(self.name) or len(self.name) > NAME_LENGTH:
            raise ValueError(
                f"name is {self.name!r}, must be letters, digits, '.', '_' or '-', "
                f"at most {NAME_LENGTH} of them"
            )
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed is {self.seed}, must be from 0 to {SEEDS - 1}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only; `from_dict` is the inverse."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for setting in plain["search"]["space"].values():
            unused = ("low", "high", "log") if setting["choice"] else ("choice",)
            for key in unused:
                del setting[key]
        return plain


_STRICT = ConfigDict(extra="forbid", strict=True)
for _part in (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    EvaluationConfig,
    Range,
    SearchConfig,
    Experiment,
):
    # Set from here so that the configs' own modules, the core, need no pydantic to import.
    setattr(_part, "__pydantic_config__", _STRICT)  # noqa: B010
_ADAPTER = TypeAdapter(Experiment)


def load_experiment(name_or_path: str, overrides: Overrides | None = None) -> Experiment:
    """A shipped experiment by name, or a TOML file by path, with dotted settings replaced.

    Raises UserError, in one line, for an unknown experiment, setting, type or value, and for a
    dataset that is not there.
    """
    experiment = from_dict(with_overrides(read_toml(name_or_path), overrides or {}))
    return replace(experiment, data=experiment.data.located())


def shipped() -> dict[str, Path]:
    """The experiments that come with the package, by name."""
    directory = Path(str(resources.files("vae") / "experiments"))
    return {path.stem: path for path in sorted(directory.glob("*.toml"))}


def read_toml(name_or_path: str) -> dict[str, Any]:
    """The table in a shipped or a user's experiment file. Raises UserError."""
    path = shipped().get(name_or_path, Path(name_or_path))
    if path.suffix != ".toml" or not os.path.isfile(path):
        raise UserError(
            f"unknown experiment '{name_or_path}': give a .toml file or one of "
            f"{', '.join(shipped())}{closest(name_or_path, shipped())}"
        )
    try:
        return {"name": path.stem} | tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None


def from_dict(settings: Mapping[str, Any]) -> Experiment:
    """Validate all settings, and both ends of every search range. Raises UserError."""
    experiment = _validated(settings)
    for setting, values in experiment.search.space.items():
        for value in values.ends():
            if setting.startswith(FIXED):
                raise UserError(f"search.space: {setting} is not a setting a trial may vary")
            _validated(with_overrides(settings, {setting: value}))
    return experiment


def with_overrides(settings: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """A copy of nested settings with dotted ones replaced; types are checked by `from_dict`."""
    changed: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    for dotted, value in overrides.items():
        *tables, last = dotted.split(".")
        table = changed
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UserError(f"unknown setting '{dotted}': {name} holds a value, not a table")
        table[last] = value
    return changed


def parse_override(text: str) -> tuple[str, Value]:
    """'train.epochs=3' to ('train.epochs', 3): the value is TOML, or else a bare string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set takes KEY=VALUE, given '{text}'; e.g. --set train.epochs=3")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    # Text of several lines may parse as several settings: it is none of them.
    return key.strip(), parsed["value"] if len(parsed) == 1 else value.strip()


def _validated(settings: Mapping[str, Any]) -> Experiment:
    try:
        # Through JSON, where strict mode takes a list for a tuple but never "3" for 3. TOML's dates
        # are no setting's type: as text they are refused like any other.
        return _ADAPTER.validate_json(json.dumps(settings, default=str))
    except ValidationError as error:
        raise UserError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong: which setting, what was given, what is allowed."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        known = list(_settings())
        return f"unknown setting '{where}'{closest(where, known) or ': see vae/experiments'}"
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message}, given {first['input']!r}"


def _settings() -> dict[str, Any]:
    """Every dotted setting with its default."""
    flat: dict[str, Any] = {}
    for name, value in Experiment(name="any").to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat
