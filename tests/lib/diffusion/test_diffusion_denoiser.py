"""Denoisers: the reference's numbers, what is refused, and what preparation may and may not change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust.diffusion.denoiser import (
    Denoiser,
    Edm,
    Ve,
    Vp,
    build_denoiser,
    flops,
    one_hot,
    prepare,
    seconds_of,
)
from datarobust.errors import UsageError
from datarobust.networks.song_unet import CIFAR, DDPMPP, NCSNPP, SongUNet

from .helpers import small


def reference(shared: Path) -> tuple[Denoiser, Any]:
    """A tiny conditional DDPM++ with inputs and outputs of the reference implementation."""
    data = np.load(shared / "oracles" / "denoiser_ddpmpp_cond.npz")
    arguments = {**CIFAR, "label_dim": 10, "model_channels": 16, "num_blocks": 1}
    denoiser = Denoiser(SongUNet(**arguments, **DDPMPP), Edm())
    state = {name.removeprefix("state/"): torch.from_numpy(data[name]) for name in data.files if "state/" in name}
    denoiser.load_state_dict(state)
    return denoiser.eval(), data


def test_equals_the_reference(shared: Path) -> None:
    denoiser, data = reference(shared)
    x, sigma, labels = (torch.from_numpy(data[f"io/{name}"]) for name in ("x", "s", "l"))
    with torch.no_grad():
        for ready in (denoiser, prepare(copy.deepcopy(denoiser))):
            np.testing.assert_allclose(ready(x, sigma, labels).numpy(), data["io/y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", [Edm(), Vp(), Ve()])
@pytest.mark.parametrize("kind", [DDPMPP, NCSNPP])
def test_is_the_network_within_its_coefficients(form: Any, kind: dict[str, Any]) -> None:
    denoiser = small(classes=0, precondition=form, **kind)
    x, sigma = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 2.0])
    with torch.no_grad():
        found = denoiser(x, sigma)
        for image, level, got in zip(x, sigma, found, strict=True):
            skip, out, into, noise = (float(c) for c in form.coefficients(level[None]))
            inner = denoiser.model(into * image[None], torch.tensor([noise]))
            torch.testing.assert_close(got, skip * image + out * inner[0], rtol=1e-4, atol=1e-5)


def test_one_level_for_all_images_or_one_for_each() -> None:
    denoiser = small()
    x, labels = torch.randn(3, 1, 8, 8), one_hot(torch.tensor([0, 1, 2]), 3)
    with torch.no_grad():
        one = denoiser(x, torch.tensor(0.7), labels)
        each = denoiser(x.double(), torch.tensor([0.7, 0.7, 0.7]).double(), labels)
    torch.testing.assert_close(one, each, rtol=1e-5, atol=1e-5)
    assert each.dtype == torch.float32


def test_labels_are_demanded_where_it_was_trained_with_them_and_refused_where_not() -> None:
    x, sigma = torch.zeros(1, 1, 8, 8), torch.ones(())
    with pytest.raises(UsageError, match="3 classes"):
        small()(x, sigma)
    with pytest.raises(UsageError, match="without labels"):
        small(classes=0)(x, sigma, torch.ones(1, 3))
    assert one_hot(torch.tensor([1]), 0) is None


@pytest.mark.parametrize("kind", [DDPMPP, NCSNPP])
def test_built_from_its_description(kind: dict[str, Any]) -> None:
    denoiser = small(precondition=Vp(), **kind)
    again = build_denoiser(denoiser.arch)
    again.load_state_dict(denoiser.state_dict())
    x, sigma, labels = torch.randn(2, 1, 8, 8), torch.ones(()), one_hot(torch.tensor([0, 2]), 3)
    with torch.no_grad():
        assert torch.equal(again.eval()(x, sigma, labels), denoiser(x, sigma, labels))
    assert again.arch == denoiser.arch


@pytest.mark.parametrize(
    "arch",
    [{}, {"name": "adm", "arguments": {}}, {"name": "song-unet"}, {"name": "song-unet", "arguments": {"depth": 3}}],
)
def test_what_is_no_architecture(arch: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="architecture"):
        build_denoiser(arch)


@pytest.mark.parametrize("kind", [DDPMPP, NCSNPP])
def test_preparing_changes_rounding_only(kind: dict[str, Any]) -> None:
    denoiser = small(**kind)
    x, sigma, labels = torch.randn(2, 1, 8, 8), torch.tensor(0.5), one_hot(torch.tensor([0, 2]), 3)
    with torch.no_grad():
        wanted = denoiser(x, sigma, labels)
        single = prepare(prepare(copy.deepcopy(denoiser)))(x, sigma, labels)
        half = prepare(copy.deepcopy(denoiser), "bf16")(x, sigma, labels)
    torch.testing.assert_close(single, wanted, rtol=0, atol=1e-5)
    error = (half - wanted).abs().max()
    assert 1e-5 < error < 0.1
    assert half.dtype == torch.float32


def test_operations_are_counted() -> None:
    """Against PyTorch's own count, which has the linear layers of the embedding in it, too."""
    from torch.utils.flop_counter import FlopCounterMode

    for kind in (DDPMPP, NCSNPP):
        denoiser = small(classes=0, attn_resolutions=[], **kind)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            denoiser(torch.zeros(1, 1, 8, 8), torch.ones(()))
        ours, theirs = flops(denoiser), counter.get_total_flops()
        assert 0.9 * theirs < ours <= 1.02 * theirs
    with torch.device("meta"):
        published = Denoiser(SongUNet(**CIFAR, label_dim=10, **DDPMPP), Edm())
    assert flops(published) == pytest.approx(42.383e9, rel=1e-3)


def test_time_of_an_image() -> None:
    assert 0 < seconds_of(flops(small()), small()) < 60
