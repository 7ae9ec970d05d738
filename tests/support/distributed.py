"""Several training processes on one machine, for tests that must see real collectives."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes


def spawned(world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(rank, world, *arguments)` returns in each of `world` processes joined by gloo.

    `work` is a module's function and returns what torch.save takes. Raises what a process raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        start_processes(  # type: ignore[no-untyped-call]
            _process, (world, folder, work, arguments), nprocs=world, start_method="spawn"
        )
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]


def _process(
    rank: int, world: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    try:
        torch.save(work(rank, world, *arguments), Path(folder) / f"{rank}.pt")
        dist.barrier()  # or the first to end closes connections that another still reads from
    finally:
        dist.destroy_process_group()
