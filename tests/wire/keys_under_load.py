"""Signing keys change all the time while several processes make and verify tokens, and a verifier elsewhere verifies
them that knows nothing but the key set and its Cache-Control. By hand, at length:

    PYTHONPATH=tests python tests/wire/keys_under_load.py --store redis --seconds 60

Told are the requests and checks, and every good token that was refused, every bad one that was taken.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import jwt
from wire_servers import Process, running

from asgi_auth import Auth, Settings, User
from asgi_auth.tokens.ring import RingKey

WORKERS = 2
CLIENTS = 4
ISSUER = "https://app.example"
LEEWAY = 1.0
SLACK = 0.5
"""Seconds by which what this script calls now may be off."""

KEPT = 20
OTHER = "EdDSA"
PLAIN = "the plain verifier"


class Token(NamedTuple):
    text: str
    kid: str
    exp: float
    made_at: float

    @classmethod
    def of(cls, text: str) -> Token:
        exp = jwt.decode(text, options={"verify_signature": False})["exp"]
        return cls(text, jwt.get_unverified_header(text)["kid"], exp, time.time())


class Verifier:
    """Keeps the key set for as long as its Cache-Control allows, and asks for nothing else.

    Args:
        curious: fetches the set again for a key that is not in it, as most do, once for a token.
    """

    def __init__(self, address: Callable[[], str], *, curious: bool) -> None:
        self._address = address
        self._curious = curious
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched_at = self._fresh_until = 0.0
        self.max_age = 0.0
        self.fetches = 0

    def takes(self, token: Token) -> bool:
        with self._lock:
            known = token.kid in self._keys or not self._curious or self._fetched_at > token.made_at
            if time.time() >= self._fresh_until or not known:
                self._fetch()
            key = self._keys.get(token.kid)
        if key is None:
            return False
        try:
            # Not the times: by the moment of looking a token may be over.
            times = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            jwt.decode(token.text, key, algorithms=[key.algorithm_name], audience=ISSUER, issuer=ISSUER, options=times)
        except jwt.InvalidTokenError:
            return False
        return True

    def _fetch(self) -> None:
        began_at = time.time()
        answer = httpx2.get(f"{self._address()}/.well-known/jwks.json", timeout=30, verify=False)
        found = re.fullmatch(r"public, max-age=(\d+)", answer.headers["cache-control"])
        assert found is not None
        self.max_age = float(found[1])
        self._keys = {jwk["kid"]: jwt.PyJWK(jwk) for jwk in answer.json()["keys"]}
        self._fetched_at, self._fresh_until = began_at, began_at + self.max_age
        self.fetches += 1


class Figures(NamedTuple):
    """What was counted, and what must be empty."""

    counts: dict[str, int]
    refused: list[str]
    taken: list[str]


class Load:
    """Servers over one store, clients that refresh and use what they got, and what is known of the keys."""

    def __init__(self, directory: Path, settings: dict[str, Any], *, lead: float) -> None:
        self.directory, self.settings, self.lead = directory, settings, lead
        self.servers: list[Process] = []
        self.counts: Counter[str] = Counter()
        self.refused: list[str] = []
        self.taken: list[str] = []
        self.unknown: list[str] = []
        self.revoking: set[str] = set()
        self.revoked: dict[str, float] = {}
        self.unannounced: set[str] = set()
        self.kids: dict[str, Token] = {}
        """The latest token of each."""
        self.scene = ""
        self.over = threading.Event()
        self.plain = Verifier(lambda: self.servers[0].url, curious=False)
        self.curious = Verifier(lambda: self.servers[0].url, curious=True)

    def change(self, act: Callable[[Auth], Awaitable[Any]], **changed: Any) -> Any:
        """What another process of the same application does, as the command line is one."""

        async def run() -> Any:
            async with Auth(Settings(**{**self.settings, **changed})) as auth:
                return await act(auth)

        return anyio.run(run)

    def signing(self) -> RingKey:
        async def found(auth: Auth) -> RingKey:
            return next(entry for entry in await auth.parts.keys.entries() if entry.signs(time.time()))

        return self.change(found)  # type: ignore[no-any-return]

    # --- servers

    @contextmanager
    def serving(self, **changed: Any) -> Iterator[None]:
        settings = {**self.settings, **changed}
        variables = {f"ASGI_AUTH_{name.upper()}": str(value) for name, value in settings.items()}
        options = ("--workers", str(WORKERS))
        with running("uvicorn", self.directory, *options, workers=WORKERS, **variables) as process:
            self.servers = [*self.servers, process]
            yield
            self.leave(process)

    def leave(self, process: Process) -> None:
        """Ask this one no more."""
        self.left = process
        self.servers = [one for one in self.servers if one is not process]
        time.sleep(1.0)  # what is under way is answered

    def enter(self) -> None:
        """Ask the one that was left again."""
        self.servers = [*self.servers, self.left]

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """On a connection of its own, so that any worker of any server may get it."""
        server = random.choice(self.servers)
        headers = {**more.pop("headers", {}), "connection": "close"}
        with httpx2.Client(base_url=server.url, timeout=30, verify=False) as client:
            return client.request(method, path, headers=headers, **more)

    # --- clients

    def client(self, refresh_token: str) -> None:
        tokens: list[Token] = []
        while not self.over.is_set():
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            answer = self.ask("POST", "/auth/token", data=form)
            if answer.status_code != 200:
                self.wrong(self.refused, "a refresh", answer.text)
                continue
            self.counts["tokens made"] += 1
            refresh_token = answer.json()["refresh_token"]
            token = Token.of(answer.json()["access_token"])
            self.kids[token.kid] = token
            tokens = [*tokens[-KEPT:], token]
            for one in {token, *random.sample(tokens, min(3, len(tokens)))}:
                self.use(one)
                self.show(one)

    def use(self, token: Token) -> None:
        """At a server of ours."""
        begun = time.time()
        dead = self.revoked.get(token.kid, begun) < begun or begun > token.exp + LEEWAY + SLACK
        answer = self.ask("GET", "/who", headers={"authorization": f"Bearer {token.text}"})
        good = time.time() < token.exp and token.kid not in self.revoking
        self.judge(good, dead, answer.status_code == 200, f"{answer.status_code} {answer.text}", token)
        if answer.status_code not in (200, 401):
            self.wrong(self.refused, "an answer", answer.text)

    def show(self, token: Token) -> None:
        """To the verifiers elsewhere. Each may keep a set for as long as it is told to."""
        for name, verifier in ((PLAIN, self.plain), ("the curious verifier", self.curious)):
            begun = time.time()
            dead = self.revoked.get(token.kid, begun) + verifier.max_age + SLACK < begun
            took = verifier.takes(token)
            # What a key signed is taken elsewhere until it is retired, and then no more than here.
            good = time.time() < token.exp and token.kid not in self.revoking
            self.judge(good, dead, took, name, token)

    def judge(self, good: bool, dead: bool, took: bool, what: str, token: Token) -> None:
        if good:
            self.counts["good ones"] += 1
            if not took:
                self.wrong(self.unknown if what == PLAIN else self.refused, what, token.kid)
        elif dead:
            self.counts["bad ones"] += 1
            if took:
                self.wrong(self.taken, what, token.kid)

    def figures(self) -> Figures:
        """A verifier that asks for nothing can't know a key that signs without having been announced."""
        refused = [one for one in self.unknown if one.split()[-1] not in self.unannounced]
        return Figures(dict(self.counts), self.refused + refused, self.taken)

    def wrong(self, where: list[str], *what: str) -> None:
        where.append(" ".join([self.scene, f"{time.time():.3f}", *what]))


