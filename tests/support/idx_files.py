"""Small images that are told apart by their number, and IDX files of them."""

import numpy as np
from numpy.typing import NDArray

TRAIN, TEST = 70, 12


def idx(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of bytes: magic, big-endian sizes, data."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def numbered(first: int, count: int) -> NDArray[np.uint8]:
    """Images [count, 4, 4] of which pixel (0, 0) is the image's number."""
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(first, first + count)
    return images


def numbers(images: NDArray[np.uint8]) -> list[int]:
    """The numbers of `numbered` images [N, C, H, W]."""
    return [int(number) for number in images[:, 0, 0, 0]]


def idx_files() -> dict[str, bytes]:
    """Four IDX files of numbered images; an image's label is its number modulo 10."""
    return {
        "train-images-idx3-ubyte": idx(numbered(0, TRAIN)),
        "train-labels-idx1-ubyte": idx((np.arange(TRAIN) % 10).astype(np.uint8)),
        "t10k-images-idx3-ubyte": idx(numbered(TRAIN, TEST)),
        "t10k-labels-idx1-ubyte": idx((np.arange(TRAIN, TRAIN + TEST) % 10).astype(np.uint8)),
    }
