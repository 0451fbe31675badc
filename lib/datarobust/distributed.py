"""Several processes at one task: the one place that knows torch.distributed.

``torchrun`` starts the processes and says in the environment who is who; a process that it did not start is alone, and
then torch is not even imported. Arrays in main memory are exchanged over gloo, tensors of accelerators over nccl.

Over gloo a process waits for days, because a part that goes on after a kill may be done long before the others. Over
nccl all processes do the same work at the same time: after half an hour one of them is lost.
"""

from __future__ import annotations

import functools
import itertools
import math
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from datarobust.errors import DatarobustError, UsageError
from datarobust.types import Array, Column

if TYPE_CHECKING:
    import torch


_READ = 64 << 20  # bytes that are read at a time into shared memory
_GLOO_WAITS, _NCCL_WAITS = timedelta(days=30), timedelta(minutes=30)


@dataclass(frozen=True)
class Group:
    """The processes of one command."""

    rank: int  # this process, from 0
    size: int
    here: int = 1  # how many of them share this machine
    local: int = 0  # this process among those, from 0
    nccl: Any = None  # the processes once more, for tensors of accelerators

    @property
    def is_main(self) -> bool:
        """Whether this process speaks and writes."""
        return self.rank == 0

    def all_gather(self, array: Array) -> list[Array]:
        """The arrays of all processes, by rank; they have one shape and dtype."""
        if self.size == 1:
            return [array]
        import torch
        from torch import distributed

        mine = torch.from_numpy(np.ascontiguousarray(array))
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        with _errors_of_others():
            distributed.all_gather(parts, mine)
        return [part.numpy() for part in parts]

    def agree(self, value: bool) -> bool:
        """What rank 0 says."""
        return bool(self.all_gather(np.array([value]))[0][0])

    def any(self, value: bool) -> bool:
        """Whether any process says so."""
        return any(bool(part[0]) for part in self.all_gather(np.array([value])))

    def share(self, count: int) -> tuple[int, int]:
        """Start and end of this process's part of ``count`` items in order."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def to_main(self, arrays: dict[str, Array]) -> Iterator[dict[str, Array]]:
        """Yields in rank 0 the arrays of each process, by rank, in the others nothing. All must run through it."""
        if self.is_main:
            yield arrays
        if self.size == 1:
            return
        from torch import distributed

        for rank in range(1, self.size) if self.is_main else ():
            parts: list[dict[str, Array]] = [{}]
            with _errors_of_others():
                distributed.recv_object_list(parts, rank)
            yield parts[0]
        if not self.is_main:
            with _errors_of_others():
                distributed.send_object_list([arrays], 0)

    def once_a_machine(self, column: Column) -> Array | None:
        """All rows of a column, in memory that the processes of a machine share; each of them reads a part.

        The memory has no name: it goes with the last of them, however they end. None where they cannot share it:
        elsewhere than on Linux, or where each is in a container of its own.
        """
        size = math.prod(column.shape) * column.dtype.itemsize
        shared = self._shared_memory(size) if hasattr(os, "memfd_create") else None
        if shared is None:
            return None
        rows = np.frombuffer(shared, column.dtype, math.prod(column.shape)).reshape(column.shape)
        first, last = Group(self.local, self.here).share(len(rows))
        step = max(1, _READ // max(1, size // max(1, len(rows))))
        for start in range(first, last, step):
            rows[start : min(start + step, last)] = column.read(start, min(start + step, last))
        self.agree(True)  # all rows are there
        return rows

    def _shared_memory(self, size: int) -> mmap.mmap | None:
        """Zeros that the processes of this machine share; None on all machines where some process cannot have them."""
        mark = int.from_bytes(os.urandom(7))  # the number of a process may be another one's in another container
        own = os.memfd_create("datarobust") if self.local == 0 else -1
        if self.local == 0:
            os.ftruncate(own, size + 8)
            os.pwrite(own, mark.to_bytes(8), size)
        process, descriptor, mark = self.all_gather(np.array([os.getpid(), own, mark]))[self.rank - self.local].tolist()
        try:
            opened = os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR)
            result = mmap.mmap(opened, size + 8)
            os.close(opened)
        except OSError:
            result = None
        lacking = self.any(result is None or result[size:] != mark.to_bytes(8))
        if self.local == 0:
            os.close(own)
        return None if lacking else result

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one dtype and device, in place, by their means over all processes."""
        self.sum(tensors)
        for tensor in tensors if self.size > 1 else ():
            tensor.detach().mul_(1.0 / self.size)

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one dtype and device, in place, by their sums over all processes, in one exchange."""
        self._exchange(tensors, lambda flat, distributed, group: distributed.all_reduce(flat, group=group))

    def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors, in place, by those of rank 0."""
        for tensor in tensors:
            self._exchange([tensor], lambda flat, distributed, group: distributed.broadcast(flat, 0, group=group))

    def _exchange(self, tensors: Sequence[torch.Tensor], exchange: Callable[[torch.Tensor, Any, Any], object]) -> None:
        """Exchange tensors as one vector, and put the result back."""
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with _errors_of_others():
            exchange(flat, distributed, self.nccl if flat.is_cuda else None)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def neighbours(self, count: int) -> Any:
        """The ``count`` consecutive processes that this one is among, as a group of torch.distributed.

        ``count`` divides the number of processes. Their exchanges take part in gradients.
        """
        from torch import distributed

        backend, timeout = ("gloo", _GLOO_WAITS) if self.nccl is None else ("nccl", _NCCL_WAITS)
        groups = [
            distributed.new_group(list(range(first, first + count)), backend=backend, timeout=timeout)
            for first in range(0, self.size, count)
        ]
        return groups[self.rank // count]

    def merge_neighbours(self, key: Array, index: Array) -> tuple[Array, Array]:
        """The k best of all processes' lists: (N, k) keys ascending, equal keys by index, no index twice.

        Rank 0 takes in one list after the other, so that no process holds more than two.
        """
        import torch

        best = key, index
        for lists in itertools.islice(self.to_main({"key": key, "index": index}), 1, None):
            best = merge_lists([best[0], lists["key"]], [best[1], lists["index"]])
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in best]
        self.broadcast(tensors)
        return tensors[0].numpy(), tensors[1].numpy()


