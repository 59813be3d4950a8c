"""What an issuer publishes, read: metadata (RFC 8414, OpenID Connect Discovery) and keys (RFC 7517). Pure.

One bad key spoils itself alone; what is not for signatures, or for none of the record's algorithms, is as if it were
not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from asgi_auth.http.strict import MAX_DEPTH, is_deeper, strict_json
from asgi_auth.issuer import Issuer, fits, is_safe_url
from asgi_auth.tokens.jose import ALGORITHMS, Compact, InvalidKey, VerifyingKey

MOST_TRIED = 4
"""Signatures that are checked for one token."""

_EDWARDS = frozenset({"EdDSA", "Ed25519"})


class InvalidDocument(ValueError):
    """What an issuer published cannot be used. The text says why, and holds nothing of it."""


class Published(NamedTuple):
    """A key for one algorithm. `issuer`: whose tokens alone it signs, where the key says so; empty: it does not."""

    key: VerifyingKey
    issuer: str


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of one issuer, by name and algorithm; those without a name are under an empty one."""

    by_name: Mapping[tuple[str, str], tuple[Published, ...]]

    @classmethod
    def parse(cls, document: bytes, record: Issuer) -> KeySet:
        """Read a JWK Set.

        Raises:
            InvalidDocument: it is none, or no key in it can have signed a token of this record.
        """
        found: dict[tuple[str, str], tuple[Published, ...]] = {}
        for jwk in _members(document):
            for one in _prepared(jwk, record):
                place = one.key.kid, one.key.algorithm
                found[place] = (*found.get(place, ()), one)
        if not found:
            raise InvalidDocument("among the keys is none for the algorithms of the record")
        return cls(found)

    def candidates(self, compact: Compact, iss: str) -> list[VerifyingKey]:
        """Which keys may have signed this token, at most four. None: its key is not here."""
        kid, alg = compact.header.get("kid"), compact.header["alg"]
        named: tuple[Published, ...] = ()
        for algorithm in _EDWARDS if alg in _EDWARDS else (alg,):
            if kid is None:
                named += tuple(one for (_, name), keys in self.by_name.items() if name == algorithm for one in keys)
            else:
                named += self.by_name.get((kid, algorithm), ()) + self.by_name.get(("", algorithm), ())
        right = (one.key for one in named if not one.issuer or fits(one.issuer, iss) is not None)
        return list(right)[:MOST_TRIED]

    @property
    def names(self) -> list[str]:
        """The names of the keys, each once; a key without one is `(no kid)`."""
        return list(dict.fromkeys(kid or "(no kid)" for kid, _ in self.by_name))


def jwks_url_of(document: bytes, record: Issuer) -> str:
    """Where the metadata says that the keys are.

    Raises:
        InvalidDocument: it is another issuer's (RFC 8414 §3.3), or names no place from which keys may be fetched.
    """
    try:
        metadata = strict_json(document)
    except ValueError:
        raise InvalidDocument("the metadata is not strict JSON") from None
    if not isinstance(metadata, dict) or metadata.get("issuer") != record.issuer:
        raise InvalidDocument("the metadata names another issuer than the record, to the letter")
    url = metadata.get("jwks_uri")
    if not is_safe_url(url, plain=is_plain(record)):
        raise InvalidDocument("the metadata names no jwks_uri that is https")
    return str(url)


def is_plain(record: Issuer) -> bool:
    """Whether the operator has said that this issuer speaks http, which it may on this machine."""
    return (record.metadata_url or record.issuer).startswith("http:")


def _members(document: bytes) -> list[Any]:
    try:
        text = document.decode("utf-8")
        if is_deeper(document, MAX_DEPTH):
            raise ValueError
        found = json.loads(text, object_pairs_hook=_once, parse_int=_no, parse_float=_no)
    except ValueError:
        raise InvalidDocument("the keys are not JSON") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise InvalidDocument("the keys are no JWK Set")
    return keys


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """An object; none, if a member comes twice: that key is unreadable, the others are not."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else None


def _no(number: str) -> None:
    """No member of a key is a number, and reading a long one takes long."""


def _prepared(jwk: Any, record: Issuer) -> Iterator[Published]:
    """The key, once for each algorithm of the record that it is for."""
    if not isinstance(jwk, dict):
        return
    issuer = jwk.get("issuer", "")
    for algorithm in record.algorithms:
        kind = ALGORITHMS[algorithm]
        named = jwk.get("alg", algorithm)
        same = named == algorithm or (isinstance(named, str) and {named, algorithm} <= _EDWARDS)
        if not same or jwk.get("kty") != kind.kty or jwk.get("crv") not in (kind.crv, None) or type(issuer) is not str:
            continue
        try:
            yield Published(VerifyingKey.from_jwk({**jwk, "alg": algorithm}), issuer)
        except InvalidKey:
            continue
