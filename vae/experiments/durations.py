"""Durations as people write and read them."""

import re

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
UNITS_S = {"s": 1.0, "m": 60.0, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
DURATION = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[smhdw])")
DURATIONS = "a whole number and s, m, h, d or w, such as 90s, 30m or 2h"


def parse_duration(text: str, units: str = "smhdw") -> float | None:
    """The seconds of 90s, 30m, 12h, 30d or 2w; None for anything else, no time at all among it.

    `units`: those that are allowed.
    """
    found = DURATION.fullmatch(text)
    if not found or found["unit"] not in units:
        return None
    return int(found["number"]) * UNITS_S[found["unit"]] or None


def format_age(seconds: float) -> str:
    """How long ago in one unit, rounded down: '59 min', '23 h', '12 d'."""
    if seconds >= DAY_S:
        return f"{seconds // DAY_S:.0f} d"
    if seconds >= HOUR_S:
        return f"{seconds // HOUR_S:.0f} h"
    return f"{max(0.0, seconds) // 60:.0f} min"


def check_budget(text: str) -> None:
    """Raise ValueError unless a time budget is a duration, or empty."""
    if text and parse_duration(text) is None:
        raise ValueError(f"time_budget is {text!r}, must be {DURATIONS}, or empty")
