"""Sessions against a model of them, on every store; and the mistakes that this is known to find."""

from __future__ import annotations
import __future__

import asyncio
import hashlib
import inspect
import itertools
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from session_machine import Mismatch, SessionMachine

from asgi_auth import entrance
from asgi_auth.backends.session import SessionBackend
from asgi_auth.context import Context
from asgi_auth.sessions.activity import Activity
from asgi_auth.sessions.data import SessionData
from asgi_auth.stores import Store, redis_client, rules, user_verbs, verbs
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.redis_scripts import Script, load_scripts

DEEPER = int(os.environ.get("SESSION_MACHINE_EXAMPLES", "0"))
"""So many examples on each store, others each time; without it a few, the same each time."""

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

HOUSE = settings(
    deadline=None,
    derandomize=not DEEPER,
    database=None,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    logging.disable()  # thousands of security events, which nobody reads
    yield loop
    logging.disable(logging.NOTSET)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def machine(kind: str, loop: asyncio.AbstractEventLoop, tmp_path: Path, redis_url: str = "") -> type[SessionMachine]:
    numbers = itertools.count()

    def stores(clock: Clock) -> Sequence[Store]:
        if kind == "memory":
            return [open_store("memory://", timeout=10, clock=clock)] * 2
        number = next(numbers)
        url = f"{redis_url}/0?prefix=machine-{number}:&partitions={16 if kind == 'redis-16' else 1}"
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path / str(number)}"
        return [open_store(url, timeout=10, clock=clock) for _ in range(2)]

    return type("Machine", (SessionMachine,), {"loop": loop, "stores": staticmethod(stores)})


