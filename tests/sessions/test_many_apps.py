"""Several applications in one browser, several processes of one, a proxy before it: whose cookie is whose."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from seats import ALICE, add_users, call, handled, http_scope, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware

SHOP, WIKI = "https://shop.example.com", "https://wiki.example.com"


def site(auth: Auth) -> AuthMiddleware:
    async def page(request: Request) -> Response:
        verb = request.url.path.rpartition("/")[2]
        if verb == "login":
            await auth.login(request, ALICE)
        elif verb == "logout":
            await auth.logout(request)
        elif verb == "write":
            request.session["a"] = 1
        return JSONResponse({"user": request.user.identity, "data": dict(request.session)})

    return AuthMiddleware(handled(page), auth)


@asynccontextmanager
async def browser_of(**apps: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """One browser, with an application at each address `https://<name>.example.com`."""
    mounts = {f"https://{name}.example.com": httpx2.ASGITransport(app=app) for name, app in apps.items()}
    async with httpx2.AsyncClient(mounts=mounts) as client:
        yield client


async def user_at(client: httpx2.AsyncClient, url: str) -> str:
    answer = await client.get(f"{url}/")
    assert set_cookies(answer) == []  # nobody clears what is another's
    return str(answer.json()["user"])


# ---------------------------------------------------------------------- applications


async def test_applications_of_one_domain_with_names_of_their_own_do_not_meet() -> None:
    shop, wiki = (
        site(new_auth(session_domain="example.com", session_cookie=f"__Secure-{name}", secret=name * 8))
        for name in ("shop", "wiki")
    )
    async with browser_of(shop=shop, wiki=wiki) as client:
        await client.get(f"{SHOP}/login")
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["alice", ""]
        await client.get(f"{WIKI}/login")
        assert len(client.cookies) == 2
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["alice", "alice"]
        await client.get(f"{SHOP}/logout")
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["", "alice"]


async def test_applications_of_one_domain_under_one_name_take_turns_and_clear_nothing_of_one_another() -> None:
    shop, wiki = (site(new_auth(session_domain="example.com", secret=letter * 32)) for letter in "sw")
    async with browser_of(shop=shop, wiki=wiki) as client:
        await client.get(f"{SHOP}/login")
        assert [await user_at(client, url) for url in (WIKI, SHOP)] == ["", "alice"]
        assert set_cookies(await client.get(f"{WIKI}/logout")) == []
        await client.get(f"{WIKI}/login")
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["", "alice"]


async def test_applications_of_one_domain_with_one_store_are_one_login(any_store: str) -> None:
    """Single sign-on, and single logout: the session is the same."""
    auth = [new_auth(any_store, session_domain="example.com", secret="s" * 32) for _ in range(2)]
    if any_store.startswith("memory:"):
        auth[1] = auth[0]
    async with auth[0], auth[1], browser_of(shop=site(auth[0]), wiki=site(auth[1])) as client:
        await client.get(f"{SHOP}/login")
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["alice", "alice"]
        (cookie,) = set_cookies(await client.get(f"{WIKI}/logout"))
        assert "Domain=example.com" in cookie
        assert len(client.cookies) == 0
        assert [await user_at(client, url) for url in (SHOP, WIKI)] == ["", ""]


async def test_applications_under_paths_of_one_host_keep_their_logins() -> None:
    apps = {path: site(new_auth(session_path=path, secret=path[1] * 32)) for path in ("/shop", "/wiki")}

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await apps[scope["path"][:5]](scope, receive, send)

    async with browser_of(all=host) as client:
        for path in apps:
            (cookie,) = set_cookies(await client.get(f"https://all.example.com{path}/login"))
            assert cookie.startswith("__Secure-session=")
            assert f"; Path={path};" in cookie
        for path in apps:
            assert await user_at(client, f"https://all.example.com{path}") == "alice"
        await client.get("https://all.example.com/wiki/logout")
        assert [await user_at(client, f"https://all.example.com{path}") for path in apps] == ["alice", ""]


# ---------------------------------------------------------------------- a new signing secret

OLD, NEW = "o" * 32, "n" * 32
STAGES = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]


@pytest.mark.parametrize("step", range(3), ids=["append", "move to the front", "drop the old one"])
async def test_a_new_secret_is_brought_in_without_a_logout(step: int, tmp_path: Path) -> None:
    """While one step is deployed, processes of before and after serve the same browsers: each takes what the other has
    signed, for a session, a visitor's data and a refresh token."""
    store = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    before, after = (new_auth(store, secret=stage) for stage in STAGES[step : step + 2])
    async with before, after:
        for one, other in ((before, after), (after, before)):
            async with browser_of(shop=site(one)) as client:
                await client.get(f"{SHOP}/write")
                visitor = dict(client.cookies)
                await client.get(f"{SHOP}/login")
                session = dict(client.cookies)
            pair = await one.issue(ALICE)
            async with browser_of(shop=site(other)) as client:
                answer = await client.get(f"{SHOP}/", headers=_cookies(visitor))
                assert answer.json() == {"user": "", "data": {}}  # the login has taken it over
                answer = await client.get(f"{SHOP}/", headers=_cookies(session))
                assert answer.json() == {"user": "alice", "data": {"a": 1}}
                assert set_cookies(answer) == []
                bearer = {"authorization": f"Bearer {pair.access_token}"}
                assert (await client.get(f"{SHOP}/", headers=bearer)).json()["user"] == "alice"
            assert (await other.refresh(pair.refresh_token)).session.user_id == "alice"


