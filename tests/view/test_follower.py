"""What proves that a view is current, and what does not: beats, leases, messages. On Redis, where it can fail."""

from __future__ import annotations

import anyio
import pytest
from clocks import Clock
from redis_helpers import TAG, opened
from store_helpers import cookie, login, sid
from view_helpers import LEASE, Stage, following, here, hold, hurry, is_current, is_warm, kind_of, until

import asgi_auth.stores.memory
import asgi_auth.stores.redis_feed
import asgi_auth.stores.sqlite_feed
from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import feed as feeds
from asgi_auth.stores.redis import RedisStore
from asgi_auth.view import View
from asgi_auth.view import follower as followers

# Leases


async def test_a_late_answer_renews_nothing(view, feed, clock):
    async with following(view):
        feed.answered.close()
        async with anyio.create_task_group() as group:
            group.start_soon(feed.pulse)
            await feed.answered.reached()
            sent_at = clock.now
            clock.advance(0.9 * LEASE)
            feed.answered.open()
        assert view.follower.lease_until == sent_at + LEASE
        clock.advance(0.05 * LEASE)
        assert is_current(view)
        clock.advance(0.05 * LEASE)
        assert not is_current(view)


async def test_an_answer_that_took_a_whole_lease_proves_nothing(view, feed, redis_stage, clock, sessions):
    async with following(view):
        await hold(view, sid("a"))
        feed.answered.close()
        async with anyio.create_task_group() as group:
            group.start_soon(feed.pulse)
            await feed.answered.reached()
            await redis_stage.end(sid("a"), "revoked")
            clock.advance(1.1 * LEASE)
            feed.answered.open()
        assert not is_current(view)
        assert await here(view, redis_stage, sid("a")) == "ask"


async def test_a_lease_is_renewed_by_each_beat_and_by_nothing_else(view, feed, redis_store, clock, sessions):
    async with following(view):
        until_then = view.follower.lease_until
        assert until_then == clock.now + LEASE
        clock.advance(10)
        feed.sent.close()
        await redis_store.end(sid("a"), "logout")
        await feed.tell(*await redis_store.events())
        await feed.tell(None, None)
        assert kind_of(await view.session(sid("b"))) == "alive"
        assert view.follower.lease_until == until_then
        feed.sent.open()
        await feed.pulse()
        assert view.follower.lease_until == clock.now + LEASE


async def test_a_beat_that_fails_renews_nothing_and_the_next_goes_on(view, feed, redis_stage, clock, sessions):
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        cursors, until_then = [], view.follower.lease_until

        def fail(cursor):
            cursors.append(cursor)
            raise StoreUnavailable("no answer")

        feed.watch = fail
        clock.advance(10)
        await feed.pulse()
        assert view.follower.lease_until == until_then
        assert is_warm(view, sid("a"))
        await redis_stage.end(sid("b"), "logout")
        feed.watch = cursors.append
        await feed.pulse()
        assert cursors[1] == cursors[0]
        assert await here(view, redis_stage, sid("b")) == "dead"
        assert is_warm(view, sid("a"))


async def test_a_message_kills_at_once_and_moves_no_cursor(view, feed, redis_store, redis_stage, sessions):
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        cursors = []
        feed.watch = cursors.append
        last = await redis_store.newest()
        await redis_store.end(sid("a"), "logout")
        await redis_store.end(sid("b"), "logout")
        feed.sent.close()
        await feed.tell((await redis_store.events(last))[0])
        assert await here(view, redis_stage, sid("a")) == "dead"
        assert is_warm(view, sid("b"))
        feed.sent.open()
        await feed.pulse()
        assert cursors[0] == last
        assert await here(view, redis_stage, sid("b")) == "dead"


