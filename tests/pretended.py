"""A CUDA device that is pretended: what runs on it is computed by the processor, under the rules of a GPU.

    python pretended.py FOLDER WAITS.json SCRIPT ARGUMENT...

runs a script of Python, such as an installed command, where PyTorch finds one CUDA device. Its tensors have values as
the processor computes them, but tensors of two devices do not meet, random numbers of the processor are not drawn into
them, and NumPy does not see them. WAITS.json gets what a GPU would wait for: how often the host reads a number or an
array ("read"), asks for a tensor whose size depends on values ("size"), or copies to the device from memory that is not
pinned ("copy"), each with the functions that called and their lines, innermost first. FOLDER
keeps what pretended.cpp is compiled to.

What this cannot show: kernels and strides of cuDNN, memory, speed, NCCL, determinism.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda", 0)
SOURCE = Path(__file__).with_suffix(".cpp")
#: Packages whose functions are named as those that wait.
PACKAGES = ("datarobust", "pyautoattack")
#: Operations whose result is as large as values say.
SIZED = {"nonzero", "masked_select", "repeat_interleave", "_unique2", "unique_dim", "unique_consecutive"}
#: Operations that take rows by tensors of indices, which may lie on the processor, or of bools.
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}

waits: Counter[tuple[str, tuple[str, ...]]] = Counter()


# ------------------------------------------------------------------------------------------------------- building


def lack() -> str | None:
    """Why there can be no pretended device here, if so."""
    if torch.version.cuda or torch.version.hip:
        return "this PyTorch has CUDA of its own"
    return None if _compiler() else "there is no C++ compiler"


def build(folder: Path) -> Path:
    """The library of this PyTorch in a folder, compiled unless it is there."""
    name = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = folder / f"pretended-{name}.so"
    if not library.exists():
        home = Path(torch.__file__).parent
        flags = ["-std=c++20", "-shared", "-fPIC", f"-I{home}/include", f"-L{home}/lib", "-lc10", "-ltorch_cpu"]
        part = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*_compiler(), SOURCE, "-o", part, *flags], check=True)
        part.replace(library)  # at once: another process may look for it
    return library


def _compiler() -> list[str]:
    if "CXX" in os.environ:
        return os.environ["CXX"].split()
    return [path for path in map(shutil.which, ("c++", "g++", "clang++")) if path][:1]


# -------------------------------------------------------------------------------------------------------- tensors


class Pretended(torch.Tensor):
    """A tensor on the pretended device; ``values`` is one of the processor that has its values."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> Pretended:
        result: Pretended = torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=DEVICE,
        )  # fmt: skip
        result.values = values
        return result

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})

    def tolist(self) -> Any:  # it would read the memory of a device
        wait("read")
        return self.values.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        copied: torch.Tensor = Pretended(self.values.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.values!r})"


class Everywhere(TorchDispatchMode):
    """Within, operations that name the device, but have no tensor on it yet, are those of the device, too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation of ATen gives, with tensors of both devices; a RuntimeError where a GPU refuses."""
    tensors = list(_tensors([*args, *kwargs.values()]))
    device = kwargs.get("device")
    ours = any(isinstance(tensor, Pretended) for tensor in tensors)
    to_ours = ours if device is None else torch.device(device).type == "cuda"
    if not (ours or to_ours):
        return function(*args, **kwargs)
    name = function.overloadpacket.__name__
    plain = {name: _values(value) for name, value in kwargs.items()}
    if "device" in plain:
        plain["device"] = torch.device("cpu")
    if name == "_fused_sdp_choice":
        return 0  # attention by plain operations
    if name in ("_to_copy", "copy_"):
        from_ours = isinstance(args[name == "copy_"], Pretended)
        to_ours = isinstance(args[0], Pretended) if name == "copy_" else to_ours
        at_once = name == "_to_copy" and getattr(args[0], "pinned", False) and kwargs.get("non_blocking", False)
        if from_ours != to_ours and not at_once:
            wait("read" if from_ours else "copy")
    else:
        _refuse(name, tensors, kwargs.get("generator"))
        _note(name, args)
    result = function(*_values(args), **plain)
    if not to_ours:
        return result
    if _in_place(function):
        written = kwargs.get("out", args[0])
        if isinstance(written, Pretended):
            assert written.shape == written.values.shape, f"{name} changes a shape in place"
        return written
    return _wrapped(result)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _values(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_values(part) for part in value]
    return value.values if isinstance(value, Pretended) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(part) for part in value)
    return Pretended(value) if isinstance(value, torch.Tensor) else value


def _refuse(name: str, tensors: list[torch.Tensor], generator: torch.Generator | None) -> None:
    """As CUDA does: tensors on two devices, and random numbers of the processor."""
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu', in {name}")
    for tensor in tensors:
        if tensor.dim() and not isinstance(tensor, Pretended) and name not in INDEXED:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu, in {name}")


def _note(name: str, args: Any) -> None:
    """What an operation waits for."""
    if name in ("_local_scalar_dense", "equal"):
        wait("read")
    if name in SIZED:
        wait("size")
    for index in (args[1] or ()) if name in INDEXED else ():
        if isinstance(index, torch.Tensor):
            if index.dtype in (torch.bool, torch.uint8):
                wait("size")
            if index.dim() and not isinstance(index, Pretended):
                wait("copy")


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in memory that the device reads by itself."""
    copied = tensor.clone()
    copied.pinned = True  # type: ignore[attr-defined]
    return copied


@functools.cache
def _in_place(function: Any) -> bool:
    """Whether an operation gives back what it writes to."""
    returns = function._schema.returns
    return len(returns) == 1 and returns[0].alias_info is not None and returns[0].alias_info.is_write


def wait(kind: str) -> None:
    """Count what a GPU waits for, with the functions that called."""
    functions, frame = [], sys._getframe(1)
    while frame is not None:  # type: ignore[redundant-expr]
        module = frame.f_globals.get("__name__", "")
        if module.startswith(PACKAGES):
            functions.append(f"{module}.{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    waits[kind, tuple(functions)] += 1


# --------------------------------------------------------------------------------------------------------- device


@contextmanager
def device(library: Path) -> Iterator[None]:
    """Within, PyTorch has one CUDA device. Once in a process, and better not in one that does other things after."""
    ctypes.CDLL(str(library))
    pretended: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: "a pretended GPU",
        "is_bf16_supported": lambda *_: True,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "_lazy_init": lambda: None,
        # Random numbers of the device are those of the processor.
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device=None: torch.empty(0),
        "set_rng_state": lambda state, device=None: None,
    }
    with ExitStack() as stack:
        for name, function in pretended.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", _pinned))
        # A module's parameters cannot turn into tensors of another class: they are replaced.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") is made on the processor first
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(Everywhere())
        yield


def main(folder: str, counts: str, *words: str) -> None:
    """Run a script with the device."""
    sys.argv = list(words)
    try:
        with device(build(Path(folder))):
            runpy.run_path(words[0], run_name="__main__")
    finally:
        lines = [{"kind": kind, "functions": functions, "count": count} for (kind, functions), count in waits.items()]
        Path(counts).write_text(json.dumps(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
