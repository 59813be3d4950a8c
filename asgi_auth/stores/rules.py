"""What a store decides, whoever keeps the rows: who is dead and why, what becomes of a refresh token, who must wait.

Values in, values out; no I/O, and the time is an argument. The Redis store states the same rules in Lua.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hmac import compare_digest
from typing import Literal, NamedTuple

from asgi_auth.model import Grant, Reason, Record, UserRow
from asgi_auth.stores import TOMBSTONE_LIFETIME, Exchange, Hit, Limit, NewSession
from asgi_auth.stores.values import data_size


class Tombstone(NamedTuple):
    """What is kept of a session that ended: until when, and when the last access token that it kills expires."""

    sid: str
    user_id: str | None
    reason: Reason
    tokens_until: float
    until: float


class Turn(NamedTuple):
    """How an era was ended, and when."""

    reason: Reason
    at: float


class Counter(NamedTuple):
    """Hits of one key: how many, the last one's time, and when they are forgotten."""

    hits: int
    last_at: float
    until: float


# Who is alive


def death(record: Record, user: UserRow | None, turn: Turn | None, now: float) -> Reason | None:
    """Why a session whose record is there is dead all the same; None: it lives.

    Args:
        turn: what ended the era in which it was made; None while that one goes on.
    """
    over_at = ends_at(record)
    if turn is not None and turn.at < over_at:
        return turn.reason  # what came first counts
    if now >= over_at:
        return "idle" if record.idle_expires_at < record.expires_at else "lifetime"
    if record.user_id is not None:
        if user is None or user.deleted:
            return "deleted"
        if record.revision < user.ended_below:
            return "revoked"
    return None


def ends_at(record: Record) -> float:
    """The idle or the absolute end, whichever comes first."""
    return min(record.idle_expires_at, record.expires_at)


def tombstone(record: Record, reason: Reason, now: float) -> Tombstone:
    until = max(now + TOMBSTONE_LIFETIME, record.tokens_until)
    return Tombstone(record.sid, record.user_id, reason, record.tokens_until, until)


def shows(record: Record, digest: str, now: float) -> bool:
    """Whether a secret with this digest opens the session: the current one, or the previous one in its grace."""
    if same(record.digest, digest):
        return True
    return now < record.previous_until and same(record.previous_digest, digest)


def same(ours: str, theirs: str) -> bool:
    """Whether two digests are equal; an empty one equals nothing."""
    return ours != "" and compare_digest(ours, theirs)


# Making a session


def new_record(new: NewSession, *, revision: int, era: int, data: Mapping[str, str], now: float) -> Record:
    """The record of a session that begins now. Nothing of it outlives its absolute end."""
    expires_at = now + new.lifetime
    grant, tokens_until = None, 0.0
    if new.grant is not None:
        grant = Grant(new.grant.client_id, new.grant.granted, 1, new.grant.digest, made_at=now, jkt=new.grant.jkt)
        tokens_until = min(now + new.grant.token_lifetime, expires_at)
    return Record(
        sid=new.sid,
        user_id=new.user_id,
        backend=new.backend,
        client=new.client,
        created_at=now,
        seen_at=now,
        authenticated_at=now - new.authenticated_ago,
        idle=new.idle,
        idle_expires_at=min(now + new.idle, expires_at),
        expires_at=expires_at,
        amr=dict.fromkeys(new.amr, now),
        remember=new.remember,
        revision=revision,
        era=era,
        digest=new.digest,
        tokens_until=tokens_until,
        grant=grant,
        data=data,
        acr=new.acr,
        pending=new.pending,
        secret_at=now,
    )


def same_login(record: Record, new: NewSession) -> bool:
    """Whether a session to be made is this one, asked for again because no answer came."""
    if record.user_id != new.user_id or not compare_digest(record.digest, new.digest):
        return False
    if record.grant is None or new.grant is None:
        return record.grant is None and new.grant is None
    return record.grant.generation == 1 and compare_digest(record.grant.digest, new.grant.digest)


def inherited(new: NewSession, replaced: Record | None, visitor: Record | None) -> dict[str, str]:
    """The data of a new session: its own, over the visitor's, over the replaced one's if that was not another's."""
    data: dict[str, str] = {}
    if replaced is not None and replaced.user_id in {None, new.user_id}:
        data.update(replaced.data)
    if visitor is not None:
        data.update(visitor.data)
    data.update(new.data)
    return data


# Changing a session


def written(record: Record, put: Mapping[str, str], delete: Collection[str], *, max_size: int) -> Record | None:
    """The record with other data; None: too large, and larger than before."""
    data = {key: value for key, value in record.data.items() if key not in delete}
    data.update(put)
    size = data_size(data)
    if size > max_size and size > data_size(record.data):
        return None
    return replace(record, data=data, data_version=record.data_version + 1)


