"""The environment as settings: what is taken, what stops the start, and what is never shown."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr, ValidationError

from asgi_auth import Issuer
from asgi_auth.durations import Rate
from asgi_auth.errors import ConfigurationError
from asgi_auth.http.forwarded import Proxies
from asgi_auth.http.guarding import PathRules
from asgi_auth.http.starlette_sessions import StarletteSessions
from asgi_auth.readers import without_password
from asgi_auth.settings import Settings

OLD, NEW = "o" * 32, "n" * 32
CANARY = "c4nary-" * 6
EXISTING = {
    *("backends", "store", "staleness", "store_timeout", "secret", "url", "protect", "users", "user_refresh", "prefix"),
    *("session_cookie", "session_samesite", "session_domain", "session_path", "session_idle", "session_lifetime"),
    *("session_partitioned", "client_address", "starlette_sessions"),
    *("session_limit", "session_limit_policy", "session_rotate", "session_max_size", "anonymous_idle", "passive_paths"),
    "insecure_http",
    *("jwt_algorithm", "jwt_key", "jwt_key_file", "jwt_issuer", "jwt_audience", "jwt_leeway", "jwt_max_size"),
    *("jwt_rotate", "jwt_revocation", "jwt_trusted_issuers", "dpop"),
    *("access_lifetime", "refresh_lifetime", "refresh_grace", "refresh_redelivery", "refresh_cookie"),
    *("password_grant", "login_rate"),
    *("password_min_length", "password_blocklist", "password_workers", "fresh", "trusted_origins", "trusted_proxies"),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ASGI_AUTH_")]:
        monkeypatch.delenv(name)


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    return str(caught.value)


def test_the_settings_that_exist_are_these() -> None:
    assert set(Settings.model_fields) == EXISTING


def test_without_any_variable_the_defaults_hold() -> None:
    settings = Settings()
    assert settings.backends == {"session", "jwt"}
    assert settings.store == "sqlite:///asgi-auth.sqlite3"
    assert settings.store_timeout == 2
    assert settings.users == "store"
    assert settings.user_refresh == 300
    assert settings.prefix == "/auth"
    assert (settings.session_samesite, settings.session_path) == ("lax", "/")
    assert (settings.session_idle, settings.session_lifetime) == (86_400, 2_592_000)
    assert (settings.session_limit, settings.session_limit_policy) == (0, "evict")
    assert (settings.session_max_size, settings.anonymous_idle) == (65_536, 3600)
    assert settings.insecure_http is False
    assert (settings.jwt_algorithm, settings.jwt_leeway, settings.jwt_max_size) == ("ES256", 30, 8192)
    assert (settings.access_lifetime, settings.refresh_lifetime) == (600, 2_592_000)
    assert (settings.refresh_grace, settings.refresh_redelivery) == (10, 3600)
    assert settings.password_grant is True
    assert settings.dpop == "optional"
    assert settings.login_rate == Rate(10, 60)
    assert (settings.password_min_length, settings.password_workers) == (15, 2)
    assert settings.fresh == 900
    assert (settings.secret, settings.trusted_origins, settings.trusted_proxies) == ((), frozenset(), Proxies())
    for name in ("url", "protect", "session_cookie", "session_domain", "passive_paths", "jwt_key", "jwt_key_file"):
        assert getattr(settings, name) is None
    for name in ("jwt_issuer", "jwt_audience", "password_blocklist"):
        assert getattr(settings, name) is None


GOOD: list[tuple[str, str, Any]] = [
    ("backends", "session", frozenset({"session"})),
    ("backends", " JWT , session ", frozenset({"session", "jwt"})),
    ("store", "memory://", "memory://"),
    ("store", "sqlite:////var/lib/auth.db", "sqlite:////var/lib/auth.db"),
    ("store", "rediss://u:p@h:1/0?prefix=a:", "rediss://u:p@h:1/0?prefix=a:"),
    ("store", "redis+sentinel://h1:1,h2:2/main", "redis+sentinel://h1:1,h2:2/main"),
    ("store", "redis+cluster://h1:1,h2:2", "redis+cluster://h1:1,h2:2"),
    ("store", "unix:///run/redis.sock", "unix:///run/redis.sock"),
    ("staleness", "0", 0.0),
    ("staleness", "0.5", 0.5),
    ("store_timeout", "0.5", 0.5),
    ("secret", f"{NEW}, {OLD}", (SecretBytes(NEW.encode()), SecretBytes(OLD.encode()))),
    ("secret", "ü" * 16, (SecretBytes("ü".encode() * 16),)),
    ("url", "https://app.example.com", "https://app.example.com"),
    ("url", "https://APP.example.com:443/", "https://app.example.com"),
    ("url", "https://app.example.com:8443", "https://app.example.com:8443"),
    ("url", "http://localhost:8000", "http://localhost:8000"),
    ("url", "http://app.localhost", "http://app.localhost"),
    ("url", "http://127.0.0.2:80", "http://127.0.0.2"),
    ("url", "http://[::1]:8000", "http://[::1]:8000"),
    ("protect", "/health=any, /admin/*=admin, /*", PathRules.parse("/health=any, /admin/*=admin, /*")),
    ("users", "store", "store"),
    ("users", "my.app_1:users.directory", "my.app_1:users.directory"),
    ("user_refresh", "0", 0.0),
    ("prefix", "", ""),
    ("prefix", "/api/v1/auth", "/api/v1/auth"),
    ("session_cookie", "__Host-Http-id", "__Host-Http-id"),
    ("session_cookie", "id", "id"),
    ("session_samesite", "Strict", "strict"),
    ("session_samesite", "None", "none"),
    ("session_partitioned", "true", True),
    ("session_domain", ".Example.com", "example.com"),
    ("session_path", "/app", "/app"),
    ("session_idle", "1h", 3600.0),
    ("session_lifetime", "12h", 43_200.0),
    ("session_limit", "5", 5),
    ("session_limit_policy", "REFUSE", "refuse"),
    ("jwt_revocation", "Available", "available"),
    ("session_rotate", "24h", 86_400.0),
    ("session_rotate", "off", None),
    ("jwt_rotate", "30d", 30 * 86_400.0),
    ("jwt_rotate", "off", None),
    ("session_max_size", "1000", 1000),
    ("anonymous_idle", "5m", 300.0),
    ("passive_paths", "/poll, /live/*", PathRules.parse("/poll, /live/*", requirements=False)),
    ("passive_paths", "", None),
    ("insecure_http", "true", True),
    ("insecure_http", "0", False),
    ("jwt_algorithm", "ed25519", "Ed25519"),
    ("jwt_algorithm", "ps512", "PS512"),
    ("jwt_key", "-----BEGIN X-----\nabc\n", SecretStr("-----BEGIN X-----\nabc\n")),
    ("jwt_key_file", "keys/signing.pem", Path("keys/signing.pem")),
    ("jwt_issuer", "https://id.example.com/", "https://id.example.com/"),
    ("jwt_issuer", "my-service", "my-service"),
    ("jwt_audience", "urn:api?v=1#x", "urn:api?v=1#x"),
    (
        "jwt_trusted_issuers",
        '[{"name": "corp", "issuer": "https://login.example.com", "audience": "api"}]',
        (Issuer("corp", "https://login.example.com", audience=("api",)),),
    ),
    ("jwt_leeway", "0", 0.0),
    ("jwt_max_size", "4096", 4096),
    ("access_lifetime", "5m", 300.0),
    ("refresh_lifetime", "7d", 604_800.0),
    ("refresh_grace", "0", 0.0),
    ("refresh_redelivery", "0", 0.0),
    ("password_grant", "off", False),
    ("refresh_cookie", "on", True),
    ("dpop", "Required", "required"),
    ("login_rate", "5/30s", Rate(5, 30.0)),
    ("password_min_length", "8", 8),
    ("password_blocklist", "/etc/words", Path("/etc/words")),
    ("password_workers", "4", 4),
    ("fresh", "5m", 300.0),
    ("client_address", "Full", "full"),
    ("starlette_sessions", '{"secret_key": "old"}', StarletteSessions("old")),
    ("trusted_origins", "https://a.example, http://b:81", frozenset({b"https://a.example", b"http://b:81"})),
    ("trusted_origins", "", frozenset()),
    ("trusted_proxies", "10.0.0.1, fd00::/8, unix", Proxies.parse(["10.0.0.1", "fd00::/8", "unix"])),
    ("trusted_proxies", " ", Proxies()),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_variable_and_its_keyword_mean_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any
) -> None:
    assert getattr(Settings(**{name: text}), name) == value
    monkeypatch.setenv(f"ASGI_AUTH_{name.upper()}", text)
    assert getattr(Settings(), name) == value


def test_the_tables_here_know_every_setting() -> None:
    assert {name for name, _, _ in GOOD} == EXISTING
    assert {name for name, _, _ in BAD} == EXISTING


BAD: list[tuple[str, str, str]] = [
    ("backends", "", "is empty"),
    ("backends", "session,basic", "'session' or 'jwt'"),
    ("backends", "session,", "a comma too many"),
    ("store", "", "is empty"),
    ("store", "postgres://h/db", "sqlite:///"),
    ("store", "REDIS://h", "redis://"),
    ("store", "sqlite://relative", "begins with none of"),
    ("store", "sqlite:///", "names no place"),
    ("store", "redis://", "names no place"),
    ("store", "redis://?prefix=a", "names no place"),
    ("store", "memory://here", "memory:// has not"),
    ("store", "redis://h /0", "is no URL"),
    ("staleness", "soon", "'soon' is no duration"),
    ("store_timeout", "0", "longer than 0"),
    ("store_timeout", "soon", "'soon' is no duration"),
    ("secret", "", "is empty"),
    ("secret", "  ", "is empty"),
    ("secret", "x" * 31, "entry 1 is shorter than 32 bytes"),
    ("secret", f"{NEW},short", "entry 2 is shorter than 32 bytes"),
    ("secret", f"{NEW},", "a comma too many"),
    ("secret", "ü" * 15, "shorter"),
    ("url", "", "is empty"),
    ("url", "app.example.com", "https://host"),
    ("url", "http://app.example.com", "must be https"),
    ("url", "http://localhost.example.com", "must be https"),
    ("url", "http://127.0.0.1.example.com", "must be https"),
    ("url", "https://app.example.com/app", "nothing after it"),
    ("url", "https://app.example.com//", "nothing after it"),
    ("url", "https://app.example.com?x=1", "nothing after it"),
    ("url", "https://app.example.com#x", "nothing after it"),
    ("url", "https://u:p@app.example.com", "nothing after it"),
    ("url", "https://app.example.com:99999", "nothing after it"),
    ("url", "https://größe.example", "https://host"),
    ("url", "ws://localhost", "https://host"),
    ("protect", "", "is empty"),
    ("protect", "/a=", "'/a='"),
    ("protect", ",", "a comma too many"),
    ("protect", "admin=admin", "'admin=admin'"),
    ("protect", "/*, /admin=admin", "never counts"),
    ("users", "", "is empty"),
    ("users", "myapp.users", "module:name"),
    ("users", "my app:users", "module:name"),
    ("user_refresh", "-5m", "no duration"),
    ("prefix", "auth", "begins with /"),
    ("prefix", "/auth/", "no last slash"),
    ("prefix", "/", "no last slash"),
    ("prefix", "/a//b", "is no such path"),
    ("prefix", "/a/../b", "is no such path"),
    ("prefix", "/a?b", "is no such path"),
    ("prefix", "/a%2Fb", "is no such path"),
    ("session_cookie", "", "is empty"),
    ("session_cookie", "a b", "cookie's name"),
    ("session_cookie", "a;b", "cookie's name"),
    ("session_samesite", "relaxed", "'lax', 'strict' or 'none'"),
    ("session_partitioned", "perhaps", "on or off"),
    ("client_address", "half", "'prefix', 'full' or 'off'"),
    ("starlette_sessions", "old", "no JSON"),
    ("session_domain", "https://example.com", "without scheme"),
    ("session_domain", "com", "public suffix"),
    ("session_domain", "co.uk", "public suffix"),
    ("session_domain", "..example.com", "two dots"),
    ("session_domain", ".GitHub.io", "public suffix"),
    ("session_domain", "localhost", "public suffix"),
    ("session_domain", "", "is empty"),
    ("session_path", "app", "begins with /"),
    ("session_path", "/a;b", "no ;"),
    ("session_idle", "0", "longer than 0"),
    ("session_lifetime", "0", "longer than 0"),
    ("session_lifetime", "99999d", "ten years"),
    ("session_limit", "-1", "greater than or equal to 0"),
    ("session_limit", "many", "valid integer"),
    ("session_limit_policy", "drop", "'evict' or 'refuse'"),
    ("jwt_revocation", "on", "'strict', 'available' or 'off'"),
    ("session_rotate", "0", "longer than 0"),
    ("jwt_rotate", "0", "longer than 0"),
    ("session_max_size", "0", "greater than or equal to 1"),
    ("anonymous_idle", "0s", "longer than 0"),
    ("passive_paths", "/poll=any", "a path alone"),
    ("passive_paths", "poll", "begins with one /"),
    ("insecure_http", "", "is empty"),
    ("insecure_http", "maybe", "is on or off"),
    ("jwt_algorithm", "none", "'ES256'"),
    ("jwt_algorithm", "RS265", "'RS256'"),
    ("jwt_algorithm", "", "is empty"),
    ("jwt_key", "", "is empty"),
    ("jwt_key", " ", "is empty"),
    ("jwt_trusted_issuers", "corp", "no JSON"),
    ("jwt_key_file", "", "is empty"),
    ("jwt_key_file", "-----BEGIN PRIVATE KEY-----", "not what is in it"),
    ("jwt_key_file", '{"kty": "oct"}', "not what is in it"),
    ("jwt_issuer", "", "is empty"),
    ("jwt_issuer", "my service", "white space"),
    ("jwt_issuer", "https://id.example.com?x", "query"),
    ("jwt_issuer", "https://id.example.com#x", "fragment"),
    ("jwt_audience", "a" * 256, "255"),
    ("jwt_leeway", "11m", "less than or equal to 600"),
    ("jwt_max_size", "100", "greater than or equal to 1024"),
    ("jwt_max_size", "1000000", "less than or equal to 65536"),
    ("access_lifetime", "0", "longer than 0"),
    ("refresh_lifetime", "0", "longer than 0"),
    ("refresh_grace", "-1", "no duration"),
    ("refresh_redelivery", "1 h", "no duration"),
    ("password_grant", "yess", "is on or off"),
    ("refresh_cookie", "maybe", "is on or off"),
    ("dpop", "on", "'off', 'optional' or 'required'"),
    ("login_rate", "0/minute", "at least 1"),
    ("login_rate", "off", "a slash and a period"),
    ("password_min_length", "7", "greater than or equal to 8"),
    ("password_min_length", "65", "less than or equal to 64"),
    ("password_blocklist", "", "is empty"),
    ("password_workers", "0", "greater than or equal to 1"),
    ("fresh", "0", "longer than 0"),
    ("trusted_origins", "https://a.example/", "'https://a.example/' is no origin"),
    ("trusted_origins", "*", "no origin"),
    ("trusted_origins", "https://*.example.com", "no origin"),
    ("trusted_origins", "null", "no origin"),
    ("trusted_proxies", "proxy.example.com", "'proxy.example.com'"),
    ("trusted_proxies", "10.0.0.1/8", "host bits"),
    ("trusted_proxies", "*", "no address"),
]


@pytest.mark.parametrize(("name", "text", "what"), BAD)
def test_a_wrong_value_stops_the_start_naming_variable_fault_and_example(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, what: str
) -> None:
    variable = f"ASGI_AUTH_{name.upper()}"
    monkeypatch.setenv(variable, text)
    message = refusal()
    assert re.fullmatch(rf"{variable}: .*{re.escape(what)}.*\. Valid: {variable}=\S.*", message)
    monkeypatch.delenv(variable)
    assert refusal(**{name: text}) == message


@pytest.mark.parametrize("name", sorted(EXISTING))
def test_the_example_in_every_message_is_valid(name: str) -> None:
    (example,) = Settings.model_fields[name].examples or ()
    if example.startswith("$("):
        # To be run by a shell. Nothing that could be copied as it stands is a secret.
        assert len(example) > 10
        return
    assert getattr(Settings(**{name: example}), name) is not None


@pytest.mark.parametrize(
    ("name", "value", "ready"),
    [
        ("session_idle", timedelta(hours=1), 3600.0),
        ("session_idle", 90, 90.0),
        ("backends", ["jwt"], frozenset({"jwt"})),
        ("backends", {"jwt", "session"}, frozenset({"jwt", "session"})),
        ("secret", [NEW, OLD.encode()], (SecretBytes(NEW.encode()), SecretBytes(OLD.encode()))),
        ("secret", ["a,b" * 11], (SecretBytes(b"a,b" * 11),)),
        ("secret", NEW.encode(), (SecretBytes(NEW.encode()),)),
        ("secret", SecretStr(NEW), (SecretBytes(NEW.encode()),)),
        ("jwt_key", b"text", SecretStr("text")),
        ("jwt_key", SecretStr("text"), SecretStr("text")),
        ("jwt_key", None, None),
        ("url", None, None),
        ("protect", ["/a=any", "/*"], PathRules.parse("/a=any, /*")),
        ("protect", PathRules.parse("/*"), PathRules.parse("/*")),
        ("protect", None, None),
        ("passive_paths", ["/poll"], PathRules.parse("/poll", requirements=False)),
        ("passive_paths", [], None),
        ("insecure_http", True, True),
        ("password_grant", False, False),
        ("login_rate", Rate(3, 60.0), Rate(3, 60.0)),
        ("trusted_origins", ["https://a.example"], frozenset({b"https://a.example"})),
        ("trusted_origins", {b"https://a.example"}, frozenset({b"https://a.example"})),
        ("trusted_proxies", ("10.0.0.0/8",), Proxies.parse(["10.0.0.0/8"])),
        ("trusted_proxies", Proxies(unix=True), Proxies(unix=True)),
        ("jwt_key_file", Path("key.pem"), Path("key.pem")),
    ],
)
def test_a_keyword_takes_what_python_has_for_it(name: str, value: Any, ready: Any) -> None:
    assert getattr(Settings(**{name: value}), name) == ready


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("secret", {NEW, OLD}, "order"),
        ("secret", [], "no secret"),
        ("secret", [7], "neither text nor bytes"),
        ("secret", 7, "not int"),
        ("secret", None, "not NoneType"),
        ("secret", b"", "is empty"),
        ("secret", SecretStr(""), "is empty"),
        ("secret", "\udcff" * 32, "UTF-8"),
        ("secret", ["\udcff" * 32], "UTF-8"),
        ("jwt_key", SecretStr(" "), "is empty"),
        ("jwt_key", "\udcff", "UTF-8"),
        ("jwt_key", b"\xff", "UTF-8"),
        ("jwt_key", 7, "no text"),
        ("jwt_key_file", 7, "not int"),
        ("backends", [], "names nothing"),
        ("backends", [7], "no text"),
        ("store", None, "is no URL"),
        ("url", 7, "https://host"),
        ("prefix", None, "not NoneType"),
        ("protect", [], "names no path"),
        ("protect", PathRules(), "names no path"),
        ("protect", [""], "names no path"),
        ("session_idle", True, "not bool"),
        ("insecure_http", 2, "on or off"),
        ("trusted_origins", [7], "no text"),
        ("trusted_proxies", [7], "no text"),
        ("users", object(), "not object"),
    ],
)
def test_a_keyword_of_the_wrong_kind_is_a_configuration_error(name: str, value: Any, what: str) -> None:
    assert what in refusal(**{name: value})


def test_a_keyword_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_PREFIX", "not a path")
    assert Settings(prefix="/id").prefix == "/id"


def test_every_problem_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_SESSION_IDLE", "soon")
    monkeypatch.setenv("ASGI_AUTH_STROE", "memory://")
    lines = refusal(prefix="auth", fresch="5m").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "fresch",
        "ASGI_AUTH_STROE",
        "ASGI_AUTH_PREFIX",
        "ASGI_AUTH_SESSION_IDLE",
    ]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("ASGI_AUTH_SESION_IDLE", "ASGI_AUTH_SESSION_IDLE"),
        ("ASGI_AUTH_SECRETS", "ASGI_AUTH_SECRET"),
        ("ASGI_AUTH_ISSUER", "ASGI_AUTH_JWT_ISSUER"),
        ("asgi_auth_sesion_idle", "ASGI_AUTH_SESSION_IDLE"),
    ],
)
def test_an_unknown_variable_stops_the_start_and_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, right: str
) -> None:
    monkeypatch.setenv(name, "1")
    message = refusal()
    assert message.startswith(f"{name}: there is no such setting; is {right} meant? Valid: {right}=")


@pytest.mark.parametrize("name", ["ASGI_AUTH_", "ASGI_AUTH_OTEL", "ASGI_AUTH_XYZZY"])
def test_a_setting_that_does_not_work_is_not_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "optional")
    assert refusal().startswith(f"{name}: there is no such setting")


def test_an_unknown_keyword_names_the_nearest_keyword() -> None:
    assert refusal(stroe="memory://").startswith(
        "stroe: there is no such setting; is store meant? Valid: ASGI_AUTH_STORE="
    )


def test_a_keyword_is_lower_case() -> None:
    assert "is store meant?" in refusal(STORE="memory://")


@pytest.mark.parametrize("name", ["_env_file", "_secrets_dir", "_cli_parse_args", "_env_prefix"])
def test_switches_of_pydantic_settings_are_no_settings(name: str) -> None:
    assert name in refusal(**{name: "."})


def test_a_control_character_in_a_name_makes_no_second_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_A\nASGI_AUTH_B: fine", "1")
    assert refusal().count("\n") == 0


@pytest.mark.parametrize(
    "name",
    [
        "ASGI_AUTH_SERVICE_HOST",
        "ASGI_AUTH_SERVICE_PORT_HTTP",
        "ASGI_AUTH_PORT",
        "ASGI_AUTH_PORT_80_TCP_ADDR",
        "ASGI_AUTHOR",
    ],
)
def test_what_kubernetes_makes_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    Settings()


def test_the_case_of_a_variable_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("asgi_auth_Prefix", "/id")
    assert Settings().prefix == "/id"


@pytest.mark.skipif(os.name == "nt", reason="there the environment itself does not know case")
def test_a_variable_in_two_spellings_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_PREFIX", "/a")
    monkeypatch.setenv("asgi_auth_prefix", "/b")
    message = refusal()
    assert "the same setting" in message
    assert {"ASGI_AUTH_PREFIX", "asgi_auth_prefix"} <= set(message.replace(":", " ").split())


def test_no_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ASGI_AUTH_PREFIX=/planted\nASGI_AUTH_NONSENSE=1\n")
    (tmp_path / "asgi_auth_prefix").write_text("/planted")
    (tmp_path / "pyproject.toml").write_text("[tool.pydantic-settings]\nprefix = '/planted'\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().prefix == "/auth"


def test_the_environment_is_read_when_settings_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings()
    monkeypatch.setenv("ASGI_AUTH_PREFIX", "/id")
    assert (before.prefix, Settings().prefix) == ("/auth", "/id")


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.prefix = "/id"


def test_equal_settings_are_equal_and_others_are_not() -> None:
    assert Settings(secret=NEW) == Settings(secret=[NEW])
    assert Settings(secret=NEW) != Settings(secret=OLD)
    assert len({Settings(), Settings()}) == 1


# What a browser would drop, and other contradictions


@pytest.mark.parametrize(
    ("values", "blamed"),
    [
        ({"session_cookie": "__Host-id", "session_domain": "example.com"}, "SESSION_COOKIE"),
        ({"session_cookie": "__HOST-id", "session_path": "/app"}, "SESSION_COOKIE"),
        ({"session_cookie": "__Host-Http-id", "session_path": "/app"}, "SESSION_COOKIE"),
        ({"session_cookie": "__Host-id", "insecure_http": True}, "SESSION_COOKIE"),
        ({"session_cookie": "__secure-id", "url": "http://localhost"}, "SESSION_COOKIE"),
        ({"session_samesite": "none", "insecure_http": True}, "SESSION_SAMESITE"),
        ({"session_partitioned": True, "insecure_http": True}, "SESSION_PARTITIONED"),
        ({"session_partitioned": True, "url": "http://localhost:8000"}, "SESSION_PARTITIONED"),
        ({"session_samesite": "none", "url": "http://localhost:8000"}, "SESSION_SAMESITE"),
        ({"session_domain": "example.org", "url": "https://app.example.com"}, "SESSION_DOMAIN"),
        ({"session_domain": "app.example.com", "url": "https://example.com"}, "SESSION_DOMAIN"),
        ({"session_domain": "ample.com", "url": "https://example.com"}, "SESSION_DOMAIN"),
        ({"session_domain": "0.0.1", "url": "https://127.0.0.1"}, "SESSION_DOMAIN"),
    ],
)
def test_a_cookie_that_every_browser_drops_stops_the_start(values: dict[str, Any], blamed: str) -> None:
    message = refusal(**values)
    assert message.startswith(f"ASGI_AUTH_{blamed}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "values",
    [
        {"session_cookie": "__Secure-id", "session_domain": "example.com", "session_path": "/app"},
        {"session_domain": "example.com", "url": "https://app.example.com"},
        {"session_domain": "example.com", "url": "https://example.com:8443"},
        {"session_samesite": "none"},
        {"session_samesite": "none", "session_partitioned": True},
        {"session_samesite": "none", "url": "https://app.example.com"},
        # An https address decides alone, whatever else is allowed.
        {"session_samesite": "none", "url": "https://app.example.com", "insecure_http": True},
        {"session_cookie": "__Host-id", "url": "https://app.example.com", "insecure_http": True},
        {"session_cookie": "id", "insecure_http": True},
        {"url": "http://localhost:8000"},
        {"session_path": "/app", "url": "http://localhost:8000"},
    ],
)
def test_a_cookie_that_browsers_keep_is_let_through(values: dict[str, Any]) -> None:
    Settings(**values)


@pytest.mark.parametrize("name", ["session_idle", "access_lifetime", "refresh_lifetime"])
def test_what_is_set_longer_than_the_session_lifetime_stops_the_start(name: str) -> None:
    message = refusal(**{name: "61m", "session_lifetime": "1h"})
    assert message.startswith(f"ASGI_AUTH_{name.upper()}: is longer than ASGI_AUTH_SESSION_LIFETIME (1h)")
    Settings(**{name: "1h", "session_lifetime": "1h"})


def test_a_shorter_session_lifetime_alone_is_no_contradiction() -> None:
    assert Settings(session_lifetime="5m").session_lifetime == 300


def test_key_and_key_file_together_stop_the_start() -> None:
    message = refusal(jwt_key=CANARY, jwt_key_file="key.pem")
    assert message.startswith("ASGI_AUTH_JWT_KEY: is set, and ASGI_AUTH_JWT_KEY_FILE too")
    assert CANARY not in message


def test_a_refresh_cookie_without_refresh_tokens_stops_the_start() -> None:
    message = refusal(backends="session", refresh_cookie="on")
    assert message.startswith("ASGI_AUTH_REFRESH_COOKIE: is on, and ASGI_AUTH_BACKENDS has no jwt")


# Secrets


@pytest.mark.parametrize(
    "values",
    [
        {"secret": CANARY[:20]},
        {"secret": [NEW, CANARY[:20]]},
        {"secret": {CANARY}},
        {"secret": CANARY, "fresh": "soon"},
        {"secret": CANARY, "unknown": "1"},
        {"secret": f"{CANARY}\udcff"},
        {"jwt_key": CANARY, "jwt_algorithm": "none"},
        {"jwt_key": CANARY.encode() + b"\xff"},
        {"jwt_key": f"{CANARY}\udcff"},
        {"store": f"postgres://u:{CANARY}@h/db"},
        {"store": f"redis://u:{CANARY} @h/0"},
        {"url": f"https://u:{CANARY}@app.example.com"},
        {"url": f"http://{CANARY}"},
        {"jwt_key_file": f"-----BEGIN PRIVATE KEY-----\n{CANARY}"},
        {"prefix": CANARY, "users": CANARY, "session_cookie": f"{CANARY};", "insecure_http": CANARY},
    ],
)
def test_no_error_holds_a_secret(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "c4nary" not in told
    # A reporter that walks the chain finds no error of pydantic's, which holds the values.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_no_representation_holds_a_secret() -> None:
    settings = Settings(secret=[CANARY, NEW], jwt_key=CANARY, store=f"redis://u:{CANARY}@h:6379/0?prefix=a:")
    for text in (repr(settings), str(settings), f"{settings}", str(settings.describe()), repr(settings.secret)):
        assert "c4nary" not in text
    assert settings.describe()["ASGI_AUTH_SECRET"] == "set (2)"
    assert settings.describe()["ASGI_AUTH_JWT_KEY"] == "set"
    assert settings.describe()["ASGI_AUTH_STORE"] == "redis://***@h:6379/0?prefix=a:"
    assert settings.store == f"redis://u:{CANARY}@h:6379/0?prefix=a:"
    assert settings.secrets == (CANARY.encode(), NEW.encode())


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:pw@h", "redis://***@h"),
        ("redis://u:p@w@h", "redis://***@h"),
        ("redis://:p/w?x#y@h/0", "redis://***@h/0"),
        ("rediss://h?password=pw&prefix=a", "rediss://h?password=***&prefix=a"),
        ("redis+sentinel://u:pw@h1:1,h2:2/main", "redis+sentinel://***@h1:1,h2:2/main"),
        ("unix://u:pw@/run/redis.sock", "unix://***@/run/redis.sock"),
        ("sqlite:////data/me@home.db", "sqlite:////data/me@home.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_store_is_shown_without_what_may_be_secret(store: str, shown: str) -> None:
    assert without_password(store) == shown


@given(st.text(), st.text())
def test_no_password_of_a_store_is_shown_however_it_is_written(before: str, after: str) -> None:
    assert "c4nary" not in without_password(f"redis://user:{before}c4nary{after}@host:6379/0")


# Shown and derived


def test_what_is_described_is_read_as_the_same() -> None:
    for name, text, value in GOOD:
        settings = Settings(**{name: text})
        shown = settings.describe(changed=True)
        assert list(shown) == [f"ASGI_AUTH_{name.upper()}"]
        if name in ("secret", "jwt_key", "starlette_sessions") or "@" in text or value in (None, ""):
            continue
        assert getattr(Settings(**{name: shown[f"ASGI_AUTH_{name.upper()}"]}), name) == value


def test_the_description_has_every_variable_and_what_was_set() -> None:
    settings = Settings(session_idle=7200, password_grant=False)
    assert set(settings.describe()) == {f"ASGI_AUTH_{name.upper()}" for name in EXISTING}
    assert settings.describe(changed=True) == {"ASGI_AUTH_SESSION_IDLE": "2h", "ASGI_AUTH_PASSWORD_GRANT": "off"}
    assert repr(settings) == "Settings(session_idle='2h', password_grant='off')"


@pytest.mark.parametrize(
    ("values", "issuer", "audience"),
    [
        ({}, "asgi-auth", "asgi-auth"),
        ({"url": "https://a.example/"}, "https://a.example", "https://a.example"),
        ({"url": "https://a.example", "jwt_issuer": "https://b.example/"}, "https://b.example/", "https://b.example/"),
        ({"jwt_issuer": "me", "jwt_audience": "you"}, "me", "you"),
    ],
)
def test_issuer_and_audience_follow_from_one_another(values: dict[str, Any], issuer: str, audience: str) -> None:
    settings = Settings(**values)
    assert (settings.issuer, settings.audience) == (issuer, audience)


@pytest.mark.parametrize(
    ("url", "realm", "host", "origins"),
    [
        (None, "asgi-auth", None, set()),
        ("https://a.example:8443", "a.example", b"a.example:8443", {b"https://a.example:8443"}),
        ("https://a.example:443", "a.example", b"a.example", {b"https://a.example"}),
        ("http://[::1]:80", "::1", b"[::1]", {b"http://[::1]"}),
    ],
)
def test_realm_host_and_origin_are_those_of_the_url(
    url: str | None, realm: str, host: bytes, origins: set[bytes]
) -> None:
    settings = Settings(url=url)
    assert (settings.realm, settings.host, settings.own_origins) == (realm, host, origins)


def test_the_key_is_that_of_the_variable_or_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("from the file")
    assert Settings().key_texts() == {}
    assert Settings(jwt_key="from the variable").key_texts() == {"ASGI_AUTH_JWT_KEY": "from the variable"}
    named = f"ASGI_AUTH_JWT_KEY_FILE ({tmp_path}/key.pem)"
    assert Settings(jwt_key_file=str(tmp_path / "key.pem")).key_texts() == {named: "from the file"}


def secret_of_kubernetes(directory: Path, revision: str, **files: str) -> None:
    """Files as a pod sees those of a secret: links through a link that one rename turns to the new ones."""
    (directory / revision).mkdir(parents=True)
    for name, text in files.items():
        (directory / revision / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    (directory / "..next").symlink_to(revision)
    (directory / "..next").rename(directory / "..data")


def test_the_keys_of_a_directory_are_those_of_its_files_the_last_name_first(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    secret_of_kubernetes(keys, "..2026_01", **{"2025-07": "first", "2026-01": "second"})
    assert list(Settings(jwt_key_file=keys).key_texts().values()) == ["second", "first"]
    secret_of_kubernetes(keys, "..2026_07", **{"2026-01": "second", "2026-07": "third"})
    (keys / "2025-07").unlink()
    (keys / "ignored").mkdir()
    (keys / ".hidden").write_text("an editor's")
    texts = Settings(jwt_key_file=keys).key_texts()
    assert list(texts.values()) == ["third", "second"]
    assert next(iter(texts)) == f"ASGI_AUTH_JWT_KEY_FILE ({keys}/2026-07)"


def test_a_directory_of_keys_that_cannot_be_used_says_what_is_wrong(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()

    def said() -> str:
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_JWT_KEY_FILE") as caught:
            Settings(jwt_key_file=keys).key_texts()
        return str(caught.value)

    assert "there is no file in this directory" in said()
    (keys / "gone").symlink_to("nowhere")
    assert "gone cannot be read: No such file" in said()
    (keys / "gone").unlink()
    (keys / "empty").touch()
    assert "empty holds no text" in said()


AS_SOMEBODY_ELSE = """
import os, sys
from asgi_auth.errors import ConfigurationError
from asgi_auth.settings import Settings

