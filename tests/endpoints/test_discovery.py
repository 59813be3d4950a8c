"""The `.well-known` documents: what they say is tried out, and other people's libraries work by them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import jwt
import pytest
import uvicorn
from authlib.integrations import httpx_client
from endpoint_house import PASSWORDS, House, application, bearer, hasher
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from asgi_auth import Auth, AuthMiddleware, Settings
from asgi_auth.directory import StoreDirectory
from asgi_auth.stores.opening import open_store
from asgi_auth.tokens.jose import decode_base64url

METADATA = "/.well-known/oauth-authorization-server"
JWKS = "/.well-known/jwks.json"
URL = "https://app.example.com"


async def test_metadata_tells_the_truth(houses: Any) -> None:
    """Each entry is tried."""
    house = await houses(jwt_issuer=URL)
    client = house.stranger(base_url=URL)
    answer = await client.get(METADATA)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said["issuer"] == URL
    assert "" not in said.values()
    assert [name for name, value in said.items() if value == []] == ["response_types_supported"]

    password = {"username": "bob", "password": PASSWORDS["bob"]}
    pair: Any = None
    assert said["grant_types_supported"] == ["password", "refresh_token"]
    for grant in said["grant_types_supported"]:
        form = {**password, "refresh_token": pair["refresh_token"] if pair else "", "grant_type": grant}
        answer = await client.post(said["token_endpoint"], data=form)
        assert answer.status_code == 200
        pair = answer.json()
    for grant in ("authorization_code", "client_credentials"):
        answer = await client.post(said["token_endpoint"], data={"grant_type": grant})
        assert answer.json()["error"] == "unsupported_grant_type"

    assert said["token_endpoint_auth_methods_supported"] == ["none"]
    answer = await client.post(said["token_endpoint"], data={"grant_type": "password", "client_secret": "x"})
    assert answer.json()["error"] == "invalid_client"

    key_set = KeySet.import_key_set((await client.get(said["jwks_uri"])).json())
    token = joserfc_jwt.decode(pair["access_token"], key_set, algorithms=["ES256"])
    assert token.claims["iss"] == said["issuer"]

    assert said["introspection_endpoint_auth_methods_supported"] == ["Bearer", "DPoP"]
    caller = await house.tokens("ian", scope="introspect")
    assert set(said["scopes_supported"]) == {"introspect"}
    asked = await client.post(
        said["introspection_endpoint"], data={"token": pair["access_token"]}, headers=bearer(caller["access_token"])
    )
    assert asked.json()["active"] is True

    assert said["revocation_endpoint_auth_methods_supported"] == ["none"]
    assert (await client.post(said["revocation_endpoint"], data={"token": pair["access_token"]})).status_code == 200
    assert (await client.get("/whoami", headers=bearer(pair["access_token"]))).status_code == 401
    assert set(said) == {
        "issuer",
        "token_endpoint",
        "jwks_uri",
        "revocation_endpoint",
        "introspection_endpoint",
        "grant_types_supported",
        "response_types_supported",
        "scopes_supported",
        "token_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_methods_supported",
        "dpop_signing_alg_values_supported",
    }


async def test_password_grant_off_leaves_no_trace_in_metadata(houses: Any) -> None:
    house = await houses(jwt_issuer=URL, password_grant="off")
    answer = await house.client.get(METADATA)
    assert answer.json()["grant_types_supported"] == ["refresh_token"]
    assert "password" not in answer.text


async def test_scopes_of_protect_are_named(houses: Any) -> None:
    house = await houses(jwt_issuer=URL, protect="/a=read+write, /b/*=admin, /c=any")
    assert (await house.client.get(METADATA)).json()["scopes_supported"] == ["admin", "introspect", "read", "write"]


@pytest.mark.parametrize(
    ("settings", "path", "base", "jwks"),
    [
        ({"url": URL}, METADATA, f"{URL}/auth", f"{URL}{JWKS}"),
        ({"jwt_issuer": "https://id.example.com"}, METADATA, "https://id.example.com/auth", None),
        ({"jwt_issuer": "https://id.example.com/t/1"}, f"{METADATA}/t/1", "https://id.example.com/auth", None),
        ({"jwt_issuer": "https://id.example.com/"}, METADATA, "https://id.example.com/auth", None),
        ({"url": URL, "jwt_issuer": "https://id.example.com/t"}, f"{METADATA}/t", f"{URL}/auth", f"{URL}{JWKS}"),
        ({"url": "http://localhost:8000"}, METADATA, "http://localhost:8000/auth", None),
        ({"url": URL, "prefix": "/my/login"}, METADATA, f"{URL}/my/login", None),
    ],
)
async def test_where_the_endpoints_stand(houses: Any, settings: Any, path: str, base: str, jwks: str | None) -> None:
    house = await houses(**settings)
    said = (await house.client.get(path)).json()
    assert said["token_endpoint"] == f"{base}/token"
    assert said["jwks_uri"] == jwks or jwks is None
    if path != METADATA:
        assert (await house.client.get(METADATA)).status_code == 404
        assert (await house.client.get(METADATA)).text == "Not Found"


@pytest.mark.parametrize("settings", [{}, {"jwt_issuer": "my-app"}, {"jwt_issuer": "http://id.example.com"}])
async def test_without_a_public_address_there_is_no_metadata_and_the_answer_says_why(
    houses: Any, settings: Any
) -> None:
    house = await houses(**settings)
    answer = await house.client.get(METADATA, headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "ASGI_AUTH_URL" in answer.json()["error_description"]
    assert "evil" not in answer.text


async def test_public_keys_alone_make_no_authorization_server(houses: Any) -> None:
    issuing = await houses(jwt_issuer=URL, jwt_algorithm="Ed25519")
    public = (await issuing.client.get(JWKS)).json()["keys"][0]
    verifying = await houses(jwt_issuer=URL, jwt_algorithm="Ed25519", jwt_key=json.dumps(public))
    assert (await verifying.client.get(METADATA)).json()["error"] == "not_found"
    assert (await verifying.client.get(JWKS)).json()["keys"] == [public]


async def test_metadata_never_hangs_on_the_requests_host(houses: Any) -> None:
    house = await houses(jwt_issuer=URL)
    plain = (await house.client.get(METADATA)).text
    lied = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    assert (await house.client.get(METADATA, headers=lied)).text == plain


@pytest.mark.parametrize("path", [METADATA, JWKS])
async def test_the_documents_may_be_cached_and_read_from_anywhere(houses: Any, path: str) -> None:
    house = await houses(jwt_issuer=URL, trusted_origins="https://www.example.com")
    for origin in (None, "https://evil.example", "https://www.example.com"):
        answer = await house.client.get(path, headers={"origin": origin} if origin else {})
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["cache-control"].startswith("public, max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers
        assert "vary" not in answer.headers


@pytest.mark.parametrize("path", [METADATA, JWKS])
async def test_no_credential_is_a_reason_to_refuse_the_documents(houses: Any, path: str) -> None:
    house = await houses(jwt_issuer=URL)
    for headers in (bearer("garbage"), {"authorization": "Bearer"}, {"cookie": "__Host-session=x; __Host-session=y"}):
        assert (await house.client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize("where", [{"root_path": "/app"}, {"root_path": "/.well-known"}])
async def test_the_documents_stand_at_the_root_of_the_host_only(houses: Any, where: Any) -> None:
    house = await houses(jwt_issuer=URL)
    for path in (METADATA, JWKS):
        answer = await house.raw("GET", where["root_path"] + path, **where)
        assert (answer.status, answer.body) == (404, b"Not Found")


async def test_an_empty_prefix_turns_all_of_ours_off(houses: Any) -> None:
    house = await houses(jwt_issuer=URL, prefix="")
    for path in (METADATA, JWKS, "/auth/me", "/login", "/me", "/auth/login"):
        answer = await house.client.get(path)
        assert (answer.status_code, answer.text) == (404, "Not Found")


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "PS256", "ES256", "ES512", "EdDSA", "Ed25519"])
async def test_jwks_never_holds_a_secret(houses: Any, algorithm: str) -> None:
    house = await houses(jwt_algorithm=algorithm)
    answer = await house.client.get(JWKS)
    assert answer.headers["content-type"] == "application/jwk-set+json"
    keys = answer.json()["keys"]
    if algorithm == "HS256":
        assert keys == []
        return
    for key in keys:
        assert set(key) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"}
        assert (key["use"], key["alg"]) == ("sig", algorithm)
        assert key["kty"] != "oct"
    signing, following = (key["kid"] for key in keys)
    header = json.loads(_segment((await house.tokens())["access_token"], 0))
    assert header["kid"] == signing != following


async def test_old_keys_are_published_while_their_tokens_can_live(house: House) -> None:
    old = await house.tokens()
    await house.auth.rotate_keys()
    keys = (await house.client.get(JWKS)).json()["keys"]
    assert len({key["kid"] for key in keys}) == 3  # the one that signs, the next, the old one
    assert (await house.get("/whoami", old["access_token"])).status_code == 200
    house.clock.advance(3600)
    keys = (await house.client.get(JWKS)).json()["keys"]
    assert len(keys) == 2
    assert json.loads(_segment((await house.tokens())["access_token"], 0))["kid"] == keys[0]["kid"]


async def test_a_key_is_published_for_longer_than_anybody_keeps_a_set_without_it(house: House) -> None:
    """RFC 7517, and what verifiers make of Cache-Control."""
    house.clock.advance(1)
    await house.auth.rotate_keys()
    answer = await house.client.get(JWKS)
    cached, *keys = answer.headers["cache-control"].removeprefix("public, max-age="), *answer.json()["keys"]
    house.clock.advance(1)
    following = await house.auth.rotate_keys()
    assert following in [key["kid"] for key in keys]
    for _ in range(2):
        house.clock.advance(int(cached) - 1)
        header = json.loads(_segment((await house.tokens())["access_token"], 0))
        assert header["kid"] != following
    house.clock.advance(2)
    assert json.loads(_segment((await house.tokens())["access_token"], 0))["kid"] == following


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_key_set_may_be_kept_by_anybody(house: House, method: str) -> None:
    answer = await house.client.request(method, JWKS)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=300")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert bool(answer.content) is (method == "GET")


async def test_with_the_backend_jwt_off_there_are_no_keys(houses: Any) -> None:
    house = await houses(backends="session")
    assert (await house.client.get(JWKS)).json() == {"keys": []}


# ---------------------------------------------------------------------- other people's clients, over a socket


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """A real server on a free loopback port; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        store = open_store("memory://", timeout=5.0)
        auth = Auth(Settings(store="memory://", url=address), directory=StoreDirectory(store, hasher()), store=store)
        app = AuthMiddleware(application(), auth)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx2.Client(base_url=address) as client:
                assert client.get("/whoami").status_code == 200
            _create_users(auth)
            yield address
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def _create_users(auth: Auth) -> None:
    async def create() -> None:
        for name in ("alice", "ian"):
            scopes = "introspect" if name == "ian" else "read"
            await auth.create_user(name, PASSWORDS[name], id=name, scopes=scopes)

    anyio.run(create)


