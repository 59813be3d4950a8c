"""SessionBackend: a session cookie's text becomes an identity. Knows no token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Literal

from asgi_auth.identity import Identity, Rejected
from asgi_auth.model import Record, UserRow
from asgi_auth.recent import Recent
from asgi_auth.sessions.codec import CookieCodec
from asgi_auth.sessions.seen import seen_version
from asgi_auth.stores import Ended, Loaded, Presented
from asgi_auth.view import Held, View

_FORGED = Rejected(clear=True, forged=True)
_FOREIGN = Rejected()

_REPLACED = ("replaced", "logout")


REMEMBERED = 50_000
REMEMBERED_SIZE = 64 * 2**20

_IDENTITY_SIZE = 1000
_PRESENTED_SIZE = 400
_TOLD_SIZE = 150


NOTES = 10
"""As often it is noted that a session is in use, until that is written down."""


@dataclass(slots=True, eq=False)
class Recognised:
    """A cookie whose secret was found right, good for as long as the view holds the session (None: it does not), and
    until `until`. `place`: where it is ours, as whoever had it remembered said. `note_at`: when it is worth noting
    again that the session is in use."""

    identity: Identity
    presented: Presented
    record: Record
    held: Held | None
    until: float
    place: object
    note_at: float


class SessionBackend:
    """Asks the view for the session that a cookie names, and compares the secret."""

    def __init__(self, codec: CookieCodec, view: View) -> None:
        self._codec = codec
        self._view = view
        self.known: Recent[Recognised] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_IDENTITY_SIZE)
        self._opened: Recent[Presented] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_PRESENTED_SIZE)
        self._told: Recent[bool] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_TOLD_SIZE)

    async def ask(self, known: Recognised, *, seen: bytes) -> bool:
        """Whether the session of a recognised cookie is still what it was. `seen`: as in `identify`.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        sid = known.presented.sid
        found = await self._view.session(sid, version=seen_version(seen, sid))
        if not isinstance(found, Loaded):
            return False
        record, row = known.record, known.identity.row
        return (found.record is record or found.record == record) and (found.user is row or found.user == row)

    def remember(
        self, cookie: bytes, identity: Identity, presented: Presented, *, seconds: float, place: object
    ) -> None:
        """Recognise this cookie, `<name>=<text>`, without a second look for so long, as long as its session stays the
        same."""
        held, record = self._view.held(presented.sid), identity.record
        if held is not None and held.loaded.record is not record:
            held = None
        # The secret of before is good for moments, by the store's clock.
        if seconds > 0 and record is not None and hmac.compare_digest(presented.digest, record.digest):
            now = self._view.clock()
            known = Recognised(identity, presented, record, held, now + seconds, place, now + seconds / NOTES)
            self.known.put(cookie, known)

    async def identify(self, credential: bytes, *, seen: bytes = b"") -> Identity | Rejected:
        """Who this cookie's text speaks for. `seen`: the text of `<cookie>-seen`, if it came."""
        presented = self.read(credential)
        if presented == "foreign":
            return _FOREIGN
        if isinstance(presented, str):
            return _FORGED
        found = await self._view.session(presented.sid, version=seen_version(seen, presented.sid))
        if isinstance(found, Loaded):
            answer = self._identity(presented, found)
            if isinstance(answer, Identity):
                self._opened.put(credential, presented)
            return answer
        return Rejected(
            cause=None if found is None else found.reason,
            clear=_clears(found),
            session_id=presented.sid,
            user_id=None if found is None else found.user_id,
        )

    def read(self, credential: bytes) -> Presented | Literal["foreign", "forged"]:
        """Whose secret a cookie's text is. The signature is checked once for each that opened something."""
        return self._opened.get(credential) or self._codec.decode(credential)

    async def outlived(self, sid: str) -> bool:
        """Whether a dead cookie of this session may be cleared now, which is no longer so once a login, a logout or a
        rotation has put another one in its place. Only the store knows that for sure, whatever is known here.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        found = await self._view.asked(sid)
        self._told.put(sid.encode("ascii"), True)
        return not isinstance(found, Loaded) and _clears(found)

    def was_told(self, sid: str) -> bool:
        """Whether it was asked before if the dead cookie of this session may be cleared. Who still sends it keeps no
        cookies, and would have the store asked with each request."""
        return self._told.get(sid.encode("ascii")) is not None

    def _identity(self, presented: Presented, loaded: Loaded) -> Identity | Rejected:
        record, row = loaded.record, loaded.user
        current = hmac.compare_digest(presented.digest, record.digest)
        previous = hmac.compare_digest(presented.digest, record.previous_digest) and loaded.now < record.previous_until
        if row is None or record.backend != "session" or not (current or previous):
            # The session lives under another secret, which the browser has or is about to get.
            return Rejected(cause="replaced", session_id=presented.sid)
        return session_identity(loaded, row, at=self._view.clock())


def session_identity(loaded: Loaded, row: UserRow, *, at: float) -> Identity:
    """The identity of a living session that a cookie names, with what its user may do. `at`: the steady clock now."""
    record, user = loaded.record, row.user()
    return Identity(
        user=user,
        backend="session",
        session_id=record.sid,
        scopes=user.scopes,
        expires_at=min(record.idle_expires_at, record.expires_at),
        authenticated_at=record.authenticated_at,
        amr=record.amr,
        acr=record.acr,
        row=row,
        now=loaded.now,
        at=at,
        record=record,
    )


def _clears(found: Ended | None) -> bool:
    return found is None or found.reason not in _REPLACED
