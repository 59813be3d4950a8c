"""The page of the examples: which files it has, what it may not contain, and who its demo users are."""

from __future__ import annotations

import logging
import re

import anyio
import pytest

from asgi_auth.errors import ConfigurationError, NameTaken, StoreUnavailable
from examples.shared import CSP, PAGE, PAGE_HEADERS, add_demo_users, json_value, page_file

FILES = ("index.html", "page.js", "page.css")


class Directory:
    """The one verb that the examples call, with the promise that counts: a name is given once."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.users: dict[str, tuple[str, frozenset[str]]] = {}
        self.problem = problem

    async def create_user(self, name: str, password: str, /, *, scopes: frozenset[str], id: str, check: bool) -> None:
        await anyio.lowlevel.checkpoint()
        if self.problem is not None:
            raise self.problem
        if name in self.users:
            raise NameTaken
        self.users[name] = (id, scopes)


@pytest.mark.parametrize(
    ("name", "media_type"), [("index.html", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")]
)
def test_the_page_has_its_three_files(name: str, media_type: str) -> None:
    content, kind = page_file(name)
    assert content == (PAGE / name).read_bytes()
    assert kind == f"{media_type}; charset=utf-8"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../shared.py", "/etc/passwd", "page.js/", "./page.js", "PAGE.JS", "x"]
)
def test_no_other_name_is_served(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        page_file(name)


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    sources = {source for rule in CSP.split("; ") for source in rule.split(" ")[1:]}
    assert sources == {"'none'", "'self'", "data:"}
    assert CSP.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
    assert PAGE_HEADERS == {
        "Content-Security-Policy": CSP,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def test_the_page_has_no_inline_script_or_style() -> None:
    html = page_file("index.html")[0].decode()
    assert re.findall(r"<script[^>]*>(?=[^<])|<style|\sstyle=|\son[a-z]+=", html) == []


def test_the_script_makes_no_markup_and_keeps_nothing() -> None:
    script = page_file("page.js")[0].decode()
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage|sessionStorage|indexedDB", script
    )
    assert found == []


def test_nothing_is_fetched_from_elsewhere() -> None:
    text = "".join(page_file(name)[0].decode() for name in FILES).replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?://|url\(|@import|(?:src|href)=\"//", text) == []


def test_every_password_field_says_what_it_is_for() -> None:
    html = page_file("index.html")[0].decode()
    fields = re.findall(r'<input[^>]*type="password"[^>]*>', html)
    assert len(fields) == 2
    assert all('autocomplete="current-password"' in field for field in fields)


async def test_the_demo_users_are_added_once_by_any_number_of_workers() -> None:
    directory = Directory()
    async with anyio.create_task_group() as workers:
        for _ in range(4):
            workers.start_soon(add_demo_users, directory)
    assert directory.users == {
        "alice": ("alice", frozenset({"read"})),
        "bob": ("bob", frozenset({"read", "admin"})),
    }


async def test_the_log_names_the_users_and_no_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="asgi_auth")
    await add_demo_users(Directory())
    assert "alice" in caplog.text
    assert "bob" in caplog.text
    assert "wonderland" not in caplog.text
    assert "builder" not in caplog.text


async def test_a_silent_store_does_not_stop_the_example(caplog: pytest.LogCaptureFixture) -> None:
    await add_demo_users(Directory(StoreUnavailable()))
    assert "no answer" in caplog.text


async def test_users_that_are_kept_elsewhere_do_not_stop_the_example(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="asgi_auth")
    await add_demo_users(Directory(ConfigurationError("ASGI_AUTH_USERS names another directory")))
    assert "ASGI_AUTH_USERS" in caplog.text


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_json_is_a_value_error_and_nothing_else(body: bytes) -> None:
    with pytest.raises(ValueError, match="no well-formed JSON"):
        json_value(body)
