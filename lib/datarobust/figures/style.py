"""The look that all figures share, and pictures whose bytes depend on nothing but the figure.

Matplotlib is used through its objects (no pyplot), and its settings are ours only inside :func:`look`; the user's
own matplotlibrc neither shows in a picture nor is touched by one.

Colours: the palette of Okabe and Ito ("Color Universal Design", 2008) without its yellow, which is too pale for
lines on white. Every colour comes with a dash pattern of its own, so that curves stay apart in grey print.
"""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from datarobust.figures import Format

DPI: Final = 300
POINTS_PER_INCH: Final = 72
PAGE: Final = 6.5  # inches; no figure is wider, as letters that are scaled down to a page are too small
SMALL: Final = 7.5  # points; nothing in a figure is smaller
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
STYLES: Final = len(COLOURS) * len(DASHES)  # curves that can be told apart: every colour with every dash pattern
LINE_WIDTH: Final = 1.1
Corner = Literal["upper left", "lower left", "upper right", "lower right"]

_SETTINGS: Final[Any] = {  # Any: newer versions of matplotlib type every key, older ones none
    "font.family": FAMILY,
    "mathtext.fontset": "dejavusans",
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), NORMAL),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), SMALL),
    **dict.fromkeys(("figure.dpi", "savefig.dpi"), DPI),
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor"), "white"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify": True,  # keeps vector pictures of 700,000 points small
    "path.simplify_threshold": 1 / 9,  # of a dot; in vector pictures of a point, a tenth of a line's width
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
    """An empty white figure of a size in inches, to be filled inside :func:`look`."""
    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Figure, form: Format, caption: str = "") -> bytes:
    """A figure as the bytes of a file: the same figure gives the same bytes, on every day and in every process.

    The file has the ``caption`` as its description.
    """
    target = io.BytesIO()
    described = {"Subject" if form == "pdf" else "Description": caption} if caption else {}
    with look():
        figure.savefig(target, format=form, dpi=DPI, metadata={**_METADATA[form], **described})
    return target.getvalue()


def line_style(number: int) -> dict[str, Any]:
    """Colour, dashes and width of the ``number``-th curve (from 0) as arguments of a line; :data:`STYLES` differ."""
    turn, colour = divmod(number, len(COLOURS))
    dashes = DASHES[(colour + turn) % len(DASHES)]
    return {"color": COLOURS[colour], "linestyle": (0, dashes) if dashes else "solid", "linewidth": LINE_WIDTH}


def fraction_axis(axes: Axes, label: str) -> None:
    """The horizontal axis of sets in the order of their robustness; the label is plain text."""
    axes.set_xlim(0.0, 1.0)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel(label, parse_math=False)


def epoch_axis(axes: Axes, start: int, end: int) -> None:
    """The horizontal axis of epochs, marked at round numbers."""
    axes.set_xlim(start, end)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))


def plain(text: str) -> str:
    r"""A name given by somebody else as one line that the font can print, spelled ``\u732b`` where it cannot."""
    font = get_font(findfont(FontProperties(family=FAMILY)))
    return "".join(
        character
        if character.isprintable() and font.get_char_index(ord(character))
        else character.encode("unicode_escape").decode("ascii")
        for character in " ".join(text.split())
    )


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

    def shortened(kept: int) -> str:
        head, tail = text[: math.ceil(kept / 2)], text[len(text) - kept // 2 :]
        return f"{head.rstrip()}…{tail.lstrip()}"

    fits = bisect_right(range(len(text)), width, key=lambda kept: width_of(shortened(kept), size))
    return shortened(max(0, fits - 1))


def legend(owner: Axes | Figure, styles: Sequence[Mapping[str, Any]], entries: Sequence[str], **options: Any) -> Legend:
    """A legend whose entries are shown as they are: matplotlib alone drops names with a "_" in front and reads "$".

    ``styles`` are arguments of :class:`matplotlib.lines.Line2D`, ``options`` those of matplotlib's ``legend``.
    """
    lines = [Line2D([], [], **style) for style in styles]
    drawn: Legend = owner.legend(lines, [str(number) for number in range(len(lines))], **options)
    for text, entry in zip(drawn.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(entry)
    return drawn


def legend_of_sets(
    title: str, names: Sequence[str], notes: Sequence[str], styles: Sequence[Any], axes: Axes, **options: Any
) -> Legend:
    """A :func:`legend` of sets, with notes of what was left out of each; what all lack is said once, in the title."""
    if notes[0] and len(set(notes)) == 1:
        title += f", {'each ' if len(names) > 1 else ''}without\n{notes[0]}"
        notes = [""] * len(names)
    entries = [f"{name}\nwithout {note}" if note else name for name, note in zip(names, notes, strict=True)]
    spaces = {"handlelength": 2.6, "labelspacing": 0.35, "borderpad": 0.4, "borderaxespad": 0.2}
    return legend(axes, styles, entries, title=title, alignment="left", **spaces, **options)


def place_legends(
    figure: Figure, rows: Sequence[tuple[Sequence[Axes], Callable[[Axes], Legend]]], corners: Sequence[Corner]
) -> None:
    """Give each row of panels its legend in the first corner of the first panel that no curve and no marker enters.

    Where one row has no such corner, all legends stand in a column beside the last panels; the figure becomes wider, up
    to a page, and rows as high as their legends. ``rows``: from top to bottom, the panels and what makes their legend.
    """
    figure.draw_without_rendering()  # panels and legends have their sizes now
    if all(_placed_inside(panels, make, corners) for panels, make in rows):
        return
    boxes = []
    for panels, make in rows:
        for axes in panels:
            if (inside := axes.get_legend()) is not None:
                inside.remove()
        beside = make(panels[-1])
        beside.set_loc("upper left")
        beside.set_bbox_to_anchor((1.0, 1.0))
        boxes.append(beside.get_window_extent())
    width, height = figure.get_size_inches()
    heights = [max(height / len(rows), box.height / figure.dpi + 0.1) for box in boxes]
    figure.set_size_inches(min(width + max(box.width for box in boxes) / figure.dpi, PAGE), sum(heights))
    grid: Any = rows[0][0][0].get_gridspec()
    grid.set_height_ratios(heights)


def _placed_inside(panels: Sequence[Axes], make: Callable[[Axes], Legend], corners: Sequence[Corner]) -> bool:
    for corner in corners:
        for axes in panels:
            drawn = make(axes)
            drawn.set_loc(corner)
            box, panel = drawn.get_window_extent(), axes.bbox
            fits = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
            if fits and not any(_enters(line, box) for line in axes.lines):
                return True
            drawn.remove()
    return False


def _enters(line: Line2D, box: Any) -> bool:
    """Whether a line, or one of its markers, is drawn inside a box of the picture."""
    path = line.get_path().transformed(line.get_transform())
    if line.get_linestyle() != "None" and path.intersects_bbox(box, filled=False):
        return True
    radius = line.get_markersize() / 2 * DPI / POINTS_PER_INCH
    return line.get_marker() not in ("", "None", None) and bool(box.padded(radius).count_contains(path.vertices))
