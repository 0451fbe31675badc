"""Networks of others: any PyTorch module that a function without arguments makes.

It is named as ``package.module:factory``, of an installed package or of the current folder, or as
``path/to/file.py:factory``. The code that is named is run: name only what you trust. A factory may be a function, a
subclass of torch.nn.Module, or a module that is there already; a name with dots in it, ``Zoo.small``, is followed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from datarobust.errors import DataError, DatarobustError, UsageError, is_out_of_memory

UNLIKE = 1e-3
"""Outputs for the same image may differ so much, as a share of the largest; rounding stays far below."""

Network = Callable[[Tensor], Any]
"""A torch.nn.Module, or another function of a batch."""

_MESSAGE = 300


@dataclass(frozen=True)
class Model:
    """A network that was loaded."""

    spec: str
    """As the user named it."""
    module: nn.Module
    """In evaluation mode; no parameter wants a gradient."""
    identity: str
    """sha256 over its parameters and buffers, and over the file that its factory is written in."""


def load(spec: str) -> Model:
    """The network that ``module:factory`` or ``path/to/file.py:factory`` makes.

    What the code that is run prints goes to stderr: stdout is for results.

    Raises:
        UsageError: the spelling is none.
        DataError: there is no such module or factory, it raises, wants arguments or makes no torch.nn.Module.
    """
    place, _, name = spec.rpartition(":")
    if not place or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{spec} names no model: write module:factory, as in mymodels:resnet18, or path/to/file.py:factory."
        )
    is_file = place.endswith(".py") or "/" in place
    folder = Path(place).resolve().parent if is_file else Path.cwd()
    with redirect_stdout(sys.stderr), _importing_from(folder):
        source = _file(spec, Path(place)) if is_file else _package(spec, place)
        factory = _attribute(spec, source, name)
        module = _made(spec, factory)
    module.eval()
    for key, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise DataError(f"{spec}: parameter {key} has no shape yet: let the factory run the network once.")
    module.requires_grad_(False)
    return Model(spec, module, _identity(module, factory))


def device_of(name: str) -> torch.device:
    """The device of that name: auto takes CUDA where there is one.

    Raises:
        UsageError: there is no such device.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if there else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= there:
        raise UsageError(f"there is no device {name} here, but {there} of that kind: choose `device` cpu or auto.")
    return device


def run(spec: str, module: Network, batch: Tensor) -> Any:
    """What the network makes of a batch, without gradients.

    Raises:
        DataError: it raises; the sentence says what and where.
    """
    try:
        with torch.no_grad():
            return module(batch)
    except DatarobustError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything: it is told
        _tell(spec, f"fails on a batch of shape {tuple(batch.shape)}: it", error)


def demand_classes(spec: str, module: Network, batch: Tensor) -> int:
    """Run the network on a few points, and see whether it is a classifier: how many classes it has.

    Args:
        spec: its name, for messages.
        module: from points to outputs, on the device of ``batch``.
        batch: (B, ...) float32, B >= 1.

    Raises:
        DataError: the outputs are no (B, C) finite numbers with C >= 2, or those of a point depend on chance or on the
            other points of the batch.
    """
    outputs = demand_steady(spec, module, batch)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise DataError(
            f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points: a classifier gives one row "
            "of numbers a point, a number a class."
        )
    if not torch.isfinite(outputs).all():
        raise DataError(f"{spec} gives outputs that are not finite: it is broken, or expects other inputs.")
    return int(outputs.shape[1])


