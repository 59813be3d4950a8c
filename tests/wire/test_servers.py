"""Over real sockets: uvicorn and hypercorn, asyncio, uvloop and trio, HTTP/1.1, HTTP/2 and WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import SHUT_RDWR

import anyio
import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire_servers import SERVERS, Process, running, start

from asgi_auth import Auth, Settings, User

ALICE = User("alice", scopes=frozenset({"read"}))


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(request.param, tmp_path_factory.mktemp("wire"), ASGI_AUTH_TRUSTED_PROXIES="127.0.0.1") as process:
        yield process
        assert process.output.count("Traceback") == process.output.count("\nseats.Boom")


def bearer(process: Process, user: User = ALICE) -> dict[str, str]:
    async def issue() -> str:
        store = f"sqlite:///{process.log.parent}/wire.sqlite3"
        async with Auth(Settings(store=store)) as auth:
            return (await auth.issue(user)).access_token

    return {"authorization": f"Bearer {anyio.run(issue)}"}


def test_a_day_over_the_wire(server: Process) -> None:
    with server.client() as client:
        assert client.get("/who").json()["user"] is None
        refused = client.get("/private")
        assert refused.status_code == 401
        assert refused.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
        assert client.get("/put/cart").status_code == 200
        assert client.get("/login/alice").status_code == 200
        assert client.get("/who").json()["user"] == "alice"
        assert client.get("/data").json() == {"cart": "cart"}
        assert client.get("/auth/me").json()["session"]["client"]["address"] == "127.0.0.1"
        assert client.get("/admin").status_code == 403
        assert client.head("/auth/me").status_code == 200
        assert client.get("/auth/login").status_code == 405
        assert client.post("/auth/logout").status_code == 204
        assert client.get("/who").json()["user"] is None
        assert client.get("/.well-known/jwks.json").json()["keys"]
        assert client.get("/who", headers=bearer(server)).json()["user"] == "alice"
        assert client.get("/who", headers={"authorization": "Bearer nonsense"}).status_code == 401


def test_an_exception_is_the_servers_500_and_the_next_request_is_served(server: Process) -> None:
    for path in ("/login-raise/bob", "/put-raise/x"):
        with server.client() as client:  # uvicorn closes the connection
            assert client.get(path).status_code == 500
            headers = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
        with server.client() as client:
            assert client.get("/who", headers=headers).json()["user"] is None
            assert client.get("/data", headers=headers).json() == {}
    assert "ExceptionGroup" not in server.output


def test_an_upload_that_is_refused_is_answered(server: Process) -> None:
    with server.client() as client:
        answer = client.post("/private", content=b"x" * 5_000_000, headers={"authorization": "Bearer nonsense"})
        assert answer.status_code == 401
        assert answer.json()["error"] == "invalid_token"


def test_a_spoofed_forwarded_for_changes_nothing_over_the_wire(server: Process) -> None:
    """uvicorn rewrites the client's address itself by default, hypercorn does not: it is believed once all the same."""
    forwarded = {"x-forwarded-for": "6.6.6.6, 203.0.113.9"}
    with server.client() as client:
        client.get("/login/alice", headers=forwarded)
        assert client.get("/auth/me").json()["session"]["client"]["address"] == "203.0.113.0/24"


def test_accept_carries_the_cookie(server: Process) -> None:
    with server.client() as client:
        client.get("/login/alice")
        ((name, value),) = client.cookies.items()
        headers = {"cookie": f"{name}={value}", "origin": server.url}
        with connect(f"ws://{server.address}/ws/x", additional_headers=headers) as socket:
            assert socket.recv() == '{"user":"alice"}'
            socket.send("echo")
            assert socket.recv() == "echo"


def test_the_first_session_of_a_socket_comes_with_its_accept(server: Process) -> None:
    with connect(f"ws://{server.address}/ws/first") as socket:
        assert socket.response is not None
        (cookie,) = socket.response.headers.get_all("set-cookie")
        assert "-anonymous=" in cookie
    with server.client() as client:
        data = client.get("/data", headers={"cookie": cookie.partition(";")[0]})
        assert data.json() == {"first": True}


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"authorization": "Bearer nonsense"}, 401, "invalid_token"),
        ({}, 401, "login_required"),
        ({"origin": "https://evil.example"}, 403, "cross_origin"),
    ],
)
def test_refused_sockets_get_their_status_and_body(
    server: Process, headers: dict[str, str], status: int, error: str
) -> None:
    before = server.output
    if "origin" in headers:
        with server.client() as client:
            client.get("/login/alice")
            ((name, value),) = client.cookies.items()
        headers = {**headers, "cookie": f"{name}={value}"}
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{server.address}/ws/private", additional_headers=headers).__enter__()
    assert refused.value.response.status_code == status
    assert error in (refused.value.response.body or b"").decode()
    assert "Traceback" not in server.output[len(before) :]


