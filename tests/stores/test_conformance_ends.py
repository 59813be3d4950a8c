"""The store's contract on ends: of one session, of a user's, of all; and that no verb brings one back."""

from __future__ import annotations

import pytest
from clocks import Clock
from store_helpers import (
    IDLE,
    LIFETIME,
    add_user,
    alive,
    bearer,
    cookie,
    digest,
    end_of,
    exchange,
    keeping,
    listed,
    login,
    near,
    presented,
    record_of,
    sid,
)

from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Loaded, Store, redis, verbs

BIG = 65536


# end, end_user, end_all


async def test_an_end_is_told_once(store):
    await login(store, cookie("s"))
    assert await store.end(sid("s"), "logout") == Ended(sid("s"), "alice", "logout")
    assert await store.end(sid("s"), "logout") is None
    assert await store.end(sid("unknown"), "logout") is None


async def test_a_session_past_its_end_cannot_be_ended_again(store, clock):
    await login(store, cookie("s"))
    clock.advance(IDLE)
    assert await store.end(sid("s"), "logout") is None
    assert await end_of(store, "s") == "idle"


async def test_end_user_ends_the_sessions_of_both_modes_and_of_nobody_else(store):
    await login(store, cookie("a"))
    await login(store, bearer("b"))
    await login(store, cookie("bobs", "bob"))
    await login(store, cookie("visitor", None))
    ended = await store.end_user("alice", "revoked")
    assert set(ended) == {Ended(sid("a"), "alice", "revoked"), Ended(sid("b"), "alice", "revoked")}
    assert await end_of(store, "a") == await end_of(store, "b") == "revoked"
    assert await alive(store, "bobs")
    assert await alive(store, "visitor")
    assert await listed(store) == []


async def test_end_user_raises_the_revision(store):
    await add_user(store)
    await store.end_user("alice", "revoked")
    row = await store.user("alice")
    assert (row.revision, row.ended_below, row.disabled) == (2, 2, False)


async def test_a_login_after_end_user_lives_though_no_time_went_by(store):
    await login(store, cookie("before"))
    await store.end_user("alice", "revoked")
    await login(store, cookie("after"))
    assert not await alive(store, "before")
    assert await alive(store, "after")


async def test_end_user_keeps_the_one_that_it_is_told_to_keep(store):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    ended = await store.end_user("alice", "password", keep=keeping("b"))
    assert ended == (Ended(sid("a"), "alice", "password"),)
    assert (await record_of(store, "b")).digest == digest("b")
    assert await listed(store) == [sid("b")]


async def test_the_kept_session_gets_its_new_secret_without_grace(store, clock):
    await login(store, cookie("b"))
    await store.rotate(presented("b"), digest("b2"), grace=100)
    await store.end_user("alice", "password", keep=keeping("b", "b3"))
    record = await record_of(store, "b")
    assert record.digest == digest("b3")
    assert record.previous_digest == "" or record.previous_until <= clock.now


async def test_a_session_kept_once_dies_the_next_time(store):
    await login(store, cookie("b"))
    await store.end_user("alice", "password", keep=keeping("b"))
    await store.end_user("alice", "revoked")
    assert await end_of(store, "b") == "revoked"


async def test_a_kept_jwt_session_keeps_its_refresh_token(store):
    await login(store, bearer("b"))
    await store.end_user("alice", "password", keep=keeping("b"))
    assert (await exchange(store, "b", 1, "b", "b2")).outcome == "made"


async def test_another_users_session_is_not_kept_nor_ended(store):
    await login(store, cookie("a"))
    await login(store, cookie("bobs", "bob"))
    assert len(await store.end_user("alice", "revoked", keep=keeping("bobs", "x"))) == 1
    assert (await record_of(store, "bobs")).digest == digest("bobs")


async def test_a_dead_session_is_not_kept(store):
    await login(store, cookie("a"))
    await store.end(sid("a"), "logout")
    assert await store.end_user("alice", "revoked", keep=keeping("a", "x")) == ()
    assert await end_of(store, "a") == "logout"


async def test_end_user_does_not_tell_of_sessions_that_were_dead(store, clock):
    await login(store, cookie("a"))
    clock.advance(IDLE)
    assert await store.end_user("alice", "revoked") == ()
    assert await end_of(store, "a") == "idle"


async def test_disabling_and_enabling(store):
    await login(store, cookie("a"))
    assert len(await store.end_user("alice", "disabled", disable=True)) == 1
    assert (await store.user("alice")).disabled
    await store.end_user("alice", "revoked")
    assert (await store.user("alice")).disabled
    await store.end_user("alice", "revoked", disable=False)
    assert not (await store.user("alice")).disabled
    await login(store, cookie("b"))
    assert await end_of(store, "a") == "disabled"


async def test_end_user_of_an_unknown_user_is_none(store):
    assert await store.end_user("nobody", "revoked") is None
    await add_user(store)
    await store.delete_user("alice")
    assert await store.end_user("alice", "revoked") is None


async def test_an_end_of_a_user_that_the_store_lost_is_made_again_once(store):
    await login(store, cookie("a"))
    seen = (await store.user("alice")).ended_below + 5
    assert await store.end_user("alice", "revoked", lost=seen) == (Ended(sid("a"), "alice", "revoked"),)
    row = await store.user("alice")
    assert (row.revision, row.ended_below) == (seen, seen)
    await login(store, cookie("b"), revision=seen)
    last = await store.newest()
    assert await store.end_user("alice", "revoked", lost=seen) == ()
    assert await store.end_user("alice", "revoked", lost=seen - 1) == ()
    assert await alive(store, "b")
    assert await store.newest() == last


