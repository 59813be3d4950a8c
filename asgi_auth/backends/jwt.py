"""JWTBackend: a bearer token becomes an identity. Knows no cookie and no session data."""

from __future__ import annotations

from asgi_auth.clock import Clock
from asgi_auth.errors import InvalidToken
from asgi_auth.model import Identity, Rejected, User, scope_tokens
from asgi_auth.tokens.access import AccessTokens
from asgi_auth.tokens.keyring import KeyRing
from asgi_auth.view import View


class JWTBackend:
    """Verifies an access token by itself, then asks the view whether it still stands."""

    def __init__(self, tokens: AccessTokens, keys: KeyRing, view: View, *, clock: Clock) -> None:
        self._tokens = tokens
        self._keys = keys
        self._view = view
        self._clock = clock

    async def identify(self, credential: bytes) -> Identity | Rejected:
        """Who this token speaks for."""
        await self._keys.learn(self._tokens.kid_of(credential))
        try:
            claims = self._tokens.verify(credential, self._keys.find, now=self._clock())
        except InvalidToken as refusal:
            return Rejected(error=refusal.description, forged=refusal.description != InvalidToken.EXPIRED)
        standing = await self._view.token(
            sid=claims.sid, user_id=claims.sub, revision=claims.ver, generation=claims.generation
        )
        if standing.state != "current":
            told = InvalidToken.OUT_OF_DATE if standing.state == "out_of_date" else InvalidToken.REVOKED
            return Rejected(error=told, session_id=claims.sid, user_id=claims.sub)
        scopes = scope_tokens(claims.scope)
        return Identity(
            user=User(claims.sub, scopes=scopes, claims=claims.payload),
            backend="jwt",
            session_id=claims.sid,
            scopes=scopes,
            expires_at=claims.exp,
            authenticated_at=claims.auth_time,
            amr=tuple(claims.amr),
            row=standing.user,
            now=standing.now,
        )
