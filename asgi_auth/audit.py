"""The security events: what happened, to whom, from where, as one JSON object a line in the log.

Names and parameters are those of OWASP's logging vocabulary, fields those of its cheat sheet (ASVS 5.0, chapter 16).
Whatever comes in, one event is one line. No credential belongs here; a name that is no user's is `unknown`, since
people type passwords there.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

from asgi_auth.clock import Clock, wall_clock
from asgi_auth.durations import HOUR, MINUTE

MAX_VALUE = 256
"""Characters of a value; the rest is cut off."""

REMEMBERED = 4096
"""How many different events are remembered, so that their repetitions are counted and not written."""

UNKNOWN = "unknown"

Level = Literal["INFO", "WARN", "CRITICAL"]

_LEVELS = {"INFO": logging.INFO, "WARN": logging.WARNING, "CRITICAL": logging.CRITICAL}

security_logger = logging.getLogger("asgi_auth.security")


class Kind(NamedTuple):
    """A kind of event: OWASP's name, how bad it is, what it means; for `quiet` seconds a repetition is only counted."""

    name: str
    level: Level
    description: str
    quiet: float = MINUTE


LOGIN = Kind("authn_login_success", "INFO", "A user logged in")
LOGIN_AFTER_FAILURES = Kind("authn_login_successafterfail", "INFO", "A user logged in after failures")
LOGIN_NEW_DEVICE = Kind("login_new_device", "WARN", "A user logged in from a client not used lately")
SESSION_CREATED = Kind("session_created", "INFO", "A session began")
LOGIN_FAILED = Kind("authn_login_fail", "WARN", "A login failed")
LOGIN_LIMIT_REACHED = Kind("authn_login_fail_max", "WARN", "So many logins failed that no more are let in for now")
RATE_LIMIT_EXCEEDED = Kind("excess_rate_limit_exceeded", "WARN", "A request over the limit was refused")
PASSWORD_CHANGED = Kind("authn_password_change", "INFO", "A password was changed")
PASSWORD_CHANGE_REFUSED = Kind("authn_password_change_fail", "CRITICAL", "A password change was refused")
TOKEN_CREATED = Kind("authn_token_created", "INFO", "An access token was issued")
TOKEN_REVOKED = Kind("authn_token_revoked", "INFO", "A token was revoked")
TOKEN_REUSED = Kind("authn_token_reuse", "CRITICAL", "A used refresh token came again: its session was ended")
SESSION_RENEWED = Kind("session_renewed", "INFO", "A session got a new secret")
SESSION_LOGOUT = Kind("session_logout", "INFO", "A user logged out")
SESSION_EXPIRED = Kind("session_expired", "INFO", "A session ended")
USED_AFTER_END = Kind("session_use_after_expire", "CRITICAL", "The credential of an ended session was used", HOUR)
SESSIONS_EXCEEDED = Kind("excess_sessions_exceeded", "WARN", "A user reached the limit of sessions")
ACCESS_REFUSED = Kind("authz_fail", "CRITICAL", "A user asked for something that the user may not have")
RIGHTS_CHANGED = Kind("authz_change", "WARN", "What a user may do was changed")
ADMIN_ACTION = Kind("authz_admin", "WARN", "An administrator acted")
USER_CREATED = Kind("user_created", "WARN", "A user was made")
USER_UPDATED = Kind("user_updated", "WARN", "A user was changed")
USER_DISABLED = Kind("user_archived", "WARN", "A user was disabled")
USER_DELETED = Kind("user_deleted", "WARN", "A user was deleted")
CROSS_ORIGIN = Kind("malicious_csrf", "WARN", "An unsafe request of another origin was refused")
INVALID_INPUT = Kind("input_validation_fail", "WARN", "Something malformed, doubled or forged was refused")
UNREADABLE = Kind("crypt_decrypt_fail", "WARN", "Something stored could not be read")
STORE_UNAVAILABLE = Kind("store_unavailable", "WARN", "The store does not answer")
STORE_RECOVERED = Kind("store_recovered", "WARN", "The store answers again")
VIEW_STALE = Kind("view_stale", "WARN", "The local view is not kept current, so the store is asked")
TOKEN_UNCHECKED = Kind(
    "unrevocable_token_accepted", "WARN", "A token was accepted without knowing whether it was revoked", 0.0
)
KEY_ROTATED = Kind("key_rotated", "WARN", "Another signing key took the place of one")
KEY_REVOKED = Kind("key_revoked", "CRITICAL", "A signing key was revoked, with all that it signed")
STARTUP = Kind("sys_startup", "WARN", "Authentication started")
SHUTDOWN = Kind("sys_shutdown", "WARN", "Authentication stopped")


