"""One line of Python: ``datarobust.rank(X, y)`` and ``find_issues(X, y)`` on arrays, tensors, data frames and lists.

What distances are in: uint8 are pixels, and so are images (N, H, W[, C]) of whole numbers that reach more than 16, up
to 255, or of multiples of 1/255 in [0, 1], which become bytes without loss. Distances of pixels are in [0, 1] units, as
those of all commands. All other numbers are features in their own units: float64 is rounded to float32, integers must
be exact in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from datarobust import issues, sensitivity
from datarobust.datasets.contents import hashes_of
from datarobust.datasets.memory import as_classes, as_nchw, as_points
from datarobust.datasets.sources import Source, as_texts, spans
from datarobust.errors import DataError, DatarobustError, UsageError
from datarobust.types import Array, Floats, Progress, Rows

if TYPE_CHECKING:
    import pandas
    import torch


_THRESHOLDS = issues.Thresholds()


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        finite = self.robustness[np.isfinite(self.robustness)]
        reach = f"{finite.min():.4g} to {finite.max():.4g}" if len(finite) else "all infinite"
        return f"Ranked({len(self):,} points, robustness {reach}, of {'pixels' if self.pixels else 'features'})"

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame, the least robust point first; its index is the name of the point, or its row."""
        order = self.order
        columns = {"robustness": self.robustness, "label": self.label}
        columns |= {"neighbour": self.neighbour if self.neighbour_name is None else self.neighbour_name}
        columns |= {"neighbour_label": self.neighbour_label}
        index = order if self.name is None else self.name[order]
        return _frame({name: column[order] for name, column in columns.items()}, index)


@dataclass(frozen=True, repr=False)
class FoundIssues:
    """M findings, by kind in the order of :data:`datarobust.issues.KINDS`, then the clearest first."""

    kind: Array  # (M,) text
    score: Floats  # (M,) by how many times something is nearer than it should be; inf for equal points, else NaN
    distance: Floats  # (M,) between the two points; NaN where there is no other
    index: Rows  # (M,) rows of X
    other_index: Rows  # (M,) rows of the other point, in the other set for leaks; -1: none
    label: Array  # (M,) as they were given
    other_label: Array  # (M,); None where there is no other point
    name: Array | None  # (M,) the names given, or the index of the data frame
    other_name: Array | None  # (M,); None where the other point has none
    agreement: float  # share of points whose nearest point has the same label: near 1 where distances say something

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        counts = [f"{count} {kind}" for kind in issues.KINDS if (count := int((self.kind == kind).sum()))]
        return f"FoundIssues({', '.join(counts) or 'none'}, agreement {self.agreement:.3f})"

    def rows(self, kind: str) -> Rows:
        """The rows of X with a finding of a kind, the clearest first."""
        if kind not in issues.KINDS:
            raise UsageError(f"{kind!r} is not a kind of finding: choose {', '.join(issues.KINDS)}.")
        chosen: Rows = self.index[self.kind == kind]
        return chosen

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row for each finding."""
        names = ["kind", "score", "distance", "index", "name", "label", "other_index", "other_name", "other_label"]
        columns = {name: getattr(self, name) for name in names}
        return _frame({name: column for name, column in columns.items() if column is not None}, None)


def _frame(columns: dict[str, Array], index: Array | None) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise DatarobustError("`to_frame` needs pandas: pip install pandas.") from error
    return pandas.DataFrame(columns, index=index)


def rank(
    X: Any,
    y: Any = None,
    norm: str = "l2",
    *,
    k: int = 1,
    features: Any = None,
    layer: str = "penultimate",
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
        features: (N, D), or a torch.nn.Module that makes them of X: distances are then those of the features. Images
            come to the network as (B, C, H, W) in [0, 1] where they are pixels; it runs on the device that it is on.
        layer: whose output the features are; penultimate: the input of the last torch.nn.Linear.
        against: look for neighbours among these (X, y) instead; features where ``features`` is an array.
        soft: Equation (1) with label vectors, the rows (N, C) of y.
        duplicates: equal points with different labels have distance 0 ("inf"), are left out ("drop"), or are an error.
        names: of the points, such as their files; by default the index of a DataFrame.
        threads: all processors if not given.
        progress: wraps the loop over rounds.

    Raises:
        DataError: the first number or label that cannot be ranked, by its row.
    """
    sides, labelled = _sides(_Points.of(X, y, "X", "y", soft, names), against, soft, features, layer)
    sensitivity.demand_neighbours(k, len(labelled[-1].labels))
    ranking = sensitivity.rank(
        labelled[0],
        norm,
        against=labelled[1] if against is not None else None,
        k=k,
        soft=soft,
        duplicates=duplicates,
        options=sensitivity.Options(threads=threads),
        progress=progress,
    )
    points, held, neighbour = sides[0], sides[-1], ranking.neighbour[:, 0]
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


