"""Refresh tokens and the pairs they come in: made at login, exchanged at refresh (RFC 6749 §6, RFC 9700 §4.14.2)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from asgi_auth.clock import Clock
from asgi_auth.errors import InvalidGrant, InvalidScope, StoreUnavailable
from asgi_auth.identity import AUTHENTICATED
from asgi_auth.model import Client, Grant, Session, UserRow, scope_text, scope_tokens
from asgi_auth.secret import digest, new_secret
from asgi_auth.stores import Exchange, Loaded, NewGrant, NewSession, Store, Windows, new_sid
from asgi_auth.tokens.access import AccessTokens
from asgi_auth.tokens.keyring import KeyRing
from asgi_auth.tokens.keys import SigningKey
from asgi_auth.tokens.refresh import RefreshCodec, RefreshToken, successor

DEFAULT_CLIENT = "asgi-auth"

_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,255}")

_ATTEMPTS = 5
_REST = 4096
"""Bytes of an access token that whatever it says beside its scope does not exceed."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client gets (RFC 6749 §5.1). `expires_in` in seconds; `scope` space-separated; `jkt`: thumbprint of
    the key that it is bound to (RFC 9449 §5); empty: none; `refresh_expires_in`: seconds for which the refresh token is
    good if nobody uses it."""

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    session: Session
    jkt: str = ""
    refresh_expires_in: int = 0

    @property
    def token_type(self) -> str:
        return "DPoP" if self.jkt else "Bearer"

    def public(self, *, refresh_token: bool = True) -> dict[str, str | int]:
        """As JSON. `refresh_token` False: without that, which travels as a cookie."""
        return {
            "access_token": self.access_token,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
            **({"refresh_token": self.refresh_token} if refresh_token else {}),
            "scope": self.scope,
        }

    def __repr__(self) -> str:
        return f"<TokenPair of session {self.session.id}>"


class Lifetimes(NamedTuple):
    """Seconds: see the settings of these names. `leeway` is added to how long a token may be accepted."""

    access: float
    refresh: float
    session: float
    grace: float
    redelivery: float
    leeway: float


class Signing(NamedTuple):
    """What an access token is signed with, and which history of the store it belongs to."""

    key: SigningKey
    epoch: str


class Reuse(InvalidGrant):
    """A refresh token came back long after its successor was in use. Its session has ended."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.loaded = loaded


async def _not_known() -> str:
    return ""


