"""The model card of a version: what it is, how good, of which data, and how to use it."""

from collections.abc import Mapping

from vae.data.catalogue import DATASETS
from vae.data.datasets import DatasetRef
from vae.experiments.settings import Experiment

CARD = "card.md"
PICTURES = {
    "samples": "Samples from the prior",
    "reconstructions": "Test images, each above its reconstruction",
    "interpolation": "Along lines in latent space",
    "latent": "Posterior means of test images",
}


def write_card(
    experiment: Experiment, ref: DatasetRef, metrics: Mapping[str, float], version: str
) -> str:
    """The card as Markdown, led by the metadata that the Hugging Face Hub reads.

    `experiment`: with the settings that won.
    """
    return "\n".join(
        [
            *write_metadata(ref),
            f"# {experiment.name}",
            "",
            *describe_model(experiment, ref, version),
            "",
            "## Metrics",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| `{name}` | {value:.6g} |" for name, value in sorted(metrics.items())),
            "",
            "`nll` and `nelbo` are bounds in nats per image, lower is better; `val` chose the "
            "model, `test` never did.",
            "",
            "## Use",
            "",
            *show_use(ref),
            "",
            "## Pictures",
            "",
            *(f"![{caption}]({name}.png)" for name, caption in PICTURES.items()),
            "",
            "## Limits",
            "",
            "It knows nothing but images like those that it was trained on: others get a low bound "
            "(`vae score`) and a poor reconstruction.",
            "",
        ]
    )


def write_metadata(ref: DatasetRef) -> list[str]:
    """The YAML block at the head of a card."""
    lines = ["---", "library_name: vae-pipeline", "pipeline_tag: unconditional-image-generation"]
    lines += ["tags: [vae, pytorch, safetensors]"]
    licence = find_licence(ref)
    lines += ["license: other", f"license_name: {licence!r}"] if licence else ["license: unknown"]
    return [*lines, "---", ""]


def describe_model(experiment: Experiment, ref: DatasetRef, version: str) -> list[str]:
    """A few lines of what it is and what it was made of."""
    model, shape = experiment.model, "×".join(map(str, ref.shape))
    counts = ", ".join(f"{count:,} {split}" for split, count in ref.counts.items())
    licence = find_licence(ref) or "not stated"
    return [
        f"A variational autoencoder of images of {shape}: {model.kind}, {model.latent_dim} "
        f"latents, {model.likelihood} likelihood. Version `{version}`, seed {experiment.seed}.",
        "",
        f"- Dataset: {ref.name}, {counts}; SHA-256 `{ref.digest}`",
        f"- Licence of the data: {licence}",
        "- Licence of the weights: whoever trained them states it",
    ]


def find_licence(ref: DatasetRef) -> str:
    """The licence of a published dataset; "" where the project knows none."""
    spec = DATASETS.get(ref.name)
    return spec.licence if spec else ""


def show_use(ref: DatasetRef) -> list[str]:
    """How to load it and draw from it."""
    colours, height, width = ref.shape
    return [
        "```python",
        "from vae.models import load_model  # pip install vae-pipeline",
        "",
        'model = load_model("DIR")  # the folder of this card',
        f"images = model.sample(16)  # [16, {colours}, {height}, {width}] in [0, 1]",
        "mu, logvar = model.encode(images)",
        "```",
    ]
