"""The settings of a network and of its likelihood, by which a saved model is built again."""

from dataclasses import dataclass
from typing import Literal

from vae.experiments.fields import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and how large. Raises ValueError for sizes no network can have."""

    kind: Literal["ImprovedVAE", "ConvVAE"] = setting(
        "fully connected, or strided convolutions and as many transposed ones", "ImprovedVAE"
    )
    latent_dim: int = setting("latent dimensions", 20, at_least=1)
    latents: Literal["vector", "map"] = setting(
        "one vector of the whole image, by dense layers; or a map: latent_dim shared out evenly "
        "among the places that ConvVAE's convolutions leave",
        "vector",
    )
    hidden: tuple[int, ...] = setting(
        "widths of the layers from pixels (or features) to latents, mirrored back",
        (400,),
        at_least=1,
    )
    channels: tuple[int, ...] = setting(
        "of each strided convolution, which halves the image; ConvVAE alone has them",
        (),
        at_least=1,
    )
    residual_blocks: int = setting(
        "between the convolutions and the dense layers, on both sides; ConvVAE's", 0, at_least=0
    )
    normalization: Literal["none", "group"] = setting(
        "after ConvVAE's hidden convolutions; group: by groups of channels within an image", "none"
    )
    activation: Literal["relu", "tanh", "silu", "glu"] = setting(
        "of the hidden layers; glu gates half of a layer's outputs by the others", "silu"
    )
    likelihood: Literal["bernoulli", "logistic", "logistic-mixture", "gaussian"] = setting(
        'of pixels: bernoulli for binarised or grey ones; with data.binarize = "none" the '
        "logistic ones for 256 levels, gaussian for real numbers",
        "bernoulli",
    )
    components: int = setting("of the logistic mixture; fewer are faster", 10, at_least=1)
    scale: Literal["pixel", "channel"] = setting(
        "of the logistic likelihood: decoded for each pixel, or learned for each colour", "pixel"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.kind == "ConvVAE" and not self.channels:
            raise ValueError("channels is [], ConvVAE needs at least one, such as [32, 64]")
        if self.kind == "ImprovedVAE":
            self._check_dense()
        if self.latents == "map" and self.hidden:
            raise ValueError(f"hidden is {list(self.hidden)}, a map of latents takes [] alone")
        if self.scale != "pixel" and self.likelihood != "logistic":
            raise ValueError(
                f"scale is {self.scale!r}, the {self.likelihood} likelihood takes 'pixel' alone"
            )
        if self.components != 10 and self.likelihood != "logistic-mixture":
            raise ValueError(
                f"components is {self.components}, the {self.likelihood} likelihood takes 10, "
                "the default, alone: logistic-mixture has them"
            )

    def _check_dense(self) -> None:
        for name in ("channels", "residual_blocks", "normalization", "latents"):
            value = getattr(self, name)
            if value not in ((), 0, "none", "vector"):
                shown = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"{name} is {shown!r}, but kind is ImprovedVAE: ConvVAE has them")
        if not self.hidden:
            raise ValueError("hidden is [], ImprovedVAE needs at least one layer")

    @property
    def has_levels(self) -> bool:
        """Whether log p(x) is of 256 levels: the bound is told in bits per dimension."""
        return self.likelihood in ("logistic", "logistic-mixture")

    def has_bits(self, binarize: str) -> bool:
        """Whether -log2 p(x) of pixels that are binarised so, or not, is the length of a code.

        It is not of a density, nor of grey levels as Bernoulli's, whose cross-entropy it is then.
        """
        return self.has_levels or (self.likelihood == "bernoulli" and binarize != "none")
