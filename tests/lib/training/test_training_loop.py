"""A training is a function of its recipe: resumed anywhere it has the same bits, and tracking changes none of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datarobust.distributed import Group
from datarobust.errors import DatarobustError, DivergedError
from datarobust.networks import build
from datarobust.networks.classifier import frozen
from datarobust.randomness import Domain
from datarobust.training.adversarial import Training
from datarobust.training.batches import Batches
from datarobust.training.images import Points, Stream
from datarobust.training.loop import Arrays, Line, Weights
from datarobust.training.recipe import Recipe, count

ARCH = {"name": "wrn-10-1", "arguments": {"classes": 3, "channels": 1}}
SMALL: dict[str, Any] = {"epochs": 2, "batch": 16, "steps": 2, "augment": "crop", "arch": "wrn-10-1", "lr": 0.05}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    """One thread, and short attacks to track by."""
    monkeypatch.setattr("datarobust.training.adversarial.TRACK_STEPS", 3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Memory:
    """A checkpoint in memory."""

    def __init__(self, state: Arrays | None = None) -> None:
        self.state = state
        self.lines: list[Line] = []
        self.weights: dict[str, Weights] = {}
        self.saves = 0

    def load(self) -> Arrays | None:
        return None if self.state is None else {name: array.copy() for name, array in self.state.items()}

    def save(self, state: Arrays, best: Weights | None, last: Weights | None) -> None:
        self.state = {name: array.copy() for name, array in state.items()}
        self.weights |= {name: found for name, found in (("best", best), ("last", last)) if found is not None}
        self.saves += 1

    def log(self, line: Line) -> None:
        self.lines.append(line)

    def rewind(self, epochs: int) -> None:
        del self.lines[epochs:]


class Quiet:
    """Hears all and stops when asked to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.remarks: list[str] = []
        self.seen: list[Line] | None = None

    def epoch(self, line: Line) -> None:
        pass

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def stops(self) -> bool:
        if self.left is not None:
            self.left -= 1
        return self.left is not None and self.left < 0

    def progress(self, steps: Iterable[Any], standing: Callable[[], Line]) -> Iterable[Any]:
        for step in steps:
            if self.seen is not None:
                self.seen.append(standing())
            yield step


def points(count: int, seed: int = 0) -> Points:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    images = np.clip(random.integers(0, 200, (count, 1, 8, 8)) + 25 * labels[:, None, None, None], 0, 255)
    return Points.of(images.astype(np.uint8), labels)


def training(
    track: Points | None = None,
    focus: list[int] | None = None,
    generated: bool = False,
    test: Points | None = None,
    **recipe: Any,
) -> Training:
    """A small training on 40 images, the first five held out."""
    chosen = Recipe(**(SMALL | recipe))
    base, rows = points(40), np.array(focus or [], np.int64)
    counts = count(chosen, 40, 5, generated, len(rows))
    stream = None
    if generated:
        more = points(100, seed=9)
        stream = Stream(_Rows(more.images.numpy()), _Rows(more.labels.numpy()), chosen.seed, 32)
    batches = Batches(chosen, counts, base, np.arange(5, 40), stream, rows)
    model = build(ARCH, chosen.seed, counts.group)
    return Training(chosen, counts, batches, model, torch.device("cpu"), Group(0, 1), track, test)


class _Rows:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop]


def finished(make: Callable[[], Training], memory: Memory | None = None, **run: Any) -> tuple[Training, Memory]:
    memory = memory or Memory()
    done = make()
    assert done.run(memory, Quiet(), **({"save_every": 0.0} | run))
    return done, memory


def bits(found: Training) -> dict[str, bytes]:
    """Weights, average and momentum, as bytes."""
    named = {f"model/{name}": tensor for name, tensor in found.model.state_dict().items()}
    named |= {f"average/{name}": tensor for name, tensor in found.average.state_dict().items()}
    for name, parameter in found.model.named_parameters():
        named[f"momentum/{name}"] = found.optimiser.state[parameter]["momentum_buffer"]
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in named.items()}