# ---------------------------------------------------------------------- what is done to the keys


def scheduled(load: Load, seconds: float) -> None:
    known = len(load.kids)
    time.sleep(seconds)
    _wait(lambda: len(load.kids) > known + 1)


def rotated(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        load.change(lambda auth: auth.rotate_keys())
        time.sleep(load.lead / 4)


def rotated_at_once(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        load.unannounced.add(load.change(lambda auth: auth.rotate_keys(at_once=True)))
        time.sleep(2 * load.plain.max_age + SLACK)


def revoked(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        kid = load.signing().key.kid
        _wait(lambda kid=kid: kid in load.kids, 2.0)
        load.revoking.add(kid)
        if not load.change(partial(Auth.revoke_key, kid=kid, wait=True)):
            continue  # it was retired and forgotten meanwhile
        load.revoked[kid] = time.time()
        load.counts["revoked keys"] += 1
        for _ in range(2 * WORKERS if kid in load.kids else 0):
            load.use(load.kids[kid])
        successor = load.signing()
        if time.time() - successor.created_at < load.lead + SLACK:  # it had been the next one for a moment only
            load.unannounced.add(successor.key.kid)
        time.sleep(load.lead + SLACK)


def another_algorithm(load: Load, seconds: float) -> None:
    """A rolling deploy: the key is published, processes of both algorithms, the old ones alone again, both."""
    load.change(lambda auth: auth.ready(), jwt_algorithm=OTHER)
    time.sleep(load.lead)
    with load.serving(jwt_algorithm=OTHER):
        time.sleep(seconds)
        load.leave(load.servers[0])
        time.sleep(min(seconds, load.lead))  # a line that nobody cares for is retired after six times as long
        load.enter()
        time.sleep(seconds)


def _wait(until: Callable[[], bool], patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while not until() and time.monotonic() < end:
        time.sleep(0.05)


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= end:
            return


SCENES = {
    "scheduled": scheduled,
    "rotated": rotated,
    "at once": rotated_at_once,
    "revoked": revoked,
    "another algorithm": another_algorithm,
}


def run(directory: Path, store: str, *, every: float, seconds: float, scenes: Collection[str] = SCENES) -> Figures:
    """Each scene for so long, over one store."""
    settings: dict[str, Any] = {
        "store": store,
        "secret": "k" * 40,
        "jwt_issuer": ISSUER,
        "jwt_rotate": every,
        "jwt_leeway": LEEWAY,
        "access_lifetime": 6.0,
    }
    load = Load(directory, settings, lead=min(600.0, every / 2))

    async def pairs(auth: Auth) -> list[str]:
        return [(await auth.issue(User("alice"))).refresh_token for _ in range(CLIENTS)]

    with ExitStack() as stack:
        stack.enter_context(load.serving())
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        clients = [pool.submit(load.client, token) for token in load.change(pairs)]
        try:
            for load.scene in scenes:
                before = len(load.kids)
                SCENES[load.scene](load, seconds)
                load.counts[f"keys that signed, {load.scene}"] = len(load.kids) - before
        finally:
            load.over.set()
        for client in clients:
            client.result()
    load.counts["key sets fetched, plain"] = load.plain.fetches
    load.counts["key sets fetched, curious"] = load.curious.fetches
    return load.figures()


def main() -> None:
    from valkey_server import Valkey

    parser = argparse.ArgumentParser()
    parser.add_argument("--store", choices=["sqlite", "redis"], default="sqlite")
    parser.add_argument("--every", type=float, default=8.0, help="JWT_ROTATE, in seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each scene")
    asked = parser.parse_args()
    logging.getLogger("asgi_auth").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        store = f"sqlite:///{directory}/keys.sqlite3"
        if asked.store == "redis":
            server = Valkey(directory / "server")
            stack.callback(server.kill)
            store = server.url
        figures = run(directory, store, every=asked.every, seconds=asked.seconds)
    print(f"{asked.store}, JWT_ROTATE={asked.every:g}s, {asked.seconds:g} s a scene")
    for what, number in figures.counts.items():
        print(f"  {what}: {number}")
    for name, problems in (("good ones refused", figures.refused), ("bad ones taken", figures.taken)):
        print(f"  {name}: {len(problems)}", *problems[:10], sep="\n    ")


if __name__ == "__main__":
    main()
