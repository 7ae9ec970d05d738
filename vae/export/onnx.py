"""Encoder and decoder as ONNX, checked against the model in onnxruntime before they are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from vae.errors import UserError
from vae.export.programs import list_programs
from vae.models.networks import VAE

CLOSE = 1e-5  # by how much onnxruntime may differ, absolute and relative
COUNTS = (1, 3, 17)  # of images to check with
NAMES = {"encoder": (("x",), ("mu", "logvar")), "decoder": (("z",), ("pictures",))}


def save_onnx(model: VAE, directory: Path) -> list[str]:
    """Write encoder.onnx and decoder.onnx, for any number of images; their names.

    Raises UserError without the extra `onnx`, or if onnxruntime gives something else.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, torch's exporter needs it
    except ImportError as error:
        raise UserError(
            f"--format onnx needs {error.name}: pip install 'vae-pipeline[onnx]'"
        ) from error
    written = []
    for name, (inputs, outputs) in NAMES.items():
        module, example = list_programs(model)[name]
        path = directory / f"{name}.onnx"
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=({0: Dim("images")},),
            external_data=False,
            verbose=False,
        )
        check_same(onnxruntime.InferenceSession(str(path)), module, example, path)
        written.append(path.name)
    return written


@torch.no_grad()
def check_same(session: Any, module: nn.Module, example: Tensor, path: Path) -> None:
    """Raise UserError if onnxruntime gives something else than torch, for any number of images."""
    for count in COUNTS:
        given = torch.rand(count, *example.shape[1:], dtype=example.dtype)
        expected = module(given)
        found = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        pairs = zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True)
        for ours, theirs in pairs:
            if not np.allclose(ours, theirs.numpy(), rtol=CLOSE, atol=CLOSE):
                worst = float(np.abs(ours - theirs.numpy()).max())
                raise UserError(
                    f"{path.name} differs from the model by {worst:.1e} for {count} images in "
                    f"onnxruntime, allowed is {CLOSE:.0e}: export it with --format torch"
                )
