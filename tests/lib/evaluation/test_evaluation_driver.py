"""Verdicts are the plain library's, whoever computes them, in what parts, and however often they are interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._functorch import config as functorch

from datarobust.evaluation import ATTACKS, Norm, Protocol, driver, plan
from datarobust.evaluation.driver import TALLIES, Options, Outcome, State, Verdicts, evaluate, within

from . import made

KEEP = Options(made.CPU, keep=True)
SHORT = {"attacks": ATTACKS, "restarts": 1, "iterations": 7, "targets": 2, "queries": 30}


def reduced(norm: Norm, classes: int = 10, **more: Any) -> Protocol:
    """All attacks, shortened, with the library's one start of targeted ones."""
    return plan("custom", norm, made.RADII[norm], classes, **SHORT, **more)


def brief(**more: Any) -> Protocol:
    """One attack of each kind, a few steps each, for what does not depend on the attacks."""
    return plan(
        "custom",
        "linf",
        made.RADII["linf"],
        10,
        attacks=("apgd-ce", "fab-t", "square"),
        iterations=3,
        targets=1,
        queries=10,
        **more,
    )


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two evaluations agree in every bit."""
    arrays = [(one.clean, other.clean), (one.attacked, other.attacked), (one.broken, other.broken)]
    if one.adversarial is not None and other.adversarial is not None:
        arrays.append((one.adversarial, other.adversarial))
    return all(np.array_equal(a, b) for a, b in arrays) and one.flags == other.flags


# ------------------------------------------------------------------------------------------- the plain library


@pytest.mark.parametrize("norm", made.NORMS)
def test_a_shortened_run_equals_the_plain_library(norm: Norm) -> None:
    model = made.network()
    images, labels = made.points(model, 21)
    protocol = reduced(norm, batch=12)
    found, predicted = made.plain(model, images, labels, protocol)
    ours = evaluate(model, images, labels, protocol, KEEP)
    robust = (ours.clean == labels) & (ours.broken < 0)
    assert np.array_equal(ours.attacked, predicted)
    assert np.array_equal(robust, predicted == labels)
    assert 2 < robust.sum() < 17
    assert ours.adversarial is not None
    # Bits too, but where APGD stopped early because it had fooled its whole batch.
    assert np.mean([np.array_equal(a, b) for a, b in zip(ours.adversarial, found, strict=True)]) > 0.5
    unchanged = evaluate(model, images, labels, protocol, Options(made.CPU, keep=True, official=True))
    assert np.array_equal(unchanged.adversarial, found)
    assert np.array_equal(unchanged.broken, ours.broken)


@pytest.mark.parametrize("classes", [4, 9, 100])
def test_numbers_of_classes(classes: int) -> None:
    """With three targets at most, the library itself does not fail on four classes."""
    model = made.network(classes)
    images, labels = made.points(model, 12)
    protocol = reduced("linf", classes)
    _, predicted = made.plain(model, images, labels, protocol)
    assert np.array_equal(evaluate(model, images, labels, protocol, KEEP).attacked, predicted)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_and_three_classes_run_what_can_be_run(classes: int) -> None:
    model = made.network(classes)
    images, labels = made.points(model, 12)
    protocol = reduced("linf", classes)
    assert [name for name, _ in protocol.left_out] == ["apgd-dlr", "apgd-t"][classes - 2 :]
    _, predicted = made.plain(model, images, labels, protocol)
    assert np.array_equal(evaluate(model, images, labels, protocol, KEEP).attacked, predicted)


def test_another_seed_or_batch_is_other_noise() -> None:
    model = made.network()
    images, labels = made.points(model, 24)
    runs = [evaluate(model, images, labels, brief(batch=b, seed=s), KEEP) for b, s in ((24, 0), (24, 1), (7, 0))]
    assert not same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


# ----------------------------------------------------------------------------------------- what is left as it was


def test_the_network_and_the_random_numbers_are_left_as_they_were() -> None:
    model = made.network()
    model[0].weight.requires_grad_(False)
    images, labels = made.points(model, 12)
    model[3].eval()
    modes = [part.training for part in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    before, traced = torch.get_rng_state(), sys.gettrace()
    evaluate(model, images, labels, reduced("linf"), KEEP)
    assert torch.equal(torch.get_rng_state(), before)
    assert sys.gettrace() is traced
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_tensors_are_as_good_as_arrays() -> None:
    model = made.network()
    images, labels = made.points(model, 10)
    expected = evaluate(model, images, labels, brief(), KEEP)
    for tensor in (torch.tensor(images), made.as_tensor(images).requires_grad_()):
        assert same(evaluate(model, tensor, torch.tensor(labels), brief(), KEEP), expected)


def test_the_network_is_evaluated_in_evaluation_mode() -> None:
    model = nn.Sequential(made.network(), nn.Dropout(0.5))
    images, labels = made.points(model[0], 12)
    with_dropout = evaluate(model, images, labels, brief(), KEEP)
    assert same(with_dropout, evaluate(model[0], images, labels, brief(), KEEP))
    assert not with_dropout.flags


# --------------------------------------------------------------------------------------------- parts of a batch


class Narrow(nn.Module):
    """A network that runs out of memory with more than ``most`` images."""

    def __init__(self, inner: nn.Module, most: int, error: type[Exception]) -> None:
        super().__init__()
        self.inner, self.most, self.error, self.largest = inner, most, error, 0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, len(x))
        if len(x) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        found: Tensor = self.inner(x)
        return found


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_where_memory_runs_out_parts_are_halved_until_they_fit(error: type[Exception]) -> None:
    model = made.network()
    images, labels = made.points(model, 12)
    narrow = Narrow(model, 3, error)
    protocol = brief()
    whole = evaluate(model, images, labels, protocol, KEEP)
    parts = evaluate(narrow, images, labels, protocol, KEEP)
    assert narrow.largest == 12
    assert np.array_equal(parts.broken, whole.broken)
    assert np.array_equal(parts.attacked, whole.attacked)
    # The noise is the same: what differs is rounding.
    assert parts.adversarial is not None
    assert np.median(np.abs(parts.adversarial - whole.adversarial)) < 1e-6
    with pytest.raises(error):
        evaluate(Narrow(model, 0, error), images, labels, protocol, KEEP)


def test_a_physical_batch_is_never_exceeded() -> None:
    model = made.network()
    images, labels = made.points(model, 20)
    narrow = Narrow(model, 6, RuntimeError)
    found = evaluate(narrow, images, labels, brief(), Options(made.CPU, limit=6))
    assert narrow.largest == 6
    assert np.array_equal(found.broken, evaluate(model, images, labels, brief(), KEEP).broken)


# ------------------------------------------------------------------------------------------------------- resuming


class Memory:
    """A checkpoint in memory, after every batch."""

    due = True

    def __init__(self) -> None:
        self.arrays: dict[str, Any] | None = None
        self.saves = 0

    def load_all(self) -> list[dict[str, Any]]:
        return [] if self.arrays is None else [self.arrays]

    def save(self, arrays: dict[str, Any]) -> None:
        self.arrays, self.saves = {name: np.array(array) for name, array in arrays.items()}, self.saves + 1


class Killed(BaseException):
    pass


class Mortal(nn.Module):
    """A network that ends the process, so to speak, after so many calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.left = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise Killed
        found: Tensor = self.inner(x)
        return found


