"""Pickles of data sets, read without running them.

A pickle is a program for a machine with a stack; Python's own reader imports and calls whatever it names. This reader
is another machine: it knows the instructions that plain data need (numbers, strings, lists, tuples, dicts with text
keys, and the calls that make NumPy arrays, which :mod:`datarobust.datasets.pickledarrays` replaces by records) and
refuses all others by name. It imports nothing, calls nothing and makes no objects of any class that a file names.

It is bounded, too: a string of more than 4 KiB is left in the file as an :class:`~datarobust.datasets.extents.Extent`,
so lengths that lie cost nothing; the number of instructions and the bytes of short strings have a limit each; nothing
recurses. Protocols 0 to 5, as Python 2 and Python 3 write them.

The values are None, bool, int, float, str, bytes (also what Python 2 calls str), list, tuple, dict, Extent, and
:class:`~datarobust.datasets.pickledarrays.Blank` for arrays and dtypes.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

from datarobust.datasets.extents import Form
from datarobust.datasets.pickledarrays import KNOWN, build, call, text_of
from datarobust.datasets.pickletape import Refusal, Tape
from datarobust.datasets.sources import Raw
from datarobust.errors import DataError
from datarobust.text import shown

MOST_STEPS = 4_000_000
"""Instructions of one pickle; CIFAR-100 takes 400,000. At about 100 bytes each at worst, they fit in memory."""

_START = re.compile(rb"\x80[\2-\5]|\(d(p\d+\n|[SV])|\}[q(]")
_MOST_INT = 9  # bytes: the widest uint64 takes nine


def load(raw: Raw) -> object:
    """The value that the pickle holds. Raises DataError, naming file and byte, for all that is not plain data."""
    with raw.open() as handle:
        machine = Machine(raw, handle)
        try:
            value = machine.run()
            if handle.read(1):
                raise Refusal("goes on after its end")
            return value
        except Refusal as error:
            raise DataError(f"{raw.where} {error} (byte {handle.tell():,}).") from error
        except (IndexError, KeyError, ValueError) as error:  # of the stack, the memo, and what spells a number
            raise DataError(f"{raw.where} is no pickle, or is damaged near byte {handle.tell():,}.") from error


def looks_like(start: bytes) -> bool:
    """Whether a file that starts so is a pickle: by its mark, or by a dict as protocols 0 and 1 begin it."""
    return _START.match(start) is not None


def mapping(raw: Raw) -> Mapping[str, object]:
    """The value of a pickle that should be a dict. Raises DataError where it is something else."""
    value = load(raw)
    if not isinstance(value, dict):
        raise DataError(f"{raw.where} holds no dict of arrays.")
    return value


class Machine(Tape):
    """What runs a pickle. Subclasses know other names, by :meth:`look_up`, and more instructions, by ``steps``."""

    steps: ClassVar[Mapping[bytes, Callable[[Any], object]]]
    """Instruction -> what it does; all others are refused."""

    def __init__(self, raw: Raw, handle: BinaryIO) -> None:
        super().__init__(raw, handle)
        self.stack: list[object] = []
        self.below: list[list[object]] = []  # the stacks beneath each open mark
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """The value that the pickle holds."""
        read, steps = self.handle.read, self.steps
        for _ in range(MOST_STEPS):
            code = read(1)
            if code == b".":
                (value,) = self.stack
                if self.below:
                    raise Refusal("is damaged: it ends within a list")
                return value
            step = steps.get(code)
            if step is None:
                self.refuse(code)
            else:
                step(self)
        raise Refusal(f"has more than {MOST_STEPS:,} values: save numbers as arrays, not as lists")

    def refuse(self, code: bytes) -> None:
        """Raise Refusal for an instruction that is none of ``steps``."""
        if not code:
            raise Refusal("is cut short")
        if code == b"i":
            self.look_up(self.line().decode(), self.line().decode())
        name = next((op.name for op in pickletools.opcodes if op.code.encode("latin-1") == code), None)
        if name is None:
            raise Refusal("is no pickle, or is damaged")
        raise Refusal(f"has the instruction {name}, which makes objects, not data; nothing of it was run")

    # ---------------------------------------------------------------------------------------------- the stack

    def push(self, value: object) -> None:
        """Onto the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[object]:
        """What was pushed since the last mark, off the stack."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        """Begin a stack of its own."""
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        """Drop the last value, or the stack since the last mark."""
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def take(self, count: int) -> None:
        """A tuple of the last ``count`` values."""
        if len(self.stack) < count:
            raise IndexError
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(values)

    def keep(self, place: int) -> None:
        """Remember the last value."""
        self.memo[place] = self.stack[-1]

    def extend(self, items: list[object]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise Refusal("appends to what is no list")
        target.extend(items)

    def update(self, items: list[object]) -> None:
        """Put keys and values in turns into the dict on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refusal("sets an item of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            name = text_of(key)
            if name is None:
                raise Refusal("has a dict whose keys are no text")
            if name in target:
                raise Refusal(f"has the key {shown(name[:40])} twice")
            target[name] = value

    def make_dict(self) -> None:
        """A dict of what was pushed since the last mark."""
        items = self.since_mark()
        self.push({})
        self.update(items)

    def set_item(self) -> None:
        """One key and value."""
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    # ------------------------------------------------------------------------------------- numbers and calls

    def integer(self) -> None:
        """A number or truth value, spelled in digits."""
        line = self.line().strip()
        self.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _int(line))

    def long(self, width: int) -> None:
        """A number of as many bytes as the next ``width`` bytes say."""
        size = self.number(width)
        if size > _MOST_INT:
            raise Refusal("has a number of more than 64 bits")
        self.push(self.number(size, signed=True))

    def look_up(self, module: str, name: str) -> None:
        """Push what stands for a name. Raises Refusal for all that is not known."""
        known = KNOWN.get((module, name))
        if known is None:
            wanted = shown(f"{module}.{name}"[:120])
            raise Refusal(f"wants {wanted}, which is not data; it is refused, and nothing of it was run")
        self.push(known)

    def stack_global(self) -> None:
        """Look up the name on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.look_up(str(text_of(module)), str(text_of(name)))

    def reduce(self) -> None:
        """What stands for a call of the function and arguments on the stack."""
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(call(function, arguments))

    def build(self) -> None:
        """Set the state of the record on the stack."""
        state = self.stack.pop()
        build(self.stack[-1], state)

    def protocol(self) -> None:
        """The number of the protocol."""
        if (version := self.number(1)) > 5:
            raise Refusal(f"is of protocol {version}; 0 to 5 are read")

    def frame(self) -> None:
        """The length of what comes, which must be there."""
        length = self.number(8)
        if length > self.raw.size - self.handle.tell():
            raise Refusal("is cut short")


def _int(line: bytes) -> int:
    if len(line) > 21:
        raise Refusal("has a number of more than 64 bits")
    return int(line)


def _string(width: int, form: Form, text: bool) -> Callable[[Machine], object]:
    return lambda m: m.push(m.string(m.number(width), form, text))


STEPS: Mapping[bytes, Callable[[Machine], object]] = {
    b"\x80": Machine.protocol,
    b"\x95": Machine.frame,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"I": Machine.integer,
    b"L": lambda m: m.push(_int(m.line().removesuffix(b"L"))),
    b"\x8a": lambda m: m.long(1),
    b"\x8b": lambda m: m.long(4),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(struct.unpack(">d", m.exactly(8))[0]),
    b"S": lambda m: m.push(m.spelled("escape", False)),
    b"V": lambda m: m.push(m.spelled("raw-unicode-escape", True)),
    b"U": _string(1, "plain", False),  # Python 2's str, then text, then bytes
    b"T": _string(4, "plain", False),
    b"\x8c": _string(1, "utf-8", True),
    b"X": _string(4, "utf-8", True),
    b"\x8d": _string(8, "utf-8", True),
    b"C": _string(1, "plain", False),
    b"B": _string(4, "plain", False),
    b"\x8e": _string(8, "plain", False),
    b"\x96": _string(8, "plain", False),
    b"(": Machine.mark,
    b"0": Machine.pop,
    b"1": Machine.since_mark,
    b"2": lambda m: m.push(m.stack[-1]),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.take(1),
    b"\x86": lambda m: m.take(2),
    b"\x87": lambda m: m.take(3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"}": lambda m: m.push({}),
    b"d": Machine.make_dict,
    b"s": Machine.set_item,
    b"u": lambda m: m.update(m.since_mark()),
    b"p": lambda m: m.keep(_int(m.line())),
    b"q": lambda m: m.keep(m.number(1)),
    b"r": lambda m: m.keep(m.number(4)),
    b"\x94": lambda m: m.keep(len(m.memo)),
    b"g": lambda m: m.push(m.memo[_int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    b"c": lambda m: m.look_up(m.line().decode(), m.line().decode()),
    b"\x93": Machine.stack_global,
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
}
"""Instructions of plain data."""
Machine.steps = STEPS
