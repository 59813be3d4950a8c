"""`/token`: RFC 6749 §5 and §6. Clients are public."""

from __future__ import annotations

import base64
from urllib.parse import unquote_plus

from asgi_auth import refresh_cookie
from asgi_auth.endpoints.call import Call
from asgi_auth.entrance import proof_of, refuse_cross_origin
from asgi_auth.errors import (
    InvalidClient,
    InvalidCredentials,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    LoginRefused,
    SessionLimit,
    UnsupportedGrantType,
)
from asgi_auth.http import values
from asgi_auth.http.answers import Answer, json_answer
from asgi_auth.http.bodies import text
from asgi_auth.logins import PASSWORD
from asgi_auth.model import scope_tokens
from asgi_auth.tokens.dpop import Proof
from asgi_auth.tokens.grants import DEFAULT_CLIENT, TokenPair, is_client_id


async def token(call: Call) -> Answer:
    """The token endpoint: `password` and `refresh_token`."""
    body = await call.body(form=True)
    client_id = client_of(body, basic=_basic(call))
    grant = text(body, "grant_type", required=True)
    offered = "jwt" in call.settings.backends and call.parts.keys.signs
    if grant == "refresh_token" and offered:
        return await _by_refresh_token(call, body, client_id)
    if grant == "password" and offered and call.settings.password_grant:
        return await _by_password(call, body, client_id)
    raise UnsupportedGrantType


def client_of(body: dict[str, object], *, basic: str | None = None) -> str:
    """The client's id, of the form or of a Basic header without secret (RFC 6749 §2.3.1); neither: `asgi-auth`.

    Args:
        basic: the id in the header, where one is looked for.

    Raises:
        InvalidClient: there is a secret, which no client here has.
        InvalidRequest: two ids that differ, or one that is none (RFC 6749 §A.1).
    """
    if text(body, "client_secret") is not None:
        raise InvalidClient
    named = text(body, "client_id")
    if basic and named and basic != named:
        raise InvalidRequest("The Authorization header and the body name two clients")
    client_id = basic or named or DEFAULT_CLIENT
    if not is_client_id(client_id):
        raise InvalidRequest("client_id must be printable ASCII of at most 255 characters")
    return client_id


def asked_scopes(body: dict[str, object]) -> frozenset[str] | None:
    """The `scope` parameter; None: not given.

    Raises:
        InvalidScope: it is no list of scopes.
    """
    asked = text(body, "scope")
    try:
        return None if asked is None else scope_tokens(asked)
    except ValueError:
        raise InvalidScope("scope is a list of scopes, separated by spaces") from None


def pair_answer(pair: TokenPair, *, cookie: bool) -> Answer:
    """RFC 6749 §5.1. `cookie`: the refresh token travels in that, and not in the body."""
    return json_answer(200, pair.public(refresh_token=not cookie), headers=[(b"pragma", b"no-cache")])


async def first_pair(
    call: Call,
    username: str,
    password: str,
    *,
    client_id: str,
    asked: frozenset[str] | None,
    proof: Proof | None,
) -> Answer:
    """The tokens of a login by password.

    Raises:
        CookieNotKept: it would drop the cookie; the password is not looked at.
        CredentialError: see `check_password` and `by_token`.
    """
    context = call.context
    refresh_cookie.must_be_kept(context)
    row = await call.logins.check_password(context, username, password)
    jkt = await call.parts.proofs.spend(proof)
    pair = await call.logins.by_token(row, client_id=client_id, asked=asked, amr=PASSWORD, jkt=jkt, context=context)
    return pair_answer(pair, cookie=call.settings.refresh_cookie)


async def _by_refresh_token(call: Call, body: dict[str, object], client_id: str) -> Answer:
    # It goes back the way it came: a client that has its token in the body cannot read a cookie.
    named = text(body, "refresh_token", required=not call.settings.refresh_cookie)
    asked = asked_scopes(body)
    if named is None:
        refuse_cross_origin(call.context)
    presented = refresh_cookie.shown(call.context) if named is None else named
    if presented is None:
        raise InvalidGrant
    proof = await proof_of(call.context)
    known = call.parts.grants.session_of(presented) is not None
    jkt = await call.parts.proofs.spend(proof if known else None)
    pair = await call.logins.refresh(presented, client_id=client_id, asked=asked, jkt=jkt, context=call.context)
    if named is None:
        refresh_cookie.hand_out(call.context, pair)
    return pair_answer(pair, cookie=named is None)


async def _by_password(call: Call, body: dict[str, object], client_id: str) -> Answer:
    # A page that somebody merely visits could use up the attempts of the address that both have.
    refuse_cross_origin(call.context)
    username, password = text(body, "username", required=True), text(body, "password", required=True)
    asked, proof = asked_scopes(body), await proof_of(call.context)
    try:
        return await first_pair(call, username, password, client_id=client_id, asked=asked, proof=proof)
    except (InvalidCredentials, LoginRefused, SessionLimit) as refusal:
        raise InvalidGrant(refusal.description) from None


def _basic(call: Call) -> str | None:
    """The client's id in a Basic header (RFC 6749 §2.3.1: both halves form-encoded); None: no such header, or no id.

    Swagger UI sends one with neither id nor secret.
    """
    found = [value for value in values(call.context.scope["headers"], b"authorization") if _is_basic(value)]
    if not found:
        return None
    try:
        decoded = base64.b64decode(found[0].split(None, 1)[1], validate=True).decode("ascii")
    except (ValueError, IndexError):
        raise InvalidClient("The Authorization header is malformed") from None
    client_id, _, secret = decoded.partition(":")
    if secret or len(found) > 1:
        raise InvalidClient
    return unquote_plus(client_id) or None


def _is_basic(value: bytes) -> bool:
    return value.split(None, 1)[:1] != [] and value.split(None, 1)[0].lower() == b"basic"
