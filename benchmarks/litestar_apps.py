"""Litestar, alone and with its sessions on Redis. It wants its own handlers, so its bare application is another one."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, get
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.redis import RedisStore
from redis.asyncio import Redis

from benchmarks.bare import DATA, who
from benchmarks.world import World


@get("/", media_type="text/plain")
async def index() -> str:
    """What is measured."""
    return "ok"


@get("/fill")
async def fill(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Put `DATA` into the session."""
    request.set_session(dict(DATA))
    return who(request.scope)


@get("/who")
async def asked(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What the scope says."""
    return who(request.scope)


def litestar_alone(world: World) -> Any:
    """Nothing around the handlers."""
    return Litestar([index, asked], openapi_config=None)


def litestar_with_sessions(world: World) -> Any:
    """Server-side sessions, as its documentation sets them up."""
    middleware = [ServerSideSessionConfig().middleware]
    stores: dict[str, Any] = {"sessions": RedisStore(Redis.from_url(world.redis))}
    return Litestar([index, fill, asked], openapi_config=None, middleware=middleware, stores=stores)
