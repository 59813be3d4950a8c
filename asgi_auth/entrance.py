"""From the headers of one request to who is calling: the credentials, a backend's answer, what follows from a bad one.

Reads, asks and decides; what the answer looks like and who else is asked is the middleware's.
"""

from __future__ import annotations

import hmac
import logging
import re
from dataclasses import replace
from typing import NamedTuple

from asgi_auth import audit
from asgi_auth.context import Context
from asgi_auth.errors import InvalidProof, InvalidToken, StoreUnavailable
from asgi_auth.guards import Requirement, admit
from asgi_auth.http import values
from asgi_auth.http.asking import is_navigation, place_of
from asgi_auth.http.credentials import Credential, authorization, cookies, has_preflight, refuse_oversized
from asgi_auth.http.forwarded import readings
from asgi_auth.identity import Identity, Rejected
from asgi_auth.moving import move_in
from asgi_auth.sessions.seen import seen_version
from asgi_auth.stores import Loaded
from asgi_auth.tokens.dpop import Proof

log = logging.getLogger("asgi_auth")

TOKENS_CARRY_NO_DATA = "a bearer token carries no session data"


class CookiesShown(NamedTuple):
    """The values of our two cookies, as often as they came. `carried`: whether one is there, by whichever name; a page
    elsewhere must not turn a login on this machine into a visitor's request by its mere `Origin`. `seen`: the text of
    `<cookie>-seen`."""

    session: list[bytes]
    visitor: list[bytes]
    carried: bool = False
    seen: bytes = b""

    def __repr__(self) -> str:
        return f"<CookiesShown {len(self.session)}, {len(self.visitor)}>"  # they may be alive: keep them out of logs


async def enter(context: Context, *, path: str, active: bool = True) -> None:
    """Find out who is calling and put it into the context.

    Args:
        path: the request's, less `root_path`.
        active: whether the request may count as activity.

    Raises:
        CredentialError: the request ends here, before the application runs.
        StoreUnavailable: likewise; nobody can say who it is.
    """
    refuse_oversized(context.scope["headers"])
    settings = context.auth.settings
    enabled = "jwt" in settings.backends
    presented = authorization(context.scope["headers"], enabled=enabled, dpop=settings.takes_proofs)
    if presented is not None:
        await _by_token(context, presented)
    else:
        await _by_cookie(context)
    await _still_a_user(context)
    if active and not is_passive(context, path):
        await touch(context)
    _remember(context)


def guard(context: Context) -> None:
    """Apply `PROTECT`, to each way in which an application may read the path.

    Raises:
        CredentialError: a rule for this path is not satisfied.
    """
    scope, rules = context.scope, context.auth.settings.protect
    if rules is None or (scope["type"] == "http" and has_preflight(scope.get("method", ""), scope["headers"])):
        return
    for path in readings(scope):
        rule = rules.match(path)
        if rule is None or rule.anybody:
            continue
        refusal = admit(context, Requirement(rule.scopes))
        if refusal is not None:
            raise refusal


async def shown(context: Context) -> CookiesShown:
    """Our cookies in this request. Needs the store only where their names depend on it and one may be there."""
    headers = context.scope["headers"]
    nothing = CookiesShown([], [])
    if "session" not in context.auth.settings.backends:
        return nothing
    hint = context.auth.cookie_hint
    if not any(name == b"cookie" and hint.search(value) for name, value in headers):
        return nothing
    ours = (await context.auth.opened()).cookies
    pair = context.pair
    found = cookies(headers, ours.names | ours.seen_names)
    seen = found.get(pair.seen_name, [])
    return CookiesShown(
        found.get(pair.session_name, []),
        found.get(pair.visitor_name, []),
        carried=not ours.names.isdisjoint(found),
        seen=seen[0] if len(seen) == 1 else b"",
    )


async def recall(context: Context, found: CookiesShown) -> None:
    """Which session and which visitor's data the cookies name, without believing that they still stand. For a login,
    which ends and takes over what the browser brought."""
    parts = context.auth.parts
    if len(found.session) == 1:
        presented = parts.session_backend.read(found.session[0])
        if not isinstance(presented, str):
            context.presented = presented
    if len(found.visitor) == 1:
        visitor = parts.visitor_codec.decode(found.visitor[0])
        if not isinstance(visitor, str):
            context.visitor = visitor


def refuse_cross_origin(context: Context) -> None:
    """Refuse an unsafe request that another site's page sent with our cookie.

    Raises:
        CrossOrigin: it did.
    """
    if not context.origin.allowed:
        raise context.origin.error()


async def read_proof(context: Context, *, access_token: bytes | None = None) -> Proof:
    """The proof of possession that came along, and that was made for this request. It has not counted yet.

    Raises:
        InvalidProof: there is none, or it was not; `NonceWanted`: its nonce will not do.
        StoreUnavailable: nobody knows our nonces.
    """
    scope, proofs = context.scope, (await context.auth.opened()).proofs
    method = "GET" if scope["type"] == "websocket" else scope.get("method", "")
    found = values(scope["headers"], b"dpop")
    proof = proofs.read(found, method, context.target, access_token=access_token)
    context.offer_nonce(proofs.renewal(proof))
    return proof


