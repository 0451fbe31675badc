"""Pictures inside a page: files that are checked first, and rasters that are made of images."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from datarobust.errors import DataError
from datarobust.figures.report_html import Markup, clipped, data_uri, element, spelled

MOST_BYTES: Final = 8 << 20
"""Of one picture."""
_MOST_SIDE: Final = 20_000
_MOST_PIXELS: Final = 60_000_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_HEAD: Final = 1 << 12
_BEFORE: Final = {b"<?xml": b"?>", b"<!--": b"-->", b"<!DOCTYPE": b">", b"<!ENTITY": b">"}
"""What may stand before the root of an svg, and how it ends."""
_THUMB: Final = 96
_POINTS: Final[Mapping[str, float]] = {
    "": 1.0,
    "px": 1.0,
    "pt": 4 / 3,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
}
_ANY_SIZE: Final = (640.0, 480.0)


@dataclass(frozen=True)
class Picture:
    """A picture that may stand in a page.

    Attributes:
        media: its media type.
        content: the bytes of its file.
        width: as it is shown, in CSS pixels.
        height: likewise.
    """

    media: str
    content: bytes
    width: float
    height: float

    def markup(self, alt: str, class_: str | None = None) -> Markup:
        """An image that holds it: nothing in it runs, and nothing in it is loaded."""
        return element(
            "img",
            src=data_uri(self.media, self.content),
            alt=clipped(spelled(alt)),
            width=max(1, round(self.width)),
            height=max(1, round(self.height)),
            class_=class_,
        )


def looks_like(content: bytes) -> str | None:
    """``png`` or ``svg`` by the first bytes of a file; None: neither."""
    if content.startswith(_PNG[:4]):
        return "png"
    head = content[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    while not re.match(rb"<svg[\s>]", head):
        end = next((close for begin, close in _BEFORE.items() if head.startswith(begin)), None)
        if end is None or end not in head:
            return None
        head = head.partition(end)[2].lstrip(b" \t\r\n]>")
    return "svg"


def opened(content: bytes, where: str) -> Picture:
    """The picture of a file.

    Args:
        content: its bytes.
        where: its name, for messages.

    Raises:
        DataError: it is too large, damaged, or neither png nor svg.
    """
    kind = looks_like(content)
    if kind is None:
        raise DataError(f"{where} is neither a png nor an svg picture")
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{where} has {len(content):,} bytes, more than the {MOST_BYTES:,} of a picture in a page: draw it smaller"
        )
    return _png(content, where) if kind == "png" else _svg(content, where)


def _png(content: bytes, where: str) -> Picture:
    """Every chunk is looked at; the size is that of dots, or smaller where the file tells more than 96 to an inch."""
    place, size, scale, last = len(_PNG), (0, 0), 1.0, b""
    whole = content.startswith(_PNG)
    while whole and place < len(content) and last != b"IEND":
        length, last = struct.unpack(">I4s", content[place : place + 8].ljust(8, b"\0"))
        body = content[place + 8 : place + 8 + length]
        sum_ = content[place + 8 + length : place + 12 + length]
        whole = len(sum_) == 4 and struct.unpack(">I", sum_)[0] == zlib.crc32(body, zlib.crc32(last))
        if last == b"IHDR" and length == 13:
            size = struct.unpack(">II", body[:8])
        elif last == b"pHYs" and length == 9 and body[8] == 1:
            scale = min(1.0, 96 / 0.0254 / max(1, struct.unpack(">I", body[:4])[0]))
        place += 12 + length
    if not whole or last != b"IEND" or 0 in size:
        raise DataError(f"{where} is a png picture that is damaged or cut short: draw it again")
    _bounded(size[0], size[1], where)
    return Picture("image/png", content, size[0] * scale, size[1] * scale)


def _bounded(width: float, height: float, where: str) -> None:
    if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
        raise DataError(f"{where} has {width:,.0f} x {height:,.0f} dots, too many for a page: draw it smaller")


def _svg(content: bytes, where: str) -> Picture:
    found: dict[str, str] = {}
    parser = expat.ParserCreate()

    def entity(*_: object) -> None:
        raise DataError(f"{where} declares entities, which can make a small file very large: write it without them")

    def start(tag: str, attributes: dict[str, str]) -> None:
        if not found:
            found.update({"": tag, **attributes})

    parser.EntityDeclHandler = entity
    parser.StartElementHandler = start
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise DataError(f"{where} is no svg picture that can be read ({error}): draw it again") from error
    width, height = (_length(found.get(side, "")) for side in ("width", "height"))
    box = [_length(part) for part in re.split(r"[\s,]+", found.get("viewBox", "").strip())]
    if width is None or height is None:
        width, height = (box[2], box[3]) if len(box) == 4 else (None, None)
    if width is None or height is None:
        width, height = _ANY_SIZE
    _bounded(width, height, where)
    return Picture("image/svg+xml", content, width, height)


def _length(written: str) -> float | None:
    """A length of SVG in CSS pixels; None where it is none, or relative."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*([a-z]*)\s*", written)
    unit = _POINTS.get(match[2]) if match else None
    value = float(match[1]) * unit if match and unit is not None else 0.0
    return value if value > 0 else None


def raster(image: NDArray[np.uint8]) -> Picture:
    """One image as a small png, shown with square pixels; large ones are made smaller by averages.

    Args:
        image: uint8 (C, H, W), C = 1 (grey) or 3 (RGB).
    """
    from PIL import Image

    data = np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    made = Image.fromarray(data)
    if max(made.size) > _THUMB:
        made = made.resize([max(1, round(side * _THUMB / max(made.size))) for side in made.size], Image.Resampling.BOX)
    target = io.BytesIO()
    made.save(target, format="png", optimize=False, compress_level=9)
    return Picture("image/png", target.getvalue(), float(made.width), float(made.height))


def strip(images: NDArray[np.uint8], captions: list[str], alts: list[str]) -> Markup:
    """Images side by side, each with its words beneath.

    Args:
        images: uint8 (M, C, H, W), C = 1 or 3.
        captions: (M).
        alts: (M), for who cannot see them.
    """
    return element(
        "div",
        *(
            element(
                "figure",
                raster(image).markup(alt, "pixels"),
                element("figcaption", clipped(spelled(words), 24)) if words else None,
            )
            for image, words, alt in zip(images, captions, alts, strict=True)
        ),
        class_="strip",
    )
