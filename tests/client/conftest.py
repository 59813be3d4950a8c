"""`server`: a server of the client half's tests. `blocking`: a client that blocks, of each library in turn; `client`:
an async one; both with the `auth` that the test gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from client_server import Served, serving
from clocks import Clock


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(clock: Clock) -> Iterator[Served]:
    with serving(clock) as served:
        yield served


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def blocking(library: Any, server: Served) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(auth: Any, **options: Any) -> Any:
        made.append(library.Client(**{"auth": auth, "base_url": server.origin, "timeout": 30, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
async def client(library: Any, server: Served, anyio_backend: str) -> AsyncIterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(auth: Any, **options: Any) -> Any:
        made.append(library.AsyncClient(**{"auth": auth, "base_url": server.origin, "timeout": 30, **options}))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()
