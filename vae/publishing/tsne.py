"""t-SNE: points of many dimensions on a plane, neighbours beside neighbours.

Van der Maaten & Hinton 2008, exact rather than approximated: a few hundred points need no tree, and
no library. It starts from the principal plane (Kobak & Berens 2019) and draws no random number.
"""

import math

import torch
from torch import Tensor

PERPLEXITY = 30.0
ITERATIONS, EXAGGERATED = 300, 100  # in all, and those with neighbours pulled together first
EXAGGERATION = 12.0
FEWEST = 10  # points of which neighbours can be told
SMALLEST = 1e-12


def embed_on_plane(points_ND: Tensor, plane_N2: Tensor) -> Tensor:
    """Coordinates [N, 2] that keep neighbours together; `plane_N2` is where the points start.

    Float64 on the CPU. Raises ValueError for fewer than FEWEST points.
    """
    if len(points_ND) < FEWEST:
        raise ValueError(f"{len(points_ND)} points, at least {FEWEST} have neighbours")
    p_NN = find_neighbours(points_ND, min(PERPLEXITY, (len(points_ND) - 1) / 3))
    y_N2 = 1e-4 * plane_N2 / plane_N2[:, 0].std().clamp_min(SMALLEST)
    velocity_N2, gain_N2 = torch.zeros_like(y_N2), torch.ones_like(y_N2)
    rate = max(50.0, len(y_N2) / EXAGGERATION / 4)
    for iteration in range(ITERATIONS):
        early = iteration < EXAGGERATED
        gradient_N2 = differentiate(y_N2, EXAGGERATION * p_NN if early else p_NN)
        agrees = gradient_N2.sign() != velocity_N2.sign()
        gain_N2 = torch.where(agrees, gain_N2 + 0.2, gain_N2 * 0.8).clamp_min(0.01)
        velocity_N2 = (0.5 if early else 0.8) * velocity_N2 - rate * gain_N2 * gradient_N2
        y_N2 = y_N2 + velocity_N2
        y_N2 = y_N2 - y_N2.mean(0)
    return y_N2


def find_neighbours(points_ND: Tensor, perplexity: float) -> Tensor:
    """Joint probabilities [N, N] that two points are neighbours; they sum to 1."""
    squared_NN = torch.cdist(points_ND, points_ND).square()
    squared_NN = squared_NN / squared_NN.mean().clamp_min(SMALLEST)
    low_N1 = torch.full_like(squared_NN[:, :1], -30.0)
    high_N1 = -low_N1
    for _ in range(40):  # bisect each point's log-precision for its entropy
        middle_N1 = (low_N1 + high_N1) / 2
        p_NN, entropy_N1 = weigh(squared_NN, middle_N1.exp())
        wide = entropy_N1 > math.log(perplexity)
        low_N1, high_N1 = (
            torch.where(wide, middle_N1, low_N1),
            torch.where(wide, high_N1, middle_N1),
        )
    return (p_NN + p_NN.T) / (2 * len(p_NN))


def weigh(squared_NN: Tensor, precision_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Each point's weights of its neighbours [N, N], itself excepted, and their entropy in nats."""
    itself = torch.eye(len(squared_NN), dtype=torch.bool)
    logits_NN = (-squared_NN * precision_N1).masked_fill(itself, -math.inf)
    p_NN = torch.softmax(logits_NN, 1)
    return p_NN, torch.special.entr(p_NN).sum(1, keepdim=True)


def differentiate(y_N2: Tensor, p_NN: Tensor) -> Tensor:
    """The gradient [N, 2] of KL(p‖q), with q from a Student t of the distances on the plane."""
    near_NN = 1 / (1 + torch.cdist(y_N2, y_N2).square())
    near_NN.fill_diagonal_(0)
    pull_NN = (p_NN - near_NN / near_NN.sum()) * near_NN
    return 4 * (pull_NN.sum(1, keepdim=True) * y_N2 - pull_NN @ y_N2)
