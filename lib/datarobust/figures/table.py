"""Tables 2 to 4 as Markdown: clean and AutoAttack accuracy of best and last weights, the paper's row beside ours.

========== ===========================================================================================================
AA_b, AA_l clean and AutoAttack accuracy, in percent, of the best weights and of the last
Δ_b, Δ_l   clean minus AutoAttack accuracy
E_b        epoch of the best weights: the one with the best PGD-40 accuracy on the tracked points
(PGD-40)_b that accuracy, in percent
x          does not exist: where nothing is tracked no epoch is best
========== ===========================================================================================================

An accuracy that more attacks could lower is written with ``≤`` and its Δ with ``≥``, wherever it stands.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Final

from datarobust.errors import DataError
from datarobust.text import tsv

COLUMNS: Final = ("AA_b", "AA_l", "Δ_b", "Δ_l", "E_b", "(PGD-40)_b")
ABSENT: Final = "x"
_PERCENT: Final = 100.0
_PRINTED: Final = 0.0051
"""Percentage points by which a difference of rounded numbers may differ from the rounded difference, and a bit."""


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of one network, shares of the points."""

    clean: float
    robust: float
    upper_bound: bool = False
    """Whether more attacks could lower ``robust``."""


@dataclass(frozen=True)
class Row:
    """One training of ours.

    Attributes:
        name: which of the paper's rows it stands beside, or any other.
        best: of the best weights; None where there are none, or they were not evaluated.
        last: of the last weights, likewise.
        epoch: of the best weights; None where no epoch is best.
        tracked: PGD-40 accuracy on the tracked points there, a share.
        label: what tells it from other rows of that name, such as its seed.
        remarks: sentences about it, for the foot of the table.
    """

    name: str
    best: Accuracy | None
    last: Accuracy | None
    epoch: int | None = None
    tracked: float | None = None
    label: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperRow:
    """A row as the paper prints it; numbers are in percent, None for x."""

    name: str
    description: str
    setup: str
    clean_b: float | None
    aa_b: float | None
    clean_l: float | None
    aa_l: float | None
    delta_b: float | None
    delta_l: float | None
    epoch_b: int | None
    pgd_b: float | None


PAPER_COLUMNS: Final = tuple(column.name for column in fields(PaperRow))
"""Header of a file of the paper's rows; names are those of our rows, ``x`` stands for what does not exist."""


