"""Short ways to say what a store is asked, so that a test shows only what it is about."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from asgi_auth.model import Event, UserRow
from asgi_auth.stores import (
    Created,
    Cursor,
    Exchange,
    Exchanged,
    Keep,
    Loaded,
    NewGrant,
    NewSession,
    Presented,
    Store,
    Windows,
)

IDLE, LIFETIME, TOKEN = 1000.0, 10_000.0, 600.0
WINDOWS = Windows(idle=IDLE, token_lifetime=TOKEN, grace=10.0, redelivery=100.0)


def near(seconds: float) -> Any:
    """A time or duration, to the hundredth: by default pytest's tolerance is relative, half an hour at today's date."""
    return pytest.approx(seconds, rel=0, abs=0.01)


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


owners: dict[str, str] = {}
"""By name, the users of sessions that are not alice's. A visitor's is like a user of the session's name."""


def sid(name: str) -> str:
    """A session's id as the stores know it: two hex digits that lead to its user's partition, whether there is one or
    there are 16, then something random."""
    return f"{zlib.crc32(owners.get(name, 'alice').encode()) & 0xFF:02x}{name}"


def presented(name: str, secret: str | None = None) -> Presented:
    return Presented(sid(name), digest(secret if secret is not None else name))


def cookie(name: str, user_id: str | None = "alice", **changes: Any) -> NewSession:
    """A session in cookie mode; its secret is its name."""
    owners[name] = user_id or name
    values: dict[str, Any] = {
        "sid": sid(name),
        "user_id": user_id,
        "backend": "session",
        "idle": IDLE,
        "lifetime": LIFETIME,
        "digest": digest(name),
        "amr": ("pwd",) if user_id else (),
    }
    return NewSession(**{**values, **changes})


def bearer(name: str, user_id: str = "alice", **changes: Any) -> NewSession:
    """A session in JWT mode; the secret of its first refresh token is its name."""
    grant = NewGrant(client_id="app", granted=None, digest=digest(name), token_lifetime=TOKEN)
    return cookie(name, user_id, **{"backend": "jwt", "digest": "", "grant": grant, **changes})


async def add_user(store: Store, user_id: str = "alice", **values: Any) -> int:
    revision = await store.save_user(UserRow(user_id, **values), expected=None)
    assert isinstance(revision, int)
    return revision


async def login(store: Store, new: NewSession, **options: Any) -> Created:
    """Make a session under the user's revision as it is now."""
    if new.user_id is not None and "revision" not in options:
        row = await store.user(new.user_id)
        options["revision"] = row.revision if row is not None else await add_user(store, new.user_id)
    created = await store.create(new, **options)
    assert isinstance(created, Created), created
    return created


async def exchange(store: Store, name: str, generation: int, secret: str, following: str, **changes: Any) -> Exchanged:
    """Present the refresh token `secret` of this generation; its successor's secret is `following`."""
    options: dict[str, Any] = {
        "generation": generation,
        "digest": digest(secret),
        "client_id": "app",
        "jkt": "",
        "scope": "",
        "nonce": f"nonce-{following}",
        "next_digest": digest(following),
        "windows": WINDOWS,
        **changes,
    }
    if "revision" not in options:
        loaded = await store.load(sid(name))
        options["revision"] = loaded.user.revision if isinstance(loaded, Loaded) and loaded.user else 0
    return await store.exchange(Exchange(sid(name), **options))


async def alive(store: Store, name: str) -> bool:
    return isinstance(await store.load(sid(name)), Loaded)


async def record_of(store: Store, name: str) -> Any:
    loaded = await store.load(sid(name))
    assert isinstance(loaded, Loaded), loaded
    return loaded.record


async def end_of(store: Store, name: str) -> str | None:
    """The reason of a session's end; None if the store has never heard of it."""
    loaded = await store.load(sid(name))
    assert not isinstance(loaded, Loaded), "it is alive"
    return loaded.reason if loaded is not None else None


async def listed(store: Store, user_id: str = "alice") -> list[str]:
    return [loaded.record.sid for loaded in await store.sessions(user_id)]


async def cursor(store: Store) -> Cursor:
    """Where the feed ends."""
    return await store.newest()


async def events_since(store: Store, after: Cursor) -> list[Event]:
    return [entry.event for entry in await store.events(after)]


def keeping(name: str, secret: str = "") -> Keep:
    return Keep(sid(name), digest(secret) if secret else "")


WORKER = Path(__file__).with_name("store_worker.py")


def start_worker(url: str, job: str, number: int) -> subprocess.Popen[str]:
    """A process of its own on this store, waiting for its start."""
    arguments = [sys.executable, "-W", "error", str(WORKER), url, job, str(number)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def in_processes(url: str, job: str, number: int = 3) -> list[Any]:
    """Do a job of `store_worker` in several processes at once; what each of them said."""
    workers = [start_worker(url, job, index) for index in range(number)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        outcomes = []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            output, _ = worker.communicate(timeout=60)
            assert worker.returncode == 0
            outcomes.append(json.loads(output))
        return outcomes
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
            worker.communicate()
