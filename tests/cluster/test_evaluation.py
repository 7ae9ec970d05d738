"""A model judged on a real Ray session: what is measured, and what is kept with the dataset."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import write_png

from tests.support.splits import load
from vae.cluster.evaluation import bound_validation, judge
from vae.cluster.session import Resources, Workers, join_cluster
from vae.data.binarization import prepare_inputs
from vae.data.datasets import DatasetRef, prepare
from vae.errors import UserError
from vae.evaluation.bounds import VALIDATION_SAMPLES, count_chunks, sum_likelihood
from vae.evaluation.classifier import FORMAT, Classifier, JudgedClassifier, to_bytes
from vae.experiments.settings import DataConfig, EvaluationConfig, Experiment, ModelConfig
from vae.models.levels import Moments
from vae.models.networks import VAE, build_model
from vae.store.local import LocalStore
from vae.store.open import open_store
from vae.store.promises import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
    ),
]
SHAPE, CLASSES = (1, 8, 8), 2
BOUNDS = {"nelbo", "rate", "distortion", "active_units", "nll", "nll_samples", "bits_per_dim"}
QUALITY = {"probe_accuracy", "frechet_samples", "frechet_reconstructions", "frechet_floor"}


@pytest.fixture(scope="module")
def resources() -> Iterator[Resources]:
    """A local Ray session."""
    with join_cluster(Workers()) as found:
        yield found.result()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of images for each class: a bright upper or lower half."""
    folder = tmp_path_factory.mktemp("halves")
    generator = torch.Generator().manual_seed(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir()
        for number in range(70):
            image = torch.randint(90, SHAPE, dtype=torch.uint8, generator=generator)
            image[:, 4 * label : 4 * label + 4] += 150
            write_png(image, str(folder / str(label) / f"{number}.png"))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return open_store(str(tmp_path / "store"))


def experiment_of(images: Path, binarize: str = "dynamic") -> Experiment:
    data = DataConfig(name=str(images), validation=20, binarize=binarize)  # type: ignore[arg-type]
    return Experiment(name="halves", data=data)


def model_of() -> VAE:
    moments = Moments(torch.full(SHAPE, 0.4), torch.full(SHAPE, 0.4))
    return build_model(ModelConfig(latent_dim=8, hidden=(64,)), SHAPE, moments).eval()


def key_of(ref: DatasetRef) -> str:
    return f"{ref.key}/classifier-{FORMAT}.safetensors"


@pytest.mark.parametrize("binarize", ["dynamic", "none"])
def test_judges_latents_and_images_the_same_each_time(
    resources: Resources, pictures: Path, store: Store, binarize: str
) -> None:
    """All metrics; a second run uses the classifier of the first and finds the same."""
    experiment = experiment_of(pictures, binarize)
    ref = prepare(experiment.data, store)
    began = time.time()
    first, spans = judge(model_of(), experiment, ref, store, resources)
    of_grey = {"bits_per_dim"} if binarize == "none" else set()
    assert set(first) == (BOUNDS | QUALITY) - of_grey
    assert 0.8 < first["probe_accuracy"] <= 1
    assert 0 < first["frechet_floor"] < first["frechet_reconstructions"]
    assert first["frechet_floor"] < first["frechet_samples"]
    assert len(spans) == 4, "a shard, the probe, the distances and the classifier"
    assert all(began <= start < end <= time.time() for start, end in spans)
    kept = store.read(key_of(ref))

    second, spans = judge(model_of(), experiment, ref, store, resources)
    assert second == first
    assert len(spans) == 3, "the classifier is not trained again"
    assert store.read(key_of(ref)) == kept


def test_the_validation_bound(resources: Resources, pictures: Path, store: Store) -> None:
    """It is that of the validation split, with the same K however the test split is evaluated."""
    experiment = experiment_of(pictures)
    more = replace(experiment, evaluation=replace(experiment.evaluation, samples=7))
    ref = prepare(experiment.data, store)
    bounds = [
        bound_validation(model_of(), given, ref, store, resources)[0]
        for given in (experiment, more)
    ]
    images = prepare_inputs(torch.from_numpy(load(ref, store, "val").images), experiment.data)
    config = EvaluationConfig(samples=VALIDATION_SAMPLES)
    model = model_of().to("cuda" if resources.use_gpu else "cpu")
    sums = sum_likelihood(model, images, range(count_chunks(len(images))), config)
    assert bounds == [sums.nll] * 2


def test_images_without_labels_have_bounds_alone(
    resources: Resources, store: Store, tmp_path: Path
) -> None:
    """No metric is made up, and no classifier is kept."""
    np.save(tmp_path / "images.npy", np.zeros((40, 8, 8), np.uint8))
    experiment = experiment_of(tmp_path / "images.npy")
    ref = prepare(experiment.data, store)
    metrics, spans = judge(model_of(), experiment, ref, store, resources)
    assert set(metrics) == BOUNDS
    assert len(spans) == 1
    assert not store.exists(key_of(ref))


class LateStore(LocalStore):
    """A store in which a classifier appears between looking for it and writing it."""

    def exists(self, key: str) -> bool:
        """Not yet."""
        return False


def test_the_first_of_two_classifiers_is_used(
    resources: Resources, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes second judges by what the first one wrote, and leaves it there."""
    store = LateStore(tmp_path / "store")
    experiment = experiment_of(pictures)
    ref = prepare(experiment.data, store)
    others = to_bytes(JudgedClassifier(Classifier(SHAPE, CLASSES), 0.625), ref.digest)
    store.create(key_of(ref), others)
    with caplog.at_level(logging.INFO, "vae"):
        metrics, _ = judge(model_of(), experiment, ref, store, resources)
    assert set(metrics) == BOUNDS | QUALITY
    assert "62.50% of test right" in caplog.text
    assert store.read(key_of(ref)) == others


def test_a_classifier_that_learnt_nothing_compares_no_images(
    resources: Resources, pictures: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """At or below chance there are no Fréchet distances, and a line says why; the rest is there."""
    experiment = experiment_of(pictures)
    ref = prepare(experiment.data, store)
    blind = JudgedClassifier(Classifier(SHAPE, CLASSES), 0.25)
    store.create(key_of(ref), to_bytes(blind, ref.digest))
    with caplog.at_level(logging.WARNING, "vae"):
        metrics, _ = judge(model_of(), experiment, ref, store, resources)
    assert set(metrics) == BOUNDS | {"probe_accuracy"}
    assert "no Fréchet distances: the classifier of" in caplog.text


def test_a_damaged_classifier_is_named(resources: Resources, pictures: Path, store: Store) -> None:
    """One line says which object, what is wrong with it and what to do."""
    experiment = experiment_of(pictures)
    ref = prepare(experiment.data, store)
    store.create(key_of(ref), b"damaged")
    with pytest.raises(UserError, match=r"classifier-1\.safetensors: .*; delete it") as error:
        judge(model_of(), experiment, ref, store, resources)
    assert "\n" not in str(error.value)
