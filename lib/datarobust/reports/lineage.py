"""The union of all histories as one graph of commands.

A history lists what a command needed, but of its inputs only digests, and no command tells the digest of what it wrote.
What made what is found in this order:

* An artifact of the report: the last step of its history made its digest.
* The one input that is not known: all steps before the last one but those of the inputs that are known are its history.
* What no other step has read must have been read by the last step.
* The names of files, which may have changed since; such an arrow is called uncertain.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from datarobust.artifacts import Step
from datarobust.artifacts.history import to_json
from datarobust.figures.report_history import Command, Result, Source

SEVERAL: Final = frozenset({"artifact", "dataset", "figure", "model"})
"""Commands whose first word says what they do."""
_OUTSIDE: Final = frozenset({"source", "weights", "labels"})
"""Roles of files that no command of ours has written, or that are no artifacts."""
_CHOICES: Final = frozenset({"focus", "hold_out", "track", "selection", "rows"})
"""Roles whose digest may be that of row numbers."""


@dataclass(frozen=True)
class Known:
    """An artifact of the report: what it is and how it came about."""

    result: Result
    history: tuple[Step, ...]


@dataclass
class _Graph:
    steps: list[Step] = field(default_factory=list)
    inputs: list[set[tuple[str, str]]] = field(default_factory=list)
    """(role, digest) of each step's inputs."""
    number: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    """Digest to step."""
    results: dict[int, list[Result]] = field(default_factory=dict)
    edges: dict[tuple[int, int], bool] = field(default_factory=dict)
    """(from, to) to whether it is certain."""

    def enter(self, history: Sequence[Step]) -> list[int]:
        """The numbers of steps. Equal steps have one; of a command with several outputs all have one."""
        found = []
        for step in history:
            told = to_json([step])[0]
            inputs = told.pop("inputs")
            key = json.dumps(told if len(outputs(step)) > 1 else [told, inputs], sort_keys=True)
            if key not in self.number:
                self.number[key] = len(self.steps)
                self.steps.append(step)
                self.inputs.append(set())
            self.inputs[self.number[key]] |= set(step.inputs.items())
            found.append(self.number[key])
        return found

    def link(self, start: int, end: int, certain: bool) -> None:
        if start != end:
            self.edges[start, end] = certain or self.edges.get((start, end), False)


def commands(known: Sequence[Known]) -> list[Command]:
    """The steps of all histories, each once and after what it reads; the order depends on the steps alone."""
    graph = _Graph()
    histories = []
    for one in known:
        numbers = graph.enter(one.history)
        if not numbers:
            continue
        histories.append(numbers)
        graph.made.setdefault(one.result.digest, numbers[-1])
        entries = graph.results.setdefault(numbers[-1], [])
        if one.result not in entries:
            entries.append(one.result)
    for numbers in histories:
        _follow(graph, numbers)
    for numbers in histories:
        _by_names(graph, numbers)
    for numbers in histories:
        _sinks(graph, numbers)
    order = _order(graph)
    place = {number: where for where, number in enumerate(order)}
    return [_command(graph, number, place) for number in order]


def _roles(graph: _Graph, number: int) -> set[str]:
    return {role for role, _ in graph.inputs[number]}


def _follow(graph: _Graph, history: Sequence[int]) -> None:
    """From the last step backwards, as long as one input alone can have all the steps before."""
    for end in range(len(history) - 1, 0, -1):
        inputs = {digest for role, digest in graph.inputs[history[end]] if role not in _OUTSIDE}
        if len(inputs) != 1 or _roles(graph, history[end]) & _CHOICES:
            return
        maker = graph.made.setdefault(inputs.pop(), history[end - 1])
        if maker != history[end - 1]:
            return


