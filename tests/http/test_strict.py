"""Strict JSON: how deep a text is, found without a look at each of its brackets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.http.strict import MAX_DEPTH, is_deeper

TEXTS = st.text(st.sampled_from('[]{}"\\,:\n\u20ac'), max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.integers(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, (dict, list)) else 0


@given(VALUES, st.integers(0, 5))
def test_a_text_is_as_deep_as_its_value(value: Any, levels: int) -> None:
    assert is_deeper(json.dumps(value, ensure_ascii=False).encode(), levels) == (depth(value) > levels)


@pytest.mark.parametrize("levels", [1, MAX_DEPTH])
def test_one_level_more_is_too_many(levels: int) -> None:
    assert not is_deeper(b'{"a":' * levels + b"0" + b"}" * levels, levels)
    assert is_deeper(b"[" * (levels + 1) + b"]" * (levels + 1), levels)
    assert not is_deeper(b"[" + b"[]," * 1000 + b"[]]", 2)


@pytest.mark.parametrize("text", [b"[" * 100, b"]" * 99 + b"[" * 99, b'["' * 50])
def test_what_is_never_closed_is_too_deep(text: bytes) -> None:
    assert is_deeper(text, MAX_DEPTH)
