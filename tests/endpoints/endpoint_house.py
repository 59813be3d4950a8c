"""A small application behind the middleware, and clients that ask it: what the tests of the endpoints stand on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import argon2.profiles
import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, Settings, require
from asgi_auth.directory import StoreDirectory
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store

PASSWORDS = {
    "alice": "a hole under the hedge",
    "bob": "bricks and more bricks",
    "ian": "a service that asks about tokens",
}
SCOPES = {"alice": "read", "bob": "read admin", "ian": "introspect"}

Headers = Sequence[tuple[str | bytes, str | bytes]]


def whoami(request: Request) -> Response:
    return JSONResponse(
        {
            "user": request.user.identity or None,
            "backend": request.auth.backend,
            "session": request.auth.session_id,
            "scopes": sorted(request.auth.scopes),
            "expires_at": request.auth.expires_at,
            "authenticated_at": request.auth.authenticated_at,
            "amr": list(request.auth.amr),
        }
    )


@require()
async def private(request: Request) -> Response:
    return JSONResponse({"user": request.user.id})


@require("admin")
async def admin(request: Request) -> Response:
    return JSONResponse({"user": request.user.id})


async def data(request: Request) -> Response:
    if request.method == "PUT":
        request.session[request.path_params["key"]] = await request.json()
        return Response(status_code=204)
    return JSONResponse(dict(request.session))


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": socket.user.identity or None})
    await socket.close()


def application() -> Starlette:
    return Starlette(
        routes=[
            Route("/whoami", whoami, methods=["GET", "POST"]),
            Route("/private", private, methods=["GET", "POST"]),
            Route("/admin", admin),
            Route("/data", data),
            Route("/data/{key}", data, methods=["PUT"]),
            WebSocketRoute("/ws", echo),
        ]
    )


@dataclass
class Reply:
    """What a server sent, to the byte."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    """One application, its `Auth`, and the clocks of both, which are one.

    `app` is what a server would run; `client` keeps cookies as a browser does, `stranger()` is another one; `base_url`
    is where they all think that it stands.
    """

    auth: Auth
    app: AuthMiddleware
    store: Store
    clock: Any
    client: httpx2.AsyncClient
    base_url: str = "http://testserver"
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    def stranger(self, *, address: str = "127.0.0.1", base_url: str | None = None) -> httpx2.AsyncClient:
        client = new_client(self.app, address=address, base_url=base_url or self.base_url)
        self.clients.append(client)
        return client

    async def login(self, name: str = "alice", *, client: httpx2.AsyncClient | None = None, **more: Any) -> Any:
        """Log in by cookie; the answer's JSON."""
        body = {"username": name, "password": PASSWORDS[name], **more}
        answer = await (client or self.client).post("/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tokens(self, name: str = "alice", *, client: httpx2.AsyncClient | None = None, **more: Any) -> Any:
        """Log in at the token endpoint; the answer's JSON."""
        form = {"grant_type": "password", "username": name, "password": PASSWORDS[name], **more}
        answer = await (client or self.stranger()).post("/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refresh(self, token: str, **more: Any) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token, **more}
        return await self.stranger().post("/auth/token", data=form)

    async def get(self, path: str, token: str) -> httpx2.Response:
        return await self.stranger().get(path, headers=bearer(token))

    async def raw(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        chunks: Sequence[bytes] | None = None,
        query: bytes = b"",
        host: str | None = "testserver",
        leaves: bool = False,
        **scope: Any,
    ) -> Reply:
        """Ask without a client's help: whatever bytes, in whatever order. `leaves`: goes away instead of a body."""
        return await ask(
            self.app,
            method,
            path,
            headers=[*([("host", host)] if host is not None else []), *headers],
            chunks=[body] if chunks is None else chunks,
            query=query,
            leaves=leaves,
            **{"scheme": self.base_url.partition(":")[0], **scope},
        )

    async def aclose(self) -> None:
        for client in [self.client, *self.clients]:
            await client.aclose()
        await self.auth.aclose()


async def ask(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Headers = (),
    chunks: Sequence[bytes] = (b"",),
    query: bytes = b"",
    leaves: bool = False,
    **more: Any,
) -> Reply:
    reply = Reply()
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages and not leaves:
        messages[-1]["more_body"] = False
    messages.reverse()

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not reply.status, "two answers"
            reply.status, reply.headers = message["status"], list(message["headers"])
        else:
            reply.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "root_path": "",
        "headers": [(_bytes(name).lower(), _bytes(value)) for name, value in headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "state": {},
        **more,
    }
    await app(scope, receive, send)
    return reply


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def new_client(
    app: Any, *, address: str = "127.0.0.1", base_url: str = "http://testserver", root_path: str = ""
) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(address, 50_000), root_path=root_path)
    return httpx2.AsyncClient(transport=transport, base_url=base_url)


def hasher(**options: Any) -> PasswordHasher:
    """Argon2 as cheap as it gets, since these tests are not about its cost."""
    return PasswordHasher(parameters=argon2.profiles.CHEAPEST, **options)


async def build(
    clock: Callable[[], float],
    *,
    store: Store | None = None,
    store_url: str = "memory://",
    app: Any = None,
    directory: Any = None,
    issuers: Any = None,
    users: bool = True,
    refusals: Any = "ours",
    base_url: str = "http://testserver",
    **settings: Any,
) -> House:
    store = store or open_store(store_url, timeout=5.0, clock=clock)
    directory = directory or StoreDirectory(store, hasher())
    auth = Auth(Settings(store=store_url, **settings), directory=directory, store=store, issuers=issuers, clock=clock)
    if users:
        for name, password in PASSWORDS.items():
            await auth.create_user(name, password, id=name, scopes=SCOPES[name], display_name=name.title())
    middleware = AuthMiddleware(app or application(), auth, refusals=refusals)
    return House(auth, middleware, store, clock, new_client(middleware, base_url=base_url), base_url)


def set_cookies(answer: httpx2.Response | Reply) -> list[str]:
    if isinstance(answer, Reply):
        return answer.all("set-cookie")
    return [value for name, value in answer.headers.multi_items() if name == "set-cookie"]


def cookie_header(client: httpx2.AsyncClient) -> str:
    """The Cookie header that this client would send."""
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)
