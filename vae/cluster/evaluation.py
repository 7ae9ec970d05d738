"""All that is measured of a trained model, on the cluster: its bounds, its latents, its images.

On the validation split only a bound, by which runs are compared; the rest on the test split.

Of a dataset without labels there are only the bounds: the probe predicts labels, and the Fréchet
distances are taken in the features of a classifier.

What a task runs on another process is in this module, which imports nothing of Ray Train: importing
that takes a fresh process as long as PyTorch does.
"""

import copy
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import torch
from torch import Tensor

from vae.cluster.session import Resources, interruptible
from vae.data.datasets import DatasetRef, load
from vae.errors import UserError
from vae.evaluation.bounds import (
    VALIDATION_SAMPLES,
    EvaluationConfig,
    Sums,
    chunks,
    likelihood_sums,
)
from vae.evaluation.classifier import (
    FORMAT,
    Classifier,
    Kept,
    accuracy,
    features,
    from_bytes,
    to_bytes,
    trained,
)
from vae.evaluation.frechet import Gaussian, distance, fitted
from vae.evaluation.probe import posterior_means, probe_accuracy
from vae.experiments.loading import Experiment
from vae.models.networks import VAE
from vae.runs.timing import Span
from vae.store import Store
from vae.training.batches import seed_of
from vae.training.cpu import set_up_cpu
from vae.training.fit import evaluation_images

log = logging.getLogger("vae.cluster.evaluation")
Labelled = tuple[Tensor, Tensor]  # images uint8 [N, C, H, W], labels int64 [N]
SHARDS_PER_SLOT = 4  # so that slots which are done with something else have something to take
FRECHET_IMAGES = 10_000  # of each set, or as many as the test split has
DRAWN_AT_ONCE = 500


def judge(
    model: VAE, experiment: Experiment, ref: DatasetRef, store: Store, resources: Resources
) -> tuple[dict[str, float], list[Span]]:
    """Metrics on the test split, and when each part of them was computing.

    Those of `Sums.metrics`, exact for any sharding. With labels `probe_accuracy` from 0 to 1;
    `frechet_samples`, `frechet_reconstructions`, and as their noise floor `frechet_floor`. Raises
    UserError for a classifier in the store that is damaged.
    """
    train, test = (labelled(ref, store, split) for split in ("train", "test"))
    shared, splits = ray.put(model), (ray.put(train), ray.put(test))
    making = begun_classifier(ref, store, *splits)  # the longest comes first
    n_test, config = len(test[0]), experiment.evaluation
    bounding = begun_bounds(shared, experiment, splits[1], n_test, config, resources)
    seeing = []
    if ref.classes > 1:
        given, slot = (shared, experiment, *splits), one_slot(resources)
        seeing.append(started(probe, *given, ref.classes, **slot))
        classifier = ray.put(kept_classifier(making, ref, store))
        seeing.append(started(frechet, *given, classifier, **slot))
    sums, bound_spans = gathered(bounding)
    found, other_spans = gathered(seeing)
    metrics = sum(sums, Sums.zero(model.latent_dim)).metrics(config, test[0][0].numel())
    for more in found:
        metrics |= more
    return metrics, bound_spans + other_spans + gathered(making)[1]


def validation_bound(
    model: VAE, experiment: Experiment, ref: DatasetRef, store: Store, resources: Resources
) -> tuple[float, list[Span]]:
    """The validation split's -log p(x), at most, in nats per image; when it was computing.

    With VALIDATION_SAMPLES samples whatever the objective and the evaluation of the test split, so
    that recipes can be compared without a look at that.
    """
    val = labelled(ref, store, "val")
    config = replace(experiment.evaluation, samples=VALIDATION_SAMPLES)
    given = (ray.put(model), experiment, ray.put(val), len(val[0]), config, resources)
    sums, spans = gathered(begun_bounds(*given))
    return sum(sums, Sums.zero(model.latent_dim)).nll, spans


