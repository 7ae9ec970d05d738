"""Ages and sizes as people read them."""

from vae.experiments.durations import DAY_S, HOUR_S

PREFIXES = ("k", "M", "G", "T", "P")


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
