"""Evaluation of classifiers under attack: the clean and the AutoAttack accuracies of Tables 2 to 4 of the paper.

Here: which attacks are run, with which parameters, in a version of AutoAttack (Croce & Hein 2020; 2021 for l1):
``standard`` is what is meant by AutoAttack, ``fast`` its first two attacks, which give an upper bound.

:mod:`.driver` runs them; :mod:`.attacks` has the official attacks, and the network as they see it; :mod:`.checks` says
what cannot be evaluated, or not reliably; :mod:`.statistics` has evaluations in numbers, and compares them;
:mod:`.power` has what a comparison could show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from datarobust.errors import UsageError
from datarobust.norms import NORMS

Norm = Literal["linf", "l2", "l1"]
Version = Literal["standard", "plus", "rand", "fast", "custom"]
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
BATCH = 250  # images of a logical batch, as in the library


@dataclass(frozen=True)
class Attack:
    """One attack. Zero stands where a parameter is not one of this attack."""

    name: str
    restarts: int = 1
    iterations: int = 0
    targets: int = 0
    queries: int = 0
    draws: int = 1  # gradients that are averaged in each step; more than one for networks that depend on chance
    radii: int = 1  # 3: from three times the radius over twice to the radius itself, as for l1

    @property
    def passes(self) -> int:
        """Forward passes that an image costs which is never fooled; a backward pass counts as one."""
        apgd = 2 * (self.iterations + 1)
        passes = {
            **dict.fromkeys(("apgd-ce", "apgd-dlr"), apgd * self.draws),
            "apgd-t": self.targets * (apgd + 1),
            "fab": 12 * self.iterations,  # a backward pass for each of ten classes
            "fab-t": self.targets * (3 * self.iterations + 3),
            "square": self.queries,
        }
        return self.restarts * passes[self.name] + 1


@dataclass(frozen=True)
class Protocol:
    """All that decides the verdicts on given points, but for the network."""

    norm: Norm
    eps: float  # radius, pixels in [0, 1]
    version: Version
    attacks: tuple[Attack, ...]
    left_out: tuple[tuple[str, str], ...] = ()  # attacks that cannot be run on so few classes, and why
    seed: int = 0
    batch: int = BATCH  # images of a logical batch: with the seed it fixes all noise

    @property
    def upper_bound(self) -> bool:
        """Whether the accuracy is no AutoAttack accuracy, but one that AutoAttack could only lower."""
        return self.version in ("fast", "custom")

    def describe(self) -> dict[str, Any]:
        """As artifacts keep it."""
        return {
            "version": self.version,
            "parameters": [asdict(attack) for attack in self.attacks],
            "left_out": dict(self.left_out),
            "seed": self.seed,
            "batch": self.batch,
            "upper_bound": self.upper_bound,
        }


def plan(
    version: Version,
    norm: Norm,
    eps: float,
    classes: int,
    *,
    attacks: Sequence[str] | None = None,
    restarts: int | None = None,
    iterations: int | None = None,
    targets: int | None = None,
    queries: int | None = None,
    seed: int = 0,
    batch: int = BATCH,
) -> Protocol:
    """The attacks of a version on a network of so many classes.

    ``attacks``, their names, and the four numbers are for ``custom``; None leaves them as they are in ``standard``.
    """
    options = {"restarts": restarts, "iterations": iterations, "targets": targets, "queries": queries}
    numbers: dict[str, Any] = {name: number for name, number in options.items() if number is not None}
    if norm not in NORMS or version not in get_args(Version):
        raise UsageError(f"there is no evaluation {version!r} in the norm {norm!r}")
    if not 0 < eps < math.inf:
        raise UsageError(f"`eps` {eps:g} is not a radius: give a positive number, as 8/255.")
    if version != "custom" and (attacks is not None or numbers):
        what = "restarts, iterations, targets and queries"
        raise UsageError(f"{what} are for attacks that are named one by one, as in `attacks` apgd-ce,square")
    if batch < 1 or not 0 <= seed < 1 << 63:
        raise UsageError("a logical batch has one image or more, and a seed is from 0 to 2**63 - 1")
    kept, left_out = [], []
    for attack in _attacks(version, norm, STANDARD if attacks is None else attacks):
        for name, number in numbers.items():
            if number < 1:
                raise UsageError(f"an attack has one of its {name} or more, not {number}")
            if getattr(attack, name) and (name, attack.name) != ("restarts", "square"):
                attack = replace(attack, **{name: number})
        needed = {"apgd-dlr": 3, "apgd-t": 4}.get(attack.name, 2)
        if classes < needed:
            why = f"the loss of {attack.name} compares {needed} logits, and there are {classes} classes"
            left_out.append((attack.name, why))
        else:
            kept.append(replace(attack, targets=min(attack.targets, classes - 1)))
    if not kept:
        raise UsageError(f"none of these attacks can be run on {classes} classes: {'; '.join(dict(left_out).values())}")
    return Protocol(norm, eps, version, tuple(kept), tuple(left_out), seed, batch)


def _attacks(version: Version, norm: Norm, names: Sequence[str]) -> list[Attack]:
    """The attacks of a version, whatever the number of classes; ``names`` are those of ``custom``."""
    if version == "rand":
        return [replace(_attack(name, "linf"), draws=20) for name in ("apgd-ce", "apgd-dlr")]
    if version == "plus":  # the library keeps one radius and nine targets here, in every norm
        repeated = [replace(_attack(name, "linf"), restarts=5) for name in ("apgd-ce", "apgd-dlr", "fab")]
        return repeated + [_attack(name, "linf") for name in ("square", "apgd-t", "fab-t")]
    if version == "fast":
        names = STANDARD[:2]
    for name in names:
        if name not in ATTACKS:
            raise UsageError(f"there is no attack {name!r}: choose from {', '.join(ATTACKS)}")
    if len(set(names)) < len(names):
        raise UsageError("an attack is named twice")
    return [_attack(name, norm) for name in names]


def _attack(name: str, norm: Norm) -> Attack:
    """An attack as ``standard`` has it in a norm."""
    if name == "square":
        return Attack(name, queries=5000)
    attack = Attack(name, iterations=100, targets=9 if name.endswith("-t") else 0)
    if not (NORMS[norm].large_radii and name.startswith("apgd")):
        return attack
    return replace(attack, radii=3, targets=5) if name == "apgd-t" else replace(attack, radii=3, restarts=5)


def eps_text(eps: float) -> str:
    """A radius as people write it: in steps of 1/255 where it is a whole number of them."""
    steps = round(eps * 255)
    return f"{steps}/255" if 0 < steps < 255 and abs(eps * 255 - steps) < 1e-6 else f"{eps:.6g}"
