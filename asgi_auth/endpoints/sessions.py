"""`/me` and `/sessions`: who is calling, and what sessions that user has, in both modes."""

from __future__ import annotations

from asgi_auth.endpoints.call import Call
from asgi_auth.errors import InvalidToken, NotFound
from asgi_auth.guards import Requirement, decide
from asgi_auth.http.answers import Answer, empty_answer, json_answer
from asgi_auth.model import User
from asgi_auth.stores import Ended, Keep, Loaded, is_sid


async def me(call: Call) -> Answer:
    """Who is calling, by which session, if it is one of ours. Never counts as activity."""
    identity = call.identity
    if not identity.session_id:
        return json_answer(200, {"user": identity.user.public(), "session": None, "backend": identity.backend})
    user, record = identity.user, identity.record
    if record is None or identity.row is None:
        loaded = await call.parts.store.load(identity.session_id)
        if not isinstance(loaded, Loaded) or loaded.user is None:
            raise InvalidToken(InvalidToken.REVOKED)
        record = loaded.record
        row = loaded.user
        user = User(row.id, row.display_name, identity.scopes, row.claims)
    return json_answer(
        200,
        {
            "user": user.public(),
            "session": record.public().public(current=True),
            "backend": identity.backend,
        },
    )


async def listed(call: Call) -> Answer:
    """The user's sessions, the latest first."""
    identity = call.identity
    found = await call.parts.store.sessions(identity.user.id)
    shown = [loaded.record.public().public(current=loaded.record.sid == identity.session_id) for loaded in found]
    return json_answer(200, {"sessions": shown})


async def end_one(call: Call) -> Answer:
    """End one session of the user; another user's does not exist."""
    identity = call.identity
    sid = call.context.scope["path"].rsplit("/", 1)[1]
    if sid == identity.session_id:
        await _end_current(call)
        return empty_answer(204)
    _must_be_fresh(call)
    loaded = await call.parts.store.load(sid) if is_sid(sid) else None
    if not isinstance(loaded, Loaded) or loaded.record.user_id != identity.user.id:
        raise NotFound
    ended = await call.parts.store.end(sid, "revoked")
    await call.parts.endings.tell([ended], call.context.facts)
    return empty_answer(204)


async def end_others(call: Call) -> Answer:
    """End all other sessions of the user; with `?all=true` this one as well."""
    identity = call.identity
    everything = call.query_flag("all")
    _must_be_fresh(call)
    keep = None if everything else Keep(identity.session_id)
    ended = await call.parts.store.end_user(identity.user.id, "revoked", keep=keep) or ()
    await call.parts.endings.tell(ended, call.context.facts)
    if everything:
        own = next((one for one in ended if one.sid == identity.session_id), None)
        await _leave(call, own)
    return empty_answer(204)


async def _end_current(call: Call) -> None:
    identity = call.identity
    ended = await call.parts.store.end(identity.session_id, "revoked")
    await call.parts.endings.tell([ended], call.context.facts)
    await _leave(call, ended)


async def _leave(call: Call, ended: Ended | None) -> None:
    identity = call.identity
    clear = identity.record is not None and await call.logins.is_over(ended, identity.session_id)
    call.context.log_out(clear=clear)


def _must_be_fresh(call: Call) -> None:
    """Raises:
    InsufficientUserAuthentication: the login is older than `FRESH` (RFC 9470 §3).
    """
    refusal = decide(call.context, Requirement(fresh=call.settings.fresh))
    if refusal is not None:
        raise refusal
