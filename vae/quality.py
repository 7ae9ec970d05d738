"""What the bounds leave open, judged on the cluster: linear probe, and Fréchet distances.

Both need labels: the probe predicts them, and the distances are taken in the features of a
classifier. A dataset of one class has neither.
"""

import copy
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import ray
import torch
from torch import Tensor

from vae.batches import seed_of
from vae.cluster import Resources
from vae.datasets import DatasetRef, load
from vae.errors import UserError
from vae.experiment import Experiment
from vae.features import FORMAT, Classifier, Kept, accuracy, features, from_bytes, to_bytes, trained
from vae.fit import evaluation_images
from vae.frechet import Gaussian, distance, fitted
from vae.models import VAE
from vae.probe import posterior_means, probe_accuracy
from vae.store import Store
from vae.timing import Span

log = logging.getLogger("vae.quality")
Labelled = tuple[Tensor, Tensor]  # images uint8 [N, C, H, W], labels int64 [N]
FRECHET_IMAGES = 10_000  # of each set, or as many as the test split has
DRAWN_AT_ONCE = 500


def judge(
    model: VAE, experiment: Experiment, ref: DatasetRef, store: Store, resources: Resources
) -> tuple[dict[str, float], list[Span]]:
    """Metrics of the latents and of the images, and when each part of them was computing.

    `probe_accuracy` from 0 to 1; `frechet_samples`, `frechet_reconstructions`, and as the noise
    floor `frechet_floor`. None of them without labels. Raises UserError for a classifier in the
    store that is damaged.
    """
    if ref.classes < 2:
        return {}, []
    train, test = (ray.put(labelled(ref, store, split)) for split in ("train", "test"))
    weights, device = ray.put(model), {"num_cpus": 1, "num_gpus": int(resources.use_gpu)}
    probing = started(probe, weights, experiment, train, test, ref.classes, **device)
    kept, spans = classifier_of(ref, store, train, test)
    comparing = started(
        frechet, weights, experiment, ray.put(kept.classifier), train, test, **device
    )
    answers = ray.get([probing, comparing])
    metrics = {name: value for found, _ in answers for name, value in found.items()}
    return metrics, spans + [span for _, span in answers]


def labelled(ref: DatasetRef, store: Store, split: str) -> Labelled:
    """A split as tensors."""
    images, labels = load(ref, store, split)
    return torch.from_numpy(images), torch.from_numpy(labels)


def started(work: Callable[..., Any], *arguments: Any, **resources: int) -> Any:
    """The promise of (what `work` returns, its span), computed somewhere on the cluster."""
    return ray.remote(**resources)(timed).remote(work, *arguments)


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Span]:
    """Do the work on this worker, and say when."""
    began = time.time()
    answer = work(*arguments)
    return answer, (began, time.time())


def classifier_of(
    ref: DatasetRef, store: Store, train: "ray.ObjectRef", test: "ray.ObjectRef"
) -> tuple[Kept, list[Span]]:
    """The dataset's classifier as the store has it, made now if it has none. Raises UserError."""
    key, spans = f"{ref.key}/classifier-{FORMAT}.safetensors", list[Span]()
    if not store.exists(key):
        # One CPU whatever the cluster has: see vae.features.
        made, span = ray.get(started(made_classifier, train, test, ref, num_cpus=1))
        spans.append(span)
        with suppress(FileExistsError):  # another run was first: all are judged by its classifier
            store.create(key, made)
    try:
        kept = from_bytes(store.read(key), ref.shape, ref.classes, ref.digest)
    except ValueError as error:
        raise UserError(f"{store.uri}/{key}: {error}; delete it, and it is made again") from error
    log.info("evaluate classifier of %s: %.2f%% of test right", ref.key, 100 * kept.accuracy)
    return kept, spans


def made_classifier(train: Labelled, test: Labelled, ref: DatasetRef) -> bytes:
    """Train the dataset's classifier on this worker."""
    classifier = trained(*train, ref.shape, ref.classes)
    return to_bytes(Kept(classifier, accuracy(classifier, *test)), ref.digest)


def probe(
    model: VAE, experiment: Experiment, train: Labelled, test: Labelled, classes: int
) -> dict[str, float]:
    """Fit to the posterior means of the training split, score on those of the test split."""
    model = copy.deepcopy(model).to(worker_device())
    train_ND, test_ND = (
        posterior_means(model, evaluation_images(images, experiment)) for images, _ in (train, test)
    )
    return {"probe_accuracy": probe_accuracy(train_ND, train[1], test_ND, test[1], classes)}


def frechet(
    model: VAE, experiment: Experiment, classifier: Classifier, train: Labelled, test: Labelled
) -> dict[str, float]:
    """Distances to the grey test images: of samples, of reconstructions, of training images.

    Of a model these are pixel probabilities, which are the mean grey levels it expects, whether
    `data.binarize` is "none" or "dynamic": means are compared with grey levels.
    """
    device = worker_device()
    model = copy.deepcopy(model).to(device)
    classifier = copy.deepcopy(classifier).to(device)
    real = test[0][:FRECHET_IMAGES]
    seen = evaluation_images(test[0], experiment)[: len(real)]
    noise = torch.Generator().manual_seed(seed_of(experiment.evaluation.seed, "frechet"))
    sizes = [len(part) for part in torch.split(real, DRAWN_AT_ONCE)]
    at = next(model.parameters())
    sets: dict[str, Iterable[Tensor]] = {
        "samples": (model.sample(n, noise) for n in sizes),
        "reconstructions": (
            model.reconstruct(x_BCHW.to(at.device, at.dtype)) for x_BCHW in torch.split(seen, sizes)
        ),
        "floor": torch.split(train[0][: len(real)], DRAWN_AT_ONCE),
    }
    reference = described(classifier, torch.split(real, DRAWN_AT_ONCE))
    return {
        f"frechet_{name}": distance(described(classifier, parts), reference)
        for name, parts in sets.items()
    }


def described(classifier: Classifier, parts: Iterable[Tensor]) -> Gaussian:
    """The Gaussian of the features of all images, given in parts."""
    return fitted(torch.cat([features(classifier, part) for part in parts]))


def worker_device() -> torch.device:
    """The device that Ray gave this task."""
    return torch.device("cuda" if ray.get_gpu_ids() else "cpu")
