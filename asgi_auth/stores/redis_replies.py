"""What the Redis store's scripts answer, as values. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Event, Reason, UserRow
from asgi_auth.stores import Ended, Entry, Loaded, codec
from asgi_auth.stores.codec import Broken

_PIECE = 64
"""Bytes up to which a server keeps a hash in one piece."""

_ENTRY_ID = re.compile(r"[0-9]+-[0-9]+")
_NUMBERS = {"data_version": int, "revision": int, "ended_below": int, "era": int, "tokens_until": float, "until": float}


def flat(fields: Mapping[str, str]) -> list[str]:
    """Names and values in turn, as HSET takes them."""
    return [text for pair in fields.items() for text in pair]


def agent_fields(agent: str) -> codec.Fields:
    """A user agent as fields that are small enough, each of them whole characters."""
    size = _PIECE if agent.isascii() else _PIECE // 4
    return {f"g{at // size or ''}": agent[at : at + size] for at in range(0, len(agent), size)}


def fields_of(reply: Sequence[str]) -> codec.Fields:
    """A hash as HGETALL gives it."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def loaded(sid: str, reply: Sequence[Any]) -> Loaded:
    """What a script says of a living session: `loaded`, the clock, the record, the user's row.

    Raises:
        Broken: it cannot be read.
    """
    _, now, record_flat, user_flat = reply
    fields = fields_of(record_flat)
    named = [fields.pop(name) for number in range(len(fields)) if (name := f"g{number or ''}") in fields]
    try:
        fields["g"] = "".join(named)
    except TypeError as error:  # bytes that are no text
        raise Broken("a session's record cannot be read") from error
    record = codec.record(sid, fields, {key[2:]: fields[key] for key in fields if key[:2] == "d:"})
    return Loaded(record, user(record.user_id, user_flat) if record.user_id is not None else None, float(now))


def user(user_id: str, reply: Sequence[str]) -> UserRow | None:
    """A user's row; none, if there are no fields."""
    return codec.user_row(user_id, fields_of(reply)) if reply else None


def ended(reply: Sequence[str]) -> Ended:
    """A session's end: sid, user or nothing, reason."""
    sid, user_id, reason = reply
    return Ended(sid, user_id or None, cast(Reason, reason))


def entry(partition: int, entry_id: str, reply: Sequence[str]) -> Entry:
    """One of XRANGE's: the id, and nonce, kind and values as fields. `user` and `kept` may be nobody.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    try:
        if _ENTRY_ID.fullmatch(entry_id) is None:
            raise ValueError(entry_id)
        fields = fields_of(reply)
        nonce, kind = fields.pop("nonce"), fields.pop("kind")
        values = {name: _NUMBERS[name](text) if name in _NUMBERS else text or None for name, text in fields.items()}
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("an entry of the feed cannot be read") from error
    return Entry(entry_id, nonce, Event(cast(Any, kind), values), partition)
