"""A pair of tokens as a client keeps it: a value. An answer of a token endpoint comes in, a JSON object goes out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_TOKEN = re.compile(r"[\x21-\x7e]+")
_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """What a login is known by.

    Attributes:
        access_token: for requests.
        refresh_token: for the next pair; empty: there is none.
        token_type: `Bearer` or `DPoP`: the scheme that the access token is sent with.
        expires_at: of the access token, on the server's clock; infinite: not known.
        lifetime: seconds that the access token had when it was new.
        scope: space-separated.
        key: the private JWK, as JSON, that the pair is bound to, if it was made for the pair; else empty.
    """

    access_token: str
    refresh_token: str = ""
    token_type: str = "Bearer"  # noqa: S105 (a scheme)
    expires_at: float = math.inf
    lifetime: float = math.inf
    scope: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        texts = (self.refresh_token, self.token_type, self.scope, self.key)
        numbers = (self.expires_at, self.lifetime)
        if (
            not isinstance(self.access_token, str)
            or not _TOKEN.fullmatch(self.access_token)
            or not all(isinstance(text, str) for text in texts)
            or self.token_type not in _TYPES.values()
            or not all(isinstance(number, (int, float)) for number in numbers)
        ):
            raise ValueError("these are no tokens")

    @classmethod
    def from_answer(cls, answer: Any, *, now: float, before: Tokens | None = None, key: str = "") -> Tokens:
        """The tokens of a successful answer (RFC 6749 §5.1).

        Args:
            now: on the server's clock, when it was asked for.
            before: whose refresh token goes on if there is no new one (RFC 6749 §6).
            key: see `Tokens`.

        Raises:
            ValueError: it is no such answer.
        """
        if not isinstance(answer, Mapping):
            raise ValueError("this is no answer of a token endpoint")
        kind, seconds = answer.get("token_type"), answer.get("expires_in", math.inf)
        known = _TYPES.get(kind.lower()) if isinstance(kind, str) else None
        if known is None or not isinstance(seconds, (int, float)):
            raise ValueError("this is no answer of a token endpoint")
        # An answer of a session's last second is good for one request, too.
        lifetime = max(1.0, float(seconds))
        return cls(
            answer.get("access_token", ""),
            answer.get("refresh_token") or ("" if before is None else before.refresh_token),
            known,
            now + lifetime,
            lifetime,
            answer.get("scope") or ("" if before is None else before.scope),
            key,
        )

    @classmethod
    def from_saved(cls, saved: Any) -> Tokens:
        """What `to_save` gave. Raises ValueError: it is something else."""
        try:
            return cls(**saved)
        except TypeError:
            raise ValueError("these are no tokens") from None

    @property
    def bound(self) -> bool:
        """Whether the access token is good only with a proof that the key is here (RFC 9449)."""
        return self.token_type == _TYPES["dpop"]

    def to_save(self) -> dict[str, str | float]:
        """An object for JSON, with all secrets."""
        return asdict(self)

    def __repr__(self) -> str:
        return f"<Tokens {self.token_type}, scope {self.scope!r}>"
