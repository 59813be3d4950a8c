"""One access token by itself: what somebody else's says, and how it dies while its session lives."""

from __future__ import annotations

import re

from asgi_auth import audit
from asgi_auth.errors import InvalidToken
from asgi_auth.parts import Parts
from asgi_auth.tokens.claims import JTI, Claims


async def claims_of(parts: Parts, token: str) -> Claims | None:
    """What an access token of ours says, if its signature and times are right.

    Raises:
        StoreUnavailable: the keys cannot be asked for.
    """
    if not token.isascii():
        return None
    try:
        compact = parts.tokens.parse(token.encode("ascii"))
        await parts.keys.learn(compact.header["kid"])
        await parts.keys.prove()
        return parts.tokens.check(compact, parts.keys.find, now=parts.clock())
    except InvalidToken:
        return None


async def deny(parts: Parts, token: str, *, wait: bool) -> bool:
    """Kill one access token, named by itself or by its `jti`. Whether it may have been good until now.

    Raises:
        ValueError: it is neither.
        StoreUnavailable: the change is not known to stand; repeat.
    """
    leeway = parts.tokens.leeway
    if re.fullmatch(JTI, token):
        # Nobody has said when it is over, so it is denied for as long as any token may live.
        jti, user_id, sid, lifetime = token, None, None, parts.tokens.longest_lifetime + leeway
    elif token.count(".") == 2:
        claims = await claims_of(parts, token)
        if claims is None:
            return False
        jti, user_id, sid = claims.jti, claims.sub, claims.sid
        lifetime = claims.exp + leeway - parts.clock()
    else:
        raise ValueError("this is neither an access token nor the jti of one: a refresh token ends with its session")
    async with parts.view.settled(wait):
        await parts.store.deny(jti, lifetime)
    parts.audit.record(audit.TOKEN_REVOKED, user_id, sid, sid=sid, reason=f"jti {jti}")
    return True
