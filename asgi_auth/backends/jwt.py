"""JWTBackend: a bearer token becomes an identity. Knows no cookie and no session data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from asgi_auth import audit
from asgi_auth.audit import Audit
from asgi_auth.clock import Clock
from asgi_auth.errors import InvalidToken, StoreUnavailable
from asgi_auth.identity import Identity, Rejected
from asgi_auth.model import User
from asgi_auth.recent import Recent
from asgi_auth.tokens.access import AccessTokens
from asgi_auth.tokens.claims import Claims
from asgi_auth.tokens.keyring import KeyRing
from asgi_auth.view import Stamp, Standing, View

Revocation = Literal["strict", "available", "off"]

REMEMBERED = 50_000
REMEMBERED_SIZE = 64 * 2**20

_BEARER = b"Bearer "
"""With which a token comes: what is remembered of it is found by the header as it is."""

_IDENTITY_SIZE = 4000
"""About as many bytes are taken by what is remembered of a token of the usual length."""


@dataclass(slots=True, eq=False)
class _Verified:
    """A token whose signature and claims are right, until `until` and as long as the key ring is the same. `stood`: at
    which version of the view it was last found to stand."""

    identity: Identity
    stamp: Stamp
    generation: int
    until: float
    keys: int
    stood: int = -1


class JWTBackend:
    """Verifies an access token by itself, then asks the view whether it still stands.

    Args:
        revocation: `strict`: what cannot be said is an exception; `available`: then the token is accepted, and the log
            says so each time; `off`: the view is never asked.
        rows: whether the user's row is wanted with each identity.
        bearer: whether a token that is bound to no key is taken.
    """

    def __init__(
        self,
        tokens: AccessTokens,
        keys: KeyRing,
        view: View,
        log: Audit,
        *,
        clock: Clock,
        revocation: Revocation = "strict",
        rows: bool = False,
        bearer: bool = True,
    ) -> None:
        self._tokens = tokens
        self._keys = keys
        self._view = view
        self._audit = log
        self._clock = clock
        self._revocation = revocation
        self._off = revocation == "off"
        self._rows = rows and not self._off
        self._bearer = bearer
        self._known: Recent[_Verified] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_IDENTITY_SIZE)
        self._bound: Recent[_Verified] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_IDENTITY_SIZE)
        """Apart, by the token alone: no header finds those that are worth nothing without a proof."""
        self._remembered = self._known.get

    def recall(self, header: bytes) -> Identity | None:
        """Who this `Authorization` header speaks for, if its token was verified before and is proved to stand. No
        `await` may stand between this and what is done with it."""
        # Each request with a token comes here: what is an attribute is called by a local name, as in the middleware.
        remembered, wall_clock, view = self._remembered, self._clock, self._view
        known = remembered(header)
        if known is None or wall_clock() >= known.until:
            return None
        steady_clock = view.clock
        now = steady_clock()
        if view.unchanged(known.stood, now) or self._stands_again(known, now):
            return known.identity
        return None

    def _stands_again(self, known: _Verified, now: float) -> bool:
        """Something has been revoked, or is not known to have been: whether it was this."""
        if known.keys != self._view.keys_changed or self._rows:
            return False
        if self._off:
            return True
        version = self._view.version
        if not self._view.stands(known.stamp, now) or version != self._view.version:
            return False
        known.stood = version
        return True

    async def identify(self, credential: bytes, *, bound: bool = False) -> Identity | Rejected:
        """Who this token speaks for.

        Args:
            bound: whether it came as one that is bound to a key, whose proof the caller asks for; as what it is not
                none is taken (RFC 9449 §7.1).
        """
        remembered, key = (self._bound, credential) if bound else (self._known, _BEARER + credential)
        known = self._verified_before(remembered.get(key)) or await self._verified(credential)
        if isinstance(known, Rejected):
            return known
        if bool(known.identity.jkt) != bound or not (bound or self._bearer):
            return Rejected(error=InvalidToken.INVALID, forged=True)
        if self._off:
            remembered.put(key, known)
            return known.identity
        stamp = known.stamp
        standing = await self._standing(known)
        if standing.state != "current":
            told = InvalidToken.OUT_OF_DATE if standing.state == "out_of_date" else InvalidToken.REVOKED
            return Rejected(error=told, session_id=stamp.sid, user_id=stamp.user_id)
        if self._keys.find(known.identity.kid) is None:  # revoked while this was looked at
            return Rejected(error=InvalidToken.INVALID, session_id=stamp.sid, user_id=stamp.user_id)
        remembered.put(key, known)
        return replace(known.identity, row=standing.user, now=standing.now or self._clock())

    def _verified_before(self, known: _Verified | None) -> _Verified | None:
        if known is None or self._clock() >= known.until or known.keys != self._view.keys_changed:
            return None
        return known

    async def _verified(self, credential: bytes) -> _Verified | Rejected:
        keys = self._view.keys_changed
        try:
            compact = self._tokens.parse(credential)
            kid = compact.header["kid"]
            await self._keys.learn(kid, lenient=self._revocation != "strict")
            claims = self._tokens.check(compact, self._keys.find, now=self._clock())
        except InvalidToken as refusal:
            return Rejected(error=refusal.description, forged=refusal.description != InvalidToken.EXPIRED)
        until = min(claims.exp + self._tokens.leeway, self._keys.good_until(kid))
        return _Verified(_identity(claims, kid), stamp_of(claims), claims.generation, until, keys)

    async def _standing(self, known: _Verified) -> Standing:
        try:
            standing = await self._view.token(known.stamp, row=self._rows)
            if standing.state == "current":
                await self._keys.prove()
                await self._view.confirm(known.stamp.sid, known.generation)
            return standing
        except StoreUnavailable:
            if self._revocation != "available":
                raise
        if self._view.hits(known.stamp):
            return Standing("revoked")
        stamp = known.stamp
        self._audit.record(audit.TOKEN_UNCHECKED, stamp.user_id, sid=stamp.sid)
        return Standing("current")


def stamp_of(claims: Claims) -> Stamp:
    """What the view needs to know of a token."""
    return Stamp(claims.sid, claims.sub, claims.ver, *claims.history, claims.jti)


def _identity(claims: Claims, kid: str) -> Identity:
    scopes = claims.scopes
    return Identity(
        user=User(claims.sub, scopes=scopes, claims=claims.payload),
        backend="jwt",
        session_id=claims.sid,
        scopes=scopes,
        expires_at=claims.exp,
        authenticated_at=claims.auth_time,
        amr=claims.methods,
        acr=claims.acr or "",
        jkt=claims.jkt,
        kid=kid,
    )
