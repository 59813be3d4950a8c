"""The application's data of one session, as `request.session`: a mapping that knows what changed, key by key.

Values are JSON. It decodes a value when it is first read, and compares what may have been changed in place when asked
for its changes. It does no I/O itself; its keeper does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Set
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from asgi_auth.errors import NoSessionData
from asgi_auth.http.strict import is_deeper

_NOTHING: Mapping[str, str] = MappingProxyType({})
_UNREAD: dict[str, Any] = {}

MAX_DEPTH = 100
"""How deep a value may be nested. What Python's JSON takes depends on the stack at that moment: a value that could be
set could not be saved a little deeper, or be read by nobody."""


class Changes(NamedTuple):
    """What a request changed: JSON text by key, and keys that went."""

    put: dict[str, str]
    delete: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


class Keeper(Protocol):
    """Who brings the data to the store."""

    async def save(self) -> None:
        """Write what changed."""

    def objection(self) -> str | None:
        """Why nothing can be kept at this moment; None: it can."""


class SessionData(MutableMapping[str, Any]):
    """A mutable mapping of text to JSON values. Saved when the answer starts and when the application returns.

    A change inside a list or dict that was read counts. Two requests that change different keys both win.

    Raises:
        TypeError, ValueError: at an assignment, if JSON cannot hold the value; the text names the key.
        NoSessionData: at an assignment or deletion, where nothing can be kept; the text says why.
        StoreUnavailable: at any use, if the store gave no answer when the data was needed.
    """

    # Every request has one of these, and most never look into it: until then these serve all of them.
    accessed = False
    failure: Exception | None = None
    stored: Mapping[str, str] = _NOTHING
    _values: dict[str, Any] = _UNREAD
    _deleted: Set[str] = frozenset()

    def __init__(self, keeper: Keeper, stored: Mapping[str, str] = _NOTHING) -> None:
        self._keeper = keeper
        self.stored = stored

    def mark_accessed(self) -> None:
        """Say that the answer depends on this data (Starlette's `request.session` does)."""
        self.accessed = True

    async def save(self) -> None:
        """Write the changes to the store now, rather than when the answer starts or the application returns."""
        await self._keeper.save()

    def changes(self) -> Changes:
        """What differs from what the store has, as far as we know."""
        put = {}
        for key, value in self._values.items():
            text = encoded(key, value)
            if text != self.stored.get(key):
                put[key] = text
        return Changes(put, frozenset(self._deleted))

    def saved(self, changes: Changes) -> None:
        """Take these changes for stored."""
        left = {key: text for key, text in self.stored.items() if key not in changes.delete}
        self.stored = {**left, **changes.put}
        self._deleted = self._deleted - changes.delete

    def rebase(self, stored: Mapping[str, str], *, keep: bool) -> None:
        """Stand on another session's data: with the changes made so far, or without them."""
        if self._values is _UNREAD:
            self.stored = stored
            return
        changes = self.changes() if keep else Changes({}, frozenset())
        # What was read and is the same there stays the same object: a change inside it still counts.
        same = [key for key in self._values if keep and stored.get(key) == self.stored.get(key)]
        self._values = {key: self._values[key] for key in {*changes.put, *same}}
        self._deleted = changes.delete & stored.keys()
        self.stored = stored

    def __getitem__(self, key: str) -> Any:
        self._read()
        if key not in self._values:
            if key in self._deleted:
                raise KeyError(key)
            self._values[key] = json.loads(self.stored[key])
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._write()
        if not isinstance(key, str):
            raise TypeError(f"a session's keys are text, not {type(key).__name__}")
        encoded(key, value)
        self._deleted -= {key}
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._write()
        if key not in self:
            raise KeyError(key)
        self._values.pop(key, None)
        if key in self.stored:
            self._deleted |= {key}

    def __iter__(self) -> Iterator[str]:
        self._read()
        yield from [key for key in self.stored if key not in self._deleted]
        yield from [key for key in self._values if key not in self.stored]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        self._read()
        return key in self._values or (key in self.stored and key not in self._deleted)

    def __repr__(self) -> str:
        return f"<SessionData of {len(self.stored.keys() | self._values.keys())} keys>"

    def _read(self) -> None:
        self.mark_accessed()
        if self._values is _UNREAD:
            self._values = {}
        if self.failure is not None:
            raise self.failure

    def _write(self) -> None:
        self._read()
        objection = self._keeper.objection()
        if objection is not None:
            raise NoSessionData(objection)


def encoded(key: str, value: Any) -> str:
    """A value as JSON text, as it is kept under a key. Raises TypeError or ValueError: JSON cannot hold it."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        (key + text).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"session[{key!r}]: JSON cannot hold this value ({type(value).__name__})") from None
    if is_deeper(text.encode(), MAX_DEPTH):
        raise ValueError(f"session[{key!r}]: this value has more than {MAX_DEPTH} levels")
    return text
