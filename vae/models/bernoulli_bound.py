"""The density of Bernoulli pixels for many latents of one image: few passes over the logits.

Shape suffixes as in `vae.models.networks`; P are the pixels of an image, C * H * W, and F the
inputs of the decoder's output layer.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vae.models.densities import bernoulli_log_prob
from vae.models.networks import VAE


def make_bernoulli_log_prob(model: VAE, x_BP: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the function from latents [B, K, D] to log p(x|z), [B, K] in nats, for these images.

    A block in which the quick density leaves its type's range is decoded again for the exact one.
    """
    *hidden, output = model.decoder.children()
    if len(x_BP) == 1 and isinstance(output, nn.Linear) and is_factorable(output.bias):
        quick = make_for_one_image(nn.Sequential(*hidden), output, x_BP)
    else:
        quick = make_for_images(model, x_BP)

    def log_prob(z_BKD: Tensor) -> Tensor:
        log_px_BK = quick(z_BKD)
        if not log_px_BK.isfinite().all():
            log_px_BK = bernoulli_log_prob(x_BP, decode_logits(model, z_BKD).transpose(0, 1)).T
        return log_px_BK

    return log_prob


def is_factorable(bias_P: Tensor) -> bool:
    """Whether exp(b + m) is exp(b) exp(m): neither becomes 0 or infinite where the sum matters.

    A bias of half the exponent that the type has room for, 43 in float32, leaves the other half.
    """
    return bool(bias_P.abs().max() < -0.5 * math.log(torch.finfo(bias_P.dtype).tiny))


def make_for_images(model: VAE, x_BP: Tensor) -> Callable[[Tensor], Tensor]:
    """The quick density of any images and any decoder."""
    sign_BP, grey_BP = split_signs(x_BP)
    return lambda z_BKD: margins_log_prob_(
        grey_BP, decode_logits(model, z_BKD).mul_(sign_BP[:, None])
    )


def make_for_one_image(
    hidden: nn.Sequential, output: nn.Linear, x_1P: Tensor
) -> Callable[[Tensor], Tensor]:
    """The quick density of one image, where the output layer is dense.

    Its weights, fewer than the logits of a block, take the signs, and its bias stays outside: two
    passes over the logits less, a sixteenth of the bound's time.
    """
    sign_1P, grey_1P = split_signs(x_1P)
    weight_PF, bias_1P = output.weight * sign_1P.T, output.bias * sign_1P

    def log_prob(z_1KD: Tensor) -> Tensor:
        margin_KP = hidden(z_1KD[0]) @ weight_PF.T
        return margins_log_prob_(grey_1P, margin_KP[None], bias_1P)

    return log_prob


def decode_logits(model: VAE, z_BKD: Tensor) -> Tensor:
    """Logits [B, K, P] of p(x|z)."""
    return model.decode(z_BKD.flatten(0, 1)).reshape(*z_BKD.shape[:2], -1)


def split_signs(x_BP: Tensor) -> tuple[Tensor, Tensor]:
    """For each pixel, [B, P]: the sign that makes its logit a margin, and how grey it is.

    A margin is the log-odds against the pixel's value: its logit where the value is nearer to 0,
    minus its logit where it is nearer to 1. Grey is the distance to the nearer one, from 0 to 0.5.
    """
    nearer_BP = (x_BP >= 0.5).to(x_BP.dtype)
    return 1 - 2 * nearer_BP, (x_BP - nearer_BP).abs_()


def margins_log_prob_(grey_BP: Tensor, margin_BKP: Tensor, bias_BP: Tensor | None = None) -> Tensor:
    """`bernoulli_log_prob` as [B, K], from margins, which it destroys; it has no gradient.

    A pixel with margin m + b has probability 1 / (1 + exp(b) exp(m)); b may be left out. One
    logarithm is taken of the product of 8 such factors, not of each; of more than 8 it takes longer
    than it saves. A grey pixel adds its margin times its grey. Not finite where 8 pixels together
    have a probability below the type's smallest number, exp(-88) in float32.
    """
    log_px_BK = torch.zeros_like(margin_BKP[..., 0])
    if grey_BP.any():
        log_px_BK += (margin_BKP @ grey_BP[..., None]).squeeze(-1)
        if bias_BP is not None:
            log_px_BK += (bias_BP * grey_BP).sum(-1, keepdim=True)
    inverse_BKP = margin_BKP.exp_()
    if bias_BP is None:
        inverse_BKP.add_(1)
    else:
        torch.addcmul(grey_BP.new_ones(1), inverse_BKP, bias_BP.exp()[:, None], out=inverse_BKP)
    pixels = grey_BP.shape[1]
    together = math.gcd(pixels, 8)
    grouped = inverse_BKP.view(*margin_BKP.shape[:2], together, pixels // together)
    return log_px_BK.sub_(grouped.prod(-2).log_().sum(-1))
