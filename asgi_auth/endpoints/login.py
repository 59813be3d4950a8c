"""`/login`, `/logout`, `/password`: a name and a password in, a cookie or tokens out; and back."""

from __future__ import annotations

from asgi_auth.endpoints.call import Call
from asgi_auth.endpoints.token import asked_scopes, client_of, first_pair
from asgi_auth.entrance import proof_of, recall, refuse_cross_origin, shown
from asgi_auth.errors import InvalidRequest, LoginRequired, WeakPassword
from asgi_auth.http.answers import Answer, empty_answer, json_answer
from asgi_auth.http.bodies import Form, flag, text
from asgi_auth.http.origin import is_local_path
from asgi_auth.logins import PASSWORD
from asgi_auth.renewals import Renewals


async def login(call: Call) -> Answer:
    """Log in by cookie (`mode` `session`) or with tokens (`jwt`).

    What can be refused without the password is refused before it is looked at.
    """
    refuse_cross_origin(call.context)
    body = await call.body(form=True)
    username, password = text(body, "username", required=True), text(body, "password", required=True)
    mode = text(body, "mode") or "session"
    if mode not in ("session", "jwt"):
        raise InvalidRequest("mode must be session or jwt")
    if mode not in call.settings.backends or (mode == "jwt" and not call.parts.keys.signs):
        raise InvalidRequest(f"The mode {mode} is off here")
    if mode == "jwt":
        return await _with_tokens(call, body, username, password)
    remember = flag(body, "remember")
    next = text(body, "next") if isinstance(body, Form) else None
    if next is not None and not is_local_path(next):
        raise InvalidRequest("next must be a path of this host")
    call.logins.keepable(call.context)
    await recall(call.context, await shown(call.context))
    row = await call.logins.check_password(call.context, username, password)
    session = await call.logins.by_cookie(call.context, row, amr=PASSWORD, remember=remember)
    if next is not None:
        return empty_answer(303, headers=[(b"location", next.encode("ascii"))])
    return json_answer(200, {"user": call.identity.user.public(), "session": session.public(current=True)})


async def logout(call: Call) -> Answer:
    """End the session of the request, in either mode; for nobody too."""
    clear = call.query_flag("clear")
    await call.logins.log_out(call.context)
    return empty_answer(204, headers=[(b"clear-site-data", b'"cache", "storage"')] if clear else [])


async def password(call: Call) -> Answer:
    """Change the password of whoever is calling."""
    if call.context.identity is None:
        raise LoginRequired(reason=call.context.reason or None)
    body = await call.body()
    current, new = text(body, "current_password", required=True), text(body, "new_password", required=True)
    try:
        await Renewals(call.parts).change_password(call.context, current, new)
    except WeakPassword as error:
        raise InvalidRequest(str(error)) from None
    return empty_answer(204)


async def _with_tokens(call: Call, body: dict[str, object], username: str, password: str) -> Answer:
    client_id, asked, proof = client_of(body), asked_scopes(body), await proof_of(call.context)
    return await first_pair(call, username, password, client_id=client_id, asked=asked, proof=proof)
