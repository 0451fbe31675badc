"""One line of Python: ``datarobust.rank(X, y)`` on arrays, tensors, data frames, lists, and data sets in other formats.

What distances are in: uint8 are pixels, and so are images (N, H, W[, C]) of whole numbers in 0..255 or of multiples of
1/255 in [0, 1], which become bytes without loss. Distances of pixels are in [0, 1] units, as those of all commands. All
other numbers are features in their own units: float64 is rounded to float32, integers must be exact in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datarobust import sensitivity
from datarobust.datasets.memory import as_classes, as_points
from datarobust.datasets.sources import Source
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.types import Array, Floats, Progress, Rows

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Ranked:
    """The robustness of every point, in the order of X."""

    robustness: Floats  # (N,) distance to the nearest point of another label; inf: there is none; NaN: left out
    neighbour: Rows  # (N,) the row of that point; -1: none
    label: Array  # (N,) as they were given
    neighbour_label: Array  # (N,); None where there is no neighbour
    name: Array | None  # (N,) the names given, or the index of the data frame
    neighbour_name: Array | None  # (N,)
    ranking: sensitivity.Ranking  # distances and rows of all k neighbours, (N, k)

    pixels: bool  # whether distances are in [0, 1] units of pixels; else they are in the units of X

    @property
    def sensitivity(self) -> Floats:
        """(N,) 1/r, as Algorithm 1 computes it."""
        return self.ranking.sensitivity

    @property
    def order(self) -> Rows:
        """Rows, the least robust first."""
        return sensitivity.least_robust_first(self.robustness)

    def __len__(self) -> int:
        return len(self.robustness)

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame, the least robust point first; its index is the name of the point, or its row."""
        try:
            import pandas
        except ImportError as error:
            raise DatarobustError("`to_frame` needs pandas: pip install pandas.") from error
        order = self.order
        columns = {"robustness": self.robustness, "label": self.label}
        columns |= {"neighbour": self.neighbour if self.neighbour_name is None else self.neighbour_name}
        columns |= {"neighbour_label": self.neighbour_label}
        index = order if self.name is None else self.name[order]
        return pandas.DataFrame({name: column[order] for name, column in columns.items()}, index=index)


def rank(
    X: Any,
    y: Any = None,
    norm: str = "l2",
    *,
    k: int = 1,
    against: tuple[Any, Any] | Source | None = None,
    soft: bool = False,
    duplicates: sensitivity.Duplicates = "inf",
    names: Sequence[object] | None = None,
    threads: int | None = None,
    progress: Progress = iter,
) -> Ranked:
    """The robustness of every labelled point: its distance to the nearest point with another label, exactly.

    Args:
        X: images (N, H, W), (N, H, W, C) or (N, C, H, W), or rows (N, D): a NumPy array, a PyTorch tensor, a pandas
            DataFrame, a list of images; or a Source of :mod:`datarobust.datasets`, which has labels of its own. What
            distances are in, pixels or the numbers' own units, is said at the top of the module.
        y: a label for each point: whole numbers, text, or one-hot rows; or the name of a column of the DataFrame.
        norm: "l1", "l2" or "linf".
        k: how many neighbours with another label.
        against: look for neighbours among these (X, y) instead.
        soft: Equation (1) with label vectors, the rows (N, C) of y.
        duplicates: equal points with different labels have distance 0 ("inf"), are left out ("drop"), or are an error.
        names: of the points, such as their files; by default the index of a DataFrame.
        threads: all processors if not given.
        progress: wraps the loop over rounds.

    Raises:
        DataError: the first number or label that cannot be ranked, by its row.
    """
    points = _Points.of(X, y, "X", "y", soft, names)
    others = None
    if against is not None:
        pair = (against, None) if isinstance(against, Source) else against
        others = _Points.of(pair[0], pair[1], "against[0]", "against[1]", soft)
        if len(points.images.shape) != len(others.images.shape) or points.images.shape[1:] != others.images.shape[1:]:
            shapes = f"shape {points.images.shape[1:]}, those of `against` {others.images.shape[1:]}"
            raise DataError(f"One point of X has {shapes}: give points of one shape.")
        if points.images.dtype != others.images.dtype:
            kinds = f"{points.images.dtype.name} numbers, `against` {others.images.dtype.name}"
            raise DataError(f"X has {kinds}: give both as uint8, or both as floats.")
    sides = [points] if others is None else [points, others]
    labels = [side.label for side in sides]
    if len({label.dtype.kind == "U" for label in labels}) > 1:
        raise DataError("The labels of X are text and those of `against` numbers, or the reverse: give one kind.")
    _, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    classes = np.split(numbers.astype(np.int64), [len(points.label)])
    labelled = [sensitivity.Labelled.of(side.images, own, side.soft) for side, own in zip(sides, classes, strict=False)]
    ranking = sensitivity.rank(
        labelled[0],
        norm,
        against=None if others is None else labelled[1],
        k=k,
        soft=soft,
        duplicates=duplicates,
        options=sensitivity.Options(threads=threads),
        progress=progress,
    )
    neighbour, held = ranking.neighbour[:, 0], sides[-1]
    return Ranked(
        ranking.robustness,
        neighbour,
        points.label,
        _taken(held.label, neighbour),
        points.names,
        None if held.names is None else _taken(held.names, neighbour),
        ranking,
        points.images.dtype == np.uint8,
    )


