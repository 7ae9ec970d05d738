"""Durations and sizes as people write and read them."""

import re

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
UNITS_S = {"h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
DURATION = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[hdw])")
PREFIXES = ("k", "M", "G", "T", "P")


def parse_duration(text: str) -> float | None:
    """The seconds of 12h, 30d or 2w; None for anything else, nothing at all among it."""
    found = DURATION.fullmatch(text)
    seconds = int(found["number"]) * UNITS_S[found["unit"]] if found else 0.0
    return seconds or None


def format_age(seconds: float) -> str:
    """How long ago in one unit, rounded down: '59 min', '23 h', '12 d'."""
    if seconds >= DAY_S:
        return f"{seconds // DAY_S:.0f} d"
    if seconds >= HOUR_S:
        return f"{seconds // HOUR_S:.0f} h"
    return f"{max(0.0, seconds) // 60:.0f} min"


def format_bytes(size_bytes: int) -> str:
    """A size with four digits at most: '999 B', '12.3 MB'."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size, power = size_bytes / 1000, 0
    while size >= 999.95 and power + 1 < len(PREFIXES):  # '1.0 MB', not '1000.0 kB'
        size, power = size / 1000, power + 1
    return f"{size:.1f} {PREFIXES[power]}B"
