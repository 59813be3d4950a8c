"""Our lifespan around the application's: the store opens before its startup and closes before its last word goes on.

Servers must send one; where none comes, the first request opens the store.
"""

from __future__ import annotations

import logging

from anyio import CancelScope, get_cancelled_exc_class
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_auth.auth import Auth
from asgi_auth.context import KEY
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.loops import beside
from asgi_auth.readers import without_password

log = logging.getLogger("asgi_auth")


async def run_lifespan(auth: Auth, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application's lifespan with ours around it.

    A wrong configuration is answered with `lifespan.startup.failed`, and the application never starts; a store that is
    merely silent does not stop the start. An application without a lifespan (it raises or returns before it answered)
    has ours.

    Raises:
        ConfigurationError: after the answer.
    """
    if scope.get(KEY) is auth:
        await app(scope, receive, send)
        return
    first = await receive()
    try:
        await auth.opened()
    except ConfigurationError as error:
        log.error("%s", error)
        await auth.aclose()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise  # as Starlette does it: its test client would go on else
    except StoreUnavailable as error:
        log.warning(
            "the store %s (ASGI_AUTH_STORE) gives no answer yet, so requests get 503 until it does: %s",
            without_password(auth.settings.store),
            error,
        )
    except BaseException:
        await auth.aclose()
        raise
    await _Lifespan(auth, app, first, receive, send).run({**scope, KEY: auth})


class _Lifespan:
    def __init__(self, auth: Auth, app: ASGIApp, first: Message, receive: Receive, send: Send) -> None:
        self._auth = auth
        self._app = app
        self._first: Message | None = first
        self._receive = receive
        self._send = send
        self._started = False
        self._last_word: Message | None = None

    async def run(self, scope: Scope) -> None:
        problem: BaseException | None = None
        try:
            async with beside() as group:
                group.start_soon(self._auth.follow)
                await self._run(scope)
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            problem = error
        finally:
            with CancelScope(shield=True):
                await self._auth.aclose()
        # The last thing that we await: some servers go on, or cancel us, as soon as they have it.
        if self._last_word is not None:
            await self._send(self._last_word)
        if problem is not None:
            raise problem

    async def _run(self, scope: Scope) -> None:
        """The application's lifespan, up to its last word; ours, if it has none."""
        try:
            await self._app(scope, self._to_app, self._from_app)
        except Exception:
            if self._started or self._last_word is not None:
                raise
        if not self._started and self._last_word is None:
            await self._send({"type": "lifespan.startup.complete"})
            await self._receive()
            self._last_word = {"type": "lifespan.shutdown.complete"}

    async def _to_app(self) -> Message:
        if self._first is not None:
            message, self._first = self._first, None
            return message
        return await self._receive()

    async def _from_app(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._started = True
            await self._send(message)
        else:
            self._last_word = message
