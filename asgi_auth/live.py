"""Open connections of somebody: WebSockets, and responses that stream. They end with their session.

A connection is told of an end in the same step in which the view hears of it; what is blocked in it wakes up, and a
task of its event loop says goodbye to the client. While nobody can say whether its session lives, nothing passes over
it.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Awaitable, Callable, Set
from itertools import count
from typing import TypeVar

import anyio
import anyio.lowlevel
from anyio import CancelScope
from anyio.abc import TaskGroup

from asgi_auth.backends.jwt import Revocation
from asgi_auth.clock import Clock, wall_clock
from asgi_auth.ending import Ending, SessionEnded, ending_of
from asgi_auth.errors import StoreUnavailable
from asgi_auth.identity import Identity
from asgi_auth.loops import PerLoop
from asgi_auth.stores import Ended, Loaded
from asgi_auth.view import View

K = TypeVar("K")
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which a connection waits to hear that its session lives."""

GOODBYE = 2.0
"""Seconds that the last word to a client may take."""

BREATH = 0.01
"""Seconds after which one that sends without a pause lets others run."""

POLL = 0.01
"""Seconds between two looks at a feed that tells nothing by itself, while connections are open."""

AT_ONCE = 200
"""Connections that are asked about at a time; more would hold up the loop, and the server."""

_IDLE = 0.25
_AGAIN = 0.25
_FEW = 100

log = logging.getLogger("asgi_auth")


class Live:
    """One open connection.

    Attributes:
        sid, user_id: its session's, and whose that is. A token of another issuer has none: its connections end with it.
        jti, kid: of the token that opened it, and of the key that signed it; empty: a cookie did.
        revocation: what a missing answer means, as `JWT_REVOCATION` says it: `strict`: nothing passes meanwhile;
            `available`: everything does; `off`: nobody asks.
        ending: why it ends; None: it does not.
        is_in: whether its session was found alive, so that the application may use it.

    Args:
        say_goodbye: tells the client; called once, after nothing of the application's waits on the connection any more.
        needs: the scopes that guards of the application have asked for; without one of them the connection ends.
    """

    def __init__(
        self,
        lives: Lives,
        identity: Identity,
        say_goodbye: Callable[[Ending], Awaitable[None]],
        needs: Callable[[], Set[str]] = frozenset,
    ) -> None:
        self.sid = identity.session_id
        self.user_id = identity.user.id
        self.expires_at = identity.expires_at
        self.jti = "" if identity.backend == "session" else str(identity.user.claims.get("jti", ""))
        self.kid = identity.kid
        self.revocation: Revocation = "strict" if identity.backend == "session" else lives.revocation
        if not self.sid:
            self.revocation = "off"
        self.ending: Ending | None = None
        self.is_in = False
        self.until = 0.0
        self.is_queued = False
        self.room = lives.room()
        self._lives = lives
        self._say_goodbye = say_goodbye
        self._needs = needs
        self._token_scopes = None if identity.backend == "session" else identity.scopes
        self._doubted = False
        self._waiting: set[CancelScope] = set()
        self._breathed_at = 0.0
        self._said = anyio.Event()

    def doubt(self) -> None:
        """Something has changed that may have ended the session."""
        self._doubted = True
        self.room.doubted.add(self)
        self.room.wake()

    def end(self, ending: Ending) -> None:
        """From now on nothing passes. The task that looks after the connection wakes what is blocked in it."""
        if self.ending is None:
            self.ending = ending
            self._lives.leave(self)
            if not self.is_in:  # nobody was let in, so nobody is told goodbye
                self._said.set()
                return
            self.room.ended.append(self)
            self.room.wake()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do something on the connection that an end interrupts.

        Raises:
            SessionEnded: it has ended, before or meanwhile.
        """
        if self.ending is None:
            with CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    done = await call()
                finally:
                    self._waiting.discard(scope)
                if self.ending is None:
                    return done
        raise SessionEnded("the session of this connection has ended")

    async def allow(self) -> None:
        """Return once something may pass.

        Raises:
            SessionEnded: nothing may, for good.
        """
        now = self._lives.view.clock()
        if not self.sid and now >= self.until:
            self.end(Ending("expired"))
        elif self.revocation == "strict" and (self._doubted or not self._lives.view.is_current(now)):
            await self.run(self.confirm)
        elif now - self._breathed_at > BREATH:
            self._breathed_at = now
            await anyio.lowlevel.checkpoint()
        if self.ending is not None:
            raise SessionEnded("the session of this connection has ended")

    async def confirm(self) -> None:
        """Ask whether the session lives, until somebody can say so or the patience is over."""
        if not self.sid:
            self.end(Ending("expired"))
            return
        with anyio.move_on_after(PATIENCE if self.revocation == "strict" else None) as patience:
            while self.ending is None:
                self._doubted = False
                try:
                    found, denied = await self._lives.asked(self)
                except StoreUnavailable:
                    self._doubted = True
                    await anyio.sleep(_AGAIN)
                    continue
                if denied:
                    self.end(Ending("ended"))
                elif not isinstance(found, Loaded):
                    self.end(ending_of(found))
                elif not self._may_go_on(found):
                    self.end(Ending("ended"))
                elif not self._doubted:
                    self._lives.lives_for(self, found.remaining)
                    return
        if patience.cancelled_caught:
            self.end(Ending("unavailable"))

    def _may_go_on(self, found: Loaded) -> bool:
        """Whether the user still has what the application's guards asked for; a token gains nothing by new rights."""
        needs = self._needs()
        if not needs or found.user is None:
            return True
        has = found.user.scopes
        return needs <= (has if self._token_scopes is None else has & self._token_scopes)

    async def finish(self) -> None:
        """Wake what is blocked, and then say the last word."""
        assert self.ending is not None
        with anyio.move_on_after(GOODBYE):
            while self._waiting:
                for scope in self._waiting:
                    scope.cancel()
                await anyio.lowlevel.checkpoint()
            try:
                await self._say_goodbye(self.ending)
            except Exception as error:  # the client may be gone, and servers say so in many ways
                log.debug("a connection could not be told that it ends: %s", error)
        self._said.set()

    async def over(self) -> None:
        """The application may go on, or leave, once the client was told: servers say something else else."""
        if self.ending is not None:
            with anyio.move_on_after(GOODBYE):
                await self._said.wait()


