"""Keys change while processes make and verify tokens: no good one is refused, no bad one taken. At length: the script
`keys_under_load`."""

from __future__ import annotations

from pathlib import Path

import pytest
from keys_under_load import run


@pytest.mark.parametrize(
    ("store", "scenes"),
    [("redis", ["rotated", "revoked", "another algorithm"]), ("sqlite", ["scheduled", "at once", "revoked"])],
)
def test_no_good_token_is_refused_and_no_bad_one_taken_while_keys_change(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, scenes: list[str]
) -> None:
    url = request.getfixturevalue("redis_url") if store == "redis" else f"sqlite:///{tmp_path}/keys.sqlite3"
    figures = run(tmp_path, url, every=4.0, seconds=1.0, scenes=scenes)
    assert (figures.refused, figures.taken) == ([], [])
    for scene in scenes:
        assert figures.counts[f"keys that signed, {scene}"] > 0, figures
    assert figures.counts.get("keys that signed, scheduled", 2) > 1
    assert figures.counts["revoked keys"] > 0
    assert figures.counts["good ones"] > figures.counts["bad ones"] > 0
