"""The page of docs/refresh.md in Chromium: a refresh token that no script reads, and tabs that refresh at once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import argon2.profiles
import pytest
from browser_helpers import SlowNetwork, cookie_names, make_certificate, serving
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from asgi_auth import Auth, AuthMiddleware, Settings, require
from asgi_auth.directory import StoreDirectory
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores.opening import open_store

pytestmark = pytest.mark.browser

PASSWORD = "a hole under the hedge"
DOCS = Path(__file__).parents[2] / "docs" / "refresh.md"
[SCRIPT] = re.findall(r"```js\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)

LOGIN = """async (password) => {
    const body = JSON.stringify({username: "alice", password, mode: "jwt"});
    const answer = await fetch("/auth/login", {method: "POST", body, headers: {"Content-Type": "application/json"}});
    const said = await answer.json();
    token = said.access_token;
    return [answer.status, Object.keys(said).sort()];
}"""
CALL = "async () => { const answer = await call('/who'); return [answer.status, await answer.text()] }"


def application(auth: Auth) -> Starlette:
    async def page(request: Request) -> Response:
        return HTMLResponse(f"<!doctype html><title>page</title><script>{SCRIPT}</script>")

    @require()
    async def who(request: Request) -> Response:
        return JSONResponse(request.user.id)

    @asynccontextmanager
    async def with_alice(app: Starlette) -> AsyncIterator[None]:
        await auth.create_user("alice", PASSWORD, id="alice")
        yield

    app = Starlette(routes=[Route("/", page), Route("/who", who)], lifespan=with_alice)
    app.add_middleware(AuthMiddleware, auth=auth)
    return app


def new_auth(**settings: Any) -> Auth:
    store = open_store("memory://", timeout=5.0)
    directory = StoreDirectory(store, PasswordHasher(parameters=argon2.profiles.CHEAPEST))
    return Auth(Settings(store="memory://", refresh_cookie=True, **settings), directory=directory, store=store)


MARKER = "marker-of-the-slow"
SLOWLY = f"""() => {{ done = fetch('/auth/token', {{
    method: 'POST', headers: {{'X-Marker': '{MARKER}'}}, body: new URLSearchParams({{grant_type: 'refresh_token'}}),
}}).then(async answer => (token = (await answer.json()).access_token, answer.status)) }}"""
END = """async () => (await fetch('/auth/sessions?all=true', {
    method: 'DELETE', headers: {Authorization: `Bearer ${token}`},
})).status"""


@contextmanager
def slow_network(chromium: Browser) -> Iterator[tuple[BrowserContext, SlowNetwork, Page, Page]]:
    """A browser with two tabs of one application, and what keeps the first one's answers back. Cookies know no ports,
    so the jar is one."""
    with (
        serving(application(new_auth())) as url,
        SlowNetwork(urlsplit(url).port or 0, MARKER.encode()) as slow,
        visiting(chromium) as context,
    ):
        yield context, slow, tab(context, slow.url), tab(context, url)


@contextmanager
def visiting(chromium: Browser) -> Iterator[BrowserContext]:
    with chromium.new_context(ignore_https_errors=True) as context:
        context.set_default_timeout(20_000)
        yield context


def tab(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    return page


def jar(context: BrowserContext) -> str:
    [cookie] = context.cookies()
    return str(cookie["value"])


@pytest.mark.parametrize(("scheme", "name"), [("http", "refresh-"), ("https", "__Host-refresh-")])
def test_a_page_logs_in_loads_anew_calls_and_logs_out(
    chromium: Browser, tmp_path: Path, scheme: str, name: str
) -> None:
    certificate = make_certificate(tmp_path) if scheme == "https" else None
    with serving(application(new_auth()), certificate=certificate) as url, visiting(chromium) as context:
        page = tab(context, url)
        assert page.evaluate("() => refresh()") is False  # nobody yet
        assert page.evaluate(LOGIN, PASSWORD) == [200, ["access_token", "expires_in", "scope", "token_type"]]
        [cookie] = context.cookies()
        assert cookie["name"].startswith(name)
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, scheme == "https", "Strict")
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate(CALL) == [200, '"alice"']
        before = jar(context)
        page.reload()  # the access token is gone with the page's memory
        assert page.evaluate(CALL) == [200, '"alice"']
        assert jar(context) != before
        assert page.evaluate("async () => (await fetch('/auth/logout', {method: 'POST'})).status") == 204
        assert cookie_names(context) == []
        page.reload()
        assert page.evaluate(CALL)[0] == 401


def test_two_tabs_that_refresh_at_once_leave_a_working_token(chromium: Browser) -> None:
    """Without a lock between them, many times."""
    with serving(application(new_auth())) as url, visiting(chromium) as context:
        tabs = [tab(context, url) for _ in range(2)]
        assert tabs[0].evaluate(LOGIN, PASSWORD)[0] == 200
        for _ in range(10):
            for page in tabs:
                page.evaluate("() => { done = refresh() }")
            assert [page.evaluate("() => done") for page in tabs] == [True, True]
            assert [page.evaluate(CALL) for page in tabs] == [[200, '"alice"']] * 2


@pytest.mark.parametrize("late", ["the first to be answered", "the second"])
def test_whatever_the_order_of_answers_the_jar_ends_with_a_working_token(chromium: Browser, late: str) -> None:
    """One tab's answer is held back on the way until the other one has its own."""
    with slow_network(chromium) as (context, slow, slow_tab, fast_tab):
        assert fast_tab.evaluate(LOGIN, PASSWORD)[0] == 200
        before = jar(context)
        if late == "the second":
            fast_tab.evaluate("() => { done = refresh() }")
            slow_tab.evaluate(SLOWLY)
        else:
            slow_tab.evaluate(SLOWLY)
            assert slow.answered.wait(20)
            assert jar(context) == before  # the successor is made, and not yet here
            fast_tab.evaluate("() => { done = refresh() }")
        assert fast_tab.evaluate("() => done") is True
        assert jar(context) != before
        slow.release.set()
        assert slow_tab.evaluate("() => done") == 200
        for page in (slow_tab, fast_tab):
            assert page.evaluate(CALL) == [200, '"alice"']
        assert fast_tab.evaluate("() => refresh()") is True
        assert fast_tab.evaluate(CALL) == [200, '"alice"']


