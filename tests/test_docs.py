"""What the documents say is true, as far as a test can tell."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from asgi_auth import Auth, AuthMiddleware, Issuer, audit
from asgi_auth.model import Reason
from asgi_auth.providers import PROVIDERS
from asgi_auth.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_no_other() -> None:
    rows = "\n".join(line.split("|")[1] for line in SETTINGS.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`([A-Z_]+)`", rows))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_security_event_is_documented_with_its_level_and_no_other() -> None:
    text = (ROOT / "docs" / "security-events.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_]+)(?::[a-z ,]+)?` \| ([A-Z]+) \| \S", text, re.MULTILINE)
    kinds = [value for value in vars(audit).values() if isinstance(value, audit.Kind)]
    assert sorted(documented) == sorted((kind.name, kind.level) for kind in kinds)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"ASGI_AUTH_([A-Z_]+[A-Z])", README))))
def test_the_readme_names_settings_that_exist(name: str) -> None:
    assert name.lower() in Settings.model_fields


def test_the_readme_links_to_files_that_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_readme_begins_with_the_two_commands() -> None:
    commands = re.findall(r"```sh\n(.+)\n```", README)
    assert commands[:2] == ["python examples/run.py", "python tests/run.py"]
    for command in commands[:2]:
        assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_in_the_readme_is_python(snippet: str) -> None:
    compile(snippet, "README.md", "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_the_client_by_hand_in_the_docs_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of another hand than ours asks for a token that is bound to its key, uses and refreshes it."""
    monkeypatch.setenv("ASGI_AUTH_STORE", "memory://")
    text = (ROOT / "docs" / "dpop.md").read_text(encoding="utf-8")
    page: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(snippet, "dpop.md", "exec"), page)
    auth = Auth()
    with TestClient(AuthMiddleware(Starlette(), auth)) as client:
        assert client.portal is not None
        client.portal.call(partial(auth.create_user, "bea", "a password of hers"))
        host = "http://testserver/auth"
        form = {"grant_type": "password", "username": "bea", "password": "a password of hers"}
        for _ in range(2):
            pair = page["send"](client, "POST", f"{host}/token", data=form).json()
            assert pair["token_type"] == "DPoP"
            for _ in range(2):
                assert page["send"](client, "GET", f"{host}/me", pair["access_token"]).is_success
            form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
        page["key"] = page["ECKey"].generate_key("P-256")
        assert page["send"](client, "GET", f"{host}/me", pair["access_token"]).status_code == 401


SESSIONS = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")


def test_the_second_factor_in_the_docs_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_STORE", "memory://")
    page: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", SESSIONS, re.DOTALL)
    for snippet in snippets:
        exec(compile(snippet, "sessions.md", "exec"), page)
    with TestClient(page["app"]) as client:
        assert client.post("/transfer").status_code == 401
        assert client.post("/password", json={"name": "ann", "password": "guess"}).status_code == 401
        assert client.post("/code", json={"code": "123456"}).status_code == 401
        client.post("/password", json={"name": "ann", "password": "correct horse battery"})
        assert client.post("/transfer").json()["reason"] == "pending"
        assert client.post("/code", json={"code": "1"}).status_code == 401
        assert client.post("/transfer").status_code == 401
        assert client.post("/code", json={"code": "123456"}).json() == {"user": "ann"}
        assert client.post("/transfer").json() == {"done": True}
        assert client.post("/auth/logout").status_code == 204
        assert client.post("/transfer").status_code == 401
        assert client.portal is not None
        client.portal.call(partial(page["auth"].create_user, "bea", "a password of hers"))
        form = {"username": "bea", "password": "a password of hers", "grant_type": "password"}
        assert client.post("/auth/login", data=form).status_code == 403
        assert client.post("/auth/token", data=form).status_code == 400


def test_the_docs_know_every_reason_of_an_end() -> None:
    [told] = re.findall(r"^`reason` is one of (.*?)\.$", SESSIONS, re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", told)) == set(get_args(Reason))


ISSUERS = (ROOT / "docs" / "issuers.md").read_text(encoding="utf-8")


def test_every_record_in_the_docs_is_one_and_every_provider_has_one() -> None:
    blocks = re.findall(r"```json ([^\n]+)\n(.*?)```", ISSUERS, re.DOTALL)
    for name, text in blocks:
        [record] = Settings(jwt_trusted_issuers=f"[{text}]").jwt_trusted_issuers
        assert record.identifiers, name
    assert {json.loads(text).get("provider") for _, text in blocks} == {*PROVIDERS, None}
    [first] = re.findall(r"JWT_TRUSTED_ISSUERS='(.*?)'", ISSUERS, re.DOTALL)
    assert Settings(jwt_trusted_issuers=first).jwt_trusted_issuers[0].user_id("42", "") == "corp:42"


def test_every_member_of_a_record_is_documented_and_no_other() -> None:
    table = ISSUERS.partition("## The record")[2].partition("## Providers")[0]
    documented = re.findall(r"`([a-z_]+)`", "".join(row.split("|")[1] for row in table.splitlines() if "|" in row))
    assert sorted(documented) == sorted(["provider", *(one.name for one in fields(Issuer))])


async def test_the_function_that_knows_tenants_in_the_docs_knows_them() -> None:
    page: dict[str, Any] = {}
    [snippet] = re.findall(r"```python\n(.*?)```", ISSUERS, re.DOTALL)
    exec(compile(snippet, "issuers.md", "exec", dont_inherit=True), page)
    assert (await page["issuer_of"]("https://sso.example.com/realms/one")).name == "one"
    assert await page["issuer_of"]("https://sso.example.com/realms/two") is None
