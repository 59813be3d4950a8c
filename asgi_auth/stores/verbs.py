"""The store's verbs, written once for the stores that run Python inside a transaction: memory and SQLite.

Each takes the rows as they are inside that transaction. It decides first and changes then, so that a refusal has
changed nothing. The contract of each is in `asgi_auth.stores`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from typing import Literal

from asgi_auth.model import Reason, Record, UserRow
from asgi_auth.stores import (
    LISTED,
    SWEPT,
    TOMBSTONE_LIFETIME,
    Created,
    Cursor,
    Ended,
    Entry,
    Exchange,
    Exchanged,
    History,
    Hit,
    Limit,
    Loaded,
    NewSession,
    Presented,
    Revocation,
    Swept,
    rules,
)
from asgi_auth.stores.rows import Rows
from asgi_auth.stores.rules import Counter, Tombstone

# Values for everybody


def once(rows: Rows, name: str, default: str) -> str:
    found = rows.value(f"once:{name}")
    if found is None:
        rows.put_value(f"once:{name}", default)
    return default if found is None else found


def keys(rows: Rows) -> str | None:
    return rows.value("keys")


def put_keys(rows: Rows, expected: str | None, ring: str) -> bool:
    if rows.value("keys") != expected:
        return False
    rows.put_value("keys", ring)
    rows.emit("keys")
    return True


# One session


def load(rows: Rows, sid: str) -> Loaded | Ended | None:
    found = rows.session(sid)
    if found is None:
        return None
    if isinstance(found, Tombstone):
        return Ended(found.sid, found.user_id, found.reason)
    user = rows.user(found.user_id) if found.user_id is not None else None
    reason = rules.death(found, user, rows.turn(found.era), rows.now)
    return Loaded(found, user, rows.now) if reason is None else Ended(found.sid, found.user_id, reason)


def load_all(rows: Rows, sids: Collection[str]) -> dict[str, Loaded | Ended | None]:
    return {sid: load(rows, sid) for sid in sids}


def _living(rows: Rows, sid: str) -> Record | None:
    loaded = load(rows, sid)
    return loaded.record if isinstance(loaded, Loaded) else None


def living_of(rows: Rows, user: UserRow) -> list[Record]:
    """The user's living sessions, without logins that are not complete."""
    records = [record for record in rows.sessions_of(user.id) if not record.pending]
    return [record for record in records if rules.death(record, user, rows.turn(record.era), rows.now) is None]


def bury_and_tell(rows: Rows, tombstone: Tombstone) -> Ended:
    rows.bury(tombstone)
    sid, user_id, reason, tokens_until, _ = tombstone
    rows.emit("ended", sid=sid, user=user_id, reason=reason, tokens_until=tokens_until)
    return Ended(sid, user_id, reason)


def _end(rows: Rows, record: Record, reason: Reason) -> Ended:
    return bury_and_tell(rows, rules.tombstone(record, reason, rows.now))


def create(
    rows: Rows,
    new: NewSession,
    *,
    revision: int = 0,
    replaces: Presented | None = None,
    data_from: Presented | None = None,
    limit: int = 0,
    evict: bool = True,
) -> Created | Literal["changed", "limit", "over"]:
    present = load(rows, new.sid)
    if isinstance(present, Loaded) and rules.same_login(present.record, new):
        return Created(present, ())
    if present is not None:
        return "changed"
    user = rows.user(new.user_id) if new.user_id is not None else None
    if new.user_id is not None and (user is None or user.deleted or user.disabled or user.revision != revision):
        return "changed"

    replaced, visitor = _shown(rows, replaces), _shown(rows, data_from)
    if new.completes and (replaced is None or not replaced.pending):
        return "over"
    if visitor is not None and visitor.user_id is not None:
        visitor = None
    ends: dict[str, tuple[Record, Reason]] = {
        record.sid: (record, "replaced") for record in (replaced, visitor) if record is not None
    }
    if limit > 0 and user is not None and not new.pending:
        others = [record for record in living_of(rows, user) if record.sid not in ends]
        too_many = max(0, len(others) - limit + 1)
        if too_many and not evict:
            return "limit"
        others.sort(key=lambda record: (record.seen_at, record.created_at, record.sid))
        ends |= {record.sid: (record, "evicted") for record in others[:too_many]}

    ended = [_end(rows, record, reason) for record, reason in ends.values()]
    # Whatever is dead by now, evicted by this very login too.
    shown = (presented for presented in (replaces, data_from) if presented is not None)
    over = [supersede(rows, presented.sid) for presented in shown]
    ended += (one for one in over if one is not None)
    record = rules.new_record(
        new,
        revision=revision if user is not None else 0,
        era=rows.era(),
        data=rules.inherited(new, replaced, visitor),
        now=rows.now,
    )
    rows.put_session(record)
    if user is not None:
        rows.tokens_live(user.id, record.tokens_until)
    return Created(Loaded(record, user, rows.now), tuple(ended))


