"""The store's contract on making a session: when it is refused, and what ends and passes on for it."""

from __future__ import annotations

import pytest
from store_helpers import (
    IDLE,
    LIFETIME,
    add_user,
    alive,
    bearer,
    cookie,
    digest,
    end_of,
    listed,
    login,
    presented,
    record_of,
    sid,
)

from asgi_auth.stores import TOMBSTONE_LIFETIME, Created, Ended, Presented

BIG = 65536


# create


@pytest.mark.parametrize("revision", [0, 2, 7])
async def test_a_login_under_another_revision_is_refused(store, revision):
    await add_user(store)
    assert await store.create(cookie("s"), revision=revision) == "changed"
    assert await store.load(sid("s")) is None


async def test_a_login_whose_user_is_unknown_is_refused(store):
    assert await store.create(cookie("s"), revision=1) == "changed"


async def test_a_login_of_a_disabled_user_is_refused(store):
    await add_user(store)
    await store.end_user("alice", "disabled", disable=True)
    row = await store.user("alice")
    assert await store.create(cookie("s"), revision=row.revision) == "changed"


async def test_a_login_of_a_deleted_user_is_refused(store):
    await add_user(store)
    await store.delete_user("alice")
    row = await store.user("alice")
    assert await store.create(cookie("s"), revision=row.revision) == "changed"


async def test_a_password_checked_before_a_change_makes_no_session_after_it(store):
    revision = await add_user(store)
    await store.end_user("alice", "password")
    assert await store.create(cookie("s"), revision=revision) == "changed"


async def test_a_refused_login_ends_nothing(store):
    await add_user(store)
    await login(store, cookie("old"))
    assert await store.create(cookie("new"), revision=99, replaces=presented("old")) == "changed"
    assert await alive(store, "old")


async def test_a_visitor_is_not_asked_for_a_revision(store):
    assert isinstance(await store.create(cookie("v", None), revision=5), Created)


async def test_the_same_session_made_again_is_the_session_as_it_is(store, clock):
    first = await login(store, cookie("s", data={"a": "1"}))
    await store.write_data(sid("s"), {"b": "2"}, (), max_size=BIG)
    clock.advance(5)
    again = await login(store, cookie("s", data={"a": "1"}))
    assert again.loaded.record.created_at == first.loaded.record.created_at
    assert dict(again.loaded.record.data) == {"a": "1", "b": "2"}
    assert again.ended == ()
    assert await listed(store) == [sid("s")]


async def test_a_repeated_login_is_not_refused_by_its_own_limit(store):
    await login(store, cookie("s"), limit=1, evict=False)
    again = await login(store, cookie("s"), limit=1, evict=False)
    assert again.loaded.record.sid == sid("s")


async def test_a_repeated_jwt_login_is_the_session_as_it_is(store):
    await login(store, bearer("s"))
    again = await login(store, bearer("s"))
    assert again.loaded.record.grant.generation == 1
    assert await listed(store) == [sid("s")]


async def test_an_id_in_use_is_not_overwritten_by_another_secret(store):
    revision = await add_user(store)
    await login(store, cookie("s"))
    assert await store.create(cookie("s", digest=digest("other")), revision=revision) == "changed"
    assert (await record_of(store, "s")).digest == digest("s")


async def test_creating_an_ended_session_again_does_not_revive_it(store):
    revision = await add_user(store)
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    assert await store.create(cookie("s"), revision=revision) == "changed"
    assert await end_of(store, "s") == "logout"


# create: replaces and data_from


async def test_a_login_over_a_live_session_replaces_it_and_keeps_the_data(store):
    await login(store, cookie("old", data={"cart": "1"}))
    created = await login(store, cookie("new"), replaces=presented("old"))
    assert created.ended == (Ended(sid("old"), "alice", "replaced"),)
    assert dict(created.loaded.record.data) == {"cart": "1"}
    assert await end_of(store, "old") == "replaced"


