"""Networks by name: artifacts, held against their architecture tensor by tensor, and any module a user's code makes.

A user names his own network as ``package.module:factory``, of an installed package or of the current folder, or as
``path/to/file.py:factory``. The code that is named is run: name only what you trust. A factory may be a function
without arguments, a subclass of torch.nn.Module, or a module that is there already; a name with dots in it,
``Zoo.small``, is followed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from datarobust import artifacts, networks
from datarobust.artifacts import Step, Tensors
from datarobust.diffusion.denoiser import Denoiser, build_denoiser
from datarobust.errors import ArtifactError, DataError, DatarobustError, UsageError
from datarobust.networks.classifier import Classifier
from datarobust.networks.features import refuse
from datarobust.text import shown

PUBLISHED_SUFFIXES = (".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class Model:
    """A network that a user named, on the CPU, in evaluation mode; no parameter wants a gradient."""

    name: str  # as the user named it
    module: nn.Module
    identity: str  # the artifact's digest; of a factory's network a sha256 of its numbers and of the factory's file
    about: Mapping[str, Any]  # what an artifact says of itself: arch, weights, epoch
    history: tuple[Step, ...] = ()


def load_model(name: str) -> Model:
    """The model of that name: a classifier artifact, ``module:factory`` or ``path/to/file.py:factory``."""
    path = Path(name)
    if path.suffix not in (".safetensors", *PUBLISHED_SUFFIXES) and (":" in name or not path.exists()):
        return load_factory(name)
    network, artifact = load_classifier(path)
    about = {key: artifact.attributes[key] for key in ("arch", "weights", "epoch") if key in artifact.attributes}
    return Model(name, network.requires_grad_(False), artifact.digest, about, tuple(artifact.history))


def load_classifier(path: Path) -> tuple[Classifier, Tensors]:
    """The network in a file, on the CPU and in evaluation mode, and the verified artifact it came from."""
    artifact = _artifact(path, "classifier")
    return assemble_classifier(artifact.attributes["arch"], artifact, shown(path)), artifact


def load_denoiser(path: Path) -> tuple[Denoiser, Tensors]:
    """The denoiser in a file, on the CPU, and the verified artifact it came from."""
    artifact = _artifact(path, "denoiser")
    return assemble_denoiser(artifact.attributes["arch"], artifact, shown(path)), artifact


def _artifact(path: Path, kind: str) -> Tensors:
    if path.suffix in PUBLISHED_SUFFIXES:
        raise ArtifactError(f"{shown(path)} is no artifact: make one with model import {shown(path)} -o M.safetensors")
    return artifacts.load_tensors(path, kind)


def assemble_classifier(arch: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> Classifier:
    """A network of this architecture and these values, in evaluation mode; ArtifactError where they do not fit."""
    classes = arch.get("arguments", {}).get("classes")
    title = str(arch.get("name")) if classes is None else f"{arch.get('name')} for {classes} classes"
    with _describing(where, "network"):
        demand_tensors(networks.shapes(arch), tensors, where, title)
        network = networks.build(arch)
    network.load_state_dict({name: torch.as_tensor(values) for name, values in tensors.items()})
    return network.eval()


def assemble_denoiser(arch: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> Denoiser:
    """A denoiser of this architecture and these values; ArtifactError where they do not fit."""
    with _describing(where, "denoiser"):
        with torch.device("meta"):
            expected = build_denoiser(arch).state_dict()
        demand_tensors({name: tuple(tensor.shape) for name, tensor in expected.items()}, tensors, where, "its network")
        denoiser = build_denoiser(arch)
    denoiser.load_state_dict({name: torch.as_tensor(values) for name, values in tensors.items()})
    return denoiser


@contextmanager
def _describing(where: str, what: str) -> Iterator[None]:
    """Make an ArtifactError of any other error, because it is of what an artifact describes."""
    try:
        yield
    except ArtifactError:
        raise
    except DatarobustError as error:
        raise ArtifactError(f"{where} describes a {what} that cannot be built: {error}") from error


def demand_tensors(shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Any], where: str, title: str) -> None:
    """Raise ArtifactError for the first name or shape, either way, that is not that of the network ``title``."""
    for name, shape in shapes.items():
        if name not in tensors:
            raise ArtifactError(f"{where} has no tensor {name}, which {title} needs: get the file again")
        if (actual := tuple(tensors[name].shape)) != shape:
            raise ArtifactError(f"{where} has {name} of shape {actual}, where {title} has {shape}: get the file again")
    for name in tensors:
        if name not in shapes:
            raise ArtifactError(f"{where} has a tensor {shown(name)}, which {title} does not have: get the file again")


# ---------------------------------------------------------------------------------------- a user's own network


def load_factory(spec: str) -> Model:
    """The network that ``module:factory`` or ``path/to/file.py:factory`` makes.

    What the code that is run prints goes to stderr: stdout is for results. Raises UsageError for another spelling, and
    DataError where there is no such factory, it raises, wants arguments or makes no torch.nn.Module.
    """
    source_name, _, name = spec.rpartition(":")
    if not source_name or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{spec} names no model: write module:factory, as zoo:resnet18, or path/to/file.py:factory.")
    is_file = source_name.endswith(".py") or "/" in source_name
    folder = Path(source_name).resolve().parent if is_file else Path.cwd()
    with redirect_stdout(sys.stderr), _importing_from(folder):
        source = _module(spec, source_name, is_file)
        try:
            factory = reduce(getattr, name.split("."), source)
        except AttributeError as error:
            file = getattr(source, "__file__", None) or source.__name__
            raise DataError(f"{spec}: there is no {name} in {file}.") from error
        module = factory if isinstance(factory, nn.Module) else _called(spec, factory)
    module.eval()
    for key, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise DataError(f"{spec}: parameter {key} has no shape yet: let the factory run the network once.")
    module.requires_grad_(False)
    return Model(spec, module, _identity(module, factory), {})


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


def _module(spec: str, name: str, is_file: bool) -> ModuleType:
    path = Path(name)
    if is_file and not path.is_file():
        raise DataError(f"{spec}: there is no file {path}.")
    if is_file and path.suffix != ".py":
        raise DataError(f"{spec}: {path} is no Python file; its name would end in .py.")
    try:
        return _run_file(path) if is_file else importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and not is_file else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            places = "among the installed packages or in the current folder"
            raise DataError(f"{spec}: there is no module {missing} {places}.") from error
        refuse(spec, f"cannot be loaded: {path if is_file else name}", error)


def _run_file(path: Path) -> ModuleType:
    name = f"external_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    loader_spec = importlib.util.spec_from_file_location(name, path)
    assert loader_spec is not None
    assert loader_spec.loader is not None  # the ending .py sees to both
    module = sys.modules[name] = importlib.util.module_from_spec(loader_spec)  # where classes look up their module
    try:
        loader_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _called(spec: str, factory: Any) -> nn.Module:
    """What the factory makes."""
    if not callable(factory):
        raise DataError(f"{spec} is a {type(factory).__name__}, not a function that makes a torch.nn.Module.")
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except ValueError:  # compiled code has no signature: calling it tells
        parameters = []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in optional]
    if missing:
        raise DataError(f"{spec} wants arguments ({', '.join(missing)}): write a function without any that calls it.")
    try:
        module = factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        refuse(spec, "makes no network: it", error)
    if not isinstance(module, nn.Module):
        raise DataError(f"{spec} returns a {type(module).__name__}, not a torch.nn.Module.")
    return module


def _identity(module: nn.Module, factory: Any) -> str:
    """The sha256 of what the network computes with, and of the file that the factory is written in, if it is in one."""
    whole = hashlib.sha256()
    for key, value in sorted([*module.named_parameters(), *module.named_buffers()], key=lambda item: item[0]):
        whole.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    try:
        file = inspect.getsourcefile(inspect.unwrap(type(factory) if isinstance(factory, nn.Module) else factory))
    except TypeError:  # it is compiled
        file = None
    if file is not None and Path(file).is_file():
        whole.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return whole.hexdigest()
