"""The short way of a request: who it is, where that can be said at once, without waiting and without looking twice.

Whatever is unusual (a header that comes twice, a credential seen for the first time, a page elsewhere) goes the long
way, by `entrance`, which decides alike.
"""

from __future__ import annotations

from asgi_auth.backends.session import NOTES, Recognised
from asgi_auth.context import Context
from asgi_auth.entrance import TOKENS_CARRY_NO_DATA, is_passive
from asgi_auth.http.asking import is_navigation, place_of
from asgi_auth.http.credentials import MOST
from asgi_auth.http.forwarded import route_path
from asgi_auth.parts import Parts
from asgi_auth.sessions.seen import seen_version

_READS = frozenset(("GET", "HEAD"))


class Shortcut:
    """What the settings decide of it, decided once."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._tokens = parts.jwt_backend if "jwt" in settings.backends else None
        self._issuers = parts.issuer_backend
        self._sessions = "session" in settings.backends
        self._recognised = parts.session_backend.known.get
        self._ask = parts.session_backend.ask
        self._names = parts.cookies.names
        self._others = parts.cookies.seen_names
        old = settings.starlette_sessions
        self._old_name = None if old is None else old.name
        if self._old_name is not None:
            self._others |= {self._old_name}
        self._anywhere = settings.url is not None
        """Whether the same cookies are ours wherever a request comes from."""
        self._clock = parts.view.clock
        self._activity = parts.activity
        self._warm = parts.view.warm

    def take(self, context: Context, cookie: bytes | None, token: bytes | None) -> bool:
        """Whether the request is decided: the context knows who it is, or that it is nobody.

        Args:
            cookie, token: the headers `Cookie` and `Authorization`, each of which came once or not at all.
        """
        scope = context.scope
        if token is not None and self._tokens is not None:
            identity = None if scope.get("method") == "OPTIONS" else self._tokens.recall(token)
            if identity is None and self._issuers is not None and scope.get("method") != "OPTIONS":
                identity = self._issuers.recall(token)
            if identity is None:
                return False
            context.identity = identity
            context.forbidden = TOKENS_CARRY_NO_DATA
            return True
        if cookie is None or not self._sessions:
            return True
        recognised, seen = self._recognised, b""
        known = recognised(cookie)
        if known is None:
            cookie, seen = self._find(cookie)
            if not cookie:
                return cookie is not None
            known = recognised(cookie)
        if known is None or scope.get("method") not in _READS:
            return False
        if not self._anywhere and place_of(scope) != known.place:
            return False
        clock, held = self._clock, known.held
        now = clock()
        if now >= known.until:
            return False
        if held is None or not self._warm(held, now):
            context.unproved = known, seen
            return False
        if seen and seen_version(seen, known.presented.sid) > known.record.data_version:
            return False
        context.identity = known.identity
        context.presented = known.presented
        context.stored = known.record.data
        if now >= known.note_at:
            self._note(context, known, now)
        return True

    async def ask(self, context: Context) -> bool:
        """The same for a cookie that was recognised, where the store has to be asked.

        Raises:
            StoreUnavailable: it gives no answer.
        """
        if context.unproved is None:
            return False
        known, seen = context.unproved
        if not await self._ask(known, seen=seen):
            return False
        context.become(known.identity, known.presented)
        now = self._clock()
        if known.note_at <= now < known.until:
            self._note(context, known, now)
        return True

    def _note(self, context: Context, known: Recognised, now: float) -> None:
        """A person is there, which will be written down when it is time."""
        if not is_passive(context, route_path(context.scope)):
            known.note_at = now + (known.until - now) / NOTES
            self._activity.note(known.presented.sid, known.until - now)

    def _find(self, header: bytes) -> tuple[bytes | None, bytes]:
        """The one cookie of ours among others, `<name>=<text>`, and the text of `<cookie>-seen`. None: what came is not
        for here, or too large to look at. Nothing: none came."""
        if len(header) > MOST:
            return None, b""
        found = seen = b""
        moves = False
        for part in header.split(b";"):
            key, _, value = part.partition(b"=")
            key = key.strip(b" \t")
            if key in self._names:
                value = value.strip(b" \t")
                if found or not value:
                    return None, b""
                found = key + b"=" + value
            elif key in self._others:
                if key == self._old_name:
                    moves = True
                else:
                    seen = value
        return (None, b"") if moves and not found else (found, seen)


class RotatingShortcut(Shortcut):
    """For sessions whose secret has an age: who navigates goes the long way, on which it may get a new one."""

    def take(self, context: Context, cookie: bytes | None, token: bytes | None) -> bool:
        if cookie is not None and is_navigation(context.scope):
            return False
        return super().take(context, cookie, token)
