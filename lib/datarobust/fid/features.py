"""What a network makes of points: the input of its last linear layer, the output of any layer, or its own output.

The robustness of a point depends on the space its distances are measured in (Equation 1 takes any metric). Features of
a network are another such space.

A layer is named as :meth:`torch.nn.Module.named_modules` names it; its output is taken. Two names are special:
``penultimate``, the input of the torch.nn.Linear that is run last, and ``output``, what the whole network gives. What
is more than a vector is flattened. A layer that runs several times counts by its last time.

Networks run in float32, in evaluation mode, without gradients and without TF32, in batches. The size of a batch changes
what is computed by rounding alone; a network whose outputs depend on the other points of a batch is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datarobust.errors import DataError
from datarobust.networks import foreign
from datarobust.networks.precision import products
from datarobust.types import Array, Images

BATCH = 256  # points of a batch, by default
PROBED = 8  # points that a network is tried with


def as_inputs(points: Array, device: torch.device) -> Tensor:
    """Points as a network takes them: float32 on the device, images (B, C, H, W) uint8 as v/255, features unchanged."""
    batch = torch.from_numpy(points).to(device)
    return batch.float() / 255.0 if batch.dtype == torch.uint8 else batch


class Extractor:
    """A network, up to one of its layers.

    The network, in messages called ``spec``, is moved to the device, made float32, put into evaluation mode and tried
    with ``some`` points. ``width`` is how many numbers a point becomes, ``shape`` that of the layer's output for one.

    Raises:
        DataError: there is no such layer, it is not run, or the network cannot be used (:mod:`.networks.foreign`).
    """

    def __init__(self, spec: str, module: nn.Module, layer: str, some: Array, device: torch.device) -> None:
        self._spec, self._layer, self._device = spec, layer, device
        self._module = module.to(device, torch.float32).eval()
        names = [name for name, _ in module.named_modules() if name]
        if layer not in ("penultimate", "output", *names):
            near = ", ".join(difflib.get_close_matches(layer, names, 3, 0.3) or names[-3:])
            known = f"{near}, and {len(names)} layers in all" if names else "none that has a name: take `layer` output"
            raise DataError(f"{spec} has no layer {layer}; it has {known}.")
        with products("fp32", deterministic=True):
            outputs = foreign.demand_steady(spec, self._tapped, as_inputs(some[:PROBED], device))
        self.shape = tuple(outputs.shape[1:])
        self.width = int(np.prod(self.shape))
        if not self.width:
            raise DataError(f"{spec}: layer {layer} gives no numbers.")

    def __call__(self, points: Array) -> npt.NDArray[np.float32]:
        """float32 (B, width) of points (B, ...), uint8 or float32."""
        with products("fp32", deterministic=True):
            outputs = foreign.run(self._spec, self._tapped, as_inputs(points, self._device))
        features: npt.NDArray[np.float32] = outputs.reshape(len(points), -1).float().cpu().numpy()
        return features

    def operations(self, some: Array) -> int:
        """Multiplications and additions for one point, as far as PyTorch counts them."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self(some[:1])
        return int(counter.get_total_flops())

    def _tapped(self, batch: Tensor) -> Tensor:
        """What the layer gives, with a row a point; of several times that it runs the last one counts."""
        kept: list[Any] = []

        def keep(value: Any) -> None:  # a copy: what comes next may work in place
            kept[:] = [value.clone() if isinstance(value, Tensor) else value]

        def keep_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            keep(args[0] if args else next(iter(kwargs.values()), None))

        def keep_output(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            keep(output)

        with ExitStack() as hooks:
            for name, part in self._module.named_modules():
                if self._layer == "penultimate" and isinstance(part, nn.Linear):
                    hooks.callback(part.register_forward_pre_hook(keep_input, with_kwargs=True).remove)
                elif name == self._layer:
                    hooks.callback(part.register_forward_hook(keep_output).remove)
            output = self._module(batch)
        features = output if self._layer == "output" else kept[0] if kept else None
        if features is None and self._layer == "penultimate":
            raise DataError(f"{self._spec} runs no torch.nn.Linear: name a layer with `layer`.")
        if not isinstance(features, Tensor):
            what = "is not run" if features is None else f"gives a {type(features).__name__}, not a tensor"
            raise DataError(f"{self._spec}: layer {self._layer} {what}: name another one with `layer`.")
        if features.ndim < 1 or len(features) != len(batch):
            shape = f"has the shape {tuple(features.shape)} for {len(batch)} points, not a row a point"
            raise DataError(f"{self._spec}: layer {self._layer} {shape}: name another one with `layer`.")
        return features


@dataclass(frozen=True)
class FeatureSpace:
    """Features by which sets of images are compared; only distances by Inception's are called FID."""

    name: str  # ``inception``, ``pixels``, ``classifier:DIGEST`` or ``file:SHA256``
    mode: str  # how images become features; moments of one mode are never compared with those of another
    extract: Callable[[Images], Array] | None  # images uint8 (B, C, H, W) -> features (B, D); None: from a file
    weights: str | None = None  # digest of the network's weights
    batch: int = BATCH  # images at a time, by default
    operations: int = 0  # multiplications and additions for one image
    arrays: Mapping[str, Array] = field(default_factory=dict)  # "a" and "b": features of all images, from a file

    def of(self, images: Images, batch: int | None = None) -> Array:
        """The features (N, D) of any number of images."""
        assert self.extract is not None
        size = batch or self.batch
        return np.concatenate([self.extract(images[start : start + size]) for start in range(0, len(images), size)])

    def as_json(self) -> dict[str, Any]:
        """Its name, mode and weights, as moments record them."""
        return {"features": self.name, "mode": self.mode, "weights": self.weights}


def _as_vectors(images: Images) -> Array:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


PIXELS = FeatureSpace("pixels", "v/255", _as_vectors)
"""The values of the pixels themselves."""
