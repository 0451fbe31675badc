"""The rules of the tree, read from the source: who may import whom, what the tests mirror."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / "lib" / "datarobust"
TOOLS = ROOT / "tools"

#: The layers, lowest first; a part may import from its own layer and from those beneath, never from above.
LAYERS = (
    {"errors", "text", "types", "ahead", "devices", "norms", "randomness", "distributed"},
    {"attacks", "trades", "schedules", "networks"},
    {"sensitivity", "pairs", "issues", "curvature", "lipschitz", "embedding"}
    | {"diffusion", "fid", "training", "evaluation"},
    {"artifacts"},
    {"selection", "datasets", "figures", "checkpoints", "arrays"},
    {"jobs"},
)
#: Packages that only these parts may import: stores are opened in one place, and the library never talks.
ONLY_IN = {"zarr": {"artifacts"}, "safetensors": {"artifacts"}, "typer": set(), "rich": set(), "click": set()}
#: What no tool may import before it is called, because --help would wait for it.
HEAVY = {"torch", "zarr", "safetensors", "matplotlib", "scipy", "sklearn", "numpy", "pydantic", "rich", "PIL"}
HEAVY |= {"jinja2", "markupsafe", "networkx"}

MODULES = sorted(LIB.rglob("*.py"))
COMMANDS = sorted(TOOLS.glob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def part_of(path: Path) -> str:
    """The part of the library a module belongs to: ``artifacts`` for ``artifacts/kinds.py``."""
    return path.relative_to(LIB).parts[0].removesuffix(".py")


def imports(nodes: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; ``package`` is where relative imports start."""
    for node in ast.walk(nodes):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def library_imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    package = ["datarobust", *path.relative_to(LIB).parent.parts]
    for line, name in imports(tree_of(path), package):
        yield f"{name_of(path)}:{line} imports {name}", name.split(".")


def test_library_imports_nothing_from_above() -> None:
    height = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for path in MODULES:
        here = height.get(part_of(path))
        for place, names in library_imports(path):
            if names[0] == "datarobust" and len(names) > 1:
                there = height.get(names[1])
                if names[1] == "tools" or (here is not None and there is not None and there > here):
                    wrong.append(place)
    assert not wrong


def test_every_part_of_the_library_has_a_layer() -> None:
    parts = {part_of(path) for path in MODULES} - {"__init__"}
    assert parts <= set().union(*LAYERS), "give the new part a layer in LAYERS"


def test_stores_are_opened_in_one_place_and_the_library_never_talks() -> None:
    wrong = [
        place
        for path in MODULES
        for place, names in library_imports(path)
        if names[0] in ONLY_IN and part_of(path) not in ONLY_IN[names[0]]
    ]
    wrong += [
        f"{name_of(path)}:{node.lineno} prints"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert not wrong


def test_no_tool_imports_another_nor_a_store_nor_click() -> None:
    wrong = []
    for path in COMMANDS:
        for line, name in imports(tree_of(path), ["datarobust", "tools"]):
            names = name.split(".")
            tool = names[2] if names[:2] == ["datarobust", "tools"] and len(names) > 2 else "_"
            if not tool.startswith("_") or names[0] in {"zarr", "safetensors", "click"}:
                wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert not wrong


def test_heavy_imports_stand_inside_the_functions_of_tools() -> None:
    wrong = []
    for path in COMMANDS:
        for node in tree_of(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for line, name in imports(node, ["datarobust", "tools"]):
                    if name.split(".")[0] in HEAVY:
                        wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert not wrong


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import importlib, typing, sys; before = set(sys.modules); import datarobust; print(*set(sys.modules) - before)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "datarobust\n"


def test_nothing_swallows_an_error() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in [*MODULES, *COMMANDS]
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)))
    ]
    assert not wrong, "use contextlib.suppress for the one narrow error that is expected, and say why"


# ------------------------------------------------------------------------------------------------- packaging


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_the_wheel_ships_every_package() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in LIB.rglob("*.py")}
    found = {".".join(folder.relative_to(LIB.parent).parts) for folder in folders} | {"datarobust.tools"}
    assert sorted(listed) == sorted(found)
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_tool_is_a_command_that_exists() -> None:
    scripts = project()["project"]["scripts"]
    tools = {path.stem for path in COMMANDS if not path.stem.startswith("_")}
    assert scripts == {tool.replace("_", "-"): f"datarobust.tools.{tool}:main" for tool in tools}


def test_version_is_written_once_more_in_the_package() -> None:
    found = re.search(r'^__version__ = "(.+)"$', (LIB / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found[1] == project()["project"]["version"]


def test_constraints_pin_what_the_project_needs() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "exact versions only, and no local ones"
    pinned = {normal(pin) for pin in pins}
    metadata = project()["project"]
    needed = [*metadata["dependencies"], *metadata["optional-dependencies"]["dev"]]
    assert {normal(requirement) for requirement in needed} <= pinned


def normal(requirement: str) -> str:
    """The name of a package as packages are compared."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>~!; ]", requirement)[0]).lower()


def test_the_project_names_no_package_host() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        hosts = r"index-url|find-links|file://|https?://(?!openreview\.net/)"  # where the paper is
        assert not re.search(hosts, (ROOT / name).read_text(encoding="utf-8")), name
    for path in (*ROOT.glob("*.md"), *(ROOT / "examples").rglob("*")):
        if path.suffix in ("", ".md", ".mk", ".sbatch", ".yaml") and path.is_file():
            assert not re.search(r"index-url|pypi\.org|pytorch\.org|conda\.", path.read_text(encoding="utf-8")), path


# ------------------------------------------------------------------------------------------------ tests mirror


def test_tests_mirror_the_tree() -> None:
    """A test module is named after what it tests: ``tests/lib/test_norms.py``, ``tests/tools/test_dataset.py``."""
    library = {part_of(path) for path in MODULES} | {path.stem for path in MODULES}
    tools = {path.stem.removeprefix("_") for path in COMMANDS}
    wrong = []
    for folder, subjects in (("lib", library), ("tools", tools)):
        for path in (ROOT / "tests" / folder).rglob("test_*.py"):
            stem = path.stem.removeprefix("test_")
            if not any(stem == subject or stem.startswith(f"{subject}_") for subject in subjects):
                wrong.append(name_of(path))
    assert not wrong


def test_the_library_does_not_know_the_command_line() -> None:
    """Its sentences name arguments in backticks; the tools make options of them."""
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        if path != LIB / "__init__.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"(?<![\w-])--[a-z]", node.value) and path.stem != "lineage"
    ]
    assert not wrong


def test_every_part_has_tests() -> None:
    tested = [path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")]
    parts = {part_of(path) for path in MODULES} - {"__init__", "errors", "types"}
    parts |= {path.stem for path in COMMANDS if not path.stem.startswith("_")}
    missing = [part for part in sorted(parts) if not any(t == part or t.startswith(f"{part}_") for t in tested)]
    assert not missing
