"""What only a real browser can tell: what a late answer does, whether the page and Swagger UI work."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser_helpers import SlowNetwork, cookie_names, fetch
from example_server import PASSWORDS, Example, browser, running, tokens
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def starlette(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running("starlette", tmp_path_factory.mktemp("starlette")) as example:
        yield example


def log_in(page: Page, user: str) -> None:
    assert fetch(page, "POST", "/auth/login", {"username": user, "password": PASSWORDS[user]}) == 200


# ---------------------------------------------------------------------- the page of the examples


class Watched:
    """The page of an example, and what went wrong on it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) => "
            "console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        page.goto(url)

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(("Failed to load resource", "WebSocket connection to")):
            self.problems.append(text)

    def way(self, name: str) -> Locator:
        return self.page.locator(f'.way[data-way="{name}"]')

    def press(self, root: Locator, action: str, path: str = "") -> None:
        root.locator(f'[data-action="{action}"]' + (f'[data-path="{path}"]' if path else "")).click()

    def is_somebody(self, way: str, user: str) -> None:
        expect(self.way(way).locator('[data-fact="chip"]')).to_have_text(user)

    def says(self, root: Locator, text: str) -> None:
        expect(root.locator(".answer .says")).to_contain_text(text)

    def log_in(self, way: str, user: str) -> None:
        self.way(way).locator(f'[data-action="fill"][data-user="{user}"]').click()
        self.way(way).locator("button.primary").click()
        self.is_somebody(way, user)


def test_the_page_works_by_cookie(page: Page, context: BrowserContext, starlette: Example) -> None:
    shown = Watched(page, starlette.url)
    cookie, data, live = shown.way("cookie"), page.locator("#data"), page.locator("#live")
    shown.is_somebody("cookie", "nobody")
    shown.press(cookie, "get", "/private")
    shown.says(cookie, "somebody must be logged in here, and nobody is")
    data.get_by_text("Write by cookie").click()
    shown.says(data, "Saved in the session")
    shown.log_in("cookie", "alice")
    shown.press(cookie, "get", "/private")
    shown.says(cookie, "Let in: alice, by cookie")
    shown.press(cookie, "get", "/admin")
    shown.says(cookie, "Known, but not allowed")
    data.get_by_text("Read by cookie").click()
    shown.says(data, "This is in the session")
    shown.press(live, "stream")
    expect(live.locator('[data-part="stream-last"]')).to_contain_text('"user": "alice"')
    shown.press(live, "stream")
    shown.press(live, "socket")
    expect(live.locator('[data-part="talk"] li')).to_have_count(1)
    live.get_by_role("button", name="Send").click()
    expect(live.locator('[data-part="talk"] li')).to_have_count(3)
    page.reload()
    shown.is_somebody("cookie", "alice")
    shown.press(cookie, "logout")
    shown.is_somebody("cookie", "nobody")
    assert cookie_names(context) == []
    assert shown.problems == []


def test_the_page_works_by_token(page: Page, context: BrowserContext, starlette: Example) -> None:
    shown = Watched(page, starlette.url)
    token, data = shown.way("token"), page.locator("#data")
    shown.log_in("token", "bob")
    shown.press(token, "get", "/admin")
    shown.says(token, "Let in: bob, by token")
    data.get_by_text("Write by token").click()
    shown.says(data, "a token has nowhere to put it")
    shown.press(token, "refresh")
    shown.says(token, "New tokens")
    shown.press(token, "replay")
    shown.says(token, "The same refresh token again")
    page.get_by_role("radio", name="the token").check()
    page.locator('[data-action="list"]').click()
    listed = page.locator('[data-part="list-body"] tr').first
    expect(listed).to_contain_text("JWT")
    expect(listed).to_contain_text("Chrome on Linux")
    shown.press(token, "logout")
    shown.is_somebody("token", "nobody")
    assert cookie_names(context) == []
    assert shown.problems == []


