"""The evaluation: attack after attack on the points that are still classified right, in logical batches.

As in AutoAttack (Croce & Hein 2020), each attack gets the points that all attacks before it left, in their order, in
batches of fixed size, and random numbers start anew with each batch. So the verdicts on a batch are a function of its
points, the seed and the network: batches are saved, shared out among processes, and run in parts, and the verdicts are
those of the plain library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datarobust.distributed import Group
from datarobust.networks import within_memory
from datarobust.networks.classifier import frozen
from datarobust.networks.features import PROBED, as_inputs
from datarobust.norms import norm_of
from datarobust.types import Array, Progress, Rows, T

from . import Protocol as Attacks
from . import checks
from .attacks import AttackedModel, Log, Perturb, accelerated, attacker, seeded

Flags = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]

TALLIES = ("zero_gradients", "outside", "not_finite", "rechecked")  # what is counted over batches
NONE = -1
ROUNDING = 2.0**-24  # of a pixel in single precision


class Checkpoint(Protocol):
    """Where the state of an evaluation survives the process."""

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""

    def load_all(self) -> list[dict[str, Array]]:
        """All states last saved, of this process and of others that may be gone."""

    def save(self, arrays: Mapping[str, Array], /) -> None:
        """Save this process's state, atomically."""


@dataclass(frozen=True)
class Options:
    """How to evaluate; nothing here changes the noise."""

    device: torch.device
    keep: bool = False  # the adversarial images
    limit: int | None = None  # images in memory at a time; it is halved when memory runs out, and changes rounding
    faster: bool = False  # on a GPU, attack a copy that is faster and rounds otherwise, where there can be one
    compiled: bool = False  # attack what torch.compile makes of the network or of its copy
    official: bool = False  # do not stop gradient attacks once a whole batch is fooled


@dataclass(frozen=True)
class Outcome:
    """The verdicts on M points, and what should be known of them."""

    clean: Rows  # (M) predicted classes without attack
    attacked: Rows  # (M) predicted classes of the adversarial images; where there is none, as clean
    broken: Rows  # (M) number of the attack that succeeded, from 0; -1: none
    adversarial: Floats32 | None  # (M, C, H, W) the adversarial images, the original ones where there is none
    flags: dict[str, Any]  # signs of unreliability (`checks`); empty where there are none
    rechecked: int  # images that fooled what attacks run, but not the network itself: they do not count
    faster: bool = False  # whether attacks ran a copy


def evaluate(
    module: nn.Module,
    images: Array | Tensor,  # (M, C, H, W), uint8 (as v/255) or float32 in [0, 1]
    labels: Rows | Tensor,  # int64 (M)
    protocol: Attacks,
    options: Options,
    *,
    progress: Callable[[str], Progress] = lambda _: iter,
    standing: Callable[[int, int], None] = lambda right, seen: None,
    checkpoint: Checkpoint | None = None,
    group: Group | None = None,
) -> Outcome:
    """Attack a network, from images in [0, 1] to logits, on the device of the options; it is left as it was.

    ``progress`` counts the batches of each stage, which it is told. ``standing`` is called after every batch and stage
    with how many points are classified right, as this process knows it, and how many it has evaluated: all, once the
    stage without attack is over. With a checkpoint a killed run goes on, and ends with the bits of an uninterrupted
    one; the processes of a group share the batches of each attack.
    """
    images, labels = (each.numpy(force=True) if isinstance(each, Tensor) else each for each in (images, labels))
    some = as_inputs(images[:PROBED], options.device)
    fast, faster = accelerated(module, some, options.faster, options.compiled)
    model = AttackedModel(module, fast, options.limit)
    run = _Run(model, images, labels, protocol, options, standing, checkpoint, group or Group(0, 1))
    with frozen(module), frozen(fast), torch.no_grad(), _kept_buffers() if options.compiled else nullcontext():
        for arrays in checkpoint.load_all() if checkpoint is not None else []:
            run.state.restore(arrays)
        run.exchange()
        flags = run.first_flags()
        for stage, name in enumerate(["clean", *(attack.name for attack in protocol.attacks)]):
            run.stage(stage, progress(name))
    return replace(run.outcome(flags), faster=faster)


