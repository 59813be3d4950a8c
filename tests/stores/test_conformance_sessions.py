"""The store's contract on sessions: who is alive, and what changes one that lives."""

from __future__ import annotations

import dataclasses

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
    login,
    near,
    presented,
    record_of,
    sid,
)

from asgi_auth.model import Client
from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Loaded, NewGrant

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


async def test_an_earlier_use_that_is_told_late_counts_from_then(store, clock):
    await login(store, cookie("s"))
    await login(store, cookie("t"))
    clock.advance(IDLE - 1)
    await store.touch({sid("s"): 10.0, sid("t"): 0.0, sid("unknown"): 5.0})
    for name, ago in (("s", 10), ("t", 0)):
        record = await record_of(store, name)
        assert record.seen_at == near(clock.now - ago)
        assert record.idle_expires_at == near(clock.now - ago + IDLE)


async def test_a_touch_moves_nothing_back(store, clock):
    await login(store, cookie("s"))
    clock.advance(20)
    await store.touch([sid("s")])
    clock.advance(5)
    await store.touch({sid("s"): 10.0})
    record = await record_of(store, "s")
    assert record.seen_at == near(clock.now - 5)
    assert record.idle_expires_at == near(clock.now - 5 + IDLE)


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
    unchanged = {"digest": "", "previous_digest": "", "previous_until": 0.0, "secret_at": 0.0}
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
