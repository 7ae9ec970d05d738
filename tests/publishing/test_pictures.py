"""Pictures of a model: what is on them, and that the same arguments give the same bytes."""

import io
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support.images import draw_images
from vae.experiments.settings import ModelConfig
from vae.models.networks import VAE, build_model
from vae.publishing import pictures

GAP = 3  # pixels between tiles
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def model_of(shape: tuple[int, int, int] = MNIST, latent_dim: int = 2) -> VAE:
    return build_model(ModelConfig(latent_dim=latent_dim, hidden=(16,)), shape)


def noise(n: int, shape: tuple[int, int, int] = MNIST) -> Tensor:
    return draw_images(n, shape, seed=1)


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Decoded picture, uint8 [H, W, 3]."""
    decoded = matplotlib.image.imread(io.BytesIO(png), format="png")
    assert decoded[..., 3:].min(initial=1) == 1
    shown: NDArray[np.uint8] = np.rint(decoded[..., :3] * 255).astype(np.uint8)
    return shown


def tile(png: bytes, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
    top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
    return pixels(png)[top : top + height, left : left + width]


def enlarged(image_CHW: Tensor, factor: int) -> NDArray[np.uint8]:
    """The image as a reader should see it: every pixel a square, grey in three equal channels."""
    square = np.kron(image_CHW.numpy(), np.ones((1, factor, factor), dtype=np.uint8))
    return np.broadcast_to(square, (3, *square.shape[1:])).transpose(1, 2, 0)


@pytest.mark.parametrize(("shape", "side"), [(MNIST, 84), (CIFAR, 96), ((3, 100, 100), 100)])
def test_samples_fill_a_square_grid(shape: tuple[int, int, int], side: int) -> None:
    """Small images are enlarged by a whole factor, and five of them take three columns."""
    picture = pixels(pictures.draw_samples(model_of(shape), n=5))
    assert picture.shape == (2 * side + 3 * GAP, 3 * side + 4 * GAP, 3)
    assert (picture[-1] == round(pictures.SEPARATOR * 255)).all()


def test_samples_are_the_models_own() -> None:
    """The first tile is the first draw of the seed's generator."""
    model = model_of()
    drawn = model.sample(4, torch.Generator().manual_seed(7))[0].mul(255).round().byte()
    png = pictures.draw_samples(model, n=4, seed=7)
    assert (tile(png, 0, 0, 84, 84) == enlarged(drawn, 3)).all()


@pytest.mark.parametrize("shape", [MNIST, CIFAR])
def test_reconstructions_stand_below_their_originals(shape: tuple[int, int, int]) -> None:
    """Each tile is the original, a line, and the decoding of its posterior mean."""
    model, images = model_of(shape), noise(3, shape)
    png = pictures.draw_reconstructions(model, images, rows=2, columns=2)
    side = 3 * shape[1]
    both = tile(png, 1, 0, 2 * side + 1, side)
    decoded = model.reconstruct(images[2:] / 255)[0].mul(255).round().byte()
    assert (both[:side] == enlarged(images[2], 3)).all()
    assert (both[side + 1 :] == enlarged(decoded, 3)).all()


def test_reconstructions_of_fewer_images_than_asked() -> None:
    """Five images in rows of four leave three places empty; more than asked are left out."""
    height, width = 2 * 84 + 1, 84
    few = pixels(pictures.draw_reconstructions(model_of(), noise(5), rows=3, columns=4))
    many = pixels(pictures.draw_reconstructions(model_of(), noise(9), rows=1, columns=4))
    assert few.shape == (2 * height + 3 * GAP, 4 * width + 5 * GAP, 3)
    assert many.shape == (height + 2 * GAP, 4 * width + 5 * GAP, 3)


def test_interpolation_ends_in_real_images_of_different_labels() -> None:
    """A row is a real image, the steps, and a real image of another label; none is used twice."""
    labels, images = torch.tensor([3, 3, 5, 3, 5, 5]), noise(6)
    png = pictures.draw_interpolation(model_of(), images, labels, steps=4)
    for row, (i, j) in enumerate([(0, 2), (1, 4), (3, 5)]):
        assert (tile(png, row, 0, 84, 84) == enlarged(images[i], 3)).all()
        assert (tile(png, row, 5, 84, 84) == enlarged(images[j], 3)).all()
    assert pixels(png).shape == (3 * 84 + 4 * GAP, 6 * 84 + 7 * GAP, 3)


