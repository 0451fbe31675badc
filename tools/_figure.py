"""What the commands of ``figure`` share: the option ``--tsv``, and the picture with its table, both or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datarobust.errors import UsageError

from . import _cli

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.jobs.figure import Drawing

Table = Annotated[
    Path | None,
    typer.Option("--tsv", metavar="FILE", help="Also write the values behind the picture, a header line first."),
]


def opened(paths: Iterable[Path], kind: str | tuple[str, ...]) -> list[Store]:
    """The artifacts that are named, ``-`` for one on stdin; ArtifactError where one is of no such kind."""
    from datarobust import artifacts

    return [artifacts.open_store(_cli.argument_path(path), kind) for path in paths]


def write_picture(drawing: Drawing, output: Path, tsv: Path | None, overwrite: bool) -> None:
    """Say what a reader should know; write the picture in the format of its name, and its table."""
    from datarobust.figures import format_of, style

    for remark in drawing.remarks:
        _cli.say(remark)
    write(output, style.picture(drawing.figure, format_of(output.suffix)), tsv, drawing.table, overwrite)


def write(output: Path, content: bytes, tsv: Path | None, lines: Callable[[], Iterable[str]], overwrite: bool) -> None:
    """Write both files or none, and print the path; one that exists already with the same bytes is as good as written.

    Args:
        output: of the picture, page or table.
        content: its bytes.
        tsv: of the values behind it; None where they are not asked for.
        lines: gives them.
        overwrite: replace files that exist.

    Raises:
        ExistsError: a file exists and has other bytes.
        UsageError: one name for both.
    """
    from datarobust.artifacts import whole_or_absent

    files: dict[Path, Callable[[], Iterable[bytes]]] = {output: lambda: [content]}
    if tsv is not None:
        if tsv.resolve() == output.resolve():
            raise UsageError(f"{tsv} cannot be both the picture and the table: give two names.")
        files[tsv] = lambda: (line.encode() for line in lines())
    with ExitStack() as stack:
        for path, parts in files.items():
            if not _holds(path, parts()):
                partial = stack.enter_context(whole_or_absent(path, overwrite=overwrite))
                with partial.open("wb") as file:
                    file.writelines(parts())
    _cli.emit(str(output))


def _holds(path: Path, parts: Iterable[bytes]) -> bool:
    """Whether a file exists and has exactly these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return all(file.read(len(part)) == part for part in parts) and not file.read(1)
