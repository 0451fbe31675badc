"""Saving and taking up the state of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datarobust.training.batches import Injection
from datarobust.training.state import (
    Arrays,
    Checkpoint,
    Listener,
    Weights,
    pack,
    pack_json,
    unpack,
    unpack_json,
)

if TYPE_CHECKING:
    from datarobust.training.loop import Training


def tensors_of(training: Training) -> dict[str, dict[str, torch.Tensor]]:
    """Everything that a step changes, by part and name; to be read and written in place."""
    state = training.optimiser.state
    momenta = {
        name: state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        for name, parameter in training.model.named_parameters()
    }
    return {
        "model": dict(training.model.state_dict()),
        "momentum": momenta,
        "average": dict(training.average.model.state_dict()),
        "sums": {"epoch": training.sums},
    }


def save(training: Training, checkpoint: Checkpoint) -> None:
    """Save the state between two steps: rank 0 does it, and nobody goes on before it is safe.

    Raises:
        DivergedError: a loss of this epoch is not finite; nothing is saved.
    """
    training.demand_finite(float(training.sums[0]))
    if training.processes.leads:
        last = Weights(training.average.model.state_dict(), training.epoch) if training.step == 0 else None
        best = training.best[1] if training.best is not None and training.best_is_new else None
        checkpoint.save(_state(training), best, last)
        training.best_is_new = False
    training.processes.agree(True)


def _state(training: Training) -> Arrays:
    where: dict[str, Any] = {"epoch": training.epoch, "step": training.step, "environment": environment(training)}
    state: Arrays = {}
    for part, tensors in tensors_of(training).items():
        state |= pack(part, tensors)
    if training.best is not None:
        where["best"] = {"accuracy": training.best[0], "epoch": training.best[1].epoch}
        state |= {f"best/{name}": array for name, array in training.best[1].arrays.items()}
    if training.injection is not None and training.step:
        state["injection"] = training.injection.examples.cpu().numpy()
    return state | {"where": pack_json(where)}


def resume(training: Training, checkpoint: Checkpoint, listener: Listener) -> None:
    """Take up the last state, if there is one: rank 0 reads it, the others have it from rank 0."""
    processes = training.processes
    state = checkpoint.load() if processes.leads else None
    if processes.agree(state is not None):
        _restore(training, state, listener)
    if processes.leads:
        checkpoint.rewind(training.epoch)


def _restore(training: Training, state: Arrays | None, listener: Listener) -> None:
    tensors = tensors_of(training)
    place = torch.zeros(2, dtype=torch.int64)
    if state is not None:
        where = unpack_json(state["where"])
        place = torch.tensor([where["epoch"], where["step"]])
        for part, named in tensors.items():
            unpack(part, state, named)
        if "best" in where:
            arrays = {name.removeprefix("best/"): array for name, array in state.items() if name.startswith("best/")}
            training.best = (where["best"]["accuracy"], Weights.of(arrays, where["best"]["epoch"]))
            training.best_is_new = True
        _compare(where["environment"], environment(training), listener)
    everything = [tensor for named in tensors.values() for tensor in named.values()]
    training.processes.broadcast([place, *everything])
    training.epoch, training.step = (int(number) for number in place)
    if training.step and training.counts.focus:
        _restore_injection(training, state)


def _restore_injection(training: Training, state: Arrays | None) -> None:
    originals = training.sets.base.at(training.batches.injected(training.epoch))
    examples = torch.empty(tuple(originals.images.shape), dtype=torch.float32)
    if state is not None:
        examples.copy_(torch.from_numpy(state["injection"]))
    training.processes.broadcast([examples])
    training.injection = Injection(examples.to(training.device), originals)


def environment(training: Training) -> dict[str, Any]:
    """On what bits depend besides the recipe."""
    cuda = training.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(training.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "processes": training.processes.size,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _compare(was: dict[str, Any], now: dict[str, Any], listener: Listener) -> None:
    """Say so where a run goes on elsewhere."""
    if other := [
        f"{name} {was.get(name)} before, {now[name]} now" for name in sorted(now) if was.get(name) != now[name]
    ]:
        listener.remark(
            f"The run goes on, but no longer bit for bit as it would have without the stop: {'; '.join(other)}."
        )
