"""Sizes as people read them."""

PREFIXES = ("k", "M", "G", "T", "P")


def format_bytes(size_bytes: int) -> str:
    """A size with four digits at most: '999 B', '12.3 MB'."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size, power = size_bytes / 1000, 0
    while size >= 999.95 and power + 1 < len(PREFIXES):  # '1.0 MB', not '1000.0 kB'
        size, power = size / 1000, power + 1
    return f"{size:.1f} {PREFIXES[power]}B"
