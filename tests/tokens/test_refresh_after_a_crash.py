"""Refresh tokens when everything was killed: CVE-2026-9802 (Keycloak), where rotated tokens were good again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refreshing import Crew, crew
from valkey_server import Valkey


def kill(crew: Crew) -> None:
    for process in crew.all:
        process.kill()
        process.wait(20)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_rotated_token_ends_the_session_after_kill_9_and_a_restart(
    store: str, tmp_path: Path, serve: Callable[..., Valkey]
) -> None:
    server = serve(appendonly="yes", appendfsync="always") if store == "redis" else None
    url = server.url if server else f"sqlite:///{tmp_path / 'store.sqlite3'}"
    with crew(url, 1) as before:
        first, other = before.login(), before.login()
        [[_, second]] = before.one(0, "refresh", first["refresh_token"])
        assert before.one(0, "ask", [second["access_token"]])[0][1] == 200  # the answer has arrived
        kill(before)
        if server:
            server.kill()
            server.start()
    with crew(url, 1) as after:
        assert after.one(0, "ask", [second["access_token"]])[0][1] == 200  # nothing acknowledged is lost
        answer: Any = [200]
        until = time.monotonic() + 30
        while answer[0] == 200 and time.monotonic() < until:  # the grace goes by
            [answer] = after.one(0, "refresh", first["refresh_token"])
        assert (answer[0], answer[1]["error"]) == (400, "invalid_grant")
        [[status, _]] = after.one(0, "refresh", second["refresh_token"])
        assert status == 400
        assert [status for _, status in after.one(0, "ask", [first["access_token"], second["access_token"]])] == [
            401
        ] * 2
        [[status, _]] = after.one(0, "refresh", other["refresh_token"])
        assert status == 200  # that session alone
