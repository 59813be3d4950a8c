"""JSON values that many requests share, so that none of them may change them for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


def frozen(value: Any) -> Any:
    """A JSON value whose lists and dicts, at every depth, are equal to the given ones and cannot be changed."""
    if isinstance(value, Mapping):
        return FrozenDict((key, frozen(member)) for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return FrozenList(map(frozen, value))
    return value


def thawed(value: Any) -> Any:
    """The same with lists and dicts of the ordinary kind."""
    if isinstance(value, Mapping):
        return {key: thawed(member) for key, member in value.items()}
    return [thawed(member) for member in value] if isinstance(value, list) else value


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("other requests share this value: copy it (copy.deepcopy) before you change it")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. A copy of it can."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return dict(thawed(self))


class FrozenList(list[Any]):
    """A list that cannot be changed. A copy of it can."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __deepcopy__(self, memo: object) -> list[Any]:
        return list(thawed(self))
