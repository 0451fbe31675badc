"""Verdicts on what an attack made: whether it fools the network itself, and lies where it may."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .network import Runner
from .state import NONE, Verdicts

ROUNDING = 2.0**-24
"""Of a pixel in single precision."""


def predictions(runner: Runner, x: Tensor, y: Tensor) -> Verdicts:
    """What the network says of the images (B, C, H, W) themselves, whose labels are ``y`` (B).

    Logits that are not finite are wrong, as under attack.
    """
    logits = runner.exact(x)
    failed = ~torch.isfinite(logits).all(1)
    verdicts = _verdicts(logits.argmax(1).masked_fill(failed, NONE), y, None)
    verdicts.tally = {"not_finite": int(failed.sum())}
    return verdicts


def judge(runner: Runner, x: Tensor, y: Tensor, found: Tensor, norm: str, eps: float) -> Verdicts:
    """What the network says of the images ``found``, made from ``x`` (B, C, H, W), whose labels are ``y`` (B).

    Logits that are not finite are wrong. An image that is not in [0, 1] or not within the radius counts as not found.
    """
    found = _with_failures(runner, x, found.detach(), norm, eps)
    logits = runner.exact(found)
    failed = ~torch.isfinite(logits).all(1)
    predicted = logits.argmax(1).masked_fill(failed, NONE)
    wrong = predicted != y
    outside = wrong & ~within(x, found, norm, eps)
    verdicts = _verdicts(predicted, y, found)
    verdicts.fooled &= (~outside).cpu().numpy()
    verdicts.tally = {"outside": int(outside.sum()), "not_finite": int((failed & ~outside).sum())}
    if runner.rounds_otherwise(found):
        verdicts.tally["rechecked"] = int(((runner(found).argmax(1) != y) & ~wrong).sum())
    return verdicts


def within(x: Tensor, found: Tensor, norm: str, eps: float) -> Tensor:
    """Which images (B) that were found are in [0, 1] and within the radius of their originals, up to rounding.

    Distances are in double precision. Every pixel may be off by its rounding in single precision, and the distance by a
    millionth of the radius.
    """
    difference = (found.double() - x.double()).flatten(1)
    distance = difference.norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
    share = difference.shape[1] ** {"linf": 0.0, "l2": 0.5, "l1": 1.0}[norm]
    inside = distance <= eps * (1 + 1e-6) + ROUNDING * share
    boxed: Tensor = inside & (found.flatten(1).amin(1) >= 0) & (found.flatten(1).amax(1) <= 1)
    return boxed


def _with_failures(runner: Runner, x: Tensor, found: Tensor, norm: str, eps: float) -> Tensor:
    """The images that were found; where the network failed on one around a point, that one."""
    if not runner.failures:
        return found
    found = found.clone()
    for image in torch.cat(runner.failures):
        place = int((x - image).flatten(1).abs().amax(1).argmin())
        if bool(within(x[place : place + 1], image[None], norm, eps)):
            found[place] = image
    return found


def _verdicts(predicted: Tensor, y: Tensor, images: Tensor | None) -> Verdicts:
    fooled = (predicted != y).cpu().numpy().astype(np.bool_)
    made = None if images is None else images.cpu().numpy()
    return Verdicts(predicted.cpu().numpy().astype(np.int64), fooled, made)
