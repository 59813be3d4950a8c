"""Processes that refresh the same tokens at once, and beside what ends or changes their session; what came of it.

Each is an application of its own on one store, and does what it is told at a moment of CLOCK_MONOTONIC, which the
processes of one machine share. The suite plays a few rounds of each scene.

python tests/refreshing.py <scene> [--store redis|sqlite|memory] [--rounds 100]     prints figures; see `SCENES`
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
from seats import Reply, call, handled, http_scope, living, new_auth
from starlette.requests import Request
from starlette.responses import JSONResponse

from asgi_auth import AuthMiddleware, User
from asgi_auth.errors import CredentialError

STALENESS = 1.0
GRACE = 0.2
SOON = 0.02
"""Seconds until what is told to all begins."""

ME, OLD, NEW = "/me", "read", "read write"


class Process:
    """One of them. Its verbs are what the others' lines of JSON say: `[verb, at, arguments]`."""

    def __init__(self, url: str) -> None:
        self.auth = new_auth(url, staleness=STALENESS, refresh_grace=GRACE, timeout=10.0)
        self.app = AuthMiddleware(handled(self._page), self.auth)

    async def _page(self, request: Request) -> JSONResponse:
        if request.url.path == ME:
            return JSONResponse(request.user.identity, status_code=200 if request.user.is_authenticated else 401)
        try:
            pair = await self.auth.elevate(request, amr="otp")
        except CredentialError as error:
            return JSONResponse({"error": error.description}, status_code=400)
        return JSONResponse(pair.public())  # type: ignore[union-attr]  # a bearer's

    async def run(self) -> None:
        async with living(self.app):
            print(json.dumps("ready"), flush=True)
            while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                verb, at, *arguments = json.loads(line)
                while time.monotonic() < at:  # noqa: ASYNC110
                    await anyio.sleep(at - time.monotonic() if at - time.monotonic() > 0.003 else 0)
                print(json.dumps(await getattr(self, verb)(*arguments)), flush=True)
        await self.auth.aclose()

    async def _asked(self, path: str, token: str, method: str = "GET") -> Reply:
        return await call(self.app, http_scope(path, method, headers=[("authorization", f"Bearer {token}")]))

    async def _posted(self, path: str, **form: str) -> Reply:
        headers = [("content-type", "application/x-www-form-urlencoded")]
        body = {"type": "http.request", "body": urlencode(form).encode(), "more_body": False}
        return await call(self.app, http_scope(path, "POST", headers=headers), incoming=[body])

    async def issue(self, name: str) -> Any:
        await self.auth.create_user(name, "a hole under the hedge", id=name, scopes=OLD)
        pair = await self.auth.issue(User(name, scopes=frozenset(OLD.split())))
        return {**pair.public(), "sid": pair.session.id}

    async def refresh(self, token: str, number: int = 1) -> Any:
        """What so many refreshes at once are answered: status and body."""

        async def one(_: int) -> Any:
            reply = await self._posted("/auth/token", grant_type="refresh_token", refresh_token=token)
            return [reply.status, reply.json()]

        return await _gather([lambda at=at: one(at) for at in range(number)])

    async def ask(self, tokens: list[str]) -> Any:
        """When each access token was asked about, and the status of the answer."""

        async def one(token: str) -> Any:
            asked_at = time.monotonic()
            return [asked_at, (await self._asked(ME, token)).status]

        return await _gather([lambda token=token: one(token) for token in tokens])

    async def elevate(self, token: str) -> Any:
        reply = await self._asked("/step-up", token, "POST")
        return [reply.status, reply.json()]

    async def revoke(self, sid: str) -> Any:
        return await self.auth.revoke(sid, wait=True)

    async def deny(self, token: str) -> Any:
        return await self.auth.revoke_token(token, wait=True)

    async def give_back(self, token: str) -> Any:
        return (await self._posted("/auth/revoke", token=token)).status

    async def disable(self, name: str) -> Any:
        await self.auth.disable_user(name, wait=True)

    async def update(self, name: str) -> Any:
        await self.auth.update_user(name, scopes=NEW, wait=True)

    async def password(self, name: str) -> Any:
        await self.auth.set_password(name, "another hole under the hedge")


