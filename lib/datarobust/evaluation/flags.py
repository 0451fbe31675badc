"""Signs that an evaluation may not be reliable, as AutoAttack's authors name them, and some more.

====================  =========================================================================================
``randomised``        the network gives other logits for the same images: evaluate it with ``rand``
``differentiates``    it takes gradients itself as it runs (an optimisation within the defence)
``zero_gradients``    how many starts of apgd-dlr and apgd-t had images without a gradient
``square_found_more`` how much accuracy the attack without gradients took from what the gradient attacks had left
``outside``           found images that are not within the ball or not in [0, 1]; they do not count as found
``not_finite``        images, given or found, for which logits are not finite; they count as wrong, though not for the
                      library
====================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

RUNS = 5
UNLIKE = 1e-4
"""Normalised logits of the same image differ by more only by chance."""
MORE = 0.002
"""Share of all points from which on Square is conspicuous."""

REMARKS = {
    "randomised": "the network depends on chance: `attacks` rand is meant for that",
    "differentiates": "the network takes gradients as it runs, so the attacks may not fit it",
    "zero_gradients": "gradients vanish, so gradient attacks may have failed",
    "square_found_more": "the attack without gradients found more than those with: gradients may mislead",
    "outside": "attacks left the ball, which did not count",
    "not_finite": "the network gives logits that are not finite for some of the images, or near them",
}


def is_randomised(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether logits of the same images differ between runs."""
    outputs = [predict(x) for _ in range(RUNS)]
    outputs = [output / (output.norm(dim=1, keepdim=True) + 1e-10) for output in outputs]
    return any(
        float((one - other).norm(dim=1).max()) > UNLIKE
        for place, one in enumerate(outputs)
        for other in outputs[place + 1 :]
    )


class _Watch(TorchFunctionMode):
    """Notices gradients that are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the function, and run it."""
        self.seen |= func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))


def differentiates(predict: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether the network takes gradients within its forward pass; no trace hook is touched."""
    with _Watch() as watch:
        predict(x)
    return bool(watch.seen)


def square_found_more(points: int, robust_before: int, robust_after: int) -> float:
    """The share of all points that Square took from what all other attacks had left; 0 where it does not matter."""
    share = (robust_before - robust_after) / points
    return share if share > MORE else 0.0