def read_paper(text: str, where: str) -> list[PaperRow]:
    """The paper's rows from a TSV file with the header :data:`PAPER_COLUMNS`; lines that begin with # are passed over.

    Args:
        text: of the file.
        where: its name, for messages.

    Raises:
        DataError: a line has other fields, or a number is none; the sentence names the line.
    """
    lines = [
        (number, line.split("\t"))
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines or tuple(lines[0][1]) != PAPER_COLUMNS:
        raise DataError(f"{where} holds no rows of the paper: its first line is {' '.join(PAPER_COLUMNS)}, with tabs.")
    rows: list[PaperRow] = []
    for number, cells in lines[1:]:
        if len(cells) != len(PAPER_COLUMNS):
            raise DataError(f"{where}, line {number} has {len(cells)} fields, not {len(PAPER_COLUMNS)}.")
        try:
            numbers = [None if part == ABSENT else float(part) for part in cells[3:]]
        except ValueError as error:
            raise DataError(f"{where}, line {number}: {error}.") from error
        if not all(value is None or math.isfinite(value) for value in numbers):
            raise DataError(f"{where}, line {number} has a number that is not finite.")
        clean_b, aa_b, clean_l, aa_l, delta_b, delta_l, epoch, pgd = numbers
        name, description, setup = cells[:3]
        epoch_b = None if epoch is None else int(epoch)
        rows.append(PaperRow(name, description, setup, clean_b, aa_b, clean_l, aa_l, delta_b, delta_l, epoch_b, pgd))
    return rows


def markdown(rows: Sequence[Row], paper: Sequence[PaperRow] = ()) -> Iterator[str]:
    """The lines of the table and of what stands at its foot.

    The paper's rows come in their order, each with ours of that name beneath it, whether there are any or not; then our
    other rows. Several rows of one name, such as those of several seeds, are followed by their mean and standard
    deviation.

    Args:
        rows: ours.
        paper: the paper's, with names that ours refer to.
    """
    notes: dict[str, int] = {}
    yield _line(["Description", "Setup", "", *COLUMNS])
    yield _line(["---"] * (3 + len(COLUMNS)))
    for row in paper:
        yield _paper_line(row, notes)
        yield from _our_lines([ours for ours in rows if ours.name == row.name], "", notes)
    known = {row.name for row in paper}
    for name in dict.fromkeys(row.name for row in rows if row.name not in known):
        yield from _our_lines([row for row in rows if row.name == name], name, notes)
    yield "\n"
    yield (
        "AA: clean and AutoAttack accuracy in percent, Δ: their difference; b: the best weights, by PGD-40 accuracy on "
        "the tracked points in epoch E_b, l: the last weights.\n"
    )
    if any(accuracy.upper_bound for row in rows for accuracy in (row.best, row.last) if accuracy is not None):
        yield "\n≤ and ≥: fewer attacks than AutoAttack's were run, which could only lower the accuracy.\n"
    if notes:
        yield "\n"
    for text, number in notes.items():
        yield f"- [{number}] {text}\n"


def _marks(notes: dict[str, int], sentences: Iterable[str]) -> str:
    """What refers to these sentences at the foot, each of which stands there once."""
    numbers = [str(notes.setdefault(sentence, len(notes) + 1)) for sentence in sentences]
    return f" [{', '.join(numbers)}]" if numbers else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _paper_line(row: PaperRow, notes: dict[str, int]) -> str:
    accuracies, deltas = [], []
    for clean, robust, printed in ((row.clean_b, row.aa_b, row.delta_b), (row.clean_l, row.aa_l, row.delta_l)):
        delta = _number(printed)
        if clean is None or robust is None:
            accuracies.append(ABSENT)
        else:
            accuracies.append(f"{clean:.2f} - {robust:.2f}")
            if printed is not None and abs(clean - robust - printed) > _PRINTED:
                sentence = f"As the paper prints it; {clean:.2f} - {robust:.2f} is {clean - robust:.2f}."
                delta += _marks(notes, [sentence])
        deltas.append(delta)
    epoch = ABSENT if row.epoch_b is None else str(row.epoch_b)
    cells = [_plain(row.description), _plain(row.setup), "paper", *accuracies, *deltas, epoch, _number(row.pgd_b)]
    return _line(cells)


def _our_lines(rows: Sequence[Row], setup: str, notes: dict[str, int]) -> Iterator[str]:
    """A line a row, and one with mean and standard deviation over several trainings, where each has the number."""
    for row in rows:
        accuracies, deltas = [], []
        for accuracy in (row.best, row.last):
            if accuracy is None:
                accuracies.append(ABSENT)
                deltas.append(ABSENT)
                continue
            below, above = ("≤ ", "≥ ") if accuracy.upper_bound else ("", "")
            accuracies.append(f"{accuracy.clean * _PERCENT:.2f} - {below}{accuracy.robust * _PERCENT:.2f}")
            deltas.append(f"{above}{(accuracy.clean - accuracy.robust) * _PERCENT:.2f}")
        who = f"ours, {_plain(row.label)}" if row.label and len(rows) > 1 else "ours"
        who += _marks(notes, map(_plain, row.remarks))
        epoch = ABSENT if row.epoch is None else str(row.epoch)
        tracked = _number(None if row.tracked is None else row.tracked * _PERCENT)
        yield _line(["", _plain(setup), who, *accuracies, *deltas, epoch, tracked])
        setup = ""
    if len(rows) < 2:
        return
    accuracies, deltas = [], []
    for weights in ([row.best for row in rows], [row.last for row in rows]):
        evaluated = [accuracy for accuracy in weights if accuracy is not None]
        if len(evaluated) < len(rows):
            accuracies.append(ABSENT)
            deltas.append(ABSENT)
            continue
        below, above = ("≤ ", "≥ ") if any(accuracy.upper_bound for accuracy in evaluated) else ("", "")
        clean = _spread([accuracy.clean for accuracy in evaluated])
        robust = _spread([accuracy.robust for accuracy in evaluated])
        accuracies.append(f"{clean} - {below}{robust}")
        deltas.append(above + _spread([accuracy.clean - accuracy.robust for accuracy in evaluated]))
    shares = [row.tracked for row in rows if row.tracked is not None]
    tracked = _spread(shares) if len(shares) == len(rows) else ABSENT
    yield _line(["", "", f"ours, mean of {len(rows)} ± deviation", *accuracies, *deltas, "", tracked])


def _spread(shares: Sequence[float]) -> str:
    return f"{statistics.fmean(shares) * _PERCENT:.2f} ± {statistics.stdev(shares) * _PERCENT:.2f}"


_ESCAPES: Final[Mapping[int, str]] = str.maketrans({character: f"\\{character}" for character in "\\|*_`[]<>#"})


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_ESCAPES)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Our rows as lines of a TSV file; accuracies are shares, empty where there are none."""
    yield from tsv(
        "name label clean_b aa_b upper_bound_b clean_l aa_l upper_bound_l epoch_b pgd_b",
        (
            (
                row.name,
                row.label,
                *(
                    value
                    for weights in (row.best, row.last)
                    for value in (astuple(weights) if weights is not None else (None, None, None))
                ),
                row.epoch,
                row.tracked,
            )
            for row in rows
        ),
    )
