"""Images to latents in a file, and back."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from vae.data.binarization import prepare_alone
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.inference.images import AT_ONCE, Batch
from vae.models.levels import count_at_once
from vae.models.networks import VAE

ARRAYS = ("mu", "logvar", "names")


@torch.no_grad()
def encode(model: VAE, batches: Iterable[Batch], data: DataConfig) -> bytes:
    """The posteriors of images, as the content of an .npz file.

    `mu` and `logvar`, float32 [N, D], and `names` [N]. For a model of binarised pixels each image
    is binarised by its own content: see `prepare_alone`. Raises UserError if there are no images.
    """
    names: list[str] = []
    statistics = []
    for batch in batches:
        pixels = prepare_alone(batch.images, data).to(model.dtype)
        statistics.append(torch.stack(model.encode(pixels)))
        names += batch.names
    if not names:
        raise UserError("there are no images to encode")
    mu, logvar = torch.cat(statistics, dim=1).float().numpy()
    buffer = io.BytesIO()
    np.savez(buffer, mu=mu, logvar=logvar, names=np.array(names))
    return buffer.getvalue()


@torch.no_grad()
def decode(model: VAE, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pictures that latents stand for: uint8 [N, C, H, W].

    `path`: what `encode` gave, of which `mu` is decoded, or a .npy file of latents [N, D]. Raises
    UserError for anything else.
    """
    latents = _read_latents(path)
    if latents.ndim != 2 or latents.shape[1] != model.latent_dim:
        raise UserError(
            f"{path} holds an array of shape {latents.shape}, must be [N, {model.latent_dim}]"
        )
    z_ND = torch.from_numpy(np.ascontiguousarray(latents)).to(model.dtype)
    if not z_ND.isfinite().all():
        raise UserError(f"{path} holds a latent that is not finite")
    parts = torch.split(z_ND, count_at_once(model.shape, AT_ONCE))
    pictures = [model.expect(part).mul(255).round().clamp(0, 255).byte() for part in parts]
    return torch.cat(pictures).numpy()


def _read_latents(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        found = np.asarray(loaded["mu"] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded)
        return found.astype(np.float64 if found.dtype == np.float64 else np.float32)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is neither latents of `vae encode` nor a .npy file") from error