class RequestFacts(NamedTuple):
    """What an event says of the request. `source_ip` is the prefix as configured; the path comes without its query.
    `counted_by` is not written: repetitions are counted for each."""

    source_ip: str | None = None
    useragent: str | None = None
    hostname: str | None = None
    protocol: str | None = None
    port: int | None = None
    request_uri: str | None = None
    request_method: str | None = None
    request_id: str | None = None
    counted_by: str | None = None

    @classmethod
    def of(cls, scope: Mapping[str, Any], *, address: str | None = None, counted_by: str | None = None) -> RequestFacts:
        """The facts of an ASGI scope. Made when an event needs them, never for each request.

        Args:
            address: the client's, as it may be kept.
            counted_by: the client's, as it is counted; None: by `address`.
        """
        headers = dict(reversed(list(scope.get("headers") or ())))  # the first of each name
        server = scope.get("server") or (None, None)
        host = _header(headers, b"host")
        return cls(
            source_ip=address or None,
            useragent=_header(headers, b"user-agent"),
            hostname=server[0] if host is None else _without_port(host),
            protocol=scope.get("scheme"),
            port=server[1],
            request_uri=scope.get("path"),
            request_method=scope.get("method", "GET" if scope.get("type") == "websocket" else None),
            request_id=_header(headers, b"x-request-id"),
            counted_by=counted_by,
        )


NO_REQUEST = RequestFacts()


