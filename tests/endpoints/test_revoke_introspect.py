"""`POST /revoke` (RFC 7009) and `POST /introspect` (RFC 7662)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, bearer

from asgi_auth import User
from asgi_auth.stores.opening import open_store

INACTIVE = {"active": False}


async def _access(house: House) -> str:
    return (await house.tokens())["access_token"]


async def _refresh(house: House) -> str:
    return (await house.tokens())["refresh_token"]


async def _used(house: House) -> str:
    token = await _refresh(house)
    await house.refresh(token)
    return token


async def _expired(house: House) -> str:
    token = await _access(house)
    house.clock.advance(700)
    return token


async def _denied(house: House) -> str:
    token = await _access(house)
    await house.auth.revoke_token(token)
    return token


async def _cookie(house: House) -> str:
    await house.login("alice")
    return house.client.cookies.jar.__iter__().__next__().value or ""


async def _sid(house: House) -> str:
    return (await house.login("alice"))["session"]["id"]


async def _text(house: House) -> str:
    return "garbage"


async def _other(house: House) -> str:
    return (await _refresh(house))[:-1] + "é"


async def _long(house: House) -> str:
    return "A" * 12_000


async def _three(house: House) -> str:
    return "a.b.c"


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("make", "ends"),
    [
        (_access, True),
        (_refresh, True),
        (_used, True),
        (_expired, False),
        (_denied, False),
        (_text, False),
        (_other, False),
        (_long, False),
        (_three, False),
        (_sid, False),
        (_cookie, False),
    ],
)
async def test_revoke_table(house: House, make: Any, ends: bool, as_json: bool, hint: str | None) -> None:
    """RFC 7009 §2.2: 200 with an empty body for whatever token, with whatever hint; possession ends the session."""
    token = await make(house)
    form = {"token": token, **({"token_type_hint": hint} if hint else {})}
    answer = await house.stranger().post("/auth/revoke", **({"json": form} if as_json else {"data": form}))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == "0"
    living = await house.auth.sessions("alice")
    assert (living == []) == (ends or make in (_text, _three, _long))


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"tokens": "x"}, {"access_token": "x"}])
async def test_revoke_without_a_token_is_400(house: House, form: Any) -> None:
    answer = await house.client.post("/auth/revoke", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await house.client.post("/auth/revoke", json=form)).status_code == 400


async def test_after_a_revocation_both_tokens_are_dead(house: House) -> None:
    for which in ("access_token", "refresh_token"):
        pair, other = await house.tokens(), await house.tokens()
        await house.client.post("/auth/revoke", data={"token": pair[which]})
        answer = await house.get("/whoami", pair["access_token"])
        assert answer.json()["error_description"] == "The access token was revoked"
        assert (await house.refresh(pair["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await house.get("/whoami", other["access_token"])).status_code == 200


async def test_a_token_of_another_house_revokes_nothing_here(houses: Any) -> None:
    ours, theirs = await houses(), await houses()
    pair, foreign = await ours.tokens(), await theirs.tokens()
    for token in foreign.values():
        if isinstance(token, str):
            assert (await ours.client.post("/auth/revoke", data={"token": token})).status_code == 200
    assert (await ours.get("/whoami", pair["access_token"])).status_code == 200
    assert (await theirs.get("/whoami", foreign["access_token"])).status_code == 200


async def test_revoke_needs_no_credential_and_minds_none(house: House) -> None:
    pair = await house.tokens()
    headers = {"authorization": "Bearer expired-garbage"}
    answer = await house.client.post("/auth/revoke", data={"token": pair["refresh_token"]}, headers=headers)
    assert answer.status_code == 200
    assert await house.auth.sessions("alice") == []


async def test_revoke_with_the_store_down_is_503_and_can_be_repeated(
    houses: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgi_auth.errors import StoreUnavailable

    house = await houses(store=open_store("memory://", timeout=5.0, clock=clock))
    pair = await house.tokens()

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(house.store, "end", silent)
        answer = await house.client.post("/auth/revoke", data={"token": pair["refresh_token"]})
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (await house.client.post("/auth/revoke", data={"token": pair["refresh_token"]})).status_code == 200
    assert await house.auth.sessions("alice") == []


# ---------------------------------------------------------------------- introspection


async def introspect(house: House, token: str, **more: Any) -> Any:
    caller = await house.tokens("ian")
    answer = await house.stranger().post(
        "/auth/introspect", data={"token": token, **more}, headers=bearer(caller["access_token"])
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def _nobody(house: House) -> dict[str, str]:
    return {}


async def _without_the_scope(house: House) -> dict[str, str]:
    return bearer((await house.tokens("bob"))["access_token"])


async def _with_the_scope(house: House) -> dict[str, str]:
    return bearer((await house.tokens("ian"))["access_token"])


async def _with_the_scope_cut_off(house: House) -> dict[str, str]:
    await house.auth.update_user("ian", scopes="introspect other")
    return bearer((await house.tokens("ian", scope="other"))["access_token"])


async def _bad(house: House) -> dict[str, str]:
    return bearer("garbage")


async def _basic(house: House) -> dict[str, str]:
    return {"authorization": "Basic aWFuOnNlY3JldA=="}


@pytest.mark.parametrize(
    ("caller", "status", "error"),
    [
        (_nobody, 401, "login_required"),
        (_basic, 401, "login_required"),
        (_bad, 401, "invalid_token"),
        (_without_the_scope, 403, "insufficient_scope"),
        (_with_the_scope_cut_off, 403, "insufficient_scope"),
        (_with_the_scope, 200, None),
    ],
)
async def test_introspect_table(house: House, caller: Any, status: int, error: str | None) -> None:
    token = (await house.tokens())["access_token"]
    answer = await house.client.post("/auth/introspect", data={"token": token}, headers=await caller(house))
    assert answer.status_code == status
    if error:
        assert answer.json()["error"] == error
        assert "active" not in answer.json()
        assert answer.headers["www-authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("make", "active"), [(_access, True), (_refresh, True), (_used, False), (_text, False)])
async def test_any_hint_is_right_for_any_token(house: House, make: Any, active: bool, as_json: bool, hint: str) -> None:
    """RFC 7662 §2.1: a hint helps to look, and decides nothing."""
    form = {"token": await make(house), "token_type_hint": hint}
    caller = bearer((await house.tokens("ian"))["access_token"])
    options: Any = {"json": form} if as_json else {"data": form}
    answer = await house.stranger().post("/auth/introspect", headers=caller, **options)
    assert (answer.status_code, answer.json()["active"]) == (200, active)


async def test_how_a_login_was_made_is_told(house: House) -> None:
    row = await house.store.user("alice")
    assert row is not None
    pair = await house.auth.issue(row.user(), amr=["pwd", "otp"], acr="urn:two")
    for token in (pair.access_token, pair.refresh_token):
        found = await introspect(house, token)
        assert (found["acr"], found["amr"], found["auth_time"]) == ("urn:two", ["pwd", "otp"], int(house.clock()))


async def test_introspection_with_the_store_down_is_503(
    houses: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgi_auth.errors import StoreUnavailable

    house = await houses(store=open_store("memory://", timeout=5.0, clock=clock))
    pair = await house.tokens()
    caller = bearer((await house.tokens("ian"))["access_token"])

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(house.store, "load", silent)
    for token in pair["access_token"], pair["refresh_token"]:
        answer = await house.client.post("/auth/introspect", data={"token": token}, headers=caller)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "active" not in answer.json()


async def test_a_cookie_with_the_scope_may_introspect_too(house: House) -> None:
    token = (await house.tokens())["access_token"]
    await house.login("ian")
    answer = await house.client.post("/auth/introspect", data={"token": token})
    assert answer.json()["active"] is True


@pytest.mark.parametrize(
    ("dpop", "active"), [("off", [False, True]), ("optional", [True, True]), ("required", [True, False])]
)
async def test_what_would_be_refused_for_its_binding_is_inactive(
    houses: Any, tmp_path: Path, dpop: str, active: list[bool]
) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    before = await houses(store_url=url)
    bound, unbound = [await before.auth.issue(User("alice"), jkt=jkt) for jkt in ("A" * 43, "")]
    after = await houses(store_url=url, users=False, dpop=dpop)
    await after.login("ian")
    for kind in ("access_token", "refresh_token"):
        tokens = [getattr(pair, kind) for pair in (bound, unbound)]
        answers = [await after.client.post("/auth/introspect", data={"token": token}) for token in tokens]
        assert [answer.json()["active"] for answer in answers] == active


async def test_an_active_access_token_is_described(house: House) -> None:
    token = (await house.tokens("bob", client_id="cli"))["access_token"]
    now = int(house.clock())
    found = await introspect(house, token)
    assert found == {
        "active": True,
        "token_type": "Bearer",
        "scope": "admin read",
        "client_id": "cli",
        "sub": "bob",
        "aud": "asgi-auth",
        "iss": "asgi-auth",
        "exp": now + 600,
        "iat": now,
        "nbf": now,
        "jti": found["jti"],
        "sid": found["sid"],
        "auth_time": now,
        "amr": ["pwd"],
    }


async def test_a_refresh_token_is_answered_and_never_consumed(house: House) -> None:
    pair = await house.tokens(client_id="cli")
    for _ in range(3):
        found = await introspect(house, pair["refresh_token"], token_type_hint="refresh_token")
        assert found == {
            "active": True,
            "scope": "read",
            "client_id": "cli",
            "sub": "alice",
            "iss": "asgi-auth",
            "exp": int(house.clock() + 30 * 86_400),
            "sid": found["sid"],
            "auth_time": int(house.clock()),
            "amr": ["pwd"],
        }
    assert (await house.refresh(pair["refresh_token"], client_id="cli")).status_code == 200


async def _out_of_date(house: House) -> str:
    token = await _access(house)
    await house.auth.update_user("alice", scopes="more")
    return token


async def _revoked(house: House) -> str:
    token = await _access(house)
    await house.auth.revoke_user("alice")
    return token


async def _refresh_of_the_dead(house: House) -> str:
    token = await _refresh(house)
    await house.auth.disable_user("alice")
    return token


@pytest.mark.parametrize(
    "make",
    [
        _text,
        _three,
        _long,
        _other,
        _sid,
        _cookie,
        _expired,
        _used,
        _out_of_date,
        _revoked,
        _denied,
        _refresh_of_the_dead,
    ],
)
async def test_an_inactive_token_is_told_nothing_of(house: House, make: Any) -> None:
    assert await introspect(house, await make(house)) == INACTIVE


async def test_introspection_ends_no_session_by_reuse(house: House) -> None:
    token = await _refresh(house)
    second = (await house.refresh(token)).json()
    third = (await house.refresh(second["refresh_token"])).json()
    house.clock.advance(60)
    assert await introspect(house, token) == INACTIVE
    assert (await house.get("/whoami", third["access_token"])).status_code == 200


async def test_guessing_at_introspection_is_throttled(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_auth.throttle.MISSES_A_MINUTE", 3)
    caller = bearer((await house.tokens("ian"))["access_token"])
    good = (await house.tokens())["access_token"]
    statuses = []
    for token in ("a", "b", good, "c", "d"):
        answer = await house.client.post("/auth/introspect", data={"token": token}, headers=caller)
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 200, 200, 429]
    assert "retry-after" in answer.headers


async def test_introspect_without_a_token_is_400(house: House) -> None:
    caller = bearer((await house.tokens("ian"))["access_token"])
    answer = await house.client.post("/auth/introspect", data={"token_type_hint": "x"}, headers=caller)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_introspection_says_what_a_password_change_has_done(house: House) -> None:
    """A session that was kept has tokens that are out of date, and a refresh token that is not."""
    pair = await house.tokens()
    answer = await house.client.post(
        "/auth/password",
        json={"current_password": PASSWORDS["alice"], "new_password": "a looking glass house"},
        headers=bearer(pair["access_token"]),
    )
    assert answer.status_code == 204
    assert await introspect(house, pair["access_token"]) == INACTIVE
    assert (await introspect(house, pair["refresh_token"]))["active"] is True