def _by_names(graph: _Graph, history: Sequence[int]) -> None:
    """Digests that are known become arrows; of the others, names of outputs among the words of a later command."""
    writers: dict[str, int] = {}
    for number in history:
        step = graph.steps[number]
        unknown = []
        for role, digest in sorted(graph.inputs[number]):
            if digest in graph.made:
                graph.link(graph.made[digest], number, True)
            elif role not in _OUTSIDE:
                unknown.append((role, digest))
        if unknown:
            candidates = list(dict.fromkeys(writers[name] for name in _read_names(step) if name in writers))
            candidates = [one for one in candidates if (one, number) not in graph.edges]
            plain = [digest for role, digest in unknown if role not in _CHOICES]
            if len(candidates) == 1 and len(plain) == 1 and len(unknown) == 1:
                graph.made[plain[0]] = candidates[0]
            for one in candidates:
                graph.link(one, number, False)
        for name in outputs(step):
            writers[name] = number


def _sinks(graph: _Graph, history: Sequence[int]) -> None:
    """What none of the steps before the last one has read, the last one has."""
    before = set(history[:-1])
    read = {start for start, end in graph.edges if end in before}
    for number in history[:-1]:
        if number not in read:
            graph.link(number, history[-1], True)


def outputs(step: Step) -> list[str]:
    """What ``-o`` names among a command's words."""
    found = []
    words = iter(step.argv)
    for word in words:
        if word in ("-o", "--output"):
            found.append(next(words, ""))
        elif word.startswith("--output="):
            found.append(word.partition("=")[2])
        elif word.startswith("-o") and len(word) > 2 and not word.startswith("--"):
            found.append(word[2:])
    return [name.rstrip("/") for name in found if name]


def _read_names(step: Step) -> Iterator[str]:
    """Names that a command may have read: words, what stands before a colon (``r.zarr:least:9``), folders of files."""
    own = set(outputs(step))
    for word in step.argv:
        name = word.partition("=")[2] if word.startswith("--") else word.removeprefix("!")
        for one in (name, name.partition(":")[0], name.rpartition("/")[0], name.partition(":")[2]):
            if one and one.rstrip("/") not in own:
                yield one.rstrip("/")


def _order(graph: _Graph) -> list[int]:
    """Steps after what they read; of those that may come next, the one that comes first as text.

    Histories that contradict one another, which no command writes, lose the arrows that would lead back.
    """
    keys = {number: key for key, number in graph.number.items()}
    after: dict[int, list[int]] = {}
    waiting = dict.fromkeys(range(len(graph.steps)), 0)
    for start, end in graph.edges:
        after.setdefault(start, []).append(end)
        waiting[end] += 1
    ready = [(keys[number], number) for number, count in waiting.items() if not count]
    heapq.heapify(ready)
    rest = sorted((key, number) for number, key in keys.items())
    rest.reverse()
    order: list[int] = []
    done: set[int] = set()
    while rest:
        number = heapq.heappop(ready)[1] if ready else rest.pop()[1]
        if number in done:
            continue
        done.add(number)
        order.append(number)
        for other in after.get(number, ()):
            waiting[other] -= 1
            if not waiting[other] and other not in done:
                heapq.heappush(ready, (keys[other], other))
        if len(done) == len(graph.steps):
            break
    place = {number: where for where, number in enumerate(order)}
    graph.edges = {edge: sure for edge, sure in graph.edges.items() if place[edge[0]] < place[edge[1]]}
    return order


def _command(graph: _Graph, number: int, place: dict[int, int]) -> Command:
    step = graph.steps[number]
    words = [*step.tool.split(), *step.argv]
    several = step.tool in SEVERAL and bool(step.argv) and step.argv[0].isalpha()
    sources = []
    told: set[int] = set()
    for role, digest in sorted(graph.inputs[number]):
        maker = graph.made.get(digest)
        if maker is None or (maker, number) not in graph.edges:
            sources.append(Source(role, digest))
        else:
            told.add(maker)
            sources.append(Source(role, digest, place[maker], graph.edges[maker, number]))
    for (start, end), sure in sorted(graph.edges.items(), key=lambda edge: place[edge[0][0]]):
        if end == number and start not in told:
            sources.append(Source("", "", place[start], sure))
    return Command(
        f"{step.tool} {step.argv[0]}" if several else step.tool,
        words,
        ", ".join(name.rpartition("/")[2] for name in outputs(step)),
        step.version,
        step.seed,
        step.device,
        sources,
        graph.results.get(number, []),
    )
