"""Answers of our own, and what is added to the application's: refusals and challenges, CORS, privacy in caches."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from asgi_auth.errors import CredentialError, InsufficientScope, InvalidClient, MalformedAuthorization

HeaderList = list[tuple[bytes, bytes]]

_CHALLENGED = frozenset(
    {"invalid_request", "invalid_token", "insufficient_scope", "insufficient_user_authentication"}
    | {"invalid_dpop_proof", "use_dpop_nonce"}
)  # the codes of RFC 6750 §3.1, RFC 9470 §3 and RFC 9449 §7.1; others are none of a challenge's `error`s
_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_DIRECTIVE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\Z))+', re.DOTALL)
_EXPOSED = b"WWW-Authenticate, Retry-After, DPoP-Nonce"
_REQUEST_HEADERS = b"Authorization, Content-Type, Auth-Passive, DPoP"
_PREFLIGHT_MAX_AGE = b"600"
_NO_STORE = (b"cache-control", b"no-store")
_NOSNIFF = (b"x-content-type-options", b"nosniff")


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: HeaderList
    body: bytes


class Schemes(NamedTuple):
    """What a challenge stands on.

    Attributes:
        realm: the host of `URL`, else `asgi-auth`.
        bearer: whether tokens are taken from any bearer.
        algorithms: of the proofs with which others are taken (RFC 9449 §7.1); none: they are not.
        used: whether the request came with such a token.
    """

    realm: str
    bearer: bool = True
    algorithms: tuple[str, ...] = ()
    used: bool = False


def refusal(error: CredentialError, *, schemes: Schemes) -> Answer:
    """A refusal as JSON, `{"error", "error_description"(, "reason")}`, never to be stored.

    Every 401, every `insufficient_scope` and the 400 of a malformed `Authorization` header has a challenge.
    """
    payload = {"error": error.code, "error_description": error.description}
    if error.reason:
        payload["reason"] = error.reason
    headers: HeaderList = []
    if error.status == 401 or isinstance(error, (InsufficientScope, MalformedAuthorization)):
        headers += [(b"www-authenticate", challenge) for challenge in challenges_for(error, schemes)]
    if error.nonce is not None:
        headers.append((b"dpop-nonce", error.nonce.encode("ascii")))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(error.retry_after, 0)))
    if error.allow is not None:
        headers.append((b"allow", error.allow.encode("ascii")))
    return json_answer(error.status, payload, headers=headers)


def challenges_for(error: CredentialError, schemes: Schemes) -> list[bytes]:
    """The `WWW-Authenticate` lines of a refusal (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3).

    A 401 names every scheme that would do; the error stands in the challenge of the one that was used, and other
    statuses have that one alone. An error that those RFCs do not know (nobody is logged in, a password is wrong) has
    the realm and no more; `invalid_client` answers in the scheme that the client used (RFC 6749 §5.2). What a quoted
    text may not hold is left out.
    """
    realm = {"realm": schemes.realm}
    if isinstance(error, InvalidClient):
        return [b"Basic " + _parameters(realm)]
    told = _told(error)
    by_proof = bool(schemes.algorithms) and (schemes.used or not schemes.bearer)
    found = []
    if schemes.bearer and (error.status == 401 or not by_proof):
        found.append(b"Bearer " + _parameters(realm | ({} if by_proof else told)))
    if schemes.algorithms and (error.status == 401 or by_proof):
        algorithms = {"algs": " ".join(schemes.algorithms)}
        found.append(b"DPoP " + _parameters(realm | (told if by_proof else {}) | algorithms))
    return found


def _told(error: CredentialError) -> dict[str, str]:
    """What a challenge says of an error."""
    if error.code not in _CHALLENGED:
        return {}
    parameters = {"error": error.code, "error_description": error.description}
    if error.scope:
        parameters["scope"] = error.scope
    if error.max_age is not None:
        parameters["max_age"] = str(error.max_age)
    if error.acr_values:
        parameters["acr_values"] = error.acr_values
    return parameters


def _parameters(parameters: Mapping[str, str]) -> bytes:
    return ", ".join(f'{name}="{_UNQUOTABLE.sub("", value)}"' for name, value in parameters.items()).encode("ascii")


def json_answer(
    status: int,
    payload: Mapping[str, object],
    *,
    headers: Collection[tuple[bytes, bytes]] = (),
    content_type: bytes = b"application/json",
    public: bytes | None = None,
) -> Answer:
    """A JSON object that no cache keeps and no other site can include.

    Args:
        headers: further ones.
        public: the `Cache-Control` of a document that everybody may read and any origin may fetch (`.well-known`).
    """
    body = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode("ascii")
    kind = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), _NOSNIFF]
    if public is None:
        readers = [_NO_STORE, (b"cross-origin-resource-policy", b"same-origin")]
    else:
        readers = [(b"cache-control", public), (b"access-control-allow-origin", b"*")]
    return Answer(status, [*kind, *readers, *headers], body)


def empty_answer(status: int, *, headers: Collection[tuple[bytes, bytes]] = ()) -> Answer:
    """An answer without a body that no cache keeps: 204, a redirect, RFC 7009's 200."""
    length = [] if status == 204 else [(b"content-length", b"0")]  # RFC 9110 §8.6
    return Answer(status, [*length, _NO_STORE, _NOSNIFF, *headers], b"")


