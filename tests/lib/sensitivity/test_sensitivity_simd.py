"""The vector code and its plain twins compute what NumPy computes, also at the ends of a byte's range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from datarobust.sensitivity import portable
from datarobust.sensitivity.simd import EXACT_BYTES, ROWS, VNNI, borrow, lowest_bit
from datarobust.sensitivity.simd_dots import byte_dot, l2_masks, l2_values, project_rows
from datarobust.sensitivity.simd_gaps import byte_largest, linf_masks, linf_values

from .oracle import Array

vnni = pytest.mark.skipif(not VNNI, reason="this processor has no byte products")
KINDS = ("any", "ends", "lowest", "highest", "small")


def bytes_of(random: np.random.Generator, kind: str, shape: tuple[int, ...], dtype: type) -> Array:
    """Bytes of one kind, unsigned or signed."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if kind == "any":
        return random.integers(low, high + 1, shape).astype(dtype)
    if kind == "ends":
        return random.choice([low, high], shape).astype(dtype)
    if kind == "small":
        return random.integers(max(low, -2), 3, shape).astype(dtype)
    return np.full(shape, low if kind == "lowest" else high, dtype)


def cases() -> Any:
    return pytest.mark.parametrize("kind", KINDS)


def packed_codes(codes: Array) -> Array:
    """Signed codes (N, 64), N a multiple of 16, as columns of tiles: value + 128, by 16 columns and 4 bytes."""
    raised = (codes.astype(np.int16) + 128).astype(np.uint8)
    return np.ascontiguousarray(raised.reshape(-1, 16, 16, 4).transpose(0, 2, 1, 3))


def code_squares(rows: Array, columns: Array) -> Array:
    gaps = rows.astype(np.int64)[:, None, :] - columns.astype(np.int64)[None, :, :]
    return (gaps**2).sum(axis=2)


