"""What the log says of refusals and changes (requirements.md 5), and what neither log nor answer ever says."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, bearer, cookie_header
from itsdangerous import TimestampSigner

from asgi_auth import User
from asgi_auth.errors import StoreUnavailable

WRONG = {"username": "alice", "password": "wrong"}
JSON = ("content-type", "application/json")
Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Events:
    """The security events so far."""
    caplog.set_level(logging.DEBUG, logger="asgi_auth")

    def read() -> list[dict[str, Any]]:
        return [json.loads(one.getMessage()) for one in caplog.records if one.name == "asgi_auth.security"]

    return read


# ---------------------------------------------------------------------- refusals


async def _failed(house: House) -> None:
    await house.client.post("/auth/login", json=WRONG)


async def _failed_for_nobody(house: House) -> None:
    await house.client.post("/auth/login", json={"username": "hunter2", "password": "wrong"})


async def _failed_at_token(house: House) -> None:
    await house.client.post("/auth/token", data={"grant_type": "password", **WRONG})


async def _throttled(house: House) -> None:
    for _ in range(12):
        await house.client.post("/auth/login", json=WRONG)


async def _throttled_at_password(house: House) -> None:
    await house.login()
    for _ in range(12):
        await house.client.post("/auth/password", json={"current_password": "wrong", "new_password": "x"})


async def _password_refused(house: House) -> None:
    await house.login()
    await house.client.post("/auth/password", json={"current_password": "wrong", "new_password": "x"})


async def _cross_origin(house: House) -> None:
    await house.login()
    await house.client.post("/private", headers={"sec-fetch-site": "cross-site"})


async def _cross_origin_login(house: House) -> None:
    await house.client.post("/auth/login", headers={"origin": "https://evil.example"}, json=WRONG)


async def _forbidden(house: House) -> None:
    await house.login()
    await house.client.get("/admin")


async def _forbidden_introspection(house: House) -> None:
    token = (await house.tokens())["access_token"]
    await house.client.post("/auth/introspect", data={"token": "x"}, headers=bearer(token))


async def _not_fresh(house: House) -> None:
    await house.login()
    house.clock.advance(3600)
    await house.client.delete("/auth/sessions")


async def _forged_token(house: House) -> None:
    await house.client.get("/whoami", headers=bearer("a.b.c"))


async def _forged_cookie(house: House) -> None:
    await house.login()
    name = cookie_header(house.client).partition("=")[0]
    await house.stranger().get("/whoami", headers={"cookie": f"{name}=garbage"})


async def _forged_refresh_token(house: House) -> None:
    await house.refresh("garbage")


async def _doubled_authorization(house: House) -> None:
    await house.raw("GET", "/whoami", headers=[("authorization", "Bearer a"), ("authorization", "Bearer b")])


async def _malformed_at_an_endpoint(house: House) -> None:
    await house.raw("GET", "/auth/me", headers=[("authorization", "Bearer")])


async def _bad_body(house: House) -> None:
    await house.raw("POST", "/auth/login", headers=[JSON], body=b"{")


async def _huge_body(house: House) -> None:
    await house.raw("POST", "/auth/login", headers=[JSON], body=b"x" * 20_000)


async def _client_secret(house: House) -> None:
    await house.client.post("/auth/token", data={"grant_type": "password", "client_secret": "swordfish"})


async def _ended_cookie(house: House) -> None:
    login = await house.login()
    await house.auth.revoke(login["session"]["id"])
    await house.client.get("/whoami")


async def _ended_token(house: House) -> None:
    token = (await house.tokens())["access_token"]
    await house.auth.revoke_user("alice")
    await house.get("/whoami", token)


async def _ended_refresh_token(house: House) -> None:
    token = (await house.tokens())["refresh_token"]
    await house.auth.revoke_user("alice")
    await house.refresh(token)


async def _another_client(house: House) -> None:
    token = (await house.tokens(client_id="cli"))["refresh_token"]
    await house.refresh(token, client_id="other")


async def _reuse(house: House) -> None:
    first = (await house.tokens())["refresh_token"]
    await house.refresh((await house.refresh(first)).json()["refresh_token"])
    await house.refresh(first)


async def _audience(house: House) -> None:
    parts = await house.auth.opened()
    token = parts.tokens.issue(
        await parts.keys.signing_key(),
        subject="alice",
        session_id="00" + "a" * 22,
        generation=1,
        client_id="x",
        scope="",
        auth_time=house.clock(),
        amr={},
        revision=1,
        now=house.clock(),
        lifetime=60,
        audience="another",
    )
    answer = await house.get("/whoami", token)
    assert answer.json()["error_description"] == "The access token is not for this audience"


async def _limit(house: House) -> None:
    for _ in range(3):
        await house.login(client=house.stranger())


@pytest.mark.parametrize(
    ("refused", "event", "level"),
    [
        (_failed, r"authn_login_fail:alice", "WARN"),
        (_failed_for_nobody, r"authn_login_fail:unknown", "WARN"),
        (_failed_at_token, r"authn_login_fail:alice", "WARN"),
        (_throttled, r"authn_login_fail_max:alice,11", "WARN"),
        (_throttled, r"excess_rate_limit_exceeded:127\.0\.0\.1,10", "WARN"),
        (_throttled_at_password, r"excess_rate_limit_exceeded:alice,10", "WARN"),
        (_password_refused, r"authn_password_change_fail:alice", "CRITICAL"),
        (_cross_origin, r"malicious_csrf:127\.0\.0\.1", "WARN"),
        (_cross_origin_login, r"malicious_csrf:127\.0\.0\.1", "WARN"),
        (_forbidden, r"authz_fail:alice,/admin", "CRITICAL"),
        (_forbidden_introspection, r"authz_fail:alice,/auth/introspect", "CRITICAL"),
        (_not_fresh, r"authz_fail:alice,/auth/sessions", "CRITICAL"),
        (_forged_token, r"input_validation_fail:authorization,127\.0\.0\.1", "WARN"),
        (_forged_cookie, r"input_validation_fail:cookie,127\.0\.0\.1", "WARN"),
        (_forged_refresh_token, r"input_validation_fail:refresh_token,127\.0\.0\.1", "WARN"),
        (_doubled_authorization, r"input_validation_fail:request,127\.0\.0\.1", "WARN"),
        (_malformed_at_an_endpoint, r"input_validation_fail:request,127\.0\.0\.1", "WARN"),
        (_bad_body, r"input_validation_fail:request,127\.0\.0\.1", "WARN"),
        (_huge_body, r"input_validation_fail:request,127\.0\.0\.1", "WARN"),
        (_client_secret, r"input_validation_fail:request,127\.0\.0\.1", "WARN"),
        (_another_client, r"input_validation_fail:client_id,127\.0\.0\.1", "WARN"),
        (_audience, r"input_validation_fail:authorization,127\.0\.0\.1", "WARN"),
        (_ended_cookie, r"session_use_after_expire:alice", "CRITICAL"),
        (_ended_token, r"session_use_after_expire:alice", "CRITICAL"),
        (_ended_refresh_token, r"session_use_after_expire:alice", "CRITICAL"),
        (_reuse, r"authn_token_reuse:alice,00.{22}", "CRITICAL"),
        (_limit, r"excess_sessions_exceeded:alice,2", "WARN"),
    ],
)
async def test_each_kind_of_refusal_logs_its_event(
    houses: Any, events: Events, refused: Any, event: str, level: str
) -> None:
    house = await houses(session_limit=2)
    await refused(house)
    found = [one for one in events() if re.fullmatch(event, one["event"])]
    assert found, [one["event"] for one in events()]
    assert found[0]["level"] == level
    if refused is not _limit or found[0]["request_uri"]:
        assert found[0]["request_method"]


async def test_a_silent_store_is_logged_and_answered_503(
    house: House, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.login()

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer from redis://user:hunter2@10.0.0.1")

    monkeypatch.setattr(house.store, "load", silent)
    answer = await house.client.get("/whoami")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert "10.0.0.1" not in answer.text
    assert [one for one in events() if one["event"] == "store_unavailable"]


async def test_every_way_in_raises_login_and_names_its_amr(houses: Any, events: Events) -> None:
    old = {"secret_key": "of Starlette's middleware", "max_age": None, "user_key": "user"}
    house = await houses(starlette_sessions=old)
    await house.auth.create_user("olga", "an old friend of the house", id="olga")
    signed = TimestampSigner(old["secret_key"]).sign(b64encode(b'{"user": "olga"}')).decode()
    await house.stranger().get("/whoami", headers={"cookie": f"session={signed}"})
    await house.login()
    await house.tokens("bob")
    await house.client.post("/auth/login", json={"username": "ian", "password": PASSWORDS["ian"], "mode": "jwt"})
    await house.auth.issue(User("robot"), amr=["hwk"])
    found = events()
    for user, amr in (("alice", ["pwd"]), ("bob", ["pwd"]), ("ian", ["pwd"]), ("robot", ["hwk"]), ("olga", [])):
        assert [one for one in found if one["event"] == f"authn_login_success:{user}"]
        [created] = [one for one in found if one["event"] == f"session_created:{user}"]
        assert created["amr"] == amr


async def test_a_new_password_tells_of_each_session_that_it_ends(house: House, events: Events) -> None:
    await house.tokens()
    [other] = await house.auth.sessions("alice")
    await house.login()
    new = "quite another password"
    body = {"current_password": PASSWORDS["alice"], "new_password": new}
    assert (await house.client.post("/auth/password", json=body)).status_code == 204
    ended = [one for one in events() if one["event"] == "session_expired:alice,password"]
    assert [one["sid"] for one in ended] == [other.id]
    await house.auth.set_password("alice", new + "!")
    assert len([one for one in events() if one["event"] == "session_expired:alice,password"]) == 2


async def test_a_login_after_failures_says_how_many(house: House, events: Events) -> None:
    for _ in range(3):
        await house.client.post("/auth/login", json=WRONG)
    await house.login()
    assert [one["event"] for one in events() if "login_success" in one["event"]] == [
        "authn_login_successafterfail:alice,3"
    ]


# ---------------------------------------------------------------------- what is never said


async def test_no_log_record_holds_a_credential(houses: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A day with everything in it, at the level DEBUG: no password, secret, token, nor an unknown name."""
    caplog.set_level(logging.DEBUG)
    house = await houses(secret="a secret of the operator and long enough")
    secrets = [*PASSWORDS.values(), "hunter2-typed-as-a-name", "wrong but nearly right", "a secret of the operator"]
    await house.login()
    await house.client.put("/data/card", json="4111-1111-1111-1111")
    first = cookie_header(house.client)
    pair = await house.tokens()
    second = (await house.refresh(pair["refresh_token"])).json()
    await house.get("/whoami", pair["access_token"])
    await house.client.post("/auth/login", json={"username": secrets[3], "password": secrets[4]})
    await house.client.post("/auth/login", json={"username": "alice", "password": secrets[4]})
    await house.client.get("/whoami", headers=bearer(pair["access_token"][:-4] + "AAAA"))
    await house.client.get("/whoami", headers={"authorization": f"Bearer {pair['access_token']} x"})
    await house.client.get(f"/whoami?access_token={pair['access_token']}")
    await house.raw("POST", "/auth/token", headers=[JSON], body=f'{{"refresh_token":"{pair["refresh_token"]}"'.encode())
    await house.client.post("/auth/token", data={"grant_type": "password", "client_secret": "swordfish-client"})
    await house.client.post("/auth/introspect", data={"token": pair["access_token"]}, headers=bearer("garbage-token"))
    await house.raw("GET", "/whoami", headers=[("cookie", first), ("cookie", first)])
    body = {"current_password": PASSWORDS["alice"], "new_password": "a brand new looking glass"}
    assert (await house.client.post("/auth/password", json=body)).status_code == 204
    await house.refresh(pair["refresh_token"])
    await house.refresh(second["refresh_token"])
    await house.client.post("/auth/revoke", data={"token": second["refresh_token"]})
    await house.raw("GET", "/whoami", headers=[("cookie", first)])
    await house.client.post("/auth/logout")
    house.clock.advance(100_000)
    await house.get("/whoami", second["access_token"])
    await house.auth.aclose()
    secrets += ["a brand new looking glass", "swordfish-client", "garbage-token", "4111-1111"]
    for text in (first.partition("=")[2], cookie_header(house.client).partition("=")[2]):
        secrets += text.split(".")[2:]
    for one in (pair, second):
        secrets += one["access_token"].split(".")[1:] + one["refresh_token"].split(".")[2:]
    logged = "\n".join(
        record.getMessage() + str(record.args) + str(record.exc_info or "")
        for record in caplog.records
        if record.name.startswith("asgi_auth")
    )
    assert len(logged) > 2000
    assert [secret for secret in secrets if secret and secret[:40] in logged] == []


