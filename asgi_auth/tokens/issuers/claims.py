"""The claims of another issuer's token, read by its record: who it is, for whom, until when, and what counts of it.

Pure; the time is an argument. A claim of a type that it should not have refuses the token, it is never as if it were
not there: that would be a right that silently goes, or a rule that silently does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from asgi_auth.errors import InvalidToken
from asgi_auth.http.strict import strict_json
from asgi_auth.issuer import Issuer, Path
from asgi_auth.model import CONTROL

_LATEST = 2**53
_MOST = 255
"""Characters of a user's id."""


class Times(NamedTuple):
    """What times are compared with, in seconds: now, by how much clocks may differ, how long a token may live."""

    now: float
    leeway: float
    longest: float


class Foreign(NamedTuple):
    """What a token says, as far as it counts here.

    Attributes:
        auth_time: None: it does not say.
        jkt: the thumbprint of the key that it is bound to (RFC 9449 §6.1); empty: to none.
        payload: all claims, as they were read.
    """

    user_id: str
    display_name: str
    scopes: frozenset[str]
    exp: float
    auth_time: float | None
    amr: tuple[str, ...]
    acr: str
    jkt: str
    payload: Mapping[str, Any]


def payload_of(raw: bytes) -> dict[str, Any]:
    """The claims. Raises InvalidToken: they are not strict JSON, or no object."""
    try:
        claims = strict_json(raw)
    except ValueError:
        raise InvalidToken from None
    if not isinstance(claims, dict):
        raise InvalidToken
    return claims


def read(claims: Mapping[str, Any], record: Issuer, tenant: str, times: Times) -> Foreign:
    """Read the claims of a token whose signature is right.

    Raises:
        InvalidToken: EXPIRED or AUDIENCE for a token that counts otherwise, INVALID for any other.
    """
    exp, auth_time = date_of(claims, "exp"), date_of(claims, "auth_time")
    born = [at for at in (date_of(claims, "iat"), date_of(claims, "nbf"), auth_time) if at is not None]
    if exp is None or exp > times.now + times.longest + times.leeway or max(born, default=0) > times.now + times.leeway:
        raise InvalidToken
    text_of(claims, "jti")
    for name, wanted in record.require.items():
        if not has_claim(claims, name, wanted):
            raise InvalidToken
    found = Foreign(
        user_id=user_id_of(claims, record, tenant),
        display_name=text_of(claims, record.display_name) if record.display_name else "",
        scopes=frozenset(one for path in record.scope_claims for one in scopes_at(claims, path)) & record.scopes,
        exp=exp,
        auth_time=auth_time,
        amr=tuple(dict.fromkeys(texts(claims.get("amr", [])))),
        acr=text_of(claims, "acr"),
        jkt=jkt_of(claims),
        payload=claims,
    )
    if not is_for_us(claims, record):
        raise InvalidToken(InvalidToken.AUDIENCE)
    if exp + times.leeway <= times.now:
        raise InvalidToken(InvalidToken.EXPIRED)
    return found


def date_of(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate, which may be a fraction (RFC 7519 §2); None: there is none."""
    if name not in claims:
        return None
    value: Any = claims[name]
    if type(value) not in (int, float) or not 0 <= value <= _LATEST or not math.isfinite(value):
        raise InvalidToken
    return float(value)


def text_of(claims: Mapping[str, Any], name: str) -> str:
    """A text without control characters; empty: there is none."""
    value = claims.get(name, "")
    if not isinstance(value, str) or CONTROL.search(value):
        raise InvalidToken
    return value


def texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and not CONTROL.search(one) for one in value):
        raise InvalidToken
    return value


def has_claim(claims: Mapping[str, Any], name: str, wanted: object) -> bool:
    """Whether a claim has the value that is wanted, or one of them; true is not 1 here, as it is to Python."""
    if name not in claims:
        return False
    value = claims[name]
    choices = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    return wanted is None or any(type(one) is type(value) and one == value for one in choices)


def user_id_of(claims: Mapping[str, Any], record: Issuer, tenant: str) -> str:
    subject = claims.get(record.subject)
    if record.numeric_subject:
        if type(subject) is not int or subject < 0:
            raise InvalidToken
        subject = str(subject)
    if not isinstance(subject, str) or not subject or CONTROL.search(subject):
        raise InvalidToken
    found = record.user_id(subject, tenant)
    if len(found) > _MOST:
        raise InvalidToken
    return found


def scopes_at(claims: Mapping[str, Any], path: Path) -> list[str]:
    value: Any = claims
    for name in path:
        if not isinstance(value, Mapping):
            raise InvalidToken
        if name not in value:
            return []
        value = value[name]
    if isinstance(value, str) and path in (("scope",), ("scp",)):
        return texts([value])[0].split(" ")
    if path == ("scope",):
        raise InvalidToken
    return texts(value)


def is_for_us(claims: Mapping[str, Any], record: Issuer) -> bool:
    audience = claims.get("aud", [])
    audiences = texts([audience] if isinstance(audience, str) else audience)
    clients = [text_of(claims, name) for name in record.client_claims if name in claims]
    if record.audience and not set(audiences) & set(record.audience):
        return False
    return not record.client_id or (bool(clients) and set(clients) <= set(record.client_id))


def jkt_of(claims: Mapping[str, Any]) -> str:
    """A token that is bound in a way that nobody checks here (RFC 8705) must not count as if it were free."""
    if "cnf" not in claims:
        return ""
    confirmation = claims["cnf"]
    if not isinstance(confirmation, Mapping) or set(confirmation) != {"jkt"}:
        raise InvalidToken
    jkt = text_of(confirmation, "jkt")
    if not jkt:
        raise InvalidToken
    return jkt
