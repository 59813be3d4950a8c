"""The store's contract on events, revocations, the key ring and values that are written once."""

from __future__ import annotations

from store_helpers import (
    IDLE,
    TOKEN,
    add_user,
    bearer,
    cookie,
    cursor,
    digest,
    events_since,
    exchange,
    keeping,
    login,
    near,
    presented,
    sid,
)

from asgi_auth.model import UserRow
from asgi_auth.stores import Limit, NewGrant, Revocation
from asgi_auth.stores.values import advanced

BIG = 65536


# once, keys


async def test_the_first_value_is_everybodys(store):
    assert await store.once("ring", "first") == "first"
    assert await store.once("ring", "second") == "first"
    assert await store.once("other", "second") == "second"


async def test_the_key_ring_is_replaced_by_who_knows_it(store):
    assert await store.keys() is None
    assert await store.put_keys("guess", "one") is False
    assert await store.put_keys(None, "one") is True
    assert await store.put_keys(None, "two") is False
    assert await store.keys() == "one"
    assert await store.put_keys("one", "two \N{SNOWMAN}") is True
    assert await store.put_keys("one", "three") is False
    assert await store.keys() == "two \N{SNOWMAN}"


# Events: what each verb writes


async def test_an_end_writes_its_event(store, clock):
    created = await login(store, bearer("s"))
    since = await cursor(store)
    await store.end(sid("s"), "logout")
    (event,) = await events_since(store, since)
    assert event.kind == "ended"
    assert dict(event.values) == {
        "sid": sid("s"),
        "user": "alice",
        "reason": "logout",
        "tokens_until": near(created.loaded.record.tokens_until),
    }


async def test_a_visitors_end_names_no_user(store):
    await login(store, cookie("v", None))
    since = await cursor(store)
    await store.end(sid("v"), "revoked")
    (event,) = await events_since(store, since)
    assert event.values["user"] is None


async def test_a_login_writes_an_event_for_each_session_that_it_ends(store, clock):
    await login(store, cookie("a"))
    clock.advance(1)
    await login(store, cookie("b"))
    await login(store, cookie("v", None))
    since = await cursor(store)
    await login(store, cookie("c"), replaces=presented("b"), data_from=presented("v"), limit=1)
    ended = {(event.kind, event.values["sid"], event.values["reason"]) for event in await events_since(store, since)}
    assert ended == {
        ("ended", sid("a"), "evicted"),
        ("ended", sid("b"), "replaced"),
        ("ended", sid("v"), "replaced"),
    }


async def test_a_write_of_data_writes_its_event(store):
    await login(store, cookie("s"))
    since = await cursor(store)
    version = await store.write_data(sid("s"), {"a": "1"}, (), max_size=BIG)
    (event,) = await events_since(store, since)
    assert (event.kind, dict(event.values)) == ("changed", {"sid": sid("s"), "data_version": version})


async def test_a_rotation_writes_its_event(store):
    await login(store, cookie("s"))
    since = await cursor(store)
    await store.rotate(presented("s"), digest("s2"), grace=0)
    (event,) = await events_since(store, since)
    assert (event.kind, event.values["sid"]) == ("changed", sid("s"))


async def test_end_user_writes_one_event(store):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    since = await cursor(store)
    await store.end_user("alice", "password", keep=keeping("b"))
    (event,) = await events_since(store, since)
    assert event.kind == "user"
    assert dict(event.values) == {"id": "alice", "revision": 2, "ended_below": 2, "kept": sid("b")}


async def test_a_session_that_was_not_kept_is_not_named(store):
    await login(store, cookie("a"))
    since = await cursor(store)
    await store.end_user("alice", "password", keep=keeping("nothing"))
    (event,) = await events_since(store, since)
    assert not event.values["kept"]


async def test_end_all_writes_one_event_that_tells_the_era(store):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    since = await cursor(store)
    await store.end_all("revoked")
    await store.end_all("revoked")
    first, second = (event for event in await events_since(store, since) if "partly" not in event.values)
    assert first.kind == second.kind == "all"
    assert first.values["era"] + 1 == second.values["era"]


