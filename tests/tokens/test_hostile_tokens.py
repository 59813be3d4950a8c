"""What PyJWT takes with a right signature (2.15.1, measured), a line each: refused by both doors, or by the one that
looks at it. Whoever holds the key may write such a token; two readers of it may understand two things."""

from __future__ import annotations

import json
from typing import Any

import pytest
from token_forge import NOW, TOKENS, claims, finder, header, public_jwk, seal, sign, signing_key

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens import verify_jws
from asgi_auth.tokens.jose import encode_base64url

KEY = signing_key("ES256")
HEAD, BODY = json.dumps(header(KEY)).encode(), json.dumps(claims()).encode()


def spelt(raw: bytes) -> bytes:
    return encode_base64url(raw).encode()


def more(document: bytes, text: str) -> bytes:
    """The same JSON object with members that no dict can have."""
    return document[:-1] + b", " + text.encode() + b"}"


DEEP = "[" * 400 + "]" * 400
LONG = "9" * 4000
OF_THE_HEADER: dict[str, bytes] = {
    "padding in the header": seal(KEY, spelt(HEAD + b" " * (-len(HEAD) % 3 + 1)) + b"==", spelt(BODY)),
    "padding in the payload": seal(KEY, spelt(HEAD), spelt(BODY + b" " * (-len(BODY) % 3 + 1)) + b"=="),
    "padding in the signature": sign(KEY) + b"==",
    "alg twice": sign(KEY, more(HEAD, '"alg": "ES256"')),
    "kid twice": sign(KEY, more(HEAD, f'"kid": "{KEY.kid}"')),
    "a header in UTF-16": sign(KEY, HEAD.decode().encode("utf-16")),
    "a header in UTF-32": sign(KEY, HEAD.decode().encode("utf-32")),
    "a header after a BOM": sign(KEY, b"\xef\xbb\xbf" + HEAD),
    "NaN in the header": sign(KEY, more(HEAD, '"x": NaN')),
    "a long number in the header": sign(KEY, more(HEAD, f'"x": {LONG}')),
    "a deep header": sign(KEY, more(HEAD, f'"x": {DEEP}')),
    "a MiB of header": sign(KEY, more(HEAD, f'"x": "{"a" * 2**20}"')),
    "a MiB of payload": sign(KEY, None, more(BODY, f'"x": "{"a" * 2**20}"')),
    "typ is a number": sign(KEY, header(KEY, typ=7)),
    "cty": sign(KEY, header(KEY, cty="JWT")),
    "zip": sign(KEY, header(KEY, zip="DEF")),
    "jku": sign(KEY, header(KEY, jku="https://attacker.example/keys")),
    "jwk": sign(KEY, header(KEY, jwk=public_jwk("ES256"))),
    "x5u": sign(KEY, header(KEY, x5u="https://attacker.example/chain")),
    "x5c": sign(KEY, header(KEY, x5c=["MIIB"])),
    "crit and b64": sign(KEY, header(KEY, crit=["b64"], b64=True)),
    "b64 is 0": sign(KEY, header(KEY, b64=0)),
}
OF_THE_CLAIMS: dict[str, bytes] = {
    "typ is absent": sign(KEY, header(KEY, typ=None)),
    "typ is JWT": sign(KEY, header(KEY, typ="JWT")),
    "typ is dpop+jwt": sign(KEY, header(KEY, typ="dpop+jwt")),
    "sub twice": sign(KEY, None, more(BODY, '"sub": "43"')),
    "exp twice": sign(KEY, None, more(BODY, '"exp": 1800000601')),
    "a payload in UTF-16": sign(KEY, None, BODY.decode().encode("utf-16")),
    "a payload in UTF-32": sign(KEY, None, BODY.decode().encode("utf-32")),
    "a payload after a BOM": sign(KEY, None, b"\xef\xbb\xbf" + BODY),
    "NaN in the payload": sign(KEY, None, more(BODY, '"x": NaN')),
    "a long number in the payload": sign(KEY, None, more(BODY, f'"x": {LONG}')),
    "a deep payload": sign(KEY, None, more(BODY, f'"x": {DEEP}')),
    "a lone surrogate in sub": sign(KEY, None, BODY.replace(b'"42"', b'"\\ud800"')),
    "NUL in sub": sign(KEY, None, claims(sub="a\0b")),
    "exp is absent": sign(KEY, None, claims(exp=None)),
    "exp is a text": sign(KEY, None, claims(exp="1800000600")),
    "exp has underscores": sign(KEY, None, claims(exp="1_800_000_600")),
    "exp has full-width digits": sign(KEY, None, claims(exp="１８０００００６００")),
    "exp is 1e308": sign(KEY, None, claims(exp=1e308)),
    "nbf is false": sign(KEY, None, claims(nbf=False)),
    "sub is absent": sign(KEY, None, claims(sub=None)),
    "sub is empty": sign(KEY, None, claims(sub="")),
}


def refused(token: bytes, tokens: Any = TOKENS) -> None:
    with pytest.raises(InvalidToken) as caught:
        tokens.verify(token, finder(KEY), now=NOW)
    assert caught.value.description == InvalidToken.INVALID


@pytest.mark.parametrize("name", OF_THE_HEADER)
def test_what_pyjwt_takes_in_a_header_is_refused_by_both_doors(name: str) -> None:
    token = OF_THE_HEADER[name]
    refused(token)
    with pytest.raises(InvalidToken):
        verify_jws(token, public_jwk("ES256"))


@pytest.mark.parametrize("name", OF_THE_CLAIMS)
def test_what_pyjwt_takes_in_claims_is_refused(name: str) -> None:
    refused(OF_THE_CLAIMS[name])


def test_what_these_tokens_are_made_of_is_good() -> None:
    assert TOKENS.verify(sign(KEY, HEAD, BODY), finder(KEY), now=NOW).sub == "42"
    assert TOKENS.verify(sign(KEY, more(HEAD, '"x": 1'), more(BODY, '"x": [1]')), finder(KEY), now=NOW).sub == "42"
