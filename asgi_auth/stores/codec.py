"""Sessions and users as fields of text, the form in which every store keeps them, and back. Pure functions.

Numbers are written with all their digits, so they come back exact; what is None is not written. There are very many
sessions: their fields have short names, and what is as it is in most of them is not written either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import BackendName, Client, Grant, Record, UserRow, scope_text

Fields = dict[str, str]

_NUMBERS = (
    *("created_at", "seen_at", "authenticated_at", "idle", "idle_expires_at", "expires_at"),
    *("previous_until", "tokens_until"),
)
_COUNTS = ("revision", "era", "data_version")
_NAMES = (
    "user=u backend=b address=a user_agent=g amr=m remember=k digest=h previous_digest=p created_at=c seen_at=s "
    "authenticated_at=l idle=i idle_expires_at=j expires_at=e previous_until=q tokens_until=t revision=r era=n "
    "data_version=v client_id=C granted=G generation=N token_digest=H previous_token_digest=P nonce=O asked=A "
    "made_at=M confirmed_at=F acr=x pending=w secret_at=y jkt=K"
)
_SHORT = {long: short for long, _, short in (name.partition("=") for name in _NAMES.split())}
"""In a record that a store keeps; `lua/common.lua` has the same."""
_LONG = {short: long for long, short in _SHORT.items()}
_USUAL = {
    **dict.fromkeys(("address", "user_agent", "remember", "digest", "previous_digest"), ""),
    **dict.fromkeys(("previous_until", "tokens_until"), "0.0"),
    "data_version": "0",
}
_BACKENDS: dict[str, BackendName] = {name: name for name in get_args(BackendName)}


class Broken(Exception):
    """A session's record that cannot be read: that session ends. Whatever else cannot be read is `StoreUnavailable`."""


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def _check_texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("something else than text")


def record_fields(record: Record) -> Fields:
    """All of a record but its sid and its data, by short names."""
    fields: dict[str, str | None] = {
        "user": record.user_id,
        "backend": record.backend,
        "address": record.client.address,
        "user_agent": record.client.user_agent,
        "amr": compact(dict(record.amr)),
        "remember": "1" if record.remember else "",
        "digest": record.digest,
        "previous_digest": record.previous_digest,
        "acr": record.acr or None,
        "pending": "1" if record.pending else None,
        "secret_at": None if record.secret_at == record.created_at else repr(record.secret_at),
        **{name: repr(getattr(record, name)) for name in (*_NUMBERS, *_COUNTS)},
    }
    grant = record.grant
    if grant is not None:
        fields |= {
            "client_id": grant.client_id,
            "granted": grant.granted,
            "generation": str(grant.generation),
            "token_digest": grant.digest,
            "previous_token_digest": grant.previous_digest,
            "nonce": grant.nonce,
            "asked": grant.asked,
            "made_at": repr(grant.made_at),
            "confirmed_at": None if grant.confirmed_at is None else repr(grant.confirmed_at),
            "jkt": grant.jkt or None,
        }
    return {
        _SHORT.get(name, name): value
        for name, value in fields.items()
        if value is not None and value != _USUAL.get(name)
    }


def record(sid: str, fields: Fields, data: Mapping[str, str]) -> Record:
    """Raises:
    Broken: this is no record.
    """
    try:
        _check_texts(*fields, *fields.values(), *data.values())
        fields = {**_USUAL, **{_LONG.get(name, name): value for name, value in fields.items()}}
        numbers: dict[str, Any] = {name: float(fields[name]) for name in _NUMBERS}
        numbers |= {name: int(fields[name]) for name in _COUNTS}
        return Record(
            sid=sid,
            user_id=fields.get("user"),
            backend=_BACKENDS[fields["backend"]],
            client=Client(fields["address"], fields["user_agent"]),
            amr={str(method): float(at) for method, at in json.loads(fields["amr"]).items()},
            remember=fields["remember"] == "1",
            digest=fields["digest"],
            previous_digest=fields["previous_digest"],
            grant=_grant(fields) if "generation" in fields else None,
            data=data,
            acr=fields.get("acr", ""),
            pending=fields.get("pending") == "1",
            secret_at=float(fields.get("secret_at", fields["created_at"])),
            **numbers,
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
        jkt=fields.get("jkt", ""),
    )


def user_fields(row: UserRow) -> Fields:
    """What a caller of `save_user` decides of a row: all but the id and what the store counts."""
    fields = {
        "display_name": row.display_name,
        "scopes": scope_text(row.scopes),
        "claims": compact(dict(row.claims)),
        "disabled": "1" if row.disabled else "",
        "name": row.name,
        "password_hash": row.password_hash,
        "session_limit": None if row.session_limit is None else str(row.session_limit),
    }
    return {name: value for name, value in fields.items() if value is not None}


@lru_cache(maxsize=1024)
def _scopes(text: str) -> frozenset[str]:
    """One set for all who have the same rights: a view holds thousands of them."""
    return frozenset(text.split())


def user_row(user_id: str, fields: Fields) -> UserRow:
    """Raises:
    StoreUnavailable: this is no user's row.
    """
    try:
        _check_texts(*fields.values())
        revision, ended_below = int(fields["revision"]), int(fields["ended_below"])
        if fields.get("deleted") == "1":
            return UserRow(user_id, revision=revision, ended_below=ended_below, deleted=True)
        claims = json.loads(fields["claims"])
        if not isinstance(claims, dict):
            raise ValueError("claims")
        return UserRow(
            user_id,
            display_name=fields["display_name"],
            scopes=_scopes(fields["scopes"]),
            claims=claims,
            name=fields.get("name"),
            password_hash=fields.get("password_hash"),
            revision=revision,
            ended_below=ended_below,
            disabled=fields["disabled"] == "1",
            session_limit=int(fields["session_limit"]) if "session_limit" in fields else None,
            checked_at=float(fields["checked_at"]),
        )
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise StoreUnavailable("the row of a user cannot be read") from error
