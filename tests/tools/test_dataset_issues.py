"""dataset issues as users run it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from .failing import GUIDE, documented, fails
from .made import dataset


def test_issues(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    data, output = dataset(tmp_path / "d.zarr", rows=30), tmp_path / "issues.jsonl"
    tests = dataset(tmp_path / "t.zarr", rows=28)  # the random bytes of the first 28
    done = command("dataset", "issues", data, "--against", tests, "-o", output, "--label-score", "1.05", "--json")
    line, rows = json.loads(done.stdout), [json.loads(text) for text in output.read_text().splitlines()]
    assert (line["issues"], line["counts"]["leak"]) == (str(output), 28), done.stderr
    assert sum(line["counts"].values()) == len(rows)
    assert "28 leak: equal to a point of the other set" in done.stderr
    fails(command("dataset", "issues", data, "-o", output), "issues.jsonl exists already", "--overwrite")
    fails(
        command("dataset", "issues", data, "-o", tmp_path / "i.zarr"),
        "i.zarr is not a table: end its name in .csv",
        code=2,
    )
    page = tmp_path / "gallery.html"
    shown = command("figure", "gallery", data, output, "--kind", "label", "--kind", "ambiguous", "-o", page)
    assert (shown.returncode, shown.stdout) == (0, f"{page}\n"), shown.stderr
    assert page.read_text().count("<figure") == sum(line["counts"][kind] for kind in ("label", "ambiguous"))
    fails(
        command("figure", "gallery", data, output, "-o", tmp_path / "g.png"),
        "g.png: the output is a page of HTML",
        code=2,
    )
    wrong = command("figure", "gallery", data, output, "--kind", "labels", "-o", page)
    fails(wrong, "Invalid value for '--kind': 'labels' is not one of 'leak'", code=2)
    missing = command("figure", "gallery", data, tmp_path / "no.csv", "-o", tmp_path / "g.html")
    assert fails(missing).endswith("no.csv cannot be read: no such file or directory")
    assert command("dataset", "issues", data, "-o", output, "--overwrite", "-q").stdout == f"{output}\n"


def test_the_guide_has_every_key_and_column() -> None:
    from datarobust.jobs.issues import COLUMNS

    assert documented("dataset issues") == {"issues", "counts", "agreement"}
    section = GUIDE.read_text(encoding="utf-8").split("\n## dataset issues\n")[1].split("\n## ")[0]
    assert set(COLUMNS) <= set(re.findall(r"`(\w+)`", section))
