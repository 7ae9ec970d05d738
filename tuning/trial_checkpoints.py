"""Where trials keep what they have learnt by now, and when that goes.

A candidate's folder is named by its settings, because they decide its every bit: a trial that
begins again with them finds it there, and so does the training of the winner.
"""

import json
from collections.abc import Sequence

from tuning.design import Candidate
from vae.files import hash_bytes
from vae.runs.trials import Trial, find_distinct
from vae.store.promises import Store


def locate(prefix: str, candidate: Candidate) -> str:
    """The folder of a candidate's checkpoints and pictures in a search's own."""
    digest = hash_bytes(json.dumps(candidate, sort_keys=True).encode())
    return f"{prefix}/candidate-{digest[:12]}"


def drop_beaten(store: Store, prefix: str, ended: Sequence[Trial], keep: int) -> None:
    """Delete what trials that have ended left, but for the `keep` best of different settings.

    One at work with the settings of one that has ended loses what it would begin again with, not
    more. Raises what the store does.
    """
    kept = {locate(prefix, trial.overrides) for trial in find_distinct(ended)[:keep]}
    beaten = {locate(prefix, trial.overrides) for trial in ended} - kept
    there = {key.removeprefix(f"{prefix}/").partition("/")[0] for key in store.list(prefix)}
    for folder in sorted(beaten & {f"{prefix}/{name}" for name in there}):
        store.delete(folder)
