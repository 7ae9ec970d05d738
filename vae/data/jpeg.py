"""Whether a JPEG file holds all of its picture, which no decoder tells: they fill up in grey."""

import re
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from vae.errors import UserError

# The others are part of a scan. One FF, not FF+: that is found a byte at a time.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]", re.DOTALL)
_END, _SCAN, _PROGRESSIVE = 0xD9, 0xDA, (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_COEFFICIENTS = 64
_SHORTEST = 6  # bytes of what describes a frame or a scan
_FILLING, _NEAR, _BLOCK = 128, 2, 8  # the grey of blocks that never came; chroma rounds it
_FEW_LEVELS = 128 * 128  # below, a block that is cut itself may be all that is missing
_MORE = bytes.fromhex("b66ddb92a5c37e19d5484fe1") * 32  # not grey, where it is decoded


class Header(NamedTuple):
    """What a file's markers say: where its first picture ends, and in how many scans it comes."""

    end: int
    scans: int
    whole: bool  # no scan is missing: each coefficient has come to its last bit


def check_whole(data: bytes, image: Image.Image, decode: Callable[[bytes], Image.Image]) -> None:
    """Raise UserError for a JPEG file that lacks its end, or part of its picture before an end.

    `image`: what `decode` gives for `data`. Where part of the picture may be missing, more
    data is put before the end and decoded: a whole picture does not change by it.
    """
    header = read_header(data)
    if not header.whole:
        raise UserError("a JPEG file that is cut off: scans of it are missing")
    levels = image.width * image.height * len(image.getbands())
    if header.scans == 1 and levels > _FEW_LEVELS and not _ends_in_grey(image):
        return
    longer = decode(data[: header.end] + _continue(data[: header.end]) + data[header.end :])
    if longer.tobytes() != image.tobytes():
        raise UserError("a JPEG file that is cut off: part of its picture is missing")


def read_header(data: bytes) -> Header:
    """Walk the markers of the first picture in a JPEG file. Raises UserError."""
    position, scans = 2, 0
    # Of a progressive picture, component -> for each coefficient the bits to come.
    missing: dict[int, list[int]] = {}
    while (marker := _NEXT_MARKER.search(data, position)) is not None:
        code, position = data[marker.end() - 1], marker.end()
        if code == _END:
            whole = not any(any(bits) for bits in missing.values())
            return Header(len(data[: marker.start()].rstrip(b"\xff")), scans, whole)
        segment = data[position + 2 : position + int.from_bytes(data[position : position + 2])]
        if code in (*_FRAMES, _SCAN) and len(segment) < _SHORTEST:
            break
        if code in _FRAMES:
            components = segment[6 : 6 + 3 * segment[5] : 3] if code in _PROGRESSIVE else b""
            missing = {one: [1] * _COEFFICIENTS for one in components}
        elif code == _SCAN:
            scans += 1
            _note_scan(segment, missing)
        position += 2 + len(segment)
    raise UserError("a JPEG file that is cut off: nothing leads to an end marker")


def _continue(data: bytes) -> bytes:
    """What to put behind a scan: blocks, and where it has restart markers the next one with more.

    A decoder that meets its end in one interval skips to the marker of the next.
    """
    *_, last = [None, *_RESTART.finditer(data)]
    if last is None:
        return _MORE
    following = 0xD0 + (last[0][1] - 0xD0 + 1) % 8
    return _MORE + bytes([0xFF, following]) + _MORE


def _note_scan(segment: bytes, missing: dict[int, list[int]]) -> None:
    """Write into `missing` how many low bits the coefficients of a scan still lack."""
    first, last, bits = segment[-3], segment[-2], segment[-1] & 15
    for component in missing.keys() & segment[1 : 1 + 2 * segment[0] : 2]:
        for coefficient in range(first, min(last + 1, _COEFFICIENTS)):
            missing[component][coefficient] = bits


def _ends_in_grey(image: Image.Image) -> bool:
    """Whether the last block is what a decoder fills in; it is the last to come."""
    width, height = image.size
    corner = (max(0, width - _BLOCK // 2), max(0, height - _BLOCK // 2), width, height)
    last = image.crop(corner).tobytes()
    return min(last) >= _FILLING - _NEAR and max(last) <= _FILLING + _NEAR
