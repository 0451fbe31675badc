"""What a network makes of points: the input of its last linear layer, the output of any layer, or its own output.

A layer is named as :meth:`torch.nn.Module.named_modules` names it; its output is taken. Two names are special:
``penultimate``, the input of the torch.nn.Linear that is run last, and ``output``, what the whole network gives. What
is more than a vector is flattened. A layer that runs several times counts by its last time.

Networks run in float32, in evaluation mode, without gradients and TF32. One whose outputs depend on the other points of
a batch is refused. Networks are somebody else's code: it is tried before anything depends on it, and its errors become
sentences.
"""

from __future__ import annotations

import difflib
import importlib
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datarobust.errors import DataError, DatarobustError, is_out_of_memory
from datarobust.networks import products, within_memory
from datarobust.types import Array, Images

BATCH = 256  # points of a batch, by default
PROBED = 8  # points that a network is tried with
_CPU = torch.device("cpu")


def as_inputs(points: Array, device: torch.device) -> Tensor:
    """Points as a network takes them: float32 on the device, images (B, C, H, W) uint8 as v/255, features unchanged."""
    batch = torch.from_numpy(points).to(device)
    return batch.float() / 255.0 if batch.dtype == torch.uint8 else batch


class Extractor:
    """A network, up to one of its layers.

    The network, in messages called ``spec``, is moved to the device, made float32, put into evaluation mode and tried
    with ``some`` points; DataError where it or the layer cannot be used. ``width`` is how many numbers a point becomes.
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
            outputs = demand_steady(spec, self._tapped, as_inputs(some[:PROBED], device))
        self.width = outputs[0].numel()
        if not self.width:
            raise DataError(f"{spec}: layer {layer} gives no numbers.")

    def __call__(self, points: Array) -> npt.NDArray[np.float32]:
        """float32 (B, width) of points (B, ...), uint8 or float32."""
        with products("fp32", deterministic=True):
            outputs = run_network(self._spec, self._tapped, as_inputs(points, self._device))
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

        with ExitStack() as hooks:
            for name, part in self._module.named_modules():
                if self._layer == "penultimate" and isinstance(part, nn.Linear):
                    hooks.callback(part.register_forward_pre_hook(keep_input, with_kwargs=True).remove)
                elif name == self._layer:
                    hooks.callback(part.register_forward_hook(lambda *call: keep(call[-1])).remove)
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
    mode: str | None  # how images become features; those of one mode are never compared with those of another
    extract: Callable[[Images], Array] | None  # images uint8 (B, C, H, W) -> features (B, D); None: they are known
    weights: str | None = None  # digest of the network's weights
    batch: int = BATCH  # images at a time, by default
    operations: int = 0  # multiplications and additions for one image
    arrays: Mapping[str, Array] = field(default_factory=dict)  # "a" and "b": features of all images, from a file
    device: torch.device = _CPU  # where features are summed

    def of(self, images: Images) -> Array:
        """The features (N, D) of any number of images."""
        assert self.extract is not None
        starts = range(0, len(images), self.batch)
        return np.concatenate([self.extract(images[start : start + self.batch]) for start in starts])

    def as_json(self) -> dict[str, Any]:
        """Its name, mode and weights, as moments record them."""
        return {"features": self.name, "mode": self.mode, "weights": self.weights}


def sparing(extract: Callable[[Images], Array]) -> Callable[[Images], Array]:
    """The same features, of fewer images at a time once memory has run out."""
    limit = 1 << 30

    def within(images: Images) -> Array:
        nonlocal limit

        def in_parts(most: int) -> Array:
            return np.concatenate([extract(images[start : start + most]) for start in range(0, len(images), most)])

        features, most = within_memory(in_parts, min(limit, len(images)))
        if most < len(images):
            limit = most
        return features

    return within


PIXELS = FeatureSpace("pixels", "v/255", lambda x: x.reshape(len(x), -1).astype(np.float32) / np.float32(255))


# -------------------------------------------------------------------------------------- networks of others

UNLIKE = 1e-3  # so much may outputs for the same image differ, as a share of the largest; rounding stays far below
Network = Callable[[Tensor], Any]  # a torch.nn.Module, or another function of a batch


def run_network(spec: str, module: Network, batch: Tensor) -> Any:
    """What the network makes of a batch, without gradients; what it raises becomes a DataError that says where."""
    try:
        with torch.no_grad():
            return module(batch)
    except DatarobustError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything: it is told
        refuse(spec, f"fails on a batch of shape {tuple(batch.shape)}: it", error)


def demand_classes(spec: str, module: Network, batch: Tensor) -> int:
    """How many classes a network has, having run it on a few points (B, ...) and seen that it is a classifier."""
    return int(demand_scores(spec, demand_steady(spec, module, batch), batch).shape[1])


def demand_scores(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    """The outputs for a batch. Raises DataError where they are no (B, C) finite numbers with C >= 2."""
    scores = _rows(spec, outputs, batch)
    if scores.ndim != 2 or scores.shape[1] < 2:
        shape = f"outputs of shape {tuple(scores.shape)} for {len(batch)} points"
        raise DataError(f"{spec} gives {shape}: a classifier gives one row a point, a number a class.")
    wrong = ~torch.isfinite(scores).all(dim=1)
    if bool(wrong.any()):
        what = f"outputs that are not finite, first for point {int(wrong.nonzero()[0, 0])}"
        raise DataError(f"{spec} gives {what}: it is broken, or expects other inputs.")
    return scores


def demand_steady(spec: str, module: Network, batch: Tensor) -> Tensor:
    """The outputs (B, ...) of a few points, having seen that a point gets the same in another batch.

    Raises DataError where the outputs are no tensor with a row a point, or depend on chance or on the other points.
    """
    outputs = _rows(spec, run_network(spec, module, batch), batch)
    half = -(-len(batch) // 2)
    again = _rows(spec, run_network(spec, module, batch[:half]), batch[:half])
    first = outputs[:half].double()
    if again.shape != first.shape or (
        again.numel() and float((again.double() - first).abs().amax()) > UNLIKE * float(first.abs().amax())
    ):
        advice = "leave out dropout, other chance, and statistics of the batch"
        raise DataError(f"{spec} gives other outputs for the same points in another batch: {advice}.")
    return outputs


def demand_logits(spec: str, outputs: Tensor) -> None:
    """Raise DataError where outputs (B, C) are probabilities: attacks on them fail for want of gradients."""
    sums = outputs.double().sum(dim=1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        raise DataError(f"{spec} gives probabilities, but logits are needed: leave out its softmax.")


def refuse(spec: str, what: str, error: BaseException) -> NoReturn:
    """Raise an error of somebody else's code as one sentence; out of memory stays what it is."""
    if is_out_of_memory(error):
        raise error
    lines = [line.strip() for line in str(error).strip().splitlines()]
    first = [line if len(line) <= 150 else f"{line[:150]}…" for line in lines[:3]]
    cause = (
        " ".join(first) if lines and lines[0].endswith(":") else "".join(lines[:1])
    )  # load_state_dict names the keys
    detail = f" ({cause[:400].rstrip('.')})" if cause else ""
    passing = {Path(__file__).parents[1], *(Path(str(library.__file__)).parent for library in (torch, importlib))}
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and not passing & {file, *file.parents}]
    place = f" in line {own[-1][1]} of {own[-1][0]}" if own else ""
    raise DataError(f"{spec} {what} raises {type(error).__name__}{detail}{place}.") from error


def _rows(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise DataError(f"{spec} gives a {type(outputs).__name__}, not a tensor: wrap it in a module that gives one.")
    if outputs.ndim < 1 or len(outputs) != len(batch):
        raise DataError(f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points.")
    return outputs
