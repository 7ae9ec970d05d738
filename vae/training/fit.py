"""Training a model from its first weights, epoch by epoch: the part that trials and workers share.

Without Ray. What differs between one process and many comes in from outside: the shard, and how
sums are reduced over ranks.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vae.data.binarization import prepare_inputs
from vae.data.placement import DEVICE_SHARE, Placed, place_inputs, place_rows
from vae.data.rows import Rows
from vae.evaluation.bounds import (
    Sums,
    count_chunks,
    sum_elbo,
    sum_likelihood,
    to_bits_per_dim,
)
from vae.experiments.settings import EvaluationConfig, Experiment
from vae.models.levels import Images, measure_moments
from vae.models.networks import DTYPES, VAE, build_model
from vae.training.batches import Batch, BatchPlan, Shard
from vae.training.cuda_graph import choose_step
from vae.training.epoch_sums import EpochSums
from vae.training.step import (
    Forward,
    StepContext,
    create_state,
    end_epoch,
    fetch_losses,
    make_steps,
    train_epoch,
)

Row = dict[str, float]  # the metrics of one epoch
VERSION = 1  # of training: raise it with anything that changes the weights of an experiment
Drawn = TypeVar("Drawn")  # a batch, or those of several trainings


class Waited(Generic[Drawn]):
    """Batches as they come; how long this process waits for them is added up."""

    def __init__(self, batches: Iterable[Drawn], sums: EpochSums) -> None:
        self.batches, self.sums = iter(batches), sums

    def __iter__(self) -> Iterator[Drawn]:
        return self

    def __next__(self) -> Drawn:
        began = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.sums.waited_s += time.perf_counter() - began


class Fit:
    """One rank's training: data on the device, the state, and the collective epoch.

    `train` and `val`: uint8 [N, C, H, W], of which a GPU holds what takes at most `share` of its
    free memory, unless another training has `placed` them there. `reduce` sums a float64 tensor
    over ranks. Raises ValueError if the model can't take images of this shape.
    """

    def __init__(
        self,
        experiment: Experiment,
        train: Tensor | Rows,
        val: Tensor | Rows,
        device: torch.device,
        shard: Shard = Shard(),
        reduce: Callable[[Tensor], Tensor] = lambda x: x,
        share: float = DEVICE_SHARE,
        placed: Placed | None = None,
    ) -> None:
        self.experiment, self.reduce = experiment, reduce
        self.train = placed or place_rows(train, device, share)
        self.val = place_inputs(prepare_inputs(val, experiment.data), device)
        self.state = create_state(initialize_model(experiment, train), experiment.train, device)
        self.step = choose_step(device, shard)
        self.plan = plan_batches(experiment)
        steps = self.plan.count_steps(len(train))
        self.context = StepContext(experiment.train, experiment.objective, steps, shard)
        self.latent_rates = torch.zeros(0)  # KL of each latent, nats per image, when last validated

    def begin_from(self, start: VAE) -> None:
        """Take a trained model's weights for the first ones; optimiser and step stay new.

        Raises RuntimeError if its network is another.
        """
        for model in (self.state.model, self.state.averaged):
            model.load_state_dict(start.state_dict())

    def run_epoch(self, forward: Forward, on_step: Callable[[int], None]) -> tuple[Row, Tensor]:
        """Train one epoch, or its rest, and validate it: its metrics, and its loss at every step.

        Collective. `forward` is the model, or DDP around it. Raises DivergedError on every rank.
        """
        batches, step = self.draw_batches(), self.step
        losses = train_epoch(self.state, forward, batches, self.context, step, on_step)
        losses = self.reduce(losses)
        return self.close_epoch(losses), losses

    def iterate_epoch(self) -> Generator[int, None, Row]:
        """The same of a process that trains alone, an update at a time; returns the metrics."""
        state, batches = self.state, self.draw_batches()
        yield from make_steps(state, state.model, batches, self.context, self.step)
        return self.close_epoch(end_epoch(state, self.context))

    def draw_batches(self) -> Waited[Batch]:
        """This rank's batches of the epoch, or of its rest."""
        epoch = self.state.epoch
        made = self.state.step - epoch * self.context.steps_per_epoch
        drawn = self.plan.draw_epoch(self.train, epoch, self.context.shard, made)
        return Waited(drawn, self.state.sums)

    def close_epoch(self, losses: Tensor) -> Row:
        """Validate; the metrics of the epoch that has just ended, with these losses. Collective."""
        sums = self.state.sums
        trained = time.time()
        validation = self.validate()
        return {
            "epoch": self.state.epoch,
            "step": self.state.step,
            "train/loss": float(losses.mean()),
            "train/gradient_norm": float(sums.norm_sum) / len(losses),
            "train/learning_rate": self.context.learning_rate_at(self.state.step - 1),
            **{f"val/{name}": value for name, value in validation.items()},
            "images_per_s": len(self.train) / (trained - sums.began),
            "data_wait_s": sums.waited_s,
            "began": sums.began,
            "ended": time.time(),
        }

    def capture_sums(self) -> dict[str, Any]:
        """The sums of the epoch at work, for a checkpoint within it. Collective.

        Raises DivergedError on every rank.
        """
        fetch_losses(self.state, self.context)
        return self.state.sums.to_content(self.context.shard, self.reduce)

    def validate(self) -> Row:
        """Bounds on the validation split, each chunk on one rank; nats per image. Collective.

        `loss` is what training minimises, at beta = 1: the negative ELBO, or the negative bound of
        as many samples as an importance-weighted objective takes. It selects among epochs, because
        such an objective goes on to improve its own bound at the cost of the ELBO. Of 256 levels it
        is `bits_per_dim` too.
        """
        experiment, model, shard = self.experiment, self.state.averaged, self.context.shard
        mine = range(shard.rank, count_chunks(len(self.val)), shard.world)
        weighs_samples = experiment.objective.weighs_samples
        if weighs_samples:
            samples = experiment.objective.samples
            config = EvaluationConfig(samples=samples, seed=experiment.seed)
            sums = sum_likelihood(model, self.val, mine, config)
        else:
            sums = sum_elbo(model, self.val, mine, experiment.seed)
        whole = Sums.from_tensor(self.reduce(sums.to_tensor()))
        self.latent_rates = whole.rate_D / whole.count
        metrics = whole.average_elbo()
        metrics["loss"] = whole.nll if weighs_samples else metrics["nelbo"]
        if experiment.model.has_levels:
            metrics["bits_per_dim"] = to_bits_per_dim(metrics["loss"], model.shape)
        return metrics


