"""Published networks: what is known of them, and from a server to an artifact with a small one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.lib.datasets.webserver import Site

from datarobust import artifacts
from datarobust.checkpoints import published
from datarobust.checkpoints.published import NETWORKS, Network, fetch_network, find_network
from datarobust.datasets.fetch import Remote, https
from datarobust.errors import FetchError, UsageError
from datarobust.networks import build
from datarobust.tools import model


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """A checkpoint of a small network."""
    torch.save(build({"name": "wrn-10-1"}).state_dict(), tmp_path / "w.pt")
    return (tmp_path / "w.pt").read_bytes()


@pytest.fixture
def network(site: Site, trusted: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Network:
    """The same on a server, without a published sha256."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    site.files["/w.pt"] = data
    toy = Network("toy", "a small network", "CC0", Remote("w.pt", (f"{site.address}/w.pt",)))
    monkeypatch.setattr(published, "NETWORKS", {"toy": toy})
    return toy


def test_every_network_is_described() -> None:
    assert {"inception", "edm-cifar10-32x32-cond-vp", "wang2023-cifar10-linf-wrn28-10"} <= set(NETWORKS)
    for name, network in NETWORKS.items():
        assert network.name == name == name.lower()
        assert "\t" not in network.title + network.licence
        assert all(re.fullmatch(r"https://[\w./~-]+", url) for url in network.remote.urls)
        assert network.remote.sha256 == "" or len(network.remote.sha256) == 64
    assert len({network.remote.name for network in NETWORKS.values()}) == len(NETWORKS), "one place in the cache each"
    assert all("BY-NC-SA" in network.licence for name, network in NETWORKS.items() if name.startswith("edm-"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Wang2023Better_WRN-28-10", "wang2023-cifar10-linf-wrn28-10"),
        ("incepton", "inception"),
        ("edm-cifar100", "edm-cifar100-32x32-cond-vp"),
    ],
)
def test_names_like_it(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        find_network(name)


def test_a_file_without_a_published_sha256_needs_a_word(network: Network, tmp_path: Path) -> None:
    cache, known = tmp_path / "c", NETWORKS["inception"]
    with pytest.raises(UsageError, match=r"no sha256 of w\.pt is published: .*`sha256`.*`unverified`"):
        fetch_network(network, cache, https(), None, False)
    with pytest.raises(UsageError, match="is known: leave out `unverified`"):
        fetch_network(known, cache, https(), None, True)
    with pytest.raises(UsageError, match="the published sha256 of inception is 6726825d"):
        fetch_network(known, cache, https(), "0" * 64, False)
    assert not cache.exists()


def test_with_a_sha256_it_resumes(site: Site, network: Network, data: bytes, tmp_path: Path) -> None:
    site.breaks = [len(data), 1000]  # of the question for the size, and of the first answer
    path = fetch_network(network, tmp_path / "c", https(), hashlib.sha256(data).hexdigest(), False)
    assert path.read_bytes() == data
    assert site.requests == [("/w.pt", None), ("/w.pt", None), ("/w.pt", "bytes=1000-")]
    with pytest.raises(FetchError, match="is not the published file, which has the sha256 0000"):
        fetch_network(network, tmp_path / "c", https(), "0" * 64, False)
    with pytest.raises(FetchError, match=f"sha256 {hashlib.sha256(data).hexdigest()}, not 0000"):
        fetch_network(network, tmp_path / "d", https(), "0" * 64, False)
    assert [path.name for path in (tmp_path / "d" / "models").iterdir()] == []


def test_without_one_it_starts_again(site: Site, network: Network, data: bytes, tmp_path: Path) -> None:
    site.breaks = [len(data), 1000]
    assert fetch_network(network, tmp_path / "c", https(), None, True).read_bytes() == data
    assert site.requests == [("/w.pt", None)] * 3


def test_the_command(
    network: Network, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, cache = tmp_path / "m.safetensors", tmp_path / "c"
    model.fetch("toy", output=output, cache=cache, unverified=True)
    out, said = capsys.readouterr()
    assert out == f"{output}\n"
    assert "licence CC0" in said
    assert f"sha256 {hashlib.sha256(data).hexdigest()}, which was not compared" in said
    assert artifacts.peek(output).attributes["source"] == hashlib.sha256(data).hexdigest()
    model.fetch("toy", output=output, cache=cache, sha256=hashlib.sha256(data).hexdigest().upper())  # nothing to do
    refused: list[Callable[[], None]] = [
        lambda: model.fetch("toy"),
        lambda: model.fetch("toy", output=output, sha256="abc"),
        lambda: model.fetch("toy", output=output, as_json=True),
        lambda: model.fetch("toy", output=output, listing=True),
    ]
    for call in refused:
        with pytest.raises(UsageError):
            call()


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    model.fetch(listing=True)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == list(NETWORKS)
    assert all(len(row) == 3 for row in rows)
    model.fetch(listing=True, as_json=True)
    assert '"sha256": null' in capsys.readouterr().out