async def test_an_end_of_everybody_that_the_store_lost_is_made_again_once(store):
    await login(store, cookie("a"))
    await store.end_all("revoked", lost=3)
    assert (await store.history()).era == 3
    assert await end_of(store, "a") == "revoked"
    await login(store, cookie("b"))
    last = await store.newest()
    assert last[0].event.values == {"era": 3}
    await store.end_all("revoked", lost=3)
    await store.end_all("revoked", lost=2)
    assert await alive(store, "b")
    assert await store.newest() == last


async def test_end_all_ends_everybody_and_visitors_too(store):
    await login(store, cookie("a"))
    await login(store, bearer("b", "bob"))
    await login(store, cookie("v", None))
    await store.end_all("revoked")
    assert [await end_of(store, name) for name in ("a", "b", "v")] == ["revoked"] * 3
    assert await listed(store, "alice") == await listed(store, "bob") == []


async def test_sessions_made_after_end_all_live(store):
    await store.end_all("revoked")
    await login(store, cookie("a"))
    await login(store, cookie("v", None))
    assert await alive(store, "a")
    assert await alive(store, "v")
    await store.end_all("revoked")
    assert not await alive(store, "a")
    assert not await alive(store, "v")


# No verb brings it back


@pytest.fixture(params=["ended", "idle", "lifetime", "user", "all", "deleted"])
async def dead(request, store, clock):
    """The name of a session in JWT mode with a cookie's secret too, dead in each of the ways."""
    idle = LIFETIME if request.param == "lifetime" else IDLE
    await login(store, bearer("dead", digest=digest("dead"), idle=idle, data={"a": "1"}))
    if request.param == "ended":
        await store.end(sid("dead"), "logout")
    elif request.param == "user":
        await store.end_user("alice", "revoked")
    elif request.param == "all":
        await store.end_all("revoked")
    elif request.param == "deleted":
        await store.delete_user("alice")
    else:
        clock.advance(idle)
    return "dead"


async def test_no_verb_revives_a_dead_session(store, dead):
    assert await store.write_data(sid(dead), {"a": "2"}, (), max_size=BIG) == "gone"
    await store.touch([sid(dead)])
    assert await store.rotate(presented(dead), digest("other"), grace=10) is False
    assert await store.end(sid(dead), "revoked") is None
    await store.confirm(sid(dead), 1)
    await store.end_user("alice", "password", keep=keeping(dead, "other"))
    assert (await exchange(store, dead, 1, dead, "next", revision=1)).outcome == "ended"
    assert isinstance(await store.load(sid(dead)), Ended)
    assert await listed(store) == []


# sessions


async def test_sessions_lists_both_modes_the_latest_first(store, clock):
    for new in (cookie("a"), bearer("b"), cookie("c")):
        await login(store, new)
        clock.advance(1)
    await login(store, cookie("bobs", "bob"))
    assert await listed(store) == [sid("c"), sid("b"), sid("a")]
    loaded = (await store.sessions("alice"))[0]
    assert loaded.user is not None
    assert (loaded.user.id, loaded.record.digest, loaded.now) == ("alice", digest("c"), near(clock.now))


async def test_sessions_lists_only_what_lives(store, clock):
    await login(store, cookie("idle"))
    clock.advance(IDLE)
    await login(store, cookie("ended"))
    await store.end(sid("ended"), "logout")
    await login(store, cookie("alive"))
    assert await listed(store) == [sid("alive")]


async def test_sessions_of_nobody_is_empty(store):
    assert await store.sessions("nobody") == []


async def test_of_very_many_sessions_those_are_listed_that_would_live_longest(store, clock, monkeypatch):
    monkeypatch.setattr(verbs, "LISTED", 3)
    monkeypatch.setattr(redis, "LISTED", 3)
    for name in "abcd":
        await login(store, cookie(name))
        clock.advance(1)
    await login(store, cookie("short", lifetime=10))
    assert await listed(store) == [sid("d"), sid("c"), sid("b")]
    assert len(await store.end_user("alice", "revoked")) == 5


async def test_a_session_unused_for_long_is_listed_while_it_lives(store, clock):
    await login(store, cookie("s", idle=LIFETIME))
    clock.advance(LIFETIME - 1)
    assert await listed(store) == [sid("s")]


@pytest.mark.parametrize("gone", ["ended", "forgotten", "never heard of"])
async def test_a_superseded_session_is_remembered_as_replaced(store: Store, clock: Clock, gone: str) -> None:
    new = cookie("v", None)
    if gone != "never heard of":
        await store.create(new)
        await store.end(new.sid, "revoked")
    if gone == "forgotten":
        clock.advance(TOMBSTONE_LIFETIME + 1)
    before = await store.events()
    await store.supersede(new.sid)
    found = await store.load(new.sid)
    assert isinstance(found, Ended)
    assert found.reason == "replaced"
    assert await store.events() == before


async def test_a_superseded_session_is_remembered_for_an_hour_from_then_on(store: Store, clock: Clock) -> None:
    new = cookie("v", None)
    await store.create(new)
    await store.end(new.sid, "revoked")
    clock.advance(TOMBSTONE_LIFETIME - 1)
    await store.supersede(new.sid)
    clock.advance(TOMBSTONE_LIFETIME - 1)
    found = await store.load(new.sid)
    assert isinstance(found, Ended)
    assert found.reason == "replaced"


async def test_a_pending_login_is_never_the_session_that_is_kept(store: Store) -> None:
    await login(store, cookie("a", pending=True))
    await store.end_user("alice", "password", keep=keeping("a", "a2"))
    assert not await alive(store, "a")


async def test_a_living_session_is_not_superseded(store: Store) -> None:
    new = cookie("v", None)
    await store.create(new)
    await store.supersede(new.sid)
    assert isinstance(await store.load(new.sid), Loaded)
