"""The packages of constraints.txt: their licences as a table, or their files with hashes.

    python dependencies.py licences    a Markdown table, from what is installed here
    python dependencies.py lock        lines for ``pip install --require-hashes``, of this platform and this Python

The lock asks pip which file it would install of each package, and downloads only metadata. It is of one platform, so it
is made where it is used and not kept here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
#: What classifiers and free texts call a licence -> its name in SPDX's list.
NAMES = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def packages() -> list[str]:
    """Names of the pinned packages."""
    return re.findall(r"(?m)^([\w.-]+)==", CONSTRAINTS.read_text(encoding="utf-8"))


def licence(package: str) -> str | None:
    """What an installed package says of its licence, in SPDX's words where they are known; None if it is not here."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = about.get_all("Classifier") or []
    classified = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: OSI Approved :: ")]
    text = about.get("License-Expression") or ""
    if not text:
        free = (about.get("License") or "").strip().splitlines()[:1]
        text = next(
            (each for each in [*free, *classified] if re.fullmatch(r"(?!Copyright)[A-Z0-9][\w .,()-]{2,45}", each)), ""
        )
    return NAMES.get(text, text)


def table() -> Iterator[str]:
    """The table of licences; packages that are not installed are left out."""
    yield "| package | licence |"
    yield "|---|---|"
    for package in packages():
        if (text := licence(package)) is not None:
            yield f"| {package} | {text} |"


def lock() -> Iterator[str]:
    """A line a package, with the sha256 of the file that pip chooses here."""
    pins = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"]
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    done = subprocess.run([*words, "--report", "-", *pins], capture_output=True, text=True, check=True)
    for item in json.loads(done.stdout)["install"]:
        about, archive = item["metadata"], item["download_info"]["archive_info"]
        yield f"{about['name']}=={about['version']} --hash=sha256:{archive['hashes']['sha256']}"


if __name__ == "__main__":
    print("\n".join({"licences": table, "lock": lock}[sys.argv[1]]()))
