"""The evaluation: attack after attack on the points that are still classified right, in logical batches.

As in AutoAttack (Croce & Hein 2020), each attack gets the points that all attacks before it left, in their order, in
batches of fixed size, and random numbers start anew with each batch. So the verdicts on a batch are a function of its
points, the seed and the network: batches are journalled, shared out among processes, and run in parts, and the verdicts
are those of the plain library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datarobust.distributed import Group
from datarobust.features import as_inputs
from datarobust.networks.convolution import weights_frozen

from . import flags
from .adapter import Notes, Perturb, attacker
from .judging import judge, predictions
from .network import Runner, evaluated, is_out_of_memory, own_randomness
from .protocol import Protocol as Plan
from .state import Array, Rows, State, Verdicts, gathered

T = TypeVar("T")
Progress = Callable[[Iterable[T]], Iterable[T]]

SAVE_EVERY = 1.0
"""Seconds between two saves of the state, and at least ten times what one takes."""


class Checkpoint(Protocol):
    """Where the state of an evaluation survives the process."""

    def load(self) -> list[dict[str, Array]]:
        """All states last saved, of this process and of others that may be gone."""

    def save(self, arrays: dict[str, Array]) -> None:
        """Save this process's state, atomically."""


@dataclass(frozen=True)
class Options:
    """How to evaluate; nothing here changes the noise, and ``fast`` and ``limit`` change rounding alone."""

    device: torch.device
    keep: bool = False
    """Keep the adversarial images."""
    fast: nn.Module | None = None
    """What attacks run in the place of the network (:func:`.network.accelerated`)."""
    limit: int | None = None
    """Images in memory at a time; it is halved when memory runs out."""
    official: bool = False
    """Run the library's attacks exactly as they are."""


@dataclass(frozen=True)
class Outcome:
    """The verdicts on M points, and what should be known of them."""

    clean: Rows
    """(M) predicted classes without attack."""
    attacked: Rows
    """(M) predicted classes of the images that attacks found; where there is none, as ``clean``."""
    broken: Rows
    """(M) number of the attack that succeeded, from 0; -1: none."""
    adversarial: npt.NDArray[np.float32] | None
    """(M, C, H, W) the images that were found, the given ones where there is none."""
    flags: dict[str, Any]
    """Signs of unreliability (:mod:`.flags`); empty where there are none."""
    rechecked: int
    """Images that fooled what attacks run (:attr:`Options.fast`), but not the network itself: they do not count."""


def evaluate(
    module: nn.Module,
    images: Array,
    labels: Rows,
    plan: Plan,
    options: Options,
    *,
    progress: Callable[[str], Progress[Rows]] = lambda _: iter,
    standing: Callable[[int, int], None] = lambda right, seen: None,
    checkpoint: Checkpoint | None = None,
    processes: Group | None = None,
) -> Outcome:
    """Attack a network.

    Args:
        module: from images (B, C, H, W) in [0, 1] to logits, on the device of ``options``; it is put into evaluation
            mode and its parameters are frozen, and afterwards it is as it was.
        images: (M, C, H, W), uint8 (as v/255) or float32 in [0, 1].
        labels: int64 (M).
        plan: the attacks (:func:`.protocol.plan`).
        options: how.
        progress: from the name of a stage to what counts its batches.
        standing: is told after every batch and stage how many points are classified right, as this process knows it,
            and how many it has seen: all, once the stage without attack is over.
        checkpoint: lets a killed run go on; it ends with the bits of an uninterrupted one.
        processes: share the batches of each attack.
    """
    run = _Run(module, images, labels, plan, options, processes or Group(0, 1), standing)
    with ExitStack() as stack:
        stack.enter_context(evaluated(module))
        if options.fast is not None:
            stack.enter_context(evaluated(options.fast))
            stack.enter_context(weights_frozen(options.fast))
        stack.enter_context(torch.no_grad())
        run.restore(checkpoint)
        signs = run.signs()
        for stage in range(len(plan.attacks) + 1):
            name = plan.attacks[stage - 1].name if stage else "clean"
            run.stage(stage, progress(name), checkpoint)
        return run.outcome(signs)