async def _gather(jobs: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    done: list[Any] = [None] * len(jobs)

    async def run(index: int) -> None:
        done[index] = await jobs[index]()

    async with anyio.create_task_group() as group:
        for index in range(len(jobs)):
            group.start_soon(run, index)
    return done


class Crew:
    """All processes, as the one sees them that tells them what to do."""

    def __init__(self, url: str, number: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "process", "--url", url]
        self.all = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
        ]
        self.names = 0
        self.problems: Counter[str] = Counter()
        """What should never be, and how often it was."""
        self.seen: Counter[str] = Counter()
        """What may be one way or the other."""

    def tell(self, number: int, verb: str, *arguments: Any, at: float = 0.0) -> None:
        stdin = self.all[number].stdin
        assert stdin is not None
        stdin.write(json.dumps([verb, at, *arguments]) + "\n")
        stdin.flush()

    def hear(self, number: int) -> Any:
        stdout = self.all[number].stdout
        assert stdout is not None
        return json.loads(stdout.readline())

    def one(self, number: int, verb: str, *arguments: Any) -> Any:
        self.tell(number % len(self.all), verb, *arguments)
        return self.hear(number % len(self.all))

    def each(self, verb: str, *arguments: Any) -> list[Any]:
        """The same of all, at one moment."""
        at = time.monotonic() + SOON
        for number in range(len(self.all)):
            self.tell(number, verb, *arguments, at=at)
        return [self.hear(number) for number in range(len(self.all))]

    def login(self) -> Any:
        self.names += 1
        return self.one(self.names, "issue", f"user{self.names}")

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems[problem] += 1

    def expect_dead(self, pairs: list[Any], returned_at: float | None) -> None:
        """No refresh token of these is good any more, and no access token opens anything in any process: from now on,
        or, where nobody waited, from `STALENESS` after it had returned."""
        tokens = [pair["access_token"] for pair in pairs]
        while True:
            answers = [answer for asked in self.each("ask", tokens) for answer in asked]
            accepted = [asked_at for asked_at, status in answers if status == 200]
            late = [at for at in accepted if returned_at is None or at > returned_at + STALENESS]
            self.expect(not late, "an access token was accepted too late")
            if late or not accepted:
                break
        for token in {pair["refresh_token"] for pair in pairs}:
            for status, body in (answer for answers in self.each("refresh", token) for answer in answers):
                self.expect((status, body.get("error")) == (400, "invalid_grant"), "a refresh token was good")


@contextmanager
def crew(url: str, number: int = 4) -> Iterator[Crew]:
    made = Crew(url, number)
    try:
        for index in range(number):
            assert made.hear(index) == "ready"
        yield made
    finally:
        for process in made.all:
            if process.stdin is not None:
                process.stdin.close()
        for process in made.all:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            assert process.stdout is not None
            process.stdout.close()


# Scenes: one round of each


