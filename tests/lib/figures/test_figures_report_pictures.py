"""Pictures of a page: what is taken, how it stands there, what is refused and why."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from datarobust.errors import DataError
from datarobust.figures.report_parts import looks_like, opened, part

from . import pages

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20">'
    b'<script>alert(1)</script><rect width="9" height="9"/></svg>'
)


def png(width: int = 4, height: int = 3, **options: object) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(target, "png", **options)
    return target.getvalue()


def test_an_svg_is_an_image_that_cannot_run() -> None:
    found = opened("svg", SVG, "a.svg")
    assert (found.width, found.height) == (30, 20)
    made = part("plot", picture=found, alt='a"b')
    (image,) = pages.read(made).all("img")
    kind, _, held = (image.attributes["src"] or "").partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(held) == SVG
    assert "script" not in made


def test_a_png_has_the_size_that_it_tells() -> None:
    assert opened("png", png(600, 300, dpi=(300, 300)), "a.png").width == pytest.approx(600 * 96 / 300, rel=0.01)
    assert opened("png", png(600, 300), "a.png").width == 600


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (png(), "png"),
        (SVG, "svg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- c -->\n<!DOCTYPE svg PUBLIC "a" "b">\n' + SVG, "svg"),
        (b"<svgx/>", None),
        (b"GIF89a", None),
        (b"%PDF-1.4", None),
        (b"", None),
        (b"<!-- " * 400, None),
        (b"<!---->" * 400, None),
        (b"<!---->" * 9 + b"<svg>", "svg"),
    ],
)
def test_what_looks_like_a_picture(head: bytes, kind: str | None) -> None:
    assert looks_like(head) == kind


def with_ihdr(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    made = png()
    return made[:16] + body + struct.pack(">I", zlib.crc32(b"IHDR" + body)) + made[33:]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png()[:-6], "damaged"),
        (png()[:40] + b"\0" + png()[41:], "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\x89PNG nothing", "damaged"),
        (with_ihdr(0, 5), "damaged"),
        (with_ihdr(100_000, 5), "too many"),
        (with_ihdr(19_000, 19_000), "too many"),
        (b"<svg><g></svg>", "not an svg"),
        (b'<svg width="1e9"', "not an svg"),
        (b'<svg width="99999999" height="5"/>', "too many"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>', "entities"),
    ],
)
def test_what_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(DataError, match=rf"^x\.png .*{why}") as caught:
        opened(looks_like(content) or "png", content, "x.png")
    assert "\n" not in str(caught.value)
