"""The three examples behind uvicorn over SQLite, one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from example_server import Example, running

FRAMEWORKS = ("starlette", "fastapi", "quart")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running(request.param, tmp_path_factory.mktemp("example")) as started:
        yield started
