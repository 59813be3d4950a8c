"""Who takes part: each a request, the application that it goes to, and how it comes by its credential.

Credentials are got by real requests: a login at the real endpoint, a session that the application filled.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.bare import DATA
from benchmarks.driving import Call, Headers
from benchmarks.verifiers import FastAPIUsers
from benchmarks.world import ALGORITHMS, PASSWORD, USER, World

Credential = Callable[[World, Call], Awaitable[Headers]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A row.

    Attributes:
        key: what results and ratios call it.
        title: what people call it.
        app: its name in `apps.APPS`.
        credential: the headers that its requests carry besides a browser's.
        user: whether somebody must be known by them.
        session: whether there must be the session's data.
        baseline: the row of the application without it.
        needs: the package that it needs, if it is not one of ours.
        side: `ours`, `others` or `base`.
    """

    key: str
    title: str
    app: str
    credential: Credential
    user: bool = False
    session: bool = False
    baseline: str = "bare"
    needs: str | None = None
    side: Literal["ours", "others", "base"] = "others"

    @property
    def missing(self) -> str | None:
        """The package that it needs and that is not installed."""
        return None if self.needs is None or importlib.util.find_spec(self.needs) else self.needs

    async def prepare(self, world: World, call: Call) -> Headers:
        """Its request's headers, tried: a contestant that knows nobody would be fast."""
        headers = await self.credential(world, call)
        answer = await call("GET", "/who", headers, b"")
        if answer.status != 200:
            raise RuntimeError(f"{self.title}: {answer}")
        found = json.loads(answer.body)
        if (found["user"] is not None) != self.user or (found["session"] == DATA) != self.session:
            raise RuntimeError(f"{self.title}: it knows {found}")
        return headers


async def none(world: World, call: Call) -> Headers:
    """No credential."""
    return ()


async def filled(world: World, call: Call) -> Headers:
    """The cookie of a session that the application filled."""
    answer = await call("GET", "/fill", (), b"")
    return ((b"cookie", answer.cookie()),)


async def logged_in(world: World, call: Call) -> Headers:
    """The cookie of a login at our endpoint, its session filled."""
    answer = await _log_in(call, "session")
    cookie = ((b"cookie", answer[0]),)
    await call("GET", "/fill", cookie, b"")
    return cookie


async def token(world: World, call: Call) -> Headers:
    """The access token of a login at our endpoint."""
    return _bearer((await _log_in(call, "jwt"))[1])


async def _log_in(call: Call, mode: str) -> tuple[bytes, str]:
    await call("GET", "/user", (), b"")
    body = json.dumps({"username": USER, "password": PASSWORD, "mode": mode}).encode()
    answer = await call("POST", "/auth/login", ((b"content-type", b"application/json"),), body)
    if answer.status != 200:
        raise RuntimeError(f"no login: {answer}")
    if mode == "session":
        return answer.cookie(), ""
    return b"", str(json.loads(answer.body)["access_token"])


def made(algorithm: str) -> Credential:
    """A token of the same form for those who do not issue any."""

    async def credential(world: World, call: Call) -> Headers:
        return _bearer(world.token(algorithm))

    return credential


async def fastapi_users_jwt(world: World, call: Call) -> Headers:
    return _bearer(await FastAPIUsers.token(FastAPIUsers.jwt_strategy(world)))


async def fastapi_users_redis(world: World, call: Call) -> Headers:
    strategy = FastAPIUsers.redis_strategy(world)
    made = await FastAPIUsers.token(strategy)
    await strategy.redis.aclose()
    return _bearer(made)


def _bearer(text: str) -> Headers:
    return ((b"authorization", b"Bearer " + text.encode()),)


def _verifiers(package: str, title: str, needs: str) -> list[Contestant]:
    """One that verifies each time, for each algorithm."""
    return [
        Contestant(f"{package}-{name}", f"{title}, {name}", f"{package}-{name}", made(name), user=True, needs=needs)
        for name in ALGORITHMS
    ]


def _our_token(name: str) -> Contestant:
    app = "ours-redis" if name == "ES256" else f"ours-redis-{name}"
    return Contestant(f"ours-token-{name}", f"asgi-auth, warm token, {name}", app, token, user=True, side="ours")


def _our_session(store: str, title: str) -> Contestant:
    heading = f"asgi-auth, warm session, {title}"
    return Contestant(
        f"ours-session-{store}", heading, f"ours-{store}", logged_in, user=True, session=True, side="ours"
    )


CONTESTANTS = [
    Contestant("bare", "the application alone", "bare", none, side="base"),
    Contestant("empty", "an empty middleware", "empty", none, side="base"),
    Contestant("ours-anonymous", "asgi-auth, anonymous", "ours-redis", none, side="ours"),
    Contestant("authentication", "Starlette AuthenticationMiddleware, anonymous", "starlette-authentication", none),
    Contestant("session-empty", "Starlette SessionMiddleware, anonymous", "starlette-session", none),
    Contestant("both-empty", "Starlette Session + Authentication, anonymous", "starlette-both", none),
    _our_session("memory", "memory"),
    _our_session("sqlite", "SQLite"),
    _our_session("redis", "Redis"),
    Contestant("session", "Starlette SessionMiddleware (signed cookie)", "starlette-session", filled, session=True),
    Contestant(
        "session-renewed",
        "Starlette SessionMiddleware (signed cookie, renewed)",
        "starlette-session-renewed",
        filled,
        session=True,
    ),
    Contestant("both", "Starlette Session + Authentication (signed cookie)", "starlette-both", filled, session=True),
    Contestant("starsessions", "starsessions, Redis", "starsessions", filled, session=True, needs="starsessions"),
    Contestant(
        "litestar-bare",
        "Litestar alone",
        "litestar-bare",
        none,
        baseline="litestar-bare",
        needs="litestar",
        side="base",
    ),
    Contestant(
        "litestar",
        "Litestar's sessions, Redis (beside Litestar alone)",
        "litestar",
        filled,
        session=True,
        baseline="litestar-bare",
        needs="litestar",
    ),
    *(_our_token(name) for name in ALGORITHMS),
    *_verifiers("pyjwt", "PyJWT", "jwt"),
    *_verifiers("joserfc", "joserfc", "joserfc"),
    *_verifiers("authlib", "Authlib", "authlib"),
    Contestant(
        "fastapi-users-jwt",
        "fastapi-users JWTStrategy, HS256",
        "fastapi-users-jwt",
        fastapi_users_jwt,
        user=True,
        needs="fastapi_users",
    ),
    Contestant(
        "fastapi-users-redis",
        "fastapi-users RedisStrategy",
        "fastapi-users-redis",
        fastapi_users_redis,
        user=True,
        needs="fastapi_users",
    ),
]
"""In the order of the tables."""

BY_KEY = {contestant.key: contestant for contestant in CONTESTANTS}


def missing() -> dict[str, list[str]]:
    """Packages that are not installed, each with the titles of the rows that therefore are not there."""
    found: dict[str, list[str]] = {}
    for contestant in CONTESTANTS:
        if contestant.missing is not None:
            found.setdefault(contestant.missing, []).append(contestant.title)
    return found
