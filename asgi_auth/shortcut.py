"""The short way of a request: who it is, where that can be said at once, without waiting and without looking twice.

Whatever is unusual (a header that comes twice, a credential seen for the first time, a page elsewhere) goes the long
way, by `entrance`, which decides alike.
"""

from __future__ import annotations

from asgi_auth.backends.jwt import JWTBackend
from asgi_auth.backends.session import Recognised
from asgi_auth.context import Context
from asgi_auth.entrance import TOKENS_CARRY_NO_DATA, place
from asgi_auth.parts import Parts
from asgi_auth.sessions.seen import seen_version

_CREDENTIALS = frozenset((b"authorization", b"cookie"))
_READS = frozenset(("GET", "HEAD"))


class Shortcut:
    """What the settings decide of it, decided once."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self.parts = parts
        self._clock = parts.view.clock
        self._sessions = "session" in settings.backends
        self._backend = parts.session_backend
        self._tokens = parts.jwt_backend if "jwt" in settings.backends else None
        self._names = parts.cookies.names
        self._seen_names = parts.cookies.seen_names
        self._anywhere = settings.url is not None
        """Whether the same cookies are ours wherever a request comes from."""

    def take(self, context: Context) -> bool:
        """Whether the request is decided: the context knows who it is, or that it is nobody."""
        cookie = bearer = None
        for name, value in context.scope["headers"]:
            if name in _CREDENTIALS:
                if name == b"cookie":
                    if cookie is not None:
                        return False
                    cookie = value
                elif bearer is not None:
                    return False
                else:
                    bearer = value
        if bearer is not None and self._tokens is not None:
            return self._by_token(context, self._tokens, bearer)
        return cookie is None or not self._sessions or self._by_cookie(context, cookie)

    def _by_token(self, context: Context, tokens: JWTBackend, value: bytes) -> bool:
        if value[:7] != b"Bearer " or context.scope.get("method") == "OPTIONS":
            return False
        identity = tokens.recall(value[7:], self._clock())
        if identity is None:
            return False
        context.identity = identity
        context.forbidden = TOKENS_CARRY_NO_DATA
        return True

    def _by_cookie(self, context: Context, cookie: bytes) -> bool:
        name, _, text = cookie.partition(b"=")
        seen = b""
        if b";" in text or name not in self._names:
            name, text, seen = self._find(cookie)
        if not text:
            return not name
        known = self._backend.recall(text, self._clock())
        if known is None:
            context.unproved = name, text, seen
            return False
        if seen and seen_version(seen, known.presented.sid) > known.data_version:
            return False
        return self._become(context, known, name)

    async def ask(self, context: Context) -> bool:
        """The same for a cookie that was recognised before, where the store has to be asked.

        Raises:
            StoreUnavailable: it gives no answer.
        """
        if context.unproved is None:
            return False
        name, text, seen = context.unproved
        known = await self._backend.recall_asking(text, seen=seen)
        return known is not None and self._become(context, known, name)

    def _become(self, context: Context, known: Recognised, name: bytes) -> bool:
        if known.name != name or context.scope.get("method") not in _READS:
            return False
        if not self._anywhere and known.place != place(context.scope):
            return False
        context.become(known.identity, known.presented)
        return True

    def _find(self, cookie: bytes) -> tuple[bytes, bytes, bytes]:
        """Name and value of the one cookie of ours among others, and the text of `<cookie>-seen`. A name without a
        value: what came is not for here. Nothing: none came."""
        name = text = seen = b""
        for part in cookie.split(b";"):
            key, _, value = part.partition(b"=")
            key = key.strip(b" \t")
            if key in self._names:
                if name:
                    return name, b"", b""
                name, text = key, value.strip(b" \t")
            elif key in self._seen_names:
                seen = value
        return name, text, seen