async def test_a_saved_user_writes_an_event_if_the_revision_rose(store):
    await login(store, cookie("a"))
    since = await cursor(store)
    await store.save_user(UserRow("alice", password_hash="x"), expected=1, bump=False)
    assert await events_since(store, since) == []
    await store.save_user(UserRow("alice", display_name="A"), expected=1)
    (event,) = await events_since(store, since)
    assert event.kind == "user"
    assert (event.values["id"], event.values["revision"], event.values["ended_below"]) == ("alice", 2, 0)


async def test_a_saved_user_that_ends_sessions_writes_one_event(store):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    since = await cursor(store)
    await store.save_user(UserRow("alice"), expected=1, ends="password", keep=keeping("a"))
    (event,) = await events_since(store, since)
    assert dict(event.values) == {"id": "alice", "revision": 2, "ended_below": 2, "kept": sid("a")}


async def test_a_deleted_user_writes_one_event(store):
    await login(store, cookie("a"))
    since = await cursor(store)
    await store.delete_user("alice")
    (event,) = await events_since(store, since)
    assert (event.kind, event.values["id"], event.values["revision"]) == ("user", "alice", 2)


async def test_a_reused_token_writes_its_event(store):
    await login(store, bearer("s"))
    since = await cursor(store)
    await exchange(store, "s", 1, "garbage", "x")
    (event,) = await events_since(store, since)
    assert (event.kind, event.values["sid"], event.values["reason"]) == ("ended", sid("s"), "reuse")


async def test_a_key_ring_writes_its_event_and_does_not_show_it(store):
    since = await cursor(store)
    await store.put_keys("wrong", "never")
    await store.put_keys(None, "the ring")
    (event,) = await events_since(store, since)
    assert (event.kind, dict(event.values)) == ("keys", {})


async def test_what_changes_no_answer_writes_no_event(store, clock):
    await add_user(store)
    since = await cursor(store)
    await login(store, cookie("s"))
    await login(store, bearer("b"))
    await login(store, cookie("v", None))
    await store.touch([sid("s")])
    await store.confirm(sid("b"), 1)
    await exchange(store, "b", 1, "b", "b2")
    await exchange(store, "b", 1, "b", "b2")
    await store.hit([Limit("k", 1, 60)])
    await store.unhit(["k"], ["k"])
    await store.once("a", "b")
    assert await events_since(store, since) == []


async def test_what_did_not_happen_writes_no_event(store, clock):
    await login(store, cookie("s", data={"a": "1"}))
    await login(store, cookie("idle", idle=1.0))
    await login(store, bearer("b"))
    clock.advance(1)
    since = await cursor(store)
    await store.end(sid("idle"), "logout")
    await store.end(sid("unknown"), "logout")
    await store.end_user("nobody", "revoked")
    await store.delete_user("nobody")
    await store.save_user(UserRow("alice"), expected=9)
    await store.rotate(presented("s", "wrong"), digest("x"), grace=0)
    await store.write_data(sid("s"), {"a": "123"}, (), max_size=1)
    await store.write_data(sid("idle"), {"a": "1"}, (), max_size=BIG)
    await store.create(cookie("n"), revision=9, replaces=presented("s"))
    await store.create(cookie("n"), revision=1, limit=1, evict=False)
    await exchange(store, "b", 1, "b", "x", client_id="evil")
    await exchange(store, "b", 1, "b", "x", revision=9)
    assert await events_since(store, since) == []


# Events: the feed


async def test_the_feed_is_read_in_pages_and_in_order(store):
    await add_user(store)
    since = await cursor(store)
    for number in range(7):
        await login(store, cookie(f"s{number}"))
        await store.end(sid(f"s{number}"), "logout")
    seen = []
    while page := await store.events(since, 3):
        assert len(page) <= 3
        seen += page
        since = advanced(since, page[-1])
    assert [entry.event.values["sid"] for entry in seen] == [sid(f"s{number}") for number in range(7)]
    assert len({entry.id for entry in seen}) == len({entry.nonce for entry in seen}) == 7
    assert all(len(entry.nonce) >= 8 for entry in seen)


async def test_reading_the_feed_again_gives_the_same(store):
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    assert await store.events() == await store.events() != []


# Revocations


async def test_an_ended_session_is_revoked_until_its_last_token_expired(store, clock):
    await login(store, bearer("s"))
    clock.advance(100)
    await store.end(sid("s"), "logout")
    assert await store.revocations() == [Revocation("sid", sid("s"), 0, near(clock.now - 100 + TOKEN))]
    clock.advance(TOKEN - 101)
    assert len(await store.revocations()) == 1
    clock.advance(1)
    assert await store.revocations() == []


