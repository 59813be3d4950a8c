"""For which address a proof must be made, and what clients elsewhere are told (RFC 9449 §4.3, §5.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dpop_device import APP, GRANT, KEY, THIEF, Changes, Device
from endpoint_house import Reply, ask

from asgi_auth import User
from asgi_auth.tokens.dpop import make_proof


async def place(houses: Any, settings: Changes, scope: Changes, headers: Any, url: str) -> Reply:
    """A request by this scope, with a proof for `url`."""
    house = await houses(**settings)
    pair = await house.auth.issue(User(id="alice", scopes={"read"}), jkt=KEY.kid)
    nonce = house.auth.parts.proofs.fresh_nonce()
    proof = make_proof(KEY, "GET", url, now=0, nonce=nonce, access_token=pair.access_token)
    given = [("authorization", f"DPoP {pair.access_token}"), ("dpop", proof), *headers]
    return await ask(house.app, "GET", scope.pop("path", "/whoami"), headers=given, **scope)


PROXY = {"trusted_proxies": "127.0.0.1"}
HOST = [("host", "app.example.com")]


@pytest.mark.parametrize(
    ("settings", "scope", "headers", "url", "status"),
    [
        # URL decides alone
        ({"url": APP}, {}, [("host", "127.0.0.1:8000")], f"{APP}/whoami", 200),
        ({"url": APP}, {}, [("host", "evil.example")], f"{APP}/whoami", 200),
        ({"url": APP}, {}, [("host", "evil.example")], "http://evil.example/whoami", 401),
        ({"url": APP}, {}, HOST, "http://app.example.com/whoami", 401),
        ({"url": APP}, {}, HOST, f"{APP}:443/whoami", 200),
        ({"url": "https://app.example.com:8443"}, {}, HOST, f"{APP}:8443/whoami", 200),
        # without it, what a trusted proxy says
        (PROXY, {}, [*HOST, ("x-forwarded-proto", "https")], f"{APP}/whoami", 200),
        (PROXY, {"scheme": "https"}, HOST, f"{APP}/whoami", 200),
        (PROXY, {}, [("host", "inner"), ("forwarded", "proto=https;host=app.example.com")], f"{APP}/whoami", 200),
        (PROXY, {}, [*HOST, ("x-forwarded-proto", "https")], "http://app.example.com/whoami", 401),
        # without both, this machine alone: any other Host may be the client's own idea
        ({}, {}, [("host", "localhost:8000")], "http://localhost:8000/whoami", 200),
        ({}, {}, [("host", "127.0.0.1")], "http://127.0.0.1/whoami", 200),
        ({}, {"scheme": "https"}, HOST, f"{APP}/whoami", 401),
        ({}, {"scheme": "https"}, [("host", "evil.example")], "https://evil.example/whoami", 401),
        ({}, {}, [("host", "localhost"), ("host", "localhost")], "http://localhost/whoami", 401),
        ({}, {}, [], "http://localhost/whoami", 401),
        # where the application is mounted, or a proxy takes a path away
        ({"url": APP}, {"root_path": "/api", "path": "/api/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api", "path": "/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api/", "path": "/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api", "path": "/api/whoami"}, HOST, f"{APP}/whoami", 401),
        # as the application gets the path
        ({"url": APP}, {"path": "/who ami/é"}, HOST, f"{APP}/who%20ami/%C3%A9", 404),
        ({"url": APP}, {"path": "/"}, HOST, APP, 404),
        ({"url": APP}, {"path": "/whoami/"}, HOST, f"{APP}/whoami", 401),
    ],
)
async def test_a_proof_is_for_the_address_that_the_client_used(
    houses: Any, settings: Changes, scope: Changes, headers: Any, url: str, status: int
) -> None:
    answer = await place(houses, settings, dict(scope), headers, url)
    assert answer.status == status, answer.body


async def test_who_does_not_know_the_public_address_says_so(houses: Any) -> None:
    answer = await place(houses, {}, {"scheme": "https"}, HOST, f"{APP}/whoami")
    assert "ASGI_AUTH_URL" in answer.json()["error_description"]


async def test_cors_lets_a_trusted_page_send_proofs_and_read_nonces(houses: Any) -> None:
    origin = "https://spa.example.com"
    house = await houses(trusted_origins=origin, url=APP)
    asked = [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "dpop")]
    answer = await house.raw("OPTIONS", "/auth/token", headers=asked)
    assert "DPoP" in answer.all("access-control-allow-headers")[0].split(", ")
    proof = Device(house).proof("POST", "", url=f"{APP}/auth/token")
    refusal = await house.stranger().post("/auth/token", data=GRANT, headers={"dpop": proof, "origin": origin})
    assert refusal.json()["error"] == "use_dpop_nonce"
    assert "DPoP-Nonce" in refusal.headers["access-control-expose-headers"].split(", ")


async def test_metadata_names_the_algorithms(houses: Any) -> None:
    path = "/.well-known/oauth-authorization-server"
    said = (await (await houses(url=APP)).client.get(path)).json()
    assert said["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"]
    said = (await (await houses(url=APP, dpop="off")).client.get(path)).json()
    assert "dpop_signing_alg_values_supported" not in said
    assert said["introspection_endpoint_auth_methods_supported"] == ["Bearer"]
    said = (await (await houses(url=APP, dpop="required")).client.get(path)).json()
    assert said["introspection_endpoint_auth_methods_supported"] == ["DPoP"]


async def test_no_proof_is_written_down(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    await device.log_in()
    headers = device.credentials("GET", "/private", key=THIEF)
    await device.send("GET", "/private", headers=headers)
    told = [json.loads(record.message) for record in caplog.records if record.name == "asgi_auth.security"]
    assert any("another key" in str(one["reason"]) for one in told)
    for record in caplog.records:
        assert headers["dpop"][-20:] not in record.getMessage()
        assert device.pair["access_token"][-20:] not in record.getMessage()
