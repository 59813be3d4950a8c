"""`elevate`, and logins that are not complete yet: what a step-up changes in a session, on every store."""

from __future__ import annotations

from dataclasses import replace

from store_helpers import (
    add_user,
    alive,
    bearer,
    cookie,
    cursor,
    digest,
    end_of,
    events_since,
    exchange,
    listed,
    login,
    near,
    presented,
    record_of,
    sid,
)

from asgi_auth.stores import Created, Loaded

STEP = {"amr": ("otp",), "acr": "aal2", "token_lifetime": 600.0}


async def test_an_elevation_adds_methods_and_gives_a_new_secret(store, clock):
    await login(store, cookie("s"))
    clock.advance(100)
    loaded = await store.elevate(presented("s"), digest("s2"), **STEP)
    assert isinstance(loaded, Loaded)
    record = await record_of(store, "s")
    assert record == loaded.record
    assert record.digest == digest("s2")
    assert record.previous_digest == ""
    assert record.acr == "aal2"
    assert dict(record.amr) == {"pwd": near(loaded.now - 100), "otp": near(loaded.now)}
    assert record.authenticated_at == near(loaded.now)
    assert record.secret_at == near(loaded.now)
    assert record.created_at == near(loaded.now - 100)


async def test_an_elevation_extends_nothing(store, clock):
    created = await login(store, cookie("s"))
    clock.advance(100)
    await store.elevate(presented("s"), digest("s2"), **STEP)
    record = await record_of(store, "s")
    assert record.expires_at == near(created.loaded.record.expires_at)
    assert record.idle_expires_at == near(created.loaded.record.idle_expires_at)


async def test_a_method_that_is_proved_again_has_the_later_time_alone(store, clock):
    await login(store, cookie("s", amr=("pwd", 'a"b', "otp")))
    clock.advance(10)
    await store.elevate(presented("s"), digest("s2"), amr=("pwd", 'a"b'), acr="", token_lifetime=600.0)
    clock.advance(10)
    loaded = await store.elevate(presented("s", "s2"), digest("s3"), amr=("pwd",), acr="", token_lifetime=600.0)
    now = loaded.now
    assert dict(loaded.record.amr) == {"otp": near(now - 20), 'a"b': near(now - 10), "pwd": near(now)}


async def test_an_acr_stays_where_none_is_given(store):
    await login(store, cookie("s", acr="aal2"))
    loaded = await store.elevate(presented("s"), digest("s2"), amr=("pwd",), acr="", token_lifetime=600.0)
    assert loaded.record.acr == "aal2"


async def test_an_old_secret_elevates_nothing(store):
    await login(store, cookie("s"))
    await store.rotate(presented("s"), digest("s2"), grace=10)
    assert await store.elevate(presented("s"), digest("s3"), **STEP) is None
    assert "otp" not in (await record_of(store, "s")).amr


async def test_an_ended_session_is_not_elevated(store):
    await login(store, cookie("s"))
    await store.end(sid("s"), "logout")
    assert await store.elevate(presented("s"), digest("s2"), **STEP) is None
    assert await end_of(store, "s") == "logout"


async def test_an_elevation_asked_again_is_the_same(store, clock):
    await login(store, cookie("s"))
    first = await store.elevate(presented("s"), digest("s2"), **STEP)
    clock.advance(5)
    again = await store.elevate(presented("s"), digest("s2"), **STEP)
    assert again.record == first.record


async def test_a_visitors_session_is_not_elevated(store):
    await login(store, cookie("v", None))
    assert await store.elevate(presented("v"), digest("v2"), **STEP) is None


async def test_an_elevation_is_told(store):
    await login(store, cookie("s"))
    after = await cursor(store)
    await store.elevate(presented("s"), digest("s2"), **STEP)
    assert [(event.kind, event.values["sid"]) for event in await events_since(store, after)] == [("changed", sid("s"))]


