"""What can go wrong: every error is one sentence for the user that says what, where, and the way out.

The library raises these and nothing else on purpose; a tool prints the sentence and exits with ``exit_code``.
Any other exception is a bug of ours and keeps its traceback.

A sentence names arguments in backticks, as Python has them: "`batch` 0: at least one image is needed". The tools print
them as options (`datarobust.tools._console.as_options`), so the library need not know the command line.
"""

from __future__ import annotations


class DatarobustError(Exception):
    """A mistake the user can mend; ``str(error)`` is one complete sentence."""

    exit_code = 1


class UsageError(DatarobustError):
    """Options or arguments that contradict each other or make no sense."""

    exit_code = 2


class DataError(DatarobustError):
    """Input data that cannot be what they claim to be; the sentence names file and index."""


class ImageError(DataError):
    """An encoded image that is damaged, or none that a point could be made of; an import can leave it out."""


class DuplicateError(DataError):
    """Equal points carry different labels although ``duplicates="error"`` forbids it."""


class FetchError(DatarobustError):
    """A download that cannot be finished, or brings another file than the published one."""


class SelectionError(DatarobustError):
    """A selection of points that cannot be read or does not fit its dataset."""


class DivergedError(DatarobustError):
    """A training whose loss is no longer finite; its last good state was kept."""


class ArtifactError(DatarobustError):
    """A store that is not whole, was altered, has another kind or version, or does not belong here."""


class ExistsError(ArtifactError):
    """The output exists and was not made by the same request."""


class LockedError(ArtifactError):
    """Another process holds the output."""


class DatarobustWarning(UserWarning):
    """What a user should know of the machine: how outputs are locked, that Triton fails; the tools say it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that less at a time might do.

    MemoryError, or the RuntimeError of torch that means the same: CUDA's allocator has a class for it, its libraries
    and the CPU have none.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = (
    "can't allocate memory",  # the CPU's allocator
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
