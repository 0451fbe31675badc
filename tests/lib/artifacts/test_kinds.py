"""Schemas say what is wrong, in words."""

from __future__ import annotations

import pytest

from datarobust.artifacts.kinds import KINDS, RESERVED, Attribute, chosen


@pytest.mark.parametrize(
    ("attribute", "good", "bad"),
    [
        (Attribute("text"), ["", "a"], [None, 1, ["a"]]),
        (Attribute("text", null=True), [None, "a"], [1]),
        (Attribute("texts"), [[], ["a"]], ["a", [1], None, ("a",)]),
        (Attribute("integer"), [0, -1, 2**70], [True, 1.0, "1", None]),
        (Attribute("number"), [0, 1.5], [True, "1", None]),
        (Attribute("flag"), [True, False], [0, None]),
        (Attribute("object"), [{}, {"a": 1}], [[], None]),
        (Attribute("integers"), [[], [1]], [[True], [1.0], 1, None]),
        (Attribute("objects"), [[], [{}]], [[1], {}, None]),
        (
            Attribute("object", parts={"a": Attribute("text")}, optional_parts={"b": Attribute("flag")}),
            [{"a": "", "b": True}, {"a": "", "c": 1}],
            [{}, {"a": 1}, {"a": "", "b": 1}],
        ),
        (Attribute("text", choices=("l2", "linf")), ["l2"], ["l1", None, 2]),
    ],
)
def test_types_of_attributes(attribute: Attribute, good: list[object], bad: list[object]) -> None:
    assert not any(attribute.complaint(value) for value in good)
    assert all(attribute.complaint(value) for value in bad)


def test_every_kind_is_consistent() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.version in kind.reads
        assert not set(kind.required) & set(kind.optional)
        assert set(kind.one_of) <= set(kind.optional)
        assert not {*kind.attributes, *kind.optional_attributes} & set(RESERVED)
        assert (kind.format == "safetensors") == (not kind.required)


@pytest.mark.parametrize(
    ("kind", "arrays", "words"),
    [
        ("moments", {"mean": ("float64", (3,)), "covariance": ("float64", (3, 4))}, "with 4 for D, but mean with 3"),
        (
            "embedding",
            {"position": ("float64", (3, 3)), "index": ("int64", (3,)), "distance": ("float64", (3,))},
            "with 3 where (M, 2) is due",
        ),
        ("ranking", {"distance": ("float32", (3,)), "neighbour": ("int64", (3,))}, "as float32, not float64"),
        ("dataset", {"labels": ("int64", (3,)), "index": ("int64", (3,))}, "has none of images, features"),
    ],
)
def test_arrays_that_do_not_fit(kind: str, arrays: dict[str, tuple[str, tuple[int, ...]]], words: str) -> None:
    complaint = KINDS[kind].complaint_about_arrays(arrays)
    assert complaint is not None
    assert words in complaint


def test_chosen() -> None:
    assert chosen(None) == tuple(KINDS)
    assert chosen("dataset") == ("dataset",)
    assert chosen({"dataset"}) == ("dataset",)
