"""Whose a bearer token is, by the packages that people use: signature, `exp`, `iss` and `aud` are looked at each time.
Keys are read once, before the first request."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt

from benchmarks.world import AUDIENCE, ISSUER, USER, World

Verify = Callable[[str], Awaitable[str | None]]
"""A token in, a user's name out; None: no good."""


def pyjwt_verifier(world: World, algorithm: str) -> Verify:
    """PyJWT."""
    key = jwt.get_algorithm_by_name(algorithm).prepare_key(world.public(algorithm))
    options: Any = {"require": ["exp", "iss", "aud", "sub"]}

    async def verify(token: str) -> str | None:
        try:
            claims = jwt.decode(token, key, [algorithm], options=options, issuer=ISSUER, audience=AUDIENCE)
        except jwt.PyJWTError:
            return None
        return str(claims["sub"])

    return verify


def authlib_verifier(world: World, algorithm: str) -> Verify:
    """Authlib's `authlib.jose`, which its authors have declared old: joserfc is to follow it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from authlib.jose import JsonWebKey, JsonWebToken
        from authlib.jose.errors import JoseError
    kind = {"HS256": "oct", "RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}[algorithm]
    key = JsonWebKey.import_key(world.public(algorithm), {"kty": kind})
    tokens = JsonWebToken([algorithm])
    options = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
    }

    async def verify(token: str) -> str | None:
        try:
            claims = tokens.decode(token, key, claims_options=options)
            claims.validate()
        except JoseError:
            return None
        return str(claims["sub"])

    return verify


def joserfc_verifier(world: World, algorithm: str) -> Verify:
    """joserfc."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from joserfc import jwt as jose
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
    kinds: dict[str, Any] = {"HS256": OctKey, "RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
    key = kinds[algorithm].import_key(world.public(algorithm))
    registry = jose.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
    )

    async def verify(token: str) -> str | None:
        try:
            claims = jose.decode(token, key, algorithms=[algorithm]).claims
            registry.validate(claims)
        except JoseError:
            return None
        return str(claims["sub"])

    return verify


@dataclass
class _Person:
    """What fastapi-users asks of a user."""

    id: int
    email: str = USER
    hashed_password: str = ""
    is_active: bool = True
    is_superuser: bool = False
    is_verified: bool = True


class _People:
    """The user database: a dictionary."""

    def __init__(self) -> None:
        self._people = {1: _Person(1)}

    async def get(self, id: int) -> _Person | None:
        return self._people.get(id)


class FastAPIUsers:
    """fastapi-users' strategies, with a manager over a dictionary, so that no database is measured."""

    def __init__(self, strategy: Any) -> None:
        from fastapi_users import BaseUserManager, IntegerIDMixin

        class Manager(IntegerIDMixin, BaseUserManager[Any, int]):
            pass

        self._manager = Manager(_People())  # type: ignore[arg-type]
        self._strategy = strategy

    @classmethod
    def jwt_strategy(cls, world: World) -> Any:
        from fastapi_users.authentication import JWTStrategy

        return JWTStrategy(secret=world.keys["HS256"], lifetime_seconds=86400)

    @classmethod
    def redis_strategy(cls, world: World) -> Any:
        from fastapi_users.authentication import RedisStrategy
        from redis.asyncio import Redis

        return RedisStrategy(Redis.from_url(world.redis, decode_responses=True), lifetime_seconds=86400)

    @classmethod
    def by_jwt(cls, world: World) -> Verify:
        return cls(cls.jwt_strategy(world))._verify

    @classmethod
    def by_redis(cls, world: World) -> Verify:
        return cls(cls.redis_strategy(world))._verify

    @staticmethod
    async def token(strategy: Any) -> str:
        """A token of the one user there is."""
        return str(await strategy.write_token(_Person(1)))

    async def _verify(self, token: str) -> str | None:
        person = await self._strategy.read_token(token, self._manager)
        return None if person is None else person.email
