"""Faults by the dozen against one run after the other: `make chaos`."""