def test_twenty_kills_change_nothing() -> None:
    model = made.network()
    images, labels = made.points(model, 12)
    protocol = brief(batch=4)
    whole = evaluate(model, images, labels, protocol, KEEP)
    mortal, memory = Mortal(model), Memory()
    random = np.random.default_rng(0)
    kills = 0
    found = None
    while found is None:
        mortal.left = int(random.integers(1, 20)) if kills < 20 else 0
        try:
            found = evaluate(mortal, images, labels, protocol, KEEP, checkpoint=memory)
        except Killed:
            kills += 1
    assert kills == 20
    assert same(found, whole)


def test_what_is_done_is_not_done_again() -> None:
    model, memory = made.network(), Memory()
    images, labels = made.points(model, 12)
    protocol = brief(batch=4)
    whole = evaluate(model, images, labels, protocol, KEEP, checkpoint=memory)
    calls = Mortal(model)
    assert same(evaluate(calls, images, labels, protocol, KEEP, checkpoint=memory), whole)
    assert -calls.left < 10  # the signs on the first batch, and no attack


def test_states_of_other_points_are_passed_over() -> None:
    model, memory = made.network(), Memory()
    images, labels = made.points(model, 12)
    evaluate(model, images, labels, brief(), KEEP, checkpoint=memory)
    found = evaluate(model, images[:7], labels[:7], brief(), KEEP, checkpoint=memory)
    assert same(found, evaluate(model, images[:7], labels[:7], brief(), KEEP))


# ---------------------------------------------------------------------------------------------- judging, reporting


@pytest.mark.parametrize("norm", made.NORMS)
def test_images_are_where_they_may_be(norm: Norm) -> None:
    model = made.network()
    images, labels = made.points(model, 16)
    found = evaluate(model, images, labels, reduced(norm), KEEP)
    assert found.adversarial is not None
    x, adversarial = images.astype(np.float64) / 255, found.adversarial.astype(np.float64)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    lengths = np.linalg.norm((adversarial - x).reshape(len(x), -1), order, axis=1)
    assert lengths.max() <= made.RADII[norm] * (1 + 1e-5) + 1e-6
    assert (lengths[found.broken < 0] < 1e-5).all()
    assert (lengths[found.broken >= 0] > 0).all()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    with torch.no_grad():
        again = model.eval()(torch.from_numpy(found.adversarial)).argmax(1).numpy()
    assert np.array_equal(again[found.broken >= 0], found.attacked[found.broken >= 0])


