"""Networks of others: how they are named, what is refused and in which words, what their identity depends on."""

import sys

import pytest
import torch
from torch import nn

from datarobust import external
from datarobust.errors import DataError, UsageError

CODE = """
import torch
from torch import nn
import beside

print("hello")
net = nn.Linear(3, 2)
number = 7

class Zoo(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.linear = nn.Linear(3, width)
        self.dropout = nn.Dropout(0.5)
    @staticmethod
    def small():
        return Zoo(beside.WIDTH)
    def forward(self, x):
        return self.linear(self.dropout(x))

def wants(depth, *rest, width, height=3): ...
def raises():
    raise ValueError("no weights.\\nmore")
def leaves():
    raise SystemExit(3)
def nothing(): ...
def lazy():
    return nn.LazyLinear(3)
def weights():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A file of networks, in the current folder, with another that it imports."""
    (tmp_path / "mine_1.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path / "mine_1.py"
    for name in set(sys.modules) - before:
        if name.startswith(("external_", "beside", "mine_", "folder", "bad")):
            del sys.modules[name]


@pytest.mark.parametrize("where", ["mine_1", "mine_1.py", "./mine_1.py", "absolute"])
def test_ways_to_name_a_network(code, where, capsys):
    place = str(code) if where == "absolute" else where
    for name, width in {"Zoo": 2, "Zoo.small": 5}.items():
        model = external.load(f"{place}:{name}")
        assert model.spec == f"{place}:{name}"
        assert model.module(torch.zeros(4, 3)).shape == (4, width)
        assert not any(part.training for part in model.module.modules())
        assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert isinstance(external.load(f"{place}:net").module, nn.Linear)
    assert external.load("torch.nn:Identity").module(torch.ones(1)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "hello" in said.err


def test_a_file_in_another_folder_finds_what_is_beside_it(code, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert external.load(f"{code}:Zoo.small").module(torch.zeros(1, 3)).shape == (1, 5)
    sys.path[:] = [entry for entry in sys.path if entry != str(code.parent)]
    with pytest.raises(DataError, match="no module mine_1"):
        external.load("mine_1:Zoo")


@pytest.mark.parametrize("spec", ["mine_1", "mine_1:", ":Zoo", "mine_1:a b", "mine_1:Zoo.", "mine_1.py", ""])
def test_spellings_that_are_none(code, spec):
    with pytest.raises(UsageError, match="names no model: write module:factory"):
        external.load(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.py:Zoo", r"there is no file nowhere\.py"),
        ("folder/nowhere:Zoo", "there is no file folder/nowhere"),
        ("./data.txt:Zoo", r"data\.txt is no Python file"),
        ("nowhere:Zoo", "there is no module nowhere among the installed packages or in the current folder"),
        ("mine_1.nowhere:Zoo", r"there is no module mine_1\.nowhere"),
        ("mine_1:nowhere", r"there is no nowhere in .*mine_1\.py"),
        ("mine_1.py:Zoo.nowhere", r"there is no Zoo\.nowhere in .*mine_1\.py"),
        ("mine_1:number", "is a int, not a function that makes a torch.nn.Module"),
        ("mine_1:wants", r"wants arguments \(depth, width\): write a function without any"),
        ("mine_1:raises", r"makes no network: it raises ValueError \(no weights\) in line 23 of .*mine_1\.py\."),
        ("mine_1:leaves", r"raises SystemExit \(3\) in line 25"),
        ("mine_1:nothing", "returns a NoneType, not a torch.nn.Module"),
        ("mine_1:lazy", "parameter weight has no shape yet"),
        (
            "bad_import:x",
            r"cannot be loaded: bad_import raises ModuleNotFoundError \(No module named 'nowhere'\) in line 1",
        ),
        (
            "bad_import.py:x",
            r"cannot be loaded: bad_import\.py raises ModuleNotFoundError .* in line 1 of .*bad_import\.py",
        ),
        ("bad_syntax:x", r"cannot be loaded: bad_syntax raises SyntaxError \(.*\(bad_syntax\.py, line 2\)\)\.$"),
        ("bad_exit.py:x", r"cannot be loaded: bad_exit\.py raises SystemExit in line 1"),
    ],
)
def test_networks_that_are_none(code, spec, words):
    (code.parent / "data.txt").write_text("")
    (code.parent / "bad_import.py").write_text("import nowhere\n")
    (code.parent / "bad_syntax.py").write_text("x = 1\ndef (\n")
    (code.parent / "bad_exit.py").write_text("raise SystemExit\n")
    with pytest.raises(DataError, match=words) as raised:
        external.load(spec)
    assert str(raised.value).startswith(f"{spec}")
    assert "\n" not in str(raised.value)


def test_out_of_memory_stays_what_it_is(code):
    code.write_text("def make():\n    raise MemoryError('too much')\n")
    with pytest.raises(MemoryError):
        external.load("mine_1:make")


def test_the_identity_depends_on_numbers_and_code(code):
    first = external.load("mine_1.py:weights").identity
    assert external.load(f"{code}:weights").identity == first
    assert external.load("mine_1:weights").identity == first
    changed = external.load("mine_1.py:weights").module
    changed[1].running_mean[1] = 0.5  # a buffer
    assert external._identity(changed, None) != external._identity(external.load("mine_1.py:weights").module, None)
    code.write_text(CODE + "\n# another line\n")
    assert external.load("mine_1.py:weights").identity != first


def test_devices():
    assert external.device_of("cpu") == torch.device("cpu")
    there = torch.cuda.is_available()
    assert external.device_of("auto").type == ("cuda" if there else "cpu")
    with pytest.raises(UsageError, match="there is no device cuda:99 here"):
        external.device_of("cuda:99")


class Chance(nn.Module):
    def forward(self, x):
        return x + torch.rand(())


class OfTheBatch(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


def test_classifiers_are_tried():
    batch = torch.rand(8, 3)
    assert external.demand_classes("m", nn.Linear(3, 5), batch) == 5
    assert external.demand_classes("m", nn.Identity(), batch[:1]) == 3
    cases = {
        r"fails on a batch of shape \(8, 3\): it raises RuntimeError \(mat1 and mat2": nn.Linear(4, 2),
        r"gives outputs of shape \(8, 1\) for 8 points: a classifier": nn.Linear(3, 1),
        r"gives outputs of shape \(8, 3, 1\) for 8 points: a classifier": nn.Unflatten(1, (3, 1)),
        r"gives outputs of shape \(24,\) for 8 points": nn.Flatten(0),
        "gives a tuple, not a tensor": nn.LSTM(3, 3),
        "outputs that are not finite": nn.Threshold(2.0, float("nan")),
        "other outputs for the same points in another batch": Chance(),
        "in another batch: leave out dropout": OfTheBatch(),
    }
    for words, module in cases.items():
        with pytest.raises(
            DataError, match=f"m {words}" if not words.startswith(("other", "outputs", "in ")) else words
        ):
            external.demand_classes("m", module, batch)


def test_probabilities_are_no_logits():
    logits = torch.randn(16, 4)
    external.demand_logits("m", logits)
    external.demand_logits("m", logits.log_softmax(dim=1))
    external.demand_logits("m", torch.rand(16, 4))
    with pytest.raises(DataError, match="m gives probabilities, but logits are needed: leave out its softmax"):
        external.demand_logits("m", logits.softmax(dim=1))
