"""What happens to whole processes and servers: stopped, forked, killed, brought back with old data."""

from __future__ import annotations

import os
import signal

import pytest
from redis_helpers import opened
from store_helpers import bearer, cookie, login, sid
from view_helpers import (
    Stage,
    following,
    here,
    hold,
    is_current,
    is_warm,
    kind_of,
    stamp_of,
    until,
    until_it_is_dead,
    until_told,
    worker,
)

from asgi_auth.clock import steady_clock
from asgi_auth.stores import Loaded
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.redis import RedisStore
from asgi_auth.view import View

STALENESS = 0.4
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""The other process is what matters, and that one always runs there."""


@pytest.fixture(params=["sqlite", "redis"])
async def shared(request, tmp_path, anyio_backend):
    """A store of several processes, and its URL."""
    url = f"sqlite:///{tmp_path / 's.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    store = open_store(url, timeout=10)
    await store.open()
    yield store, url
    await store.aclose()


@ON_ASYNCIO
async def test_the_first_request_after_a_stopped_process_asks_the_store(redis_url, anyio_backend):
    store = RedisStore(redis_url, timeout=10)
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    with worker(redis_url, STALENESS) as process:
        assert await process.hear() == "ready"
        for name, ends in (("a", True), ("b", False)):
            assert await process.ask("hold", sid(name)) == {"state": "alive", "warm": True}
            assert await process.ask("stop", sid(name)) == "stopping"
            process.process.send_signal(signal.SIGSTOP)
            stopped_at = steady_clock()
            if ends:
                await store.end(sid(name), "revoked")
            await until(lambda since=stopped_at: steady_clock() - since > STALENESS)
            process.say("go")
            process.process.send_signal(signal.SIGCONT)
            state = "dead" if ends else "alive"
            assert await process.hear() == {"warm": False, "state": state, "asked": True}
    await store.aclose()


@ON_ASYNCIO
async def test_a_process_that_was_stopped_for_less_than_its_lease_may_answer(redis_url, anyio_backend):
    """The same steps without the wait, so that the test above is known to be able to fail."""
    store = RedisStore(redis_url, timeout=10)
    await login(store, cookie("a"))
    with worker(redis_url, 60) as process:
        assert await process.hear() == "ready"
        assert await process.ask("hold", sid("a")) == {"state": "alive", "warm": True}
        assert await process.ask("stop", sid("a")) == "stopping"
        process.process.send_signal(signal.SIGSTOP)
        process.say("go")
        process.process.send_signal(signal.SIGCONT)
        assert await process.hear() == {"warm": True, "state": "alive", "asked": False}
    await store.aclose()


@ON_ASYNCIO
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_forked_child_starts_without_view_and_lease(shared):
    store, url = shared
    await login(store, cookie("a"))
    with worker(url, 60) as process:
        assert await process.hear() == "ready"
        assert await process.ask("hold", sid("a")) == {"state": "alive", "warm": True}
        found = await process.ask("fork", sid("a"))
        assert found["child"] == {"lease": False, "current": False, "held": False, "feeds": 2}
        # The parent's go on.
        assert found["warm"]
        assert await process.ask("ask", sid("a")) == {"warm": True, "state": "alive", "asked": False}
        await store.end(sid("a"), "revoked")
        await until_it_is_heard(process)


async def until_it_is_heard(process):
    async def heard():
        return (await process.ask("ask", sid("a")))["state"] == "dead"

    await until_told(heard)


@ON_ASYNCIO
async def test_another_process_hears_of_a_revocation(shared):
    store, url = shared
    await login(store, cookie("a"))
    with worker(url, 60) as process:
        assert await process.hear() == "ready"
        assert await process.ask("hold", sid("a")) == {"state": "alive", "warm": True}
        await store.end(sid("a"), "revoked")
        await until_it_is_heard(process)


async def test_a_restart_from_an_old_snapshot_revives_nothing_that_was_seen_dead(serve, anyio_backend):
    server = serve()
    other = RedisStore(server.url, timeout=10)
    stage = Stage(RedisStore(server.url, timeout=10))
    view = View(stage, staleness=STALENESS)
    stage.own_feed.listens = True
    for new in (cookie("a"), cookie("b"), bearer("t")):
        await login(other, new)
    with opened(server.url) as control:
        control.save()
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        stamp = await stamp_of(other, sid("t"))
        await other.end(sid("b"), "revoked")
        await other.end(sid("t"), "revoked")
        await until_it_is_passed(other, await other.newest())
        stage.own_feed.sent.close()
        server.kill()
        server.start()
        for name in "bt":
            assert isinstance(await other.load(sid(name)), Loaded)
            assert kind_of(await view.session(sid(name))) == "dead"
        await until(lambda: not is_current(view))
        assert (await view.token(stamp)).state == "revoked"
        stage.own_feed.sent.open()
        await until(lambda: is_current(view))
        assert not view.stands(stamp, view.clock())
        assert kind_of(await view.session(sid("a"))) == "alive"
        for name in "bt":
            assert kind_of(await view.session(sid(name))) == "dead"
            await until_it_is_dead(other, sid(name))  # for processes that never heard of it
        assert (await view.token(stamp)).state == "revoked"
    await stage.aclose()
    await other.aclose()


async def until_it_is_passed(store, mark):
    """Returns once all who follow have said that they are there."""

    async def passed():
        return await store.behind(mark) == []

    await until_told(passed)


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_without_a_server_the_view_answers_for_its_lease_and_no_longer(serve, anyio_backend, way):
    server = serve(appendonly="yes", appendfsync="always")
    stage = Stage(RedisStore(server.url, timeout=0.3))
    view = View(stage, staleness=STALENESS)
    await login(stage, cookie("a"))
    async with following(view):
        await hold(view, sid("a"))
        lease = view.follower.lease_until
        (server.kill if way == "killed" else server.freeze)()
        away_at = view.clock()
        assert await here(view, stage, sid("a")) == "alive" or view.clock() >= lease
        assert view.follower.lease_until <= away_at + STALENESS
        await until(lambda: not is_current(view))
        assert not is_warm(view, sid("a"))
        (server.start if way == "killed" else server.thaw)()
        await until(lambda: is_current(view))
        await hold(view, sid("a"))
    await stage.aclose()
