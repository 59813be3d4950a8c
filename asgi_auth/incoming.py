"""What came in: where a request is from and to, as far as its headers tell, and what follows for our cookies.

Each is worked out when it is first asked for, and most requests ask for nothing.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgi_auth.audit import RequestFacts
from asgi_auth.http import values
from asgi_auth.http.answers import Schemes
from asgi_auth.http.cookies import CookieSpec, SetCookie, keep_problem
from asgi_auth.http.credentials import is_dpop
from asgi_auth.http.forwarded import (
    Peer,
    address_prefix,
    client_address,
    kept_address,
    loopback_request,
    peer,
    route_path,
)
from asgi_auth.http.origin import ALLOWED, SAFE_METHODS, Verdict, cross_origin
from asgi_auth.model import Client
from asgi_auth.runtime import Runtime
from asgi_auth.settings import DEFAULT_ISSUER
from asgi_auth.tokens.dpop import ALGORITHMS, Target, target

if TYPE_CHECKING:
    from asgi_auth.sessions.cookies import Pair


class Incoming:
    """One request, as it came.

    Attributes:
        auth: the `Auth` that answers for it.
        scope: its ASGI scope.
    """

    auth: Runtime
    scope: MutableMapping[str, Any]

    @cached_property
    def peer(self) -> Peer:
        """Where the request came from and to, by what proxies may be believed."""
        return peer(
            self.scope.get("client"),
            self.scope.get("scheme"),
            self.scope["headers"],
            self.auth.settings.trusted_proxies,
        )

    @cached_property
    def loopback(self) -> bool:
        """Whether the browser speaks to its own machine."""
        return loopback_request(self.peer.host, self.scope["headers"])

    @cached_property
    def scheme(self) -> str:
        """`http` or `https`, as the browser sees it; `URL` decides alone."""
        url = self.auth.settings.url
        return self.peer.scheme if url is None else url.partition(":")[0]

    @cached_property
    def pair(self) -> Pair:
        """The cookies that are ours on this request."""
        cookies = self.auth.parts.cookies
        return cookies.plain if self._is_plain_http else cookies.secure

    @property
    def refresh_cookie(self) -> SetCookie | None:
        """The cookie of a refresh token on this request; None: there are none."""
        cookies = self.auth.parts.refresh_cookies
        return None if cookies is None else cookies.plain if self._is_plain_http else cookies.secure

    @property
    def _is_plain_http(self) -> bool:
        settings = self.auth.settings
        return self.scheme == "http" and (settings.url is not None or settings.insecure_http or self.loopback)

    @cached_property
    def origin(self) -> Verdict:
        """Whether another site's page may have sent this request, if a cookie carries it."""
        scope, settings = self.scope, self.auth.settings
        websocket = scope["type"] == "websocket"
        method = "GET" if websocket else scope.get("method", "GET")
        if method in SAFE_METHODS and not websocket:
            return ALLOWED
        return cross_origin(
            method,
            sites=values(scope["headers"], b"sec-fetch-site"),
            origins=values(scope["headers"], b"origin"),
            hosts=(self.peer.host,),
            trusted=settings.trusted_origins,
            own=settings.own_origins,
            websocket=websocket,
        )

    @cached_property
    def facts(self) -> RequestFacts:
        """What the log says of this request."""
        return RequestFacts.of(self.scope, address=self.kept_address, counted_by=self.address)

    @property
    def target(self) -> Target | None:
        """What the client asked for, as a proof of possession names it (RFC 9449 §4.3). None: nobody can say: by a
        `Host` that the client is free to choose, a proof made for another server would be one for us."""
        settings, scope = self.auth.settings, self.scope
        origin = settings.url
        if origin is None:
            if not (self.loopback or settings.trusted_proxies.trusts(client_address(scope.get("client")))):
                return None
            origin = f"{self.peer.scheme}://{self.peer.host.decode('latin-1')}"
        found = target(origin)
        path = (scope.get("root_path") or "").rstrip("/") + route_path(scope)
        return None if found is None else Target(found.origin, path or "/")

    @property
    def schemes(self) -> Schemes:
        """In which schemes a refusal of this request challenges."""
        if self.auth.problem is not None:
            return Schemes(DEFAULT_ISSUER)
        settings = self.auth.settings
        if not settings.takes_proofs:
            return Schemes(settings.realm)
        bearer, used = settings.dpop != "required", is_dpop(self.scope["headers"])
        return Schemes(settings.realm, bearer, ALGORITHMS, used)

    @property
    def client(self) -> Client:
        """What is kept of the device that a session begins on."""
        agent = next((value for name, value in self.scope["headers"] if name == b"user-agent"), b"")
        return Client(self.kept_address, agent[:256].decode("latin-1"))

    def cookie_problem(self, spec: CookieSpec | None = None) -> str | None:
        """Why the browser would drop this cookie, the session's if none is named, and the cure; None: it keeps it."""
        settings = self.auth.settings
        host = settings.host or self.peer.host
        return keep_problem(spec or self.pair.session.spec, scheme=self.scheme, host=host, loopback=self.loopback)

    @cached_property
    def address(self) -> str:
        """The client's address, cut to what counts as one client. Not to be written down."""
        return address_prefix(self.peer.address)

    @cached_property
    def kept_address(self) -> str:
        """What of the client's address may be written down."""
        return kept_address(self.peer.address, self.auth.settings.client_address)
