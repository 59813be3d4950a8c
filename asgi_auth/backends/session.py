"""SessionBackend: a session cookie's text becomes an identity. Knows no token."""

from __future__ import annotations

import hmac

from asgi_auth.model import Identity, Rejected, UserRow
from asgi_auth.sessions.codec import CookieCodec
from asgi_auth.stores import Ended, Loaded, Presented
from asgi_auth.view import View

_FORGED = Rejected(clear=True, forged=True)
_FOREIGN = Rejected()

_REPLACED = ("replaced", "logout")


class SessionBackend:
    """Asks the view for the session that a cookie names, and compares the secret."""

    def __init__(self, codec: CookieCodec, view: View) -> None:
        self._codec = codec
        self._view = view

    async def identify(self, credential: bytes) -> Identity | Rejected:
        """Who this cookie's text speaks for."""
        presented = self._codec.decode(credential)
        if presented == "foreign":
            return _FOREIGN
        if isinstance(presented, str):
            return _FORGED
        found = await self._view.session(presented.sid)
        if isinstance(found, Loaded):
            return self._identity(presented, found)
        return Rejected(
            cause=None if found is None else found.reason,
            clear=_clears(found),
            session_id=presented.sid,
            user_id=None if found is None else found.user_id,
        )

    async def outlived(self, sid: str) -> bool:
        """Whether a dead cookie of this session may be cleared now, which is no longer so once a login, a logout or a
        rotation has put another one in its place."""
        found = await self._view.session(sid)
        return not isinstance(found, Loaded) and _clears(found)

    def _identity(self, presented: Presented, loaded: Loaded) -> Identity | Rejected:
        record, row = loaded.record, loaded.user
        current = hmac.compare_digest(presented.digest, record.digest)
        previous = hmac.compare_digest(presented.digest, record.previous_digest) and loaded.now < record.previous_until
        if row is None or record.backend != "session" or not (current or previous):
            # The session lives under another secret, which the browser has or is about to get.
            return Rejected(cause="replaced", session_id=presented.sid)
        return session_identity(loaded, row)


def session_identity(loaded: Loaded, row: UserRow) -> Identity:
    """The identity of a living session that a cookie names, with what its user may do."""
    record, user = loaded.record, row.user()
    return Identity(
        user=user,
        backend="session",
        session_id=record.sid,
        scopes=user.scopes,
        expires_at=min(record.idle_expires_at, record.expires_at),
        authenticated_at=record.authenticated_at,
        amr=tuple(record.amr),
        row=row,
        now=loaded.now,
        record=record,
    )


def _clears(found: Ended | None) -> bool:
    return found is None or found.reason not in _REPLACED
