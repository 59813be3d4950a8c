"""The store's contract on sessions: who is alive, and what makes, changes and ends one."""

from __future__ import annotations

import dataclasses

import pytest
from store_helpers import (
    IDLE,
    LIFETIME,
    TOKEN,
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

from asgi_auth.model import Client
from asgi_auth.stores import TOMBSTONE_LIFETIME, Created, Ended, Loaded, NewGrant, Presented

BIG = 65536


# Who is alive


async def test_a_session_never_heard_of_is_none(store):
    assert await store.load(sid("nobody")) is None


async def test_a_new_session_is_loaded_as_it_was_made(store, clock):
    await add_user(store, "alice", display_name="Alice", scopes=frozenset({"read"}), claims={"team": ["a", 1]})
    client = Client("192.0.2.0/24", "curl/8 \N{SNOWMAN}")
    await login(store, cookie("s", client=client, amr=("pwd", "otp"), remember=True, data={"cart": '["\N{SNOWMAN}"]'}))
    loaded = await store.load(sid("s"))
    assert isinstance(loaded, Loaded)
    record, user = loaded.record, loaded.user
    assert (record.sid, record.user_id, record.backend, record.client) == (sid("s"), "alice", "session", client)
    assert (record.created_at, record.seen_at, record.authenticated_at) == (clock.now, clock.now, clock.now)
    assert (record.idle, record.remember) == (IDLE, True)
    assert dict(record.amr) == {"pwd": clock.now, "otp": clock.now}
    assert tuple(record.amr) == ("pwd", "otp")
    assert (record.digest, record.previous_digest, record.tokens_until) == (digest("s"), "", 0)
    assert dict(record.data) == {"cart": '["\N{SNOWMAN}"]'}
    assert record.grant is None
    assert user is not None
    assert (user.id, user.display_name, user.scopes) == ("alice", "Alice", frozenset({"read"}))
    assert dict(user.claims) == {"team": ["a", 1]}
    assert record.revision == user.revision
    assert loaded.now == near(clock.now)
    assert loaded.remaining == near(IDLE)


async def test_a_new_jwt_session_has_the_first_generation(store, clock):
    grant = NewGrant(client_id="cli", granted="read write", digest=digest("r"), token_lifetime=TOKEN)
    await login(store, bearer("s", grant=grant))
    record = await record_of(store, "s")
    assert (record.backend, record.digest) == ("jwt", "")
    assert record.grant is not None
    assert (record.grant.client_id, record.grant.granted) == ("cli", "read write")
    assert (record.grant.generation, record.grant.digest, record.grant.previous_digest) == (1, digest("r"), "")
    assert record.grant.confirmed_at is None
    assert record.tokens_until == near(clock.now + TOKEN)


async def test_a_grant_of_all_and_a_grant_of_nothing_are_told_apart(store):
    await login(store, bearer("all"))
    nothing = NewGrant(client_id="app", granted="", digest=digest("n"), token_lifetime=TOKEN)
    await login(store, bearer("nothing", grant=nothing))
    assert (await record_of(store, "all")).grant.granted is None
    assert (await record_of(store, "nothing")).grant.granted == ""


async def test_a_visitors_session_has_no_user(store):
    await login(store, cookie("v", None, data={"a": "1"}))
    loaded = await store.load(sid("v"))
    assert isinstance(loaded, Loaded)
    assert (loaded.record.user_id, loaded.user) == (None, None)
    assert dict(loaded.record.data) == {"a": "1"}


async def test_a_session_idles_out(store, clock):
    await login(store, cookie("s"))
    clock.advance(IDLE - 1)
    assert await alive(store, "s")
    clock.advance(1)
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "idle")


async def test_a_session_ends_at_its_lifetime_however_busy_it_is(store, clock):
    await login(store, cookie("s"))
    for _ in range(19):
        clock.advance(IDLE / 2)
        await store.touch([sid("s")])
    clock.advance(IDLE / 2 - 1)
    assert await alive(store, "s")
    clock.advance(1)
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "lifetime")


async def test_an_idle_end_never_lies_beyond_the_absolute_one(store, clock):
    await login(store, cookie("s", idle=500.0, lifetime=100.0))
    record = await record_of(store, "s")
    assert record.expires_at == near(clock.now + 100)
    assert record.idle_expires_at == near(clock.now + 100)


async def test_tokens_end_no_later_than_the_session(store, clock):
    await login(store, bearer("s", lifetime=TOKEN / 2))
    assert (await record_of(store, "s")).tokens_until == near(clock.now + TOKEN / 2)


async def test_an_ended_session_is_remembered_for_an_hour_with_its_first_reason(store, clock):
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    await store.end(sid("s"), "revoked")
    clock.advance(TOMBSTONE_LIFETIME - 1)
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "logout")


async def test_a_forgotten_session_is_none_or_ended_but_never_alive(store, clock):
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    clock.advance(LIFETIME + TOMBSTONE_LIFETIME + 1)
    for number in range(30):
        await login(store, cookie(f"other{number}"))
    assert await end_of(store, "s") in {None, "logout"}


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
    assert created.ended == ()
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


# write_data


async def test_data_is_written_by_key(store):
    await login(store, cookie("s", data={"a": "1", "b": "2", "c": "3"}))
    await store.write_data(sid("s"), {"a": "9", "d": "4"}, ["b", "never"], max_size=BIG)
    assert dict((await record_of(store, "s")).data) == {"a": "9", "c": "3", "d": "4"}


