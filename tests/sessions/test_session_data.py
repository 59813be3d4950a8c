"""The session's data: a mapping that knows what changed, and that nothing is lost of in silence (sessions.md 2)."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seats import ALICE, BOB, Boom, browser, call, cookie_of, handled, http_scope, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, NoSessionData, StoreUnavailable
from asgi_auth.sessions.data import SessionData


class Keeper:
    """Keeps nothing, forbids nothing."""

    def __init__(self, objection: str | None = None) -> None:
        self.refused = objection
        self.saves = 0

    async def save(self) -> None:
        self.saves += 1

    def objection(self) -> str | None:
        return self.refused


def mapping(**stored: Any) -> SessionData:
    return SessionData(Keeper(), {key: json.dumps(value, separators=(",", ":")) for key, value in stored.items()})


# ---------------------------------------------------------------------- the mapping alone


def test_reading_changes_nothing() -> None:
    data = mapping(a=1, b=[1, {"c": None}])
    assert data["b"] == [1, {"c": None}]
    assert data.get("x", 7) == 7
    assert dict(data) == {"a": 1, "b": [1, {"c": None}]}
    assert len(data) == 2
    assert not data.changes()


def test_only_what_changed_is_saved_key_by_key() -> None:
    data = mapping(a=1, b=2, c=3, d=[])
    data["a"] = 1  # as it was
    data["b"] = 20
    del data["c"]
    data["d"].append(1)
    data["new"] = {"x": "ä"}
    changes = data.changes()
    assert changes.put == {"b": "20", "d": "[1]", "new": '{"x":"ä"}'}
    assert changes.delete == {"c"}
    data.saved(changes)
    assert not data.changes()
    data["d"].append(2)
    assert data.changes().put == {"d": "[1,2]"}


def test_a_key_deleted_and_set_again_is_set() -> None:
    data = mapping(a=1)
    del data["a"]
    assert "a" not in data
    with pytest.raises(KeyError):
        data["a"]
    data["a"] = 2
    assert data["a"] == 2
    assert data.changes() == ({"a": "2"}, frozenset())


def test_a_key_that_was_set_and_deleted_leaves_no_trace() -> None:
    data = mapping()
    data["a"] = 1
    del data["a"]
    assert list(data) == []
    assert not data.changes()


def test_the_mutating_methods_of_a_mapping_count() -> None:
    data = mapping(a=1, b=2)
    assert data.pop("a") == 1
    data.update(c=3)
    assert data.setdefault("d", []) == []
    data["d"].append(4)
    assert data.changes() == ({"c": "3", "d": "[4]"}, frozenset({"a"}))
    data.clear()
    assert data.changes() == ({}, frozenset({"a", "b"}))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", float("nan"), float("inf"), {"x": object()}, "\ud800"])
def test_a_value_that_json_cannot_hold_raises_at_the_assignment_and_names_the_key(value: Any) -> None:
    data = mapping()
    with pytest.raises((TypeError, ValueError), match="cart"):
        data["cart"] = value
    assert "cart" not in data
    assert not data.changes()


def test_a_value_that_contains_itself_raises_at_the_assignment() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="cart"):
        mapping()["cart"] = loop
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="cart"):
        mapping()["cart"] = deep


@pytest.mark.parametrize("key", [1, None, b"x", ("a",)])
def test_a_key_that_is_no_text_raises(key: Any) -> None:
    with pytest.raises(TypeError, match="keys are text"):
        mapping()[key] = 1


def test_an_objection_is_raised_at_the_write_and_names_the_reason() -> None:
    data = SessionData(Keeper("no place for it"), {"a": "1"})
    assert data["a"] == 1
    with pytest.raises(NoSessionData, match="no place for it"):
        data["b"] = 1
    with pytest.raises(NoSessionData, match="no place for it"):
        del data["a"]
    assert not data.changes()


def test_a_failure_is_raised_at_any_use() -> None:
    data = mapping()
    data.failure = StoreUnavailable("down")
    for use in (
        lambda: data["a"],
        lambda: list(data),
        lambda: "a" in data,
        lambda: data.update(a=1),
        lambda: len(data),
    ):
        with pytest.raises(StoreUnavailable):
            use()


def test_its_repr_shows_no_value() -> None:
    assert "hunter2" not in repr(mapping(secret="hunter2"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["a", "b", "c", "ä"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, JSON),
        st.tuples(st.just("delete"), KEYS, st.none()),
        st.tuples(st.just("append"), KEYS, JSON),
        st.tuples(st.just("read"), KEYS, st.none()),
        st.tuples(st.just("save"), KEYS, st.none()),
    ),
    max_size=20,
)


@given(start=st.dictionaries(KEYS, JSON, max_size=3), steps=STEPS)
def test_what_is_stored_is_what_a_dict_would_hold(start: dict[str, Any], steps: list[Any]) -> None:
    stored = {key: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for key, value in start.items()}
    data, model = SessionData(Keeper(), stored), json.loads(json.dumps(start))
    for step, key, value in steps:
        if step == "set":
            data[key] = value
            model[key] = json.loads(json.dumps(value))
        elif step == "delete":
            assert data.pop(key, None) == model.pop(key, None)
        elif step == "append" and isinstance(model.get(key), list):
            data[key].append(value)
            model[key].append(json.loads(json.dumps(value)))
        elif step == "read":
            assert data.get(key) == model.get(key)
        elif step == "save":
            _keep(data, stored)
        assert sorted(data) == sorted(model)
    _keep(data, stored)
    assert {key: json.loads(text) for key, text in stored.items()} == model
    assert not data.changes()


def _keep(data: SessionData, stored: dict[str, str]) -> None:
    changes = data.changes()
    stored.update(changes.put)
    for key in changes.delete:
        del stored[key]
    data.saved(changes)


# ---------------------------------------------------------------------- over each store


def shop(auth: Auth) -> AuthMiddleware:
    """`/login/x`, `/set/key/value`, `/append`, `/delete/key`, `/`."""

    async def page(request: Request) -> Response:
        _, verb, *rest = request.url.path.split("/")
        session = request.session
        if verb == "login":
            await auth.login(request, {"alice": ALICE, "bob": BOB}[rest[0]])
        elif verb == "set":
            session[rest[0]] = rest[1]
        elif verb == "append":
            session.setdefault("cart", [])
            session["cart"].append(len(session["cart"]))
        elif verb == "delete":
            del session[rest[0]]
        elif verb == "big":
            session["big"] = "x" * int(rest[0])
        elif verb == "rotate":
            await auth.rotate(request)
        return JSONResponse(dict(session))

    return AuthMiddleware(handled(page), auth)


async def test_a_change_inside_a_value_is_saved(any_store: str) -> None:
    auth = new_auth(any_store)
    for prepare in ("/login/alice", "/"):
        async with browser(shop(auth)) as client:
            await client.get(prepare)
            for _ in range(3):
                await client.get("/append")
            assert (await client.get("/")).json() == {"cart": [0, 1, 2]}
    await auth.aclose()


async def test_two_requests_that_change_different_keys_both_win(any_store: str) -> None:
    auth = new_auth(any_store)
    arrived = anyio.Event()

    async def page(request: Request) -> Response:
        name = request.url.path[1:]
        if name == "login":
            await auth.login(request, ALICE)
            request.session["shared"] = ["old"]
            request.session["gone"] = True
        elif name == "slow":
            assert request.session["shared"] == ["old"]
            arrived.set()
            await done.wait()
            request.session["slow"] = 1
        elif name == "fast":
            await arrived.wait()
            request.session["fast"] = 2
            request.session["shared"].append("new")
            del request.session["gone"]
        return JSONResponse(dict(request.session))

    done = anyio.Event()
    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/login")
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "/slow")
            await client.get("/fast")
            done.set()
        assert (await client.get("/")).json() == {"shared": ["old", "new"], "fast": 2, "slow": 1}
    await auth.aclose()


@pytest.mark.parametrize("who", ["/login/alice", "/set/first/x"])
async def test_forty_concurrent_writes_of_different_keys_are_all_kept(any_store: str, who: str) -> None:
    auth = new_auth(any_store)
    async with browser(shop(auth)) as client:
        await client.get(who)
        answers = []

        async def write(number: int) -> None:
            answers.append((await client.get(f"/set/k{number}/v{number}")).status_code)

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(write, number)
        assert answers == [200] * 40
        kept = (await client.get("/")).json()
        assert {f"k{number}": f"v{number}" for number in range(40)}.items() <= kept.items()
    await auth.aclose()


async def test_data_over_the_limit_is_413_and_changes_nothing(any_store: str) -> None:
    auth = new_auth(any_store, session_max_size=1000)
    for prepare in ("/login/alice", "/set/a/b"):
        async with browser(shop(auth)) as client:
            await client.get(prepare)
            await client.get("/set/a/b")
            assert (await client.get("/big/2000")).status_code == 413
            assert (await client.get("/")).json() == {"a": "b"}
            assert (await client.get("/big/500")).status_code == 200
    async with browser(shop(auth)) as client:  # a visitor's first
        answer = await client.get("/big/2000")
        assert answer.status_code == 413
        assert answer.json()["error"] == "content_too_large"
        assert set_cookies(answer) == []
    await auth.aclose()


async def test_a_login_takes_a_visitors_data_over_and_another_users_login_drops_it(any_store: str) -> None:
    auth = new_auth(any_store)
    async with browser(shop(auth)) as client:
        await client.get("/set/cart/book")
        answer = await client.get("/login/alice")
        assert answer.json() == {"cart": "book"}
        assert (await client.get("/")).json() == {"cart": "book"}
        assert (await client.get("/login/alice")).json() == {"cart": "book"}
        assert (await client.get("/login/bob")).json() == {}
        assert (await client.get("/")).json() == {}
    await auth.aclose()


async def test_what_a_request_wrote_before_its_login_goes_along_unless_it_was_another_users() -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        request.session["before"] = request.url.path
        user = {"/alice": ALICE, "/bob": BOB}[request.url.path]
        await auth.login(request, user)
        request.session["after"] = request.url.path
        return JSONResponse(dict(request.session))

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        assert (await client.get("/alice")).json() == {"before": "/alice", "after": "/alice"}
        assert (await client.get("/alice")).json() == {"before": "/alice", "after": "/alice"}
        assert (await client.get("/bob")).json() == {"after": "/bob"}


async def test_after_a_logout_the_data_is_nobodys() -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
            request.session["secret"] = 1
        elif request.url.path == "/logout":
            request.session["late"] = 1
            await auth.logout(request)
            left = dict(request.session)
            request.session["fresh"] = 1
            return JSONResponse(left)
        return JSONResponse(dict(request.session))

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/login")
        assert (await client.get("/logout")).json() == {}
        assert (await client.get("/")).json() == {"fresh": 1}


async def test_save_writes_at_once(any_store: str) -> None:
    auth = new_auth(any_store)
    seen = []

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
        elif request.url.path == "/work":
            request.session["progress"] = 50
            await request.session.save()
            async with browser(app) as other:
                seen.append((await other.get("/", headers=dict(request.headers))).json())
            raise Boom
        return JSONResponse(dict(request.session))

    app = AuthMiddleware(handled(page), auth)
    async with browser(app) as client:
        await client.get("/login")
        await client.get("/work")
        assert seen == [{"progress": 50}]
        assert (await client.get("/")).json() == {"progress": 50}  # what was saved is not dropped
    await auth.aclose()


async def test_unsaved_changes_inside_a_value_that_json_cannot_hold_fail_the_request() -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        request.session["list"] = []
        request.session["list"].append(object())
        return JSONResponse({})

    with pytest.raises(TypeError, match="list"):
        await call(AuthMiddleware(handled(page), auth), http_scope())


async def test_a_visitor_of_another_origin_writes_nothing_and_is_told_the_header() -> None:
    auth = new_auth()
    errors = []

    async def page(request: Request) -> Response:
        try:
            request.session["a"] = 1
        except NoSessionData as error:
            errors.append(str(error))
        return JSONResponse({})

    app = AuthMiddleware(handled(page), auth)
    for headers, word in (
        ([("sec-fetch-site", "cross-site")], "Sec-Fetch-Site"),
        ([("origin", "https://evil.example")], "Origin"),
    ):
        reply = await call(app, http_scope(method="POST", headers=headers))
        assert reply.all("set-cookie") == []
        assert word in errors.pop()


async def test_visitors_of_one_address_make_only_so_many_sessions() -> None:
    auth = new_auth()
    app = shop(auth)
    statuses = [(await call(app, http_scope(f"/set/a/{n}"))).status for n in range(62)]
    assert statuses == [200] * 60 + [429] * 2
    limited = await call(app, http_scope("/set/a/b"))
    assert limited.all("retry-after")
    assert limited.all("set-cookie") == []
    other = await call(app, http_scope("/set/a/b", client=("203.0.113.9", 1)))
    assert other.status == 200
    reading = await call(app, http_scope("/"))
    assert reading.status == 200


async def test_a_visitors_data_is_forgotten_when_idle(clock: Any) -> None:
    auth = new_auth(clock=clock)
    async with browser(shop(auth)) as client:
        await client.get("/set/a/b")
        clock.advance(3599)
        assert (await client.get("/")).json() == {"a": "b"}
        clock.advance(3601)
        assert (await client.get("/")).json() == {}


async def test_a_visitor_who_keeps_coming_keeps_the_data(clock: Any) -> None:
    """`ANONYMOUS_IDLE` is time without activity, as it is for somebody."""
    auth = new_auth(clock=clock)
    async with browser(shop(auth)) as client:
        await client.get("/set/a/b")
        for _ in range(4):
            clock.advance(1800)
            assert (await client.get("/")).json() == {"a": "b"}


async def test_a_rotation_keeps_the_data() -> None:
    auth = new_auth()
    async with browser(shop(auth)) as client:
        await client.get("/login/alice")
        await client.get("/set/a/b")
        before = cookie_of(client)
        await client.get("/rotate")
        assert cookie_of(client) != before
        assert (await client.get("/")).json() == {"a": "b"}