def at_once(crew: Crew) -> None:
    """64 refreshes of one token: one successor, everybody gets it, nobody is logged out."""
    first = crew.login()
    answers = [one for some in crew.each("refresh", first["refresh_token"], 64 // len(crew.all)) for one in some]
    crew.seen["refreshes"] += len(answers)
    crew.expect(all(status == 200 for status, _ in answers), "a refresh was refused")
    pairs = [body for status, body in answers if status == 200]
    crew.expect(len({pair["refresh_token"] for pair in pairs}) == 1, "there was more than one successor")
    crew.expect(len({pair["access_token"] for pair in pairs}) == 64, "two got the same access token")
    asked = crew.each("ask", [pair["access_token"] for pair in pairs[:: max(1, len(pairs) // 4)]])
    crew.expect(all(status == 200 for some in asked for _, status in some), "an access token was refused")
    [[status, following]] = crew.one(crew.names, "refresh", (pairs or [first])[-1]["refresh_token"])
    crew.expect(status == 200, "the successor was no good")
    crew.expect(crew.one(0, "ask", [following["access_token"]])[0][1] == 200, "its access token was no good")


def reuse(crew: Crew) -> None:
    """A used token gives the same successor until the grace is over, and then ends everything in every process."""
    first = crew.login()
    [[_, second]] = crew.one(0, "refresh", first["refresh_token"])
    crew.expect(crew.one(1, "ask", [second["access_token"]])[0][1] == 200, "the successor's access token was refused")
    until = time.monotonic() + GRACE + 20
    pairs = [first, second]
    while time.monotonic() < until:
        [[status, body]] = crew.one(len(pairs), "refresh", first["refresh_token"])
        returned_at = time.monotonic()
        if status != 200:
            break
        crew.expect(body["refresh_token"] == second["refresh_token"], "the grace gave another successor")
        pairs.append(body)
    crew.expect(status == 400, "the grace never ended")
    crew.seen["given again"] += len(pairs) - 2
    crew.expect_dead(pairs[:40], returned_at)


def _beside(crew: Crew, verb: str, key: str) -> tuple[Any, list[Any], Any, float]:
    """Two processes refresh while another one does something: the pair of before, those that were made, what came of
    the other thing, and when all had returned."""
    first = crew.login()
    actor, *others = random.sample(range(len(crew.all)), min(3, len(crew.all)))
    argument = {"user": f"user{crew.names}"}.get(key) or first[key]
    begin = time.monotonic() + SOON
    for other in others:
        crew.tell(other, "refresh", first["refresh_token"], 2, at=begin + random.uniform(0, 0.003))
    crew.tell(actor, verb, argument, at=begin + random.uniform(0, 0.006))
    answers = [answer for other in others for answer in crew.hear(other)]
    outcome = crew.hear(actor)
    crew.expect(all(status in (200, 400) for status, _ in answers), "an answer was neither yes nor no")
    born = [body for status, body in answers if status == 200]
    crew.seen[f"{len(born)} of 4 refreshed"] += 1
    crew.expect(len({pair["refresh_token"] for pair in born}) <= 1, "there was more than one successor")
    return first, born, outcome, time.monotonic()


def beside_revoke(crew: Crew) -> None:
    """After a refresh and a revocation have returned nothing lives."""
    first, born, was_alive, _ = _beside(crew, "revoke", "sid")
    crew.expect(was_alive, "the session had ended before")
    crew.expect_dead([first, *born], None)


def beside_the_endpoint(crew: Crew) -> None:
    """The same of `/revoke`, which waits for nobody."""
    first, born, status, returned_at = _beside(crew, "give_back", "refresh_token")
    crew.expect(status == 200, "the revocation failed")
    crew.expect_dead([first, *born], returned_at)


def beside_denial(crew: Crew) -> None:
    """One access token dies in every process, and nothing else does."""
    first, born, was_good, _ = _beside(crew, "deny", "access_token")
    crew.expect(was_good and len(born) == 4, "a refresh was refused, or the token was no good")
    asked = crew.each("ask", [first["access_token"], *(pair["access_token"] for pair in born)])
    crew.expect(all([status for _, status in some] == [401, *[200] * 4] for some in asked), "another token died")
    [[status, _]] = crew.one(crew.names, "refresh", born[0]["refresh_token"])
    crew.expect(status == 200, "the session has ended")


def beside_disable(crew: Crew) -> None:
    first, born, _, _ = _beside(crew, "disable", "user")
    crew.expect_dead([first, *born], None)


def beside_password(crew: Crew) -> None:
    first, born, _, returned_at = _beside(crew, "password", "user")
    crew.expect_dead([first, *born], returned_at)


def beside_update(crew: Crew) -> None:
    """Nobody is logged out: what was made before is out of date and refreshes into the new rights."""
    first, born, _, _ = _beside(crew, "update", "user")
    crew.expect(len(born) == 4, "a refresh was refused")
    before = [pair["access_token"] for pair in [first, *born] if pair["scope"] == OLD]
    asked = crew.each("ask", before)
    crew.expect(all(status == 401 for some in asked for _, status in some), "old rights were accepted")
    current = (born or [first])[0]["refresh_token"]
    [[status, body]] = crew.one(crew.names, "refresh", current)
    crew.expect((status, body.get("scope")) == (200, NEW), "the refresh did not give the new rights")
    asked = crew.each("ask", [body.get("access_token", "")])
    crew.expect(all(status == 200 for some in asked for _, status in some), "the new rights were refused")


def beside_elevate(crew: Crew) -> None:
    """One of them wins, and its token is good; who comes too late is told, and logs nobody out."""
    _, born, (status, elevated), _ = _beside(crew, "elevate", "access_token")
    crew.expect((status == 200) != bool(born), "both won, or neither did")
    crew.seen["elevated" if status == 200 else "not elevated"] += 1
    winner = elevated if status == 200 else born[0]
    [[status, body]] = crew.one(crew.names, "refresh", winner["refresh_token"])
    crew.expect(status == 200, "the winner's refresh token was no good")
    asked = crew.each("ask", [body.get("access_token", "")])
    crew.expect(all(status == 200 for some in asked for _, status in some), "the winner's access token was refused")


SCENES: dict[str, Callable[[Crew], None]] = {
    scene.__name__: scene
    for scene in (
        at_once,
        reuse,
        beside_revoke,
        beside_the_endpoint,
        beside_denial,
        beside_disable,
        beside_password,
        beside_update,
        beside_elevate,
    )
}


def play(scene: str, url: str, rounds: int, *, processes: int = 4) -> Crew:
    with crew(url, processes) as all_of_them:
        for _ in range(rounds):
            SCENES[scene](all_of_them)
    return all_of_them


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene", choices=[*SCENES, "process"])
    parser.add_argument("--store", choices=["redis", "sqlite", "memory"], default="redis")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--url", help="of the store; for a process of its own")
    asked = parser.parse_args()
    if asked.scene == "process":
        logging.basicConfig(level=logging.ERROR)  # a thief's refresh is what is played here
        logging.getLogger("asgi_auth.security").disabled = True
        anyio.run(Process(asked.url).run)
        return
    from valkey_server import Valkey  # the processes need it not

    with tempfile.TemporaryDirectory() as place:
        server = Valkey(Path(place) / "server") if asked.store == "redis" else None
        url = server.url if server else "memory://" if asked.store == "memory" else f"sqlite:///{place}/store.sqlite3"
        try:
            began = time.monotonic()
            done = play(asked.scene, url, asked.rounds, processes=1 if asked.store == "memory" else 4)
            seconds = time.monotonic() - began
        finally:
            if server:
                server.kill()
    print(f"{asked.scene} on {asked.store}: {asked.rounds} rounds, {seconds:.0f} s; {dict(done.seen)}")
    print(f"problems: {dict(done.problems) or 'none'}")


if __name__ == "__main__":
    main()
