"""Tokens and revocations at one and the same moment: their order is a counter's, never a clock's."""

from __future__ import annotations

from typing import Any

from seats import ALICE, bare_app, call, http_scope, new_auth

from asgi_auth import Auth, AuthMiddleware


async def test_of_two_logins_and_a_revocation_at_one_moment_the_first_is_dead_and_the_second_alive(
    clock: Any, anyio_backend: str
) -> None:
    """keycloak#50999: a not-before in whole seconds let the first live, or killed the second."""
    async with new_auth(clock=clock, jwt_algorithm="HS256") as auth:
        app = AuthMiddleware(bare_app(auth), auth)
        for end in (_revoke_user, _revoke_all, _revoke_session):
            first = await auth.issue(ALICE)
            await end(auth)
            second = await auth.issue(ALICE)
            assert await _who(app, first.access_token) == (401, "The access token was revoked"), end
            assert await _who(app, second.access_token) == (200, None), end


async def _revoke_user(auth: Auth) -> None:
    await auth.revoke_user("alice")


async def _revoke_all(auth: Auth) -> None:
    await auth.revoke_all()


async def _revoke_session(auth: Auth) -> None:
    for session in await auth.sessions("alice"):
        await auth.revoke(session.id)


async def _who(app: Any, token: str) -> tuple[int, str | None]:
    reply = await call(app, http_scope("/who", headers=[(b"authorization", b"Bearer " + token.encode())]))
    return reply.status, reply.json().get("error_description")
