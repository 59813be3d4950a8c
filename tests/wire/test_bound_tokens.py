"""Tokens that are bound to a key (RFC 9449), over real sockets: the URL that the client used, a proxy in front, several
processes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from valkey_server import Valkey
from wire_servers import PATIENCE, Process, running

from asgi_auth import Auth, Settings, User
from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey, generate

APP = "https://app.example.com"
KEY = SigningKey.from_jwk(generate("ES256"))


def bound_token(store: str, **settings: Any) -> str:
    async def issue() -> str:
        async with Auth(Settings(store=store, **settings)) as auth:
            return (await auth.issue(User("alice", scopes=frozenset({"read"})), jkt=KEY.kid)).access_token

    return anyio.run(issue)


def signed(token: str, url: str, nonce: str | None, method: str = "GET") -> dict[str, str]:
    proof = make_proof(KEY, method, url, now=0, nonce=nonce, access_token=token)
    return {"authorization": f"DPoP {token}", "dpop": proof}


class Forwarding(BaseHTTPRequestHandler):
    """A reverse proxy that ends TLS for app.example.com and takes `/api` away, as many are set up."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        upstream = http.client.HTTPConnection(server.upstream, timeout=PATIENCE)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com", "X-Forwarded-For": "192.0.2.7"}
        upstream.request("GET", self.path.removeprefix("/api"), headers={**kept, **told})
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        upstream.close()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def proxy(process: Process) -> Iterator[httpx2.Client]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Forwarding)
    server.upstream = process.address
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=PATIENCE) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("server", "setting"),
    [
        ("uvicorn", "ASGI_AUTH_URL"),
        ("uvicorn-uvloop", "ASGI_AUTH_TRUSTED_PROXIES"),
        ("hypercorn", "ASGI_AUTH_TRUSTED_PROXIES"),
        ("hypercorn-trio", "ASGI_AUTH_URL"),
    ],
)
def test_a_proof_names_the_url_that_the_client_used_before_a_proxy(server: str, setting: str, tmp_path: Path) -> None:
    by_url = setting == "ASGI_AUTH_URL"
    options = ["--root-path", "/api"]
    if server.startswith("uvicorn") and not by_url:
        options.append("--no-proxy-headers")  # else it puts the client in the proxy's place, whom nobody trusts
    variables = {setting: APP if by_url else "127.0.0.1"}
    with running(server, tmp_path, *options, **variables) as process, proxy(process) as client:
        token = bound_token(f"sqlite:///{tmp_path}/wire.sqlite3", **({"url": APP} if by_url else {}))
        wanted = client.get("/api/who", headers=signed(token, f"{APP}/api/who", None))
        assert (wanted.status_code, wanted.json()["error"]) == (401, "use_dpop_nonce")
        nonce = wanted.headers["dpop-nonce"]
        answer = client.get("/api/who?page=2", headers=signed(token, f"{APP}/api/who?page=2", nonce))
        assert answer.json()["user"] == "alice"
        me = client.get("/api/auth/me", headers=signed(token, f"{APP}/api/auth/me", nonce))
        assert me.json()["user"]["id"] == "alice"
        for url in (f"{APP}/who", "http://app.example.com/api/who", f"{client.base_url}/api/who"):
            refused = client.get("/api/who", headers=signed(token, url, nonce))
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_dpop_proof"), url


@pytest.mark.parametrize("server", ["uvicorn-uvloop", "hypercorn-trio"])
def test_a_proof_names_the_url_of_a_server_on_this_machine(server: str, tmp_path: Path) -> None:
    with running(server, tmp_path) as process, process.client() as client:
        token = bound_token(f"sqlite:///{tmp_path}/wire.sqlite3")
        nonce = client.get("/who", headers=signed(token, f"{process.url}/who", None)).headers["dpop-nonce"]
        for path in ("/who", "/who?a=%2F"):
            assert client.get(path, headers=signed(token, process.url + path, nonce)).json()["user"] == "alice"
        headers = signed(token, f"{process.url}/who", nonce)
        assert [client.get("/who", headers=headers).status_code for _ in range(2)] == [200, 401]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_proof_counts_once_in_all_workers(kind: str, tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey") if kind == "redis" else None
    store = server.url if server is not None else f"sqlite:///{tmp_path}/s.sqlite3"
    token = bound_token(store)
    options = {"workers": 3, "ASGI_AUTH_STORE": store}
    with running("uvicorn", tmp_path, "--workers", "3", **options) as process, process.client() as client:
        url = f"{process.url}/who"
        nonce = client.get("/who", headers=signed(token, url, None)).headers["dpop-nonce"]

        def send(headers: dict[str, str]) -> tuple[int, str]:
            connection = http.client.HTTPConnection(process.address, timeout=PATIENCE)  # its own: to any worker
            connection.request("GET", "/who", headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status, answer.getheader("x-pid", "")

        answered: set[str] = set()
        with ThreadPoolExecutor(16) as pool:
            for _ in range(8):
                proof = signed(token, url, nonce)
                outcomes = list(pool.map(send, [proof] * 16))
                assert sorted(status for status, _ in outcomes) == [200, *[401] * 15]
                answered |= {pid for _, pid in outcomes if pid}
        assert len(answered) > 1, "one worker answered all"
    if server is not None:
        server.kill()