def test_accept_never_names_an_unoffered_subprotocol_over_the_wire(server: Process) -> None:
    with connect(f"ws://{server.address}/ws/x", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol is None
        assert socket.recv() == '{"user":null}'
    with server.client() as client:
        assert client.get("/who").status_code == 200  # the process lives


def test_a_client_that_goes_away_disturbs_nobody(server: Process) -> None:
    for _ in range(3):
        with suppress(ConnectionClosed, OSError), connect(f"ws://{server.address}/ws/x") as socket:
            socket.recv()
            socket.socket.shutdown(SHUT_RDWR)
    with server.client() as client:
        assert client.get("/who").status_code == 200


# ---------------------------------------------------------------------- HTTP/2


@pytest.mark.parametrize("kind", ["hypercorn", "hypercorn-trio"])
def test_a_cookie_in_any_of_several_cookie_headers_over_http2(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as process:
        with process.client() as client:
            client.get("/login/alice")
            ((name, value),) = client.cookies.items()
        with httpx2.Client(base_url=process.url, http1=False, http2=True, verify=False) as client:
            for at in range(3):
                crumbs = [("cookie", "a=1"), ("cookie", "b=2")]
                crumbs.insert(at, ("cookie", f"{name}={value}"))
                answer = client.get("/who", headers=crumbs)
                assert answer.http_version == "HTTP/2"
                assert answer.json()["user"] == "alice"
            twice = client.get("/who", headers=[("cookie", f"{name}={value}"), ("cookie", f"{name}=other")])
            assert twice.json()["user"] is None


# ---------------------------------------------------------------------- other seats, prefixes


@pytest.mark.parametrize(
    ("kind", "app"),
    [("uvicorn", "bare"), ("hypercorn-trio", "bare"), ("uvicorn", "fastapi"), ("hypercorn-trio", "fastapi"),
     ("uvicorn", "quart"), ("hypercorn", "quart")],
)  # fmt: skip
def test_every_framework_is_served(kind: str, app: str, tmp_path: Path) -> None:
    with running(kind, tmp_path, app=app) as process, process.client() as client:
        assert client.get("/private").json()["error"] == "login_required"
        client.get("/login/alice")
        client.get("/put/a")
        assert client.get("/data").json() == {"a": "a"}
        assert client.get("/auth/me").json()["user"]["id"] == "alice"
        assert client.get("/admin").json()["error"] == "insufficient_scope"
        ((name, value),) = (one for one in client.cookies.items() if not one[0].endswith("-seen"))
        headers = {"cookie": f"{name}={value}", "origin": process.url}
        with connect(f"ws://{process.address}/ws/x", additional_headers=headers) as socket:
            assert '"alice"' in str(socket.recv())
            socket.send("echo")
            assert socket.recv() == "echo"
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{process.address}/ws/private").__enter__()
        assert refused.value.response.status_code == 401


def test_uvicorns_root_path_stands_before_our_paths(tmp_path: Path) -> None:
    options = ("--root-path", "/api")
    with (
        running("uvicorn", tmp_path, *options, ASGI_AUTH_PROTECT="/admin/*=admin") as process,
        process.client() as client,
    ):
        assert client.get("/auth/me").status_code == 401
        assert client.get("/admin").status_code == 401
        assert client.get("/login/alice").status_code == 200
        assert client.get("/auth/me").status_code == 200


def test_hypercorns_root_path_may_stand_before_our_paths_or_not(tmp_path: Path) -> None:
    options = ("--root-path", "/api")
    with (
        running("hypercorn", tmp_path, *options, ASGI_AUTH_PROTECT="/admin/*=admin") as process,
        process.client() as client,
    ):
        for prefix in ("", "/api"):
            assert client.get(f"{prefix}/auth/me").status_code == 401
            assert client.get(f"{prefix}/admin").json()["error"] == "login_required"


# ---------------------------------------------------------------------- starts that fail


EXIT = {"uvicorn": 3, "uvicorn-uvloop": 3}


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("app", ["once", "twice"])
def test_a_failed_startup_stops_every_server(kind: str, app: str, tmp_path: Path) -> None:
    process = start(kind, tmp_path, app=app)
    status = process.wait()
    assert "the application has no database" in process.output
    if kind in EXIT:
        assert status == EXIT[kind]


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ASGI_AUTH_SESSION_IDLE": "soon"}, "ASGI_AUTH_SESSION_IDLE"),
        ({"ASGI_AUTH_SESION_IDLE": "1h"}, "ASGI_AUTH_SESSION_IDLE"),
        ({"ASGI_AUTH_STORE": "sqlite:////proc/no/x.sqlite3"}, "ASGI_AUTH_STORE: there is no directory /proc/no"),
    ],
    ids=["value", "name", "store"],
)
@pytest.mark.parametrize("app", ["app", "bare"])
def test_a_wrong_configuration_stops_every_server_and_says_why(
    kind: str, variables: dict[str, str], said: str, app: str, tmp_path: Path
) -> None:
    process = start(kind, tmp_path, app=app, **variables)
    status = process.wait()
    assert said in process.output
    if kind in EXIT:
        assert status == EXIT[kind]


def test_a_wrong_configuration_without_a_lifespan_is_503(tmp_path: Path) -> None:
    with running("uvicorn", tmp_path, "--lifespan", "off", workers=0, ASGI_AUTH_FRESH="sometimes") as process:
        with process.client() as client:
            for path in ("/", "/who", "/auth/me"):
                answer = client.get(path)
                assert answer.status_code == 503
                assert answer.json()["error"] == "unavailable"
        with pytest.raises((InvalidStatus, ConnectionClosed)) as refused:
            connect(f"ws://{process.address}/ws/x").__enter__()
        assert isinstance(refused.value, InvalidStatus)
        assert refused.value.response.status_code == 503
        assert "ASGI_AUTH_FRESH" in process.output
