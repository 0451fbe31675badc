"""The web server of the tests of downloads."""

from tests.lib.datasets.conftest import site, trusted

__all__ = ["site", "trusted"]
