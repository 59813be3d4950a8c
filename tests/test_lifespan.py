"""Our lifespan around the application's, and what a wrong configuration does with one and without."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest
from seats import Boom, browser, call, handled, http_scope, living, new_auth, socket_scope
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from asgi_auth import Auth, AuthMiddleware, ConfigurationError, Settings
from asgi_auth.live import Lives

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
STARTED, STOPPED = {"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}


def scope() -> Any:
    return {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


def observed(auth: Auth, order: list[str]) -> None:
    """Write down when the store closes."""
    close = auth.aclose

    async def aclose() -> None:
        await anyio.lowlevel.checkpoint()
        await close()
        order.append("closed")

    auth.aclose = aclose  # type: ignore[method-assign]


class Talker:
    """An application whose lifespan does as its script says."""

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.heard: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for step in self.script:
            if step == "receive":
                self.heard.append(await receive())
            elif isinstance(step, BaseException):
                raise step
            else:
                await send(step)


async def test_ours_runs_beside_the_apps_and_its_last_word_comes_last() -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    talker, sent = Talker("receive", STARTED, "receive", STOPPED), list[Any]()
    waiting = [SHUTDOWN, STARTUP]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert auth.is_open  # before the application starts
        await talker(scope, receive, send)

    async def receive() -> Any:
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message)
        order.append(message["type"])

    await AuthMiddleware(app, auth)(scope(), receive, send)
    assert talker.heard == [STARTUP, SHUTDOWN]
    assert sent == [STARTED, STOPPED]
    assert order == ["lifespan.startup.complete", "closed", "lifespan.shutdown.complete"]


FAILED = {"type": "lifespan.startup.failed", "message": "no database"}


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("raises", [False, True])
async def test_the_apps_failed_startup_is_forwarded_last(twice: bool, raises: bool) -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    error = Boom("no database")
    app: Any = AuthMiddleware(Talker("receive", FAILED, *([error] if raises else [])), auth)
    if twice:
        app = AuthMiddleware(app, auth)

    async def receive() -> Any:
        return STARTUP

    async def send(message: Any) -> None:
        order.append(message["type"])

    with pytest.raises(Boom) if raises else nullcontext() as caught:
        await app(scope(), receive, send)
    assert caught is None or caught.value is error
    assert order == ["closed", "lifespan.startup.failed"]


async def test_the_apps_failed_shutdown_is_forwarded_last() -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    failed = {"type": "lifespan.shutdown.failed", "message": "x"}
    reply = await call(
        AuthMiddleware(Talker("receive", STARTED, "receive", failed), auth), scope(), incoming=[STARTUP, SHUTDOWN]
    )
    assert reply.messages == [STARTED, failed]
    assert order == ["closed"]


@pytest.mark.parametrize(
    "app",
    [
        Talker(Boom()),
        Talker("receive", Boom()),
        Talker(ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")),
        Talker(),
        Talker("receive"),
    ],
    ids=["raises", "raises later", "django", "returns", "returns later"],
)
async def test_an_app_without_lifespan_still_gets_ours(app: Any) -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    async with living(AuthMiddleware(app, auth)) as said:
        assert said == [STARTED]
        assert auth.is_open
        assert order == []
    assert said == [STARTED, STOPPED]
    assert order == ["closed"]


async def test_an_app_that_dies_while_it_runs_is_not_taken_for_one_without_lifespan() -> None:
    error = Boom()
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    app = AuthMiddleware(Talker("receive", STARTED, error), auth)
    with pytest.raises(Boom) as caught:
        await call(app, scope(), incoming=[STARTUP])
    assert caught.value is error
    assert order == ["closed"]


async def test_the_state_of_the_lifespan_reaches_the_requests() -> None:
    state: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["pool"] = 7
        await send(STARTED)

    await call(AuthMiddleware(app, new_auth()), {**scope(), "state": state}, incoming=[STARTUP])
    assert state == {"pool": 7}


async def test_installed_twice_opens_once_and_stops_in_order() -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)
    app = Talker("receive", STARTED, "receive", STOPPED)
    async with living(AuthMiddleware(AuthMiddleware(app, auth), auth)) as said:
        assert said == [STARTED]
    assert said == [STARTED, STOPPED]
    assert order == ["closed"]


async def test_a_cancelled_lifespan_closes_the_store() -> None:
    auth, order = new_auth(), list[str]()
    observed(auth, order)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as cancelled:

            async def send(message: Any) -> None:
                cancelled.cancel()

            waiting = [STARTUP]

            async def receive() -> Any:
                if not waiting:
                    await anyio.sleep_forever()
                return waiting.pop()

            await AuthMiddleware(app, auth)(scope(), receive, send)
        group.cancel_scope.cancel()
    assert order == ["closed"]


# ---------------------------------------------------------------------- a wrong configuration

WRONG = {
    "value": {"ASGI_AUTH_SESSION_IDLE": "soon"},
    "name": {"ASGI_AUTH_SESION_IDLE": "1h"},
    "combination": {"ASGI_AUTH_SESSION_SAMESITE": "none", "ASGI_AUTH_INSECURE_HTTP": "true"},
    "directory": {"ASGI_AUTH_USERS": "no.such.module:users"},
    "store": {"ASGI_AUTH_STORE": "sqlite:////proc/no/such/place/x.sqlite3"},
    "key": {"ASGI_AUTH_JWT_KEY": "short"},
    "key file": {"ASGI_AUTH_JWT_KEY_FILE": "/no/such/file.pem"},
}


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A wrong environment; the variable's name."""
    monkeypatch.chdir(tmp_path)
    for name, value in WRONG[request.param].items():
        monkeypatch.setenv(name, value)
    return next(iter(WRONG[request.param]))


