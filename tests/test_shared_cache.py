"""Behind a cache that everybody shares (RFC 9111): what is somebody's is served to nobody else (ASVS 5.0, 14.2.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from seats import ALICE, BOB, PASSWORD, add_users, browser, handled, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, require

HEURISTICALLY = frozenset((200, 203, 204, 300, 301, 404, 405, 410, 414, 501))
"""Statuses that may be kept without a word on it (RFC 9110 §15.1)."""


@dataclass
class Stored:
    """An answer, and the request headers that it depends on."""

    vary: Mapping[bytes, list[bytes]]
    messages: list[Any]


@dataclass
class SharedCache:
    """A caching proxy before an application. It keeps whatever RFC 9111 lets a shared cache keep, for ever, without a
    question: no cache that follows it is greedier."""

    app: Any
    hits: int = 0
    stored: dict[str, list[Stored]] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        target = scope["method"] + scope["path"] + scope["query_string"].decode()
        for stored in self.stored.get(target, []):
            if all(_values(scope["headers"], name) == value for name, value in stored.vary.items()):
                self.hits += 1
                for message in stored.messages:
                    await send(message)
                return
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)
            await send(message)

        await self.app(scope, receive, keep)
        if _may_be_kept(scope, messages[0]):
            varies = _directives(messages[0]["headers"], b"vary")
            vary = {name.encode(): _values(scope["headers"], name.encode()) for name in varies}
            self.stored.setdefault(target, []).append(Stored(vary, _without_what_must_be_asked(messages)))


def _may_be_kept(scope: Any, start: Any) -> bool:
    """RFC 9111 §3, for a shared cache; a freshness of its own invention wherever §4.2.2 allows it."""
    said = _directives(start["headers"], b"cache-control")
    if "no-store" in said or said.get("private", "x") is None or ("no-cache" in said and said["no-cache"] is None):
        return False
    if "*" in _directives(start["headers"], b"vary"):
        return False
    explicit = {"public", "s-maxage", "must-revalidate"} & said.keys()
    if _values(scope["headers"], b"authorization") and not explicit:  # §3.5
        return False
    return start["status"] in HEURISTICALLY or bool({"public", "s-maxage", "max-age"} & said.keys())


def _without_what_must_be_asked(messages: list[Any]) -> list[Any]:
    """`no-cache="Set-Cookie"` keeps that field out of what is served again (§5.2.2.4)."""
    said = _directives(messages[0]["headers"], b"cache-control")
    named = (said.get("no-cache") or "").lower().encode().split(b",")
    headers = [entry for entry in messages[0]["headers"] if bytes(entry[0]).lower() not in [n.strip() for n in named]]
    return [{**messages[0], "headers": headers}, *messages[1:]]


def _values(headers: Any, name: bytes) -> list[bytes]:
    return [bytes(value) for key, value in headers if bytes(key).lower() == name]


def _directives(headers: Any, name: bytes) -> dict[str, str | None]:
    text = ",".join(value.decode("latin-1") for value in _values(headers, name)).lower()
    found = re.findall(r'([^\s,=]+)(?:=(?:"([^"]*)"|([^\s,]*)))?', text)
    return {key: quoted or plain or None for key, quoted, plain in found}


def site(auth: Auth) -> Any:
    """Pages of every kind, each of which shows whose it is."""

    @require()
    async def guarded(request: Request) -> Response:
        return JSONResponse({"user": request.user.identity})

    async def page(request: Request) -> Response:
        path = request.url.path
        if path == "/login":
            name = request.query_params["as"]
            await auth.login(request, {"alice": ALICE, "bob": BOB}[name])
            return JSONResponse({"user": name})
        if path == "/visit":
            request.session["seen"] = True
            return JSONResponse({"user": request.user.identity})
        if path == "/cart":
            return JSONResponse({"user": request.user.identity, "cart": request.session.get("cart")})
        if path == "/guarded":
            return await guarded(request)  # type: ignore[no-any-return]
        if path == "/logo":
            return Response(b"logo", headers={"cache-control": "public, max-age=60"})
        headers = {"cache-control": "public, max-age=60"} if path == "/public" else {}
        return JSONResponse({"user": request.user.identity}, headers=headers)

    return AuthMiddleware(handled(page), auth)


PRIVATE = ["/guarded", "/cart", "/protected", "/auth/me", "/auth/sessions", "/visit"]


@pytest.mark.parametrize("path", PRIVATE)
async def test_a_shared_cache_never_serves_alice_to_bob(path: str) -> None:
    auth = new_auth(protect="/protected")
    await add_users(auth)
    cache = SharedCache(site(auth))
    async with browser(cache) as alice, browser(cache) as bob, browser(cache) as nobody:
        for client, name in ((alice, "alice"), (bob, "bob")):
            answer = await client.get(f"/login?as={name}")
            assert answer.json() == {"user": name}
            assert set_cookies(answer)
        for _ in range(2):
            told = {name: (await client.get(path)).text for client, name in ((alice, "alice"), (bob, "bob"))}
            told["nobody"] = (await nobody.get(path)).text
            if path != "/auth/sessions":
                assert "alice" in told["alice"]
                assert "bob" in told["bob"]
            assert len(set(told.values())) == 3
            assert "alice" not in told["bob"] + told["nobody"]
            assert "bob" not in told["alice"] + told["nobody"]


async def test_nobody_is_given_another_ones_cookie_by_a_shared_cache() -> None:
    """A login by a link, twice the same: whoever came second would be whoever came first."""
    auth = new_auth()
    cache = SharedCache(site(auth))
    async with browser(cache) as first, browser(cache) as second:
        for path in ("/login?as=alice", "/visit"):
            cookies = [set_cookies(await client.get(path)) for client in (first, second)]
            assert cookies[0] != cookies[1], path
        async with browser(cache) as third:
            for path in ("/login?as=alice", "/visit"):
                assert len(set_cookies(await third.get(path))) > 0


async def test_a_refusal_is_not_served_to_whoever_may_enter() -> None:
    auth = new_auth(protect="/protected")
    await add_users(auth)
    cache = SharedCache(site(auth))
    async with browser(cache) as client:
        for path in ("/guarded", "/protected", "/auth/me"):
            assert (await client.get(path)).status_code == 401
        await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        for path in ("/guarded", "/protected", "/auth/me"):
            assert (await client.get(path)).status_code == 200


async def test_a_token_is_as_private_as_a_cookie() -> None:
    auth = new_auth(protect="/protected")
    cache = SharedCache(site(auth))
    tokens = {user.id: (await auth.issue(user)).access_token for user in (ALICE, BOB)}
    async with browser(cache) as client:
        for path in ("/guarded", "/protected", "/auth/me"):
            for name, token in tokens.items():
                answer = await client.get(path, headers={"authorization": f"Bearer {token}"})
                assert answer.status_code == 200
                assert name in answer.text


async def test_the_cache_of_these_tests_is_one() -> None:
    """It serves again what it may; a page without a guard that shows whose it is, and does not say so, is everybody's:
    that is the application's duty."""
    auth = new_auth()
    cache = SharedCache(site(auth))
    async with browser(cache) as alice, browser(cache) as bob:
        await alice.get("/login?as=alice")
        await bob.get("/login?as=bob")
        for number, path in enumerate(("/logo", "/public", "/careless"), 1):
            assert (await alice.get(path)).status_code == 200
            assert (await bob.get(path)).content == (await alice.get(path)).content
            assert cache.hits == 2 * number
