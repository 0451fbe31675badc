"""A web server for tests of downloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .webserver import Site, certificate, serving


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine."""
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def site(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site, reached without a proxy."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Site(), trusted) as site:
        yield site
