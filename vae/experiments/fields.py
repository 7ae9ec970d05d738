"""How a setting is declared: its default, what it means, and what it may be."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vae.errors import suggest

KEY = "setting"
TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What a setting means, and between which values it may lie; None: no limit."""

    meaning: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    allowed: str = ""  # in words, where the type and the limits do not say it

    @property
    def limits(self) -> str:
        """The limits in words, e.g. 'at least 0, below 1'; empty if there are none."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        named = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        return ", ".join(f"{word} {limit}" for word, limit in named.items() if limit is not None)

    def allows(self, value: float) -> bool:
        """Whether a number is finite and within the limits."""
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def setting(meaning: str, default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """Declare a field of a settings dataclass; `limits` are those of `Rule`.

    A type as default is called to make one. Without a default, the field has to be given.
    """
    given = {"default_factory" if isinstance(default, type) else "default": default}
    return dataclasses.field(**given, metadata={KEY: Rule(meaning=meaning, **limits)})


def name_setting(field: str) -> str:
    """What a field is called in TOML: `from_` is `from`, a word that Python has taken."""
    return field.rstrip("_")


def check_settings(config: Any) -> None:
    """Raise ValueError for the first field of a settings dataclass that breaks its rule."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), field.metadata.get(KEY)
        if rule is None:  # a table, which has checked its own
            continue
        if get_origin(hints[field.name]) is Literal:
            check_choice(name_setting(field.name), value, get_args(hints[field.name]))
        else:
            check_limits(name_setting(field.name), value, rule)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless a value is one of the choices."""
    if value not in choices:
        hint = suggest(str(value), choices)
        raise ValueError(f"{name} is {value!r}, must be one of {', '.join(choices)}{hint}")


def check_limits(name: str, value: Any, rule: Rule) -> None:
    """Raise ValueError unless a number, or every number of a list, is within the limits."""
    several = isinstance(value, tuple)
    numbers = [one for one in (value if several else (value,)) if isinstance(one, int | float)]
    broken = [one for one in numbers if not rule.allows(one)]
    if broken:
        shown, must = (list(value), "each must be") if several else (value, "must be")
        finite = [] if math.isfinite(broken[0]) else ["finite"]
        wanted = " and ".join([*filter(None, [rule.limits]), *finite])
        raise ValueError(f"{name} is {shown}, {must} {wanted}")


def describe_allowed(hint: Any, rule: Rule) -> str:
    """What a setting may be, in words: 'whole number, at least 1'."""
    if rule.allowed:
        return rule.allowed
    if get_origin(hint) is Literal:
        *others, last = get_args(hint)
        return f"{', '.join(others)} or {last}"
    if get_origin(hint) is tuple:
        kind = f"list of {TYPES[get_args(hint)[0]]}s"
        return f"{kind}, each {rule.limits}" if rule.limits else kind
    return ", ".join(filter(None, (TYPES[hint], rule.limits)))


def show_value(value: Any) -> str:
    """A setting's value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Sequence):
        return f"[{', '.join(show_value(one) for one in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}" = {show_value(one)}' for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return repr(value)
