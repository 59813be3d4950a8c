"""A refresh token that a browser keeps as a cookie (`REFRESH_COOKIE`): which came, which goes out, when it is cleared.

A refresh never clears it, whatever becomes of it: another tab's answer may just have put the successor in its place.
"""

from __future__ import annotations

from asgi_auth import audit
from asgi_auth.context import Context
from asgi_auth.errors import CookieNotKept
from asgi_auth.http.credentials import cookies
from asgi_auth.parts import Parts
from asgi_auth.stores import Ended
from asgi_auth.tokens.grants import TokenPair


def must_be_kept(context: Context) -> None:
    """Raises:
    CookieNotKept: refresh tokens go out as a cookie, and the browser would drop it.
    """
    cookie = context.refresh_cookie
    problem = None if cookie is None else context.cookie_problem(cookie.spec)
    if problem is not None:
        raise CookieNotKept(problem)


def shown(context: Context) -> str | None:
    """The refresh token that came as a cookie; None: none did, or two (cookie tossing), or it counts for nothing, since
    another site's page sent a request that stands by its access token.

    Raises:
        CrossOrigin: another site's page sent it, and it is all that the request stands by.
    """
    cookie = context.refresh_cookie
    if cookie is None:
        return None
    name = cookie.spec.name.encode("ascii")
    found = cookies(context.scope["headers"], {name}).get(name, [])
    if found and not context.origin.allowed:
        if context.identity is not None:
            return None
        raise context.origin.error()
    if len(found) > 1:
        context.auth.log.record(
            audit.INVALID_INPUT, "cookie", context.kept_address, request=context.facts, reason="doubled"
        )
        return None
    return found[0].decode("latin-1") if found else None


def hand_out(context: Context, pair: TokenPair) -> None:
    """The answer carries the pair's refresh token as a cookie, for as long as it can be good."""
    cookie = context.refresh_cookie
    assert cookie is not None
    context.carry(cookie.set(pair.refresh_token, pair.refresh_expires_in, now=context.auth.clock()))


async def hand_over(context: Context, parts: Parts, pair: TokenPair, before: str | None) -> None:
    """The same for a login, which has done with the one that the browser kept until now. A late logout clears nothing
    then."""
    if context.refresh_cookie is None:
        return
    sid = None if before is None else parts.grants.session_of(before)
    if sid is not None:
        over = await parts.store.end(sid, "replaced") or await parts.store.supersede(sid)
        await parts.endings.tell([over], context.facts)
    hand_out(context, pair)


async def leave(context: Context, parts: Parts, token: str | None, gone: Ended | None) -> None:
    """Whoever logs out has done with it, too: its session ends, and the cookie goes, unless a login has taken its place
    meanwhile. `gone`: what the logout has ended already."""
    sid = None if token is None else parts.grants.session_of(token)
    if sid is None:
        if token is not None:
            _clear(context)
        return
    if gone is None or gone.sid != sid:
        gone = await parts.store.end(sid, "logout")
        await parts.endings.tell([gone], context.facts)
    await clear_if_over(context, parts, token, sid, gone)


async def clear_if_over(context: Context, parts: Parts, token: str | None, sid: str, gone: Ended | None) -> None:
    """The cookie goes if it is of this session, which has ended (`gone`: just now), and nothing took its place."""
    if token is None or parts.grants.session_of(token) != sid:
        return
    if gone is not None or await parts.session_backend.outlived(sid):
        _clear(context)


def _clear(context: Context) -> None:
    cookie = context.refresh_cookie
    assert cookie is not None
    context.carry(cookie.clear())
