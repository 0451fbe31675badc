"""One training as it was asked for: what it needs, what it costs, and how it is done."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datarobust.artifacts import Step
from datarobust.distributed import Group
from datarobust.runs.folder import Run
from datarobust.runs.sets import Inputs, arch_of
from datarobust.training.images import Points
from datarobust.training.loop import Listener
from datarobust.training.recipe import Counts, Recipe, count

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Job:
    """A recipe on given sets, by given processes."""

    inputs: Inputs
    recipe: Recipe
    memory: int
    """Bytes of images to hold."""
    processes: Group

    @cached_property
    def counts(self) -> Counts:
        """Images of a step, steps of an epoch. Raises UsageError where the recipe does not fit the sets."""
        inputs = self.inputs
        return count(
            self.recipe,
            len(inputs.dataset),
            len(inputs.held_out),
            inputs.generated is not None,
            len(inputs.focused),
            self.processes.size,
        )

    @cached_property
    def points(self) -> tuple[Points, Points | None]:
        """The dataset and the test set in memory."""
        return self.inputs.read(self.memory)

    @cached_property
    def arch(self) -> dict[str, Any]:
        """The network."""
        return arch_of(self.recipe.arch, self.inputs, self.points[0])

    @cached_property
    def model(self) -> nn.Module:
        """The network with its initial weights. Raises UsageError where there is no such network."""
        from datarobust.networks import build

        return build(self.arch, self.recipe.seed, self.counts.group)

    def run_at(self, path: Path, step: Step) -> Run:
        """The folder of this run; ``step`` is this command, for the history of the weights."""
        return Run(path, self.recipe, self.arch, self.inputs.digests, [*self.inputs.history, step])

    def plan(self) -> dict[str, Any]:
        """What the training takes: parameters, images, forward passes, and so operations and memory."""
        from datarobust.networks import forward_operations

        counts, recipe = self.counts, self.recipe
        shape = tuple(self.points[0].images.shape[1:])
        operations = forward_operations(self.model, shape)
        steps = counts.steps * recipe.epochs
        passes = passes_of(recipe)
        return {
            "arch": self.arch["name"],
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "real_a_batch": counts.real,
            "generated_a_batch": counts.generated,
            "injected_a_batch": counts.focus,
            "bn_group": counts.group,
            "steps_an_epoch": counts.steps,
            "steps": steps,
            "images": steps * counts.total,
            "forward_operations_an_image": operations,
            "forward_passes_an_image": passes,
            "operations": steps * counts.total * passes * operations,
        }

    def train(self, run: Run, device: torch.device, listener: Listener, save_every: float) -> bool:
        """Train, from the state that the run has or from the start; False where the listener stopped it."""
        from datarobust.training.adversarial import Sets, Training
        from datarobust.training.batches import Batches

        base, test = self.points
        track = None if self.inputs.track is None else base.at(self.inputs.track.rows).to(device)
        sets = Sets(base.to(device), track, None if test is None else test.to(device))
        with ExitStack() as stack:
            generated = self.inputs.stream(self.recipe.seed, self.memory, stack)
            batches = Batches(
                self.recipe,
                self.counts,
                sets.base,
                self.inputs.available,
                generated,
                self.inputs.focused,
                (self.processes.rank, self.processes.size),
            )
            training = Training(self.recipe, self.counts, sets, batches, self.model, device, self.processes)
            return training.run(run, listener, save_every)


def passes_of(recipe: Recipe) -> int:
    """Forward passes' worth of work for one image of a step: a backward pass to the images alone counts as one.

    The clean forward pass serves the attack and the loss; each step of the attack is one forward and one backward to
    the image; the adversarial forward is one; the two backward passes to the weights count two each. 26 for ten steps.
    """
    return 1 + 2 * recipe.steps + 1 + 2 * 2
