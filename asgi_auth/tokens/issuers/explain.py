"""Why a token of another issuer is refused, in words for whoever operates this server: each rule has its own sentence.

As for our own tokens: never on the wire, and the rules themselves have the last word. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from asgi_auth.durations import moment, spell_duration
from asgi_auth.errors import InvalidToken
from asgi_auth.issuer import Issuer, media_type
from asgi_auth.tokens.explain import UNEXPLAINED
from asgi_auth.tokens.issuers.claims import (
    Times,
    date_of,
    has_claim,
    is_for_us,
    jkt_of,
    read,
    scopes_at,
    text_of,
    texts,
    user_id_of,
)
from asgi_auth.tokens.issuers.keyset import KeySet
from asgi_auth.tokens.jose import Compact, VerifyingKey


def explain_header(compact: Compact, record: Issuer, size: int, max_size: int) -> Iterator[str]:
    """Why its header does not fit the record.

    Args:
        size: bytes of the token.
        max_size: of one whose record says nothing else.
    """
    longest, typ, alg = record.max_size or max_size, compact.header.get("typ", ""), compact.header["alg"]
    if size > longest:
        yield f"it has {size} bytes, more than the {longest} that a token of {record.name} may have (max_size)"
    if media_type(typ) not in record.typ:
        yield f"its typ is {typ!r}, and tokens of {record.name} have {_choice(record.typ)} (typ)"
    if alg not in record.algorithms:
        yield f"its alg is {alg!r}, and tokens of {record.name} have {_choice(record.algorithms)} (algorithms)"


def explain_signature(compact: Compact, record: Issuer, keys: KeySet | None, iss: str) -> Iterator[str]:
    """Why none of the issuer's keys has signed it, as far as they are known."""
    if keys is None:
        yield f"the keys of {record.name} could not be read, so nobody can say who has signed it"
        return
    candidates, kid = keys.candidates(compact, iss), compact.header.get("kid")
    if not candidates:
        named = "no key" if kid is None else f"the key {kid!r}"
        yield f"it names {named} for {compact.header['alg']}, and {record.name} publishes {_choice(keys.names)}"
    elif not any(_verifies(key, compact) for key in candidates):
        yield f"the signature is not that of a key of {record.name}: the token was changed, or is another's"


def explain_claims(claims: Mapping[str, Any], record: Issuer, tenant: str, times: Times) -> list[str]:
    """Each rule of the record that the claims break. Empty: they are taken."""
    try:
        read(claims, record, tenant, times)
    except InvalidToken:
        broken = [*_of_times(claims, times), *_of_types(claims, record, tenant), *_of_purpose(claims, record)]
        return broken or [UNEXPLAINED]
    return []


def _of_times(claims: Mapping[str, Any], times: Times) -> Iterator[str]:
    leeway = f"JWT_LEEWAY is {spell_duration(times.leeway)}"
    at: dict[str, float] = {}
    for name in ("exp", "iat", "nbf", "auth_time"):
        if _breaks(date_of, claims, name):
            yield f"its {name} is no number of seconds from 0 to 2^53"
        elif name in claims:
            at[name] = float(claims[name])
    if "exp" not in claims:
        yield "it has no exp"
    for name in at.keys() - {"exp"}:
        if at[name] > times.now + times.leeway:
            far = spell_duration(at[name] - times.now)
            yield f"its {name} is {moment(at[name])}, in {far}: somebody's clock is wrong ({leeway})"
    exp = at.get("exp", times.now + 1)
    if exp > times.now + times.longest + times.leeway:
        yield f"it lives until {moment(exp)}, longer than any session here (SESSION_LIFETIME)"
    if exp + times.leeway <= times.now:
        yield f"it expired {spell_duration(times.now - exp)} ago, at {moment(exp)} ({leeway})"


def _of_types(claims: Mapping[str, Any], record: Issuer, tenant: str) -> Iterator[str]:
    if _breaks(user_id_of, claims, record, tenant):
        kind = "a number" if record.numeric_subject else "a text"
        yield f"its {record.subject} names no user: {kind} that is not too long is wanted (subject)"
    for path in record.scope_claims:
        if _breaks(scopes_at, claims, path):
            yield f"its {'.'.join(path)} is of another type than scopes have (scope_claims)"
    if _breaks(texts, claims.get("amr", [])):
        yield "its amr is no list of texts"
    for name in filter(None, ("jti", "acr", record.display_name)):
        if _breaks(text_of, claims, name):
            yield f"its {name} is no text"
    if _breaks(jkt_of, claims):
        yield "its cnf is not the thumbprint of a key alone (jkt), the one kind of proof that is known here"


def _of_purpose(claims: Mapping[str, Any], record: Issuer) -> Iterator[str]:
    for name, wanted in record.require.items():
        if not has_claim(claims, name, wanted):
            found = f"is {claims[name]!r}" if name in claims else "is not there"
            yield f"its {name} {found}, and the record wants {'any' if wanted is None else repr(wanted)} (require)"
    if _breaks(_for_us, claims, record):
        clients = {name: claims[name] for name in record.client_claims if name in claims}
        rules = [
            f"{name} {_choice(values)}"
            for name, values in (("audience", record.audience), ("client_id", record.client_id))
            if values
        ]
        given = f"given to {clients}" if clients else "given to nobody that it names"
        yield f"it is for {claims.get('aud')!r}, {given}; the record wants {' and '.join(rules)}"


def _for_us(claims: Mapping[str, Any], record: Issuer) -> None:
    if not is_for_us(claims, record):
        raise InvalidToken


def _breaks(rule: Callable[..., object], *arguments: object) -> bool:
    try:
        rule(*arguments)
    except InvalidToken:
        return True
    return False


def _verifies(key: VerifyingKey, compact: Compact) -> bool:
    return not _breaks(key.verify, compact)


def _choice(values: Collection[str]) -> str:
    return " or ".join(repr(value) if value else "none" for value in values)
