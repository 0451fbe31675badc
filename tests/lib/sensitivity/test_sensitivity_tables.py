"""Tables stand where vector loads are fastest, and begin without a neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from datarobust.sensitivity.tables import NO_INDEX, aligned, new_state


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 16, 4), (0, 64)])
def test_aligned(shape: tuple[int, ...], dtype: type) -> None:
    array = aligned(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % 64 == 0
    array[:] = 7
    assert (array == 7).all()


def test_a_new_state_has_no_neighbours() -> None:
    state = new_state(128, 3, 2.5, True)
    assert state.key.shape == state.neighbour.shape == (128, 3)
    assert np.isinf(state.key).all()
    assert np.isinf(state.radius).all()
    assert (state.neighbour == NO_INDEX).all()
    assert (state.widest, state.whole) == (2.5, True)
