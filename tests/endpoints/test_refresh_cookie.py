"""`REFRESH_COOKIE`: the refresh token as a cookie that no script reads, for applications in a browser."""

from __future__ import annotations

import logging
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest
from endpoint_house import PASSWORDS, House, bearer, cookie_header, set_cookies
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi_auth import Auth, User
from asgi_auth.errors import StoreUnavailable

HTTPS = "https://app.example.com"
SAME = {"sec-fetch-site": "same-origin"}
OTHERS = {"sec-fetch-site": "cross-site"}


@pytest.fixture
async def house(houses: Any) -> House:
    made: House = await houses(refresh_cookie="on", url=HTTPS, base_url=HTTPS)
    return made


async def log_in(house: House, client: httpx2.AsyncClient | None = None, **more: Any) -> httpx2.Response:
    """By `/login` in mode jwt."""
    form = {"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt", **more}
    answer = await (client or house.client).post("/auth/login", json=form)
    assert answer.status_code == 200, answer.text
    return answer


async def refresh(
    house: House, client: httpx2.AsyncClient | None = None, headers: Any = SAME, **form: str
) -> httpx2.Response:
    form = {"grant_type": "refresh_token", **form}
    return await (client or house.client).post("/auth/token", data=form, headers=headers)


def name_of(house: House) -> str:
    return f"__Host-refresh-{house.auth.parts.ring[:4]}"


def kept(client: httpx2.AsyncClient) -> str | None:
    """What the browser's jar has."""
    found = [cookie.value for cookie in client.cookies.jar if "refresh-" in cookie.name]
    assert len(found) <= 1
    return found[0] if found else None


def browser_with(house: House, token: str | None) -> httpx2.AsyncClient:
    client = house.stranger()
    if token is not None:
        client.cookies.set(name_of(house), token, domain="app.example.com", path="/")
    return client


# ---------------------------------------------------------------------- how it goes out


async def _by_login(house: House) -> httpx2.Response:
    return await log_in(house)


async def _by_password_grant(house: House) -> httpx2.Response:
    form = {"grant_type": "password", "username": "alice", "password": PASSWORDS["alice"]}
    return await house.client.post("/auth/token", data=form)


@pytest.mark.parametrize("enter", [_by_login, _by_password_grant])
async def test_the_refresh_token_goes_out_as_a_cookie_and_not_in_the_body(house: House, enter: Any) -> None:
    answer = await enter(house)
    assert sorted(answer.json()) == ["access_token", "expires_in", "scope", "token_type"]
    (cookie,) = set_cookies(answer)
    name, _, attributes = cookie.partition("=")
    value, *flags = attributes.split("; ")
    assert name == name_of(house)
    assert house.auth.parts.grants.session_of(value) is not None
    assert {flag for flag in flags if "=" not in flag} == {"HttpOnly", "Secure"}
    assert {"Path=/", "SameSite=Strict", f"Max-Age={30 * 86_400}"} <= set(flags)
    assert not any(flag.startswith("Domain=") for flag in flags)
    assert value not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    (expires,) = [flag.removeprefix("Expires=") for flag in flags if flag.startswith("Expires=")]
    assert parsedate_to_datetime(expires).timestamp() == pytest.approx(house.clock() + 30 * 86_400, abs=1)


async def test_without_the_setting_it_goes_out_in_the_body_and_no_cookie_is_read(houses: Any) -> None:
    house = await houses(url=HTTPS, base_url=HTTPS)
    answer = await log_in(house)
    assert set_cookies(answer) == []
    client = browser_with(house, answer.json()["refresh_token"])
    refused = await refresh(house, client)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    await client.post("/auth/logout")
    assert (await refresh(house, refresh_token=answer.json()["refresh_token"])).status_code == 200


