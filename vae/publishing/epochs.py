"""Pictures of a training under way: how samples and reconstructions form, epoch by epoch.

Each is a PNG below the run's prefix, from the averaged weights, with noise and images that are the
same in every epoch: what differs is what was learnt. Draws no random number that training draws.
"""

import io
import logging
import re

import torch
from PIL import Image
from torch import Tensor

from vae.errors import describe_error
from vae.models.networks import VAE
from vae.models.seeds import derive_seed
from vae.publishing.pictures import to_pixels
from vae.publishing.sheets import Sheet, lay_out, to_png
from vae.store.promises import Store

log = logging.getLogger("vae.epochs")
AT_MOST = 12  # epochs of a run, however many it has
COLUMNS = 6  # few, so that they can be told apart on a phone
SAMPLES, RECONSTRUCTED = 36, 18
KINDS = ("samples", "reconstructions")
NAME = re.compile(rf"epoch-(?P<epoch>\d{{5,}})-(?P<kind>{'|'.join(KINDS)})\.png")


def choose_epochs(total: int) -> list[int]:
    """The epochs of which pictures are kept: AT_MOST, evenly spread, the first and last of them."""
    count = min(total, AT_MOST)
    return [1 + round(i * (total - 1) / max(1, count - 1)) for i in range(count)]


def locate(prefix: str, epoch: int, kind: str) -> str:
    """The key of an epoch's picture."""
    return f"{prefix}/epoch-{epoch:05d}-{kind}.png"


def keep_pictures(
    store: Store, prefix: str, model: VAE, images: Tensor, epoch: int, total: int
) -> None:
    """Write an epoch's pictures below `prefix`, if it is one of those chosen of `total`.

    Before the epoch's checkpoint, or a run killed between the two would lack them. Rank 0 alone
    calls it. `images`: uint8 [N, C, H, W], always the same.
    """
    if epoch in choose_epochs(total):
        for kind, sheet in draw_epoch(model, images).items():
            store.put(locate(prefix, epoch, kind), to_png(sheet))


def copy_pictures(store: Store, prefix: str, destination: str) -> None:
    """Write what pictures there are below `prefix` under the same names below `destination`."""
    for key in store.list(prefix):
        name = key.rpartition("/")[2]
        if NAME.fullmatch(name):
            store.put(f"{destination}/{name}", store.read(key))


@torch.no_grad()
def draw_epoch(model: VAE, images: Tensor) -> dict[str, Sheet]:
    """Sheets by kind: samples from fixed noise, and the first images above their reconstructions.

    Of the reconstructions' rows every other one holds the originals of the row below it.
    """
    noise = torch.Generator().manual_seed(derive_seed(0, "epoch-pictures"))
    drawn = model.sample(SAMPLES, noise)
    columns = min(COLUMNS, len(images))
    shown = min(RECONSTRUCTED, len(images)) // columns * columns
    x_BCHW = to_pixels(model, images[:shown])
    decoded = model.reconstruct(x_BCHW)
    pairs = zip(torch.split(x_BCHW, columns), torch.split(decoded, columns), strict=True)
    rows = [row for pair in pairs for row in pair]
    return {
        "samples": lay_out(drawn, COLUMNS),
        "reconstructions": lay_out(torch.cat(rows), columns),
    }


def read_pictures(store: Store, prefix: str) -> dict[str, dict[int, Image.Image]]:
    """The pictures below `prefix`, by kind and epoch, in order, without those that are damaged."""
    found: dict[str, dict[int, Image.Image]] = {kind: {} for kind in KINDS}
    for key in sorted(store.list(prefix)):
        if match := NAME.fullmatch(key.rpartition("/")[2]):
            try:
                picture = Image.open(io.BytesIO(store.read(key)))
                picture.load()
            except (OSError, SyntaxError, ValueError) as error:  # as Pillow says it
                log.warning("%s is damaged, left out of the report: %s", key, describe_error(error))
                continue
            found[match["kind"]][int(match["epoch"])] = picture
    return found
