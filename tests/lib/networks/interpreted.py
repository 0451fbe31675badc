"""The kernels beside what PyTorch does, in Triton's interpreter: ``test_networks_kernels.py`` runs this file there."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from datarobust.networks import build, kernels
from datarobust.networks.classifier import BatchNorm2d, frozen
from datarobust.networks.song_unet import Norm

SHAPES = [(3, 40, 3, 5), (2, 3, 2, 3), (9, 16, 5, 5)]


def features(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shift: float = 1.0) -> Tensor:
    torch.manual_seed(0)
    return (torch.randn(shape) * 2 + shift).to(dtype).contiguous(memory_format=torch.channels_last)


def norm(channels: int) -> BatchNorm2d:
    torch.manual_seed(1)
    made = BatchNorm2d(channels, momentum=0.3)
    with torch.no_grad():
        made.weight.uniform_(0.5, 1.5)
        made.bias.normal_()
        made.running_mean.normal_()
        made.running_var.uniform_(0.5, 2)
    return made


def plain(module: BatchNorm2d, x: Tensor, activation: str = "silu") -> Tensor:
    """In double precision."""
    activate: Callable[[Tensor], Tensor] = getattr(functional, activation)
    return activate(nn.BatchNorm2d.forward(module, x))


def apart(ours: Tensor, expected: Tensor) -> float:
    ours, expected = ours.detach().double(), expected.detach().double()
    return float((ours - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several programs with several tiles each, also for few numbers."""
    monkeypatch.setattr(kernels, "ROWS", 16)
    monkeypatch.setattr(kernels, "PROGRAMS", 8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("training", "activation"), [(True, "silu"), (True, "relu"), (False, "silu"), (False, "relu")])
def test_batch_norms_and_their_gradients(shape: tuple[int, ...], training: bool, activation: str) -> None:
    ours = norm(shape[1]).train(training)
    expected = copy.deepcopy(ours).double()
    if not training:
        ours.requires_grad_(False)
        expected.requires_grad_(False)
    x, y = (features(shape).to(dtype).requires_grad_() for dtype in (torch.float32, torch.float64))
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    results = ours.activated(x, activation), plain(expected, y, activation)
    assert type(results[0].grad_fn).__name__ == ("_BatchNormBackward" if training else "_AffineBackward")
    assert apart(*results) < 1e-6
    wanted = [[part, *module.parameters()] if training else [part] for part, module in ((x, ours), (y, expected))]
    sums = [(result * weight).sum() for result in results]
    for mine, theirs in zip(*map(torch.autograd.grad, sums, wanted), strict=True):
        assert apart(mine, theirs) < 1e-5
    for mine, theirs in zip(ours.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs.to(mine.dtype))


def test_numbers_far_from_zero_do_not_cancel() -> None:
    x, module = features((4, 8, 8, 8), shift=3000.0), norm(8).train()
    assert apart(module.activated(x), plain(copy.deepcopy(norm(8)).double().train(), x.double())) < 1e-3
    group = Norm(8)
    with torch.no_grad():
        expected = functional.silu(functional.group_norm(x.double(), 2, eps=1e-6))
        assert apart(group.activated(x), expected) < 1e-3


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_what_is_not_finite_is_seen(activation: str) -> None:
    x = features((2, 8, 4, 4))
    x[1, 3, 2, 2] = torch.nan
    result = norm(8).train().activated(x, activation)
    assert bool(result[:, 3].isnan().all())
    assert bool(result[:, 4:].isfinite().all())


def test_half_precision_is_rounded_at_the_end() -> None:
    x, module = features((4, 24, 8, 8), torch.bfloat16).requires_grad_(), norm(24).train()
    result = module.activated(x)
    expected = plain(copy.deepcopy(norm(24)).double().train(), x.double())
    assert result.dtype == torch.bfloat16
    assert apart(result, expected) < 4e-3
    (gradient,) = torch.autograd.grad(result.float().square().sum(), x)
    assert (gradient.dtype, bool(gradient.isfinite().all())) == (torch.bfloat16, True)


def test_where_statistics_are_not_kept_they_stay() -> None:
    module = norm(16).train()
    module.track_running_stats = False
    before = [buffer.clone() for buffer in module.buffers()]
    module.activated(features((2, 16, 4, 4)))
    assert all(torch.equal(*pair) for pair in zip(before, module.buffers(), strict=True))


def test_only_what_a_kernel_can_do_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was called")

    for name in ("batch_norm", "affine", "group_norm"):
        monkeypatch.setattr(kernels, name, fail)
    x = features((4, 8, 4, 4))
    grouped, hooked, evaluated = norm(8).train(), norm(8).train(), norm(8).eval()
    grouped.group = 2
    seen: list[object] = []
    hooked.register_forward_hook(lambda *_: seen.append(0))
    for module, batch in ((grouped, x), (hooked, x), (evaluated, x), (norm(8).train(), x.contiguous())):
        assert apart(module.activated(batch), functional.silu(module(batch))) == 0
    assert len(seen) == 2
    norm(8).double().train().activated(x.double())
    hooked_group = Norm(8)
    hooked_group.register_forward_hook(lambda *_: seen.append(0))
    hooked_group.activated(x)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("channels", "size", "dtype"), [(8, 4, torch.float32), (48, 5, torch.bfloat16), (160, 2, torch.float32)]
)
def test_group_norms(channels: int, size: int, dtype: torch.dtype) -> None:
    x, module = features((2, channels, size, size + 1), dtype), Norm(channels)
    with torch.no_grad():
        module.weight.uniform_(0.5, 1.5)
        module.bias.normal_()
    twin, weight = copy.deepcopy(module).double(), torch.randn_like(x)
    for activate in (lambda norm, x: norm(x), lambda norm, x: norm.activated(x)):
        gradients = []
        for norm_of, images in ((module, x), (twin, x.double())):
            images = images.detach().requires_grad_()
            total = (activate(norm_of, images) * weight).sum()
            gradients.append(torch.autograd.grad(total, [images, *norm_of.parameters()]))
        for mine, theirs in zip(*gradients, strict=True):
            assert apart(mine, theirs) < (1e-5 if dtype == torch.float32 else 1e-2)
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(x.double())
        bound = 1e-6 if dtype == torch.float32 else 4e-3
        for ours, theirs in ((module(x), expected), (module.activated(x), functional.silu(expected))):
            assert ours.dtype == dtype
            assert ours.is_contiguous(memory_format=torch.channels_last)
            assert apart(ours, theirs) < bound


@pytest.mark.parametrize(("name", "training"), [("wrn-10-1", True), ("wrn-10-1", False), ("preact-resnet-18", False)])
def test_a_network_is_the_one_without_kernels(name: str, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ROWS", 64)
    model = build({"name": name}).train(training)
    twin, x = copy.deepcopy(model), torch.rand(2, 3, 8, 8)
    if training:
        logits = model(x)
        logits.square().sum().backward()
        monkeypatch.setenv("TRITON_INTERPRET", "0")
        expected = twin(x)
        expected.square().sum().backward()
        for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            assert apart(mine.grad, theirs.grad) < 1e-4
        for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)
    else:
        with frozen(model), frozen(twin):
            logits = model(x)
            monkeypatch.setenv("TRITON_INTERPRET", "0")
            expected = twin(x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