def demand_steady(spec: str, module: Network, batch: Tensor) -> Tensor:
    """The outputs (B, ...) of a few points, having seen that a point gets the same in another batch.

    Raises:
        DataError: the outputs are no tensor with a row a point, or depend on chance or on the other points.
    """
    outputs = _rows(spec, run(spec, module, batch), batch)
    half = -(-len(batch) // 2)
    again = _rows(spec, run(spec, module, batch[:half]), batch[:half])
    if again.shape[1:] != outputs.shape[1:] or _unlike(again, outputs[:half]):
        raise DataError(
            f"{spec} gives other outputs for the same points in another batch: leave out dropout, other chance, and "
            "statistics of the batch."
        )
    return outputs


def demand_logits(spec: str, outputs: Tensor) -> None:
    """Refuse probabilities, (B, C), where logits are needed: attacks on them fail for want of gradients.

    Raises:
        DataError: no output is negative, and every row sums to 1.
    """
    sums = outputs.double().sum(dim=1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        raise DataError(f"{spec} gives probabilities, but logits are needed: leave out its softmax.")


# ------------------------------------------------------------------------------------------ somebody else's code


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let imports find what lies in ``folder``: first of all now, and last of all later, when networks run."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the code may have changed the list itself
            sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _package(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise DataError(
                f"{spec}: there is no module {error.name} among the installed packages or in the current folder."
            ) from error
        _tell(spec, f"cannot be loaded: {name}", error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        _tell(spec, f"cannot be loaded: {name}", error)


def _file(spec: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise DataError(f"{spec}: there is no file {path}.")
    if path.suffix != ".py":
        raise DataError(f"{spec}: {path} is no Python file; its name would end in .py.")
    name = f"external_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None  # the ending .py sees to both
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # classes look up the module they were written in
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        del sys.modules[name]
        _tell(spec, f"cannot be loaded: {path}", error)
    return module


def _attribute(spec: str, source: ModuleType, name: str) -> Any:
    try:
        return reduce(getattr, name.split("."), source)
    except AttributeError as error:
        raise DataError(f"{spec}: there is no {name} in {getattr(source, '__file__', None) or source.__name__}.") from (
            error
        )


def _made(spec: str, factory: Any) -> nn.Module:
    """Call the factory."""
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise DataError(f"{spec} is a {type(factory).__name__}, not a function that makes a torch.nn.Module.")
    wanted = _wanted(factory)
    if wanted:
        raise DataError(
            f"{spec} wants arguments ({', '.join(wanted)}): write a function without any that calls it, and name that."
        )
    try:
        module = factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        _tell(spec, "makes no network: it", error)
    if not isinstance(module, nn.Module):
        raise DataError(f"{spec} returns a {type(module).__name__}, not a torch.nn.Module.")
    return module


def _wanted(factory: Callable[..., Any]) -> list[str]:
    """Names of the arguments without which the factory cannot be called; none where it does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # compiled code has no signature: calling it tells
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in optional]


def _tell(spec: str, what: str, error: BaseException) -> NoReturn:
    """Raise an error of somebody else's code as one sentence; out of memory stays what it is."""
    if is_out_of_memory(error):
        raise error
    lines = str(error).strip().splitlines()
    detail = f" ({lines[0][:_MESSAGE].rstrip('.')})" if lines else ""
    passing = {Path(__file__), *(Path(str(library.__file__)).parent for library in (torch, importlib))}
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and not passing & {file, *file.parents}]
    place = f" in line {own[-1][1]} of {own[-1][0]}" if own else ""
    raise DataError(f"{spec} {what} raises {type(error).__name__}{detail}{place}.") from error


def _unlike(one: Tensor, two: Tensor) -> bool:
    """Whether outputs differ by more than rounding."""
    gaps, sizes = (one.double() - two.double()).abs(), two.double().abs()
    return bool(gaps.numel()) and float(gaps.amax()) > UNLIKE * float(sizes.amax())


def _rows(spec: str, outputs: Any, batch: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise DataError(f"{spec} gives a {type(outputs).__name__}, not a tensor: wrap it in a module that gives one.")
    if outputs.ndim < 1 or len(outputs) != len(batch):
        raise DataError(f"{spec} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} points.")
    return outputs


# ------------------------------------------------------------------------------------------------------ identity


def _identity(module: nn.Module, factory: Any) -> str:
    """What the network computes with, and the code that says how, as far as one file tells."""
    whole = hashlib.sha256()
    for key, value in sorted([*module.named_parameters(), *module.named_buffers()], key=lambda item: item[0]):
        whole.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    whole.update(_source(type(factory) if isinstance(factory, nn.Module) else factory))
    return whole.hexdigest()


def _source(factory: Any) -> bytes:
    """The sha256 of the file that the factory is written in; nothing for compiled code."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(factory))
    except TypeError:  # it is compiled
        file = None
    return b"" if file is None or not Path(file).is_file() else hashlib.sha256(Path(file).read_bytes()).digest()
