"""What is to be trained, and what follows from it: batches, steps, groups. Refusals come before any work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from datarobust.errors import UsageError
from datarobust.networks import Precision
from datarobust.norms import LINF, ball_of

Augment = Literal["crop-flip", "crop", "none", "cifar100"]
FocusMode = Literal["inject", "oversample", "fixed"]
PAPER_TIMES = 5.2
"""In Table 2, row 5, an epoch draws each of 1,024 points in focus once, and 9,226 images of the other 47,952 points."""
TRACK_STEPS = 40
"""Steps of the attack that tracks robustness: PGD-40 (Appendix B)."""
TEST_EVERY = 25
"""Epochs between two attacks on the test set, as in the reference."""
_NEEDED: dict[str, tuple[tuple[str, ...], Callable[[float], bool]]] = {
    "a positive number": (("eps", "step", "lr"), lambda value: 0 < value < math.inf),
    "a number from 0 on": (("beta", "weight_decay"), lambda value: 0 <= value < math.inf),
    "a share from 0 to below 1": (("generated_fraction", "label_smoothing", "ema"), lambda value: 0 <= value < 1),
    "at least 1": (("epochs", "batch", "steps"), lambda value: value >= 1),
    "a number from 1 on": (("focus_times",), lambda value: 1 <= value < math.inf),
}


@dataclass(frozen=True)
class Recipe:
    """Every number that decides a training's bits. Defaults are the pipeline the paper modifies (Wang et al. 2023)."""

    arch: str = "wrn-28-10"
    norm: str = "linf"
    eps: float = LINF.eps  # radius of the attack, pixels in [0,1]
    step: float = ball_of("linf").step  # of the attack; in l2 it moves the tracking attack alone, see l2_step
    steps: int = 10  # of the training attack
    l2_step: Literal["reference", "stated"] = "reference"
    """In l2 the reference takes 2 eps / steps, whatever it was told; "stated" takes ``step`` (Appendix B)."""
    beta: float = 5.0  # weight of the robust term of TRADES
    label_smoothing: float = 0.1
    epochs: int = 2400
    batch: int = 2048  # images of a step, without injected ones
    generated_fraction: float = 0.8  # of a batch, where there are generated images
    schedule: str = "original"
    lr: float = 0.2
    ema: float = 0.995
    weight_decay: float = 5e-4
    augment: Augment = "crop-flip"
    precision: Precision = "fp32"
    compiled: bool = False  # train what torch.compile makes of the network
    bn_group: int | None = None
    """Images that share batch statistics; None: a quarter of the batch, as four GPUs had it; 0: the whole batch."""
    focus_mode: FocusMode = "inject"
    focus_times: float = PAPER_TIMES  # as often as another point one in focus is drawn; not of "inject"
    focus_batch: int = 32  # images of the focus set that are appended to every batch
    inject_as: Literal["input", "adversary"] = "input"
    """Injected examples are inputs like any other, or stand as the adversaries of their originals."""
    seed: int = 0

    def __post_init__(self) -> None:
        largest_eps = ball_of(self.norm).largest_eps
        if largest_eps < math.inf and not 0 < self.eps <= largest_eps:
            raise UsageError(f"`eps` {self.eps:g} is not a radius for pixels in [0,1]: write 8/255, not 8")
        for needed, (names, fits) in _NEEDED.items():
            for name in names:
                if not fits(value := getattr(self, name)):
                    raise UsageError(f"`{name}` {value:g}: {needed} is needed")

    @property
    def attack_step(self) -> float:
        """Step of the training attack (:mod:`datarobust.attacks` has the l2 attack of the reference)."""
        if self.l2_step == "stated":
            return self.step
        return ball_of(self.norm).reference_step(self.eps, self.step, self.steps)


@dataclass(frozen=True)
class Emphasis:
    """How often an epoch draws points in focus, and others."""

    focus: int  # points in focus
    others: int  # other points that are trained on
    drawn: float  # of the points in focus among the real images of an epoch, on average
    focus_draws: float  # how often an epoch has a point in focus, on average
    other_draws: float | None  # how often it has another point; None where there is no other

    def remark(self) -> str:
        """The emphasis in a sentence."""
        draws = f"Focus: {self.focus:,} points, each {self.focus_draws:.2f} times in an epoch"
        if not self.other_draws:
            return f"{draws}; no other real point is trained on."
        times = self.focus_draws / self.other_draws
        return f"{draws}; another point {self.other_draws:.2f} times: {times:.3g} times as often."


