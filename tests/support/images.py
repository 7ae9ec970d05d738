"""Images of noise."""

import torch
from torch import Tensor


def draw_images(n: int, shape: tuple[int, int, int], seed: int = 0, levels: int = 256) -> Tensor:
    """Uint8 [n, *shape] below `levels`, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(levels, (n, *shape), dtype=torch.uint8, generator=generator)