def test_the_page_logs_in_without_javascript(chromium: Browser, starlette: Example) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(starlette.url)
    form = page.locator('.way[data-way="cookie"] form')
    form.locator('[name="username"]').fill("alice")
    form.locator('[name="password"]').fill(PASSWORDS["alice"])
    form.locator("button.primary").click()
    page.wait_for_url(starlette.url + "/")
    page.goto(f"{starlette.url}/private")
    expect(page.locator("body")).to_contain_text('"user":"alice"')
    context.close()


# ---------------------------------------------------------------------- answers that come late

LATE = {
    "fetch": "void (window.late = fetch('/public?late').then((answer) => answer.text()))",
    "image": """void (window.late = new Promise((done) => {
        const image = new Image(); image.onload = image.onerror = () => done(); image.src = "/public?late"; }))""",
    "websocket": """void (window.late = new Promise((done) => {
        new WebSocket(location.origin.replace("http", "ws") + "/ws?late").onclose = () => done(); }))""",
}


@pytest.mark.parametrize("kind", LATE)
def test_an_answer_that_left_before_the_login_does_not_clear_the_new_cookie(
    page: Page, context: BrowserContext, starlette: Example, kind: str
) -> None:
    with SlowNetwork(_port(starlette.url), b"?late") as network:
        page.goto(network.url)
        log_in(page, "alice")
        _end_all_sessions(starlette, "alice")
        page.evaluate(LATE[kind])
        assert network.answered.wait(10)
        log_in(page, "alice")
        network.release.set()
        page.evaluate("window.late")
        assert fetch(page, "GET", "/private") == 200
        assert len(cookie_names(context)) == 1


def test_an_anonymous_answer_never_overwrites_a_login(page: Page, context: BrowserContext, starlette: Example) -> None:
    with SlowNetwork(_port(starlette.url), b"/data/late") as network:
        page.goto(network.url)
        page.evaluate("void (window.late = fetch('/data/late', {method: 'PUT', body: '1'}))")
        assert network.answered.wait(10)
        log_in(page, "alice")
        network.release.set()
        page.evaluate("window.late")
        names = cookie_names(context)
        assert [name.endswith("-anonymous") for name in names] == [False, True]  # the late answer did come
        assert fetch(page, "GET", "/private") == 200


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _end_all_sessions(example: Example, user: str) -> None:
    """As the user would from another device."""
    with browser(example) as client:
        client.headers["authorization"] = f"Bearer {tokens(client, user)['access_token']}"
        assert client.delete("/auth/sessions?all=true").status_code == 204


# ---------------------------------------------------------------------- Swagger UI


def _from_the_wheel(route: Route) -> None:
    """Swagger UI as FastAPI's page asks a CDN for it, from the wheel `flask-swagger-ui`, which carries it."""
    found = importlib.util.find_spec("flask_swagger_ui")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "dist" / urlsplit(route.request.url).path.rpartition("/")[2]
    if file.is_file():
        route.fulfill(path=file)
    else:
        route.fulfill(status=404)


def test_swagger_ui_authorize_works(page: Page, context: BrowserContext, tmp_path: Path) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/auth/token") else None)
    with running("fastapi", tmp_path) as example:
        origin = example.url
        context.route(lambda url: not url.startswith(origin), _from_the_wheel)
        page.goto(f"{example.url}/docs")
        page.locator(".scheme-container button.authorize").click()
        dialog = page.locator(".modal-ux")
        dialog.locator("#oauth_username").fill("bob")
        dialog.locator("#oauth_password").fill(PASSWORDS["bob"])
        form = dialog.locator(".auth-container", has=page.locator("#oauth_username"))
        form.locator("button.authorize").click()
        expect(dialog.get_by_text("Logout")).to_be_visible()
        dialog.get_by_role("button", name="Close").first.click()

        assert [request.all_headers()["authorization"] for request in asked] == ["Basic Og=="]
        assert asked[0].post_data is not None
        assert "grant_type=password" in asked[0].post_data

        operation = page.locator("#operations-default-admin_admin_get")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table")
        expect(answer).to_contain_text("200")
        expect(answer).to_contain_text('"user": "bob"')
        expect(answer).to_contain_text('"backend": "jwt"')
