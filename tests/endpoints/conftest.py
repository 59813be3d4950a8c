"""`house`: the application of `endpoint_house` over the memory store, with a clock that the test moves. `houses` makes
others, by other settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from clocks import Clock
from dpop_device import Device
from endpoint_house import House, build
from local_issuer import LocalIssuer

Houses = Callable[..., Awaitable[House]]
MakeIssuer = Callable[..., LocalIssuer]


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


@pytest.fixture
def issuers(clock: Clock) -> Iterator[MakeIssuer]:
    """Makes issuers whose clock is the application's."""
    made: list[LocalIssuer] = []

    def make(**options: Any) -> LocalIssuer:
        made.append(LocalIssuer(clock=clock, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def idp(issuers: MakeIssuer) -> LocalIssuer:
    return issuers()


@pytest.fixture
def device(house: House) -> Device:
    """A client with a key of its own."""
    return Device(house)
