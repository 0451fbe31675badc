"""``figure report``: one page about any set of artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datarobust import __version__
from datarobust.errors import UsageError

from . import _cli
from ._figure import write


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="ARTIFACT...",
            help="Artifacts, folders of advtrain and edmtrain, png and svg pictures, text; - for one on stdin.",
        ),
    ],
    output: _cli.Output,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the page.")] = "Report",
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write one HTML page about any set of artifacts.

    The page holds everything itself: it loads nothing, runs nothing, and can be sent, printed and kept. Each artifact
    has a card with its digest and the main figures of its kind: of a ranking the least robust points, of a run the
    curves of "figure training", of clones some of them beside the originals. What belongs together is told by digests,
    so name the dataset beside its ranking or clones to see the images. Then come pictures and text: tables of "figure
    table", lines of fid and sens-rank.

    Below, the histories of all artifacts are drawn as one graph, and every command is listed in an order in which it
    can be run again.

    The same artifacts give the same bytes, in whatever order and from whatever folder they are named. Pictures of more
    than 8 MiB, and text of more than 16, are refused; long tables are cut, and the page says so.

    For example:

        figure report digits.zarr digits-linf.zarr run best.zarr sensitivity.svg table.md -o report.html
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: a report is a page of HTML, so its name ends in .html.")
    paths = [_cli.argument_path(path) for path in sources]
    if output.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"{output} cannot be both the report and a part of it: name the output otherwise.")
    from datarobust.figures.report import collect, page

    cards, commands = collect(paths, _cli.progress(quiet, "reading"))
    write(output, page(title, cards, commands, __version__).encode(), None, lambda: (), overwrite)