async def test_a_refresh_by_cookie_gives_an_access_token_and_the_next_cookie(house: House) -> None:
    await log_in(house)
    first = kept(house.client)
    house.clock.advance(86_400)
    answer = await refresh(house)
    assert (answer.status_code, sorted(answer.json())) == (
        200,
        ["access_token", "expires_in", "scope", "token_type"],
    )
    assert kept(house.client) not in (None, first)
    (cookie,) = set_cookies(answer)
    assert f"Max-Age={29 * 86_400}" in cookie  # of the session, which nothing outlives
    assert (await house.get("/whoami", answer.json()["access_token"])).json()["user"] == "alice"
    assert (await refresh(house)).status_code == 200


async def test_a_token_in_the_body_comes_back_in_the_body(house: House) -> None:
    """A client that is no browser shares the deployment."""
    pair = await house.auth.issue(await _alice(house), client_id="cli")
    answer = await refresh(house, house.stranger(), headers={}, refresh_token=pair.refresh_token, client_id="cli")
    assert answer.status_code == 200
    assert set_cookies(answer) == []
    assert (await refresh(house, refresh_token=answer.json()["refresh_token"], client_id="cli")).status_code == 200


async def _alice(house: House) -> Any:
    row = await house.store.user("alice")
    assert row is not None
    return row.user()


async def test_on_a_loopback_host_the_cookie_is_a_plain_one_of_this_key_ring(houses: Any) -> None:
    house = await houses(refresh_cookie=True)
    (cookie,) = set_cookies(await log_in(house))
    name = cookie.partition("=")[0]
    assert name == f"refresh-{house.auth.parts.ring[:4]}"
    assert "Secure" not in cookie.split("; ")
    assert "SameSite=Strict" in cookie.split("; ")
    assert (await refresh(house)).status_code == 200


async def test_applications_of_one_host_do_not_meet(houses: Any) -> None:
    shop, wiki = [
        await houses(refresh_cookie="on", url=HTTPS, base_url=HTTPS, secret=letter * 32) for letter in ("s", "w")
    ]
    browser = shop.client.cookies.jar
    for house in (shop, wiki):
        await log_in(house)
    for cookie in wiki.client.cookies.jar:  # ports and paths make no difference to a browser
        browser.set_cookie(cookie)
    assert len(browser) == 2
    for cookie in browser:
        wiki.client.cookies.jar.set_cookie(cookie)
    for house in (shop, wiki):
        assert (await refresh(house)).status_code == 200
    answer = await wiki.client.post("/auth/logout", headers=SAME)
    assert [cookie.partition("=")[0] for cookie in set_cookies(answer)] == [name_of(wiki)]


async def test_a_login_whose_cookie_the_browser_would_drop_says_so_before_the_password(houses: Any) -> None:
    house = await houses(refresh_cookie=True, base_url="http://app.example.com")
    for form in ({"mode": "jwt"}, {"grant_type": "password"}):
        path = "/auth/login" if "mode" in form else "/auth/token"
        answer = await house.client.post(path, data={"username": "alice", "password": "wrong", **form})
        assert (answer.status_code, answer.json()["error"]) == (400, "cookie_not_kept")


async def test_a_login_by_cookie_sets_no_refresh_cookie(house: House) -> None:
    answer = await house.client.post("/auth/login", json={"username": "alice", "password": PASSWORDS["alice"]})
    assert [cookie.partition("=")[0] for cookie in set_cookies(answer)] == ["__Host-session"]


# ---------------------------------------------------------------------- what it is good for


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "origin": "https://www.example.com"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"origin": HTTPS}, True),
        ({"origin": "https://www.example.com"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({}, True),
    ],
)
async def test_a_refresh_by_cookie_is_held_to_the_cross_origin_table(houses: Any, headers: Any, allowed: bool) -> None:
    house = await houses(refresh_cookie=True, url=HTTPS, base_url=HTTPS, trusted_origins="https://www.example.com")
    await log_in(house)
    before = kept(house.client)
    for extra in ({}, bearer("garbage"), {"authorization": "Basic Og=="}):
        answer = await refresh(house, headers={**headers, **extra})
        if allowed:
            assert answer.status_code == 200
            continue
        assert (answer.status_code, answer.json()["error"]) == (403, "cross_origin")
        assert set_cookies(answer) == []
        assert kept(house.client) == before
    assert (await refresh(house)).status_code == 200  # nothing was used up


