"""What a server does, in process: makes scopes as uvicorn makes them, calls an application, runs its lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Scope

Headers = Sequence[tuple[bytes, bytes]]

HOST = b"127.0.0.1:8000"

BROWSER: Headers = (
    (b"host", HOST),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"connection", b"keep-alive"),
    (b"referer", b"http://127.0.0.1:8000/start"),
    (b"upgrade-insecure-requests", b"1"),
    (b"sec-fetch-dest", b"document"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-site", b"same-origin"),
    (b"priority", b"u=0, i"),
)
"""The headers of a page's request."""


class Answer(NamedTuple):
    """What an application answered."""

    status: int
    headers: Headers
    body: bytes

    def cookie(self) -> bytes:
        """The first cookie that it sets, as a browser sends it back."""
        given = [value for name, value in self.headers if name.lower() == b"set-cookie"]
        if not given:
            raise RuntimeError(f"no cookie in {self}")
        return given[0].split(b";", 1)[0]


Call = Callable[[str, str, Headers, bytes], Awaitable[Answer]]
"""Sends one request to a contestant, in process or over HTTP: method, path, further headers, body."""


def scopes(more: Headers = (), *, method: str = "GET", path: str = "/") -> Callable[[], Scope]:
    """Makes the scope of one and the same request again and again, of new objects each time, as servers do: whoever
    looks up a header's bytes finds no hash that was reckoned before."""
    template = [(name.upper(), value + b" ") for name, value in (*BROWSER, *more)]
    raw_path = path.encode()

    def make() -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50123),
            "scheme": "http",
            "root_path": "",
            "headers": [(name.lower(), value[:-1]) for name, value in template],
            "state": {},
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": b"",
        }

    return make


class Served:
    """A request in a server's hands. As with uvicorn, `receive` and `send` are methods of an object that has the scope:
    who leaves them there makes a ring, which the garbage collector must find, in the time of whoever made it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.status = 0

    async def receive(self) -> Message:
        """The request has no body."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Costs next to nothing."""
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def serve(app: ASGIApp, scope: Scope) -> int:
    """Serve one request; the status of its answer."""
    served = Served(scope)
    await app(scope, served.receive, served.send)
    return served.status


def calls(app: ASGIApp) -> Call:
    """Call an application in process."""

    async def call(method: str, path: str, headers: Headers = (), body: bytes = b"") -> Answer:
        length = [(b"content-length", str(len(body)).encode())] if body else []
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scopes([*headers, *length], method=method, path=path)(), receive, send)
        return Answer(sent[0]["status"], list(sent[0]["headers"]), b"".join(part.get("body", b"") for part in sent[1:]))

    return call


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Run an application's lifespan around a block, as a server does: in a task of its own."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def run() -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await app(scope, to_app.get, from_app.put)
        except Exception as error:  # an application without a lifespan, or one whose start failed
            await from_app.put({"type": "raised", "error": error})

    task = asyncio.create_task(run())
    try:
        await to_app.put({"type": "lifespan.startup"})
        first = await from_app.get()
        if first["type"] == "lifespan.startup.failed":
            raise RuntimeError(first["message"])
        yield
        await to_app.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(task, 10)
    finally:
        task.cancel()
