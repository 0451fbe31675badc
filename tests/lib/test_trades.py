"""A step of TRADES is the reference's: oracles, the plain way beside ours, and no NaN."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from datarobust.errors import UsageError
from datarobust.networks import build
from datarobust.trades import statistics_kept, trades_loss, trades_step

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
ASKED = {
    "linf": {"norm": "linf", "eps": 8 / 255, "step": 2 / 255},
    "l2": {"norm": "l2", "eps": 128 / 255, "step": 25.6 / 255},
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.SiLU(),
        nn.Flatten(), nn.Linear(8 * 36, 5),
    )  # fmt: skip


def batch(norm: str, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(2)
    x = torch.from_numpy(random.random((count, 3, 8, 8), np.float32))
    noise = random.uniform(-1, 1, x.shape) if norm == "linf" else random.standard_normal(x.shape)
    return x, torch.from_numpy(random.integers(0, 5, count)), torch.from_numpy(noise.astype(np.float32))


def plain_step(
    model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, norm: str, eps: float, step: float
) -> dict[str, Tensor]:
    """The documented reference, pass by pass: nothing is reused, everything is written out."""
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for module in norms:
        module.track_running_stats = False
    p = functional.softmax(model(x), 1).detach()
    if norm == "linf":
        adversary = (x + eps * noise).clamp(0, 1)
        for _ in range(10):
            adversary = adversary.detach().requires_grad_(True)
            loss = functional.kl_div(functional.log_softmax(model(adversary), 1), p, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, [adversary])
            adversary = adversary.detach() + step * gradient.sign()
            adversary = torch.min(torch.max(adversary, x - eps), x + eps).clamp(0, 1)
    else:
        delta = (0.001 * noise).requires_grad_(True)
        for _ in range(10):
            loss = functional.kl_div(functional.log_softmax(model(x + delta), 1), p, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, [delta])
            with torch.no_grad():
                delta += step * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                delta.add_(x).clamp_(0, 1).sub_(x)
                delta.renorm_(p=2, dim=0, maxnorm=eps)
        adversary = (x + delta).detach()
    for module in norms:
        module.track_running_stats = True
    adversary = adversary.detach().clamp(0, 1)
    clean, attacked = model(x), model(adversary)
    robust = functional.kl_div(functional.log_softmax(attacked, 1), functional.softmax(clean, 1), reduction="batchmean")
    loss = functional.cross_entropy(clean, y, label_smoothing=0.1) + 5.0 * robust
    loss.backward()
    found = {"loss": loss.detach(), "x_adv": adversary}
    found |= {f"grad/{name}": parameter.grad for name, parameter in model.named_parameters()}
    return found | {f"after/{name}": buffer for name, buffer in model.named_buffers()}


def our_step(model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, norm: str, **more: object) -> dict[str, Tensor]:
    asked = ASKED[norm] | {"steps": 10, "beta": 5.0, "label_smoothing": 0.1} | more
    step = trades_step(model.train(), x, y, noise, **asked)  # type: ignore[arg-type]
    found = {"loss": step.loss, "x_adv": step.x_adv}
    found |= {f"grad/{name}": parameter.grad for name, parameter in model.named_parameters()}
    return found | {f"after/{name}": buffer for name, buffer in model.named_buffers()}


@NORMS
def test_it_is_the_plain_way(norm: str) -> None:
    model, (x, y, noise) = network(), batch(norm)
    twin = copy.deepcopy(model)
    expected = plain_step(twin, x, y, noise, **ASKED[norm])  # type: ignore[arg-type]
    found = our_step(model, x, y, noise, norm)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5, msg=name)


@NORMS
def test_a_step_in_float64(norm: str) -> None:
    """The reference for tolerances: nothing in it is rounded to single precision."""
    x, y, noise = (part.double() if part.is_floating_point() else part for part in batch(norm))
    model = network().double()
    expected = plain_step(copy.deepcopy(model), x, y, noise, **ASKED[norm])  # type: ignore[arg-type]
    found = our_step(model, x, y, noise, norm)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=1e-12, msg=name)
    single = our_step(network(), *batch(norm), norm)["loss"]
    assert float(single) == pytest.approx(float(found["loss"]), abs=1e-5)
    assert float(single) != float(found["loss"])


def of_the_reference(norm: str, shared: Path) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A network, what one step of the reference made of it, and the noise that the step began with."""
    with np.load(shared / "oracles" / f"trades_{norm}_wrn-10-1.npz") as archive:
        oracle = {name: torch.from_numpy(np.array(archive[name])) for name in archive.files}
    arguments = {"classes": 10, "channels": 3, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]}
    model = build({"name": "wrn-10-1", "arguments": arguments})
    model.load_state_dict({name[6:]: value for name, value in oracle.items() if name.startswith("state/")})
    if norm == "linf":
        return model, oracle, oracle["start_noise"] / oracle["epsilon"].float()
    # The reference draws twice and starts from the second; the file has the first, from which the generator's seed is
    # known.
    generator = torch.Generator().manual_seed(22)
    first, noise = (torch.randn(oracle["x"].shape, generator=generator) for _ in range(2))
    torch.testing.assert_close(0.001 * first, oracle["start_noise"])
    return model, oracle, noise


