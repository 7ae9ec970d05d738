"""The subcommands by theme; flows/cli.py puts them together."""
