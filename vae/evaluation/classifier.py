"""The classifier in whose features image sets are compared: trained once, kept with its dataset.

Small, because what counts is that every model of a dataset is judged in the same features. It is
trained on grey levels with one thread on a CPU, so that a cluster's devices make no difference.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from vae.training.batches import permutation, seed_of

FORMAT = 1  # raise it with anything that changes the features, so that old ones are not reused
FEATURES = 64
WIDTHS = (16, 32)  # channels of the first convolution, and of all others
LARGEST_SIDE = 8  # of what the convolutions leave: each halves both sides
EPOCHS, LEAST_STEPS = 4, 100  # small datasets see more epochs
BATCH_IMAGES = 128
PEAK_LEARNING_RATE = 6e-3
SEED = 0
AT_ONCE = 500  # images outside of training


class Classifier(nn.Module):
    """Strided convolutions, a layer of FEATURES units, and one linear layer to the classes."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        colours, height, width = shape
        first, channels = WIDTHS
        layers = [nn.Conv2d(colours, first, 5, stride=2, padding=2), nn.ReLU()]
        layers += [nn.Conv2d(first, channels, 3, stride=2, padding=1), nn.ReLU()]
        height, width = -(-height // 4), -(-width // 4)
        while max(height, width) > LARGEST_SIDE:
            layers += [nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.ReLU()]
            height, width = -(-height // 2), -(-width // 2)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * height * width, FEATURES), nn.ReLU()
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes] for pixels in [0, 1]."""
        logits: Tensor = self.head(self.body(x_BCHW))
        return logits


class Kept(NamedTuple):
    """A trained classifier and how often it is right, on the test split, from 0 to 1."""

    classifier: Classifier
    accuracy: float


def trained(
    images_NCHW: Tensor, labels_N: Tensor, shape: tuple[int, int, int], classes: int
) -> Classifier:
    """A classifier of uint8 images; the same images give the same weights on the same machine."""
    with one_thread():
        return trained_here(images_NCHW, labels_N, shape, classes)


@contextmanager
def one_thread() -> Iterator[None]:
    """A context without threads: sums come in one order, and small steps wait for nobody."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trained_here(
    images_NCHW: Tensor, labels_N: Tensor, shape: tuple[int, int, int], classes: int
) -> Classifier:
    """`trained` on the threads that there are: fresh weights, then Adam for all epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(SEED, "classifier"))
        classifier = Classifier(shape, classes)
    batches_an_epoch = -(-len(images_NCHW) // BATCH_IMAGES)
    epochs = max(EPOCHS, -(-LEAST_STEPS // batches_an_epoch))
    optimizer = torch.optim.Adam(classifier.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches_an_epoch
    )
    for epoch in range(epochs):
        for rows_B in torch.split(permutation(len(images_NCHW), SEED, epoch), BATCH_IMAGES):
            nats = F.cross_entropy(classifier(grey(images_NCHW[rows_B])), labels_N[rows_B])
            optimizer.zero_grad()
            nats.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return classifier.eval()


def grey(images_NCHW: Tensor) -> Tensor:
    """Bytes as grey levels in [0, 1]; probabilities are that already."""
    return images_NCHW.float() / 255 if images_NCHW.dtype == torch.uint8 else images_NCHW


@torch.no_grad()
def features(classifier: Classifier, images_NCHW: Tensor) -> Tensor:
    """What the last layer sees, [N, FEATURES] on the CPU, of bytes or of pixels in [0, 1]."""
    return torch.cat([classifier.body(chunk).cpu() for chunk in chunks(classifier, images_NCHW)])


@torch.no_grad()
def accuracy(classifier: Classifier, images_NCHW: Tensor, labels_N: Tensor) -> float:
    """The share of images that the classifier gives their label."""
    guesses = [classifier(chunk).argmax(1).cpu() for chunk in chunks(classifier, images_NCHW)]
    return float((torch.cat(guesses) == labels_N).double().mean())


def chunks(classifier: Classifier, images_NCHW: Tensor) -> Iterator[Tensor]:
    """The images as the classifier takes them, some at a time, on its device."""
    at = classifier.head.weight
    return (grey(chunk.to(at.device)) for chunk in torch.split(images_NCHW, AT_ONCE))


def to_bytes(kept: Kept, dataset_digest: str) -> bytes:
    """A safetensors file that says of which dataset it is, how accurate, and its own SHA-256."""
    weights = kept.classifier.state_dict()
    record = {
        "dataset": dataset_digest,
        "accuracy": kept.accuracy,
        "sha256": digest(weights),
    }
    return save(weights, {"classifier": json.dumps(record, sort_keys=True)})


def from_bytes(data: bytes, shape: tuple[int, int, int], classes: int, dataset_digest: str) -> Kept:
    """Undo `to_bytes`. Raises ValueError, in one line, for anything else than what it wrote."""
    try:
        weights = load(data)
        length = int.from_bytes(data[:8], "little")
        record = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["classifier"])
        found, expected, right = record["dataset"], record["sha256"], float(record["accuracy"])
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"not a classifier: {str(error).splitlines()[0]}") from error
    if found != dataset_digest:
        raise ValueError(f"of dataset {found}, expected that of {dataset_digest}")
    if (actual := digest(weights)) != expected:
        raise ValueError(f"weights have sha256 {actual}, expected {expected}")
    classifier = Classifier(shape, classes)
    try:
        classifier.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"does not fit images {shape} of {classes} classes: {reason}") from error
    return Kept(classifier.eval(), right)


def digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) over the names and values of all tensors."""
    text = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        text.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        text.update(tensor.contiguous().numpy().tobytes())
    return text.hexdigest()
