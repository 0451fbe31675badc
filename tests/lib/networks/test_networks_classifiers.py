"""The classifiers: sizes, names, paddings and initial values that are documented, any image, and the registry."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datarobust.errors import UsageError
from datarobust.networks import build, classifier, forward_operations
from datarobust.networks.classifier import BatchNorm2d

CIFAR10 = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]}


def on_meta(name: str, **arguments: Any) -> nn.Module:
    """The network without the time and memory that its values take."""
    return classifier._module({"name": name, "arguments": arguments}, "meta")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "count", "tensors"),
    [
        ("wrn-28-10", 10, 36_479_194, 155),
        ("wrn-28-10", 100, 36_536_884, 155),
        ("wrn-10-1", 10, 77_850, 46),
        ("preact-resnet-18", 10, 11_172_170, 107),
    ],
)
def test_sizes(name: str, classes: int, count: int, tensors: int) -> None:
    model = on_meta(name, classes=classes, **CIFAR10)
    assert parameters(model) == count
    assert len(model.state_dict()) == tensors  # mean and std are no part of it


def test_names_are_those_of_published_weights() -> None:
    names = set(build({"name": "wrn-16-2"}).state_dict())
    expected = {"init_conv.weight", "logits.weight", "logits.bias"}
    norms = {"batchnorm"}
    for group in range(3):
        for block in range(2):
            place = f"layer.{group}.block.{block}"
            expected |= {f"{place}.conv_0.weight", f"{place}.conv_1.weight"}
            norms |= {f"{place}.batchnorm_0", f"{place}.batchnorm_1"}
        expected |= {f"layer.{group}.block.0.shortcut.weight"}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert names == expected | {f"{norm}.{part}" for norm in norms for part in parts}


def test_where_widths_agree_there_is_no_shortcut() -> None:
    names = build({"name": "wrn-10-1"}).state_dict()
    assert not any(name.startswith("layer.0.block.0.shortcut") for name in names)
    assert "layer.1.block.0.shortcut.weight" in names


def plain_wide_resnet(state: dict[str, Tensor], x: Tensor, depth: int) -> Tensor:
    """The network written out on its state dict, in evaluation mode, as the reference pads: for even sizes."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.silu(F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5))

    x = (x - torch.tensor(CIFAR10["mean"]).view(1, 3, 1, 1)) / torch.tensor(CIFAR10["std"]).view(1, 3, 1, 1)
    x = F.conv2d(x, state["init_conv.weight"], padding=1)
    for group in range(3):
        for block in range((depth - 4) // 6):
            place, stride = f"layer.{group}.block.{block}", 2 if group and not block else 1
            y = norm(f"{place}.batchnorm_0", x)
            if f"{place}.shortcut.weight" in state:
                x = F.conv2d(y, state[f"{place}.shortcut.weight"], stride=stride)
            left, right, top, bottom = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
            y = F.conv2d(F.pad(y, (left, right, top, bottom)), state[f"{place}.conv_0.weight"], stride=stride)
            x = x + F.conv2d(norm(f"{place}.batchnorm_1", y), state[f"{place}.conv_1.weight"], padding=1)
    x = F.avg_pool2d(norm("batchnorm", x), x.shape[-1]).flatten(1)
    return F.linear(x, state["logits.weight"], state["logits.bias"])


@pytest.mark.parametrize(("depth", "width", "size"), [(10, 2, 32), (16, 1, 16)])
def test_it_is_the_network_written_out(depth: int, width: int, size: int) -> None:
    model = build({"name": f"wrn-{depth}-{width}", "arguments": CIFAR10})
    x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    model.train()(x)  # so that the running statistics are no longer 0 and 1
    model(x)
    found = model.eval()(x)
    torch.testing.assert_close(found, plain_wide_resnet(model.state_dict(), x, depth), atol=1e-5, rtol=1e-4)


def test_stride_two_sees_the_right_and_the_bottom() -> None:
    """On an even size the padding is (left 0, right 1, top 0, bottom 1): output i looks at rows 2i to 2i + 2."""
    block = build({"name": "wrn-10-1"}).layer[1].block[0].eval()  # type: ignore[index, union-attr, operator]
    with torch.no_grad():
        x = torch.zeros(1, 16, 8, 8)
        base = block.conv_0(F.pad(F.silu(block.batchnorm_0(x)), (0, 1, 0, 1)))
        found = []
        block.batchnorm_1.register_forward_pre_hook(lambda _, args: found.append(args[0]))
        block(x)
        x[..., 0, 0] = 5.0
        block(x)
        x[..., 0, 0], x[..., 7, 7] = 0.0, 5.0
        block(x)
    torch.testing.assert_close(found[0], base)
    first, last = ((step - base).abs().amax((0, 1)) > 1e-6 for step in found[1:])
    assert first.nonzero().tolist() == [[0, 0]]
    assert last.nonzero().tolist() == [[3, 3]]


@pytest.mark.parametrize("name", ["wrn-10-1", "preact-resnet-18"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image(name: str, channels: int) -> None:
    model = build({"name": name, "arguments": {"classes": 7, "channels": channels}}).eval()
    for size in ((1, 1), (8, 8), (7, 12), (28, 28)):
        with torch.no_grad():
            logits = model(torch.rand(2, channels, *size))
        assert logits.shape == (2, 7)
        assert torch.isfinite(logits).all()


def test_images_are_normalised_within() -> None:
    plain = build({"name": "wrn-10-1"}).eval()
    model = build({"name": "wrn-10-1", "arguments": CIFAR10}).eval()
    x = torch.rand(2, 3, 8, 8)
    by_hand = (x - torch.tensor(CIFAR10["mean"]).view(1, 3, 1, 1)) / torch.tensor(CIFAR10["std"]).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(by_hand))


def test_initial_values_of_the_wide_resnet() -> None:
    model = build({"name": "wrn-16-4"})
    for name, parameter in model.named_parameters():
        if parameter.dim() == 4:
            outputs, _, height, width = parameter.shape
            assert float(parameter.detach().std()) == pytest.approx(
                math.sqrt(2 / (height * width * outputs)), rel=0.1
            ), name
        elif "batchnorm" in name:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all()
    assert model.logits.weight.abs().max() <= 1 / 16  # type: ignore[union-attr]
    assert model.logits.weight.std() > 0.9 / 16 / math.sqrt(3)  # type: ignore[union-attr]
    assert not model.logits.bias.any()  # type: ignore[union-attr]
    assert {(module.eps, module.momentum) for module in model.modules() if isinstance(module, BatchNorm2d)} == {
        (1e-5, 0.01)
    }


@pytest.mark.parametrize("name", ["wrn-10-1", "preact-resnet-18"])
def test_initial_values_are_a_function_of_the_seed(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = build({"name": name}, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = build({"name": name}, seed=3).state_dict(), build({"name": name}, seed=4).state_dict()
    assert all(torch.equal(one[key], again[key]) for key in one)
    for key, tensor in one.items():
        assert torch.equal(tensor, other[key]) == (tensor.dim() < 2), key


def test_logits_are_float32_in_bfloat16_too() -> None:
    model = build({"name": "wrn-10-1"}).eval()
    seen: list[torch.dtype] = []
    model.layer[2].register_forward_hook(lambda _, __, found: seen.append(found.dtype))  # type: ignore[index, union-attr]
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        coarse = model(x)
    with torch.no_grad():
        fine = model(x)
    assert seen == [torch.bfloat16, torch.float32]
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, fine, atol=0.05, rtol=0.05)
    assert len({float(value).hex()[:12] for value in coarse.flatten()}) > 10  # not rounded to bfloat16


@pytest.mark.parametrize("name", ["wrn-10-1", "preact-resnet-18"])
def test_in_float64_it_is_the_reference_of_itself(name: str) -> None:
    """Forward and backward: finite differences show gradients to more digits than float32 has."""
    single = build({"name": name, "arguments": CIFAR10}, seed=1).eval()
    double = copy.deepcopy(single).double()
    x = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    images = x.double().requires_grad_()
    logits = double(images)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(single(x).double(), logits, atol=1e-4, rtol=1e-4)
    assert not torch.equal(single(x).double(), logits)
    loss = F.cross_entropy(logits, torch.tensor([3, 5]))
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float64 for p in double.parameters())
    assert images.grad is not None
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (
            F.cross_entropy(double(images + sign * 1e-6 * direction), torch.tensor([3, 5])) for sign in (1, -1)
        )
    slope = float((images.grad * direction).sum())
    assert float(ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-6)


# ------------------------------------------------------------------------------------------------------- registry


@pytest.mark.parametrize(
    "arch",
    [
        {"name": "wrn-10-2", "arguments": {"classes": 4, "channels": 1, "mean": [0.1307], "std": [0.3081]}},
        {"name": "wrn-10-1", "arguments": {"classes": 10, "channels": 3}},
        {"name": "preact-resnet-18", "arguments": {"classes": 3, "channels": 3, **CIFAR10, "activation": "silu"}},
    ],
)
def test_an_architecture_survives_json(arch: dict[str, Any]) -> None:
    model = build(arch)
    assert model.arch == arch
    again = build(json.loads(json.dumps(model.arch)), seed=1)
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, arch["arguments"]["channels"], 8, 8)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), again.eval()(x))


