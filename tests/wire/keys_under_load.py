"""Signing keys change all the time while several processes make and verify tokens, and a verifier elsewhere verifies
them that knows nothing but the key set and its Cache-Control. By hand, at length:

    PYTHONPATH=tests python tests/wire/keys_under_load.py --store redis --seconds 60

Told are the requests and checks, and every good token that was refused, every bad one that was taken.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import jwt
from wire_servers import Process, environment, running

from asgi_auth import Auth, Settings, User

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

    @classmethod
    def of(cls, text: str) -> Token:
        exp = jwt.decode(text, options={"verify_signature": False})["exp"]
        return cls(text, jwt.get_unverified_header(text)["kid"], exp)


class Verifier:
    """Keeps the key set for as long as its Cache-Control allows, and asks for nothing else.

    Args:
        curious: fetches the set again for a key that is not in it, as most do.
    """

    def __init__(self, address: Callable[[], str], *, curious: bool) -> None:
        self._address = address
        self._curious = curious
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fresh_until = 0.0
        self.max_age = 0.0
        self.fetches = 0

    def takes(self, token: Token) -> bool:
        with self._lock:
            if time.time() >= self._fresh_until or (self._curious and token.kid not in self._keys):
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
        answer = httpx2.get(f"{self._address()}/.well-known/jwks.json", timeout=30)
        found = re.fullmatch(r"public, max-age=(\d+)", answer.headers["cache-control"])
        assert found is not None
        self.max_age = float(found[1])
        self._keys = {jwk["kid"]: jwt.PyJWK(jwk) for jwk in answer.json()["keys"]}
        self._fresh_until = began_at + self.max_age
        self.fetches += 1


class Figures(NamedTuple):
    """What was counted, and what must be empty."""

    counts: dict[str, int]
    refused: list[str]
    taken: list[str]


class Load:
    """Servers over one store, clients that refresh and use what they got, and what is known of the keys."""

    def __init__(self, directory: Path, store: str, variables: dict[str, str], *, lead: float) -> None:
        self.directory, self.store, self.variables, self.lead = directory, store, variables, lead
        self.servers: list[Process] = []
        self.counts: Counter[str] = Counter()
        self.refused: list[str] = []
        self.taken: list[str] = []
        self.unknown: list[str] = []
        self.revoking: set[str] = set()
        self.revoked: dict[str, float] = {}
        self.unannounced: set[str] = set()
        self.kids: set[str] = set()
        self.scene = ""
        self.over = threading.Event()
        self.plain = Verifier(lambda: self.servers[0].url, curious=False)
        self.curious = Verifier(lambda: self.servers[0].url, curious=True)

    # --- keys

    def command(self, *arguments: str, **variables: str) -> str:
        env = environment(self.directory, **{**self.variables, **variables})
        command = [sys.executable, "-c", "from asgi_auth.cli import main; main()", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    def signing(self) -> dict[str, Any]:
        keys = json.loads(self.command("keys", "list", "--json"))
        return next(key for key in keys if key["signs"])  # type: ignore[no-any-return]

    # --- servers

    @contextmanager
    def serving(self, **variables: str) -> Iterator[None]:
        options = ("--workers", str(WORKERS))
        with running(
            "uvicorn", self.directory, *options, workers=WORKERS, **{**self.variables, **variables}
        ) as process:
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
        with httpx2.Client(base_url=server.url, timeout=30) as client:
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
            self.kids.add(token.kid)
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
    time.sleep(seconds)


def rotated(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        load.command("keys", "rotate")


def rotated_at_once(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        new = load.command("keys", "rotate", "--now").split()[0]
        load.unannounced.add(new)
        time.sleep(2 * load.plain.max_age + SLACK)


def revoked(load: Load, seconds: float) -> None:
    for _ in _until(seconds):
        kid = load.signing()["kid"]
        load.revoking.add(kid)
        load.command("keys", "revoke", kid)
        load.revoked[kid] = time.time()
        load.counts["revoked keys"] += 1
        successor = load.signing()
        if time.time() - successor["created_at"] < load.lead + SLACK:  # it had been the next one for a moment only
            load.unannounced.add(successor["kid"])
        time.sleep(load.lead + SLACK)


def another_algorithm(load: Load, seconds: float) -> None:
    """A rolling deploy: the key is published, processes of both algorithms, the old ones end."""
    changed = {"ASGI_AUTH_JWT_ALGORITHM": OTHER}
    load.command("check", **changed)
    time.sleep(load.lead)
    with load.serving(**changed):
        time.sleep(seconds)
        load.leave(load.servers[0])
        time.sleep(seconds)
        load.enter()
        time.sleep(seconds)


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


def run(directory: Path, store: str, *, every: float, seconds: float) -> Figures:
    """Every scene for so long, over one store."""
    settings: dict[str, Any] = {
        "store": store,
        "secret": "k" * 40,
        "jwt_issuer": ISSUER,
        "jwt_rotate": every,
        "jwt_leeway": LEEWAY,
        "access_lifetime": 6.0,
    }
    variables = {f"ASGI_AUTH_{name.upper()}": str(value) for name, value in settings.items()}
    load = Load(directory, store, variables, lead=min(600.0, every / 2))

    async def pairs() -> list[str]:
        async with Auth(Settings(**settings)) as auth:
            return [(await auth.issue(User("alice"))).refresh_token for _ in range(CLIENTS)]

    with ExitStack() as stack:
        stack.enter_context(load.serving())
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        clients = [pool.submit(load.client, token) for token in anyio.run(pairs)]
        try:
            for load.scene, change in SCENES.items():
                before = len(load.kids)
                change(load, seconds)
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
