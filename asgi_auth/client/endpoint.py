"""The token endpoint, as a client asks it: `/login`, `/token` and `/revoke` of the server half. Blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

from asgi_auth.client import answers
from asgi_auth.client.errors import TokenEndpointError
from asgi_auth.client.tokens import Tokens
from asgi_auth.clock import Clock

Origin = tuple[str, bytes, "int | None"]

PAUSES = (0.1, 0.4)
"""Seconds before a request is repeated whose answer was lost."""


def _installed() -> tuple[ModuleType, ...]:
    found = []
    for name in ("httpx2", "httpx"):
        try:
            found.append(import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    if not found:
        raise ModuleNotFoundError("asgi_auth.client needs httpx or httpx2: pip install httpx")
    return tuple(found)


LIBRARIES = _installed()
"""Of httpx2 and httpx those that are there."""

LOST = tuple(library.TransportError for library in LIBRARIES)

_HANDSHAKES = {"ws": "http", "wss": "https"}

Connect = Callable[[], Any]
"""Makes a client, not an async one, which is closed after use."""


def origin_of(url: Any) -> Origin:
    """Of a URL of either library (RFC 6454 §4). A WebSocket's is that of its handshake."""
    scheme: str = url.scheme
    return _HANDSHAKES.get(scheme, scheme), url.raw_host, url.port


class Server:
    """What answers have taught: what time it is there, and which nonce each origin wants in proofs (RFC 9449 §8).

    Args:
        origin: of the token endpoint. What time it is at another service says nothing of a token's end.
    """

    def __init__(self, clock: Clock, origin: Origin) -> None:
        self._clock = clock
        self._origin = origin
        self._ahead: dict[Origin, float] = {}
        self._dates: dict[Origin, str] = {}
        self._nonces: dict[Origin, str] = {}

    def now(self, url: Any = None) -> float:
        """The seconds since the epoch, on the clock of the token endpoint, or of whose URL it is, as far as known."""
        ahead = self._ahead.get(self._origin, 0.0)
        return self._clock() + (ahead if url is None else self._ahead.get(origin_of(url), ahead))

    def nonce(self, url: Any) -> str | None:
        return self._nonces.get(origin_of(url))

    def learn(self, answer: Any) -> None:
        """Take what an answer says, before the next one comes."""
        origin = origin_of(answer.request.url)
        nonce, date = answer.headers.get("dpop-nonce"), answer.headers.get("date", "")
        if nonce:
            self._nonces[origin] = nonce
        if date == self._dates.get(origin) or "age" in answer.headers:  # one out of a cache tells when it was put there
            return
        self._dates[origin], at = date, answers.date(date)
        if at is not None:
            self._ahead[origin] = at - self._clock()


class Endpoint:
    """One server's endpoints.

    Args:
        url: where they are, up to and with the server's `PREFIX`.
        connect: makes the client that asks.
    """

    def __init__(self, url: str, *, client_id: str | None, server: Server, connect: Connect | None = None) -> None:
        self._url = url
        self._client_id = {} if client_id is None else {"client_id": client_id}
        self._server = server
        self._connect: Connect = LIBRARIES[0].Client if connect is None else connect

    def log_in(self, username: str, password: str, *, scope: str | None, key: str, keep_key: bool) -> Tokens:
        """A new login. It is asked for once, since each answer to it is a session.

        Raises:
            TokenEndpointError: with a code if name, password or scope are refused.
        """
        form = {"mode": "jwt", "username": username, "password": password}
        asked = {} if scope is None else {"scope": scope}
        sent_at, answer = self._post("login", {**form, **asked}, key=key, pauses=())
        return self._tokens(answer, sent_at, None, key, keep_key)

    def refresh(self, tokens: Tokens, *, key: str) -> Tokens:
        """The next pair. If the answer is lost the same refresh token is presented again, and gets the same one.

        Raises:
            TokenEndpointError: with the code `invalid_grant` if the login has ended.
        """
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        sent_at, answer = self._post("token", form, key=key)
        return self._tokens(answer, sent_at, tokens, key, bool(tokens.key))

    def revoke(self, tokens: Tokens) -> None:
        """End the login. Raises TokenEndpointError: it may stand."""
        self._post("revoke", {"token": tokens.refresh_token or tokens.access_token})

    def _tokens(self, answer: Any, sent_at: float, before: Tokens | None, key: str, keep_key: bool) -> Tokens:
        try:
            kept = key if keep_key else ""
            tokens = Tokens.from_answer(answer.json(), now=sent_at, before=before, key=kept)
        except ValueError:
            raise TokenEndpointError(f"{answer.request.url} answers no tokens: is this the server's URL?") from None
        if key and not tokens.bound:
            raise TokenEndpointError(f"{answer.request.url} gives tokens that are bound to no key: is its DPOP off?")
        return tokens if tokens.refresh_token else replace(tokens, refresh_token=_in_cookie(answer))

    def _post(
        self, path: str, form: Mapping[str, str], *, key: str = "", pauses: tuple[float, ...] = PAUSES
    ) -> tuple[float, Any]:
        """The answer, and when it was asked for on the server's clock. A redirect is not followed: what is sent here
        is for nobody else."""
        left, corrected = list(pauses), False
        with self._connect() as client:
            while True:
                request = client.build_request("POST", f"{self._url}/{path}", data={**form, **self._client_id})
                if key:
                    request.headers["DPoP"] = self._proof(key, request)
                began = time.monotonic()
                try:
                    answer = client.send(request, auth=None, follow_redirects=False)
                except LOST as error:
                    problem = TokenEndpointError(f"{request.url} cannot be reached: {type(error).__name__}")
                    problem.__cause__ = error
                else:
                    self._server.learn(answer)
                    if answer.status_code == 200:
                        return self._server.now() - (time.monotonic() - began), answer
                    problem = _problem(answer)
                    if key and not corrected and problem.code in ("use_dpop_nonce", "invalid_dpop_proof"):
                        corrected = True  # by a nonce, or by the server's time
                        continue
                    if answer.status_code < 500:
                        raise problem
                if not left:
                    raise problem
                time.sleep(left.pop(0))

    def _proof(self, key: str, request: Any) -> str:
        from asgi_auth.client.proofs import proof

        return proof(key, request, now=self._server.now(), nonce=self._server.nonce(request.url))


def _in_cookie(answer: Any) -> str:
    """The refresh token of a server that hands it to browsers (its `REFRESH_COOKIE`). Presented in a body it has its
    successor in one. Empty: there is none."""
    found = [one.value for one in answer.cookies.jar if one.name.removeprefix("__Host-").startswith("refresh-")]
    return found[0] or "" if len(found) == 1 else ""


def _problem(answer: Any) -> TokenEndpointError:
    """What an answer without tokens says (RFC 6749 §5.2)."""
    code = description = None
    try:
        body = answer.json()
        if isinstance(body, dict):
            code, description = body.get("error"), body.get("error_description")
    except ValueError:
        pass
    said = f": {description}" if isinstance(description, str) else ""
    hint = "" if isinstance(code, str) else ": is this the server's URL?"
    return TokenEndpointError(
        f"{answer.request.url} answers {answer.status_code}{said}{hint}",
        code=code if isinstance(code, str) else "",
        retry_after=answers.seconds(answer.headers.get("retry-after", "")),
    )
