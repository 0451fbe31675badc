"""Networks of others: what is refused when they are tried, and in which words."""

import pytest
import torch
from torch import nn

from datarobust.errors import DataError
from datarobust.networks.features import demand_classes, demand_logits


class Chance(nn.Module):
    def forward(self, x):
        return x + torch.rand(())


class OfTheBatch(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


def test_classifiers_are_tried():
    batch = torch.rand(8, 3)
    assert demand_classes("m", nn.Linear(3, 5), batch) == 5
    assert demand_classes("m", nn.Identity(), batch[:1]) == 3
    cases = {
        r"fails on a batch of shape \(8, 3\): it raises RuntimeError \(mat1 and mat2": nn.Linear(4, 2),
        r"gives outputs of shape \(8, 1\) for 8 points: a classifier": nn.Linear(3, 1),
        r"gives outputs of shape \(8, 3, 1\) for 8 points: a classifier": nn.Unflatten(1, (3, 1)),
        r"gives outputs of shape \(24,\) for 8 points": nn.Flatten(0),
        "gives a tuple, not a tensor": nn.LSTM(3, 3),
        "outputs that are not finite": nn.Threshold(2.0, float("nan")),
        "other outputs for the same points in another batch": Chance(),
        "in another batch: leave out dropout": OfTheBatch(),
    }
    for words, module in cases.items():
        with pytest.raises(
            DataError, match=f"m {words}" if not words.startswith(("other", "outputs", "in ")) else words
        ):
            demand_classes("m", module, batch)


def test_probabilities_are_no_logits():
    logits = torch.randn(16, 4)
    demand_logits("m", logits)
    demand_logits("m", logits.log_softmax(dim=1))
    demand_logits("m", torch.rand(16, 4))
    with pytest.raises(DataError, match="m gives probabilities, but logits are needed: leave out its softmax"):
        demand_logits("m", logits.softmax(dim=1))