@functools.cache
def plain(**recipe: Any) -> dict[str, bytes]:
    """What a training comes to that nothing is special about but its recipe."""
    return bits(finished(lambda: training(**recipe))[0])


def timeless(lines: list[Line]) -> list[Line]:
    times = {"seconds", "images_per_second", "memory_gb"}
    return [{name: value for name, value in line.items() if name not in times} for line in lines]


WAYS: list[dict[str, Any]] = [
    {"focus": [1, 7, 8, 20], "focus_batch": 4, "track": True},
    {"focus": [1, 7, 8, 20], "focus_batch": 4, "inject_as": "adversary", "norm": "l2", "eps": 0.5, "step": 0.1}
    | {"precision": "bf16", "augment": "cifar100", "schedule": "c"},
    {"focus": [7, 8, 20], "focus_mode": "oversample", "generated": True, "generated_fraction": 0.5},
    {"focus": [7, 8, 20], "focus_mode": "fixed", "generated": True, "generated_fraction": 0.5},
]


@pytest.mark.parametrize("way", WAYS, ids=["inject", "adversary-l2-bf16", "oversample-generated", "fixed-generated"])
def test_it_goes_on_from_any_step_with_the_same_bits(way: dict[str, Any]) -> None:
    def make() -> Training:
        asked = dict(way)
        more = {"track": points(10, 5), "test": points(20, 3)} if asked.pop("track", None) else {}
        return training(**asked, **more)

    whole, log = finished(make)
    expected, lines = bits(whole), timeless(log.lines)
    counter = Quiet(1000)
    assert make().run(Memory(), counter, save_every=1e9)
    occasions = 1000 - counter.left  # to stop: after steps, and between the parts of what is crafted and measured
    for stop in range(len(way) % 3, occasions, 5):
        memory = Memory()
        assert not make().run(memory, Quiet(stop), save_every=1e9)
        resumed, memory = finished(make, memory)
        assert bits(resumed) == expected
        assert timeless(memory.lines) == lines
        for name, weights in log.weights.items():
            again = memory.weights[name]
            assert again.epoch == weights.epoch
            assert all(np.array_equal(again.arrays[k], weights.arrays[k]) for k in weights.arrays)


def test_memory_that_runs_out_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: object, **words: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("datarobust.training.adversarial.trades_step", failing)
    with pytest.raises(DatarobustError, match="memory ran out in a step of 16 images"):
        training().run(Memory(), Quiet(), save_every=0.0)


