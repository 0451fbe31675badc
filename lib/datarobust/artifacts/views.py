"""Stores that read as another kind: clones, one of each point, as a dataset."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from datarobust.artifacts.columns import Column
from datarobust.errors import ArtifactError

if TYPE_CHECKING:
    from datarobust.artifacts.store import Store


class _Squeezed(Column):
    """A column whose second axis has the length 1, without that axis."""

    def __init__(self, column: Column) -> None:
        super().__init__(column.folder, column.layout, [])
        self._column = column
        self.shape = (column.shape[0], *column.shape[2:])

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop``."""
        return self._column.read(start, stop)[:, 0]

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in order, a few at a time."""
        for start, found in self._column.blocks(rows):
            yield start, found[:, 0]

    def take(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Chosen rows in the order asked."""
        return self._column.take(rows)[:, 0]

    def verify(self) -> None:
        """Read every byte."""
        self._column.verify()


def as_dataset(store: Store) -> Store:
    """Clones as the dataset of their images: the name and the classes are those of the dataset they were made from.

    Raises:
        ArtifactError: there are several clones of each point.
    """
    repeats = store.column("images").shape[1]
    if repeats != 1:
        raise ArtifactError(
            f"{store.path} has {repeats} clones of each point, where a dataset is needed: clones read as one where "
            "there is one of each (clone `repeats` 1)"
        )
    found = copy.copy(store)
    found.kind = "dataset"
    found.attributes = {"name": "clones", "classes": [], **store.attributes}
    found._columns = {**store._columns, "images": _Squeezed(store.column("images"))}
    return found