def _kept_buffers() -> AbstractContextManager[Any]:
    """Inside, what is compiled gives no buffers away, because FAB takes several gradients of one forward pass."""
    from torch._functorch import config  # private: imported where it is needed alone

    kept: AbstractContextManager[Any] = config.patch(donated_buffer=False)
    return kept


@dataclass
class _Run:
    """One evaluation as it goes on."""

    model: AttackedModel
    images: Array
    labels: Rows
    protocol: Attacks
    options: Options
    standing: Callable[[int, int], None]
    checkpoint: Checkpoint | None
    group: Group

    def __post_init__(self) -> None:
        self.log, self.state = Log(), State(len(self.images))

    def first_flags(self) -> dict[str, Any]:
        """Signs of unreliability that the first batch shows."""
        x, logits = as_inputs(self.images[: self.protocol.batch], self.options.device), self.model.exact
        flags = {}
        if self.protocol.version != "rand":
            flags["randomised"] = self._within_memory(len(x), lambda: checks.is_randomised(logits, x))
        flags["differentiates"] = self._within_memory(2, lambda: checks.differentiates(logits, x[:2]))
        return {sign: True for sign, seen in flags.items() if seen}

    def stage(self, stage: int, progress: Progress) -> None:
        """Bring all points through a stage, this process its share of the batches, and exchange the verdicts."""
        protocol, options = self.protocol, self.options
        mine = self.state.batches(self.labels, stage, protocol.batch)[self.group.rank :: self.group.size]
        perturb = None
        if stage > 0 and mine:
            perturb = attacker(protocol, stage - 1, self.model, options.device, self.log, official=options.official)
        for batch in progress(mine):
            if (self.state.settled[batch] <= stage).any():
                self.state.record(batch, stage, self._verdicts(batch, perturb), options.keep)
                if self.checkpoint is not None and self.checkpoint.due:
                    self.checkpoint.save(self.state.arrays())
            self.standing(*self.state.standing(self.labels))
        self.exchange()
        self.standing(*self.state.standing(self.labels))
        if self.checkpoint is not None:
            self.checkpoint.save(self.state.arrays())

    def _verdicts(self, batch: Rows, perturb: Perturb | None) -> Verdicts:
        """Run a stage on a batch."""
        x = as_inputs(self.images[batch], self.options.device)
        y = torch.from_numpy(self.labels[batch]).to(self.options.device)

        def work(watching: bool) -> Verdicts:
            self.log.zero_gradients = 0
            self.model.begin(watching)
            if perturb is None:
                return verdicts_on(self.model, x, y)
            x_adv = perturb(x.clone(), y.clone())
            verdicts = attacked_verdicts(self.model, x, y, x_adv, self.protocol.norm, self.protocol.eps)
            verdicts.tally["zero_gradients"] = self.log.zero_gradients
            return verdicts

        verdicts = self._within_memory(len(batch), lambda: work(watching=False))
        if self.model.failed():  # asked once a batch; the same again, to see on which images
            verdicts = self._within_memory(len(batch), lambda: work(watching=True))
        return verdicts

    def _within_memory(self, size: int, work: Callable[[], T]) -> T:
        """What ``work`` on ``size`` images gives; where memory runs out, again with half as many at a time.

        Each time random numbers begin anew.
        """

        def limited(most: int) -> T:
            if most < size:
                self.model.limit = most
            with seeded(self.protocol.seed):
                return work()

        return within_memory(limited, min(self.model.limit or size, size))[0]

    def exchange(self) -> None:
        """Let every process know what all know."""
        if self.group.size == 1:
            return
        for table in self.group.all_gather(self.state.table):
            self.state.merge(table)
        rows, images = self.state.images()
        most = max(int(count[0]) for count in self.group.all_gather(np.array([len(rows)])))
        if most:  # arrays of one shape are exchanged: rows of -1 fill them up
            filled = np.full(most, NONE, np.int64), np.zeros((most, *self.images.shape[1:]), np.float32)
            filled[0][: len(rows)] = rows
            filled[1][: len(rows)] = images.reshape(len(rows), *self.images.shape[1:])
            all_rows, all_images = (np.concatenate(self.group.all_gather(part)) for part in filled)
            self.state.add(all_rows[all_rows != NONE], all_images[all_rows != NONE])

    def outcome(self, flags: dict[str, Any]) -> Outcome:
        """The result, once all stages are done."""
        state, names = self.state, [attack.name for attack in self.protocol.attacks]
        counts = dict(zip(TALLIES, state.tally.sum(axis=0).tolist(), strict=True))
        flags |= {name: counts[name] for name in ("zero_gradients", "outside", "not_finite") if counts[name]}
        if "square" in names and len(names) > 1:
            share = int((state.broken == names.index("square")).sum()) / len(self.labels)
            if share > checks.MORE:
                flags["square_found_more"] = round(share, 6)
        adversarial = None
        if self.options.keep:
            adversarial = as_inputs(self.images, torch.device("cpu")).numpy().copy()
            for row, image in state.adversarial.items():
                adversarial[row] = image
        verdicts = state.clean.copy(), state.attacked.copy(), state.broken.copy()
        return Outcome(*verdicts, adversarial, flags, counts["rechecked"])


