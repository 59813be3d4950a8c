"""`house`: the application of `endpoint_house` over the memory store, with a clock that the test moves. `houses` makes
others, by other settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from endpoint_house import House, build

Houses = Callable[..., Awaitable[House]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def houses(clock: Any, anyio_backend: Any) -> AsyncIterator[Houses]:
    made: list[House] = []

    async def make(**options: Any) -> House:
        made.append(await build(clock, **options))
        return made[-1]

    yield make
    for house in made:
        await house.aclose()


@pytest.fixture
async def house(houses: Houses) -> House:
    return await houses()
