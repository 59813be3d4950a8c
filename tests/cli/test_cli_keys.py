"""`keys`: which keys there are, and a new one."""

from __future__ import annotations

import json

import pytest
from cli_helpers import with_auth
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from asgi_auth import Auth, Settings, User
from asgi_auth.cli import reports


def listed(cli, **settings):
    done = cli("keys", "list", "--json", **settings)
    assert done.code == 0
    return json.loads(done.out)


def pem(private: bool) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    if private:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_rotate_makes_the_key_that_signs_and_the_old_one_verifies_until_its_tokens_are_over(cli):
    (old,) = listed(cli)
    done = cli("keys", "rotate")
    new, kept = listed(cli)
    assert done.out == f"{new['kid']} signs from now on\n"
    assert (new["signs"], new["until"], new["source"], new["algorithm"]) == (True, None, "store", "ES256")
    assert (kept["kid"], kept["signs"]) == (old["kid"], False)
    assert kept["until"] - new["created_at"] == pytest.approx(630)


def test_rotate_keeps_the_tokens_that_are_out(cli, store_url):
    pair = with_auth(store_url, lambda auth: auth.issue(User("alice")))

    async def verified(auth):
        answer = await auth.parts.jwt_backend.identify(pair.access_token.encode())
        return answer.user.id

    assert cli("keys", "rotate").code == 0
    assert with_auth(store_url, verified) == "alice"


def test_rotate_is_a_security_event(cli):
    events = [json.loads(line)["event"] for line in cli("keys", "rotate").err.splitlines()]
    assert events == [f"key_rotated:{listed(cli)[0]['kid']}"]


def test_another_algorithm_signs_with_a_key_of_its_own(cli, caplog):
    listed(cli)
    assert "key_rotated" not in caplog.text  # the first one takes nobody's place
    keys = listed(cli, jwt_algorithm="Ed25519")
    assert f"key_rotated:{keys[0]['kid']}" in caplog.text
    assert [(key["algorithm"], key["signs"]) for key in keys] == [("Ed25519", True), ("ES256", False)]


async def test_a_key_whose_last_token_is_over_is_listed_no_more(store_url, clock):
    async with Auth(Settings(store=store_url), clock=clock) as auth:
        await auth.parts.keys.rotate()
        assert len(await reports.keys(auth)) == 2
        clock.advance(631)
        assert [key.signs for key in await reports.keys(auth)] == [True]


def test_configured_keys_are_listed_and_rotated_where_they_are_configured(cli):
    both = pem(True) + pem(True)
    assert [(key["source"], key["signs"]) for key in listed(cli, jwt_key=both)] == [
        ("configuration", True),
        ("configuration", False),
    ]
    done = cli("keys", "rotate", jwt_key=both)
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_JWT_KEY" in done.err


def test_public_keys_alone_sign_nothing(cli):
    assert [key["signs"] for key in listed(cli, jwt_key=pem(False))] == [False]


def test_without_tokens_there_are_no_keys(cli):
    assert listed(cli, backends="session") == []
    done = cli("keys", "rotate", backends="session")
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_BACKENDS" in done.err


def test_no_list_holds_a_private_key(cli, store_url):
    async def private(auth):
        return (await auth.parts.keys.signing_key()).jwk["d"]

    assert with_auth(store_url, private) not in cli("keys", "list").out + cli("keys", "list", "--json").out
