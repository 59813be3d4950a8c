"""`ClientAuth`: a request's way from the client's side. Decides what is sent, and what is sent again.

No lock is held while a request is under way: what is exchanged at the token endpoint is a matter of its own, in a
worker thread where an event loop runs, and is brought to its end and kept even if whoever began it is cancelled.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.to_thread

from asgi_auth.client import answers
from asgi_auth.client.endpoint import LIBRARIES, Connect, Endpoint, Origin, Server, origin_of
from asgi_auth.client.keeper import Keeper, LogIn
from asgi_auth.client.storage import Storage, TokenMemory
from asgi_auth.client.tokens import Tokens
from asgi_auth.clock import Clock, wall_clock
from asgi_auth.http.forwarded import is_loopback
from asgi_auth.loops import PerLoop

_BYTES = tuple(library.ByteStream for library in LIBRARIES)
_STALE = ("The access token expired", "The access token is out of date")
_REVOKED = "The access token was revoked"

_LOOK = 0.01
"""Seconds between two looks at whether the thread of somebody who was cancelled has come to its end."""

if TYPE_CHECKING:

    class _Auth:
        """Both libraries' `Auth`; their annotations differ, so neither is named."""
else:
    _Auth = type("_Auth", tuple(library.Auth for library in LIBRARIES), {})


class _Renew(NamedTuple):
    """What a flow asks for beside requests: tokens that are good.

    Attributes:
        refused: the server will not have these.
        answer: is read first, so that its connection serves others while this one waits.
    """

    refused: Tokens | None = None
    answer: Any = None


