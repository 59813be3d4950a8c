"""Why an access token of ours is refused, in words for whoever operates the server: each rule has its own sentence.

Never on the wire, where the five sentences of `InvalidToken` are all that is told. The verifier has the last word: what
it takes is fine, and what it refuses has a reason here. Pure; the time is an argument.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from asgi_auth.durations import moment, spell_duration
from asgi_auth.errors import InvalidToken
from asgi_auth.http.strict import MAX_DEPTH, is_deeper, strict_json
from asgi_auth.tokens.access import TYPES, AccessTokens
from asgi_auth.tokens.claims import Claims, adapter
from asgi_auth.tokens.jose import REFUSED, Compact, VerifyingKey, decode_base64url, is_kid

UNEXPLAINED = "the verifier refuses it by a rule that has no sentence here"

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EDWARDS = frozenset({"EdDSA", "Ed25519"})
_LATEST = 2**53
_TIMES = ("exp", "iat", "nbf", "auth_time")
_RULES = {
    **dict.fromkeys(_TIMES, "is no whole number of seconds from 0 to 2^53"),
    "sub": "is no text of 1 to 255 characters, none of them a control character",
    "ver": "is no whole number from 0 to 2^53",
    "aud": "is neither a text nor a list of texts",
    "amr": "is no list of texts",
    "amr_at": "is no list of whole numbers, one for each method of amr",
    "scope": "is no list of scopes, separated by spaces",
    "jti": "is not of our form: a generation, a dot, base64url",
    "cnf": "is not the thumbprint of a key alone (jkt), the one kind of proof that is known here",
}
"""What is wrong with a claim; any other is no text, is empty, or holds control characters."""

Find = Callable[[str], "VerifyingKey | None"]


def explain(token: bytes, tokens: AccessTokens, find_key: Find, *, now: float) -> list[str]:
    """Each rule that an access token breaks, the one that decides first. Empty: the verifier takes it."""
    try:
        tokens.verify(token, find_key, now=now)
    except InvalidToken:
        return list(_reasons(token, tokens, find_key, now)) or [UNEXPLAINED]
    return []


def _reasons(token: bytes, tokens: AccessTokens, find_key: Find, now: float) -> Iterator[str]:
    form = list(why_no_token(token, tokens.max_size))
    if form:
        yield from form
        return
    head, body, signature = map(decode_base64url, token.split(b"."))
    header, claims = read_object(head), read_object(body)
    if isinstance(header, str):
        yield f"its header {header}"
    else:
        yield from _of_header(header)
        compact = Compact(header, body, token.rpartition(b".")[0], signature)
        yield from _of_signature(compact, find_key)
    if isinstance(claims, str):
        yield f"its payload {claims}"
    else:
        yield from _of_claims(claims)
        yield from _of_sense(claims, tokens, now)


def why_no_token(token: bytes, max_size: int) -> Iterator[str]:
    """What keeps a text from being a token at all (RFC 7515 §7.1)."""
    if len(token) > max_size:
        yield f"it has {len(token)} bytes, more than JWT_MAX_SIZE, which is {max_size}"
    segments = token.split(b".")
    if len(segments) == 5:
        yield "it has five segments: it is encrypted (JWE), and nothing here is"
    elif len(segments) != 3:
        yield f"a signed token has three segments, and it has {len(segments)}"
    if any(byte in b" \t\r\n" for byte in token):
        yield "there is white space in it"
    if b"=" in token:
        yield 'there is padding ("=") in it'
    if len(segments) != 3:
        return
    for name, segment in zip(("header", "payload", "signature"), segments, strict=True):
        try:
            decode_base64url(segment)
        except ValueError:
            yield f"its {name} is no base64url as it is written in one way only: a foreign character, or spare bits"


def read_object(raw: bytes) -> Mapping[str, Any] | str:
    """A JSON object; or what is wrong with it, as the end of a sentence."""
    try:
        value = strict_json(raw)
    except ValueError:
        return _why_not_strict(raw)
    return value if isinstance(value, dict) else "is no JSON object"


def _why_not_strict(raw: bytes) -> str:
    if raw.startswith(_BOMS):
        return "begins with a byte order mark"
    try:
        text = raw.decode("utf-8")
    except ValueError:
        return "is not UTF-8"
    if is_deeper(raw, MAX_DEPTH):
        return f"is nested more than {MAX_DEPTH} levels deep, or its brackets do not match"
    found: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(f"has the member {name!r} twice" for name in dict.fromkeys(names) if names.count(name) > 1)

    def number(digits: str) -> None:
        if len(digits) > 20 or not math.isfinite(float(digits)):
            found.append("holds a number that parsers read differently (NaN, Infinity, too many digits)")

    try:
        json.loads(text, object_pairs_hook=members, parse_int=number, parse_float=number, parse_constant=number)
    except (ValueError, OverflowError):
        return "is no JSON"
    return found[0] if found else "holds half of a character (a lone surrogate)"


def _of_header(header: Mapping[str, Any]) -> Iterator[str]:
    alg, typ, kid = header.get("alg"), header.get("typ", ""), header.get("kid")
    if not isinstance(alg, str):
        yield "its header names no alg"
    elif alg.lower() == "none":
        yield f"its alg is {alg!r}: nobody has signed it"
    if not isinstance(typ, str) or typ.lower() not in TYPES:
        yield f"its typ is {typ!r}: access tokens here have at+jwt (an ID token has JWT; so have many other issuers')"
    if kid is None:
        yield "its header names no key (kid)"
    elif not is_kid(kid):
        yield "its kid is no text of 1 to 128 bytes without control characters"
    for name in sorted(REFUSED & header.keys()):
        yield f"its header has {name!r}, which would bring in another key, another encoding or another meaning"


def _of_signature(compact: Compact, find_key: Find) -> Iterator[str]:
    alg, kid = compact.header.get("alg"), compact.header.get("kid")
    if not is_kid(kid) or not isinstance(alg, str):
        return
    key = find_key(str(kid))
    if key is None:
        yield f"no key here is named {kid!r}: another issuer or key ring signed it, or that key is over or revoked"
    elif alg != key.algorithm and not {alg, key.algorithm} <= _EDWARDS:
        yield f"its alg is {alg!r}, but the key {kid!r} is for {key.algorithm} alone"
    else:
        try:
            key.verify(compact)
        except InvalidToken:
            yield f"the signature is not that of the key {kid!r}: the token was changed, or another key has this name"


def _of_claims(claims: Mapping[str, Any]) -> Iterator[str]:
    """Each claim alone."""
    wrong: dict[str, str] = {}
    known = {name: claims[name] for name in Claims._fields if name in claims}
    try:
        adapter().validate_python({**known, "all": claims})
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(one["loc"][0])
            rule = _RULES.get(name, "is no text of one character or more, without control characters")
            wrong.setdefault(name, f"its {name} {rule}" if name in claims else f"it has no {name}")
    amr, amr_at = claims.get("amr"), claims.get("amr_at")
    if isinstance(amr, list) and isinstance(amr_at, list) and len(amr) != len(amr_at):
        wrong.setdefault("amr_at", f"its amr_at {_RULES['amr_at']}")
    for name in ("acr", "cnf"):
        if name in claims and claims[name] is None:
            wrong.setdefault(name, f"its {name} is null")
    yield from wrong.values()


def _of_sense(claims: Mapping[str, Any], tokens: AccessTokens, now: float) -> Iterator[str]:
    """What the claims say, compared with who and when we are."""
    iss, aud = claims.get("iss"), claims.get("aud")
    if isinstance(iss, str) and iss != tokens.issuer:
        yield f"its iss is {iss!r}, and we are {tokens.issuer!r}, to the letter"
    exp, iat, nbf = (_seconds(claims.get(name)) for name in ("exp", "iat", "nbf"))
    leeway = f"JWT_LEEWAY is {spell_duration(tokens.leeway)}"
    for name, at in (("was issued", iat), ("is not good before", nbf)):
        if at is not None and at > now + tokens.leeway:
            yield f"it {name} {moment(at)}, in {spell_duration(at - now)}: somebody's clock is wrong ({leeway})"
    if exp is not None and exp > now + tokens.longest_lifetime + tokens.leeway:
        yield f"it lives until {moment(exp)}, longer than any session here (SESSION_LIFETIME)"
    audiences = [aud] if isinstance(aud, str) else aud
    if isinstance(audiences, list) and tokens.audience not in audiences:
        yield f"it is for {', '.join(map(repr, audiences)) or 'nobody'}, and we are {tokens.audience!r} (JWT_AUDIENCE)"
    if exp is not None and exp + tokens.leeway <= now:
        yield f"it expired {spell_duration(now - exp)} ago, at {moment(exp)} ({leeway})"


def _seconds(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LATEST else None