class Audit:
    """Writes security events to the logger `asgi_auth.security`.

    The same event (its parameters included) for the same session, or without one for the same address, within
    `Kind.quiet` seconds is counted, not written. The next such line says in `repeated` how many it stands for besides
    itself; if none comes, the last of them is written late.

    Args:
        appid: which application this is; the host of its public address, say.
    """

    def __init__(self, appid: str, *, clock: Clock = wall_clock) -> None:
        self._appid = _clean(appid)
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: dict[float, OrderedDict[tuple[str, str], _Seen]] = {}

    def record(
        self,
        kind: Kind,
        *params: str | int | None,
        request: RequestFacts = NO_REQUEST,
        sid: str | None = None,
        backend: str | None = None,
        reason: str | None = None,
        actor: str | None = None,
        amr: Collection[str] | None = None,
    ) -> None:
        """Write an event. Never raises, whatever the values.

        Args:
            params: what follows the event's name (requirements.md's table has them); None is `unknown`.
            sid: the session's public id.
            actor: who did it, if that is another than the user.
            amr: how the user authenticated.
        """
        now = self._clock()
        said = request._asdict()
        counted_by = said.pop("counted_by")
        fields: dict[str, Any] = {
            "datetime": datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds"),
            "appid": self._appid,
            "event": _event(kind.name, params),
            "level": kind.level,
            "description": kind.description,
            **{name: value if name == "port" else _clean(value) for name, value in said.items()},
            "sid": _clean(sid),
            "backend": _clean(backend),
            "reason": _clean(reason),
            "actor": _clean(actor),
        }
        if amr is not None:
            fields["amr"] = [_clean(method) for method in amr]
        _write(self._due(fields, sid or counted_by or request.source_ip or "", kind.quiet, now))

    def sessions_ended(
        self, sessions: Iterable[tuple[str, str | None, str]], request: RequestFacts = NO_REQUEST
    ) -> None:
        """Write the end of sessions: ids, users and reasons. A visitor's end is none, unless by a logout."""
        for sid, user_id, reason in sessions:
            if reason == "logout":
                self.record(SESSION_LOGOUT, user_id, sid, request=request, sid=sid)
            elif user_id is not None:
                self.record(SESSION_EXPIRED, user_id, reason, request=request, sid=sid, reason=reason)

    def flush(self) -> None:
        """Write what has been counted only. For the end of the process."""
        with self._lock:
            late = [line for ledger in self._recent.values() for seen in ledger.values() for line in seen.late()]
            self._recent.clear()
        _write(late)

    def _due(self, fields: dict[str, Any], whose: str, quiet: float, now: float) -> list[dict[str, Any]]:
        """The lines to write now: late ones whose time is over, and this one, unless it is a repetition."""
        key = fields["event"], whose
        with self._lock:
            ledger = self._recent.setdefault(quiet, OrderedDict())
            seen = ledger.get(key)
            if seen is not None and now < seen.at + quiet:
                seen.count, seen.latest = seen.count + 1, fields
                return []
            ledger.pop(key, None)  # to the end
            ledger[key] = _Seen(now)
            late = list(self._forgotten(now))
        if seen is not None and seen.count:
            fields["repeated"] = seen.count
        return [*late, fields]

    def _forgotten(self, now: float) -> Iterable[dict[str, Any]]:
        """Drop from the front of each ledger, which is its oldest, what is over or too much."""
        for quiet, ledger in self._recent.items():
            while ledger and (next(iter(ledger.values())).at + quiet <= now or len(ledger) > REMEMBERED):
                yield from ledger.popitem(last=False)[1].late()


@dataclass(slots=True)
class _Seen:
    """An event that was written at `at`, and what came of the same since then."""

    at: float
    count: int = 0
    latest: dict[str, Any] = field(default_factory=dict)

    def late(self) -> Iterable[dict[str, Any]]:
        if self.count:
            yield {**self.latest, **({"repeated": self.count - 1} if self.count > 1 else {})}


def _write(lines: Iterable[Mapping[str, Any]]) -> None:
    for line in lines:
        security_logger.log(_LEVELS[line["level"]], json.dumps(line))


def show_logs() -> None:
    """Show both loggers on standard error, from INFO on, if nobody has configured logging for them. Repeatable.

    Servers configure their own loggers only, and without a handler Python shows no INFO. Once the root logger has a
    handler, ours is silent.
    """
    ours = logging.getLogger("asgi_auth")
    if ours.hasHandlers() or security_logger.hasHandlers():
        return
    ours.addHandler(_StandardError())
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)


class _StandardError(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s: %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or sys.stderr is None:
            return
        try:
            security = record.name == security_logger.name
            sys.stderr.write((record.getMessage() if security else self.format(record)) + "\n")
            sys.stderr.flush()
        except Exception:  # logging never raises into the program
            self.handleError(record)


def _event(name: str, params: tuple[str | int | None, ...]) -> str:
    return f"{name}:{','.join(map(_param, params))}" if params else name


def _param(value: str | int | None) -> str:
    """A parameter, which no comma of its own makes two."""
    return (_clean(UNKNOWN if value is None else str(value)) or UNKNOWN).replace(",", "\\u002c")


def _clean(value: str | None) -> str | None:
    """A value of one line: what cannot be seen becomes its code, the rest is kept, up to 256 characters."""
    if value is None:
        return None
    seen = (
        character if character.isprintable() and character != "\\" else f"\\u{ord(character):04x}"
        for character in str(value)[:MAX_VALUE]
    )
    return "".join(seen)[:MAX_VALUE]


def _header(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value[: MAX_VALUE + 1].decode("latin-1")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
