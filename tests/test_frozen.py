"""JSON values that many requests share: equal to plain ones, and unchangeable until they are copied."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.frozen import FrozenDict, FrozenList, frozen, thawed

PLAIN: dict[str, Any] = {"list": [1, {"deep": [2, 3]}], "dict": {"a": None, "b": [[]]}, "text": "x", "number": 1.5}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(map(is_plain, value.values()))
    return not isinstance(value, list) or (type(value) is list and all(map(is_plain, value)))


@given(JSON)
def test_it_is_equal_to_what_it_was_made_of(value: Any) -> None:
    one = frozen(value)
    assert one == value
    assert value == one
    assert json.dumps(one) == json.dumps(value)
    assert json.dumps(one, indent=1) == json.dumps(value, indent=1)  # Python's own encoder
    assert repr(one) == repr(value)


@given(JSON)
def test_a_copy_of_any_depth_is_plain(value: Any) -> None:
    for made in (copy.deepcopy(frozen(value)), thawed(frozen(value))):
        assert made == value
        assert is_plain(made)


def test_a_copy_may_be_changed_and_the_original_stays() -> None:
    shared = frozen(PLAIN)
    mine = copy.deepcopy(shared)
    mine["list"][1]["deep"].append(4)
    mine["dict"]["b"] = 1
    assert shared == PLAIN


def test_it_does_not_change_with_what_it_was_made_of() -> None:
    value = {"list": [1]}
    shared = frozen(value)
    value["list"].append(2)
    assert shared == {"list": [1]}


def test_mappings_and_tuples_are_dicts_and_lists() -> None:
    assert frozen(MappingProxyType({"a": (1, 2)})) == {"a": [1, 2]}
    assert frozen(frozen(PLAIN)) == PLAIN


DICT_CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda d: d.__setitem__("a", 1),
    "delete": lambda d: d.__delitem__("a"),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "pop with default": lambda d: d.pop("x", None),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("a", 1),
    "setdefault of another": lambda d: d.setdefault("x", 1),
    "update": lambda d: d.update(a=1),
    "ior": lambda d: d.__ior__({"a": 1}),
}

LIST_CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda items: items.__setitem__(0, 9),
    "set slice": lambda items: items.__setitem__(slice(0, 1), [9]),
    "delete": lambda items: items.__delitem__(0),
    "iadd": lambda items: items.__iadd__([1]),
    "imul": lambda items: items.__imul__(2),
    "append": lambda items: items.append(1),
    "clear": lambda items: items.clear(),
    "extend": lambda items: items.extend([1]),
    "insert": lambda items: items.insert(0, 1),
    "pop": lambda items: items.pop(),
    "remove": lambda items: items.remove(3),
    "reverse": lambda items: items.reverse(),
    "sort": lambda items: items.sort(),
}


@pytest.mark.parametrize("change", DICT_CHANGES)
def test_a_dict_refuses_every_change(change: str) -> None:
    for shared in (frozen({"a": 0, "b": 1}), frozen([{"a": 0, "b": 1}])[0]):
        with pytest.raises(TypeError, match="copy"):
            DICT_CHANGES[change](shared)
        assert shared == {"a": 0, "b": 1}


@pytest.mark.parametrize("change", LIST_CHANGES)
def test_a_list_refuses_every_change(change: str) -> None:
    for shared in (frozen([3, 1, 2]), frozen({"a": {"b": [3, 1, 2]}})["a"]["b"]):
        with pytest.raises(TypeError, match="copy"):
            LIST_CHANGES[change](shared)
        assert shared == [3, 1, 2]


def test_every_method_that_changes_a_dict_or_a_list_is_refused() -> None:
    """Also those of a later Python."""
    reading = {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    for kind in (FrozenDict, FrozenList):
        plain = kind.__mro__[1]
        public = {name for name in dir(plain) if not name.startswith("_")} - reading
        assert all(getattr(kind, name) is not getattr(plain, name) for name in public), kind


def test_it_reads_like_a_plain_one() -> None:
    shared = frozen(PLAIN)
    assert isinstance(shared, dict)
    assert isinstance(shared["list"], list)
    assert shared["list"][1]["deep"][-1] == 3
    assert {**shared} == PLAIN
    assert shared | {"text": "y"} == {**PLAIN, "text": "y"}
    assert shared["list"] + [1] == [*PLAIN["list"], 1]
    assert sorted(shared) == sorted(PLAIN)
    assert dict(shared) == PLAIN
    assert pickle.loads(pickle.dumps(shared)) == PLAIN


@pytest.mark.parametrize("make", [copy.copy, lambda shared: shared.copy()], ids=["copy", "method"])
def test_a_shallow_copy_may_be_changed_by_itself(make: Callable[[Any], Any]) -> None:
    shared = frozen(PLAIN)
    mine = make(shared)
    mine["text"] = "y"
    items = make(shared["list"])
    items.append(1)
    assert shared == PLAIN
