"""Runs that were tracked offline reach W&B later, by its own `wandb sync`."""

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vae.errors import UserError, extract_message

ANSWER_SECONDS = 20.0  # for W&B's server to answer at all
STALL_SECONDS = 3600.0  # for one pipeline run to be sent
MARKS = SENT, KEPT = ".synced", ".kept"  # beside files of a run, not of it; the first is W&B's
OFFLINE = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_TAGS", "WANDB_NOTES")


def check_account() -> str:
    """The address of W&B's server. Raises UserError without a key, or if it does not answer."""
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if not wandb.login(prompt=False, verify=False):
        raise UserError("W&B has no key here: set WANDB_API_KEY, or run `wandb login`")
    url = str(settings.base_url)
    try:
        urllib.request.urlopen(url, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        raise UserError(f"W&B's server {url} does not answer: {extract_message(error)}") from None
    return url


def push(folders: Sequence[Path]) -> list[Path]:
    """Send the runs in these folders; those that W&B has to their end now.

    Attempts of one run continue each other, in the order of their beginning. W&B appends what is
    sent again, so folders that have arrived are not to be given again.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OFFLINE}
    environment["WANDB_RESUME"] = "allow"
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *map(str, folders)]
    with tempfile.TemporaryFile() as told, suppress(subprocess.TimeoutExpired):
        # No pipe, which a service left behind would keep open.
        subprocess.run(
            command, env=environment, stdout=told, stderr=told, timeout=STALL_SECONDS, check=False
        )
    return [folder for folder in folders if is_sent(folder)]


def is_sent(folder: Path) -> bool:
    """Whether W&B has the run in a folder: beside each of its files is a mark that says so."""
    return is_marked(folder, SENT)


def is_kept(folder: Path) -> bool:
    """Whether a copy of the run in a folder is in the store."""
    return is_marked(folder, KEPT)


def is_marked(folder: Path, mark: str) -> bool:
    """Whether a mark is beside each file of the run in a folder; not of a run without files."""
    files = list_files(folder)
    return bool(files) and all(Path(f"{file}{mark}").is_file() for file in files)


def mark_kept(folder: Path) -> None:
    """Say of the run in a folder that the store has it. Raises OSError."""
    for file in list_files(folder):
        Path(f"{file}{KEPT}").touch()


def list_files(folder: Path) -> list[Path]:
    """The files of a run in its folder; none where W&B was killed before it wrote one."""
    return list(folder.glob("*.wandb"))
