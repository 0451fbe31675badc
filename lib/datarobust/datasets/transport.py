"""How files come over the network: https only, one request at a time, nothing followed and nothing guessed.

:class:`Https` is urllib with proxies from the environment and with the system's certificates (``SSL_CERT_FILE``).
It follows no redirects: :mod:`datarobust.datasets.fetching` does, and looks at where they lead.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol, cast

from datarobust import __version__

TIMEOUT = 60.0
"""Seconds without any answer after which a connection is given up."""


class Response(Protocol):
    """The answer to one request."""

    @property
    def status(self) -> int:
        """Its code: 200, 206, 302, 404 ..."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers by their names in lower case."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes more of the body, none at its end. Raises OSError where the connection breaks."""

    def close(self) -> None:
        """Give the connection up."""


class Transport(Protocol):
    """What makes requests."""

    def open(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET ``url``. Every status is an answer; raises OSError where there is none."""


class Https:
    """Requests over https.

    Args:
        context: certificates to trust; those of the system if not given.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._opener = urllib.request.OpenerDirector()  # without the handlers of http, ftp, files and redirects
        self._opener.add_handler(urllib.request.ProxyHandler())
        self._opener.add_handler(urllib.request.HTTPSHandler(context=context or ssl.create_default_context()))
        self._opener.add_handler(urllib.request.UnknownHandler())

    def open(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET ``url``, which begins with ``https:``."""
        if not url.startswith("https://"):
            raise OSError(f"{url} is not https")
        request = urllib.request.Request(url, headers={"User-Agent": f"datarobust/{__version__}", **headers})
        try:
            return _Answer(self._opener.open(request, timeout=TIMEOUT))
        except urllib.error.URLError as error:
            if isinstance(error.reason, OSError):
                raise error.reason from error
            raise OSError(str(error.reason)) from error
        except (http.client.HTTPException, ValueError) as error:  # a broken answer, an address that cannot be asked for
            raise OSError(str(error) or type(error).__name__) from error


class _Answer:
    """An answer of http.client as a Response."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.status: int = answer.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}

    def read(self, size: int) -> bytes:
        """Part of the body. A body that ends early counts as broken."""
        try:
            return cast(bytes, self._answer.read(size))
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()
