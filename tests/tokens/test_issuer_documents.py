"""What other issuers publish, read: keys and metadata, good and bad."""

from __future__ import annotations

import json
from typing import Any

import pytest
from local_issuer import OAUTH, OIDC, new_key
from token_forge import private_jwk, public_jwk

from asgi_auth import Issuer
from asgi_auth.tokens.issuers.fetching import freshness, places
from asgi_auth.tokens.issuers.keyset import InvalidDocument, KeySet, jwks_url_of
from asgi_auth.tokens.jose import Compact, encode_base64url

ISSUER = "https://idp.example"


def record(issuer: str = ISSUER, **members: Any) -> Issuer:
    return Issuer(**{"name": "idp", "issuer": issuer, "audience": "api", **members})


def signed_by(kid: str | None, alg: str = "ES256") -> Compact:
    return Compact({"alg": alg, **({} if kid is None else {"kid": kid})}, b"", b"", b"")


def kids(keys: KeySet | None) -> list[str]:
    assert keys is not None
    return sorted(keys.names)


def jwks(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": list(keys), **more}).encode()


# ---------------------------------------------------------------------- a set, read

GOOD = {**public_jwk("ES256"), "kid": "good"}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "key",
        [],
        {},
        {"kty": "oct", "alg": "none"},
        {"kty": "oct", "k": encode_base64url(bytes(64)), "alg": "HS256", "kid": "s"},
        {"kty": "RSA", "alg": []},
        {**public_jwk("RS256"), "n": "AQAB"},
        {**public_jwk("RS256"), "e": "Aw"},
        {**public_jwk("ES256"), "kid": 7},
        {**public_jwk("ES256"), "x": public_jwk("ES256")["y"]},
        {**public_jwk("ES256"), "use": "enc"},
        {**public_jwk("ES256"), "key_ops": ["encrypt"]},
        {**public_jwk("ES256"), "key_ops": "verify"},
        {**public_jwk("ES256"), "issuer": 7},
        {**public_jwk("ES384"), "alg": "ES256"},
        {**private_jwk("ES256"), "kid": "private"},
    ],
)
def test_one_bad_key_does_not_spoil_the_set(bad: Any) -> None:
    keys = KeySet.parse(jwks(bad, GOOD, bad), record())
    assert kids(keys) == ["good"]
    with pytest.raises(InvalidDocument, match="none for the algorithms"):
        KeySet.parse(jwks(bad), record())


def test_a_key_with_a_member_twice_is_a_bad_key_and_no_more() -> None:
    twice = json.dumps({**GOOD, "kid": "twice"}).replace('"kid"', '"kid": "evil", "kid"')
    document = b'{"keys": [' + twice.encode() + b", " + json.dumps(GOOD).encode() + b"]}"
    assert kids(KeySet.parse(document, record())) == ["good"]


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b"7", b'{"keys": 7}', b'{"keys": {}}', b"{}", b"\xff\xfe{}", b'{"keys": [], "keys": []}'),
        *(b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"keys": [' + b"9" * 50_000 + b"]}"),
    ],
    ids=lambda document: repr(document[:24]),
)
def test_what_is_no_set_of_keys_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidDocument):
        KeySet.parse(document, record())


def test_two_keys_of_one_kid_are_told_apart_by_alg() -> None:
    rsa, ec = ({**public_jwk(alg), "kid": "one"} for alg in ("RS256", "ES256"))
    keys = KeySet.parse(jwks(rsa, ec), record())
    assert [key.algorithm for key in keys.candidates(signed_by("one", "RS256"), ISSUER)] == ["RS256"]
    assert [key.algorithm for key in keys.candidates(signed_by("one"), ISSUER)] == ["ES256"]


def test_without_kid_or_alg_every_key_of_the_right_type_is_tried_and_at_most_four() -> None:
    nameless = [{**dict(new_key().public or {}), "alg": None, "kid": None} for _ in range(6)]
    nameless = [{name: value for name, value in jwk.items() if value is not None} for jwk in nameless]
    named = [{**dict(new_key().public or {}), "kid": f"k{number}"} for number in range(3)]
    keys = KeySet.parse(jwks(*named, public_jwk("RS256")), record())
    assert len(keys.candidates(signed_by(None), ISSUER)) == 3
    assert len(keys.candidates(signed_by("k1"), ISSUER)) == 1
    assert keys.candidates(signed_by("k7"), ISSUER) == []
    keys = KeySet.parse(jwks(*nameless), record())
    assert len(keys.candidates(signed_by(None), ISSUER)) == 4
    assert len(keys.candidates(signed_by("k1"), ISSUER)) == 4


def test_a_key_is_for_the_algorithms_of_the_record_alone() -> None:
    rsa = {name: value for name, value in public_jwk("RS256").items() if name != "alg"}
    keys = KeySet.parse(jwks(rsa), record(algorithms=["RS256", "PS256"]))
    assert [key.algorithm for key in keys.candidates(signed_by(rsa["kid"], "PS256"), ISSUER)] == ["PS256"]
    assert keys.candidates(signed_by(rsa["kid"], "RS384"), ISSUER) == []
    pinned = KeySet.parse(jwks(public_jwk("RS256")), record(algorithms=["RS256", "PS256"]))
    assert pinned.candidates(signed_by(rsa["kid"], "PS256"), ISSUER) == []
    with pytest.raises(InvalidDocument):
        KeySet.parse(jwks(public_jwk("RS256")), record(algorithms="PS256"))


@pytest.mark.parametrize("names", [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")])
def test_both_names_of_ed25519_are_one(names: tuple[str, str]) -> None:
    keys = KeySet.parse(jwks({**public_jwk("Ed25519"), "alg": names[0]}), record(algorithms=names[1]))
    [key] = keys.candidates(signed_by(public_jwk("Ed25519")["kid"], names[0]), ISSUER)
    assert key.kid


def test_a_key_that_names_its_issuer_signs_for_that_one_alone() -> None:
    """As Microsoft publishes them: keys of one set may be of one tenant, and others of all."""
    hole = "https://idp.example/{tenantid}/v2.0"
    all_of = {**public_jwk("ES256"), "issuer": hole}
    one = {**dict(new_key().public or {}), "kid": "one", "issuer": "https://idp.example/t1/v2.0"}
    keys = KeySet.parse(jwks(all_of, one), record(hole, metadata_url=f"{ISSUER}/common"))
    for tenant, found in (("t1", 1), ("t2", 0)):
        assert len(keys.candidates(signed_by("one"), f"https://idp.example/{tenant}/v2.0")) == found
        assert keys.candidates(signed_by(all_of["kid"]), f"https://idp.example/{tenant}/v2.0")


# ---------------------------------------------------------------------- metadata


def metadata(**members: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", **members}).encode()


@pytest.mark.parametrize(
    "issuer",
    [f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}", "https://idp.exampl", "https://evil.example", None, 7, [ISSUER], ""],
)
def test_metadata_with_another_issuer_is_not_used(issuer: Any) -> None:
    """RFC 8414 §3.3: the very same text, or nothing of it counts."""
    with pytest.raises(InvalidDocument, match="another issuer"):
        jwks_url_of(metadata(issuer=issuer), record())
    assert jwks_url_of(metadata(), record()) == f"{ISSUER}/keys"


@pytest.mark.parametrize(
    "url",
    [
        *("http://idp.example/keys", "http://127.0.0.1/keys", "file:///etc/passwd", "ftp://idp.example/keys"),
        *("data:,x", "//idp.example", "", None, 7, ["https://idp.example"], "https://u:p@idp.example/", "https://"),
        *("https://idp.example/#x", "https://idp.example/\n", "https://idp.example:x/", "https://idp.example\\@evil/"),
    ],
)
def test_keys_come_by_https_whatever_the_metadata_says(url: Any) -> None:
    with pytest.raises(InvalidDocument, match="jwks_uri"):
        jwks_url_of(metadata(jwks_uri=url), record())


def test_an_issuer_on_this_machine_may_have_its_keys_there_and_nowhere_else_in_the_clear() -> None:
    here = "http://127.0.0.1:1"
    told = metadata(issuer=here, jwks_uri="http://127.0.0.1:2/keys")
    assert jwks_url_of(told, record(here)) == "http://127.0.0.1:2/keys"
    with pytest.raises(InvalidDocument):
        jwks_url_of(metadata(issuer=here, jwks_uri="http://10.0.0.1/keys"), record(here))


def test_metadata_is_where_the_two_rfcs_put_it() -> None:
    for issuer in (f"{ISSUER}/realms/one", f"{ISSUER}/realms/one/"):
        assert places(record(issuer))[0] == f"{ISSUER}/realms/one{OIDC}"
        assert places(record(issuer))[1] == f"{ISSUER}{OAUTH}/realms/one"
    assert places(record()) == [ISSUER + OIDC, ISSUER + OAUTH]
    assert places(record(metadata_url=f"{ISSUER}/meta?p=x")) == [f"{ISSUER}/meta?p=x"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 600),
        ({"cache-control": "max-age=900"}, 900),
        ({"cache-control": "public, max-age=900, must-revalidate"}, 900),
        ({"cache-control": "s-maxage=7, max-age=900"}, 900),
        ({"cache-control": "max-age=900", "age": "100"}, 800),
        ({"cache-control": "max-age=900", "age": "x"}, 900),
        ({"cache-control": "max-age=1"}, 60),
        ({"cache-control": "max-age=99999999"}, 3600),
        ({"cache-control": "max-age=" + "9" * 400}, 3600),
        ({"cache-control": "no-store"}, 60),
        ({"cache-control": "no-cache, max-age=900"}, 60),
        ({"expires": "Thu, 01 Jan 2026 00:20:00 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 1200),
        ({"expires": "0", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 60),
        ({"expires": "Thu, 01 Jan 2026 00:20:00 GMT"}, 60),
        ({"expires": f"Thu, 01 Jan {'9' * 20} 00:20:00 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 60),
    ],
)
def test_keys_are_fresh_as_their_headers_say_within_bounds(headers: dict[str, str], seconds: float) -> None:
    assert freshness(headers) == seconds
