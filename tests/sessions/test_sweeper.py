"""What is over is collected beside the requests, and its end is told once over all processes of a store."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from clocks import Clock
from seats import add_users, browser, call, handled, http_scope, living, new_auth
from starlette.requests import Request
from starlette.responses import Response

from asgi_auth import Auth, AuthMiddleware, SessionEnd, User
from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.sessions import sweeper as sweepers
from asgi_auth.sessions.sweeper import PAUSE, Sweeper
from asgi_auth.stores import SWEPT, Ended, NewSession, Swept
from asgi_auth.stores.memory import MemoryStore

IDLE = 86_400.0


class Listener:
    """Hears of ends, slowly if it is told to."""

    def __init__(self) -> None:
        self.heard: list[Ended] = []
        self.fails = False
        self.begun = False
        self.go: anyio.Event | None = None

    async def __call__(self, ended: Sequence[Ended]) -> None:
        self.begun = True
        if self.go is not None:
            await self.go.wait()
        if self.fails:
            raise RuntimeError("a handler of the application's")
        self.heard.extend(ended)


class Moody(MemoryStore):
    """A store that may not answer, and counts how often it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_down = False
        self.steps = 0

    async def sweep(self, limit: int = SWEPT) -> Swept:
        self.steps += 1
        if self.is_down:
            raise StoreUnavailable("down")
        return await super().sweep(limit)


async def filled(store: MemoryStore, number: int) -> None:
    """So many visitors' sessions, which need no user, and one of alice's."""
    for index in range(number):
        await store.create(NewSession(f"00v{index}", None, "session", idle=10.0, lifetime=10.0))
    await store.save_user(UserRow("alice"), expected=None)
    await store.create(NewSession("00alices", "alice", "session", idle=10.0, lifetime=100.0), revision=1)


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)


# The task


async def test_a_full_step_is_followed_by_the_next_until_nothing_is_left(clock: Clock) -> None:
    store, heard = Moody(clock), Listener()
    await filled(store, 250)
    clock.advance(10)
    await Sweeper(store, clock, heard).sweep()
    assert store.steps == 3
    assert heard.heard == [Ended("00alices", "alice", "idle")]


async def test_it_looks_again_and_again_and_ends_when_it_is_told_to(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweepers, "PAUSE", 0.001)
    store, heard = Moody(clock), Listener()
    await filled(store, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(Sweeper(store, clock, heard).run)
        await until(lambda: store.steps > 3)
        assert heard.heard == []
        clock.advance(10)
        await until(lambda: heard.heard)
        group.cancel_scope.cancel()
    assert heard.heard == [Ended("00alices", "alice", "idle")]


async def test_a_store_that_is_down_is_tried_later(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweepers, "PAUSE", 0.001)
    store, heard = Moody(clock), Listener()
    await filled(store, 1)
    clock.advance(10)
    store.is_down = True
    async with anyio.create_task_group() as group:
        group.start_soon(Sweeper(store, clock, heard).run)
        await until(lambda: store.steps > 3)
        store.is_down = False
        await until(lambda: heard.heard)
        group.cancel_scope.cancel()


async def test_who_fails_to_hear_does_not_stop_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweepers, "PAUSE", 0.001)
    store, heard = Moody(clock), Listener()
    heard.fails = True
    await filled(store, 1)
    clock.advance(10)
    async with anyio.create_task_group() as group:
        group.start_soon(Sweeper(store, clock, heard).run)
        await until(lambda: "could not be told" in caplog.text)
        steps = store.steps
        await until(lambda: store.steps > steps + 2)
        group.cancel_scope.cancel()


async def test_what_was_collected_when_it_is_to_end_is_told(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweepers, "PAUSE", 0.001)
    store, heard = Moody(clock), Listener()
    await filled(store, 1)
    for number in range(3):
        new = NewSession(f"00more{number}", "alice", "session", idle=20.0, lifetime=100.0)
        await store.create(new, revision=1)
    clock.advance(20)
    heard.go = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(Sweeper(store, clock, heard).run)
        await until(lambda: heard.begun)
        heard.go = None  # the first one was told, and whoever hears of it is not done
        group.cancel_scope.cancel()
    assert [one.sid for one in heard.heard] == ["00more0", "00more1", "00more2"]


async def test_on_demand_it_takes_one_step_in_a_while_or_more_while_steps_are_full(clock: Clock) -> None:
    store, heard = Moody(clock), Listener()
    sweeper = Sweeper(store, clock, heard)
    await filled(store, 150)
    clock.advance(PAUSE - 1)
    await sweeper.now_and_then()
    assert store.steps == 0
    clock.advance(1)
    for _ in range(5):
        await sweeper.now_and_then()
    assert store.steps == 2
    assert heard.heard == [Ended("00alices", "alice", "idle")]
    clock.advance(PAUSE)
    await sweeper.now_and_then()
    assert store.steps == 3


# In an application


class Lines(logging.Handler):
    """The security events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(json.loads(record.getMessage()))

    def expired(self) -> list[tuple[str, str, str]]:
        found = [event for event in self.events if event["event"].startswith("session_expired")]
        return sorted((event["event"], event["sid"], event["reason"]) for event in found)


@pytest.fixture
def lines() -> Any:
    handler, logger = Lines(), logging.getLogger("asgi_auth.security")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


async def works(request: Request) -> Response:
    return Response("fine")


async def test_every_expiry_is_told_once_over_all_processes(
    any_store: str, clock: Clock, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweepers, "PAUSE", 0.002)
    first = new_auth(any_store, clock=clock)
    await add_users(first)
    for _ in range(30):
        await first.issue(User(id="alice", scopes={"read"}))
    sids = [session.id for session in await first.sessions("alice")]
    # One process more beside the first, with a store of its own where it can have one.
    second = new_auth(any_store, clock=clock) if first.parts.store.durable else first
    heard: list[str] = []

    async def hear(end: SessionEnd) -> None:
        heard.append(end.id)

    for auth in {first, second}:
        auth.on("session_ended")(hear)
    async with living(AuthMiddleware(handled(works), first)), living(AuthMiddleware(handled(works), second)):
        assert lines.expired() == []
        clock.advance(31 * IDLE)
        await until(lambda: len(lines.expired()) >= 30)
    assert lines.expired() == sorted(("session_expired:alice,lifetime", sid, "lifetime") for sid in sids)
    assert sorted(heard) == sorted(sids)
    await first.aclose()


async def test_where_there_is_no_lifespan_requests_collect_now_and_then(clock: Clock, lines: Lines) -> None:
    auth = new_auth(clock=clock)
    await add_users(auth)
    app = AuthMiddleware(handled(works), auth)
    await auth.issue(User(id="bob", scopes={"read", "admin"}))
    clock.advance(31 * IDLE)
    async with browser(app) as client:
        assert (await client.get("/")).status_code == 200
        assert lines.expired() == []  # nobody's request does no work for others
        login = await client.post("/auth/login", json={"username": "alice", "password": "wrong"})
        assert login.status_code == 401
    assert [(event, reason) for event, _, reason in lines.expired()] == [("session_expired:bob,lifetime", "lifetime")]


async def test_with_a_lifespan_requests_do_not_collect(clock: Clock) -> None:
    store = Moody(clock)
    auth = Auth(store=store, clock=clock)
    app = AuthMiddleware(handled(works), auth)
    async with living(app):
        await until(lambda: auth.followers)
        clock.advance(10 * PAUSE)
        answer = await call(app, http_scope("/auth/logout", "POST", [("host", "localhost")]))
        assert answer.status == 204
        assert store.steps == 0
