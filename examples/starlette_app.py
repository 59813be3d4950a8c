"""asgi-auth with Starlette: `uvicorn examples.starlette_app:app`, from the project's root.

Every setting comes from the environment (`ASGI_AUTH_…`); nothing here speaks of cookies or tokens. Log in by
`POST /auth/login` or `POST /auth/token`: the middleware answers these by itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, NoSessionData, require
from examples.shared import PAGE_HEADERS, add_demo_users, bad_request, json_value, page_file

# `Middleware(AuthMiddleware)` alone is enough. An `Auth` of one's own is for its verbs: here to add users.
auth = Auth()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    # The middleware is around this too, so the store is open by now.
    await add_demo_users(auth)
    yield


async def page(request: Request) -> Response:
    try:
        content, media_type = page_file(request.path_params.get("name", "index.html"))
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(content, media_type=media_type, headers=PAGE_HEADERS)


async def public(request: Request) -> Response:
    # Nobody is a user too, with the id None: there is no case to distinguish.
    return JSONResponse({"user": request.user.id, "backend": request.auth.backend})


@require()
async def private(request: Request) -> Response:
    return JSONResponse({"user": request.user.id, "backend": request.auth.backend})


@require("admin")
async def admin(request: Request) -> Response:
    return JSONResponse({"user": request.user.id, "backend": request.auth.backend})


async def put_data(request: Request) -> Response:
    try:
        # Saved when the answer starts; a visitor gets a session with the first write.
        request.session[request.path_params["key"]] = json_value(await request.body())
    except (NoSessionData, ValueError) as error:  # a bearer token has no session data; or this is no JSON
        return JSONResponse(bad_request(error), 400)
    return Response(status_code=204)


async def get_data(request: Request) -> Response:
    return JSONResponse(dict(request.session))


@require()
async def stream(request: Request) -> Response:
    async def events() -> AsyncIterator[str]:
        for number in itertools.count(1):
            yield f"data: {json.dumps({'user': request.user.id, 'number': number})}\n\n"
            await anyio.sleep(0.1)

    return StreamingResponse(events(), media_type="text/event-stream")


@require()
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"user": websocket.user.id})
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[
        Route("/", page),
        Route("/page/{name}", page),
        Route("/public", public),
        Route("/private", private),
        Route("/admin", admin),
        Route("/data/{key}", put_data, methods=["PUT"]),
        Route("/data", get_data),
        Route("/stream", stream),
        WebSocketRoute("/ws", echo),
    ],
    middleware=[Middleware(AuthMiddleware, auth=auth)],
    lifespan=lifespan,
)