async def test_a_full_page_is_applied_and_proves_nothing_yet(view, feed, redis_stage, clock, sessions, monkeypatch):
    for module in (feeds, asgi_auth.stores.memory, asgi_auth.stores.redis_feed, asgi_auth.stores.sqlite_feed):
        monkeypatch.setattr(module, "PAGE", 3)
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        for name in "abc":
            await redis_stage.end(sid(name), "logout")
        clock.advance(10)
        seen, until_then = [], view.follower.lease_until

        def watch(cursor):
            states = [view._copy.dead(sid(name)) is not None for name in "abc"]
            seen.append((states, view.follower.lease_until == until_then))

        feed.watch = watch
        await feed.pulse()
        assert seen[:2] == [([False, False, False], True), ([True, True, False], True)]
        assert view.follower.lease_until == clock.now + LEASE
        assert await here(view, redis_stage, sid("c")) == "dead"


async def test_a_full_feed_is_caught_up_with_at_once(view, feed, redis_stage, clock, sessions, monkeypatch):
    """However many pages it takes, and without the pause between two beats."""
    for module in (feeds, asgi_auth.stores.redis_feed):
        monkeypatch.setattr(module, "PAGE", 3)
    async with following(view):
        for number in range(30):
            await redis_stage.end_all("revoked", lost=number + 1)
        clock.advance(10)
        await feed.pulse()
        assert view.follower.lease_until == clock.now + LEASE
        assert view._copy.history.era == 30


async def test_a_cursor_is_published_only_after_it_is_applied(view, feed, redis_store, sessions):
    async with following(view):
        await hold(view, sid("a"))
        ended = await redis_store.newest()
        await redis_store.end(sid("a"), "logout")
        mark, published = await redis_store.newest(), []

        def watch(cursor):
            published.append((cursor, view._copy.dead(sid("a")) is not None))

        feed.watch = watch
        feed.answered.close()
        async with anyio.create_task_group() as group:
            group.start_soon(feed.pulse)
            await feed.answered.reached()
            # It has got the entry, as far as the server knows, and has not applied it.
            assert len(await redis_store.behind(mark)) == 1
            assert is_warm(view, sid("a"))
            feed.answered.open()
        assert published == [(ended, False), (mark, True)]
        assert await redis_store.behind(mark) == []


# The connection of the messages


async def listening(store):
    """Returns once somebody has subscribed."""
    with anyio.fail_after(10):
        while not (await store._client.one("PUBSUB", "SHARDNUMSUB", f"{TAG}events"))[1]:  # noqa: ASYNC110
            await anyio.sleep(0.005)


async def test_a_reconnected_subscriber_proves_its_cursor_before_it_answers(
    view, feed, redis_store, redis_stage, redis_url, clock, sessions, monkeypatch
):
    monkeypatch.setattr(followers, "_LISTEN_AGAIN", 0.01)
    feed.listens = True
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        await listening(redis_store)
        feed.sent.close()
        with opened(redis_url) as control:
            control.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            control.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await redis_store.end(sid("a"), "logout")
        await redis_store.end(sid("b"), "logout")
        clock.advance(LEASE)
        await listening(redis_store)
        await redis_store.put_keys(None, "ring")
        await until(lambda: feed.heard)
        assert not is_current(view)
        assert not is_warm(view, sid("b"))
        assert kind_of(await view.session(sid("a"))) == "dead"
        feed.sent.open()
        await redis_store.put_keys("ring", "another")  # the beat under way may have met the old connection
        await until(lambda: is_current(view))
        assert await here(view, redis_stage, sid("b")) == "dead"


async def test_a_dropped_subscription_loses_nothing(
    view, feed, redis_store, redis_stage, redis_url, sessions, monkeypatch
):
    monkeypatch.setattr(followers, "_LISTEN_AGAIN", 60)
    feed.listens = True
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        await listening(redis_store)
        with opened(redis_url) as control:
            control.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await redis_store.end(sid("a"), "logout")
        await redis_store.end_user("alice", "revoked")
        feed.listens = False
        hurry(view)
        await until(lambda: view._copy.dead(sid("a")))
        assert not is_warm(view, sid("b"))
        assert not is_warm(view, sid("c"))