def _shown(rows: Rows, presented: Presented | None) -> Record | None:
    """The living session whose secret was shown."""
    record = _living(rows, presented.sid) if presented is not None else None
    if record is None or presented is None or not rules.shows(record, presented.digest, rows.now):
        return None
    return record


def supersede(rows: Rows, sid: str) -> Ended | None:
    dead = load(rows, sid)
    if isinstance(dead, Loaded):
        return None
    found = rows.session(sid) or Tombstone(sid, None, "replaced", 0.0, 0.0)
    if isinstance(found, Tombstone):
        rows.bury(found._replace(reason="replaced", until=max(found.until, rows.now + TOMBSTONE_LIFETIME)))
        return None
    stone = rules.tombstone(found, "replaced", rows.now)
    if found.user_id is None or found.pending:
        rows.bury(stone)
        return None
    bury_and_tell(rows, stone)
    return dead


def write_data(
    rows: Rows, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
) -> int | Literal["gone", "too_large"]:
    record = _living(rows, sid)
    if record is None:
        return "gone"
    written = rules.written(record, put, delete, max_size=max_size)
    if written is None:
        return "too_large"
    rows.put_session(written)
    rows.emit("changed", sid=sid, data_version=written.data_version)
    return written.data_version


def touch(rows: Rows, sids: Collection[str] | Mapping[str, float]) -> None:
    for sid, ago in rules.seconds_ago(sids).items():
        at, record = rows.now - ago, _living(rows, sid)
        if record is not None and at >= record.seen_at:
            rows.put_session(rules.seen(record, record.idle, at), data=False)


def rotate(rows: Rows, presented: Presented, digest: str, *, grace: float) -> bool:
    record = _living(rows, presented.sid)
    if record is None:
        return False
    if rules.same(record.digest, digest):
        return True  # done already: the first answer did not arrive
    if not rules.same(record.digest, presented.digest):
        return False
    rows.put_session(rules.rotated(record, digest, grace=grace, now=rows.now), data=False)
    rows.emit("changed", sid=record.sid, data_version=record.data_version)
    return True


def elevate(
    rows: Rows, presented: Presented, digest: str, *, amr: Collection[str], acr: str, token_lifetime: float
) -> Loaded | None:
    loaded = load(rows, presented.sid)
    if not isinstance(loaded, Loaded) or loaded.user is None:
        return None
    record = loaded.record
    current = record.digest if record.grant is None else record.grant.digest
    if rules.same(current, digest):
        return loaded  # done already: the first answer did not arrive
    if not rules.same(current, presented.digest):
        return None
    record = rules.elevated(record, digest, amr=amr, acr=acr, token_lifetime=token_lifetime, now=rows.now)
    rows.put_session(record, data=False)
    rows.tokens_live(loaded.user.id, record.tokens_until)
    rows.emit("changed", sid=record.sid, data_version=record.data_version)
    return Loaded(record, loaded.user, rows.now)


def end(rows: Rows, sid: str, reason: Reason) -> Ended | None:
    record = _living(rows, sid)
    return _end(rows, record, reason) if record is not None else None


def end_all(rows: Rows, reason: Reason, *, lost: int | None = None) -> None:
    before = rows.era()
    era = before + 1 if lost is None else lost
    for _ in range(before, era):
        rows.end_era(reason)
    if era > before:
        rows.emit("all", era=era)


