"""What can be done to a run: to its processes, to its store, by its user."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from tests.chaos.victim import Victim
from tests.chaos.world import Bucket, Disk, World
from tests.support.command import VAE

Act = Callable[[Victim, World], None]
WRITES = frozenset({"PUT", "POST", "DELETE"})
ALL = WRITES | {"GET", "HEAD"}


def do_nothing(victim: Victim, world: World) -> None:
    """What heals a fault that passes by itself."""


def kill_named(name: str, most: int | None = None) -> Act:
    """SIGKILL for those of the run's processes that are called so, or for the first of them."""
    return lambda victim, world: victim.kill(victim.find(name)[:most])


def kill_command(victim: Victim, world: World) -> None:
    """SIGKILL for the command's own process."""
    victim.kill([victim.command.process.pid])


def cut_power(victim: Victim, world: World) -> None:
    """SIGKILL for all of its processes at once."""
    victim.kill(victim.processes)


def press(*numbers: signal.Signals) -> Act:
    """Signals to the command's process group, as a terminal sends them, half a second apart."""

    def strike(victim: Victim, world: World) -> None:
        for number in numbers:
            if not victim.over:
                os.killpg(victim.command.process.pid, number)
            time.sleep(0.5)

    return strike


def preempt(victim: Victim, world: World) -> None:
    """SIGTERM, and SIGKILL for whatever is left 5 s later."""
    before = victim.processes
    os.killpg(victim.command.process.pid, signal.SIGTERM)
    time.sleep(5)
    victim.kill(before)


def freeze(name: str) -> Act:
    """SIGSTOP for the first of its processes that are called so."""
    return lambda victim, world: victim.kill(victim.find(name)[:1], signal.SIGSTOP)


def thaw(name: str) -> Act:
    """SIGCONT for its processes that are called so."""
    return lambda victim, world: victim.kill(victim.find(name), signal.SIGCONT)


def run_beside(victim: Victim, world: World) -> None:
    """Another command of the same run begins, and is killed half a minute later."""
    other = subprocess.Popen(
        [VAE, *victim.arguments],
        cwd=victim.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Timer(30.0, other.kill).start()  # which does nothing where it has ended


def damage_checkpoint(victim: Victim, world: World) -> None:
    """Cut the power of a machine whose disk had not written all of the newest checkpoint."""
    cut_power(victim, world)
    newest = sorted(victim.store.list(f"runs/{victim.run_id}/checkpoints"))[-1]
    victim.store.put(newest, victim.store.read(newest)[:1000])


def cut_network(how: str) -> Act:
    """Have every request to the S3 server be lost, reset or left hanging; "": none any more."""

    def strike(victim: Victim, world: World) -> None:
        assert isinstance(world, Bucket)
        world.proxy.network = how

    return strike


def refuse(code: str, methods: frozenset[str] = ALL) -> Act:
    """Have the S3 server refuse requests with a code; "": none any more."""

    def strike(victim: Victim, world: World) -> None:
        assert isinstance(world, Bucket)
        world.proxy.refuse = lambda method, key, query: code if method in methods else ""

    return strike


def on_disk(act: Callable[[Disk], None]) -> Act:
    """Do something to the disk that the store is on."""

    def strike(victim: Victim, world: World) -> None:
        assert isinstance(world, Disk)
        act(world)

    return strike
