"""Which points: one spelling wherever points are chosen, such as the points in focus or those held out.

====================  =============================================================================================
``R.zarr:least:K``    the K least robust points of ranking R, least robust first (Section 3: the most sensitive ones)
``R.zarr:most:K``     its K most robust points, most robust first
``first:K``           the first K points
``random:K:SEED``     K distinct points, a function of SEED and the number of points alone
``FILE``, ``-``       one index a line, in that order; blank lines and lines that begin with ``#`` are passed over
``!`` in front        every other point, ascending
====================  =============================================================================================

An index is a point's place in the dataset at hand. Points of equal distance are taken by lower index first; how many
were left out at the cut is reported (:attr:`Chosen.ties_cut`), because l_inf distances are small integers and cuts
among ties are common. A point that the ranking dropped (distance NaN) is in no selection by it, nor in its complement.
A file called ``first:10`` is ``./first:10``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from datarobust.datasets.linefiles import read_indices
from datarobust.errors import SelectionError
from datarobust.randomness import Domain, permutation
from datarobust.text import shown
from datarobust.types import Floats, Rows

if TYPE_CHECKING:
    from datarobust.artifacts import Step, Store

How = Literal["least", "most", "first", "random", "file"]

_SPELLINGS = "the spellings are R.zarr:least:K, R.zarr:most:K, first:K, random:K:SEED, an index file or -"


@dataclass(frozen=True)
class Selection:
    """A parsed spelling. ``path`` is that of the ranking or of the index file, ``-`` for stdin."""

    text: str
    how: How
    complement: bool = False
    path: str = ""
    count: int = 0
    seed: int = 0

    def inverted(self) -> Selection:
        """Every other point, as ``!`` in front means it; twice is the selection itself."""
        return replace(self, complement=not self.complement)


@dataclass(frozen=True)
class Chosen:
    """The chosen points of one dataset."""

    rows: Rows  # (K,) distinct places in the dataset
    tied: int = 0  # points that share the distance of the last one that entered by a ranking
    ties_cut: int = 0  # those of them that stayed out
    dropped: int = 0  # points without a distance in the ranking: in no selection
    inputs: Mapping[str, str] = field(default_factory=dict)  # role -> digest of the ranking or of the index lines
    history: tuple[Step, ...] = ()  # of the ranking

    def remarks(self) -> Iterator[str]:
        """Sentences that the user should see."""
        if self.ties_cut:
            cut = f"the {self.tied - self.ties_cut:,} with the lowest index were selected, {self.ties_cut:,} were not"
            yield f"{self.tied:,} points tie at the cut-off: {cut}"
        if self.dropped:
            yield f"{self.dropped:,} points that the ranking dropped are never selected, not even with !"


def parse(text: str) -> Selection:
    """Read a spelling. Raises SelectionError where it is none."""
    body = text.removeprefix("!")
    complement = body != text
    if not body or body.startswith("!"):
        raise SelectionError(f"'{shown(text)}' selects nothing: {_SPELLINGS}, with one ! in front or none.")
    if match := re.fullmatch(r"(?:(.*):)?(least|most):([^:]*)", body, re.DOTALL):
        how: How = "least" if match[2] == "least" else "most"
        if not match[1]:
            raise SelectionError(f"'{shown(text)}' names no ranking: write R.zarr:{how}:{match[3]}.")
        return Selection(text, how, complement, match[1], _number(match[3], text))
    if match := re.fullmatch(r"first:([^:]*)", body):
        return Selection(text, "first", complement, count=_number(match[1], text))
    if match := re.fullmatch(r"random:([^:]*)(?::([^:]*))?", body):
        if match[2] is None:
            raise SelectionError(f"'{shown(text)}' has no seed: write random:{shown(match[1])}:SEED.")
        if not re.fullmatch(r"[0-9]{1,20}", match[2]) or int(match[2]) >= 1 << 64:
            raise SelectionError(f"'{shown(text)}' has no seed from 0 to 2**64 - 1 at its end.")
        return Selection(text, "random", complement, count=_number(match[1], text), seed=int(match[2]))
    return Selection(text, "file", complement, body)


def _number(digits: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", digits) or int(digits) == 0:
        way = f"a whole number from 1 on stands where '{shown(digits)}' is"
        raise SelectionError(f"'{shown(text)}' does not say how many: {way}.")
    return int(digits)


def choose(selection: Selection | str, dataset: Store, stdin: BinaryIO | None = None) -> Chosen:
    """The points of ``dataset`` that a selection names; ``stdin`` is the process's own if not given.

    Raises SelectionError where the spelling is none, names absent points, or asks for more points than there are.
    """
    if isinstance(selection, str):
        selection = parse(selection)
    points, dropped = len(dataset), np.empty(0, np.int64)
    if selection.how in ("least", "most"):
        chosen, dropped = _by_ranking(selection, dataset, stdin)
    elif selection.how == "file":
        chosen = _from_lines(selection, points, stdin)
    elif selection.count > points:
        raise SelectionError(f"'{shown(selection.text)}' asks for {selection.count:,} of {points:,} points.")
    elif selection.how == "first":
        chosen = Chosen(np.arange(selection.count, dtype=np.int64))
    else:
        chosen = Chosen(random(points, selection.count, selection.seed))
    if not selection.complement:
        return chosen
    rest = others(np.concatenate([chosen.rows, dropped]), points)
    if not len(rest):
        raise SelectionError(f"'{shown(selection.text)}' leaves no point.")
    return replace(chosen, rows=rest)


def random(points: int, count: int, seed: int) -> Rows:
    """``count`` distinct of ``points`` rows, uniform, in random order; of equal seeds, fewer are the first of more."""
    return permutation(seed, Domain.SELECTION, points)[:count]


def extreme(distance: Floats, count: int, how: Literal["least", "most"]) -> tuple[Rows, int, int]:
    """The ``count`` least or most robust rows, and at the cut: how many points tie, how many of them stay out.

    ``distance`` (N,): +inf is most robust, NaN is never chosen. The rows come by distance (rising for ``least``,
    falling for ``most``), equal distances by rising index.
    """
    ranked = len(distance) - int(np.isnan(distance).sum())
    if count > ranked:
        raise SelectionError(f"{count:,} points are asked for, but the ranking has {ranked:,}.")
    key = distance if how == "least" else -distance  # sorting puts NaN last, in either case
    rows = np.argsort(key, kind="stable")[:count].astype(np.int64)
    at_cut = distance[rows[-1]]
    tied = int((distance == at_cut).sum())
    return rows, tied, tied - int((distance[rows] == at_cut).sum())


def others(rows: Rows, points: int) -> Rows:
    """All of 0..``points`` - 1 that are not among ``rows``, ascending."""
    rest = np.ones(points, np.bool_)
    rest[rows] = False
    return np.flatnonzero(rest)


def rows_digest(rows: Rows) -> str:
    """sha256 of row numbers (M,), as little-endian int64: names a choice of points in their order."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _by_ranking(selection: Selection, dataset: Store, stdin: BinaryIO | None) -> tuple[Chosen, Rows]:
    """The points that a ranking chooses, and those that it dropped."""
    from datarobust import artifacts

    path = Path(selection.path)
    if selection.path == "-":  # the path that another command printed
        words = _stdin(stdin).read(1 << 16).decode("utf-8", "surrogateescape").splitlines()
        if len(words) != 1 or not words[0]:
            raise SelectionError(f"'-' takes one path, but {len(words)} lines came: did the command before it fail?")
        path = Path(words[0])
    ranking = artifacts.open_store(path, "ranking")
    artifacts.demand_same_points(ranking, dataset)
    distance = np.asarray(ranking.column("distance").read(), np.float64)
    if len(distance) != len(dataset):
        raise SelectionError(f"{shown(path)} ranks {len(distance):,} points, but the dataset has {len(dataset):,}.")
    try:
        rows, tied, cut = extreme(distance, selection.count, "least" if selection.how == "least" else "most")
    except SelectionError as error:
        raise SelectionError(f"'{shown(selection.text)}': {error}") from error
    dropped = np.flatnonzero(np.isnan(distance))
    inputs = {"selection": ranking.digest}
    return Chosen(rows, tied, cut, len(dropped), inputs, tuple(ranking.history)), dropped


def _from_lines(selection: Selection, points: int, stdin: BinaryIO | None) -> Chosen:
    path = Path(selection.path)
    if selection.path == "-":
        rows, digest = read_indices(_stdin(stdin), "stdin", points)
    else:
        try:
            with path.open("rb") as file:
                rows, digest = read_indices(file, shown(path), points)
        except IsADirectoryError as error:
            where = shown(path)
            raise SelectionError(
                f"{where} is a folder, not an index file: for a ranking, write {where}:least:K."
            ) from error
        except OSError as error:
            fault = f"is not a selection, and no index file can be read there ({error.strerror})"
            raise SelectionError(f"'{shown(selection.text)}' {fault}: {_SPELLINGS}.") from error
    return Chosen(rows, inputs={"selection": digest})


def _stdin(stdin: BinaryIO | None) -> BinaryIO:
    if stdin is not None:
        return stdin
    if sys.stdin is None or sys.stdin.isatty():
        raise SelectionError("'-' takes index lines from stdin, but nothing is piped into this command.")
    return sys.stdin.buffer
