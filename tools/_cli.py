"""What every command shares: its options, and how it starts and ends.

A command is a module as CONTRIBUTING.md shows. Imports among them are relative, because mypy knows this folder as
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
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO

import typer

from datarobust import __version__
from datarobust.errors import UsageError

from . import _console
from ._console import Console, be_quiet, deferred, emit, escape, resumable, say
from ._console import Loop as progress

if TYPE_CHECKING:
    import torch

    from datarobust import networks
    from datarobust.artifacts import Store, Tensors
    from datarobust.diffusion.denoiser import Denoiser
    from datarobust.distributed import Group
    from datarobust.jobs.make import MakeStep
    from datarobust.selection import Chosen

__all__ = ["deferred", "emit", "escape", "progress", "resumable", "say"]  # of _console

# ---------------------------------------------------------------------------------------------- shared options


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is not a device: choose auto, cpu, cuda or cuda:INDEX.")
    return value


def fraction(value: str) -> float:
    """A number, or two with a slash between: 8/255."""
    top, slash, bottom = value.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{value!r} is neither a number nor a fraction such as 8/255.") from None


def option(metavar: str, help: str, *flags: str, **more: Any) -> Any:
    """An option with a value; its flag is that of the parameter where none is given."""
    return typer.Option(*flags, metavar=metavar, help=help, **more)


def choice(help: str, *flags: str, **more: Any) -> Any:
    """An option whose values typer lists."""
    return typer.Option(*flags, help=help, **more)


def flag(name: str, help: str) -> Any:
    """An option without a value."""
    return typer.Option(name, help=help)


def argument(metavar: str, help: str, **more: Any) -> Any:
    """An argument."""
    return typer.Argument(metavar=metavar, help=help, **more)


def output_option(check: Callable[[Path], Path] | None = None) -> Any:
    """``--output``, whose path ``check`` may refuse before any work."""
    return option("PATH", "Output path.", "-o", "--output", show_default=False, callback=check)


_OUTPUT = output_option()

Output = Annotated[Path, _OUTPUT]
OptionalOutput = Annotated[Path | None, _OUTPUT]
Outputs = Annotated[list[Path] | None, _OUTPUT]
Dataset = Annotated[Path, argument("D.zarr", "Dataset; - takes its path from stdin.")]
Images = Annotated[Path, argument("D.zarr", "Images; - takes their path from stdin.")]
Overwrite = Annotated[bool, flag("--overwrite", "Replace the output if it exists.")]
Quiet = Annotated[bool, choice("Print no messages and no progress.", "-q", "--quiet", callback=be_quiet)]
Json = Annotated[bool, flag("--json", "Print results and errors as JSON objects.")]
Seed = Annotated[int, option("N", "Random seed.", "--seed", min=0)]
Device = Annotated[str, option("DEVICE", "Device: auto, cpu, cuda or cuda:INDEX.", "--device", callback=_device)]
Limit = Annotated[int | None, option("N", "Use only the first N points, for a quick look.", "--limit", min=1)]
DryRun = Annotated[bool, flag("--dry-run", "Only report the cost and the time, measured in a moment.")]
_SHARD = option("I/N", "Do only part I of N, counted from 0, as a separate job.", "--shard")
Shard = Annotated[str, _SHARD]
OptionalShard = Annotated[str | None, _SHARD]
Threads = Annotated[int | None, option("N", "CPU threads; default all.", "--threads", min=1)]
Test = Annotated[Path | None, option("T.zarr", "Test images; never used for training.", "--test")]
Rate = Annotated[float, option("X", "Maximum learning rate.", "--lr")]
SaveEvery = Annotated[float, option("SECONDS", "Seconds between two saved states.", "--save-every", min=0)]
TensorBoard = Annotated[bool, flag("--tensorboard", "Also write the log for TensorBoard, to OUTPUT/tensorboard.")]
_AnyPrecision = Literal["auto", "fp32", "tf32", "bf16"]
Precision = Annotated[
    _AnyPrecision,
    choice("Precision; auto: fp32 on a CPU, on a GPU tf32 in training and bf16 in cloning.", "--precision"),
]
Memory = Annotated[
    float,
    option(
        "GB", "Memory for points per process, in GB; larger data are read in parts.", "--memory", min=0.001, max=1e6
    ),
]
_RADIUS = "Attack radius for pixels in [0, 1], such as 8/255; default 8/255 in linf, 128/255 in l2."
Eps = Annotated[float | None, option("X", _RADIUS, "--eps", parser=fraction)]
_ATTACK_NORM = choice("Norm of the attack.", "--norm", case_sensitive=False)
AttackNorm = Annotated[Literal["linf", "l2"], _ATTACK_NORM]
AnyAttackNorm = Annotated[Literal["linf", "l2", "l1"], _ATTACK_NORM]
_NORM = choice("Norm of the distance between points.", "--norm", case_sensitive=False)
Norm = Annotated[Literal["l2", "linf", "l1"], _NORM]
OptionalNorm = Annotated[Literal["l2", "linf", "l1"] | None, _NORM]
_SELECTION = "R.zarr:least:1024, R.zarr:most:1024, first:1024, random:1024:SEED, a file of indices, or - for stdin;"
Select = Annotated[
    str | None, option("SEL", f"Select points: {_SELECTION} ! in front inverts the selection.", "--select")
]
Against = Annotated[Path | None, option("OTHER.zarr", "Look for neighbours in another dataset.", "--against")]
_NAME = option("TEXT", "Display name; repeat the option, one per input, in order.", "--name")
Name = Annotated[str | None, _NAME]
Names = Annotated[list[str] | None, _NAME]
Classes = Annotated[
    Path | None, option("FILE", "File with class names, one per line, starting with label 0.", "--classes")
]
_EVALUATED = option(
    "R.zarr", "Ranking of the evaluated dataset: report accuracy by robustness.", "--ranking", show_default=False
)
Ranking = Annotated[
    Path, option("R.zarr", "Ranking of the points; - takes its path from stdin.", "--ranking", show_default=False)
]
EvaluatedRanking = Annotated[Path, _EVALUATED]
OptionalEvaluatedRanking = Annotated[Path | None, _EVALUATED]
Quantiles = Annotated[
    int, option("N", "Number of parts into which --ranking divides the points.", "--quantiles", min=1)
]
Exclude = Annotated[str | None, option("SEL", "Leave out these points; same forms as --select.", "--exclude")]

Listing = Annotated[bool, flag("--list", "Only list what can be fetched.")]
Cache = Annotated[Path | None, option("DIR", "Folder for downloaded files; default ~/.cache/datarobust.", "--cache")]

# Of networks.
_SPELLING = (
    "a classifier's M.safetensors; or module:factory or path/to/file.py:factory, a function without arguments that "
    "makes a torch.nn.Module; or timm:NAME or hf:FOLDER"
)
Network = Annotated[str, option("M", f"A network: {_SPELLING}; its code is run.", "--model", show_default=False)]
OptionalNetwork = Annotated[
    str | None, option("M", f"Take the labels from a classifier: {_SPELLING}; its code is run.", "--model")
]
_NORMALISE = "Input normalisation: cifar10, cifar100, imagenet, none or MEAN:STD, such as 0.5:0.25."
Normalise = Annotated[str | None, option("HOW", _NORMALISE, "--normalise")]
Batch = Annotated[int, option("N", "Points per batch; affects memory and rounding.", "--batch", min=1)]
_WHICH = "Features to compare: inception, classifier:M or pixels; fid also accepts file:F."
Features = Annotated[str | None, option("WHICH", _WHICH, "--features")]
InceptionWeights = Annotated[
    Path | None,
    option("PATH", "File with the Inception weights, published or imported; see model fetch inception.", "--weights"),
]
# Of clone and clone-search.
DenoiserFile = Annotated[
    Path, option("M.safetensors", "Denoiser made by edmtrain, model fetch or model import.", "--model")
]
Start = Annotated[
    Literal["paper", "matched", "unit", "noise"], choice("How image and noise are mixed at the start.", "--start")
]
NoiseWeight = Annotated[float, option("W", "Fraction of noise in the start.", "--noise-weight")]
_COMPILED = "Use torch.compile; by default only for long work on a GPU."
Compiled = Annotated[bool | None, flag("--compile/--no-compile", _COMPILED)]
CloneBatch = Annotated[
    int | None, option("N", "Images per batch; default 32 on a CPU, 512 on a GPU.", "--batch", min=1)
]

# ------------------------------------------------------------------------------------------- start of a command


def tool(doc: str | None) -> typer.Typer:
    """A Typer app with our settings, and the docstring of the command's module as its help.

    The docstring of a command's function, where there is one, takes its place.
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

    argv = tuple(sys.argv[1:])
    return lambda inputs: Step(tool, argv, __version__, seed, device, dict(inputs))


