"""Files that are not the data their names promise: what servers and git leave in the place of a download.

None of the formats that are read begins in one of these ways, so the first bytes decide.
"""

from __future__ import annotations

import re
from pathlib import Path

from datarobust.errors import DataError
from datarobust.text import shown

START_BYTES = 1024
"""How many first bytes of a file tell an impostor."""

_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = re.compile(rb"(?:/annex|(?:\.\./)*\.git/annex)/objects/")
_PAGE = re.compile(rb"<(?:!doctype|html|head|body|title|meta|script|\?xml|!--|error\b|svg|rss)", re.IGNORECASE)
_JSON = re.compile(rb'\{\s*(?:"[^"]*"\s*:|\})')
_REFUSALS = (
    b"404: not found",
    b"404 not found",
    b"access denied",
    b"entry not found",
    b"invalid username or password",
    b"not found",
    b"repository not found",
    b"too many requests",
    b"unauthorized",
)


def refuse_impostor(path: Path, start: bytes) -> None:
    """Raise DataError where ``path``, whose first bytes are ``start``, is surely not the data it is taken for.

    Args:
        path: the file, for the message.
        start: its first bytes, :data:`START_BYTES` of them or all if it has fewer.

    Raises:
        DataError: the file is empty, a pointer of Git LFS or git-annex, or what a server answered in place of the
            file: a web page, an XML or JSON error, a line of refusal.
    """
    if not start:
        raise DataError(f"{shown(path)} is empty: get the file again.")
    if start.startswith(_LFS):
        raise DataError(
            f"{shown(path)} is a pointer of Git LFS, not the data: run `git lfs pull` in its repository, or get the "
            "file from its download link."
        )
    if _ANNEX.match(start):
        raise DataError(
            f"{shown(path)} is a pointer of git-annex, not the data: run `git annex get` in its repository."
        )
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(text):
        raise DataError(
            f"{shown(path)} is a web page or an XML message, not the data: a server sent it in place of the file, "
            "often because of a quota or a login; open it in a browser to see why, and get the file again."
        )
    if _JSON.match(text) or text[:64].lower().startswith(_REFUSALS):
        line = text[:80].decode("utf-8", "replace").split("\n")[0]
        raise DataError(
            f"{shown(path)} is a message of a server, not the data: it begins with {shown(line)}; get the file again."
        )
