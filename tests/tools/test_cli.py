"""How commands start and end, as real processes: pipes, signals, errors, exit codes, help."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import tomllib
import typing
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.models import OptionInfo, ParameterInfo

from datarobust import __version__
from datarobust.tools import _cli, _console

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

SAMPLE = '''
"""Does one thing (Section 3).

Two runnable examples:

    sample few
    sample sleep --norm linf

The end.
"""
import os, sys, time
from pathlib import Path
from typing import Annotated
import typer
from datarobust.errors import ArtifactError, UsageError
from datarobust.tools import _cli

app = _cli.tool(__doc__)

@app.command()
def sample(
    work: str,
    norm: _cli.Norm = "l2",
    output: _cli.OptionalOutput = None,
    overwrite: _cli.Overwrite = False,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    limit: _cli.Limit = None,
    threads: _cli.Threads = None,
    select: _cli.Select = None,
    exclude: _cli.Exclude = None,
    dry_run: _cli.DryRun = False,
    quiet: _cli.Quiet = False,
    json: _cli.Json = False,
) -> None:
    if work == "few":
        _cli.emit("product")
        _cli.say("talk")
    elif work == "many":
        for number in range(200_000):
            _cli.emit(str(number))
    elif work == "bad":
        raise ArtifactError("'\\x1b[31mred\\n\\u202e.zarr' is not a store.")
    elif work == "misuse":
        raise UsageError("-k needs a number.")
    elif work == "bug":
        raise ValueError("oh no")
    elif work == "missing":
        open("/nonexistent/\\x1b[2Jfile")
    elif work == "memory":
        raise MemoryError
    elif work == "huge":
        import numpy
        numpy.zeros((1 << 50,), numpy.uint8)
    elif work == "broken":
        read, write = os.pipe()
        os.close(read)
        os.write(write, b"x")
    elif work == "path":
        _cli.emit(str(_cli.argument_path(Path("-"))))
    elif work == "sleep":
        if output is not None:
            _cli.resumable()
        try:
            for _ in _cli.progress("waiting")(range(600)):
                print("ready", flush=True)
                time.sleep(0.05)
        finally:
            _cli.say("cleaned up")
    elif work == "stuck":
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            time.sleep(60)

_cli.run(app, "sample")
'''


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "sample.py"
    path.write_text(SAMPLE.lstrip(), encoding="utf-8")
    return path


@pytest.fixture
def run(sample: Path, quick: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the sample: a process of its own where its streams or its environment are not the usual ones."""

    def call(*arguments: str, **options: typing.Any) -> subprocess.CompletedProcess[str]:
        start = sys.executable if options else quick / "script"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
        return subprocess.run([start, sample, *arguments], text=True, check=False, **options)

    return call


@pytest.fixture
def start(sample: Path) -> typing.Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, sample, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, typing.Any]:
    """The one JSON object on stderr."""
    (line,) = done.stderr.splitlines()
    return json.loads(line)["error"]


# ----------------------------------------------------------------------------------------------------- streams


def test_product_on_stdout_and_talk_on_stderr(run: Run) -> None:
    done = run("few")
    assert (done.returncode, done.stdout, done.stderr) == (0, "product\n", "sample: talk\n")


def test_quiet_silences_the_talk_not_the_product(run: Run) -> None:
    done = run("few", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "product\n", "")


