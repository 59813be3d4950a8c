"""One process of an application: a real `Auth` behind its middleware, and people who ask it all the time.

`serve` runs in a process of its own and does what comes through a pipe, `(number, verb, *arguments)`; it sends back
`(number, answer)`, or `(None, what went wrong)`. Everything goes through what an application has too: requests and
`Auth`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import pickle
import signal
import time
import traceback
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
from seats import ASGI, http_scope, living

from asgi_auth import Auth, AuthMiddleware, Settings, User
from asgi_auth.errors import StoreUnavailable

from .bugs import plant
from .judge import Answer, Revocation, Run, Span
from .network import enter

ANSWERS: dict[int, Answer] = {200: "accepted", 401: "refused", 503: "unsaid"}
SECRET = "a checker's secret that guards nothing at all"
RIGHT = "enter"
"""What everybody needs, and may lose."""

SCRIPTS = ("sec-fetch-mode", "cors")
"""A page's script asks, so that no dead cookie is cleared, for which the store would have to be asked."""

OFTEN = 0.025
"""Seconds from an answer to the next request of the same person; others ask but three times in a lease, and so never
in a moment in which the store would have to be asked."""


class Person(NamedTuple):
    """Somebody who logged in, and the header that says so."""

    user: str
    sid: str
    header: tuple[str, str]


@dataclass(frozen=True)
class Role:
    """What a process is to be. `namespace`: of the network, by its file; `bug`: by its name."""

    name: str
    store: str
    staleness: float
    bug: str = ""
    namespace: str = ""


