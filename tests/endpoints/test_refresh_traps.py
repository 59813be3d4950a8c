"""What went wrong with refresh tokens elsewhere, each a test here: see the table of attacks in docs/tokens.md."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from endpoint_house import House
from redis import Redis

from asgi_auth.tokens.jose import decode_base64url


def sid_of(pair: Any) -> str:
    return str(json.loads(decode_base64url(pair["access_token"].split(".")[1].encode()))["sid"])


@pytest.fixture
async def either(houses: Any, any_store: str) -> House:
    """A house on each of the stores."""
    house: House = await houses(store_url=any_store)
    return house


async def accepted(house: House, pair: Any) -> bool:
    return bool((await house.get("/whoami", pair["access_token"])).status_code == 200)


async def _revoke_user(house: House, pair: Any) -> None:
    await house.auth.revoke_user("alice")


async def _revoke_all(house: House, pair: Any) -> None:
    await house.auth.revoke_all()


async def _revoke_session(house: House, pair: Any) -> None:
    await house.auth.revoke(sid_of(pair))


@pytest.mark.parametrize("end", [_revoke_user, _revoke_all, _revoke_session])
async def test_of_two_logins_and_a_revocation_at_one_moment_the_first_is_dead_and_the_second_alive(
    either: House, end: Any
) -> None:
    """keycloak#50999: `iat < notBefore` in whole seconds. Here the clock does not move at all."""
    first = await either.tokens()
    await end(either, first)
    second = await either.tokens()
    answer = await either.get("/whoami", first["access_token"])
    assert (answer.status_code, answer.json()["error_description"]) == (401, "The access token was revoked")
    assert await accepted(either, second)
    assert (await either.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert await accepted(either, (await either.refresh(second["refresh_token"])).json())


async def test_rotations_within_one_second_are_told_apart(either: House) -> None:
    """keycloak#50999: by their generation, never by a clock."""
    pairs = [await either.tokens()]
    for _ in range(5):
        pairs.append((await either.refresh(pairs[-1]["refresh_token"])).json())
    assert len({pair["refresh_token"] for pair in pairs}) == 6
    assert (await either.refresh(pairs[3]["refresh_token"])).json()["error"] == "invalid_grant"  # two back: theft
    assert not await accepted(either, pairs[5])


async def test_a_repeated_refresh_gets_nothing_of_a_later_login(either: House) -> None:
    """jetstream#1729: the race's loser received the token of a later login."""
    first = await either.tokens()
    second = (await either.refresh(first["refresh_token"])).json()
    later = await either.tokens()
    again = (await either.refresh(first["refresh_token"])).json()
    assert again["refresh_token"] == second["refresh_token"]
    assert sid_of(again) == sid_of(first) != sid_of(later)
    assert (await either.refresh(later["refresh_token"])).status_code == 200


async def test_a_mark_outlives_every_token_that_it_kills(houses: Any, any_store: str) -> None:
    """open-webui#28725: the revocation mark expired before the tokens. To the last second of the last token, and with
    all that is over swept away each minute."""
    house = await houses(store_url=any_store, access_lifetime="3h")  # longer than a tombstone is kept
    pairs = [await house.tokens()]
    house.clock.advance(3600)
    pairs.append((await house.refresh(pairs[0]["refresh_token"])).json())
    await house.auth.revoke(sid_of(pairs[0]))
    for _ in range(3 * 60):
        house.clock.advance(60)
        while (await house.store.sweep()).full:
            pass
        for pair in pairs:
            assert not await accepted(house, pair)
    token = pairs[1]["access_token"]
    house.clock.advance(28)  # the leeway
    answer = await house.get("/whoami", token)
    assert answer.json()["error_description"] == "The access token was revoked"
    house.clock.advance(3)
    assert (await house.get("/whoami", token)).json()["error_description"] == "The access token expired"


def _everything_in(url: str) -> str:
    """All that a thief of the store has, as text."""
    if url.startswith("sqlite:"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            found = "\n".join(connection.iterdump())
        connection.close()
        return found
    with Redis.from_url(url) as client:
        readers = {"string": client.get, "hash": client.hgetall, "zset": lambda key: client.zrange(key, 0, -1)}
        readers["stream"] = lambda key: client.xrange(key)
        keys = list(client.scan_iter())
        return "\n".join(f"{key!r} {readers[client.type(key).decode()](key)!r}" for key in keys)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_dump_of_the_store_holds_no_token(
    houses: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """simplejwt#803: raw refresh tokens in a table."""
    url = request.getfixturevalue("redis_url") if kind == "redis" else f"sqlite:///{tmp_path / 'store.sqlite3'}"
    house = await houses(store_url=url, secret="s" * 32)
    row = await house.store.user("alice")
    pairs = [(await house.auth.issue(row.user())).public()]
    for _ in range(3):
        for _ in range(2):  # once more, so that there is something to give again
            pairs.append((await house.auth.refresh(pairs[-1]["refresh_token"])).public())
    await house.auth.revoke_token(pairs[0]["access_token"])
    dump = _everything_in(url)
    assert sid_of(pairs[0]) in dump
    for pair in pairs:
        secret = pair["refresh_token"].split(".")[2]
        signature = pair["refresh_token"].split(".")[3]
        for hidden in (secret, signature, pair["access_token"].split(".")[2]):
            assert hidden not in dump