# --------------------------------------------------------------------------------------------------------- verdicts


@dataclass
class Verdicts:
    """The result of one stage on one batch of B points."""

    predicted: Rows  # (B) class of the image that was attacked, or of the image itself; -1: the logits are not finite
    fooled: Flags  # (B) whether the prediction is wrong
    images: Floats32 | None  # (B, C, H, W) what the attack made; none for the stage without attack
    tally: dict[str, int] = field(default_factory=dict)


def verdicts_on(model: AttackedModel, x: Tensor, y: Tensor) -> Verdicts:
    """Verdicts on images (B, C, H, W) as they are, whose labels are ``y`` (B); logits not finite are wrong."""
    logits = model.exact(x)
    failed = ~torch.isfinite(logits).all(1)
    predicted = logits.argmax(1).masked_fill(failed, NONE)
    return Verdicts(predicted.cpu().numpy(), (predicted != y).cpu().numpy(), None, {"not_finite": int(failed.sum())})


def attacked_verdicts(model: AttackedModel, x: Tensor, y: Tensor, x_adv: Tensor, norm: str, eps: float) -> Verdicts:
    """Verdicts on the images ``x_adv`` that an attack made of ``x`` (B, C, H, W), whose labels are ``y`` (B).

    Logits that are not finite are wrong: where the network failed on an image around a point, that image is taken. An
    image that is not in [0, 1] or not within the radius does not count.
    """
    x_adv = x_adv.detach()
    if model.failures:
        x_adv = x_adv.clone()
        for image in torch.cat(model.failures):
            row = int((x - image).flatten(1).abs().amax(1).argmin())
            if bool(within(x[row : row + 1], image[None], norm, eps)):
                x_adv[row] = image
    verdicts = verdicts_on(model, x_adv, y)
    wrong, outside = verdicts.fooled, verdicts.fooled & ~within(x, x_adv, norm, eps).cpu().numpy()
    failed = verdicts.predicted == NONE
    tally = {"outside": int(outside.sum()), "not_finite": int((failed & ~outside).sum())}
    if model.rounds_otherwise(x_adv):
        tally["rechecked"] = int(((model(x_adv).argmax(1) != y).cpu().numpy() & ~wrong).sum())
    return Verdicts(verdicts.predicted, wrong & ~outside, x_adv.cpu().numpy(), tally)


