"""What a command prints of its run where no terminal is."""

import logging
from pathlib import Path

import pytest

from flows.embedded import show_progress
from vae.errors import TRACEBACKS
from vae.experiments.loading import load_experiment
from vae.runs.run import open_run
from vae.store.open import open_store


def test_lines_without_tracebacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trial's is for Prefect; the console has the line that says what was raised."""
    run = open_run(open_store(str(tmp_path)), "first", load_experiment("tiny"))
    logger = logging.getLogger("vae")
    logger.setLevel(logging.INFO)
    before = list(logger.handlers)
    try:
        with show_progress(run, "publish"):
            logging.getLogger("vae.search").info("search   trial 2 failed: KeyError: 'x'")
            logging.getLogger(TRACEBACKS).info("search   trial 2", exc_info=KeyError("x"))
    finally:
        logger.handlers[:] = before
    assert capsys.readouterr().out == "search   trial 2 failed: KeyError: 'x'\n"