async def test_in_jwt_mode_an_elevation_is_a_new_refresh_token(store, clock):
    await login(store, bearer("j"))
    clock.advance(100)
    loaded = await store.elevate(presented("j"), digest("j2"), **STEP)
    assert loaded.record.grant.generation == 2
    assert loaded.record.grant.digest == digest("j2")
    assert loaded.record.digest == ""
    assert loaded.record.tokens_until == near(loaded.now + 600)
    assert (await exchange(store, "j", 2, "j2", "j3")).outcome == "made"


async def test_the_refresh_token_before_an_elevation_is_dead_and_no_theft(store):
    await login(store, bearer("j"))
    await store.elevate(presented("j"), digest("j2"), **STEP)
    assert (await exchange(store, "j", 1, "j", "x")).outcome == "mismatch"
    assert await alive(store, "j")
    assert (await exchange(store, "j", 2, "j2", "j3")).outcome == "made"
    assert (await exchange(store, "j", 1, "j", "x")).outcome == "reused"


async def test_an_elevation_after_a_refresh_leaves_no_successor_to_be_given_again(store):
    await login(store, bearer("j"))
    await exchange(store, "j", 1, "j", "j2")
    await store.elevate(presented("j", "j2"), digest("j3"), **STEP)
    assert (await exchange(store, "j", 2, "j2", "x")).outcome == "mismatch"
    record = await record_of(store, "j")
    assert replace(record.grant, made_at=0.0).nonce == ""


async def test_a_refresh_moves_neither_authenticated_at_nor_methods(store, clock):
    await login(store, bearer("j"))
    loaded = await store.elevate(presented("j"), digest("j2"), **STEP)
    clock.advance(50)
    made = await exchange(store, "j", 2, "j2", "j3")
    assert made.loaded.record.amr == loaded.record.amr
    assert made.loaded.record.authenticated_at == loaded.record.authenticated_at
    assert made.loaded.record.acr == "aal2"


async def test_a_pending_login_is_neither_listed_nor_counted(store):
    await login(store, cookie("s"), limit=1)
    await login(store, cookie("p", pending=True), limit=1)
    assert await alive(store, "s")
    assert (await record_of(store, "p")).pending is True
    assert await listed(store) == [sid("s")]
    await login(store, cookie("t"), limit=2)
    assert await alive(store, "s")


async def test_a_pending_login_ends_with_the_users_others(store):
    await login(store, cookie("p", pending=True))
    await store.end_user("alice", "revoked")
    assert await end_of(store, "p") == "revoked"


async def test_a_login_takes_the_place_of_a_pending_one(store):
    await login(store, cookie("p", pending=True, data={"cart": "[1]"}))
    created = await login(store, cookie("s"), replaces=presented("p"))
    assert await end_of(store, "p") == "replaced"
    assert dict(created.loaded.record.data) == {"cart": "[1]"}
    assert created.loaded.record.pending is False


async def test_the_age_of_a_secret_is_known(store, clock):
    created = await login(store, cookie("s"))
    assert created.loaded.record.secret_at == created.loaded.record.created_at
    clock.advance(50)
    await store.rotate(presented("s"), digest("s2"), grace=0)
    record = await record_of(store, "s")
    assert record.secret_at == near(record.created_at + 50)


async def test_a_pending_login_is_completed_once_and_while_it_lives(store):
    revision = await add_user(store)
    for name, ended in (("p", False), ("q", True)):
        await login(store, cookie(name, pending=True))
        if ended:
            await store.end(sid(name), "revoked")
    complete = {"revision": revision, "replaces": presented("p")}
    made = await store.create(cookie("s", completes=True), **complete)
    assert isinstance(made, Created)
    assert isinstance(await store.create(cookie("s", completes=True), **complete), Created)  # a repetition
    assert await store.create(cookie("t", completes=True), **complete) == "over"
    assert await store.create(cookie("u", completes=True), revision=revision, replaces=presented("q")) == "over"
    assert await store.create(cookie("v", completes=True), revision=revision) == "over"
    wrong = presented("s", "another secret")
    assert await store.create(cookie("w", completes=True), revision=revision, replaces=wrong) == "over"
    assert await store.create(cookie("x", completes=True), revision=revision, replaces=presented("s")) == "over"
    assert await listed(store) == [sid("s")]
    assert await end_of(store, "q") == "revoked"