async def _never(request: Request) -> Response:
    pytest.fail("a request came in under a wrong configuration")


async def _failed_start(app: Any) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return STARTUP

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ConfigurationError):
        await app(scope(), receive, send)
    return sent


async def test_the_constructor_never_raises_and_the_start_fails_with_the_message(
    wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = AuthMiddleware(Talker(AssertionError("the application was started")))
    (failed,) = await _failed_start(app)
    assert failed["type"] == "lifespan.startup.failed"
    assert wrong in failed["message"]
    assert failed["message"] in caplog.text


async def test_elsewhere_every_request_is_503(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    app = AuthMiddleware(handled(_never))
    for path in ("/", "/auth/me", "/auth/login", "/.well-known/jwks.json"):
        for headers in ([], [("cookie", "__Host-session=x; session-0000=y")], [("authorization", "Bearer x")]):
            if (path, headers) == ("/", []) and wrong in ("ASGI_AUTH_USERS", "ASGI_AUTH_STORE", *KEYS):
                continue  # below
            reply = await call(app, http_scope(path, headers=headers))
            assert reply.status == 503, (path, headers)
            assert reply.all("retry-after") == ["1"]
            assert reply.json()["error"] == "unavailable"
            assert wrong not in reply.body.decode()  # the operator's business
    reply = await call(app, socket_scope("/", [("cookie", "__Host-session=x; session-0000=y")]))
    assert reply.status == 503


KEYS = ("ASGI_AUTH_JWT_KEY", "ASGI_AUTH_JWT_KEY_FILE")


async def test_an_anonymous_request_is_503_too_once_the_store_was_found_wrong(wrong: str) -> None:
    app = AuthMiddleware(handled(_never))
    await _failed_start(app)
    assert (await call(app, http_scope("/"))).status == 503
    assert (await call(app, socket_scope("/"))).status == 503
    plain = await call(app, socket_scope("/", extensions={}))
    assert plain.messages == [{"type": "websocket.close", "code": 1013, "reason": "unavailable"}]


def test_settings_raise_where_they_are_made_and_auth_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_FRESH", "sometimes")
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_FRESH"):
        Settings()
    auth = Auth()
    assert isinstance(auth.problem, ConfigurationError)
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_FRESH"):
        _ = auth.settings


async def test_the_verbs_of_a_wrong_configuration_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_FRESH", "sometimes")
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_FRESH"):
        async with Auth():
            pass
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_FRESH"):
        await Auth().sessions("alice")


def test_added_in_starlette_a_wrong_configuration_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette builds its middleware inside its lifespan, so a constructor that raised would mean "no lifespan"."""
    monkeypatch.setenv("ASGI_AUTH_FRESH", "sometimes")
    app = Starlette()
    app.add_middleware(AuthMiddleware)
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_FRESH"), TestClient(app):
        pass


async def test_a_store_that_is_merely_silent_does_not_stop_the_start(caplog: pytest.LogCaptureFixture) -> None:
    app = AuthMiddleware(Talker("receive", STARTED, "receive", STOPPED), new_auth("redis://127.0.0.1:1", timeout=0.5))
    async with living(app) as said:
        assert said == [STARTED]
    assert "requests get 503 until it does" in caplog.text


async def test_the_start_says_in_one_line_what_is_used_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asgi_auth")
    secret = "s" * 40
    auth = new_auth(secret=secret)
    async with living(AuthMiddleware(Talker("receive", STARTED, "receive", STOPPED), auth)):
        pass
    lines = [r.getMessage() for r in caplog.records if r.name == "asgi_auth" and r.levelno == logging.INFO]
    assert len(lines) == 1
    for word in ("__Host-session", "ES256", "asgi-auth", "/auth/*"):
        assert word in lines[0]
    assert secret not in caplog.text


async def test_the_start_says_where_the_file_of_the_store_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "asgi_auth")
    monkeypatch.chdir(tmp_path)
    async with Auth(Settings(store="sqlite:///here.sqlite3")):
        pass
    assert f"store sqlite:///here.sqlite3 (the file {tmp_path / 'here.sqlite3'});" in caplog.text


async def test_without_lifespan_the_first_request_opens_and_later_ones_do_not() -> None:
    auth = new_auth()
    opened = 0
    open_store = None

    async with browser(AuthMiddleware(handled(lambda r: _ok()), auth)) as client:
        await client.get("/")
        assert not auth.is_open  # nobody's request needs no store
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(client.get, "/auth/me")
        assert auth.is_open
        store = auth.parts.store
        open_store = store.open

        async def counting() -> None:
            nonlocal opened
            opened += 1
            await open_store()

        store.open = counting  # type: ignore[method-assign]
        await client.get("/auth/me")
    assert opened == 0


async def _ok() -> Response:
    return Response()


async def test_what_keeps_the_view_current_may_fail_without_the_application(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    auth = new_auth()
    app = Talker("receive", STARTED, "receive", STOPPED)

    def failing(*_: object) -> float:
        monkeypatch.undo()
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(Lives, "_look_after", failing)
    async with living(AuthMiddleware(app, auth)) as said:
        with anyio.fail_after(10):
            while "a mistake of ours" not in caplog.text or not auth.parts.view.is_current(auth.parts.view.clock()):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert app.heard == [STARTUP]
    assert said == [STARTED, STOPPED]


async def test_what_fails_beside_the_view_costs_no_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it begins anew somebody goes on writing down who was there."""
    auth = new_auth()

    def failing(*_: object) -> float:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(Lives, "_look_after", failing)
    written: dict[str, float] = {}
    async with living(AuthMiddleware(Talker("receive", STARTED, "receive", STOPPED), auth)):
        with anyio.fail_after(10):
            while not auth.is_open or not auth.parts.view.is_current(auth.parts.view.clock()):  # noqa: ASYNC110
                await anyio.sleep(0.01)

        async def touch(sids: Any) -> None:
            written.update(sids)

        monkeypatch.setattr(auth.parts.activity._store, "touch", touch, raising=False)
        auth.parts.activity.note("00someone", 0.0)
    assert list(written) == ["00someone"], "written at the end at the latest"
