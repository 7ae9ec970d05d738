"""The way up that a camera noted for an image, in its EXIF block."""

from PIL import Image

UPRIGHT = "turned upright as EXIF says"
BROKEN_EXIF = "with a broken EXIF block, which is passed over"
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """An image as its EXIF block says that it is shown, and what was done, in words."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a broken block leads Pillow's reader to: viewers pass over it
        return image, [BROKEN_EXIF]
    if turn is None:
        return image, []
    return image.transpose(turn), [UPRIGHT] if image.format != "TIFF" else []
