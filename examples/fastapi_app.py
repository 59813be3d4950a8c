"""asgi-auth with FastAPI: `uvicorn examples.fastapi_app:app`, from the project's root.

Every setting comes from the environment (`ASGI_AUTH_…`); nothing here speaks of cookies or tokens. Log in by
`POST /auth/login` or `POST /auth/token`, which the middleware answers by itself, or by "Authorize" at /docs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from asgi_auth import Auth, AuthMiddleware, NoSessionData, User
from asgi_auth.integrations.fastapi import CurrentUser, OptionalUser, Requires, document
from examples.shared import PAGE_HEADERS, add_demo_users, bad_request, json_value, page_file

# `app.add_middleware(AuthMiddleware)` alone is enough. An `Auth` of one's own is for its verbs: here to add users.
auth = Auth()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The middleware is around this too, so the store is open by now.
    await add_demo_users(auth)
    yield


app = FastAPI(title="asgi-auth with FastAPI", lifespan=lifespan)
app.add_middleware(AuthMiddleware, auth=auth)
document(app)  # 401 and 403 in the schema


@app.get("/", include_in_schema=False)
@app.get("/page/{name}", include_in_schema=False)
async def page(name: str = "index.html") -> Response:
    try:
        content, media_type = page_file(name)
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(content, media_type=media_type, headers=PAGE_HEADERS)


@app.get("/public")
async def public(request: Request, user: OptionalUser) -> dict[str, str | None]:
    return {"user": user.id if user else None, "backend": request.auth.backend}


@app.get("/private")
async def private(request: Request, user: CurrentUser) -> dict[str, str | None]:
    return {"user": user.id, "backend": request.auth.backend}


@app.get("/admin")
async def admin(request: Request, user: Annotated[User, Requires("admin")]) -> dict[str, str | None]:
    return {"user": user.id, "backend": request.auth.backend}


# The body is read by hand, since as a parameter FastAPI takes the JSON value `null` for a body that is missing.
ANY_JSON = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}


@app.put(
    "/data/{key}",
    status_code=204,
    response_class=Response,
    responses={400: {"description": "No JSON, or no session to write to"}},
    openapi_extra=ANY_JSON,
)
async def put_data(key: str, request: Request) -> Response:
    try:
        # Saved when the answer starts; a visitor gets a session with the first write.
        request.session[key] = json_value(await request.body())
    except (NoSessionData, ValueError) as error:  # a bearer token has no session data; or this is no JSON
        return JSONResponse(bad_request(error), 400)
    return Response(status_code=204)


@app.get("/data")
async def get_data(request: Request) -> dict[str, Any]:
    return dict(request.session)


@app.get("/stream", response_class=StreamingResponse)
async def stream(user: CurrentUser) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        for number in itertools.count(1):
            yield f"data: {json.dumps({'user': user.id, 'number': number})}\n\n"
            await anyio.sleep(0.1)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(websocket: WebSocket, user: CurrentUser) -> None:
    await websocket.accept()
    await websocket.send_json({"user": user.id})
    async for text in websocket.iter_text():
        await websocket.send_text(text)
