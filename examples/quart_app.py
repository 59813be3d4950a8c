"""asgi-auth with Quart: `uvicorn examples.quart_app:app`, from the project's root.

Every setting comes from the environment (`ASGI_AUTH_…`); nothing here speaks of cookies or tokens. Log in by
`POST /auth/login` or `POST /auth/token`: the middleware answers these by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

from quart import Quart, Response, abort, request, websocket
from quart.typing import ResponseReturnValue

from asgi_auth import Auth, AuthMiddleware, NoSessionData
from asgi_auth.integrations.quart import current_auth, current_session, current_user, login_required, requires
from examples.shared import PAGE_HEADERS, add_demo_users, bad_request, json_value, page_file

# `AuthMiddleware(app.asgi_app)` alone is enough. An `Auth` of one's own is for its verbs: here to add users.
auth = Auth()

app = Quart(__name__, static_folder=None)
app.asgi_app = AuthMiddleware(app.asgi_app, auth=auth)  # type: ignore[arg-type, assignment]


@app.before_serving
async def prepare() -> None:
    # The middleware is around this too, so the store is open by now.
    await add_demo_users(auth)


@app.get("/")
@app.get("/page/<name>")
async def page(name: str = "index.html") -> ResponseReturnValue:
    try:
        content, media_type = page_file(name)
    except FileNotFoundError:
        abort(404)
    return Response(content, content_type=media_type, headers=PAGE_HEADERS)


@app.get("/public")
async def public() -> ResponseReturnValue:
    # Nobody is a user too, with the id None: there is no case to distinguish.
    return {"user": current_user.id, "backend": current_auth.backend}


@app.get("/private")
@login_required
async def private() -> ResponseReturnValue:
    return {"user": current_user.id, "backend": current_auth.backend}


@app.get("/admin")
@requires("admin")
async def admin() -> ResponseReturnValue:
    return {"user": current_user.id, "backend": current_auth.backend}


@app.put("/data/<key>")
async def put_data(key: str) -> ResponseReturnValue:
    try:
        # Saved when the answer starts; a visitor gets a session with the first write.
        current_session[key] = json_value(await request.get_data())
    except (NoSessionData, ValueError) as error:  # a bearer token has no session data; or this is no JSON
        return bad_request(error), 400
    return "", 204


@app.get("/data")
async def get_data() -> ResponseReturnValue:
    return dict(current_session)


@app.get("/stream")
@login_required
async def stream() -> ResponseReturnValue:
    user_id = current_user.id  # the events are made outside the request's context

    async def events() -> AsyncIterator[str]:
        for number in itertools.count(1):
            yield f"data: {json.dumps({'user': user_id, 'number': number})}\n\n"
            await asyncio.sleep(0.1)

    response = Response(events(), content_type="text/event-stream")
    response.timeout = None  # else Quart ends it after a minute
    return response


@app.websocket("/ws")
@login_required
async def echo() -> None:
    await websocket.send_json({"user": current_user.id})
    while True:
        await websocket.send(await websocket.receive())
