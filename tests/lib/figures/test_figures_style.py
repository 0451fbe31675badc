"""The shared look: bytes that depend on nothing but the figure, names that are shown as they are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datarobust.errors import UsageError
from datarobust.figures import FORMATS, format_of, images, sensitivity, style

#: Draws one figure of each kind in all formats and prints what the bytes are.
DRAW = """
import hashlib, sys
import numpy as np
from datarobust.figures import FORMATS, images, sensitivity, style
random = np.random.default_rng(7)
lines = [
    sensitivity.ordered(f"set ${n}$", norm, random.gamma(20, 0.1, 50), without_least=n)
    for n in (0, 1)
    for norm in ("l2", "linf")
]
points = random.integers(0, 256, (2, 1, 3, 8, 8), dtype=np.uint8)
rows = np.arange(1)
one, other = (images.Side(side, rows, rows, ["Übermensch"]) for side in points)
for figure in (sensitivity.draw(lines, ["absolute"]), images.draw_pairs(one, other, "linf")):
    for form in FORMATS:
        print(form, hashlib.sha256(style.picture(figure, form)).hexdigest())
print("matplotlib.pyplot" in sys.modules)
"""


def drawn(folder: Path, **environment: str) -> list[str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "MPLCONFIGDIR", "PYTHONPATH") if name in os.environ}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAW],
        env={**keep, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def test_bytes_depend_on_nothing_but_the_figure(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "font.size: 20\nfont.family: serif\nsvg.fonttype: none\nsvg.hashsalt: other\nfigure.facecolor: red\n"
        "savefig.dpi: 50\nsavefig.bbox: tight\npdf.fonttype: 3\naxes.grid: True\nlines.linewidth: 9\n"
        "axes.unicode_minus: False\nimage.cmap: jet\npath.sketch: 1, 100, 2\n"
    )
    here = io.StringIO()
    with redirect_stdout(here):
        exec(DRAW, {})
    odd = drawn(tmp_path, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C", MPLBACKEND="svg", SOURCE_DATE_EPOCH="0")
    assert odd[:-1] == here.getvalue().split()[:-1]
    assert odd[-1] == "False", "pyplot, with its global state, was imported"


def test_drawing_leaves_no_settings_behind() -> None:
    before = dict(matplotlib.rcParams)
    style.picture(sensitivity.draw([sensitivity.ordered("set", "linf", np.linspace(0.2, 1, 9))], ["absolute"]), "svg")
    assert dict(matplotlib.rcParams) == before


def test_formats_are_what_they_say_and_tell_no_time() -> None:
    figure = sensitivity.draw([sensitivity.ordered("set", "linf", np.linspace(0.2, 1, 99))], ["absolute"])
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for form, start in starts.items():
        found = style.picture(figure, form)  # type: ignore[arg-type]
        assert found.startswith(start)
        for telltale in (b"Date", b"matplotlib.org", b"Matplotlib v", b"/Type3"):
            assert telltale not in found


def test_suffixes() -> None:
    assert [format_of(suffix) for suffix in (".png", ".SVG", ".Pdf")] == ["png", "svg", "pdf"]
    for suffix in (".jpg", "", ".", "png"):
        with pytest.raises(UsageError, match=r"ends in \.png, \.svg or \.pdf"):
            format_of(suffix)


def test_line_styles_differ() -> None:
    styles = [style.line_style(number) for number in range(style.STYLES)]
    assert len({str(sorted(each.items())) for each in styles}) == style.STYLES
    assert len({str(each["linestyle"]) for each in styles[:7]}) == 7, "in grey print only the dashes are left"


@settings(max_examples=100)
@given(st.text(max_size=60), st.floats(10, 150))
@example("$x^2$", 100.0)
@example("猫" * 30, 60.0)
@example("a" * 5000, 60.0)
@example("\x1b[31mred\x1b[0m\n\n", 100.0)
@example("‮abc", 100.0)
def test_names_become_one_line_that_fits(name: str, width: float) -> None:
    shown = style.fitted(name, width, style.SMALL)
    assert shown.isprintable()
    assert "\n" not in shown
    assert style.width_of(shown, style.SMALL) <= width
    whole = style.plain(name)
    if len(name) <= 1000 and style.width_of(whole, style.SMALL) <= width:
        assert shown == whole
    else:
        assert "…" in shown


def test_names_that_the_font_lacks_stay_apart() -> None:
    assert style.plain("猫 a\tb\n") == r"\u732b a b"
    assert style.plain("\U0001f9a0") == r"\U0001f9a0"
    assert style.plain("Straße, ℓ∞, Ωμέγα") == "Straße, ℓ∞, Ωμέγα"


def test_pictures_have_300_dots_an_inch() -> None:
    figure = sensitivity.draw([sensitivity.ordered("set", "linf", np.linspace(0.2, 1, 99))], ["absolute"])
    png = style.picture(figure, "png")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == tuple(round(float(side) * style.DPI) for side in figure.get_size_inches())


def test_a_figure_of_images_is_small() -> None:
    points = np.random.default_rng(0).integers(0, 256, (2, 8, 3, 32, 32), dtype=np.uint8)
    one, other = (images.Side(side, np.arange(8), np.arange(8), ["x"] * 8) for side in points)
    figure = images.draw_pairs(one, other, "l2")
    for form in FORMATS:
        assert len(style.picture(figure, form)) < 400_000