@pytest.mark.parametrize(("kind", "examples"), [("memory", 60), ("sqlite", 20), ("redis", 20), ("redis-16", 12)])
def test_sessions_are_as_their_model_says(
    kind: str, examples: int, loop: asyncio.AbstractEventLoop, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if kind.startswith("redis") else ""
    run_state_machine_as_test(
        machine(kind, loop, tmp_path, url), settings=settings(HOUSE, max_examples=DEEPER or examples)
    )


class Mistake:
    """A change of the real code: in a function's source the first text, which stands there once, becomes the other."""

    def __init__(self, function: Callable[..., Any], *edits: tuple[str, str]) -> None:
        self.function = function
        self.edits = edits

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = textwrap.dedent(inspect.getsource(self.function))
        for old, new in self.edits:
            assert source.count(old) == 1, f"the code is no longer what it was: {old}"
            source = source.replace(old, new)
        flags, made = __future__.annotations.compiler_flag, dict(self.function.__globals__)
        exec(compile(source, "<mistake>", "exec", flags=flags, dont_inherit=True), made)
        # The code alone, so that whoever has the function already has the mistake too.
        monkeypatch.setattr(self.function, "__code__", made[self.function.__name__].__code__)


MISTAKES = {
    "a rotation begins the lifetime anew": Mistake(
        rules.rotated,
        ("secret_at=now)", "secret_at=now, expires_at=now + record.expires_at - record.created_at)"),
    ),
    "the secret before a rotation opens for ever": Mistake(
        SessionBackend._identity, ("and loaded.now < record.previous_until", "and record.previous_until > 0")
    ),
    "a rotation needs no current secret": Mistake(
        verbs.rotate, ("if not rules.same(record.digest, presented.digest):", "if False:")
    ),
    "a write revives a session that is over": Mistake(
        verbs.write_data,
        ("record = _living(rows, sid)", "record = rows.session(sid)"),
        ("if record is None:", "if not isinstance(record, Record):"),
        ("rows.put_session(written)", "rows.put_session(rules.seen(written, record.idle, rows.now))"),
    ),
    "a limit counts sessions that are over": Mistake(
        verbs.living_of, (" if rules.death(record, user, rows.turn(record.era), rows.now) is None]", "]")
    ),
    "a limit counts the session that the login replaces": Mistake(verbs.create, (" if record.sid not in ends]", "]")),
    "revoke_user ends those that were listed, and misses a login of that moment": Mistake(
        user_verbs._revise,
        ("in living_of(rows, before):", "in [one for one in living_of(rows, before) if one.created_at < rows.now]:"),
        ("ended_below = revision", "ended_below = before.ended_below"),
    ),
    "a request writes back all that it has read": Mistake(
        SessionData.changes, ("if text != self.stored.get(key):", "if True:")
    ),
    "a touch writes back the session as it was first read": Mistake(
        verbs.touch,
        (
            "record = rows.now - ago, _living(rows, sid)",
            "record = rows.now - ago, rows.__dict__.setdefault('first', {}).setdefault(sid, _living(rows, sid))",
        ),
    ),
    "a login as somebody else keeps the data": Mistake(
        rules.inherited, ("replaced.user_id in {None, new.user_id}", "True")
    ),
    "what nobody caused is activity": Mistake(
        entrance.enter, ("if active and not is_passive(context, path):", "if active:")
    ),
    "activity that waits is never written": Mistake(Activity._write, ("if due <= now]", "if False]")),
    "an end is not told": Mistake(
        verbs.bury_and_tell,
        ('rows.emit("ended", sid=sid, user=user_id, reason=reason, tokens_until=tokens_until)', "pass"),
    ),
    "a write is not told": Mistake(
        verbs.write_data, ('rows.emit("changed", sid=sid, data_version=written.data_version)', "pass")
    ),
    "a change of a user is not told": Mistake(
        user_verbs._revise,
        ('rows.emit("user", id=after.id, revision=revision, ended_below=ended_below, kept=survivor)', "pass"),
    ),
    "a late answer clears the cookie of a login": Mistake(
        Context.cookies, ("await self.auth.parts.session_backend.outlived(self.outlived)", "True")
    ),
}


RARE = {
    "a write revives a session that is over",
    "a rotation needs no current secret",
    "a limit counts the session that the login replaces",
    "a login as somebody else keeps the data",
    "activity that waits is never written",
    "a script's write is not told",
}
"""Those that take many seconds to be found are looked for where there is time."""


@pytest.mark.parametrize("name", [name for name in MISTAKES if DEEPER or name not in RARE])
def test_the_machine_finds_a_mistake(
    name: str, loop: asyncio.AbstractEventLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MISTAKES[name].plant(monkeypatch)
    finds(machine("memory", loop, tmp_path))


def finds(spoilt: type[SessionMachine]) -> None:
    quick = settings(HOUSE, max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False)
    # Of sessions that are equals in all else the random id decides which is evicted, so it may look flaky.
    with pytest.raises((Mismatch, Flaky)) as found:
        run_state_machine_as_test(spoilt, settings=quick)
    assert found.group_contains(Mismatch) if isinstance(found.value, ExceptionGroup) else found.errisinstance(Mismatch)


LUA_MISTAKES = {
    "a rotation begins the lifetime anew": (
        "rotate",
        "or 0, 'secret_at', text(NOW))",
        "or 0, 'expires_at', text(NOW + 5000))",
    ),
    "a script's write is not told": ("write_data", "emit('changed', 'sid', sid, 'data_version', version)", ""),
    "a login as somebody else keeps the data": ("create", "old and (not old.user or old.user == id))", "true)"),
}


@pytest.mark.parametrize("name", [name for name in LUA_MISTAKES if DEEPER or name not in RARE])
def test_the_machine_finds_a_mistake_in_a_script(
    name: str, loop: asyncio.AbstractEventLoop, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, old, new = LUA_MISTAKES[name]
    scripts = load_scripts()
    source = scripts[script].source.decode()
    assert source.count(old) == 1, f"the script is no longer what it was: {old}"
    spoilt = source.replace(old, new).encode()
    scripts[script] = Script(spoilt, hashlib.sha1(spoilt).hexdigest())
    monkeypatch.setattr(redis_client, "load_scripts", lambda: scripts)
    finds(machine("redis", loop, tmp_path, redis_url))
