"""What documents and helps say, held against the commands: every line that names one uses what it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import commandlines, manual
from .commandlines import DOCUMENTS, ROOT

MADE = ROOT / "examples/guides/commands"
JOBS = {
    "examples/slurm/advtrain.sbatch": "advtrain",
    "examples/slurm/advtrain-nodes.sbatch": "advtrain",
    "examples/slurm/sens-rank.sbatch": "sens-rank",
    "examples/slurm/clone.sbatch": "clone",
    "examples/slurm/aaeval.sbatch": "aaeval",
    "examples/kubernetes/advtrain.yaml": "advtrain",
    "examples/kubernetes/advtrain-nodes.yaml": "advtrain",
    "examples/kubernetes/clone.yaml": "clone",
    "examples/kubernetes/aaeval.yaml": "aaeval",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def problems(text: str) -> list[str]:
    """What is wrong with the command lines of a script."""
    found = []
    for line in commandlines.lines_of(text):
        for words in commandlines.commands_in(line):
            if (wrong := commandlines.wrong_with(words)) is not None:
                found.append(f"{' '.join(words)}: {wrong}")
    return found


def mentioned(text: str) -> Iterator[list[str]]:
    """Commands within a line of text, and in lines of ARTIFACTS.md that are set in by four blanks."""
    outside = re.sub(r"(?ms)^```.*?^```$", "", text)
    for code in [*re.findall(r"`([^`\n]+)`", outside), *re.findall(r"(?m)^    (\w.*?)(?:  +.*)?$", outside)]:
        words = code.split()
        if words and words[0] in commandlines.tools():
            yield words


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_command_lines_of_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wrong = [problem for _, block in commandlines.blocks(text, "sh") for problem in problems(block)]
    assert not wrong
    unknown = [f"{' '.join(words)}: {why}" for words in mentioned(text) if (why := commandlines.unknown_in(words))]
    assert not unknown


@pytest.mark.parametrize("name", sorted(commandlines.tools()))
def test_examples_in_the_help_of_a_command_are_right(name: str) -> None:
    page = manual.page(name, commandlines.tools()[name])
    for one in (page, *page.parts):
        lines = [block.text for block in one.blocks if block.verbatim]
        assert any(list(commandlines.commands_in(line)) for text in lines for line in _calls(text)), one.name
        assert not [problem for text in lines for line in _calls(text) for problem in problems(line)], one.name


def _calls(text: str) -> list[str]:
    """The lines of a help that a shell would run; a table among them is none."""
    words = (*commandlines.tools(), "torchrun", "python")
    return [line for line in commandlines.lines_of(text) if line.startswith(tuple(f"{word} " for word in words))]


@pytest.mark.parametrize("name", JOBS)
def test_jobs_call_what_there_is(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".yaml"):
        text = " ".join(re.findall(r"(?m)^ {12}- (.+)$", text.partition("volumeMounts")[0]))
    called = [words for line in commandlines.lines_of(text) for words in commandlines.commands_in(line)]
    assert [words[0] for words in called] == [JOBS[name]]
    assert not problems(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    for link, heading in links:
        if "://" in link:
            continue
        target = path.parent / link if link else path
        assert target.exists(), link
        if heading:
            titles = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{link}#{heading}"


def test_recipes_that_documents_name_exist() -> None:
    makefiles = [ROOT / "examples/Makefile", *(ROOT / "examples").glob("*.mk")]
    rules = "".join(path.read_text(encoding="utf-8") for path in makefiles)
    known = set(re.findall(r"(?m)^([a-z0-9-]+):", rules))
    for path in DOCUMENTS:
        named = re.findall(
            r"make -C examples(?: -j\d+)?((?: [a-z][a-z0-9-]*\b(?![=/]))+)", path.read_text(encoding="utf-8")
        )
        assert {name for words in named for name in words.split()} <= known, path.name


def test_targets_that_documents_name_exist() -> None:
    known = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    for path in DOCUMENTS:
        assert set(re.findall(r"(?m)(?:^|`)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"))) <= known, path.name


def test_every_command_is_run_in_a_document() -> None:
    read = [ROOT / "README.md", *commandlines.GUIDES]
    run = {
        words[0]
        for path in read
        for line in commandlines.lines_of(commandlines.session(path))
        for words in commandlines.commands_in(line)
        if not {"--help", "--dry-run"} & set(words)
    }
    assert run == set(commandlines.tools())


def test_the_loop_of_the_completions_has_all_commands() -> None:
    text = (ROOT / "examples/guides/shell-completion.md").read_text(encoding="utf-8")
    found = re.search(r"(?m)^for command in (.+); do$", text)
    assert found is not None
    assert found[1].split() == sorted(commandlines.tools())


# ------------------------------------------------------------------------------------------------------- the checker


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("sens-rank d.zarr --nrom l2", "--nrom"),
        ("sens-rank d.zarr --norm l3", "l3"),
        ("sens-rank", "Missing argument"),
        ("dataset imprt digits -o d.zarr", "dataset imprt"),
        ("dataset import digits", "--output"),
        ("cat x | xargs true && sens-rank d.zarr -k 0 | head -n 5", "-k"),
        ("if true; then sens-rank d.zarr --norm=l3; fi > f 2> g", "l3"),
        ("OMP_NUM_THREADS=1 sens-rank d.zarr --soft=yes", "--soft"),
        ("torchrun --nproc_per_node=2 -m datarobust.tools.sens_rank d.zarr --nrom l2", "--nrom"),
        ('test "$(sens-rank d.zarr --nrom l2)" = x', "--nrom"),
        ("sens-rank --show-completion --nrom", "--nrom"),
    ],
)
def test_the_checker_finds(line: str, problem: str) -> None:
    (found,) = problems(line)
    assert problem in found


@pytest.mark.parametrize(
    "line",
    [
        "sens-rank d.zarr --norm linf -q | head -n 5 | cut -f 1,2,6-8    # with a comment: dataset imprt",
        "sens-rank d.zarr --json 2> error.json || code=$?",
        "advtrain d.zarr --hold-out '!first:64' --eps 8/255 -o run",
        "cat > f.py <<'EOF'\nsens-rank --nrom\nEOF",
        "man sens-rank",
        "aacompare a.zarr b.zarr vs c.zarr d.zarr",
        "dataset subset d.zarr \\\n    --select r.zarr:least:10 -o s.zarr",
    ],
)
def test_the_checker_passes(line: str) -> None:
    assert not problems(line)
