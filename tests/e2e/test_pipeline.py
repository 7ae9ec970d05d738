"""The whole pipeline as a person runs it: real data, Prefect, Ray and W&B, in a folder.

On S3 it is run by test_deployment.py.
"""

from pathlib import Path

import numpy as np
import pytest

from flows.cli import app
from tests.support.command import vae
from vae.registry.read import list_versions
from vae.store.open import open_store


@pytest.mark.usefixtures("quiet_home")
def test_the_pipeline_publishes_a_model_that_can_be_pulled_and_used(tmp_path: Path) -> None:
    """From nothing to pictures of a pulled model; the same run again does nothing anew."""
    store_uri = str(tmp_path / "store")
    run = ("run", "--experiment", "tiny", "--store", store_uri, "--run-id", "first")
    done = vae(*run, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orchestration" in done.stdout

    [version] = list_versions(open_store(store_uri), "tiny")
    assert version.best
    assert 100 < version.metrics["test/nll"] <= version.metrics["test/nelbo"] < 300
    assert 100 < version.metrics["val/nll"] < 300

    pulled = vae("pull", "tiny", "--to", "model", "--store", store_uri, cwd=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    for picture in ("sample", "reconstruct", "interpolate", "latent"):
        png = tmp_path / f"{picture}.png"
        app([picture, str(tmp_path / "model"), "--out", str(png)], standalone_mode=False)
        assert png.read_bytes().startswith(b"\x89PNG")

    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2 + 1 + 1, "two trials, the training and the evaluation"

    again = vae(*run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 5
    assert len(list_versions(open_store(store_uri), "tiny")) == 1


@pytest.mark.usefixtures("quiet_home")
def test_images_of_ones_own_in_the_folder_one_is_in(tmp_path: Path) -> None:
    """Workers have other folders, and other machines no such file: the store has what they need."""
    digits = np.random.default_rng(0).integers(0, 256, (140, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "pets.npy", digits)
    settings = ("data.name=pets.npy", "data.validation=20", "data.limit=0", "train.epochs=1")
    space = 'search={trials=1, epochs=1, space={"model.latent_dim"={choice=[2, 3]}}}'
    run = ("run", "--experiment", "tiny", "--store", "store", "--run-id", "own", "--workers", "1")
    done = vae(
        *run, *(part for text in (*settings, space) for part in ("--set", text)), cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list_versions(open_store(str(tmp_path / "store")), "tiny-pets")) == 1

    (tmp_path / "pets.npy").unlink()
    again = vae("run", "--store", "store", "--run-id", "own", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 5