def test_interpolation_within_the_only_label_there_is() -> None:
    """Unlabelled images, all of one label, are paired in order."""
    images = noise(4)
    png = pictures.draw_interpolation(model_of(), images, torch.zeros(4, dtype=torch.int64), rows=1)
    assert (tile(png, 0, 11, 84, 84) == enlarged(images[1], 3)).all()


def test_interpolation_needs_two_images() -> None:
    """One image has nothing to go to."""
    with pytest.raises(ValueError, match="at least 2"):
        pictures.draw_interpolation(model_of(), noise(1), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
@pytest.mark.parametrize("n", [1, 40])
def test_latent_map_of_any_latent_size(latent_dim: int, n: int) -> None:
    """One latent, two and many are drawn, of one image and of several, the same every time."""
    model, images, labels = model_of(latent_dim=latent_dim), noise(n), torch.arange(n) % 3
    png = pictures.draw_latents(model, images, labels)
    assert pixels(png).shape == (840, 960, 3)
    assert png == pictures.draw_latents(model, images, labels)


def test_principal_plane_keeps_the_variance_of_a_plane() -> None:
    """Points on a plane in eight dimensions keep their distances, and all of their variance."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(50, 2, dtype=torch.float64, generator=generator) * torch.tensor([3.0, 1.0])
    basis, _ = torch.linalg.qr(torch.randn(8, 2, dtype=torch.float64, generator=generator))
    plane, names = pictures.project(flat @ basis.T, torch.zeros(50))
    torch.testing.assert_close(torch.pdist(plane), torch.pdist(flat))
    shares = [int(name.partition("(")[2].partition("%")[0]) for name in names]
    assert sum(shares) in (99, 100, 101)
    assert shares == sorted(shares, reverse=True)


def test_two_latents_are_drawn_as_they_are() -> None:
    """Nothing is rotated that is a plane already."""
    means = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane, _ = pictures.project(means, torch.zeros(9))
    assert torch.equal(plane, means)


def test_many_labels_are_told_apart() -> None:
    """Eleven labels, one more than there are colours, give a picture unlike that of ten."""
    model, images = model_of(), noise(22)
    eleven = pictures.draw_latents(model, images, torch.arange(22) % 11)
    assert eleven != pictures.draw_latents(model, images, torch.arange(22) % 10)


def test_same_seed_same_bytes() -> None:
    """Grids repeat to the byte, and another seed draws other samples."""
    model, images, labels = model_of(), noise(6), torch.arange(6)
    assert pictures.draw_samples(model, 9, 1) == pictures.draw_samples(model, 9, 1)
    assert pictures.draw_samples(model, 9, 1) != pictures.draw_samples(model, 9, 2)
    first, second = (pictures.draw_reconstructions(model, images) for _ in range(2))
    assert first == second
    first, second = (pictures.draw_interpolation(model, images, labels) for _ in range(2))
    assert first == second


def test_drawing_leaves_the_global_generator_alone() -> None:
    """Pictures taken while training do not change what is trained."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pictures.draw_samples(model_of(), n=1)
    pictures.draw_latents(model_of(), noise(3), torch.arange(3))
    assert torch.equal(before, torch.get_rng_state())


def test_metadata_names_no_software() -> None:
    """Two versions of a plotting library would otherwise write different bytes."""
    model = model_of()
    chunks = (
        pictures.draw_samples(model, 1),
        pictures.draw_latents(model, noise(2), torch.arange(2)),
    )
    for png in chunks:
        assert b"tEXt" not in png


def test_pairs_never_share_an_image() -> None:
    """However many rows are asked for, pairs are disjoint, in order and differ in label."""
    labels = [0, 0, 0, 1, 2, 0, 1]
    found = list(pictures.choose_pairs(labels, rows=10))
    used = [index for pair in found for index in pair]
    assert len(used) == len(set(used))
    assert all(labels[i] != labels[j] for i, j in found)
    assert all(i < j for (i, _), (j, _) in pairwise(found))
