"""Which attacks are run: the library's own settings, few classes, attacks that are named."""

from __future__ import annotations

import pyautoattack
import pytest
from torch import nn

from datarobust.errors import UsageError
from datarobust.evaluation import ATTACKS, Norm, Version, eps_text, plan

from .made import NORMS


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("norm", NORMS)
def test_versions_are_those_of_the_library(version: Version, norm: Norm) -> None:
    theirs = pyautoattack.AutoAttack(nn.Identity(), norm=NORMS[norm], eps=0.1, version=version)
    ours = plan(version, norm, 0.1, 100)
    assert [attack.name for attack in ours.attacks] == theirs.attacks_to_run
    for attack in ours.attacks:
        if attack.name == "square":
            assert attack.queries == theirs.square.n_queries
        elif attack.name == "apgd-t":
            made = theirs.apgd_targeted
            assert (attack.restarts, attack.targets) == (made.n_restarts, made.n_target_classes)
            assert (attack.iterations, attack.radii) == (made.n_iter, 3 if made.use_largereps else 1)
        elif attack.name.startswith("apgd"):
            made = theirs.apgd
            assert (attack.restarts, attack.iterations, attack.draws) == (made.n_restarts, made.n_iter, made.eot_iter)
            assert attack.radii == (3 if made.use_largereps else 1)
        else:
            assert attack.iterations == theirs.fab.n_iter
            assert attack.restarts == (1 if attack.name == "fab-t" else theirs.fab.n_restarts)
            assert attack.targets == (theirs.fab.n_target_classes if attack.name == "fab-t" else 0)
    assert not ours.upper_bound


@pytest.mark.parametrize(
    ("classes", "targets", "left_out"),
    [
        (2, {"fab-t": 1}, ["apgd-t"]),
        (3, {"fab-t": 2}, ["apgd-t"]),
        (4, {"apgd-t": 3, "fab-t": 3}, []),
        (9, {"apgd-t": 8, "fab-t": 8}, []),
        (10, {"apgd-t": 9, "fab-t": 9}, []),
        (100, {"apgd-t": 9, "fab-t": 9}, []),
    ],
)
def test_few_classes(classes: int, targets: dict[str, int], left_out: list[str]) -> None:
    found = plan("standard", "linf", 0.1, classes)
    assert {attack.name: attack.targets for attack in found.attacks if attack.targets} == targets
    assert [name for name, _ in found.left_out] == left_out
    assert all(f"there are {classes} classes" in why for _, why in found.left_out)
    with_three = [name for name, _ in plan("plus", "linf", 0.1, classes).left_out]
    assert ("apgd-dlr" in with_three) == (classes < 3)


def test_fast_is_an_upper_bound() -> None:
    fast, standard = plan("fast", "l1", 12.0, 10), plan("standard", "l1", 12.0, 10)
    assert fast.attacks == standard.attacks[:2]
    assert fast.upper_bound
    assert fast.describe()["upper_bound"] is True
    assert plan("custom", "linf", 0.1, 10).upper_bound


def test_named_attacks_take_the_numbers_they_have() -> None:
    found = plan("custom", "linf", 0.1, 10, attacks=ATTACKS, restarts=2, iterations=7, targets=20, queries=50)
    assert [attack.name for attack in found.attacks] == list(ATTACKS)
    by = {attack.name: attack for attack in found.attacks}
    assert (by["apgd-ce"].restarts, by["apgd-ce"].iterations, by["apgd-ce"].targets) == (2, 7, 0)
    assert by["apgd-t"].targets == 9  # there are no more wrong classes
    assert (by["square"].queries, by["square"].restarts, by["square"].iterations) == (50, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"version": "standard", "queries": 10}, "named one by one"),
        ({"version": "best"}, "no evaluation 'best'"),
        ({"norm": "l3"}, "norm 'l3'"),
        ({"eps": 0.0}, "`eps` 0 is not a radius"),
        ({"eps": float("nan")}, "not a radius"),
        ({"batch": 0}, "one image or more"),
        ({"seed": -1}, "a seed"),
        ({"version": "custom", "attacks": ["apgd"]}, "no attack 'apgd'"),
        ({"version": "custom", "attacks": ["square", "square"]}, "named twice"),
        ({"version": "custom", "attacks": ["fab"], "restarts": 0}, "not 0"),
        ({"version": "custom", "attacks": ["apgd-t"], "classes": 3}, "none of these attacks"),
    ],
)
def test_what_makes_no_sense(arguments: dict[str, object], says: str) -> None:
    usual: dict[str, object] = {"version": "standard", "norm": "linf", "eps": 0.1, "classes": 10}
    with pytest.raises(UsageError, match=says):
        plan(**{**usual, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("eps", "text"), [(8 / 255, "8/255"), (128 / 255, "128/255"), (0.5, "0.5"), (0.3, "0.3"), (12.0, "12"), (1.0, "1")]
)
def test_eps_as_people_write_it(eps: float, text: str) -> None:
    assert eps_text(eps) == text


def test_costs_are_those_that_were_counted() -> None:
    """Forward passes of an image that is never fooled, as counted in the library with frozen parameters."""
    passes = {attack.name: attack.passes for attack in plan("standard", "linf", 8 / 255, 10).attacks}
    counted = {"apgd-ce": 202, "apgd-t": 1827, "fab-t": 2737, "square": 5000}
    assert all(abs(passes[name] - number) <= 15 for name, number in counted.items())
