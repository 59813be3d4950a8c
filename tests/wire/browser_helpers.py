"""What a real browser is put before: a server in a thread, its certificate, a network that keeps an answer back; and
what it is asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.sync_api import BrowserContext, Page


@contextmanager
def serving(app: Any, *, certificate: Path | None = None) -> Iterator[str]:
    """Serve an application under `localhost`, with TLS if there is a certificate; its address.

    Whoever came in is gone before this ends: the server waits for open connections.
    """
    config = uvicorn.Config(app, log_config=None, ssl_certfile=certificate, loop="asyncio", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < until
                time.sleep(0.01)
            yield f"{'https' if certificate else 'http'}://localhost:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def make_certificate(directory: Path) -> Path:
    """A self-signed certificate for `localhost` and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    file = directory / "localhost.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def cookie_names(context: BrowserContext) -> list[str]:
    return sorted(cookie["name"] for cookie in context.cookies())


def fetch(page: Page, method: str, path: str, body: object = None) -> int:
    """Let the page send a request; the status of the answer."""
    script = """async ([method, path, body]) => (await fetch(path, {
        method, body: body === null ? undefined : JSON.stringify(body), headers: {"Content-Type": "application/json"},
    })).status"""
    return int(page.evaluate(script, [method, path, body]))


class SlowNetwork:
    """Stands before a server and passes everything on, but keeps back the answer to a request that holds `marker`.

    Attributes:
        url: where to come in.
        answered: the server's answer is here, and not yet at the browser.
        release: let it go on.
    """

    def __init__(self, port: int, marker: bytes) -> None:
        self._port = port
        self._marker = marker
        self.answered = threading.Event()
        self.release = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"

    def __enter__(self) -> SlowNetwork:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [browser, server]
                kept = threading.Event()
                self._start(self._pass_requests, browser, server, kept)
                self._start(self._pass_answers, server, browser, kept)

    def _pass_requests(self, browser: socket.socket, server: socket.socket, kept: threading.Event) -> None:
        with suppress(OSError):
            while data := browser.recv(65536):
                if self._marker in data:
                    kept.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, browser: socket.socket, kept: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if kept.is_set():
                    self.answered.set()
                    self.release.wait(20)
                    kept.clear()
                browser.sendall(data)
            browser.shutdown(socket.SHUT_WR)
