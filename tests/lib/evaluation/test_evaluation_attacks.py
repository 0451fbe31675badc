"""The official attacks and the network they attack: reports, early stopping, parts of a batch, its state."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from datarobust.errors import DatarobustError
from datarobust.evaluation import attacks, plan
from datarobust.evaluation.attacks import AttackedModel, Log, accelerated, attacker, faster_copy, seeded
from datarobust.networks import build
from datarobust.networks.classifier import frozen

from . import made


def test_what_attacks_say() -> None:
    log = Log()
    log.warning("there are 12 points with zero gradient! This might lead to ...")
    log.log("there are 3 points with zero gradient!")
    log.warning("something else")
    log.debug("progress")
    assert log.zero_gradients == 15


def test_zero_gradients_are_noted() -> None:
    model = made.network().eval().requires_grad_(False)
    x = made.as_tensor(made.points(model, 6)[0])
    y = model(x).argmax(1)

    def flat(images: Tensor) -> Tensor:
        return model(images) * 0.0 + model(x).index_select(0, torch.arange(len(images)))

    log = Log()
    dlr = plan("custom", "linf", 0.1, 10, attacks=["apgd-dlr"], iterations=3)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        attacker(dlr, 0, flat, made.CPU, log)(x, y)
    assert log.zero_gradients == 6


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

    verdicts = {}
    for eps in (0.2 if norm == "linf" else 3.0, made.RADII[norm]):
        protocol = plan("custom", norm, eps, 10, attacks=[name], iterations=60, targets=1)  # type: ignore[arg-type]
        for official in (True, False):
            calls.clear()
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = attacker(protocol, 0, counted, made.CPU, Log(), official=official)(x.clone(), y)
                verdicts[eps, official] = (model(found).argmax(1) == y).tolist(), len(calls)
        assert verdicts[eps, True][0] == verdicts[eps, False][0]
    (large, small) = dict.fromkeys(eps for eps, _ in verdicts)
    assert not any(verdicts[large, False][0])
    assert verdicts[large, False][1] < 30 < 60 < verdicts[large, True][1]
    assert any(verdicts[small, False][0])
    assert verdicts[small, False][1] == verdicts[small, True][1]


def test_the_package_is_named_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attacks.library()[0] == "pyautoattack"
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in attacks.PACKAGES else find(name))
    with pytest.raises(DatarobustError, match="install the package pyautoattack"):
        attacks.library()


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_parts_give_the_logits_and_gradients_of_the_whole(limit: int) -> None:
    model = made.network().eval()
    x = torch.rand(8, 3, 8, 8)
    weights = torch.randn(8, 10)
    found = []
    for each in (None, limit):
        images = x.clone().requires_grad_()
        logits = AttackedModel(model, limit=each)(images)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), images)
        found.append((logits.detach(), gradient))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(AttackedModel(model, limit=limit)(x), found[0][0], atol=1e-5)


def test_gradients_of_parts_can_be_taken_class_by_class() -> None:
    """As FAB does it: several backward passes through one forward pass."""
    model = made.network().eval()
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    logits = AttackedModel(model, limit=2)(images)
    for number in range(3):
        (part,) = torch.autograd.grad(logits[:, number].sum(), images, retain_graph=True)
        (whole,) = torch.autograd.grad(model(images)[:, number].sum(), images)
        assert torch.allclose(part, whole, atol=1e-5)


def test_parts_of_a_network_that_takes_another_way_each_time() -> None:
    """As those that resize images by chance: the backward pass need not meet what the forward pass met."""

    class Ways(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return nn.functional.interpolate(x, size=4 + self.calls % 3).sigmoid().mean((2, 3))

    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(AttackedModel(Ways(), limit=2)(images).sum(), images)
    assert gradient.shape == images.shape
    assert torch.isfinite(gradient).all()


def test_failures_are_kept() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = x.flatten(1)[:, :4]
            return logits.masked_fill(x.flatten(1)[:, :1] > 0.5, torch.inf)

    runner = AttackedModel(Fails())
    x = torch.zeros(3, 1, 2, 2)
    runner(x)
    assert not runner.failed()
    x[1] = 0.7
    runner(x)
    runner(torch.zeros(3, 1, 2, 2))
    assert runner.failed()
    assert not runner.failures
    runner.begin(watching=True)
    runner(x)
    assert torch.equal(torch.cat(runner.failures), x[1:2])
    runner.begin(watching=False)
    assert not runner.failed()
    assert not runner.failures


def test_exact_is_the_network_and_calling_is_what_is_fast() -> None:
    model, fast = made.network().eval(), made.network(seed=1).eval()
    x = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(AttackedModel(model, fast)(x), fast(x))
        assert torch.equal(AttackedModel(model, fast).exact(x), model(x))
        assert torch.equal(AttackedModel(model)(x), model(x))
    assert AttackedModel(model, fast).rounds_otherwise(x)
    assert not AttackedModel(model).rounds_otherwise(x)


def test_nothing_replaces_the_network_unasked() -> None:
    ours = build({"name": "wrn-10-1"})
    x = torch.rand(2, 3, 8, 8)
    assert accelerated(ours, x, faster=False, compiled=False) == (ours, False)
    assert accelerated(ours, x, faster=True, compiled=False) == (ours, False)  # tensor cores alone gain by it


class Changes(nn.Module):
    """A network whose copies are of no use: each does something else."""

    def __init__(self, copied: str) -> None:
        super().__init__()
        self.inner, self.copied, self.kind = made.network(), copied, ""

    def __deepcopy__(self, memo: object) -> nn.Module:
        if self.copied == "refused":
            raise RuntimeError("only leaves can be copied")
        other = Changes(self.copied)
        other.kind = self.copied
        return other

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "fails":
            x = x.permute(0, 2, 3, 1).view(len(x), -1)
        logits: Tensor = self.inner(x)
        return logits * 2 if self.kind == "differs" else logits


def test_a_copy_that_is_faster_is_the_network_or_is_not_taken() -> None:
    x, model = torch.rand(4, 3, 8, 8), made.network().eval()
    fast = faster_copy(model, x)
    assert fast is not None
    assert fast is not model
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x))
    assert fast[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous()
    assert faster_copy(Changes("same"), x) is not None
    for copied in ("refused", "fails", "differs"):
        before = torch.get_rng_state()
        assert faster_copy(Changes(copied), x) is None
        assert torch.equal(torch.get_rng_state(), before) or copied == "refused"


def test_frozen_puts_everything_back_after_an_error() -> None:
    model = made.network()
    model[1].eval()
    with frozen(model):
        assert not any(part.training for part in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(KeyError), frozen(model):
        raise KeyError
    assert [part.training for part in model] == [True, False, True, True, True, True, True]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_seeded_numbers_are_apart() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(3), inside)
