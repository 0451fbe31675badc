"""The paper's figures, one module a kind: arrays in, a :class:`matplotlib.figure.Figure` out.

==================================  =====================================  ======================
In the paper                        Module                                 Command
==================================  =====================================  ======================
Figures 2 (a), 5 (a), 16            :mod:`datarobust.figures.sensitivity`  ``figure sensitivity``
Figures 2 (b), 5 (b)                :mod:`datarobust.figures.difference`   ``figure difference``
Figures 4 (a), 4 (b)                :mod:`datarobust.figures.labels`       ``figure labels``
Figures 4 (c), 4 (d)                :mod:`datarobust.figures.schedules`    ``figure schedules``
Figure 1 (b)                        :mod:`datarobust.figures.training`     ``figure training``
Figure 1 (b), for a whole set       :mod:`datarobust.figures.deciles`      ``figure deciles``
Tables 2 to 4, as Markdown          :mod:`datarobust.figures.table`        ``figure table``
Figures 2 (c, d), 6, 17             :mod:`datarobust.figures.map`          ``figure map``
Section 3, r(x) and its neighbour   :mod:`datarobust.figures.pairs`        ``figure pairs``
Figures 3, 7 to 15                  :mod:`datarobust.figures.clones`       ``figure clones``
Appendix B, the grid                :mod:`datarobust.figures.search`       ``figure search``
Any artifacts, as one page          :mod:`datarobust.figures.report`       ``figure report``
==================================  =====================================  ======================

Each module has a dataclass of what it draws, ``draw`` for the picture and ``table`` for the numbers behind it, as lines
of a TSV file. Beneath them is :mod:`datarobust.figures.style`, the shared look and the only way to the bytes of a
picture: the same figure gives the same bytes as png, svg and pdf, whatever the machine's settings of matplotlib.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from datarobust.errors import UsageError

Format = Literal["png", "svg", "pdf"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def format_of(suffix: str) -> Format:
    """The format of a picture by the ending of its file's name; imports no matplotlib, so a wrong name costs no time.

    Args:
        suffix: with its dot, in any case: ``.png``, ``.SVG``.

    Raises:
        UsageError: it is none of :data:`FORMATS`.
    """
    for known in FORMATS:
        if suffix.lower() == f".{known}":
            return known
    ending = f"this one in {suffix!r}" if suffix else "this one has no ending"
    raise UsageError(f"a picture's name ends in .png, .svg or .pdf, and {ending}: name the output so.")
