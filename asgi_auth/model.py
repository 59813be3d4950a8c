"""The values that everything speaks of: users, sessions, events. No I/O, no clock, no settings.

A *session* is one login, whichever way it travels: a cookie names it, an access token describes it. What the store
keeps of one is a `Record`; what people see of one is a `Session`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from starlette.authentication import BaseUser

from asgi_auth.devices import device_name
from asgi_auth.frozen import frozen

BackendName = Literal["session", "jwt"]

Reason = Literal[
    "logout", "revoked", "evicted", "replaced", "idle", "lifetime", "password", "disabled", "deleted", "reuse", "broken"
]
"""Why a session ended. The first reason stands."""

TOUCH_INTERVAL = 60.0
"""Seconds; activity is written at most this often, and at most 20 times in an idle time."""

_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no id and no name in a token may hold: control characters and lone surrogates."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def scope_tokens(scopes: str | Collection[str]) -> frozenset[str]:
    """The scopes of a space-separated text or a collection, checked against RFC 6749 §3.3.

    Raises:
        ValueError: one holds a character that a scope may not have.
    """
    tokens = frozenset(scopes.split(" ") if isinstance(scopes, str) else scopes) - {""}
    for token in tokens:
        if not isinstance(token, str) or not _SCOPE_TOKEN.fullmatch(token):
            raise ValueError(f'{token!r} is no scope: printable ASCII without space, " and \\ (RFC 6749 §3.3)')
    return tokens


def methods(amr: str | Collection[str]) -> tuple[str, ...]:
    """Authentication methods (RFC 8176), in their order and each once.

    Raises:
        ValueError: one is no word of printable ASCII without space, `"` and `\\`.
    """
    found = (amr,) if isinstance(amr, str) else tuple(dict.fromkeys(amr))
    for method in found:
        if not isinstance(method, str) or not _SCOPE_TOKEN.fullmatch(method):
            raise ValueError(f"{method!r} is no authentication method: a word such as pwd, otp or hwk (RFC 8176)")
    return found


def scope_text(scopes: Collection[str]) -> str:
    """Scopes as the RFCs send them: sorted, joined by spaces."""
    return " ".join(sorted(scopes))


@dataclass(frozen=True, slots=True)
class User(BaseUser):
    """Who is calling, or who may log in.

    Args:
        id: unique and never given to another; at most 255 characters without control characters.
        display_name: for people; the id if not given.
        scopes: what the user may do; any collection of RFC 6749 §3.3 scope tokens.
        claims: what else the application wants to know of the user; JSON values.
        session_limit: how many sessions the user may have, instead of `SESSION_LIMIT`; 0: any number; None: as set.

    Raises:
        ValueError: the id is empty, too long or has control characters; a scope is none; the limit is no number.
    """

    id: str
    display_name: str = ""  # pyright: ignore[reportIncompatibleMethodOverride]
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    session_limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not 0 < len(self.id) <= 255 or CONTROL.search(self.id):
            raise ValueError("a user's id is a text of 1 to 255 characters without control characters")
        object.__setattr__(self, "scopes", scope_tokens(self.scopes))
        if self.session_limit is not None and (type(self.session_limit) is not int or self.session_limit < 0):
            raise ValueError("a user's session_limit is a whole number from 0 on, or None")
        if not self.display_name:
            object.__setattr__(self, "display_name", self.id)

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        return self.id

    def public(self) -> dict[str, Any]:
        """The user as JSON (the endpoints' `user`)."""
        return {
            "id": self.id,
            "display_name": self.display_name,
            "scopes": sorted(self.scopes),
            "claims": dict(self.claims),
        }


@dataclass(frozen=True, slots=True)
class PendingUser(User):
    """Somebody whose login is not complete: known, not authenticated, and allowed nothing."""

    @classmethod
    def of(cls, user: User) -> PendingUser:
        return cls(user.id, user.display_name)

    @property
    def is_authenticated(self) -> bool:
        return False


class AnonymousUser(BaseUser):
    """Nobody. There is one, `ANONYMOUS`."""

    __slots__ = ()

    id: None = None
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = _NOTHING

    @property
    def is_authenticated(self) -> bool:
        return False

    @property
    def display_name(self) -> str:
        return ""

    @property
    def identity(self) -> str:
        return ""


ANONYMOUS = AnonymousUser()


class Client(NamedTuple):
    """What is kept of the device that logged in."""

    address: str = ""
    user_agent: str = ""

    @property
    def device(self) -> str:
        """The user agent in a few words."""
        return device_name(self.user_agent)

    def public(self) -> dict[str, str]:
        """The client as JSON (the endpoints' `client`)."""
        return {"address": self.address, "user_agent": self.user_agent, "device": self.device}


@dataclass(frozen=True, slots=True)
class Session:
    """One login as people see it. Times are seconds since the epoch on the store's clock."""

    id: str
    user_id: str
    backend: BackendName
    client: Client
    amr: tuple[str, ...]
    created_at: float
    last_seen_at: float
    authenticated_at: float
    idle_expires_at: float
    expires_at: float
    acr: str = ""

    def public(self, *, current: bool) -> dict[str, Any]:
        """The session as JSON (the endpoints' `session`)."""
        return {
            "id": self.id,
            "created_at": self.created_at,
            "last_seen_at": self.last_seen_at,
            "expires_at": self.expires_at,
            "idle_expires_at": self.idle_expires_at,
            "authenticated_at": self.authenticated_at,
            "amr": list(self.amr),
            "backend": self.backend,
            "client": self.client.public(),
            "current": current,
        }


@dataclass(frozen=True, slots=True)
class Grant:
    """What a session in JWT mode has besides: its refresh tokens, of which two generations are known.

    Attributes:
        client_id: who may use the refresh token.
        granted: the scopes asked for at login, space-separated; None: all the user has, now and later.
        generation: of the current refresh token; the first is 1.
        digest: SHA-256 (hex) of the current token's secret.
        previous_digest: the same of generation - 1, or empty.
        nonce: the current token is HMAC(nonce, the previous one).
        asked: the `scope` parameter of the exchange that made the current token.
        made_at: when that was.
        confirmed_at: when the current token, or an access token of it, was first seen; None: not yet.
        jkt: thumbprint of the key that alone may use the refresh token (RFC 9449 §5); empty: it is bound to none.
    """

    client_id: str
    granted: str | None
    generation: int
    digest: str
    previous_digest: str = ""
    nonce: str = ""
    asked: str = ""
    made_at: float = 0.0
    confirmed_at: float | None = None
    jkt: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What the store keeps of a session. Times are seconds since the epoch on the store's clock.

    Attributes:
        user_id: None for a visitor's data.
        idle: seconds by which activity moves `idle_expires_at`.
        amr: authentication methods (RFC 8176), each with its time.
        acr: the class that they reach (RFC 9470); empty: not known.
        pending: the user is known and has yet to prove the rest; opens nothing.
        secret_at: when the current secret was made.
        revision: the user's at login; lower than the user's `ended_below`: dead.
        era: the store's at login (`Store.end_all`); lower than the store's: dead.
        digest: SHA-256 (hex) of the cookie's secret; empty in JWT mode.
        previous_digest: the secret before, good until `previous_until`.
        tokens_until: when the last access token of this session expires, leeway included.
        data: JSON text by key.
        data_version: rises with each write of data.
    """

    sid: str
    user_id: str | None
    backend: BackendName
    client: Client
    created_at: float
    seen_at: float
    authenticated_at: float
    idle: float
    idle_expires_at: float
    expires_at: float
    amr: Mapping[str, float]
    remember: bool
    revision: int
    era: int
    digest: str
    previous_digest: str = ""
    previous_until: float = 0.0
    tokens_until: float = 0.0
    grant: Grant | None = None
    data: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    data_version: int = 0
    acr: str = ""
    pending: bool = False
    secret_at: float = 0.0

    @property
    def touch_interval(self) -> float:
        """Seconds after which activity is worth writing down again."""
        return min(TOUCH_INTERVAL, self.idle / 20)

    def public(self) -> Session:
        """What people may see of it.

        Raises:
            ValueError: it is a visitor's, no login.
        """
        if self.user_id is None:
            raise ValueError("a visitor's data is no login")
        return Session(
            id=self.sid,
            user_id=self.user_id,
            backend=self.backend,
            client=self.client,
            amr=tuple(self.amr),
            created_at=self.created_at,
            last_seen_at=self.seen_at,
            authenticated_at=self.authenticated_at,
            idle_expires_at=self.idle_expires_at,
            expires_at=self.expires_at,
            acr=self.acr,
        )


@dataclass(frozen=True, slots=True)
class UserRow:
    """What the store keeps of a user, whatever the directory.

    Attributes:
        name: what the user types to log in, as typed; None: of another directory.
        password_hash: Argon2id in PHC form; None: no password here.
        revision: rises with every change of the user, sessions' ends included. Starts at 1.
        ended_below: sessions of a lower revision are dead.
        disabled: may not log in, has no sessions.
        session_limit: instead of the setting; None: as set.
        deleted: only id and revision are left, so that nothing of an earlier life counts should the id come back.
        checked_at: when the application's directory was last asked about the user (store's clock).
    """

    id: str
    display_name: str = ""
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    name: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    revision: int = 0
    ended_below: int = 0
    disabled: bool = False
    session_limit: int | None = None
    deleted: bool = False
    checked_at: float = 0.0

    def user(self) -> User:
        """For requests to share."""
        return User(self.id, self.display_name, self.scopes, frozen(self.claims), self.session_limit)


class Event(NamedTuple):
    """A change, as a local copy must hear of it; it invalidates, it never patches.

    `kind` and the members of `values`: `ended` sid, user, reason, tokens_until · `changed` sid, data_version ·
    `user` id, revision, ended_below, kept · `all` era; partly, if not everywhere yet · `keys` (none) · `denied` jti,
    until · `begun` (none): the feed's first.
    """

    kind: Literal["ended", "changed", "user", "all", "keys", "denied", "begun"]
    values: Mapping[str, Any]
