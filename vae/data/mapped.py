"""The splits of a dataset, mapped from where this machine has them.

A folder store's files are mapped where they lie. Those of another store are fetched into the node's
cache first, once for all processes.
"""

import mmap
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.datasets import REMEDY, ChecksumError, DatasetRef
from vae.data.node_cache import open_node_cache
from vae.data.rows import Rows
from vae.data.shards import find_shards
from vae.data.verified import WrongContentError, verify_once
from vae.store.promises import Store


class Examples(NamedTuple):
    """Some images, uint8 [N, C, H, W], and their labels, int64 [N]."""

    images: Tensor
    labels: Tensor


def read_examples(ref: DatasetRef, store: Store, split: str, count: int) -> Examples:
    """The first images of a split, in memory. Raises ChecksumError, UserError."""
    return Examples(
        open_rows(ref, store, split)[:count], read_labels(ref, store, split)[:count].clone()
    )


def open_rows(ref: DatasetRef, store: Store, split: str) -> Rows:
    """The images of one of the splits in `ref.counts`. Raises ChecksumError, UserError."""
    shards = [_map(file, ref, store) for file in find_shards(split, ref.files)]
    rows, expected = Rows(shards, (open_rows, (ref, store, split))), (ref.counts[split], *ref.shape)
    if tuple(rows.shape) != expected:
        raise ChecksumError(
            f"{_locate_record(ref, store)}: says {expected} of {split}, found "
            f"{tuple(rows.shape)}; {REMEDY}"
        )
    return rows


def read_labels(ref: DatasetRef, store: Store, split: str) -> Tensor:
    """The labels of a split, int64 [N] in memory. Raises ChecksumError, UserError."""
    labels = torch.from_numpy(np.array(_map(f"{split}-labels.npy", ref, store)))
    if len(labels) != ref.counts[split] or int(labels.max()) >= ref.classes:
        raise ChecksumError(
            f"{_locate_record(ref, store)}: says {ref.counts[split]} labels of {split} in "
            f"{ref.classes} classes, found {len(labels)} up to {labels.max()}; {REMEDY}"
        )
    return labels


def _locate_record(ref: DatasetRef, store: Store) -> str:
    return f"{store.uri}/{ref.key}/dataset.json"


def _map(file: str, ref: DatasetRef, store: Store) -> NDArray[Any]:
    where, expected = f"{store.uri}/{ref.key}/{file}", ref.files[file]
    try:
        opened = _open(f"{ref.key}/{file}", expected, store)
    except FileNotFoundError as error:
        raise ChecksumError(f"{where}: missing; {REMEDY}") from error
    except WrongContentError as error:
        raise ChecksumError(
            f"{where}: sha256 expected {expected}, found {error}; {REMEDY}"
        ) from error
    with opened:
        return map_array(opened)


def _open(key: str, sha256: str, store: Store) -> BinaryIO:
    path = store.find_file(key)
    if path is None:
        return open_node_cache().hold(sha256, partial(store.download, key))
    verify_once(path, sha256)
    return path.open("rb")


def map_array(file: BinaryIO) -> NDArray[Any]:
    """The array in a .npy file, mapped for as long as it is used.

    The map keeps the file's lock, because it keeps a duplicate of the descriptor. It could be
    written, which torch asks of what it takes, and a write would not reach the file. A page that is
    missing is read alone: neighbours in the file are not neighbours in an epoch.
    """
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype, offset=file.tell()).reshape(shape)
