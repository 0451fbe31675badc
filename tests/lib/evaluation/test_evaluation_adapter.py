"""The layer over the official attacks: what they say, early stopping, which package."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor

from datarobust.errors import DatarobustError
from datarobust.evaluation import Wishes, adapter, plan
from datarobust.evaluation.adapter import Notes, attacker

from . import made


def test_what_attacks_say() -> None:
    notes = Notes()
    notes.warning("there are 12 points with zero gradient! This might lead to ...")
    notes.log("there are 3 points with zero gradient!")
    notes.warning("something else")
    notes.warning("something else")
    notes.debug("progress")
    assert (notes.zero_gradients, notes.others) == (15, ["something else"])


def test_zero_gradients_are_noted() -> None:
    model = made.network().eval().requires_grad_(False)
    x = made.as_tensor(made.points(model, 6)[0])
    y = model(x).argmax(1)

    def flat(images: Tensor) -> Tensor:
        return model(images) * 0.0 + model(x).index_select(0, torch.arange(len(images)))

    notes = Notes()
    (dlr,) = plan("custom", "linf", 0.1, 10, wishes=Wishes(["apgd-dlr"], iterations=3)).attacks
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        attacker(dlr, flat, "linf", 0.1, 0, made.CPU, notes)(x, y)
    assert notes.zero_gradients == 6


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t"])
def test_apgd_stops_when_all_are_fooled_and_not_before(norm: str, name: str) -> None:
    model = made.network().eval().requires_grad_(False)
    images, labels = made.points(model, 12)
    model.eval()
    x, y = made.as_tensor(images), torch.from_numpy(labels)
    calls = []

    def counted(inputs: Tensor) -> Tensor:
        calls.append(len(inputs))
        return model(inputs)

    (attack,) = plan("custom", norm, 1.0, 10, wishes=Wishes([name], iterations=60, targets=1)).attacks  # type: ignore[arg-type]
    verdicts = {}
    for eps in (0.2 if norm == "linf" else 3.0, made.RADII[norm]):
        for official in (True, False):
            calls.clear()
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = attacker(attack, counted, norm, eps, 0, made.CPU, Notes(), official=official)(x.clone(), y)
                verdicts[eps, official] = (model(found).argmax(1) == y).tolist(), len(calls)
        assert verdicts[eps, True][0] == verdicts[eps, False][0]
    (large, small) = dict.fromkeys(eps for eps, _ in verdicts)
    assert not any(verdicts[large, False][0])
    assert verdicts[large, False][1] < 30 < 60 < verdicts[large, True][1]
    assert any(verdicts[small, False][0])
    assert verdicts[small, False][1] == verdicts[small, True][1]


def test_the_package_is_named_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adapter.library()[0] == "pyautoattack"
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in adapter.PACKAGES else find(name))
    with pytest.raises(DatarobustError, match="install the package pyautoattack"):
        adapter.library()
