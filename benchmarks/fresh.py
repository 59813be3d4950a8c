"""Tokens that nobody saw before: signature and claims, by us and by what people use, and the signature alone.

All in one process, a few tokens each in turn. Keys are read once; no two tokens are alike.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from asgi_auth import Settings
from asgi_auth.hooks import Hooks
from asgi_auth.parts import Foundation, found
from asgi_auth.tokens.jose import decode_base64url
from asgi_auth.tokens.keys import SigningKey
from benchmarks.contestants import missing
from benchmarks.figures import Spread, ratios, spread
from benchmarks.processes import MEASURED_CORE, bind, unbind
from benchmarks.verifiers import Verify, authlib_verifier, joserfc_verifier, pyjwt_verifier
from benchmarks.world import ALGORITHMS, AUDIENCE, ISSUER, World

TOKENS = 100
TURN = 50
"""Tokens after which the next one has its turn."""

_LIFETIME = 24 * 3600
_RIVALS = {
    "pyjwt": ("PyJWT", "jwt", pyjwt_verifier),
    "joserfc": ("joserfc", "joserfc", joserfc_verifier),
    "authlib": ("Authlib", "authlib", authlib_verifier),
}
_TITLES = {"bare": "cryptography, the signature alone", "ours": "asgi-auth"}

Check = Callable[[int], object]
"""Looks at the token of this number. Who it is for comes out, or anything but None and False."""


def run(world: World, *, rounds: int) -> dict[str, Any]:
    """All algorithms. A round is every token once, by everybody."""
    bind(MEASURED_CORE)
    try:
        return {"rounds": rounds, "rows": [row for name in ALGORITHMS for row in _rows(world, name, rounds)]}
    finally:
        unbind()


def _rows(world: World, algorithm: str, rounds: int) -> list[dict[str, Any]]:
    checks = _ready(world, algorithm)
    seen: dict[str, list[float]] = {name: [] for name in checks}
    order = random.Random(1)  # noqa: S311 - an order, the same in each run
    for _ in range(rounds):
        spent = dict.fromkeys(checks, 0.0)
        for first in range(0, TOKENS, TURN):
            order.shuffle(turns := list(checks))
            for name in turns:
                spent[name] += _timed(checks[name], first)
        for name in checks:
            seen[name].append(spent[name] / TOKENS * 1e6)
    return [
        {
            "key": f"{name}-{algorithm}",
            "title": f"{_TITLES.get(name) or _RIVALS[name][0]}, {algorithm}",
            "side": "ours" if name == "ours" else "others",
            "us": spread(values),
            "us_each_round": [round(value, 3) for value in values],
        }
        for name, values in seen.items()
    ]


def _timed(check: Check, first: int) -> float:
    """Of the processor: whoever else runs on this machine does not count."""
    begun = time.thread_time()
    for number in range(first, first + TURN):
        check(number)
    return time.thread_time() - begun


def ratio(part: dict[str, Any], this: str, that: str) -> Spread | None:
    """How long one takes beside another, round by round. None: one of them is missing."""
    rows = {row["key"]: row["us_each_round"] for row in part.get("rows", ())}
    return spread(ratios(rows[this], rows[that])) if this in rows and that in rows else None


def _ready(world: World, algorithm: str) -> dict[str, Check]:
    """Everybody who is here, tried: who knows nobody would be fast."""
    settings = Settings(
        store="memory://",
        jwt_algorithm=algorithm,
        jwt_key=world.keys[algorithm],
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )
    ours = found(settings, clock=time.time, directory=None, store=None, hooks=Hooks())
    key = asyncio.run(ours.keys.signing_key())
    made = [_token(ours, key, number) for number in range(TOKENS)]
    checks = {"bare": _bare(world, algorithm, made), "ours": _ours(ours, made)}
    for name, (_, needs, verifier) in _RIVALS.items():
        if needs not in missing():
            checks[name] = _theirs(verifier(world, algorithm), made)
    for name, check in checks.items():
        if name != "bare" and check(7) != "user-7":
            raise RuntimeError(f"{name}: it knows {check(7)!r}")
    return checks


def _token(ours: Foundation, key: SigningKey, number: int) -> str:
    now = time.time()
    return ours.tokens.issue(
        key,
        subject=f"user-{number}",
        session_id=f"{number:022}",
        generation=1,
        client_id="asgi-auth",
        scope="read",
        auth_time=now,
        amr={"pwd": now},
        revision=1,
        now=now,
        lifetime=_LIFETIME,
        history=("00000001", 1),
    )


def _ours(ours: Foundation, made: list[str]) -> Check:
    """As `JWTBackend` does: the key is found in the key ring by its name."""
    raw = [token.encode() for token in made]
    parse, check, find = ours.tokens.parse, ours.tokens.check, ours.keys.find
    return lambda number: check(parse(raw[number]), find, now=time.time()).sub


def _theirs(verify: Verify, made: list[str]) -> Check:
    def check(number: int) -> object:
        try:
            verify(made[number]).__await__().send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError("it waits for something")

    return check


def _bare(world: World, algorithm: str, made: list[str]) -> Check:
    """The signature as bytes, and for ECDSA in the form that `cryptography` takes, is ready before."""
    parts = [token.encode().rpartition(b".") for token in made]
    messages, signatures = [part[0] for part in parts], [decode_base64url(part[2]) for part in parts]
    if algorithm == "HS256":
        secret = world.keys[algorithm].encode()
        return lambda number: (
            hmac.compare_digest(hmac.digest(secret, messages[number], "sha256"), signatures[number]) or _wrong()
        )
    public: Any = serialization.load_pem_public_key(world.public(algorithm).encode())
    how: tuple[Any, ...] = ()
    if algorithm == "RS256":
        how = padding.PKCS1v15(), hashes.SHA256()
    elif algorithm == "ES256":
        how = (ec.ECDSA(hashes.SHA256()),)
        numbers = [(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")) for raw in signatures]
        signatures = [encode_dss_signature(r, s) for r, s in numbers]
    return lambda number: public.verify(signatures[number], messages[number], *how)


def _wrong() -> None:
    raise RuntimeError("a signature of ours is wrong")
