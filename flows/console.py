"""The console of a served run, which outlives the service that reads it."""

import logging
import os
import sys

from prefect.logging.handlers import PrefectConsoleHandler


class OutlivingHandler(PrefectConsoleHandler):
    """Prefect's console, but that nobody reads it any more is no reason to end.

    Rich exits a process at the first line that it can't write, after vae serve was killed.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; from the first on that can't be, what is printed is lost."""
        try:
            super().emit(record)
        except SystemExit:  # Rich has sent the standard output to nowhere
            os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
