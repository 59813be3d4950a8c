"""An application that logs its one user in without a password, so that a thousand logins take a second."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from benchmarks.bare import bare
from benchmarks.driving import Call, Headers
from benchmarks.world import USER


async def entering(scope: Scope, receive: Receive, send: Send) -> None:
    """`/enter`: a session by cookie, its id in the body. `/issue`: an access token in the body. Else the bare one."""
    if scope["path"] == "/":
        await bare(scope, receive, send)
        return
    from asgi_auth import Auth, User

    auth = Auth.of(scope)
    if scope["path"] == "/enter":
        body = (await auth.login(scope, User(id=USER))).id
    else:
        body = (await auth.issue(User(id=USER))).access_token
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


async def by_cookie(call: Call) -> tuple[str, Headers]:
    """A new session: its id, and the header that carries its cookie."""
    answer = await call("GET", "/enter", (), b"")
    return answer.body.decode(), ((b"cookie", answer.cookie()),)


async def by_token(call: Call) -> Headers:
    """The header that carries a new session's access token."""
    answer = await call("GET", "/issue", (), b"")
    return ((b"authorization", b"Bearer " + answer.body),)
