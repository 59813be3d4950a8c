"""Which URL names which store, and what a wrong one is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from asgi_auth.errors import ConfigurationError
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.sqlite import SQLiteStore


def test_memory_is_named():
    assert isinstance(open_store("memory://", timeout=1.0), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///asgi-auth.sqlite3", Path.cwd() / "asgi-auth.sqlite3"),
        ("sqlite:///data/a b.db", Path.cwd() / "data" / "a b.db"),
        ("sqlite:////var/lib/app/a.db", Path("/var/lib/app/a.db")),
    ],
)
def test_a_path_is_relative_after_three_strokes_and_absolute_after_four(url, path):
    store = open_store(url, timeout=1.0)
    assert isinstance(store, SQLiteStore)
    assert store.path == path


@pytest.mark.parametrize(
    "url", ["redis://localhost:1/0", "rediss://localhost:1", "unix:///tmp/x.sock", "redis://h?prefix=x:"]
)
def test_redis_is_named(url):
    assert isinstance(open_store(url, timeout=1.0), RedisStore)


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.db", "://", "postgres://localhost", "REDIS://x", "memory", "memory:", "memory://x"),
        *("sqlite://", "sqlite:///", "sqlite:////", "sqlite://a.db", "sqlite:a.db", "sqlite:///dir/"),
        *("sqlite:///a.db?mode=ro", "sqlite:///a#b", "sqlite:///a\0b"),
    ],
)
def test_a_wrong_url_is_told_a_right_one(url):
    with pytest.raises(ConfigurationError, match=r"^ASGI_AUTH_STORE: .*sqlite:///asgi-auth\.sqlite3"):
        open_store(url, timeout=1.0)


def test_a_wrong_url_is_not_repeated_since_it_may_hold_a_password():
    with pytest.raises(ConfigurationError) as caught:
        open_store("postgres://me:hunter2@localhost", timeout=1.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hunter2@localhost:x/0", "no URL of a server"),
        ("redis://:hunter2@localhost/0?prefx=shop:", r"no such option after \?"),
        ("redis://:hunter2@localhost/main", "the number of a database"),
        ("redis://:hunter2@localhost/0?prefix=", r"\?prefix= needs some text"),
        ("rediss://:hunter2@localhost/0?ssl_cert_reqs=none", "certificates are always checked"),
        ("redis://:hunter2\udce4@localhost/0", "no UTF-8"),  # as an environment has other bytes
        ("redis://:hunter2@localhost/0?client_name=\udce4", "no UTF-8"),
    ],
)
def test_a_wrong_redis_url_is_told_what_is_wrong_with_it_and_not_repeated(url, says):
    with pytest.raises(ConfigurationError, match=f"^ASGI_AUTH_STORE: .*{says}") as caught:
        open_store(url, timeout=1.0)
    assert "hunter2" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "asgi_auth.stores.redis", None)
    with pytest.raises(ConfigurationError, match=r"asgi-auth\[redis\]"):
        open_store("redis://localhost", timeout=1.0)
