"""Likelihoods p(x|z): what the decoder's numbers say of pixels, each kind in a file."""

from collections.abc import Callable

from vae.experiments.settings import ModelConfig
from vae.models.likelihoods.base import Likelihood
from vae.models.likelihoods.bernoulli import Bernoulli
from vae.models.likelihoods.gaussian import Gaussian
from vae.models.likelihoods.logistic import Logistic
from vae.models.likelihoods.mixture import LogisticMixture

__all__ = ["Bernoulli", "Gaussian", "Likelihood", "Logistic", "LogisticMixture", "build_likelihood"]


def build_likelihood(config: ModelConfig, colours: int) -> Likelihood:
    """The configured likelihood of images of so many colours."""
    if config.likelihood == "logistic":
        return Logistic(colours, scale_per_pixel=config.scale == "pixel")
    if config.likelihood == "logistic-mixture":
        return LogisticMixture(colours, config.components)
    kinds: dict[str, Callable[[int], Likelihood]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
    return kinds[config.likelihood](colours)
