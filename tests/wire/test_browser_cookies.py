"""Which cookies a real browser keeps, sends and drops, by their names, attributes and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import cookie_names, fetch, make_certificate, serving
from playwright.sync_api import Browser, Frame, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from asgi_auth import Auth, AuthMiddleware, Settings, User

pytestmark = pytest.mark.browser


def cookie_app(auth: Auth) -> Starlette:
    """Everything under `/auth`, so that a cookie with that path gets there too."""

    async def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>page</title>")

    async def who(request: Request) -> Response:
        return PlainTextResponse(request.user.identity)

    async def enter(request: Request) -> Response:
        await auth.login(request, User("alice"), remember="remember" in request.query_params)
        return Response(status_code=204)

    async def leave(request: Request) -> Response:
        await auth.logout(request)
        return Response(status_code=204)

    async def kill(request: Request) -> Response:
        assert await auth.revoke(request.auth.session_id)
        return Response(status_code=204)

    async def write(request: Request) -> Response:
        request.session["colour"] = "green"
        return Response(status_code=204)

    routes = [
        Route("/auth/page", page),
        Route("/auth/who", who),
        *(Route(f"/auth/{call.__name__}", call, methods=["POST"]) for call in (enter, leave, kill, write)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(AuthMiddleware, auth=auth)])


@contextmanager
def visiting(chromium: Browser) -> Iterator[Page]:
    """A page of a browser that nobody used before, and that is gone before its server."""
    with chromium.new_context(ignore_https_errors=True) as context:
        context.set_default_timeout(10_000)
        yield context.new_page()


@pytest.mark.parametrize(
    ("scheme", "settings", "name"),
    [
        ("http", {}, "session-"),
        ("http", {"session_cookie": "mine"}, "mine"),
        ("http", {"session_cookie": "__Secure-mine"}, "__Secure-mine"),
        ("http", {"session_cookie": "__Host-mine"}, "__Host-mine"),
        ("https", {}, "__Host-session"),
        ("https", {"session_path": "/auth"}, "__Secure-session"),
        ("https", {"session_samesite": "none"}, "__Host-session"),
        ("https", {"session_samesite": "none", "session_partitioned": True}, "__Host-session"),
        ("http", {"session_partitioned": True}, "session-"),
        ("https", {"session_samesite": "strict"}, "__Host-session"),
        ("https", {"session_cookie": "mine"}, "mine"),
        ("https", {"session_cookie": "__Http-mine"}, "__Http-mine"),
        ("https", {"session_cookie": "__Host-Http-mine"}, "__Host-Http-mine"),
    ],
)
def test_every_clearing_cookie_is_accepted_by_chromium_for_each_name_prefix(
    chromium: Browser, tmp_path: Path, scheme: str, settings: dict[str, Any], name: str
) -> None:
    auth = Auth(Settings(store="memory://", **settings))
    certificate = make_certificate(tmp_path) if scheme == "https" else None
    with serving(cookie_app(auth), certificate=certificate) as url, visiting(chromium) as page:
        _set_and_clear(page, url, name)


def _set_and_clear(page: Page, url: str, name: str) -> None:
    context = page.context
    page.goto(f"{url}/auth/page")

    assert fetch(page, "POST", "/auth/write") == 204
    (visitor,) = cookie_names(context)
    assert visitor.startswith(name)
    assert visitor.endswith("-anonymous")

    assert fetch(page, "POST", "/auth/enter") == 204  # clears the visitor's
    assert cookie_names(context) == [visitor.removesuffix("-anonymous")]
    assert fetch(page, "POST", "/auth/leave") == 204
    assert cookie_names(context) == []

    assert fetch(page, "POST", "/auth/enter?remember") == 204
    assert fetch(page, "POST", "/auth/kill") == 204
    assert len(cookie_names(context)) == 1  # a fetch clears nothing that it found dead
    page.goto(f"{url}/auth/page")
    assert cookie_names(context) == []

    assert fetch(page, "POST", "/auth/write") == 204
    assert fetch(page, "POST", "/auth/leave") == 204  # a visitor's data goes too
    assert cookie_names(context) == []


WRITTEN_BY_A_SCRIPT = """([name, value]) => {
    document.cookie = `${name}=${value}; Secure; Path=/`; return document.cookie.includes(name);
}"""


def test_host_http_prefix_in_chromium(chromium: Browser, tmp_path: Path) -> None:
    """The name says that no script has set the cookie: there nothing that was smuggled into a page can put another
    session in this one's place, as it could under `__Host-`."""
    app = cookie_app(Auth(Settings(store="memory://", session_cookie="__Host-Http-mine")))
    with serving(app, certificate=make_certificate(tmp_path)) as url, visiting(chromium) as page:
        page.goto(f"{url}/auth/page")
        assert not page.evaluate(WRITTEN_BY_A_SCRIPT, ["__Host-Http-mine", "planted"])
        assert cookie_names(page.context) == []
        assert page.evaluate(WRITTEN_BY_A_SCRIPT, ["__Host-mine", "planted"])
        page.context.clear_cookies()

        assert fetch(page, "POST", "/auth/enter") == 204
        assert not page.evaluate(WRITTEN_BY_A_SCRIPT, ["__Host-Http-mine", "planted"])
        assert cookie_names(page.context) == ["__Host-Http-mine"]
        assert page.evaluate(ASKED) == "alice"