def within(x: Tensor, x_adv: Tensor, norm: str, eps: float) -> Tensor:
    """Which adversarial images (B) are in [0, 1] and within the radius of their originals, up to rounding.

    Distances are in double precision. Every pixel may be off by its rounding in single precision, and the distance by a
    millionth of the radius.
    """
    space, flat = norm_of(norm), x_adv.flatten(1)
    distance = (flat.double() - x.flatten(1).double()).norm(p=space.order, dim=1)
    inside = distance <= eps * (1 + 1e-6) + ROUNDING * space.diameter(flat.shape[1])
    boxed: Tensor = inside & (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
    return boxed


# ------------------------------------------------------------------------------------------------------------ state


class State:
    """What is known of M points. Stage 0 predicts without attack; stage s runs the s-th attack.

    A verdict depends on its logical batch alone, so states of several processes, or of runs that were killed, are
    merged by taking for each point the one that has gone further.
    """

    def __init__(self, points: int) -> None:
        self.table = np.zeros((points, 4 + len(TALLIES)), np.int64)
        self.table[:, 1:4] = NONE
        # Its columns: stages gone through, and what `Outcome` has. Counts are in the row of their batch's first point.
        self.settled, self.clean, self.attacked, self.broken = self.table[:, :4].T
        self.tally = self.table[:, 4:]
        self.adversarial: dict[int, Floats32] = {}  # images (C, H, W) by row, where they are kept

    def standing(self, labels: Rows) -> tuple[int, int]:
        """How many points are still classified right, of how many that went through a stage."""
        seen = self.settled > 0
        return int((seen & (self.clean == labels) & (self.broken == NONE)).sum()), int(seen.sum())

    def batches(self, labels: Rows, stage: int, size: int) -> list[Rows]:
        """The logical batches of a stage, whether done or not: consecutive points that the stages before left right."""
        right = (self.clean == labels) & ((self.broken == NONE) | (self.broken >= stage - 1))
        rows = np.flatnonzero(right) if stage > 0 else np.arange(len(labels))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def record(self, batch: Rows, stage: int, verdicts: Verdicts, keep: bool) -> None:
        """Take in the verdicts of a stage on a batch."""
        fooled = batch[verdicts.fooled]
        if stage == 0:
            self.clean[batch] = self.attacked[batch] = verdicts.predicted
        else:
            self.broken[fooled] = stage - 1
            self.attacked[fooled] = verdicts.predicted[verdicts.fooled]
            if keep and verdicts.images is not None:
                self.add(fooled, verdicts.images[verdicts.fooled])
        self.settled[batch] = stage + 1
        self.tally[batch[0]] += [verdicts.tally.get(name, 0) for name in TALLIES]

    def images(self) -> tuple[Rows, Floats32]:
        """Rows (F), ascending, whose images are kept, and the images (F, C, H, W)."""
        rows = np.array(sorted(self.adversarial), np.int64)
        kept = [self.adversarial[row] for row in rows.tolist()]
        return rows, np.stack(kept) if kept else np.empty(0, np.float32)

    def arrays(self) -> dict[str, Array]:
        """All of it, to be saved."""
        rows, images = self.images()
        return {"table": self.table, "rows": rows, "images": images}

    def merge(self, table: Rows) -> None:
        """Take over the points that have gone further in another state's table."""
        further = table[:, 0] > self.settled
        self.table[further] = table[further]

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take up what was saved; a state of another number of points is passed over."""
        if arrays["table"].shape == self.table.shape:
            self.merge(arrays["table"])
            self.add(arrays["rows"], arrays["images"])

    def add(self, rows: Sequence[int] | Rows, images: Array) -> None:
        """Keep images of these rows."""
        self.adversarial |= {int(row): np.asarray(image) for row, image in zip(rows, images, strict=True)}
