"""Who is calling, as a backend found it out: what a request is given of that, and what a bad credential is answered.

No I/O, no clock, no settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from starlette.authentication import AuthCredentials as StarletteCredentials

from asgi_auth.frozen import FrozenList
from asgi_auth.model import BackendName, Reason, Record, User, UserRow

AUTHENTICATED = "authenticated"
"""The scope that every authenticated request has in `scope["auth"]`, as Starlette users expect. Never in a token."""


class AuthCredentials(StarletteCredentials):
    """What `scope["auth"]` and `request.auth` hold: Starlette's `AuthCredentials`, and how somebody was recognised.
    Requests share it, so it cannot be changed.

    Attributes:
        scopes: the scopes of the credential, and `authenticated` for somebody.
        session_id: the session's public id, or None; a token of another issuer has none.
        backend: `"session"`, `"jwt"` or None.
        expires_at: a token's `exp`, or the earlier of a session's idle and absolute end; None for nobody.
        authenticated_at: when the user logged in; None for nobody, and where another issuer's token does not say.
        amr: authentication methods (RFC 8176).
        acr: the class that they reach (RFC 9470), or None.
    """

    scopes: list[str]
    session_id: str | None
    backend: BackendName | None
    expires_at: float | None
    authenticated_at: float | None
    amr: tuple[str, ...]
    acr: str | None

    def __init__(
        self,
        scopes: Collection[str] = (),
        *,
        session_id: str | None = None,
        backend: BackendName | None = None,
        expires_at: float | None = None,
        authenticated_at: float | None = None,
        amr: tuple[str, ...] = (),
        acr: str | None = None,
    ) -> None:
        self.__dict__.update(
            scopes=FrozenList(scopes),
            session_id=session_id,
            backend=backend,
            expires_at=expires_at,
            authenticated_at=authenticated_at,
            amr=amr,
            acr=acr,
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("other requests share these credentials: keep what is yours elsewhere")


NO_CREDENTIALS = AuthCredentials()

NEVER = float("-inf")
"""When somebody logged in of whom nobody says when: too long ago for whoever asks for a recent login."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The answer of a backend: somebody, by which session, until when.

    `scopes` is what this credential may do, `credentials` what applications see of it all. `amr` says when each method
    was used. `row` is the user as the store has it, at the store's time `now`, which was when the steady clock showed
    `at`; `record` is the session with its data (cookie mode only). A token of another issuer has no session here: its
    `session_id` is empty. `jkt` is the thumbprint of the key without whose proof the credential is worth nothing
    (RFC 9449 §6); empty: it is bound to none. `kid` names the key of ours that signed it.
    """

    user: User
    backend: BackendName
    session_id: str
    scopes: frozenset[str]
    expires_at: float
    authenticated_at: float
    amr: Mapping[str, float]
    acr: str = ""
    row: UserRow | None = None
    now: float = 0.0
    at: float = 0.0
    record: Record | None = None
    jkt: str = ""
    kid: str = ""
    credentials: AuthCredentials = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        credentials = AuthCredentials(
            [AUTHENTICATED, *sorted(self.scopes)],
            session_id=self.session_id or None,
            backend=self.backend,
            expires_at=self.expires_at,
            authenticated_at=None if self.authenticated_at == NEVER else self.authenticated_at,
            amr=tuple(self.amr),
            acr=self.acr or None,
        )
        object.__setattr__(self, "credentials", credentials)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The answer of a backend: this credential opens nothing.

    Attributes:
        error: what a bearer is told (one of `InvalidToken`'s sentences).
        cause: why the session that it named ended, if that is known.
        clear: whether the client should drop the credential.
        forged: whether it was tampered with or is for others, rather than merely old.
        session_id: of the session that it named, if it was ours.
        user_id: whose that was, if it is known.
    """

    error: str = ""
    cause: Reason | None = None
    clear: bool = False
    forged: bool = False
    session_id: str | None = None
    user_id: str | None = None

    @property
    def told(self) -> str:
        """What the holder of a dead cookie of ours is told: `expired` or `ended`, nothing finer."""
        if self.session_id is None:
            return ""
        return "expired" if self.cause in ("idle", "lifetime") else "ended"
