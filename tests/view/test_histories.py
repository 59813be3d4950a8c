"""What a view does when the feed is not the one that it followed: trimmed, flushed, restarted, restored, begun anew."""

from __future__ import annotations

import anyio
import pytest
from redis_helpers import TAG, opened
from store_helpers import bearer, cookie, login, sid
from view_helpers import following, here, hold, is_current, kind_of, stamp_of, until, until_it_is_dead, until_told

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Event
from asgi_auth.stores import Ended, Entry, Loaded
from asgi_auth.stores.feed import Beat
from asgi_auth.view import follower as followers


def begin_anew(url, entry_id, nonce):
    """The stream of a server that has lost its tail, or all of it."""
    with opened(url) as control:
        control.delete(f"{TAG}events")
        control.xadd(f"{TAG}events", {"nonce": nonce, "kind": "begun"}, id=entry_id)


async def resets(view, feed, redis_stage):
    """The next beat finds another history: nobody is held, and nothing is answered from here until it has begun."""
    redis_stage.before["newest"].close()
    feed.watch, cursors = (lambda cursor: cursors.append(cursor)), []
    async with anyio.create_task_group() as group:
        group.start_soon(feed.pulse)
        await redis_stage.before["newest"].reached()
        assert not is_current(view)
        for name in "abc":
            assert view.held(sid(name)) is None
        redis_stage.before["newest"].open()
    await until(lambda: is_current(view))
    assert cursors[-1] != cursors[0]


async def test_a_cursor_ahead_of_the_stream_is_a_reset(view, feed, redis_store, redis_stage, redis_url, sessions):
    begin_anew(redis_url, "9999999999999-1", "1" * 16)  # by a clock that was ahead
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        begin_anew(redis_url, "1-1", "0" * 16)
        await redis_store.end(sid("a"), "logout")  # an entry whose id is behind the cursor
        await resets(view, feed, redis_stage)
        await hold(view, sid("b"))
        await redis_store.end(sid("b"), "logout")
        await feed.pulse()
        assert await here(view, redis_stage, sid("b")) == "dead"


async def test_an_entry_of_the_same_id_and_another_nonce_is_a_reset(view, feed, redis_stage, redis_url, sessions):
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        cursor = await redis_stage.newest()
        begin_anew(redis_url, cursor[0].id, "0" * 16)
        await resets(view, feed, redis_stage)


async def test_a_reader_that_slept_past_the_trim_resets(view, feed, redis_store, redis_stage, redis_url, sessions):
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        await redis_store.end(sid("a"), "logout")
        for number in range(20):
            await redis_store.write_data(sid("b"), {"k": str(number)}, [], max_size=100)
        with opened(redis_url) as control:
            control.xtrim(f"{TAG}events", maxlen=5, approximate=False)
        await resets(view, feed, redis_stage)
        assert kind_of(await view.session(sid("a"))) == "dead"
        assert (await view.session(sid("b"))).record.data == {"k": "19"}


async def test_reset_forgets_every_living_session(view, feed, redis_store, redis_stage, redis_url, sessions):
    async with following(view):
        await hold(view, sid("a"), sid("b"), sid("c"))
        assert await view.session(sid("nobody")) is None
        held = view.held(sid("a"))
        with opened(redis_url) as control:
            control.flushall()
        await resets(view, feed, redis_stage)
        assert not held.valid
        for name in "abc":
            assert await here(view, redis_stage, sid(name)) == "ask"
            assert await view.session(sid(name)) is None


async def test_an_unknown_session_is_asked_about_again_in_another_history(
    view, feed, redis_store, redis_stage, redis_url, sessions
):
    async with following(view):
        assert await view.session(sid("later")) is None
        assert await here(view, redis_stage, sid("later")) == "unknown"
        begin_anew(redis_url, "1-1", "0" * 16)
        await login(redis_store, cookie("later"))
        await resets(view, feed, redis_stage)
        assert kind_of(await view.session(sid("later"))) == "alive"


