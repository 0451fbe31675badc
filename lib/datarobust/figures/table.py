"""Tables 2 to 4 as Markdown: clean and AutoAttack accuracy of best and last weights, the paper's row beside ours.

========== ===========================================================================================================
AA_b, AA_l clean and AutoAttack accuracy, in percent, of the best weights and of the last
Δ_b, Δ_l   clean minus AutoAttack accuracy
E_b        epoch of the best weights: the one with the best PGD-40 accuracy on the tracked points
(PGD-40)_b that accuracy, in percent
detectable smallest true difference of AutoAttack accuracy, in percentage points, from another row like it that a test
           would show: of the best weights (b) and of the last (l)
x          does not exist: where nothing is tracked no epoch is best
========== ===========================================================================================================

An accuracy that more attacks could lower is written with ``≤`` and its Δ with ``≥``, wherever it stands.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from datarobust.errors import DataError
from datarobust.evaluation import power
from datarobust.text import tsv

COLUMNS: Final = ("AA_b", "AA_l", "Δ_b", "Δ_l", "E_b", "(PGD-40)_b", "detectable_b", "detectable_l")
#: Header of a file of the paper's rows: three texts, then numbers in percent.
PAPER_COLUMNS: Final = (
    *("name", "description", "setup"),
    *("clean_b", "aa_b", "clean_l", "aa_l", "delta_b", "delta_l", "epoch_b", "pgd_b"),
)
ABSENT: Final = "x"
_PRINTED: Final = 0.0051  # percentage points that a difference of rounded numbers may be off, and a bit

PaperRow = Mapping[str, str]  # as the paper prints it, by PAPER_COLUMNS


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of one network, shares of the points."""

    clean: float
    robust: float
    upper_bound: bool = False  # whether more attacks could lower ``robust``


@dataclass(frozen=True)
class Row:
    """One training of ours."""

    name: str  # which of the paper's rows it stands beside, or any other
    best: Accuracy | None  # of the best weights; None where there are none, or they were not evaluated
    last: Accuracy | None  # of the last weights, likewise
    epoch: int | None = None  # of the best weights; None where no epoch is best
    tracked: float | None = None  # PGD-40 accuracy on the tracked points there, a share
    label: str = ""  # what tells it from other rows of that name, such as its seed
    remarks: tuple[str, ...] = ()  # sentences about it, for the foot of the table
    points: int | None = None  # that were evaluated


