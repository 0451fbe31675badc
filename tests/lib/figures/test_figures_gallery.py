"""The page of a gallery: images as they are, foreign names as text, and nothing that is loaded or run."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from datarobust.figures.gallery import Pair, Point, Section, page

random = np.random.default_rng(0)


def test_images_names_and_scores_are_on_the_page() -> None:
    grey, colour = (
        random.integers(0, 256, (1, 8, 8), dtype=np.uint8),
        random.integers(0, 256, (3, 8, 6), dtype=np.uint8),
    )
    points = [Point(grey, 4, 1, "cat", "a/<b>\x1b.png"), Point(colour, 7, 2, "<script>", "", other_set=True)]
    sections = [
        Section("near duplicate", "Far nearer.", [Pair(points, "0.25", "∞")], 3),
        Section("alone", "Alone.", [Pair(points[:1], "")], 1),
    ]
    text = page("T<itle>", sections, "0.1.0")
    shown = [base64.b64decode(source) for source in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]
    assert [np.array(Image.open(io.BytesIO(png))).tolist() for png in shown] == [
        grey[0].tolist(), colour.transpose(1, 2, 0).tolist(), grey[0].tolist(),
    ]  # fmt: skip
    for words in ("a/&lt;b&gt;\\x1b.png", "&lt;script&gt;", "row 7 of the other set", "Shown are the first 1 of 3."):
        assert words in text.replace("<wbr>", "")  # where a line may end
    assert "<strong>∞</strong>, distance 0.25" in text
    assert "<script>" not in text
    assert set(re.findall(r'(?:href|src)="([^#d][^"]*)', text)) == set()
    assert text == page("T<itle>", sections, "0.1.0")


@pytest.mark.parametrize(("shape", "size"), [((28, 28), (112, 112)), ((32, 16), (64, 128)), ((1000, 500), (125, 250))])
def test_small_images_are_enlarged_and_large_ones_thinned(shape: tuple[int, int], size: tuple[int, int]) -> None:
    picture = Point(np.zeros((3, *shape), np.uint8), 0, 0, "", "").picture(256, 112)
    assert (picture.width, picture.height) == size
    width, height = Image.open(io.BytesIO(picture.content)).size
    assert (size[0] % width, size[1] % height, max(width, height) <= 256) == (0, 0, True)