class ClientAuth(_Auth):
    """Authentication for clients of httpx and httpx2, async or not, on asyncio and trio: `Client(auth=ClientAuth(…))`.

    One object serves any number of clients, threads and event loops. Their requests raise `LoggedOut` when somebody has
    to log in, and `TokenEndpointError` when tokens are needed and the endpoint gives none.

    Args:
        url: where the server's endpoints are: `https://app.example.com/auth`. https, or http on a loopback host.
        username, password: to log in with where there is no pair, and again, by the next request, where its login has
            ended. Once they are refused they are not tried again.
        tokens: a pair to begin with, if the storage has none: an answer of the token endpoint, or `Tokens`.
        storage: keeps the pair; None: in memory. With a `TokenFile` several processes share one login.
        scope: what a login asks for, space-separated; None: all that the user may do.
        client_id: None: the server's default.
        dpop: bind the tokens to a key (RFC 9449). True: to one that is made with each login and kept with the pair; or
            a private JWK of yours, for ES256, Ed25519, RS256 or PS256, which is kept nowhere.
        origins: of other services that take these access tokens. Requests to any further one pass as they are.
        connect: makes the client that asks the token endpoint, an `httpx.Client` or `httpx2.Client`, for certificates
            and proxies of your own.
        insecure_http: allow http on any host (boxes in a LAN).
        clock: gives the seconds since the epoch.

    Raises:
        ValueError: a URL that tokens must not be sent to, or half of what a login needs.
    """

    requires_request_body = False
    requires_response_body = False

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        tokens: Tokens | Mapping[str, Any] | None = None,
        storage: Storage | None = None,
        scope: str | None = None,
        client_id: str | None = None,
        dpop: bool | Mapping[str, Any] = False,
        origins: Collection[str] = (),
        connect: Connect | None = None,
        insecure_http: bool = False,
        clock: Clock = wall_clock,
    ) -> None:
        if (username is None) != (password is None):
            raise ValueError("a user name and a password go together")
        self._origins = frozenset(_checked(one, insecure_http) for one in (url, *origins))
        self._own_key = "" if isinstance(dpop, bool) else json.dumps(dict(dpop))
        self._server = Server(clock, _checked(url, insecure_http))
        self._keeper = Keeper(
            Endpoint(url.rstrip("/"), client_id=client_id, server=self._server, connect=connect),
            TokenMemory() if storage is None else storage,
            self._server,
            LogIn(username, password, scope),
            key=_new_key if dpop is True else lambda: self._own_key,
            own_key=self._own_key,
            begin=None if tokens is None else self._taken(tokens),
        )
        self._turn = PerLoop(anyio.Lock)

    def __repr__(self) -> str:
        places = (
            f"{scheme}://{host.decode()}{'' if port is None else f':{port}'}" for scheme, host, port in self._origins
        )
        return f"<ClientAuth for {', '.join(sorted(places))}>"

    # ------------------------------------------------------------------ logging in and out

    def login(self, username: str, password: str) -> None:
        """Log in, in place of the login that there was. Name and password are not kept for another one. In an event
        loop: `alogin`.

        Raises:
            LoggedOut: the server refuses this login.
            TokenEndpointError: no answer to that.
        """
        self._keeper.login(username, password)

    def logout(self) -> None:
        """End the login, here and at the server. Requests raise `LoggedOut` until `login` or `take`. In an event loop:
        `alogout`.

        Raises:
            TokenEndpointError: it may not have ended; repeat.
        """
        self._keeper.logout()

    def take(self, tokens: Tokens | Mapping[str, Any]) -> None:
        """Go on with this pair, which the application handed out (`auth.issue`, `auth.elevate`). In an event loop:
        `atake`. Raises ValueError: it is none."""
        self._keeper.take(self._taken(tokens))

    async def alogin(self, username: str, password: str) -> None:
        """As `login`."""
        await self._in_thread(partial(self.login, username, password))

    async def alogout(self) -> None:
        """As `logout`."""
        await self._in_thread(self.logout)

    async def atake(self, tokens: Tokens | Mapping[str, Any]) -> None:
        """As `take`."""
        await self._in_thread(partial(self.take, tokens))

    # ------------------------------------------------------------------ one request

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """As `sync_auth_flow`; an async client calls `async_auth_flow`."""
        return self.sync_auth_flow(request)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """A request's way in a client that blocks."""
        flow = self._flow(request)
        try:
            step = next(flow)
            while True:
                if isinstance(step, _Renew):
                    if step.answer is not None:
                        step.answer.read()
                    step = flow.send(self._keeper.renewed(step.refused, time.monotonic()))
                else:
                    step = flow.send((yield step))
        except StopIteration:
            return

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """A request's way in an async client."""
        flow = self._flow(request)
        try:
            step = next(flow)
            while True:
                if isinstance(step, _Renew):
                    if step.answer is not None:
                        await step.answer.aread()
                    renewed = partial(self._keeper.renewed, step.refused, time.monotonic())
                    step = flow.send(await self._in_thread(renewed))
                else:
                    step = flow.send((yield step))
        except StopIteration:
            return

    def _flow(self, request: Any) -> Generator[Any, Any, None]:
        """What is sent, and sent again: once with a nonce or the server's time, once with other tokens."""
        if not self._is_ours(request.url):
            yield request
            return
        tokens = self._keeper.current() or (yield _Renew())
        corrected = renewed = False
        while True:
            answer = yield self._with_token(request, tokens)
            request = answer.request  # after a redirect another one
            if not self._is_ours(request.url):
                return
            self._server.learn(answer)
            if answer.status_code != 401:
                return
            can_repeat = isinstance(request.stream, _BYTES)  # what is streamed is gone once it is sent
            why = answers.refusal(answer.headers.get_list("www-authenticate"), tokens.token_type)
            if why.description in _STALE and not renewed:
                renewed = True
                tokens = yield _Renew(tokens, answer if can_repeat else None)
            elif why.error in ("use_dpop_nonce", "invalid_dpop_proof") and not corrected:
                corrected = True
            else:
                if why.description == _REVOKED:
                    self._keeper.revoked(tokens)
                return
            if not can_repeat:
                return

    def _with_token(self, request: Any, tokens: Tokens) -> Any:
        request.headers["Authorization"] = f"{tokens.token_type} {tokens.access_token}"
        if tokens.bound:
            from asgi_auth.client.proofs import proof

            request.headers["DPoP"] = proof(
                tokens.key or self._own_key,
                request,
                now=self._server.now(request.url),
                nonce=self._server.nonce(request.url),
                access_token=tokens.access_token,
            )
        return request

    def _is_ours(self, url: Any) -> bool:
        return origin_of(url) in self._origins

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """One thread at a time for each event loop. Who is cancelled goes at once; the thread ends what it began, and
        who comes meanwhile has none of its own."""
        async with self._turn.get():
            while self._keeper.at_work:  # noqa: ASYNC110 (it is a thread, of whichever loop)
                await anyio.sleep(_LOOK)
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))

    def _taken(self, tokens: Tokens | Mapping[str, Any]) -> Tokens:
        if not isinstance(tokens, Tokens):
            tokens = Tokens.from_answer(tokens, now=self._server.now())
        if tokens.bound and not (tokens.key or self._own_key):
            raise ValueError("these tokens are bound to a key: give it as `dpop`")
        return tokens


def _new_key() -> str:
    from asgi_auth.client.proofs import new_key

    return new_key()


def _checked(url: str, insecure_http: bool) -> Origin:
    """The origin of a URL that may be sent tokens. Raises ValueError: it may not."""
    parsed = LIBRARIES[0].URL(url)
    if parsed.scheme not in ("https", "http") or not parsed.host or parsed.query or parsed.fragment or parsed.userinfo:
        raise ValueError("a URL such as https://app.example.com/auth is expected, without user, query and fragment")
    if parsed.scheme == "http" and not insecure_http and not is_loopback(parsed.netloc):
        raise ValueError("tokens travel by https; http is for loopback hosts, or with insecure_http=True")
    return origin_of(parsed)
