"""How deep session data may be nested: the same at every depth of the stack."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_auth.sessions.data import MAX_DEPTH, SessionData


class Nobody:
    async def save(self) -> None: ...

    def objection(self) -> str | None:
        return None


def nested(levels: int) -> Any:
    value: Any = "[[{" * 200  # brackets in a text are no levels
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_at_the_limit_can_be_kept() -> None:
    data = SessionData(Nobody())
    data["deep"] = nested(MAX_DEPTH)
    assert "deep" in data.changes().put


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 5_000])
def test_a_deeper_value_is_refused_when_it_is_set(levels: int) -> None:
    data = SessionData(Nobody())
    with pytest.raises(ValueError, match="deep"):
        data["deep"] = nested(levels)
    assert dict(data) == {}
