"""A cookie of Starlette's `SessionMiddleware` in a request: what follows from its text, and how it is left behind.

A new session's id and secret follow from it, so requests that bring the same one at once, or again after a lost answer,
get the same session; that it was used is counted in the store, so it never begins another one.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from typing import NamedTuple

from asgi_auth.context import Context
from asgi_auth.durations import DAY
from asgi_auth.http.credentials import cookies
from asgi_auth.http.starlette_sessions import SignedSession, StarletteSessions
from asgi_auth.parts import Parts
from asgi_auth.stores import Limit

_FOR_EVER = 3650 * DAY


class OldSession(NamedTuple):
    """An old cookie that verifies: what it says, and what follows from its text.

    Attributes:
        user_id: whose it says to be.
        remembered: whether the browser kept it when it was closed.
        used: counts how often it came.
        key: what only we can make of it.
    """

    session: SignedSession
    user_id: str | None
    remembered: bool
    used: Limit
    key: bytes

    def sid(self, partition: str) -> str:
        """The public id of the new session."""
        return partition + self._derived(b"sid")[:22]

    @property
    def secret(self) -> str:
        """The secret of the new session."""
        return self._derived(b"secret")

    def _derived(self, what: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(self.key, what, "sha256")).decode("ascii").rstrip("=")


def old_session(context: Context, parts: Parts) -> OldSession | None:
    """The old session that a request brings, if there is one that verifies."""
    setting = parts.settings.starlette_sessions
    if setting is None:
        return None
    found = cookies(context.scope["headers"], {setting.name}).get(setting.name, [])
    session = setting.read(found[0], now=parts.clock()) if len(found) == 1 else None
    if session is None:
        return None
    key = hmac.digest(setting.secret_key.encode() + parts.ring.encode(), found[0], "sha256")
    name = f"moved:{hashlib.sha256(found[0]).hexdigest()}"
    used = Limit(name, 0, setting.max_age or _FOR_EVER, waits=(0.0, 0.0))
    return OldSession(session, _user_id(setting, session), setting.max_age is not None, used, key)


def _user_id(setting: StarletteSessions, session: SignedSession) -> str | None:
    value = None if setting.user_key is None else session.data.get(setting.user_key)
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def forget_cookie(context: Context) -> None:
    """The answer makes the browser forget the old cookie."""
    setting = context.auth.settings.starlette_sessions
    assert setting is not None
    context.carry(setting.clear())


async def leave_behind(context: Context) -> None:
    """Whoever logs in or out here has done with an old session: its cookie goes, and never begins one any more. What
    has begun by it ends, unless this request goes on with it; what another request is about to begin does not begin."""
    if context.auth.settings.starlette_sessions is None:
        return
    parts = await context.auth.opened()
    old = old_session(context, parts)
    if old is not None:
        await parts.store.hit([old.used])
        forget_cookie(context)
        sid = old.sid(parts.store.partition(old.user_id or old.used.key))
        if all(one is None or one.sid != sid for one in (context.presented, context.visitor)):
            await parts.store.supersede(sid)
            ended = await parts.store.end(sid, "replaced")
            await parts.endings.tell([ended], context.facts)
