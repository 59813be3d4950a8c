"""The text that a store keeps of a key ring. Private keys are sealed under `SECRET`, where there is one.

Version 1, as it was before there was a next key: what was added since is left out of by those who do not know it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from asgi_auth.errors import ConfigurationError
from asgi_auth.http.strict import strict_json
from asgi_auth.tokens.jose import decode_base64url, encode_base64url, is_kid
from asgi_auth.tokens.keys import SigningKey
from asgi_auth.tokens.ring import Ring, RingKey

VERSION = 1
_NONCE = 12
_DAMAGED = "The key ring in the store (ASGI_AUTH_STORE) cannot be read: restore it from a backup, or delete it"


def parse(text: str | None, secrets: Sequence[str | bytes]) -> Ring:
    """Read what `dump` wrote. None is an empty ring.

    Args:
        secrets: `SECRET`, newest first; a key may be sealed under any of them.

    Raises:
        ConfigurationError: a key is sealed under none of these, or this is no key ring.
    """
    if text is None:
        return Ring()
    ciphers = [_cipher(secret) for secret in secrets]
    try:
        document = strict_json(text.encode("utf-8"))
        if document["version"] != VERSION:
            raise ConfigurationError(
                "The key ring in the store was written by another version of asgi-auth: run that one, or a newer"
            )
        keys: list[RingKey] = []
        sealed: list[int | None] = []
        for entry in document["keys"]:
            key, under = _opened(entry, ciphers)
            keys.append(_placed(key, entry, keys))
            sealed.append(under)
        revoked = tuple(document.get("revoked", ()))
        if len({k.key.kid for k in keys}) < len(keys) or not all(map(is_kid, revoked)):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(_DAMAGED) from None
    needs_resealing = any(under != (0 if ciphers else None) for under in sealed)
    return Ring(
        tuple(keys), revoked, needs_resealing=needs_resealing, sealed_under=max((n or 0 for n in sealed), default=0)
    )


def dump(ring: Ring, secret: str | bytes | None) -> str:
    """The text for the store. Private keys are sealed under the secret; without one they lie in the clear."""
    cipher = None if secret is None else _cipher(secret)
    document: dict[str, Any] = {"version": VERSION, "keys": [_write(key, cipher) for key in ring.keys]}
    if ring.revoked:
        document["revoked"] = ring.revoked
    return json.dumps(document, separators=(",", ":"))


def _cipher(secret: str | bytes) -> AESGCM:
    raw = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"asgi-auth key ring 1").derive(raw))


def _write(key: RingKey, cipher: AESGCM | None) -> dict[str, Any]:
    kid = key.key.kid
    entry = {
        "kid": kid,
        "algorithm": key.key.algorithm,
        "created_at": key.created_at,
        "until": key.until,  # for those who know no more
        "signs_from": key.signs_from,
        "retired_at": key.retired_at,
        "token_lifetime": key.token_lifetime,
    }
    if cipher is None:
        return {**entry, "key": dict(key.key.jwk)}
    nonce = os.urandom(_NONCE)
    sealed = cipher.encrypt(nonce, json.dumps(dict(key.key.jwk)).encode("ascii"), kid.encode("utf-8"))
    return {**entry, "sealed": encode_base64url(nonce + sealed)}


def _opened(entry: Mapping[str, Any], ciphers: Sequence[AESGCM]) -> tuple[SigningKey, int | None]:
    """A key, and which of the ciphers opened it; None: it lies in the clear. What is wrong with it is a ValueError."""
    if not is_kid(entry["kid"]):
        raise ValueError
    under = None
    if "key" in entry:
        jwk = entry["key"]
    else:
        sealed = decode_base64url(str(entry["sealed"]).encode("ascii"))
        jwk, under = _unsealed(sealed, entry["kid"].encode("utf-8"), ciphers)
    key = SigningKey.from_jwk(jwk)
    # The key itself says what it is for; an entry that says otherwise was tampered with.
    if (key.kid, key.algorithm) != (entry["kid"], entry["algorithm"]):
        raise ValueError
    return key, under


def _placed(key: SigningKey, entry: Mapping[str, Any], before: Sequence[RingKey]) -> RingKey:
    """A key at its place in the ring, after those `before`."""
    created_at, until = _time(entry["created_at"]), _maybe(entry["until"])
    if "signs_from" in entry:
        times = _maybe(entry["signs_from"]), _maybe(entry["retired_at"]), _time(entry["token_lifetime"])
        return RingKey(key, created_at, *times)
    # Written by a version that has no next key: what has no end signs, if it is the first of its algorithm.
    if until is not None:
        return RingKey(key, created_at, created_at, created_at, until - created_at)
    first = not any(k.key.algorithm == key.algorithm and k.retired_at is None for k in before)
    return RingKey(key, created_at, created_at if first else None)


def _maybe(time: object) -> float | None:
    return None if time is None else _time(time)


def _time(time: object) -> float:
    if type(time) not in (int, float):
        raise ValueError
    return time  # type: ignore[return-value]


def _unsealed(sealed: bytes, kid: bytes, ciphers: Sequence[AESGCM]) -> tuple[Any, int]:
    for number, cipher in enumerate(ciphers):
        try:
            plain = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], kid)
        except InvalidTag:
            continue
        return strict_json(plain), number
    raise ConfigurationError(
        "The signing keys in the store are sealed under a secret that ASGI_AUTH_SECRET does not hold: append that one "
        "to ASGI_AUTH_SECRET (newest first). If it is lost, delete the key ring in the store; every token dies with it"
    )