class Grants:
    """Makes token pairs and exchanges refresh tokens. The user's row comes from whoever calls.

    Args:
        epoch: says which history of the store this is; empty: not known.
    """

    def __init__(
        self,
        store: Store,
        keys: KeyRing,
        tokens: AccessTokens,
        codec: RefreshCodec,
        lifetimes: Lifetimes,
        *,
        clock: Clock,
        epoch: Callable[[], Awaitable[str]] = _not_known,
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._keys = keys
        self._tokens = tokens
        self._codec = codec
        self._lifetimes = lifetimes
        self._clock = clock
        self._windows = Windows(
            idle=lifetimes.refresh,
            token_lifetime=lifetimes.access + lifetimes.leeway,
            grace=lifetimes.grace,
            redelivery=lifetimes.redelivery,
        )

    @property
    def token_lifetime(self) -> float:
        """Seconds for which an access token is accepted."""
        return self._windows.token_lifetime

    def next_token(self, sid: str, grant: Grant) -> tuple[str, str]:
        """A refresh token that takes the current one's place without being derived from it, and its digest."""
        secret = new_secret()
        return self._codec.encode(sid, grant.generation + 1, secret), digest(secret)

    def prepare(
        self,
        row: UserRow,
        *,
        client_id: str,
        asked: frozenset[str] | None,
        client: Client,
        amr: tuple[str, ...],
        jkt: str = "",
    ) -> tuple[NewSession, str]:
        """A session in JWT mode for the store to make, and its first refresh token. Raises InvalidScope: the user has
        not all that was asked.

        Args:
            jkt: thumbprint of the key that its tokens are bound to; empty: none.
        """
        if asked is not None and not asked <= row.scopes:
            raise InvalidScope
        sid, secret = new_sid(self._store.partition(row.id)), new_secret()
        grant = NewGrant(
            client_id=client_id,
            granted=None if asked is None else scope_text(asked),
            digest=digest(secret),
            token_lifetime=self._windows.token_lifetime,
            jkt=jkt,
        )
        new = NewSession(
            sid=sid,
            user_id=row.id,
            backend="jwt",
            idle=self._lifetimes.refresh,
            lifetime=self._lifetimes.session,
            amr=amr,
            client=client,
            grant=grant,
        )
        return new, self._codec.encode(sid, 1, secret)

    async def signing(self) -> Signing:
        """What `pair` needs of the store: asked for before something is used up, or begins, for what could not be made.

        Raises:
            StoreUnavailable: no answer.
            ConfigurationError: there are public keys alone.
        """
        return Signing(await self._keys.signing_key(), await self._epoch())

    def pair(
        self, loaded: Loaded, refresh_token: str, signing: Signing, *, generation: int, scopes: Collection[str]
    ) -> TokenPair:
        """A refresh token and a fresh access token of the same generation."""
        user, grant = loaded.user, loaded.record.grant
        if user is None or grant is None:
            raise ValueError("this session has no tokens")
        scope = scope_text(frozenset(scopes) - {AUTHENTICATED})
        now = self._clock()
        # It is accepted a leeway longer, and nothing outlives the session.
        lifetime = min(self._lifetimes.access, loaded.remaining - self._lifetimes.leeway)
        access_token = self._tokens.issue(
            signing.key,
            subject=user.id,
            session_id=loaded.record.sid,
            generation=generation,
            client_id=grant.client_id,
            scope=scope,
            auth_time=loaded.record.authenticated_at,
            amr=loaded.record.amr,
            acr=loaded.record.acr or None,
            revision=user.revision,
            now=now,
            lifetime=lifetime,
            history=(signing.epoch, loaded.record.era) if signing.epoch else None,
            jkt=grant.jkt,
        )
        return TokenPair(
            access_token,
            refresh_token,
            max(0, int(lifetime)),
            scope,
            loaded.record.public(),
            grant.jkt,
            max(0, int(loaded.remaining)),
        )

    async def refresh(
        self,
        refresh_token: str,
        *,
        client_id: str | None,
        asked: frozenset[str] | None,
        jkt: str | None,
        current: Callable[[UserRow], Awaitable[UserRow | None]],
    ) -> TokenPair:
        """Exchange a refresh token for a pair.

        Args:
            client_id: who presents it; None: whoever it was made for.
            asked: no more scopes than these; None: all that were granted.
            jkt: thumbprint of the key whose proof came along; empty: none did; None: it need not.
            current: asks the user directory again; None: the user is gone.

        Until its successor has been seen, and the grace longer, a token gives that same successor again.

        Raises:
            InvalidGrant: unknown, expired or used; `Reuse` if that has just ended the session.
            InvalidScope: more was asked than granted, or something else than the first time; or it is too much for a
                token.
            StoreUnavailable: nothing is known to have changed; repeat.
        """
        for _ in range(_ATTEMPTS):
            found = await self._load(refresh_token)
            if found is None:
                raise InvalidGrant
            named, loaded, user, grant = found
            row = await current(user)
            if row is None:
                raise InvalidGrant
            scopes = allowed(grant, row, asked)
            signing, nonce = await self.signing(), new_secret()
            if 2 * len(scope_text(scopes)) + _REST > self._tokens.max_size:
                # It may not fit, and nothing is used up for that.
                self.pair(loaded, refresh_token, signing, generation=named.generation, scopes=scopes)
            wanted = Exchange(
                sid=named.sid,
                generation=named.generation,
                digest=digest(named.secret),
                client_id=grant.client_id if client_id is None else client_id,
                jkt=grant.jkt if jkt is None else jkt,
                scope=scope_text(asked or ()),
                revision=row.revision,
                nonce=nonce,
                next_digest=digest(successor(refresh_token, nonce)),
                windows=self._windows,
            )
            done = await self._store.exchange(wanted)
            if done.outcome == "changed":
                continue
            if done.outcome == "reused":
                raise Reuse(loaded)
            if done.outcome == "scope":
                raise InvalidScope("This refresh token was used with another scope")
            if done.loaded is None:
                raise InvalidGrant
            generation = named.generation + 1
            text = self._codec.encode(named.sid, generation, successor(refresh_token, done.nonce))
            return self.pair(done.loaded, text, signing, generation=generation, scopes=scopes)
        raise StoreUnavailable("the user kept changing while a refresh token was exchanged")

    async def standing(self, refresh_token: str) -> tuple[Loaded, str] | None:
        """The session of a refresh token that would still be exchanged, and the scope it is good for; None: it is not.
        Uses nothing up."""
        found = await self._load(refresh_token)
        if found is None:
            return None
        named, loaded, user, grant = found
        if grant.generation != named.generation or not hmac.compare_digest(grant.digest, digest(named.secret)):
            return None
        return loaded, scope_text(allowed(grant, user))

    def session_of(self, refresh_token: str) -> str | None:
        """The session that a refresh token of ours names, whether it is good or used."""
        named = self._codec.decode(refresh_token)
        return None if named is None else named.sid

    async def _load(self, refresh_token: str) -> tuple[RefreshToken, Loaded, UserRow, Grant] | None:
        named = self._codec.decode(refresh_token)
        loaded = None if named is None else await self._store.load(named.sid)
        if named is None or not isinstance(loaded, Loaded) or loaded.user is None or loaded.record.grant is None:
            return None
        return named, loaded, loaded.user, loaded.record.grant


def allowed(grant: Grant, row: UserRow, asked: frozenset[str] | None = None) -> frozenset[str]:
    """What was granted ∩ what the user has now ∩ what was asked. Raises InvalidScope: more was asked than was granted
    (RFC 6749 §6)."""
    granted = row.scopes if grant.granted is None else scope_tokens(grant.granted)
    if asked is not None and not asked <= granted:
        raise InvalidScope
    return granted & row.scopes & (granted if asked is None else asked)


def is_client_id(text: str) -> bool:
    """Whether a client can be named so (RFC 6749 §A.1)."""
    return _CLIENT_ID.fullmatch(text) is not None
