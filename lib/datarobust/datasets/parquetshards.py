"""Which Parquet files make a data set: the layouts of the Hugging Face hub.

A folder has its files as ``data/train-00000-of-00002-0123456789abcdef.parquet``, with a folder for each configuration
(``plain_text/train-00000-of-00001.parquet``, ``default/train/0000.parquet``) or plainly as ``train.parquet``.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datarobust.errors import DataError
from datarobust.text import shown

SUFFIX = ".parquet"

_DEPTH = 3
_MOST_ENTRIES = 1 << 16
_OF = re.compile(r"(?P<split>.+?)-(?P<number>\d{4,6})-of-(?P<count>\d{4,6})(-[0-9a-f]+)?\.parquet", re.DOTALL)
_NUMBERED = re.compile(r"(part[.-])?(?P<number>\d{1,6})\.parquet")
_PLAIN = re.compile(r"(.*[-_.])?(?P<split>train|test|validation|valid|val)\.parquet", re.DOTALL)


@dataclass(frozen=True)
class _Shard:
    """A file by its name: the folder of its configuration, its split, its number and of how many it is."""

    path: Path
    folder: Path
    split: str
    number: int
    count: int | None


def has_parquet(folder: Path) -> bool:
    """Whether a folder, or a folder a few levels below, has Parquet files, as far as a quick look tells."""
    return next(_files(folder, _MOST_ENTRIES), None) is not None


def find_shards(folder: Path, split: str) -> list[Path]:
    """The files of one split, in order.

    Raises:
        DataError: there is no such split, there are several configurations that have it, or a file of it is missing.
    """
    groups: dict[Path, list[_Shard]] = defaultdict(list)
    splits: set[str] = set()
    unknown: list[Path] = []
    for path in sorted(_files(folder)):
        shard = _shard(path)
        if shard is None:
            unknown.append(path)
            continue
        splits.add(shard.split)
        if shard.split == split:
            groups[shard.folder].append(shard)
    if not groups:
        if unknown and not splits:
            raise DataError(
                f"{shown(unknown[0])}: its name tells no split (train-00000-of-00001.parquet, test.parquet): give the "
                "file itself."
            )
        there = ", ".join(map(shown, sorted(splits))) or "none"
        raise DataError(f"{shown(folder)} has no Parquet files of the split {shown(split)}; its splits are: {there}.")
    if len(groups) > 1:
        listing = ", ".join(shown(each.relative_to(folder)) for each in sorted(groups))
        raise DataError(
            f"{shown(folder)} holds several data sets ({listing}): give the folder of the one that is meant."
        )
    [shards] = groups.values()
    return _complete(folder, shards)


def _complete(folder: Path, shards: list[_Shard]) -> list[Path]:
    """The shards by number. Raises DataError where one is missing or there twice."""
    shards = sorted(shards, key=lambda shard: (shard.number, shard.path.name))
    counts = {shard.count for shard in shards}
    numbers = [shard.number for shard in shards]
    if len(counts) > 1 or len(set(numbers)) < len(numbers):
        names = ", ".join(shown(shard.path.name) for shard in shards[:4])
        raise DataError(f"{shown(folder)} mixes files of different sets ({names} ...): keep those of one.")
    [count] = counts
    missing = sorted(set(range(len(shards) if count is None else count)) - set(numbers))
    if missing:
        raise DataError(
            f"{shown(shards[0].path.parent)} lacks file {missing[0]} of split {shown(shards[0].split)}: of "
            f"{count or numbers[-1] + 1} files only {len(shards)} are there."
        )
    return [shard.path for shard in shards]


def _shard(path: Path) -> _Shard | None:
    """What the name of a file says, None where it tells no split."""
    if found := _OF.fullmatch(path.name):
        return _Shard(path, path.parent, found["split"], int(found["number"]), int(found["count"]))
    if found := _PLAIN.fullmatch(path.name):
        return _Shard(path, path.parent, found["split"], 0, 1)
    if found := _NUMBERED.fullmatch(path.name):
        return _Shard(path, path.parent.parent, path.parent.name, int(found["number"]), None)
    return None


def _files(folder: Path, most: int | None = None) -> Iterator[Path]:
    """The Parquet files at most three folders down; hidden ones and links to folders are left out.

    Looks at no more than ``most`` entries.
    """
    todo, looked = [(folder, 0)], 0
    while todo:
        here, depth = todo.pop(0)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    looked += 1
                    if most is not None and looked > most:
                        return
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _DEPTH:
                            todo.append((Path(entry.path), depth + 1))
                    elif entry.name.endswith(SUFFIX):
                        yield Path(entry.path)
        except OSError as error:
            raise DataError(f"{shown(here)} cannot be read: {error.strerror}.") from error