@NORMS
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_given_its_adversaries_a_step_is_the_reference(norm: str, layout: torch.memory_format, shared: Path) -> None:
    model, oracle, noise = of_the_reference(norm, shared)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    x = oracle["x"].contiguous(memory_format=layout)
    torch.testing.assert_close(model.eval()(x), oracle["logits_eval"], atol=1e-5, rtol=0)
    every = torch.ones(len(x), dtype=torch.bool)
    found = our_step(model, x, oracle["y"], noise, norm, steps=0, fixed=every, adversaries=oracle["x_adv"])
    assert float(found["loss"]) == pytest.approx(float(oracle["loss"]), abs=1e-5)
    for name, value in oracle.items():
        if name.startswith(("grad/", "after/")):
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5, msg=name)


@NORMS
def test_its_adversaries_are_the_references(norm: str, shared: Path) -> None:
    """In the reference's layout of memory: in another one sums round otherwise, and where a gradient is nearly 0 its
    sign flips, also in the reference's own network."""
    model, oracle, noise = of_the_reference(norm, shared)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    found = our_step(model, oracle["x"], oracle["y"], noise, norm)
    # In l2 every step divides a gradient by its length, and the first gradients are differences of nearly equal
    # probabilities: rounding alone moves a pixel by up to 5e-5.
    torch.testing.assert_close(found["x_adv"], oracle["x_adv"], atol=1e-5 if norm == "linf" else 1e-4, rtol=0)


def test_running_statistics_take_in_the_clean_images_and_then_the_adversaries() -> None:
    model, (x, y, noise) = network(), batch("linf")
    twin = copy.deepcopy(model)
    step = trades_step(model.train(), x, y, noise, **ASKED["linf"], steps=3, beta=5.0, label_smoothing=0.1)  # type: ignore[arg-type]
    twin.train()
    with torch.no_grad():
        twin(x)
        twin(step.x_adv)
    for (name, mine), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    assert int(model[1].num_batches_tracked) == 2


def test_given_adversaries_take_the_place_of_found_ones() -> None:
    model, (x, y, noise) = network(), batch("linf")
    fixed = torch.tensor([True, False, False, True, False, False])
    given = torch.rand(x.shape)
    found = our_step(model, x, y, noise, "linf", fixed=fixed, adversaries=given)
    free = our_step(network(), x, y, noise, "linf")
    assert torch.equal(found["x_adv"][fixed], given[fixed])
    assert torch.equal(found["x_adv"][~fixed], free["x_adv"][~fixed])


