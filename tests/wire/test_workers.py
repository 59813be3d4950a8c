"""Several processes of one application over one store: every worker agrees, whatever the others did a moment ago, and
what was acknowledged survives a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest
from valkey_server import Valkey
from wire_servers import Process, running

from asgi_auth import Auth, Settings, User
from asgi_auth.client import ClientAuth, TokenFile

WORKERS = 3
ALICE = User("alice", scopes=frozenset({"read"}))


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.sqlite3" if request.param == "sqlite" else request.getfixturevalue("redis_url")


class Crew(NamedTuple):
    """Workers for all tests that kill nothing, and the URL of their store."""

    process: Process
    url: str


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    directory = tmp_path_factory.mktemp("crew")
    server = Valkey(directory) if request.param == "redis" else None  # its own, which no other test empties
    url = server.url if server is not None else f"sqlite:///{directory}/s.sqlite3"
    with workers(directory, url) as process:
        yield Crew(process, url)
    if server is not None:
        server.kill()


@pytest.fixture
def crew(serving: Crew) -> Crew:
    """The workers, with nobody logged in."""
    in_store(serving.url, lambda auth: auth.revoke_all())
    return serving


@contextmanager
def workers(directory: Path, url: str, **variables: str) -> Iterator[Process]:
    options = ("--workers", str(WORKERS))
    with running("uvicorn", directory, *options, workers=WORKERS, ASGI_AUTH_STORE=url, **variables) as process:
        yield process


def ask(process: Process, path: str, headers: dict[str, str], method: str = "GET", **more: Any) -> httpx2.Response:
    """One request on a connection of its own, so that any worker may get it."""
    with process.client() as client:
        return client.request(method, path, headers={**headers, "connection": "close"}, **more)


def of_every_worker(process: Process, path: str, headers: dict[str, str]) -> list[httpx2.Response]:
    """The answers of so many requests at once that each worker has given some."""
    answers: list[httpx2.Response] = []
    with ThreadPoolExecutor(12) as pool:
        for _ in range(20):
            answers += pool.map(lambda _: ask(process, path, headers), range(12))
            if len({answer.headers["x-pid"] for answer in answers}) == WORKERS:
                return answers
    raise AssertionError("not every worker answered")


def login(process: Process, user: str = "alice", headers: dict[str, str] | None = None) -> dict[str, str]:
    answer = ask(process, f"/login/{user}", headers or {})
    assert answer.status_code == 200
    ((name, value),) = answer.cookies.items()
    return {"cookie": f"{name}={value}"}


def users(answers: list[httpx2.Response]) -> set[str | None]:
    return {answer.json()["user"] for answer in answers}


def in_store(url: str, act: Callable[[Auth], Any]) -> Any:
    async def run() -> Any:
        async with Auth(Settings(store=url)) as auth:
            return await act(auth)

    return anyio.run(run)


def test_every_worker_agrees_on_who_is_there_and_what_they_left(crew: Crew) -> None:
    process, store_url = crew
    cookie = login(process)
    assert users(of_every_worker(process, "/who", cookie)) == {"alice"}
    pair = in_store(store_url, lambda auth: auth.issue(ALICE))
    bearer = {"authorization": f"Bearer {pair.access_token}"}
    assert users(of_every_worker(process, "/who", bearer)) == {"alice"}
    ask(process, "/put/cart", cookie)
    assert all(answer.json() == {"cart": "cart"} for answer in of_every_worker(process, "/data", cookie))
    in_store(store_url, lambda auth: auth.update_user("alice", scopes="admin"))
    assert {answer.status_code for answer in of_every_worker(process, "/admin", cookie)} == {200}
    assert {answer.status_code for answer in of_every_worker(process, "/who", bearer)} == {401}


def test_a_logout_in_one_worker_is_seen_by_the_others(crew: Crew) -> None:
    process, store_url = crew
    for end in ("/logout", "replaced", "revoke_user"):
        cookie = login(process)
        assert users(of_every_worker(process, "/who", cookie)) == {"alice"}
        if end == "/logout":
            ask(process, end, cookie)
        elif end == "replaced":
            login(process, "bob", cookie)
        else:
            in_store(store_url, lambda auth: auth.revoke_user("alice"))
        assert users(of_every_worker(process, "/who", cookie)) == {None}


def test_writes_of_different_keys_in_all_workers_at_once_are_all_kept(crew: Crew) -> None:
    process = crew.process
    cookie = login(process)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: ask(process, f"/put/k{n}", cookie), range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert ask(process, "/data", cookie).json() == {f"k{n}": f"k{n}" for n in range(60)}


def test_of_sixteen_refreshes_of_one_token_in_three_processes_one_has_a_successor(crew: Crew) -> None:
    process, store_url = crew
    first = in_store(store_url, lambda auth: auth.issue(ALICE))
    token = first.refresh_token
    for _ in range(3):
        with ThreadPoolExecutor(16) as pool:
            form = {"grant_type": "refresh_token", "refresh_token": token}
            answers = list(pool.map(lambda _, form=form: ask(process, "/auth/token", {}, "POST", data=form), range(16)))
        assert {answer.status_code for answer in answers} == {200}
        successors = {answer.json()["refresh_token"] for answer in answers}
        assert len(successors) == 1
        (token,) = successors
        access = {answer.json()["access_token"] for answer in answers}
        for one in list(access)[:3]:
            assert ask(process, "/who", {"authorization": f"Bearer {one}"}).json()["user"] == "alice"
    assert len(in_store(store_url, lambda auth: auth.sessions("alice"))) == 1


def test_a_limit_of_one_holds_for_logins_in_all_workers_at_once(tmp_path: Path, store_url: str) -> None:
    with workers(tmp_path, store_url, ASGI_AUTH_SESSION_LIMIT="1") as process:
        with ThreadPoolExecutor(12) as pool:
            cookies = list(pool.map(lambda _: login(process), range(24)))
        assert len(in_store(store_url, lambda auth: auth.sessions("alice"))) == 1
        alive = [cookie for cookie in cookies if ask(process, "/who", cookie).json()["user"] == "alice"]
        assert len(alive) == 1


def test_sessions_and_tokens_survive_a_kill_of_the_server(tmp_path: Path, store_url: str) -> None:
    with workers(tmp_path, store_url) as process:
        cookies = [login(process) for _ in range(5)]
        ask(process, "/put/cart", cookies[0])
        ended = login(process)
        ask(process, "/logout", ended)
        pair = in_store(store_url, lambda auth: auth.issue(ALICE))
        form = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token}
        second = ask(process, "/auth/token", {}, "POST", data=form).json()
        process.kill()
    with workers(tmp_path, store_url) as process:
        for cookie in cookies:
            assert users(of_every_worker(process, "/who", cookie)) == {"alice"}
        assert ask(process, "/data", cookies[0]).json() == {"cart": "cart"}
        assert ask(process, "/who", ended).json()["user"] is None
        bearer = {"authorization": f"Bearer {second['access_token']}"}
        assert ask(process, "/who", bearer).json()["user"] == "alice"
        form = {"grant_type": "refresh_token", "refresh_token": second["refresh_token"]}
        assert ask(process, "/auth/token", {}, "POST", data=form).status_code == 200


def test_a_kill_in_the_middle_of_logins_loses_none_that_was_acknowledged(tmp_path: Path, store_url: str) -> None:
    acknowledged: list[dict[str, str]] = []
    with workers(tmp_path, store_url) as process:

        def log_in(number: int) -> None:
            if number == 20:
                process.kill()
                return
            with suppress(httpx2.HTTPError):
                acknowledged.append(login(process))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(log_in, range(40)))
    assert acknowledged
    with workers(tmp_path, store_url) as process:
        for cookie in acknowledged:
            assert ask(process, "/who", cookie).json()["user"] == "alice"


def test_all_workers_share_one_key_ring_whoever_starts_first(crew: Crew) -> None:
    process = crew.process
    rings = {
        json.dumps(answer.json(), sort_keys=True) for answer in of_every_worker(process, "/.well-known/jwks.json", {})
    }
    assert len(rings) == 1


CLIENT = Path(__file__).parent.parent / "client" / "client_worker.py"


def test_two_client_processes_with_one_login_refresh_once_and_every_worker_takes_what_they_have(
    crew: Crew, tmp_path: Path
) -> None:
    process, store_url = crew
    pair, file = in_store(store_url, lambda auth: auth.issue(ALICE)), tmp_path / "tokens.json"
    url = f"{process.url}/auth"
    ClientAuth(url, storage=TokenFile(file)).take(pair.public())
    command = [sys.executable, str(CLIENT), url, process.url, str(file)]
    clients = [
        subprocess.Popen([*command, library, "/auth/me"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for library in ("httpx", "httpx2")
    ]

    def came(client: subprocess.Popen[str]) -> dict[str, int]:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("20\n")
        client.stdin.flush()
        return dict(json.loads(client.stdout.readline()))

    async def outdate(auth: Auth) -> int:
        """Every token that is out is out of date from now on. How often the login was refreshed."""
        loaded = await auth.parts.store.load(pair.session.id)
        await auth.update_user("alice", scopes={"read", f"more{loaded.record.grant.generation}"}, wait=True)
        return loaded.record.grant.generation - 1

    try:
        for refreshes in range(6):
            assert in_store(store_url, outdate) == refreshes
            with ThreadPoolExecutor(2) as pool:
                assert list(pool.map(came, clients)) == [{"200": 20}] * 2
    finally:
        for client in clients:
            client.kill()
            client.communicate()
