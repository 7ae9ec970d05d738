"""What was measured, in words and with units."""

from collections.abc import Mapping

from vae.evaluation.bounds import VALIDATION_SAMPLES
from vae.experiments.settings import ModelConfig

HEADLINES = {  # what it is, how its value reads, its unit
    "test/nelbo": ("negative ELBO, test", "{value:.2f}", "nats per image"),
    "test/nll": ("-log p(x), test", "≤ {value:.2f}", "nats per image, K = {samples:.0f}"),
    "test/rate": ("rate, KL(q‖p)", "{value:.2f}", "nats per image"),
    "test/distortion": ("distortion, -log p(x|z)", "{value:.2f}", "nats per image"),
    "test/active_units": ("active units", "{value:.0f}", "of {latent_dim} latents"),
    "val/nll": (
        "-log p(x), validation",
        "≤ {value:.2f}",
        f"nats per image, K = {VALIDATION_SAMPLES}, decides which version is best",
    ),
}
BITS = {"test/bits_per_dim": ("importance-weighted bound", "{value:.4f}", "bits per dimension")}
QUALITY = {  # the same, of what is measured only where the dataset has labels
    "test/frechet_samples": ("Fréchet distance, samples", "{value:.2f}", "to test images"),
    "test/frechet_reconstructions": (
        "Fréchet distance, reconstructions",
        "{value:.2f}",
        "to test images",
    ),
    "test/frechet_floor": ("Fréchet distance, training images", "{value:.2f}", "the noise floor"),
    "test/probe_accuracy": ("linear probe of the latents", "{value:.2%}", "of test labels right"),
}


def format_headlines(
    metrics: Mapping[str, float], model: ModelConfig
) -> list[tuple[str, str, str]]:
    """What was measured as (label, value, unit): bits of 256 levels first, then HEADLINES, QUALITY.

    Of binarised pixels bits come after the headlines, and of others there are none.
    """
    texts = (BITS | HEADLINES if model.has_levels else HEADLINES | BITS) | QUALITY
    known = {"samples": metrics["test/nll_samples"], "latent_dim": model.latent_dim}
    return [
        (label, form.format(value=metrics[name]), unit.format(**known))
        for name, (label, form, unit) in texts.items()
        if name in HEADLINES or name in metrics
    ]