async def proof_of(context: Context) -> Proof | None:
    """The proof of possession in a request for tokens (RFC 9449 §5); None: there is none, so they serve any bearer. It
    has not counted yet: before the request is known to be somebody's, nothing is kept of it.

    Raises:
        InvalidProof: it will not do, or there must be one.
    """
    mode = context.auth.settings.dpop
    if mode != "off" and values(context.scope["headers"], b"dpop"):
        return await read_proof(context)
    if mode == "required":
        raise InvalidProof("Send a DPoP proof: tokens are bound to a key here")
    return None


async def _by_token(context: Context, presented: Credential) -> None:
    context.forbidden = TOKENS_CARRY_NO_DATA
    answer = await _by_others(context, presented)
    if answer is None:
        backend = await context.auth.jwt_backend()
        answer = await backend.identify(presented.token, bound=presented.bound)
    if isinstance(answer, Rejected):
        _log_rejected(context, answer, "authorization")
        raise InvalidToken(answer.error)
    if presented.bound:
        try:
            await _prove(context, presented.token, answer.jkt)
        except InvalidProof as error:
            error.status = 401  # which is 400 where a token is asked for (RFC 9449 §5, §7.1)
            raise
    context.become(answer, None)


async def _by_others(context: Context, presented: Credential) -> Identity | Rejected | None:
    """What another issuer's token says; None: it is ours, or no other issuer counts here."""
    issuers = context.auth.issuer_backend
    return None if issuers is None else await issuers.identify(presented.token, bound=presented.bound)


async def _prove(context: Context, token: bytes, jkt: str) -> None:
    """See that whoever sent this token has its key."""
    proof = await read_proof(context, access_token=token)
    if proof.jkt != jkt:
        raise InvalidProof("The DPoP proof was made by another key than the token is bound to")
    await context.auth.parts.proofs.spend(proof)


async def _by_cookie(context: Context) -> None:
    try:
        found = await shown(context)
    except StoreUnavailable as error:
        if not _only_a_visitors(context):
            raise
        refuse_cross_origin(context)
        context.failure = error
        return
    if found.carried:
        refuse_cross_origin(context)
    if len(found.session) > 1 or len(found.visitor) > 1:
        context.auth.log.record(
            audit.INVALID_INPUT, "cookie", context.kept_address, request=context.facts, reason="doubled"
        )
    if len(found.session) == 1:
        await recall(context, CookiesShown(found.session, []))
        answer = await context.auth.parts.session_backend.identify(found.session[0], seen=found.seen)
        if isinstance(answer, Identity):
            context.become(answer, context.presented)
            context.credential = found.session[0]
        else:
            _dead(context, answer)
    nobody = context.identity is None and context.pending is None
    if len(found.visitor) == 1 and nobody:
        await _visitor(context, found.visitor[0], found.seen)
    if nobody and context.auth.settings.starlette_sessions is not None:
        await move_in(context)


def _only_a_visitors(context: Context) -> bool:
    """Whether no cookie of a login is among ours, as far as names tell before the store has answered."""
    hint = context.auth.cookie_hint
    found = [match for name, value in context.scope["headers"] if name == b"cookie" for match in hint.finditer(value)]
    return all(match[1] for match in found)


async def _visitor(context: Context, text: bytes, seen: bytes) -> None:
    """A visitor's data is loaded before the application runs, since a mapping cannot wait. Nobody is refused for it."""
    parts = context.auth.parts
    presented = parts.visitor_codec.decode(text)
    if isinstance(presented, str):
        if presented == "forged":
            _log_forged(context, "cookie")
        return
    try:
        loaded = await parts.view.session(presented.sid, version=seen_version(seen, presented.sid))
    except StoreUnavailable as error:
        context.failure = error
        return
    ours = isinstance(loaded, Loaded) and loaded.record.user_id is None
    if isinstance(loaded, Loaded) and ours and hmac.compare_digest(loaded.record.digest, presented.digest):
        context.greet_again(presented, loaded)


def _dead(context: Context, answer: Rejected) -> None:
    """A cookie that opens nothing. The request goes on as nobody's."""
    context.reason, context.forged = answer.told, answer.forged
    _log_rejected(context, answer, "cookie")
    mode, sid = _fetch_mode(context), answer.session_id
    if not answer.clear or mode not in (b"", b"navigate") or context.scope["type"] != "http":
        return
    if sid is None:
        context.drop_cookie()
    elif mode or not context.auth.parts.session_backend.was_told(sid):
        context.clear_unless_replaced(sid)