def test_only_the_first_process_of_torchrun_speaks(run: Run) -> None:
    done = run("few", env={**os.environ, "RANK": "1", "WORLD_SIZE": "2"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # A rank without a group is some other program's variable.
    assert run("few", env={**os.environ, "RANK": "1"}).stdout == "product\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_the_command_quietly(sample: Path, unbuffered: str) -> None:
    pipeline = f"set -o pipefail; '{sys.executable}' '{sample}' many | head -n 1"
    done = subprocess.run(
        ["bash", "-c", pipeline],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_a_reader_that_left_before_the_end_is_no_failure(run: Run) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run("few", "-q", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_broken_pipe_is_a_failure(run: Run) -> None:
    done = run("broken")
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("work", "unbuffered"), [("few", ""), ("many", ""), ("few", "1")])
def test_full_stdout_is_one_sentence(run: Run, work: str, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(work, "-q", stdout=full, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert (done.returncode, done.stderr) == (1, "sample: error: No space left on device: stdout\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_help_into_a_full_stdout_is_one_sentence(run: Run) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("--help", stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("sample: error: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(sample: Path, closed: str) -> None:
    done = subprocess.run(f"'{sys.executable}' '{sample}' few {closed}", shell=True, check=False, capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_a_path_comes_through_stdin_byte_by_byte(run: Run) -> None:
    name = "a b\udcff\N{SNOWMAN}.zarr"  # \xff is no UTF-8
    done = run("path", input=f"{name}\n", errors="surrogateescape", encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, f"{name}\n")


@pytest.mark.parametrize("text", ["", "\n", "a\nb\n"])
def test_stdin_without_one_path_is_refused(run: Run, text: str) -> None:
    done = run("path", input=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "one path from stdin" in done.stderr


# ------------------------------------------------------------------------------------------------------ errors


def test_an_error_is_one_harmless_sentence(run: Run) -> None:
    done = run("bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sample: error: '\\x1b[31mred\\n\\u202e.zarr' is not a store.\n"


def test_an_error_as_json(run: Run) -> None:
    done = run("bad", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert error_of(done) == {
        "type": "ArtifactError",
        "message": "'\x1b[31mred\n\u202e.zarr' is not a store.",
        "exit_code": 1,
    }
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "work"),
        (["few", "--nrom", "l2"], "--norm"),
        (["few", "--norm", "l3"], "linf"),
        (["few", "--device", "gpu"], "cuda"),
        (["few", "--limit", "0"], "--limit"),
        (["few", "--seed", "-1"], "--seed"),
        (["few", "--norm"], "--norm"),
        (["few", "\x1b[2J"], r"\x1b[2J"),
        (["misuse"], "-k"),
    ],
)
def test_misuse_is_one_sentence_and_exit_2(run: Run, arguments: list[str], names: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sample: error: ")
    assert done.stderr.count("\n") == 1
    assert names in done.stderr


@pytest.mark.parametrize("arguments", [["few", "--norm", "l3"], ["misuse"]])  # as typer and as we have it
def test_misuse_as_json(run: Run, arguments: list[str]) -> None:
    error = error_of(run("--json", *arguments))
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)


def test_json_after_the_double_dash_is_an_argument(run: Run) -> None:
    done = run("--norm", "l3", "--", "--json")
    assert done.stderr.startswith("sample: error: ")


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("missing", "No such file or directory: /nonexistent/\\x1b[2Jfile"),
        ("memory", "out of memory: make room, or take fewer points with --limit."),
    ],
)
def test_trouble_of_the_machine_is_one_sentence(run: Run, work: str, sentence: str) -> None:
    done = run(work)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"sample: error: {sentence}\n")


def test_an_allocation_that_fails_says_how_much(run: Run) -> None:
    done = run("huge")
    assert done.returncode == 1
    assert done.stderr.startswith("sample: error: out of memory (Unable to allocate 1.00 PiB")
    assert done.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback(run: Run) -> None:
    done = run("bug")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: oh no\n")


def test_a_bug_ends_with_json_where_json_is_read(run: Run) -> None:
    done = run("bug", "--json")
    *traceback, last = done.stderr.splitlines()
    assert "Traceback" in traceback[0]
    assert json.loads(last)["error"]["type"] == "ValueError"


# ----------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_a_signal_ends_after_clean_up(start: Start, number: signal.Signals, code: int, word: str) -> None:
    process = start("sleep")
    process.send_signal(number)
    _, talk = process.communicate(timeout=30)
    assert process.returncode == code
    assert talk == f"sample: cleaned up\nsample: {word}\n"


def test_a_signal_says_how_to_go_on_where_the_state_is_saved(start: Start) -> None:
    process = start("sleep", "-o", "out.zarr")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1].endswith("terminated; run the same command again to resume\n")


def test_a_signal_as_json(start: Start) -> None:
    process = start("sleep", "-q", "--json")
    process.send_signal(signal.SIGINT)
    error = json.loads(process.communicate(timeout=30)[1])["error"]
    assert error == {"type": "Interrupted", "message": "interrupted", "exit_code": 130}


def test_the_second_interrupt_does_not_wait_for_clean_up(start: Start) -> None:
    process = start("stuck")
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    assert process.wait(1) == 130


def test_a_signal_ignored_by_the_caller_stays_ignored(sample: Path) -> None:
    process = subprocess.Popen(
        ["bash", "-c", f"trap '' INT HUP; exec '{sys.executable}' '{sample}' sleep -q"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


# ---------------------------------------------------------------------------------------------------- progress


def ticking(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
    """A clock for progress: what it shows at its n-th reading. Talk reads it without turning it."""
    readings = [0]

    def turned() -> float:
        readings[0] += 1
        return seconds(readings[0] - 1)

    def said(text: str) -> None:
        print(f"sample: {text}", file=sys.stderr)
        _console.Console.spoken = seconds(readings[0] - 1)

    monkeypatch.setattr(_console, "time", SimpleNamespace(monotonic=turned))
    monkeypatch.setattr(_console, "say", said)
    monkeypatch.setattr(_console.Console, "spoken", 0.0)


def test_progress_without_a_terminal_is_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = _cli.progress("ranking")
    ticking(monkeypatch, lambda reading: 4.0 * reading)
    assert list(loop(range(10))) == list(range(10))
    out, err = capsys.readouterr()
    assert out == ""
    # Four seconds an item; a line after ten seconds of silence.
    assert err.splitlines() == [
        "sample: ranking 2/10 (20%), 0.167/s, 0:00:48 left",
        "sample: ranking 5/10 (50%), 0.208/s, 0:00:24 left",
        "sample: ranking 8/10 (80%), 0.222/s, 0:00:09 left",
        "sample: ranking 10/10 in 0:00:44, 0.227/s",
    ]


def test_progress_tells_the_rate_in_its_unit_and_the_figure_that_matters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def note() -> str:
        asked.append("loss 1.5")
        return asked[-1]

    loop = _cli.progress("training", ("images", lambda steps: 6000.0 / steps), note)
    ticking(monkeypatch, lambda reading: 6.0 * reading)
    assert list(loop(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err.splitlines() == [
        "sample: training 1/3 (33%), 167 images/s, 0:00:24 left, loss 1.5",
        "sample: training 3/3 in 0:00:24, 250 images/s, loss 1.5",
    ]
    assert len(asked) == 2  # only where it was told


def test_what_a_resumed_loop_passes_over_says_nothing_about_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = _cli.progress("attacking")
    # Ninety batches were done before and take no time; each of the others takes eleven seconds.
    ticking(monkeypatch, lambda reading: 11.0 * max(0, reading - 91))
    assert list(loop(range(100))) == list(range(100))
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "sample: attacking 91/100 (91%), 0.0909/s, 0:01:39 left"


def test_progress_of_unknown_length(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_console, "LINE_EVERY", 0.0)
    assert list(_cli.progress("reading")(iter(x for x in "ab"))) == ["a", "b"]
    assert "reading 1, " in capsys.readouterr().err


def test_quiet_progress_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_console, "LINE_EVERY", 0.0)
    monkeypatch.setattr(_console.Console, "quiet", True)
    assert list(_cli.progress("reading")(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def on_terminal(sample: Path, **environment: str) -> bytes:
    """What a terminal gets from a run that is interrupted."""
    main, side = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, sample, "sleep"], stdout=subprocess.PIPE, stderr=side, env={**clean, **environment}
    )
    os.close(side)
    seen = bytearray()
    reader = threading.Thread(target=read_all, args=(main, seen))
    reader.start()
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    reader.join()
    os.close(main)
    assert process.returncode == 130
    return bytes(seen)


def read_all(terminal: int, seen: bytearray) -> None:
    try:
        while part := os.read(terminal, 1 << 16):
            seen += part
    except OSError as error:  # how Linux says that the last one closed the terminal
        if error.errno != errno.EIO:
            raise


def test_a_terminal_gets_a_bar_and_its_cursor_back(sample: Path) -> None:
    seen = on_terminal(sample, TERM="xterm")
    assert b"waiting" in seen
    assert b"/600" in seen
    assert b"\x1b[3" in seen  # colour
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")  # shown after it was hidden
    assert seen.endswith(b"sample: interrupted\r\n")


def test_no_color(sample: Path) -> None:
    seen = on_terminal(sample, TERM="xterm", NO_COLOR="1")
    assert b"waiting" in seen
    assert b"\x1b[3" not in seen


def test_a_dumb_terminal_gets_no_escapes(sample: Path) -> None:
    assert b"\x1b" not in on_terminal(sample, TERM="dumb")


def test_arguments_become_options() -> None:
    assert _console.as_options("`hold_out` takes all; give `lam` or `eps` 8/255") == (
        "--hold-out takes all; give --lambda or --eps 8/255"
    )
    assert _console.as_options("a ` alone, and `Some Words`") == "a ` alone, and `Some Words`"


def test_escape() -> None:
    assert _cli.escape("caf\u00e9 [red] \U0001f600") == "caf\u00e9 [red] \U0001f600"
    assert _cli.escape("a\x1b[0m\x9b\r\n\t\u2028\u202e\udcff") == r"a\x1b[0m\x9b\r\n\t\u2028\u202e\xff"


# -------------------------------------------------------------------------------------------- help and options


def test_help_keeps_the_lines_of_examples(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "\n      sample few\n      sample sleep --norm linf\n" in done.stdout
    assert run("-h").stdout == done.stdout


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"sample {__version__}\n"


def test_completion_script(run: Run) -> None:
    done = run(env={**os.environ, "_SAMPLE_COMPLETE": "complete_bash", "COMP_WORDS": "sample --no", "COMP_CWORD": "1"})
    assert (done.returncode, done.stdout.split()) == (0, ["--norm"])


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help_of_every_command_is_quick_and_has_an_example(scripts: Path, name: str) -> None:
    """No heavy package is imported for it: a time in seconds would say more about the machine."""
    module = SCRIPTS[name].partition(":")[0]
    program = (
        f"import runpy, sys; sys.argv = ['{name}', '--help']\n"
        f"try: runpy.run_module('{module}', run_name='__main__')  # as torchrun -m does\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "numpy", "zarr", "matplotlib", "scipy", "sklearn", "safetensors", "rich", "PIL"}
    assert not heavy & set(done.stderr.split())
    assert f"{name} " in done.stdout.partition("\n")[2], "the help has no example"
    assert (scripts / name).is_file()


def commands_of(name: str) -> list[tuple[str, Callable[..., object]]]:
    """Every command and sub-command of a tool with the function behind it."""
    app: typer.Typer = import_module(SCRIPTS[name].partition(":")[0]).app
    found = [(name, info.callback) for info in app.registered_commands]
    return [(command, function) for command, function in found if function is not None]


def options_of(function: Callable[..., object]) -> list[tuple[ParameterInfo, list[str]]]:
    """The options with their flags: those that are spelt out, else that of the parameter."""
    hints = typing.get_type_hints(function, include_extras=True)
    return [
        (part, flags_of(part) or [f"--{name.replace('_', '-')}"])
        for name, hint in hints.items()
        for part in getattr(hint, "__metadata__", ())
        if isinstance(part, OptionInfo)
    ]


def flags_of(option: ParameterInfo) -> list[str]:
    """The flags; typer keeps the first of them where the default was, until it reads a signature."""
    return [flag for flag in (option.default, *(option.param_decls or ())) if str(flag).startswith("-")]


#: Flags of one meaning whose values or units are each command's own: which labels, which network, the norm of what,
#: what a ranking is for.
OWN_VALUES = {
    "--arch",
    "--augment",
    "--batch",
    "--device",
    "--epochs",
    "--features",
    "-k",
    "--labels",
    "--layout",
    "--model",
    "--n",
    "--norm",
    "--num-steps",
    "--ranking",
    "--steps",
    "--weights",
}


def test_a_flag_has_one_definition() -> None:
    """A flag of ``_cli`` is never defined again, and no flag means two things in two tools."""
    shared: dict[str, list[ParameterInfo]] = {}
    for alias in vars(_cli).values():
        for part in getattr(alias, "__metadata__", ()):
            if isinstance(part, ParameterInfo):
                for flag in flags_of(part):
                    shared.setdefault(flag, []).append(part)
    assert {"-o", "--output", "-q", "--json", "--norm", "--select"} <= set(shared)
    seen: dict[str, tuple[str, ParameterInfo]] = {}
    wrong = []
    for name in sorted(SCRIPTS):
        for command, function in commands_of(name):
            for option, flags in options_of(function):
                for flag in flags:
                    alike = ((part.help, flags_of(part)) for part in shared.get(flag, []))
                    if flag in shared and flag not in OWN_VALUES and (option.help, flags) not in alike:
                        wrong.append(f"{command} defines {flag} again")
                    first, known = seen.setdefault(flag, (command, option))
                    if flag not in OWN_VALUES and known.help != option.help:
                        wrong.append(f"{flag} differs between {first} and {command}")
    assert not wrong


def test_every_option_is_declared_with_its_flag() -> None:
    """Else a parameter of a function would become a flag that nobody sees in this test."""
    wrong = []
    for name in sorted(SCRIPTS):
        for command, function in commands_of(name):
            for parameter, hint in typing.get_type_hints(function, include_extras=True).items():
                if parameter != "return" and not any(
                    isinstance(part, ParameterInfo) for part in getattr(hint, "__metadata__", ())
                ):
                    wrong.append(f"{command}: {function.__name__}({parameter})")
    assert not wrong