async def test_bob_never_sees_what_alice_left_in_the_session(store):
    await add_user(store, "bob")
    await login(store, cookie("old", data={"cart": "1"}))
    created = await login(store, cookie("new", "bob"), replaces=presented("old"))
    assert created.ended == (Ended(sid("old"), "alice", "replaced"),)
    assert dict(created.loaded.record.data) == {}


async def test_a_visitor_never_sees_what_a_user_left_in_the_session(store):
    await login(store, cookie("old", data={"cart": "1"}))
    created = await login(store, cookie("new", None), replaces=presented("old"))
    assert dict(created.loaded.record.data) == {}
    assert await end_of(store, "old") == "replaced"


async def test_a_session_of_nobody_passes_its_data_to_the_login_that_replaces_it(store):
    await login(store, cookie("old", None, data={"cart": "1"}))
    created = await login(store, cookie("new"), replaces=presented("old"))
    assert created.ended == (Ended(sid("old"), None, "replaced"),)
    assert dict(created.loaded.record.data) == {"cart": "1"}


@pytest.mark.parametrize("name", ["old", "unknown"])
async def test_a_wrong_secret_replaces_nothing_and_takes_no_data(store, name):
    await login(store, cookie("old", data={"cart": "1"}))
    created = await login(store, cookie("new"), replaces=presented(name, "guess"))
    assert created.ended == ()
    assert dict(created.loaded.record.data) == {}
    assert await alive(store, "old")


async def test_an_empty_digest_never_matches_a_session_without_a_cookie(store):
    await login(store, bearer("old"))
    created = await login(store, cookie("new"), replaces=Presented(sid("old"), ""))
    assert created.ended == ()
    assert await alive(store, "old")


async def test_the_previous_secret_replaces_within_its_grace_only(store, clock):
    await login(store, cookie("a"))
    await store.rotate(presented("a"), digest("a2"), grace=10)
    clock.advance(9)
    assert (await login(store, cookie("b"), replaces=presented("a"))).ended[0].sid == sid("a")
    await store.rotate(presented("b"), digest("b2"), grace=10)
    clock.advance(10)
    assert (await login(store, cookie("c"), replaces=presented("b"))).ended == ()
    assert await alive(store, "b")


async def test_a_dead_session_that_a_login_replaces_is_remembered_as_replaced(store):
    await login(store, cookie("old"))
    await store.end(sid("old"), "logout")
    created = await login(store, cookie("new"), replaces=presented("old"))
    assert created.ended == ()
    assert await end_of(store, "old") == "replaced"


async def test_a_session_past_its_end_that_a_login_replaces_is_remembered_as_replaced(store, clock):
    await login(store, cookie("old", data={"cart": "1"}))
    clock.advance(IDLE)
    created = await login(store, cookie("new"), replaces=presented("old"))
    assert created.ended == (Ended(sid("old"), "alice", "idle"),)
    assert dict(created.loaded.record.data) == {}
    assert await end_of(store, "old") == "replaced"


async def test_a_login_takes_over_a_visitors_data_and_ends_the_visitor(store):
    await login(store, cookie("v", None, data={"cart": "1"}))
    created = await login(store, cookie("new"), data_from=presented("v"))
    assert dict(created.loaded.record.data) == {"cart": "1"}
    assert created.ended == (Ended(sid("v"), None, "replaced"),)
    assert await end_of(store, "v") == "replaced"


async def test_data_is_not_taken_from_a_users_session(store):
    await add_user(store, "bob")
    await login(store, cookie("alices", data={"cart": "1"}))
    created = await login(store, cookie("new", "bob"), data_from=presented("alices"))
    assert dict(created.loaded.record.data) == {}
    assert await alive(store, "alices")


async def test_new_data_wins_over_the_visitors_and_that_over_the_replaced_sessions(store):
    await login(store, cookie("old", data={"a": "old", "b": "old", "c": "old"}))
    await login(store, cookie("v", None, data={"a": "visitor", "b": "visitor"}))
    created = await login(store, cookie("new", data={"a": "new"}), replaces=presented("old"), data_from=presented("v"))
    assert dict(created.loaded.record.data) == {"a": "new", "b": "visitor", "c": "old"}
    assert {ended.sid for ended in created.ended} == {sid("old"), sid("v")}


