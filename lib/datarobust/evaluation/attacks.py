"""The official attacks, of the package ``pyautoattack`` or of an installed ``autoattack``, and the network they attack.

The attacks are used as they are, but that a gradient attack stops once every image of its batch is fooled, which
changes no verdict. The network runs in parts where memory is short, and it is noted where its logits are not finite.
"""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from datarobust.errors import DatarobustError
from datarobust.networks import products
from datarobust.networks.classifier import frozen

from . import Protocol

Forward = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] to logits (B, classes)
Perturb = Callable[[Tensor, Tensor], Tensor]  # images and their labels (B) to images, some of which are adversarial

PACKAGES = ("pyautoattack", "autoattack")
_MARGIN = 1e-3  # share of the largest logit by which a wrong class leads where an attack stops early: not by rounding
_FAILURES = 100  # forward passes of which the images with logits that are not finite are kept


class Log:
    """What the attacks report as they run; it stands where they expect a logger."""

    zero_gradients = 0  # images without a gradient at the start of an attack on the loss DLR, counted at every start

    def warning(self, message: str) -> None:
        """Take a message, as ``pyautoattack`` gives it."""
        if "zero gradient" in message:
            numbers = re.findall(r"\d+", message)
            self.zero_gradients += int(numbers[0]) if numbers else 1

    log = warning  # as ``autoattack`` gives it

    def debug(self, message: str) -> None:
        """Ignore progress, which is reported elsewhere."""

    info = debug


def library() -> tuple[str, str]:
    """Name and version of the package whose attacks are run. Raises DatarobustError where there is none."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            try:
                return name, version(name)
            except PackageNotFoundError:  # a checkout that is not installed
                return name, "unknown"
    raise DatarobustError(f"the official attacks are not installed: install the package {PACKAGES[0]}.")


def attacker(
    protocol: Protocol, number: int, forward: Forward, device: torch.device, log: Log, *, official: bool = False
) -> Perturb:
    """An attack of a protocol, ready to run; it seeds torch's global random numbers at every call.

    The parameters of the network want no gradient. With ``official`` gradient attacks do not stop early.
    """
    attack, norm = protocol.attacks[number], protocol.norm.capitalize()
    targeted = attack.name.endswith("-t")
    options: dict[str, Any] = {"eps": protocol.eps, "norm": norm, "n_restarts": attack.restarts, "seed": protocol.seed}
    if attack.name == "square":
        module, kind = "square", "SquareAttack"
        options |= {"p_init": 0.8, "n_queries": attack.queries, "resc_schedule": False}
    elif attack.name.startswith("fab"):
        module, kind = "fab_pt", "FABAttack_PT"
        options |= {"n_iter": attack.iterations, "targeted": targeted, "n_target_classes": attack.targets}
    else:
        module, kind = "autopgd_base", "APGDAttack_targeted" if targeted else "APGDAttack"
        options |= {"n_iter": attack.iterations, "eot_iter": attack.draws, "rho": 0.75, "logger": log}
        options |= {"use_largereps": attack.radii > 1}
        options |= {"n_target_classes": attack.targets} if targeted else {"loss": attack.name.removeprefix("apgd-")}
    make = getattr(importlib.import_module(f"{library()[0]}.{module}"), kind)
    if module == "autopgd_base" and not official and attack.radii == attack.draws == 1:
        make = _stopping_early(make)
    perturb: Perturb = make(forward, device=device, verbose=False, **options).perturb
    return perturb


class _AllFooled(Exception):
    """Every image of the batch was misclassified at some step."""


def _stopping_early(apgd: Any) -> Any:
    """APGD that stops when there is nothing left to fool: the steps that it leaves out change no verdict."""

    class Stopping(apgd):  # type: ignore[misc]
        def attack_single_run(self: Any, x: Tensor, y: Tensor, x_init: Tensor | None = None) -> Any:
            fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            x_adv = x.clone()
            forward: Forward = self.model

            def watched(images: Tensor) -> Tensor:
                nonlocal x_adv
                logits = forward(images)
                values = logits.detach()
                right = values.gather(1, y[:, None])[:, 0]
                wrong = values.scatter(1, y[:, None], -torch.inf).amax(1)
                beaten = wrong - right > _MARGIN * values.abs().amax(1)
                x_adv = torch.where(beaten.view(-1, 1, 1, 1), images.detach(), x_adv)  # an index would wait for a GPU
                fooled.logical_or_(beaten)
                if bool(fooled.all()):
                    raise _AllFooled
                return logits

            self.model = watched
            try:
                return super().attack_single_run(x, y, x_init)
            except _AllFooled:
                return x_adv, torch.zeros_like(fooled), torch.zeros(len(x), device=x.device), x_adv
            finally:
                self.model = forward

    return Stopping


class AttackedModel:
    """From images (B, C, H, W) to logits (B, classes), for the attacks, which run ``fast``; verdicts are the module's.

    A batch above the limit is run in parts. Its gradients are computed part by part too, each from a forward pass of
    its own, so that only one part's intermediate results are held. The parts change nothing but rounding: attacks draw
    random numbers for the whole batch.
    """

    def __init__(self, module: nn.Module, fast: nn.Module | None = None, limit: int | None = None) -> None:
        self._module, self._fast = module, module if fast is None else fast
        self.limit = limit
        self.begin(watching=False)

    def begin(self, watching: bool) -> None:
        """Forget what failed before. With ``watching``, which waits for the device, keep the images that fail."""
        self._watching = watching
        self._failed: Tensor | None = None
        # Images for which attacks got logits that are not finite; attacks take those for the class that is right.
        self.failures: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Logits as attacks get them."""
        logits = self._run(self._fast, x)
        finite = torch.isfinite(logits.detach())
        if not self._watching:
            failed = ~finite.all()
            self._failed = failed if self._failed is None else self._failed | failed
        elif not bool(finite.all()) and len(self.failures) < _FAILURES:
            self.failures.append(x.detach()[~finite.all(1)])
        return logits

    def failed(self) -> bool:
        """Whether logits were not finite since :meth:`begin`, without watching."""
        return self._failed is not None and bool(self._failed)

    def exact(self, x: Tensor) -> Tensor:
        """Logits as verdicts take them: of the network itself, in single precision, without gradients."""
        if not self.rounds_otherwise(x):
            return self._run(self._module, x)
        with products("fp32"):
            return self._run(self._module, x)

    def rounds_otherwise(self, x: Tensor) -> bool:
        """Whether attacks and verdicts may differ by rounding on such a batch."""
        return self._fast is not self._module or x.device.type == "cuda"

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.limit is None or len(x) <= self.limit:
            logits: Tensor = module(x)
            return logits
        if torch.is_grad_enabled() and x.requires_grad:
            parts: Tensor = _InParts.apply(x, module, self.limit)  # type: ignore[no-untyped-call]
            return parts
        with torch.no_grad():
            return torch.cat([module(part) for part in torch.split(x, self.limit)])


