"""What every room's tests may use: a clock that they move, and one real server for all of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clocks import Clock
from cluster_set import ClusterSet
from hypothesis import settings
from valkey_server import Valkey, redis_binary

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A valkey-server on a free loopback port, one for the whole run; its URL."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server.url
    server.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Starts servers of the test's own, which it may kill, freeze and fill."""
    started: list[Valkey] = []

    def start(**config: str) -> Valkey:
        started.append(Valkey(tmp_path / f"server{len(started)}", **config))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of a Redis that holds nothing."""
    host, port = redis_server.removeprefix("redis://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"FLUSHALL SYNC\r\n")
        answer = sock.recv(64)
    assert answer == b"+OK\r\n", answer
    return redis_server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSet]:
    """A cluster of three nodes without replicas, one for the whole run."""
    cluster = ClusterSet(tmp_path_factory.mktemp("cluster"), replicas=0)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def cluster_of_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSet]:
    """The same of Redis 7, where the distribution has it."""
    cluster = ClusterSet(tmp_path_factory.mktemp("redis-cluster"), replicas=0, binary=redis_binary())
    yield cluster
    cluster.close()


@pytest.fixture
def cluster_url(cluster: ClusterSet) -> str:
    """The URL of a cluster that holds nothing."""
    cluster.flush()
    return cluster.url


@pytest.fixture(params=["memory", "sqlite", "redis", "redis-16"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each store in turn; the last one has sixteen partitions."""
    if request.param.startswith("redis"):
        url = str(request.getfixturevalue("redis_url"))
        return url if request.param == "redis" else f"{url}?partitions=16"
    return f"sqlite:///{tmp_path / 'any.sqlite3'}" if request.param == "sqlite" else "memory://"
