"""IssuerBackend: a token of another issuer becomes an identity. It has no session here, and no store is asked."""

from __future__ import annotations

from dataclasses import dataclass

from asgi_auth.clock import Clock
from asgi_auth.errors import InvalidToken, Unavailable
from asgi_auth.frozen import frozen
from asgi_auth.identity import NEVER, Identity, Rejected
from asgi_auth.issuer import Issuer, media_type
from asgi_auth.model import User
from asgi_auth.recent import Recent
from asgi_auth.tokens.issuers.claims import Foreign, Times, payload_of, read
from asgi_auth.tokens.issuers.keyset import KeySet
from asgi_auth.tokens.issuers.source import KeySource
from asgi_auth.tokens.issuers.trusted import Answer, Trusted
from asgi_auth.tokens.jose import Compact, parse

REMEMBERED = 50_000
REMEMBERED_SIZE = 64 * 2**20

_IDENTITY_SIZE = 4000
_CLAIM_SIZE = 80
"""About as many bytes are taken by each claim, and each part of one: in a few bytes of a token, many may be written."""

_BEARER = b"Bearer "


@dataclass(frozen=True, slots=True, eq=False)
class _Verified:
    """A token that was found right by these keys: so for as long as they are the issuer's. `until` is of the wall
    clock, `look_at` of the steady one."""

    identity: Identity
    source: KeySource
    keys: KeySet
    until: float
    look_at: float


class IssuerBackend:
    """Verifies tokens of other issuers, by the keys that those publish.

    Args:
        own: our own `iss`, whose tokens are another backend's.
        clock: the wall's; `steady` for how long something is known.
        bearer: whether a token that is bound to no key is taken.
        leeway, longest_lifetime: seconds, as for our own tokens.
        max_size: bytes of a token whose record says nothing else.
    """

    def __init__(
        self,
        trusted: Trusted,
        *,
        own: str,
        clock: Clock,
        steady: Clock,
        leeway: float,
        max_size: int,
        longest_lifetime: float,
        bearer: bool = True,
    ) -> None:
        self._trusted = trusted
        self._own = own
        self._clock = clock
        self._steady = steady
        self._leeway = leeway
        self._longest = longest_lifetime
        self._max_size = max_size
        self._largest = max(max_size, trusted.largest)
        self._known: Recent[_Verified] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_IDENTITY_SIZE)
        self._bound: Recent[_Verified] = Recent(most=REMEMBERED, size=REMEMBERED_SIZE, value_size=_IDENTITY_SIZE)
        """As in `JWTBackend`."""
        self._bearer = bearer

    @property
    def trusted(self) -> Trusted:
        """Whose tokens count."""
        return self._trusted

    @property
    def sources(self) -> list[KeySource]:
        """The keys of the issuers that the configuration names."""
        return self._trusted.fixed

    def recall(self, header: bytes) -> Identity | None:
        """Who this `Authorization` header speaks for, if its token was verified before and its keys are the same."""
        return self._still(self._known.get(header))

    def _still(self, known: _Verified | None) -> Identity | None:
        if known is None or self._clock() >= known.until or self._steady() >= known.look_at:
            return None
        return known.identity if known.source.keys is known.keys else None

    async def identify(self, token: bytes, *, bound: bool = False) -> Identity | Rejected | None:
        """Who this token speaks for; None: it is ours, or says that it is.

        Args:
            bound: as in `JWTBackend.identify`.

        Raises:
            Unavailable: the issuer's keys, or whose tokens count, are not known at this moment.
        """
        remembered, key = (self._bound, token) if bound else (self._known, _BEARER + token)
        identity = self._still(remembered.get(key))
        if identity is not None:
            return identity
        try:
            compact = parse(token, max_size=self._largest)
            claims = payload_of(compact.payload)
            iss = claims.get("iss")
            if iss == self._own:
                return None
            answer = await self._trusted.of(iss) if isinstance(iss, str) else None
            if answer is None or not isinstance(iss, str):
                raise InvalidToken
            record = answer.source.record
            _check_header(compact, record)
            if len(token) > (record.max_size or self._max_size):
                raise InvalidToken
            keys = await self._signed_by(compact, iss, answer.source)
            now = self._clock()
            found = read(claims, record, answer.tenant, Times(now, self._leeway, self._longest))
        except InvalidToken as refusal:
            return Rejected(error=refusal.description, forged=refusal.description != InvalidToken.EXPIRED)
        if bool(found.jkt) != bound or not (bound or self._bearer):
            return Rejected(error=InvalidToken.INVALID, forged=True)
        identity = _identity(found)
        remembered.put(key, self._verified(identity, answer, keys), more=_CLAIM_SIZE * _parts(compact.payload))
        return identity

    def _verified(self, identity: Identity, answer: Answer, keys: KeySet) -> _Verified:
        look_at = min(self._steady() + answer.source.good_for(), answer.until)
        until = identity.expires_at + self._leeway
        return _Verified(identity, answer.source, keys, until, look_at)

    async def _signed_by(self, compact: Compact, iss: str, source: KeySource) -> KeySet:
        """The keys of which one has signed this. One that is known is never waited for.

        Raises:
            InvalidToken: none has.
            Unavailable: nobody can say, since the issuer gives no answer.
        """
        keys = source.look()
        if keys is not None and _verifies(compact, keys, iss):
            return keys
        if keys is None or _may_be_newer(compact, keys, iss):
            keys = await source.newer()
            if keys is not None and _verifies(compact, keys, iss):
                return keys
            if keys is None or source.problem:
                raise Unavailable("The issuer of this token gives no answer: try again", retry_after=1)
        raise InvalidToken


def _parts(payload: bytes) -> int:
    """Of how many values the claims are made, about."""
    return sum(map(payload.count, (b",", b":", b"[", b"{")))


def _check_header(compact: Compact, record: Issuer) -> None:
    if media_type(compact.header.get("typ", "")) not in record.typ or compact.header["alg"] not in record.algorithms:
        raise InvalidToken


def _verifies(compact: Compact, keys: KeySet, iss: str) -> bool:
    for key in keys.candidates(compact, iss):
        try:
            key.verify(compact)
        except InvalidToken:
            continue
        return True
    return False


def _may_be_newer(compact: Compact, keys: KeySet, iss: str) -> bool:
    """Whether the key of this token may be one that was published since: its name is not among these, or it has none by
    which one could tell."""
    return "kid" not in compact.header or not keys.candidates(compact, iss)


def _identity(found: Foreign) -> Identity:
    auth_time = NEVER if found.auth_time is None else found.auth_time
    return Identity(
        user=User(found.user_id, found.display_name, scopes=found.scopes, claims=frozen(found.payload)),
        backend="jwt",
        session_id="",
        scopes=found.scopes,
        expires_at=found.exp,
        authenticated_at=auth_time,
        amr=dict.fromkeys(found.amr, auth_time),
        acr=found.acr,
        jkt=found.jkt,
    )
