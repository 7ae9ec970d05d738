"""Round after round: a run, what strikes it, and whether it is in the end as if nothing had."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.deck import MOMENTS, UNTIL_IT_ENDS, Blow, Fault
from tests.chaos.victim import StuckError, Victim
from tests.chaos.world import World
from vae.registry.manifest import MODEL
from vae.registry.read import check_published, list_versions
from vae.store.promises import Store

log = logging.getLogger("chaos")
MODEL_NAME = "tiny"
LAST_CHARACTERS = 8000  # of the output of a command with which something was wrong
ENDS_WITHIN_S = 120.0  # of a fault that no run can outlive


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one blow."""

    blow: Blow
    status: int | None  # with which the command ended; None where it went on
    seconds: float
    wrong: str  # nothing where it survived, and said what to do


def play_round(world: World, run_id: str, directory: Path, blows: Iterable[Blow]) -> list[Outcome]:
    """Strike one run with the blows, in their order, and bring it to its end; what became of each.

    A run that ends before a moment has come is spared what was to strike then.
    """
    victim = Victim(world.watch(), run_id, directory)
    outcomes = []
    try:
        for blow in blows:
            has_come = partial(MOMENTS[blow.moment], victim)
            if not victim.wait(has_come) or victim.over:
                break
            outcomes.append(strike(victim, world, blow))
            log.info("%s", format_outcome(outcomes[-1]))
            if outcomes[-1].wrong:
                log.info("%s", victim.output[-LAST_CHARACTERS:])
            if victim.over:
                victim.go_on()
        finish(victim)
    except StuckError as error:
        outcomes.append(Outcome(blow=blow, status=None, seconds=0, wrong=f"stuck: {error}"))
        log.info("%s", format_outcome(outcomes[-1]))
    finally:
        victim.end()
    return outcomes


def publish_undisturbed(world: World, directory: Path) -> str:
    """The SHA-256 of the weights that a run publishes which nothing befalls."""
    victim = Victim(world.watch(), "undisturbed", directory)
    try:
        finish(victim, attempts=1)
    finally:
        victim.end()
    return hash_weights(world.watch(), read_best_version(world.watch()))


def strike(victim: Victim, world: World, blow: Blow) -> Outcome:
    """One blow; afterwards the command has ended of it, or is seen to go on."""
    time.sleep(blow.delay_s)
    began, fault = time.monotonic(), blow.fault
    fault.strike(victim, world)
    wrong = ""
    try:
        if fault.lasts_s is UNTIL_IT_ENDS:
            deadline = began + ENDS_WITHIN_S
            victim.wait(lambda: victim.over or time.monotonic() > deadline)
            wrong = "" if victim.over else f"goes on after {ENDS_WITHIN_S:.0f} s"
        else:
            victim.wait(lambda: time.monotonic() > began + fault.lasts_s)
    finally:
        fault.heal(victim, world)
    victim.wait_for_progress()
    status = victim.command.process.poll()
    if status is not None:
        wrong = wrong or victim.judge_end(fault.silent) or judge_telling(victim, fault)
    return Outcome(blow=blow, status=status, seconds=time.monotonic() - began, wrong=wrong)


def judge_telling(victim: Victim, fault: Fault) -> str:
    """What is wrong with the status and the last line of a command that a fault has ended."""
    status, last = victim.command.process.returncode, victim.output.strip().rpartition("\n")[2]
    if fault.status not in (None, status):
        return f"status {status}, not {fault.status}"
    return "" if not fault.tells or fault.tells in last else f"does not tell '{fault.tells}'"


def finish(victim: Victim, attempts: int = 3) -> None:
    """Bring the run to its end without any more faults. Raises StuckError if it doesn't come."""
    for _ in range(attempts):
        victim.wait(lambda: victim.over)
        if victim.command.process.returncode == 0:
            return
        victim.go_on()
    raise StuckError(f"no end in {attempts} attempts: {victim.output[-2000:]}")


def find_differences(store: Store, run_id: str, expected: str) -> list[str]:
    """What is wrong with what the run published, if anything; `expected`: its weights' SHA-256."""
    versions = list_versions(store, MODEL_NAME)
    if sum(version.best for version in versions) != 1:
        return [f"{sum(version.best for version in versions)} versions are the best"]
    found = [v for v in versions if read_run_id(store, v.version) == run_id]
    if len(found) != 1:
        return [f"{len(found)} versions are of {run_id}"]
    weights = hash_weights(store, found[0].version)
    return [] if weights == expected else [f"weights {weights[:8]}, not {expected[:8]}"]


def read_run_id(store: Store, version: str) -> str:
    """The run that published a version. Raises UserError if its files are not the published."""
    return check_published(store, MODEL_NAME, version).run_id


def read_best_version(store: Store) -> str:
    """The version that is the best so far."""
    return next(info.version for info in list_versions(store, MODEL_NAME) if info.best)


def hash_weights(store: Store, version: str) -> str:
    """The SHA-256 of a version's weights, as its manifest says."""
    return check_published(store, MODEL_NAME, version).files[MODEL].sha256


def format_outcome(outcome: Outcome) -> str:
    """One line for whoever watches."""
    how = "went on" if outcome.status is None else f"ended with {outcome.status}"
    blow = outcome.blow
    said = f"{blow.fault.name}, {blow.moment}: {how}, {outcome.seconds:.0f} s"
    return f"{said}   WRONG: {outcome.wrong}" if outcome.wrong else said
