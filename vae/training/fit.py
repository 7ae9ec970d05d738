"""Training a model from its first weights, epoch by epoch: the part that trials and workers share.

Without Ray. What differs between one process and many comes in from outside: the shard, and how
sums are reduced over ranks.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vae.evaluation.bounds import EvaluationConfig, Sums, chunks, elbo_sums, likelihood_sums
from vae.experiments.loading import Experiment
from vae.models.networks import VAE, build_model
from vae.training.batches import BatchPlan, Shard, binarized
from vae.training.cuda_graph import step_on
from vae.training.step import Forward, new_state, train_epoch

Row = dict[str, float]  # the metrics of one epoch


class Fit:
    """One rank's training: data on the device, the state, and the collective epoch.

    `train` and `val`: uint8 [N, C, H, W]. `reduced` sums a float64 tensor over ranks. Raises
    ValueError if the model can't take images of this shape.
    """

    def __init__(
        self,
        experiment: Experiment,
        train: Tensor,
        val: Tensor,
        device: torch.device,
        shard: Shard = Shard(),
        reduced: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        self.experiment, self.shard, self.reduced = experiment, shard, reduced
        self.train = train.to(device)
        self.val = evaluation_images(val, experiment).to(device)
        self.state = new_state(first_model(experiment, train), experiment.train, device)
        self.step = step_on(device, shard)
        self.plan = batch_plan(experiment)
        self.steps = self.plan.steps(len(train))

    def epoch(self, forward: Forward, on_step: Callable[[int], None]) -> tuple[Row, Tensor]:
        """Train one epoch and validate it: its metrics, and its loss at every step. Collective.

        `forward` is the model, or DDP around it. Raises DivergedError on every rank.
        """
        began, epoch = time.time(), self.state.epoch
        losses = train_epoch(
            self.state,
            forward,
            self.plan.epoch(self.train, epoch, self.shard),
            self.experiment.train,
            self.experiment.objective,
            steps=self.steps,
            shard=self.shard,
            step=self.step,
            on_step=on_step,
        )
        losses = self.reduced(losses)
        trained = time.time()
        validation = self.validate()
        row = {
            "epoch": epoch + 1,
            "step": self.state.step,
            "train/loss": float(losses.mean()),
            **{f"val/{name}": value for name, value in validation.items()},
            "images_per_s": len(self.train) / (trained - began),
            "began": began,
            "ended": time.time(),
        }
        return row, losses

    def validate(self) -> Row:
        """Bounds on the validation split, each chunk on one rank; nats per image. Collective.

        `loss` is what training minimises, at beta = 1: the negative ELBO, or the negative bound of
        as many samples as an importance-weighted objective takes. It selects among epochs, because
        such an objective goes on to improve its own bound at the cost of the ELBO.
        """
        experiment, model = self.experiment, self.state.averaged
        mine = range(self.shard.rank, chunks(len(self.val)), self.shard.world)
        config = EvaluationConfig(samples=experiment.objective.samples, seed=experiment.seed)
        if experiment.objective.weighs_samples:
            sums = likelihood_sums(model, self.val, mine, config)
        else:
            sums = elbo_sums(model, self.val, mine, config.seed)
        whole = Sums.from_tensor(self.reduced(sums.to_tensor()))
        metrics = whole.elbo_metrics()
        loss = whole.nll if experiment.objective.weighs_samples else metrics["nelbo"]
        return metrics | {"loss": loss}


def data_parallel(model: VAE, device: torch.device) -> DistributedDataParallel:
    """The model, with gradients averaged over ranks. Collective.

    DDP puts gradients in buckets, and after the first backward pass in others, as they arrived.
    With three ranks or more, a sum's order depends on its place in a bucket; so a pass for nothing
    comes first, and a resumed training adds up as the one that was not interrupted.
    """
    on_gpu = device.type == "cuda"
    parallel = DistributedDataParallel(
        model, device_ids=[device] if on_gpu else None, gradient_as_bucket_view=True
    )
    parameter = next(model.parameters())
    densities = parallel(
        parameter.new_zeros(1, *model.shape), parameter.new_zeros(1, 1, model.latent_dim)
    )
    (0 * (densities.px_KB + densities.kl_B)).sum().backward()
    model.zero_grad()
    return parallel


def evaluation_images(images_NCHW: Tensor, experiment: Experiment) -> Tensor:
    """An evaluation split as the model sees it: binarised once, or grey levels in [0, 1]."""
    if experiment.data.binarize == "none":
        return images_NCHW.float() / 255
    return binarized(images_NCHW, experiment.data.binarize_seed)


def first_model(experiment: Experiment, train_NCHW: Tensor) -> VAE:
    """The untrained model: weights from the seed, output bias from the mean training image."""
    colours, height, width = train_NCHW.shape[1:]
    mean_CHW = train_NCHW.float().mean(0) / 255
    return build_model(experiment.model, (colours, height, width), mean_CHW, experiment.seed)


def batch_plan(experiment: Experiment) -> BatchPlan:
    """How the experiment cuts its epochs into batches."""
    return BatchPlan(
        seed=experiment.seed,
        batch_size=experiment.train.batch_size,
        samples=experiment.objective.samples,
        latent_dim=experiment.model.latent_dim,
        binarize=experiment.data.binarize == "dynamic",
        dtype=experiment.train.dtype,
    )
