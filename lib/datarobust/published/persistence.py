"""Pickles of networks whose classes carry their own source along (NVIDIA's ``torch_utils.persistence``).

Their own loader runs that source. Here it is left where it lies and nothing is run: the machine of
:mod:`datarobust.datasets.pickles` reads the file, and every name that such a file may ask for stands for a record of
ours. All other names, and all instructions that make objects in another way, are refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from datarobust.datasets.extents import Extent, Reader
from datarobust.datasets.pickles import STEPS, Machine
from datarobust.datasets.pickletape import Refusal
from datarobust.datasets.sources import Raw
from datarobust.errors import DataError
from datarobust.published.storages import DTYPES, Storage, StorageClass, storage_of, stub_of, view
from datarobust.text import shown

MOST_STREAMS = 100_000
"""Tensors of one file."""
_SCALARS = {"f8", "f4", "f2", "i8", "i4", "u1", "u8", "u4", "b1"}


class Name(Enum):
    """A name that a pickle may ask for. It is never looked up: it tells what a record is to be made of."""

    PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
    TENSOR = "torch._utils._rebuild_tensor_v2"
    PARAMETER = "torch._utils._rebuild_parameter"
    STORAGE = "torch.storage._load_from_bytes"
    ORDERED = "collections.OrderedDict"
    EASY = "dnnlib.util.EasyDict"
    MODULE_DICT = "torch.nn.modules.container.ModuleDict"
    MODULE_LIST = "torch.nn.modules.container.ModuleList"
    SEQUENTIAL = "torch.nn.modules.container.Sequential"
    SET = "builtins.set"
    OLD_SET = "__builtin__.set"
    DTYPE = "numpy.dtype"
    SCALAR = "numpy.core.multiarray.scalar"
    NEW_SCALAR = "numpy._core.multiarray.scalar"
    ENCODE = "_codecs.encode"


_NAMES: Mapping[tuple[str, str], Name] = {
    (module, name): member for member in Name for module, _, name in [member.value.rpartition(".")]
}
_CONTAINERS = (Name.MODULE_DICT, Name.MODULE_LIST, Name.SEQUENTIAL)


@dataclass
class Persistent:
    """An object of a class with its own source: what it is called, and its state.

    Attributes:
        class_name: as the file has it; nobody looks for that class.
        version: of the way of pickling.
        source: the class's module, text that is never run; None where there is none.
        state: the object's attributes.
    """

    class_name: str
    version: object
    source: str | Extent | None
    state: dict[str, Any]


@dataclass
class Container:
    """A module of PyTorch that only holds others; its state comes after it."""

    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Dtype:
    code: str


def load(raw: Raw) -> object:
    """The value that the pickle holds.

    None, bool, int, float, str, bytes, Extent (a long string, left in the file), list, tuple, dict, set, NumPy arrays
    for tensors, :class:`Persistent` and :class:`Container`.

    Raises:
        DataError: it wants anything else, is damaged or cut short; the sentence names file and byte.
    """
    with raw.open() as handle:
        machine = _Network(raw, handle)
        try:
            return machine.run()
        except Refusal as error:
            raise DataError(f"{raw.where} {error} (byte {handle.tell():,}).") from error
        except (
            IndexError,
            KeyError,
            ValueError,
            TypeError,
        ) as error:  # of the stack, the memo, and what spells a number
            raise DataError(f"{raw.where} is no pickle, or is damaged near byte {handle.tell():,}.") from error


class _Objects(Machine):
    """The machine, with sets and the few objects that files of networks hold."""

    def add_items(self) -> None:
        items = self.since_mark()
        target = self.stack[-1]
        if type(target) is not set or not all(isinstance(item, str | int) for item in items):
            raise Refusal("adds to what is no set of names")
        target.update(items)


class _Network(_Objects):
    """The machine for the pickle itself."""

    streams = 0

    def look_up(self, module: str, name: str) -> None:
        known = _NAMES.get((module, name))
        if known is None:
            wanted = shown(f"{module}.{name}"[:120])
            raise Refusal(
                f"wants {wanted}, which no checkpoint of EDM is known to need; it is refused, and nothing of it was "
                "run: if the file is from its authors, report the name"
            )
        self.push(known)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refusal("wants to call what is no function")
        self.push(self._called(function, arguments))

    def new_object(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if arguments != ():
            raise Refusal("makes an object with arguments that it does not take")
        if made in _CONTAINERS:
            self.push(Container())
        elif made in (Name.EASY, Name.ORDERED):
            self.push({})
        else:
            raise Refusal("makes an object of what is no class")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        match target, state:
            case Container(), dict():
                target.state = state
            case _Dtype(), (int(), "<" | "|" | "=", None, None, None, *_):
                pass
            case _:
                raise Refusal("sets the state of what has none")

    def _called(self, function: Name, arguments: tuple[object, ...]) -> object:
        match function, arguments:
            case Name.PERSISTENT, (dict(meta),):
                return _persistent(meta)
            case Name.STORAGE, ((bytes() | Extent()) as data,):
                return self._storage(data)
            case Name.TENSOR, (Storage() as storage, offset, size, stride, _, _):
                return view(storage, offset, size, stride)
            case Name.PARAMETER, (np.ndarray() as tensor, _, _):
                return tensor
            case ((Name.ORDERED | Name.EASY), ()):
                return {}
            case ((Name.ORDERED | Name.EASY), ([*pairs],)):
                return _dict_of(pairs)
            case ((Name.SET | Name.OLD_SET), ([*items],)) if all(isinstance(item, str | int) for item in items):
                return set(items)
            case Name.DTYPE, (str(code), *_) if code.lstrip("<|=") in _SCALARS:
                return _Dtype(code)
            case ((Name.SCALAR | Name.NEW_SCALAR), (_Dtype(code), bytes(data))):
                if len(data) != (dtype := np.dtype(code)).itemsize:
                    raise Refusal("has a number of a wrong size")
                return np.frombuffer(data, dtype)[0].item()
            case Name.ENCODE, (str(text), "latin1" | "latin-1"):
                return text.encode("latin-1")
            case Name.ENCODE, (Extent(text=True) as extent, "latin1" | "latin-1"):
                return Extent(extent.raw, extent.offset, extent.length, extent.form)
        raise Refusal(f"calls {function.value} with arguments that it does not take")

    def _storage(self, data: bytes | Extent) -> object:
        self.streams += 1
        if self.streams > MOST_STREAMS:
            raise Refusal(f"has more than {MOST_STREAMS:,} tensors")
        whole = data if isinstance(data, bytes) else _bytes_of(data)
        raw = Raw(f"a tensor of {self.raw.where}", len(whole), lambda: io.BytesIO(whole))
        handle = io.BytesIO(whole)
        values = [_Stream(raw, handle).run() for _ in range(5)]
        return storage_of(values, handle.read())


class _Stream(_Objects):
    """The machine for the five pickles of a stream of PyTorch."""

    def look_up(self, module: str, name: str) -> None:
        if module == "collections" and name == "OrderedDict":
            self.push(Name.ORDERED)
        elif module == "torch" and name in DTYPES:
            self.push(StorageClass(name))
        else:
            wanted = shown(f"{module}.{name}"[:120])
            raise Refusal(f"has a tensor that wants {wanted}; it is refused, and nothing of it was run")

    def long(self, width: int) -> None:
        size = self.number(width)
        if size > 16:  # the magic number takes ten
            raise Refusal("has a number of more than 128 bits")
        self.push(self.number(size, signed=True))

    def reduce(self) -> None:
        if self.stack.pop() != () or self.stack.pop() is not Name.ORDERED:
            raise Refusal("has a tensor that wants to call a function")
        self.push({})

    def build(self) -> None:
        raise Refusal("has a tensor that sets the state of an object")

    def persistent(self) -> None:
        self.push(stub_of(self.stack.pop()))


def _persistent(meta: Mapping[str, Any]) -> Persistent:
    match meta:
        case {"type": "class", "version": version, "class_name": str(name), "state": dict(state)}:
            source = meta.get("module_src")
            return Persistent(name, version, source if isinstance(source, str | Extent) else None, state)
    raise Refusal("has an object of torch_utils.persistence without a class, a version or a state")


def _dict_of(pairs: list[object]) -> dict[str, object]:
    found = {}
    for pair in pairs:
        match pair:
            case [str(key), value] | (str(key), value):
                found[key] = value
            case _:
                raise Refusal("has a dict whose keys are no text")
    return found


def _bytes_of(extent: Extent) -> bytes:
    with Reader(extent) as reader:
        return reader.read(extent.length)


_Network.steps = {
    **STEPS,
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _Objects.add_items,
    b"\x81": _Network.new_object,
}
_Stream.steps = {**STEPS, b"Q": _Stream.persistent}
