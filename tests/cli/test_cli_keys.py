"""`keys`: which keys there are, and a new one."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import anyio
import pytest
from cli_helpers import with_auth
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from asgi_auth import Auth, Settings, User
from asgi_auth.cli import reports
from asgi_auth.tokens.keys import generate
from asgi_auth.tokens.ring import LEAD


def listed(cli, **settings):
    done = cli("keys", "list", "--json", **settings)
    assert done.code == 0
    return json.loads(done.out)


def pem(private: bool) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    if private:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_rotate_lets_the_next_key_sign_and_the_old_one_verifies_until_its_tokens_are_over(cli):
    old, following = listed(cli)
    assert (old["signs"], following["signs"], following["signs_from"]) == (True, False, None)
    done = cli("keys", "rotate")
    signing, coming, kept = listed(cli)
    assert signing["kid"] == following["kid"]
    assert done.out == f"{signing['kid']} signs from now on\n"
    assert (signing["signs"], signing["until"], signing["source"], signing["algorithm"]) == (
        True,
        None,
        "store",
        "ES256",
    )
    assert (kept["kid"], kept["signs"]) == (old["kid"], False)
    assert kept["until"] - signing["signs_from"] == pytest.approx(690)
    assert (coming["signs"], coming["signs_from"], coming["until"]) == (False, None, None)


def test_rotate_twice_in_a_row_says_from_when_on_the_key_signs(cli):
    cli("keys", "rotate")
    first, following, _ = listed(cli)
    done = cli("keys", "rotate")
    at = reports.moment(following["created_at"] + 600)
    assert done.out == f"{following['kid']} signs from {at}\n"
    assert done.out == cli("keys", "rotate").out
    table = cli("keys", "list").out
    assert f"signs from {at}" in table
    assert [key["kid"] for key in listed(cli) if key["signs"]] == [first["kid"]]


def test_rotate_now_signs_with_a_new_key(cli):
    before = {key["kid"] for key in listed(cli)}
    done = cli("keys", "rotate", "--now")
    (signing,) = (key["kid"] for key in listed(cli) if key["signs"])
    assert done.out == f"{signing} signs from now on\n"
    assert signing not in before


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
    (signing,) = (key for key in keys if key["signs"])
    assert f"key_rotated:{signing['kid']}" in caplog.text
    assert sorted(key["algorithm"] for key in keys) == ["ES256"] * 2 + ["Ed25519"] * 2
    assert signing["algorithm"] == "Ed25519"


async def test_a_key_whose_last_token_is_over_is_listed_no_more(store_url, clock):
    async with Auth(Settings(store=store_url), clock=clock) as auth:
        await auth.rotate_keys()
        assert [key.state for key in await reports.keys(auth)][:2] == ["signs and verifies", "signs next"]
        assert len(await reports.keys(auth)) == 3
        clock.advance(691)
        assert [key.signs for key in await reports.keys(auth)] == [True, False]


def test_revoke_kills_what_a_key_signed_and_the_next_one_signs(cli, store_url):
    old, following = listed(cli)
    pair = with_auth(store_url, lambda auth: auth.issue(User("alice")))
    done = cli("keys", "revoke", old["kid"])
    assert done.out == f"{old['kid']} is revoked, with every token that it signed\n"
    events = [json.loads(line)["event"] for line in done.err.splitlines()]
    assert events == [f"key_rotated:{following['kid']}", f"key_revoked:{old['kid']}"]
    assert old["kid"] not in {key["kid"] for key in listed(cli)}
    assert listed(cli)[0]["kid"] == following["kid"]

    async def used(auth):
        refused = await auth.parts.jwt_backend.identify(pair.access_token.encode())
        fresh = await auth.refresh(pair.refresh_token)
        return refused, await auth.parts.jwt_backend.identify(fresh.access_token.encode())

    refused, taken = with_auth(store_url, used)
    assert refused.error == "The access token is invalid"
    assert taken.user.id == "alice"
    assert cli("keys", "revoke", old["kid"]) == (2, "", f"no key is named '{old['kid']}'\n")


@pytest.mark.parametrize("kid", ["-XW8xygF6gv0iBuxL", "--now", "-h"])
def test_a_key_whose_name_begins_with_a_dash_can_be_revoked(cli, tmp_path, kid):
    (tmp_path / "key").write_text(json.dumps({**generate("ES256"), "kid": kid}))
    cli("keys", "import", str(tmp_path / "key"))
    assert cli("keys", "revoke", kid).code == 0
    assert kid not in {key["kid"] for key in listed(cli)}


@pytest.mark.parametrize("kind", ["PEM", "JWK", "standard input"])
def test_import_lets_an_existing_key_sign(cli, tmp_path, kind):
    old, following = listed(cli)
    text = pem(True) if kind != "JWK" else json.dumps(generate("ES256"))
    (tmp_path / "key").write_text(text)
    place = ["-"] if kind == "standard input" else [str(tmp_path / "key")]
    done = cli("keys", "import", *place, input=text)
    signing, coming, kept = listed(cli)
    assert (done.code, done.out) == (0, f"{signing['kid']} signs from now on\n")
    assert signing["signs"]
    assert (coming["kid"], kept["kid"]) == (following["kid"], old["kid"])
    assert kept["until"] is not None
    again = cli("keys", "import", *place, input=text)
    assert (again.code, again.out) == (2, "")
    assert "in the ring already" in again.err


def test_an_imported_key_is_sealed(cli, tmp_path, store_url):
    jwk = generate("ES256")
    (tmp_path / "key").write_text(json.dumps(jwk))
    assert cli("keys", "import", str(tmp_path / "key"), secret="s" * 32).code == 0

    async def text(auth):
        return await auth.parts.store.keys()

    assert jwk["d"] not in anyio.run(partial(reading, store_url, text))


async def reading(store_url, what):
    async with Auth(Settings(store=store_url, secret="s" * 32)) as auth:
        return await what(auth)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("no key", "neither PEM nor a JWK"),
        (pem(False), "holds more than one private key, or none"),
        (pem(True) + pem(True), "holds more than one private key, or none"),
        (json.dumps(generate("Ed25519")), "change the key, or ASGI_AUTH_JWT_ALGORITHM"),
        (json.dumps({**generate("ES256"), "use": "enc"}), "key 1 cannot be used"),
        (b"\xff\xfe", "no text in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
    ids=["empty", "text", "public", "two", "another algorithm", "encrypts", "binary", "nothing"],
)
def test_what_cannot_sign_is_not_imported(cli, tmp_path, text, said):
    file = tmp_path / "key"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = listed(cli)
    done = cli("keys", "import", str(file))
    assert (done.code, done.out) == (2, "")
    assert str(file) in done.err
    assert said in done.err
    assert listed(cli) == before


@pytest.mark.parametrize(("bits", "code"), [(1024, 2), (2048, 0)])
def test_a_weak_key_is_not_imported_and_a_short_one_is_told(cli, tmp_path, bits, code):
    key = rsa.generate_private_key(65537, bits)
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    done = cli("keys", "import", str(tmp_path / "key"), jwt_algorithm="RS256")
    assert done.code == code
    assert ("less than 3072 bits" in done.err) == (code == 0)
    assert ("2048" in done.err) == (code == 2)


def test_a_revoked_key_is_not_imported(cli, tmp_path):
    jwk = generate("ES256")
    (tmp_path / "key").write_text(json.dumps(jwk))
    cli("keys", "import", str(tmp_path / "key"))
    assert cli("keys", "revoke", jwk["kid"]).code == 0
    assert "was revoked" in cli("keys", "import", str(tmp_path / "key")).err


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "HS256"])
def test_export_jwks_prints_the_public_keys(cli, algorithm):
    keys = listed(cli, jwt_algorithm=algorithm)
    done = cli("keys", "export-jwks", jwt_algorithm=algorithm)
    exported = json.loads(done.out)["keys"]
    assert [key["kid"] for key in exported] == ([] if algorithm == "HS256" else [key["kid"] for key in keys])
    assert not any({"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys() for key in exported)


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


@pytest.mark.parametrize("arguments", [["rotate"], ["rotate", "--now"], ["revoke", "a-key"], ["import", "{file}"]])
def test_without_tokens_or_with_configured_keys_nothing_is_changed_in_the_store(cli, tmp_path, arguments):
    file = tmp_path / "key"
    file.write_text(pem(True))
    arguments = [one.format(file=file) for one in arguments]
    done = cli("keys", *arguments, backends="session")
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_BACKENDS" in done.err
    done = cli("keys", *arguments, jwt_key=pem(True))
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_JWT_KEY" in done.err


def test_without_tokens_there_are_no_keys(cli):
    assert listed(cli, backends="session") == []
    assert json.loads(cli("keys", "export-jwks", backends="session").out) == {"keys": []}


def test_keys_of_a_directory_are_listed_the_last_name_first(cli, tmp_path):
    directory = tmp_path / "keys"
    directory.mkdir()
    kids = {}
    for name in ("2026-01", "2026-07", "0-next"):
        jwk = generate("ES256")
        kids[name] = jwk["kid"]
        (directory / name).write_text(json.dumps(jwk))
    keys = listed(cli, jwt_key_file=str(directory))
    assert [key["kid"] for key in keys] == [kids["2026-07"], kids["2026-01"], kids["0-next"]]
    assert [key["signs"] for key in keys] == [True, False, False]
    (directory / "2025-12").write_text((directory / "2026-01").read_text())
    done = cli("keys", "list", jwt_key_file=str(directory))
    assert (done.code, done.out) == (2, "")
    assert "two keys of one kid" in done.err
    (directory / "2025-12").write_text("no key")
    assert f"({directory}/2025-12): it is neither PEM nor a JWK" in cli("keys", "list", jwt_key_file=str(directory)).err


def test_no_list_holds_a_private_key(cli, store_url):
    async def private(auth):
        return (await auth.parts.keys.signing_key()).jwk["d"]

    assert with_auth(store_url, private) not in cli("keys", "list").out + cli("keys", "list", "--json").out


DOCS = (Path(__file__).resolve().parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")


def test_the_commands_in_the_docs_are_those_that_exist(cli):
    told = set(re.findall(r"asgi-auth keys ([a-z-]+)", DOCS))
    there = set(re.findall(r"^ {2}([a-z][a-z-]+) {2}", cli("keys", "--help").out, re.MULTILINE))
    assert told == there


def test_the_numbers_in_the_docs_hold(cli):
    assert f"max-age={int(LEAD / 2)}`" in DOCS
    assert "published for less than ten minutes" in DOCS
    assert LEAD == 600
    assert f"`JWT_ROTATE` (`{Settings(store='memory://').describe()['ASGI_AUTH_JWT_ROTATE']}`" in DOCS
