"""Networks by name: artifacts, and those that a user's code makes; what is refused, what an identity depends on."""

import sys

import numpy as np
import pytest
import torch
from tests.lib import made
from tests.lib.diffusion.helpers import small
from tests.lib.jobs.evaluated import ARCH, classifier, network
from torch import nn

from datarobust.checkpoints import models
from datarobust.checkpoints.models import (
    assemble_classifier,
    assemble_denoiser,
    load_classifier,
    load_denoiser,
    load_factory,
    load_model,
)
from datarobust.errors import ArtifactError, DataError, UsageError

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


# ---- artifacts


def test_a_classifier_is_written_and_read(tmp_path):
    found, artifact = load_classifier(classifier(tmp_path / "m.safetensors"))
    assert not found.training
    assert found.arch == ARCH == artifact.attributes["arch"]
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(found(x), network()(x))


def test_tensors_and_architecture_of_a_classifier_are_held_against_each_other():
    arrays = {name: tensor.numpy() for name, tensor in network().state_dict().items()}
    first = next(iter(arrays))
    for wrong, words in (
        ({name: array for name, array in arrays.items() if name != first}, "has no tensor .*, which wrn-10-1 for 4"),
        ({**arrays, "more\x1b": np.zeros(1, np.float32)}, r"has a tensor more\\x1b, which wrn-10-1"),
        ({**arrays, first: np.zeros((1, 1), np.float32)}, r"of shape \(1, 1\), where wrn-10-1"),
    ):
        with pytest.raises(ArtifactError, match=words):
            assemble_classifier(ARCH, wrong, "m.safetensors")
    with pytest.raises(ArtifactError, match="cannot be built"):
        assemble_classifier({"name": "other", "arguments": {}}, arrays, "m.safetensors")


def test_a_denoiser_is_written_and_read(tmp_path):
    denoiser = small()
    found, artifact = load_denoiser(made.model(tmp_path / "m.safetensors", denoiser))
    assert found.arch == denoiser.arch == artifact.attributes["arch"]
    x, labels = torch.randn(2, 1, 8, 8), torch.eye(3)[:2]
    with torch.no_grad():
        assert torch.equal(found.eval()(x, torch.ones(()), labels), denoiser(x, torch.ones(()), labels))


def test_tensors_and_architecture_of_a_denoiser_are_held_against_each_other():
    denoiser = small()
    arrays = {name: tensor.numpy() for name, tensor in denoiser.state_dict().items()}
    first = next(iter(arrays))
    for wrong, words in (
        ({name: array for name, array in arrays.items() if name != first}, "has no tensor"),
        ({**arrays, "model.more": np.zeros(1, np.float32)}, "tensor model.more, which its network does not have"),
        ({**arrays, first: np.zeros((1, 1), np.float32)}, r"of shape \(1, 1\)"),
    ):
        with pytest.raises(ArtifactError, match=words):
            assemble_denoiser(denoiser.arch, wrong, "m.safetensors")
    with pytest.raises(ArtifactError, match="cannot be built"):
        assemble_denoiser({"name": "other", "arguments": {}}, arrays, "m.safetensors")


@pytest.mark.parametrize("load", [load_classifier, load_denoiser])
def test_published_files_are_sent_to_model_import(tmp_path, load):
    for name in ("best.pt", "best.pth", "edm.pkl"):
        with pytest.raises(ArtifactError, match="model import"):
            load(tmp_path / name)
    with pytest.raises(ArtifactError, match="does not exist"):
        load(tmp_path / "m.safetensors")


def test_an_architecture_that_no_machine_holds_takes_no_memory():
    """Terabytes, by an artifact of a few bytes: shapes are compared before a network is made."""
    with pytest.raises(ArtifactError, match="has no tensor"):
        assemble_classifier({"name": "wrn-10-9999"}, {}, "m")
    arch = small().arch
    arch["arguments"]["model_channels"] = 1 << 20
    with pytest.raises(ArtifactError, match="has no tensor"):
        assemble_denoiser(arch, {}, "m")


def test_a_classifier_artifact_is_a_model(tmp_path):
    path = classifier(tmp_path / "m.safetensors")
    model = load_model(str(path))
    assert (model.name, model.identity, model.about["arch"]) == (str(path), load_classifier(path)[1].digest, ARCH)
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


# ---------------------------------------------------------------------------------------- a user's own network


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
        model = load_factory(f"{place}:{name}")
        assert model.name == f"{place}:{name}"
        assert model.module(torch.zeros(4, 3)).shape == (4, width)
        assert not any(part.training for part in model.module.modules())
        assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert isinstance(load_factory(f"{place}:net").module, nn.Linear)
    assert load_factory("torch.nn:Identity").module(torch.ones(1)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "hello" in said.err


def test_a_file_in_another_folder_finds_what_is_beside_it(code, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_factory(f"{code}:Zoo.small").module(torch.zeros(1, 3)).shape == (1, 5)
    sys.path[:] = [entry for entry in sys.path if entry != str(code.parent)]
    with pytest.raises(DataError, match="no module mine_1"):
        load_factory("mine_1:Zoo")


@pytest.mark.parametrize("spec", ["mine_1", "mine_1:", ":Zoo", "mine_1:a b", "mine_1:Zoo.", "mine_1.py", ""])
def test_spellings_that_are_none(code, spec):
    with pytest.raises(UsageError, match="names no model: write module:factory"):
        load_factory(spec)


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
        load_factory(spec)
    assert str(raised.value).startswith(f"{spec}")
    assert "\n" not in str(raised.value)


def test_out_of_memory_stays_what_it_is(code):
    code.write_text("def make():\n    raise MemoryError('too much')\n")
    with pytest.raises(MemoryError):
        load_factory("mine_1:make")


def test_the_identity_depends_on_numbers_and_code(code):
    first = load_factory("mine_1.py:weights").identity
    assert load_factory(f"{code}:weights").identity == first
    assert load_factory("mine_1:weights").identity == first
    changed = load_factory("mine_1.py:weights").module
    changed[1].running_mean[1] = 0.5  # a buffer
    assert models._identity(changed, None) != models._identity(load_factory("mine_1.py:weights").module, None)
    code.write_text(CODE + "\n# another line\n")
    assert load_factory("mine_1.py:weights").identity != first
