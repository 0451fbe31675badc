"""Networks by name: artifacts, and those that a user's code makes; what is refused, what an identity depends on."""

import sys
from copy import deepcopy
from types import SimpleNamespace

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
    normalisation_of,
)
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.training.images import PUBLISHED

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
def other_keys():
    nn.Linear(3, 2).load_state_dict({"state_dict": {}})
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


def test_a_file_alone_lists_what_it_makes(code, tmp_path):
    with pytest.raises(
        UsageError, match=r"mine_1\.py is Python code: name what .* mine_1\.py:Zoo or mine_1\.py:raises"
    ):
        load_model("mine_1.py")
    (tmp_path / "bad.py").write_text("def (")
    with pytest.raises(UsageError, match=r"as .*bad\.py:FUNCTION"):
        load_model(str(tmp_path / "bad.py"))
    assert "mine_1" not in sys.modules, "nothing was run"


@pytest.mark.parametrize("name", ["Object", "Dict", "Plain"])
def test_logits_are_found_in_what_a_network_returns(code, name):
    code.write_text(RETURNS)
    model, images = load_factory(f"mine_1:{name}").module, torch.rand(2, 3, 4, 4)
    assert torch.equal(model(images), model.linear(images.flatten(1)))
    assert [name for name, _ in model.named_modules()] == ["", "linear"]


RETURNS = """
import types
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(48, 2)
    def forward(self, x):
        return self.linear(x.flatten(1))
class Object(Plain):
    def forward(self, x):
        return types.SimpleNamespace(logits=super().forward(x), loss=None)
class Dict(Plain):
    def forward(self, x):
        return {"logits": super().forward(x), "loss": None}
one = Plain()
"""


def test_normalisation_is_done_once(code):
    code.write_text(RETURNS)
    plain, images = load_factory("mine_1:one"), torch.rand(2, 3, 4, 4)
    expected = plain.module((images - 0.5) / 0.25)
    for _ in range(2):  # it is one and the same module each time
        model = load_factory("mine_1:one", "0.5:0.25")
        assert torch.allclose(model.module(images), expected)
        assert model.identity != plain.identity
    assert model.module is plain.module
    cifar = load_model("mine_1:one", "cifar10").module(images)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in PUBLISHED[0])
    assert torch.allclose(cifar, load_factory("mine_1:one").module((images - mean) / std))
    copy = deepcopy(load_factory("mine_1:one", "0.5,0.4,0.3:0.25,0.2,0.3").module)
    assert not torch.allclose(copy(images), expected), "a copy normalises, too"
    with pytest.raises(DataError, match="images with 3 channels, but gets points of shape"):
        copy(torch.rand(2, 1, 4, 4))


@pytest.mark.parametrize(
    "text", ["", "cifar", "0.5", "0.5:0", "0.5:0.1,0.2", "nan:1", "0:nan", "0:inf", "a:b", "0.5:0.25:1"]
)
def test_normalisations_that_are_none(text):
    with pytest.raises(UsageError, match=r"choose cifar10, cifar100, imagenet, none, or MEAN:STD"):
        normalisation_of(text)


def test_an_artifact_normalises_itself(tmp_path):
    with pytest.raises(UsageError, match="normalises images itself"):
        load_model(str(classifier(tmp_path / "m.safetensors")), "cifar10")


def test_networks_of_libraries(tmp_path, monkeypatch):
    """With stand-ins for timm and transformers, which are not installed here."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    made.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    timm = SimpleNamespace(create_model=lambda name, pretrained: {"net": made}[name])
    monkeypatch.setitem(sys.modules, "timm", timm)
    images = torch.rand(2, 3, 4, 4)
    bare = made((images - 0.5) / 0.25)
    assert torch.allclose(load_model("timm:net").module(images), bare)
    assert torch.allclose(load_model("timm:net", "0:1").module(images), made[1](images.flatten(1)))
    with pytest.raises(DataError, match=r"timm:other cannot be made: timm\.create_model raises KeyError"):
        load_model("timm:other")
    loaded = SimpleNamespace(from_pretrained=lambda path, local_files_only: made)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoModelForImageClassification=loaded))
    (tmp_path / "net").mkdir()
    with pytest.raises(DataError, match=r"not a folder with a config\.json"):
        load_model(f"hf:{tmp_path}/net")
    (tmp_path / "net" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has no preprocessor_config.json, so .*: give `normalise`"):
        load_model(f"hf:{tmp_path}/net")
    assert torch.allclose(load_model(f"hf:{tmp_path}/net", "none").module(images), made[1](images.flatten(1)))
    (tmp_path / "net" / "preprocessor_config.json").write_text("[]")
    with pytest.raises(DataError, match="cannot be loaded: transformers raises AttributeError"):
        load_model(f"hf:{tmp_path}/net")
    config = '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    (tmp_path / "net" / "preprocessor_config.json").write_text(config)
    assert torch.allclose(load_model(f"hf:{tmp_path}/net").module(images), bare)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DataError, match=r"timm:net needs the package timm.*pip install 'datarobust\[models\]'"):
        load_model("timm:net")


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
        ("./data.txt:Zoo", r"data\.txt is not a Python file"),
        ("nowhere:Zoo", "there is no module nowhere among the installed packages or in the current folder"),
        ("mine_1.nowhere:Zoo", r"there is no module mine_1\.nowhere"),
        ("mine_1:nowhere", r"there is no nowhere in .*mine_1\.py"),
        ("mine_1.py:Zoo.nowhere", r"there is no Zoo\.nowhere in .*mine_1\.py"),
        ("mine_1:number", "is a int, not a function that makes a torch.nn.Module"),
        ("mine_1:wants", r"wants arguments \(depth, width\): write a function without any"),
        ("mine_1:raises", r"makes no network: it raises ValueError \(no weights\) in line 23 of .*mine_1\.py\."),
        (
            "mine_1:other_keys",
            r'raises RuntimeError \(Error\(s\) in loading state_dict for Linear: Missing key\(s\).*"weight", "bias"\. '
            r'Unexpected key\(s\) in state_dict: "state_dict"\) in line 25',
        ),
        ("mine_1:leaves", r"raises SystemExit \(3\) in line 27"),
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
