"""Adversarial training (Section 4, Appendix B): optimiser and averaged weights, what a step and an epoch do.

Tracking is a pure function of weights and images: the model measured is a copy (the averaged one), in evaluation mode,
with frozen parameters, and random numbers follow from (seed, epoch, place). So no tracked set and no strength of attack
can change a weight, as Appendix D suspects of the published code; ``examples/glitch.mk`` shows it to a reader.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from datarobust.attacks import margin_attack, start_noise
from datarobust.distributed import Group
from datarobust.networks import forward, fuse, products
from datarobust.networks.classifier import batch_norms, frozen, held
from datarobust.norms import ball_of
from datarobust.randomness import Domain
from datarobust.schedules import momentum_and_rate
from datarobust.trades import trades_step
from datarobust.training.batches import Batches, Draw
from datarobust.training.images import Points, to_float
from datarobust.training.loop import Checkpoint, Line, Listener, Loop, prefixed
from datarobust.training.recipe import TEST_EVERY, TRACK_STEPS, Counts, Recipe

WARM_UP = 0.025
"""Share of the training before weights are averaged."""
BATCH, CRAFTED = 512, 128
"""Images measured, and examples crafted, at a time; it changes nothing but rounding."""
_SUMS = ("loss", "clean_loss", "train_accuracy", "train_robust_accuracy", "images")


def sgd(model: nn.Module, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum; learning rate and momentum are set before every step.

    Weights and biases of batch norms do not decay; all others do, the bias of the classifier too.
    """
    norms = {id(p) for module in batch_norms(model) for p in module.parameters()}
    decaying = [p for p in model.parameters() if id(p) not in norms]
    others = [p for p in model.parameters() if id(p) in norms]
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=0.1, momentum=0.9, nesterov=True, foreach=True
    )