def sweep(rows: Rows, limit: int = SWEPT) -> Swept:
    overdue, ended = rows.overdue(limit), []
    for record in overdue:
        if record.user_id is None or record.pending:
            rows.drop(record.sid)
            continue
        # What is over is so whoever its user is, and a user's row that cannot be read is in nobody's way.
        reason = rules.death(record, None, rows.turn(record.era), rows.now)
        assert reason is not None
        ended.append(_end(rows, record, reason))
    tidied = rows.tidy(limit - len(overdue))
    return Swept(tuple(ended), full=len(overdue) + tidied >= limit)


def sessions(rows: Rows, user_id: str) -> list[Loaded]:
    user = rows.user(user_id)
    living = living_of(rows, user) if user is not None else []
    if len(living) > LISTED:
        living = nlargest(LISTED, living, key=lambda record: min(record.idle_expires_at, record.expires_at))
    living.sort(key=lambda record: (record.created_at, record.sid), reverse=True)
    return [Loaded(record, user, rows.now) for record in living]


# Refresh tokens


def exchange(rows: Rows, asked: Exchange) -> Exchanged:
    loaded = load(rows, asked.sid)
    if not isinstance(loaded, Loaded) or loaded.record.grant is None:
        return Exchanged("ended")
    record, grant, user = loaded.record, loaded.record.grant, loaded.user
    if (asked.client_id, asked.jkt) != (grant.client_id, grant.jkt):
        return Exchanged("mismatch")
    if user is None or user.revision != asked.revision:
        return Exchanged("changed")
    outcome = rules.judge(grant, asked, rows.now)
    if outcome in ("scope", "mismatch"):
        return Exchanged(outcome)
    if outcome == "reused":
        _end(rows, record, "reuse")
        return Exchanged("reused")
    if outcome == "made":
        record = rules.succeeded(record, grant, asked, rows.now)
    record = rules.token_issued(record, asked.windows.token_lifetime, rows.now)
    rows.put_session(record, data=False)
    rows.tokens_live(user.id, record.tokens_until)
    return Exchanged(outcome, asked.nonce if outcome == "made" else grant.nonce, Loaded(record, user, rows.now))


def confirm(rows: Rows, sid: str, generation: int) -> None:
    record = _living(rows, sid)
    grant = record.grant if record is not None else None
    if record is not None and grant is not None and grant.generation == generation and grant.confirmed_at is None:
        rows.put_session(replace(record, grant=replace(grant, confirmed_at=rows.now)), data=False)


# Access tokens, one by one


def deny(rows: Rows, jti: str, lifetime: float) -> None:
    until = rows.now + lifetime
    if until > max(rows.now, rows.denied_until(jti)):
        rows.deny(jti, until)
        rows.emit("denied", jti=jti, until=until)


def denied(rows: Rows, jti: str) -> bool:
    return rows.now < rows.denied_until(jti)


# Throttling, and what counts once


def seen_before(rows: Rows, key: str, lifetime: float) -> bool:
    name = f"seen:{key}"
    found = rows.counters({name}).get(name)
    if found is not None and rows.now < found.until:
        return True
    rows.put_counters({name: Counter(1, rows.now, rows.now + lifetime)})
    return False


def hit(rows: Rows, limits: Sequence[Limit]) -> Hit:
    names = {limit.key for limit in limits} | {limit.unless for limit in limits if limit.unless}
    answer, changed = rules.throttle(limits, rows.counters(names), rows.now)
    rows.put_counters(changed)
    return answer


def unhit(rows: Rows, undo: Collection[str], clear: Collection[str]) -> None:
    counters = rows.counters({*undo, *clear})
    left = {key: found._replace(hits=0 if key in clear else found.hits - 1) for key, found in counters.items()}
    rows.put_counters({key: counter for key, counter in left.items() if counter.hits > 0})
    rows.forget_counters(key for key, counter in left.items() if counter.hits <= 0)


# The feed


def events(rows: Rows, after: Cursor = (), limit: int = 1000) -> list[Entry]:
    return rows.events(after[0].id if after else "", limit)


def newest(rows: Rows) -> Cursor:
    found = rows.newest()
    if found is None:
        rows.emit("begun")
        found = rows.newest()
    assert found is not None
    return (found,)


def history(rows: Rows) -> History:
    return History(once(rows, "epoch", secrets.token_hex(4)), rows.era(), rows.now)


def revocations(rows: Rows, after: str = "", limit: int = 5000) -> list[Revocation]:
    return rows.revocations(after, limit)