@pytest.mark.parametrize(
    ("arch", "sentence"),
    [
        ({"name": "vgg"}, "no network 'vgg' here: choose wrn-DEPTH-WIDTH, such as wrn-28-10, or preact-resnet-18"),
        ({"name": "wrn-28"}, "no network 'wrn-28'"),
        ({"name": "wrn-27-10"}, "depth of 6n \\+ 4 .*, not 27"),
        ({"name": "wrn-4-1"}, "depth of 6n \\+ 4 .*, not 4"),
        ({"name": "wrn-10-0"}, "width from 1 on, not 0"),
        ({}, "has a name and arguments"),
        ({"name": "wrn-10-1", "arguments": [1]}, "has a name and arguments"),
        ({"name": "wrn-10-1", "arguments": {"depth": 3}}, "wrn-10-1 has no argument 'depth'"),
        ({"name": "wrn-10-1", "arguments": {"classes": 1}}, "classes are a whole number from 2 on, not 1"),
        ({"name": "wrn-10-1", "arguments": {"classes": True}}, "classes are a whole number from 2 on, not True"),
        ({"name": "wrn-10-1", "arguments": {"channels": 2.0}}, "channels are a whole number from 1 on, not 2.0"),
        ({"name": "wrn-10-1", "arguments": {"mean": [0.5] * 3}}, "both mean and std .* or neither"),
        ({"name": "wrn-10-1", "arguments": {"mean": [0.5], "std": [1.0]}}, "3 channels has 3 finite numbers"),
        ({"name": "wrn-10-1", "arguments": {"mean": [0.5] * 3, "std": [1.0, math.nan, 1.0]}}, "3 finite numbers"),
        ({"name": "wrn-10-1", "arguments": {"mean": [0.5] * 3, "std": [1.0, 0.0, 1.0]}}, "std .* positive numbers"),
        ({"name": "wrn-10-1", "arguments": {"mean": ["a"] * 3, "std": [1.0] * 3}}, "3 finite numbers"),
        ({"name": "wrn-10-1", "arguments": {"mean": 1, "std": 2}}, "3 finite numbers"),
        ({"name": "preact-resnet-18", "arguments": {"activation": "tanh"}}, "no activation 'tanh' here"),
    ],
)
def test_architectures_that_make_no_sense(arch: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(arch)


def test_operations_of_the_papers_network() -> None:
    model = on_meta("wrn-28-10")
    model.layer[0].eval()  # type: ignore[index]
    before = [module.training for module in model.modules()]
    assert forward_operations(model, (3, 32, 32)) == 2 * 5_243_328_768
    assert [module.training for module in model.modules()] == before
    hundred = on_meta("wrn-28-10", classes=100, **CIFAR10)
    assert forward_operations(hundred, (3, 32, 32)) == 2 * (5_243_328_768 + 57_600)
