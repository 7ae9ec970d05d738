"""All settings as a table: on the command line, and as docs/settings.md."""

import dataclasses
from typing import Any, NamedTuple, get_type_hints

from vae.experiments.fields import KEY, describe_allowed, name_setting, show_value
from vae.experiments.settings import Experiment

HEADING = """# Settings

An experiment file sets what differs from these defaults, `--set SETTING=VALUE` what differs from
the file. `vae settings --experiment NAME` shows an experiment's own values; this page is
`vae settings --markdown`.
"""


class Row(NamedTuple):
    """One setting: its dotted name, its default as TOML, what it may be, and what it does."""

    name: str
    default: str
    allowed: str
    meaning: str


def list_settings() -> list[Row]:
    """Every setting, in the order in which the dataclasses have them."""
    hints = get_type_hints(Experiment)
    rows = []
    for field in dataclasses.fields(Experiment):
        table = hints[field.name]
        if dataclasses.is_dataclass(table):
            rows += [
                describe_field(table, one, f"{field.name}.") for one in dataclasses.fields(table)
            ]
        else:
            rows.append(describe_field(Experiment, field))
    return rows


def describe_field(owner: Any, field: "dataclasses.Field[Any]", prefix: str = "") -> Row:
    """The row of one field of a settings dataclass."""
    rule = field.metadata[KEY]
    if field.default is not dataclasses.MISSING:
        default = show_value(field.default)
    else:
        default = "" if field.default_factory is dataclasses.MISSING else "{}"
    allowed = describe_allowed(get_type_hints(owner)[field.name], rule)
    return Row(f"{prefix}{name_setting(field.name)}", default, allowed, rule.meaning)


def read_values(experiment: Experiment) -> dict[str, str]:
    """The experiment's value of every setting, as TOML, by dotted name."""
    plain = experiment.to_dict()
    values = {}
    for row in list_settings():
        value: Any = plain
        for part in row.name.split("."):
            value = value[part]
        values[row.name] = show_value(value)
    return values


def to_markdown() -> str:
    """The text of docs/settings.md."""
    lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
    for row in list_settings():
        default = f"`{row.default}`" if row.default else "required"
        lines.append(
            f"| `{row.name}` | {default} | {escape(row.allowed)} | {escape(row.meaning)} |"
        )
    return f"{HEADING}\n" + "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {dotted name: value}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        flat |= inner or {f"{prefix}{key}": value}
    return flat


def to_plain(value: Any) -> Any:
    """A setting as JSON has it: a list for a tuple."""
    return list(value) if isinstance(value, tuple) else value