INTERNAL = re.compile(
    r'Traceback|File "|\.py\b|0x[0-9a-f]{6}|[A-Z]\w*Error\b|(?i:asgi_auth\.|sqlite|redis|argon|pyjwt|starlette)'
)


async def test_no_answer_names_an_internal(houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and bodies of every refusal: no stack, no class, no product, no path of ours."""
    house = await houses()
    asked = []
    bodies = [b"{", b"[" * 20_000, b'{"username":"' + b"x" * 400 + b'","password":"y"}', b"\xff", b'{"token":"a.b.c"}']
    for path in ("/auth/login", "/auth/token", "/auth/revoke", "/auth/introspect", "/auth/password", "/auth/x"):
        for body in bodies:
            asked.append(await house.raw("POST", path, headers=[JSON], body=body))
        asked.append(await house.raw("DELETE", path))
    for value in ("Bearer a.b.c", "Bearer", "Bearer " + "a" * 9000, "Basic !"):
        asked.append(await house.raw("GET", "/auth/me", headers=[("authorization", value)]))

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("sqlite3.OperationalError in /srv/secret/path.py")

    token = (await house.tokens())["access_token"]
    login = json.dumps({"username": "alice", "password": PASSWORDS["alice"]}).encode()
    for verb in ("hit", "create", "load"):
        with monkeypatch.context() as patched:
            patched.setattr(house.store, verb, silent)
            asked.append(await house.raw("POST", "/auth/login", headers=[JSON], body=login))
            asked.append(await house.raw("GET", "/auth/me", headers=[("authorization", f"Bearer {token}")]))
    assert {401, 404, 400, 405, 413, 503} <= {answer.status for answer in asked}
    for answer in asked:
        told = answer.body.decode() + str([entry for entry in answer.headers if entry[0] != b"content-type"])
        assert not INTERNAL.search(told), told


@pytest.mark.parametrize("verb", ["hit", "unhit", "user_by_name", "create"])
async def test_login_with_the_limiter_down_is_503_not_500_and_not_unlimited(
    houses: Any, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    house = await houses()

    async def silent(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(house.store, verb, silent)
    for path, body in (
        ("/auth/login", {"username": "alice", "password": PASSWORDS["alice"]}),
        ("/auth/login", {"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt"}),
        ("/auth/token", {"grant_type": "password", "username": "alice", "password": PASSWORDS["alice"]}),
    ):
        answer = await house.client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "set-cookie" not in answer.headers
    monkeypatch.undo()
    assert await house.auth.sessions("alice") == []
