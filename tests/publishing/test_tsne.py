"""t-SNE: its gradient, its neighbourhoods, and what it keeps."""

import math

import pytest
import torch
from torch import Tensor

from vae.publishing.tsne import differentiate, embed_on_plane, find_neighbours, weigh


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_gradient_is_that_of_the_divergence() -> None:
    """As autograd has it from the definition of KL(p‖q)."""
    p, y = find_neighbours(draw(12, 5), 3.0), draw(12, 2).requires_grad_()
    near = (1 / (1 + (y[:, None] - y[None]).square().sum(-1))) * (1 - torch.eye(12))
    q = near / near.sum()
    off = ~torch.eye(12, dtype=torch.bool)
    (p[off] * (p[off] / q[off]).log()).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(differentiate(y.detach(), p), y.grad)


def test_every_point_has_as_many_neighbours_as_asked() -> None:
    """Joint probabilities are symmetric, of no point with itself, and sum to 1."""
    p = find_neighbours(draw(40, 5) * draw(40, 1).exp(), 7.0)
    torch.testing.assert_close(p, p.T)
    assert p.diagonal().abs().max() == 0
    assert float(p.sum()) == pytest.approx(1)


def test_entropy_of_equal_neighbours_is_that_of_a_fair_choice() -> None:
    """Points as far from each other as can be weigh the same."""
    distances = 1 - torch.eye(9, dtype=torch.float64)
    _, entropy = weigh(distances, torch.ones(9, 1, dtype=torch.float64))
    torch.testing.assert_close(entropy, torch.full_like(entropy, math.log(8)))


def test_clusters_of_many_dimensions_stay_apart() -> None:
    """Of five clusters in ten dimensions the nearest point on the plane is of one's own."""
    labels = torch.arange(200) % 5
    points = 8 * torch.eye(10, dtype=torch.float64)[labels] + draw(200, 10)
    start = (points - points.mean(0))[:, :2]
    plane = embed_on_plane(points, start)
    distances = torch.cdist(plane, plane).fill_diagonal_(math.inf)
    assert (labels[distances.argmin(1)] == labels).all()
    assert torch.equal(plane, embed_on_plane(points, start))


def test_points_that_coincide_and_points_that_are_few() -> None:
    """A collapsed posterior is drawn too; of nine points nobody can tell neighbours."""
    same = torch.zeros(20, 3, dtype=torch.float64)
    assert embed_on_plane(same, same[:, :2]).isfinite().all()
    with pytest.raises(ValueError, match="9 points"):
        embed_on_plane(same[:9], same[:9, :2])
