"""One step of TRADES (Zhang et al. 2019) as the reference trains: the loss, its attack, and the modes in between.

The loss is CE(f(x), y) with label smoothing, plus beta KL(p(x) || p(x')), averaged over the images; the gradient flows
through both arguments of the divergence. It is computed from log-probabilities, so it has no NaN where a probability
underflows.

An image costs 2 + 2 K forward passes' worth of work for K steps of attack and four for the gradients: the clean forward
pass serves the attack and the loss, and no parameter has a gradient before the end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from datarobust.attacks import training_attack
from datarobust.networks import Precision, forward, products
from datarobust.networks.classifier import batch_norms, group_of, held


@dataclass(frozen=True)
class StepResult:
    """Losses, logits and adversaries of a step; all detached."""

    loss: Tensor  # (), the mean of the images' losses
    clean_loss: Tensor  # (), its first term
    clean_logits: Tensor  # (B, classes)
    adversarial_logits: Tensor  # (B, classes)
    x_adv: Tensor  # (B, C, H, W)


def statistics_kept(model: nn.Module) -> AbstractContextManager[None]:
    """Within, batch norms in training mode use the batch's statistics and do not remember them."""
    return held(batch_norms(model), "track_running_stats", False)


def trades_loss(
    clean: Tensor, adversarial: Tensor, y: Tensor, beta: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """The loss and its clean term, scalars, of logits (B, classes) and classes (B)."""
    clean_loss = functional.cross_entropy(clean, y, label_smoothing=label_smoothing)
    divergence = functional.kl_div(
        functional.log_softmax(adversarial, 1), functional.log_softmax(clean, 1), reduction="batchmean", log_target=True
    )
    return clean_loss + beta * divergence, clean_loss


def trades_step(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    *,
    norm: str,
    eps: float,
    step: float,
    steps: int,
    beta: float,
    label_smoothing: float,
    fixed: Tensor | None = None,
    adversaries: Tensor | None = None,
    precision: Precision = "fp32",
) -> StepResult:
    """Attack a batch and add the gradients of its loss to the parameters.

    The model, from images to logits, is in training mode throughout: its batch norms normalise by the batch, and their
    running statistics take in the clean images, then the adversaries, as two updates; the attack between leaves them
    alone. Where batch norms have groups, each group of images goes through all of it by itself, as on a device of its
    own, which takes memory for one group; the running statistics are the first group's.

    Images are float32 (B, C, H, W) in [0,1], ``y`` int64 (B); ``noise`` is the start of the attack
    (:func:`datarobust.attacks.training_attack`). Images at the rows ``fixed``, bool (B), have their adversary from
    ``adversaries``. The precision is that of convolutions: losses, softmax, statistics and the classifier's product are
    float32 always. A model in float64, with images in float64, makes the whole step in float64.

    Raises UsageError where groups of batch norms do not divide the batch.
    """
    climb = partial(training_attack, norm=norm, eps=eps, step=step, steps=steps)
    parameters = list(model.parameters())
    group = group_of(model, len(x))
    results = []
    with products(precision):
        for start in range(0, len(x), group):
            part = slice(start, start + group)
            with statistics_kept(model) if start else nullcontext():
                clean = forward(model, precision, x[part])
                # A compiled backward pass has the gradients of all that wants some, whatever is asked for.
                with statistics_kept(model), held(parameters, "requires_grad", False):
                    p = functional.softmax(clean.detach(), 1)
                    x_adv = climb(partial(forward, model, precision), x[part], p, noise[part])
                if fixed is not None and adversaries is not None:
                    x_adv = torch.where(fixed[part].view(-1, 1, 1, 1), adversaries[part], x_adv)
                adversarial = forward(model, precision, x_adv)
            loss, clean_loss = trades_loss(clean, adversarial, y[part], beta, label_smoothing)
            (loss * (group / len(x))).backward()  # type: ignore[no-untyped-call]
            results.append((loss.detach(), clean_loss.detach(), clean.detach(), adversarial.detach(), x_adv))
    losses, clean_losses, *images = zip(*results, strict=True)
    return StepResult(
        torch.stack(losses).mean(), torch.stack(clean_losses).mean(), *(torch.cat(parts) for parts in images)
    )
