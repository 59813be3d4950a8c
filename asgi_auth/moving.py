"""Moving in from Starlette's `SessionMiddleware`: a session that lives in its cookie alone becomes one of ours."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from asgi_auth.backends.session import session_identity
from asgi_auth.context import Context
from asgi_auth.errors import CredentialError, StoreUnavailable
from asgi_auth.leaving import OldSession, forget_cookie, old_session
from asgi_auth.logins import Logins, session_cookie
from asgi_auth.model import UserRow
from asgi_auth.parts import Parts
from asgi_auth.secret import digest
from asgi_auth.sessions.data import encoded
from asgi_auth.sessions.visitors import is_too_large, visitors_session
from asgi_auth.settings import Settings
from asgi_auth.stores import Loaded, NewSession, Presented

_TRIES = 25
_PAUSE = 0.02

log = logging.getLogger("asgi_auth")


async def move_in(context: Context) -> None:
    """Let the session of an old cookie go on as ours, for a request that brings none of ours.

    Raises:
        CrossOrigin: a page of another origin sent it along.
        StoreUnavailable: it cannot be said whether it was used before.
    """
    parts = await context.auth.opened()
    old = old_session(context, parts)
    if old is None or context.cookie_problem() is not None:
        return
    if not context.origin.allowed:
        raise context.origin.error()
    row = None if old.user_id is None else await parts.users.known(old.user_id)
    if row is not None:
        await _as_login(context, parts, old, row)
    elif old.user_id is not None:
        log.warning("an old session is left behind: nobody here has the id %r, or may not log in", old.user_id)
    elif context.visitor is None:
        await _as_visitor(context, parts, old)
    else:
        log.warning("an old session of nobody is left behind, with its data: the visitor has one of ours")
    forget_cookie(context)


async def _as_login(context: Context, parts: Parts, old: OldSession, row: UserRow) -> None:
    """A login without a method (`amr`), and so long ago that it is fresh for nothing: who knows when it was."""
    settings = parts.settings
    secret, sid = old.secret, old.sid(parts.store.partition(row.id))
    new = NewSession(
        sid=sid,
        user_id=row.id,
        backend="session",
        idle=settings.session_idle,
        lifetime=settings.session_lifetime,
        digest=digest(secret),
        client=context.client,
        remember=old.remembered,
        data=_texts(old, settings),
        authenticated_ago=settings.session_lifetime + max(0.0, parts.clock() - old.session.signed_at),
    )

    async def make() -> Loaded | None:
        if (await parts.store.history()).era:
            log.info("an old session of user %s was not moved in: since then everybody's were ended", row.id)
            return None
        try:
            _, created = await Logins(parts).start(context, row, new, data_from=context.visitor, moved=True)
        except CredentialError as error:
            log.info("an old session of user %s was not moved in: %s", row.id, error)
            return None
        return created.loaded

    loaded = await _moved(parts, old, new, make)
    if loaded is None or loaded.user is None:
        return
    cookie = session_cookie(parts, context, loaded.record, secret, now=loaded.now)
    context.log_in(
        session_identity(loaded, loaded.user, at=parts.view.clock()),
        cookie,
        Presented(sid, new.digest),
        keep_data=False,
    )
    context.unsettled = sid


async def _as_visitor(context: Context, parts: Parts, old: OldSession) -> None:
    secret, sid = old.secret, old.sid(parts.store.partition(old.used.key))
    new = visitors_session(parts.settings, sid, secret, _texts(old, parts.settings))

    async def make() -> Loaded | None:
        created = await parts.store.create(new)
        return None if isinstance(created, str) else created.loaded

    loaded = await _moved(parts, old, new, make)
    if loaded is not None:
        cookie = context.pair.visitor.set(parts.visitor_codec.encode(sid, secret), None, now=parts.clock())
        context.greet_again(Presented(sid, new.digest), loaded, cookie)


async def _moved(
    parts: Parts, old: OldSession, new: NewSession, make: Callable[[], Awaitable[Loaded | None]]
) -> Loaded | None:
    """The session that has come of an old cookie, made now if none has yet. None: it is over."""
    found = await parts.store.load(new.sid)
    hit = await parts.store.hit([old.used])
    if found is None:
        if hit.wait <= 0 and hit.counts == (1,):
            return await _first(parts, old, make)
        for _ in range(_TRIES):  # another request may be about to make it
            found = await parts.store.load(new.sid)
            if found is not None:
                break
            await anyio.sleep(_PAUSE)
    if isinstance(found, Loaded) and hmac.compare_digest(found.record.digest, new.digest):
        return found
    return None


async def _first(parts: Parts, old: OldSession, make: Callable[[], Awaitable[Loaded | None]]) -> Loaded | None:
    """What comes of an old cookie that nobody has used. If that is not known, it may come again: the same session comes
    of it."""
    try:
        return await make()
    except BaseException:
        with CancelScope(shield=True):
            try:
                await parts.store.unhit([old.used.key], [])
            except StoreUnavailable:
                log.warning("an old session could not be moved in, and will not be")
        raise


def _texts(old: OldSession, settings: Settings) -> dict[str, str]:
    """The data as a store keeps it, without what it cannot hold."""
    texts: dict[str, str] = {}
    for key, value in old.session.data.items():
        try:
            texts[key] = encoded(key, value)
        except ValueError as error:
            log.warning("of an old session something is not taken over: %s", error)
    if is_too_large(settings, texts):
        log.warning("an old session's data is larger than ASGI_AUTH_SESSION_MAX_SIZE, and is not taken over")
        return {}
    return texts
