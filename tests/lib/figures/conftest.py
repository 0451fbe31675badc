"""Fixtures of the tests of figures."""

from __future__ import annotations

import pytest

from datarobust.figures import style


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are put together, but not drawn, where a test is of what stands around them."""
    monkeypatch.setattr(style, "picture", lambda *_: b"<svg/>")
