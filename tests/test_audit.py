"""Security events: every one is a line of JSON with the same fields, whatever comes in."""

from __future__ import annotations

import json
import logging
import logging.config
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import LOGGING_CONFIG

from asgi_auth import audit
from asgi_auth.audit import Audit, Kind, RequestFacts, show_logs

COMMON = {
    *("datetime", "appid", "event", "level", "description", "source_ip", "useragent", "hostname", "protocol", "port"),
    *("request_uri", "request_method", "sid", "backend", "reason", "actor", "request_id"),
}
KINDS = [value for value in vars(audit).values() if isinstance(value, Kind)]
HERE = RequestFacts(source_ip="203.0.113.0/24")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    """What the security logger wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("asgi_auth.security")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Audit:
    return Audit("app.example.com", clock=clock)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_event_has_the_common_fields(log: Audit, lines: Lines, kind: Kind) -> None:
    log.record(kind, "alice")
    (event,) = lines.events
    assert set(event) == COMMON
    assert event["event"] == f"{kind.name}:alice"
    assert event["level"] == kind.level
    assert event["description"]
    assert event["appid"] == "app.example.com"


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_every_kind_is_written_somewhere() -> None:
    """A name that nothing raises would be a promise that nobody keeps."""
    names = [name for name, value in vars(audit).items() if isinstance(value, Kind)]
    package = Path(audit.__file__).parent
    code = "\n".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    assert [name for name in names if len(re.findall(rf"\b{name}\b", code)) < 2] == []


def test_who_is_counted_is_not_written(log: Audit, lines: Lines) -> None:
    """Repetitions are counted for each address, though nothing of it may be kept."""
    for last in (1, 2, 1):
        log.record(audit.LOGIN_FAILED, "alice", request=RequestFacts(counted_by=f"203.0.113.{last}"))
    log.flush()
    assert len(lines.events) == 3
    assert "203.0.113" not in "".join(lines.text)


def test_the_time_is_iso_8601_in_utc(log: Audit, lines: Lines, clock: Clock) -> None:
    log.record(audit.LOGIN, "alice")
    stamp = datetime.fromisoformat(lines.events[0]["datetime"])
    assert stamp.tzinfo == timezone.utc
    assert stamp.timestamp() == clock.now


@pytest.mark.parametrize(
    ("kind", "level"), [(audit.LOGIN, "INFO"), (audit.LOGIN_FAILED, "WARNING"), (audit.TOKEN_REUSED, "CRITICAL")]
)
def test_the_log_level_is_the_events(log: Audit, lines: Lines, kind: Kind, level: str) -> None:
    log.record(kind, "alice")
    assert lines.records[0].levelname == level


def test_the_request_is_described_from_its_scope(log: Audit, lines: Lines) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "https",
        "path": "/auth/login",
        "query_string": b"token=secret",
        "server": ("10.0.0.1", 8443),
        "headers": [
            (b"host", b"app.example.com:443"),
            (b"user-agent", b"curl/8"),
            (b"x-request-id", b"r-1"),
            (b"cookie", b"session=secret"),
            (b"authorization", b"Bearer secret"),
        ],
    }
    log.record(audit.LOGIN_FAILED, None, request=RequestFacts.of(scope, address="203.0.113.0/24"))
    (event,) = lines.events
    assert event["event"] == "authn_login_fail:unknown"
    assert event["source_ip"] == "203.0.113.0/24"
    assert (event["request_method"], event["request_uri"]) == ("POST", "/auth/login")
    assert (event["hostname"], event["port"], event["protocol"]) == ("app.example.com", 8443, "https")
    assert (event["useragent"], event["request_id"]) == ("curl/8", "r-1")
    assert "secret" not in lines.text[0]


def test_a_handshake_is_described_too() -> None:
    facts = RequestFacts.of({"type": "websocket", "scheme": "wss", "path": "/ws", "headers": [], "server": ("::1", 80)})
    assert (facts.request_method, facts.protocol, facts.hostname) == ("GET", "wss", "::1")


def test_a_scope_with_nothing_in_it_is_described() -> None:
    assert RequestFacts.of({"type": "http"}) == RequestFacts()


@pytest.mark.parametrize(
    ("host", "hostname"), [(b"[::1]:80", "[::1]"), (b"[::1]", "[::1]"), (b"localhost", "localhost"), (b"", "")]
)
def test_the_hostname_comes_without_its_port(host: bytes, hostname: str) -> None:
    assert RequestFacts.of({"type": "http", "headers": [(b"host", host)]}).hostname == hostname


@pytest.mark.parametrize(
    "evil", ["a\nb", "a\r\nlevel: INFO", "\x1b[2J", "a\u2028b", "a\x85b", "a\x7f", "\u202eevil", "\ud800"]
)
def test_a_username_with_newlines_makes_one_line(log: Audit, lines: Lines, evil: str) -> None:
    facts = RequestFacts(useragent=evil, hostname=evil, request_uri=evil, source_ip=evil, request_id=evil)
    log.record(audit.LOGIN_FAILED, evil, request=facts, sid=evil, backend=evil, reason=evil, actor=evil, amr=[evil])
    (line,) = lines.text
    assert line.isascii()
    assert line.isprintable()
    for value in json.loads(line).values():
        assert not isinstance(value, str) or value.isprintable()


@given(st.lists(st.text() | st.integers() | st.none()), st.text())
def test_whatever_the_values_an_event_is_one_line(params: list[str | int | None], value: str) -> None:
    written = Lines()
    logger = logging.getLogger("asgi_auth.security")
    logger.addHandler(written)
    try:
        Audit(value).record(audit.LOGIN_FAILED, *params, request=RequestFacts(useragent=value), sid=value)
    finally:
        logger.removeHandler(written)
    (line,) = written.text
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["event"].count(",") == max(len(params) - 1, 0)


def test_a_comma_in_a_name_makes_no_further_parameter(log: Audit, lines: Lines) -> None:
    log.record(audit.RIGHTS_CHANGED, "alice,,admin", "read", "read write")
    assert lines.events[0]["event"].split(",")[1:] == ["read", "read write"]


def test_values_are_cut_at_256_characters(log: Audit, lines: Lines) -> None:
    log.record(audit.LOGIN_FAILED, "a" * 1000, request=RequestFacts(useragent="\n" * 1000, request_uri="/" * 1000))
    (event,) = lines.events
    assert event["event"] == "authn_login_fail:" + "a" * 256
    assert len(event["useragent"]) == len(event["request_uri"]) == 256


def test_the_factors_of_a_session_are_told(log: Audit, lines: Lines) -> None:
    log.record(audit.SESSION_CREATED, "alice", sid="00abc", backend="session", amr=("pwd", "otp"))
    (event,) = lines.events
    assert (event["sid"], event["backend"], event["amr"]) == ("00abc", "session", ["pwd", "otp"])


def test_a_repetition_is_counted_and_not_repeated(log: Audit, lines: Lines, clock: Clock) -> None:
    for _ in range(5):
        log.record(audit.LOGIN_FAILED, None, request=HERE)
        clock.now += 10
    assert len(lines.events) == 1
    clock.now += 10
    log.record(audit.LOGIN_FAILED, None, request=HERE)
    first, second = lines.events
    assert "repeated" not in first
    assert second["repeated"] == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"request": HERE}, {"request": RequestFacts(source_ip="198.51.100.0/24")}),
        ({"sid": "00a"}, {"sid": "00b"}),
        ({"sid": "00a", "request": HERE}, {"sid": "00b", "request": HERE}),
    ],
)
def test_another_session_or_address_is_no_repetition(
    log: Audit, lines: Lines, one: dict[str, Any], other: dict[str, Any]
) -> None:
    log.record(audit.ACCESS_REFUSED, "alice", "/admin", **one)
    log.record(audit.ACCESS_REFUSED, "alice", "/admin", **other)
    log.record(audit.ACCESS_REFUSED, "alice", "/other", **other)
    assert len(lines.events) == 3


def test_an_ended_credential_is_told_once_per_session_and_hour(log: Audit, lines: Lines, clock: Clock) -> None:
    log.record(audit.USED_AFTER_END, "alice", sid="00a")
    for _ in range(59):
        clock.now += 60
        log.record(audit.USED_AFTER_END, "alice", sid="00a")
    assert len(lines.events) == 1
    clock.now += 60
    log.record(audit.USED_AFTER_END, "alice", sid="00a")
    assert [event.get("repeated") for event in lines.events] == [None, 59]


def test_what_was_only_counted_is_written_late(log: Audit, lines: Lines, clock: Clock) -> None:
    for _ in range(3):
        log.record(audit.LOGIN_FAILED, None, request=HERE)
    clock.now += 61
    log.record(audit.LOGIN, "bob")
    first, late, last = lines.events
    assert late["event"] == first["event"]
    assert late["repeated"] == 1
    assert last["event"] == "authn_login_success:bob"


def test_flush_writes_what_was_only_counted(log: Audit, lines: Lines) -> None:
    log.record(audit.LOGIN_FAILED, None, request=HERE)
    log.record(audit.LOGIN_FAILED, None, request=HERE)
    log.flush()
    log.flush()
    assert len(lines.events) == 2


def test_a_flood_of_different_events_takes_bounded_memory_and_loses_none(log: Audit, lines: Lines) -> None:
    many = audit.REMEMBERED + 100
    for number in range(many):
        log.record(audit.LOGIN_FAILED, number, request=HERE)
        log.record(audit.LOGIN_FAILED, number, request=HERE)
    assert sum(len(ledger) for ledger in log._recent.values()) == audit.REMEMBERED
    log.flush()
    assert len(lines.events) == 2 * many


# Where logs go when nobody says where.


@contextmanager
def unconfigured() -> Iterator[None]:
    """No handler anywhere. Inside the test, since pytest adds its own as the test begins."""
    loggers = [logging.getLogger(name) for name in (None, "asgi_auth", "asgi_auth.security")]
    saved = [(list(logger.handlers), logger.level) for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
    for logger in loggers:
        logger.handlers.clear()
    try:
        yield
    finally:
        for logger, (handlers, level) in zip(loggers, saved, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)


def test_without_logging_both_loggers_show_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        show_logs()
        show_logs()
        logging.getLogger("asgi_auth").info("ready: %s", "memory://")
        Audit("app").record(audit.LOGIN, "alice")
        plain, event = capsys.readouterr().err.splitlines()
        assert plain == "INFO: asgi_auth: ready: memory://"
        assert json.loads(event)["event"] == "authn_login_success:alice"


def test_uvicorns_default_logging_still_shows_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        logging.config.dictConfig(LOGGING_CONFIG)
        try:
            show_logs()
            logging.getLogger("asgi_auth").info("ready")
            assert "ready" in capsys.readouterr().err
        finally:
            for name in LOGGING_CONFIG["loggers"]:
                logger = logging.getLogger(name)
                logger.handlers.clear()
                logger.setLevel(logging.NOTSET)
                logger.propagate = True


@pytest.mark.parametrize("name", [None, "asgi_auth", "asgi_auth.security"])
def test_whoever_configured_logging_keeps_it(name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        logging.getLogger(name).addHandler(Lines())
        show_logs()
        assert logging.getLogger("asgi_auth").level == logging.NOTSET
        Audit("app").record(audit.LOGIN_FAILED, None)
        assert capsys.readouterr().err == ""


def test_logging_configured_later_makes_ours_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        show_logs()
        logging.getLogger().addHandler(Lines())
        Audit("app").record(audit.LOGIN, "alice")
        assert capsys.readouterr().err == ""


def test_a_level_of_ones_own_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        logging.getLogger("asgi_auth").setLevel(logging.ERROR)
        show_logs()
        Audit("app").record(audit.LOGIN, "alice")
        assert capsys.readouterr().err == ""
