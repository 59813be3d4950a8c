"""Servers that fail on purpose, each verb of the store as a call, and a client of our own to look and to spoil."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from store_helpers import (
    bearer,
    cookie,
    digest,
    events_since,
    exchange,
    keeping,
    login,
    presented,
    sid,
)

from asgi_auth.model import UserRow
from asgi_auth.stores import Limit
from asgi_auth.stores.redis import RedisStore

TAG = "asgi-auth:{00}:"

LEAST = "+@read +@write +@scripting +@connection +time +publish +info"
"""What a user of the server must be allowed, beside our keys and channels."""


def rights_in_the_docs(command: str) -> list[str]:
    """The words of that `ACL SETUSER` in the docs which allows this command."""
    page = Path(__file__).parents[2] / "docs" / "redis.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER ")]
    (found,) = [line for line in lines if f" +{command}" in line]
    return found.split()


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """A client of our own, for looking and for spoiling."""
    client = redis.Redis.from_url(url, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def speaking(banner: bytes) -> Iterator[str]:
    """Something that is no Redis."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(1000)
                    client.sendall(banner)
                    while banner and client.recv(1000):
                        pass

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@contextmanager
def speaking_tls(directory: Path) -> Iterator[str]:
    """A TLS server whose certificate nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = directory / "self.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), client, context.wrap_socket(client, server_side=True) as secure:
                secure.recv(1000)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"rediss://localhost:{listener.getsockname()[1]}"
    finally:
        listener.close()


class Lossy:
    """Stands before a server. Once told to, it hands one request on, drops the answer and hangs up."""

    def __init__(self, server_url: str) -> None:
        host, port = server_url.removeprefix("redis://").split(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose = False
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if answers and self.lose:
                    self.lose = False
                    break
                target.sendall(chunk)
            for sock in (source, target):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


VERBS: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "once": lambda store: store.once("x", "y"),
    "keys": lambda store: store.keys(),
    "put_keys": lambda store: store.put_keys(None, "ring"),
    "load": lambda store: store.load(sid("a")),
    "supersede": lambda store: store.supersede(sid("a")),
    "create": lambda store: store.create(
        bearer("n", data={"a": "1"}), revision=1, replaces=presented("a"), data_from=presented("v"), limit=1
    ),
    "write_data": lambda store: store.write_data(sid("a"), {"a": "1"}, ["b"], max_size=65536),
    "touch": lambda store: store.touch([sid("a"), sid("b")]),
    "rotate": lambda store: store.rotate(presented("a"), digest("a2"), grace=10),
    "end": lambda store: store.end(sid("a"), "logout"),
    "end_user": lambda store: store.end_user("alice", "password", keep=keeping("a", "a2")),
    "sweep": lambda store: store.sweep(),
    "end_all": lambda store: store.end_all("revoked"),
    "sessions": lambda store: store.sessions("alice"),
    "exchange": lambda store: exchange(store, "b", 1, "b", "b2", revision=1),
    "confirm": lambda store: store.confirm(sid("b"), 1),
    "deny": lambda store: store.deny("1.token", 600.0),
    "denied": lambda store: store.denied("1.token"),
    "seen_before": lambda store: store.seen_before("proof", 60.0),
    "hit": lambda store: store.hit([Limit("a", 1, 1), Limit("b", 1, 1, unless="c", waits=(1, 2))]),
    "unhit": lambda store: store.unhit(["a"], ["b"]),
    "user": lambda store: store.user("alice"),
    "user_by_name": lambda store: store.user_by_name("alice"),
    "save_user": lambda store: store.save_user(
        UserRow("alice", name="al"), name_key="al", expected=1, ends="password", keep=keeping("a", "a2")
    ),
    "delete_user": lambda store: store.delete_user("alice"),
    "users": lambda store: store.users(),
    "events": lambda store: store.events(),
    "revocations": lambda store: store.revocations(),
}


async def furnish(store: RedisStore) -> None:
    await store.save_user(UserRow("alice", name="Alice"), name_key="alice", expected=None)
    await login(store, cookie("a"))
    await login(store, bearer("b"))
    await login(store, cookie("v", None))


async def ends(store: RedisStore) -> list[Any]:
    return [event for event in await events_since(store, ()) if event.kind == "ended"]


async def tour(store: RedisStore) -> None:
    """Leaves every kind of key behind."""
    await store.once("ring", "r")
    await store.put_keys(None, "ring")
    await store.save_user(UserRow("alice", name="Alice"), name_key="alice", expected=None)
    await login(store, cookie("a", data={"k": "1"}))
    await login(store, bearer("b"))
    await login(store, bearer("gone"))
    await login(store, cookie("v", None))
    await store.end(sid("gone"), "logout")
    await store.hit([Limit("k", 5, 60)])
    await store.deny("1.token", 600.0)
    await store.seen_before("proof", 60.0)
    await store.end_all("revoked")
    await login(store, cookie("later"))