def test_a_late_failure_clears_nothing(chromium: Browser) -> None:
    """A refresh that was refused answers after somebody has logged in again."""
    with slow_network(chromium) as (context, slow, slow_tab, fast_tab):
        assert fast_tab.evaluate(LOGIN, PASSWORD)[0] == 200
        assert fast_tab.evaluate(END) == 204
        slow_tab.evaluate(SLOWLY)
        assert slow.answered.wait(20)
        assert fast_tab.evaluate(LOGIN, PASSWORD)[0] == 200
        won = jar(context)
        slow.release.set()
        assert slow_tab.evaluate("() => done") == 400
        assert jar(context) == won
        fast_tab.reload()
        assert fast_tab.evaluate(CALL) == [200, '"alice"']


FROM_ANOTHER = """async (url) => {
    const options = {method: "POST", credentials: "include", body: new URLSearchParams({grant_type: "refresh_token"})};
    try {
        const answer = await fetch(`${url}/auth/token`, options);
        return [answer.status, Object.keys(await answer.json()).includes("access_token")];
    } catch (error) { return [0, false]; }  // not to be read
}"""


@pytest.mark.parametrize("trusted", [True, False])
def test_a_page_of_another_origin_of_the_site_may_refresh_if_it_is_trusted(chromium: Browser, trusted: bool) -> None:
    """Another port is another origin of the same site, to which Chromium sends a Strict cookie."""
    pages = new_auth()
    with serving(application(pages)) as other, visiting(chromium) as context:
        auth = new_auth(trusted_origins=other) if trusted else new_auth()
        with serving(application(auth)) as url:
            page = tab(context, url)
            assert page.evaluate(LOGIN, PASSWORD)[0] == 200
            before = jar(context)
            found = tab(context, other).evaluate(FROM_ANOTHER, url)
            assert found == ([200, True] if trusted else [0, False])
            assert (jar(context) != before) == trusted
            assert page.evaluate("() => refresh()") is True
            context.close()  # before its server
