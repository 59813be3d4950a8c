"""`/token`, `/revoke`, `/introspect`: RFC 6749 §5 and §6, RFC 7009, RFC 7662. Clients are public."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from asgi_auth import audit
from asgi_auth.backends.jwt import stamp_of
from asgi_auth.endpoints.call import Call
from asgi_auth.entrance import refuse_cross_origin
from asgi_auth.errors import (
    InvalidClient,
    InvalidCredentials,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    LoginRefused,
    SessionLimit,
    UnsupportedGrantType,
)
from asgi_auth.guards import Requirement, decide
from asgi_auth.http import values
from asgi_auth.http.answers import Answer, empty_answer, json_answer
from asgi_auth.http.bodies import text
from asgi_auth.logins import PASSWORD
from asgi_auth.model import scope_tokens
from asgi_auth.tokens.access import Claims
from asgi_auth.tokens.grants import DEFAULT_CLIENT, TokenPair

INTROSPECT = Requirement(frozenset({"introspect"}))

_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,255}")


async def token(call: Call) -> Answer:
    """The token endpoint: `password` and `refresh_token`."""
    body = await call.body(form=True)
    client_id = client_of(body, basic=_basic(call))
    grant = text(body, "grant_type", required=True)
    offered = "jwt" in call.settings.backends and call.parts.keys.signs
    if grant == "refresh_token" and offered:
        presented = text(body, "refresh_token", required=True)
        return pair_answer(
            await call.logins.refresh(presented, client_id=client_id, asked=asked_scopes(body), context=call.context)
        )
    if grant == "password" and offered and call.settings.password_grant:
        return await _by_password(call, body, client_id)
    raise UnsupportedGrantType


async def revoke(call: Call) -> Answer:
    """End the session of an access or refresh token. Possession is the right to do so; unknown ones are no error."""
    body = await call.body(form=True)
    presented = text(body, "token", required=True)
    claims = await _claims(call, presented)
    sid = claims.sid if claims is not None else call.parts.grants.session_of(presented)
    if sid is not None:
        ended = await call.parts.store.end(sid, "revoked")
        if ended is not None:
            call.parts.audit.record(audit.TOKEN_REVOKED, ended.user_id, sid, request=call.context.facts, sid=sid)
            await call.parts.endings.tell([ended], call.context.facts)
    return empty_answer(200)


async def introspect(call: Call) -> Answer:
    """Tell another service, which has the scope `introspect`, how a token stands; nothing is used up."""
    refusal = decide(call.context, INTROSPECT)
    if refusal is not None:
        raise refusal
    body = await call.body(form=True)
    presented = text(body, "token", required=True)
    claims = await _claims(call, presented)
    found = await (_active(call, claims) if claims is not None else _active_refresh(call, presented))
    if found is None:
        await call.parts.throttle.introspection(call.identity.user.id)
        return json_answer(200, {"active": False})
    return json_answer(200, {"active": True, **found})


def client_of(body: dict[str, object], *, basic: str | None = None) -> str:
    """The client's id, of the form or of a Basic header without secret (RFC 6749 §2.3.1); neither: `asgi-auth`.

    Args:
        basic: the id in the header, where one is looked for.

    Raises:
        InvalidClient: there is a secret, which no client here has.
        InvalidRequest: two ids that differ, or one that is none (RFC 6749 §A.1).
    """
    if text(body, "client_secret") is not None:
        raise InvalidClient
    named = text(body, "client_id")
    if basic and named and basic != named:
        raise InvalidRequest("The Authorization header and the body name two clients")
    client_id = basic or named or DEFAULT_CLIENT
    if not _CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest("client_id must be printable ASCII of at most 255 characters")
    return client_id


def asked_scopes(body: dict[str, object]) -> frozenset[str] | None:
    """The `scope` parameter; None: not given.

    Raises:
        InvalidScope: it is no list of scopes.
    """
    asked = text(body, "scope")
    try:
        return None if asked is None else scope_tokens(asked)
    except ValueError:
        raise InvalidScope("scope is a list of scopes, separated by spaces") from None


def pair_answer(pair: TokenPair) -> Answer:
    """RFC 6749 §5.1."""
    return json_answer(200, pair.public(), headers=[(b"pragma", b"no-cache")])


async def _by_password(call: Call, body: dict[str, object], client_id: str) -> Answer:
    # A page that somebody merely visits could use up the attempts of the address that both have.
    refuse_cross_origin(call.context)
    username, password = text(body, "username", required=True), text(body, "password", required=True)
    asked = asked_scopes(body)
    try:
        row = await call.logins.check_password(call.context, username, password)
        pair = await call.logins.by_token(row, client_id=client_id, asked=asked, amr=PASSWORD, context=call.context)
    except (InvalidCredentials, LoginRefused, SessionLimit) as refusal:
        raise InvalidGrant(refusal.description) from None
    return pair_answer(pair)


def _basic(call: Call) -> str | None:
    """The client's id in a Basic header (RFC 6749 §2.3.1: both halves form-encoded); None: no such header, or no id.

    Swagger UI sends one with neither id nor secret.
    """
    found = [value for value in values(call.context.scope["headers"], b"authorization") if _is_basic(value)]
    if not found:
        return None
    try:
        decoded = base64.b64decode(found[0].split(None, 1)[1], validate=True).decode("ascii")
    except (ValueError, IndexError):
        raise InvalidClient("The Authorization header is malformed") from None
    client_id, _, secret = decoded.partition(":")
    if secret or len(found) > 1:
        raise InvalidClient
    return unquote_plus(client_id) or None


def _is_basic(value: bytes) -> bool:
    return value.split(None, 1)[:1] != [] and value.split(None, 1)[0].lower() == b"basic"


async def _claims(call: Call, presented: str) -> Claims | None:
    """What an access token of ours says, if its signature and times are right."""
    if not presented.isascii():
        return None
    raw = presented.encode("ascii")
    await call.parts.keys.learn(call.parts.tokens.kid_of(raw))
    try:
        return call.parts.tokens.verify(raw, call.parts.keys.find, now=call.parts.clock())
    except InvalidToken:
        return None


async def _active(call: Call, claims: Claims) -> Mapping[str, Any] | None:
    standing = await call.parts.view.token(stamp_of(claims))
    if standing.state != "current":
        return None
    await call.parts.view.confirm(claims.sid, claims.generation)
    found: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": claims.scope,
        "client_id": claims.client_id,
        "sub": claims.sub,
        "aud": claims.aud,
        "iss": claims.iss,
        "exp": claims.exp,
        "iat": claims.iat,
        "nbf": claims.nbf,
        "jti": claims.jti,
        "sid": claims.sid,
        "auth_time": claims.auth_time,
        "amr": list(claims.amr),
    }
    if claims.acr is not None:
        found["acr"] = claims.acr
    return found


async def _active_refresh(call: Call, presented: str) -> Mapping[str, Any] | None:
    found = await call.parts.grants.standing(presented)
    if found is None:
        return None
    loaded, scope = found
    grant = loaded.record.grant
    return {
        "scope": scope,
        "client_id": None if grant is None else grant.client_id,
        "sub": loaded.record.user_id,
        "iss": call.settings.issuer,
        "exp": int(call.parts.clock() + loaded.remaining),
        "sid": loaded.record.sid,
        "auth_time": int(loaded.record.authenticated_at),
        "amr": list(loaded.record.amr),
        **({"acr": loaded.record.acr} if loaded.record.acr else {}),
    }
