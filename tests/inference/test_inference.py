"""A pulled model on images of one's own: latents, pictures, scores."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import draw_images
from tests.support.pulled_models import pull_small_model
from tests.support.refusals import catch_refusal
from vae.data.arrays import fit_images
from vae.data.binarization import prepare_alone
from vae.data.images import Look
from vae.inference.images import read_data_settings, read_images
from vae.inference.latents import decode, encode
from vae.inference.scores import bound_images, score
from vae.models.levels import to_unit
from vae.models.seeds import derive_seed
from vae.registry.pulled_model import open_pulled

GREY = {"binarize": "none"}


def write_images(path: Path, n: int = 7, shape: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    """A .npy file of images, and what it holds, uint8 [N, C, H, W]."""
    images = draw_images(n, shape)
    np.save(path, images.numpy())
    return images


def test_latents_there_and_back(tmp_path: Path) -> None:
    """What is encoded is the posterior of each image; what is decoded the picture of its mean."""
    folder, model = pull_small_model(tmp_path, data=GREY)
    images = write_images(tmp_path / "pets.npy", 300)
    loaded, manifest = open_pulled(folder)
    data = read_data_settings(manifest)
    npz = encode(loaded, read_images(str(tmp_path / "pets.npy"), loaded, data), data)
    (tmp_path / "latents.npz").write_bytes(npz)
    found = np.load(tmp_path / "latents.npz")
    with torch.no_grad():
        mu, logvar = model.encode(to_unit(images))
        pictures = model.likelihood.mean(model.decode(mu))
    np.testing.assert_allclose(found["mu"], mu.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["logvar"], logvar.numpy(), rtol=1e-5, atol=1e-6)
    assert found["names"][299] == "pets.npy[299]"
    decoded = decode(loaded, tmp_path / "latents.npz")
    assert decoded.dtype == np.uint8
    assert np.abs(decoded / 255 - pictures.numpy()).max() < 0.51 / 255


def test_scores_are_the_bound_of_each_image(tmp_path: Path) -> None:
    """Their mean is the bound of the set; the same call gives the same text."""
    folder, _ = pull_small_model(tmp_path, data=GREY, likelihood="logistic")
    write_images(tmp_path / "pets.npy")
    loaded, manifest = open_pulled(folder)
    data = read_data_settings(manifest)

    def call(samples: int) -> str:
        images = read_images(str(tmp_path / "pets.npy"), loaded, data)
        return score(loaded, images, data, samples, seed=3)

    rows = list(csv.DictReader(io.StringIO(call(50))))
    assert [row["image"] for row in rows] == [f"pets.npy[{n}]" for n in range(7)]
    assert call(50) == call(50)
    for row in rows:
        nats = float(row["nll"])
        assert float(row["bits_per_dim"]) == pytest.approx(nats / 64 / np.log(2), abs=1e-4)
        assert float(row["rate"]) >= 0
    nll = torch.tensor([float(row["nll"]) for row in rows])
    noise = torch.Generator().manual_seed(derive_seed(3, "score"))
    images = torch.from_numpy(np.load(tmp_path / "pets.npy"))
    torch.testing.assert_close(
        nll, bound_images(loaded, images, data, 50, noise)[0], atol=1e-4, rtol=0
    )


def test_a_picture_has_its_latents_wherever_it_stands(tmp_path: Path) -> None:
    """Of a model of binarised pixels too: the same twice, among others or alone."""
    folder, _ = pull_small_model(tmp_path, data={"binarize_seed": 5})
    images = write_images(tmp_path / "many.npy", 300)
    images[299] = images[0]
    np.save(tmp_path / "many.npy", images.numpy())
    np.save(tmp_path / "late.npy", images[200:].numpy())
    loaded, manifest = open_pulled(folder)
    data = read_data_settings(manifest)

    def find_means(name: str) -> np.ndarray:
        npz = encode(loaded, read_images(str(tmp_path / name), loaded, data), data)
        means: np.ndarray = np.load(io.BytesIO(npz))["mu"]
        return means

    means = find_means("many.npy")
    np.testing.assert_allclose(means[0], means[299], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means[200:], find_means("late.npy"), rtol=1e-5, atol=1e-6)
    seen = prepare_alone(images[:2], data)
    assert seen.dtype == torch.uint8 and set(seen.flatten().tolist()) == {0, 1}
    assert not torch.equal(seen, prepare_alone(images[:2], replace(data, binarize_seed=6)))
    pixels = torch.full((200, 1, 8, 8), 51, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(200)  # so that no two are the same
    assert prepare_alone(pixels, data)[..., 1:].float().mean() == pytest.approx(0.2, abs=0.02)


def test_images_that_the_model_can_not_take(tmp_path: Path) -> None:
    """Named, in one line, with what it takes."""
    folder, _ = pull_small_model(tmp_path, data=GREY)
    write_images(tmp_path / "wide.npy", shape=(1, 8, 9))
    loaded, manifest = open_pulled(folder)
    data = read_data_settings(manifest)

    def read(name: str) -> None:
        list(read_images(str(tmp_path / name), loaded, data))

    assert "wide.npy[0] is 1×8×9, the model takes 1×8×8" in catch_refusal(read, "wide.npy")
    assert "is no folder, pattern" in catch_refusal(read, "none")


def test_an_array_is_brought_to_the_size_and_colours_of_the_model(tmp_path: Path) -> None:
    """Of a model that was trained on resized images, as a file of one image is."""
    resized = {"binarize": "none", "size": 8}
    folder, _ = pull_small_model(tmp_path, (3, 8, 8), data=resized)
    images = write_images(tmp_path / "grey.npy", 3, (1, 16, 20)).numpy()
    loaded, manifest = open_pulled(folder)
    data = read_data_settings(manifest)
    [batch] = read_images(str(tmp_path / "grey.npy"), loaded, data)
    fitted, _ = fit_images(images, Look(size=8, colours=3))
    np.testing.assert_array_equal(batch.images.numpy(), fitted)
    assert batch.images.shape == (3, 3, 8, 8)


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of a folder that is no image has no latents: nobody is to look for them in vain."""
    folder, _ = pull_small_model(tmp_path, data=GREY)
    (tmp_path / "pets").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "pets" / "a.png")
    (tmp_path / "pets" / "b.heic").write_bytes(b"")
    loaded, manifest = open_pulled(folder)
    [batch] = read_images(str(tmp_path / "pets"), loaded, read_data_settings(manifest))
    assert batch.names == ["a.png"]
    assert "pets: 1 .heic left out" in caplog.text


@pytest.mark.parametrize(
    "array", [np.zeros((3, 5)), np.zeros(2), np.full((1, 2), np.nan), np.array(["a"])]
)
def test_latents_that_are_none(tmp_path: Path, array: np.ndarray) -> None:
    """Of another size, not finite, no numbers: one line."""
    folder, _ = pull_small_model(tmp_path)
    loaded, _ = open_pulled(folder)
    np.save(tmp_path / "z.npy", array)
    catch_refusal(decode, loaded, tmp_path / "z.npy")


def test_a_colder_prior_draws_closer_to_the_usual(tmp_path: Path) -> None:
    """At temperature 0 all draws are the picture of the origin."""
    _, model = pull_small_model(tmp_path)
    drawn = model.sample(4, torch.Generator().manual_seed(0), temperature=0.0)
    origin = model.likelihood.mean(model.decode(torch.zeros(1, 2))).detach()
    torch.testing.assert_close(drawn, origin.expand(4, *origin.shape[1:]))
