"""What is fetched of other issuers, over HTTP from a real server that redirects, drips, floods and deceives."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from local_issuer import JWKS, OAUTH, OIDC, LocalIssuer, jwks, kids, new_key, record, respond, silent

from asgi_auth.tokens.issuers import fetching
from asgi_auth.tokens.issuers.fetching import LARGEST, read
from asgi_auth.tokens.issuers.keyset import InvalidDocument, KeySet


@pytest.fixture
def anyio_backend() -> str:
    """It is always asyncio that fetches, in a thread of its own, whatever the application runs on."""
    return "asyncio"


@pytest.fixture
def idp() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.stop()


async def fetched(idp: LocalIssuer, **members: Any) -> KeySet:
    return (await read(record(idp.url, **members), None, 0.0)).keys


async def test_keys_are_found_by_discovery() -> None:
    idp = LocalIssuer(path="/realms/one")
    assert kids(await fetched(idp)) == [idp.key.kid]
    assert idp.asked == {f"/realms/one{OIDC}": 1, JWKS: 1}
    del idp.documents[f"/realms/one{OIDC}"]
    idp.documents[f"{OAUTH}/realms/one"] = {"issuer": idp.url, "jwks_uri": idp.origin + JWKS}
    assert kids(await fetched(idp)) == [idp.key.kid]
    idp.stop()


async def test_where_the_record_says_where_the_keys_are_nobody_is_asked_for_it(idp: LocalIssuer) -> None:
    assert kids(await fetched(idp, jwks_url=idp.origin + JWKS)) == [idp.key.kid]
    assert idp.asked == {JWKS: 1}


@pytest.fixture(params=["httpx2", "httpx"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What asks: httpx2 where it is installed, else httpx."""
    if request.param == "httpx":
        monkeypatch.setitem(sys.modules, "httpx2", None)
    else:
        monkeypatch.setitem(sys.modules, "httpx", None)
    return str(request.param)


async def test_an_issuer_speaks_https_by_a_certificate_that_is_known(
    client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    idp = LocalIssuer(certificate=authority.certify("127.0.0.1"))
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        await fetched(idp)
    assert idp.fetches == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    assert kids(await fetched(idp)) == [idp.key.kid]
    idp.documents[OIDC]["jwks_uri"] = "http" + idp.documents[OIDC]["jwks_uri"].removeprefix("https")
    with pytest.raises(InvalidDocument, match="jwks_uri"):
        await fetched(idp)
    idp.stop()


async def test_what_is_on_this_machine_is_not_asked_of_a_proxy(
    client: str, idp: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = LocalIssuer()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    assert kids(await fetched(idp)) == [idp.key.kid]
    assert proxy.fetches == 0
    proxy.stop()


def redirecting(to: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: respond(handler, 302, location=to)


@pytest.mark.parametrize("path", [OIDC, JWKS])
async def test_redirects_are_not_followed(idp: LocalIssuer, path: str) -> None:
    idp.documents["/elsewhere"] = idp.documents[path]
    idp.answers[path] = redirecting("/elsewhere")
    with pytest.raises(InvalidDocument, match="302"):
        await fetched(idp)
    assert "/elsewhere" not in idp.asked


def packed(body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: respond(handler, 200, body, **{"content-encoding": "gzip"})


async def test_small_gzip_is_read(idp: LocalIssuer) -> None:
    idp.answers[JWKS] = packed(gzip.compress(jwks(dict(idp.key.public or {}))))
    assert kids(await fetched(idp)) == [idp.key.kid]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (gzip.compress(b" " * 50_000_000), "more than"),
        (gzip.compress(b" " * (LARGEST + 1)), "more than"),
        (gzip.compress(gzip.compress(b" " * 50_000_000)), "not JSON"),
        (gzip.compress(b"{}")[:-4], "cut short"),
        (gzip.compress(b"{}") * 2, "more than"),
        (b"{}", "no gzip"),
    ],
    ids=["bomb", "a byte too many", "twice", "cut", "two members", "none"],
)
async def test_a_gzip_bomb_is_not_unpacked(idp: LocalIssuer, body: bytes, what: str) -> None:
    idp.answers[JWKS] = packed(body)
    with pytest.raises(InvalidDocument, match=what):
        await fetched(idp)


async def test_an_encoding_that_was_not_asked_for_is_refused(idp: LocalIssuer) -> None:
    idp.answers[JWKS] = lambda handler: respond(handler, 200, b"{}", **{"content-encoding": "br"})
    with pytest.raises(InvalidDocument, match="encoding"):
        await fetched(idp)


async def test_a_huge_answer_is_not_read_to_its_end(idp: LocalIssuer) -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65_536)
            sent.append(65_536)

    idp.answers[OIDC] = endless
    with pytest.raises(InvalidDocument, match="bytes"):
        await fetched(idp)
    assert sum(sent) < 100 * LARGEST


def dripping(until: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte now and then, each of them in time."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not until.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    return answer


def slow_head(until: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not until.wait(0.02):
            handler.wfile.write(b"x: y\r\n")
            handler.wfile.flush()

    return answer


@pytest.mark.parametrize("slow", [dripping, silent, slow_head])
async def test_time_is_bounded_however_slowly_it_drips(
    idp: LocalIssuer, monkeypatch: pytest.MonkeyPatch, slow: Any
) -> None:
    monkeypatch.setattr(fetching, "LONGEST", 0.5)
    over = threading.Event()
    idp.answers[JWKS] = slow(over)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await fetched(idp)
    over.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [204, 206, 301, 404, 500, 503])
async def test_any_other_status_is_no_answer(idp: LocalIssuer, status: int) -> None:
    idp.answers[JWKS] = lambda handler: respond(handler, status)
    with pytest.raises(InvalidDocument, match=str(status)):
        await fetched(idp)


async def test_what_has_not_changed_is_not_sent_again(idp: LocalIssuer) -> None:
    idp.headers[JWKS] = {"etag": '"one"', "cache-control": "max-age=700"}
    first = await read(record(idp.url), None, 0.0)

    def unchanged(handler: BaseHTTPRequestHandler) -> None:
        assert handler.headers["if-none-match"] == '"one"'
        respond(handler, 304, etag='"one"')

    idp.answers[JWKS] = unchanged
    second = await read(record(idp.url), first, 700.0)
    assert second.keys is first.keys
    assert (second.read_at, second.etag) == (700.0, '"one"')
    assert idp.asked[OIDC] == 1
    del idp.answers[JWKS]
    idp.headers[JWKS] = {"etag": '"two"'}
    third = await read(record(idp.url), second, 1400.0)
    assert third.keys is first.keys
    idp.publish(new_key())
    fourth = await read(record(idp.url), third, 5000.0)
    assert fourth.keys is not first.keys
    assert idp.asked[OIDC] == 2
