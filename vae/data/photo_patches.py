"""Photo patches: 32×32 squares of the photographs in two of Debian's packages of wallpapers.

`mate-backgrounds` is under the GNU GPL 2 or later; of `lomiri-wallpapers-16.04` each photograph is
under CC BY 4.0, CC BY-SA 4.0 or CC0 1.0. Who took which is in the packages' copyright files; what
is drawn or computed there is left out.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vae.data.formats import Parsed, Split
from vae.data.images import Look, decode
from vae.errors import UserError

PACKAGES = ("mate-backgrounds", "lomiri-wallpapers-16.04")
# SHA-256 of each file, in order of which photographs are taken: first those of the test.
PHOTOGRAPHS = {
    "Wood.jpg": "19c78500ac00a622e19907ab9cc7d06d46fe08c4a6142759a84195696150ec07",
    "YellowFlower.jpg": "254da96256acb7add685679775a04d1e4a5bc8cd13e5a5a3d61351ce198a5306",
    "RainDrops.jpg": "3e4ea9671c28c90a86cf67b3db9daf18c4741587c596333a7529ca589aaa0c16",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg": (
        "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a"
    ),
    "sunset_by_Aitzol_Berasategi.jpg": (
        "474dab6a4b9f94dc76c29dfe30e9f5db4af0fd2e33fe5d695f8152b371efca18"
    ),
    "life_by_Aitzol_Berasategi.jpg": (
        "4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05"
    ),
    "Aqua.jpg": "5c30118205982da441bf7e6a1ada636a8a0be879408140b3148280c665ed6bce",
    "aitzgorri_by_Aitzol_Berasategi.jpg": (
        "66268e7b48f8854d36a28765fac6e23ec1aee251daa6da1f64715f201020ad36"
    ),
    "TwoWings.jpg": "665e5abf8a5399070a91a9a8e455fe071e5b61697ff78fdeda4e9843ef545aeb",
    "Storm.jpg": "77ca53077831d3237f73393a91fc879158abc046d852941c26e90de336356957",
    "free_by_Peter_Nerlich.jpg": "85a5453c2fed514c75973016f3d862aca62eb7ca087618822469274ac1092373",
    "Picture_1A_by_freespace.jpg": (
        "89e86af38d04daaef975665dc2127e9fa76f0fd68f4eea105a2d0ae3390b010b"
    ),
    "Dune.jpg": "8a67c2cb0be8c46b70c237311a4fa4d2b4ac7d39568135384787801fa5cc9a91",
    "GreenMeadow.jpg": "8fa0de0aa4089f7319c9fb7a6d006d4cab6023e8c8853731557cff53567b4832",
    "FreshFlower.jpg": "972b0a0c4e5e3fa93f4f244fc84bc64b121a5eac3aaa5856f1308c1f38a02f8e",
    "seeding_by_Clements_Engelhardt.jpg": (
        "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f"
    ),
    "Dragonfly_by_Bolly.jpg": "af5af17841009732def24b09bb1e669a1b09d2b4bdeee7812c371101c30d2bb3",
    "Bridge_by_Sander_Klootwijk.jpg": (
        "bd86b081f9975e2b83527f71e49b9271a8ab40885428395969d9f7d834d7f050"
    ),
    "Picture_0B_by_freespace.jpg": (
        "c8c0ab18e48d9e0419fe42881112137f3afafc27dfddc29ec3a6d54c56d225ad"
    ),
    "friends_by_Aitzol_Berasategi.jpg": (
        "cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d"
    ),
    "Wine_by_Jakkub_Mede.jpg": "d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
    "Garden.jpg": "d3095ee09d425ef23d27155412136cf14fc3c9af76ca58b452f55e23da324e78",
    "LadyBird.jpg": "e35a9a4126ef969c90b29c038058c5a575a20eadd84106a37bf1fa9931e7b61d",
    "greentock_by_Peter_Nerlich.jpg": (
        "e7b20e2db9dcd6e2b278ca55873c2110b35d89cd38b04d0b18728726888e6889"
    ),
    "Blinds.jpg": "f7aac0dcc2e06d0491643e84df3da1d9db7c4610f58806a880d56e074799f600",
}
_TEST, _VALIDATION = 6, 3  # photographs
_REDUCTION = 4  # as many pixels each way are averaged: what JPEG left of its blocks is gone
_SIDE = 32


def parse_photographs(files: Mapping[str, bytes]) -> Parsed:
    """All whole patches of the photographs, uint8 [N, 3, 32, 32]; raises UserError.

    Every 4×4 pixels are averaged first. A photograph lies in one split alone: the SHA-256 of its
    file decides, the first six go to the test and the next three to validation. One class.
    """
    cut = [cut_patches(name, files[name]) for name in PHOTOGRAPHS]
    ends = (_TEST, _TEST + _VALIDATION)
    test, val, train = (
        make_split(cut[first:last])
        for first, last in zip((0, *ends), (*ends, len(cut)), strict=True)
    )
    return Parsed(train, test, classes=1, val=val)


def cut_patches(name: str, photograph: bytes) -> NDArray[np.uint8]:
    """The patches of one, row by row; what is left at the right and below is less than a patch."""
    try:
        image = decode(photograph, Look(colours=3)).image
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    rows, columns = (side // (_REDUCTION * _SIDE) for side in image.shape[1:])
    height, width = rows * _SIDE, columns * _SIDE
    whole = image[:, : height * _REDUCTION, : width * _REDUCTION].astype(np.uint16)
    sums = whole.reshape(3, height, _REDUCTION, width, _REDUCTION).sum((2, 4), dtype=np.uint16)
    # Whole numbers, so that every machine rounds alike.
    reduced = ((sums + _REDUCTION**2 // 2) // _REDUCTION**2).astype(np.uint8)
    grid = reduced.reshape(3, rows, _SIDE, columns, _SIDE).transpose(1, 3, 0, 2, 4)
    patches: NDArray[np.uint8] = grid.reshape(-1, 3, _SIDE, _SIDE)
    return patches


def make_split(cut: list[NDArray[np.uint8]]) -> Split:
    """The patches of some photographs, in order."""
    images = np.concatenate(cut)
    return Split(images, np.zeros(len(images), np.int64))