def wrap_data_parallel(model: VAE, device: torch.device) -> DistributedDataParallel:
    """The model, with gradients averaged over ranks. Collective.

    DDP sums gradients bucket by bucket, and fills its buckets in another order after the first
    backward pass than before it; with three ranks or more that order changes the rounding. So one
    pass, whose gradient is thrown away, is made here: then every training step has the same
    buckets, and one that is resumed rounds as one that never stopped.
    """
    on_gpu = device.type == "cuda"
    parallel = DistributedDataParallel(
        model, device_ids=[device] if on_gpu else None, gradient_as_bucket_view=True
    )
    weight = next(model.parameters())
    densities = parallel(
        weight.new_zeros(1, *model.shape), weight.new_zeros(1, 1, model.latent_dim)
    )
    (0 * (densities.px_KB + densities.kl_B)).sum().backward()
    model.zero_grad()
    return parallel


def initialize_model(experiment: Experiment, train_NCHW: Images) -> VAE:
    """The untrained model: weights from the seed, output bias from the training images' moments."""
    colours, height, width = train_NCHW.shape[1:]
    shape, moments = (colours, height, width), measure_moments(train_NCHW)
    return build_model(experiment.model, shape, moments, experiment.seed)


def restore_averaged(
    content: Mapping[str, Any], experiment: Experiment, shape: tuple[int, int, int]
) -> VAE:
    """The averaged model of a checkpoint's content, in float32 and on the CPU."""
    model = initialize_model(experiment, torch.zeros((1, *shape), dtype=torch.uint8))
    model.to(DTYPES[experiment.train.precision]).load_state_dict(content["averaged"])
    return model.float().eval()


def plan_batches(experiment: Experiment) -> BatchPlan:
    """How the experiment cuts its epochs into batches."""
    return BatchPlan(
        seed=experiment.seed,
        batch_size=experiment.train.batch_size,
        samples=experiment.objective.samples,
        latent_dim=experiment.model.latent_dim,
        binarize=experiment.data.binarize == "dynamic",
        dtype=DTYPES[experiment.train.precision],
    )
