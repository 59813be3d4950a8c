"""What an access token says: the payload of one whose signature is right comes in, its claims go out, or a refusal.

No key, no clock, no setting: whether the token is for us and still good, the verifier says.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import cache, lru_cache, partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, SkipValidation, Strict, TypeAdapter

from asgi_auth.errors import InvalidToken
from asgi_auth.frozen import FrozenDict, FrozenList, frozen
from asgi_auth.http.strict import strict_json
from asgi_auth.model import scope_tokens
from asgi_auth.tokens.jose import decode_base64url
from asgi_auth.tokens.keys import THUMBPRINT

HISTORY = struct.Struct(">4sI")
"""With what the random part of a `jti` begins: the store's epoch and era."""

_scopes = lru_cache(maxsize=1024)(scope_tokens)
"""Many tokens have the same."""


def _scope(text: str) -> str:
    _scopes(text)
    return text


JTI = r"[1-9][0-9]{0,15}\.[A-Za-z0-9_-]+"
"""The form of `jti`: the refresh generation, and what is random."""

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Texts = tuple[Text, ...]
UserId = Annotated[Text, Field(max_length=255)]
# A bool is an int to Python, and a float is no NumericDate that two parsers agree on.
Number = Annotated[int, Strict(), Field(ge=0, le=2**53)]
Scope = Annotated[str, AfterValidator(_scope)]
Confirmation = Annotated[dict[Literal["jkt"], Annotated[str, Field(pattern=f"^{THUMBPRINT}$")]], Field(min_length=1)]
TokenId = Annotated[str, Field(pattern=f"^{JTI}$")]


class Claims(NamedTuple):
    """What an access token says. Times are whole seconds since the epoch.

    Attributes:
        aud: as it stands in the token; ours is one text.
        ver: the user's revision when the token was made.
        acr: None: not known.
        amr_at: when each of `amr` was used; None: all of them at `auth_time`.
        cnf: with the proof of which key alone it counts (RFC 9449 §6.1); a kind of proof that is not known refuses it.
        all: None: none but the claims that each token has, `acr` and `cnf`.
    """

    iss: Text
    sub: UserId
    aud: Text | Texts
    exp: Number
    iat: Number
    nbf: Number
    jti: TokenId
    client_id: Text
    sid: Text
    scope: Scope
    auth_time: Number
    amr: Texts
    ver: Number
    acr: Text | None = None
    amr_at: tuple[Number, ...] | None = None
    cnf: Confirmation | None = None
    all: SkipValidation[Mapping[str, Any]] | None = None

    @property
    def payload(self) -> Mapping[str, Any]:
        """All claims, as they stand in the token; nobody can change them."""
        if self.all is not None:
            return self.all
        said = dict(zip(_FORMS, self, strict=False)) | {"amr": FrozenList(self.amr)}
        if self.acr is not None:
            said["acr"] = self.acr
        if self.cnf is not None:
            said["cnf"] = FrozenDict(jkt=self.jkt)
        return FrozenDict(said)

    @property
    def scopes(self) -> frozenset[str]:
        """The tokens of `scope`."""
        return _scopes(self.scope)

    @property
    def methods(self) -> dict[str, float]:
        """When each authentication method was used."""
        times = (self.auth_time,) * len(self.amr) if self.amr_at is None else self.amr_at
        return dict(zip(self.amr, times, strict=True))

    @property
    def jkt(self) -> str:
        """The thumbprint of the key that it is bound to; empty: none."""
        return "" if self.cnf is None else self.cnf["jkt"]

    @property
    def generation(self) -> int:
        """Of the refresh token that it came with: the beginning of `jti`."""
        return generation_of(self.jti)

    @property
    def history(self) -> tuple[str, int]:
        """The store's epoch and era when it was made, as the rest of `jti` has them; another issuer's random bytes are
        an epoch that nobody knows."""
        try:
            epoch, era = HISTORY.unpack_from(decode_base64url(self.jti.partition(".")[2].encode("ascii")))
        except (ValueError, struct.error):
            return "", 0
        return epoch.hex(), era


_claims = partial(tuple.__new__, Claims)
"""What `Claims(…)` does for one that is whole, without a function in between."""


def generation_of(jti: str) -> int:
    """Of which refresh token's pair an access token with this `jti` is."""
    return int(jti.partition(".")[0])


def read_any(payload: bytes) -> Claims:
    """What a payload says (RFC 9068 §2.2, and the claims that are ours). Raises InvalidToken: it breaks a rule."""
    try:
        claims = strict_json(payload)
        if not isinstance(claims, dict) or None in (claims.get("acr", ""), claims.get("cnf", "")):
            raise ValueError
        known = {name: claims[name] for name in Claims._fields if name in claims}
        read = adapter().validate_python({**known, "all": frozen(claims)})
        if read.amr_at is not None and len(read.amr_at) != len(read.amr):
            raise ValueError
    except ValueError:  # pydantic's is one
        raise InvalidToken from None
    return read


@cache
def adapter() -> TypeAdapter[Claims]:
    """The rules for each claim alone."""
    return TypeAdapter(Claims)


_TEXT = r'"([^"\\\x00-\x1f\x7f]+)"'
_TEXTS = r'\["([^"\\\x00-\x1f\x7f]+(?:","[^"\\\x00-\x1f\x7f]+)*)"\]'
_NUMBER = "(0|[1-9][0-9]{0,14})"
_FORMS = {
    "iss": _TEXT,
    "sub": _TEXT.replace("+", "{1,255}"),
    "aud": _TEXT,
    **dict.fromkeys(("exp", "iat", "nbf"), _NUMBER),
    "jti": f'"({JTI})"',
    **dict.fromkeys(("client_id", "sid"), _TEXT),
    "scope": r'"([ !\x23-\x5b\x5d-\x7e]*)"',
    "auth_time": _NUMBER,
    "amr": _TEXTS,
    "ver": _NUMBER,
}
_MEMBERS = ",".join(f'"{name}":{form}' for name, form in _FORMS.items())
_USUAL = re.compile(rf'\{{{_MEMBERS}(?:,"acr":{_TEXT})?(?:,"cnf":\{{"jkt":"({THUMBPRINT})"\}})?\}}')
"""A payload as `issue` writes it: these claims in this order, no escapes, no spaces, so that there is one reading."""


def read_usual(payload: bytes) -> Claims | None:
    """The same of a payload as `issue` writes it, in a fifth of the time. None: it is another, and may be right."""
    try:
        form = _USUAL.fullmatch(payload.decode("utf-8"))
    except ValueError:
        return None
    if form is None:
        return None
    iss, sub, aud, exp, iat, nbf, jti, client_id, sid, scope, auth_time, amr, ver, acr, jkt = form.groups()
    issued = int(iat)
    begins = issued if nbf == iat else int(nbf)
    login = issued if auth_time == iat else int(auth_time)
    methods = _methods(amr)
    cnf: dict[Literal["jkt"], str] | None = None if jkt is None else {"jkt": jkt}
    return _claims(
        (
            iss,
            sub,
            aud,
            int(exp),
            issued,
            begins,
            jti,
            client_id,
            sid,
            scope,
            login,
            methods,
            int(ver),
            acr,
            None,
            cnf,
            None,
        )
    )


@lru_cache(maxsize=64)
def _methods(amr: str) -> tuple[str, ...]:
    """Many tokens have the same."""
    return tuple(amr.split('","'))
