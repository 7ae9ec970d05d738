"""A pulled model for programs that don't have this package."""
