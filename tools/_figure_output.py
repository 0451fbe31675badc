"""What the commands of ``figure`` share: names of sets, and the picture with its table, both or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import UsageError

from . import _cli

if TYPE_CHECKING:
    from datarobust.artifacts import Store

Table = Annotated[
    Path | None,
    typer.Option("--tsv", metavar="FILE", help="Also write the values behind the picture, a header line first."),
]


def names_of(rankings: list[Store], given: list[str] | None) -> list[str]:
    """What the legend calls each set: as ``--name`` says, else the name of its file.

    Raises:
        UsageError: the names given are not one for each.
    """
    if given and len(given) != len(rankings):
        raise UsageError(
            f"{len(rankings)} rankings, but {len(given)} names: give --name once for each, in their order."
        )
    return given or [_name(store) for store in rankings]


def _name(store: Store) -> str:
    """The file's name, without the norm at its end, which the legend has anyway."""
    stem = store.path.resolve().stem
    return re.sub(rf"[-_.]{store.attributes['norm']}$", "", stem) or stem


def write(picture: Path, drawn: bytes, tsv: Path | None, lines: Callable[[], Iterable[str]], overwrite: bool) -> None:
    """Both files or none; one that exists already with the same bytes is as good as written."""
    from datarobust.artifacts import whole_or_absent

    outputs: list[tuple[Path, Callable[[], Iterable[bytes]]]] = [(picture, lambda: [drawn])]
    if tsv is not None:
        if tsv.resolve() == picture.resolve():
            raise UsageError(f"{tsv} cannot be both the picture and the table: give two names.")
        outputs.append((tsv, lambda: (line.encode() for line in lines())))
    with ExitStack() as stack:
        for path, parts in outputs:
            if not _holds(path, parts()):
                partial = stack.enter_context(whole_or_absent(path, overwrite=overwrite))
                with partial.open("wb") as file:
                    file.writelines(parts())
    _cli.emit(str(picture))


def _holds(path: Path, parts: Iterable[bytes]) -> bool:
    """Whether a file is there and has exactly these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return all(file.read(len(part)) == part for part in parts) and not file.read(1)
