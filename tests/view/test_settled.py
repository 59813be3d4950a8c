"""`wait=True`: a change that has returned counts in every process, whatever is the matter with the others."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import anyio
import pytest
from clocks import Clock
from redis_helpers import opened
from store_helpers import cookie, login, sid
from view_helpers import LEASE, Stage, Worker, following, here, hold, is_current, is_warm, until, worker

from asgi_auth.clock import steady_clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores.redis import RedisStore
from asgi_auth.view import View
from asgi_auth.view.copy import Copy
from asgi_auth.view.follower import Follower


class Settling:
    """A change whose maker waits for the others: `done` once that has returned."""

    def __init__(self, stage, follower, change) -> None:
        self.stage, self.follower, self.change = stage, follower, change
        self.done = False

    async def run(self) -> None:
        async with self.follower.settled():
            await self.change()
        self.done = True

    async def waits(self) -> None:
        """Returns once it has looked at the others several times more, and goes on waiting."""
        asked = self.stage.asked.count("behind")
        await until(lambda: self.done or self.stage.asked.count("behind") >= asked + 3)
        assert not self.done


@asynccontextmanager
async def settling(stage, follower, change):
    one = Settling(stage, follower, change)
    async with anyio.create_task_group() as group:
        group.start_soon(one.run)
        yield one
        await until(lambda: one.done)


@asynccontextmanager
async def two_views(store, clock, *, other_staleness=LEASE, longest=LEASE):
    """Two processes of one store, that have known each other for longer than the longest lease."""
    mine, other = Stage(store), Stage(store)
    ours, theirs = View(mine, staleness=LEASE), View(other, staleness=other_staleness)
    async with following(ours), following(theirs):
        clock.advance(1.1 * max(longest, other_staleness))
        await mine.own_feed.pulse()
        await other.own_feed.pulse()
        yield mine, ours, other, theirs


async def test_who_is_alone_waits_for_nobody(redis_stage, redis_store, clock):
    await login(redis_store, cookie("a"))
    view = View(redis_stage, staleness=LEASE)
    async with following(view):
        clock.advance(1.1 * LEASE)
        await redis_stage.own_feed.pulse()
        async with view.settled(True):
            assert await view.store.end(sid("a"), "revoked")


async def test_without_wait_nobody_is_asked(store, stage):
    view = View(stage, staleness=LEASE)
    async with view.settled(False):
        pass
    assert stage.asked == []


async def test_beside_the_store_everybody_looks_before_each_answer(store, stage, tmp_path):
    if not stage.feed().instant:
        return
    await login(store, cookie("a"))
    view, other = View(stage, staleness=LEASE), View(Stage(store), staleness=LEASE)
    async with following(other):
        await hold(other, sid("a"))
        async with view.settled(True):
            await view.store.end(sid("a"), "revoked")
        assert not is_warm(other, sid("a"))


async def test_it_returns_when_the_others_have_said_that_they_applied_it(redis_store, clock):
    await login(redis_store, cookie("a"))
    async with two_views(redis_store, clock) as (mine, ours, other, theirs):
        await hold(theirs, sid("a"))
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            assert is_warm(theirs, sid("a"))
            await other.own_feed.pulse()
        assert await here(theirs, other, sid("a")) == "dead"
        assert len(await redis_store.behind(None)) == 2


async def test_it_outlasts_the_lease_of_a_silent_member_once(redis_store, clock):
    await login(redis_store, cookie("a"))
    async with two_views(redis_store, clock) as (mine, ours, other, theirs):
        await hold(theirs, sid("a"))
        other.own_feed.sent.close()
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            clock.advance(0.99 * LEASE)
            await change.waits()
            assert is_warm(theirs, sid("a"))
            clock.advance(0.015 * LEASE)
            await change.waits()
            assert not is_current(theirs)
            clock.advance(0.015 * LEASE)
        assert len(await redis_store.behind(None)) == 1
        async with ours.settled(True):  # the clock stands still: whoever waited now would wait for ever
            await ours.store.end_user("alice", "revoked")
        other.own_feed.sent.open()


async def test_who_was_taken_for_dead_is_a_member_again_with_the_next_beat(redis_store, clock):
    async with two_views(redis_store, clock) as (mine, _, other, _):
        for member in await redis_store.behind(None):
            await redis_store.expel(member)
        await other.own_feed.pulse()
        await mine.own_feed.pulse()
        assert len(await redis_store.behind(None)) == 2


async def test_a_member_that_says_something_during_the_wait_is_not_taken_for_dead(redis_store, clock):
    """Its beats arrive and their answers do not, so it never applies anything, and has no lease."""
    await login(redis_store, cookie("a"))
    async with two_views(redis_store, clock) as (mine, ours, other, _):
        other.own_feed.answered.close()
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            async with anyio.create_task_group() as group:
                group.start_soon(other.own_feed.pulse)
                await other.own_feed.answered.reached()
                clock.advance(1.02 * LEASE)
                await until(lambda: change.done)
                assert len(await redis_store.behind(None)) == 2
                other.own_feed.answered.open()


async def test_the_longest_lease_counts(redis_store, clock):
    await login(redis_store, cookie("a"))
    async with two_views(redis_store, clock, other_staleness=3 * LEASE) as (mine, ours, other, theirs):
        await hold(theirs, sid("a"))
        other.own_feed.sent.close()
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            clock.advance(2.9 * LEASE)
            await change.waits()
            assert is_warm(theirs, sid("a"))
            clock.advance(0.2 * LEASE)
        assert not is_current(theirs)
        other.own_feed.sent.open()


async def test_a_longer_lease_that_began_while_the_change_was_made_counts(redis_store, clock):
    await login(redis_store, cookie("a"))
    late = Stage(redis_store)
    newcomer = View(late, staleness=5 * LEASE)

    async def change() -> None:
        group.start_soon(newcomer.follower.run)
        await until(lambda: is_current(newcomer))
        await hold(newcomer, sid("a"))
        late.own_feed.sent.close()
        await ours.store.end(sid("a"), "revoked")

    both = two_views(redis_store, clock, longest=5 * LEASE)
    async with both as (mine, ours, other, _), anyio.create_task_group() as group:
        async with settling(mine, ours.follower, change) as one:
            await one.waits()
            await other.own_feed.pulse()
            clock.advance(1.1 * LEASE)
            await one.waits()
            assert is_warm(newcomer, sid("a"))
            late.own_feed.sent.open()
            await late.own_feed.pulse()
        group.cancel_scope.cancel()
    await newcomer.follower.leave()


async def test_wait_is_right_while_the_stores_clock_jumps_an_hour(redis_url, anyio_backend):
    stores_clock, ours = Clock(), Clock(5000.0)
    store = RedisStore(redis_url, timeout=10, clock=stores_clock)
    await login(store, cookie("a"))
    mine, other = Stage(store), Stage(store)
    follower, silent = (
        Follower(stage, Copy(ours), staleness=LEASE, clock=ours)  # type: ignore[arg-type]
        for stage in (mine, other)
    )
    async with anyio.create_task_group() as group:
        group.start_soon(follower.run)
        group.start_soon(silent.run)
        await until(lambda: follower.is_current(ours()) and silent.is_current(ours()))
        ours.advance(1.1 * LEASE)
        await mine.own_feed.pulse()
        await other.own_feed.pulse()
        for jump in (3600, -7200, 3600):
            other.own_feed.sent.close()
            async with settling(mine, follower, lambda: store.end_all("revoked")) as change:
                await change.waits()
                stores_clock.advance(jump)
                await change.waits()
                ours.advance(0.9 * LEASE)
                await change.waits()
                assert silent.is_current(ours())
                ours.advance(0.12 * LEASE)
            assert not silent.is_current(ours())
            other.own_feed.sent.open()
            await mine.own_feed.pulse()
            await other.own_feed.pulse()
        group.cancel_scope.cancel()
    await follower.leave()
    await silent.leave()
    await store.aclose()


async def test_a_process_that_starts_during_the_wait_has_the_revocation(redis_store, clock):
    await login(redis_store, cookie("a"))
    async with two_views(redis_store, clock) as (mine, ours, other, _):
        other.own_feed.sent.close()
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            late = Stage(redis_store)
            newcomer = View(late, staleness=LEASE)
            async with following(newcomer):
                assert await newcomer.session(sid("a")) == await redis_store.load(sid("a"))
                assert not is_warm(newcomer, sid("a"))
                await change.waits()  # for the silent one
            other.own_feed.sent.open()
            await other.own_feed.pulse()


async def test_nothing_is_changed_when_nobody_can_say_who_follows(redis_stage, redis_store, clock):
    await login(redis_store, cookie("a"))
    view = View(redis_stage, staleness=LEASE)
    async with following(view):
        redis_stage.down.add("behind")
        with pytest.raises(StoreUnavailable):
            async with view.settled(True):
                await view.store.end(sid("a"), "revoked")
        assert "end" not in redis_stage.asked


async def test_a_change_that_fails_is_told_without_waiting(redis_store, clock):
    async with two_views(redis_store, clock) as (mine, ours, _, _):
        mine.down.add("end")
        with pytest.raises(StoreUnavailable):
            async with ours.settled(True):
                await ours.store.end(sid("a"), "revoked")


# By the real clock


@pytest.mark.parametrize("verb", ["newest", "behind"])
async def test_a_store_lost_after_the_change_costs_a_lease_and_no_error(redis_url, anyio_backend, verb):
    store = RedisStore(redis_url, timeout=10)
    stage = Stage(store)
    view = View(stage, staleness=0.2)
    async with following(view):
        await anyio.sleep(0.21)  # longer than a lease, so that it knows everybody
        began = steady_clock()
        async with view.settled(True):
            await view.store.end_all("revoked")
            stage.down.add(verb)
        assert steady_clock() - began >= 0.2
    await store.aclose()


async def test_who_does_not_follow_waits_a_whole_lease(redis_url, anyio_backend):
    store = RedisStore(redis_url, timeout=10)
    view = View(Stage(store), staleness=0.2)
    began = steady_clock()
    async with view.settled(True):
        await view.store.end_all("revoked")
    assert steady_clock() - began >= 0.2
    await store.aclose()


async def test_who_came_a_moment_ago_waits_a_whole_lease(redis_url, anyio_backend):
    """Members of the history before may have a lease that this one knows nothing of."""
    store = RedisStore(redis_url, timeout=10)
    view = View(Stage(store), staleness=0.2)
    async with following(view):
        began = steady_clock()
        async with view.settled(True):
            await view.store.end_all("revoked")
        assert steady_clock() - began >= 0.2
    await store.aclose()


async def waits_for(process: Worker, how: int, redis_url: str) -> None:
    """Stop or kill another process that answers for a session, end that one, and wait."""
    store = RedisStore(redis_url, timeout=10)
    stage = Stage(store)
    view = View(stage, staleness=0.5)
    stage.own_feed.listens = True
    await login(store, cookie("a"))
    async with following(view):
        assert await process.hear() == "ready"
        assert await process.ask("hold", sid("a")) == {"state": "alive", "warm": True}
        await anyio.sleep(0.51)
        assert await process.ask("stop", sid("a")) == "stopping"
        process.process.send_signal(how)
        began = steady_clock()
        async with view.settled(True):
            await view.store.end(sid("a"), "revoked")
        if how == signal.SIGSTOP:
            process.say("go")
            process.process.send_signal(signal.SIGCONT)
            assert await process.hear() == {"warm": False, "state": "dead", "asked": True}
        else:
            first, began = steady_clock() - began, steady_clock()
            assert len(await store.behind(None)) == 1
            async with view.settled(True):
                await view.store.end(sid("a"), "revoked")
            assert steady_clock() - began < first
    await store.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_wait_outlasts_the_lease_of_a_stopped_process(redis_url, anyio_backend, how):
    with worker(redis_url, 0.5) as process:
        await waits_for(process, how, redis_url)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_flush_during_the_wait_forgets_no_member(redis_url, anyio_backend):
    """It forgets their names; their leases go on."""
    store = RedisStore(redis_url, timeout=10)
    mine, other = Stage(store), Stage(store)
    ours, theirs = View(mine, staleness=1.0), View(other, staleness=1.0)
    await login(store, cookie("a"))
    async with following(ours), following(theirs):
        await anyio.sleep(1.1)  # longer than a lease, so that they know each other
        await hold(theirs, sid("a"))
        other.own_feed.sent.close()
        async with settling(mine, ours.follower, lambda: ours.store.end(sid("a"), "revoked")) as change:
            await change.waits()
            with opened(redis_url) as server:
                server.flushall()
        assert not is_warm(theirs, sid("a"))
        other.own_feed.sent.open()
    await store.aclose()
