"""What the pages for auditors say is true: each test that they name is there, the defaults are those that they state,
and the settings that they give for an assurance level start and hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seats import ALICE, Seat, bare_app, browser, new_auth

from asgi_auth import AuthMiddleware, Settings
from asgi_auth.durations import parse_duration
from asgi_auth.errors import InvalidGrant

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ROW = re.compile(r"^\| (\d[\d.]+(?: L[1-3])?) \| (.+?) \| (.+) \| (.+?) \|$", re.MULTILINE)
"""A rule's number, the rule, what is done, and what shows it."""


def rows(page: str) -> list[tuple[str, ...]]:
    return ROW.findall((DOCS / page).read_text(encoding="utf-8"))


def names_of_tests() -> Iterator[str]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                yield node.name


@pytest.mark.parametrize("page", ["asvs.md", "nist.md"])
def test_each_row_for_auditors_names_tests_that_exist_or_whose_duty_it_is(page: str) -> None:
    existing, found = set(names_of_tests()), rows(page)
    assert len(found) == len(re.findall(r"^\| \d", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))
    for number, _, _, shown in found:
        names = re.findall(r"`(\w+)`", shown)
        assert names or shown == "**Application**", f"{page}, {number}: nothing shows it"
        assert existing.issuperset(names), f"{page}, {number}: {set(names) - existing} is no test"


def tables(page: str) -> dict[str, list[list[str]]]:
    """The rows of each table under its heading, cell by cell."""
    found: dict[str, list[list[str]]] = {}
    for part in (DOCS / page).read_text(encoding="utf-8").split("\n## ")[1:]:
        lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
        if lines:
            found[part.partition("\n")[0]] = lines[1:]
    return found


def test_each_row_on_tokens_names_tests_that_exist() -> None:
    existing, found = set(names_of_tests()), tables("tokens.md")
    assert {heading: len(rows) for heading, rows in found.items()} == {
        "What is refused": 11,
        "Attacks": 33,
        "RFC 8725, JWT best current practices": 12,
        "RFC 9700, OAuth security": 10,
        "OAuth and JWT, rule by rule": 20,
    }
    for heading, table in found.items():
        for row in table:
            names = re.findall(r"`(test_\w+)`", row[-1])
            assert names, f"{heading}, {row[0]}: nothing shows it"
            assert existing.issuperset(names), f"{heading}, {row[0]}: {set(names) - existing} is no test"
    text = (DOCS / "tokens.md").read_text(encoding="utf-8")
    assert existing.issuperset(re.findall(r"`(test_\w+)`", text))


def test_the_page_on_tokens_has_every_rule_of_rfc_8725() -> None:
    rules = [row[0] for row in tables("tokens.md")["RFC 8725, JWT best current practices"]]
    assert rules == [f"3.{number}" for number in range(1, 13)]


def test_the_page_on_asvs_has_every_row_of_its_chapters() -> None:
    sizes = {"3.3": 5, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2}
    expected = [f"{chapter}.{number}" for chapter, last in sizes.items() for number in range(1, last + 1)]
    assert [number.partition(" ")[0] for number, *_ in rows("asvs.md")] == expected


# ---------------------------------------------------------------------- defaults


SAID_IN_WORDS = {"session_cookie", "jwt_key", "jwt_key_file", "jwt_issuer", "jwt_audience"}
"""Those whose default depends on others."""


def stated() -> Iterator[tuple[str, str]]:
    """Each setting and what `settings.md` says is its default."""
    for line in (DOCS / "settings.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            names, defaults, *_ = line.strip("| ").split(" | ")
            variables = re.findall(r"`([A-Z_]+)`", names)
            values = re.findall(r"`[^`]*`|none", defaults)
            for index, name in enumerate(variables):
                yield name.lower(), values[index] if len(values) == len(variables) else defaults


def test_docs_state_every_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGI_AUTH_STORE", raising=False)
    defaults, told = Settings(), dict(stated())
    assert told.keys() == Settings.model_fields.keys()
    for name, text in told.items():
        value = getattr(defaults, name)
        if name in SAID_IN_WORDS:
            assert value is None
        elif text == "none":
            assert not value, name
        else:
            assert text.startswith("`"), f"{name}: {text}"
            assert getattr(Settings(**{name: text.strip("`")}), name) == value, name
    assert (defaults.issuer, defaults.audience) == ("asgi-auth", "asgi-auth")


# ---------------------------------------------------------------------- assurance levels


LEVELS = {
    level: dict(re.findall(r"^(\w+)=(\w+)$", block, re.MULTILINE))
    for level, block in re.findall(r"^(AAL\d):\n\n```sh\n(.*?)```", (DOCS / "nist.md").read_text("utf-8"), re.M | re.S)
}
ENDS = {"AAL2": (24 * 3600.0, 3600.0), "AAL3": (12 * 3600.0, 15 * 60.0)}
"""SP 800-63B-4 §2.2.3 and §2.3.3: at the latest, and without activity."""


@pytest.mark.parametrize("mode", ["session", "jwt"])
@pytest.mark.parametrize("level", ENDS)
async def test_docs_aal_settings_start_and_hold(
    level: str, mode: str, clock: Any, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetime, idle = ENDS[level]
    for name, value in LEVELS[level].items():
        monkeypatch.setenv(name, value)
        assert parse_duration(value) in (lifetime, idle)
    async with new_auth(clock=clock, jwt_algorithm="HS256") as auth:
        seat = Seat(AuthMiddleware(bare_app(auth), auth))

        async def log_in() -> Any:
            """How to ask whether somebody is still there, which is activity."""
            if mode == "session":
                client = browser(seat)
                await client.get("/login/alice")

                async def here() -> bool:
                    return (await client.get("/who")).json()["user"] == "alice"

                return here
            token = (await auth.issue(ALICE)).refresh_token

            async def refreshes() -> bool:
                nonlocal token
                try:
                    token = (await auth.refresh(token)).refresh_token
                except InvalidGrant:
                    return False
                return True

            return refreshes

        is_there = await log_in()
        clock.advance(idle - 1)
        assert await is_there()
        clock.advance(idle - 1)  # since it was there, and no longer since the login
        assert await is_there()
        clock.advance(idle)
        assert not await is_there()

        is_there, until = await log_in(), clock() + lifetime
        while clock() + idle - 1 < until:
            clock.advance(idle - 1)
            assert await is_there()
        clock.advance(until - clock() - 1)
        assert await is_there()
        clock.advance(1)
        assert not await is_there()
