"""Points in memory as a Source: arrays, and data sets of PyTorch and of the Hugging Face hub's library.

Nothing is imported but NumPy: tensors, columns of pandas and pictures of pillow are known by their methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from datarobust.datasets.contents import DARK
from datarobust.datasets.folder import Resize, as_pixels, resizing
from datarobust.datasets.npz import layout_of
from datarobust.datasets.parquet import IMAGES, LABELS
from datarobust.datasets.sources import (
    Block,
    Layout,
    Picture,
    Scale,
    Source,
    Spec,
    as_features,
    as_images,
    as_labels,
    as_names,
    name_bytes,
    numbered,
    spans,
    tell_scale,
)
from datarobust.errors import DataError
from datarobust.types import Array, Images

_ROWS_AT_ONCE = 1024
_PROBED = 4  # rows that are asked for twice, to notice a random transform


class ArraySource(Source):
    """Points and labels in memory.

    ``points`` are uint8 (N, C, H, W), or features of another shape or dtype; ``labels`` (N,) numbers, or text, which is
    numbered in its order unless ``classes`` name the numbers.
    """

    def __init__(
        self,
        points: Array,
        labels: Array,
        *,
        name: str = "arrays",
        classes: Sequence[str] = (),
        soft: Array | None = None,
        names: Sequence[object] | None = None,
    ) -> None:
        if labels.dtype.kind == "U":
            labels, classes = numbered(labels.tolist(), tuple(classes), lambda row: f"y[{row}]")
        images = points.dtype == np.uint8 and points.ndim == 4
        self.points: Array = points if images else points.reshape(len(points), -1).astype(np.float32, copy=False)
        self.labels, _ = as_labels(labels, 0, "y", len(classes))  # int64 (N,)
        self._soft = soft
        if names is not None and len(names) != len(points):
            raise DataError(f"There are {len(names):,} names for {len(points):,} points.")
        texts = [] if names is None else [str(each) for each in names]
        width = name_bytes(texts)
        self._names_of_points = as_names(texts, width) if width else None
        picture = None
        if not images and points.ndim == 4 and len(points):
            low, high = float(points.min()), float(points.max())
            unit = 1.0 if high <= 1 else high if high <= DARK else 255.0
            picture = Picture(points.shape[1:], *((0.0, unit) if low >= 0 and high <= 255 else (low, high)))
        self.spec = Spec(
            name=name,
            rows=len(points),
            kind="images" if images else "features",
            shape=self.points.shape[1:],
            classes=tuple(classes),
            soft=0 if soft is None else soft.shape[1],
            names=width,
            picture=picture,
        )

    @cached_property
    def _digest(self) -> str:
        parts = [part for part in (self.points, self.labels, self._soft, self._names_of_points) if part is not None]
        digest = hashlib.sha256(repr([(part.shape, part.dtype.str) for part in parts]).encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def digest(self) -> str:
        """sha256 of shapes and dtypes, then of the points, the labels, the label vectors and the names."""
        return self._digest

    def identity(self) -> str:
        """The digest."""
        return self._digest

    def unchanged(self) -> None:
        """They are in memory."""

    def _parts(self, start: int, stop: int) -> Iterator[Block]:
        for begin, end in spans(stop, self.spec.step, start):
            columns: dict[str, Array | None] = {self.spec.kind: self.points, "labels": self.labels}
            columns |= {"soft": self._soft, "names": self._names_of_points}
            yield {column: values[begin:end] for column, values in columns.items() if values is not None}


def from_arrays(
    X: Any,
    y: Any,
    *,
    classes: Sequence[str] = (),
    names: Sequence[object] | None = None,
    layout: Layout | None = None,
    name: str = "arrays",
) -> ArraySource:
    """Arrays, tensors or data frames as a source, as :func:`datarobust.rank` takes them.

    ``classes`` are the names of the labels, ``names`` those of the points, such as their files. ``layout`` says where
    the channels of images (N, H, W, C) or (N, C, H, W) are, if that is not evident.
    """
    points = as_points(X)
    labels, soft = as_classes(y)
    if len(labels) != len(points):
        raise DataError(f"y has {len(labels):,} labels for the {len(points):,} points of X.")
    return ArraySource(as_nchw(points, layout), labels, name=name, classes=classes, soft=soft, names=names)


def as_nchw(points: Array, layout: Layout | None) -> Array:
    """Images as (N, C, H, W); rows (N, D) as they are."""
    if points.ndim == 2:
        return points
    axes = layout_of(points.shape, "X", layout)
    if axes == "nhwc":
        return np.ascontiguousarray(points.transpose(0, 3, 1, 2))
    return points[:, None] if axes == "nhw" else points


def from_torch(
    dataset: Any, *, channels: int | None = None, resize: str | None = None, name: str | None = None
) -> ArraySource:
    """A map-style dataset of PyTorch as a source: its items begin with a point and a label.

    A point is a picture of pillow, a tensor or an array; floats that are multiples of 1/255 in [0, 1] become bytes,
    others features. Class names are those of ``classes``, as torchvision has them. ``channels`` makes all pictures
    grey (1) or RGB (3), ``resize`` brings them to one size ("32x32", or "32x32:crop"). Raises DataError where an item
    differs from one look to the next, as by a random transform.
    """
    rows, size = len(dataset), resizing(resize) if resize else None
    if not rows:
        raise DataError("The dataset has no items.")
    for row in range(min(rows, _PROBED)):
        first, again = (_point(dataset[row][0], f"dataset[{row}]", channels, size, None) for _ in range(2))
        if first.shape != again.shape or not np.array_equal(first, again, equal_nan=first.dtype.kind == "f"):
            way = "give it a transform without randomness"
            raise DataError(f"dataset[{row}] differs from one look to the next: {way}.")
    items = (dataset[row][:2] for row in range(rows))
    whole, places = dataset, list(range(rows))  # of the items in the whole
    while not hasattr(whole, "classes") and hasattr(whole, "dataset"):  # a Subset
        places = [whole.indices[place] for place in places] if hasattr(whole, "indices") else places
        whole = whole.dataset
    files = getattr(whole, "samples", None)  # of torchvision's folders: paths and labels
    names = None
    if isinstance(files, list) and len(files) == len(whole) and all(isinstance(each, tuple) for each in files):
        names = [str(files[place][0]) for place in places]
    title = name or type(whole).__name__.lower()
    return _gathered(items, rows, channels, size, title, getattr(whole, "classes", ()), names)


def from_hf(
    dataset: Any,
    *,
    keys: tuple[str, str] | None = None,
    channels: int | None = None,
    resize: str | None = None,
    name: str | None = None,
) -> ArraySource:
    """One split of the Hugging Face library ``datasets`` as a source: a column of pictures and one of labels.

    ``keys`` are the names of the two columns where they are not image (or img) and label. Class names are those of a
    ClassLabel. ``channels`` makes all pictures grey (1) or RGB (3), ``resize`` brings them to one size.
    """
    columns = list(getattr(dataset, "column_names", ()))
    if not columns or not isinstance(columns[0], str) or not hasattr(dataset, "features"):
        raise DataError("This is not one split of a dataset: give dataset['train'], not the dictionary of all splits.")
    pair = []
    for known, what in zip(((key,) for key in keys) if keys else (IMAGES, LABELS), ("pictures", "labels"), strict=True):
        present = [column for column in known if column in columns]
        if len(present) != 1:
            listed = f"{', '.join(columns)}; {what} are {' or '.join(known)}"
            raise DataError(f"The dataset has the columns {listed}: name both with `keys` (PICTURES, LABELS).")
        pair += present
    items = ((item[pair[0]], item[pair[1]]) for item in dataset)
    title = getattr(getattr(dataset, "info", None), "dataset_name", None) or "dataset"
    size, classes = resizing(resize) if resize else None, getattr(dataset.features[pair[1]], "names", None)
    names, feature = None, dataset.features[pair[0]]
    if hasattr(feature, "decode") and hasattr(dataset, "cast_column"):  # pictures that have paths beside their bytes
        encoded = dataset.cast_column(pair[0], type(feature)(decode=False))
        names = [value.get("path") or "" for value in (item[pair[0]] for item in encoded) if isinstance(value, dict)]
    return _gathered(items, len(dataset), channels, size, name or title, classes, names or None)


def _gathered(
    items: Iterator[tuple[Any, Any]],
    rows: int,
    channels: int | None,
    resize: Resize | None,
    name: str,
    classes: Any,
    called: Sequence[str] | None = None,
) -> ArraySource:
    """The items as one source, each checked against the first."""
    points: Array | None = None
    labels = []
    for row, (value, label) in enumerate(items):
        if row == rows:
            raise DataError(f"The dataset says that it has {rows:,} items, but goes on.")
        point = _point(value, f"dataset[{row}]", channels, resize, None if points is None else points.shape[1:])
        if points is None:
            points = np.empty((rows, *point.shape), point.dtype)
        points[row] = point
        labels.append(as_array(label, f"dataset[{row}]"))
    if points is None or len(labels) < rows:
        raise DataError(f"The dataset says that it has {rows:,} items, but has {len(labels):,}.")
    hard, soft = as_classes([label.item() if label.ndim == 0 else label for label in labels], "labels")
    names = classes if isinstance(classes, list | tuple) and all(isinstance(each, str) for each in classes) else ()
    return ArraySource(as_points(points, "dataset"), hard, name=name, classes=tuple(names), soft=soft, names=called)


def _point(value: Any, where: str, channels: int | None, resize: Resize | None, first: tuple[int, ...] | None) -> Array:
    """One item as an array of the shape of the first; pictures and arrays with channels last become (C, H, W)."""
    if hasattr(value, "getbands"):  # a picture of pillow
        return as_pixels(value, where, channels, first, resize)
    point = as_array(value, where)
    if point.ndim == 3 and not hasattr(value, "detach"):
        point = point.transpose(2, 0, 1) if layout_of((1, *point.shape), where, None) == "nhwc" else point
    if point.ndim == 2:
        point = point[None]
    if first is not None and point.shape != first:
        raise DataError(f"{where} has shape {point.shape}, but the first item has {first}: bring them to one shape.")
    return point


def as_array(values: Any, where: str) -> Array:
    """NumPy's view of an array, a tensor, a column or table of pandas, a picture, or a list of them.

    A column of objects becomes numbers where it holds numbers or arrays of one shape, and stays as it is otherwise.
    """
    if hasattr(values, "getbands"):  # a picture of pillow
        pixels = as_pixels(values, where, None, None)
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    if hasattr(values, "toarray"):
        raise DataError(f"{where} is a sparse matrix: give its toarray().")
    if hasattr(values, "detach"):  # a tensor of PyTorch
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    ragged = isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1
    if (ragged or isinstance(values, list | tuple)) and len(values) and not np.isscalar(values[0]):
        rows = [as_array(value, f"{where}[{row}]") for row, value in enumerate(values)]
        for row, value in enumerate(rows):
            if value.shape != rows[0].shape:
                raise DataError(f"{where}[{row}] has shape {value.shape}, but {where}[0] has {rows[0].shape}.")
        return np.stack(rows)
    return np.asarray(values)


def as_points(X: Any, where: str = "X") -> Array:
    """Points as uint8 or float32 (N, ...), as :mod:`datarobust.arrays` says; DataError names the first wrong value."""
    array = as_array(X, where)
    if array.dtype == object and array.ndim > 1:  # a table whose columns have several types
        for place, value in np.ndenumerate(array):
            try:
                float(value)
            except (TypeError, ValueError) as error:
                column = f" (column {X.columns[place[1]]!r})" if hasattr(X, "columns") else ""
                fault = f"{list(place)} is {str(value)!r}{column}, no number"
                raise DataError(f"{where}{fault}: leave the column out, or make numbers of it.") from error
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {array.dtype}: points are numbers.")
    if array.ndim < 2 or 0 in array.shape:
        kinds = "rows (N, D), or images (N, H, W), (N, H, W, C) or (N, C, H, W)"
        raise DataError(f"{where} has shape {array.shape}: points are {kinds}.")
    if array.dtype == np.uint8:
        return array
    pixels = _pixels(array) if array.ndim > 2 else None
    return as_features(array.reshape(len(array), -1), 0, where).reshape(array.shape) if pixels is None else pixels


def _pixels(array: Array) -> Images | None:
    """Images as bytes where nothing is lost by it, as :func:`as_images` has it, else None.

    Whole numbers up to 16 are levels of another scale, such as those of scikit-learn's digits: no bytes.
    """
    blocks = [array[begin:end] for begin, end in spans(len(array), _ROWS_AT_ONCE)]
    scale: Scale = "bytes"
    if array.dtype.kind == "f":
        scale = next(filter(None, map(tell_scale, blocks)), "unit")
    if scale == "bytes" and array.dtype.kind != "b" and max((block.max() for block in blocks), default=0) <= DARK:
        return None
    try:
        return np.concatenate([as_images(block, scale, 0, "X") for block in blocks])
    except DataError:  # they are features, whose numbers are checked as such
        return None


def as_classes(y: Any, where: str = "y") -> tuple[Array, Array | None]:
    """Labels (N,), int64 or text, and label vectors float32 (N, C) where y holds probabilities.

    Raises DataError naming the first label that is none: a missing one, or a fraction.
    """
    array = as_array(y, where)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "biuf" and array.ndim == 2:
        return as_labels(array, 0, where)
    if array.ndim != 1:
        raise DataError(f"{where} has shape {array.shape}: labels are (N,), or (N, C) one-hot or probabilities.")
    if array.dtype.kind in "biu":
        return array.astype(np.int64), None
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    values = array.tolist()
    for row, value in enumerate(values):
        if not isinstance(value, str) and not (isinstance(value, int | float) and float(value).is_integer()):
            raise DataError(f"{where}[{row}] = {value!r} is not a class: labels are whole numbers or text.")
    if values and len({isinstance(value, str) for value in values}) > 1:
        raise DataError(f"{where} mixes text and numbers: labels are of one kind.")
    return np.array(values, str if values and isinstance(values[0], str) else np.int64), None