def make_private(headers: HeaderList, *, sets_cookie: bool, vary: bool, guarded: bool) -> None:
    """Change the headers of an application's answer so that no shared cache serves it to somebody else.

    - `sets_cookie` (it carries a Set-Cookie of ours): `Vary: Cookie`, and `no-cache="Set-Cookie", private` unless the
      application said `private` or `no-store`. Its `public` and `s-maxage` go, and so do the cache headers that speak
      to CDNs alone (RFC 9213, Surrogate-Control), since those would win.
    - `vary` (its request read or wrote session data): `Vary: Cookie`.
    - `guarded` (a guard let it pass): `private, no-store` if the application named no Cache-Control.

    Names are compared without case; entries may be lists, as some frameworks write them.
    """
    if sets_cookie or vary:
        _vary_by_cookie(headers)
    lines = [bytes(value) for name, value in headers if name.lower() == b"cache-control"]
    if guarded and not lines:
        headers.append((b"cache-control", b"private, no-store"))
        lines = [b"private, no-store"]
    if not sets_cookie:
        return
    said = [directive.strip() for directive in _DIRECTIVE.findall(b",".join(lines)) if directive.strip()]
    kept = [one for one in said if one.lower() != b"public" and not one.lower().startswith(b"s-maxage")]
    names = {directive.lower() for directive in kept}
    if not names & {b"private", b"no-store"}:
        kept = [*([] if b"no-cache" in names else [b'no-cache="Set-Cookie"']), b"private", *kept]
    headers[:] = [entry for entry in headers if not _speaks_to_cdns(entry[0].lower())]
    if kept != said:
        headers[:] = [entry for entry in headers if entry[0].lower() != b"cache-control"]
        headers.append((b"cache-control", b", ".join(kept)))


def _vary_by_cookie(headers: HeaderList) -> None:
    lines = [value.lower() for name, value in headers if name.lower() == b"vary"]
    if {b"*", b"cookie"}.isdisjoint(listed.strip(b" \t") for listed in b",".join(lines).split(b",")):
        headers.append((b"vary", b"Cookie"))


def _speaks_to_cdns(name: bytes) -> bool:
    return name.endswith(b"cdn-cache-control") or name == b"surrogate-control"


def cors_headers(origin: bytes | None, trusted: Collection[bytes]) -> HeaderList:
    """What an answer of ours needs so that a page of a trusted origin may read it (WHATWG Fetch), cookies included.

    Args:
        origin: the request's `Origin`, byte for byte; None: there is none, or more than one.
        trusted: origins as `origin.parse_origin` makes them.
    """
    if not trusted:
        return []
    if origin is None or origin not in trusted:
        return [(b"vary", b"Origin")]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(origin: bytes | None, trusted: Collection[bytes], *, allow: str) -> Answer:
    """The answer to a preflight for a path of ours; that of another origin gets no permission.

    Args:
        allow: the methods of the path, such as `GET, DELETE`.
    """
    methods = allow.encode("ascii")
    headers = [(b"allow", methods)]
    if origin is not None and origin in trusted:
        headers += [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_MAX_AGE),
        ]
    return empty_answer(204, headers=[*headers, (b"vary", b"Origin")])
