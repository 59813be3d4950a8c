"""What the wire tests serve: the application of `seats`, configured by the environment. Answers name their process."""

from __future__ import annotations

import os
from typing import Any

from seats import bare_app, starlette_app

from asgi_auth import Auth, AuthMiddleware


def named(inner: Any) -> Any:
    pid = str(os.getpid()).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def with_pid(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-pid", pid)]}
            await send(message)

        await inner(scope, receive, with_pid)

    return app


auth = Auth()

starlette = starlette_app(auth)
starlette.add_middleware(AuthMiddleware, auth=auth)
app = named(starlette)

bare = AuthMiddleware(bare_app(auth), auth)


async def failing(scope: Any, receive: Any, send: Any) -> None:
    """An application whose start fails."""
    assert scope["type"] == "lifespan", "it was served"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the application has no database"})


once = AuthMiddleware(failing, auth)
twice = AuthMiddleware(AuthMiddleware(failing, auth), auth)