class _InParts(torch.autograd.Function):
    """Run a batch in parts, forward and backward; checkpoints of PyTorch fail where chance changes a network's ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, limit: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module, ctx.limit = module, limit
        return torch.cat([module(part) for part in torch.split(x, limit)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        parts = []
        for part, gradient in zip(*(torch.split(each, ctx.limit) for each in (x, gradients[0])), strict=True):
            with torch.enable_grad():
                images = part.detach().requires_grad_()
                parts.append(torch.autograd.grad(ctx.module(images), images, gradient)[0])
        return torch.cat(parts), None, None


_ALIKE = 1e-2
"""Share of the largest logit by which logits of a copy may differ: factors may have 11 bits there."""


def accelerated(module: nn.Module, some: Tensor, faster: bool, compiled: bool) -> tuple[nn.Module, bool]:
    """What attacks run in the place of the network, which differs from it by rounding alone, and whether it is a copy.

    ``some`` are images (B, C, H, W) on the device.
    """
    copied = faster_copy(module, some) if faster and some.device.type == "cuda" else None
    fast = module if copied is None else copied
    if compiled:  # one program for all sizes: batches shrink as images are fooled
        torch.compiler.reset()  # few programs are kept: those of networks before it would count
        fast = torch.compile(fast, dynamic=True)  # type: ignore[assignment]
    return fast, copied is not None


def faster_copy(module: nn.Module, some: Tensor) -> nn.Module | None:
    """A copy that tensor cores run faster, with channels last in memory.

    None where somebody's network cannot be copied, or its copy fails on some images (B, C, H, W) or has other logits.
    """
    try:
        fast: nn.Module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = some.detach().requires_grad_()
        with frozen(fast), seeded(0), torch.enable_grad():
            logits = fast(images)
            torch.autograd.grad(logits.sum(), images)
        with frozen(module), seeded(0), torch.no_grad():
            expected = module(some)
        apart = (logits.detach() - expected).abs().amax()
    except Exception:  # noqa: BLE001 - somebody else's code may raise anything, and the network itself can be attacked
        return None
    return fast if bool(apart <= _ALIKE * expected.abs().amax()) else None


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeded random numbers of torch; afterwards the caller's go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
