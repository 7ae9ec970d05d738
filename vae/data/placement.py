"""Where the images of a split lie while a model trains on them: decided here, for every device.

Which images a batch holds is its numbers' matter alone, so where they lie changes no result.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from vae.data.rows import Rows
from vae.models.levels import Images

DEVICE_SHARE = 0.5  # of a GPU's free memory that a split may take
READERS = 4  # threads: a row that is not in memory yet is a read from the disk
HELD_BYTES = 256_000_000  # of an evaluation split's numbers that a device holds
FLOAT_BYTES = 4
AHEAD = 8  # batches gathered before they are asked for


class Placed(Protocol):
    """The images of a split where a device takes batches of them."""

    device: torch.device

    def __len__(self) -> int: ...

    def stream(self, order_N: Tensor, parts: Iterable[slice]) -> Iterator[Tensor]:
        """Yield the images whose numbers stand in each part of the order, on the device."""


class Resident:
    """Images in the device's own memory; on a CPU, that may be a file that is mapped."""

    def __init__(self, images_NCHW: Tensor) -> None:
        self.images, self.device = images_NCHW, images_NCHW.device

    def __len__(self) -> int:
        return len(self.images)

    def stream(self, order_N: Tensor, parts: Iterable[slice]) -> Iterator[Tensor]:
        on_device_N = order_N.to(self.device)
        return (self.images.index_select(0, on_device_N[part]) for part in parts)


class Gathered:
    """Images in mapped files, from which threads gather the next batches ahead of the steps."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.rows, self.device = rows, device

    def __len__(self) -> int:
        return len(self.rows)

    def stream(self, order_N: Tensor, parts: Iterable[slice]) -> Iterator[Tensor]:
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            try:
                for part in parts:
                    waiting.append(pool.submit(self.gather, order_N[part]))
                    if len(waiting) > AHEAD:
                        yield self.send(waiting.popleft())
                while waiting:
                    yield self.send(waiting.popleft())
            finally:  # also where the epoch is broken off
                pool.shutdown(cancel_futures=True)

    def gather(self, numbers_B: Tensor) -> Tensor:
        """A batch in memory from which the device can fetch it."""
        shape, on_gpu = (len(numbers_B), *self.rows.shape[1:]), self.device.type == "cuda"
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        self.rows.gather(numbers_B.numpy(), images)
        return images

    def send(self, gathered: Future[Tensor]) -> Tensor:
        """A batch on the device. Its pinned memory is used again only once the copy is made."""
        return gathered.result().to(self.device, non_blocking=True)


def place_rows(
    images_NCHW: Tensor | Rows, device: torch.device, share: float = DEVICE_SHARE
) -> Placed:
    """The images where the device takes batches of them fastest.

    A GPU holds what takes at most `share` of its free memory. A CPU maps what lies in one shard.
    Of anything else, batches are gathered.
    """
    if isinstance(images_NCHW, Tensor):
        return Resident(images_NCHW.to(device))
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        fits = images_NCHW.nbytes <= share * free_bytes
        return Resident(load_rows(images_NCHW, device)) if fits else Gathered(images_NCHW, device)
    whole = images_NCHW.view_whole()
    return Gathered(images_NCHW, device) if whole is None else Resident(whole)


def place_inputs(inputs_NCHW: Images, device: torch.device) -> Images:
    """An evaluation split as a model sees it: on the device, or read by chunk if it is large."""
    small = math.prod(inputs_NCHW.shape) * FLOAT_BYTES <= HELD_BYTES
    return inputs_NCHW[:].to(device) if small else inputs_NCHW


def load_rows(rows: Rows, device: torch.device) -> Tensor:
    """All images in the device's memory, of which the host never holds more than a shard."""
    images = torch.empty(tuple(rows.shape), dtype=torch.uint8, device=device)
    parts = torch.split(images, [len(shard) for shard in rows.shards])
    for part, shard in zip(parts, rows.shards, strict=True):
        part.copy_(torch.from_numpy(shard))
    return images
