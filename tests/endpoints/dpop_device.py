"""A client that has a key: what the tests of bound tokens (RFC 9449) stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx2
from endpoint_house import PASSWORDS, House, Reply

from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey, generate

Changes = dict[str, Any]

GRANT = {"grant_type": "password", "username": "alice", "password": PASSWORDS["alice"]}
ORIGIN = "http://testserver"
APP = "https://app.example.com"
ALGS = 'algs="ES256 Ed25519 EdDSA PS256 RS256"'
CHALLENGE = f'DPoP realm="asgi-auth", {ALGS}'
KEY = SigningKey.from_jwk(generate("ES256"))
THIEF = SigningKey.from_jwk(generate("Ed25519"))


@dataclass
class Device:
    """A client with a key, that keeps the last nonce it was given, as RFC 9449 §8.2 asks."""

    house: House
    key: SigningKey = KEY
    nonce: str | None = None
    pair: dict[str, Any] = field(default_factory=dict)

    def proof(self, method: str, path: str, **changes: Any) -> str:
        given = {"nonce": self.nonce, "now": self.house.clock(), **changes}
        return make_proof(given.pop("key", self.key), method, given.pop("url", ORIGIN + path), **given)

    async def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        answer = await self.house.stranger().request(method, path, headers=headers, **more)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    async def ask_token(self, path: str = "/auth/token", **form: Any) -> httpx2.Response:
        """A token request, sent again if a nonce is wanted."""
        for _ in range(2):
            options = {"json": form} if path == "/auth/login" else {"data": form}
            answer = await self.send("POST", path, headers={"dpop": self.proof("POST", path)}, **options)
            if answer.status_code != 400 or answer.json()["error"] != "use_dpop_nonce":
                break
        return answer  # type: ignore[no-any-return]

    async def log_in(self, **form: Any) -> dict[str, Any]:
        answer = await self.ask_token(**{**GRANT, **form})
        assert answer.status_code == 200, answer.text
        self.pair = answer.json()
        return self.pair

    def credentials(self, method: str, path: str, *, scheme: str = "DPoP", **changes: Any) -> dict[str, str]:
        token = str(changes.pop("token", self.pair["access_token"]))
        proof = self.proof(method, path, **{"access_token": token, **changes})
        return {"authorization": f"{scheme} {token}", "dpop": proof}

    async def call(self, method: str, path: str, *, query: str = "", **changes: Any) -> httpx2.Response:
        body = {"json": changes.pop("json")} if "json" in changes else {}
        data = {"data": changes.pop("data")} if "data" in changes else {}
        headers = self.credentials(method, path, **changes)
        return await self.send(method, path + query, headers=headers, **body, **data)  # type: ignore[no-any-return]


def refused(answer: Any) -> tuple[int, str]:
    status = answer.status if isinstance(answer, Reply) else answer.status_code
    return status, str(answer.json()["error"])
