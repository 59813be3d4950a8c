"""`check`: what would be used, what is risky, and what it says where nothing can be used at all."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from local_issuer import JWKS, OIDC, LocalIssuer

from asgi_auth import Settings
from asgi_auth.startup import risks

SECRET = "0123456789abcdef0123456789abcdef-old"
SAFE = {"secret": SECRET, "password_grant": "off"}


def checked(cli, **settings):
    done = cli("check", "--json", **settings)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def used(cli, **settings):
    return {fact["name"]: fact["value"] for fact in checked(cli, **settings) if fact["kind"] == "used"}


def test_check_strict_exits_1_for_risks(command):
    assert command("check", "--strict").code == 1
    assert command("check", "--strict", **SAFE).code == 0


def test_check_without_strict_prints_the_risks_and_exits_0(cli, store_url):
    done = cli("check")
    assert (done.code, done.err) == (0, "")
    _, heading, listed = done.out.partition("\nRisks\n")
    assert heading
    assert [line.strip() for line in listed.splitlines()] == risks(Settings(store=store_url))


def test_partitioned_cookies_that_no_frame_would_get_are_a_risk():
    assert any("PARTITIONED" in risk for risk in risks(Settings(session_partitioned=True)))
    both = Settings(session_partitioned=True, session_samesite="none")
    assert not any("PARTITIONED" in risk for risk in risks(both))


@pytest.mark.parametrize(
    ("options", "risky"),
    [({}, False), ({"dpop": "required"}, True), ({"dpop": "required", "url": "https://app.example.com"}, False)],
)
def test_to_require_proofs_for_an_address_that_is_not_known_is_a_risk(options, risky):
    assert any("DPOP" in risk for risk in risks(Settings(**options))) is risky


def test_check_says_when_there_are_no_risks(cli):
    assert cli("check", **SAFE).out.endswith("\nRisks: none\n")


def test_check_lists_objects_of_one_shape(cli):
    facts = checked(cli)
    assert all(set(fact) == {"kind", "name", "value"} for fact in facts)
    assert {fact["kind"] for fact in facts} == {"used", "key", "setting", "risk"}


def test_check_shows_what_would_be_used(cli, store_url):
    facts = used(cli, url="https://app.example.com", jwt_audience="api", prefix="/a", users="store")
    assert facts["store"].startswith(f"{store_url} (the file /")
    assert facts["algorithm"] == "ES256"
    assert facts["issuer"] == "https://app.example.com"
    assert facts["audience"] == "api"
    assert "built-in" in facts["users"]


@pytest.mark.parametrize(
    ("settings", "cookies"),
    [
        ({"url": "https://a.example"}, {"cookie": "__Host-session; Path=/; HttpOnly; SameSite=Lax; Secure"}),
        (
            {"url": "https://a.example", "session_domain": "a.example", "session_samesite": "strict"},
            {"cookie": "__Secure-session; Path=/; Domain=a.example; HttpOnly; SameSite=Strict; Secure"},
        ),
        (
            {"url": "https://a.example", "session_samesite": "none", "session_partitioned": "true"},
            {"cookie": "__Host-session; Path=/; HttpOnly; SameSite=None; Secure; Partitioned"},
        ),
        (
            {"url": "http://localhost:8000", "session_cookie": "mine"},
            {"cookie": "mine; Path=/; HttpOnly; SameSite=Lax; not Secure"},
        ),
        (
            {"session_cookie": "mine"},
            {
                "cookie": "mine; Path=/; HttpOnly; SameSite=Lax; Secure",
                "cookie, plain http to a loopback host": "mine; Path=/; HttpOnly; SameSite=Lax; not Secure",
            },
        ),
        (
            {"session_cookie": "mine", "insecure_http": "true"},
            {
                "cookie": "mine; Path=/; HttpOnly; SameSite=Lax; Secure",
                "cookie, plain http to any host": "mine; Path=/; HttpOnly; SameSite=Lax; not Secure",
            },
        ),
        ({"backends": "jwt"}, {}),
    ],
)
def test_check_shows_the_cookie_and_its_security(cli, settings, cookies):
    facts = used(cli, **settings)
    assert {name: value for name, value in facts.items() if name.startswith("cookie")} == cookies


@pytest.mark.parametrize(("prefix", "login"), [("/auth", "/auth/login"), ("/a/b", "/a/b/login")])
def test_check_shows_our_paths(cli, prefix, login):
    paths = [fact["value"] for fact in checked(cli, prefix=prefix) if fact["name"] == "path"]
    assert {login, f"{prefix}/sessions/{{id}}", "/.well-known/jwks.json"} <= set(paths)
    assert all(path.startswith((f"{prefix}/", "/.well-known/")) for path in paths)


def test_without_a_prefix_no_path_is_ours(cli):
    assert "path" not in used(cli, prefix="")


def test_check_shows_the_key_that_signs(cli):
    key, following = [fact for fact in checked(cli) if fact["kind"] == "key"]
    assert key["value"] == "ES256, signs and verifies"
    assert following["value"] == "ES256, signs next"
    assert key["name"] in cli("keys", "list").out


def test_without_tokens_check_shows_neither_keys_nor_an_issuer(cli):
    facts = checked(cli, backends="session")
    assert not {"key", "issuer"} & {fact[part] for fact in facts for part in ("kind", "name")}


def test_check_shows_every_setting_and_which_of_them_are_defaults(cli):
    shown = {fact["name"]: fact["value"] for fact in checked(cli, fresh="5m") if fact["kind"] == "setting"}
    assert set(shown) == {f"ASGI_AUTH_{name.upper()}" for name in Settings.model_fields}
    assert shown["ASGI_AUTH_FRESH"] == "5m"
    lines = {line.split()[0]: line for line in cli("check", fresh="5m").out.splitlines() if "ASGI_AUTH_" in line[:12]}
    assert lines["ASGI_AUTH_FRESH"].split() == ["ASGI_AUTH_FRESH", "5m"]
    assert lines["ASGI_AUTH_JWT_LEEWAY"].split() == ["ASGI_AUTH_JWT_LEEWAY", "30s", "(default)"]


def test_check_shows_no_secret(cli, redis_url):
    key = "another-secret-of-more-than-32-bytes!"
    with_password = redis_url.replace("redis://", "redis://default:geheim@")
    settings = {"secret": SECRET, "jwt_algorithm": "HS256", "jwt_key": key}
    for done in (
        cli("check", **settings),
        cli("check", "--json", **settings),
        cli("check", store=with_password),
        cli("check", store="redis://u:geheim@127.0.0.1:1"),
    ):
        assert not any(secret in done.out + done.err for secret in (SECRET, key, "geheim"))


# Risks


@pytest.mark.parametrize(
    ("store", "risky"),
    [
        ("redis://192.0.2.1", True),
        ("redis://cache.example.com:6379/0", True),
        ("redis://user:pw@cache/0", True),
        ("redis://[2001:db8::1]", True),
        ("redis://[nonsense", True),
        ("redis://localhost:6379", False),
        ("redis://user:pw@127.0.0.1", False),
        ("redis://[::1]:6379/1", False),
        ("rediss://cache.example.com", False),
        ("redis+sentinel://localhost,cache/ours", True),
        ("redis+sentinel://localhost,127.0.0.1:26380/ours", False),
        ("redis+cluster://u:p@cache:6379,localhost", True),
        ("rediss+sentinel://u:p@cache:26379/ours", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_redis_in_the_clear_over_a_network_is_a_risk(store, risky):
    assert any("not encrypted" in risk for risk in risks(Settings(store=store))) is risky


@pytest.mark.parametrize(("options", "risky"), [("", False), ("?acks=1", False), ("?prefix=a:&authority=none", True)])
def test_to_believe_a_primary_that_was_replaced_is_a_risk(options, risky):
    found = risks(Settings(store=f"rediss+sentinel://h1,h2/ours{options}"))
    assert any("authority=none" in risk for risk in found) is risky


@contextmanager
def evicting(url):
    """A server that may evict what has a TTL."""
    with redis.Redis.from_url(url) as server:
        server.config_set("maxmemory", "200mb")
        server.config_set("maxmemory-policy", "volatile-lru")
        try:
            yield
        finally:
            server.config_set("maxmemory", "0")
            server.config_set("maxmemory-policy", "noeviction")


def test_what_the_store_warns_of_is_a_risk(cli, redis_url):
    assert cli("check", "--strict", store=redis_url, **SAFE).code == 0
    with evicting(redis_url):
        done = cli("check", "--strict", store=redis_url, **SAFE)
    assert done.code == 1
    assert "volatile-lru" in done.out


@pytest.mark.parametrize(("bits", "risky"), [(2048, True), (3072, False)])
def test_an_rsa_key_shorter_than_those_we_make_is_a_risk(cli, bits, risky):
    key = rsa.generate_private_key(65537, bits)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    done = cli("check", "--strict", jwt_algorithm="RS256", jwt_key=pem, **SAFE)
    assert done.code == risky
    assert ("has less than 3072 bits" in done.out) is risky


# What cannot be used


@pytest.mark.parametrize("more", [[], ["--json"], ["--strict"]])
def test_a_wrong_configuration_is_told_line_by_line_with_exit_2(command, more):
    done = command("check", *more, fresh="soon", nonsense="1")
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["ASGI_AUTH_NONSENSE", "ASGI_AUTH_FRESH"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"store": "sqlite:////nowhere/at/all.sqlite3"}, "there is no directory /nowhere/at"),
        ({"jwt_key": "no-key"}, "ASGI_AUTH_JWT_KEY"),
        ({"jwt_key_file": "/nowhere/key.pem"}, "No such file"),
        ({"users": "no_such_module:directory"}, "no_such_module"),
        ({"password_blocklist": "/nowhere/list"}, "cannot be read"),
    ],
)
def test_what_a_setting_names_and_is_not_there_is_told_with_exit_2(cli, settings, why):
    done = cli("check", **settings)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["check"], ["users", "list"], ["keys", "rotate"], ["users", "add", "alice"]])
def test_a_store_that_does_not_answer_is_told_with_the_reason_and_exit_2(cli, arguments):
    done = cli(*arguments, store="redis://127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("The store redis://127.0.0.1:1 does not answer: ")
    assert "127.0.0.1" in done.err.partition("answer: ")[2]
    assert len(done.err.splitlines()) == 1


def test_keys_sealed_under_another_secret_are_told_with_exit_2(cli):
    assert cli("check", secret=SECRET).code == 0
    done = cli("check", secret="x" * 40)
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_SECRET" in done.err


def test_check_asks_other_issuers_for_their_keys_once(cli):
    idp = LocalIssuer()
    records = json.dumps([{"name": "corp", "issuer": idp.url, "audience": "api"}])
    assert used(cli, jwt_trusted_issuers=records)["issuer corp"] == f"{idp.url}: keys {idp.key.kid} of {idp.url}{JWKS}"
    assert idp.asked == {OIDC: 1, JWKS: 1}
    idp.stop()


def test_an_issuer_that_gives_no_keys_is_a_risk(cli):
    idp = LocalIssuer()
    idp.documents[OIDC]["issuer"] = "https://another.example"
    records = json.dumps([{"name": "corp", "issuer": idp.url, "audience": "api"}])
    done = cli("check", "--strict", **SAFE, jwt_trusted_issuers=records)
    assert done.code == 1
    why = "the metadata names another issuer than the record, to the letter"
    assert f"  the keys of issuer corp, {idp.url}, could not be read: {why}\n" in done.out
    assert f"{idp.url}: no keys" in done.out
    idp.stop()
