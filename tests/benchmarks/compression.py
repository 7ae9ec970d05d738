"""A model's bound in bits/dim against PNG, WebP and JPEG XL, lossless, of the same test images.

They get all images in one mosaic, over white, so that they may find in one what was in another.
JPEG XL needs `imagecodecs` (BSD), which is no dependency: `uv pip install imagecodecs`.
"""

import argparse
import importlib
import io
import math
import tempfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.benchmarks.table import lines
from vae.data.binarization import prepare_inputs
from vae.data.datasets import prepare
from vae.data.mapped import open_rows
from vae.evaluation.bounds import count_chunks, sum_likelihood, to_bits_per_dim
from vae.experiments.loading import load_experiment
from vae.experiments.settings import EvaluationConfig
from vae.models import load_model
from vae.store.open import open_store
from vae.training.cpu import set_up_cpu


def lay_mosaic(images_NCHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All images in one, as square as it goes, [H, W, C]; the rest is white."""
    count, *shape = images_NCHW.shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    cells = np.full((rows * columns, *shape), 255, np.uint8)
    cells[:count] = images_NCHW
    channels, height, width = shape
    grid = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, channels)


def save(mosaic_HWC: NDArray[np.uint8], kind: str, **options: int | bool) -> int:
    """How many bytes Pillow's file takes."""
    file = io.BytesIO()
    Image.fromarray(mosaic_HWC.squeeze()).save(file, kind, **options)
    return len(file.getvalue())


def encode(mosaic_HWC: NDArray[np.uint8]) -> dict[str, int]:
    """How many bytes each format takes, each at its smallest."""
    sizes = {
        "PNG": save(mosaic_HWC, "PNG", optimize=True),
        "WebP, lossless": save(mosaic_HWC, "WEBP", lossless=True, quality=100, method=6),
    }
    try:
        codecs = importlib.import_module("imagecodecs")
    except ModuleNotFoundError:
        print("JPEG XL is left out: imagecodecs is not installed\n")
        return sizes
    return sizes | {"JPEG XL, lossless": len(codecs.jpegxl_encode(mosaic_HWC, effort=9))}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="+", help="folder of a pulled model")
    parser.add_argument("--experiment", default="emoji", help="whose test images")
    parser.add_argument("--samples", type=int, default=100)
    given = parser.parse_args()
    set_up_cpu()
    data = load_experiment(given.experiment, {}).data
    with tempfile.TemporaryDirectory() as name:
        store = open_store(name)
        test = open_rows(prepare(data, store), store, "test")
        pixels, inputs = test[:].numpy(), prepare_inputs(test, data)
        table: list[list[object]] = [
            [kind, 8 * size / pixels.size] for kind, size in encode(lay_mosaic(pixels)).items()
        ]
        config = EvaluationConfig(samples=given.samples)
        for folder in given.model:
            model = load_model(folder)
            sums = sum_likelihood(model, inputs, range(count_chunks(len(test))), config)
            nats = {"negative ELBO": sums.average_elbo()["nelbo"], "bound": sums.nll}
            table += [
                [f"{folder}: {title}", to_bits_per_dim(value, model.shape)]
                for title, value in nats.items()
            ]
    print(f"{len(test)} test images of {given.experiment}, K = {given.samples}\n")
    print(lines(["what", "bits/dim"], table))


if __name__ == "__main__":
    main()
