"""What every command shares: its options, and how it starts and ends.

A command is a module with ``app = _cli.tool(__doc__)``, a function under ``@app.command()``, and
``main = _cli.main(app, "its-name")``. Imports among the commands are relative, because mypy knows this folder as
``tools``.

Exit codes: 0 done, also where the reader of stdout went away; 1 failed, with one sentence on stderr; 2 usage;
129 hung up, 130 interrupted, 143 terminated, each after clean-up. With ``--json`` an error is one JSON object, the
last line on stderr. A bug keeps its traceback.

An option that two commands share has one meaning and stands here once; heavy imports stand inside functions, so
that ``--help`` is quick.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from datarobust import __version__
from datarobust.errors import UsageError

from . import _console
from ._console import Console, be_quiet, deferred, emit, escape, resumable, say
from ._console import Loop as progress

if TYPE_CHECKING:
    import torch

    from datarobust.artifacts import Step
    from datarobust.jobs.make import MakeStep

__all__ = [
    "argument_path",
    "deferred",
    "emit",
    "escape",
    "progress",
    "resumable",
    "run",
    "say",
    "step",
    "tool",
    "torch_device",
]

# ---------------------------------------------------------------------------------------------- shared options


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is no device: choose auto, cpu, cuda or cuda:INDEX.")
    return value


def fraction(value: str) -> float:
    """A number, or two with a slash between: 8/255."""
    top, slash, bottom = value.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{value!r} is no number and no fraction such as 8/255.") from None


def output_option(check: Callable[[Path], Path] | None = None) -> Any:
    """``--output``, whose path ``check`` may refuse before any work."""
    words = "Where the result goes."
    return typer.Option("-o", "--output", metavar="PATH", help=words, show_default=False, callback=check)


_OUTPUT = output_option()

Output = Annotated[Path, _OUTPUT]
OptionalOutput = Annotated[Path | None, _OUTPUT]
Outputs = Annotated[list[Path] | None, _OUTPUT]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No talk and no progress.", callback=be_quiet)]
Json = Annotated[bool, typer.Option("--json", help="The result as one JSON object, errors too.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Where random numbers start.")]
Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:INDEX.", callback=_device)
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N points, for a quick look.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it costs; do nothing.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; all if not given.")]
Test = Annotated[Path | None, typer.Option("--test", metavar="T.zarr", help="Images to test on, never to train on.")]
Rate = Annotated[float, typer.Option("--lr", metavar="X", help="Largest learning rate.")]
SaveEvery = Annotated[float, typer.Option("--save-every", metavar="SECONDS", min=0, help="Between two saved states.")]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write the log for TensorBoard, too: OUTPUT/tensorboard.")
]
Precision = Annotated[
    Literal["fp32", "tf32", "bf16"],
    typer.Option("--precision", help="Of convolutions; losses, states and averages stay in fp32 or better."),
]
Memory = Annotated[
    float,
    typer.Option(
        "--memory", metavar="GB", min=0.001, max=1e6, help="For points, in each process; more are read in parts."
    ),
]
Eps = Annotated[
    float | None,
    typer.Option(
        "--eps",
        metavar="X",
        parser=fraction,
        help="Radius of the attack, pixels in [0, 1], as 8/255; 8/255 in linf and 128/255 in l2 if not given.",
    ),
]
_ATTACK_NORM = typer.Option("--norm", help="Of the attack.")
AttackNorm = Annotated[Literal["linf", "l2"], _ATTACK_NORM]
AnyAttackNorm = Annotated[Literal["linf", "l2", "l1"], _ATTACK_NORM]
_NORM = typer.Option("--norm", help="The distance between two points.")
Norm = Annotated[Literal["l2", "linf", "l1"], _NORM]
OptionalNorm = Annotated[Literal["l2", "linf", "l1"] | None, _NORM]
_SELECTION = "R.zarr:least:1024, R.zarr:most:1024, first:1024, random:1024:SEED, a file of indices, or - for stdin;"
Select = Annotated[
    str | None,
    typer.Option("--select", metavar="SEL", help=f"Only these points: {_SELECTION} ! in front takes all others."),
]
Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="OTHER.zarr", help="Look for neighbours among the points of another dataset."),
]
_NAME = typer.Option("--name", metavar="TEXT", help="What a set or run is called; once for each of several.")
Name = Annotated[str | None, _NAME]
Names = Annotated[list[str] | None, _NAME]
Classes = Annotated[
    Path | None, typer.Option("--classes", metavar="FILE", help="Class names, one a line, from label 0 on.")
]
_EVALUATED = typer.Option(
    "--ranking",
    metavar="R.zarr",
    help="Accuracy by robustness in this ranking, of the evaluated dataset.",
    show_default=False,
)
Ranking = Annotated[
    Path, typer.Option("--ranking", metavar="R.zarr", help="Robustness of its points; - for stdin.", show_default=False)
]
EvaluatedRanking = Annotated[Path, _EVALUATED]
OptionalEvaluatedRanking = Annotated[Path | None, _EVALUATED]
Quantiles = Annotated[
    int, typer.Option("--quantiles", metavar="N", min=1, help="Parts that --ranking makes of the points.")
]
Exclude = Annotated[str | None, typer.Option("--exclude", metavar="SEL", help="All but these points, as in --select.")]

# ------------------------------------------------------------------------------------------- start of a command


def tool(doc: str | None) -> typer.Typer:
    """A Typer app with our settings, and the docstring of the command's module as its help.

    Indented lines, such as examples, keep their lines. The docstring of a command's function, where there is one, takes
    its place.
    """
    return typer.Typer(
        help=doc,
        add_completion=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def step(tool: str, seed: int | None, device: str | None) -> MakeStep:
    """This run of a command as a step of an artifact's history, once the digests of its inputs are known."""
    from datarobust.artifacts import Step

    def made(inputs: Mapping[str, str]) -> Step:
        return Step(tool, tuple(sys.argv[1:]), __version__, seed, device, dict(inputs))

    return made


