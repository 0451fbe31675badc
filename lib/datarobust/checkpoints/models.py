"""Networks by name: artifacts, held against their architecture tensor by tensor, and any module a user's code makes.

A user names his own network as ``package.module:factory``, of an installed package or of the current folder, or as
``path/to/file.py:factory``. The code that is named is run: name only what you trust. A factory may be a function
without arguments, a subclass of torch.nn.Module, or a module that is there already; a name with dots in it,
``Zoo.small``, is followed. ``timm:NAME`` is a pretrained network of timm, ``hf:FOLDER`` an image classifier that
transformers has saved in a folder.

Such networks may return an object with ``logits``, or a dict with that key, in place of a tensor.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from datarobust import artifacts, networks
from datarobust.artifacts import Step, Tensors
from datarobust.diffusion.denoiser import Denoiser, build_denoiser
from datarobust.errors import ArtifactError, DataError, DatarobustError, UsageError
from datarobust.networks.classifier import Classifier
from datarobust.networks.features import refuse
from datarobust.text import shown
from datarobust.training.images import PUBLISHED

PUBLISHED_SUFFIXES = (".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class Model:
    """A network that a user named, on the CPU, in evaluation mode; no parameter wants a gradient."""

    name: str  # as the user named it
    module: nn.Module
    identity: str  # the artifact's digest; of a factory's network a sha256 of its numbers and of the factory's file
    about: Mapping[str, Any]  # what an artifact says of itself: arch, weights, epoch
    history: tuple[Step, ...] = ()


def load_model(name: str, normalise: str | None = None) -> Model:
    """The model of that name: a classifier artifact, ``module:factory`` or ``path/to/file.py:factory``.

    ``normalise`` (:func:`normalisation_of`) is done before a network of a factory, which then takes images in [0, 1].
    """
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        raise UsageError(f"{shown(name)} is Python code: {_factories_advice(path)}")
    if path.suffix not in (".safetensors", *PUBLISHED_SUFFIXES) and (":" in name or not path.exists()):
        return load_factory(name, normalise)
    if normalise is not None:
        raise UsageError(f"{shown(name)} normalises images itself: `normalise` is for networks of factories")
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
        raise ArtifactError(
            f"{shown(path)} is not an artifact: make one with model import {shown(path)} -o M.safetensors"
        )
    return artifacts.load_tensors(path, kind)


def demand_classifier(arch: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> None:
    """Raise ArtifactError where ``arch`` describes no network, or the tensors are not its own."""
    classes = arch.get("arguments", {}).get("classes")
    title = str(arch.get("name")) if classes is None else f"{arch.get('name')} for {classes} classes"
    with _describing(where, "network"):
        demand_tensors(networks.shapes(arch), tensors, where, title)


def assemble_classifier(arch: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> Classifier:
    """A network of this architecture and these values, in evaluation mode; ArtifactError where they do not fit."""
    demand_classifier(arch, tensors, where)
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


def load_factory(spec: str, normalise: str | None = None) -> Model:
    """The network that ``module:factory``, ``path/to/file.py:factory``, ``timm:NAME`` or ``hf:FOLDER`` makes.

    What the code that is run prints goes to stderr: stdout is for results. Raises UsageError for another spelling, and
    DataError where there is no such factory, it raises, wants arguments or makes no torch.nn.Module.
    """
    library, _, name = spec.partition(":")
    if library in _LIBRARIES and name:
        with redirect_stdout(sys.stderr):
            module, normalisation = _LIBRARIES[library](spec, name, normalise)
        return _model(spec, module, module, normalisation)
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
    return _model(spec, module, factory, None if normalise is None else normalisation_of(normalise))


def _model(spec: str, module: nn.Module, factory: Any, normalisation: Normalisation | None) -> Model:
    """A network of others, ready for use."""
    module.eval()
    for key, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise DataError(f"{spec}: parameter {key} has no shape yet: let the factory run the network once.")
    module.requires_grad_(False)
    _adapt(spec, module, normalisation)
    return Model(spec, module, _identity(module, factory, normalisation), {})


# ------------------------------------------------------------------------------- what comes in, and what goes out

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, a number each or per channel
NORMALISATIONS: Mapping[str, Normalisation | None] = {
    "cifar10": PUBLISHED[0],
    "cifar100": PUBLISHED[1],
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": None,
}
_HOOKS: WeakKeyDictionary[nn.Module, list[RemovableHandle]] = WeakKeyDictionary()  # a module may be loaded again


def normalisation_of(text: str) -> Normalisation | None:
    """``cifar10``, ``cifar100``, ``imagenet``, ``none`` or ``MEAN:STD``: numbers, or one per channel with commas."""
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    mean, _, std = text.partition(":")
    try:
        parts = [tuple(float(number) for number in part.split(",")) for part in (mean, std)]
    except ValueError:
        parts = []
    finite = bool(parts) and all(map(math.isfinite, parts[0] + parts[1]))
    if not finite or len(parts[0]) != len(parts[1]) or min(parts[1]) <= 0:
        raise UsageError(f"`normalise` {shown(text)}: choose {', '.join(NORMALISATIONS)}, or MEAN:STD, as 0.5:0.25")
    return parts[0], parts[1]


def _adapt(spec: str, module: nn.Module, normalisation: Normalisation | None) -> None:
    """Let a network normalise its images, and give the logits in what it returns; its layers keep their names."""
    for handle in _HOOKS.pop(module, []):
        handle.remove()
    handles = [module.register_forward_hook(lambda module, inputs, output: logits_in(output))]
    if normalisation is not None:
        numbers = torch.tensor(normalisation).view(2, 1, -1, 1, 1)

        def normalised(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            images = inputs[0]
            if images.ndim != 4 or numbers.shape[2] not in (1, images.shape[1]):
                shape = f"images with {numbers.shape[2]} channels, but gets points of shape {tuple(images.shape[1:])}"
                raise DataError(f"{spec} is to normalise {shape}: choose other numbers with `normalise`.")
            mean, std = numbers.to(images.device, images.dtype)
            return ((images - mean) / std, *inputs[1:])

        handles.append(module.register_forward_pre_hook(normalised))
    _HOOKS[module] = handles


def logits_in(output: Any) -> Any:
    """The logits in what a network returns: an object that has them, or a dict; else what it returns."""
    inner = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    return inner if isinstance(inner, torch.Tensor) else output


# ------------------------------------------------------------------------------------------- networks of libraries


def _timm(spec: str, name: str, normalise: str | None) -> tuple[nn.Module, Normalisation | None]:
    """A pretrained network of timm, whose weights timm downloads, and ``normalise`` or its own normalisation."""
    timm = _extra(spec, "timm")
    try:
        module = timm.create_model(name, pretrained=True)
    except Exception as error:  # noqa: BLE001 - of a library that may raise anything
        refuse(spec, "cannot be made: timm.create_model", error)
    if normalise is not None:
        return module, normalisation_of(normalise)
    config = getattr(module, "pretrained_cfg", {})
    return module, _published(config.get("mean"), config.get("std"))


def _transformers(spec: str, folder: str, normalise: str | None) -> tuple[nn.Module, Normalisation | None]:
    """An image classifier that transformers saved, and ``normalise`` or its own normalisation; no download."""
    transformers, path = _extra(spec, "transformers"), Path(folder)
    if not (path / "config.json").is_file():
        raise DataError(f"{spec}: {shown(path)} is not a folder with a config.json, as transformers saves a network.")
    images = path / "preprocessor_config.json"
    if normalise is None and not images.is_file():
        raise UsageError(f"{shown(path)} has no {images.name}, so it does not say how to normalise: give `normalise`")
    try:
        module = transformers.AutoModelForImageClassification.from_pretrained(path, local_files_only=True)
        if normalise is not None:
            return module, normalisation_of(normalise)
        config = json.loads(images.read_bytes())
        own = config if config.get("do_normalize", True) else {}
        return module, _published(own.get("image_mean"), own.get("image_std"))
    except Exception as error:  # noqa: BLE001 - of a library that may raise anything
        refuse(spec, "cannot be loaded: transformers", error)


_LIBRARIES = {"timm": _timm, "hf": _transformers}


def _extra(spec: str, package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        way = "pip install 'datarobust[models]' installs it"
        raise DataError(f"{spec} needs the package {package}, which cannot be imported ({error}): {way}.") from error


def _published(mean: Any, std: Any) -> Normalisation | None:
    return None if mean is None or std is None else (tuple(map(float, mean)), tuple(map(float, std)))


def _factories_advice(path: Path) -> str:
    """Which factories a file has, without running it: functions without arguments that must be given, and classes."""
    with suppress(SyntaxError, ValueError):
        names = []
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                required = len(arguments.posonlyargs + arguments.args) - len(arguments.defaults)
                if not required and None not in arguments.kw_defaults and not node.name.startswith("_"):
                    names.append(node.name)
            elif isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases):
                names.append(node.name)
        if names:
            return f"name what makes the network, {' or '.join(f'{shown(path)}:{name}' for name in names[:5])}"
    return f"name a function without arguments that makes the network, as {shown(path)}:FUNCTION"


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
        raise DataError(f"{spec}: {path} is not a Python file; its name would end in .py.")
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


def _identity(module: nn.Module, factory: Any, normalisation: Normalisation | None = None) -> str:
    """The sha256 of what the network computes with, and of the file that the factory is written in, if it is in one."""
    whole = hashlib.sha256() if normalisation is None else hashlib.sha256(repr(normalisation).encode())
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
