"""Emoji: the colour bitmaps in the tables of Debian's Noto Color Emoji, 64×64 over white.

The font is under the SIL Open Font License 1.1, what built it under the Apache License 2.0.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae.data.formats import Parsed, Split
from vae.data.images import Look, decode
from vae.errors import UserError, extract_message
from vae.files import hash_bytes

FONT = "NotoColorEmoji.ttf"
CLASS_NAMES = ("thing", "person", "flag")
_SIDE, _WIDTH = 128, 136  # of a bitmap: the picture, and with the space beside it
_VARIANT = {0xFE0F, 0x200D, 0x2640, 0x2642}  # presentation, joiner, female and male sign
_SKIN_TONES = frozenset(range(0x1F3FB, 0x1F400))
_PERSON = 0x1F9D1
_PEOPLE = {0x1F468: _PERSON, 0x1F469: _PERSON}  # man and woman
_FLAGS = frozenset({*range(0x1F1E6, 0x1F200), 0x1F3F4, 0x1F3F3})
_LIGATURES = 4  # the type of a lookup that joins glyphs to one
Sequence = tuple[int, ...]  # the code points of one emoji


def parse_emoji(files: Mapping[str, bytes]) -> Parsed:
    """The font's pictures, uint8 [N, 3, 64, 64], each once; raises UserError.

    The middle 128×128 of a bitmap, over white, each 2×2 pixels averaged. Emoji that differ by skin
    tone or gender alone stay in one split: the SHA-256 of what they share decides, a seventh of
    all for the test and the next seventh for validation. Ordered by content.
    """
    try:
        bitmaps = _read_bitmaps(files[FONT])
        families: dict[bytes, Sequence] = {}
        for sequence, bitmap in sorted(bitmaps.items()):
            families.setdefault(_draw(bitmap).tobytes(), sequence)  # each picture once
        people = {find_family(one) for one in bitmaps if set(one) & _SKIN_TONES}
    except Exception as error:  # fontTools raises whatever a broken table leads it to
        raise UserError(f"{FONT}: not this font: {extract_message(error)}") from error
    ordered = sorted(families, key=hash_bytes)
    images = np.stack([np.frombuffer(one, np.uint8).reshape(3, 64, 64) for one in ordered])
    labels = np.array([_classify(families[one], people) for one in ordered], np.int64)
    sevenths = np.array([_find_seventh(find_family(families[one])) for one in ordered])
    parts = [
        Split(images[rows], labels[rows]) for rows in (sevenths > 1, sevenths == 0, sevenths == 1)
    ]
    return Parsed(parts[0], parts[1], classes=len(CLASS_NAMES), val=parts[2])


def _read_bitmaps(font: bytes) -> dict[Sequence, bytes]:
    """PNG files by the code points that show them; of two sequences for one, the lower."""
    from fontTools.ttLib import TTFont

    opened: Any = TTFont(io.BytesIO(font), lazy=True)
    sequences: dict[str, Sequence] = {}
    for code, glyph in sorted(opened.getBestCmap().items(), reverse=True):
        sequences[glyph] = (code,)
    for lookup in opened["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable if lookup.LookupType == _LIGATURES else ():
            _add_ligatures(table.ligatures, sequences)
    strike = opened["CBDT"].strikeData[0]
    return {sequences[glyph]: strike[glyph].imageData for glyph in strike if glyph in sequences}


def _add_ligatures(ligatures: Mapping[str, Any], sequences: dict[str, Sequence]) -> None:
    for first, joined in ligatures.items():
        for one in joined:
            parts = [first, *one.Component]
            if all(part in sequences for part in parts):
                sequence = tuple(code for part in parts for code in sequences[part])
                known = sequences.get(one.LigGlyph, sequence)
                sequences[one.LigGlyph] = min(known, sequence)


def _draw(bitmap: bytes) -> NDArray[np.uint8]:
    """Uint8 [3, 64, 64]; whole numbers, so that every machine rounds alike."""
    image = decode(bitmap, Look(colours=3)).image
    if image.shape != (3, _SIDE, _WIDTH):
        raise UserError(f"a bitmap is {image.shape}, must be {(3, _SIDE, _WIDTH)}")
    left = (_WIDTH - _SIDE) // 2
    middle = image[:, :, left : left + _SIDE].astype(np.uint16)
    sums = middle.reshape(3, _SIDE // 2, 2, _SIDE // 2, 2).sum((2, 4))
    drawn: NDArray[np.uint8] = ((sums + 2) // 4).astype(np.uint8)
    return drawn


def find_family(sequence: Sequence) -> Sequence:
    """What is left of an emoji without its skin tone and gender."""
    if len(sequence) == 1:
        return (_PEOPLE.get(sequence[0], sequence[0]),)
    plain = [_PEOPLE.get(code, code) for code in sequence]
    return tuple(code for code in plain if code not in _VARIANT | _SKIN_TONES)


def _classify(sequence: Sequence, people: set[Sequence]) -> int:
    """The number of a class: who may have a skin tone is a person, or part of one."""
    if _FLAGS & set(sequence):
        return CLASS_NAMES.index("flag")
    family = find_family(sequence)
    return CLASS_NAMES.index("person" if family in people or _PERSON in family else "thing")


def _find_seventh(family: Sequence) -> int:
    return int(hash_bytes(repr(family).encode()), 16) * 7 >> 256