class _Run:
    """One evaluation as it goes on."""

    def __init__(
        self,
        module: nn.Module,
        images: Array,
        labels: Rows,
        plan: Plan,
        options: Options,
        processes: Group,
        standing: Callable[[int, int], None],
    ) -> None:
        self.standing = standing
        self.images, self.labels, self.plan, self.options, self.processes = images, labels, plan, options, processes
        self.runner = Runner(module, options.fast, options.limit)
        self.notes = Notes()
        self.state = State(len(images))
        self._saved, self._pause = time.monotonic(), SAVE_EVERY

    def signs(self) -> dict[str, Any]:
        """What the first batch tells about the network."""
        x = as_inputs(self.images[: self.plan.batch], self.options.device)
        run = self.runner.exact
        found = {
            "randomised": self.plan.version != "rand"
            and self._within_memory(len(x), lambda: flags.is_randomised(run, x)),
            "differentiates": self._within_memory(2, lambda: flags.differentiates(run, x[:2])),
        }
        return {name: True for name, there in found.items() if there}

    # ---------------------------------------------------------------------------------------------------- stages

    def stage(self, stage: int, progress: Progress[Rows], checkpoint: Checkpoint | None) -> None:
        """Bring all points through a stage, this process its share of the batches, and exchange what was found."""
        batches = self.state.batches(self.labels, stage, self.plan.batch)
        mine = batches[self.processes.rank :: self.processes.size]
        perturb = None if stage == 0 or not mine else self._attacker(stage)
        for batch in progress(mine):
            if not self.state.done(batch, stage):
                self.state.record(batch, stage, self._verdicts(batch, perturb), self.options.keep)
                self._save(checkpoint, final=False)
            self.standing(*self.state.standing(self.labels))
        self.exchange()
        self.standing(*self.state.standing(self.labels))
        self._save(checkpoint, final=True)

    def _attacker(self, stage: int) -> Perturb:
        plan, options = self.plan, self.options
        return attacker(
            plan.attacks[stage - 1],
            self.runner,
            plan.norm,
            plan.eps,
            plan.seed,
            options.device,
            self.notes,
            official=options.official,
        )

    def _verdicts(self, batch: Rows, perturb: Perturb | None) -> Verdicts:
        """Run a stage on a batch."""
        x = as_inputs(self.images[batch], self.options.device)
        y = torch.from_numpy(self.labels[batch]).to(self.options.device)
        watching = False

        def work() -> Verdicts:
            self.notes.zero_gradients = 0
            self.runner.begin(watching)
            if perturb is None:
                return predictions(self.runner, x, y)
            found = judge(self.runner, x, y, perturb(x.clone(), y.clone()), self.plan.norm, self.plan.eps)
            found.tally["zero_gradients"] = self.notes.zero_gradients
            return found

        found = self._within_memory(len(batch), work)
        if self.runner.failed():  # asked once a batch; the same again, to see on which images
            watching = True
            found = self._within_memory(len(batch), work)
        return found

    def _within_memory(self, size: int, work: Callable[[], T]) -> T:
        """What ``work`` on ``size`` images gives; where memory runs out, again with half as many at a time.

        Each time random numbers begin anew.
        """
        while True:
            try:
                with own_randomness(self.plan.seed):
                    return work()
            except (RuntimeError, MemoryError) as error:
                most = min(self.runner.limit or size, size)
                if not is_out_of_memory(error) or most == 1:
                    raise
                self.runner.limit = -(-most // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    # ------------------------------------------------------------------------------------------- state, exchange

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Take up what earlier runs, of all processes, have found."""
        for arrays in checkpoint.load() if checkpoint is not None else []:
            self.state.take(arrays)
        self.exchange()

    def _save(self, checkpoint: Checkpoint | None, final: bool) -> None:
        if checkpoint is None or (not final and time.monotonic() - self._saved < self._pause):
            return
        begun = time.monotonic()
        checkpoint.save(self.state.arrays())
        self._saved = time.monotonic()
        self._pause = max(SAVE_EVERY, 10 * (self._saved - begun))

    def exchange(self) -> None:
        """Let every process know what all have found."""
        if self.processes.size == 1:
            return
        for table in self.processes.all_gather(self.state.table()):
            self.state.merge(table)
        rows, images = self.state.images()
        most = max(int(count[0]) for count in self.processes.all_gather(np.array([len(rows)])))
        if most:
            filled = np.full(most, -1, np.int64), np.zeros((most, *self.images.shape[1:]), np.float32)
            filled[0][: len(rows)] = rows
            filled[1][: len(rows)] = images.reshape(len(rows), *self.images.shape[1:])
            both = [self.processes.all_gather(part) for part in filled]
            self.state.add(*gathered(list(zip(*both, strict=True))))

    def outcome(self, signs: dict[str, Any]) -> Outcome:
        """The result, once all stages are done."""
        state, names = self.state, [attack.name for attack in self.plan.attacks]
        counts = state.counts()
        raised = signs | {name: counts[name] for name in ("zero_gradients", "outside", "not_finite") if counts[name]}
        if "square" in names and len(names) > 1:
            place = names.index("square")
            after = int(state.robust(self.labels, place + 2).sum())
            before = after + int((state.broken == place).sum())
            if share := flags.square_found_more(len(self.labels), before, after):
                raised["square_found_more"] = round(share, 6)
        return Outcome(state.clean, state.attacked, state.broken, self._adversarial(), raised, counts["rechecked"])

    def _adversarial(self) -> npt.NDArray[np.float32] | None:
        if not self.options.keep:
            return None
        whole = as_inputs(self.images, torch.device("cpu")).numpy().copy()
        rows, images = self.state.images()
        if len(rows):
            whole[rows] = images
        return whole
