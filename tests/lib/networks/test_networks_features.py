"""Layers of networks: which one is taken, in which batches, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from datarobust.errors import DataError
from datarobust.networks import features

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 6, 6), dtype=np.uint8)
UNIT = torch.from_numpy(IMAGES).float() / 255


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(10, 5)  # registered before what runs before it
        self.hidden = nn.Linear(64, 10)
        self.unused = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.relu(self.conv(x)).flatten(1)
        return self.head(input=self.drop(torch.tanh(self.hidden(x))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def extractor(module, layer, some=IMAGES):
    return features.Extractor("m:f", module, layer, some, CPU)


def test_the_input_of_the_linear_layer_that_runs_last(net):
    found = extractor(net, "penultimate")
    with torch.no_grad():
        expected = torch.tanh(net.hidden(torch.relu(net.conv(UNIT)).flatten(1))).numpy()
    assert found.width == 10
    np.testing.assert_allclose(found(IMAGES), expected, rtol=1e-5, atol=1e-6)
    assert found(IMAGES).dtype == np.float32


def test_the_output_of_a_layer_before_others_change_it(net):
    found = extractor(net, "conv")
    with torch.no_grad():
        expected = net.conv(UNIT).flatten(1).numpy()
    assert found.width == 64
    assert expected.min() < 0  # so that the ReLU behind it, which works in place, would show
    np.testing.assert_allclose(found(IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_the_output_of_the_network(net):
    found = extractor(net, "output")
    with torch.no_grad():
        np.testing.assert_allclose(found(IMAGES), net(UNIT).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", ["penultimate", "conv", "output"])
def test_batches_change_rounding_alone(net, layer):
    found = extractor(net, layer)
    whole = found(IMAGES)
    for size in (1, 3, 7):
        parts = np.concatenate([found(IMAGES[at : at + size]) for at in range(0, len(IMAGES), size)])
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_operations_of_a_point(net):
    """Two for each product: 3 * 9 * 16 * 4 of the convolution, 64 * 10 and 10 * 5 of the linear layers."""
    assert extractor(net, "output").operations(IMAGES) == 2 * (3 * 9 * 16 * 4 + 640 + 50)


def test_no_hooks_stay(net):
    found = extractor(net, "conv")
    found(IMAGES)
    assert not [part for part in net.modules() if part._forward_hooks or part._forward_pre_hooks]


def test_networks_are_made_ready(net):
    """Another dtype and training mode are put right; the library's settings are what they were."""
    expected = extractor(net, "output")(IMAGES)
    half = Net()
    half.load_state_dict(net.state_dict())
    found = extractor(half.double().train(), "output")
    before = torch.get_float32_matmul_precision()
    np.testing.assert_allclose(found(IMAGES), expected, rtol=1e-5, atol=1e-6)
    assert torch.get_float32_matmul_precision() == before


def test_vectors_go_in_as_they_are():
    points = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    found = extractor(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "penultimate", points)
    assert found(points).shape == (9, 3)
    np.testing.assert_array_equal(extractor(nn.Identity(), "output", points)(points), points)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(self.linear(x) * 2)


def test_a_layer_that_runs_twice_counts_by_its_last_time():
    points = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    net = Twice()
    with torch.no_grad():
        once = net.linear(torch.from_numpy(points)) * 2
        np.testing.assert_allclose(extractor(net, "penultimate", points)(points), once.numpy(), rtol=1e-5)
        np.testing.assert_allclose(extractor(net, "linear", points)(points), net.linear(once).numpy(), rtol=1e-5)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        self.inner(x)
        return x


@pytest.mark.parametrize(
    ("module", "layer", "words"),
    [
        (nn.ReLU(), "penultimate", r"m:f runs no torch\.nn\.Linear: name a layer with `layer`"),
        (nn.ReLU(), "relu", "has no layer relu; it has none that has a name: take `layer` output"),
        (Net(), "con", "has no layer con; it has conv"),
        (Net(), "unused", "layer unused is not run"),
        (Wrapped(Pair()), "inner", "layer inner gives a tuple, not a tensor"),
        (Pair(), "output", "layer output gives a tuple"),
        (Wrapped(nn.Flatten(0)), "inner", r"layer inner has the shape \(864,\) for 8 points"),
        (nn.Linear(5, 2), "output", r"fails on a batch of shape \(8, 3, 6, 6\): it raises RuntimeError"),
        (Wrapped(nn.AdaptiveAvgPool2d((0, 0))), "inner", "layer inner gives no numbers"),
    ],
)
def test_layers_that_cannot_be_taken(module, layer, words):
    with pytest.raises(DataError, match=words):
        extractor(module, layer)


class Noisy(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)  # in evaluation mode as well: a common slip


class BatchStatistics(nn.Module):
    def forward(self, x):
        return nn.functional.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("module", [Noisy(), BatchStatistics()])
def test_features_that_depend_on_chance_or_on_the_batch_are_refused(module):
    with pytest.raises(DataError, match="other outputs for the same points in another batch"):
        extractor(module, "output")


def test_a_failure_on_the_way_is_told(net):
    found = extractor(net, "output")
    with pytest.raises(DataError, match=r"m:f fails on a batch of shape \(20, 2, 6, 6\)"):
        found(IMAGES[:, :2])