def test_no_nan_where_probabilities_underflow() -> None:
    clean = torch.tensor([[200.0, 0.0, -200.0], [0.0, 0.0, 0.0]], requires_grad=True)
    attacked = torch.tensor([[-200.0, 0.0, 200.0], [0.0, 1.0, 0.0]], requires_grad=True)
    loss, clean_loss = trades_loss(clean, attacked, torch.tensor([0, 1]), 5.0, 0.1)
    gradients = torch.autograd.grad(loss, [clean, attacked])
    assert torch.isfinite(loss)
    assert torch.isfinite(clean_loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_the_gradient_flows_through_both_arguments() -> None:
    clean, attacked = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    y = torch.zeros(4, dtype=torch.int64)
    with_divergence = torch.autograd.grad(trades_loss(clean, attacked, y, 1.0, 0.0)[0], [clean, attacked])
    without = torch.autograd.grad(trades_loss(clean, attacked, y, 0.0, 0.0)[0], [clean, attacked])
    assert not torch.allclose(with_divergence[0], without[0])
    assert torch.count_nonzero(without[1]) == 0
    assert torch.count_nonzero(with_divergence[1]) > 0


def test_label_smoothing_is_on_the_clean_term_alone() -> None:
    clean, attacked, y = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    hard, smooth = (trades_loss(clean, attacked, y, 5.0, smoothing) for smoothing in (0.0, 0.1))
    target = functional.one_hot(y, 3) * 0.9 + 0.1 / 3
    expected = -(target * functional.log_softmax(clean, 1)).sum(1).mean()
    torch.testing.assert_close(smooth[1], expected)
    torch.testing.assert_close(smooth[0] - smooth[1], hard[0] - hard[1])


def test_statistics_are_kept_and_given_back() -> None:
    model = network().train()
    model[4].track_running_stats = False
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def fail() -> None:
        with statistics_kept(model):
            model(torch.rand(3, 3, 8, 8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert model[1].track_running_stats
    assert not model[4].track_running_stats


def test_bf16_is_close() -> None:
    x, y, noise = batch("linf", 32)
    fine = our_step(network(), x, y, noise, "linf")
    coarse = our_step(network(), x, y, noise, "linf", precision="bf16")
    assert float(coarse["loss"]) == pytest.approx(float(fine["loss"]), rel=0.02)
    assert coarse["grad/0.weight"].dtype == torch.float32


@NORMS
def test_groups_are_devices(norm: str) -> None:
    """Each group goes through the step by itself; losses and gradients are means, statistics the first one's."""
    x, y, noise = batch(norm, 6)
    more = {"steps": 2}
    model = build({"name": "wrn-10-1"}, seed=1, bn_group=2)
    found = our_step(model, x, y, noise, norm, **more)
    parts = []
    for start in range(0, 6, 2):
        alone = build({"name": "wrn-10-1"}, seed=1)
        part = slice(start, start + 2)
        parts.append(our_step(alone, x[part], y[part], noise[part], norm, **more))
    for key, value in found.items():
        if key == "x_adv":
            expected = torch.cat([part[key] for part in parts])
        elif key.startswith("after/"):
            expected = parts[0][key]
        else:
            expected = torch.stack([part[key] for part in parts]).mean(0)
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4, msg=key)


def test_given_adversaries_are_shared_out_to_groups() -> None:
    x, y, noise = batch("linf", 4)
    fixed, given = torch.tensor([False, True, True, False]), torch.rand(x.shape)
    model = build({"name": "wrn-10-1"}, bn_group=2).train()
    found = our_step(model, x, y, noise, "linf", steps=1, fixed=fixed, adversaries=given)
    assert torch.equal(found["x_adv"][fixed], given[fixed])
    assert not torch.equal(found["x_adv"][~fixed], given[~fixed])


def test_a_group_that_does_not_divide_the_batch() -> None:
    model = build({"name": "wrn-10-1"}, bn_group=4)
    with pytest.raises(UsageError, match="statistics of 4 images do not divide a batch of 6"):
        our_step(model, *batch("linf"), "linf")
    assert all(parameter.grad is None for parameter in model.parameters())
