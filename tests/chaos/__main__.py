"""Strike runs with faults, folder and S3 in turn, and print what was survived: `make chaos`."""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.table import lines
from tests.chaos.campaign import (
    Outcome,
    find_differences,
    play_round,
    publish_undisturbed,
)
from tests.chaos.deck import deal
from tests.chaos.world import World, mount_disk, serve_bucket


def main() -> None:
    """Play rounds until as many faults have been tried; status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=60, help="how many to try, at least")
    parser.add_argument("--seed", type=int, default=0, help="which, and when")
    parser.add_argument("--on", choices=["folder", "s3"], nargs="+", default=["folder", "s3"])
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("chaos").setLevel(logging.INFO)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory, ExitStack() as worlds:
        os.environ["WANDB_MODE"] = "offline"
        places = {"folder": lambda: mount_disk(Path(directory)), "s3": serve_bucket}
        chosen = [worlds.enter_context(places[kind]()) for kind in given.on]
        outcomes, different = campaign(chosen, Path(directory), given.faults, given.seed)
    print_table(outcomes)
    survived = sum(not outcome.wrong for outcome in outcomes)
    print(f"\nsurvived {survived} of {len(outcomes)} in {time.monotonic() - began:.0f} s")
    print(
        f"published weights as undisturbed: {'no: ' + '; '.join(different) if different else 'yes'}"
    )
    sys.exit(survived < len(outcomes) or bool(different))


def campaign(
    worlds: list[World], directory: Path, faults: int, seed: int
) -> tuple[list[Outcome], list[str]]:
    """Rounds in the worlds in turn, until enough faults were tried; what became of all, and of the
    published weights."""
    expected = publish_undisturbed(worlds[0], directory)
    hands = {world.kind: deal(world.kind, seed) for world in worlds}
    outcomes: list[Outcome] = []
    different: list[str] = []
    number = 0
    while len(outcomes) < faults:
        world = worlds[number % len(worlds)]
        run_id = f"struck-{number}"
        outcomes += play_round(world, run_id, directory, next(hands[world.kind]))
        found = find_differences(world.watch(), run_id, expected)
        different += [f"{run_id}: {what}" for what in found]
        logging.getLogger("chaos").info("%s: %s", run_id, "; ".join(found) or "as undisturbed")
        number += 1
    return outcomes, different


def print_table(outcomes: list[Outcome]) -> None:
    """Fault by fault: survived of tried, and what was wrong."""
    by_name: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_name[outcome.blow.fault.name].append(outcome)
    rows: list[list[object]] = []
    for name, all_of_it in sorted(by_name.items()):
        survived = sum(not outcome.wrong for outcome in all_of_it)
        wrong = "; ".join(sorted({outcome.wrong[:60] for outcome in all_of_it if outcome.wrong}))
        rows.append([name, f"{survived} / {len(all_of_it)}", wrong])
    print("\n" + lines(["fault", "survived / tried", "what was wrong"], rows))


if __name__ == "__main__":
    main()
