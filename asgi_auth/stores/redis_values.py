"""Values to what Redis keeps of them, and back. Pure functions.

Everything is UTF-8 (a lone surrogate of a data key passes too); times are text with 17 digits, so they come back exact.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast, get_args

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import BackendName, Client, Event, Grant, Reason, Record, UserRow
from asgi_auth.stores import Ended, Entry, Loaded, NewSession, Revocation

Fields = Mapping[str, str]


class Broken(ValueError):
    """A session's hash that cannot be read: that session ends. Whatever else cannot be read is `StoreUnavailable`."""


def raw(value: str | float | bool | None) -> bytes:
    """A script's argument. None and False are the empty text."""
    if value is None or value is False:
        return b""
    if value is True:
        return b"1"
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")


def raws(*values: str | float | bool | None) -> list[bytes]:
    return [raw(value) for value in values]


def text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def fields_of(flat: Sequence[bytes]) -> Fields:
    """HGETALL's reply as a mapping."""
    return {text(flat[i]): text(flat[i + 1]) for i in range(0, len(flat), 2)}


def session_fields(new: NewSession) -> list[bytes]:
    """What `create` writes as it is, as fields and values."""
    pairs: dict[str, str | bool] = {
        "backend": new.backend,
        "address": new.client.address,
        "user_agent": new.client.user_agent,
        "remember": new.remember,
    }
    if new.grant is not None:
        pairs["client_id"] = new.grant.client_id
        if new.grant.granted is not None:
            pairs["granted"] = new.grant.granted
    pairs.update((f"d:{key}", value) for key, value in new.data.items())
    return [raw(item) for pair in pairs.items() for item in pair]


def record(sid: str, flat: Sequence[bytes]) -> Record:
    """A session's hash.

    Raises:
        Broken: it cannot be read.
    """
    try:
        fields = fields_of(flat)
        backend = fields["backend"]
        if backend not in get_args(BackendName):
            raise Broken("backend")
        return Record(
            sid=sid,
            user_id=fields.get("user"),
            backend=cast(BackendName, backend),
            client=Client(fields["address"], fields["user_agent"]),
            created_at=float(fields["created_at"]),
            seen_at=float(fields["seen_at"]),
            authenticated_at=float(fields["authenticated_at"]),
            idle=float(fields["idle"]),
            idle_expires_at=float(fields["idle_expires_at"]),
            expires_at=float(fields["expires_at"]),
            amr={str(method): float(at) for method, at in json.loads(fields["amr"]).items()},
            remember=fields["remember"] == "1",
            revision=int(fields["revision"]),
            era=int(fields["era"]),
            digest=fields["digest"],
            previous_digest=fields["previous_digest"],
            previous_until=float(fields["previous_until"]),
            tokens_until=float(fields["tokens_until"]),
            grant=_grant(fields) if "generation" in fields else None,
            data={key[2:]: value for key, value in fields.items() if key.startswith("d:")},
            data_version=int(fields["data_version"]),
        )
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise Broken("a session's record cannot be read") from error


def _grant(fields: Fields) -> Grant:
    confirmed_at = fields.get("confirmed_at")
    return Grant(
        client_id=fields["client_id"],
        granted=fields.get("granted"),
        generation=int(fields["generation"]),
        digest=fields["token_digest"],
        previous_digest=fields["previous_token_digest"],
        nonce=fields["nonce"],
        asked=fields["asked"],
        made_at=float(fields["made_at"]),
        confirmed_at=None if confirmed_at is None else float(confirmed_at),
    )


def user_fields(row: UserRow) -> list[bytes]:
    """What `save_user` writes as it is, as fields and values."""
    pairs: dict[str, str | bool] = {
        "display_name": row.display_name,
        "scopes": " ".join(sorted(row.scopes)),
        "claims": json.dumps(dict(row.claims), separators=(",", ":")),
        "disabled": row.disabled,
    }
    if row.name is not None:
        pairs["name"] = row.name
    if row.password_hash is not None:
        pairs["password_hash"] = row.password_hash
    return [raw(item) for pair in pairs.items() for item in pair]


def user_row(user_id: str, flat: Sequence[bytes]) -> UserRow | None:
    """A user's hash; None if there is none.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    if not flat:
        return None
    try:
        fields = fields_of(flat)
        counted: dict[str, Any] = {"revision": int(fields["revision"]), "ended_below": int(fields["ended_below"])}
        if fields.get("deleted") == "1":
            return UserRow(user_id, deleted=True, **counted)
        claims = json.loads(fields["claims"])
        if not isinstance(claims, dict):
            raise ValueError("claims")
        return UserRow(
            user_id,
            display_name=fields["display_name"],
            scopes=frozenset(fields["scopes"].split()),
            claims=claims,
            name=fields.get("name"),
            password_hash=fields.get("password_hash"),
            disabled=fields["disabled"] == "1",
            checked_at=float(fields["checked_at"]),
            **counted,
        )
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("the row of a user cannot be read") from error


def loaded(sid: str, reply: Sequence[Any]) -> Loaded:
    """What a script says of a living session: `loaded`, the clock, the record, the user's row.

    Raises:
        Broken: it cannot be read.
    """
    _, now, flat, user = reply
    made = record(sid, flat)
    return Loaded(made, user_row(made.user_id, user) if made.user_id is not None else None, float(now))


def ended(reply: Sequence[bytes]) -> Ended:
    """A session's end: sid, user or nothing, reason."""
    sid, user_id, reason = map(text, reply)
    return Ended(sid, user_id or None, cast(Reason, reason))


def ended_all(replies: Collection[Sequence[bytes]]) -> tuple[Ended, ...]:
    return tuple(ended(reply) for reply in replies)


_NUMBERS: Mapping[str, type[int] | type[float]] = {
    "data_version": int,
    "revision": int,
    "ended_below": int,
    "era": int,
    "tokens_until": float,
}


def entry(reply: Sequence[Any]) -> Entry:
    """One of XRANGE's: the id, and nonce, kind and values as fields. `user` and `kept` may be nobody.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    try:
        fields = dict(fields_of(reply[1]))
        nonce, kind = fields.pop("nonce"), fields.pop("kind")
        values = {
            name: _NUMBERS[name](value) if name in _NUMBERS else (value or None) for name, value in fields.items()
        }
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("an entry of the feed cannot be read") from error
    return Entry(text(reply[0]), nonce, Event(cast(Any, kind), values))


def revocation(reply: Sequence[bytes]) -> Revocation:
    """`kind:key`, value, until when."""
    kind, _, key = text(reply[0]).partition(":")
    return Revocation(cast(Any, kind), key, int(reply[1]), float(reply[2]))
