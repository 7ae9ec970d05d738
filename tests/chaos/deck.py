"""The faults, when each can strike, and the order in which a seed deals them."""

import math
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

from tests.chaos import strikes
from tests.chaos.strikes import Act, kill_named, on_disk, press
from tests.chaos.victim import Victim
from tests.chaos.world import Disk

MOMENTS: dict[str, Callable[[Victim], object]] = {
    "starting": lambda victim: True,
    "searching": lambda victim: victim.has("search/proposal"),
    "training": lambda victim: victim.trains(),
    "evaluating": lambda victim: victim.has("train.json"),
    "publishing": lambda victim: victim.has("evaluate.json"),
}
UNTIL_IT_ENDS = math.inf
WORKER, TRIAL = "ray::RayTrainWorker", "ray::ImplicitFunc"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a run, and for how long.

    `lasts_s`: seconds until it is healed, or UNTIL_IT_ENDS: the command has to end of it, and is
    healed then. `silent`: the command's process is killed, and can say nothing. `status`: with
    which a command that it ends has to end, any without; `tells`: what its last line has to hold.
    `kind`: of the store that it can befall; any without.
    """

    name: str
    strike: Act
    heal: Act = strikes.do_nothing
    lasts_s: float = 0.0
    moments: tuple[str, ...] = tuple(MOMENTS)
    silent: bool = False
    status: int | None = None
    tells: str = ""
    kind: str = ""


class Blow(NamedTuple):
    """A fault and the moment at which it strikes, `delay_s` seconds in."""

    fault: Fault
    moment: str
    delay_s: float


def kill(name: str, process: str, *moments: str, most: int | None = None) -> Fault:
    """SIGKILL for processes of the run, called so, at moments when there are some."""
    return Fault(name=f"{name} killed", strike=kill_named(process, most), moments=moments)


def end(name: str, strike: Act, *moments: str, silent: bool = False) -> Fault:
    """What no command outlives; at any moment where none are given."""
    moments = moments or tuple(MOMENTS)
    return Fault(name=name, strike=strike, lasts_s=UNTIL_IT_ENDS, moments=moments, silent=silent)


def cut(how: str, lasts_s: float) -> Fault:
    """The network before the S3 server, for a while."""
    strike, heal = strikes.cut_network(how), strikes.cut_network("")
    return Fault(name=f"S3 {how}", strike=strike, heal=heal, lasts_s=lasts_s, kind="s3")


def refuse(name: str, code: str, tells: str, methods: frozenset[str] = strikes.ALL) -> Fault:
    """What the S3 server says no to until somebody mends it."""
    return Fault(
        name=f"S3 {name}",
        strike=strikes.refuse(code, methods),
        heal=strikes.refuse(""),
        lasts_s=UNTIL_IT_ENDS,
        status=2,
        tells=tells,
        kind="s3",
    )


LATER = tuple(MOMENTS)[1:]  # by when all of its processes are there
TO_PROCESSES = (
    end("command killed", strikes.kill_command, silent=True),
    end("power cut", strikes.cut_power, silent=True),
    end("preempted, 5 s of grace", strikes.preempt, silent=True),
    kill("a worker", WORKER, "training", most=1),
    kill("all workers", WORKER, "training"),
    kill("a trial", TRIAL, "searching", most=1),
    kill("raylet", "raylet/raylet", *LATER),
    kill("GCS", "gcs_server", *LATER),
    kill("Prefect's server", "flows.server", *LATER),
    end("SIGINT", press(signal.SIGINT)),
    end("SIGINT twice", press(signal.SIGINT, signal.SIGINT)),
    end("SIGTERM", press(signal.SIGTERM)),
    Fault(
        name="a worker frozen",
        strike=strikes.freeze(WORKER),
        heal=strikes.thaw(WORKER),
        lasts_s=10,
        moments=("training",),
    ),
    Fault(name="run begun twice", strike=strikes.run_beside, moments=("training",)),
    end("checkpoint cut off", strikes.damage_checkpoint, "training", silent=True),
)
TO_BUCKETS = (
    cut("lost", 20),
    cut("reset", 20),
    cut("hangs", 120),
    Fault(
        name="S3 busy",
        strike=strikes.refuse("SlowDown"),
        heal=strikes.refuse(""),
        lasts_s=120,
        kind="s3",
    ),
    refuse("key revoked", "InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"),
    refuse("token expired", "ExpiredToken", "set AWS_SESSION_TOKEN and its keys anew"),
    refuse("clock skewed", "RequestTimeTooSkewed", "set the clock of this machine"),
    refuse("read-only", "AccessDenied", "the policy of AWS_ACCESS_KEY_ID", strikes.WRITES),
    refuse("full", "XMinioStorageFull", "make room", strikes.WRITES),
)
TO_DISKS = (
    Fault(
        name="disk full",
        strike=on_disk(Disk.fill),
        heal=on_disk(Disk.make_room),
        lasts_s=UNTIL_IT_ENDS,
        kind="folder",
    ),
    Fault(
        name="disk read-only",
        strike=on_disk(Disk.forbid_writing),
        heal=on_disk(Disk.allow_writing),
        lasts_s=UNTIL_IT_ENDS,
        kind="folder",
    ),
)


def pick(kind: str, name: str, moment: str) -> Blow:
    """A fault by its name, at a moment of choice, at once."""
    [fault] = [fault for fault in list_faults(kind) if fault.name == name]
    return Blow(fault, moment, 0.0)


def list_faults(kind: str) -> list[Fault]:
    """What can befall a run whose store is of that kind; disks are spoilt with root's rights."""
    to_disks = () if os.getuid() else TO_DISKS
    return [f for f in (*TO_PROCESSES, *TO_BUCKETS, *to_disks) if f.kind in ("", kind)]


def deal(kind: str, seed: int) -> Iterator[list[Blow]]:
    """For ever, the blows of one round after the other: for every moment one, in their order.

    Every fault comes up before any comes up again.
    """
    draw = random.Random(f"{kind} {seed}")
    faults = list_faults(kind)
    draw.shuffle(faults)
    waiting = cycle(faults)
    while True:
        hand: dict[str, Blow] = {}
        for fault in (next(waiting) for _ in MOMENTS):
            free = [moment for moment in fault.moments if moment not in hand]
            if free:
                moment = draw.choice(free)
                hand[moment] = Blow(fault, moment, draw.uniform(0, 2))
        yield [hand[moment] for moment in MOMENTS if moment in hand]
