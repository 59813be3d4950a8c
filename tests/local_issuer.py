"""Another issuer, as a real HTTP server of this machine: it publishes metadata and keys, signs tokens, and can be told
to misbehave."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from asgi_auth import Issuer
from asgi_auth.tokens.issuers.keyset import KeySet
from asgi_auth.tokens.jose import encode_base64url
from asgi_auth.tokens.keys import SigningKey, generate

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
JWKS = "/keys"

Answer = Callable[[BaseHTTPRequestHandler], None]


def new_key(algorithm: str = "ES256", **members: Any) -> SigningKey:
    return SigningKey.from_jwk({**generate(algorithm), **members})


def record(issuer: str, **members: Any) -> Issuer:
    return Issuer(**{"name": "idp", "issuer": issuer, "audience": "api", **members})


def kids(keys: KeySet | None) -> list[str]:
    assert keys is not None
    return sorted(keys.names)


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class LocalIssuer:
    """A server on a free port.

    Attributes:
        url: its `iss`, too.
        asked: how often each path was asked for.
        answers: what to do at a path instead.
        documents: what it publishes, by path.
        headers: of its answers, by path.
    """

    def __init__(
        self,
        *,
        path: str = "",
        certificate: tuple[Path, Path] | None = None,
        key: SigningKey | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self.clock = clock
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, Answer] = {}
        self.documents: dict[str, Any] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.key = key or new_key()
        self._certificate = certificate
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()
        scheme = "https" if certificate else "http"
        self.origin = f"{scheme}://127.0.0.1:{self._port}"
        self.url = self.origin + path
        self.documents[path.rstrip("/") + OIDC] = {"issuer": self.url, "jwks_uri": self.origin + JWKS}
        self.publish(self.key)

    def publish(self, *keys: SigningKey | dict[str, Any], **more: Any) -> None:
        """These are its keys now."""
        members = [dict(key.public or {}) if isinstance(key, SigningKey) else key for key in keys]
        self.documents[JWKS] = {"keys": members, **more}

    def token(self, *, key: SigningKey | None = None, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token with the claims of RFC 9068; None takes one away."""
        key, now = key or self.key, int(self.clock())
        good = {"iss": self.url, "sub": "42", "aud": "api", "exp": now + 600, "iat": now, "client_id": "cli"}
        header = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid, **(head or {})}
        parts = (
            json.dumps({name: value for name, value in one.items() if value is not None})
            for one in (header, {**good, "jti": "j", **claims})
        )
        signing_input = ".".join(encode_base64url(part.encode()) for part in parts)
        return f"{signing_input}.{encode_base64url(key.sign(signing_input.encode()))}"

    @property
    def fetches(self) -> int:
        return sum(self.asked.values())

    def start(self) -> None:
        """Listen, on the port that it had."""
        server = _Server(("127.0.0.1", self._port), _handler(self))
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be down: nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked has gone away, as it should with an answer that never ends."""


def _handler(issuer: LocalIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked[self.path] += 1
            answer = issuer.answers.get(self.path)
            if answer is not None:
                answer(self)
            elif self.path not in issuer.documents:
                respond(self, 404)
            else:
                document = issuer.documents[self.path]
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                respond(self, 200, body, **issuer.headers.get(self.path, {}))

        def log_message(self, *args: Any) -> None:
            """Nobody reads it."""

    return Handler


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def silent(until: threading.Event) -> Answer:
    """Says nothing until then."""
    return lambda handler: until.wait(30) and None
