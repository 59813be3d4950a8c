"""Refreshes at once in four processes, and beside what ends or changes their session; `refreshing.py` plays more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from refreshing import SCENES, Crew, crew, play
from valkey_server import Valkey

ROUNDS = {"at_once": 3, "reuse": 2}


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def four_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    place = tmp_path_factory.mktemp("refreshing")
    server = Valkey(place / "server") if request.param == "redis" else None
    try:
        with crew(server.url if server else f"sqlite:///{place / 'store.sqlite3'}") as processes:
            yield processes
    finally:
        if server:
            server.kill()


def played(processes: Crew, scene: str) -> dict[str, int]:
    processes.problems.clear()
    for _ in range(ROUNDS.get(scene, 5)):
        SCENES[scene](processes)
    return dict(processes.problems)


def test_of_64_refreshes_in_four_processes_all_get_one_successor(four_processes: Crew) -> None:
    """CVE-2026-1035: two refreshes at once, both made a successor."""
    assert played(four_processes, "at_once") == {}


def test_of_64_refreshes_in_one_process_all_get_one_successor() -> None:
    assert play("at_once", "memory://", 3, processes=1).problems == {}


def test_reuse_after_the_grace_ends_everything_in_every_process(four_processes: Crew) -> None:
    assert played(four_processes, "reuse") == {}


@pytest.mark.parametrize("scene", ["beside_revoke", "beside_the_endpoint", "beside_disable", "beside_password"])
def test_after_a_refresh_and_what_ended_its_session_have_returned_nothing_lives(
    four_processes: Crew, scene: str
) -> None:
    """keycloak#51312: refresh beside revoke left live tokens."""
    assert played(four_processes, scene) == {}


@pytest.mark.parametrize("scene", ["beside_update", "beside_elevate", "beside_denial"])
def test_a_refresh_beside_a_change_logs_nobody_out(four_processes: Crew, scene: str) -> None:
    assert played(four_processes, scene) == {}


def test_every_scene_is_played_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [scene for scene in SCENES if f'"{scene}"' not in text] == []
