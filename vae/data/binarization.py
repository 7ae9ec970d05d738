"""Grey levels as 0 or 1: anew at every step of training, once for an evaluation split."""

import math

import torch
from torch import Tensor

from vae.experiments.settings import DataConfig
from vae.files import hash_bytes
from vae.models.levels import Images, to_unit
from vae.models.seeds import derive_seed

BLOCK_IMAGES = 1000  # a multiple of 8, so that a block begins with a whole random word


def prepare_inputs(images_NCHW: Images, config: DataConfig) -> Images:
    """An evaluation split as the model sees it, [N, C, H, W], from uint8 images, read by chunk.

    Binarised once, uint8 0 or 1; or grey levels in [0, 1], float32.
    """
    if config.binarize == "none":
        return GreyLevels(images_NCHW)
    return Binarized(images_NCHW, config.binarize_seed)


def prepare_alone(images_NCHW: Tensor, config: DataConfig) -> Tensor:
    """Images of no split as the model sees them, [N, C, H, W], from uint8 images.

    Binarised like a split, but each by what its own bytes and the recorded seed draw: the same
    picture gives the same pixels, whichever others there are. Or grey levels, as of a split.
    """
    if config.binarize == "none":
        return to_unit(images_NCHW)
    return torch.cat([_binarize_alone(image, config.binarize_seed) for image in images_NCHW])


def _binarize_alone(image_CHW: Tensor, seed: int) -> Tensor:
    """One image as a split of its own, [1, C, H, W]."""
    digest = hash_bytes(image_CHW.numpy().tobytes())
    return Binarized(image_CHW[None], derive_seed(seed, "alone", digest))[:]


def draw_thresholds(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Uniform levels 0..254, uint8 [n, C, H, W]: `pixels > threshold` has p = pixel / 255.

    Random 64-bit words are eight random bytes each, an order of magnitude cheaper than bounded
    draws on a CPU. The one byte in 256 that is 255, no level, takes the spare level of its image
    instead. On a GPU, where every operation is a kernel, a bounded draw is the cheaper.
    """
    shape, device = (n, *pixels.shape[1:]), generator.device
    if device.type == "cuda":
        return torch.empty(shape, dtype=torch.uint8, device=device).random_(
            0, 255, generator=generator
        )
    count = math.prod(shape)
    words = draw_words(-(-count // 8), generator)
    return fill_spare(words.view(torch.uint8)[:count].view(shape), draw_spare(n, generator))


def draw_words(n: int, generator: torch.Generator) -> Tensor:
    """Random 64-bit words [n]; drawn in several goes, they are the same sequence."""
    words = torch.empty(n, dtype=torch.int64, device=generator.device)
    return words.random_(-(2**63), None, generator=generator)


def draw_spare(n: int, generator: torch.Generator) -> Tensor:
    """A level for each image, uint8 [n], to take the place of 255s."""
    spare = torch.empty(n, dtype=torch.uint8, device=generator.device)
    return spare.random_(0, 255, generator=generator)


def fill_spare(levels_NCHW: Tensor, spare_N: Tensor) -> Tensor:
    """Levels without 255, in place."""
    none = (levels_NCHW == torch.full_like(levels_NCHW, 255)).view(torch.uint8)
    step = spare_N.add(1).view(-1, *[1] * (none.ndim - 1))  # 255 + step wraps to the level
    return levels_NCHW.add_(none * step)


class Binarized:
    """The one fixed binarisation of an evaluation split: uint8 0 or 1, read by chunk.

    Drawn on the CPU, in one sequence over the whole split, so that the recorded seed names the same
    images on any device and for any chunks. The sequence is run through once, keeping where the
    generator was at every BLOCK_IMAGES, from where any chunk can be drawn again.
    """

    def __init__(self, images_NCHW: Images, seed: int) -> None:
        self.images, self.states = images_NCHW, list[Tensor]()
        generator = torch.Generator().manual_seed(derive_seed(seed, "binarize"))
        in_block = BLOCK_IMAGES * math.prod(images_NCHW.shape[1:]) // 8
        left = -(-math.prod(images_NCHW.shape) // 8)
        while left > 0:
            self.states.append(generator.get_state())
            draw_words(min(left, in_block), generator)
            left -= in_block
        self.spare = draw_spare(len(images_NCHW), generator)

    @property
    def shape(self) -> torch.Size:
        """[N, C, H, W]."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice, /) -> Tensor:
        start, stop, _ = rows.indices(len(self))
        blocks = range(start // BLOCK_IMAGES * BLOCK_IMAGES, stop, BLOCK_IMAGES)
        parts = [
            self.read(block, max(start, block), min(stop, block + BLOCK_IMAGES)) for block in blocks
        ]
        return torch.cat(parts)

    def read(self, block: int, start: int, stop: int) -> Tensor:
        """Some images of the block that begins at image `block`."""
        one, generator = math.prod(self.shape[1:]), torch.Generator()
        generator.set_state(self.states[block // BLOCK_IMAGES])
        levels = draw_words(-(-(stop - block) * one // 8), generator).view(torch.uint8)
        levels = levels[(start - block) * one :][: (stop - start) * one]
        threshold = fill_spare(levels.view(-1, *self.shape[1:]), self.spare[start:stop])
        return (self.images[start:stop].cpu() > threshold).to(torch.uint8)


class GreyLevels:
    """An evaluation split in [0, 1], float32, read by chunk."""

    def __init__(self, images_NCHW: Images) -> None:
        self.images = images_NCHW

    @property
    def shape(self) -> torch.Size:
        """[N, C, H, W]."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice, /) -> Tensor:
        return to_unit(self.images[rows])
