"""Every setting of an experiment: its default, what it may be, and what it does.

An experiment is everything that decides the trained weights, and nothing about where it runs. It
imports no package, so that a model loads wherever torch is.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vae.experiments.durations import DURATIONS, check_budget
from vae.experiments.fields import check_settings, name_setting, setting
from vae.experiments.model_settings import ModelConfig as ModelConfig
from vae.experiments.search import SearchConfig
from vae.files import PLAIN_NAME

Value = str | int | float | bool | list[int] | dict[str, Any]
Overrides = Mapping[str, Value]  # {"train.learning_rate": 3e-4}: the CLI, flows and Tune speak this
NAME_LENGTH = 47  # with a UUID behind it, still the id of a run
SCRATCH, BEST = "scratch", "best"  # what training may begin from, besides NAME@VERSION
SEEDS = 2**31  # NumPy's generators, which Optuna seeds, take 32 bits


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are split. Raises ValueError for what no set could have."""

    name: str = setting(
        "the dataset",
        "mnist",
        allowed="mnist, fashion-mnist, cifar10, emoji, photo-patches, or a path or URL: of a "
        "folder of images, a pattern such as pets/*.jpg, a .npy file, or a .csv file of paths and "
        "labels",
    )
    validation: int = setting(
        "the last images of the training set to hold out, where the set has no split for it",
        10_000,
        at_least=1,
    )
    limit: int = setting(
        "keep the first images of every split, this many; 0: all",
        0,
        at_least=0,
        allowed="0, or a whole number, at least 2",
    )
    size: int = setting(
        "resize the short side of every image to this, and keep the centre; 0: as they are",
        0,
        at_least=0,
    )
    colours: int = setting(
        "channels of every image: 1 is grey, 3 is colour; 0: as they are",
        0,
        at_least=0,
        allowed="0, 1 or 3",
    )
    background: tuple[int, ...] = setting(
        "the red, green and blue that transparent images are shown over",
        (255, 255, 255),
        at_least=0,
        at_most=255,
    )
    broken: Literal["refuse", "skip"] = setting(
        "refuse a set with a file that is no whole image, or skip such files and say how many",
        "refuse",
    )
    binarize: Literal["dynamic", "none"] = setting(
        "dynamic draws every training pixel anew as 0 or 1 at every step; none keeps grey levels",
        "dynamic",
    )
    binarize_seed: int = setting(
        "seed of the one binarisation of validation and test", 0, at_least=0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.limit == 1:  # a picture goes from one image to another
            raise ValueError("limit is 1, must be at least 2, or 0 for all")
        if self.colours not in (0, 1, 3):
            raise ValueError(f"colours is {self.colours}, must be 0, 1 or 3")
        if len(self.background) != 3:
            raise ValueError(f"background is {list(self.background)}, must be three numbers")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which bound is trained on, and with how many posterior samples per image."""

    kind: Literal["elbo", "iwae", "dreg"] = setting(
        "evidence lower bound, importance-weighted bound, or that with DReG's gradient", "elbo"
    )
    samples: int = setting("posterior samples per image, K", 1, at_least=1)
    beta: float = setting(
        "weight of the rate in the ELBO's loss, never in a bound", 1.0, at_least=0
    )
    warmup_epochs: int = setting(
        "epochs in which beta rises linearly from 0; 0: off", 0, at_least=0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.weighs_samples and (self.beta != 1 or self.warmup_epochs):
            raise ValueError(
                f"beta is {self.beta} and warmup_epochs {self.warmup_epochs}, the {self.kind} "
                "objective weighs no rate: must be 1 and 0"
            )

    @property
    def weighs_samples(self) -> bool:
        """Whether the bound is the importance-weighted one, tighter with every sample."""
        return self.kind != "elbo"

    def beta_at(self, epochs: float) -> float:
        """The weight of the rate after so many epochs, a fraction in mid-epoch."""
        if epochs >= self.warmup_epochs:
            return self.beta
        return self.beta * epochs / self.warmup_epochs


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are found. Raises ValueError for what could never train."""

    from_: str = setting(
        "whose weights training begins with; best: those of the model's name, if there is one",
        SCRATCH,
        allowed="scratch, best, or NAME@VERSION of a published model",
    )
    epochs: int = setting("passes over the training images", 20, at_least=1)
    batch_size: int = setting("images in a global batch, over all workers", 128, at_least=1)
    learning_rate: float = setting("Adam's, at its peak", 1e-3, above=0)
    schedule: Literal["constant", "cosine"] = setting(
        "of the learning rate; cosine falls to 0 at the last step", "constant"
    )
    grad_clip: float = setting("largest norm of the gradient; 0: off", 0.0, at_least=0)
    ema_decay: float = setting(
        "of the average of weights that is judged and published; 0: off",
        0.999,
        at_least=0,
        below=1,
    )
    checkpoint_minutes: float = setting(
        "of training within an epoch after which it is saved; 0: at the end of every epoch alone",
        0.0,
        at_least=0,
    )
    precision: Literal["float32", "bfloat16", "float64"] = setting(
        "of training; bfloat16 for products alone, which a CPU may have to emulate", "float32"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        name, at, version = self.from_.partition("@")
        named = at and PLAIN_NAME.fullmatch(name) and PLAIN_NAME.fullmatch(version)
        if self.from_ not in (SCRATCH, BEST) and not named:
            raise ValueError(f"from is {self.from_!r}, must be scratch, best or NAME@VERSION")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a trained model is judged."""

    samples: int = setting(
        "K of the test split's importance-weighted bound on log p(x)", 500, at_least=1
    )
    seed: int = setting("of the posterior samples of both splits' final bounds", 0)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A dataset, a model, how it is trained, judged and searched; validated as a whole."""

    name: str = setting(
        "of the published model; the file's own name without it",
        allowed=f"letters, digits, '.', '_' and '-', at most {NAME_LENGTH}",
    )
    seed: int = setting("of all randomness in training", 0, at_least=0, at_most=SEEDS - 1)
    time_budget: str = setting(
        "time of the run after which no trial and no epoch is begun; empty: none",
        "",
        allowed=f"text, {DURATIONS}",
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if not PLAIN_NAME.fullmatch(self.name) or len(self.name) > NAME_LENGTH:
            raise ValueError(
                f"name is {self.name!r}, must be letters, digits, '.', '_' or '-', "
                f"at most {NAME_LENGTH} of them"
            )
        check_budget(self.time_budget)
        varied = [name for name in self.search.space if name.startswith("model.")]
        if self.search.trials and varied and self.train.from_ != SCRATCH:
            raise ValueError(
                f"search.space varies {varied[0]}, but with train.from = {self.train.from_!r} the "
                "network is that of a published model: leave it out, or search.trials = 0"
            )
        likelihood = self.model.likelihood
        if likelihood != "bernoulli" and self.data.binarize != "none":
            raise ValueError(
                f"model.likelihood is '{likelihood}', of grey levels, but data.binarize is "
                f"'{self.data.binarize}': must be 'none', or the likelihood 'bernoulli'"
            )

    @property
    def shared_epochs(self) -> int:
        """The first epochs of training, if those are what the winner of the search has trained.

        All of the search's, else none: where a learning rate depends on how many are to come, they
        are others.
        """
        same = self.train.schedule == "constant" or self.train.epochs == self.search.epochs
        fits = self.search.trials and self.search.epochs <= self.train.epochs
        return self.search.epochs if same and fits else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only; `parse_experiment` is the inverse."""
        named = dataclasses.asdict(
            self, dict_factory=lambda pairs: {name_setting(name): value for name, value in pairs}
        )
        plain: dict[str, Any] = json.loads(json.dumps(named))
        for limits in plain["search"]["space"].values():
            unused = ("low", "high", "log") if limits["choice"] else ("choice",)
            for key in (*unused, *(() if limits["when"] else ("when",))):
                del limits[key]
        return plain