def torch_device(name: str, threads: int | None, here: int = 1) -> torch.device:
    """The device that ``--device`` names, ready for use, with so many threads; ``here`` processes share the machine."""
    import torch

    from datarobust import distributed
    from datarobust.sensitivity import available_threads

    # OMP_NUM_THREADS is the user's word, but for torchrun's, which sets it to 1 where nobody did.
    if threads is not None or "OMP_NUM_THREADS" not in os.environ or here > 1:
        torch.set_num_threads(threads or max(1, available_threads() // here))
    return distributed.device_of(name)


def precision_of(
    precision: _AnyPrecision,
    device: torch.device,
    on_gpu: Literal["tf32", "bf16"],
    output: Path | None,
    group: Group,
) -> networks.Precision:
    """What ``--precision`` asks for; ``auto`` is the precision in which the output was begun, or one for the device.

    It is said what ``auto`` became, but for fp32 on a CPU.
    """
    import numpy as np
    import torch

    from datarobust.jobs.make import precision_in
    from datarobust.networks import PRECISIONS

    if precision != "auto":
        return precision
    begun = precision_in(output) if output is not None and group.is_main else None
    chosen: networks.Precision
    if begun in PRECISIONS:
        chosen = begun
    elif device.type != "cuda" or (on_gpu == "bf16" and not torch.cuda.is_bf16_supported(False)):
        chosen = "fp32"
    else:
        chosen = on_gpu
    # The output may be where the first process alone sees it.
    chosen = PRECISIONS[int(group.all_gather(np.array([PRECISIONS.index(chosen)]))[0][0])]
    if device.type == "cuda" or chosen != "fp32":
        why = f", as {output} was begun" if chosen == begun else ""
        say(f"--precision auto: {chosen}{why}.")
    return chosen


LONG = 1e17
"""Operations from which on compiling is taken to pay, which costs minutes: some minutes of work in tensor cores."""


def compiled_of(
    compiled: bool | None, device: torch.device, operations: Callable[[], float], group: Group, run: Path | None = None
) -> bool:
    """What ``--compile`` and ``--no-compile`` say; with neither, whether it is long work of each process on a GPU.

    A training that was begun in the folder ``run`` goes on as it was. On a GPU it is said what was chosen.
    """
    from datarobust.artifacts.runs import recorded
    from datarobust.devices import triton_runs

    if compiled and device.type == "cuda" and not triton_runs(device):
        raise UsageError("--compile needs Triton, a C compiler and a GPU from Ampere on: without, leave it out.")
    if compiled is not None:
        return compiled
    recipe = recorded(run).get("recipe") if run is not None and group.is_main else None
    if recipe is not None:
        chosen, why = recipe.get("compiled") is True, f", as {run} was begun"
    elif device.type != "cuda" or not triton_runs(device):
        chosen, why = False, ""
    else:
        chosen = operations() / group.size >= LONG
        why = " for long work" if chosen else ""
    chosen = group.agree(chosen)
    if chosen or device.type == "cuda":
        say(f"{'--compile' if chosen else '--no-compile'}{why}.")
    return chosen


def shard_of(text: str) -> tuple[int, int]:
    """``--shard I/N`` as two numbers."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UsageError(f"--shard {text} is not a share such as 0/4, 1/4, 2/4 or 3/4.")
    return int(match[1]), int(match[2])


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


def load_denoiser(
    dataset: Path, model: Path, select: str | None, limit: int | None
) -> tuple[Store, Chosen, Denoiser, Tensors]:
    """The dataset, its chosen points, and the denoiser with what its artifact says."""
    from dataclasses import replace

    from datarobust import selection
    from datarobust.checkpoints.models import load_denoiser

    points = opened(dataset)
    chosen = selection.choose(select or f"first:{len(points)}", points)
    chosen = replace(chosen, rows=chosen.rows[:limit])
    denoiser, weights = load_denoiser(argument_path(model))
    weights.clear()  # the denoiser has its own
    return points, chosen, denoiser, weights


def hardware(device: torch.device) -> str:
    """Where a network runs, as the history of clones records it."""
    import torch

    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))


def place_of(device: torch.device) -> str:
    """Where a network runs and in which version of PyTorch, as the history of other artifacts records it."""
    import torch

    return f"{hardware(device)}, torch {torch.__version__}"


def foreign_code() -> redirect_stdout[TextIO]:
    """While networks of others run, what they print goes to stderr: stdout is for the product."""
    return redirect_stdout(sys.stderr)


def opened(path: Path, kind: str | tuple[str, ...] = "dataset", *, same: bool = False) -> Store:
    """The artifact at a path, ``-`` for one whose path stands on stdin; ``same`` as in :func:`artifacts.open_store`."""
    from datarobust import artifacts

    return artifacts.open_store(argument_path(path), kind, same=same)


def default_cache() -> Path:
    """Where downloaded files are kept, by the XDG Base Directory Specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "datarobust"


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command to its end and leave the process with its exit code."""
    arguments = sys.argv[1:]
    Console.name = name
    Console.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    _console.guard_streams()
    _console.say_warnings()
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


def _version(wanted: bool) -> None:
    if wanted:
        emit(f"{Console.name} {__version__}")
        raise typer.Exit


_VERSION = choice("Show the version.", "--version", callback=_version, is_eager=True, expose_value=False)


def _version_option() -> Any:
    """``--version`` as typer makes it from a signature, to be put into every command."""
    holder = typer.Typer(add_completion=False)

    @holder.command()
    def _holder(version: Annotated[bool, _VERSION] = False) -> None: ...

    return typer.main.get_command(holder).params[0]
