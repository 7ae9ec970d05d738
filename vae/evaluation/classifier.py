"""The classifier in whose features image sets are compared: trained once, kept with its dataset.

Small, because what counts is that every model of a dataset is judged in the same features. It is
trained on grey levels with one thread on a CPU, so that a cluster's devices make no difference.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from vae.data.rows import Rows
from vae.models.levels import Images, split, to_unit
from vae.models.seeds import derive_seed, draw_permutation

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


class JudgedClassifier(NamedTuple):
    """A trained classifier and how often it is right, on the test split, from 0 to 1."""

    classifier: Classifier
    accuracy: float


def train_classifier(
    images_NCHW: Tensor | Rows, labels_N: Tensor, shape: tuple[int, int, int], classes: int
) -> Classifier:
    """A classifier of uint8 images; the same images give the same weights on the same machine."""
    with use_one_thread():
        return train_on_threads(images_NCHW, labels_N, shape, classes)


@contextmanager
def use_one_thread() -> Iterator[None]:
    """A context without threads: sums come in one order, and small steps wait for nobody."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_on_threads(
    images_NCHW: Tensor | Rows, labels_N: Tensor, shape: tuple[int, int, int], classes: int
) -> Classifier:
    """`train_classifier` on the threads that there are: fresh weights, then Adam for all epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(SEED, "classifier"))
        classifier = Classifier(shape, classes)
    batches_an_epoch = -(-len(images_NCHW) // BATCH_IMAGES)
    epochs = max(EPOCHS, -(-LEAST_STEPS // batches_an_epoch))
    optimizer = torch.optim.Adam(classifier.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches_an_epoch
    )
    for epoch in range(epochs):
        for rows_B in torch.split(draw_permutation(len(images_NCHW), SEED, epoch), BATCH_IMAGES):
            nats = F.cross_entropy(classifier(to_grey(images_NCHW[rows_B])), labels_N[rows_B])
            optimizer.zero_grad()
            nats.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return classifier.eval()


def to_grey(images_NCHW: Tensor) -> Tensor:
    """Bytes as grey levels in [0, 1]; probabilities are that already."""
    return to_unit(images_NCHW) if images_NCHW.dtype == torch.uint8 else images_NCHW


@torch.no_grad()
def extract_features(classifier: Classifier, images_NCHW: Images) -> Tensor:
    """What the last layer sees, [N, FEATURES] on the CPU, of bytes or of pixels in [0, 1]."""
    return torch.cat(
        [classifier.body(chunk).cpu() for chunk in iterate_chunks(classifier, images_NCHW)]
    )


@torch.no_grad()
def measure_accuracy(classifier: Classifier, images_NCHW: Images, labels_N: Tensor) -> float:
    """The share of images that the classifier gives their label."""
    guesses = [
        classifier(chunk).argmax(1).cpu() for chunk in iterate_chunks(classifier, images_NCHW)
    ]
    return float((torch.cat(guesses) == labels_N).double().mean())


def measure_chance(labels_N: Tensor) -> float:
    """The share of images that naming the most frequent label for all of them gets right."""
    return float(labels_N.bincount().max() / len(labels_N))


def iterate_chunks(classifier: Classifier, images_NCHW: Images) -> Iterator[Tensor]:
    """The images as the classifier takes them, some at a time, on its device."""
    at = classifier.head.weight
    return (to_grey(chunk.to(at.device)) for chunk in split(images_NCHW, AT_ONCE))


def to_bytes(judged: JudgedClassifier, dataset_digest: str) -> bytes:
    """A safetensors file that says of which dataset it is, how accurate, and its own SHA-256."""
    weights = judged.classifier.state_dict()
    record = {
        "dataset": dataset_digest,
        "accuracy": judged.accuracy,
        "sha256": hash_weights(weights),
    }
    return save(weights, {"classifier": json.dumps(record, sort_keys=True)})


def from_bytes(
    data: bytes, shape: tuple[int, int, int], classes: int, dataset_digest: str
) -> JudgedClassifier:
    """Undo `to_bytes`. Raises ValueError, in one line, for anything else than what it wrote."""
    try:
        weights, metadata = read_safetensors(data)
        record = json.loads(metadata["classifier"])
        found, expected, right = record["dataset"], record["sha256"], float(record["accuracy"])
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or ["empty"])[0]
        raise ValueError(f"not a classifier: {reason}") from error
    if found != dataset_digest:
        raise ValueError(f"of dataset {found}, expected that of {dataset_digest}")
    if (actual := hash_weights(weights)) != expected:
        raise ValueError(f"weights have sha256 {actual}, expected {expected}")
    classifier = Classifier(shape, classes)
    try:
        classifier.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"does not fit images {shape} of {classes} classes: {reason}") from error
    return JudgedClassifier(classifier.eval(), right)


def read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata in a safetensors file's bytes. Raises SafetensorError."""
    with NamedTemporaryFile(suffix=".safetensors") as file:  # its reader of metadata takes a path
        file.write(data)
        file.flush()
        with safe_open(file.name, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}


def hash_weights(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) over the names and values of all tensors."""
    text = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        text.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        text.update(tensor.contiguous().numpy().tobytes())
    return text.hexdigest()