async def test_a_revocation_outlives_the_tombstone_if_tokens_do(store, clock):
    await login(store, bearer("s", idle=9500.0, grant=NewGrant("app", None, digest("s"), 9000.0)))
    await store.end(sid("s"), "logout")
    clock.advance(8999)
    for number in range(50):
        await login(store, cookie(f"other{number}", None))
        await store.hit([Limit(f"k{number}", 1, 1)])
    assert [revocation.key for revocation in await store.revocations()] == [sid("s")]
    assert not hasattr(await store.load(sid("s")), "record")


async def test_a_refresh_lengthens_what_its_end_revokes(store, clock):
    await login(store, bearer("s"))
    clock.advance(500)
    await exchange(store, "s", 1, "s", "s2")
    await store.end(sid("s"), "logout")
    (revocation,) = await store.revocations()
    assert revocation.until == near(clock.now + TOKEN)


async def test_a_reused_token_is_revoked(store):
    await login(store, bearer("s"))
    await exchange(store, "s", 1, "garbage", "x")
    assert [(revocation.kind, revocation.key) for revocation in await store.revocations()] == [("sid", sid("s"))]


async def test_sessions_without_tokens_need_no_revocation(store):
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    await login(store, cookie("t"))
    await store.end_user("alice", "revoked")
    assert await store.revocations() == []


def of_user(revocations: list[Revocation]) -> list[Revocation]:
    return [revocation for revocation in revocations if revocation.kind == "user"]


async def test_a_user_whose_sessions_ended_is_revoked_by_revision(store, clock):
    await login(store, bearer("a"))
    clock.advance(10)
    await login(store, bearer("b"))
    clock.advance(10)
    await store.end_user("alice", "revoked")
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 2, near(clock.now - 10 + TOKEN))]
    clock.advance(TOKEN - 10)
    assert await store.revocations() == []


async def test_a_users_revocation_outlives_the_tokens_of_the_last_refresh(store, clock):
    await login(store, bearer("a"))
    clock.advance(500)
    await exchange(store, "a", 1, "a", "a2")
    await store.end_user("alice", "revoked")
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 2, near(clock.now + TOKEN))]


async def test_a_kept_sessions_old_tokens_are_killed_too(store, clock):
    await login(store, bearer("a"))
    await store.end_user("alice", "password", keep=keeping("a"))
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 2, near(clock.now + TOKEN))]


async def test_a_changed_users_old_tokens_are_killed(store, clock):
    await login(store, bearer("a"))
    await store.save_user(UserRow("alice", scopes=frozenset({"less"})), expected=1)
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 2, near(clock.now + TOKEN))]


async def test_a_save_without_bump_kills_no_token(store):
    await login(store, bearer("a"))
    await store.save_user(UserRow("alice", password_hash="x"), expected=1, bump=False)
    assert await store.revocations() == []


async def test_the_latest_revision_counts(store, clock):
    await login(store, bearer("a"))
    await store.end_user("alice", "revoked")
    clock.advance(50)
    await login(store, bearer("b"))
    await store.end_user("alice", "revoked")
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 3, near(clock.now + TOKEN))]


async def test_a_deleted_users_tokens_are_killed(store, clock):
    await login(store, bearer("a"))
    await store.delete_user("alice")
    assert of_user(await store.revocations()) == [Revocation("user", "alice", 2, near(clock.now + TOKEN))]


async def test_revocations_come_in_pages_by_kind_and_key(store):
    for name in ("c", "a", "b"):
        await login(store, bearer(name))
        await store.end(sid(name), "logout")
    await login(store, bearer("z", "zoe"))
    await store.save_user(UserRow("zoe", display_name="Z"), expected=1)
    seen: list[str] = []
    while page := await store.revocations(seen[-1] if seen else "", 2):
        assert len(page) <= 2
        seen += [f"{revocation.kind}:{revocation.key}" for revocation in page]
    assert seen == [f"sid:{sid('a')}", f"sid:{sid('b')}", f"sid:{sid('c')}", "user:zoe"]


async def test_an_idled_out_session_is_no_revocation(store, clock):
    await login(store, bearer("s", idle=10.0))
    clock.advance(IDLE)
    assert await store.revocations() == []
