"""The short way of a request: who it is, where that can be said at once, without waiting and without looking twice.

Whatever is unusual (a header that comes twice, a credential seen for the first time, a page elsewhere) goes the long
way, by `entrance`, which decides alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from asgi_auth.backends.jwt import JWTBackend
from asgi_auth.context import Context
from asgi_auth.entrance import PLACES, TOKENS_CARRY_NO_DATA, place_of
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
        self._recall = parts.session_backend.recall
        self._recall_asking = parts.session_backend.recall_asking
        self._tokens = parts.jwt_backend if "jwt" in settings.backends else None
        self._names = parts.cookies.names
        self._seen_names = parts.cookies.seen_names
        self._looked_at = _CREDENTIALS if settings.url is not None else _CREDENTIALS | PLACES
        self._anywhere = settings.url is not None
        """Whether the same cookies are ours wherever a request comes from."""

    def take(self, context: Context) -> bool:
        """Whether the request is decided: the context knows who it is, or that it is nobody."""
        looked_at, found = self._looked_at, None
        for name, value in context.scope["headers"]:
            if name in looked_at:
                if found is None:
                    found = {name: value}
                elif name in found:
                    return False
                else:
                    found[name] = value
        if found is None:
            return True
        if b"authorization" in found and self._tokens is not None:
            return self._by_token(context, self._tokens, found[b"authorization"])
        return b"cookie" not in found or not self._sessions or self._by_cookie(context, found)

    def _by_token(self, context: Context, tokens: JWTBackend, value: bytes) -> bool:
        if value[:7] != b"Bearer " or context.scope.get("method") == "OPTIONS":
            return False
        identity = tokens.recall(value[7:], self._clock())
        if identity is None:
            return False
        context.identity = identity
        context.forbidden = TOKENS_CARRY_NO_DATA
        return True

    def _by_cookie(self, context: Context, found: Mapping[bytes, bytes]) -> bool:
        cookie = found[b"cookie"]
        name, _, text = cookie.partition(b"=")
        seen = b""
        if b";" in text or name not in self._names:
            name, text, seen = self._find(cookie)
        if not text:
            return not name
        place = None if self._anywhere else place_of(context.scope.get("scheme"), found)
        known = self._recall(text, self._clock())
        if known is None:
            context.unproved = name, text, seen, place
            return False
        if known.name != name or known.place != place or context.scope.get("method") not in _READS:
            return False
        if seen and seen_version(seen, known.presented.sid) > known.data_version:
            return False
        context.become(known.identity, known.presented)
        return True

    async def ask(self, context: Context) -> bool:
        """The same for a cookie that was recognised before, where the store has to be asked.

        Raises:
            StoreUnavailable: it gives no answer.
        """
        if context.unproved is None or context.scope.get("method") not in _READS:
            return False
        name, text, seen, place = context.unproved
        known = await self._recall_asking(text, seen=seen)
        if known is None or known.name != name or known.place != place:
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
