"""One walk through both modes, over every store and on trio; several workers, a restart, a store that is silent."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from example_server import Example, browser, log_in, running, tokens
from websockets.sync.client import connect

FRAMEWORKS = ("starlette", "fastapi", "quart")


def walk(example: Example) -> None:
    """Data as a visitor, login, live connections, refresh, revocation, logout."""
    with browser(example) as client, browser(example) as program:
        assert client.get("/private").status_code == 401
        assert client.put("/data/colour", json="green").status_code == 204
        assert log_in(client, "bob").status_code == 200
        assert client.get("/data").json() == {"colour": "green"}
        assert client.get("/admin").json() == {"user": "bob", "backend": "session"}

        with client.stream("GET", "/stream") as events:
            assert next(events.iter_lines()) == 'data: {"user": "bob", "number": 1}'
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        with connect(f"ws{example.url.removeprefix('http')}/ws", additional_headers={"Cookie": cookies}) as websocket:
            assert json.loads(websocket.recv(timeout=10)) == {"user": "bob"}
            websocket.send("hello")
            assert websocket.recv(timeout=10) == "hello"

        first = tokens(program, "bob")
        program.headers["authorization"] = f"Bearer {first['access_token']}"
        assert program.get("/admin").json() == {"user": "bob", "backend": "jwt"}
        del program.headers["authorization"]
        grant = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        second = program.post("/auth/token", data=grant).json()
        program.headers["authorization"] = f"Bearer {second['access_token']}"
        assert program.get("/private").status_code == 200

        modes = {one["backend"]: one["id"] for one in client.get("/auth/sessions").json()["sessions"]}
        assert set(modes) == {"session", "jwt"}
        assert client.delete(f"/auth/sessions/{modes['jwt']}").status_code == 204
        assert program.get("/private").json()["error_description"] == "The access token was revoked"
        assert program.post("/auth/revoke", data={"token": second["refresh_token"]}).status_code == 200

        kept = dict(client.cookies)
        assert client.post("/auth/logout").status_code == 204
        assert not client.cookies
        client.cookies.update(kept)
        assert client.get("/private").json()["reason"] == "ended"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("store", ["memory", "redis"])
def test_the_walk_over_every_store(framework: str, store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = "memory://" if store == "memory" else request.getfixturevalue("redis_url")
    with running(framework, tmp_path, url) as example:
        walk(example)


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_the_walk_on_trio(framework: str, tmp_path: Path) -> None:
    with running(framework, tmp_path, server="hypercorn-trio") as example:
        walk(example)


def test_workers_share_the_logins_and_a_restart_keeps_them(tmp_path: Path) -> None:
    with running("starlette", tmp_path, options=("--workers", "2")) as example:
        with browser(example) as client:
            assert log_in(client, "alice").status_code == 200
            kept = dict(client.cookies)
        for _ in range(10):
            with browser(example) as client:  # a connection of its own, so that either worker may get it
                client.cookies.update(kept)
                assert client.get("/private").json()["user"] == "alice"
        assert example.log.read_text().count("added the demo user alice ") == 1
    with running("starlette", tmp_path) as example, browser(example) as client:
        client.cookies.update(kept)
        assert client.get("/private").json()["user"] == "alice"
        assert "added the demo user" not in example.log.read_text()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_silent_store_stops_no_start_and_lets_nobody_in(framework: str, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        store = f"redis://127.0.0.1:{nobody.getsockname()[1]}"
        with running(framework, tmp_path, store) as example, browser(example) as client:
            assert client.get("/public").json() == {"user": None, "backend": None}
            assert client.get("/private").status_code == 401
            answer = log_in(client, "alice")
            assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
            assert answer.headers["retry-after"] == "1"
            assert "the demo users were not added" in example.log.read_text()
