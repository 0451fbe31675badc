"""Published data sets from where they are published: ``dataset fetch``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from datarobust.errors import UsageError

from . import _cli, _derive

Known = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Of a release, such as cifar10; see --list.", show_default=False)
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which part of a release: train if not given, or test.")
]
Labels = Annotated[
    Literal["fine", "coarse"] | None,
    typer.Option("--labels", help="Of CIFAR-100: the 100 classes, or the 20 super-classes (CIFAR-100s)."),
]
Shuffle = Annotated[
    int | None,
    typer.Option("--shuffle", metavar="SEED", min=0, max=2**64 - 1, help="Put the points in random order, once."),
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where files are kept; ~/.cache/datarobust if not given."),
]
Listing = Annotated[bool, typer.Option("--list", help="Only list what is known: name, bytes to fetch, title.")]


def fetch(
    known: Known = None,
    output: _cli.OptionalOutput = None,
    split: Split = None,
    labels: Labels = None,
    shuffle: Shuffle = None,
    name: _cli.Name = None,
    limit: _cli.Limit = None,
    cache: Cache = None,
    listing: Listing = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
    as_json: _cli.Json = False,
) -> None:
    """Download a published data set, verify it, and import it.

    Files come over https alone, are compared with their published sizes and sha256, and are kept in DIR, so they come
    once; a download that broke off goes on where it was. Proxies and certificates are those of the environment
    (https_proxy, SSL_CERT_FILE). Where there is no network, put the files into their folders in DIR yourself.

    For example:

        dataset fetch --list
    """
    if listing or known is None or output is None:
        _list(known, output, listing, as_json)
        return
    if as_json:
        raise UsageError("--json belongs to --list.")
    from datarobust.datasets import registry
    from datarobust.datasets.fetch import https
    from datarobust.jobs.dataset import Import

    release = registry.find_release(known)
    if _was_fetched(output, known, overwrite):
        _derive.announce(output, fresh=False)
        return
    _cli.resumable()
    source = registry.fetch_release(
        release,
        _default_cache() if cache is None else cache,
        https(),
        split=split,
        labels=labels,
        name=name,
        progress=_cli.progress(quiet, "fetching, MiB"),
    )
    for note in source.spec.notes:
        _cli.say(note)
    progress = _cli.progress(quiet, "importing")
    fresh = _derive.make(Import(source, shuffle, limit), output, shuffle, overwrite, progress)
    _derive.announce(output, fresh)


def _list(known: str | None, output: Path | None, listing: bool, as_json: bool) -> None:
    """Print the known releases where ``--list`` was asked for, and nothing else."""
    if not listing:
        raise UsageError("Give a NAME and -o PATH, or --list.")
    if known is not None or output is not None:
        raise UsageError("--list stands alone, or with --json.")
    for line in _listed(as_json):
        _cli.emit(line)


def _listed(as_json: bool) -> list[str]:
    """The known releases, as lines of text with tabs between, or as one JSON object."""
    from datarobust.datasets.registry import RELEASES

    if not as_json:
        return [f"{each.name}\t{sum(r.size for r in each.all())}\t{each.title}" for each in RELEASES.values()]
    found = [
        {
            "name": each.name,
            "title": each.title,
            "folder": each.folder,
            "splits": [split for split in each.files if split is not None],
            "files": [{"name": r.name, "urls": r.urls, "bytes": r.size, "sha256": r.sha256} for r in each.all()],
        }
        for each in RELEASES.values()
    ]
    return [json.dumps({"releases": found})]


def _was_fetched(output: Path, known: str, overwrite: bool) -> bool:
    """Whether the very same command made ``output``: then its files are not needed, which may be gone.

    Raises ExistsError, before anything is fetched, where another command made it and it may not be replaced.
    """
    from datarobust import __version__, artifacts

    if overwrite or not output.exists():
        artifacts.demand_vacant(output, "dataset", overwrite)
        return False
    steps = artifacts.peek(output).history
    if not steps or steps[-1].tool != "dataset" or steps[-1].argv[:1] != ("fetch",) or known not in steps[-1].argv:
        artifacts.demand_vacant(output, "dataset")
    return steps[-1].version == __version__ and _asked(steps[-1].argv) == _asked(sys.argv[1:])


def _asked(argv: Iterable[str]) -> list[str]:
    """The words of a command, without those that do not change its result."""
    return [word for word in argv if word not in ("-q", "--quiet")]


def _default_cache() -> Path:
    """The folder that the XDG Base Directory Specification gives a program for what it can get again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "datarobust"
