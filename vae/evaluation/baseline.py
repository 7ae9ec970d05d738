"""What needs no model: images of which every pixel is independent of the others."""

import torch
from torch import Tensor

from vae.models.densities import bernoulli_log_prob

EPS = 1e-3  # no pixel is certain: as in the bias that every model starts from


@torch.no_grad()
def measure_independent_pixels(train_NCHW: Tensor, seen_NCHW: Tensor) -> float:
    """Mean -log p(x), nats per image, where each pixel has its mean over the training images.

    `train_NCHW`: uint8. `seen_NCHW`: an evaluation split as a model sees it, pixels in [0, 1].
    """
    mean_CHW = train_NCHW.double().mean(0) / 255
    logits_CHW = torch.logit(mean_CHW, eps=EPS)
    total = sum(
        float(bernoulli_log_prob(part, logits_CHW.expand(1, *part.shape)).sum())
        for part in torch.split(seen_NCHW.double(), 1000)
    )
    return -total / len(seen_NCHW)
