"""`/revoke`, `/introspect`: what becomes of a token that somebody shows, and how it stands (RFC 7009, RFC 7662)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgi_auth import audit, refresh_cookie
from asgi_auth.backends.jwt import stamp_of
from asgi_auth.denials import claims_of
from asgi_auth.endpoints.call import Call
from asgi_auth.guards import Requirement, decide
from asgi_auth.http.answers import Answer, empty_answer, json_answer
from asgi_auth.http.bodies import text
from asgi_auth.tokens.claims import Claims

INTROSPECT = Requirement(frozenset({"introspect"}))


async def revoke(call: Call) -> Answer:
    """End the session of an access or refresh token. Possession is the right to do so; unknown ones are no error, and
    one that was killed by itself, since a thief has it, is the right to nothing."""
    body = await call.body(form=True)
    presented = text(body, "token", required=True)
    claims = await claims_of(call.parts, presented)
    if claims is None:
        sid = call.parts.grants.session_of(presented)
    else:
        sid = None if await call.parts.view.denied(claims.jti) else claims.sid
    kept = refresh_cookie.shown(call.context) if call.context.origin.allowed else None
    if sid is not None:
        ended = await call.parts.store.end(sid, "revoked")
        if ended is not None:
            call.parts.audit.record(audit.TOKEN_REVOKED, ended.user_id, sid, request=call.context.facts, sid=sid)
            await call.parts.endings.tell([ended], call.context.facts)
        await refresh_cookie.clear_if_over(call.context, call.parts, kept, sid, ended)
    return empty_answer(200)


async def introspect(call: Call) -> Answer:
    """Tell another service, which has the scope `introspect`, how a token stands; nothing is used up."""
    refusal = decide(call.context, INTROSPECT)
    if refusal is not None:
        raise refusal
    body = await call.body(form=True)
    presented = text(body, "token", required=True)
    claims = await claims_of(call.parts, presented)
    found = await (_active(call, claims) if claims is not None else _active_refresh(call, presented))
    if found is None:
        await call.parts.throttle.introspection(call.identity.user.id)
        return json_answer(200, {"active": False})
    return json_answer(200, {"active": True, **found})


def _fits(call: Call, jkt: str) -> bool:
    """Whether a token that is bound to this key, or to none, is taken here."""
    return call.settings.dpop != ("off" if jkt else "required")


async def _active(call: Call, claims: Claims) -> Mapping[str, Any] | None:
    if not _fits(call, claims.jkt):
        return None
    standing = await call.parts.view.token(stamp_of(claims))
    if standing.state != "current":
        return None
    await call.parts.view.confirm(claims.sid, claims.generation)
    found: dict[str, Any] = {
        "token_type": "DPoP" if claims.jkt else "Bearer",
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
    if claims.jkt:
        found["cnf"] = {"jkt": claims.jkt}
    return found


async def _active_refresh(call: Call, presented: str) -> Mapping[str, Any] | None:
    found = await call.parts.grants.standing(presented)
    if found is None:
        return None
    loaded, scope = found
    grant = loaded.record.grant
    if not _fits(call, "" if grant is None else grant.jkt):
        return None
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
        **({"cnf": {"jkt": grant.jkt}} if grant is not None and grant.jkt else {}),
    }
