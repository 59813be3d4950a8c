"""Tokens of other issuers, from a local issuer that publishes its keys, at an application that trusts it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from clocks import Clock
from endpoint_house import House, bearer
from foreign_tokens import refused, trusting, whoami
from issuer_shapes import SHAPES, TENANT
from local_issuer import JWKS, OIDC, LocalIssuer, new_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asgi_auth import Auth, CredentialError, NoSessionData, StoreUnavailable, User, require
from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.issuers.source import COOL_DOWN

MakeIssuer = Callable[..., LocalIssuer]

# ---------------------------------------------------------------------- who that is


async def test_a_token_of_a_trusted_issuer_is_a_user_here(houses: Any, idp: LocalIssuer) -> None:
    house = await houses(**trusting(idp))
    now = int(house.clock())
    told = await whoami(house, idp.token(scope="read write", auth_time=now - 5, amr=["pwd"]))
    assert told == {
        "user": "idp:42",
        "backend": "jwt",
        "session": None,
        "scopes": ["authenticated", "read"],
        "expires_at": now + 600,
        "authenticated_at": now - 5,
        "amr": ["pwd"],
    }
    assert (await house.get("/admin", idp.token())).status_code == 403
    assert (await house.get("/admin", idp.token(scope="admin"))).status_code == 200
    assert idp.asked == {OIDC: 1, JWKS: 1}


async def test_the_start_says_whose_tokens_count(
    houses: Any, idp: LocalIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "asgi_auth")
    house = await houses(**trusting(idp))
    await house.auth.opened()
    assert "tokens ES256 of issuer asgi-auth and idp;" in caplog.text


async def test_our_own_tokens_count_beside_those_of_others(houses: Any, idp: LocalIssuer) -> None:
    house = await houses(**trusting(idp))
    ours = (await house.tokens())["access_token"]
    assert (await whoami(house, ours))["user"] == "alice"
    assert (await whoami(house, idp.token(sub="alice")))["user"] == "idp:alice"
    assert (await whoami(house, ours))["user"] == "alice"


async def test_without_a_record_no_token_of_others_counts_and_nobody_is_asked(house: House, idp: LocalIssuer) -> None:
    await refused(house, idp.token())
    assert idp.fetches == 0


@pytest.mark.parametrize("name", SHAPES)
async def test_the_tokens_of_a_provider_are_understood(houses: Any, issuers: MakeIssuer, name: str) -> None:
    shape = SHAPES[name]
    idp = issuers(path=shape.path, key=new_key("RS256"))
    house = await houses(**trusting(idp, **{"audience": (), **shape.record}))
    token = idp.token(head=shape.head, **shape.claims)
    assert len(idp.documents) == 2
    me = (await house.get("/auth/me", token)).json()
    assert me["user"]["id"] == shape.user
    assert me["user"]["display_name"] == (shape.display_name or shape.user)
    assert me["user"]["scopes"] == shape.scopes.split()
    assert me["session"] is None
    assert me["user"]["claims"]["sub"] == shape.claims["sub"]
    for other in shape.others:
        answer = await house.get("/whoami", idp.token(head=shape.head, **{**shape.claims, **other}))
        assert answer.status_code == 401, other


async def test_a_google_token_may_spell_its_issuer_without_a_scheme(houses: Any, issuers: MakeIssuer) -> None:
    shape = SHAPES["google"]
    idp = issuers(key=new_key("RS256"))
    house = await houses(**trusting(idp, **shape.record))
    token = idp.token(head=shape.head, **shape.claims, iss="accounts.google.com")
    assert (await whoami(house, token))["user"] == shape.user
    await refused(house, idp.token(head=shape.head, **shape.claims, iss="https://accounts.google.co"))


async def test_an_issuer_of_many_tenants_has_users_of_each(houses: Any, issuers: MakeIssuer) -> None:
    """As Entra ID's `organizations`: one metadata document and one set of keys, whose `issuer` has the hole."""
    shape = SHAPES["entra"]
    idp = issuers(key=new_key("RS256"))
    hole = idp.origin + "/{tenantid}/v2.0"
    idp.documents["/organizations/v2.0" + OIDC] = {"issuer": hole, "jwks_uri": idp.origin + JWKS}
    idp.publish({**dict(idp.key.public or {}), "issuer": hole})
    more = {"metadata_url": f"{idp.origin}/organizations/v2.0{OIDC}", "require": {"tid": [TENANT, "t2"]}}
    house = await houses(**trusting(idp, issuer=hole, **shape.record, **more))

    def token(tenant: str, **claims: Any) -> str:
        iss = f"{idp.origin}/{tenant}/v2.0"
        return idp.token(head=shape.head, **{**shape.claims, "iss": iss, "tid": tenant, "sub": "42", **claims})

    assert (await whoami(house, token(TENANT)))["user"] == f"idp:{TENANT}:42"
    assert (await whoami(house, token("t2")))["user"] == "idp:t2:42"
    await refused(house, token("t3"))
    await refused(house, token("t2", iss=f"{idp.origin}/t3/v2.0x"))
    assert idp.asked == {"/organizations/v2.0" + OIDC: 1, JWKS: 1}


