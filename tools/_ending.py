"""How a command ends: signals, errors told in one sentence, exit codes, and a stdout that may be gone or full."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from datarobust.errors import DatarobustError, is_out_of_memory

from ._console import Console, as_options, is_main, stop_bar, tell

#: What the machine, not our code, is to blame for: told in a sentence instead of a traceback.
ENVIRONMENT = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.EMFILE,
        errno.ENAMETOOLONG,
        errno.ENFILE,
        errno.ENOENT,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)
SIGNALS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

_can_resume = False


class Stopped(KeyboardInterrupt):
    """A signal came: raised in the main thread like Ctrl-C, so that ``finally`` blocks run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def resumable() -> None:
    """From here on an interrupted run can be continued by the same command; the message of an interrupt says so."""
    global _can_resume
    _can_resume = True


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
    # Once is a request to end well, and a repeat by timeout or make must not disturb the clean-up; but a second
    # Ctrl-C is a user who does not want to wait. What was saved is whole either way.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    raise Stopped(number)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within, a signal is noted and nothing else, so that a step of long work ends whole; a second Ctrl-C ends at once.

    Yields:
        Whether a signal came: then the work saves its state and returns.

    Raises:
        Stopped: at the end, where one came.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

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
    """Tell the user what ended the command.

    Returns:
        The exit code, as :mod:`datarobust.tools._cli` lists them.
    """
    _default_signals()
    stop_bar()
    match error:
        case typer.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case Stopped():
            hint = "; the same command again goes on from here" if _can_resume else ""
            return _report("Interrupted", SIGNALS[signal.Signals(error.number)] + hint, 128 + error.number)
        case typer.Abort() | KeyboardInterrupt():
            return _report("Interrupted", "interrupted", 130)
        case DatarobustError():
            return _report(type(error).__name__, as_options(str(error)), error.exit_code)
        case typer.TyperException():
            return _report("UsageError", _usage_message(error), error.exit_code)
        case OSError() if _reader_left(error):
            return 0
        case OSError() if error.errno in ENVIRONMENT:
            return _report("OSError", _os_message(error), 1)
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            return _report("MemoryError", _memory_message(error), 1)
    traceback.print_exception(error)
    if Console.json:
        _report(type(error).__name__, f"{error} (a bug in datarobust; the traceback is above)", 1)
    return 1


def close_stdout(code: int) -> int:
    """Flush stdout, and keep the interpreter from trying again.

    Returns:
        The exit code: ``code``, or 1 if the product did not get out although somebody still reads it.
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


def _usage_message(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" Try '{context.command_path} --help'." if context is not None else ""
    message = re.sub(r"\s*\n\s*", " ", error.format_message()).strip().replace("Value error, ", "")
    return f"{message}{'' if message.endswith(('.', '?')) else '.'}{hint}"


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


def _memory_message(error: BaseException) -> str:
    detail = str(error).strip().splitlines()
    return f"out of memory{f' ({detail[0]})' if detail else ''}: make room, or take fewer points with --limit."
