"""The store's contract on refresh tokens: each is used up once, and whoever presents it late is a thief."""

from __future__ import annotations

import pytest
from store_helpers import (
    IDLE,
    LIFETIME,
    TOKEN,
    WINDOWS,
    add_user,
    alive,
    bearer,
    cookie,
    digest,
    end_of,
    exchange,
    login,
    near,
    presented,
    record_of,
    sid,
)

from asgi_auth.model import UserRow
from asgi_auth.stores import NewGrant


@pytest.fixture
async def session(store):
    await login(store, bearer("r1", sid=sid("s")))


async def test_the_current_token_makes_a_successor(store, session, clock):
    clock.advance(50)
    exchanged = await exchange(store, "s", 1, "r1", "r2", scope="read")
    assert exchanged.outcome == "made"
    assert exchanged.loaded is not None
    record = exchanged.loaded.record
    assert record == await record_of(store, "s")
    grant = record.grant
    assert (grant.generation, grant.digest, grant.previous_digest) == (2, digest("r2"), digest("r1"))
    assert (grant.nonce, grant.asked, grant.confirmed_at) == ("nonce-r2", "read", None)
    assert grant.made_at == near(clock.now)
    assert record.seen_at == near(clock.now)
    assert record.idle_expires_at == near(clock.now + IDLE)
    assert record.tokens_until == near(clock.now + TOKEN)
    assert exchanged.loaded.user.id == "alice"


async def test_a_refresh_moves_the_idle_end_by_the_window_and_never_past_the_absolute_end(store, session, clock):
    clock.advance(10)
    await exchange(store, "s", 1, "r1", "r2", windows=WINDOWS._replace(idle=77))
    assert (await record_of(store, "s")).idle_expires_at == near(clock.now + 77)
    await exchange(store, "s", 2, "r2", "r3", windows=WINDOWS._replace(idle=10 * LIFETIME))
    record = await record_of(store, "s")
    assert record.idle_expires_at == near(record.expires_at)


async def test_a_refresh_does_not_extend_the_lifetime(store, session, clock):
    before = (await record_of(store, "s")).expires_at
    clock.advance(100)
    await exchange(store, "s", 1, "r1", "r2")
    assert (await record_of(store, "s")).expires_at == before


