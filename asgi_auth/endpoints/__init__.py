"""The endpoints under `PREFIX` and the `.well-known` documents: which paths are ours, and who answers.

A handler gets a `Call` and gives back an `Answer`, or raises a `CredentialError`; it sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from asgi_auth.endpoints import discovery, login, sessions, token, tokens_told
from asgi_auth.endpoints.call import Call
from asgi_auth.entrance import enter
from asgi_auth.errors import MethodNotAllowed, NoSession
from asgi_auth.http import values
from asgi_auth.http.answers import Answer, preflight
from asgi_auth.http.credentials import has_preflight, refuse_oversized
from asgi_auth.settings import Settings

Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands at a path.

    Attributes:
        handlers: by method.
        open: whatever credentials come along are never a reason to refuse, and never an identity.
        sessionless: whether it is there for a token of another issuer, too, which has no session here.
    """

    handlers: Mapping[str, Handler]
    open: bool = False
    sessionless: bool = False

    @property
    def allow(self) -> str:
        """The methods, for `Allow` (RFC 9110 §10.2.1)."""
        return ", ".join([*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])])

    async def __call__(self, call: Call) -> Answer:
        scope = call.context.scope
        method = scope.get("method", "GET")
        if has_preflight(method, scope["headers"]):
            origins = values(scope["headers"], b"origin")
            trusted = call.settings.trusted_origins
            return preflight(origins[0] if len(origins) == 1 else None, trusted, allow=self.allow)
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise MethodNotAllowed(allow=self.allow)
        if self.open:
            refuse_oversized(scope["headers"])
        else:
            await enter(call.context, path="", active=False)
            identity = call.context.identity
            if identity is not None and not identity.session_id and not self.sessionless:
                raise NoSession
        return await handler(call)


class Endpoints:
    """All paths of ours, by one configuration."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.prefix
        self._under: dict[str, Endpoint] = {}
        self._at_root: dict[str, Endpoint] = {}
        if not settings.prefix:
            return
        self._under = {
            "/login": Endpoint({"POST": login.login}, open=True),
            "/logout": Endpoint({"POST": login.logout}),
            "/password": Endpoint({"POST": login.password}),
            "/token": Endpoint({"POST": token.token}, open=True),
            "/revoke": Endpoint({"POST": tokens_told.revoke}, open=True),
            "/introspect": Endpoint({"POST": tokens_told.introspect}),
            "/me": Endpoint({"GET": sessions.me}, sessionless=True),
            "/sessions": Endpoint({"GET": sessions.listed, "DELETE": sessions.end_others}),
        }
        self._one_session = Endpoint({"DELETE": sessions.end_one})
        metadata = "/.well-known/oauth-authorization-server"
        self._at_root = {
            "/.well-known/jwks.json": Endpoint({"GET": discovery.jwks}, open=True),
            # RFC 8414 §3.1: the issuer's path, if it has one, stands after the well-known part.
            metadata + urlsplit(settings.issuer).path.rstrip("/") if "://" in settings.issuer else metadata: Endpoint(
                {"GET": discovery.metadata}, open=True
            ),
        }

    @property
    def paths(self) -> list[str]:
        """Where something of ours answers, for people."""
        under = [self._prefix + path for path in [*self._under, *(["/sessions/{id}"] if self._under else [])]]
        return [*under, *self._at_root]

    def find(self, scope: MutableMapping[str, Any], path: str) -> Endpoint | None:
        """What answers here, or None: the path is the application's. `path`: less `root_path`."""
        if self._prefix and path.startswith(self._prefix + "/"):
            rest = path[len(self._prefix) :]
            found = self._under.get(rest)
            if found is None and rest.startswith("/sessions/") and rest.count("/") == 2 and len(rest) > 10:
                return self._one_session
            return found
        if path.startswith("/.well-known/"):
            root = scope.get("root_path") or ""
            # Only at the root of the host: a mounted or prefixed application has none.
            return None if root.strip("/") else self._at_root.get(path)
        return None
