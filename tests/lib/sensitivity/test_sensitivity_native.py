"""Which engine serves, and that all that serve agree to the bit: each level of the processor, NumPy, PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.errors import UsageError
from datarobust.norms import norm_of
from datarobust.sensitivity import Labelled, Options, engine_of, generic, native, panels, rank

from .oracle import LEVELS, NORMS, Array, assert_same, byte_sets, clustered, keys, near_duplicates, ranked

compiled = pytest.mark.skipif(not LEVELS, reason="installed without a compiler")


@compiled
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_every_level_agrees_on_features(norm: str) -> None:
    points = np.random.default_rng(0).standard_normal((700, 130)).astype(np.float32)
    points[500:] = points[:200] + np.float32(1e-5) * points[300:500]
    subject = Labelled.of(points, np.arange(700) % 3)
    expected = rank(subject, norm, k=3, options=Options(engine="generic"))
    for level in LEVELS:
        assert_same(ranked(norm, subject, k=3, level=level), expected)


@compiled
def test_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_of("l2", Options()) == engine_of("linf", Options()) == "native"
    assert engine_of("l1", Options()) == engine_of("l2", Options(device="cpu")) == "generic"
    monkeypatch.setattr(native, "library", lambda: None)
    assert engine_of("l2", Options()) == "generic"
    points, labels = clustered(300, 70)
    assert_same(rank(Labelled.of(points, labels), "l2"), rank(Labelled.of(points, labels), "l2", options=Options(2)))


@compiled
@pytest.mark.parametrize(("name", "says"), [("sse", "choose plain, avx2, avx512"), ("avx512", "no more than plain")])
def test_a_level_that_cannot_be(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def highest_level(self) -> int:
            return 0

    monkeypatch.setattr(native, "library", Old)
    monkeypatch.setenv("DATAROBUST_SIMD", name)
    with pytest.raises(UsageError, match=f"DATAROBUST_SIMD={name}.*{says}"):
        rank(Labelled.of(*clustered(20, 5)), "l2")


@settings(max_examples=30)
@given(points=byte_sets(40, 300, least=2), norm=st.sampled_from(NORMS), features=st.booleans())
def test_pytorch_bounds_as_numpy_does(points: tuple[Array, Array], norm: str, features: bool) -> None:
    values, labels = points
    if features:
        values = values.astype(np.float32) / np.float32(7)
    subject = Labelled.of(values, labels)
    expected = rank(subject, norm, k=2, options=Options(engine="generic"))
    assert_same(rank(subject, norm, k=2, options=Options(device="cpu")), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_bounds_of_bytes_are_keys(norm: str, device: str | None) -> None:
    points, _ = near_duplicates(200, 1500)
    expected = keys(points, points, norm)
    bounds, slack = generic.block_bounds(points, points, norm_of(norm), False, device)
    assert slack == 0.0
    np.testing.assert_array_equal(bounds, expected)
    rough, slack = generic.block_bounds(points, points, norm_of(norm), True, device)
    assert (rough <= expected).all()
    assert slack == (np.inf if norm == "linf" else 0.0)


def test_blocks_of_any_size_resumed_and_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = near_duplicates(500, 200, seed=2)
    subject = Labelled.of(points, labels)
    plain = Options(engine="generic", threads=1)
    for norm in NORMS:
        monkeypatch.setattr(generic, "BLOCK", 1024)
        expected = rank(subject, norm, k=3, options=plain)
        for block in (64, 130):
            monkeypatch.setattr(generic, "BLOCK", block)
            assert_same(ranked(norm, subject, k=3, options=plain, shards=2), expected)
            assert_same(ranked(norm, subject, k=3, options=plain, memory=1), expected)
    monkeypatch.setattr(panels, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(panels, "SAVE_SHARE", math.inf)

    class Notes(dict[str, Array]):
        saves = 0

        def load(self) -> dict[str, Array] | None:
            return dict(self) or None

        def save(self, arrays: dict[str, Array]) -> None:
            self.update({name: array.copy() for name, array in arrays.items()})
            Notes.saves += 1
            if Notes.saves == 2:
                raise KeyboardInterrupt

    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        rank(subject, "l1", k=3, options=plain, checkpoint=notes)
    assert_same(rank(subject, "l1", k=3, options=plain, checkpoint=notes), expected)
    assert Notes.saves == 4  # blocks of 130: two before, two after
