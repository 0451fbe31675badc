"""Making an output: the one place that knows what is done before, between and after the work of a job.

1. Was this very request made before? Then there is nothing to do, and what a killed run left is cleared.
2. Is the place vacant, or may what is there be replaced?
3. Does another process write it? It is locked for one.
4. Did an earlier run of this request leave a state? The job goes on from it.
5. The job runs. What it saves appears under its name whole, or not at all.
6. The state is discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datarobust import artifacts
from datarobust.artifacts import Resume, Step, Writer, durable
from datarobust.artifacts.runs import recorded
from datarobust.distributed import Group
from datarobust.errors import ArtifactError, UsageError
from datarobust.text import read_json, shown
from datarobust.types import Array, Progress

ALONE = Group(0, 1)
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")  # endings of tables for other programs
_OTHER_FILES = (".txt", ".json", ".xlsx", ".npz", ".npy", ".html", ".png", ".svg", ".pdf")  # no artifact is called so
MakeStep = Callable[[Mapping[str, str]], Step]  # from the inputs' digests by role to this run of a command
Columns = Mapping[str, tuple[Any, tuple[int, ...]]]  # array -> (dtype, shape of one row)
Labelled = Callable[[str], Progress]  # from what a loop does, in words, to its progress


def silent(label: str) -> Progress:
    """No progress, whatever the loop does."""
    return iter


class Form(Protocol):
    """What an output is on the disk: how one is recognised, and what may be replaced by one."""

    state: ClassVar[str] = (
        ""  # name of what in the output the `Resume` of unfinished work stands beside, if not the output
    )

    def finished(self, path: Path, request: str) -> bool:
        """Whether this very request has made the output that is there."""

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Raise ExistsError where the output may not be written; make its place ready where it grows there."""


@dataclass(frozen=True)
class Artifact(Form):
    """An output that is an artifact of this kind."""

    kind: str

    def finished(self, path: Path, request: str) -> bool:
        """By its attribute ``request``."""
        return artifacts.finished(path, request)

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Raise ExistsError where there is something that may not be replaced, UsageError for the name of a file."""
        if (ending := path.suffix.lower()) in (*TABLES, *_OTHER_FILES):
            what = "a table: choose another ending" if ending in TABLES else f"a {ending} file: end its name in .zarr"
            raise UsageError(f"{shown(path)} would be an artifact of the kind {self.kind}, not {what}")
        artifacts.demand_vacant(path, self.kind, overwrite)


@dataclass(frozen=True)
class Text(Form):
    """An output that is a text file, whose first line is a JSON object with the ``request`` that made it."""

    complete: Callable[[Path], bool] = lambda path: True  # whether a file of the same request lacks nothing

    def finished(self, path: Path, request: str) -> bool:
        """Whether this very request has made the file that is there, and nothing is missing."""
        durable.tidy(path)
        return first_line(path).get("request") == request and self.complete(path)

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Raise ExistsError where there is something else than an unfinished file of this very request."""
        durable.demand_vacant(path, overwrite or first_line(path).get("request") == request, Path.is_file)


def first_line(path: Path) -> dict[str, Any]:
    """The JSON object in the first line of a text file; an empty one where there is none."""
    if not path.is_file():
        return {}
    with durable.os_errors(path, "read"), path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        line = read_json(first)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def precision_in(path: Path) -> object:
    """The precision in which a training, clones or a search were begun at a path; None where there is nothing such."""
    if path.is_file():
        return first_line(path).get("precision")
    if recipe := recorded(path).get("recipe"):
        return recipe.get("precision")
    try:
        return artifacts.peek(path).attributes.get("precision")
    except ArtifactError:  # whoever writes there says what it is
        return None


@dataclass(frozen=True)
class Output:
    """An output that is being made, as a job sees it."""

    path: Path
    form: Form
    request: str  # names the request
    step: MakeStep
    overwrite: bool
    group: Group  # the processes that share the work; the one of rank 0 writes
    progress: Progress
    labelled: Labelled
    resume: Resume  # what this process has left for the next run

    def writer(
        self,
        columns: Columns,
        attributes: Mapping[str, Any],
        history: Sequence[Step],
        *,
        resume: Sequence[object] | None = None,
    ) -> AbstractContextManager[Writer]:
        """A writer of the artifact, which appears when the block ends; see `artifacts.create`.

        With ``resume``, values that may change bits beside the request, rows that a killed run has written stay for the
        next run that has an equal request and equal values.
        """
        assert isinstance(self.form, Artifact)
        key = artifacts.fingerprint([self.request, *resume]) if resume else self.request
        return artifacts.create(
            self.path,
            self.form.kind,
            columns,
            attributes={**attributes, "request": self.request},
            history=history,
            overwrite=self.overwrite,
            resume_key=None if resume is None else key,
            save_every=self.resume.every,
        )

    def save(self, arrays: Mapping[str, Array], attributes: Mapping[str, Any], history: Sequence[Step]) -> None:
        """Write an artifact whose arrays are in memory."""
        columns = {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
        with self.writer(columns, attributes, history) as writer:
            for name, array in arrays.items():
                writer.append(name, array)

    def write_text(self, text: str) -> None:
        """Write a text file whose first line names the request."""
        assert isinstance(self.form, Text)
        with artifacts.whole_or_absent(self.path, overwrite=True) as partial:  # make has seen that it is vacant
            partial.write_text(text, encoding="utf-8")


class Job(Protocol):
    """Work that makes an output."""

    @property
    def form(self) -> Form:
        """What the output is on the disk."""

    def request(self) -> dict[str, Any]:
        """All that decides the bits of the result, as JSON has it; equal requests are one result."""

    def run(self, output: Output) -> None:
        """Compute the result and write it. In several processes all call this; the one of rank 0 writes."""


def make(
    job: Job,
    path: Path,
    step: MakeStep,
    *,
    overwrite: bool = False,
    group: Group = ALONE,
    progress: Progress = iter,
    labelled: Labelled = silent,
    save_every: float = 20.0,
) -> bool:
    """Make the output of a job; False where this very request made it before, and nothing was done.

    ``progress`` is of the job's loop, ``labelled`` of the loops of a job with several; ``save_every`` is in seconds.
    Raises ExistsError where the output may not be replaced, LockedError where another process is writing it.
    """
    request, form = artifacts.fingerprint(job.request()), job.form

    def finished() -> bool:
        return not overwrite and form.finished(path, request)

    def state() -> Resume:
        return Resume(path / form.state, request, group.rank, group.size, every=save_every)

    if group.agree(group.is_main and finished()):
        if group.is_main and state().left:  # by a run that was killed after its result was whole
            with artifacts.locked(path), durable.os_errors(path):
                state().discard()
                durable.recover(path)
        return False
    with artifacts.locked(path) if group.is_main else nullcontext():
        if group.agree(group.is_main and finished()):  # another process made it just now
            return False
        if group.is_main:
            form.demand_vacant(path, request, overwrite)
        group.agree(True)  # the place is ready
        resume = state()
        job.run(Output(path, form, request, step, overwrite, group, progress, labelled, resume))
        if group.is_main:
            resume.discard()
        group.agree(True)  # nobody leaves before the result is safe
    return True
