"""The kinds of artifacts: which arrays and attributes each must have and may have. ARTIFACTS.md draws them.

To change a kind: raise its ``version``; keep the old number in ``reads`` only while old artifacts mean the same.
Version 2 of every kind lets the steps of a history name their ``output``. An array or attribute that came later has the
version it came with, and an artifact that has it is of that version.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DTYPES = ("uint8", "int64", "float32", "float64", "bool")  # of zarr kinds: exact, and the same on every machine
RESERVED = ("kind", "version", "digest", "history", "blocks", "seal")  # attributes that this package writes itself
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]  # array -> (dtype, shape)


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


_TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "texts": ("a list of texts", _list_of(str)),
    "integers": ("a list of integers", _list_of(int)),
    "objects": ("a list of objects", _list_of(dict)),
    "integer": ("an integer", lambda value: type(value) is int),
    "number": ("a number", lambda value: type(value) in (int, float)),
    "flag": ("true or false", lambda value: type(value) is bool),
    "object": ("an object", lambda value: isinstance(value, dict)),
}


@dataclass(frozen=True)
class Field:
    """One array of a kind: dtypes allowed, names of its dimensions (equal names mean equal lengths)."""

    dtypes: tuple[str, ...]
    dims: tuple[str, ...]
    since: int = 1  # version of the kind that an artifact with this array has at least
    identifies: bool = True  # whether the digest covers it; block hashes and seal do in any case
    least: int | None = None  # the smallest value that it may have; NaN may stand anywhere


@dataclass(frozen=True)
class Attribute:
    """One attribute of a kind."""

    type: Literal["text", "texts", "integer", "integers", "number", "flag", "object", "objects"]
    choices: tuple[str, ...] = ()
    null: bool = False
    since: int = 1  # version of the kind that an artifact with this attribute has at least
    parts: Mapping[str, Attribute] = field(default_factory=dict)  # that an object must have
    optional_parts: Mapping[str, Attribute] = field(default_factory=dict)  # of this type where it has them

    def complaint(self, value: object) -> str | None:
        """What is wrong with ``value``, or None."""
        if value is None and self.null:
            return None
        if self.choices:
            return None if value in self.choices else f"is {value!r}, not {' or '.join(self.choices)}"
        words, fits = _TYPES[self.type]
        if not fits(value):
            return f"is {value!r}, not {words}"
        return _complaint(value, self.parts, self.optional_parts) if isinstance(value, dict) else None


def _complaint(
    values: Mapping[str, Any], required: Mapping[str, Attribute], optional: Mapping[str, Attribute]
) -> str | None:
    """What is wrong with the attributes in ``values``, or None."""
    for name, attribute in {**required, **optional}.items():
        if name in values:
            if complaint := attribute.complaint(values[name]):
                return f"has an attribute {name!r} that {complaint}"
        elif name in required:
            return f"has no attribute {name!r}"
    return None


@dataclass(frozen=True)
class Kind:
    """A schema."""

    name: str
    format: Literal["zarr", "safetensors"] = "zarr"
    version: int = 2  # that is written, unless an array is younger
    reads: tuple[int, ...] = (1, 2)  # versions that are read
    required: Mapping[str, Field] = field(default_factory=dict)
    optional: Mapping[str, Field] = field(default_factory=dict)  # no other arrays may be there
    one_of: tuple[str, ...] = ()  # exactly one of these must be there
    attributes: Mapping[str, Attribute] = field(default_factory=dict)  # that must be there; others may be added
    optional_attributes: Mapping[str, Attribute] = field(default_factory=dict)  # of this type where they are there
    advice: str = ""  # what to do where one of this kind stands in the place of another

    @property
    def fields(self) -> Mapping[str, Field]:
        """All arrays that it may have, by name."""
        return {**self.required, **self.optional}

    def version_of(self, arrays: Collection[str], attributes: Collection[str]) -> int:
        """The version of an artifact with these arrays and attributes."""
        younger = [self.optional[name].since for name in arrays if name in self.optional]
        younger += [self.optional_attributes[name].since for name in attributes if name in self.optional_attributes]
        return max([self.version, *younger])

    def identifying(self, arrays: Shapes) -> Shapes:
        """The arrays that the digest covers."""
        ignored = [name for name, field in self.optional.items() if not field.identifies]
        return {name: described for name, described in arrays.items() if name not in ignored}

    def complaint_about_arrays(self, arrays: Shapes) -> str | None:
        """What is wrong with arrays of these (dtype, shape), or None."""
        if self.format == "safetensors":
            return None  # any state dict: its names belong to the architecture
        known = self.fields
        for name in arrays:
            if name not in known:
                return f"has an array {name!r}, which the kind {self.name} does not have ({', '.join(known)})"
        for name in self.required:
            if name not in arrays:
                return f"has no array {name!r}, which the kind {self.name} must have"
        if self.one_of and len(names := [name for name in self.one_of if name in arrays]) != 1:
            return (
                f"has {' and '.join(names) or 'none'} of {', '.join(self.one_of)}; the kind {self.name} has exactly one"
            )
        first: dict[str, tuple[int, str]] = {}  # dimension -> its length, and the array that set it
        for name, (dtype, shape) in arrays.items():
            dtypes, dims = known[name].dtypes, known[name].dims
            if dtype not in dtypes:
                return f"has {name} as {dtype}, not {' or '.join(dtypes)}"
            if len(shape) != len(dims):
                return f"has {name} with {len(shape)} dimensions, not ({', '.join(dims)})"
            for dim, length in zip(dims, shape, strict=True):
                if dim.isdigit() and length != int(dim):
                    return f"has {name} with {length} where ({', '.join(dims)}) is due"
                other, setter = first.setdefault(dim, (length, name))
                if other != length:
                    return f"has {name} with {length} for {dim}, but {setter} with {other}"
        return None

    def complaint_about_attributes(self, attributes: Mapping[str, Any]) -> str | None:
        """What is wrong with these attributes, or None."""
        return _complaint(attributes, self.attributes, self.optional_attributes)


_LABELS = Field(("int64",), ("N",), least=0)
_INDEX = Field(("int64",), ("M",), least=0)
_CLASS = Field(("int64",), ("M",), least=-1)
_DISTANCES = Field(("float64",), ("N", "k"), least=0)
_NEAREST = Field(("int64",), ("N", "k"), least=-1)
_NAMES = {length: Field(("uint8",), (length, "L"), since=3, identifies=False) for length in "NM"}
_TEXT = _DIGEST = Attribute("text")
_INTEGER, _NUMBER, _FLAG, _OBJECT = Attribute("integer"), Attribute("number"), Attribute("flag"), Attribute("object")
_NORM = Attribute("text", choices=("l2", "linf", "l1"))
_MEASURED = Attribute("number", null=True)
_ARCH = Attribute("object", parts={"name": _TEXT}, optional_parts={"arguments": _OBJECT})
_EPOCH = Attribute("integer", null=True)
_RANKED: Mapping[str, Attribute] = {
    "norm": _NORM,
    "labels": Attribute("text", choices=("hard", "soft")),
    "dataset": _DIGEST,
    "against": Attribute("text", null=True),
    "duplicates": Attribute("text", choices=("inf", "drop", "error")),
    "k": _INTEGER,
}
_NEIGHBOURS: Mapping[str, Attribute] = {"neighbours": Attribute("text", choices=("other", "same"), since=3)}
_NETWORK: Mapping[str, Any] = {
    "format": "safetensors",
    "attributes": {"arch": _ARCH, "weights": Attribute("text", choices=("best", "last"))},
    "optional_attributes": {"epoch": _EPOCH, "classes": Attribute("texts")},
}

_KINDS = (
    Kind(
        "dataset",
        reads=(1, 2, 3),
        required={"labels": _LABELS, "index": _LABELS},
        optional={
            "images": Field(("uint8",), ("N", "C", "H", "W")),
            "features": Field(("float32",), ("N", "D")),
            "coarse": _LABELS,
            "soft": Field(("float32",), ("N", "K")),
            "source": _LABELS,
            "names": _NAMES["N"],
        },
        one_of=("images", "features"),
        attributes={"name": _TEXT, "classes": Attribute("texts")},
        optional_attributes={
            "shuffled": _INTEGER,
            "picture": Attribute("object", parts={"shape": Attribute("integers"), "low": _NUMBER, "high": _NUMBER}),
        },
    ),
    Kind(
        "ranking",
        reads=(1, 2, 3),
        required={
            "distance": Field(("float64",), ("N",), least=0),
            "neighbour": Field(("int64",), ("N",), least=-1),
        },
        optional={"distances": _DISTANCES, "neighbours": _NEAREST},
        attributes=_RANKED,
        optional_attributes=_NEIGHBOURS,
    ),
    Kind(
        "ranking-part",
        reads=(2, 3),
        required={"keys": _DISTANCES, "neighbours": _NEAREST},
        attributes={
            **_RANKED,
            "shard": _INTEGER,
            "shards": _INTEGER,
            "points": Attribute("text", choices=("uint8", "float32")),
            "split": _OBJECT,
        },
        optional_attributes=_NEIGHBOURS,
        advice="join all parts first: artifact merge PART... -o R.zarr",
    ),
    Kind(
        "clones",
        reads=(1, 2, 3),
        required={"images": Field(("uint8",), ("M", "R", "C", "H", "W")), "labels": _INDEX, "index": _INDEX},
        optional={"names": _NAMES["M"]},
        attributes={"dataset": _DIGEST, "model": _DIGEST, "sampler": _OBJECT},
    ),
    Kind(
        "moments",
        required={"mean": Field(("float64",), ("D",)), "covariance": Field(("float64",), ("D", "D"))},
        attributes={"count": _INTEGER, "features": _TEXT},
        optional_attributes={
            "dataset": _DIGEST,
            "weights": _TEXT,
            "mode": _TEXT,
            "rows": _DIGEST,
            "calibration": Attribute(
                "object", null=True, parts={"frechet": _NUMBER, "points": _INTEGER, "seed": _INTEGER}
            ),
        },
    ),
    Kind(
        "embedding",
        reads=(1, 2, 3),
        required={
            "position": Field(("float64",), ("M", "2")),
            "index": _INDEX,
            "distance": Field(("float64",), ("M",), least=0),
        },
        optional={"names": _NAMES["M"]},
        attributes={
            "method": Attribute("text", choices=("mds", "rte")),
            "norm": _NORM,
            "seed": _INTEGER,
            "arguments": _OBJECT,
            "dataset": _DIGEST,
            "ranking": _DIGEST,
        },
        optional_attributes={
            "scaling": Attribute("text", choices=("metric", "nonmetric", "classical")),
            "dissimilarity": _NORM,
            "stress": _NUMBER,
            "raw_stress": _NUMBER,
            "iterations": _INTEGER,
            "converged": _FLAG,
            "leaves": _INTEGER,
            "coherence": Attribute(
                "object",
                parts={"correlation": _MEASURED, "permuted": _MEASURED, "permutations": _INTEGER, "p": _MEASURED},
            ),
            "libraries": _OBJECT,
        },
    ),
    Kind(
        "evaluation",
        reads=(1, 2, 3),
        required={"index": _INDEX, "label": _INDEX, "clean": _CLASS, "attacked": _CLASS, "broken": _CLASS},
        optional={"adversarial": Field(("uint8", "float32"), ("M", "C", "H", "W")), "names": _NAMES["M"]},
        attributes={
            "attacks": Attribute("texts"),
            "norm": _NORM,
            "eps": _NUMBER,
            "protocol": Attribute(
                "object",
                parts={
                    "version": _TEXT,
                    "upper_bound": _FLAG,
                    "parameters": Attribute("objects"),
                    "left_out": _OBJECT,
                },
            ),
            "flags": _OBJECT,
            "dataset": _DIGEST,
            "model": _TEXT,
        },
        optional_attributes={
            "about": Attribute("object", optional_parts={"arch": _ARCH, "weights": _TEXT, "epoch": _EPOCH}),
            "dataset_points": _INTEGER,
            "rechecked": _INTEGER,
            "libraries": _OBJECT,
        },
    ),
    Kind("classifier", **_NETWORK),
    Kind("denoiser", **_NETWORK),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


def chosen(kind: str | Collection[str] | None) -> tuple[str, ...]:
    """The kinds that a caller accepts, as a tuple: one name, several, or None for all."""
    if kind is None:
        return tuple(KINDS)
    return (kind,) if isinstance(kind, str) else tuple(kind)
