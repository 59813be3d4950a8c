"""A page of another origin, in a real browser: its key is made by WebCrypto and never leaves it, its tokens are worth
nothing elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from browser_helpers import serving
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from asgi_auth import Auth, AuthMiddleware, Settings

pytestmark = pytest.mark.browser

PASSWORD = "a hole under the hedge"

CLIENT = """
const b64 = (raw) => btoa(String.fromCharCode(...new Uint8Array(raw)))
  .replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=+$/, "");
const utf8 = (text) => new TextEncoder().encode(text);

window.device = async () => {
  const key = await crypto.subtle.generateKey({name: "ECDSA", namedCurve: "P-256"}, false, ["sign", "verify"]);
  const jwk = await crypto.subtle.exportKey("jwk", key.publicKey);
  return {key, jwk, nonce: null, asked: 0};
};

window.prove = async (device, method, url, token) => {
  const claims = {jti: crypto.randomUUID(), htm: method, htu: url.split(/[?#]/)[0], iat: 0};
  if (device.nonce) claims.nonce = device.nonce;
  if (token) claims.ath = b64(await crypto.subtle.digest("SHA-256", utf8(token)));
  const header = {typ: "dpop+jwt", alg: "ES256", jwk: device.jwk};
  const signing = [header, claims].map((part) => b64(utf8(JSON.stringify(part)))).join(".");
  const how = {name: "ECDSA", hash: "SHA-256"};
  return signing + "." + b64(await crypto.subtle.sign(how, device.key.privateKey, utf8(signing)));
};

window.send = async (device, method, url, {token, ...body} = {}) => {
  for (let attempt = 0; attempt < 2; attempt++) {
    const headers = {DPoP: await prove(device, method, url, token)};
    if (token) headers.Authorization = "DPoP " + token;
    device.asked++;
    const form = Object.keys(body).length ? new URLSearchParams(body) : undefined;
    const answer = await fetch(url, {method, headers, body: form});
    device.nonce = answer.headers.get("DPoP-Nonce") || device.nonce;
    const said = await answer.json();
    if (said.error !== "use_dpop_nonce") return {status: answer.status, said};
  }
};
"""

DAY = """async ([api, password]) => {
  const mine = await device();
  const login = {grant_type: "password", username: "alice", password};
  const pair = await send(mine, "POST", api + "/auth/token", login);
  const token = pair.said.access_token;
  const me = await send(mine, "GET", api + "/auth/me?x=1", {token});
  const asked = mine.asked;
  const refresh = {grant_type: "refresh_token", refresh_token: pair.said.refresh_token};
  const next = await send(mine, "POST", api + "/auth/token", refresh);
  const thief = await device();
  const stolen = await send(thief, "GET", api + "/auth/me", {token: next.said.access_token});
  const challenge = (await fetch(api + "/auth/me", {headers: {Authorization: "Bearer " + next.said.access_token}}))
    .headers.get("WWW-Authenticate");
  return {pair, me, asked, next, stolen, challenge};
}"""


def test_a_page_of_another_origin_has_tokens_that_only_it_can_use(page: Page, tmp_path: Path) -> None:
    async def hello(request: Any) -> HTMLResponse:
        return HTMLResponse(f"<script>{CLIENT}</script>")

    store = f"sqlite:///{tmp_path}/s.sqlite3"
    with serving(Starlette(routes=[Route("/", hello)])) as spa:
        auth = Auth(Settings(store=store, trusted_origins=spa))

        async def add_alice() -> None:
            async with Auth(Settings(store=store)) as other:
                await other.create_user("alice", PASSWORD, id="alice")

        with ThreadPoolExecutor(1) as apart:  # Playwright's event loop is in this thread
            apart.submit(anyio.run, add_alice).result()
        with serving(AuthMiddleware(Starlette(), auth)) as api:
            assert api != spa
            page.goto(spa)
            found = page.evaluate(DAY, [api, PASSWORD])
            token = found["next"]["said"]["access_token"]
            assert httpx2.get(f"{api}/auth/me", headers={"authorization": f"Bearer {token}"}).status_code == 401
    assert found["pair"]["said"]["token_type"] == "DPoP"
    assert (found["me"]["status"], found["me"]["said"]["user"]["id"]) == (200, "alice")
    assert found["asked"] == 3, "one request more, for the first nonce"
    assert found["next"]["status"] == 200
    assert (found["stolen"]["status"], found["stolen"]["said"]["error"]) == (401, "invalid_dpop_proof")
    assert 'DPoP realm="asgi-auth", algs="ES256' in found["challenge"]
