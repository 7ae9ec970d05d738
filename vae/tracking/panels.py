"""What W&B's views and reports draw: panels, each of keys that the tracker logs.

Needs the extra `dashboard`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wandb_workspaces.reports.v2 import interface as wr

LOSS = "best/val_loss"  # of a trial and of the training, nats
GPUS = 8  # of one machine, at most
Panels = list[wr.PanelTypes]


class Searched(NamedTuple):
    """A setting that a search varies, and whether it is drawn by its logarithm."""

    name: str  # dotted
    log: bool


def draw_bounds() -> Panels:
    """How well images are modelled: on validation while training, on test at the end."""
    return [
        draw_line("Validation loss, beta = 1 (nats per image)", "val/loss"),
        draw_line("Training loss (nats per image)", "train/loss"),
        draw_bars("-log p(x) of validation images, at most (nats)", "val/nll"),
        draw_bars("-log p(x) of test images, at most (nats)", "test/nll"),
        draw_bars("Bits per dimension of test images", "test/bits_per_dim"),
    ]


def draw_rates() -> Panels:
    """What the latents tell against what they leave out."""
    return [
        wr.ScatterPlot(
            title="Rate against distortion, validation (nats)",
            x=wr.SummaryMetric("val/rate"),
            y=wr.SummaryMetric("val/distortion"),
            z=wr.SummaryMetric(LOSS),
        ),
        wr.ScatterPlot(
            title="Rate against distortion, test (nats)",
            x=wr.SummaryMetric("test/rate"),
            y=wr.SummaryMetric("test/distortion"),
            z=wr.SummaryMetric("test/nll"),
        ),
        draw_line("Rate, KL(q‖p) (nats per image)", "val/rate"),
        draw_line("Distortion, -log p(x|z) (nats per image)", "val/distortion"),
    ]


def draw_latents() -> Panels:
    """How many latents are used, and how the KL is spread over them."""
    return [
        draw_line("Active units", "val/active_units"),
        draw_line("KL of each latent (nats)", "val/latent_rates"),
        draw_bars("Active units, test", "test/active_units"),
    ]


def draw_search(settings: Sequence[Searched]) -> Panels:
    """What was tried, and what of it mattered."""
    columns = [
        wr.ParallelCoordinatesPlotColumn(
            wr.Config(one.name), display_name=one.name, log=one.log or None
        )
        for one in settings
    ]
    loss = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(LOSS), display_name="validation loss")
    return [
        wr.ParallelCoordinatesPlot(title="What was tried", columns=[*columns, loss]),
        wr.ParameterImportancePlot(with_respect_to=LOSS),
    ]


def draw_interaction(across: Searched, up: Searched) -> Panels:
    """Two settings of every trial, in the colour of its loss."""
    return [
        wr.ScatterPlot(
            title=f"{across.name}, {up.name} and the validation loss",
            x=wr.Config(across.name),
            y=wr.Config(up.name),
            z=wr.SummaryMetric(LOSS),
            log_x=across.log or None,
            log_y=up.log or None,
        )
    ]


def draw_pictures() -> Panels:
    """Samples and reconstructions as they form, and the latent space at the end."""
    over_epochs: Panels = [
        wr.MediaBrowser(
            title=title, media_keys=[f"pictures/{kind}"], mode="gallery", gallery_axis="step"
        )
        for title, kind in (("Samples", "samples"), ("Reconstructions", "reconstructions"))
    ]
    return [
        *over_epochs,
        wr.MediaBrowser(
            title="Between images, and all of them by their latents",
            media_keys=["pictures/interpolation", "pictures/latent"],
        ),
    ]


def draw_optimisation() -> Panels:
    """How training goes: the loss of single steps, the step's size, the speed."""
    return [
        draw_line("Loss of single steps (nats per image)", "step/loss", over="step"),
        draw_line("Gradient norm", "train/gradient_norm"),
        draw_line("Learning rate", "train/learning_rate"),
        draw_line("Images per second", "images_per_s"),
        draw_line("Seconds that an epoch waited for data", "data_wait_s"),
    ]


def draw_system() -> Panels:
    """The machine on which the flow of a training ran; W&B's own samples."""
    over = "RelativeTime(Wall)"
    gpus = [f"system/gpu.{number}" for number in range(GPUS)]
    return [
        draw_line("CPU (% of a core)", "system/cpu", over=over),
        draw_line("Memory of the process (MB)", "system/proc.memory.rssMB", over=over),
        draw_line("Memory of the machine (%)", "system/memory_percent", over=over),
        draw_line("GPUs at work (%)", *(f"{gpu}.gpu" for gpu in gpus), over=over),
        draw_line("GPUs' memory (%)", *(f"{gpu}.memoryAllocated" for gpu in gpus), over=over),
    ]


def draw_line(title: str, *keys: str, over: str = "epoch") -> wr.LinePlot:
    """Curves of every run."""
    return wr.LinePlot(title=title, x=over, y=list(keys))


def draw_bars(title: str, key: str) -> wr.BarPlot:
    """A bar for each run that has the value."""
    return wr.BarPlot(title=title, metrics=[key])
