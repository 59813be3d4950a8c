"""A store that does not answer: killed, or frozen in the middle of everything. Nobody is let in, nobody is logged out,
anonymous requests notice nothing, and it works again when the store is back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from seats import ALICE, PASSWORD, add_users, browser, call, cookie_of, handled, http_scope, new_auth, set_cookies
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from valkey_server import Valkey

from asgi_auth import Auth, AuthMiddleware, StoreUnavailable, require


class Server:
    """A valkey-server that a test may take away and bring back."""

    def __init__(self, valkey: Valkey, kind: str) -> None:
        self.url = valkey.url
        if kind == "frozen":
            self.take_away, self.bring_back = valkey.freeze, valkey.thaw
        else:
            self.take_away, self.bring_back = valkey.kill, valkey.start


@pytest.fixture(params=["killed", "frozen"])
def server(request: pytest.FixtureRequest, serve: Callable[..., Valkey]) -> Server:
    return Server(serve(appendonly="yes", appendfsync="always"), request.param)


async def page(request: Request) -> Response:
    verb = request.url.path.strip("/")
    if verb == "login":
        await Auth.of(request).login(request, ALICE)
    elif verb == "write":
        request.session["a"] = 1
    elif verb == "read":
        return JSONResponse(dict(request.session))
    elif verb == "private":
        await require()(_nothing)(request)
    return JSONResponse({"user": request.user.identity})


async def _nothing(request: Request) -> None:
    pass


async def _until_it_answers(client: httpx2.AsyncClient, path: str) -> None:
    with anyio.fail_after(20):
        while (await client.get(path)).status_code != 200:  # noqa: ASYNC110 (it is a server's start that we wait for)
            await anyio.sleep(0.05)


def refused(answer: Any) -> bool:
    return (
        answer.status_code == 503
        and answer.headers["retry-after"] == "1"
        and answer.headers["cache-control"] == "no-store"
        and answer.json()["error"] == "unavailable"
        and not set_cookies(answer)
    )


async def test_anonymous_requests_work_while_the_store_is_down_and_take_no_longer(server: Server) -> None:
    auth = new_auth(server.url, timeout=60.0, protect="/guarded/*")
    app = AuthMiddleware(handled(page), auth)
    async with browser(app) as client:
        await client.get("/auth/me")  # opens the store
        server.take_away()
        with anyio.fail_after(15):  # a single question to the frozen store would take a minute
            for path in ("/", "/read", "/public?x"):
                assert (await client.get(path)).status_code == 200
            for path in ("/private", "/guarded/x", "/auth/me", "/auth/sessions"):
                answer = await client.get(path)
                assert answer.status_code == 401, path
                assert answer.json()["error"] == "login_required"
            assert (await client.get("/", headers={"authorization": "Basic eDp5"})).status_code == 200
            assert (await client.get("/", headers={"cookie": "sessionid=x; csrftoken=y"})).status_code == 200
            assert (await client.post("/auth/logout")).status_code == 204
            # What nobody issued never reaches the store.
            answer = await client.get("/", headers={"cookie": f"{auth.parts.cookies.plain.session.spec.name}=garbage"})
            assert answer.json() == {"user": ""}
            answer = await client.get("/", headers={"authorization": "Bearer garbage"})
            assert answer.status_code == 401
        server.bring_back()
    await auth.aclose()


async def test_credentials_get_503_and_work_again_when_it_is_back(server: Server) -> None:
    auth = new_auth(server.url, timeout=0.5)
    await add_users(auth)
    app = Starlette(routes=[Route("/{path:path}", page)])
    app.add_middleware(AuthMiddleware, auth=auth)
    async with browser(app) as client, browser(app) as visitor, browser(app) as nobody:
        await client.get("/login")
        await client.get("/write")
        await visitor.get("/write")
        pair = await auth.issue(ALICE)
        bearer = {"authorization": f"Bearer {pair.access_token}"}
        server.take_away()
        for path in ("/", "/private", "/auth/me", "/auth/sessions"):
            assert refused(await client.get(path)), path
            assert refused(await nobody.get(path, headers=bearer)), path
        assert refused(await client.post("/auth/logout"))
        body = {"username": "alice", "password": PASSWORD}
        assert refused(await nobody.post("/auth/login", json=body))
        assert refused(await nobody.post("/auth/token", data={"grant_type": "password", **body}))
        refresh = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token}
        assert refused(await nobody.post("/auth/token", data=refresh))
        # A visitor passes; only who touches the data is refused.
        assert (await visitor.get("/")).json() == {"user": ""}
        assert refused(await visitor.get("/read"))
        assert refused(await visitor.get("/write"))
        # A new visitor's write cannot be kept.
        assert refused(await nobody.get("/write"))
        # A login by the application fails alike.
        assert refused(await nobody.get("/login"))
        with pytest.raises(StoreUnavailable):
            await auth.ready()
        server.bring_back()
        await _until_it_answers(client, "/")
        await auth.ready()
        assert (await client.get("/")).json() == {"user": "alice"}
        assert (await client.get("/read")).json() == {"a": 1}
        assert (await visitor.get("/read")).json() == {"a": 1}
        assert (await nobody.get("/", headers=bearer)).json() == {"user": "alice"}
        assert (await nobody.post("/auth/token", data=refresh)).status_code == 200
        assert (await nobody.post("/auth/login", json=body)).status_code == 200
    await auth.aclose()


async def test_a_save_that_fails_as_the_answer_starts_makes_it_a_503(server: Server) -> None:
    auth = new_auth(server.url, timeout=1.0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        if scope["path"] == "/now":
            request.session["b"] = 1
            server.take_away()
        await (await page(request))(scope, receive, send)

    async with browser(AuthMiddleware(app, auth)) as client:
        await client.get("/login")
        assert refused(await client.get("/now"))
        server.bring_back()
        await _until_it_answers(client, "/read")
        assert (await client.get("/")).json() == {"user": "alice"}
    await auth.aclose()


async def test_a_start_while_it_is_down_serves_nobody_and_somebody_once_it_is_there(server: Server) -> None:
    server.take_away()
    auth = new_auth(server.url, timeout=0.3)
    app = AuthMiddleware(handled(page), auth)
    async with browser(app) as client:
        assert (await client.get("/")).json() == {"user": ""}
        # Other applications' cookies are no reason to ask.
        for other in ("sessionid=x", "session_id=y", "mysession=z", "PHPSESSION=1; session=flask", "a=session-0000"):
            assert (await client.get("/", headers={"cookie": other})).json() == {"user": ""}, other
        for ours in ("__Host-session=x", "session-0000=y"):
            assert refused(await client.get("/", headers={"cookie": ours})), ours
        server.bring_back()
        await _until_it_answers(client, "/login")
        assert (await client.get("/")).json() == {"user": "alice"}
    await auth.aclose()


async def test_a_visitors_cookie_keeps_nobody_out_of_a_store_that_never_answered_yet() -> None:
    auth = new_auth("redis://127.0.0.1:1", timeout=0.5)
    async with browser(AuthMiddleware(handled(page), auth)) as client:
        visitor = {"cookie": "session-abcd-anonymous=zz"}
        assert (await client.get("/", headers=visitor)).status_code == 200
        assert (await client.get("/read", headers=visitor)).status_code == 503
        crossed = {**visitor, "sec-fetch-site": "cross-site"}
        assert (await client.post("/", headers=crossed)).status_code == 403
        for login in ("session-abcd=zz", "session-abcd=zz; session-abcd-anonymous=zz", "__Host-session=zz"):
            assert (await client.get("/", headers={"cookie": login})).status_code == 503
    await auth.aclose()


async def test_refusals_are_logged_before_the_store_has_ever_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "asgi_auth.security")
    auth = new_auth("redis://127.0.0.1:1", timeout=0.5)
    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/", headers={"authorization": "Bearer x.y.z"})
    told = [record.message for record in caplog.records if record.name == "asgi_auth.security"]
    assert [text.count('"event": "store_unavailable"') for text in told] == [1]
    await auth.aclose()


async def test_a_store_that_fails_while_a_request_runs_breaks_no_promise(any_store: str) -> None:
    """Each verb in turn fails, for somebody and for nobody: never a 500, never let in."""
    auth = new_auth(any_store, timeout=5.0)
    await add_users(auth)
    app = AuthMiddleware(handled(page), auth)
    store = auth.parts.store
    async with browser(app) as client, browser(app) as nobody:
        await client.get("/login")
        cookie = cookie_of(client)
        verbs = [name for name in dir(type(store)) if not name.startswith("_") and name not in ("aclose", "clock")]
        verbs = [name for name in verbs if callable(getattr(store, name))]
        body = {"username": "alice", "password": PASSWORD}
        for verb in verbs:

            async def down(*args: Any, **kwargs: Any) -> Any:
                raise StoreUnavailable("down")

            setattr(store, verb, down)
            for ask in (
                client.get("/", headers=cookie),
                client.get("/write", headers=cookie),
                client.get("/auth/me", headers=cookie),
                nobody.post("/auth/login", json=body),
                nobody.post("/auth/token", data={"grant_type": "password", **body}),
            ):
                answer = await ask
                assert answer.status_code in (200, 503), (verb, answer.request.url)
            assert (await call(app, http_scope("/"))).status == 200
            delattr(store, verb)
            nobody.cookies.clear()
        assert (await client.get("/", headers=cookie)).json() == {"user": "alice"}
    await auth.aclose()


@pytest.mark.parametrize("refusals", ["ours", "app"])
@pytest.mark.parametrize("seat", ["outermost", "added"])
async def test_data_that_could_not_be_loaded_is_a_503_in_every_seat(refusals: Any, seat: str) -> None:
    """Also where the application's framework makes a 500 of the exception, and where refusals are the application's."""
    auth = new_auth()
    starlette = Starlette(routes=[Route("/{path:path}", page)])
    app: Any = starlette
    if seat == "added":
        starlette.add_middleware(AuthMiddleware, auth=auth, refusals=refusals)
    else:
        app = AuthMiddleware(starlette, auth, refusals=refusals)
    async with browser(app) as visitor:
        await visitor.get("/write")

        async def down(*args: Any, **kwargs: Any) -> Any:
            raise StoreUnavailable("down")

        auth.parts.store.load = down  # type: ignore[method-assign]
        assert refused(await visitor.get("/read"))
        assert (await visitor.get("/")).json() == {"user": ""}


async def test_a_sqlite_file_that_somebody_locks_is_503_for_what_writes_and_no_more(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "s.sqlite3"
    auth = new_auth(f"sqlite:///{path}", clock=clock, timeout=0.2)
    await add_users(auth)
    async with browser(AuthMiddleware(handled(page), auth)) as client, browser(client._transport.app) as nobody:  # type: ignore[attr-defined]
        await client.get("/login")
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        assert (await client.get("/")).json() == {"user": "alice"}
        assert (await client.get("/read")).json() == {}
        assert refused(await client.get("/write"))
        assert refused(await nobody.post("/auth/login", json={"username": "alice", "password": PASSWORD}))
        assert refused(await client.post("/auth/logout"))
        assert (await nobody.get("/")).json() == {"user": ""}
        lock.execute("ROLLBACK")
        lock.close()
        assert (await client.get("/write")).status_code == 200
        assert (await client.get("/read")).json() == {"a": 1}
    await auth.aclose()