async def test_a_load_from_the_history_before_never_enters(view, feed, redis_store, redis_stage, redis_url, sessions):
    async with following(view):
        redis_stage.after["load"].close()
        answers = []

        async def ask() -> None:
            answers.append(await view.session(sid("a")))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await redis_stage.after["load"].reached()
            with opened(redis_url) as control:
                control.flushall()
            await resets(view, feed, redis_stage)
            redis_stage.after["load"].open()
        assert answers == [None]
        assert view.held(sid("a")) is None


async def test_what_was_seen_dead_stays_dead_in_any_history(view, feed, redis_store, redis_stage, redis_url, sessions):
    await login(redis_store, bearer("t"))
    async with following(view):
        stamp = await stamp_of(redis_store, sid("t"))
        await hold(view, sid("a"), sid("b"), sid("c"))
        for name in "at":
            await redis_store.end(sid(name), "logout")
        await feed.pulse()
        begin_anew(redis_url, "1-1", "0" * 16)
        await resets(view, feed, redis_stage)
        for name in "at":
            assert await here(view, redis_stage, sid(name)) == "dead"
        assert view.hits(stamp)
        assert not view.stands(stamp, view.clock())


async def test_the_cursor_is_taken_before_anything_is_read(view, feed, redis_store, redis_stage):
    """What is revoked between the two is told twice rather than never."""
    await login(redis_store, bearer("t"))
    stamp = await stamp_of(redis_store, sid("t"))
    redis_stage.after["revocations"].close()
    async with anyio.create_task_group() as group:
        group.start_soon(view.follower.run)
        await redis_stage.after["revocations"].reached()
        await redis_store.end(sid("t"), "logout")
        redis_stage.after["revocations"].open()
        await until(lambda: is_current(view))
        assert not view.stands(stamp, view.clock())
        assert await here(view, redis_stage, sid("t")) == "dead"
        group.cancel_scope.cancel()
    await view.follower.leave()


async def test_the_revocations_of_before_are_read_in_pages(view, redis_store, monkeypatch):
    monkeypatch.setattr(followers, "PAGE", 2)
    stamps = []
    for name in "abcde":
        await login(redis_store, bearer(name, name))
        stamps.append(await stamp_of(redis_store, sid(name)))
        await redis_store.end(sid(name), "logout")
    async with following(view):
        assert [view.hits(stamp) for stamp in stamps] == [True] * 5


async def test_who_comes_back_with_old_data_is_ended_again(view, feed, redis_store, redis_stage, redis_url, sessions):
    """A restore: the feed is another, and sessions that were seen dead are back."""
    async with following(view):
        with opened(redis_url) as control:
            saved = control.dump(f"{TAG}s:{sid('a')}")
            await redis_store.end(sid("a"), "logout")
            await feed.pulse()
            control.restore(f"{TAG}s:{sid('a')}", 0, saved, replace=True)
        begin_anew(redis_url, "1-1", "0" * 16)
        assert isinstance(await redis_store.load(sid("a")), Loaded)
        await resets(view, feed, redis_stage)
        await feed.pulse()
        ended = await redis_store.load(sid("a"))
        assert ended == Ended(sid("a"), "alice", "logout")
        assert isinstance(await redis_store.load(sid("b")), Loaded)


@pytest.mark.parametrize("verb", ["end_user", "end_all"])
async def test_what_ended_with_others_is_not_believed_to_live_in_old_data(
    view, feed, redis_store, redis_stage, redis_url, sessions, verb
):
    """Of such an end no session's name is told, so nothing here says of this one that it is dead."""
    async with following(view):
        with opened(redis_url) as control:
            saved = {name: control.dump(f"{TAG}{name}") for name in (f"s:{sid('a')}", "u:alice")}
            await (redis_store.end_user("alice", "revoked") if verb == "end_user" else redis_store.end_all("revoked"))
            await feed.pulse()
            control.delete(f"{TAG}era")
            for name, value in saved.items():
                control.restore(f"{TAG}{name}", 0, value, replace=True)
        assert isinstance(await redis_store.load(sid("a")), Loaded)
        with pytest.raises(StoreUnavailable):
            await view.session(sid("a"))
        begin_anew(redis_url, "1-1", "0" * 16)
        redis_stage.before["history"].close()
        async with anyio.create_task_group() as group:
            group.start_soon(feed.pulse)
            await redis_stage.before["history"].reached()
            with pytest.raises(StoreUnavailable):  # nor while nobody knows which history this is
                await view.session(sid("a"))
            redis_stage.before["history"].open()
        await until_it_is_dead(redis_store, sid("a"))  # ended again
        assert kind_of(await view.session(sid("a"))) == "dead"


