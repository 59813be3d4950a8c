"""One suite for every store: `store` is each of them in turn, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from store_helpers import owners
from valkey_server import BINARY, redis_binary

from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store


def url_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind in {"redis", "cluster"}:
        return str(request.getfixturevalue(f"{kind}_url"))
    if kind == "redis-16":
        return f"{request.getfixturevalue('redis_url')}?partitions=16"
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    return "memory://"


@pytest.fixture(params=["memory", "sqlite", "redis", "redis-16", "cluster"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The stores that several processes can share."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture
async def store(store_url: str, clock: Callable[[], float], anyio_backend: Any) -> AsyncIterator[Store]:
    store = open_store(store_url, timeout=10.0, clock=clock)
    await store.open()
    owners.clear()
    yield store
    await store.aclose()


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Any:
    """The server of each kind in turn."""
    return BINARY if request.param == "valkey" else redis_binary()