async def test_one_session_named_twice_ends_once(store):
    await login(store, cookie("v", None, data={"a": "1"}))
    created = await login(store, cookie("new"), replaces=presented("v"), data_from=presented("v"))
    assert len(created.ended) == 1
    assert dict(created.loaded.record.data) == {"a": "1"}


# create: limits


async def test_the_least_recently_seen_session_is_evicted(store, clock):
    for name in ("a", "b", "c"):
        await login(store, cookie(name))
        clock.advance(1)
    await store.touch([sid("a")])
    clock.advance(1)
    created = await login(store, cookie("d"), limit=3)
    assert created.ended == (Ended(sid("b"), "alice", "evicted"),)
    assert await end_of(store, "b") == "evicted"
    assert set(await listed(store)) == {sid("a"), sid("c"), sid("d")}


async def test_a_session_evicted_by_the_login_that_shows_its_old_secret_is_remembered_as_replaced(store):
    """So that a late answer to that secret does not clear the cookie of the login."""
    await login(store, cookie("a"))
    assert await store.rotate(presented("a"), digest("a2"), grace=0)
    created = await login(store, cookie("b"), replaces=presented("a"), limit=1)
    assert created.ended == (Ended(sid("a"), "alice", "evicted"),)
    assert await end_of(store, "a") == "replaced"


async def test_a_lowered_limit_evicts_as_many_as_it_takes(store, clock):
    for name in ("a", "b", "c", "d"):
        await login(store, cookie(name))
        clock.advance(1)
    created = await login(store, cookie("e"), limit=2)
    assert {ended.sid for ended in created.ended} == {sid("a"), sid("b"), sid("c")}
    assert set(await listed(store)) == {sid("d"), sid("e")}


async def test_a_refused_login_over_the_limit_changes_nothing(store):
    revision = await add_user(store)
    await login(store, cookie("a"))
    await login(store, cookie("v", None))
    outcome = await store.create(cookie("b"), revision=revision, limit=1, evict=False, data_from=presented("v"))
    assert outcome == "limit"
    assert await alive(store, "a")
    assert await alive(store, "v")
    assert await store.load(sid("b")) is None


async def test_both_modes_count_towards_the_limit(store, clock):
    await login(store, bearer("token"))
    clock.advance(1)
    created = await login(store, cookie("a"), limit=1)
    assert created.ended == (Ended(sid("token"), "alice", "evicted"),)


async def test_the_replaced_session_does_not_count(store):
    await login(store, cookie("old"))
    created = await login(store, cookie("new"), replaces=presented("old"), limit=1, evict=False)
    assert created.ended == (Ended(sid("old"), "alice", "replaced"),)


async def test_dead_sessions_do_not_count(store, clock):
    await login(store, cookie("idle"))
    clock.advance(IDLE)
    await login(store, cookie("ended"))
    await store.end(sid("ended"), "logout")
    created = await login(store, cookie("new"), limit=1, evict=False)
    assert created.ended == ()


async def test_another_users_sessions_do_not_count(store):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"), limit=1, evict=False)
    assert await alive(store, "a")


async def test_a_forgotten_session_that_a_login_replaces_is_remembered_as_replaced(store, clock):
    await login(store, cookie("old"))
    clock.advance(LIFETIME)
    await store.sweep()
    clock.advance(TOMBSTONE_LIFETIME + 1)
    await store.sweep()
    assert await store.load(sid("old")) is None
    await login(store, cookie("new"), replaces=presented("old"))
    assert await end_of(store, "old") == "replaced"
    assert sid("old") not in await listed(store)


async def test_who_has_logged_in_before_did_so_then(store, clock):
    """A session that goes on from elsewhere: everything begins now but that."""
    created = await login(store, cookie("m", authenticated_ago=5000.0))
    found = created.loaded.record
    assert found.created_at == clock()
    assert found.authenticated_at == pytest.approx(clock() - 5000)
    assert await record_of(store, "m") == found
