"""What a command says, and how it ends: the product on stdout; talk, errors and progress on stderr; the exit code.

stdout carries nothing but the product, so a pipe can rely on it; ``-q`` silences talk and progress, never the product.
Under ``torchrun`` only the process of rank 0 speaks. Progress is a bar on a terminal, else a plain line now and then:
rate, time left, and the figure that matters, such as a loss.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import length_hint
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from datarobust.errors import DatarobustError, DatarobustWarning, is_out_of_memory

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from datarobust.training.loop import Line

    Words = Callable[[Line], str]

T = TypeVar("T")
# What a rate counts, and how many of it an item is where there are so many items: ("images", lambda items: 8).
Unit = tuple[str, Callable[[int], float]]

LINE_EVERY = 10.0  # seconds of silence before a plain line; the first comes after this time: short work says nothing
LOOK_EVERY = 0.5  # seconds between two updates of a bar
PASSED = 1e-3  # seconds that an item takes at most where a loop that goes on passes over what was done before

# Characters that move the cursor, start an escape sequence, end a line or turn the direction of writing.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]},
    **{code: f"\\u{code:04x}" for code in [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},  # bytes of a file name that are no text
    **{ord(char): name for char, name in {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.items()},
}

SIGNALS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# What the machine, not our code, is to blame for: told in a sentence instead of a traceback.
_ENVIRONMENT = """EACCES EDQUOT EFBIG EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE ENOENT
ENOMEM ENOSPC ENOTDIR EPERM EROFS ESTALE"""
ENVIRONMENT = frozenset(getattr(errno, name) for name in _ENVIRONMENT.split())

_PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # by module, where pip has another name
_TITLES = {"torch": "PyTorch"}  # by package


class Console:
    """How this process talks; one to a process, as stderr is."""

    name = "datarobust"
    quiet = False
    json = False  # errors as JSON objects
    bar: Bar | None = None  # the live one: stopped before an error is shown, also where a loop was left halfway
    spoken = 0.0  # when something was said last, on the clock of time.monotonic
    can_resume = False  # the same command goes on from here


# -------------------------------------------------------------------------------------------------------------- talk


def is_main() -> bool:
    """Whether this process speaks: always, but under ``torchrun`` only rank 0."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def escape(text: str) -> str:
    """Text from outside (names of files, of classes) as one harmless line for a terminal."""
    return text.translate(_UNSAFE)


def as_options(text: str) -> str:
    """A sentence of the library as the command line has it: an argument in backticks becomes its option.

    >>> as_options("`hold_out` takes all points")
    '--hold-out takes all points'
    """
    renamed = {"lam": "lambda"}  # because Python has a use for it
    return re.sub(r"`([a-z]\w*)`", lambda match: "--" + renamed.get(match[1], match[1]).replace("_", "-"), text)


def be_quiet(quiet: bool) -> bool:
    """Silence talk and progress from now on (the callback of ``-q``)."""
    Console.quiet = Console.quiet or quiet
    return quiet


def emit(line: str) -> None:
    """Write one line of the product to stdout; OSError where nobody reads it any more, or there is no room for it."""
    if is_main() and sys.stdout is not None:
        try:
            sys.stdout.write(f"{line}\n")
        except OSError as error:
            error.filename = "stdout"
            raise


def on_terminal() -> bool:
    """Whether results go to a person at a terminal, not to a pipe or a file."""
    return sys.stdout is not None and sys.stdout.isatty()


def emit_result(result: Mapping[str, Any], lines: Callable[[Mapping[str, Any]], Iterable[str]]) -> None:
    """Write a result to stdout: a few lines on a terminal; in a pipe or file, or with ``--json``, one JSON object."""
    if on_terminal() and not Console.json:
        for line in lines(result):
            emit(escape(line))
    else:
        emit(json.dumps(result))


def emit_plan(plan: Mapping[str, Any], seconds: float, place: str, most: bool = False) -> None:
    """Write what work costs to stdout, with the time that was extrapolated for this place, and say it."""
    about, here = "at most about" if most else "about", "this processor" if place == "cpu" else place
    say(f"This takes {about} {duration(seconds)} on {here}, extrapolated from a short measurement.")
    emit(json.dumps({**plan, "device": place, "expected_seconds": float(f"{seconds:.3g}")}))