if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)  # root may read everything
try:
    Settings(jwt_key_file=sys.argv[1]).key_texts()
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize("locked", ["keys", "keys/key.pem"])
def test_keys_that_may_not_be_read_say_so(tmp_path: Path, locked: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "key.pem").write_text("a key")
    (tmp_path / locked).chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", AS_SOMEBODY_ELSE, tmp_path / "keys"], capture_output=True, text=True, check=True
        )
    finally:
        (tmp_path / locked).chmod(0o700)
    assert "ASGI_AUTH_JWT_KEY_FILE" in done.stdout
    assert "cannot be read: Permission denied" in done.stdout


@pytest.mark.parametrize(("content", "what"), [(None, "cannot be read"), (b" \n", "no text"), (b"\xff\xfe", "no text")])
def test_a_key_file_that_cannot_be_used_names_its_variable(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    settings = Settings(jwt_key_file=tmp_path / "file")
    with pytest.raises(ConfigurationError, match=rf"ASGI_AUTH_JWT_KEY_FILE: .*{what}"):
        settings.key_texts()


def test_settings_can_be_copied_and_pickled() -> None:
    settings = Settings(secret=NEW, protect="/*", trusted_proxies="unix", login_rate="3/day")
    assert copy.deepcopy(settings) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings
