"""What went wrong elsewhere, a test a trap: tokens.md section 3, in its order."""

from __future__ import annotations

import base64
import functools
import hmac
import itertools
import json
import sys
from typing import Any

import pytest
from token_forge import (
    ISSUER,
    NOW,
    TOKENS,
    claims,
    finder,
    header,
    leaks,
    private_jwk,
    public_jwk,
    seal,
    shown,
    sign,
    signing_key,
    spellings,
)

from asgi_auth.errors import ConfigurationError, InvalidToken
from asgi_auth.tokens import verify_jws
from asgi_auth.tokens.jose import InvalidKey, VerifyingKey, decode_base64url, encode_base64url
from asgi_auth.tokens.keys import SigningKey, generate, load_keys

KEY = signing_key("ES256")
ASYMMETRIC = ["RS256", "PS256", "ES256", "ES384", "ES512", "Ed25519"]


def refused(token: bytes, *keys: SigningKey) -> None:
    with pytest.raises(InvalidToken) as caught:
        TOKENS.verify(token, finder(*(keys or (KEY,))), now=NOW)
    assert (caught.value.status, caught.value.description) == (401, InvalidToken.INVALID)


def hmac_token(secret: bytes, alg: str, kid: str) -> bytes:
    head = encode_base64url(json.dumps({"alg": alg, "typ": "at+jwt", "kid": kid}).encode())
    body = encode_base64url(json.dumps(claims()).encode())
    signature = hmac.digest(secret, f"{head}.{body}".encode(), {"HS256": "sha256", "HS512": "sha512"}[alg])
    return f"{head}.{body}.{encode_base64url(signature)}".encode()


@pytest.mark.parametrize("alg", ["HS256", "HS512"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "Ed25519"])
def test_an_hs_token_signed_with_a_public_key_is_refused(algorithm: str, alg: str) -> None:
    """CVE-2022-29217, CVE-2024-33663, CVE-2024-37568, CVE-2026-48526, CVE-2026-34950."""
    key = signing_key(algorithm)
    x = public_jwk(algorithm).get("x") or public_jwk(algorithm)["n"]
    secrets = [text.encode() for text in spellings(algorithm).values()] + [x.encode(), decode_base64url(x.encode())]
    assert len(secrets) >= 12
    for secret in secrets:
        token = hmac_token(secret, alg, key.kid)
        refused(token, key)
        with pytest.raises(InvalidToken):
            verify_jws(token, public_jwk(algorithm))


def test_the_hs_forger_of_these_tests_can_forge() -> None:
    key = signing_key("HS256")
    token = hmac_token(decode_base64url(private_jwk("HS256")["k"].encode()), "HS256", key.kid)
    assert TOKENS.verify(token, finder(key), now=NOW)


@pytest.mark.parametrize(
    ("key_alg", "token_alg"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512"), ("PS384", "PS256")]
)
def test_the_algorithm_of_the_key_verifies_not_that_of_the_header(key_alg: str, token_alg: str) -> None:
    """GHSA-jq35: both the right signature of the header's algorithm, and that of the key's."""
    key = signing_key(key_alg)
    head = header(key, alg=token_alg)
    refused(sign(key, head), key)
    refused(sign(signing_key(token_alg), head), key)


@pytest.mark.parametrize(
    "alg", ["none", "nOnE", "None", "NONE", "", None, ["none"], ["ES256"], {"alg": "ES256"}, 0, True]
)
def test_alg_none_in_any_spelling_is_refused(alg: Any) -> None:
    """CVE-2026-28802, python-jose#419."""
    head = encode_base64url(json.dumps({**header(KEY), "alg": alg}).encode()).encode()
    body = encode_base64url(json.dumps(claims()).encode()).encode()
    refused(head + b"." + body + b".")
    refused(seal(KEY, head, body))
    refused(sign(KEY, header(KEY, alg=None)))


def test_no_key_found_is_a_refusal() -> None:
    """CVE-2026-27962: the header's key was used instead."""
    stranger = SigningKey.from_jwk(generate("ES256"))
    refused(sign(stranger))
    refused(sign(stranger, header(stranger, jwk=dict(stranger.public or {}))))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_header_that_brings_its_key_is_refused(name: str) -> None:
    value = {"jwk": public_jwk("ES256"), "x5c": ["MIIB"]}.get(name, "https://attacker.example/jwks.json")
    refused(sign(KEY, header(KEY, **{name: value})))


@pytest.mark.parametrize(
    "changes",
    [
        {"crit": ["b64"], "b64": True},
        {"crit": []},
        {"crit": ["exp"]},
        {"crit": None},
        {"b64": True},
        {"b64": False},
        {"b64": 0},
    ],
)
def test_any_crit_and_any_b64_are_refused(changes: dict[str, Any]) -> None:
    """CVE-2025-59420, CVE-2026-32597."""
    refused(sign(KEY, {**header(KEY), **changes}))


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("", "HS256"),
        (" ", "HS256"),
        ("s" * 31, "HS256"),
        ("s" * 47, "HS384"),
        ("s" * 63, "HS512"),
        ('{"kty":"oct","k":""}', "HS256"),
    ],
)
def test_empty_and_short_secrets_stop_the_start(text: str, algorithm: str) -> None:
    """CVE-2025-45768, CVE-2025-45767."""
    with pytest.raises(ConfigurationError):
        load_keys(text, algorithm)


class Uncut(bytes):
    """Fails the test that has it split, cut or decoded."""

    def _never(self, *args: Any) -> Any:
        raise AssertionError("looked at")

    split = rsplit = partition = decode = __getitem__ = _never  # type: ignore[assignment]


@pytest.mark.parametrize("token", [b"a" * 8193, b"." * 8192, b"." * 8193, b"a.a." + b"a" * 8190])
def test_too_large_tokens_and_dots_are_refused_before_any_split(token: bytes) -> None:
    """CVE-2025-61920, CVE-2025-30204, CVE-2025-27144, GHSA-wphv, GHSA-w7vc."""
    refused(Uncut(token))


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 1000 + b"]" * 1000])
def test_deep_nesting_is_refused_and_never_a_recursion_error(bomb: bytes) -> None:
    limit = sys.getrecursionlimit()
    large = TOKENS.__class__(ISSUER, ISSUER, 30, 2_000_000, 86400 * 30)
    for token in (sign(KEY, bomb), sign(KEY, None, bomb)):
        with pytest.raises(InvalidToken):
            large.verify(token, finder(KEY), now=NOW)
    with pytest.raises(ConfigurationError):
        load_keys(bomb.decode(), "ES256")
    with pytest.raises(ConfigurationError):
        load_keys('{"keys":' + bomb.decode(), "ES256")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for name in ("kid", "x", "key_ops", "alg", "use", "crv", "kty"):
        with pytest.raises(InvalidToken):
            verify_jws(sign(KEY), {**public_jwk("ES256"), name: deep})
    assert sys.getrecursionlimit() == limit
    while deep:  # taken apart by hand: its destructor would recurse
        deep = deep[0]


SPELLINGS = {
    "padding": lambda s: s + b"=" * (-len(s) % 4 or 4),
    "one =": lambda s: s + b"=",
    "spare bits": lambda s: s[:-1] + bytes([s[-1] + 1]),
    "+ for -": lambda s: s.replace(b"-", b"+"),
    "/ for _": lambda s: s.replace(b"_", b"/"),
    "junk": lambda s: s[:9] + b"!" + s[9:],
    "newline": lambda s: s + b"\n",
    "newline inside": lambda s: s[:8] + b"\r\n" + s[8:],
    "space": lambda s: b" " + s,
    "not ASCII": lambda s: s + b"\xc3\xbc",
    "NUL": lambda s: s + b"\0",
    "one character more": lambda s: s + b"A",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_lenient_base64_is_refused_in_every_segment(segment: int, spelling: str) -> None:
    """GHSA-hxm8. Header and payload are signed as they are spelt, so only the spelling is wrong."""
    token = rich_token()
    parts = token.split(b".")
    parts[segment] = SPELLINGS[spelling](parts[segment])
    spelt = b".".join(parts) if segment == 2 else seal(KEY, parts[0], parts[1])
    assert TOKENS.verify(token, finder(KEY), now=NOW)
    assert spelt != token
    refused(spelt)


@functools.cache
def rich_token() -> bytes:
    """A good token in which every segment has a -, a _ and spare bits at its end."""
    for shift in itertools.count():
        x = "a" * shift + "~?>~?>a~?>~?>a~?>~?>"
        parts = [json.dumps(part).encode() for part in (header(KEY, x=x), claims(x=x))]
        token = sign(KEY, *(part + b" " * ((1 - len(part)) % 3) for part in parts))
        if all(b"-" in part and b"_" in part for part in token.split(b".")):
            return token
    raise AssertionError


@pytest.mark.parametrize(
    "issuer", [ISSUER[:-1], ISSUER[:5], ISSUER[3:], "h", "/", "", ISSUER + " ", ISSUER.upper(), [ISSUER]]
)
def test_a_part_of_our_name_is_not_our_name(issuer: Any) -> None:
    """CVE-2024-53861: `iss in "text"`."""
    refused(sign(KEY, None, claims(iss=issuer)))


def test_a_part_of_our_audience_is_not_our_audience() -> None:
    for audience in (ISSUER[:-1], "h", ISSUER[3:]):
        with pytest.raises(InvalidToken, match="audience"):
            TOKENS.verify(sign(KEY, None, claims(aud=audience)), finder(KEY), now=NOW)


def test_nested_compressed_and_encrypted_tokens_are_refused() -> None:
    """CVE-2026-29000, CVE-2022-3102, CVE-2024-33664: there is no JWE, and nothing compressed or password-derived."""
    refused(sign(KEY, header(KEY, cty="JWT"), sign(KEY)))
    refused(sign(KEY, header(KEY, zip="DEF")))
    refused(b"eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJwMmMiOjQyOTQ5NjcyOTV9.AAAA.AAAA.AAAA.AAAA")
    refused(b"eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA")


SHORT = "kq3v8mZ1T0WbQ4yN7rXc2A"


def _refusals() -> dict[str, tuple[Any, list[str]]]:
    """Everything that can be refused here, and what its errors must not hold."""
    token = sign(KEY)
    text = token.decode()
    changed = text[:-8] + "AAAAAAAA"
    found: dict[str, tuple[Any, list[str]]] = {}

    def verify(name: str, bad: bytes, now: float = NOW) -> None:
        found[name] = (lambda: TOKENS.verify(bad, finder(KEY), now=now), bad.decode("latin-1").split("."))

    verify("form", token + b".x")
    verify("padding", token + b"=")
    verify("signature", changed.encode())
    verify("header", sign(KEY, header(KEY, crit=["confidential"])))
    verify("header json", sign(KEY, b'{"alg":"confidential" "kid"}'))
    verify("header text", sign(KEY, b"\xffconfidential"))
    verify("payload json", sign(KEY, None, b'{"sub":"confidential" x}'))
    verify("payload text", sign(KEY, None, b"\xffconfidential"))
    verify("kid", sign(SigningKey.from_jwk(generate("ES256"))))
    verify("expired", token, NOW + 1e6)
    verify("audience", sign(KEY, None, claims(aud="confidential-audience")))
    verify("scope", sign(KEY, None, claims(scope='confidential"scope')))
    for algorithm in ("ES256", "RS256", "Ed25519", "HS256"):
        jwk = private_jwk(algorithm)
        secret = [jwk[name] for name in ("d", "k", "p", "q", "x", "n") if name in jwk]
        for name in ("d", "k", "p", "x", "n"):
            if name in jwk:
                bad = {**jwk, name: jwk[name][:-5] + "!" + jwk[name][-4:]}
                if name != "d":  # the private half is not looked at
                    found[f"{algorithm} jws {name}"] = (lambda bad=bad: verify_jws(token, bad) and None, secret)
                found[f"{algorithm} key {name}"] = (lambda bad=bad: SigningKey.from_jwk(bad), secret)
                found[f"{algorithm} JWT_KEY {name}"] = (
                    lambda bad=bad, a=algorithm: load_keys(json.dumps(bad), a),
                    secret,
                )
        found[f"{algorithm} another"] = (lambda jwk=jwk: load_keys(json.dumps(jwk), "ES384"), secret)
        found[f"{algorithm} published"] = (lambda jwk=jwk: VerifyingKey.from_jwk({**jwk, "d": "x" * 43}), secret)
        if algorithm != "HS256":
            for number, text in enumerate(spellings(algorithm).values()):
                lines = [line for line in text.splitlines() if "-----" not in line]
                found[f"{algorithm} as a secret {number}"] = (lambda text=text: load_keys(text, "HS256"), lines)
    found["short secret"] = (lambda: load_keys(SHORT, "HS256"), [SHORT])
    found["no key"] = (lambda: load_keys(SHORT, "ES256"), [SHORT])
    return found


REFUSALS = _refusals()


@pytest.mark.parametrize("name", REFUSALS)
def test_no_error_holds_a_token_or_a_key_member(name: str) -> None:
    """CVE-2025-65015, PyJWKError, python-jose: not 8 characters of either, in the text or in what is chained to it."""
    run, secrets = REFUSALS[name]
    with pytest.raises((InvalidToken, InvalidKey, ConfigurationError)) as caught:
        run()
    assert leaks(shown(caught.value), *secrets) == []


def test_every_member_of_a_key_set_is_refused_by_itself_and_without_a_foreign_exception() -> None:
    """GHSA-w6j9: what made PyJWT drop the whole set."""
    for jwk in (
        {"kty": "oct", "alg": "none"},
        {"kty": "RSA", "alg": []},
        {"kty": "oct", "alg": "HS256"},
        {"kty": 7},
        {},
    ):
        with pytest.raises(InvalidKey):
            VerifyingKey.from_jwk(jwk)


def test_a_signature_in_der_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    head, _, signature = sign(KEY).rpartition(b".")
    raw = decode_base64url(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    refused(head + b"." + base64.urlsafe_b64encode(der).rstrip(b"="))


def test_jwt_key_with_a_public_key_verifies_and_never_signs() -> None:
    for algorithm in ASYMMETRIC:
        (key,) = load_keys(json.dumps(public_jwk(algorithm)), algorithm)
        assert not hasattr(key, "sign")
