"""The key ring: which signing keys there are, since when and until when. A value, and the text that a store keeps.

Private keys are sealed under `SECRET`, where there is one. Nothing here knows a store; the time is an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from asgi_auth.errors import ConfigurationError
from asgi_auth.http.strict import strict_json
from asgi_auth.tokens.jose import decode_base64url, encode_base64url, is_kid
from asgi_auth.tokens.keys import SigningKey, generate

VERSION = 1
_NONCE = 12
_DAMAGED = "The key ring in the store (ASGI_AUTH_STORE) cannot be read: restore it from a backup, or delete it"


@dataclass(frozen=True, slots=True, eq=False)
class RingKey:
    """A key of the ring. Times are seconds since the epoch. `until` None: tokens are signed with it."""

    key: SigningKey
    created_at: float
    until: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """The signing keys that an application made for itself, newest first.

    `ensure`, `rotate` and `prune` give back the ring as it should be; the same object if nothing is to be changed.

    Attributes:
        needs_resealing: a key lies in the clear, or under an older secret, though there is a newer one: write it again.
    """

    keys: tuple[RingKey, ...] = ()
    needs_resealing: bool = False

    @classmethod
    def parse(cls, text: str | None, secrets: Sequence[str | bytes]) -> Ring:
        """Read what `dump` wrote. None is an empty ring.

        Args:
            secrets: `SECRET`, newest first; a key may be sealed under any of them.

        Raises:
            ConfigurationError: a key is sealed under none of these, or this is no key ring.
        """
        if text is None:
            return cls()
        ciphers = [_cipher(secret) for secret in secrets]
        try:
            document = strict_json(text.encode("utf-8"))
            if document["version"] != VERSION:
                raise ConfigurationError(
                    "The key ring in the store was written by another version of asgi-auth: run that one, or a newer"
                )
            read = [_read(entry, ciphers) for entry in document["keys"]]
            if len({key.key.kid for key, _ in read}) < len(read):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(_DAMAGED) from None
        return cls(tuple(key for key, _ in read), not all(fresh for _, fresh in read))

    def dump(self, secrets: Sequence[str | bytes]) -> str:
        """The text for the store. Private keys are sealed under the first secret; without one they lie in the clear."""
        cipher = _cipher(secrets[0]) if secrets else None
        entries = [_write(key, cipher) for key in self.keys]
        return json.dumps({"version": VERSION, "keys": entries}, separators=(",", ":"))

    def current(self, algorithm: str) -> SigningKey | None:
        """The key to sign with."""
        return next((k.key for k in self.keys if k.until is None and k.key.algorithm == algorithm), None)

    def living(self, now: float) -> list[SigningKey]:
        """The keys by which tokens are verified, newest first: what is current, and what was until a short time ago."""
        return [k.key for k in self.prune(now).keys]

    def ensure(self, algorithm: str, now: float) -> Ring:
        """See that there is a current key of this algorithm. Keys of other algorithms stay as they are."""
        if self.current(algorithm) is not None:
            return self
        return replace(self, keys=(_new(algorithm, now), *self.keys))

    def rotate(self, algorithm: str, now: float, token_lifetime: float) -> Ring:
        """Make a new current key. Those before, of whatever algorithm, verify for `token_lifetime` seconds more: as
        long as a token lives that was signed a moment ago, leeway included."""
        old = (replace(k, until=now + token_lifetime) if k.until is None else k for k in self.keys)
        return replace(self, keys=(_new(algorithm, now), *old))

    def prune(self, now: float) -> Ring:
        """Forget keys whose last token has expired."""
        keys = tuple(k for k in self.keys if k.until is None or k.until > now)
        return self if len(keys) == len(self.keys) else replace(self, keys=keys)


def _new(algorithm: str, now: float) -> RingKey:
    return RingKey(SigningKey.from_jwk(generate(algorithm)), now)


def _cipher(secret: str | bytes) -> AESGCM:
    raw = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"asgi-auth key ring 1").derive(raw))


def _write(key: RingKey, cipher: AESGCM | None) -> dict[str, Any]:
    kid = key.key.kid
    entry = {"kid": kid, "algorithm": key.key.algorithm, "created_at": key.created_at, "until": key.until}
    if cipher is None:
        return {**entry, "key": dict(key.key.jwk)}
    nonce = os.urandom(_NONCE)
    sealed = cipher.encrypt(nonce, json.dumps(dict(key.key.jwk)).encode("ascii"), kid.encode("utf-8"))
    return {**entry, "sealed": encode_base64url(nonce + sealed)}


def _read(entry: Mapping[str, Any], ciphers: Sequence[AESGCM]) -> tuple[RingKey, bool]:
    """A key, and whether it lies in the store as `dump` would write it now. What is wrong with it is a ValueError."""
    if not is_kid(entry["kid"]):
        raise ValueError
    if "key" in entry:
        jwk, fresh = entry["key"], not ciphers
    else:
        sealed = decode_base64url(str(entry["sealed"]).encode("ascii"))
        jwk, fresh = _unseal(sealed, entry["kid"].encode("utf-8"), ciphers)
    key = SigningKey.from_jwk(jwk)
    created_at, until = entry["created_at"], entry["until"]
    times = type(created_at) in (int, float) and (until is None or type(until) in (int, float))
    # The key itself says what it is for; an entry that says otherwise was tampered with.
    if (key.kid, key.algorithm) != (entry["kid"], entry["algorithm"]) or not times:
        raise ValueError
    return RingKey(key, created_at, until), fresh


def _unseal(sealed: bytes, kid: bytes, ciphers: Sequence[AESGCM]) -> tuple[Any, bool]:
    for number, cipher in enumerate(ciphers):
        try:
            plain = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], kid)
        except InvalidTag:
            continue
        return strict_json(plain), number == 0
    raise ConfigurationError(
        "The signing keys in the store are sealed under a secret that ASGI_AUTH_SECRET does not hold: append that one "
        "to ASGI_AUTH_SECRET (newest first). If it is lost, delete the key ring in the store; every token dies with it"
    )