def another_site(url: str) -> str:
    """A page of what is another site to browsers."""
    return url.replace("localhost", "127.0.0.1") + "/auth/page"


def framed(page: Page, outer: str, inner: str) -> Frame:
    """A page with another one in a frame."""
    page.goto(outer)
    page.evaluate(
        """(url) => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.onload = () => done(); frame.src = url; document.body.append(frame); })""",
        inner,
    )
    return page.frames[-1]


POSTED = "(path) => fetch(path, {method: 'POST'}).then((answer) => answer.status)"
ASKED = "() => fetch('/auth/who').then((answer) => answer.text())"


@pytest.mark.parametrize("partitioned", [True, False])
def test_a_partitioned_login_counts_in_the_frame_of_that_site_alone(
    chromium: Browser, tmp_path: Path, partitioned: bool
) -> None:
    """Chromium gives an application in another site's frame no cookie but this kind."""
    auth = Auth(Settings(store="memory://", session_samesite="none", session_partitioned=partitioned))
    with serving(cookie_app(auth), certificate=make_certificate(tmp_path)) as url, visiting(chromium) as page:
        inner = f"{url}/auth/page"
        frame = framed(page, another_site(url), inner)
        assert frame.evaluate(POSTED, "/auth/enter") == 204
        assert frame.evaluate(ASKED) == ("alice" if partitioned else "")
        page.goto(inner)
        assert page.evaluate(ASKED) == ""
        frame = framed(page, another_site(url), inner)
        assert frame.evaluate(ASKED) == ("alice" if partitioned else "")
        assert len(page.context.cookies()) == int(partitioned)
        assert frame.evaluate(POSTED, "/auth/leave") == 204
        assert frame.evaluate(ASKED) == ""
        assert page.context.cookies() == []  # the deletion said `Partitioned` as well


@pytest.mark.parametrize(("same_site", "linked"), [("lax", "alice"), ("strict", "")])
def test_a_lax_cookie_stays_out_of_another_sites_frame_and_a_strict_one_out_of_its_links(
    chromium: Browser, tmp_path: Path, same_site: str, linked: str
) -> None:
    auth = Auth(Settings(store="memory://", session_samesite=same_site))
    with serving(cookie_app(auth), certificate=make_certificate(tmp_path)) as url, visiting(chromium) as page:
        page.goto(f"{url}/auth/page")
        assert fetch(page, "POST", "/auth/enter") == 204
        assert framed(page, another_site(url), f"{url}/auth/page").evaluate(ASKED) == ""
        with page.expect_navigation():
            page.evaluate("(url) => { location.href = url; }", f"{url}/auth/who")
        assert page.inner_text("body") == linked


@pytest.mark.parametrize(("scheme", "names"), [("http", (None, None)), ("https", ("__Host-shop", "__Host-wiki"))])
def test_two_applications_on_one_host_keep_their_logins_in_one_browser(
    chromium: Browser, tmp_path: Path, scheme: str, names: tuple[str | None, str | None]
) -> None:
    """Cookies know no ports: on plain http the names differ by themselves, over https where the settings say so."""
    certificate = make_certificate(tmp_path) if scheme == "https" else None
    apps = [
        cookie_app(Auth(Settings(store="memory://", session_cookie=name, secret=letter * 32)))
        for name, letter in zip(names, "sw", strict=True)
    ]
    with (
        serving(apps[0], certificate=certificate) as shop,
        serving(apps[1], certificate=certificate) as wiki,
        visiting(chromium) as page,
    ):
        for url in (shop, wiki):
            page.goto(f"{url}/auth/page")
            assert fetch(page, "POST", "/auth/enter") == 204
        assert len(cookie_names(page.context)) == 2
        for url in (shop, wiki):
            page.goto(f"{url}/auth/who")
            assert page.inner_text("body") == "alice"
        assert fetch(page, "POST", "/auth/leave") == 204
        page.goto(f"{shop}/auth/who")
        assert page.inner_text("body") == "alice"
