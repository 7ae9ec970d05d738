"""From a name or a TOML file, and overrides, to a valid experiment."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vae.errors import UserError, suggest
from vae.experiments.fields import name_setting
from vae.experiments.search import Range, SearchConfig
from vae.experiments.settings import (
    NAME_LENGTH,
    DataConfig,
    EvaluationConfig,
    Experiment,
    ModelConfig,
    ObjectiveConfig,
    Overrides,
    TrainConfig,
    Value,
)
from vae.experiments.table import list_settings

# A trial may not vary what is shared by all, nor what makes their losses no longer comparable; its
# epochs are search.epochs.
FIXED = (
    *("name", "time_budget", "data.", "evaluation.", "search.", "train.epochs", "train.from"),
    *("objective.kind", "objective.samples", "model.likelihood"),
)
PARTS = (
    *(DataConfig, ModelConfig, ObjectiveConfig, TrainConfig, EvaluationConfig, Range, SearchConfig),
    Experiment,
)

for _part in PARTS:
    # Set from here so that the settings, which every model needs, import no pydantic.
    _config = ConfigDict(extra="forbid", strict=True, alias_generator=name_setting)
    setattr(_part, "__pydantic_config__", _config)  # noqa: B010
_ADAPTER = TypeAdapter(Experiment)


def load_experiment(name_or_path: str, overrides: Overrides | None = None) -> Experiment:
    """A shipped experiment by name, or a TOML file by path, with dotted settings replaced.

    Another dataset gives the model another name, unless that is given too: one name's versions are
    of one dataset. Raises UserError, in one line, for an unknown experiment, setting, type or
    value.
    """
    written, given = read_toml(name_or_path), dict(overrides or {})
    dataset = given.get("data.name")
    if "name" not in given and isinstance(dataset, str) and dataset != read_dataset(written):
        given["name"] = derive_name(str(written["name"]), dataset)
    return parse_experiment(apply_overrides(written, given))


def read_dataset(written: Mapping[str, Any]) -> str:
    """The dataset that an experiment's table names, or the default's."""
    data = written.get("data")
    return str(data.get("name", DataConfig().name) if isinstance(data, dict) else DataConfig().name)


def derive_name(name: str, dataset: str) -> str:
    """A model's name for another dataset: 'tiny' on 'photos/pets.npy' is 'tiny-pets'."""
    named = [part for part in dataset.split("/") if not re.search(r"[*?\[]", part)]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path("/".join(named)).stem).strip("-.")
    return f"{name}-{plain or 'data'}"[:NAME_LENGTH]


def list_shipped() -> dict[str, Path]:
    """The experiments that come with the package, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def read_toml(name_or_path: str) -> dict[str, Any]:
    """The table in a shipped or a user's experiment file. Raises UserError."""
    shipped = list_shipped()
    path = shipped.get(name_or_path, Path(name_or_path))
    if path.suffix != ".toml" or not os.path.isfile(path):
        raise UserError(
            f"unknown experiment '{name_or_path}': give a .toml file or one of "
            f"{', '.join(shipped)}{suggest(name_or_path, shipped)}"
        )
    try:
        return {"name": path.stem} | tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def parse_experiment(settings: Mapping[str, Any]) -> Experiment:
    """Validate all settings, and both ends of every search range. Raises UserError."""
    experiment = validate(settings)
    for setting, values in experiment.search.space.items():
        for value in values.ends:
            if setting.startswith(FIXED):
                raise UserError(f"search.space: {setting} is not a setting a trial may vary")
            validate(apply_overrides(settings, values.condition | {setting: value}))
    return experiment


def apply_overrides(settings: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """A copy of nested settings with dotted ones replaced; `parse_experiment` checks the types."""
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


def validate(settings: Mapping[str, Any]) -> Experiment:
    """An experiment of these types and values, its search ranges unseen. Raises UserError."""
    try:
        # Through JSON, where strict mode takes a list for a tuple but never "3" for 3. TOML's dates
        # are no setting's type: as text they are refused like any other.
        return _ADAPTER.validate_json(json.dumps(settings, default=str))
    except ValidationError as error:
        raise UserError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """What is wrong first, in one line: which setting, what was given, what is allowed."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        known = [row.name for row in list_settings()]
        return f"unknown setting '{where}'{suggest(where, known) or ': vae settings lists all'}"
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message}, given {first['input']!r}"
