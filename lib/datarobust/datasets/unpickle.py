"""Pickles of others, of protocols 0 to 5 as Python 2 and 3 write them, read without running them.

A pickle is a program: Python's reader imports and calls whatever it names. :class:`Unpickler` is that reader, with two
allow-lists: the instructions of plain data, and the names that NumPy's arrays need. Nothing is imported for a name and
nothing of NumPy is called: it stands for code here, which checks every argument.

Memory is bounded by a few times the size of the file: what it claims is compared with what it has, instructions are
counted, and keys of dicts are text. Hence the base class is the reader in Python, ``pickle._Unpickler``: the one in C
reserves what a file claims (a place 2**31 of the memo costs 34 GB) and cannot be told which keys to take.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np

from datarobust.datasets.files import Raw
from datarobust.errors import DataError
from datarobust.text import shown
from datarobust.types import Array

MOST_BYTES = 1 << 30  # of a pickle, unless the caller says otherwise; a file of CIFAR-100 has 155 MB
MOST_INSTRUCTIONS = 4_000_000  # CIFAR-100 takes 400,000; at 100 bytes each at worst, what they make fits in memory
MOST_DIMENSIONS = 32

_START = re.compile(rb"\x80[\2-\5]|\(d(p\d+\n|[SV])|\}[q(]")
_DTYPE = re.compile(r"[<>|=]?([biufSUO])[1-9]\d{0,5}")
_DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError)
_CHECKED_FROM = 4096  # bytes: shorter strings are simply read
_PLAIN = """
PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET NONE NEWTRUE NEWFALSE INT
BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST EMPTY_DICT GLOBAL
"""  # instructions that are Python's own
_MODULES = {"__builtin__": "builtins"} | {
    f"numpy._core.{name}": f"numpy.core.{name}" for name in ("multiarray", "numeric")
}
"""Spellings of Python 2 and NumPy 2 -> the one here."""


class Refusal(pickle.UnpicklingError):
    """What a pickle asks for and does not get: the end of a sentence."""


@dataclass(frozen=True)
class Name:
    """A name of the allow-list; a pickle may call it, or give it to a call."""

    name: str


@dataclass(eq=False)
class Numbers:
    """An array or a dtype. A pickle makes it first and sets its value later, with references to it between."""

    value: Array | np.dtype[Any] | None = None


def load(raw: Raw, reader: type[Unpickler] | None = None, *, most_bytes: int = MOST_BYTES) -> object:
    """The value of a pickle: None, numbers, str, bytes, lists, tuples, dicts with text for keys, and Numbers.

    What Python 2 calls ``str`` is bytes. Raises DataError where it wants anything else or is damaged.
    """
    if raw.size > most_bytes:
        raise DataError(f"{raw.where} has {raw.size:,} bytes, more than the {most_bytes:,} of a pickle that is read.")
    # An unknown escape in a string of Python 2 stands for itself.
    with raw.open() as handle, warnings.catch_warnings(action="ignore"):
        try:
            value: object = (reader or Unpickler)(raw, handle).load()
            if handle.read(1):
                raise Refusal("goes on after its end")
        except Refusal as error:
            raise DataError(f"{raw.where} {error} (byte {handle.tell():,}).") from error
        except (*_DAMAGE, pickle.UnpicklingError, struct.error) as error:
            raise DataError(f"{raw.where} is not a pickle, or is damaged near byte {handle.tell():,}.") from error
    return value


def mapping(raw: Raw, *, most_bytes: int = MOST_BYTES) -> Mapping[str, object]:
    """The value of a pickle that should be a dict. Raises DataError where it is something else."""
    value = load(raw, most_bytes=most_bytes)
    if not isinstance(value, dict):
        raise DataError(f"{raw.where} holds no dict of arrays.")
    return value


def looks_like(_: Path, start: bytes) -> bool:
    """Whether a file that starts so is a pickle: by its mark, or by a dict as protocols 0 and 1 begin it."""
    return _START.match(start) is not None


def text_of(value: object) -> str | None:
    """A string of either Python as text, None where it is none."""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def array_of(value: object, where: str) -> Array:
    """An array in native byte order, or a list of integers as int64. Raises DataError for others."""
    if isinstance(value, Numbers) and isinstance(value.value, np.ndarray):
        return value.value.astype(value.value.dtype.newbyteorder("="), copy=False)
    if not isinstance(value, list):
        raise DataError(f"{where} is not an array of numbers.")
    for index, entry in enumerate(value):
        if type(entry) is not int:
            raise DataError(f"{where}[{index}] is not an integer.")
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{where} has a number of more than 64 bits.") from error


class Unpickler(pickle._Unpickler):
    """Python's reader with allow-lists. Subclasses add ``names``, ``instructions``, and cases of :meth:`called`."""

    names: ClassVar[frozenset[str]] = frozenset(
        (
            "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
            "numpy.core.numeric._frombuffer", "_codecs.encode", "builtins.bytes",
        )
    )  # fmt: skip
    instructions: ClassVar[Mapping[int, Callable[[Any], object]]]  # byte -> method
    unknown: ClassVar[str] = "which is not data; it is refused, and nothing of it was run"

    stack: list[Any]
    metastack: list[list[Any]]
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, raw: Raw, handle: BinaryIO) -> None:
        super().__init__(_Input(raw, handle), encoding="bytes")
        self.dispatch = _Dispatch(self.instructions)  # type: ignore[misc, assignment]
        self.bytes_left = 2 * raw.size  # text is encoded, and of the bytes a tensor is made

    def find_class(self, module: str, name: str) -> Name:
        """What stands for a name. Raises Refusal for all that are not in ``names``."""
        full = f"{_MODULES.get(module, module)}.{name}"
        if full not in self.names:
            raise Refusal(f"wants {shown(f'{module}.{name}'[:120])}, {self.unknown}")
        return Name(full)

    def called(self, name: str, arguments: tuple[object, ...]) -> object:
        """What a pickle gets for a call. Raises Refusal for arguments that no array has."""
        match name, arguments:
            case "numpy.core.multiarray._reconstruct", (Name("numpy.ndarray"), (0,), _):
                return Numbers()
            case "numpy.dtype", (code, *_):
                return Numbers(_dtype(code))
            case "numpy.core.multiarray.scalar", (Numbers(np.dtype() as dtype), bytes(data)):
                if dtype.kind not in "biuf" or len(data) != dtype.itemsize:
                    raise Refusal("has a number of a wrong size")
                return np.frombuffer(data, dtype)[0].item()
            case (
                "numpy.core.numeric._frombuffer",
                (bytes(data), Numbers(np.dtype() as dtype), tuple(shape), str(order), *axes),
            ):
                match order, axes:
                    case "C" | "F" as known, [] | [None]:
                        return Numbers(_array(data, dtype, shape, known))
                    case "K", [tuple(permuted)] if sorted(permuted) == list(range(len(shape))):
                        return Numbers(_array(data, dtype, shape).transpose(permuted))
                raise Refusal("has an array whose axes are in no order that is known")
            case "_codecs.encode", (str(text), "latin1" | "latin-1"):
                self.spend(len(text))
                return text.encode("latin-1")
            case "builtins.bytes", ():
                return b""
        raise Refusal(f"calls {name} with arguments that no data have")

    def spend(self, size: int) -> None:
        """Count bytes that are made of others. Raises Refusal where they are more than the file has."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise Refusal("makes more bytes than it has")

    def built(self, target: object, state: object) -> None:
        """Set the state of what was made before. Raises Refusal where that is not the state of an array of numbers."""
        match target, state:
            case Numbers(np.dtype() as dtype), (int(), str() | bytes() as order, None, None, None, *_):
                match text_of(order):
                    case "<" | ">" | "=" as sign:
                        target.value = dtype.newbyteorder(sign)
                    case "|":
                        pass
                    case _:
                        raise Refusal("has an array of unknown byte order")
            case Numbers(np.dtype()), _:
                raise Refusal("has an array of records, not of numbers")
            case Numbers(), (*_, tuple(shape), Numbers(np.dtype() as dtype), bool() | int() as fortran, bytes(data)):
                target.value = _array(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise Refusal("sets the state of an object, which is not data")

    # Instructions in place of Python's, which do to any object what data need of lists and dicts alone.

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refusal("wants to call what is not a function")
        self.append(self.called(function.name, arguments))

    def _build(self) -> None:
        state = self.stack.pop()
        self.built(self.stack[-1], state)

    def _extend(self, items: list[object]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refusal("appends to what is not a list")
        self.stack[-1].extend(items)

    def _update(self, items: list[object]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refusal("sets an item of what is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            name = text_of(key)
            if name is None:
                raise Refusal("has a dict whose keys are no text")
            if name in target:
                raise Refusal(f"has the key {shown(name[:40])} twice")
            target[name] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    def _stack_global(self) -> None:
        name, module = text_of(self.stack.pop()), text_of(self.stack.pop())
        self.append(self.find_class(str(module), str(name)))

    def _stop(self) -> None:
        if self.metastack or len(self.stack) != 1:
            raise Refusal("is damaged: it ends within a list")
        pickle._Unpickler.dispatch[ord(".")](self)  # type: ignore[arg-type]


Unpickler.instructions = {
    **{
        ord(op.code): pickle._Unpickler.dispatch[ord(op.code)]
        for op in pickletools.opcodes
        if op.name in _PLAIN.split()
    },
    ord("R"): Unpickler._reduce,
    ord("b"): Unpickler._build,
    ord("a"): lambda self: self._extend([self.stack.pop()]),
    ord("e"): lambda self: self._extend(self.pop_mark()),
    ord("s"): lambda self: self._update([self.stack.pop(), self.stack.pop()][::-1]),
    ord("u"): lambda self: self._update(self.pop_mark()),
    ord("d"): Unpickler._dict,
    ord("\x93"): Unpickler._stack_global,
    ord("\x96"): lambda self: self.append(self.read(int.from_bytes(self.read(8), "little"))),  # as bytes
    ord("."): Unpickler._stop,
}


class _Input:
    """The bytes of a pickle from front to back; what is claimed and is not there is never reserved."""

    def __init__(self, raw: Raw, handle: BinaryIO) -> None:
        self._size, self._handle = raw.size, handle

    def read(self, size: int, /) -> bytes:
        if size > _CHECKED_FROM and size > (left := self._size - self._handle.tell()):
            raise Refusal(f"is cut short: it claims {size:,} bytes, but ends after {left:,}")
        data = self._handle.read(size)
        if len(data) != size:
            raise Refusal("is cut short")
        return data

    def readline(self) -> bytes:
        line = self._handle.readline()
        if not line.endswith(b"\n"):
            raise Refusal("is cut short")
        return line


class _Dispatch(dict[int, Callable[[Any], object]]):
    """Instructions by byte, counted as they are looked up."""

    left = MOST_INSTRUCTIONS

    def __getitem__(self, code: int) -> Callable[[Any], object]:
        self.left -= 1
        if self.left < 0:
            raise Refusal("has more values than any data set: save numbers as arrays, not as lists")
        return super().__getitem__(code)

    def __missing__(self, code: int) -> Callable[[Any], object]:
        name = next((op.name for op in pickletools.opcodes if ord(op.code) == code), None)
        if name is None:
            raise Refusal("is not a pickle, or is damaged")
        raise Refusal(f"has the instruction {name}, which makes objects, not data; nothing of it was run")


def _dtype(code: object) -> np.dtype[Any]:
    name = text_of(code) or ""
    parsed = _DTYPE.fullmatch(name)
    if parsed is None:
        raise Refusal(f"has an array of dtype {shown(name[:20])}, which is neither numbers nor text")
    if parsed[1] == "O":
        raise Refusal("has an array of Python objects: save plain arrays of numbers")
    try:
        return np.dtype(name)
    except TypeError as error:
        raise Refusal(f"has an array of dtype {shown(name[:20])}, which does not exist") from error


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[Any, ...], order: Literal["C", "F"] = "C") -> Array:
    """A view of ``data`` as an array."""
    if len(shape) > MOST_DIMENSIONS or any(type(length) is not int or not 0 <= length < 1 << 63 for length in shape):
        raise Refusal("has an array of a shape that no array has")
    size = dtype.itemsize * math.prod(shape)
    if len(data) != size:
        lengths = "x".join(map(str, shape)) or "()"
        raise Refusal(f"claims {size:,} bytes for an array {lengths} of {dtype}, but has {len(data):,} for it")
    return np.ndarray(shape, dtype, data, order=order)
