"""An issuer's metadata and keys over HTTP: bounded in time and size, https, no redirects, nothing of a token's.

What is asked for comes from the record and from the metadata alone.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio

from asgi_auth.issuer import Issuer
from asgi_auth.tokens.issuers.keyset import InvalidDocument, KeySet, jwks_url_of

LONGEST = 5.0
"""Seconds for all of it, however slowly the answers drip."""

LARGEST = 131_072
"""Bytes of a document, as it comes and as it is after decompression."""

FRESH = (60.0, 600.0, 3600.0)
"""Seconds for which keys are good without a look: at least, where the issuer says nothing, at most."""

METADATA = 3600.0
"""Seconds after which the metadata is asked again where the keys are."""

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?(\d{1,10})")


class Document(NamedTuple):
    """An answer. `body` None: it is as it was (304)."""

    body: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What was read of an issuer, and when (of the reader's clock, in seconds).

    Attributes:
        jwks_url, found_at: where the keys are, and when that was said.
        fresh_for: how long they need not be looked at.
    """

    keys: KeySet
    body: bytes
    etag: str
    jwks_url: str
    found_at: float
    read_at: float
    fresh_for: float


async def read(record: Issuer, before: Known | None, now: float) -> Known:
    """Ask an issuer for its keys.

    Args:
        before: what was read the last time; the same keys stay the same object.

    Raises:
        InvalidDocument: what it says cannot be used.
        Exception: it gives no answer.
    """
    with anyio.fail_after(LONGEST):
        url, found_at = record.jwks_url, now
        if not url and before is not None and now - before.found_at < METADATA:
            url, found_at = before.jwks_url, before.found_at
        if not url:
            url = jwks_url_of(await _metadata(record), record)
        same = before if before is not None and before.jwks_url == url else None
        answer = await get(url, etag="" if same is None else same.etag)
    fresh_for, etag = freshness(answer.headers), answer.headers.get("etag", "")
    if answer.body is None:
        if same is None:
            raise InvalidDocument("the answer has no keys")
        return Known(same.keys, same.body, etag or same.etag, url, found_at, now, fresh_for)
    unchanged = before is not None and before.body == answer.body
    keys = before.keys if before is not None and unchanged else KeySet.parse(answer.body, record)
    return Known(keys, answer.body, etag, url, found_at, now, fresh_for)


def places(record: Issuer) -> list[str]:
    """Where an issuer's metadata may be: as OpenID Connect Discovery §4 puts it, as RFC 8414 §3 does."""
    if record.metadata_url:
        return [record.metadata_url]
    parts = urlsplit(record.issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return [
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    ]


def freshness(headers: Mapping[str, str]) -> float:
    """For how many seconds an answer is good (RFC 9111 §4.2), within our bounds."""
    least, usual, most = FRESH
    control = headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return least
    found = _MAX_AGE.search(control)
    if found:
        age = headers.get("age", "")
        seconds = float(found[1]) - (float(age) if re.fullmatch(r"[0-9]{1,10}", age) else 0.0)
    elif "expires" in headers:
        try:
            expires, date = (parsedate_to_datetime(headers[name]) for name in ("expires", "date"))
            seconds = (expires - date).total_seconds()
        except (KeyError, ValueError, TypeError, OverflowError):
            return least
    else:
        seconds = usual
    return min(max(seconds, least), most)


async def get(url: str, *, etag: str = "") -> Document:
    """One answer, read to its end or to its limit. Raises InvalidDocument: it is no 200, or too large."""
    asked = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "asgi-auth"}
    if etag:
        asked["if-none-match"] = etag
    # A proxy of the environment's would have an http address of this machine be another machine's.
    http = _httpx()
    async with (
        http.AsyncClient(
            follow_redirects=False, timeout=None, trust_env=url.startswith("https:"), headers=asked
        ) as client,
        client.stream("GET", url) as response,
    ):
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status_code == 304 and etag:
            return Document(None, headers)
        if response.status_code != 200:
            raise Refused(response.status_code)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > LARGEST:
                raise InvalidDocument(f"the answer has more than {LARGEST} bytes")
        return Document(_decoded(bytes(body), headers.get("content-encoding", "identity")), headers)


class Refused(InvalidDocument):
    """Another status than 200. Redirects are not followed: they could lead anywhere."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the answer has the status {status}")
        self.status = status


async def _metadata(record: Issuer) -> bytes:
    first, *others = places(record)
    try:
        return (await get(first)).body or b""
    except Refused as refused:
        if not others or not 400 <= refused.status < 500:
            raise
    return (await get(others[0])).body or b""


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding.lower() == "identity":
        return body
    if encoding.lower() != "gzip":
        raise InvalidDocument("the answer has an encoding that was not asked for")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        # No further than the limit: a small answer may hold a large one.
        found = unpacker.decompress(body, LARGEST)
    except zlib.error:
        raise InvalidDocument("the answer is no gzip") from None
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidDocument(f"the answer is cut short, or has more than {LARGEST} bytes")
    return found


def _httpx() -> Any:
    """httpx2 where it is installed, else httpx, of which it is the successor."""
    try:
        return importlib.import_module("httpx2")
    except ModuleNotFoundError:
        return importlib.import_module("httpx")
