"""Keys of the configuration change without a failure: append, deploy, move to the front, deploy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asgi_auth import Auth, Settings, User
from asgi_auth.identity import Identity
from asgi_auth.tokens.keys import generate

ALICE = User("alice")


async def each_verifies_the_others(store: str, *settings: dict[str, Any]) -> list[str]:
    """Two processes at one moment of a deploy. Whose key each of them signs with."""
    kids = []
    auths = [Auth(Settings(store=store, **values)) for values in settings]
    for signing in auths:
        token = (await signing.issue(ALICE)).access_token
        kids.append((await signing.parts.keys.signing_key()).kid)
        for verifying in auths:
            await verifying.opened()
            assert isinstance(await verifying.parts.jwt_backend.identify(token.encode()), Identity)
    published = [{key.kid for key in await auth.parts.keys.published()} for auth in auths]
    assert all(kid in known for kid in kids for known in published)
    for auth in auths:
        await auth.aclose()
    return kids


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
async def test_a_list_of_keys_rotates_step_by_step(tmp_path: Path, algorithm: str) -> None:
    store = f"sqlite:///{tmp_path / 's.sqlite3'}"
    old, new = generate(algorithm), generate(algorithm)
    steps = [
        {"jwt_algorithm": algorithm, "jwt_key": json.dumps({"keys": keys})}
        for keys in ([old], [old, new], [new, old], [new])
    ]
    assert await each_verifies_the_others(store, steps[0], steps[1]) == [old["kid"], old["kid"]]
    assert await each_verifies_the_others(store, steps[1], steps[2]) == [old["kid"], new["kid"]]
    # Before the last step the last token of the old key must be over; then nobody signs with it.
    assert await each_verifies_the_others(store, steps[3], steps[3]) == [new["kid"], new["kid"]]


async def test_a_directory_rotates_step_by_step(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 's.sqlite3'}"
    old, new = generate("ES256"), generate("ES256")
    steps = []
    for number, files in enumerate(
        [{"2026-01": old}, {"0-next": new, "2026-01": old}, {"2026-01": old, "2026-07": new}, {"2026-07": new}]
    ):
        directory = tmp_path / f"revision-{number}"
        directory.mkdir()
        for name, jwk in files.items():
            (directory / name).write_text(json.dumps(jwk))
        steps.append({"jwt_key_file": directory})
    assert await each_verifies_the_others(store, steps[0], steps[1]) == [old["kid"], old["kid"]]
    assert await each_verifies_the_others(store, steps[1], steps[2]) == [old["kid"], new["kid"]]
    assert await each_verifies_the_others(store, steps[3], steps[3]) == [new["kid"], new["kid"]]
