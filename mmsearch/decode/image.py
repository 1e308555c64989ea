"""Pictures: any format and mode that Pillow decodes safely, upright, in RGB."""

from contextlib import suppress
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile

from mmsearch.config import DecodeLimits
from mmsearch.decode.files import open_regular
from mmsearch.errors import DecodeError, one_line

FORMATS: Final = tuple(
    """
    JPEG PNG GIF BMP PPM WEBP TIFF AVIF JPEG2000 ICO PSD ICNS QOI DDS DIB CUR DCX PCX SGI SUN
    XBM XPM MSP PIXAR FLI GBR FTEX BLP PCD TGA
    """.split()
)
"""Pillow's formats that hold a picture: no documents (EPS runs Ghostscript), no stubs that need a
handler from outside, no science arrays, nothing that Pillow has deprecated (IM)."""

_UPRIGHT: Final = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""How to undo an EXIF orientation: EXIF 2.32, section 4.6.4, tag 274."""


def decode_image(path: str, guard: DecodeLimits, min_side: int | None = None) -> Image.Image:
    """Decode the first frame of a picture, turned as its EXIF orientation says.

    Transparent pixels become white; pixels of 16 bits and floats are scaled to 8 bits.

    Args:
        path: The file.
        guard: What is refused as too large.
        min_side: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps
            this many pixels: most of the time that a photo of a camera takes. With twice the
            side that an encoder takes, what it sees differs by rounding (tested).

    Returns:
        An RGB image.

    Raises:
        DecodeError: The file is no picture, is damaged, or has too many pixels.
    """
    with open_regular(path) as file:
        try:
            image = _open(file)
            _check(image, guard)
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            image.load()
            return _to_rgb(_upright(image))
        except DecodeError as error:
            raise DecodeError(f"{one_line(path)}: {error}") from None
        # Decoders of damaged files raise whatever their parsing runs into.
        except Exception as error:
            raise DecodeError(f"{one_line(path)}: damaged picture: {_reason(error)}") from None


def _open(file: IO[bytes]) -> ImageFile:
    """What ``Image.open`` does, without its size check.

    That one compares with a global of Pillow, and warns or raises below our own limit.
    """
    Image.preinit()
    prefix = file.read(16)
    if not prefix:
        raise DecodeError("the file is empty")
    problem = "not a picture of a known format"
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()  # imports dozens of modules: not for a JPEG, a PNG or a GIF
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or (accept and accept(prefix) is not True):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except Exception as error:  # the next format may know better
            if accept:
                problem = f"damaged {name} picture: {_reason(error)}"
    raise DecodeError(problem)


def _reason(error: Exception) -> str:
    return one_line(str(error)).rstrip(". ") or type(error).__name__


def _check(image: Image.Image, guard: DecodeLimits) -> None:
    width, height = image.size
    if width * height > guard.image_pixels:
        raise DecodeError(
            f"{width:,} x {height:,} pixels are more than the limit of {guard.image_pixels:,}"
        )
    if image.mode == "LAB":
        raise DecodeError("CIELAB colours are not supported: convert it to RGB")


def _upright(image: Image.Image) -> Image.Image:
    orientation = 1
    with suppress(Exception):  # metadata that cannot be read is no reason to lose a picture
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale a grey picture of 16-bit, 32-bit or float pixels; what is not a number is black."""
    pixels = np.asarray(image)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else _range(pixels)
    scale = 255 / (high - low) if high > low else 0.0
    values = np.nan_to_num((pixels.astype(np.float32) - low) * scale)
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _range(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """The values that stand for black and white: a usual range that holds all, else their own."""
    numbers = pixels[np.isfinite(pixels)]
    if not numbers.size:
        raise DecodeError("none of its pixels is a number")
    low, high = float(numbers.min()), float(numbers.max())
    usual = (255.0, 65535.0) if np.issubdtype(pixels.dtype, np.integer) else (1.0, 255.0, 65535.0)
    return next(((0.0, white) for white in usual if low >= 0 and high <= white), (low, high))
