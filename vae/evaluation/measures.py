"""What is measured of a model beside its bounds: how its latents and its images look.

Both need labels: the probe predicts them, and images are compared in the features of a classifier.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from vae.data.binarization import prepare_inputs
from vae.data.rows import Rows
from vae.evaluation.bounds import Sums, sum_likelihood
from vae.evaluation.classifier import Classifier, extract_features
from vae.evaluation.frechet import Gaussian, estimate_gaussian, frechet_distance
from vae.evaluation.probe import encode_means, measure_probe
from vae.experiments.settings import EvaluationConfig, Experiment
from vae.models.levels import count_at_once
from vae.models.networks import VAE
from vae.models.seeds import derive_seed

Labelled = tuple[Tensor | Rows, Tensor]  # images uint8 [N, C, H, W], labels int64 [N]
FRECHET_IMAGES = 10_000  # of each set, or as many as the test split has
DRAWN_AT_ONCE = 500


def measure_bounds(
    model: VAE, experiment: Experiment, split: Labelled, config: EvaluationConfig, chunks: range
) -> Sums:
    """Sums over some chunks of a split, with the bound of `config`'s samples."""
    return sum_likelihood(model, prepare_inputs(split[0], experiment.data), chunks, config)


def measure_latents(
    model: VAE, experiment: Experiment, train: Labelled, test: Labelled, classes: int
) -> dict[str, float]:
    """`probe_accuracy`: trained on the training split's posterior means, scored on the test's."""
    train_ND, test_ND = (
        encode_means(model, prepare_inputs(images, experiment.data)) for images, _ in (train, test)
    )
    return {"probe_accuracy": measure_probe(train_ND, train[1], test_ND, test[1], classes)}


def measure_images(
    model: VAE, experiment: Experiment, train: Labelled, test: Labelled, classifier: Classifier
) -> dict[str, float]:
    """Fréchet distances to the grey test images: of samples, reconstructions, training images.

    A model's images are pixel probabilities. These are the grey levels that it expects, also where
    it was trained on binarised ones: means are compared with grey levels.
    """
    compared = min(FRECHET_IMAGES, len(test[0]))
    seen = prepare_inputs(test[0], experiment.data)
    noise = torch.Generator().manual_seed(derive_seed(experiment.evaluation.seed, "frechet"))
    at_once = count_at_once(test[0].shape, DRAWN_AT_ONCE)
    parts = [slice(at, min(at + at_once, compared)) for at in range(0, compared, at_once)]
    sets: dict[str, Iterable[Tensor]] = {
        "samples": (model.sample(part.stop - part.start, noise) for part in parts),
        "reconstructions": (
            model.reconstruct(seen[part].to(model.device, model.dtype)) for part in parts
        ),
        "floor": (train[0][part] for part in parts if part.start < len(train[0])),
    }
    reference = describe_features(classifier, (test[0][part] for part in parts))
    return {
        f"frechet_{name}": frechet_distance(describe_features(classifier, images), reference)
        for name, images in sets.items()
    }


def describe_features(classifier: Classifier, parts: Iterable[Tensor]) -> Gaussian:
    """The Gaussian of the features of all images, given in parts."""
    return estimate_gaussian(torch.cat([extract_features(classifier, part) for part in parts]))
