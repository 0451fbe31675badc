"""Measure a step of adversarial training beside the reference's; prints Markdown tables.

    python tests/bench/training.py [linf l2] [arch=wrn-28-10] [batch=8] [rounds=3] [device=cpu]

A step is TRADES with PGD-10 on one batch: the attack, both forward passes, the gradients of all parameters; what comes
after it, optimiser and average, is the same for all. The twin is the plain reference step: fp32, NCHW, eager, SiLU in
place, p(x) from a forward pass of its own, and in l2 an attack that back-propagates to weights. On accelerators it
multiplies in TF32, as PyTorch does by default. Twin and ours take turns, so that a busy machine slows both; a ratio is
the median over rounds of times in the same round. Times are wall-clock seconds.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from run import describe_machine, head, row
from torch import Tensor, nn

from datarobust.networks import build, forward_operations
from datarobust.norms import NORMS, ball_of, norm_of
from datarobust.trades import trades_step

NORMALISATION = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2471, 0.2435, 0.2616]}
STEPS, BETA, SMOOTHING = 10, 5.0, 0.1
PASSES = 2 + 2 * STEPS + 4
"""Forward passes' worth of work that an exact step takes for an image."""


def main() -> None:
    settings = {"arch": "wrn-28-10", "batch": "8", "rounds": "3", "device": "cpu"}
    norms = []
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name in settings and value:
            settings[name] = value
        elif word in NORMS:
            norms.append(word)
        else:
            sys.exit(f"training.py: {word!r} is neither linf nor l2 nor one of {', '.join(settings)} with =VALUE")
    describe_machine()
    if settings["device"] != "cpu":
        print(torch.cuda.get_device_name(settings["device"]))
    print(f"{torch.get_num_threads()} threads, {settings['arch']}, batches of {settings['batch']}\n", flush=True)
    for norm in norms or list(NORMS):
        compare(norm, settings["arch"], int(settings["batch"]), int(settings["rounds"]), settings["device"])


def compare(norm: str, arch: str, batch: int, rounds: int, device: str) -> None:
    """One table: the twin, and ours in each precision."""
    eps = norm_of(norm).eps
    step = ball_of(norm).reference_step(eps, ball_of(norm).step, STEPS)
    twin = Twin(*map(int, arch.split("-")[1:])).to(device).train()
    ours = build({"name": arch, "arguments": NORMALISATION}).to(device).train()
    ours.load_state_dict(twin.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(batch, 3, 32, 32, generator=generator).to(device), torch.arange(batch, device=device) % 10
    noise = (
        torch.rand(x.shape, generator=generator) * 2 - 1
        if norm == "linf"
        else torch.randn(x.shape, generator=generator)
    )
    x_last, noise = x.contiguous(memory_format=torch.channels_last), noise.to(device)

    def ours_in(precision: str) -> object:
        ours.zero_grad()
        return trades_step(
            ours, x_last, y, noise, norm=norm, eps=eps, step=step, steps=STEPS,
            beta=BETA, label_smoothing=SMOOTHING, precision=precision,  # type: ignore[arg-type]
        )  # fmt: skip

    precisions = ("fp32", "bf16") if device == "cpu" else ("tf32", "bf16")
    subjects: dict[str, Callable[[], object]] = {"twin": lambda: plain_step(twin, x, y, noise, norm)}
    subjects |= {f"ours, {name}": lambda name=name: ours_in(name) for name in precisions}
    times = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, task in subjects.items():
            seconds = clocked(task, device)
            if number:  # the first round fills caches and buffers
                times[name].append(seconds)
    operations = PASSES * forward_operations(ours, (3, 32, 32)) * batch
    head(f"{norm}", "seconds", "images per second", "10^12 operations per second", "times the twin")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["twin"], found, strict=True))
        typical = statistics.median(found)
        row(name, typical, batch / typical, operations / typical / 1e12, ratio)
    print(flush=True)


def clocked(task: Callable[[], object], device: str) -> float:
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    wait()
    start = time.perf_counter()
    task()
    wait()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------- the twin


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(before, momentum=0.01)
        self.relu_0 = nn.SiLU(inplace=True)
        self.conv_0 = nn.Conv2d(before, after, 3, stride, padding=0, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(after, momentum=0.01)
        self.relu_1 = nn.SiLU(inplace=True)
        self.conv_1 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None
        self.padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu_0(self.batchnorm_0(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        y = self.conv_1(self.relu_1(self.batchnorm_1(self.conv_0(F.pad(y, self.padding)))))
        return x + y


class Group(nn.Module):
    def __init__(self, before: int, after: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(Block(before if i == 0 else after, after, stride if i == 0 else 1) for i in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Twin(nn.Module):
    """The wide residual network of stock modules."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        widths, blocks = [16, 16 * width, 32 * width, 64 * width], (depth - 4) // 6
        self.init_conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer = nn.Sequential(*(Group(widths[i], widths[i + 1], blocks, 2 if i else 1) for i in range(3)))
        self.batchnorm = nn.BatchNorm2d(widths[3], momentum=0.01)
        self.relu = nn.SiLU(inplace=True)
        self.logits = nn.Linear(widths[3], 10)
        for name, values in NORMALISATION.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.batchnorm(self.layer(self.init_conv((x - self.mean) / self.std))))
        return self.logits(F.avg_pool2d(x, 8).view(len(x), -1))


@contextlib.contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.track_running_stats = False
    yield
    for module in norms:
        module.track_running_stats = True


def plain_step(model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, norm: str) -> Tensor:
    """A step of the reference, as it does it."""
    divergence, eps = nn.KLDivLoss(reduction="sum"), norm_of(norm).eps
    with untracked(model):
        p = F.softmax(model(x), 1).detach()
        if norm == "linf":
            adversary = (x + eps * noise).clamp(0, 1)
            for _ in range(STEPS):
                adversary.requires_grad_()
                loss = divergence(F.log_softmax(model(adversary), 1), p)
                (gradient,) = torch.autograd.grad(loss, [adversary])
                adversary = adversary.detach() + ball_of(norm).step * gradient.sign()
                adversary = torch.min(torch.max(adversary, x - eps), x + eps).clamp(0, 1)
        else:
            delta = (0.001 * noise).requires_grad_()
            optimiser = torch.optim.SGD([delta], lr=2 * eps / STEPS)
            for _ in range(STEPS):
                optimiser.zero_grad()
                loss = -divergence(F.log_softmax(model(x + delta), 1), p)
                loss.backward()
                delta.grad.div_(delta.grad.view(len(x), -1).norm(p=2, dim=1).view(-1, 1, 1, 1))
                optimiser.step()
                delta.data.add_(x).clamp_(0, 1).sub_(x)
                delta.data.renorm_(p=2, dim=0, maxnorm=eps)
            adversary = x + delta
    adversary = adversary.clamp(0, 1).detach()
    model.zero_grad()
    clean, attacked = model(x), model(adversary)
    robust = divergence(F.log_softmax(attacked, 1), F.softmax(clean, 1)) / len(x)
    loss = F.cross_entropy(clean, y, label_smoothing=SMOOTHING) + BETA * robust
    loss.backward()
    return loss


if __name__ == "__main__":
    main()