async def test_with_nothing_held_back_a_revocation_is_heard_by_message_and_without_one(
    redis_url, redis_store, sessions, anyio_backend
):
    """The real feed by the real clock: first with its subscription, then without."""
    store = RedisStore(redis_url, timeout=10)
    stage = Stage(store)
    view = View(stage, staleness=0.4)
    stage.own_feed.listens = True
    async with following(view):
        await listening(redis_store)
        for name in "ab":
            await hold(view, sid(name))
            if name == "b":
                with opened(redis_url) as control:
                    control.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await redis_store.end(sid(name), "logout")
            await until(lambda name=name: view._copy.dead(sid(name)))
    await store.aclose()


@pytest.mark.parametrize("more", ["", " +ssubscribe"])  # a command less, a channel less
async def test_who_may_not_listen_says_so_once_and_looks_more_often(serve, anyio_backend, caplog, more):
    server = serve()
    rights = "+@read +@write +@scripting +@connection +time +publish +info" + more
    with opened(server.url) as control:
        control.execute_command(
            "ACL", "SETUSER", "app", "on", ">word", "~asgi-auth:*", "resetchannels", *rights.split()
        )
    store = RedisStore(server.url.replace("://", "://app:word@"), timeout=10)
    await store.open()
    stage = Stage(store)
    view = View(stage, staleness=60.0)
    stage.own_feed.listens = True
    await login(store, cookie("a"))
    async with following(view):
        await until(lambda: view.follower._deaf)
        await hold(view, sid("a"))
        other = RedisStore(server.url, timeout=10)
        await other.end(sid("a"), "revoked")
        await other.aclose()
        await until(lambda: view._copy.dead(sid("a")))  # a beat in fifteen seconds would be too late for this
    await store.aclose()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "may not listen" in caplog.text


# Who follows


async def test_who_leaves_is_no_member_any_more(view, redis_store):
    async with following(view):
        assert len(await redis_store.behind(None)) == 1
    assert await redis_store.behind(None) == []
    await view.follower.leave()  # again, and without anything to leave


async def test_who_leaves_hangs_up_though_the_server_is_gone(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    view = View(Stage(store), staleness=LEASE)
    async with following(view):
        server.kill()
    assert not store._client._feed_links.are_open
    await store.aclose()


async def test_the_last_of_several_runs_takes_the_lease_with_it(view):
    async with anyio.create_task_group() as both:
        both.start_soon(view.follower.run)
        await until(lambda: is_current(view))
        async with anyio.create_task_group() as one:
            one.start_soon(view.follower.run)
            await until(lambda: view.follower._followers == 2)
            one.cancel_scope.cancel()
        assert is_current(view)
        both.cancel_scope.cancel()
    assert not is_current(view)
    await view.follower.leave()


async def test_a_store_that_comes_later_is_followed_then(view, feed, redis_stage, caplog):
    caplog.set_level("INFO", "asgi_auth")
    redis_stage.down.add("newest")
    async with anyio.create_task_group() as group:
        group.start_soon(view.follower.run)
        await until(lambda: "newest" in redis_stage.asked)
        assert not is_current(view)
        redis_stage.down.clear()
        await feed.tell(None)
        await until(lambda: is_current(view))
        group.cancel_scope.cancel()
    await view.follower.leave()
    assert "so the store is asked" in caplog.text


def test_the_lease_counts_on_the_views_own_clock(redis_url):
    """A store's clock may jump: its time decides over sessions, never over leases."""
    from asgi_auth.clock import steady_clock

    assert View(RedisStore(redis_url)).clock is steady_clock
    ours = Clock()
    assert View(RedisStore(redis_url, clock=ours)).clock is ours


async def test_who_leaves_while_another_follows_leaves_them_a_member(view, feed, redis_store, clock):
    """A beat whose answer was under way would give a lease that nobody knows of."""
    async with following(view):
        feed.answered.close()
        feed._told.append(None)
        await feed.answered.reached()
        clock.advance(0.1 * LEASE)
        await view.follower.leave()
        feed.answered.open()
        await until(lambda: feed.done == feed.started)
        await anyio.sleep(0.01)
        assert is_current(view)
        assert len(await redis_store.behind(None)) == 1
