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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Final

from datarobust.errors import DataError
from datarobust.text import tsv

COLUMNS: Final = ("AA_b", "AA_l", "Δ_b", "Δ_l", "E_b", "(PGD-40)_b")
PAPER_COLUMNS: Final = (
    "name", "description", "setup", "clean_b", "aa_b", "clean_l", "aa_l", "delta_b", "delta_l", "epoch_b", "pgd_b",
)  # fmt: skip
"""Header of a file of the paper's rows; names are those of our rows, ``x`` stands for what does not exist."""
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
    for number, fields in lines[1:]:
        if len(fields) != len(PAPER_COLUMNS):
            raise DataError(f"{where}, line {number} has {len(fields)} fields, not {len(PAPER_COLUMNS)}.")
        try:
            numbers = [None if part == ABSENT else float(part) for part in fields[3:]]
        except ValueError as error:
            raise DataError(f"{where}, line {number}: {error}.") from error
        if not all(value is None or math.isfinite(value) for value in numbers):
            raise DataError(f"{where}, line {number} has a number that is not finite.")
        clean_b, aa_b, clean_l, aa_l, delta_b, delta_l, epoch, pgd = numbers
        name, description, setup = fields[:3]
        epoch_b = None if epoch is None else int(epoch)
        rows.append(PaperRow(name, description, setup, clean_b, aa_b, clean_l, aa_l, delta_b, delta_l, epoch_b, pgd))
    return rows


@dataclass
class _Notes:
    """Sentences at the foot of a table, each once, by number."""

    texts: list[str] = field(default_factory=list)

    def marks(self, sentences: Sequence[str]) -> str:
        """What refers to these sentences."""
        for sentence in sentences:
            if sentence not in self.texts:
                self.texts.append(sentence)
        numbers = [str(self.texts.index(sentence) + 1) for sentence in sentences]
        return f" [{', '.join(numbers)}]" if numbers else ""


def markdown(rows: Sequence[Row], paper: Sequence[PaperRow] = ()) -> Iterator[str]:
    """The lines of the table and of what stands at its foot.

    The paper's rows come in their order, each with ours of that name beneath it, whether there are any or not; then our
    other rows. Several rows of one name, such as those of several seeds, are followed by their mean and standard
    deviation.

    Args:
        rows: ours.
        paper: the paper's, with names that ours refer to.
    """
    notes = _Notes()
    yield _line(["Description", "Setup", "", *COLUMNS])
    yield _line(["---"] * (3 + len(COLUMNS)))
    for theirs in paper:
        yield _paper_line(theirs, notes)
        yield from _our_lines([row for row in rows if row.name == theirs.name], "", notes)
    known = {theirs.name for theirs in paper}
    for name in dict.fromkeys(row.name for row in rows if row.name not in known):
        yield from _our_lines([row for row in rows if row.name == name], name, notes)
    yield "\n"
    yield (
        "AA: clean and AutoAttack accuracy in percent, Δ: their difference; b: the best weights, by PGD-40 accuracy on "
        "the tracked points in epoch E_b, l: the last weights.\n"
    )
    if any(one.upper_bound for row in rows for one in (row.best, row.last) if one is not None):
        yield "\n≤ and ≥: fewer attacks than AutoAttack's were run, which could only lower the accuracy.\n"
    if notes.texts:
        yield "\n"
    for number, text in enumerate(notes.texts, 1):
        yield f"- [{number}] {text}\n"


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


# --------------------------------------------------------------------------------------------------------- lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _paper_line(row: PaperRow, notes: _Notes) -> str:
    cells = [_paper_pair(row.clean_b, row.aa_b), _paper_pair(row.clean_l, row.aa_l)]
    for clean, robust, printed in ((row.clean_b, row.aa_b, row.delta_b), (row.clean_l, row.aa_l, row.delta_l)):
        cell = _number(printed)
        if clean is not None and robust is not None and printed is not None:
            found = clean - robust
            if abs(found - printed) > _PRINTED:
                cell += notes.marks([f"As the paper prints it; {clean:.2f} - {robust:.2f} is {found:.2f}."])
        cells.append(cell)
    cells += [ABSENT if row.epoch_b is None else str(row.epoch_b), _number(row.pgd_b)]
    return _line([_plain(row.description), _plain(row.setup), "paper", *cells])


def _paper_pair(clean: float | None, robust: float | None) -> str:
    return ABSENT if clean is None or robust is None else f"{clean:.2f} - {robust:.2f}"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _our_lines(rows: Sequence[Row], setup: str, notes: _Notes) -> Iterator[str]:
    for row in rows:
        who = f"ours, {_plain(row.label)}" if row.label and len(rows) > 1 else "ours"
        tracked = ABSENT if row.tracked is None else f"{row.tracked * _PERCENT:.2f}"
        cells = [_pair(row.best), _pair(row.last), _delta(row.best), _delta(row.last)]
        cells += [ABSENT if row.epoch is None else str(row.epoch), tracked]
        yield _line(["", _plain(setup), who + notes.marks([_plain(remark) for remark in row.remarks]), *cells])
        setup = ""
    if len(rows) > 1:
        yield _mean_line(rows)


def _pair(one: Accuracy | None) -> str:
    if one is None:
        return ABSENT
    return f"{one.clean * _PERCENT:.2f} - {'≤ ' if one.upper_bound else ''}{one.robust * _PERCENT:.2f}"


def _delta(one: Accuracy | None) -> str:
    if one is None:
        return ABSENT
    return f"{'≥ ' if one.upper_bound else ''}{(one.clean - one.robust) * _PERCENT:.2f}"


def _mean_line(rows: Sequence[Row]) -> str:
    """Mean and standard deviation over several trainings, where each has the number."""
    cells, deltas = [], []
    for which in ("best", "last"):
        found: list[Accuracy] = [one for row in rows if (one := getattr(row, which)) is not None]
        bound = "≤ " if any(one.upper_bound for one in found) else ""
        whole = len(found) == len(rows)
        clean, robust = ([getattr(one, name) for one in found] for name in ("clean", "robust"))
        cells.append(f"{_spread(clean)} - {bound}{_spread(robust)}" if whole else ABSENT)
        apart = [one.clean - one.robust for one in found]
        deltas.append(f"{'≥ ' if bound else ''}{_spread(apart)}" if whole else ABSENT)
    tracked = [row.tracked for row in rows if row.tracked is not None]
    last = _spread(tracked) if len(tracked) == len(rows) else ABSENT
    return _line(["", "", f"ours, mean of {len(rows)} ± deviation", *cells, *deltas, "", last])


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) * _PERCENT
    return f"{statistics.fmean(values) * _PERCENT:.2f} ± {deviation:.2f}"


_ESCAPES: Final[Mapping[int, str]] = str.maketrans({character: f"\\{character}" for character in "\\|*_`[]<>#"})


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_ESCAPES)
