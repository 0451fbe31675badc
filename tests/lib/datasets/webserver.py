"""A web server on this machine, over https with certificates of its own, which knows ranges and breaks on demand."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def certificate(folder: Path) -> Path:
    """A certificate for localhost and its key, in one file; the test is skipped where openssl is absent."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not there")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


class Site:
    """What the server has: ``files`` by path, ``moved`` paths with where they lead.

    ``breaks`` are numbers of bytes after which the next answers end, ``requests`` the paths and ranges asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.breaks: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.agents: set[str | None] = set()
        self.address = ""


@contextmanager
def serving(site: Site, certificate: Path) -> Iterator[Site]:
    """Serve ``site`` at ``site.address``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.requests.append((self.path, self.headers["Range"]))
            site.agents.add(self.headers["User-Agent"])
            if self.path in site.moved:
                self.send_response(302)
                self.send_header("Location", site.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = site.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", '"one"')
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            most = site.breaks.pop(0) if site.breaks else len(data)
            self.wfile.write(data[start : start + most])
            if most < len(data) - start:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site.address = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