def seconds_ago(used: Collection[str] | Mapping[str, float]) -> Mapping[str, float]:
    """What `touch` was given, with the seconds since each session was used."""
    return used if isinstance(used, Mapping) else dict.fromkeys(used, 0.0)


def seen(record: Record, idle: float, now: float) -> Record:
    """The record after activity, which moves the idle end by `idle` seconds and never past the absolute one."""
    return replace(record, seen_at=now, idle_expires_at=min(now + idle, record.expires_at))


def rotated(record: Record, digest: str, *, grace: float, now: float) -> Record:
    """The record with a new secret, the old one good for `grace` seconds."""
    previous, until = (record.digest, now + grace) if grace > 0 else ("", 0.0)
    return replace(record, digest=digest, previous_digest=previous, previous_until=until, secret_at=now)


def elevated(
    record: Record, digest: str, *, amr: Collection[str], acr: str, token_lifetime: float, now: float
) -> Record:
    """The record after more was proved, with a new secret in place of the old one, which is dead."""
    kept = {method: at for method, at in record.amr.items() if method not in amr}
    methods = {**kept, **dict.fromkeys(amr, now)}
    record = replace(record, amr=methods, acr=acr or record.acr, authenticated_at=now)
    if record.grant is None:
        return rotated(record, digest, grace=0, now=now)
    grant = replace(
        record.grant,
        generation=record.grant.generation + 1,
        digest=digest,
        previous_digest=record.grant.digest,
        nonce="",
        asked="",
        made_at=now,
        confirmed_at=None,
    )
    return token_issued(replace(record, grant=grant, secret_at=now), token_lifetime, now)


# Refresh tokens


def judge(grant: Grant, asked: Exchange, now: float) -> Literal["made", "repeated", "scope", "reused", "mismatch"]:
    """What becomes of a refresh token of a living session, shown by the right client.

    The current one makes a successor. The one before it is answered again until it is too late: `grace` after the
    successor was confirmed, or after `redelivery` went by, whichever came first; it is merely refused if an elevation
    has taken its place, which left no nonce. Anything else is reuse.
    """
    if asked.generation == grant.generation and same(grant.digest, asked.digest):
        return "made"
    if asked.generation != grant.generation - 1 or not same(grant.previous_digest, asked.digest):
        return "reused"
    if not grant.nonce:
        return "mismatch"
    told_by = grant.made_at + asked.windows.redelivery
    if grant.confirmed_at is not None:
        told_by = min(told_by, grant.confirmed_at)
    if now >= told_by + asked.windows.grace:
        return "reused"
    return "repeated" if asked.scope == grant.asked else "scope"


def succeeded(record: Record, grant: Grant, asked: Exchange, now: float) -> Record:
    """The record after its current refresh token was used up."""
    successor = replace(
        grant,
        generation=grant.generation + 1,
        digest=asked.next_digest,
        previous_digest=grant.digest,
        nonce=asked.nonce,
        asked=asked.scope,
        made_at=now,
        confirmed_at=None,
    )
    return replace(seen(record, asked.windows.idle, now), grant=successor)


def token_issued(record: Record, lifetime: float, now: float) -> Record:
    """The record after an access token of `lifetime` seconds was made: `tokens_until` only rises."""
    until = min(now + lifetime, record.expires_at)
    return replace(record, tokens_until=max(record.tokens_until, until))


# Throttling


def throttle(limits: Sequence[Limit], counters: Mapping[str, Counter], now: float) -> tuple[Hit, dict[str, Counter]]:
    """What `Store.hit` answers, and the counters that it changes (none if one of the limits refuses)."""
    standing = {key: counter for key, counter in counters.items() if counter.hits > 0 and now < counter.until}
    applying = [limit for limit in limits if not limit.unless or limit.unless not in standing]
    wait = max((_wait(limit, standing.get(limit.key), now) for limit in applying), default=0.0)
    changed: dict[str, Counter] = {}
    if wait <= 0:
        for limit in applying:
            changed[limit.key] = _counted(limit, changed.get(limit.key) or standing.get(limit.key), now)
    after = {**standing, **changed}
    counts = (after[limit.key].hits if limit in applying and limit.key in after else 0 for limit in limits)
    return Hit(wait, tuple(counts)), changed


def _wait(limit: Limit, counter: Counter | None, now: float) -> float:
    """Seconds until this limit lets one in; 0: now."""
    if counter is None or counter.hits <= limit.allowed:
        return 0.0
    if limit.waits is None:
        return counter.until - now
    shortest, longest = limit.waits
    doublings = min(counter.hits - limit.allowed - 1, 64)  # more would only overflow: the longest wait is long reached
    return max(0.0, counter.last_at + min(longest, shortest * 2.0**doublings) - now)


def _counted(limit: Limit, counter: Counter | None, now: float) -> Counter:
    if counter is None:
        return Counter(1, now, now + limit.window)
    anew = limit.waits is not None and counter.hits > limit.allowed
    return Counter(counter.hits + 1, now, now + limit.window if anew else counter.until)
