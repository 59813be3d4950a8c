"""How a token stands with this configuration and its store, and why, for whoever operates them. Nothing is used up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from asgi_auth.auth import Auth
from asgi_auth.backends.jwt import stamp_of
from asgi_auth.durations import moment, spell_duration
from asgi_auth.errors import ConfigurationError, InvalidGrant, InvalidToken
from asgi_auth.identity import Identity, Rejected
from asgi_auth.issuer import Issuer
from asgi_auth.model import Reason, scope_text
from asgi_auth.parts import Parts
from asgi_auth.stores import Ended, Loaded
from asgi_auth.tokens.claims import Claims
from asgi_auth.tokens.explain import UNEXPLAINED, explain
from asgi_auth.tokens.issuers.claims import Times, payload_of
from asgi_auth.tokens.issuers.explain import explain_claims, explain_header, explain_signature
from asgi_auth.tokens.jose import parse
from asgi_auth.tokens.refresh import looks_like_refresh

_ENDS: dict[Reason, str] = {
    "logout": "the user logged out",
    "revoked": "it was revoked",
    "evicted": "a newer login took its place (SESSION_LIMIT)",
    "replaced": "another login took its place",
    "idle": "it was not used for too long",
    "lifetime": "its time was over",
    "password": "the password was changed",
    "disabled": "the user was disabled",
    "deleted": "the user was deleted",
    "reuse": "one of its refresh tokens came twice, so that one of the two was a thief's",
    "broken": "its record could not be read",
}


class Verdict(NamedTuple):
    """`told`: what a client would be told; empty: it is accepted. `reasons`: what it is, or all that is wrong."""

    told: str
    reasons: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        return not self.told


async def verdict(auth: Auth, token: str) -> Verdict:
    """How a token stands.

    Raises:
        ConfigurationError: no tokens are taken here.
        StoreUnavailable: it cannot be said.
    """
    if "jwt" not in auth.settings.backends:
        raise ConfigurationError("ASGI_AUTH_BACKENDS has no jwt, so no token counts")
    if looks_like_refresh(token) is not None:
        return await _of_refresh(auth, token)
    raw = token.encode("utf-8")
    return await _of_another(auth, raw) or await _of_access(auth, raw)


async def _of_access(auth: Auth, token: bytes) -> Verdict:
    parts, now = auth.parts, auth.clock()
    try:
        compact = parts.tokens.parse(token)
        await parts.keys.learn(compact.header["kid"])
        claims = parts.tokens.check(compact, parts.keys.find, now=now)
    except InvalidToken as refusal:
        return Verdict(refusal.description, tuple(explain(token, parts.tokens, parts.keys.find, now=now)))
    unfit = _unfit(auth, claims.jkt)
    if unfit is not None:
        return unfit
    if auth.settings.jwt_revocation != "off":
        state = (await parts.view.token(stamp_of(claims))).state
        if state != "current":
            told = InvalidToken.OUT_OF_DATE if state == "out_of_date" else InvalidToken.REVOKED
            return Verdict(told, (await _why_dead(parts, claims),))
    good_for = claims.exp + parts.tokens.leeway - now
    facts = [
        f"it is an access token of user {claims.sub}, session {claims.sid}, client {claims.client_id}",
        f"its scope is {claims.scope}" if claims.scope else "it has no scope",
        f"it expires at {moment(claims.exp)} and is taken for another {spell_duration(good_for)}",
        f"the key {compact.header['kid']} has signed it",
    ]
    if claims.jkt:
        facts.append(f"it is bound to a key: it counts with proofs of {claims.jkt} alone (DPoP)")
    if auth.settings.jwt_revocation == "off":
        facts.append("whether it was revoked is not asked (JWT_REVOCATION is off)")
    return Verdict("", tuple(facts))


def _unfit(auth: Auth, jkt: str) -> Verdict | None:
    """What is wrong with a token that is bound to this key, or to none, as `DPOP` is set."""
    if jkt and auth.settings.dpop == "off":
        return Verdict(InvalidToken.INVALID, ("it is bound to a key, and nobody looks at proofs (DPOP is off)",))
    if not jkt and auth.settings.dpop == "required":
        return Verdict(InvalidToken.INVALID, ("it is bound to no key (DPOP is required)",))
    return None


async def _of_another(auth: Auth, token: bytes) -> Verdict | None:
    """The same of a token of another issuer; None: it is ours, or of one that has no record."""
    backend, max_size = auth.parts.issuer_backend, auth.settings.jwt_max_size
    if backend is None:
        return None
    try:
        compact = parse(token, max_size=max(max_size, backend.trusted.largest))
        claims = payload_of(compact.payload)
    except InvalidToken:
        return None
    iss = claims.get("iss")
    answer = await backend.trusted.of(iss) if isinstance(iss, str) and iss != auth.settings.issuer else None
    if answer is None or not isinstance(iss, str):
        return None
    found = await backend.identify(token, bound="cnf" in claims)
    record = answer.source.record
    if isinstance(found, Identity):
        return Verdict("", tuple(_facts_of_another(found, record)))
    keys = answer.source.look() or await answer.source.newer()
    times = Times(auth.clock(), auth.settings.jwt_leeway, auth.settings.session_lifetime)
    reasons = [
        *explain_header(compact, record, len(token), max_size),
        *explain_signature(compact, record, keys, iss),
        *explain_claims(claims, record, answer.tenant, times),
    ]
    unfit = _unfit(auth, "cnf" if "cnf" in claims else "")
    if not reasons and unfit is not None:
        return unfit
    return Verdict(
        found.error if isinstance(found, Rejected) else InvalidToken.INVALID, tuple(reasons or [UNEXPLAINED])
    )


def _facts_of_another(identity: Identity, record: Issuer) -> Iterator[str]:
    yield f"it is a token of the issuer {record.name}, {record.issuer}, for user {identity.user.id}"
    scopes = scope_text(identity.scopes)
    yield f"its scope here is {scopes}" if scopes else "no scope of it counts here (scopes)"
    yield f"it expires at {moment(identity.expires_at)}"
    if identity.jkt:
        yield f"it is bound to a key: it counts with proofs of {identity.jkt} alone (DPoP)"


async def _why_dead(parts: Parts, claims: Claims) -> str:
    loaded = await parts.store.load(claims.sid)
    if not isinstance(loaded, Loaded):
        return _why_ended(claims.sid, loaded)
    if await parts.store.denied(claims.jti):
        return f"this one token was revoked, by its jti; its session {claims.sid} lives on"
    if loaded.user is None or loaded.user.id != claims.sub:
        return f"its session {claims.sid} is not one of user {claims.sub}"
    if loaded.user.revision != claims.ver:
        return (
            f"user {claims.sub} was changed since: this is revision {loaded.user.revision}, the token was made for "
            f"{claims.ver}; a refresh gives the new rights"
        )
    return "all sessions were ended since, or the store is not the one that it was: emptied, restored or failed over"


def _why_ended(sid: str, ended: Ended | None) -> str:
    if ended is None:
        return f"its session {sid} is not known here: it ended long ago, or in another store (ASGI_AUTH_STORE)"
    return f"its session {sid} has ended: {_ENDS[ended.reason]}"


async def _of_refresh(auth: Auth, token: str) -> Verdict:
    parts = auth.parts
    sid = parts.grants.session_of(token)
    if sid is None:
        why = "its signature is none of ours: it was changed, or made under another SECRET or key ring"
        return Verdict(InvalidGrant.default, (why,))
    found = await parts.grants.standing(token)
    if found is None:
        loaded = await parts.store.load(sid)
        why = _used(loaded) if isinstance(loaded, Loaded) else _why_ended(sid, loaded)
        return Verdict(InvalidGrant.default, (why,))
    loaded, scope = found
    grant = loaded.record.grant
    facts = [
        f"it is the current refresh token of user {loaded.record.user_id}, session {sid}",
        f"its scope is {scope}" if scope else "it has no scope",
        f"it is good for another {spell_duration(loaded.remaining)}",
    ]
    if grant is not None:
        facts.insert(1, f"client {grant.client_id} alone may use it")
        if grant.jkt:
            facts.append(f"it is bound to a key: it counts with proofs of {grant.jkt} alone (DPoP)")
    return Verdict("", tuple(facts))


def _used(loaded: Loaded) -> str:
    grant = loaded.record.grant
    if grant is None:
        return f"its session {loaded.record.sid} has no refresh tokens"
    return (
        f"it is not the current one, which is number {grant.generation} of the session {loaded.record.sid}: it was "
        "exchanged; who has lost the answer may get the same one again for a while, later it ends the session"
    )
