"""The application that everything is measured around: it sends a start and a body, and looks at nothing.

Besides, under paths of their own, it does what a run needs before it measures.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from benchmarks.world import PASSWORD, USER

DATA = {"cart": "3 items", "theme": "dark", "language": "en"}
"""What a session holds."""


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with two bytes. `/who`: with what the scope says; `/fill`: after `DATA` is in the session; `/user`: after
    there is a user."""
    if scope["path"] != "/":
        await _prepare(scope, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), _LENGTH]})
    await send({"type": "http.response.body", "body": b"ok"})


_LENGTH = (b"content-length", b"2")


async def _prepare(scope: Scope, send: Send) -> None:
    path = scope["path"]
    if path == "/fill":
        scope["session"].update(DATA)
    elif path == "/user":
        await _make_user(scope)
    body = json.dumps(who(scope)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def who(scope: Any) -> dict[str, Any]:
    """The user's name that the scope has, or None, and what is in the session."""
    user = scope.get("user")
    name = user.display_name if user is not None and user.is_authenticated else None
    session = scope.get("session") or {}
    return {"user": name, "session": {key: session.get(key) for key in DATA}}


async def _make_user(scope: Scope) -> None:
    from asgi_auth import Auth
    from asgi_auth.errors import NameTaken

    with suppress(NameTaken):  # by another process of the run
        await Auth.of(scope).create_user(USER, PASSWORD, scopes="read", check=False)
