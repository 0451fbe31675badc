"""The official attacks, of the package ``pyautoattack`` or of an installed ``autoattack``: one thin layer over both.

Nothing of theirs is changed but what a bit does not depend on: FAB's projections are computed faster where there are
kernels for them (:mod:`.projections`), and a gradient attack stops when every image of its batch is fooled.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from datarobust.errors import DatarobustError

from .protocol import Attack

Forward = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) in [0, 1] to logits (B, classes)."""
Perturb = Callable[[Tensor, Tensor], Tensor]
"""Images and their labels (B) to images of the same shape, some of which are adversarial."""

PACKAGES = ("pyautoattack", "autoattack")
_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_CLEAR = 1e-3
"""By how much of the largest logit a wrong class must lead before an attack stops early: not by rounding alone."""


@dataclass
class Notes:
    """What the attacks say as they run; it stands where they expect a logger."""

    zero_gradients: int = 0
    """Images whose gradient was zero at the start of an attack on the loss DLR, counted at every start."""
    others: list[str] = field(default_factory=list)

    def warning(self, message: str) -> None:
        """Take a message, as ``pyautoattack`` gives it."""
        if "zero gradient" in message:
            numbers = re.findall(r"\d+", message)
            self.zero_gradients += int(numbers[0]) if numbers else 1
        elif message not in self.others:
            self.others.append(message)

    log = warning  # as ``autoattack`` gives it

    def debug(self, message: str) -> None:
        """Progress, which is told elsewhere."""

    info = debug


def library() -> tuple[str, str]:
    """Name and version of the package whose attacks are run.

    Raises:
        DatarobustError: there is none.
    """
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            try:
                return name, version(name)
            except PackageNotFoundError:  # a checkout that is not installed
                return name, "unknown"
    raise DatarobustError(f"the official attacks are not installed: install the package {PACKAGES[0]}.")


def attacker(
    attack: Attack,
    forward: Forward,
    norm: str,
    eps: float,
    seed: int,
    device: torch.device,
    notes: Notes,
    *,
    official: bool = False,
) -> Perturb:
    """An attack that is ready to run; it seeds torch's global random numbers at every call.

    Args:
        attack: which, and its parameters.
        forward: the network; its parameters want no gradient.
        norm: linf, l2 or l1.
        eps: radius, pixels in [0, 1].
        seed: of the random numbers.
        device: where the network is.
        notes: collects what the attack says.
        official: leave the library's objects as they are.
    """
    if attack.name == "square":
        return _square(attack, forward, norm, eps, seed, device)
    if attack.name.startswith("fab"):
        return _fab(attack, forward, norm, eps, seed, device, official)
    return _apgd(attack, forward, norm, eps, seed, device, notes, official)


def _part(name: str) -> ModuleType:
    return importlib.import_module(f"{library()[0]}.{name}")


def _square(attack: Attack, forward: Forward, norm: str, eps: float, seed: int, device: torch.device) -> Perturb:
    made = _part("square").SquareAttack(
        forward,
        p_init=0.8,
        n_queries=attack.queries,
        eps=eps,
        norm=_NORMS[norm],
        n_restarts=attack.restarts,
        seed=seed,
        verbose=False,
        device=device,
        resc_schedule=False,
    )
    perturb: Perturb = made.perturb
    return perturb


def _fab(
    attack: Attack, forward: Forward, norm: str, eps: float, seed: int, device: torch.device, official: bool
) -> Perturb:
    kind = _part("fab_pt").FABAttack_PT
    if not official and device.type == "cpu" and norm != "l1":
        kind = _with_projections(kind)
    made = kind(
        forward,
        n_restarts=attack.restarts,
        n_iter=attack.iterations,
        eps=eps,
        seed=seed,
        norm=_NORMS[norm],
        verbose=False,
        device=device,
        targeted=attack.name == "fab-t",
        n_target_classes=attack.targets,
    )
    perturb: Perturb = made.perturb
    return perturb


def _with_projections(kind: type) -> type:
    """The library's FAB, whose own code is run with our projections in the place of its own."""
    from .projections import Projections

    method = kind.attack_single_run  # type: ignore[attr-defined]
    theirs = method.__globals__
    ours = Projections(torch.get_num_threads(), theirs["projection_linf"], theirs["projection_l2"])
    names = {**theirs, "projection_linf": ours.linf, "projection_l2": ours.l2}
    copied = FunctionType(method.__code__, names, method.__name__, method.__defaults__, method.__closure__)
    return type(kind.__name__, (kind,), {"attack_single_run": copied})


def _apgd(
    attack: Attack,
    forward: Forward,
    norm: str,
    eps: float,
    seed: int,
    device: torch.device,
    notes: Notes,
    official: bool,
) -> Perturb:
    targeted = attack.name == "apgd-t"
    kind = getattr(_part("autopgd_base"), "APGDAttack_targeted" if targeted else "APGDAttack")
    if not official and attack.radii == 1 and attack.draws == 1:
        kind = _stopping(kind)
    given: dict[str, Any] = {"n_target_classes": attack.targets} if targeted else {"loss": attack.name[5:]}
    made = kind(
        forward,
        n_restarts=attack.restarts,
        n_iter=attack.iterations,
        verbose=False,
        eps=eps,
        norm=_NORMS[norm],
        eot_iter=attack.draws,
        rho=0.75,
        seed=seed,
        device=device,
        use_largereps=attack.radii > 1,
        logger=notes,
        **given,
    )
    perturb: Perturb = made.perturb
    return perturb


class _AllFooled(Exception):
    """Every image of the batch was misclassified at some step."""


def _stopping(kind: Any) -> Any:
    """APGD that stops when there is nothing left to fool: the steps that it leaves out change no verdict."""

    class Stopping(kind):  # type: ignore[misc]
        def attack_single_run(self: Any, x: Tensor, y: Tensor, x_init: Tensor | None = None) -> Any:
            fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            found = x.clone()
            forward: Forward = self.model

            def watched(images: Tensor) -> Tensor:
                logits = forward(images)
                values = logits.detach()
                right = values.gather(1, y[:, None])[:, 0]
                wrong = values.scatter(1, y[:, None], -torch.inf).amax(1)
                now = wrong - right > _CLEAR * values.abs().amax(1)
                found[now] = images.detach()[now]
                fooled.logical_or_(now)
                if bool(fooled.all()):
                    raise _AllFooled
                return logits

            self.model = watched
            try:
                return super().attack_single_run(x, y, x_init)
            except _AllFooled:
                return found, torch.zeros_like(fooled), torch.zeros(len(x), device=x.device), found
            finally:
                self.model = forward

    return Stopping
