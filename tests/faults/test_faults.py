"""Whatever happens, no revocation is accepted after its bound; and each bug that could let one pass is found."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from . import bugs
from .judge import Verdict
from .network import NoNamespaces
from .scenes import PLAYS, SCENES, perform

TRIES = 3


def played(scene: str, store: str, directory: Path, *, bug: str = "") -> Verdict:
    directory.mkdir()
    try:
        return anyio.run(lambda: perform(scene, store, directory, bug=bug))
    except NoNamespaces as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no packets can be dropped here: {error}")


@pytest.mark.parametrize(("scene", "store"), PLAYS)
def test_nothing_is_accepted_after_its_bound(scene: str, store: str, tmp_path: Path) -> None:
    verdict = played(scene, store, tmp_path / "0")
    assert verdict.is_clean, str(verdict)
    assert verdict.revocations >= 24
    assert verdict.acceptances >= verdict.revocations


@pytest.mark.parametrize("bug", bugs.BUGS)
def test_each_bug_is_found_in_its_scene(bug: str, tmp_path: Path) -> None:
    planted = bugs.BUGS[bug]
    assert planted.store in SCENES[planted.scene].stores
    for number in range(TRIES):
        if played(planted.scene, planted.store, tmp_path / str(number), bug=bug).breaks_promise:
            return
    raise AssertionError(f"nothing shows that {bug} (trap {planted.row})")


def test_a_bug_that_no_longer_fits_the_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    edit = bugs.Edit(bugs.Copy, "reset", "what stands nowhere", "")
    monkeypatch.setitem(bugs.BUGS, "a bug of yesterday", bugs.Bug(0, "calm", (edit,)))
    with pytest.raises(ValueError, match="stands 0 times"):
        bugs.plant("a bug of yesterday")
