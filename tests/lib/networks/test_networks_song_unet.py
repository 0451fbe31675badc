"""DDPM++ and NCSN++: published names and shapes, and the same numbers as an independent twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust.errors import UsageError
from datarobust.networks.song_unet import CIFAR, DDPMPP, NCSNPP, SongUNet

from .unet_twin import Twin

KINDS = {"ddpmpp": DDPMPP, "ncsnpp": NCSNPP}
SMALL: dict[str, Any] = {"img_resolution": 8, "img_channels": 1, "model_channels": 8, "num_blocks": 1}


def published(**more: Any) -> SongUNet:
    """A network of the published size; on the device meta it takes no memory."""
    with torch.device("meta"):
        return SongUNet(**CIFAR, **more)


def randomised(network: SongUNet, seed: int = 0) -> SongUNet:
    """All values random, so that nothing that is left out goes unseen; outputs near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "resample_filter" in name:
                continue
            scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3
            tensor.normal_(0.0, scale, generator=generator)
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    return network.eval()


@pytest.mark.parametrize(
    ("kind", "classes", "parameters", "entries"),
    [
        ("ddpmpp", 10, 55_735_299, 427),
        ("ddpmpp", 0, 55_733_891, 425),
        ("ncsnpp", 10, 56_400_643, 434),
        ("ncsnpp", 0, 56_397_827, 432),
        ("ddpmpp", 100, 55_746_819, 427),
    ],
)
def test_sizes_of_the_published_networks(kind: str, classes: int, parameters: int, entries: int) -> None:
    network = published(label_dim=classes, **KINDS[kind])
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == entries


@pytest.mark.parametrize(("name", "kind"), [("cond-vp", "ddpmpp"), ("cond-ve", "ncsnpp")])
def test_names_and_shapes_of_the_published_networks(shared: Path, name: str, kind: str) -> None:
    wanted = (shared / "oracles" / "keys" / f"keys_{name}.txt").read_text(encoding="utf-8").splitlines()
    state = published(label_dim=10, **KINDS[kind]).state_dict()
    assert [f"model.{key} {list(tensor.shape)}" for key, tensor in state.items()] == wanted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more",
    [
        {"label_dim": 4, "channel_mult": [2], "attn_resolutions": []},
        {"channel_mult": [1, 2], "attn_resolutions": [4]},
        {"label_dim": 3, "augment_dim": 9, "channel_mult": [1, 2, 2], "attn_resolutions": [8, 4], "num_blocks": 2},
        {
            "img_channels": 3,
            "img_resolution": 12,
            "channel_mult": [2, 1],
            "attn_resolutions": [6],
            "model_channels": 16,
        },
    ],
)
def test_equals_the_twin(kind: str, more: dict[str, Any]) -> None:
    arguments = {**SMALL, **KINDS[kind], **more}
    network = randomised(SongUNet(**arguments))
    random = np.random.default_rng(1)
    batch = 2
    x = random.standard_normal((batch, network.img_channels, network.img_resolution, network.img_resolution))
    noise = random.standard_normal(batch)
    labels = np.eye(network.label_dim)[[1, 2]] if network.label_dim else None
    augment = random.standard_normal((batch, 9)) if network.augment_dim else None
    twin = Twin(network.state_dict(), kind == "ncsnpp", arguments["resample_filter"])

    def single(value: Any) -> Any:
        return None if value is None else torch.from_numpy(value).float()

    wanted = twin(x, noise, labels, augment)
    with torch.no_grad():
        for layout in (torch.contiguous_format, torch.channels_last):
            inside = single(x).contiguous(memory_format=layout)
            found = network(inside, single(noise), single(labels), single(augment))
            np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5)
    assert 0.05 < np.abs(wanted).mean() < 20
    found = network(single(x), single(noise), single(labels), single(augment))  # with gradients, as in training
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_function() -> None:
    """In-place arithmetic must not reach what a backward pass needs."""
    more: dict[str, Any] = {"label_dim": 2, "channel_mult": [1, 2], "attn_resolutions": [4]}
    network = randomised(SongUNet(**{**SMALL, **NCSNPP, **more})).double()
    x = torch.randn((1, 1, 8, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    noise, labels = torch.tensor([0.3], dtype=torch.float64), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    weight = network.enc["4x4_block0"].conv0.weight
    network(x, noise, labels).square().sum().backward()
    for tensor, place in ((x, (0, 0, 3, 4)), (weight, (1, 2, 0, 1))):
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                tensor[place] += sign * step
                values.append(float(network(x, noise, labels).square().sum()))
                tensor[place] -= sign * step
        assert tensor.grad is not None
        assert float(tensor.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_initial_values_follow_from_the_seed_and_the_output_begins_at_nothing() -> None:
    networks = [SongUNet(**{**SMALL, **NCSNPP, "channel_mult": [1, 2]}) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        network.initialise(torch.Generator().manual_seed(seed))
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["map_noise.freqs"], other["map_noise.freqs"])
    with torch.no_grad():
        found = networks[0].eval()(torch.randn(2, 1, 8, 8), torch.zeros(2))
    assert found.abs().max() < 1e-3


def test_dropout_acts_in_training_only() -> None:
    network = randomised(SongUNet(**{**SMALL, **DDPMPP, "channel_mult": [2], "dropout": 0.5}))
    x, noise = torch.ones(1, 1, 8, 8), torch.zeros(1)
    with torch.no_grad():
        assert torch.equal(network(x, noise), network(x, noise))
        network.train()
        assert not torch.equal(network(x, noise), network(x, noise))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"img_resolution": 10, "channel_mult": [1, 1, 1]}, "cannot be halved 2 times"),
        ({"model_channels": 0}, "model_channels"),
        ({"model_channels": 20, "channel_mult": [7]}, "multiple of 32"),
        ({"channel_mult": []}, "channel_mult"),
        ({"channel_mult": [1, 0]}, "channel_mult"),
        ({"embedding_type": "none"}, "embedding_type"),
        ({"encoder_type": "skip"}, "standard or residual"),
        ({"dropout": 1.0}, "dropout"),
        ({"resample_filter": [1, 2, 1]}, "resample_filter"),
        ({"num_blocks": 0}, "num_blocks"),
        ({"label_dim": -1}, "label_dim"),
    ],
)
def test_arguments_that_make_no_network(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SongUNet(**{**SMALL, **more})


def test_one_graph_for_compilers() -> None:
    """The sampling network can be traced whole: nothing in it depends on values."""
    network = randomised(SongUNet(**{**SMALL, **DDPMPP, "channel_mult": [1, 2], "attn_resolutions": [4]}))
    x, noise = torch.randn(2, 1, 8, 8), torch.zeros(2)
    with torch.no_grad():
        traced = torch.compile(network, backend="eager", fullgraph=True)
        torch.testing.assert_close(traced(x, noise), network(x, noise))
