"""A report in a real browser: light and dark, narrow and wide, on paper; nothing is loaded, nothing overflows.

Skipped where there is no Chromium.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datarobust import artifacts
from datarobust.artifacts import Step

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome in the PATH")
Browse = Callable[..., str]
NAMES = [
    "</style><script>document.title='run'</script>",
    "שלום עולם",
    "w" * 900,
    "\x1b[31m\u202egnp",
    "<img src=http://127.0.0.1:9/x>",
]
SCRIPTED = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="900" height="80"
 onload="document.title='run'"><script>alert(1)</script>
<image xlink:href="http://127.0.0.1:9/y.png" width="9" height="9"/>
<rect width="900" height="80" fill="#ff00ff"/></svg>"""
WIDTHS = (320, 380, 1280)
RANKINGS = 3
#: A page around the page, which measures it at each width: its width, its overflow, and what sticks out.
FRAME = '<iframe src="FILE" style="width:WIDTHpx;height:900px;border:0"></iframe>'
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="told"></pre>FRAMES<script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const sticks = one => one.getBoundingClientRect().right > root.clientWidth + 1;
    const inside = one => one.closest(".scroll, pre.plain, .skip, svg");
    const out = [...page.querySelectorAll("body *")].filter(one => sticks(one) && !inside(one));
    const small = [...page.querySelectorAll("img")].filter(one => !one.complete || !one.naturalWidth);
    return {scroll: root.scrollWidth, client: root.clientWidth, broken: small.length, images: page.images.length,
      out: out.map(one => one.tagName + "." + one.className), title: page.title,
      boxes: page.querySelectorAll(".graph .box").length};
  });
  document.getElementById("told").textContent = JSON.stringify(told);
});</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browse(folder: Path) -> Iterator[Browse]:
    """Run the browser once, without a way out of this machine; what it prints."""

    def run(*words: str) -> str:
        assert BROWSER is not None
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
        options += ["--proxy-server=127.0.0.1:9", "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0"]
        options += [f"--user-data-dir={folder / 'profile'}"]
        done = subprocess.run([BROWSER, *options, *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert not (told := re.findall(r".*CONSOLE.*", done.stderr)), told
        return done.stdout

    yield run
    shutil.rmtree(folder / "profile", ignore_errors=True)


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    """A page with foreign names, wide tables, wide pictures, a ranking and a history."""
    from datarobust.figures.report import collect, page

    def store(file: str, kind: str, columns: dict[str, np.ndarray], history: list[Step], **told: object) -> str:
        kinds = {each: (array.dtype.name, array.shape[1:]) for each, array in columns.items()}
        with artifacts.create(folder / file, kind, kinds, attributes=told, history=history) as writer:
            for each, array in columns.items():
                writer.append(each, array)
        return artifacts.peek(folder / file).digest

    random = np.random.default_rng(0)
    labels = np.arange(40) % len(NAMES)
    columns = {
        "images": random.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8),
        "labels": labels,
        "index": np.arange(40),
    }
    steps = [Step("dataset", ("import", "x" * 300, "-o", "d.zarr"), "0.1.0", 0, None, {"source": "0" * 64})]
    digest = store("d.zarr", "dataset", columns, steps, name=NAMES[0], classes=NAMES)
    for place in range(RANKINGS):
        steps.append(
            Step("sens-rank", ("d.zarr", "-o", f"{place}.zarr", NAMES[2]), "0.1.0", None, "cpu", {"dataset": digest})
        )
        told = {"norm": "l2", "labels": "hard", "dataset": digest, "against": None, "duplicates": "inf", "k": 1}
        rows = {"distance": random.random(40), "neighbour": np.arange(40)[::-1].copy()}
        store(f"{place}.zarr", "ranking", rows, [steps[0], steps[-1]], **told)
    (folder / "p.svg").write_text(SCRIPTED)
    (folder / "wide.tsv").write_text(
        "\t".join(f"column{n}" for n in range(30)) + "\n" + "\t".join(["1.25"] * 30) + "\n"
    )
    (folder / "long.txt").write_text("y" * 5000 + "\n")
    (folder / "t.md").write_text("| a | b |\n|---|---|\n| " + "z" * 3000 + " | x |\n")
    names = ["d.zarr", *(f"{place}.zarr" for place in range(RANKINGS)), "p.svg", "wide.tsv", "long.txt", "t.md"]
    cards, commands = collect([folder / name for name in names])
    path = folder / "report.html"
    path.write_text(page(NAMES[2], cards, commands, "0.1.0"), encoding="utf-8")
    return path


def screenshot(browse: Browse, report: Path, *words: str) -> Image.Image:
    output = report.with_name("shot.png")
    browse(f"--screenshot={output}", "--window-size=1200,1400", *words, report.as_uri())
    with Image.open(io.BytesIO(output.read_bytes())) as image:
        return image.convert("RGB")


def background(image: Image.Image) -> tuple[int, int, int]:
    """The colour in the corner, which must be that of most of the margin."""
    colours = image.crop((0, 0, 12, image.height)).getcolors(1 << 16)
    assert colours is not None
    often, colour = max(colours)
    assert often > 0.95 * 12 * image.height
    assert isinstance(colour, tuple)
    return colour[0], colour[1], colour[2]


def test_light_and_dark(browse: Browse, report: Path) -> None:
    light = screenshot(browse, report, "--blink-settings=preferredColorScheme=1")
    dark = screenshot(browse, report, "--blink-settings=preferredColorScheme=0")
    assert min(background(light)) > 220
    assert max(background(dark)) < 40
    for image, bright in ((light, False), (dark, True)):
        grey = np.asarray(image.convert("L"), np.int64)
        ink = grey > 180 if bright else grey < 90
        assert 0.002 < ink.mean() < 0.5, "there are words, and they stand out"


def test_narrow_and_wide_and_nothing_is_asked_of_the_network(browse: Browse, report: Path) -> None:
    log, probe = report.with_name("net.json"), report.with_name("probe.html")
    frames = "".join(FRAME.replace("FILE", report.name).replace("WIDTH", str(width)) for width in WIDTHS)
    probe.write_text(PROBE.replace("FRAMES", frames), encoding="utf-8")
    logged = [f"--log-net-log={log}", "--net-log-capture-mode=Everything"]
    dom = browse("--dump-dom", *logged, "--window-size=1300,900", probe.as_uri())
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, dom[-500:]
    every = json.loads(told[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert [found["client"] for found in every] == list(WIDTHS)
    for width, found in zip(WIDTHS, every, strict=True):
        assert found["scroll"] <= width, found
        assert found["out"] == []
        assert found["broken"] == 0
        pairs = 2 * 20
        assert found["images"] == 2 + RANKINGS * (1 + pairs) + 1  # sample and picture; histograms and pairs; the curve
        assert found["boxes"] == 1 + RANKINGS
        assert found["title"] != "run"
    recorded = log.read_text(encoding="utf-8", errors="replace")
    assert "constants" in recorded
    asked = {url for url in re.findall(r'"url":"([a-z]+:[^"]*)"', recorded) if url.startswith(("http", "ws", "ftp"))}
    assert not {url for url in asked if "127.0.0.1:9/" in url}
    # The same with a picture from elsewhere is stopped by its policy, and asks for it without one: the check can fail.
    page = report.read_text(encoding="utf-8").replace("</main>", '<img src="http://127.0.0.1:9/z.png" alt="z"></main>')
    control = report.with_name("control.html")
    control.write_text(page, encoding="utf-8")
    with pytest.raises(AssertionError, match=r"CONSOLE.*violates"):
        browse("--dump-dom", control.as_uri())
    control.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page), encoding="utf-8")
    with suppress(AssertionError):  # some versions say on the console that it was not found
        browse("--dump-dom", *logged, control.as_uri())
    assert "127.0.0.1:9/z.png" in log.read_text(encoding="utf-8", errors="replace")


def test_on_paper(browse: Browse, report: Path) -> None:
    output = report.with_name("report.pdf")
    browse(f"--print-to-pdf={output}", "--no-pdf-header-footer", report.as_uri())
    content = output.read_bytes()
    assert content.startswith(b"%PDF")
    pages = re.findall(rb"/Type\s*/Page\b", content)
    assert len(pages) > 2
    assert b"/Font" in content
    assert b"/ToUnicode" in content, "there is text that can be searched"
