"""Random numbers by PyTorch's operations have the bits of NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datarobust.devices import philox, row_keys, to_device, triton_runs, uniforms

CPU, NUMBERS = torch.device("cpu"), st.integers(0, 2**64 - 1)


@settings(max_examples=60)
@given(seed=NUMBERS, domain=NUMBERS, counter=st.integers(0, 2**63 - 100), steps=st.integers(1, 40))
def test_philox_is_numpys(seed: int, domain: int, counter: int, steps: int) -> None:
    expected = np.random.Philox(key=np.array([seed, domain], np.uint64), counter=counter).random_raw(4 * steps)
    words = philox(seed, domain, counter, steps, CPU)
    np.testing.assert_array_equal(words.numpy().view(np.uint64).ravel(), expected)


def test_on_the_processor_arrays_stay_where_they_are() -> None:
    array = np.arange(3)
    assert to_device(array, CPU).data_ptr() == array.ctypes.data
    assert row_keys(1, 2, 3, 7, CPU).dtype == torch.int64
    assert uniforms(1, 2, 3, 7, CPU).shape == (56,)


def test_triton_is_tried_on_gpus_from_ampere_on_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it gives there is in test_pretended.py and in the interpreter."""
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch, "zeros", None)  # which a trial begins with
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    for cuda in (None, "13.0"):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        triton_runs.cache_clear()
        assert not triton_runs(gpu)
        assert not triton_runs(CPU)
    triton_runs.cache_clear()
