"""Which columns of a Parquet file are pictures and labels, and what the classes are called."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

from datarobust.datasets.parquetfile import ParquetFile, pyarrow
from datarobust.errors import DataError, UsageError
from datarobust.text import shown

Labels = Literal["fine", "coarse"]
IMAGES = ("img", "image", "images")
LABELS = ("label", "fine_label", "labels")
COARSE = "coarse_label"


class Columns(NamedTuple):
    """Names of columns: the pictures, their bytes as they are read, the labels, and coarse labels beside them."""

    images: str
    read: str
    labels: str
    coarse: str | None


def find_columns(file: ParquetFile, keys: tuple[str, str] | None, labels: Labels | None) -> Columns:
    """The columns to read, their types checked.

    ``keys`` names pictures and labels, ``labels`` chooses between the two kinds of labels that CIFAR-100 has.

    Raises:
        DataError: the file has no such columns, several, or columns of other types.
        UsageError: ``keys`` and ``labels`` are both given.
    """
    names = file.schema.names
    if keys is not None and labels is not None:
        raise UsageError("`labels` chooses between fine_label and coarse_label; with `keys` name the labels there.")
    images = _one(file, (keys[0],) if keys else IMAGES, "pictures")
    coarse = None
    if labels == "coarse":
        wanted: tuple[str, ...] = (COARSE,)
    elif labels == "fine":
        wanted = ("fine_label",)
    else:
        wanted = (keys[1],) if keys else LABELS
    found = _one(file, wanted, "labels")
    if keys is None and found == "fine_label" and COARSE in names:
        coarse = COARSE
    types = pyarrow("pyarrow.types")
    for name in (found, coarse):
        if name and not types.is_integer(file.schema.field(name).type):
            kind = shown(str(file.schema.field(name).type)[:80])
            raise DataError(f"{shown(file.path)}: {shown(name)} has type {kind}: labels are integers.")
    kind = file.schema.field(images).type
    inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not types.is_binary(inner) and not types.is_large_binary(inner):
        raise DataError(
            f"{shown(file.path)}: {shown(images)} has type {shown(str(kind)[:80])}: pictures are PNG or JPEG files as "
            "bytes, or structs with the field bytes."
        )
    return Columns(images, images if inner is kind else f"{images}.bytes", found, coarse)


def _one(file: ParquetFile, wanted: tuple[str, ...], what: str) -> str:
    """The one column among ``wanted`` that the file has."""
    names = file.schema.names
    found = [name for name in wanted if name in names]
    listed = ", ".join(shown(name) for name in names[:12]) or "none"
    if not found:
        raise DataError(
            f"{shown(file.path)} has the columns {listed}, none of them {what} ({' or '.join(map(shown, wanted))}): "
            "name both with `keys` PICTURES,LABELS."
        )
    if len(found) > 1 or names.count(found[0]) > 1:
        raise DataError(
            f"{shown(file.path)} has several columns of {what} ({', '.join(map(shown, found))}): choose with `keys` "
            "PICTURES,LABELS."
        )
    return found[0]


def class_names(file: ParquetFile, column: str) -> tuple[str, ...]:
    """The names that the ``datasets`` library wrote beside a column of labels (ClassLabel), none where it did not.

    Raises DataError where its metadata are not what it writes.
    """
    text = (file.schema.metadata or {}).get(b"huggingface")
    if text is None:
        return ()
    try:
        feature = json.loads(text)["info"]["features"].get(column)
        names = feature.get("names", []) if isinstance(feature, dict) else []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{shown(file.path)}: its huggingface metadata are not what that library writes.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{shown(file.path)}: the names of {shown(column)} in its huggingface metadata are no texts.")
    return tuple(names)
