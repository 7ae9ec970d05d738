"""How linearly the latents tell the classes apart: multinomial logistic regression on their means.

Float64, full batch and convex: the same latents give the same answer, with nothing to tune.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.models.levels import Images, split
from vae.models.networks import VAE

L2 = 1e-4  # on the weights of standardised latents, beside the mean negative log-likelihood
MAX_ITERATIONS = 200
GRADIENT_TOLERANCE = 1e-6
ENCODED_AT_ONCE = 1000


@torch.no_grad()
def encode_means(model: VAE, images_NCHW: Images) -> Tensor:
    """E[z|x], float64 [N, D] on the CPU, of images as the model sees them."""
    chunks = (chunk.to(model.device, model.dtype) for chunk in split(images_NCHW, ENCODED_AT_ONCE))
    return torch.cat([model.encode(chunk)[0].double().cpu() for chunk in chunks])


def measure_probe(
    train_ND: Tensor, train_labels_N: Tensor, test_ND: Tensor, test_labels_N: Tensor, classes: int
) -> float:
    """The share of test latents whose class a probe trained on the training latents names."""
    mean_D, deviation_D = train_ND.mean(0), train_ND.std(0, correction=0)
    scale_D = torch.where(deviation_D > 0, deviation_D, 1)  # a constant latent tells nothing
    weights_CD, bias_C = train_probe((train_ND - mean_D) / scale_D, train_labels_N, classes)
    logits_NC = F.linear((test_ND - mean_D) / scale_D, weights_CD, bias_C)
    return float((logits_NC.argmax(1) == test_labels_N).double().mean())


def train_probe(latents_ND: Tensor, labels_N: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights [C, D] and bias [C] at the minimum of the penalised negative log-likelihood."""
    weights_CD = latents_ND.new_zeros((classes, latents_ND.shape[1]), requires_grad=True)
    bias_C = latents_ND.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights_CD, bias_C],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def penalised_nats() -> Tensor:
        optimizer.zero_grad()
        nats = F.cross_entropy(F.linear(latents_ND, weights_CD, bias_C), labels_N)
        loss = nats + 0.5 * L2 * weights_CD.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(penalised_nats)  # type: ignore[no-untyped-call]
    return weights_CD.detach(), bias_C.detach()