def torch_device(name: str, threads: int | None, here: int = 1) -> torch.device:
    """The device that ``--device`` names, ready for use, with so many threads of the processor.

    The processes on this machine, so many as ``here`` says, share its processors; each takes its own accelerator.

    Raises:
        UsageError: there is no such device.
    """
    import torch

    from datarobust import distributed
    from datarobust.sensitivity import available_threads

    # OMP_NUM_THREADS is the user's word, but for torchrun's, which sets it to 1 where nobody did.
    if threads is not None or "OMP_NUM_THREADS" not in os.environ or here > 1:
        torch.set_num_threads(threads or max(1, available_threads() // here))
    return distributed.device_of(name)


def argument_path(path: Path) -> Path:
    """The path itself, or for ``-`` the path that stands on stdin, the one line another command printed there."""
    if str(path) != "-":
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("'-' takes a path from stdin, but nothing is piped into this command.")
    lines = sys.stdin.read().splitlines()
    if len(lines) != 1 or not lines[0]:
        raise UsageError(f"'-' takes one path from stdin, but {len(lines)} lines came: did the command before it fail?")
    return Path(lines[0])


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command to its end and leave the process with its exit code."""
    arguments = sys.argv[1:]
    Console.name = name
    Console.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    _console.guard_streams()
    command = command_of(app)
    if f"_{name.replace('-', '_').upper()}_COMPLETE" in os.environ:
        command.main(prog_name=name)
    _console.catch_signals()
    try:
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        code = 0
    except BaseException as error:  # noqa: BLE001 - every way to end is told and becomes an exit code there
        code = _console.explain(error)
    code = _console.close_stdout(code)
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        # A thread of gloo that lets go of a tensor while the interpreter is torn down aborts the process now and then.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(app: typer.Typer, name: str) -> Callable[[], NoReturn]:
    """What the installed command calls."""
    return partial(run, app, name)


def command_of(app: typer.Typer) -> Any:
    """The command behind the app, with ``--version`` and with the examples in its help kept line by line."""
    command: Any = typer.main.get_command(app)
    command.params.append(_version_option())
    if isinstance(app.info.help, str) and not command.help:
        command.help = inspect.cleandoc(app.info.help)
    for each in [command, *getattr(command, "commands", {}).values()]:
        each.help = re.sub(r"(?m)\n*((?:^ .*\n?)+)\n*", "\n\n\b\n\\1\n\n", each.help or "").strip("\n")
    return command


def _version_option() -> Any:
    """``--version`` as typer makes it from a signature, to be put into every command."""
    holder = typer.Typer(add_completion=False)

    @holder.command()
    def _holder(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_version, is_eager=True, expose_value=False, help="Show the version."),
        ] = False,
    ) -> None: ...

    return typer.main.get_command(holder).params[0]


def _version(wanted: bool) -> None:
    if wanted:
        emit(f"{Console.name} {__version__}")
        raise typer.Exit
