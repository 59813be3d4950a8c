"""Another issuer that fails, comes back and changes its keys, while real workers are under load by its tokens.

python tests/wire/issuers_under_load.py [--https] [--workers 2] [--seconds 20]     prints figures

Every request is by a token that must count, or by one that must not: signed by a key that its issuer never published,
under a known name and under others, for another audience, over, changed by a bit.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx2

if __name__ == "__main__":  # as pytest finds them
    sys.path[:0] = [str(Path(__file__).parent.parent)]

from certificates import Authority
from local_issuer import JWKS, LocalIssuer, new_key, respond
from wire_servers import Process, running

from asgi_auth.tokens.issuers import fetching, source
from asgi_auth.tokens.keys import SigningKey

CLIENTS = 8
ENOUGH = 20
"""Answers of each kind without which a phase says nothing."""

HURRY = 1.0
"""Seconds that take the place of the cool-down and of the least freshness in workers that hurry (`wire_issuers`)."""


class Phase(NamedTuple):
    """What came of a time.

    Attributes:
        failed: answers other than 200 to tokens that count, by status.
        let_in: answers of 200 to tokens that must not count. Must be 0.
        fetches: how often the issuer was asked, by all workers.
        allowed: how often it may have been asked for keys.
        slowest: milliseconds of an answer to a token that counts: the median, and the longest.
    """

    name: str
    seconds: float
    right: int
    wrong: int
    failed: dict[int, int]
    let_in: int
    refused: dict[int, int]
    fetches: dict[str, int]
    allowed: int
    median: float
    slowest: float


class Load:
    """Clients that ask without a pause, as long as it is entered.

    Attributes:
        key: that tokens which count are signed by now.
        unknown: whether some of those that do not count are signed by keys that nobody knows.
        withdrawn: a key whose tokens must not count any more.
    """

    def __init__(self, idp: LocalIssuer, server: Process, workers: int, cool_down: float) -> None:
        self.idp, self.key = idp, idp.key
        self.unknown = True
        self.withdrawn: SigningKey | None = None
        self.phases: list[Phase] = []
        self._server = server
        self._workers, self._cool_down = workers, cool_down
        self._known: list[str] = []
        self._answers: list[tuple[bool, int, float]] = []

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[Load]:
        async with anyio.create_task_group() as group:
            for _ in range(CLIENTS):
                group.start_soon(self._ask)
            yield self
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        """What is answered meanwhile."""
        self._answers, asked, began = [], Counter(self.idp.asked), time.monotonic()
        yield
        with anyio.fail_after(60):
            while not self._has_enough():  # noqa: ASYNC110
                await anyio.sleep(0.05)
        answers, seconds = self._answers, time.monotonic() - began
        times = [took * 1000 for right, _, took in answers if right]
        self.phases.append(
            Phase(
                name,
                round(seconds, 1),
                right=len(times),
                wrong=len(answers) - len(times),
                failed=dict(Counter(status for right, status, _ in answers if right and status != 200)),
                let_in=sum(status == 200 for right, status, _ in answers if not right),
                refused=dict(Counter(status for right, status, _ in answers if not right and status != 200)),
                fetches=dict(self.idp.asked - asked),
                allowed=self._workers * (int(seconds / self._cool_down) + 2),
                median=round(statistics.median(times), 1),
                slowest=round(max(times), 1),
            )
        )

    def _has_enough(self) -> bool:
        """Whether a busy machine has done something."""
        return min(Counter(right for right, _, _ in self._answers)[which] for which in (True, False)) >= ENOUGH

    async def _ask(self) -> None:
        async with httpx2.AsyncClient(base_url=self._server.url, timeout=30, verify=False) as client:
            while True:
                right = random.random() < 0.7
                token = self._right() if right else self._wrong()
                began = time.monotonic()
                answer = await client.get("/who/1", headers={"authorization": f"Bearer {token}"})
                took = time.monotonic() - began
                self._answers.append((right, answer.status_code, took))

    def _right(self) -> str:
        if self._known and random.random() < 0.5:
            return random.choice(self._known)  # seen before
        token = self.idp.token(key=self.key, jti=str(random.random()))
        self._known = [*self._known[-50:], token]
        return token

    def forget(self) -> None:
        """What was signed until now counts no more, or not for long."""
        self._known = []

    def _wrong(self) -> str:
        idp, key = self.idp, self.key
        good = idp.token(key=key)
        # A bit of the header may be one of the key's name.
        place = random.randrange(0 if self.unknown else good.index("."), len(good) - 4)
        choices: list[Callable[[], str]] = [
            lambda: idp.token(key=new_key(), head={"kid": key.kid}),
            lambda: idp.token(key=key, aud="another"),
            lambda: idp.token(key=key, exp=int(time.time()) - 60),
            lambda: good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :],
        ]
        if self.unknown:
            choices += [lambda: idp.token(key=new_key())]
        if (withdrawn := self.withdrawn) is not None:
            choices += [lambda: idp.token(key=withdrawn)] * 4
        return random.choice(choices)()


async def play(load: Load, seconds: float, cool_down: float, fresh: float) -> list[Phase]:
    """The issuer's day."""
    idp, old = load.idp, load.key
    idp.headers[JWKS] = {"cache-control": f"max-age={int(fresh)}"}
    async with load.going_on():
        async with load.phase("the first tokens"):
            await anyio.sleep(seconds)
        idp.stop()
        async with load.phase("nobody listens"):
            await anyio.sleep(max(seconds, fresh + 1))
        idp.answers[JWKS] = lambda handler: respond(handler, 503)
        idp.start()
        asked = idp.asked[JWKS]
        async with load.phase("it answers 503"):
            await anyio.sleep(seconds)
            with anyio.fail_after(60):
                while idp.asked[JWKS] == asked:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
        idp.answers.clear()
        async with load.phase("it is back"):
            await anyio.sleep(max(seconds, cool_down + 1))
        key = new_key()
        idp.publish(key, old)
        async with load.phase("its next key is published, while keys that nobody knows are asked for"):
            await anyio.sleep(cool_down + 1)
            load.key = key
            await anyio.sleep(seconds)
        load.unknown = False
        await anyio.sleep(cool_down + 1)
        idp.publish(load.key, key := new_key())
        async with load.phase("it signs with another key at once"):
            load.key = key
            await anyio.sleep(seconds)
        load.forget()
        idp.publish(key)
        await anyio.sleep(fresh + cool_down + 1)
        load.withdrawn = old
        async with load.phase("it has taken its old keys back"):
            await anyio.sleep(seconds)
    return load.phases