async def test_a_page_of_another_origin_is_refused_whether_there_is_a_cookie_or_not(house: House) -> None:
    answer = await refresh(house, house.stranger(), headers=OTHERS)
    assert answer.status_code == 403


async def test_a_refresh_token_in_the_body_is_no_browsers_and_is_not_asked_for_its_origin(house: House) -> None:
    pair = await house.auth.issue(await _alice(house))
    answer = await refresh(house, house.stranger(), headers=OTHERS, refresh_token=pair.refresh_token)
    assert answer.status_code == 200


async def test_a_trusted_origin_may_read_the_answer_and_bring_the_cookie(houses: Any) -> None:
    house = await houses(refresh_cookie=True, url=HTTPS, base_url=HTTPS, trusted_origins="https://www.example.com")
    origin = {"origin": "https://www.example.com", "sec-fetch-site": "same-site"}
    preflight = await house.client.request(
        "OPTIONS", "/auth/token", headers={**origin, "access-control-request-method": "POST"}
    )
    await log_in(house)
    for answer in (preflight, await refresh(house, headers=origin)):
        assert answer.headers["access-control-allow-origin"] == origin["origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("token", [None, "garbage", "a.b.c.d"])
async def test_without_a_good_cookie_there_is_nothing_to_refresh(house: House, token: str | None) -> None:
    answer = await refresh(house, browser_with(house, token))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert set_cookies(answer) == []


async def test_the_cookie_twice_is_no_cookie(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await log_in(house)
    good = kept(house.client)
    with caplog.at_level(logging.INFO, logger="asgi_auth.security"):
        reply = await house.raw(
            "POST",
            "/auth/token",
            headers=[
                ("cookie", f"{name_of(house)}={good}; {name_of(house)}=another"),
                ("content-type", "application/x-www-form-urlencoded"),
            ],
            body=b"grant_type=refresh_token",
            host="app.example.com",
        )
    assert (reply.status, reply.json()["error"]) == (400, "invalid_grant")
    assert reply.all("set-cookie") == []
    assert any("input_validation_fail:cookie" in record.getMessage() for record in caplog.records)
    assert (await refresh(house)).status_code == 200


async def test_no_other_cookie_and_no_other_place_is_looked_at(house: House) -> None:
    await log_in(house)
    good = kept(house.client)
    for name in ("refresh", "__Secure-refresh", "__host-refresh", f"refresh-{house.auth.parts.ring[:4]}"):
        client = house.stranger()
        client.cookies.set(name, good or "", domain="app.example.com", path="/")
        assert (await refresh(house, client)).json()["error"] == "invalid_grant"
    assert (await house.client.get("/whoami")).json()["user"] is None  # it opens nothing by itself


async def test_the_cookie_is_bound_to_its_client_and_scope_like_any_refresh_token(house: House) -> None:
    await log_in(house, client_id="spa")
    assert (await refresh(house)).json()["error"] == "invalid_grant"
    assert (await refresh(house, client_id="spa", scope="more")).json()["error"] == "invalid_scope"
    assert (await refresh(house, client_id="spa")).status_code == 200


# ---------------------------------------------------------------------- two tabs


async def test_two_refreshes_by_cookie_leave_a_working_token_whatever_the_order_of_answers(house: House) -> None:
    """revel-frontend#950: the loser's answer deleted the winner's cookie."""
    await log_in(house)
    before = kept(house.client)
    tabs = [browser_with(house, before) for _ in range(2)]
    answers = [set_cookies(await refresh(house, tab)) for tab in tabs]
    for order in (answers, answers[::-1]):
        assert [len(cookies) for cookies in order] == [1, 1]
        jar = browser_with(house, order[-1][0].partition("=")[2].partition(";")[0])
        answer = await refresh(house, jar)
        assert answer.status_code == 200


async def _end(house: House) -> None:
    await house.auth.revoke_user("alice")


async def _disable(house: House) -> None:
    await house.auth.disable_user("alice")


async def _reuse(house: House) -> None:
    first = kept(house.client)
    await refresh(house)
    await refresh(house)
    house.clock.advance(60)
    assert (await refresh(house, browser_with(house, first))).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("spoil", [_end, _disable, _reuse])
async def test_a_failed_refresh_never_clears_a_cookie(house: House, spoil: Any) -> None:
    """The answer may be late, and the jar may have another login's by then."""
    await log_in(house)
    await spoil(house)
    before = cookie_header(house.client)
    answer = await refresh(house)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert set_cookies(answer) == []
    assert cookie_header(house.client) == before


async def test_with_the_store_down_the_cookie_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await log_in(house)
    before = kept(house.client)

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(house.store, "exchange", silent)
        answer = await refresh(house)
        assert (answer.status_code, set_cookies(answer)) == (503, [])
    assert kept(house.client) == before
    assert (await refresh(house)).status_code == 200


# ---------------------------------------------------------------------- the end of it


def cleared(answer: httpx2.Response) -> bool:
    found = [cookie for cookie in set_cookies(answer) if cookie.startswith("__Host-refresh-")]
    return len(found) == 1 and "Max-Age=0" in found[0]


@pytest.mark.parametrize("with_token", [True, False], ids=["with the access token", "by the cookie alone"])
async def test_logout_ends_the_session_of_the_cookie_and_clears_it(house: House, with_token: bool) -> None:
    token = (await log_in(house)).json()["access_token"]
    cookie = kept(house.client)
    answer = await house.client.post("/auth/logout", headers={**SAME, **(bearer(token) if with_token else {})})
    assert (answer.status_code, cleared(answer)) == (204, True)
    assert kept(house.client) is None
    assert await house.auth.sessions("alice") == []
    assert (await refresh(house, browser_with(house, cookie))).json()["error"] == "invalid_grant"
    assert (await house.get("/whoami", token)).status_code == 401


async def test_a_logout_of_another_origin_is_refused_and_ends_nothing(house: House) -> None:
    await log_in(house)
    answer = await house.client.post("/auth/logout", headers=OTHERS)
    assert (answer.status_code, set_cookies(answer)) == (403, [])
    assert len(await house.auth.sessions("alice")) == 1


async def test_a_logout_by_somebody_elses_token_in_another_site_leaves_the_cookie_alone(house: House) -> None:
    await log_in(house)
    other = await house.auth.issue(await _alice(house))
    answer = await house.client.post("/auth/logout", headers={**OTHERS, **bearer(other.access_token)})
    assert (answer.status_code, set_cookies(answer)) == (204, [])
    assert (await refresh(house)).status_code == 200


async def test_a_garbled_cookie_goes_with_the_logout(house: House) -> None:
    assert cleared(await browser_with(house, "garbage").post("/auth/logout", headers=SAME))


async def test_a_late_logout_does_not_clear_the_cookie_of_a_new_login(house: House) -> None:
    await log_in(house)
    tab = browser_with(house, kept(house.client))
    await log_in(house)
    answer = await tab.post("/auth/logout", headers=SAME)
    assert (answer.status_code, cleared(answer)) == (204, False)
    assert (await refresh(house)).status_code == 200


async def test_a_new_login_ends_the_one_that_the_browser_kept(house: House) -> None:
    await log_in(house)
    before = kept(house.client)
    for _ in range(2):
        await log_in(house)
        assert len(await house.auth.sessions("alice")) == 1
    assert (await refresh(house, browser_with(house, before))).json()["error"] == "invalid_grant"
    assert (await refresh(house)).status_code == 200


async def test_a_login_that_fails_ends_nothing(house: House) -> None:
    await log_in(house)
    form = {"username": "alice", "password": "wrong", "mode": "jwt"}
    assert (await house.client.post("/auth/login", json=form)).status_code == 401
    assert (await refresh(house)).status_code == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_revoke_clears_the_cookie_of_the_session_that_it_ends(house: House, which: str) -> None:
    token = (await log_in(house)).json()["access_token"] if which == "access_token" else None
    if token is None:
        await log_in(house)
        token = kept(house.client)
    answer = await house.client.post("/auth/revoke", data={"token": token}, headers=SAME)
    assert (answer.status_code, cleared(answer)) == (200, True)
    assert kept(house.client) is None


async def test_revoke_leaves_the_cookie_of_another_session(house: House) -> None:
    await log_in(house)
    other = await house.auth.issue(await _alice(house))
    answer = await house.client.post("/auth/revoke", data={"token": other.access_token}, headers=SAME)
    assert (answer.status_code, set_cookies(answer)) == (200, [])
    assert (await refresh(house)).status_code == 200


async def test_an_elevation_replaces_the_cookie(houses: Any) -> None:
    async def step_up(request: Request) -> JSONResponse:
        pair = await Auth.of(request).elevate(request, amr="otp")
        return JSONResponse(pair.public(refresh_token=False))

    app = Starlette(routes=[Route("/step-up", step_up, methods=["POST"])])
    house = await houses(refresh_cookie=True, url=HTTPS, base_url=HTTPS, app=app)
    token = (await log_in(house)).json()["access_token"]
    before = kept(house.client)
    answer = await house.client.post("/step-up", headers={**SAME, **bearer(token)})
    assert kept(house.client) not in (None, before)
    assert answer.json()["access_token"] != token
    refreshed = await refresh(house)
    assert refreshed.status_code == 200
    assert (await house.auth.sessions("alice"))[0].amr == ("pwd", "otp")
    # A client without cookies has its pair from the application, and gets none.
    other = await house.auth.issue(await _alice(house))
    answer = await house.stranger().post("/step-up", headers=bearer(other.access_token))
    assert set_cookies(answer) == []


def entering() -> Starlette:
    """An application that has found out by itself who somebody is."""

    async def enter(request: Request) -> JSONResponse:
        pair = await Auth.of(request).issue(User("alice", scopes=frozenset({"read"})), request=request)
        return JSONResponse(pair.public(refresh_token=not Auth.of(request).settings.refresh_cookie))

    return Starlette(routes=[Route("/enter", enter, methods=["POST"])])


async def test_a_login_of_the_application_hands_out_the_cookie_too(houses: Any) -> None:
    house = await houses(refresh_cookie=True, url=HTTPS, base_url=HTTPS, app=entering())
    for _ in range(2):  # the second one takes the place of the first
        answer = await house.client.post("/enter", headers={**SAME, "user-agent": "Firefox/140.0"})
        assert sorted(answer.json()) == ["access_token", "expires_in", "scope", "token_type"]
        assert (await refresh(house)).status_code == 200
    [session] = await house.auth.sessions("alice")
    assert session.client.user_agent == "Firefox/140.0"
    refused = await house.client.post("/enter", headers=OTHERS)
    assert (refused.status_code, set_cookies(refused)) == (403, [])


async def test_without_the_setting_a_login_of_the_application_sets_no_cookie(houses: Any) -> None:
    house = await houses(url=HTTPS, base_url=HTTPS, app=entering())
    answer = await house.client.post("/enter")
    assert set_cookies(answer) == []
    assert (await refresh(house, refresh_token=answer.json()["refresh_token"])).status_code == 200


async def test_a_login_of_an_application_that_fails_before_its_answer_is_ended(houses: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Auth.of(scope).issue(User("alice"), request=scope)
        raise RuntimeError("before the answer")

    house = await houses(refresh_cookie=True, url=HTTPS, base_url=HTTPS, app=app)
    with pytest.raises(RuntimeError, match="before the answer"):
        await house.client.post("/enter", headers=SAME)
    assert await house.auth.sessions("alice") == []


async def test_no_answer_and_no_log_holds_the_refresh_token(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [await log_in(house)]
    tokens = [kept(house.client)]
    for _ in range(2):
        answers.append(await refresh(house))
        tokens.append(kept(house.client))
    answers.append(await house.client.post("/auth/logout", headers=SAME))
    for token in tokens:
        assert token
        secret = token.split(".")[2]
        assert not any(secret in answer.text for answer in answers)
        assert secret not in caplog.text