class Tile:
    """Codes for one tile: ROWS rows and 64 * groups columns, their norms, and limits near the values."""

    def __init__(self, kind: str, groups: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.groups = groups
        self.rows = bytes_of(random, kind, (ROWS, 64), np.int8)
        self.columns = bytes_of(random, kind, (64 * groups, 64), np.int8)
        if kind != "any":
            self.columns[random.random(64 * groups) < 0.5] = bytes_of(random, "ends", (64,), np.int8)
        self.packed = packed_codes(self.columns)
        wide = self.rows.astype(np.int32)
        self.row_norm = (wide**2).sum(axis=1, dtype=np.int32) + 256 * wide.sum(axis=1, dtype=np.int32)
        self.col_norm = (self.columns.astype(np.int32) ** 2).sum(axis=1, dtype=np.int32)
        self.values = code_squares(self.rows, self.columns)
        spread = random.choice(self.values.ravel(), (ROWS + 64 * groups,)) + random.integers(-1, 2, ROWS + 64 * groups)
        self.row_limit = spread[:ROWS].astype(np.int32)
        self.col_limit = spread[ROWS:].astype(np.int32)
        self.row_limit[0] = -1
        self.col_limit[::3] = -1
        self.col_limit[5] = np.iinfo(np.int32).max
        self.alive = self.values <= np.maximum(self.row_limit[:, None], self.col_limit[None, :])


def bits(words: Array) -> Array:
    """The bits of words, lowest first, along the last axis."""
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little").astype(bool)


@njit  # type: ignore[misc, unused-ignore]
def run_l2_masks(rows, row_norm, row_limit, packed, col_norm, col_limit, words, groups):  # type: ignore[no-untyped-def]
    l2_masks(
        rows.ctypes.data, row_norm.ctypes.data, row_limit.ctypes.data, packed.ctypes.data, col_norm.ctypes.data,
        col_limit.ctypes.data, words.ctypes.data, 4 * groups,
    )  # fmt: skip


@njit  # type: ignore[misc, unused-ignore]
def run_l2_values(rows, row_norm, packed, col_norm, values, groups):  # type: ignore[no-untyped-def]
    l2_values(
        rows.ctypes.data, row_norm.ctypes.data, packed.ctypes.data, col_norm.ctypes.data, values.ctypes.data, 4 * groups
    )


@vnni
@cases()
@pytest.mark.parametrize("groups", [1, 3])
def test_tiles_of_squared_distances(kind: str, groups: int) -> None:
    for seed in range(5):
        tile = Tile(kind, groups, seed)
        values = np.full((ROWS, 64 * groups), -7, np.int32)
        run_l2_values(tile.rows, tile.row_norm, tile.packed, tile.col_norm, values, groups)
        np.testing.assert_array_equal(values, tile.values)
        words = np.full((ROWS, groups), 99, np.uint64)
        run_l2_masks(
            tile.rows, tile.row_norm, tile.row_limit, tile.packed, tile.col_norm, tile.col_limit, words, groups
        )
        np.testing.assert_array_equal(bits(words), tile.alive)


@njit  # type: ignore[misc, unused-ignore]
def run_portable(rows, row_norm, row_limit, packed, col_norm, col_limit, values, words, groups):  # type: ignore[no-untyped-def]
    portable.l2_tile(rows, row_norm, packed, col_norm, values, groups)
    portable.mark_within(values, row_limit, col_limit, words, groups)


@cases()
def test_plain_tiles_of_squared_distances(kind: str) -> None:
    for seed in range(3):
        tile = Tile(kind, 2, seed)
        values, words = np.full((ROWS, 128), -7, np.int32), np.full(ROWS * 2, 99, np.uint64)
        run_portable(
            tile.rows, tile.row_norm, tile.row_limit, tile.packed, tile.col_norm, tile.col_limit, values, words, 2
        )
        np.testing.assert_array_equal(values, tile.values)
        np.testing.assert_array_equal(bits(words.reshape(ROWS, 2)), tile.alive)


@njit  # type: ignore[misc, unused-ignore]
def run_byte_dot(a, b, chunks, flip_a, flip_b):  # type: ignore[no-untyped-def]
    return byte_dot(a.ctypes.data, b.ctypes.data, chunks, flip_a, flip_b)


@vnni
@cases()
@pytest.mark.parametrize("width", [64, 128, 3072, EXACT_BYTES])
def test_products_of_bytes(kind: str, width: int) -> None:
    random = np.random.default_rng(width)
    flip = 0x80808080
    for other in KINDS:
        unsigned, signed = bytes_of(random, kind, (width,), np.uint8), bytes_of(random, other, (width,), np.int8)
        also, lifted = bytes_of(random, other, (width,), np.uint8), bytes_of(random, kind, (width,), np.int8)
        pairs = [
            (unsigned, signed, 0, 0, unsigned.astype(np.int64) @ signed.astype(np.int64)),
            (unsigned, also, 0, flip, unsigned.astype(np.int64) @ (also.astype(np.int64) - 128)),
            (lifted, signed, flip, 0, (lifted.astype(np.int64) + 128) @ signed.astype(np.int64)),
        ]
        for a, b, flip_a, flip_b, expected in pairs:
            assert run_byte_dot(a, b, width // 64, flip_a, flip_b) == expected


@vnni
def test_products_of_the_extremes_fit() -> None:
    """The longest row of the largest products of either sign."""
    highest, lowest = np.full(EXACT_BYTES, 255, np.uint8), np.full(EXACT_BYTES, -128, np.int8)
    assert run_byte_dot(highest, lowest, EXACT_BYTES // 64, 0, 0) == -EXACT_BYTES * 255 * 128
    assert run_byte_dot(highest, -(lowest + 1), EXACT_BYTES // 64, 0, 0) == EXACT_BYTES * 255 * 127
    assert run_byte_dot(highest, lowest, 0, 0, 0) == 0


@njit  # type: ignore[misc, unused-ignore]
def run_project(rows, columns, out):  # type: ignore[no-untyped-def]
    project_rows(
        rows.ctypes.data, rows.shape[1], columns.ctypes.data, columns.shape[0], out.ctypes.data, 4 * out.shape[1]
    )


@vnni
@cases()
@pytest.mark.parametrize("width", [64, 192, EXACT_BYTES])
def test_projections_of_bytes(kind: str, width: int) -> None:
    random = np.random.default_rng(1)
    rows = bytes_of(random, kind, (ROWS, width), np.uint8)
    for other in KINDS:
        columns = bytes_of(random, other, (width, 16), np.int8)
        packed = np.ascontiguousarray(columns.reshape(width // 4, 4, 16).transpose(0, 2, 1))
        out = np.full((ROWS, 48), 5, np.int32)
        run_project(rows, packed, out)
        np.testing.assert_array_equal(out[:, :16], rows.astype(np.int64) @ columns.astype(np.int64))
        assert (out[:, 16:] == 5).all()


@njit  # type: ignore[misc, unused-ignore]
def run_linf(rows, row_limit, packed, col_limit, words, values, groups, coords):  # type: ignore[no-untyped-def]
    linf_masks(
        rows.ctypes.data, rows.shape[1], row_limit.ctypes.data, packed.ctypes.data, col_limit.ctypes.data,
        words.ctypes.data, groups, coords,
    )  # fmt: skip
    linf_values(rows.ctypes.data, rows.shape[1], packed.ctypes.data, values.ctypes.data, groups, coords)


@cases()
@pytest.mark.parametrize("coords", [1, 7, 24, 64])
def test_tiles_of_largest_differences(kind: str, coords: int) -> None:
    random = np.random.default_rng(coords)
    groups = 3
    for _ in range(5):
        rows, columns = bytes_of(random, kind, (ROWS, 128), np.uint8), bytes_of(random, kind, (192, 128), np.uint8)
        if kind != "any":
            columns[::2] = bytes_of(random, "ends", (96, 128), np.uint8)
        packed = np.ascontiguousarray(columns[:, :coords].reshape(groups, 64, coords).transpose(0, 2, 1))
        expected = np.abs(rows[:, None, :coords].astype(int) - columns[None, :, :coords].astype(int)).max(axis=2)
        row_limit = random.choice(expected.ravel(), ROWS).astype(np.uint8)
        col_limit = random.choice([0, 1, 254, 255, *expected[0, :9]], 192).astype(np.uint8)
        words, values = np.full((ROWS, groups), 99, np.uint64), np.full((ROWS, 192), 77, np.uint8)
        run_linf(rows, row_limit, packed, col_limit, words, values, groups, coords)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(bits(words), expected <= np.maximum(row_limit[:, None], col_limit[None, :]))


@njit  # type: ignore[misc, unused-ignore]
def run_byte_largest(a, b, limit):  # type: ignore[no-untyped-def]
    return byte_largest(a.ctypes.data, b.ctypes.data, a.shape[0] // 64, limit)


@cases()
@pytest.mark.parametrize("width", [64, 192, 3072])
def test_the_largest_difference_of_rows(kind: str, width: int) -> None:
    random = np.random.default_rng(width)
    for _ in range(30):
        a = bytes_of(random, kind, (width,), np.uint8)
        b = a.copy()
        changed = random.choice(width, random.integers(0, 4), replace=False)
        b[changed] = random.integers(0, 256, len(changed))
        expected = int(np.abs(a.astype(int) - b.astype(int)).max())
        for limit in {0, 1, max(expected - 1, 0), expected, min(expected + 1, 255), 254, 255}:
            found = run_byte_largest(a, b, limit)
            # Exact up to the limit; beyond it, some difference that is beyond it too.
            assert found == expected if expected <= limit else limit < found <= expected


@njit  # type: ignore[misc, unused-ignore]
def run_rows(a, b):  # type: ignore[no-untyped-def]
    return portable.square_distance(a, b)


@njit  # type: ignore[misc, unused-ignore]
def run_signed(a, b):  # type: ignore[no-untyped-def]
    return portable.signed_dot(a, b)


@njit  # type: ignore[misc, unused-ignore]
def run_floats(a, b):  # type: ignore[no-untyped-def]
    return portable.float_square_distance(a, b), portable.float_largest(a, b)


@pytest.mark.parametrize("width", [1, 64, 16_384, 70_001])
def test_plain_rows(width: int) -> None:
    random = np.random.default_rng(width)
    for kind in KINDS:
        a, b = bytes_of(random, kind, (width,), np.uint8), bytes_of(random, "ends", (width,), np.uint8)
        assert run_rows(a, b) == ((a.astype(np.int64) - b.astype(np.int64)) ** 2).sum()
        c, d = (bytes_of(random, one, (width,), np.int8) for one in (kind, "ends"))
        assert run_signed(c, d) == c.astype(np.int64) @ d.astype(np.int64)
    zeros = np.zeros(width, np.uint8)
    assert run_rows(zeros, ~zeros) == width * 255**2


@pytest.mark.parametrize("width", [1, 7, 8, 9, 100])
def test_plain_rows_of_features(width: int) -> None:
    random = np.random.default_rng(width)
    for scale in (1e-30, 1.0, 1e30):
        a, b = ((random.standard_normal(width) * scale).astype(np.float32) for _ in range(2))
        square, largest = run_floats(a, b)
        gaps = a.astype(np.longdouble) - b.astype(np.longdouble)
        assert abs(square - (gaps**2).sum()) <= (width + 2) * 2.0**-52 * (gaps**2).sum()
        assert largest == np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        assert run_floats(b, a) == (square, largest)


@njit  # type: ignore[misc, unused-ignore]
def run_lowest(word):  # type: ignore[no-untyped-def]
    return lowest_bit(word)


@njit  # type: ignore[misc, unused-ignore]
def run_borrow(array):  # type: ignore[no-untyped-def]
    view = borrow(array)
    view[1] = 7
    return view[1:].sum() + view.shape[0]


def test_lowest_bit_and_borrowed_arrays() -> None:
    for place in range(64):
        assert run_lowest(np.uint64(1 << place)) == place
        assert run_lowest(np.uint64(((1 << 64) - 1) >> place << place)) == place
    array = np.arange(4)
    assert run_borrow(array) == 7 + 2 + 3 + 4
    assert array.tolist() == [0, 7, 2, 3]