def begun_bounds(
    model: Any,
    experiment: Experiment,
    split: Any,
    n_images: int,
    config: EvaluationConfig,
    resources: Resources,
) -> list[Any]:
    """The jobs that bound a split, each a shard of it; it and `model` are already with Ray."""
    return [
        started(bound_sums, model, experiment, split, config, shard, **one_slot(resources))
        for shard in shards(n_images, resources.slots)
    ]


def one_slot(resources: Resources) -> dict[str, int]:
    """What a job takes of the cluster, and how many of them a process does; 0 is any number.

    Ray would end it after one that has a GPU, and most take less time than a new process with
    PyTorch and a CUDA context. But of several GPUs the next job may be given another one, which a
    process that has used CUDA can't see.
    """
    return {"num_cpus": 1, "num_gpus": int(resources.use_gpu), "max_calls": int(resources.gpus > 1)}


def labelled(ref: DatasetRef, store: Store, split: str) -> Labelled:
    """A split as tensors."""
    images, labels = load(ref, store, split)
    return torch.from_numpy(images), torch.from_numpy(labels)


def shards(n_images: int, slots: int) -> list[range]:
    """The chunks of a split, dealt out to more shards than there are slots."""
    n_chunks = chunks(n_images)
    n_shards = min(SHARDS_PER_SLOT * slots, n_chunks)
    return [range(shard, n_chunks, n_shards) for shard in range(n_shards)]


def started(work: Callable[..., Any], *arguments: Any, **options: int) -> Any:
    """The promise of (what `work` returns, its span), computed somewhere on the cluster."""
    return ray.remote(**options)(timed).remote(work, *arguments)


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Span]:
    """Do the work on this worker, its CPU set up for that, and say when.

    On a GPU convolutions as well compute in float32, where PyTorch would take TF32's 10 bits.
    """
    set_up_cpu()
    torch.backends.cudnn.allow_tf32 = False
    began = time.time()
    answer = work(*arguments)
    return answer, (began, time.time())


def gathered(jobs: list[Any]) -> tuple[list[Any], list[Span]]:
    """What the jobs answered, once all have, and when each was computing."""
    answers = interruptible(lambda: ray.get(jobs))
    return [answer for answer, _ in answers], [span for _, span in answers]


def begun_classifier(ref: DatasetRef, store: Store, train: Any, test: Any) -> list[Any]:
    """The job that makes the dataset's classifier, if one is needed and the store has none."""
    if ref.classes < 2 or store.exists(classifier_key(ref)):
        return []
    # One CPU whatever the cluster has: see vae.evaluation.classifier.
    return [started(made_classifier, train, test, ref, num_cpus=1)]


def kept_classifier(making: list[Any], ref: DatasetRef, store: Store) -> Classifier:
    """The dataset's classifier as the store has it, once it is made. Raises UserError."""
    key = classifier_key(ref)
    for made in gathered(making)[0]:
        with suppress(FileExistsError):  # another run was first: all are judged by its classifier
            store.create(key, made)
    try:
        kept = from_bytes(store.read(key), ref.shape, ref.classes, ref.digest)
    except ValueError as error:
        raise UserError(f"{store.uri}/{key}: {error}; delete it, and it is made again") from error
    log.info("evaluate classifier of %s: %.2f%% of test right", ref.key, 100 * kept.accuracy)
    return kept.classifier


def classifier_key(ref: DatasetRef) -> str:
    """Where the dataset's classifier is kept."""
    return f"{ref.key}/classifier-{FORMAT}.safetensors"


def bound_sums(
    model: VAE, experiment: Experiment, split: Labelled, config: EvaluationConfig, shard: range
) -> Sums:
    """One shard's sums over its chunks of a split."""
    model = copy.deepcopy(model).to(worker_device())
    return likelihood_sums(model, evaluation_images(split[0], experiment), shard, config)


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
    model: VAE, experiment: Experiment, train: Labelled, test: Labelled, classifier: Classifier
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