class Application:
    def __init__(self, role: Role) -> None:
        self._name = role.name
        self._seldom = role.staleness / 3
        # The keys are not the store's, so that it may lose everything and a cookie still opens what it opened.
        self.auth = Auth(
            Settings(
                store=role.store,
                staleness=role.staleness,
                store_timeout=role.staleness,
                url="http://testserver",
                secret=SECRET,
                jwt_algorithm="HS256",
                jwt_key=SECRET,
            )
        )
        self.app: ASGI = AuthMiddleware(self._answer, self.auth)
        self._hushed, self._asking = False, 0
        self._people: list[Person] = []
        self._runs: list[Run] = []
        self._last: dict[str, Run] = {}

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        headers = []
        if scope["path"].startswith("/login/"):
            session = await self.auth.login(
                scope, User(scope["path"].removeprefix("/login/"), scopes=frozenset({RIGHT}))
            )
            headers.append((b"x-session", session.id.encode("ascii")))
        status = 200 if RIGHT in scope["auth"].scopes else 401
        headers.append((b"x-user", scope["user"].id.encode("ascii") if status == 200 else b""))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _request(self, path: str, *headers: tuple[str, str]) -> dict[str, Any]:
        """How the response starts."""
        start: dict[str, Any] = {}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)

        await self.app(http_scope(path, headers=headers), _receive, send)
        return start

    # What the checker asks for

    async def log_in(self, users: Sequence[str], tokens: bool) -> list[Person]:
        """So many sessions, each of a user of its own."""
        return list(await asyncio.gather(*(self._token(u) if tokens else self._cookie(u) for u in users)))

    async def _cookie(self, user: str) -> Person:
        start = await self._request(f"/login/{user}")
        while start["status"] == 503:  # the store is busy with other things
            start = await self._request(f"/login/{user}")
        headers = {name: value.decode("ascii") for name, value in start["headers"]}
        return Person(user, headers[b"x-session"], ("cookie", headers[b"set-cookie"].partition(";")[0]))

    async def _token(self, user: str) -> Person:
        while True:
            with suppress(StoreUnavailable):
                pair = await self.auth.issue(User(user, scopes=frozenset({RIGHT})))
                return Person(user, pair.session.id, ("authorization", f"Bearer {pair.access_token}"))

    async def watch(self, people: Sequence[Person]) -> None:
        """Let each of them ask again and again from now on."""
        self._people += people
        for number, person in enumerate(people):
            self.tasks.start_soon(self._keep_asking, person, OFTEN if number % 8 < 4 else self._seldom)

    async def _keep_asking(self, person: Person, pause: float) -> None:
        while True:
            if not self._hushed:
                self._asking += 1
                self._note(person.sid, await self._ask(person))
                self._asking -= 1
            await anyio.sleep(pause)

    async def hush(self, quiet: bool) -> None:
        """Nobody asks any more; or (not `quiet`) they do again."""
        self._hushed = quiet
        while quiet and self._asking:  # noqa: ASYNC110 (others have asked)
            await anyio.sleep(0.002)

    async def _ask(self, person: Person) -> tuple[Answer, Span]:
        asked_at = time.monotonic()
        start = await self._request("/", person.header, SCRIPTS)
        if start["status"] == 200 and dict(start["headers"])[b"x-user"] != person.user.encode("ascii"):
            raise AssertionError(f"{person.user} was taken for somebody else")
        return ANSWERS[start["status"]], Span(asked_at, time.monotonic())

    def _note(self, sid: str, answered: tuple[Answer, Span]) -> None:
        answer, span = answered
        last = self._last.get(sid)
        if last is not None and last.answer == answer:
            last.last, last.count = span, last.count + 1
        else:
            self._last[sid] = Run(self._name, sid, answer, span, span)
            self._runs.append(self._last[sid])

    async def until(self, answer: Answer, people: Sequence[Person], patience: float) -> bool:
        """Whether all of these get this answer to a request of from now on, before the patience ends."""
        now = time.monotonic()
        with anyio.move_on_after(patience) as waiting:
            for person in people:
                while not self._says(answer, person, since=now):  # noqa: ASYNC110 (others ask)
                    await anyio.sleep(0.005)
        return not waiting.cancelled_caught

    def _says(self, answer: Answer, person: Person, *, since: float) -> bool:
        last = self._last.get(person.sid)
        return last is not None and last.answer == answer and last.last.start > since

    async def pursue(self, person: Person, pause: float) -> float:
        """Ask until it is refused; when that was."""
        while True:
            answer, span = await self._ask(person)
            if answer == "refused":
                return span.end
            await anyio.sleep(pause)

    async def runs(self) -> list[Run]:
        return self._runs

    async def revoke(self, people: Sequence[Person], hows: Sequence[str], wait: bool, over: float) -> list[Revocation]:
        """One after another within so many seconds, each until it stands: the session ends, all of the user's sessions
        do (`user`), or only their `right` is taken away; these by turns."""
        turns = zip(people, itertools.cycle(hows), itertools.count(), strict=False)
        ends = [self._end(person, how, wait, over * number / len(people)) for person, how, number in turns]
        return list(await asyncio.gather(*ends))

    async def _end(self, person: Person, how: str, wait: bool, after: float) -> Revocation:
        await anyio.sleep(after)
        called_at = time.monotonic()
        while True:
            with suppress(StoreUnavailable):
                if how == "user":
                    await self.auth.revoke_user(person.user, wait=wait)
                elif how == "right":
                    await self.auth.update_user(person.user, scopes=(), wait=wait)
                else:
                    await self.auth.revoke(person.sid, wait=wait)
                return Revocation(person.sid, self._name, wait, called_at, time.monotonic())
            await anyio.sleep(0.01)

    async def pause(self, seconds: float | None) -> None:
        """Nothing runs in this process for so long, or (None) until it is sent SIGCONT; then requests come first."""
        if seconds is None:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 (just this)
        for person in self._people:
            self._note(person.sid, await self._ask(person))

    async def fork(self, people: Sequence[Person], seconds: float) -> list[Run]:
        """What a forked child answers by itself for so long: what needs the loop, which is the parent's, is unsaid."""
        reading, writing = os.pipe()
        if os.fork() == 0:
            self._name, self._runs, self._last = f"{self._name}'s child", [], {}
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for person in people:
                    self._note(person.sid, _at_once(self._ask(person)))
                time.sleep(0.002)  # noqa: ASYNC251 (there is no loop here)
            with os.fdopen(writing, "wb") as out:
                pickle.dump(self._runs, out)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            found: list[Run] = pickle.loads(await anyio.to_thread.run_sync(answer.read))
        return found

    # How it lives

    async def run(self, pipe: Connection) -> None:
        async def do(number: int, verb: str, *arguments: Any) -> None:
            pipe.send((number, await getattr(self, verb)(*arguments)))

        async with living(self.app), anyio.create_task_group() as self.tasks:
            while True:
                await anyio.wait_readable(pipe.fileno())
                self.tasks.start_soon(do, *pipe.recv())


def _at_once(asking: Coroutine[Any, Any, tuple[Answer, Span]]) -> tuple[Answer, Span]:
    now = time.monotonic()
    try:
        asking.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    except Exception:  # whatever wanted a loop
        return "unsaid", Span(now, now)
    asking.close()
    return "unsaid", Span(now, now)


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def serve(pipe: Connection, role: Role) -> None:
    """The whole life of a process."""
    logging.disable(logging.CRITICAL)
    try:
        if role.namespace:
            enter(role.namespace)
        if role.bug:
            plant(role.bug)
        asyncio.run(Application(role).run(pipe))
    except BaseException:
        with suppress(OSError):  # the checker may be gone
            pipe.send((None, traceback.format_exc()))
    finally:
        os._exit(0)  # threads that wait for a silent store keep nobody
