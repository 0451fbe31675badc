"""One encoded picture (PNG, JPEG, ...) to pixels: refused on its header where it is too large, nothing guessed."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datarobust.errors import DataError
from datarobust.text import shown

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What pillow may decode for us; others it knows run programs (EPS) or are not pictures."""

MOST_PIXELS = 1 << 24
"""Of one image; checked on its header, before anything is decoded."""
MOST_BYTES = 1 << 28
"""Of one encoded image."""


def decode(data: bytes, where: str, channels: int | None, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """An encoded image as uint8 (C, H, W), its header checked before it is decoded.

    Grey stays one channel, palettes become RGB, opaque alpha is dropped; ``channels`` makes all grey (1) or RGB (3).
    EXIF orientation is not applied.

    Args:
        data: the encoded image.
        where: what it is called in messages.
        channels: 1, 3, or None to take what it has.
        size: width and height that it must have, None for any.

    Raises:
        DataError: it is damaged, too large, of another size, animated, partly transparent, or of more than 8 bits.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, size, where)
                image.verify()  # a PNG's checksums, which decoding passes over
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _pixels(image, channels, where)
    except DataError:
        raise
    except Exception as error:  # a damaged image makes pillow's decoders raise nearly anything
        text = (str(error) or type(error).__name__).splitlines()[0]
        reason = "it is damaged or no image" if "BytesIO" in text else shown(text[:160]).rstrip(".")
        raise DataError(f"{where} cannot be decoded: {reason}.") from error


def other_mode(where: str, channels: int, first: int) -> str:
    """The sentence for an image that is grey where the first is RGB, or the other way round."""
    kinds = {1: "grey", 3: "RGB"}
    return (
        f"{where} is {kinds[channels]}, but the first image is {kinds[first]}: "
        "`channels` 1 or `channels` 3 makes them alike."
    )


def _check_header(image: Image, size: tuple[int, int] | None, where: str) -> None:
    """What can be refused before a pixel is decoded."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{where} claims {width}x{height} pixels, more than {MOST_PIXELS:,}.")
    if size is not None and image.size != size:
        raise DataError(
            f"{where} has {width}x{height} pixels, but the first image has {size[0]}x{size[1]}: bring them to one size."
        )
    if getattr(image, "is_animated", False):
        raise DataError(f"{where} has several frames: save the one that is meant.")


def _pixels(image: Image, channels: int | None, where: str) -> npt.NDArray[np.uint8]:
    """The decoded image (C, H, W): grey stays one channel, palettes become RGB, opaque alpha is dropped."""
    mode = image.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{where} has mode {mode}: images are grey or RGB with 8 bits a channel.")
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise DataError(f"{where} is partly transparent: save it with the background that is meant.")
    grey = mode in ("1", "L", "LA")
    wanted = ("L" if grey else "RGB") if channels is None else {1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image.convert(wanted))
    planes = pixels[None] if wanted == "L" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)