def ema_decay(largest: float, step: int, epochs: int, steps: int) -> float:
    """Share of the averaged weights that step 0, 1, ... of a training keeps; ``steps`` are those of an epoch.

    After step g (from 1): none, a copy, during the first 2.5 % of the training; then it rises as (1 + n) / (10 + n), n
    steps after that, to ``largest``. The reference counts floor(50000 / batch) + 1 steps an epoch for this; here it is
    the steps there are, the same number for its batches.
    """
    after = step + 1 - WARM_UP * epochs * steps
    return 0.0 if after < 0 else min(largest, (1.0 + after) / (10.0 + after))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Take the parameters of a model into their average."""
    averages: list[Tensor] = list(average.parameters())
    parameters: list[Tensor] = list(model.parameters())
    if decay == 0.0:
        torch._foreach_copy_(averages, parameters)
    else:
        torch._foreach_lerp_(averages, parameters, 1.0 - decay)


class Training(Loop):
    """One training of a freshly initialised model; the tracked points and the test set are on the device."""

    def __init__(
        self,
        recipe: Recipe,
        counts: Counts,
        batches: Batches,
        model: nn.Module,
        device: torch.device,
        group: Group,
        track: Points | None = None,
        test: Points | None = None,
    ) -> None:
        self.recipe, self.counts, self.batches, self.track, self.test = recipe, counts, batches, track, test
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(self.model).requires_grad_(False).eval()
        super().__init__(average, recipe.epochs, counts.steps, counts.total, device, group)
        self.optimiser = sgd(self.model, recipe.weight_decay)
        if (spanned := counts.spans(group.size)) > 1:
            span = group.neighbours(spanned)
            for module in batch_norms(self.model):
                module.span = span
        if recipe.compiled:
            fuse(self.model, dynamic=False)
            fuse(self.average, dynamic=True)  # last batches are smaller
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self.crafted: Tensor | None = None
        """The PGD-40 examples of the epoch, in the order of :meth:`Batches.originals`."""

    def run(self, checkpoint: Checkpoint, listener: Listener, save_every: float) -> bool:
        """As :meth:`Loop.run`, in the precision of the recipe."""
        with products(self.recipe.precision, deterministic=True):
            return super().run(checkpoint, listener, save_every)

    def begin_epoch(self) -> None:
        """Craft the PGD-40 examples that the epoch uses, on the averaged model; several processes take turns."""
        originals = self.batches.originals(self.epoch)
        if originals is None:
            return
        examples = torch.zeros(originals.images.shape, dtype=torch.float32, device=self.device)
        rank, processes = self.group.rank, self.group.size
        with frozen(self.average):
            for begin in range(0, len(originals), CRAFTED * processes):
                self.pause()
                first = begin + CRAFTED * rank
                x = to_float(originals.images[first : first + CRAFTED])
                if len(x):
                    y = originals.labels[first : first + CRAFTED]
                    examples[first : first + CRAFTED] = self._attacked(x, y, Domain.FOCUS, first)
        self.group.sum([examples])  # the others have zeros here: no number changes
        self.crafted = examples

    def draw(self, number: int) -> Draw:
        """The random choices of a step."""
        return self.batches.draw(*divmod(number, self.steps))

    def train_step(self, number: int, drawn: Draw) -> None:
        """One step on one batch."""
        recipe = self.recipe
        momentum, lr = momentum_and_rate(recipe.schedule, number, recipe.epochs, self.steps, recipe.lr)
        for group in self.optimiser.param_groups:
            group["lr"], group["momentum"] = lr, momentum
        batch = self.batches.at(self.epoch, self.step, self.crafted, drawn)
        kind, shape = ball_of(recipe.norm).training_noise, tuple(batch.x.shape)
        noise = start_noise(kind, shape, recipe.seed, Domain.TRAIN, number, self.batches.first, self.device)
        self.optimiser.zero_grad(set_to_none=True)
        # In the first step batch norms take over the statistics of the batch, as in the reference: it has no program.
        eager = torch.compiler.set_stance("force_eager") if recipe.compiled and number == 0 else nullcontext()
        with eager, held(batch_norms(self.model) if number == 0 else (), "momentum", 1.0):
            result = trades_step(
                self.model, batch.x, batch.y, noise, norm=recipe.norm, eps=recipe.eps, step=recipe.attack_step,
                steps=recipe.steps, beta=recipe.beta, label_smoothing=recipe.label_smoothing, fixed=batch.fixed,
                adversaries=batch.adversaries, precision=recipe.precision,
            )  # fmt: skip
        self.group.average([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        decay = ema_decay(recipe.ema, number, recipe.epochs, self.steps)
        update_average(self.average, self.model, decay)
        with torch.no_grad():
            right = [(z.argmax(1) == batch.y).sum() for z in (result.clean_logits, result.adversarial_logits)]
            losses = [loss.double() * len(batch.y) for loss in (result.loss, result.clean_loss)]
            count = torch.full_like(losses[0], len(batch.y))  # a fill: a copy would wait for the step
            self.sums += torch.stack([*losses, *(h.double() for h in right), count])

    def standing(self) -> Line:
        """The number of the epoch, and where it has images the means over them."""
        return self._means(self.sums)

    def _means(self, all_sums: Tensor) -> Line:
        *sums, images = all_sums.tolist()
        means = {name: value / images for name, value in zip(_SUMS, sums, strict=False)} if images else {}
        return {"epoch": self.epoch + 1} | means

    def end_epoch(self) -> Line:
        """Figures of the epoch, measured on the averaged model."""
        recipe, counts = self.recipe, self.counts
        sums = self.sums.clone()
        self.group.sum([sums])
        self.demand_finite(float(sums[0]))
        self.group.broadcast([*self.model.buffers()])
        for average, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            average.copy_(buffer)
        last = (self.epoch + 1) * self.steps - 1
        momentum, lr = momentum_and_rate(recipe.schedule, last, recipe.epochs, self.steps, recipe.lr)
        line: Line = {
            **self._means(sums),
            "lr": lr,
            "momentum": momentum,
            "real": counts.real * self.steps,
            "generated": counts.generated * self.steps,
            "injected": counts.injected * self.steps,
            "focus": 0,
        }
        if counts.emphasis is not None:
            focus, others = self.batches.draws(self.epoch)
            draws = focus / counts.emphasis.focus, others / max(1, counts.emphasis.others)
            line |= {"focus": focus, "focus_draws": draws[0], "other_draws": draws[1]}
        if self.test is not None:
            line["test_accuracy"] = self.accuracy(self.test)
            if self.epoch + 1 == recipe.epochs or (self.epoch + 1) % TEST_EVERY == 0:
                line["test_robust_accuracy"] = self.accuracy(self.test, Domain.TEST)
        if self.track is not None:
            line["tracked_accuracy"] = self.accuracy(self.track, Domain.TRACK)
            line["tracked_clean_accuracy"] = self.accuracy(self.track)
        self.sums.zero_()
        return line

    def accuracy(self, points: Points, domain: Domain | None = None) -> float:
        """The share of points that the averaged model classifies as labelled; with a domain, under the tracking attack.

        All processes count together, each on its part of the points.
        """
        right = torch.zeros((), dtype=torch.int64, device=points.labels.device)
        processes = self.group.size
        begin, end = self.group.share(len(points))
        with frozen(self.average):
            for first in range(begin, begin - (-len(points) // processes), BATCH):
                self.pause()
                if first == end:  # another part has one image more
                    break
                part = slice(first, min(first + BATCH, end))
                x = to_float(points.images[part]).contiguous(memory_format=torch.channels_last)
                y = points.labels[part]
                if domain is not None:
                    x = self._attacked(x, y, domain, first)
                with torch.no_grad():
                    right += (forward(self.average, self.recipe.precision, x).argmax(1) == y).sum()
        self.group.sum([right])
        return float(right) / len(points)

    def _attacked(self, x: Tensor, y: Tensor, domain: Domain, first: int) -> Tensor:
        """PGD-40's adversaries of the averaged model; ``first`` is the place of the first image in its set."""
        recipe, network = self.recipe, partial(forward, self.average, self.recipe.precision)
        noise = start_noise("uniform", tuple(x.shape), recipe.seed, domain, self.epoch, first, x.device)
        return margin_attack(
            network, x, y, noise, norm=recipe.norm, eps=recipe.eps, step=recipe.step, steps=TRACK_STEPS
        )

    def memory(self) -> Line:
        """The most that an accelerator has held, in GB."""
        cuda = self.device.type == "cuda"
        return {"memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9 if cuda else None}

    def state(self) -> dict[str, Tensor]:
        """Weights, momenta, averages, sums of the epoch; within an epoch what it has crafted, too."""
        momenta = {
            name: self.optimiser.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            for name, parameter in self.model.named_parameters()
        }
        tensors = prefixed("model", self.model.state_dict()) | prefixed("momentum", momenta)
        tensors |= prefixed("average", self.average.state_dict()) | {"sums/epoch": self.sums}
        if self.step and (originals := self.batches.originals(self.epoch)) is not None:
            if self.crafted is None:  # to be read
                self.crafted = torch.empty(originals.images.shape, dtype=torch.float32, device=self.device)
            tensors["injection"] = self.crafted
        return tensors