def test_who_looks_on_sees_the_epoch_so_far_and_changes_no_bit() -> None:
    whole, log = finished(training)
    watched, listener = training(), Quiet()
    listener.seen = []
    assert watched.run(Memory(), listener, save_every=1e9)
    assert bits(watched) == bits(whole)
    steps = whole.counts.steps
    assert steps > 1
    assert [line["epoch"] for line in listener.seen] == [1 + place // steps for place in range(2 * steps)]
    assert all((len(line) == 1) is (place % steps == 0) for place, line in enumerate(listener.seen))
    images = len(watched.batches.at(0, 0, None).y)
    for line in listener.seen[1:steps]:
        assert set(line) < set(log.lines[0])
        hits = line["train_accuracy"] * images * listener.seen.index(line)
        assert hits == pytest.approx(round(hits))  # of so many images, none counted in part


def test_lines_of_epochs_that_a_state_does_not_know_are_written_again() -> None:
    _, log = finished(training)
    memory = Memory()
    memory.lines = [{"epoch": 1, "torn": True}, {"epoch": 2, "torn": True}]
    _, memory = finished(training, memory)
    assert timeless(memory.lines) == timeless(log.lines)


@pytest.mark.parametrize("focus", [None, [1, 7, 8, 20]])
def test_tracking_changes_no_weight(focus: list[int] | None) -> None:
    """Appendix D suspects other code of it. Without tracking, with any set, also one that is trained on: one result."""
    asked = {"focus": focus, "focus_batch": 4} if focus else {}
    expected = bits(finished(lambda: training(**asked))[0]) if focus else plain()
    for track in (points(40).at(np.arange(20, 30)), points(16, seed=77)):
        found, memory = finished(lambda track=track: training(track=track, **asked))  # type: ignore[misc]
        assert bits(found) == expected
        assert all(0 <= line["tracked_accuracy"] <= 1 for line in memory.lines)


def test_the_strength_of_tracking_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    track = points(40).at(np.arange(20, 30))
    for steps in (0, 9):
        monkeypatch.setattr("datarobust.training.adversarial.TRACK_STEPS", steps)
        assert bits(finished(lambda: training(track=track))[0]) == plain()


def test_the_global_generator_changes_no_weight() -> None:
    expected = plain()
    torch.manual_seed(2)
    assert bits(finished(training)[0]) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"precision": "bf16"},
        {"schedule": "c"},
        {"focus": [1, 7]},
        {"focus": [1, 7], "focus_mode": "oversample"},
        {"focus": [1, 7], "focus_mode": "fixed"},
        {"generated": True},
    ],
)
def test_what_should_change_weights_does(change: dict[str, Any]) -> None:
    change = {"focus_batch": 4, "generated_fraction": 0.5, "epochs": 1} | change
    if change.get("focus") and "focus_mode" not in change:
        change |= {"focus_batch": 2, "bn_group": 0}
    base = {"bn_group": 0, "epochs": 1} if "bn_group" in change else {"epochs": 1}
    assert bits(finished(lambda: training(**change))[0]) != plain(**base)


def test_the_log_states_what_was_trained_on() -> None:
    asked = {"focus": [1, 7, 8, 20], "focus_batch": 4, "generated": True, "generated_fraction": 0.5}
    _, memory = finished(lambda: training(**asked))
    for line in memory.lines:
        assert (line["real"], line["generated"], line["injected"]) == (24, 24, 12)
        assert line["focus"] == pytest.approx(4 * line["focus_draws"])
        assert pytest.approx(4 * line["focus_draws"] + 31 * line["other_draws"]) == 24 + 12
    _, memory = finished(lambda: training(focus=[7, 8, 20], focus_mode="oversample", test=points(20, 3)))
    assert [line["focus"] for line in memory.lines] == [16, 15]  # 48 draws, 5.2 times as many of 3 as of 32 others
    assert all(line["injected"] == 0 for line in memory.lines)
    assert [line["epoch"] for line in memory.lines] == [1, 2]
    assert "test_robust_accuracy" in memory.lines[-1]
    assert "test_robust_accuracy" not in memory.lines[0]


def test_best_is_the_last_of_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.2, 0.5, 0.5, 0.4])
    monkeypatch.setattr(Training, "accuracy", lambda self, points, domain=None: next(accuracies) if domain else 0.0)

    _, memory = finished(lambda: training(track=points(10, 5), epochs=4))
    assert memory.weights["best"].epoch == 3
    assert memory.weights["last"].epoch == 4


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_state() -> None:
    memory = Memory()
    assert not training().run(memory, Quiet(4), save_every=1e9)
    kept = memory.load()

    poisoned = training()
    plain = poisoned.batches.at

    def at(*arguments: Any) -> Any:
        batch = plain(*arguments)
        batch.x.mul_(float("nan"))
        return batch

    poisoned.batches.at = at  # type: ignore[method-assign]
    with pytest.raises(
        DivergedError, match=r"the loss is not finite in epoch \d: the last saved state is kept"
    ) as told:
        poisoned.run(memory, Quiet(), save_every=0.0)
    assert "\n" not in str(told.value)
    after = memory.load()
    assert after is not None
    assert kept is not None
    assert all(np.array_equal(after[name], kept[name]) for name in kept)