async def test_in_another_history_a_user_begins_anew(view, feed, redis_store, redis_stage, redis_url, sessions):
    async with following(view):
        await redis_store.end_user("alice", "revoked")
        await redis_store.end_all("revoked")
        await feed.pulse()
        with opened(redis_url) as control:
            control.flushall()
        await login(redis_store, cookie("later"))
        await feed.pulse()
        await until(lambda: is_current(view))
        assert kind_of(await view.session(sid("later"))) == "alive"


async def test_who_was_ended_by_a_message_is_ended_again_if_its_entry_was_lost(
    view, feed, redis_store, redis_stage, redis_url, sessions
):
    """A server that died between the message and the beat, and came back without the last moment."""
    async with following(view):
        last = await redis_store.newest()
        with opened(redis_url) as control:
            saved = control.dump(f"{TAG}s:{sid('a')}")
            feed.sent.close()
            await redis_store.end(sid("a"), "logout")
            (entry,) = await redis_store.events(last)
            await feed.tell(entry)
            control.restore(f"{TAG}s:{sid('a')}", 0, saved, replace=True)
            control.xdel(f"{TAG}events", entry.id)
        feed.sent.open()
        for _ in range(3):
            await feed.pulse()
        assert await here(view, redis_stage, sid("a")) == "dead"
        assert isinstance(await redis_store.load(sid("a")), Ended)


@pytest.mark.parametrize("kind", ["ended", "user", "all", "changed"])
async def test_an_entry_that_cannot_be_read_may_be_any_change(
    view, feed, redis_store, redis_stage, redis_url, sessions, kind
):
    """A later version's, or somebody else's: what lives is asked anew, and the feed is followed on behind it."""
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        with opened(redis_url) as control:
            entry_id = control.xadd(f"{TAG}events", {"nonce": "0" * 16, "kind": kind, "more": "1"})
        await feed.tell(Entry(entry_id, "0" * 16, Event(kind, {"more": "1"})))
        await feed.pulse()
        assert await here(view, redis_stage, sid("a")) == "ask"
        await until(lambda: is_current(view))
        await hold(view, sid("a"))
        await redis_store.end(sid("a"), "logout")
        await feed.pulse()  # which may be over with a beat that was under way

        async def dead():
            return await here(view, redis_stage, sid("a")) == "dead"

        await until_told(dead)


async def test_who_leaves_while_it_begins_anew_is_no_member_any_more(
    view, feed, redis_store, redis_stage, redis_url, sessions
):
    async with following(view):
        begin_anew(redis_url, "1-1", "0" * 16)
        redis_stage.down.add("newest")
        await feed.pulse()
        assert not is_current(view)
        assert len(await redis_store.behind(None)) == 1
    assert await redis_store.behind(None) == []


async def test_a_message_that_cannot_be_read_is_not_ended_again(view, feed, redis_store, sessions):
    """No beat will bring it, so it looks like one that the server has lost."""
    async with following(view):
        await hold(view, sid("a"))
        await feed.tell(Entry("9999999999999-0", "y", Event("ended", {})))
        for _ in range(3):
            await feed.pulse()
        await redis_store.end(sid("a"), "revoked")
        await feed.pulse()
        assert kind_of(await view.session(sid("a"))) == "dead"


async def test_a_beat_of_before_proves_nothing_while_another_event_loop_begins_anew(
    view, feed, redis_store, redis_stage, redis_url, sessions
):
    """Beats of one event loop come one after the other; those of two do not."""
    async with following(view), anyio.create_task_group() as group:
        feed.answered.close()
        group.start_soon(view.follower._beat)
        await feed.answered.reached()
        view.follower._take(view.follower._cursor, Beat(None))
        redis_stage.before["revocations"].close()
        group.start_soon(view.follower._attach)
        await redis_stage.before["revocations"].reached()
        feed.answered.open()
        await anyio.sleep(0.05)
        assert not is_current(view)
        redis_stage.before["revocations"].open()