@dataclass(frozen=True)
class _Points:
    """One side of a ranking."""

    images: Array  # (N, ...) uint8 or float32
    label: Array  # (N,) numbers or text
    soft: Array | None  # (N, C)
    names: Array | None  # (N,)

    @classmethod
    def of(cls, X: Any, y: Any, x_is: str, y_is: str, soft: bool, names: Sequence[object] | None = None) -> _Points:
        """Points and labels as :func:`rank` takes them; ``x_is`` and ``y_is`` are what sentences call them."""
        if isinstance(X, Source):
            if y is not None:
                raise UsageError(f"{x_is} has labels of its own: leave out {y_is}.")
            return _of_source(X, names)
        if isinstance(y, str) and hasattr(X, "columns"):
            if y not in X.columns:
                raise DataError(f"{x_is} has no column {y!r}; its columns are {', '.join(map(str, X.columns))}.")
            X, y = X.drop(columns=[y]), X[y]
        if y is None or isinstance(y, str):
            raise UsageError(f"Give a label for each point of {x_is}, as `rank(X, y)`.")
        points = as_points(X, x_is)
        label, vectors = as_classes(y, y_is)
        if len(label) != len(points):
            raise DataError(f"{y_is} has {len(label):,} labels for the {len(points):,} points of {x_is}.")
        if soft and vectors is None:
            raise UsageError(f"`soft` compares label vectors: give {y_is} as rows of probabilities (N, C).")
        index = getattr(X, "index", None)  # of a data frame; a list has a method of this name
        if names is None and index is not None and not callable(index):
            names = list(index)
        return cls(points, label, vectors if soft else None, _named(names, len(points)))


def _of_source(source: Source, names: Sequence[object] | None) -> _Points:
    """All rows of a source, with its class names for labels where it has some."""
    blocks = list(source.blocks())
    if not blocks:
        raise DataError("The source has no points.")
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    label, classes = columns["labels"], np.array(source.spec.classes, str)
    points = columns[source.spec.kind]
    if names is None and "names" in columns:
        encoded = np.ascontiguousarray(columns["names"]).view(f"S{source.spec.names}").ravel().tolist()
        names = [name.decode("utf-8", "surrogateescape") for name in encoded]
    return _Points(
        points, classes[label] if len(classes) else label, columns.get("soft"), _named(names, len(points))
    )  # fmt: skip


def _named(names: Sequence[object] | None, rows: int) -> Array | None:
    if names is None:
        return None
    if len(names) != rows:
        raise DataError(f"`names` has {len(names):,} names for {rows:,} points.")
    column = np.empty(rows, object)
    column[:] = [str(name) if isinstance(name, np.str_) else name for name in names]
    return column


def _taken(column: Array, rows: Rows) -> Array:
    """``column[rows]``, None where a row is -1."""
    if (rows >= 0).all():
        return column[rows]
    result = np.full(len(rows), None, object)
    result[rows >= 0] = column[rows[rows >= 0]]
    return result