def _log_rejected(context: Context, answer: Rejected, field: str) -> None:
    if answer.forged:
        _log_forged(context, field)
    elif answer.session_id is not None and answer.error != InvalidToken.OUT_OF_DATE:
        kind = audit.UNREADABLE if answer.cause == "broken" else audit.USED_AFTER_END
        context.auth.log.record(kind, answer.user_id, request=context.facts, sid=answer.session_id, reason=answer.cause)
    elif not answer.error:
        _log_foreign(context)


def _log_forged(context: Context, field: str) -> None:
    context.auth.log.record(
        audit.INVALID_INPUT, field, context.kept_address, request=context.facts, reason="forged or malformed"
    )


def _log_foreign(context: Context) -> None:
    """Another application's cookie under our name, or that of a replica with another store."""
    context.auth.log.record(
        audit.INVALID_INPUT, "cookie", context.kept_address, request=context.facts, reason="of another key ring"
    )


def _fetch_mode(context: Context) -> bytes:
    return next((value for name, value in context.scope["headers"] if name == b"sec-fetch-mode"), b"")


async def _still_a_user(context: Context) -> None:
    """Ask the application's directory again about somebody in use, from time to time."""
    identity = context.identity
    if identity is None or identity.row is None:
        return
    row = await context.auth.parts.users.refreshed(identity.row, identity.now)
    if row is not None and row.revision == identity.row.revision:
        return
    if identity.backend == "jwt":
        raise InvalidToken(InvalidToken.REVOKED if row is None else InvalidToken.OUT_OF_DATE)
    if row is None:
        presented = context.presented
        context.log_out(clear=False)
        context.presented = presented
        _dead(context, Rejected(cause="disabled", clear=True, session_id=identity.session_id, user_id=identity.user.id))
    else:
        user = row.user()
        context.identity = replace(identity, user=user, scopes=user.scopes, row=row)


def _remember(context: Context) -> None:
    """The same cookie is recognised at once from now on, until there is something to write down or to ask."""
    identity, presented, credential = context.identity, context.presented, context.credential
    if identity is None or identity.record is None or presented is None or credential is None:
        return
    record, parts = identity.record, context.auth.parts
    seconds = record.seen_at + record.touch_interval - identity.now
    if identity.row is not None:
        seconds = min(seconds, parts.users.refreshed_for(identity.row, identity.now))
    place = None
    if parts.settings.url is None and (place := place_of(context.scope)) is None:
        return
    cookie = context.pair.session_name + b"=" + credential
    parts.session_backend.remember(cookie, identity, presented, seconds=seconds, place=place)


async def touch(context: Context, *, since_entry: float = 0.0) -> None:
    """Write that a person is there; if that was written a little while ago, later. A store that cannot take it down
    (full, locked) keeps nobody out whom it has just recognised.

    Args:
        since_entry: seconds since the session was loaded.
    """
    who = context.visiting if context.identity is None else context.identity
    if who is None or who.record is None:
        return
    record, now, parts = who.record, who.now + since_entry, context.auth.parts
    due = max(record.seen_at, context.touched_at) + record.touch_interval - now
    if due > 0:
        parts.activity.note(record.sid, due)
        return
    context.touched_at = now
    try:
        await parts.store.touch([record.sid])
        parts.activity.written(record.sid)
    except StoreUnavailable as error:
        log.warning("activity was not written, so a session may end too early: %s", error)


def lost_on_the_way_back(context: Context) -> bool:
    """Whether this looks like the way back from a provider (RFC 6749 §4.1.2) on which a Strict cookie was not sent."""
    settings, scope = context.auth.settings, context.scope
    if settings.session_samesite != "strict" or context.presented is not None or context.identity is not None:
        return False
    headers = scope["headers"]
    crossed = values(headers, b"sec-fetch-site") == [b"cross-site"]
    navigates = values(headers, b"sec-fetch-mode") == [b"navigate"]
    return crossed and navigates and re.search(rb"(?:^|&)state=", scope.get("query_string") or b"") is not None


def is_passive(context: Context, path: str) -> bool:
    """Whether this request shows that nobody is there: a prefetch, a poll that says so, a path that is set as such."""
    for name, value in context.scope["headers"]:
        if (name == b"sec-purpose" and b"prefetch" in value) or (name == b"auth-passive" and value == b"1"):
            return True
    rules = context.auth.settings.passive_paths
    return rules is not None and rules.match(path) is not None


def is_secret_old(context: Context) -> bool:
    """Whether this request should leave with a new secret (`SESSION_ROTATE`): a page's, so that the browser keeps what
    it gets before it asks on; by the current secret, since the previous one has been replaced already."""
    identity, presented, age = context.identity, context.presented, context.auth.settings.session_rotate
    if age is None or identity is None or identity.record is None or presented is None:
        return False
    record = identity.record
    return (
        context.now() - record.secret_at >= age
        and hmac.compare_digest(presented.digest, record.digest)
        and is_navigation(context.scope)
    )