def test_what_leaves_the_ball_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made.network()
    images, labels = made.points(model, 12)

    def far(*_: Any, **__: Any) -> Any:
        return lambda x, y: 1.0 - x

    monkeypatch.setattr(driver, "attacker", far)
    found = evaluate(model, images, labels, reduced("linf"), KEEP)
    assert (found.broken == -1).all()
    assert found.flags["outside"] > 0


def test_logits_that_are_not_finite_do_not_save_a_point() -> None:
    class Breaks(nn.Module):
        """Gives NaN for all but the images themselves; the first class that is NaN is the class that is right."""

        def __init__(self, x: Tensor, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.x = inner, x

        def forward(self, x: Tensor) -> Tensor:
            logits = self.inner(x)
            known = (x[:, None] == self.x[None]).flatten(2).all(2).any(1)
            right = logits.detach().argmax(1, keepdim=True)
            return torch.where(known[:, None], logits, logits.scatter(1, right, torch.nan))

    model = made.network()
    images, labels = made.points(model, 8)
    broken = Breaks(made.as_tensor(images), model)
    protocol = plan("custom", "linf", 0.01, 10, attacks=["square"], queries=3)
    found = evaluate(broken, images, labels, protocol, KEEP)
    right = found.clean == labels
    assert (found.broken[right] == 0).all()
    assert (found.attacked[right] == -1).all()
    assert found.flags["not_finite"] == right.sum()


def test_a_network_that_fails_on_an_image_is_wrong_on_it() -> None:
    class Fails(nn.Module):
        """Gives NaN for every class of one image: the first of them would be taken for its class."""

        def __init__(self, x: Tensor, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.x = inner, x

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x)
            return logits.masked_fill((x - self.x).abs().flatten(1).amax(1)[:, None] < 0.5, torch.nan)

    model = made.network()
    images, labels = made.points(model, 8)
    images[3], labels[3] = 0, 0
    failing = Fails(made.as_tensor(images[3:4]), model)
    protocol = plan("custom", "linf", 0.01, 10, attacks=["square"], queries=2)
    found = evaluate(failing, images, labels, protocol, KEEP)
    assert (found.clean[3], found.broken[3]) == (-1, -1)
    assert found.flags["not_finite"] == 1


class Otherwise(nn.Module):
    """The network, rounded otherwise: a constant is added to one logit."""

    def __init__(self, inner: nn.Module, shift: float) -> None:
        super().__init__()
        self.inner, self.shift = inner, shift

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + self.shift * torch.arange(logits.shape[1])


def test_what_is_compiled_has_the_verdicts_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under FAB, which takes a gradient of each class: compilers may not give buffers of the first one away."""
    compiled, models, donated = torch.compile, [], set()

    def as_it_is(graph: Any, _: Any) -> Any:  # nothing is compiled for a processor
        donated.add(functorch.donated_buffer)
        return graph

    def traced(model: nn.Module, *, dynamic: bool) -> Any:
        models.append(model)
        return compiled(model, backend=as_it_is, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would keep it all
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.SiLU(), nn.Linear(16, 10))
    images, labels = made.points(model, 12)
    protocol = plan("custom", "linf", 4 / 255, 10, attacks=["apgd-ce", "fab"], iterations=2, batch=6)
    ours = evaluate(model, images, labels, protocol, replace(KEEP, compiled=True))
    assert models == [model]
    assert donated == {False}
    assert same(ours, evaluate(model, images, labels, protocol, KEEP))


def test_verdicts_are_the_networks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack on something faster that differs from the network is judged by the network."""
    model = made.network()
    images, labels = made.points(model, 24)
    protocol = reduced("linf")
    exact = evaluate(model, images, labels, protocol, KEEP)
    assert exact.rechecked == 0
    monkeypatch.setattr(driver, "accelerated", lambda module, *_: (Otherwise(module, 0.0), True))
    close = evaluate(model, images, labels, protocol, KEEP)
    assert same(close, exact)
    assert close.rechecked == 0
    monkeypatch.setattr(driver, "accelerated", lambda module, *_: (Otherwise(module, 0.2), True))
    far = evaluate(model, images, labels, protocol, KEEP)
    assert far.rechecked > 0
    with torch.no_grad():
        predicted = model.eval()(torch.from_numpy(far.adversarial)).argmax(1).numpy()
    assert (predicted[far.broken >= 0] != labels[far.broken >= 0]).all()


def test_progress_counts_the_batches_of_every_stage() -> None:
    model = made.network()
    images, labels = made.points(model, 10)
    seen: list[tuple[str, int]] = []

    def progress(name: str) -> Any:
        def counted(batches: Iterable[Any]) -> Iterable[Any]:
            for batch in batches:
                seen.append((name, len(batch)))
                yield batch

        return counted

    protocol = plan("custom", "linf", 1e-6, 10, attacks=["square"], queries=2, batch=4)
    stands: list[tuple[int, int]] = []
    evaluate(model, images, labels, protocol, KEEP, progress=progress, standing=lambda *found: stands.append(found))
    assert seen == [("clean", 4), ("clean", 4), ("clean", 2), ("square", 4), ("square", 4)]
    # After each batch and stage: 8 of the 10 points are right, and none is broken within so small a radius.
    assert [points for _, points in stands] == [4, 8, 10, 10, 10, 10, 10]
    assert [right for right, _ in stands][2:] == [8] * 5


def test_distances_are_exact() -> None:
    x = torch.full((3, 1, 4, 4), 0.5)
    for norm, step in (("linf", 0.25), ("l2", 0.25), ("l1", 0.25)):
        found = x.clone()
        found[0, 0, 0, 0] += step
        found[1, 0, 0, 0] += step * 1.001
        found[2, 0, 0, :2] += step
        inside = {"linf": [True, False, True], "l2": [True, False, False], "l1": [True, False, False]}[norm]
        assert within(x, found, norm, step).tolist() == inside
    assert within(x, x + 0.6, "linf", 1.0).tolist() == [False] * 3


# ----------------------------------------------------------------------------------------------------------- state


def record(state: State, batch: np.ndarray, stage: int, labels: np.ndarray, verdicts: np.ndarray) -> None:
    """``verdicts`` (M): the stage at which each point falls."""
    fooled = verdicts[batch] == stage
    predicted = np.where(fooled, labels[batch] + 1, labels[batch])
    images = None if stage == 0 else np.full((len(batch), 1, 1, 1), stage, np.float32)
    state.record(batch, stage, Verdicts(predicted, fooled, images, {"outside": len(batch)}), keep=True)


@settings(max_examples=50)
@given(
    verdicts=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    size=st.integers(1, 6),
    parts=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_shared_and_interrupted_is_as_alone(verdicts: list[int], size: int, parts: int, seed: int) -> None:
    stages, falls = 4, np.array(verdicts)
    labels = np.arange(len(falls)) % 3
    alone = State(len(falls))
    for stage in range(stages):
        for batch in alone.batches(labels, stage, size):
            record(alone, batch, stage, labels, falls)
    random = np.random.default_rng(seed)
    states = [State(len(falls)) for _ in range(parts)]
    for stage in range(stages):
        for number, state in enumerate(states):
            for batch in state.batches(labels, stage, size)[number::parts]:
                record(state, batch, stage, labels, falls)
                if random.random() < 0.3:  # killed: a new state takes up what was saved
                    saved = state.arrays()
                    states[number] = state = State(len(falls))
                    state.restore(saved)
                assert (state.settled[batch] > stage).all()
        tables = [state.table.copy() for state in states]
        images = [state.images() for state in states]
        for state in states:
            for table in tables:
                state.merge(table)
            for rows, found in images:
                if len(rows):
                    state.add(rows, found)
    for state in states:
        assert np.array_equal(state.table, alone.table)
        assert state.adversarial.keys() == alone.adversarial.keys()
        assert all(np.array_equal(state.adversarial[row], alone.adversarial[row]) for row in alone.adversarial)
    assert np.array_equal(alone.broken, np.where((falls == 0) | (falls >= stages), -1, falls - 1))
    assert alone.tally[:, TALLIES.index("outside")].sum() == sum(
        len(batch) for s in range(stages) for batch in alone.batches(labels, s, size)
    )


def test_batches_are_those_of_points_that_are_still_right() -> None:
    labels = np.zeros(6, np.int64)
    state = State(6)
    falls = np.array([9, 0, 1, 9, 2, 9])
    record(state, np.arange(6), 0, labels, falls)
    assert [batch.tolist() for batch in state.batches(labels, 1, 2)] == [[0, 2], [3, 4], [5]]
    record(state, np.array([0, 2]), 1, labels, falls)
    assert [batch.tolist() for batch in state.batches(labels, 1, 2)] == [[0, 2], [3, 4], [5]]  # as before it began
    assert state.settled.tolist() == [2, 1, 2, 1, 1, 1]


def test_a_state_of_another_number_of_points_is_passed_over() -> None:
    state, other = State(4), State(5)
    record(other, np.arange(5), 0, np.zeros(5, np.int64), np.full(5, 9))
    state.restore(other.arrays())
    assert (state.settled == 0).all()