async def test_each_write_raises_the_data_version(store):
    await login(store, cookie("s"))
    before = (await record_of(store, "s")).data_version
    first = await store.write_data(sid("s"), {"a": "1"}, (), max_size=BIG)
    second = await store.write_data(sid("s"), {}, ["a"], max_size=BIG)
    assert before < first < second
    assert (await record_of(store, "s")).data_version == second


async def test_keys_and_values_are_any_text(store):
    await login(store, cookie("s"))
    odd = {"": '""', "\x00": '"\\u0000"', "\N{SNOWMAN}\n'\"": "[1.5,null]", "10": "1", "a" * 300: '"x"'}
    await store.write_data(sid("s"), odd, (), max_size=BIG)
    assert dict((await record_of(store, "s")).data) == odd


async def test_data_over_its_size_is_refused_and_nothing_is_written(store):
    await login(store, cookie("s", data={"a": "1"}))
    assert await store.write_data(sid("s"), {"b": "x" * 8}, (), max_size=10) == "too_large"
    assert dict((await record_of(store, "s")).data) == {"a": "1"}


async def test_size_is_counted_in_utf8_bytes_of_keys_and_values(store):
    await login(store, cookie("s"))
    assert await store.write_data(sid("s"), {"\N{SNOWMAN}": "\N{SNOWMAN}1"}, (), max_size=6) == "too_large"
    assert isinstance(await store.write_data(sid("s"), {"\N{SNOWMAN}": "\N{SNOWMAN}1"}, (), max_size=7), int)


async def test_data_that_is_too_large_already_may_shrink(store):
    await login(store, cookie("s", data={"a": "x" * 50, "b": "y" * 50}))
    assert isinstance(await store.write_data(sid("s"), {"a": "x"}, (), max_size=10), int)
    assert await store.write_data(sid("s"), {"a": "xx"}, (), max_size=10) == "too_large"


async def test_writing_data_to_a_session_that_never_was_is_gone(store):
    assert await store.write_data(sid("s"), {"a": "1"}, (), max_size=BIG) == "gone"
    assert await store.load(sid("s")) is None


# touch


async def test_a_touch_moves_the_idle_end(store, clock):
    await login(store, cookie("s"))
    clock.advance(IDLE - 1)
    await store.touch([sid("s"), sid("unknown")])
    record = await record_of(store, "s")
    assert record.seen_at == near(clock.now)
    assert record.idle_expires_at == near(clock.now + IDLE)
    assert record.expires_at == near(record.created_at + LIFETIME)


async def test_a_touch_changes_no_data(store):
    await login(store, cookie("s", data={"a": "1"}))
    version = await store.write_data(sid("s"), {"a": "2"}, (), max_size=BIG)
    await store.touch([sid("s")])
    record = await record_of(store, "s")
    assert (dict(record.data), record.data_version) == ({"a": "2"}, version)


async def test_a_touch_near_the_end_stops_at_the_end(store, clock):
    await login(store, cookie("s", idle=LIFETIME))
    clock.advance(LIFETIME - 1)
    await store.touch([sid("s")])
    record = await record_of(store, "s")
    assert record.idle_expires_at == near(record.expires_at)


async def test_a_touch_of_nobody_is_nothing(store):
    await store.touch([])


# rotate


async def test_rotation_replaces_the_secret_and_keeps_the_times(store, clock):
    await login(store, cookie("s"))
    before = await record_of(store, "s")
    clock.advance(5)
    assert await store.rotate(presented("s"), digest("s2"), grace=10) is True
    after = await record_of(store, "s")
    assert (after.digest, after.previous_digest) == (digest("s2"), digest("s"))
    assert after.previous_until == near(clock.now + 10)
    unchanged = {"digest": "", "previous_digest": "", "previous_until": 0.0}
    assert dataclasses.replace(after, **unchanged) == dataclasses.replace(before, **unchanged)


async def test_rotation_without_grace_leaves_no_previous_secret(store, clock):
    await login(store, cookie("s"))
    assert await store.rotate(presented("s"), digest("s2"), grace=0)
    record = await record_of(store, "s")
    assert record.digest == digest("s2")
    assert record.previous_digest == "" or record.previous_until <= clock.now


async def test_an_old_secret_rotates_nothing(store):
    await login(store, cookie("s"))
    await store.rotate(presented("s"), digest("s2"), grace=10)
    assert await store.rotate(presented("s"), digest("s3"), grace=10) is False
    assert (await record_of(store, "s")).digest == digest("s2")


async def test_a_rotation_repeated_after_no_answer_is_true_again(store):
    await login(store, cookie("s"))
    assert await store.rotate(presented("s"), digest("s2"), grace=10)
    assert await store.rotate(presented("s"), digest("s2"), grace=10)
    assert (await record_of(store, "s")).digest == digest("s2")


async def test_rotation_of_what_never_was_is_false(store):
    assert await store.rotate(presented("s"), digest("s2"), grace=10) is False


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


async def test_a_session_unused_for_long_is_listed_while_it_lives(store, clock):
    await login(store, cookie("s", idle=LIFETIME))
    clock.advance(LIFETIME - 1)
    assert await listed(store) == [sid("s")]