def run(directory: Path, *, https: bool, workers: int, seconds: float, hurry: bool = False) -> list[Phase]:
    """Play it with real workers. `hurry`: they wait a second where others wait for five or sixty."""
    authority = Authority(directory / "ca")
    idp = LocalIssuer(certificate=authority.certify("127.0.0.1") if https else None)
    records = json.dumps([{"name": "idp", "issuer": idp.url, "audience": "api"}])
    variables = {"ASGI_AUTH_JWT_TRUSTED_ISSUERS": records, "SSL_CERT_FILE": str(authority.path)}
    cool_down, fresh = (HURRY, HURRY) if hurry else (source.COOL_DOWN, fetching.FRESH[0])
    options = ("--workers", str(workers), "--log-level", "info", "--no-access-log")
    try:
        with running(
            "uvicorn", directory, *options, workers=workers, app="issuers" if hurry else "app", **variables
        ) as server:
            load = Load(idp, server, workers, cool_down)
            return anyio.run(play, load, seconds, cool_down, fresh)
    finally:
        idp.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--https", action="store_true", help="the issuer has a certificate of a test's authority")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase, at least")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for phase in run(Path(directory), https=asked.https, workers=asked.workers, seconds=asked.seconds):
            print(phase)


if __name__ == "__main__":
    main()