async def test_the_predecessor_gets_the_nonce_of_the_same_successor(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(3)
    again = await exchange(store, "s", 1, "r1", "other")
    assert (again.outcome, again.nonce) == ("repeated", "nonce-r2")
    record = await record_of(store, "s")
    assert (record.grant.generation, record.grant.digest) == (2, digest("r2"))
    assert again.loaded is not None
    assert again.loaded.record == record


async def test_a_repetition_raises_how_long_tokens_live(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(50)
    await exchange(store, "s", 1, "r1", "r2")
    assert (await record_of(store, "s")).tokens_until == near(clock.now + TOKEN)


async def test_a_shorter_token_does_not_lower_how_long_tokens_live(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2", windows=WINDOWS._replace(token_lifetime=1))
    assert (await record_of(store, "s")).tokens_until == near(clock.now + TOKEN)


@pytest.mark.parametrize("seconds", [0, 50, 109])
async def test_an_unconfirmed_successor_is_redelivered(store, session, clock, seconds):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(seconds)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "repeated"


async def test_after_the_redelivery_and_the_grace_it_is_theft(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(110)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "reused"
    assert await end_of(store, "s") == "reuse"


async def test_after_the_confirmation_only_the_grace_remains(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(20)
    await store.confirm(sid("s"), 2)
    clock.advance(9)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "repeated"
    clock.advance(1)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "reused"


async def test_a_late_confirmation_extends_nothing(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    clock.advance(105)
    await store.confirm(sid("s"), 2)
    clock.advance(5)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "reused"


async def test_only_the_first_confirmation_counts(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2")
    await store.confirm(sid("s"), 2)
    first = (await record_of(store, "s")).grant.confirmed_at
    assert first == near(clock.now)
    clock.advance(8)
    await store.confirm(sid("s"), 2)
    assert (await record_of(store, "s")).grant.confirmed_at == first
    clock.advance(2)
    assert (await exchange(store, "s", 1, "r1", "x")).outcome == "reused"


@pytest.mark.parametrize("generation", [1, 3])
async def test_another_generation_confirms_nothing(store, session, generation):
    await exchange(store, "s", 1, "r1", "r2")
    await store.confirm(sid("s"), generation)
    assert (await record_of(store, "s")).grant.confirmed_at is None


async def test_a_new_successor_is_not_confirmed_by_its_predecessors_confirmation(store, session):
    await store.confirm(sid("s"), 1)
    await exchange(store, "s", 1, "r1", "r2")
    assert (await record_of(store, "s")).grant.confirmed_at is None


async def test_confirming_what_has_no_refresh_tokens_is_nothing(store):
    await login(store, cookie("c"))
    await store.confirm(sid("c"), 1)
    await store.confirm(sid("unknown"), 1)
    assert (await record_of(store, "c")).grant is None


async def test_strict_rotation_takes_any_second_presentation_for_theft(store, session):
    strict = WINDOWS._replace(grace=0, redelivery=0)
    assert (await exchange(store, "s", 1, "r1", "r2", windows=strict)).outcome == "made"
    assert (await exchange(store, "s", 1, "r1", "x", windows=strict)).outcome == "reused"


async def test_a_token_two_generations_old_is_theft(store, session):
    await exchange(store, "s", 1, "r1", "r2")
    await exchange(store, "s", 2, "r2", "r3")
    exchanged = await exchange(store, "s", 1, "r1", "x")
    assert (exchanged.outcome, exchanged.loaded) == ("reused", None)
    assert await end_of(store, "s") == "reuse"


@pytest.mark.parametrize(
    ("generation", "secret"),
    [(1, "garbage"), (2, "garbage"), (3, "r2"), (2, "r1"), (1, "r2"), (0, ""), (99, "r1")],
)
async def test_anything_else_is_theft(store, session, generation, secret):
    await exchange(store, "s", 1, "r1", "r2")
    assert (await exchange(store, "s", generation, secret, "x")).outcome == "reused"
    assert not await alive(store, "s")


@pytest.mark.parametrize("stored", ["", "r0"])
async def test_no_predecessor_of_the_first_token_is_ever_good(store, session, stored):
    options = {"digest": stored and digest(stored)}
    assert (await exchange(store, "s", 0, "", "x", **options)).outcome == "reused"


async def test_another_scope_gets_no_repetition_and_changes_nothing(store, session):
    await exchange(store, "s", 1, "r1", "r2", scope="read")
    before = await record_of(store, "s")
    assert (await exchange(store, "s", 1, "r1", "x", scope="write")).outcome == "scope"
    assert await record_of(store, "s") == before
    assert (await exchange(store, "s", 1, "r1", "x", scope="read")).outcome == "repeated"


async def test_another_scope_too_late_is_theft_all_the_same(store, session, clock):
    await exchange(store, "s", 1, "r1", "r2", scope="read")
    clock.advance(110)
    assert (await exchange(store, "s", 1, "r1", "x", scope="write")).outcome == "reused"


async def test_another_client_consumes_nothing(store, session):
    assert (await exchange(store, "s", 1, "r1", "r2", client_id="evil")).outcome == "mismatch"
    assert (await exchange(store, "s", 1, "garbage", "r2", client_id="evil")).outcome == "mismatch"
    assert (await exchange(store, "s", 1, "r1", "r2")).outcome == "made"


def bound(jkt: str) -> NewGrant:
    return NewGrant(client_id="app", granted=None, digest=digest("k1"), token_lifetime=TOKEN, jkt=jkt)


async def test_another_key_consumes_nothing(store):
    await login(store, bearer("k1", sid=sid("k"), grant=bound("thumbprint")))
    assert (await record_of(store, "k")).grant.jkt == "thumbprint"
    before = await record_of(store, "k")
    for jkt in ("", "another", "thumbprint ", "THUMBPRINT"):
        assert (await exchange(store, "k", 1, "k1", "k2", jkt=jkt)).outcome == "mismatch"
        assert (await exchange(store, "k", 1, "garbage", "k2", jkt=jkt)).outcome == "mismatch"
    assert await record_of(store, "k") == before
    assert (await exchange(store, "k", 1, "k1", "k2", jkt="thumbprint")).outcome == "made"
    assert (await exchange(store, "k", 1, "k1", "x", jkt="another")).outcome == "mismatch"
    assert (await exchange(store, "k", 1, "k1", "x", jkt="thumbprint")).outcome == "repeated"
    assert (await record_of(store, "k")).grant.jkt == "thumbprint"


async def test_a_key_where_the_token_is_bound_to_none_consumes_nothing(store, session):
    assert (await exchange(store, "s", 1, "r1", "r2", jkt="thumbprint")).outcome == "mismatch"
    assert (await exchange(store, "s", 1, "r1", "r2")).outcome == "made"


async def test_an_elevation_keeps_the_key(store):
    await login(store, bearer("k1", sid=sid("k"), grant=bound("thumbprint")))
    assert await store.elevate(presented("k", "k1"), digest("k2"), amr=["otp"], acr="", token_lifetime=TOKEN)
    assert (await record_of(store, "k")).grant.jkt == "thumbprint"
    assert (await exchange(store, "k", 2, "k2", "k3", jkt="")).outcome == "mismatch"
    assert (await exchange(store, "k", 2, "k2", "k3", jkt="thumbprint")).outcome == "made"


async def test_another_revision_consumes_nothing(store, session):
    assert (await exchange(store, "s", 1, "r1", "r2", revision=7)).outcome == "changed"
    assert (await exchange(store, "s", 1, "garbage", "r2", revision=7)).outcome == "changed"
    assert (await exchange(store, "s", 1, "r1", "r2")).outcome == "made"


async def test_a_wrong_client_is_told_before_a_wrong_revision(store, session):
    assert (await exchange(store, "s", 1, "r1", "r2", client_id="evil", revision=7)).outcome == "mismatch"


async def test_a_users_change_is_seen_by_the_next_refresh(store, session):
    await store.save_user(UserRow("alice", scopes=frozenset({"new"})), expected=1)
    assert (await exchange(store, "s", 1, "r1", "r2", revision=1)).outcome == "changed"
    exchanged = await exchange(store, "s", 1, "r1", "r2", revision=2)
    assert exchanged.outcome == "made"
    assert exchanged.loaded.user.scopes == {"new"}


async def test_a_session_without_refresh_tokens_is_ended_for_them(store):
    await login(store, cookie("c"))
    assert (await exchange(store, "c", 1, "c", "x")).outcome == "ended"
    assert await alive(store, "c")


async def test_an_unknown_session_is_ended(store):
    assert (await exchange(store, "unknown", 1, "r1", "r2")).outcome == "ended"


async def test_an_ended_session_is_ended_and_not_reused(store, session):
    await store.end(sid("s"), "logout")
    assert (await exchange(store, "s", 1, "garbage", "r2", revision=1)).outcome == "ended"
    assert await end_of(store, "s") == "logout"


async def test_each_session_has_refresh_tokens_of_its_own(store, session):
    await add_user(store, "bob")
    await login(store, bearer("b1", "bob", sid=cookie("b", "bob").sid))
    await exchange(store, "s", 1, "r1", "r2")
    assert (await record_of(store, "b")).grant.generation == 1
    assert (await exchange(store, "b", 1, "b1", "b2")).outcome == "made"