def _tokens(served: str, name: str = "alice") -> Any:
    form = {"grant_type": "password", "username": name, "password": PASSWORDS[name]}
    answer = httpx2.post(f"{served}/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pyjwts_key_client_verifies_our_tokens(served: str) -> None:
    said = httpx2.get(served + METADATA).json()
    token = _tokens(served)["access_token"]
    key = jwt.PyJWKClient(said["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=said["issuer"], issuer=said["issuer"])
    assert claims["sub"] == "alice"


def test_joserfc_verifies_our_tokens(served: str) -> None:
    key_set = KeySet.import_key_set(httpx2.get(served + JWKS).json())
    token = joserfc_jwt.decode(_tokens(served)["access_token"], key_set, algorithms=["ES256"])
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": served}, aud={"essential": True, "value": served}, sub={"essential": True}
    )
    registry.validate(token.claims)
    assert token.header["typ"] == "at+jwt"


def test_authlibs_client_logs_in_refreshes_and_revokes(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    said = httpx2.get(served + METADATA).json()
    with httpx_client.OAuth2Client(
        client_id="cli",
        token_endpoint=said["token_endpoint"],
        token_endpoint_auth_method="none",
        revocation_endpoint_auth_method="none",
    ) as session:
        first = session.fetch_token(username="alice", password=PASSWORDS["alice"], grant_type="password")
        assert session.get(f"{served}/auth/me").json()["user"]["id"] == "alice"
        second = session.refresh_token(said["token_endpoint"])
        assert second["refresh_token"] != first["refresh_token"]
        assert session.get(f"{served}/private").status_code == 200
        assert session.revoke_token(said["revocation_endpoint"], token=second["refresh_token"]).status_code == 200
        assert session.get(f"{served}/private").status_code == 401


def test_authlibs_introspection_reads_our_answer(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    token = _tokens(served)["access_token"]
    with httpx_client.OAuth2Client(token=_tokens(served, "ian")) as session:
        answer = session.post(f"{served}/auth/introspect", data={"token": token})
        assert answer.json()["sub"] == "alice"


def test_a_cookie_jar_of_a_real_client_stays_logged_in(served: str) -> None:
    with httpx2.Client(base_url=served) as client:
        body = {"username": "alice", "password": PASSWORDS["alice"]}
        assert client.post("/auth/login", json=body).status_code == 200
        assert client.get("/private").status_code == 200
        assert client.post("/auth/logout").status_code == 204
        assert client.get("/private").status_code == 401


def test_raw_bytes_at_a_real_server_never_make_a_500(served: str) -> None:
    host, port = served.removeprefix("http://").split(":")
    attacks = [
        b'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\n{"a"}',
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n",
        b"DELETE /auth/sessions/%00%ff%c0%80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /auth/me HTTP/1.1\r\nHost: \xff\xfe\r\nCookie: session=\xff; =; ;;=\x01\r\n\r\n",
        b"GET /auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xff\r\n\r\n",
        b"GET /auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"a." * 15_000 + b"\r\n\r\n",
        b"GET /auth/me?%ff=%zz&\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PATCH /auth/login HTTP/1.0\r\n\r\n",
        b"OPTIONS /auth/login HTTP/1.1\r\nHost: x\r\nOrigin: \xff\r\nAccess-Control-Request-Method: \xff\r\n\r\n",
    ]
    for attack in attacks:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(attack)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 204")), attack[:80]


def _segment(token: str, index: int) -> bytes:
    return decode_base64url(token.split(".")[index].encode())
