"""The U-Nets once more, slow and obvious: NumPy in double precision, driven by the names in a state dict alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Twin:
    """F of a state dict (names without ``model.``); ``fourier`` and ``taps`` are what no name tells."""

    def __init__(self, state: dict[str, Any], fourier: bool, taps: list[float]) -> None:
        self.state = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self.fourier = fourier
        self.taps = np.outer(taps, taps) / sum(taps) ** 2

    def __call__(self, x: Array, noise: Array, labels: Array | None = None, augment: Array | None = None) -> Array:
        e = self.embedding(noise, labels, augment)
        skips: list[Array] = []
        aux = x
        for name in self.parts("enc"):
            if name.endswith("_conv"):
                x = self.conv(name, x)
            elif name.endswith("_aux_residual"):
                wide = convolve(aux, self.state[f"{name}.weight"], 1 + (len(self.taps) - 1) // 2)
                smaller = down(wide, self.taps, 0) + self.state[f"{name}.bias"][:, None, None]
                x = aux = skips[-1] = (x + smaller) / math.sqrt(2)
                continue
            else:
                x = self.block(name, x, e, "down" if name.endswith("_down") else None)
            skips.append(x)
        for name in self.parts("dec"):
            if name.endswith("_aux_norm"):
                x = silu(self.norm(name, x))
            elif name.endswith("_aux_conv"):
                x = self.conv(name, x)
            else:
                if self.state[f"{name}.norm0.weight"].shape[0] != x.shape[1]:
                    x = np.concatenate([x, skips.pop()], 1)
                x = self.block(name, x, e, "up" if name.endswith("_up") else None)
        assert not skips
        return x

    def parts(self, side: str) -> list[str]:
        found: list[str] = []
        for name in self.state:
            part = ".".join(name.split(".")[:2])
            if name.startswith(f"{side}.") and part not in found:
                found.append(part)
        return found

    def embedding(self, noise: Array, labels: Array | None, augment: Array | None) -> Array:
        channels = self.state["map_layer0.weight"].shape[1]
        if self.fourier:
            frequencies = 2 * np.pi * self.state["map_noise.freqs"]
        else:
            half = channels // 2
            frequencies = np.array([10_000 ** (-i / (half - 1)) for i in range(half)])
        angle = np.outer(noise, frequencies)
        e = np.concatenate([np.sin(angle), np.cos(angle)], 1)
        if "map_label.weight" in self.state:
            assert labels is not None
            weight = self.state["map_label.weight"]
            e = e + (labels * math.sqrt(labels.shape[1])) @ weight.T + self.state["map_label.bias"]
        if augment is not None:
            e = e + augment @ self.state["map_augment.weight"].T
        for layer in ("map_layer0", "map_layer1"):
            e = silu(e @ self.state[f"{layer}.weight"].T + self.state[f"{layer}.bias"])
        return e

    def block(self, name: str, x: Array, e: Array, resample: str | None) -> Array:
        def resampled(value: Array) -> Array:
            margin = (len(self.taps) - 1) // 2
            if resample == "down":
                return down(value, self.taps, margin)
            return up(value, 4 * self.taps, margin) if resample == "up" else value

        h = self.conv(f"{name}.conv0", resampled(silu(self.norm(f"{name}.norm0", x))))
        shift = e @ self.state[f"{name}.affine.weight"].T + self.state[f"{name}.affine.bias"]
        h = silu(self.norm(f"{name}.norm1", h + shift[:, :, None, None]))
        h = self.conv(f"{name}.conv1", h)
        if f"{name}.skip.weight" in self.state:
            x = self.conv(f"{name}.skip", resampled(x))
        x = (h + x) * math.sqrt(0.5)
        if f"{name}.qkv.weight" not in self.state:
            return x
        return (x + self.conv(f"{name}.proj", self.attention(name, x))) * math.sqrt(0.5)

    def attention(self, name: str, x: Array) -> Array:
        packed = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", x))
        q, k, v = (packed[:, part::3].reshape(len(x), x.shape[1], -1) for part in range(3))
        scores = np.einsum("bcq,bck->bqk", q, k) / math.sqrt(x.shape[1])
        weights = np.exp(scores - scores.max(2, keepdims=True))
        weights /= weights.sum(2, keepdims=True)
        return np.einsum("bqk,bck->bcq", weights, v).reshape(x.shape)

    def norm(self, name: str, x: Array) -> Array:
        groups = min(32, x.shape[1] // 4)
        parts = x.reshape(len(x), groups, -1)
        scaled = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-6)
        weight, bias = (self.state[f"{name}.{which}"][:, None, None] for which in ("weight", "bias"))
        return scaled.reshape(x.shape) * weight + bias

    def conv(self, name: str, x: Array) -> Array:
        weight = self.state[f"{name}.weight"]
        return convolve(x, weight, weight.shape[-1] // 2) + self.state[f"{name}.bias"][:, None, None]


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def convolve(x: Array, weight: Array, padding: int) -> Array:
    size = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = x.shape[2] - size + 1, x.shape[3] - size + 1
    found = np.zeros((len(x), len(weight), height, width))
    for i in range(size):
        for j in range(size):
            found += np.einsum("bchw,oc->bohw", x[:, :, i : i + height, j : j + width], weight[:, :, i, j])
    return found


def down(x: Array, taps: Array, margin: int) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    size = len(taps)
    length = (x.shape[2] - size) // 2 + 1
    found = np.zeros((*x.shape[:2], length, length))
    for i in range(length):
        for j in range(length):
            found[:, :, i, j] = (x[:, :, 2 * i : 2 * i + size, 2 * j : 2 * j + size] * taps).sum((2, 3))
    return found


def up(x: Array, taps: Array, margin: int) -> Array:
    size, length = len(taps), x.shape[2]
    wide = np.zeros((*x.shape[:2], 2 * (length - 1) + size, 2 * (length - 1) + size))
    for i in range(length):
        for j in range(length):
            wide[:, :, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += x[:, :, i, j, None, None] * taps
    end = wide.shape[2] - margin
    return wide[:, :, margin:end, margin:end]
