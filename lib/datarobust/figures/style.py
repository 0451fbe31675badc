"""The look that all figures share, and pictures whose bytes depend on nothing but the figure.

Matplotlib is used through its objects (no pyplot), and its settings are ours only inside :func:`look`; the user's
own matplotlibrc neither shows in a picture nor is touched by one.

Colours: the palette of Okabe and Ito ("Color Universal Design", 2008) without its yellow, which is too pale for
lines on white.  Every colour comes with a dash pattern of its own, so that curves stay apart in grey print.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from datarobust.figures.formats import Format

DPI: Final = 300
POINTS_PER_INCH: Final = 72

#: Points; nothing in a figure is smaller than ``SMALL``.
SMALL: Final = 7.5
NORMAL: Final = 8.5

FAMILY: Final = "DejaVu Sans"  # travels with matplotlib, so every machine draws the same glyphs

INK: Final = "#1a1a1a"
QUIET: Final = "#595959"  # 7:1 against white: still easy to read at 7.5 points

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Lengths on and off in units of the line's width.
DASHES: Final[tuple[tuple[float, ...], ...]] = (
    (),
    (5.0, 1.6),
    (1.2, 1.3),
    (6.5, 1.4, 1.2, 1.4),
    (9.0, 2.5),
    (6.0, 1.3, 1.2, 1.3, 1.2, 1.3),
    (3.0, 1.2),
)
#: How many curves can be told apart: every colour with every dash pattern.
STYLES: Final = len(COLOURS) * len(DASHES)

_SETTINGS: Final[Any] = {  # Any: newer versions of matplotlib type every key, older ones none
    "font.family": FAMILY,
    "font.size": NORMAL,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify": False,  # curves come thinned by a rule of ours that keeps their ends
    "svg.fonttype": "path",
    "svg.hashsalt": "datarobust",  # without it every picture has other identifiers
    "pdf.fonttype": 42,  # TrueType: many venues refuse matplotlib's default, Type 3
    "pdf.compression": 9,
}
#: None removes a field that would tell the time or the version of matplotlib.
_METADATA: Final[dict[Format, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "datarobust"},
    "pdf": {"CreationDate": None, "Creator": "datarobust", "Producer": None},
}


@contextmanager
def look() -> Iterator[None]:
    """Our settings, and matplotlib's defaults for the rest, inside the block; the caller's own again after it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty white figure, to be filled inside :func:`look`.

    Args:
        width: In inches.
        height: In inches.
        options: Passed on to :class:`matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Figure, form: Format) -> bytes:
    """A figure as the bytes of a file: the same figure gives the same bytes, on every day and in every process.

    Rasters have 300 dots an inch.  No date, no version, no random identifier is written, glyphs are paths (svg) or an
    embedded subset of the font (pdf).
    """
    target = io.BytesIO()
    with look():
        figure.savefig(target, format=form, dpi=DPI, metadata=_METADATA[form])
    return target.getvalue()


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the ``number``-th curve (from 0) as arguments of a line; they differ for :data:`STYLES`."""
    turn, place = divmod(number, len(COLOURS))
    dashes = DASHES[(place + turn) % len(DASHES)]
    return {"color": COLOURS[place], "linestyle": (0, dashes) if dashes else "solid"}


def plain(text: str) -> str:
    r"""A name given by somebody else as one line that the font can print.

    Runs of white space become one space; characters that cannot be printed or that the font lacks are spelled
    ``\u732b``, so that two names never look alike.
    """
    font = get_font(findfont(FontProperties(family=FAMILY)))

    def spelled(character: str) -> str:
        code = ord(character)
        if character.isprintable() and font.get_char_index(code):
            return character
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return "".join(spelled(character) for character in " ".join(text.split()))


def width_of(text: str, size: float) -> float:
    """The width in points of one line of plain text (no mathtext) set in ``size`` points."""
    if not text:
        return 0.0
    properties = FontProperties(family=FAMILY, size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, properties, ismath=False)
    return float(width)


def fitted(text: str, width: float, size: float) -> str:
    """``text``, made :func:`plain`, with its middle replaced by an ellipsis where it is wider than ``width`` points.

    Both ends stay as long as they can, since names of a family differ there.
    """
    text = plain(text if len(text) <= 1000 else f"{text[:500]}…{text[-500:]}")
    if width_of(text, size) <= width:
        return text
    low, high = 0, len(text) - 1  # that many characters fit: at least low, at most high
    while low < high:
        kept = (low + high + 1) // 2
        if width_of(_shortened(text, kept), size) <= width:
            low = kept
        else:
            high = kept - 1
    return _shortened(text, low)


def _shortened(text: str, kept: int) -> str:
    head = math.ceil(kept / 2)
    tail = kept - head
    return text[:head].rstrip() + "…" + (text[len(text) - tail :].lstrip() if tail else "")