def read_paper(text: str, where: str) -> list[PaperRow]:
    """The paper's rows from a TSV file that messages call ``where``; lines that begin with # are passed over."""
    lines = [
        (number, line.split("\t"))
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines or tuple(lines[0][1]) != PAPER_COLUMNS:
        raise DataError(f"{where} holds no rows of the paper: its first line is {' '.join(PAPER_COLUMNS)}, with tabs.")
    for number, cells in lines[1:]:
        if len(cells) != len(PAPER_COLUMNS):
            raise DataError(f"{where}, line {number} has {len(cells)} fields, not {len(PAPER_COLUMNS)}.")
        try:
            finite = all(math.isfinite(float(cell)) for cell in cells[3:] if cell != ABSENT)
        except ValueError as error:
            raise DataError(f"{where}, line {number}: {error}.") from error
        if not finite:
            raise DataError(f"{where}, line {number} has a number that is not finite.")
    return [dict(zip(PAPER_COLUMNS, cells, strict=True)) for _, cells in lines[1:]]


def markdown(rows: Sequence[Row], paper: Sequence[PaperRow] = ()) -> Iterator[str]:
    """The lines of the table and of what stands at its foot.

    The paper's rows come in their order, each with ours of that name beneath it, whether there are any or not; then our
    other rows. Several rows of one name, such as those of several seeds, are followed by their mean and standard
    deviation.
    """
    notes: dict[str, int] = {}
    yield _line(["Description", "Setup", "", *COLUMNS])
    yield _line(["---"] * (3 + len(COLUMNS)))
    for row in paper:
        yield _paper_line(row, notes)
        yield from _our_lines([ours for ours in rows if ours.name == row["name"]], "", notes)
    known = {row["name"] for row in paper}
    for name in dict.fromkeys(row.name for row in rows if row.name not in known):
        yield from _our_lines([row for row in rows if row.name == name], name, notes)
    yield "\n"
    yield (
        "AA: clean and AutoAttack accuracy in percent, Δ: their difference; b: the best weights, by PGD-40 accuracy on "
        "the tracked points in epoch E_b, l: the last weights.\n"
    )
    yield (
        "\nDetectable: the smallest true difference of AutoAttack accuracy, in percentage points, that a test (5 %, "
        f"two-sided) against another row like it shows with probability {100 * power.POWER:.0f} %: of one row by its "
        "points, as if both networks failed independently, and of several seeds by the deviation between them.\n"
    )
    if any(accuracy.upper_bound for row in rows for accuracy in (row.best, row.last) if accuracy is not None):
        yield "\n≤ and ≥: fewer attacks than AutoAttack's were run, which could only lower the accuracy.\n"
    if notes:
        yield "\n"
    for text, number in notes.items():
        yield f"- [{number}] {text}\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _marks(notes: dict[str, int], sentences: Iterable[str]) -> str:
    """What refers to these sentences at the foot, each of which stands there once."""
    numbers = [str(notes.setdefault(sentence, len(notes) + 1)) for sentence in sentences]
    return f" [{', '.join(numbers)}]" if numbers else ""


def _paper_line(row: PaperRow, notes: dict[str, int]) -> str:
    accuracies, deltas = [], []
    for which in "bl":
        clean, robust, delta = (row[f"{column}_{which}"] for column in ("clean", "aa", "delta"))
        absent = ABSENT in (clean, robust)
        accuracies.append(ABSENT if absent else f"{clean} - {robust}")
        difference = math.nan if absent or delta == ABSENT else float(clean) - float(robust)
        if abs(difference - float(delta if delta != ABSENT else "nan")) > _PRINTED:
            delta += _marks(notes, [f"As the paper prints it; {clean} - {robust} is {difference:.2f}."])
        deltas.append(delta)
    texts = [_plain(row["description"]), _plain(row["setup"]), "paper"]
    return _line([*texts, *accuracies, *deltas, row["epoch_b"], row["pgd_b"], "", ""])


def _our_lines(rows: Sequence[Row], setup: str, notes: dict[str, int]) -> Iterator[str]:
    """A line a row, and one with mean and standard deviation over several trainings, where each has the number."""
    for row in rows:
        who = f"ours, {_plain(row.label)}" if row.label and len(rows) > 1 else "ours"
        epoch = ABSENT if row.epoch is None else str(row.epoch)
        yield _line(["", _plain(setup), who + _marks(notes, map(_plain, row.remarks)), *_numbers([row], epoch)])
        setup = ""
    if len(rows) > 1:
        yield _line(["", "", f"ours, mean of {len(rows)} ± deviation", *_numbers(rows, "")])


def _numbers(rows: Sequence[Row], epoch: str) -> list[str]:
    """The cells below :data:`COLUMNS` of one row, or of the mean of several."""
    accuracies, deltas = [], []
    for weights in ([row.best for row in rows], [row.last for row in rows]):
        evaluated = [accuracy for accuracy in weights if accuracy is not None]
        if len(evaluated) < len(rows):
            accuracies.append(ABSENT)
            deltas.append(ABSENT)
            continue
        below, above = ("≤ ", "≥ ") if any(accuracy.upper_bound for accuracy in evaluated) else ("", "")
        clean = _percent([accuracy.clean for accuracy in evaluated])
        accuracies.append(f"{clean} - {below}{_percent([accuracy.robust for accuracy in evaluated])}")
        deltas.append(above + _percent([accuracy.clean - accuracy.robust for accuracy in evaluated]))
    shares = [row.tracked for row in rows if row.tracked is not None]
    detectable = [ABSENT if share is None else f"{100 * share:.2f}" for share in _detectable(rows)]
    return [*accuracies, *deltas, epoch, _percent(shares) if len(shares) == len(rows) else ABSENT, *detectable]


def _detectable(rows: Sequence[Row]) -> list[float | None]:
    """The smallest detectable differences of the best and the last weights: by points, or of several rows by seeds."""
    result: list[float | None] = []
    for weights in ([row.best for row in rows], [row.last for row in rows]):
        robust = [accuracy.robust for accuracy in weights if accuracy is not None]
        if len(robust) < len(rows):
            result.append(None)
        elif len(rows) > 1:
            result.append(power.detectable_by_seeds([statistics.stdev(robust)] * 2, [len(rows)] * 2))
        else:
            points = rows[0].points
            result.append(points and power.detectable_by_points(points, power.independent(robust[0])))
    return result


def _percent(shares: Sequence[float]) -> str:
    mean = f"{statistics.fmean(shares) * 100:.2f}"
    return mean if len(shares) == 1 else f"{mean} ± {statistics.stdev(shares) * 100:.2f}"


_ESCAPES: Final[Mapping[int, str]] = str.maketrans({character: f"\\{character}" for character in "\\|*_`[]<>#"})


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_ESCAPES)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Our rows as lines of a TSV file; accuracies and differences are shares, empty where there are none."""
    lines = []
    for row in rows:
        best, last = (astuple(weights) if weights else (None, None, None) for weights in (row.best, row.last))
        seeds = [other for other in rows if other.name == row.name]
        between = _detectable(seeds) if len(seeds) > 1 else [None, None]
        lines.append((row.name, row.label, *best, *last, row.epoch, row.tracked, *_detectable([row]), *between))
    header = "name label clean_b aa_b upper_bound_b clean_l aa_l upper_bound_l epoch_b pgd_b"
    return tsv(f"{header} detectable_b detectable_l detectable_by_seeds_b detectable_by_seeds_l", lines)