@dataclass(frozen=True)
class Counts:
    """How many images of which kind make a step, and how many steps an epoch."""

    real: int
    generated: int
    injected: int
    group: int  # images that share batch statistics
    steps: int  # of an epoch
    emphasis: Emphasis | None = None  # where there is a focus

    @property
    def total(self) -> int:
        """Images of a step."""
        return self.real + self.generated + self.injected

    def spans(self, processes: int) -> int:
        """Of so many processes that share a batch, how many share a group of batch statistics."""
        return max(1, self.group * processes // self.total)


def default_focus_batch(focus: int) -> int:
    """How many examples are injected into a batch by default, of the points in focus: a multiple of four, or all."""
    return Recipe.focus_batch if not focus else min(Recipe.focus_batch, focus // 4 * 4 or focus)


def count(recipe: Recipe, base: int, held_out: int, generated: bool, focus: int, processes: int = 1) -> Counts:
    """What a recipe means for ``base`` images, of which so many are held out, and so many others are in focus.

    An epoch has ceil(base / batch) steps, whatever is held out.

    Raises UsageError where nothing is left to train on, or a batch cannot be made or shared out.
    """
    if held_out >= base:
        raise UsageError(f"`hold_out` takes all {base:,} points: nothing is left to train on")
    drawn = int(recipe.batch * recipe.generated_fraction) if generated else 0
    real, steps = recipe.batch - drawn, -(-base // recipe.batch)
    if generated and drawn == 0:
        raise UsageError(
            f"a batch of {recipe.batch} with `generated_fraction` {recipe.generated_fraction:g} has no room for a "
            "generated image: make `batch` or the fraction larger, or leave out `generated`"
        )
    injects = focus > 0 and recipe.focus_mode == "inject"
    if injects and not 1 <= recipe.focus_batch <= focus:
        raise UsageError(
            f"`focus_batch` {recipe.focus_batch}: it must be between 1 and {focus:,}, the number of points in focus"
        )
    injected = recipe.focus_batch if injects else 0
    emphasis = _emphasis(recipe, focus, base - held_out - focus, real * steps, injected * steps) if focus else None
    total = recipe.batch + injected
    if total % processes:
        raise UsageError(f"a batch of {total} images cannot be shared by {processes} processes: change `batch`")
    if recipe.bn_group is None and total % 4:
        raise UsageError(
            f"a batch of {total} images has no quarter for batch statistics: change `batch`, or say `bn_group`"
        )
    group = total // 4 if recipe.bn_group is None else recipe.bn_group or total
    share = total // processes
    if share % group and (group % share or processes % (group // share)):
        if processes == 1:
            place = f"do not divide the {share} images of a batch: change `batch` or `bn_group`"
        else:
            place = (
                f"neither divide the {share} images of each of {processes} processes nor are of several processes: "
                "change `batch`, `bn_group` or the number of processes"
            )
        raise UsageError(f"batch statistics of {group} images {place}")
    counts = Counts(real, drawn, injected, group, steps, emphasis)
    if recipe.compiled and counts.spans(processes) > 1:
        raise UsageError(
            f"batch statistics of {group} images span {counts.spans(processes)} processes, and `compile` is for those "
            f"of one: say `no_compile`, or `bn_group` {share} or less"
        )
    return counts


def _emphasis(recipe: Recipe, focus: int, others: int, real: int, injected: int) -> Emphasis:
    """How the real images of an epoch are shared by points in focus and others.

    With p the draws of another point, focus * times * p + others * p = real. Raises UsageError where the focus would
    change nothing, or does not fit.
    """
    share = focus / (focus + others)
    if recipe.focus_mode != "inject":
        share = recipe.focus_times * focus / (recipe.focus_times * focus + others)
    drawn = real * share
    if recipe.focus_mode == "fixed":
        if focus > real:
            raise UsageError(
                f"`focus` names {focus:,} points, but an epoch has room for {real:,} real images: "
                "name fewer, or make `batch` larger"
            )
        drawn = max(drawn, float(focus))
    if recipe.focus_mode == "oversample" and (not others or recipe.focus_times == 1):
        why = f"`focus_times` {recipe.focus_times:g}" if others else "`focus` names all points that are trained on"
        raise UsageError(f"{why}: points in focus would be drawn no more often than without a focus")
    return Emphasis(focus, others, drawn, (drawn + injected) / focus, (real - drawn) / others if others else None)
