"""Tensors inside pickles of others: bytes of a storage, and views of it, decoded here and checked against its bounds.

A tensor that is pickled without ``torch.save`` carries its storage as a stream of bytes that PyTorch's function
``_load_from_bytes`` would hand to an unrestricted ``torch.load``. That function is never called. Such a stream is five
pickles (a magic number, a version, a description of the machine, the storage, the keys of what follows), then the
number of elements and the elements.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datarobust.datasets.pickletape import Refusal

Array = npt.NDArray[Any]

MOST_ELEMENTS: Final = 1 << 30
"""Of one tensor."""
BFLOAT16: Final = "bfloat16"
DTYPES: Final = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""Classes of storages in ``torch``, with NumPy's names of what they hold."""
MAGIC: Final = 0x1950A86A20F9469CFC6C
VERSION: Final = 1001


@dataclass(frozen=True)
class StorageClass:
    """A class of storages that a stream may name; ``name`` is a key of :data:`DTYPES`."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Elements of one dtype, one after the other."""

    dtype: str
    data: bytes

    @property
    def elements(self) -> Array:
        """(n,); bfloat16 as float32, which holds every value of it."""
        if self.dtype == BFLOAT16:
            return (np.frombuffer(self.data, "<u2").astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<"))


@dataclass(frozen=True)
class Stub:
    """What a stream says of its storage, before the elements: class, key, number of elements."""

    name: str
    key: str
    count: int


def stub_of(identifier: object) -> Stub:
    """The storage that a persistent id describes. Raises Refusal where it describes none."""
    match identifier:
        case ("storage", StorageClass(name), str(key), str(), int(count), None) if 0 <= count <= MOST_ELEMENTS:
            return Stub(name, key, count)
    raise Refusal("has a tensor whose storage is described in a way that PyTorch does not use")


def storage_of(values: list[object], rest: bytes) -> Storage:
    """The storage of a stream: the values of its five pickles, and the bytes after them.

    Raises:
        Refusal: it is no such stream, or is cut short.
    """
    match values:
        case [int(magic), int(version), dict(machine), Stub() as stub, [key]] if magic == MAGIC and version == VERSION:
            if machine.get("little_endian") is not True or key != stub.key:
                raise Refusal("has a tensor of a machine with another order of bytes")
        case _:
            raise Refusal("has a tensor whose bytes are no stream of PyTorch")
    dtype = DTYPES[stub.name]
    size = stub.count * (2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize)
    stream = io.BytesIO(rest)
    if int.from_bytes(stream.read(8), "little") != stub.count or len(rest) != 8 + size:
        raise Refusal(f"has a tensor of {stub.count:,} elements, but {max(0, len(rest) - 8):,} bytes for it")
    return Storage(dtype, stream.read())


def view(storage: Storage, offset: object, size: object, stride: object) -> Array:
    """The tensor that lies in a storage, a copy in C order.

    Raises:
        Refusal: it reaches out of its storage, or has more elements than it.
    """
    for numbers in (size, stride):
        if not isinstance(numbers, tuple) or any(type(number) is not int or number < 0 for number in numbers):
            raise Refusal("has a tensor of no shape")
    assert isinstance(size, tuple)
    assert isinstance(stride, tuple)
    elements = storage.elements
    if type(offset) is not int or offset < 0 or len(size) != len(stride) or len(size) > 16:
        raise Refusal("has a tensor of no shape")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > len(elements) or (count and last >= len(elements)):
        raise Refusal("has a tensor that reaches out of its storage")
    if not count:
        return np.zeros(size, elements.dtype)
    bytes_of = [step * elements.itemsize for step in stride]
    found = np.lib.stride_tricks.as_strided(elements[offset:], size, bytes_of)
    return np.array(found, found.dtype.newbyteorder("="), order="C")