@contextmanager
def _errors_of_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise DatarobustError("another process of this command failed: its own message says why") from error


def merge_lists(keys: list[Array], indices: list[Array]) -> tuple[Array, Array]:
    """The k best by (key, index) of several (N, k) lists; an index counts once, -1 (no neighbour) is padding."""
    k = keys[0].shape[1]
    key, index = np.concatenate(keys, axis=1), np.concatenate(indices, axis=1)
    order = np.lexsort((index, key), axis=1)
    key, index = np.take_along_axis(key, order, 1), np.take_along_axis(index, order, 1)
    again = np.zeros(index.shape, bool)
    again[:, 1:] = (index[:, 1:] == index[:, :-1]) & (index[:, 1:] >= 0)
    order = np.argsort(again, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(key, order, 1), np.take_along_axis(index, order, 1)


@contextmanager
def group() -> Iterator[Group]:
    """The processes that torchrun started together with this one, connected; alone without torchrun."""
    size = _number("WORLD_SIZE", 1)
    rank = _number("RANK", 0)
    if not 0 <= rank < size:
        raise UsageError(f"RANK={rank} and WORLD_SIZE={size} contradict each other: start the command with torchrun")
    if size == 1:
        _refuse_tasks_without_torchrun()
        yield Group(0, 1)
        return
    from torch import cuda, distributed

    try:
        name = f"datarobust/{next(_GROUPS)}"
        store = distributed.PrefixStore(name, _meeting_place())  # type: ignore[attr-defined]
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_GLOO_WAITS)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"the {size} processes cannot find each other: start the command with torchrun") from error
    try:
        on_gpus = cuda.is_available() and distributed.is_nccl_available()
        nccl = distributed.new_group(backend="nccl", timeout=_NCCL_WAITS) if on_gpus else None
        yield Group(rank, size, _here(), _number("LOCAL_RANK", 0), nccl)
    finally:
        distributed.destroy_process_group()


_GROUPS = itertools.count()
"""Numbers of the groups of this process. Each has its own names in the store, where those of the last one stay."""


@functools.cache
def _meeting_place() -> Any:
    """The store in which the processes find each other: torchrun's."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    return store


def _refuse_tasks_without_torchrun() -> None:
    """Raise UsageError where srun or mpirun started several tasks of this command, each of which thinks it is alone."""
    for name, starter in (("SLURM_STEP_NUM_TASKS", "srun"), ("OMPI_COMM_WORLD_SIZE", "mpirun"), ("PMI_SIZE", "mpirun")):
        if "WORLD_SIZE" not in os.environ and (tasks := _number(name, 1)) > 1:
            raise UsageError(
                f"{starter} has started {tasks} tasks that do not know of each other: start one task a machine, and "
                f"torchrun in it; or, where each is a command of its own, unset {name}"
            )


def _here() -> int:
    """How many processes of this command share this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1))


def device_of(name: str) -> torch.device:
    """The device ``name``, ready for use: cpu, cuda, cuda:INDEX, or auto, which takes CUDA where there is any.

    Of several processes on a machine each takes its own accelerator, or the only one that it sees.

    Raises UsageError where there is no such device, or several processes would share it.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    if not count:
        raise UsageError(
            f"`device` {name}: PyTorch finds no CUDA device here; leave out `device`, or install its CUDA build."
        )
    chosen = name.partition(":")[2]
    if chosen and _here() > 1:
        raise UsageError(f"`device` {name} is one device for {_here()} processes: with cuda each takes its own.")
    index = int(chosen or (_number("LOCAL_RANK", 0) if count > 1 else 0))
    if index >= count:
        raise UsageError(f"`device` {name}: there are {count} CUDA devices, counted from 0.")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number: start the command with torchrun") from None