def test_another_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    assert not training().run(memory, Quiet(2), save_every=1e9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # two in truth are slow on a busy machine
    listener = Quiet()
    assert training().run(memory, listener, save_every=1e9)
    assert listener.remarks == [
        "The run goes on, but no longer bit for bit as it would have without the stop: threads 1 before, 2 now."
    ]


def test_measuring_leaves_the_model_as_it_was() -> None:
    one = training()
    model = one.average.train().requires_grad_(True)
    model.logits.weight.requires_grad_(False)
    model.batchnorm.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    some = points(30)
    one.accuracy(some)
    one.accuracy(some, Domain.TRACK)
    with pytest.raises(ZeroDivisionError), frozen(model):
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes
    assert not model.logits.weight.requires_grad
    assert model.logits.bias.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_measuring_and_crafting_have_the_precision_of_the_recipe(precision: str, dtype: torch.dtype) -> None:
    seen = set()
    one = training(precision=precision, focus=[1, 7, 8, 20], focus_batch=4, track=points(10, 5))
    one.average.layer[2].register_forward_hook(lambda _, __, output: seen.add(output.dtype))  # type: ignore[index, union-attr]
    for measure in (one.begin_epoch, lambda: one.accuracy(points(9), Domain.TRACK), lambda: one.accuracy(points(9))):
        measure()
        assert seen == {dtype}
        seen.clear()
    assert one.crafted is not None
    assert one.crafted.dtype == torch.float32


@dataclass(frozen=True)
class Part(Group):
    """One process of several, whose exchanges are made by the test."""

    asked: list[bool] = field(default_factory=list)
    """Whether to go no further, as often as all processes were asked; one that asks more often would wait for ever."""

    def any(self, value: bool) -> bool:
        self.asked.append(value)
        return value

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        pass


@pytest.mark.parametrize("mode", ["inject", "fixed"])
@pytest.mark.parametrize("processes", [2, 3, 5])
def test_processes_craft_together_what_one_does(processes: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarobust.training.adversarial.CRAFTED", 3)
    one = training(focus=[1, 7, 8, 20], focus_batch=4, focus_mode=mode)
    one.begin_epoch()
    assert one.crafted is not None
    whole, parts, asked = one.crafted, [], set()
    for rank in range(processes):
        one.group = part = Part(rank, processes)
        one.begin_epoch()
        parts.append(one.crafted)
        asked.add(len(part.asked))
    assert len(asked) == 1
    assert torch.equal(torch.stack(parts).sum(0), whole)
    shares = torch.stack([part.flatten(1).any(1) for part in parts])
    assert shares.sum(0).tolist() == [1] * len(whole)
    assert shares.sum(1).max() - shares.sum(1).min() <= 3  # rounds of three examples each


def test_all_processes_measure_with_the_statistics_of_the_first() -> None:
    """Each process has its own where groups of batch statistics do not span processes."""

    class Second(Part):
        def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
            for tensor in tensors:
                tensor.fill_(3)

    one = training()
    one.group = Second(1, 2)
    one.train_step(0, one.draw(0))
    one.end_epoch()
    buffers = list(one.average.buffers())
    assert buffers
    assert all((buffer == 3).all() for buffer in buffers)


def test_parts_of_a_measurement_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of seven parts have four images, a whole batch, and some have five."""
    monkeypatch.setattr("datarobust.training.adversarial.BATCH", 4)
    one, some = training(), points(30)
    for domain in (None, Domain.TRACK):
        whole = one.accuracy(some, domain)
        for processes in (2, 3, 7):
            parts, asked = [], set()
            for rank in range(processes):
                one.group = part = Part(rank, processes)
                parts.append(one.accuracy(some, domain))
                asked.add(len(part.asked))
            assert sum(parts) == pytest.approx(whole)
            assert len(asked) == 1
        one.group = Group(0, 1)


def test_a_state_on_the_disk_has_plain_names(tmp_path: Path) -> None:
    """Names of arrays are part of a state that another version may read."""
    _, memory = finished(lambda: training(track=points(10, 5)))
    assert memory.state is not None
    parts = {name.split("/")[0] for name in memory.state}
    assert parts == {"model", "momentum", "average", "sums", "best", "where"}
