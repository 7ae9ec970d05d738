"""Whether a JPEG file holds all of its picture, which no decoder tells: they fill up in grey."""

import functools
import io
import re
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from vae.errors import UserError

# The others are part of a scan. One FF, not FF+: that is found a byte at a time.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]", re.DOTALL)
_END, _SCAN, _SEQUENTIAL, _PROGRESSIVE = 0xD9, 0xDA, (0xC0, 0xC1), (0xC2, 0xC6, 0xCA, 0xCE)
_TABLES, _TABLE = 0xC4, 17  # of Huffman codes: where in one its values begin
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_COEFFICIENTS = 64
_SHORTEST = 6  # bytes of what describes a frame or a scan
_PART_MISSING = "a JPEG file that is cut off: part of its picture is missing"
# A decoder looks 57 bits ahead, unless it sees a marker. Behind a whole picture these 56 are enough
# for it; for the rest of one that is cut off it waits.
_AHEAD_BITS = 56
_PATTERNS = ("110", "10", "100", "1100", "11100", "001", "01", "011", "0011")
_FEW_LEVELS = 128 * 128  # below, the last coefficients of a block count
_MORE = bytes.fromhex("b66ddb92a5c37e19d5484fe1") * 32  # not grey, where it is decoded


class Header(NamedTuple):
    """What a file's markers say: where its first picture ends, and in how many scans it comes."""

    end: int
    scans: int
    whole: bool  # no scan is missing: each coefficient has come to its last bit
    sequential: bool  # and in Huffman codes
    block_ends: frozenset[str]  # the codes that end a block, in bits


def load_whole(
    image: Image.Image, file: io.BytesIO, decode: Callable[[bytes], Image.Image]
) -> None:
    """Load a JPEG file's picture. Raises UserError if it lacks its end, or part of it before one.

    `file` is what `image` was opened from. Without its end marker a decoder waits for what is
    missing of a picture, but for one block's last coefficients. One in several scans is compared
    with what `decode` gives where more data is put before the end, which changes no whole picture.
    """
    data = file.getvalue()
    header = read_header(data)
    if not header.whole:
        raise UserError("a JPEG file that is cut off: scans of it are missing")
    levels = image.width * image.height * len(image.getbands())
    ahead = _choose_ahead(header.block_ends)
    if header.scans == 1 and header.sequential and ahead and levels >= _FEW_LEVELS:
        file.seek(header.end)
        file.write(ahead)
        file.truncate()
        return _load_all(image)
    image.load()
    longer = decode(data[: header.end] + _continue(data[: header.end]) + data[header.end :])
    if longer.tobytes() != image.tobytes():
        raise UserError(_PART_MISSING)


def _load_all(image: Image.Image) -> None:
    try:
        image.load()
    except OSError as error:
        if "truncated" not in str(error):
            raise
        raise UserError(_PART_MISSING) from error


def read_header(data: bytes) -> Header:
    """Walk the markers of the first picture in a JPEG file. Raises UserError."""
    position, scans, sequential, ends = 2, 0, False, frozenset[str]()
    # Of a progressive picture, component -> for each coefficient the bits to come.
    missing: dict[int, list[int]] = {}
    while (marker := _NEXT_MARKER.search(data, position)) is not None:
        code, position = data[marker.end() - 1], marker.end()
        if code == _END:
            whole = not any(any(bits) for bits in missing.values())
            end = len(data[: marker.start()].rstrip(b"\xff"))
            return Header(end, scans, whole, sequential, ends)
        segment = data[position + 2 : position + int.from_bytes(data[position : position + 2])]
        if code in (*_FRAMES, _SCAN) and len(segment) < _SHORTEST:
            break
        if code in _FRAMES:
            sequential = code in _SEQUENTIAL
            components = segment[6 : 6 + 3 * segment[5] : 3] if code in _PROGRESSIVE else b""
            missing = {one: [1] * _COEFFICIENTS for one in components}
        elif code == _TABLES:
            ends |= _find_block_ends(segment)
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


@functools.lru_cache(64)
def _find_block_ends(segment: bytes) -> frozenset[str]:
    """The codes in tables of Huffman codes that end a block, in bits."""
    ends, position = set(), 0
    while len(counts := segment[position + 1 : position + _TABLE]) == _TABLE - 1:
        ac, code, at = segment[position] >> 4, 0, position + _TABLE
        for length, count in enumerate(counts, 1):
            if ac and 0 in (values := segment[at : at + count]):
                ends.add(f"{code + values.index(0):0{length}b}")
            code, at = (code + count) << 1, at + count
        position = at
    return frozenset(ends)


@functools.lru_cache(64)
def _choose_ahead(block_ends: frozenset[str]) -> bytes:
    """What to have a decoder look at behind a scan: no block ends there, nor with its first bits.

    Empty if there is no such pattern.
    """
    for pattern in _PATTERNS:
        ahead = (pattern * _AHEAD_BITS)[:_AHEAD_BITS]
        if not any(end in ahead or end.endswith(ahead[0]) for end in block_ends):
            return int(ahead, 2).to_bytes(_AHEAD_BITS // 8)
    return b""
