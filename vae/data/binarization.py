"""Grey levels as 0 or 1: anew at every step of training, once for an evaluation split."""

import math

import torch
from torch import Tensor

from vae.experiments.settings import DataConfig
from vae.models.levels import to_unit
from vae.models.seeds import derive_seed


def prepare_inputs(images_NCHW: Tensor, config: DataConfig) -> Tensor:
    """An evaluation split as the model sees it, [N, C, H, W], from uint8 images.

    Binarised once, uint8 0 or 1; or grey levels in [0, 1], float32.
    """
    if config.binarize == "none":
        return to_unit(images_NCHW)
    return binarize(images_NCHW, config.binarize_seed)


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
    words = torch.empty(-(-count // 8), dtype=torch.int64, device=device)
    levels = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:count]
    spare = torch.empty((n, 1), dtype=torch.uint8, device=device)
    step = spare.random_(0, 255, generator=generator).add_(1)  # 255 + step wraps to the level
    none = levels == torch.full_like(levels, 255)
    return levels.add_((none.view(torch.uint8).view(n, -1) * step).view(-1)).view(shape)


def binarize(images_NCHW: Tensor, seed: int) -> Tensor:
    """The one fixed binarisation of an evaluation split: uint8 0 or 1, [N, C, H, W].

    Drawn on the CPU for the whole split, so that the recorded seed names the same images on any
    device and for any sharding.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "binarize"))
    on_cpu = images_NCHW.cpu()
    return (on_cpu > draw_thresholds(on_cpu, len(on_cpu), generator)).to(torch.uint8)