def find_issues(
    X: Any,
    y: Any = None,
    norm: str = "l2",
    *,
    features: Any = None,
    layer: str = "penultimate",
    against: tuple[Any, Any] | Source | None = None,
    names: Sequence[object] | None = None,
    k: int = issues.NEIGHBOURS,
    thresholds: issues.Thresholds = _THRESHOLDS,
    threads: int | None = None,
    progress: Callable[[str], Progress] = lambda search: iter,
) -> FoundIssues:
    """What to look at in a labelled set: wrong labels, copies, leaks, ambiguous points; see :mod:`datarobust.issues`.

    Args:
        X: points, as :func:`rank` takes them.
        y: their labels.
        norm: "l1", "l2" or "linf".
        features: (N, D), or a torch.nn.Module that makes them of X, as in :func:`rank`.
        layer: whose output the features are.
        against: (X, y) of a set that should have no point in common with this one, such as the test set; features where
            ``features`` is an array.
        names: of the points, such as their files; by default the index of a DataFrame.
        k: how many nearest points of the same and of other labels decide whether a label looks wrong.
        thresholds: least scores of findings.
        threads: all processors if not given.
        progress: from the name of a search to what wraps its rounds.
    """
    points = _Points.of(X, y, "X", "y", False, names)
    _, group = np.unique(hashes_of(points.images.reshape(len(points.images), -1)), return_inverse=True)
    sides, labelled = _sides(points, against, False, features, layer)
    found = issues.find(
        labelled[0], norm, group, against=labelled[1] if against is not None else None, k=k, thresholds=thresholds,
        options=sensitivity.Options(threads=threads), progress=progress,
    )  # fmt: skip
    kind = np.array(issues.KINDS)[found.kind]
    leak = kind == "leak"

    def other(columns: list[Array | None]) -> Array:
        """The values of the other points, each in its set."""
        values = np.full(len(found), None, object)
        for column, mine in ((columns[0], ~leak), (columns[-1], leak)):
            if column is not None:
                values[mine] = _taken(column, found.second[mine])
        return values

    called = [side.names for side in sides]
    return FoundIssues(
        kind,
        found.score,
        np.where(found.second < 0, np.nan, found.distance),
        found.first,
        found.second,
        points.label[found.first],
        other([side.label for side in sides]),
        None if points.names is None else points.names[found.first],
        None if all(names is None for names in called) else other(called),
        found.agreement,
    )


def _sides(
    points: _Points, against: tuple[Any, Any] | Source | None, soft: bool, features: Any, layer: str
) -> tuple[list[_Points], list[sensitivity.Labelled]]:
    """The points, and those they are held against where these are others, with numbers for equal labels.

    Their numbers are those that distances are of: ``features`` where these are given.
    """
    network = hasattr(features, "named_modules")
    if features is not None:
        measured = _seen(features, layer, points.images) if network else as_points(features, "features")
        if len(measured) != len(points.images):
            raise DataError(f"`features` has {len(measured):,} rows for the {len(points.images):,} points of X.")
        points = replace(points, images=measured)
    sides = [points]
    if against is not None:
        pair = (against, None) if isinstance(against, Source) else against
        others = _Points.of(pair[0], pair[1], "against[0]", "against[1]", soft)
        others = replace(others, images=_seen(features, layer, others.images)) if network else others
        sides.append(others)
        kinds = [f"{side.images.dtype.name} of shape {side.images.shape[1:]}" for side in sides]
        if kinds[0] != kinds[1]:
            way = "give points of one shape, both as uint8, or both as floats"
            raise DataError(f"Points are {kinds[0]}, those of `against` {kinds[1]}: {way}.")
    labels = [side.label for side in sides]
    if len({label.dtype.kind == "U" for label in labels}) > 1:
        raise DataError("The labels of X are text and those of `against` numbers, or the reverse: give one kind.")
    _, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    classes = np.split(numbers.astype(np.int64), [len(points.label)])
    return sides, [
        sensitivity.Labelled.of(side.images, own, side.soft) for side, own in zip(sides, classes, strict=False)
    ]


def _seen(network: torch.nn.Module, layer: str, points: Array) -> Array:
    """What a network makes of points, float32 (N, D); it is left in the modes that it was in."""
    import torch

    from datarobust.networks.features import BATCH, Extractor

    inputs = as_nchw(points, None)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in network.modules()]
    try:
        extract = Extractor("features", network, layer, inputs, device)
        return np.concatenate([extract(inputs[begin:end]) for begin, end in spans(len(inputs), BATCH)])
    finally:
        for module, training in modes:
            module.training = training


@dataclass
class RobustnessRanker:
    """:func:`rank` in the style of scikit-learn: ``RobustnessRanker().fit(X, y).robustness_``."""

    norm: str = "l2"
    k: int = 1

    def fit(self, X: Any, y: Any) -> RobustnessRanker:
        """Rank the points of X; ``ranking_`` and ``robustness_`` (N,) are the result."""
        self.ranking_ = rank(X, y, self.norm, k=self.k)
        self.robustness_ = self.ranking_.robustness
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, as scikit-learn asks for them."""
        return {"norm": self.norm, "k": self.k}

    def set_params(self, **params: Any) -> RobustnessRanker:
        """Change arguments."""
        for name, value in params.items():
            setattr(self, name, value)
        return self


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
        if isinstance(X, (str, PathLike)):
            way = "give the arrays in it, or use the commands dataset import and sens-rank"
            raise UsageError(f"{x_is} is the name of a file: {way}.")
        if isinstance(X, Source):
            if y is not None:
                raise UsageError(f"{x_is} has labels of its own: leave out {y_is}.")
            return _of_source(X, names)
        if isinstance(y, str) and hasattr(X, "columns"):
            if y not in X.columns:
                raise DataError(f"{x_is} has no column {y!r}; its columns are {', '.join(map(str, X.columns))}.")
            X, y = X[[column for column in X.columns if column != y]], X[y]
        if y is None or isinstance(y, str):
            way = "datasets.from_torch and datasets.from_hf take those of a data set"
            raise UsageError(f"Give a label for each point of {x_is}; {way}.")
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
        names = as_texts(columns["names"])
    label = classes[label] if len(classes) else label
    return _Points(points, label, columns.get("soft"), _named(names, len(points)))


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
