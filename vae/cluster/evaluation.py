"""A trained model is judged on the cluster, in jobs that each take one device.

On the validation split there is only a bound, by which runs are compared; everything else is
measured on the test split.

Ray Train is not imported here, because importing it takes a fresh process, which a job is run in,
as long as PyTorch does.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import torch
from torch import nn

from vae.cluster.interruptible import run_interruptibly
from vae.cluster.session import Resources
from vae.data.datasets import DatasetRef
from vae.data.mapped import open_rows, read_labels
from vae.errors import UserError
from vae.evaluation.bounds import VALIDATION_SAMPLES, Sums, count_chunks
from vae.evaluation.classifier import (
    FORMAT,
    JudgedClassifier,
    from_bytes,
    measure_accuracy,
    measure_chance,
    to_bytes,
    train_classifier,
)
from vae.evaluation.measures import Labelled, measure_bounds, measure_images, measure_latents
from vae.experiments.settings import EvaluationConfig, Experiment
from vae.models.networks import VAE
from vae.runs.timing import Span
from vae.store.promises import Store
from vae.training.cpu import set_up_cpu

log = logging.getLogger("vae.cluster.evaluation")
SHARDS_PER_SLOT = 4  # so that a slot which is done early has something left to take
LOOK_S = 0.5  # between looks whether the jobs are to be waited for any more


def judge(
    model: VAE, experiment: Experiment, ref: DatasetRef, store: Store, resources: Resources
) -> tuple[dict[str, float], list[Span]]:
    """Metrics on the test split, and when each part of them was computing.

    Those of `Sums.average`, exact for any sharding. With labels also `probe_accuracy`, from 0 to 1;
    and if a classifier can learn those, `frechet_samples`, `frechet_reconstructions`, and
    `frechet_floor`, which is that of training images. Raises UserError for a classifier in the
    store that is damaged.
    """
    train, test = (open_split(ref, store, split) for split in ("train", "test"))
    shared, splits = ray.put(model), (ray.put(train), ray.put(test))
    making = start_classifier(ref, store, *splits)  # the longest comes first
    n_test, config = len(test[0]), experiment.evaluation
    bounding = start_bounds(shared, experiment, splits[1], n_test, config, resources)
    looking = []
    if ref.classes > 1:
        given, slot = (shared, experiment, *splits), request_slot(resources)
        looking.append(start_job(measure_latents, *given, ref.classes, **slot))
        judged = keep_classifier(making, ref, store)
        if judged.accuracy > (chance := measure_chance(test[1])):
            classifier = ray.put(judged.classifier)
            looking.append(start_job(measure_images, *given, classifier, **slot))
        else:
            log.warning(
                "no Fréchet distances: the classifier of %s is right for %.1f%% of the test "
                "images, one that always names the most frequent label for %.1f%%",
                ref.key,
                100 * judged.accuracy,
                100 * chance,
            )
    sums, bound_spans = gather(bounding)
    found, other_spans = gather(looking)
    metrics = sum(sums, Sums.zero(model.latent_dim)).average(experiment, model)
    for more in found:
        metrics |= more
    return metrics, bound_spans + other_spans + gather(making)[1]


def bound_validation(
    model: VAE, experiment: Experiment, ref: DatasetRef, store: Store, resources: Resources
) -> tuple[float, list[Span]]:
    """The validation split's bound on -log p(x), nats per image; when it was computing.

    Of VALIDATION_SAMPLES samples, whatever the objective and the test split's evaluation take, so
    that recipes can be compared without a look at the test split.
    """
    val = open_split(ref, store, "val")
    config = replace(experiment.evaluation, samples=VALIDATION_SAMPLES)
    given = (ray.put(model), experiment, ray.put(val), len(val[0]), config, resources)
    sums, spans = gather(start_bounds(*given))
    return sum(sums, Sums.zero(model.latent_dim)).nll, spans


def start_bounds(
    model: Any,
    experiment: Experiment,
    split: Any,
    n_images: int,
    config: EvaluationConfig,
    resources: Resources,
) -> list[Any]:
    """The jobs that bound a split, each a shard of it; it and `model` are already with Ray."""
    slot = request_slot(resources)
    return [
        start_job(measure_bounds, model, experiment, split, config, shard, **slot)
        for shard in deal_shards(n_images, resources.slots)
    ]


def request_slot(resources: Resources) -> dict[str, int]:
    """What a job asks of Ray: a device, and after how many jobs its process ends (0: never).

    A process that has used CUDA can't change to another GPU, and of several GPUs Ray may give the
    next job another one: there each job gets a process of its own. With one GPU, or none, one
    process does all jobs, because most are done sooner than a new process has imported PyTorch.
    """
    return {"num_cpus": 1, "num_gpus": int(resources.use_gpu), "max_calls": int(resources.gpus > 1)}


def open_split(ref: DatasetRef, store: Store, split: str) -> Labelled:
    """A split, of which a job that is given it maps the images again where it runs."""
    return open_rows(ref, store, split), read_labels(ref, store, split)


def deal_shards(n_images: int, slots: int) -> list[range]:
    """The chunks of a split, dealt out to more shards than there are slots."""
    n_chunks = count_chunks(n_images)
    n_shards = min(SHARDS_PER_SLOT * slots, n_chunks)
    return [range(shard, n_chunks, n_shards) for shard in range(n_shards)]


def start_job(work: Callable[..., Any], *arguments: Any, **options: int) -> Any:
    """The promise of (what `work` returns, its span), computed somewhere on the cluster."""
    return ray.remote(**options)(run_job).remote(work, *arguments)


def run_job(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Span]:
    """Do the work in this process, networks on its device, its CPU set up for that, and say when.

    On a GPU convolutions as well compute in float32, where PyTorch would take TF32's 10 bits.
    """
    set_up_cpu()
    torch.backends.cudnn.allow_tf32 = False
    began = time.time()
    answer = work(*(place(argument) for argument in arguments))
    return answer, (began, time.time())


def place(argument: Any) -> Any:
    """A network as a copy on the device that Ray gave this job; anything else as it is."""
    if not isinstance(argument, nn.Module):
        return argument
    return copy.deepcopy(argument).to("cuda" if ray.get_gpu_ids() else "cpu")


def gather(jobs: list[Any]) -> tuple[list[Any], list[Span]]:
    """What the jobs answered, once all have, and when each was computing."""
    stopping = threading.Event()

    def wait_for_all() -> list[Any]:
        left = jobs
        try:
            while left and not stopping.is_set():
                ended, left = ray.wait(left, timeout=LOOK_S)
                ray.get(ended)  # what one of them raised is told at once
        except Exception:
            for job in left:
                ray.cancel(job)  # or a stage that is tried again would wait for them
            raise
        return [] if stopping.is_set() else list(ray.get(jobs))

    answers = run_interruptibly(wait_for_all, stop=stopping.set)
    return [answer for answer, _ in answers], [span for _, span in answers]


def start_classifier(ref: DatasetRef, store: Store, train: Any, test: Any) -> list[Any]:
    """The job that makes the dataset's classifier, if one is needed and the store has none."""
    if ref.classes < 2 or store.exists(locate_classifier(ref)):
        return []
    # One CPU whatever the cluster has: see vae.evaluation.classifier.
    return [start_job(make_classifier, train, test, ref, num_cpus=1)]


def make_classifier(train: Labelled, test: Labelled, ref: DatasetRef) -> bytes:
    """Train the dataset's classifier in this process, as the bytes of a file."""
    classifier = train_classifier(*train, ref.shape, ref.classes)
    judged = JudgedClassifier(classifier, measure_accuracy(classifier, *test))
    return to_bytes(judged, ref.digest)


def keep_classifier(making: list[Any], ref: DatasetRef, store: Store) -> JudgedClassifier:
    """The dataset's classifier as the store has it, once it is made. Raises UserError."""
    key = locate_classifier(ref)
    for made in gather(making)[0]:
        with suppress(FileExistsError):  # another run was first: all are judged by its classifier
            store.create(key, made)
    try:
        judged = from_bytes(store.read(key), ref.shape, ref.classes, ref.digest)
    except ValueError as error:
        raise UserError(f"{store.uri}/{key}: {error}; delete it, and it is made again") from error
    log.info("evaluate classifier of %s: %.2f%% of test right", ref.key, 100 * judged.accuracy)
    return judged


def locate_classifier(ref: DatasetRef) -> str:
    """The key under which the dataset's classifier is kept."""
    return f"{ref.key}/classifier-{FORMAT}.safetensors"
