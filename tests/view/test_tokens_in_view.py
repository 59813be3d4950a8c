"""How access tokens stand: by what is known here of revocations while that is proved complete, else by the store."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from redis_helpers import opened
from store_helpers import TOKEN, add_user, bearer, cookie, login, sid
from view_helpers import LEASE, following, hurry, is_current, stamp_of, until

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Ended, Revocation
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.view import View, revocations


@pytest.fixture
def view(stage):
    return View(stage, staleness=LEASE, token_lifetime=TOKEN)


async def tokens(store, *names):
    """A session in JWT mode of a user of the same name, each, and what a token of it says."""
    stamps = []
    for name in names:
        await login(store, bearer(name, name))
        stamps.append((await stamp_of(store, sid(name)))._replace(jti=f"1.{name}"))
    return stamps


async def catch_up(stage):
    if not stage.own_feed.instant:
        await stage.own_feed.pulse()


def stands(view, *stamps):
    return [view.stands(stamp, view.clock()) for stamp in stamps]


async def states(view, *stamps):
    return [(await view.token(stamp)).state for stamp in stamps]


async def locally(view, stage, stamp):
    """How it stands by what is known here, or `ask`."""
    stage.down.add("*")
    try:
        return (await view.token(stamp)).state
    except StoreUnavailable:
        return "ask"
    finally:
        stage.down.discard("*")


async def test_a_token_stands_without_a_question(view, store, stage):
    (token,) = await tokens(store, "a")
    async with following(view):
        asked = len(stage.asked)
        assert await states(view, token) == ["current"]
        assert len(stage.asked) == asked


async def test_without_a_follower_the_store_is_asked(view, store, stage):
    (token,) = await tokens(store, "a")
    assert stands(view, token) == [False]
    assert await states(view, token, token) == ["current", "current"]
    assert stage.loads == 2
    await store.end(sid("a"), "logout")
    assert await states(view, token) == ["revoked"]


REVOCATIONS = {
    "end": (lambda store: store.end(sid("a"), "revoked"), "revoked"),
    "end_user": (lambda store: store.end_user("a", "revoked"), "revoked"),
    "delete_user": (lambda store: store.delete_user("a"), "revoked"),
    "deny": (lambda store: store.deny("1.a", TOKEN), "revoked"),
    "update": (lambda store: store.save_user(UserRow("a", scopes=frozenset({"x"})), expected=1), "out_of_date"),
}


@pytest.mark.parametrize("kind", REVOCATIONS)
@pytest.mark.parametrize("maker", ["this process", "another one"])
async def test_what_kills_a_token_is_known_and_leaves_the_others_alone(view, store, stage, kind, maker):
    one, other = await tokens(store, "a", "b")
    revoke, state = REVOCATIONS[kind]
    async with following(view):
        assert stands(view, one, other) == [True, True]
        version = view.version
        await revoke(store if maker == "another one" else view.store)
        if maker == "another one":
            await catch_up(stage)
        assert stands(view, one, other) == [False, True]
        assert not view.unchanged(version, view.clock())
        assert await states(view, one, other) == [state, "current"]
        await catch_up(stage)
        assert stands(view, one, other) == [False, True]


@pytest.mark.parametrize("kind", REVOCATIONS)
async def test_a_revocation_whose_outcome_is_unknown_makes_it_ask(view, store, stage, kind):
    one, other = await tokens(store, "a", "b")
    revoke, state = REVOCATIONS[kind]
    async with following(view):
        stage.own_feed.sent.close()
        stage.lost = {"deny", "end", "end_user", "delete_user", "save_user"}
        with pytest.raises(StoreUnavailable):
            await revoke(view.store)
        assert not view.stands(one, view.clock())
        assert await locally(view, stage, one) in ("revoked", "out_of_date", "ask")
        assert await states(view, one, other) == [state, "current"]
        stage.own_feed.sent.open()


async def test_a_token_made_after_the_users_change_stands(view, store, stage):
    (old,) = await tokens(store, "a")
    async with following(view):
        await store.save_user(UserRow("a", scopes=frozenset({"x"})), expected=1)
        await catch_up(stage)
        new = await stamp_of(store, sid("a"))
        assert stands(view, old, new) == [False, True]
        assert await states(view, old, new) == ["out_of_date", "current"]


async def test_a_users_change_drops_the_sessions_that_are_held(view, store, stage):
    await add_user(store, "a")
    await login(store, cookie("s", "a"))
    async with following(view):
        await view.session(sid("s"))
        held = view.held(sid("s"))
        await store.save_user(UserRow("a", scopes=frozenset({"x"})), expected=1)
        await catch_up(stage)
        assert not view.warm(held, view.clock())
        assert (await view.session(sid("s"))).user.scopes == {"x"}


@pytest.mark.parametrize("maker", ["this process", "another one"])
async def test_the_end_of_everybody_is_seen_by_the_era(view, store, stage, maker):
    before = await tokens(store, "a", "b")
    async with following(view):
        await (view.store if maker == "this process" else store).end_all("revoked")
        await catch_up(stage)
        assert stands(view, *before) == [False, False]
        assert await states(view, *before) == ["revoked", "revoked"]
        after = await tokens(store, "c")
        assert await states(view, *after) == ["current"]
        if maker == "another one":
            assert stands(view, *after) == [True]


async def test_a_token_that_does_not_say_when_it_was_made_is_asked_about(view, store, stage):
    (token,) = await tokens(store, "a")
    async with following(view):
        assert stands(view, token._replace(epoch="")) == [False]
        assert await states(view, token._replace(epoch="")) == ["current"]
        assert stage.loads == 1


async def test_a_token_of_another_user_than_its_session_is_none(view, store, stage):
    one, other = await tokens(store, "a", "b")
    async with following(view):
        assert await states(view, one._replace(user_id=other.user_id, epoch="")) == ["revoked"]


async def test_the_row_comes_with_a_current_token_if_it_is_asked_for(view, store, stage):
    (token,) = await tokens(store, "a")
    async with following(view):
        assert (await view.token(token)).user is None
        standing = await view.token(token, row=True)
        assert standing.user.id == "a"
        assert standing.now > 0


async def test_what_was_revoked_before_this_process_began_is_known(view, store, stage):
    stamps = await tokens(store, "a", "b", "c", "d")
    await store.end(sid("a"), "logout")
    await store.end_user("b", "revoked")
    await store.deny("1.c", TOKEN)
    async with following(view):
        assert stands(view, *stamps) == [False, False, False, True]


async def test_a_denied_token_leaves_its_session_and_the_sessions_other_tokens_alone(view, store, stage):
    (denied,) = await tokens(store, "a")
    other = denied._replace(jti="2.a")
    async with following(view):
        await view.session(sid("a"))
        await store.deny(denied.jti, TOKEN)
        await catch_up(stage)
        assert stands(view, denied, other) == [False, True]
        assert await states(view, denied, other) == ["revoked", "current"]
        assert await locally(view, stage, denied) == "revoked"
        assert view.held(sid("a")) is not None


async def test_without_a_follower_the_store_is_asked_whether_a_token_is_denied(view, store):
    (denied,) = await tokens(store, "a")
    await store.deny(denied.jti, TOKEN)
    assert await states(view, denied, denied._replace(jti="2.a")) == ["revoked", "current"]


async def test_a_token_that_seems_to_be_denied_is_asked_about(view, store, stage, monkeypatch):
    """Where very many are, sixty-four bits of each are kept."""
    monkeypatch.setattr(revocations, "EXACT", 0)
    (denied,) = await tokens(store, "a")
    async with following(view):
        await store.deny(denied.jti, TOKEN)
        await catch_up(stage)
        assert await locally(view, stage, denied) == "ask"
        assert await states(view, denied, denied._replace(jti="2.a")) == ["revoked", "current"]


async def test_a_denial_lasts_as_long_as_it_says(view, store, stage, clock):
    (denied,) = await tokens(store, "a")
    async with following(view):
        await store.deny(denied.jti, 3 * TOKEN)
        for _ in range(29):
            clock.advance(TOKEN / 10)
            await store.deny("1.another", 10.0)
            await catch_up(stage)
            assert stands(view, denied, denied._replace(jti="2.a")) == [False, True]


async def test_a_revocation_lasts_as_long_as_the_tokens_of_its_session(view, store, stage, clock):
    one, _ = await tokens(store, "a", "b")
    async with following(view):
        await store.end(sid("a"), "logout")
        await catch_up(stage)
        clock.advance(TOKEN - 1)
        await catch_up(stage)
        for number in range(3):
            await store.end_user("b" if number else "nobody", "revoked")
            await catch_up(stage)
        assert stands(view, one) == [False]
        assert view.hits(one)


@pytest.mark.parametrize("kind", REVOCATIONS)
async def test_a_hit_is_known_however_old_the_copy_is(view, store, stage, clock, kind):
    one, other = await tokens(store, "a", "b")
    revoke, _ = REVOCATIONS[kind]
    await no_longer_followed(view, stage, clock, lambda: revoke(store))
    assert (view.hits(one), view.hits(other)) == (True, False)


async def test_the_end_of_everybody_is_known_however_old_the_copy_is(view, store, stage, clock):
    one, other = await tokens(store, "a", "b")
    await no_longer_followed(view, stage, clock, lambda: store.end_all("revoked"))
    assert (view.hits(one), view.hits(other)) == (True, True)


async def no_longer_followed(view, stage, clock, change):
    """The view has heard of a change, and of nothing since."""
    async with following(view):
        await change()
        await catch_up(stage)
        assert is_current(view)
    assert not is_current(view)
    clock.advance(TOKEN - 1)


async def test_a_token_whose_session_is_unknown_to_the_store_does_not_stand(view, store, clock):
    (token,) = await tokens(store, "a")
    async with following(view):
        assert stands(view, token) == [True]
        assert view._copy.admit(token.sid, view._copy.mark(), None)
        assert stands(view, token) == [False]
        assert (await view.token(token)).state == "revoked"


async def test_a_confirmed_generation_is_told_once(view, store, stage):
    (token,) = await tokens(store, "a")
    async with following(view):
        for _ in range(3):
            await view.confirm(token.sid, 1)
            await view.confirm(token.sid, 2)
        assert stage.asked.count("confirm") == 1


def test_event_loops_of_several_threads_confirm_at_once(monkeypatch):
    class Told(MemoryStore):
        async def confirm(self, sid, generation):
            return None

    monkeypatch.setattr("asgi_auth.view._CONFIRMED", 50)
    view, before = View(Told(), staleness=LEASE), sys.getswitchinterval()

    async def confirm(thread):
        for number in range(4000):
            await view.confirm(f"{thread} {number}", 2)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda thread: anyio.run(confirm, thread), range(4)))  # raises what was raised there
    finally:
        sys.setswitchinterval(before)


async def test_the_epoch_is_the_stores(view, store, stage):
    history = await store.history()
    assert await view.epoch() == history.epoch
    assert await view.epoch() == history.epoch
    async with following(view):
        assert await view.epoch() == history.epoch
    assert stage.asked.count("history") == 2


# A history that ends


async def test_a_flush_begins_another_epoch_and_tokens_of_before_are_asked_about(redis_store, redis_stage, redis_url):
    view = View(redis_stage, staleness=LEASE, token_lifetime=TOKEN)
    one, two = await tokens(redis_store, "a", "b")
    async with following(view):
        assert stands(view, one, two) == [True, True]
        version = view.version
        with opened(redis_url) as control:
            control.flushall()
        redis_stage.before["newest"].close()
        hurry(view)
        await redis_stage.before["newest"].reached()
        assert stands(view, one, two) == [False, False]
        assert not view.unchanged(version, view.clock())
        redis_stage.before["newest"].open()
        await until(lambda: is_current(view))
        assert await view.epoch() != one.epoch
        # Somebody logs in under the same names; the old tokens' sessions are nobody's.
        (new,) = await tokens(redis_store, "c")
        assert stands(view, one, two, new) == [False, False, True]
        assert await states(view, one, two, new) == ["revoked", "revoked", "current"]
        assert isinstance(await view.session(sid("a")), Ended | None)


async def test_a_denied_token_does_not_come_back_with_old_data(redis_store, redis_stage, redis_url):
    """It is denied again, for as long as it was."""
    view = View(redis_stage, staleness=LEASE, token_lifetime=TOKEN)
    (token,) = await tokens(redis_store, "a")
    async with following(view):
        await restored_after(redis_stage, redis_url, view, lambda: redis_store.deny(token.jti, 2 * TOKEN))
        assert stands(view, token) == [False]
        for _ in range(2):
            await redis_stage.own_feed.pulse()
        assert await redis_store.denied(token.jti)
        (again,) = await redis_store.revocations()
        assert again == Revocation("jti", token.jti, 0, pytest.approx(view.clock() + 2 * TOKEN, abs=30))


@pytest.mark.parametrize("kind", ["end_user", "end_all"])
async def test_who_was_seen_to_end_does_not_come_back_with_old_data(redis_store, redis_stage, redis_url, kind):
    """A restore from before a change that another process had made, and this one had heard of: it is made again."""
    view = View(redis_stage, staleness=LEASE, token_lifetime=TOKEN)
    (token,) = await tokens(redis_store, "a")
    await login(redis_store, cookie("s", "a"))
    arguments = ("a", "revoked") if kind == "end_user" else ("revoked",)
    async with following(view):
        await restored_after(redis_stage, redis_url, view, lambda: getattr(redis_store, kind)(*arguments))
        for _ in range(2):
            await redis_stage.own_feed.pulse()
        assert stands(view, token) == [False]
        assert (await view.token(token)).state == "revoked"
        assert isinstance(await view.session(sid("s")), Ended)
        assert isinstance(await redis_store.load(sid("s")), Ended)


async def restored_after(stage, url, view, change):
    """The database is as it was before a change that the view has heard of."""
    with opened(url) as control:
        raw = {key: (control.dump(key), max(0, control.pttl(key))) for key in _keys(url)}
        await change()
        await stage.own_feed.pulse()
        control.flushall()
        for key, (value, left) in raw.items():
            control.restore(key, left, value)
    stage.before["newest"].close()
    hurry(view)
    await stage.before["newest"].reached()
    stage.before["newest"].open()
    await until(lambda: is_current(view))


def _keys(url):
    with opened(url) as control:
        return control.keys("*")


async def test_who_ends_a_session_that_was_ended_elsewhere_has_ended_its_tokens_here(redis_store, redis_stage):
    """What the other process did has not been heard of."""
    view = View(redis_stage, staleness=LEASE, token_lifetime=TOKEN)
    (token,) = await tokens(redis_store, "a")
    async with following(view):
        await redis_store.end(sid("a"), "revoked")
        assert stands(view, token) == [True]
        assert await view.store.end(sid("a"), "revoked") is None
        assert stands(view, token) == [False]
        assert await states(view, token) == ["revoked"]