class Room:
    """What one event loop has open. Others may mark and append; only its own thread wakes it."""

    def __init__(self) -> None:
        self.open: set[Live] = set()
        self.doubted: set[Live] = set()
        self.ended: list[Live] = []
        self.deadlines: list[tuple[float, int, Live]] = []
        self._thread = threading.get_ident()
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Somebody has to be looked at."""
        if threading.get_ident() == self._thread:
            self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Until it is woken, or so long."""
        with anyio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = anyio.Event()

    def tidy(self) -> None:
        """Let go of the deadlines of those that have left, once they are most."""
        if len(self.deadlines) > 2 * len(self.open) + _FEW:
            self.deadlines = [entry for entry in self.deadlines if entry[2] in self.open]
            heapq.heapify(self.deadlines)


async def _never(kid: str) -> bool:
    return False


class Lives:
    """All open connections of this process, in the rooms of their event loops.

    The view tells it of ends and changes (`heard_end`, `heard_of`, …).

    Args:
        revocation: of access tokens; see `Live`.
        clock: the wall's, for tokens that have no session here.
        is_revoked: whether a key is, with all that it signed.
    """

    def __init__(
        self,
        view: View,
        *,
        revocation: Revocation = "strict",
        clock: Clock = wall_clock,
        is_revoked: Callable[[str], Awaitable[bool]] = _never,
    ) -> None:
        self.view = view
        self._is_revoked = is_revoked
        self.revocation: Revocation = revocation
        self._clock = clock
        self._rooms = PerLoop(Room)
        self._of_session: dict[str, set[Live]] = {}
        self._of_user: dict[str | None, set[Live]] = {}
        self._of_token: dict[str, set[Live]] = {}
        self._number = count()
        view.watch(self)

    def __len__(self) -> int:
        return sum(map(len, self._of_session.values()))

    def room(self) -> Room:
        """The running event loop's."""
        return self._rooms.get()

    async def join(self, live: Live) -> Ending | None:
        """Look after a connection from now on; or why not, if its session has ended meanwhile.

        Raises:
            StoreUnavailable: nobody can say.
        """
        if not live.sid:
            live.room.open.add(live)
            live.is_in = True
            self.lives_for(live, max(0.0, live.expires_at - self._clock()))
            return None
        if live.revocation == "off":
            return None
        self._of_session.setdefault(live.sid, set()).add(live)
        self._of_user.setdefault(live.user_id, set()).add(live)
        self._of_token.setdefault(live.jti, set()).add(live)
        live.room.open.add(live)
        try:
            found, denied = await self.asked(live)
        except BaseException as error:
            if live.revocation == "available" and isinstance(error, StoreUnavailable):
                live.is_in = True
                live.doubt()
                return None
            self.leave(live)
            raise
        if denied:
            live.end(Ending("ended"))
        elif not isinstance(found, Loaded):
            live.end(ending_of(found))
        elif live.ending is None:
            live.is_in = True
            self.lives_for(live, found.remaining)
        return live.ending

    def leave(self, live: Live) -> None:
        """Look after it no more: it is over, or its goodbye is all that is left."""
        live.room.open.discard(live)
        live.room.doubted.discard(live)
        _drop(self._of_session, live.sid, live)
        _drop(self._of_user, live.user_id, live)
        _drop(self._of_token, live.jti, live)

    async def asked(self, live: Live) -> tuple[Loaded | Ended | None, bool]:
        """Its session, and whether its token was killed, by itself or with its key.

        Raises:
            StoreUnavailable: nobody can say.
        """
        found = await self.view.session(live.sid)
        return found, await self.view.denied(live.jti) or (live.kid != "" and await self._is_revoked(live.kid))

    def lives_for(self, live: Live, seconds: float) -> None:
        """When to ask again, by the session's own end."""
        live.until = self.view.clock() + seconds
        if not live.is_queued:
            live.is_queued = True
            heapq.heappush(live.room.deadlines, (live.until, next(self._number), live))
            live.room.wake()

    def heard_end(self, ended: Ended) -> None:
        """A session is dead."""
        for live in tuple(self._of_session.get(ended.sid, ())):
            live.end(ending_of(ended))

    def heard_of(self, user_id: str | None) -> None:
        """A user's sessions, or everybody's (None), may be dead."""
        found = tuple(self._of_user.values()) if user_id is None else (self._of_user.get(user_id, set()),)
        for lives in found:
            for live in tuple(lives):
                live.doubt()

    def heard_denied(self, jti: str) -> None:
        """A token is dead by itself, and what it opened ends."""
        for live in tuple(self._of_token.get(jti, ())):
            live.end(Ending("ended"))

    def heard_of_keys(self) -> None:
        """A key may be revoked: what its tokens opened is looked at."""
        for jti, lives in tuple(self._of_token.items()):
            for live in tuple(lives) if jti else ():
                live.doubt()

    async def run(self) -> None:
        """Look after the running event loop's connections until cancelled."""
        room = self.room()
        async with anyio.create_task_group() as group:
            while True:
                await room.wait(self._look_after(room, group))

    def _look_after(self, room: Room, group: TaskGroup) -> float:
        """Start what has to be done. Seconds until there may be more to do."""
        now = self.view.clock()
        self.view.is_current(now)  # an instant feed tells when it is looked at
        room.tidy()
        while room.deadlines and room.deadlines[0][0] <= now:
            live = heapq.heappop(room.deadlines)[2]
            live.is_queued = False
            if live not in room.open:
                continue
            if live.until > now:
                self.lives_for(live, live.until - now)
            else:
                live.doubt()
        for _ in range(min(len(room.doubted), AT_ONCE)):
            group.start_soon(room.doubted.pop().confirm)
        while room.ended:
            group.start_soon(room.ended.pop().finish)
        pause = POLL if room.doubted or (room.open and self.view.is_instant) else _IDLE
        return min(pause, max(0.0, room.deadlines[0][0] - now)) if room.deadlines else pause


def _drop(index: dict[K, set[Live]], key: K, live: Live) -> None:
    theirs = index.get(key, set())
    theirs.discard(live)
    if not theirs:
        index.pop(key, None)
