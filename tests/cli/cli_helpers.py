"""What the command line's tests speak of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import anyio

from asgi_auth import Auth, Settings

T = TypeVar("T")

GOOD = "eleven green herons"
OTHER = "twelve quiet otters"


class Done(NamedTuple):
    """What became of a command. At a terminal `out` is all that the screen showed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


def with_auth(store_url: str, work: Callable[[Auth], Awaitable[T]], **settings: Any) -> T:
    """What an application sees of the same store."""

    async def opened() -> T:
        async with Auth(Settings(store=store_url, **settings)) as auth:
            return await work(auth)

    return anyio.run(opened)


async def logs_in(name: str, password: str, auth: Auth) -> bool:
    return await auth.parts.users.authenticate(name, password) is not None


def can_log_in(store_url: str, name: str, password: str) -> bool:
    return with_auth(store_url, partial(logs_in, name, password))