async def test_one_of_us_may_be_the_issuer_of_another(houses: Any, issuers: MakeIssuer) -> None:
    idp = issuers()
    accounts = await houses(url=idp.url, jwt_audience="api", base_url=idp.url)
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/jwks.json"):
        answer = await accounts.client.get(path)
        idp.documents[path] = answer.json()
    del idp.documents[OIDC]
    house = await houses(**trusting(idp))
    pair = await accounts.tokens(scope="read")
    assert (await whoami(house, pair["access_token"]))["user"] == "idp:alice"
    assert (await whoami(house, pair["access_token"]))["scopes"] == ["authenticated", "read"]


# ---------------------------------------------------------------------- what it may not


async def test_a_foreign_sub_42_sees_nothing_of_our_42(houses: Any, idp: LocalIssuer) -> None:
    """Not even where a record says that ids are shared: whose sessions one sees is not for another issuer to say."""
    for members in ({}, {"shared_ids": True}):
        house = await houses(**trusting(idp, **members), users=False)
        await house.auth.create_user("ours", "a password of ours", id="42", scopes="read admin")
        pair = await house.auth.issue(User("42", scopes=frozenset({"read", "admin"})))
        token = idp.token(sub="42", sid=pair.session.id, scope="read")
        told = await whoami(house, token)
        assert told["user"] == ("42" if members else "idp:42")
        assert told["session"] is None
        assert told["scopes"] == ["authenticated", "read"]
        me = (await house.get("/auth/me", token)).json()
        assert me["session"] is None
        assert me["user"]["scopes"] == ["read"]
        client, path = house.stranger(), f"/auth/sessions/{pair.session.id}"
        body = {"current_password": "a password of ours", "new_password": "another password of ours"}
        for answer in (
            await client.get("/auth/sessions", headers=bearer(token)),
            await client.delete("/auth/sessions", headers=bearer(token)),
            await client.delete("/auth/sessions?all=true", headers=bearer(token)),
            await client.delete(path, headers=bearer(token)),
            await client.post("/auth/logout", headers=bearer(token)),
            await client.post("/auth/password", json=body, headers=bearer(token)),
            await client.post("/auth/introspect", data={"token": pair.access_token}, headers=bearer(token)),
        ):
            assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope"), answer.request.url
            assert answer.json()["error_description"] == "A token of another issuer has no session here"
        assert [one.id for one in await house.auth.sessions("42")] == [pair.session.id]
        assert (await client.post("/auth/revoke", data={"token": token})).status_code == 200
        assert [one.id for one in await house.auth.sessions("42")] == [pair.session.id]
        assert (await whoami(house, pair.access_token))["user"] == "42"


async def test_our_introspection_knows_no_token_of_others(houses: Any, idp: LocalIssuer) -> None:
    house = await houses(**trusting(idp))
    asking = bearer((await house.tokens("ian"))["access_token"])
    answer = await house.stranger().post("/auth/introspect", data={"token": idp.token()}, headers=asking)
    assert answer.json() == {"active": False}


async def test_the_verbs_that_need_a_session_refuse_plainly(houses: Any, idp: LocalIssuer) -> None:
    said: dict[str, str] = {}

    async def handler(request: Request) -> Response:
        auth = Auth.of(request)
        for name, verb in (
            ("logout", auth.logout(request)),
            ("elevate", auth.elevate(request, amr="otp")),
            ("rotate", auth.rotate(request)),
        ):
            try:
                await verb
            except CredentialError as error:
                said[name] = error.description
        try:
            request.session["a"] = 1
        except NoSessionData as error:
            said["data"] = str(error)
        return JSONResponse({"data": dict(request.session), "user": request.user.id})

    house = await houses(app=Starlette(routes=[Route("/", handler)]), **trusting(idp))
    answer = await house.get("/", idp.token())
    assert answer.json() == {"data": {}, "user": "idp:42"}
    none = "A token of another issuer has no session here"
    assert said == {
        "logout": none,
        "elevate": none,
        "rotate": "Only a session that came by cookie can be rotated",
        "data": "a bearer token carries no session data",
    }


def stepping_up() -> Starlette:
    @require(fresh="5m")
    async def fresh(request: Request) -> Response:
        return JSONResponse({})

    @require(fresh="3650d")
    async def ever(request: Request) -> Response:
        return JSONResponse({})

    @require(amr="otp", fresh="5m")
    async def fresh_otp(request: Request) -> Response:
        return JSONResponse({})

    @require(amr="otp", acr="urn:two")
    async def strong(request: Request) -> Response:
        return JSONResponse({})

    handlers = {"/fresh": fresh, "/ever": ever, "/fresh-otp": fresh_otp, "/strong": strong}
    return Starlette(routes=[Route(path, handler) for path, handler in handlers.items()])


