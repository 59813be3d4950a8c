"""Each store in turn, on a clock that the test moves, and the same one behind a `Stage`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "stores"))  # their helpers

from store_helpers import cookie, login, owners
from view_helpers import LEASE, Stage, StagedFeed

from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store
from asgi_auth.view import View


@pytest.fixture(params=["memory", "sqlite", "redis", "redis-16"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    owners.clear()
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    if request.param == "redis-16":
        return f"{request.getfixturevalue('redis_url')}?partitions=16"
    return f"sqlite:///{tmp_path / 'store.sqlite3'}" if request.param == "sqlite" else "memory://"


@asynccontextmanager
async def opened_store(url: str, clock: Any) -> AsyncIterator[Store]:
    store = open_store(url, timeout=10.0, clock=clock)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def store(store_url: str, clock: Any, anyio_backend: Any) -> AsyncIterator[Store]:
    """What other processes change. Not known to any view."""
    async with opened_store(store_url, clock) as store:
        yield store


@pytest.fixture
def stage(store: Store) -> Stage:
    return Stage(store)


@pytest.fixture
async def redis_store(redis_url: str, clock: Any, anyio_backend: Any) -> AsyncIterator[Any]:
    async with opened_store(redis_url, clock) as store:
        yield store


@pytest.fixture
def redis_stage(redis_store: Any) -> Stage:
    return Stage(redis_store)


@pytest.fixture
def view(redis_stage: Any) -> View:
    """A view over Redis, whose feed the test holds."""
    return View(redis_stage, staleness=LEASE)


@pytest.fixture
def feed(view: View, redis_stage: Stage) -> StagedFeed:
    return redis_stage.own_feed


@pytest.fixture
async def sessions(redis_store: Any) -> None:
    """Three that live: `a`, `b`, `c`."""
    for name in "abc":
        await login(redis_store, cookie(name))
