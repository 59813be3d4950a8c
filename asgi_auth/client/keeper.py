"""One login of a client: its pair of tokens, kept, and replaced by the next one. Blocks; any thread may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from asgi_auth.client.endpoint import Endpoint, Server
from asgi_auth.client.errors import LoggedOut, TokenEndpointError
from asgi_auth.client.storage import Storage
from asgi_auth.client.tokens import Tokens

EARLY = 30.0
"""Seconds before its end at which an access token is refreshed; a tenth of its life if that is shorter."""

PAUSE = 5.0
"""Seconds for which nothing is refreshed early after that failed."""

_REFUSED = ("invalid_credentials", "invalid_grant", "invalid_scope", "access_denied", "session_limit", "invalid_client")


class LogIn(NamedTuple):
    """How a login is made. `username` and `password` are None where somebody has to say them."""

    username: str | None
    password: str | None
    scope: str | None


class _Failure(NamedTuple):
    """That there were no tokens, for those who waited for the same. `until`: nothing is tried before."""

    problem: TokenEndpointError
    at: float
    until: float

    def again(self) -> TokenEndpointError:
        left = max(0.0, self.until - time.monotonic())
        problem = TokenEndpointError(str(self.problem), code=self.problem.code, retry_after=left)
        problem.__cause__ = self.problem.__cause__
        return problem


class Keeper:
    """Keeps a pair, and has it replaced once for however many need that.

    Args:
        log_in: how to log in where there is no pair, or its login has ended.
        key: makes the key that a new login is bound to, as JSON; empty: to none.
        own_key: the key of the configuration, which is not kept with the pair.
        begin: a pair to begin with, if the storage has none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        storage: Storage,
        server: Server,
        log_in: LogIn,
        *,
        key: Callable[[], str],
        own_key: str,
        begin: Tokens | None,
    ) -> None:
        self._endpoint = endpoint
        self._storage = storage
        self._server = server
        self._log_in = log_in
        self._new_key = key
        self._own_key = own_key
        self._begin = begin
        self._tokens: Tokens | None = None
        self._dead: Tokens | None = None
        self._doubted: Tokens | None = None
        self._over: str | None = None
        self._failure: _Failure | None = None
        self._not_early_before = 0.0
        self._mutex = threading.Lock()

    def current(self) -> Tokens | None:
        """The pair that this process knows, if it is good for a request. Blocks nobody."""
        tokens = self._tokens
        return None if tokens is None or tokens in (self._dead, self._doubted) or self._is_early(tokens) else tokens

    @property
    def at_work(self) -> bool:
        """Whether whoever asks now would wait for another thread."""
        return self._mutex.locked()

    def revoked(self, tokens: Tokens) -> None:
        """The server says that this access token was revoked. With its login, or it alone: that shows at its end, when
        it is refreshed; but who can log in need not wait, nor who finds another login in the storage."""
        if self._log_in.username is not None:
            self._dead = tokens
        self._doubted = tokens

    def take(self, tokens: Tokens) -> None:
        """Go on with this pair."""
        with self._mutex, self._storage.lock():
            self._keep(tokens)

    def login(self, username: str, password: str) -> None:
        """Log in, in place of the login that there was."""
        with self._mutex, self._storage.lock():
            self._keep(self._logged_in(username, password))

    def logout(self) -> None:
        """End the login. Nothing logs in again by itself."""
        with self._mutex, self._storage.lock():
            tokens = self._stored()
            if tokens is not None:
                self._endpoint.revoke(tokens)
            self._storage.save(None)
            self._tokens, self._over = None, "this client has logged out"

    def renewed(self, refused: Tokens | None, began: float) -> Tokens:
        """A pair that is good for a request: one that somebody else has got meanwhile, or the next one.

        Args:
            refused: the server refuses this one, as too old.
            began: when the caller began to wait (steady). What has failed since then is not tried again.

        Raises:
            LoggedOut: there is no login, and none can be made.
            TokenEndpointError: no answer; the login may stand.
        """
        with self._mutex:
            tokens = self.current()
            if tokens is not None and tokens != refused:
                return tokens
            if self._failure is not None and (self._failure.at >= began or time.monotonic() < self._failure.until):
                return self._still_good(refused, self._failure.again())
            with self._storage.lock():
                self._tokens = self._stored()
                try:
                    self._tokens = self._next(self._tokens, refused)
                except TokenEndpointError as problem:
                    now = time.monotonic()
                    self._failure = _Failure(problem, now, now + problem.retry_after)
                    return self._still_good(refused, problem)
            self._failure = None
            return self._tokens

    def _next(self, stored: Tokens | None, refused: Tokens | None) -> Tokens:
        """The stored pair, if another process has put it there; else the next one, stored."""
        if stored is not None and stored not in (refused, self._dead) and not self._is_early(stored):
            return stored
        tokens = self._refreshed(stored)
        if tokens is None:
            self._storage.save(None)
            tokens = self._logged_in_again()
        self._storage.save(tokens)
        return tokens

    def _refreshed(self, stored: Tokens | None) -> Tokens | None:
        """None: the login has ended, or there was none."""
        if stored is None or not stored.refresh_token or stored == self._dead:
            return None
        try:
            return self._endpoint.refresh(stored, key=stored.key or self._own_key)
        except TokenEndpointError as problem:
            if problem.code != "invalid_grant":
                raise
            self._dead = stored
            return None

    def _logged_in_again(self) -> Tokens:
        """By name and password, where they are known; not again with what was refused: that would lock the name."""
        username, password, _ = self._log_in
        if self._over is not None or username is None or password is None:
            raise LoggedOut(self._over or "the login has ended, or there was none: log in")
        try:
            return self._logged_in(username, password)
        except LoggedOut as refused:
            self._over = str(refused)
            raise

    def _logged_in(self, username: str, password: str) -> Tokens:
        key = self._new_key()
        try:
            return self._endpoint.log_in(
                username, password, scope=self._log_in.scope, key=key, keep_key=key != self._own_key
            )
        except TokenEndpointError as problem:
            if problem.code not in _REFUSED:
                raise
            raise LoggedOut(f"the server refuses this login: {problem.code}") from None

    def _still_good(self, refused: Tokens | None, problem: TokenEndpointError) -> Tokens:
        """The tokens that were to be refreshed early, as long as they live; else raises the problem."""
        tokens = self._tokens
        if tokens is None or tokens in (refused, self._dead) or tokens.expires_at <= self._server.now():
            raise problem
        self._not_early_before = time.monotonic() + max(PAUSE, problem.retry_after)
        return tokens

    def _stored(self) -> Tokens | None:
        """The pair as it is kept; in the beginning the one that was given."""
        stored, begin = self._storage.load(), self._begin
        self._begin = None
        if stored is None and begin is not None:
            self._storage.save(begin)
            return begin
        return stored

    def _keep(self, tokens: Tokens) -> None:
        self._storage.save(tokens)
        self._tokens, self._begin, self._over, self._dead, self._failure = tokens, None, None, None, None

    def _is_early(self, tokens: Tokens) -> bool:
        """Whether an access token is over, or soon."""
        left = tokens.expires_at - self._server.now()
        return left <= 0 or (left <= min(EARLY, tokens.lifetime / 10) and time.monotonic() >= self._not_early_before)