async def test_a_foreign_token_without_auth_time_is_never_fresh(houses: Any, idp: LocalIssuer) -> None:
    """Its `iat` is when the token was made, which a refresh does, too."""
    house = await houses(app=stepping_up(), **trusting(idp))
    now = int(house.clock())
    for path in ("/fresh", "/ever", "/fresh-otp"):
        answer = await house.get(path, idp.token(amr=["otp"]))
        assert (answer.status_code, answer.json()["error"]) == (401, "insufficient_user_authentication")
        assert (await house.get(path, idp.token(amr=["otp"], auth_time=now - 299))).status_code == 200
    assert (await house.get("/fresh", idp.token(auth_time=now - 301))).status_code == 401
    assert (await house.get("/strong", idp.token(amr=["otp"], acr="urn:two"))).status_code == 200
    assert (await house.get("/strong", idp.token(amr=["pwd"], acr="urn:two"))).status_code == 401
    assert (await house.get("/strong", idp.token(amr=["otp"], acr="urn:one"))).status_code == 401


# ---------------------------------------------------------------------- while it lives


async def test_a_token_that_was_verified_is_remembered_by_all_its_bytes(
    houses: Any, idp: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await houses(**trusting(idp))
    token = idp.token()
    await whoami(house, token)

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it was looked at again")

    monkeypatch.setattr("asgi_auth.backends.issuers.parse", never)
    assert (await whoami(house, token))["user"] == "idp:42"


async def test_a_foreign_token_may_become_a_session_of_ours(houses: Any, idp: LocalIssuer) -> None:
    async def exchange(request: Request) -> Response:
        session = await Auth.of(request).login(request, User(request.user.id, scopes=request.user.scopes))
        request.session["seen"] = True
        return JSONResponse({"session": session.id})

    house = await houses(app=Starlette(routes=[Route("/exchange", exchange)]), **trusting(idp))
    client = house.stranger()
    made = (await client.get("/exchange", headers=bearer(idp.token(scope="read")))).json()["session"]
    me = (await client.get("/auth/me")).json()
    assert (me["user"]["id"], me["session"]["id"], me["backend"]) == ("idp:42", made, "session")


async def test_what_is_remembered_of_tokens_with_thousands_of_claims_is_bounded(
    houses: Any, idp: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes of a token may be a hundred in memory, and an issuer of a tenant's may make any number of those."""
    monkeypatch.setattr("asgi_auth.backends.issuers.REMEMBERED_SIZE", 2**20)
    house = await houses(**trusting(idp))
    await whoami(house, idp.token())
    tracemalloc.start()
    try:
        for number in range(30):
            assert (await whoami(house, idp.token(jti=str(number), deep=[{"a": {"a": 0}}] * 300)))["user"] == "idp:42"
        assert tracemalloc.get_traced_memory()[0] < 2 * 2**20
    finally:
        tracemalloc.stop()


async def test_what_is_remembered_of_a_token_ends_with_it(houses: Any, idp: LocalIssuer, clock: Clock) -> None:
    house = await houses(**trusting(idp))
    token = idp.token()
    for _ in range(3):
        await whoami(house, token)
    clock.now += 629
    await whoami(house, token)
    clock.now += 1
    await refused(house, token, InvalidToken.EXPIRED)


async def test_a_key_that_its_issuer_takes_back_ends_its_tokens(houses: Any, idp: LocalIssuer, clock: Clock) -> None:
    house = await houses(**trusting(idp))
    old, key = idp.token(), new_key()
    await whoami(house, old)
    idp.publish(key)
    await whoami(house, old)  # nobody has said so here
    clock.now += COOL_DOWN
    assert (await whoami(house, idp.token(key=key)))["user"] == "idp:42"
    await refused(house, old)
    assert idp.asked[JWKS] == 2


async def test_an_issuer_that_is_down_is_503_and_what_is_known_goes_on(
    houses: Any, idp: LocalIssuer, clock: Clock
) -> None:
    house = await houses(**trusting(idp))
    idp.stop()
    answer = await house.get("/whoami", idp.token())
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    idp.start()
    clock.now += COOL_DOWN
    await whoami(house, idp.token())
    idp.stop()
    clock.now += 4000
    await whoami(house, idp.token(sub="43"))
    assert (await house.get("/whoami", idp.token(key=new_key()))).status_code == 503
    forged = idp.token(key=new_key(), head={"kid": idp.key.kid})
    await refused(house, forged)
    assert (await whoami(house, (await house.tokens())["access_token"]))["user"] == "alice"


@pytest.mark.parametrize("mode", ["strict", "available", "off"])
async def test_a_foreign_token_needs_no_store_in_any_mode(
    houses: Any, idp: LocalIssuer, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    house = await houses(**trusting(idp), jwt_revocation=mode, users=False)

    async def silent(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("gone")

    for verb in ("open", "load", "once", "keys", "user", "history"):
        monkeypatch.setattr(house.store, verb, silent)
    assert (await whoami(house, idp.token()))["user"] == "idp:42"