def duration(seconds: float) -> str:
    """A length of time as people say it.

    >>> [duration(seconds) for seconds in (0.2, 90, 7200, 1e6)]
    ['1 second', '90 seconds', '2 hours', '12 days']
    """
    for unit, length, most in (("second", 1, 120), ("minute", 60, 120), ("hour", 3600, 72), ("day", 86400, 1000)):
        if (number := max(1, round(seconds / length))) < most:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds / 86400 / 365:,.0f} years"


def percent(share: float) -> str:
    """A fraction as people read it.

    >>> percent(0.5525)
    '55.25 %'
    """
    return f"{100 * share:.2f} %"


def aligned(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A small table as lines of text: numbers to the right, with six digits; words to the left.

    >>> list(aligned(["index", "class"], [[3, "cat"], [12, None]]))
    ['index  class', '    3  cat', '   12  -']
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [all(isinstance(value, int | float | None) for value in column) for column in zip(*rows, strict=True)]
    for line in (list(header), *cells):
        padded = zip(line, widths, right or [False] * len(header), strict=True)
        yield "  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in padded).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))


def say(*texts: str) -> None:
    """Tell the user these things on stderr, a line each, unless ``-q`` was given."""
    for text in () if Console.quiet or not is_main() else texts:
        tell(f"{Console.name}: {as_options(text)}")
        Console.spoken = time.monotonic()


def say_warnings() -> None:
    """Say the warnings of the library, each once, as other talk; those of others keep Python's form."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, DatarobustWarning):
            say(f"{message}.")
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show


def tell(line: str) -> None:
    """Write one line to stderr, whatever ``-q`` says; above a live bar where there is one."""
    if Console.bar is not None:
        Console.bar.console.print(escape(line), markup=False, highlight=False, soft_wrap=True)
        return
    try:
        sys.stderr.write(f"{escape(line)}\n")
        sys.stderr.flush()
    except OSError:  # nobody reads the talk: the work and its product matter more
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open until the end


# ---------------------------------------------------------------------------------------------------------- progress


class Loop:
    """Yields the items it is called with, and shows how far it is; with ``-q`` nothing.

    It shows the rate, and where the items have a length the share and the time left. What took long is told once more
    at its end. ``note`` is the figure that matters, such as ``loss 1.234``, asked for between two items.
    """

    def __init__(self, label: str, unit: Unit | None = None, note: Callable[[], str] | None = None) -> None:
        self._silent = Console.quiet or not is_main()
        self._label, self._unit, self._note = label, unit, note
        self._begin(())

    def __call__(self, items: Iterable[T], /) -> Iterable[T]:
        """The items, counted."""
        return items if self._silent else self._shown(items)

    def _shown(self, items: Iterable[T]) -> Iterator[T]:
        terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}
        self._begin(items)
        Console.spoken = max(Console.spoken, self._began)
        bar = _bar(self._label, self._total) if terminal else None
        done, updated = -1, -LOOK_EVERY
        try:
            for done, item in enumerate(items):
                self._count(done)
                if bar is not None and self._now - updated >= LOOK_EVERY:
                    updated = self._now
                    bar.update(bar.task_ids[0], completed=done, state=escape(self._state("", self.left)))
                elif bar is None and done and self._now - Console.spoken >= LINE_EVERY:
                    percent = f" ({done / self._total:.0%})" if self._total else ""
                    say(f"{self._label} {self._state(percent, self.left)}")
                yield item
        finally:
            if bar is not None:
                bar.stop()
                Console.bar = None if Console.bar is bar else Console.bar
        if done >= 0:
            self._count(done + 1)
            if self._now - self._began >= LINE_EVERY:
                say(f"{self._label} {self._state(f' in {clock(self._now - self._began)}')}")

    def _begin(self, items: Iterable[object]) -> None:
        self._total = length_hint(items, 0)
        self._done, self._passing = 0, True
        self._began = self._now = time.monotonic()
        self._base = (0, self._began)

    def _count(self, done: int) -> None:
        """So many are done. What was passed over at the start is done, but says nothing about the rate."""
        before, self._done, self._now = self._now, done, time.monotonic()
        self._passing = self._passing and self._now - before < PASSED
        if self._passing:
            self._base = (done, self._now)

    @property
    def _rate(self) -> float:
        """Items a second; 0 where that is not known yet."""
        done, began = (0, self._began) if self._base[0] == self._done else self._base
        return (self._done - done) / (self._now - began) if self._now > began else 0.0

    @property
    def left(self) -> str:
        """``0:00:23 left``; nothing where that is not known."""
        return f"{clock(max(self._total - self._done, 0) / self._rate)} left" if self._total and self._rate else ""

    def _state(self, more: str, left: str = "") -> str:
        """``120/450 (27%), 14.2/s, 0:00:23 left, loss 1.234``."""
        share = f"{self._done}/{self._total}" if self._total else str(self._done)
        name, size = self._unit or ("", lambda _: 1.0)
        rate = self._rate * size(self._total)
        number = f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"
        speed = f"{number} {name}/s".replace(" /", "/") if rate else ""
        return _joined(share + more, speed, left, self._note and self._note())


def _bar(label: str, total: int) -> Bar:
    """A live bar on the terminal; lines that are said go above it."""
    from rich import progress as rich_progress
    from rich.console import Console as RichConsole
    from rich.table import Column

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(10),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[state]}", markup=False, table_column=Column()),  # may wrap
        console=RichConsole(stderr=True),
        transient=True,
        redirect_stdout=False,  # unless told not to, rich takes hold of stdout and prints the product on the terminal
        redirect_stderr=False,
    )
    bar.add_task(escape(label), total=total or None, state="")
    bar.start()
    Console.bar = bar
    return bar


class Listener:
    """Tells the user of an epoch now and then, and between them how the epoch stands.

    ``figures`` puts a line of the log into words, ``brief`` its first numbers; ``images`` are those of a step.
    """

    def __init__(self, epochs: int, images: int, figures: Words, brief: Words, stopped: Callable[[], bool]) -> None:
        self.stops, self.remark = stopped, say
        self._epochs, self._figures, self._brief = epochs, figures, brief
        self._loop = Loop("training", ("images", lambda _: images), self._note)
        self._standing: Callable[[], Line] = dict
        self._last: Line = {}
        self._spoken = -LINE_EVERY

    def progress(self, steps: Iterable[T], standing: Callable[[], Line], /) -> Iterable[T]:
        """The steps, counted."""
        self._standing = standing
        return self._loop(steps)

    def epoch(self, line: Line) -> None:
        """Tell of an epoch, unless that was done a moment ago."""
        self._last = line
        now = time.monotonic()
        if now - self._spoken < LINE_EVERY and line["epoch"] < self._epochs:
            return
        self._spoken = now
        epoch = f"epoch {line['epoch']}/{self._epochs}: {self._figures(line)}"
        say(_joined(epoch, f"{line['images_per_second']:,.0f} images/s", self._loop.left))

    def _note(self) -> str:
        """The epoch so far; before its first step the last one."""
        line = self._standing()
        line = line if "loss" in line else self._last
        return self._brief(line) if line else ""


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """``0:04:27``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


# ------------------------------------------------------------------------------------------------------------ the end


class Stopped(KeyboardInterrupt):
    """A signal came: raised in the main thread like Ctrl-C, so that ``finally`` blocks run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def resumable() -> None:
    """From here on an interrupted run can be continued by the same command; the message of an interrupt says so."""
    Console.can_resume = True


def guard_streams() -> None:
    """Make the three standard streams safe to use, also where the caller closed them."""
    for descriptor in range(3):  # else the next file opened would become "stdout", and take what is printed
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open until the end
    for stream in (sys.stdin, sys.stdout):  # names of files are bytes: what comes in goes out unchanged
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")


def catch_signals() -> None:
    """Let SIGHUP, SIGINT and SIGTERM raise :class:`Stopped`, but for those that the caller asked to ignore."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a background job of a shell script
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore_further()
    raise Stopped(number)


def _ignore_further() -> None:
    # Once is a request to end well, and a repeat by timeout or make must not disturb the clean-up; but a second
    # Ctrl-C is a user who does not want to wait. What was saved is whole either way.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within, a signal is noted and nothing else, so that a step of long work ends whole; a second Ctrl-C ends at once.

    Yields whether a signal came: then the work saves its state and returns. In the end it is raised as `Stopped`.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        _ignore_further()

    before = {number: signal.signal(number, note) for number in SIGNALS if signal.getsignal(number) is _stop}
    try:
        yield lambda: bool(noted)
    except KeyboardInterrupt:  # how the work says that it was told to stop
        if not noted:
            raise
    finally:
        if not noted:
            for number, handler in before.items():
                signal.signal(number, handler)
    if noted:
        raise Stopped(noted[0])


def explain(error: BaseException) -> int:
    """Tell the user what ended the command; the exit code, as :mod:`datarobust.tools._cli` lists them."""
    _default_signals()
    if Console.bar is not None:  # give the cursor back
        bar, Console.bar = Console.bar, None
        bar.stop()
    match error:
        case typer.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case Stopped():
            hint = "; run the same command again to resume" if Console.can_resume else ""
            return _report("Interrupted", SIGNALS[signal.Signals(error.number)] + hint, 128 + error.number)
        case typer.Abort() | KeyboardInterrupt():
            return _report("Interrupted", "interrupted", 130)
        case DatarobustError():
            return _report(type(error).__name__, as_options(str(error)), error.exit_code)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            hint = f" Try '{context.command_path} --help'." if context is not None else ""
            words = re.sub(r"\s*\n\s*", " ", error.format_message()).replace("Value error, ", "").strip()
            return _report("UsageError", f"{words}{'' if words.endswith(('.', '?')) else '.'}{hint}", error.exit_code)
        case ModuleNotFoundError() if (package := _missing_package(error)) is not None:
            needs = f"{Console.name} needs {_TITLES.get(package, package)}, which is not installed"
            return _report("ModuleNotFoundError", f"{needs}: pip install {package}", 1)
        case OSError() if _reader_left(error):
            return 0
        case OSError() if error.errno in ENVIRONMENT:
            return _report("OSError", _os_message(error), 1)
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            detail = f" ({str(error).strip().splitlines()[0]})" if str(error).strip() else ""
            return _report("MemoryError", f"out of memory{detail}: make room, or take fewer points with --limit.", 1)
    traceback.print_exception(error)
    if Console.json:
        _report(type(error).__name__, f"{error} (a bug in datarobust; the traceback is above)", 1)
    return 1


def _missing_package(error: ModuleNotFoundError) -> str | None:
    """The package, as pip calls it, that would bring a module; None where it is ours, or its package is there."""
    module = (error.name or "datarobust").partition(".")[0]
    return None if module == "datarobust" or sys.modules.get(module) else _PACKAGES.get(module, module)


def close_stdout(code: int) -> int:
    """Flush stdout, and keep the interpreter from trying again.

    The exit code is then ``code``, or 1 if the product did not get out although somebody still reads it.
    """
    _default_signals()
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        error.filename = "stdout"
        if code == 0 and not _reader_left(error):
            code = _report("OSError", _os_message(error), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _default_signals() -> None:
    # The work is over or given up: nothing is left that a signal could disturb.
    for number in SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def _report(kind: str, message: str, code: int) -> int:
    message = message if is_main() else f"process {os.environ['RANK']}: {message}"
    if Console.json:
        tell(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}))
    else:
        tell(f"{Console.name}: {message}" if kind == "Interrupted" else f"{Console.name}: error: {message}")
    return code


def _os_message(error: OSError) -> str:
    place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    return f"{error.strerror}{place}"


def _reader_left(error: OSError) -> bool:
    """Whether the reader of stdout went away; another broken pipe is a failure like any other."""
    if error.errno != errno.EPIPE or sys.stdout is None:
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
