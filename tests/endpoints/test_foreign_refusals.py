"""Tokens that say to be another issuer's and open nothing here, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from foreign_tokens import leaks, record, refused, trusting, whoami
from local_issuer import JWKS, LocalIssuer, new_key

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.jose import encode_base64url
from asgi_auth.tokens.keys import SigningKey

MakeIssuer = Callable[..., LocalIssuer]


async def test_no_request_leaves_for_a_host_from_a_token(houses: Any, issuers: MakeIssuer) -> None:
    idp, evil = issuers(), issuers()
    house = await houses(**trusting(idp))
    jwk = dict(evil.key.public or {})
    await refused(house, evil.token())
    for head in ({"jku": evil.origin + JWKS}, {"x5u": evil.origin + "/x5u"}, {"jwk": jwk}, {"x5c": ["AAAA"]}):
        await refused(house, evil.token(head=head, iss=idp.url))
        await refused(house, evil.token(head={**head, "kid": idp.key.kid}, iss=idp.url))
    await refused(house, evil.token(iss=idp.url, jwks_uri=evil.origin + JWKS))
    for iss in (f"{idp.url}@{evil.url[7:]}", f"{idp.url}/", f"{idp.url}{evil.url}", [idp.url], None, 7, "", "x" * 300):
        await refused(house, evil.token(iss=iss))
    assert evil.fetches == 0


async def test_a_token_that_its_issuer_did_not_sign_is_refused(houses: Any, issuers: MakeIssuer) -> None:
    idp, other = issuers(), issuers()
    pair = [record(idp), record(other, name="other")]
    house = await houses(jwt_trusted_issuers=json.dumps(pair))
    good = idp.token()
    assert (await whoami(house, good))["user"] == "idp:42"
    assert (await whoami(house, other.token()))["user"] == "other:42"
    await refused(house, other.token(iss=idp.url))  # its own name for a key of another
    await refused(house, other.token(iss=idp.url, head={"kid": idp.key.kid}))
    await refused(house, idp.token(iss=other.url))
    head, payload, signature = good.split(".")
    for changed in (
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}.{payload}.{signature}.",
        f"{head}.{encode_base64url(b'{}')}.{signature}",
    ):
        await refused(house, changed)


async def test_an_algorithm_of_the_tokens_own_choice_is_refused(houses: Any, idp: LocalIssuer) -> None:
    house = await houses(**trusting(idp))
    for alg in ("none", "None", "HS256", "ES384", "", "es256"):
        await refused(house, idp.token(head={"alg": alg}))
    assert idp.fetches == 0
    await refused(house, idp.token(head={"alg": "RS256"}))
    jwk = {"kty": "oct", "k": encode_base64url(b"\x01" * 64), "alg": "HS256"}
    hmac_key = SigningKey.from_jwk(jwk)
    await refused(house, idp.token(key=hmac_key, head={"kid": idp.key.kid}))


@pytest.mark.parametrize(
    ("head", "claims", "description"),
    [
        ({"typ": "JWT"}, {}, InvalidToken.INVALID),
        ({"typ": None}, {}, InvalidToken.INVALID),
        ({"typ": "dpop+jwt"}, {}, InvalidToken.INVALID),
        ({"crit": ["exp"]}, {}, InvalidToken.INVALID),
        ({}, {"exp": None}, InvalidToken.INVALID),
        ({}, {"exp": 1_799_999_970}, InvalidToken.EXPIRED),
        ({}, {"exp": 1_900_000_000}, InvalidToken.INVALID),
        ({}, {"nbf": 1_800_000_031}, InvalidToken.INVALID),
        ({}, {"aud": "other"}, InvalidToken.AUDIENCE),
        ({}, {"aud": None}, InvalidToken.AUDIENCE),
        ({}, {"sub": 42}, InvalidToken.INVALID),
        ({}, {"cnf": {"x5t#S256": "thumb"}}, InvalidToken.INVALID),
        ({}, {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, InvalidToken.INVALID),
    ],
)
async def test_a_foreign_token_that_breaks_a_rule_is_refused(
    houses: Any, idp: LocalIssuer, head: Any, claims: Any, description: str
) -> None:
    house = await houses(**trusting(idp))
    await refused(house, idp.token(head=head, **claims), description)
    assert (await whoami(house, idp.token(head={"typ": "application/AT+JWT"})))["user"] == "idp:42"


async def test_a_token_that_is_too_large_is_refused_unread(houses: Any, idp: LocalIssuer) -> None:
    large = idp.token(padding="x" * 10_000)
    house = await houses(**trusting(idp))
    await refused(house, large)
    assert idp.fetches == 0
    house = await houses(**trusting(idp, max_size=20_000))
    assert (await whoami(house, large))["user"] == "idp:42"
    house = await houses(**trusting(idp, max_size=1024))
    await refused(house, idp.token(padding="x" * 1000))


async def test_two_tokens_that_differ_in_one_byte_never_share_what_is_remembered(houses: Any, idp: LocalIssuer) -> None:
    house = await houses(**trusting(idp))
    token = idp.token()
    for _ in range(2):
        assert (await whoami(house, token))["user"] == "idp:42"
    for place in range(0, len(token), 7):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        answer = await house.get("/whoami", other)
        assert answer.status_code in (400, 401), other


async def test_nothing_that_is_logged_or_answered_holds_a_token(
    houses: Any, idp: LocalIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    house = await houses(**trusting(idp))
    tokens = [idp.token(), idp.token(aud="other"), idp.token(key=new_key()), idp.token(sub=7), idp.token()[:-9]]
    idp.documents[JWKS]["keys"].append({"kty": "EC", "crv": "P-256", "x": "secretsecret", "d": "privateprivate"})
    shown = ""
    for token in tokens:
        answer = await house.get("/auth/sessions", token)
        shown += answer.text + str(answer.headers)
    idp.documents[JWKS] = b'{"secret": "sauce"'
    house.clock.now += 4000
    await house.get("/whoami", idp.token(key=new_key()))
    shown += caplog.text
    assert "could not be read: the keys are not JSON" in shown
    assert not leaks(shown, *(part for token in tokens for part in token.split(".")[1:]))
    assert not leaks(shown, "secretsecret", "privateprivate", '"secret": "sauce"')