async def test_what_a_dropped_secret_signed_is_over(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    before, after = new_auth(store, secret=OLD, backends="session"), new_auth(store, secret=NEW, backends="session")
    async with before, after:
        async with browser_of(shop=site(before)) as client:
            await client.get(f"{SHOP}/login")
            cookies = _cookies(dict(client.cookies))
        async with browser_of(shop=site(after)) as client:
            answer = await client.get(f"{SHOP}/", headers=cookies)
            assert answer.json()["user"] == ""
            assert "Max-Age=0" in set_cookies(answer)[0]


def _cookies(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


# ---------------------------------------------------------------------- behind a proxy


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "kept"),
    [
        ({"trusted_proxies": "10.0.0.0/8"}, "10.1.2.3", {"x-forwarded-proto": "https"}, True),
        ({"trusted_proxies": "10.0.0.0/8"}, "10.1.2.3", {"forwarded": "proto=https;host=app.example.com"}, True),
        ({"trusted_proxies": "10.0.0.0/8"}, "192.0.2.1", {"x-forwarded-proto": "https"}, False),
        ({"trusted_proxies": "10.0.0.0/8"}, "10.1.2.3", {"x-forwarded-proto": "http"}, False),
        ({"trusted_proxies": "10.0.0.0/8"}, "10.1.2.3", {}, False),
        ({"trusted_proxies": "unix"}, None, {"x-forwarded-proto": "https"}, True),
        ({}, "10.1.2.3", {"x-forwarded-proto": "https"}, False),
        ({"url": "https://app.example.com"}, "10.1.2.3", {}, True),
        ({"url": "https://app.example.com"}, "10.1.2.3", {"x-forwarded-proto": "http"}, True),
    ],
)
async def test_a_login_behind_a_proxy_that_ends_tls(
    settings: dict[str, Any], peer: str | None, headers: dict[str, str], kept: bool
) -> None:
    """Either the proxy is trusted, or the public address is set: then the cookie is the one of https. Else the login
    says what is missing, since the browser would drop the cookie."""
    auth = new_auth(**settings)
    await add_users(auth)
    client = None if peer is None else (peer, 4321)
    scope = http_scope("/login", headers=headers.items(), client=client)
    scope["headers"][0] = (b"host", b"app.example.com")
    reply = await call(site(auth), scope)
    assert reply.status == (200 if kept else 400)
    if kept:
        (cookie,) = reply.all("set-cookie")
        assert cookie.startswith("__Host-session=")
        assert cookie.endswith("; Secure")
    else:
        assert reply.json()["error"] == "cookie_not_kept"
        assert "ASGI_AUTH_TRUSTED_PROXIES" in reply.json()["error_description"]
        assert reply.all("set-cookie") == []


@pytest.mark.parametrize(
    ("keep", "hops", "kept"),
    [
        ("prefix", "203.0.113.77, 198.51.100.4, 10.0.0.9", "198.51.100.0/24"),
        ("prefix", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("prefix", "127.0.0.1", "127.0.0.1"),
        ("full", "203.0.113.77, 198.51.100.4, 10.0.0.9", "198.51.100.4"),
        ("full", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        ("off", "198.51.100.4", ""),
    ],
)
async def test_what_is_kept_of_the_address_that_a_trusted_proxy_names(
    keep: str, hops: str, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = new_auth(trusted_proxies="10.0.0.0/8", url="https://app.example.com", client_address=keep)
    caplog.set_level("INFO", logger="asgi_auth")
    headers = [("x-forwarded-for", hops), ("user-agent", "curl/8.5.0")]
    await call(site(auth), http_scope("/login", headers=headers, client=("10.1.2.3", 1)))
    (session,) = await auth.sessions("alice")
    assert session.client == (kept, "curl/8.5.0")
    assert session.client.device == "curl"
    written = "".join(one.getMessage() for one in caplog.records)
    if keep != "full":
        assert not [hop for hop in hops.split(", ") if hop in written and hop != kept]
    garbage = [("cookie", "__Host-session=x"), headers[0]]
    await call(site(auth), http_scope("/", headers=garbage, client=("10.1.2.3", 1)))
    event = json.loads(caplog.records[-1].getMessage())
    assert event["source_ip"] == (kept or None)
    assert event["event"] == f"input_validation_fail:cookie,{kept or 'unknown'}"
