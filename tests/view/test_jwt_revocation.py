"""`JWT_REVOCATION` in its three values, when the server that knows what was revoked is taken away."""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager

import pytest
from ports import free_port
from seats import ALICE, browser, call, handled, http_scope, living, new_auth
from starlette.responses import JSONResponse
from view_helpers import is_current, until

from asgi_auth import AuthMiddleware

STALENESS = 0.2
UNCHECKED = "unrevocable_token_accepted"


async def page(request):
    return JSONResponse({"user": request.user.identity})


@pytest.fixture
def unchecked(caplog):
    """How often the log has said that a token was accepted unseen."""
    caplog.set_level("INFO", "asgi_auth")

    def count():
        told = [json.loads(one.getMessage()) for one in caplog.records if one.name == "asgi_auth.security"]
        return sum(event["event"].startswith(UNCHECKED) for event in told)

    return count


class House:
    """An application on a server of its own."""

    def __init__(self, url, **settings) -> None:
        self.auth = new_auth(url, staleness=STALENESS, timeout=0.3, **settings)
        self.app = AuthMiddleware(handled(page), self.auth)
        self.headers = []

    @asynccontextmanager
    async def open(self):
        """With a token of alice's, which was seen once."""
        async with living(self.app):
            self.pair = await self.auth.issue(ALICE)
            self.use(self.pair.access_token)
            await until(lambda: is_current(self.view))
            assert await self.get() == 200
            yield self

    @property
    def view(self):
        return self.auth.parts.view

    def use(self, token):
        self.headers = [("authorization", f"Bearer {token}")]

    async def get(self):
        return (await call(self.app, http_scope("/", headers=self.headers))).status


def killed(server, house):
    """The server is gone, and nothing is proved any more."""
    server.kill()
    return until(lambda: not is_current(house.view))


async def test_strict_refuses_once_the_lease_is_over_and_works_when_the_server_is_back(serve, unchecked):
    server = serve(appendonly="yes", appendfsync="always")
    async with House(server.url).open() as house:
        await killed(server, house)
        for _ in range(2):
            assert await house.get() == 503
        server.start()
        await until(lambda: is_current(house.view))
        assert await house.get() == 200
        await house.auth.revoke((await house.auth.sessions("alice"))[0].id)
        assert await house.get() == 401
    assert unchecked() == 0


async def test_a_view_that_cannot_be_kept_current_is_told_once(serve, caplog):
    server = serve()
    async with House(server.url).open() as house:
        caplog.set_level("INFO", logger="asgi_auth.security")
        await killed(server, house)
        assert await house.get() == 503
        assert caplog.text.count('"view_stale"') == 1


async def test_within_the_lease_a_lost_server_is_not_noticed(serve, unchecked):
    server = serve()
    house = House(server.url)
    house.auth.settings.__dict__["staleness"] = 60.0
    async with house.open():
        server.kill()
        for _ in range(3):
            assert await house.get() == 200
        house.use(house.pair.access_token[:-4] + "AAAA")
        assert await house.get() == 401
    assert unchecked() == 0


async def test_available_accepts_and_says_so_each_time(serve, unchecked):
    server = serve()
    async with House(server.url, jwt_revocation="available").open() as house:
        assert unchecked() == 0
        await killed(server, house)
        for number in range(1, 4):
            assert await house.get() == 200
            assert unchecked() == number
        house.use(house.pair.access_token[:-4] + "AAAA")
        assert await house.get() == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda auth: auth.revoke_user("alice"),
        lambda auth: auth.update_user("alice", scopes={"other"}),
        lambda auth: auth.revoke_all(),
    ],
    ids=["revoke_user", "update_user", "revoke_all"],
)
async def test_available_still_refuses_what_is_known_to_be_revoked(serve, unchecked, change):
    server = serve()
    async with House(server.url, jwt_revocation="available").open() as house:
        await change(house.auth)
        await killed(server, house)
        assert await house.get() == 401
        assert unchecked() == 0


async def test_available_is_as_strict_as_strict_while_the_view_is_current(serve, unchecked):
    server = serve()
    async with House(server.url, jwt_revocation="available").open() as house:
        await house.auth.revoke((await house.auth.sessions("alice"))[0].id)
        assert await house.get() == 401


def never_there(redis_url, **settings):
    """Two applications with one key: the second one's server cannot be reached."""
    key = secrets.token_hex(32)
    keys = {"jwt_algorithm": "HS256", "jwt_key": key}
    return new_auth(redis_url, **keys), House(f"redis://127.0.0.1:{free_port()}", **keys, **settings)


@pytest.mark.parametrize("revocation", ["available", "off"])
async def test_a_server_that_was_never_there_keeps_no_token_out(redis_url, unchecked, revocation):
    maker, house = never_there(redis_url, jwt_revocation=revocation)
    async with maker, living(house.app):
        house.use((await maker.issue(ALICE)).access_token)
        for _ in range(3):
            assert await house.get() == 200
        async with browser(house.app) as client:
            assert (await client.get("/")).json() == {"user": ""}
    assert unchecked() == (3 if revocation == "available" else 0)


@pytest.mark.parametrize("revocation", ["available", "off"])
async def test_a_server_that_was_never_there_lets_no_forged_token_in(redis_url, revocation):
    maker, house = never_there(redis_url, jwt_revocation=revocation)
    async with maker, living(house.app):
        house.use((await maker.issue(ALICE)).access_token[:-4] + "AAAA")
        assert await house.get() == 401


async def test_strict_needs_a_server(redis_url):
    maker, house = never_there(redis_url)
    async with maker:
        house.use((await maker.issue(ALICE)).access_token)
    assert await house.get() == 503


async def test_off_never_asks_and_never_hears_of_a_revocation(serve, unchecked):
    server = serve()
    async with House(server.url, jwt_revocation="off").open() as house:
        await house.auth.revoke((await house.auth.sessions("alice"))[0].id)
        assert await house.get() == 200
        await killed(server, house)
        assert await house.get() == 200
    assert unchecked() == 0


async def test_off_still_ends_the_refresh_tokens(redis_url):
    async with House(redis_url, jwt_revocation="off").open() as house:
        await house.auth.revoke((await house.auth.sessions("alice"))[0].id)
        async with browser(house.app) as client:
            form = {"grant_type": "refresh_token", "refresh_token": house.pair.refresh_token}
            answer = await client.post("/auth/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
