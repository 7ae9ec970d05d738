"""The classifier of a dataset: it learns, the same way each time, and comes back as it was kept."""

import json
from collections.abc import Callable
from functools import cache

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from vae.evaluation.classifier import (
    FEATURES,
    Classifier,
    JudgedClassifier,
    extract_features,
    from_bytes,
    measure_accuracy,
    to_bytes,
    train_classifier,
)
from vae.evaluation.frechet import estimate_gaussian, frechet_distance

SHAPE, CLASSES = (1, 8, 8), 3
DATASET = "ab" * 32


def draw_bars(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with one bright bar, whose place is the class: uint8 images and their labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(100, (n, *SHAPE), dtype=torch.uint8, generator=generator)
    labels_N = torch.arange(n) % CLASSES
    for label in range(CLASSES):
        images[label::CLASSES, :, 2 * label + 1] += 120
    return images, labels_N


@cache
def trained() -> Classifier:
    return train_classifier(*draw_bars(200, seed=0), SHAPE, CLASSES)


@cache
def kept() -> bytes:
    return to_bytes(JudgedClassifier(trained(), 0.75), DATASET)


def test_learns_what_can_be_seen() -> None:
    """Images that were not trained on get their label, from features of the promised size."""
    images, labels_N = draw_bars(90, seed=1)
    assert measure_accuracy(trained(), images, labels_N) == 1
    assert measure_accuracy(trained(), images, (labels_N + 1) % CLASSES) == 0
    assert extract_features(trained(), images).shape == (90, FEATURES)


def test_training_is_a_function_of_the_images() -> None:
    """The same images give the same bytes, on any number of threads; nothing is disturbed."""
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    other = 3 - min(threads, 2)
    torch.set_num_threads(other)
    try:
        again = train_classifier(*draw_bars(200, seed=0), SHAPE, CLASSES)
        assert torch.get_num_threads() == other
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)
    assert to_bytes(JudgedClassifier(again, 0.75), DATASET) == kept()


def test_bytes_and_probabilities_are_the_same_image() -> None:
    """A byte is a grey level: divided by 255 it has the same features."""
    images, _ = draw_bars(20, seed=1)
    torch.testing.assert_close(
        extract_features(trained(), images), extract_features(trained(), images / 255)
    )


def test_distance_of_features_tells_images_apart() -> None:
    """Other images of the same kind are at the noise floor, darker ones are far above it."""
    reference, others = (
        estimate_gaussian(extract_features(trained(), draw_bars(90, seed)[0])) for seed in (1, 2)
    )
    darker = estimate_gaussian(extract_features(trained(), draw_bars(90, seed=2)[0] // 2))
    floor = frechet_distance(others, reference)
    assert 0 < 20 * floor < frechet_distance(darker, reference)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 1, 1), (3, 5, 130)])
def test_takes_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    """Features number the same for any image, and the layer before them stays small."""
    classifier = Classifier(shape, 2)
    assert extract_features(classifier, torch.zeros(2, *shape, dtype=torch.uint8)).shape == (
        2,
        FEATURES,
    )
    assert sum(parameter.numel() for parameter in classifier.parameters()) < 200_000


def test_comes_back_as_it_was_kept() -> None:
    """Weights to the bit, and the accuracy."""
    found = from_bytes(kept(), SHAPE, CLASSES, DATASET)
    assert found.accuracy == 0.75
    for name, tensor in trained().state_dict().items():
        assert torch.equal(found.classifier.state_dict()[name], tensor)


def record_of(data: bytes) -> dict[str, object]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    record: dict[str, object] = json.loads(header["__metadata__"]["classifier"])
    return record


def test_says_of_what_it_is() -> None:
    """The file's own metadata name the dataset and the accuracy."""
    assert record_of(kept()).items() >= {"dataset": DATASET, "accuracy": 0.75}.items()


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "other bytes": lambda data: b"\x10" + b"\0" * 7 + b"not a classifier",
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "no record": lambda data: save(load(data)),
    "a list": lambda data: save(load(data), {"classifier": "[]"}),
    "no accuracy": lambda data: save(
        load(data), {"classifier": json.dumps(record_of(data) | {"accuracy": None})}
    ),
    "other weights": lambda data: save(
        {name: tensor + 1 for name, tensor in load(data).items()},
        {"classifier": json.dumps(record_of(data))},
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_refused(damage: str) -> None:
    """Whatever is not what was written is refused in one line."""
    with pytest.raises(ValueError, match=r"^(not a classifier|weights have sha256)") as error:
        from_bytes(DAMAGED[damage](kept()), SHAPE, CLASSES, DATASET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "classes", "dataset", "reason"),
    [
        ((1, 28, 28), CLASSES, DATASET, "does not fit images"),
        (SHAPE, CLASSES + 1, DATASET, "does not fit images"),
        (SHAPE, CLASSES, "cd" * 32, "of dataset abab"),
    ],
)
def test_what_fits_something_else_is_refused(
    shape: tuple[int, int, int], classes: int, dataset: str, reason: str
) -> None:
    """A classifier of other images, other classes or another dataset is refused in one line."""
    with pytest.raises(ValueError, match=reason) as error:
        from_bytes(kept(), shape, classes, dataset)
    assert "\n" not in str(error.value)
