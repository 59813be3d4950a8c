"""Records of other issuers: what one is, and what stops the start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgi_auth import ConfigurationError, Issuer, Settings
from asgi_auth.issuer import fits, is_safe_url
from asgi_auth.providers import PROVIDERS
from asgi_auth.startup import risks

CORP = {"name": "corp", "issuer": "https://login.example.com", "audience": "api"}


def refusal(*records: Any, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(jwt_trusted_issuers=json.dumps(records), **settings)
    return str(caught.value)


def test_a_record_needs_a_name_an_issuer_and_a_rule_on_the_audience() -> None:
    [record] = Settings(jwt_trusted_issuers=json.dumps([CORP])).jwt_trusted_issuers
    assert record == Issuer("corp", "https://login.example.com", audience=("api",))
    for missing in CORP:
        assert missing in refusal({name: value for name, value in CORP.items() if name != missing})


def test_without_a_rule_on_who_a_token_is_for_the_start_is_refused() -> None:
    told = refusal({"name": "corp", "issuer": "https://login.example.com"})
    assert "no rule on who its tokens are for" in told
    assert "ASGI_AUTH_JWT_TRUSTED_ISSUERS" in told


@pytest.mark.parametrize(
    ("member", "value", "what"),
    [
        ("name", "", "name"),
        ("name", "a:b", "name"),
        ("name", 7, "name"),
        ("issuer", "http://login.example.com", "https"),
        ("issuer", "ftp://login.example.com", "https"),
        ("issuer", "login.example.com", "https"),
        ("issuer", "https://", "https"),
        ("issuer", "https://u:p@login.example.com", "https"),
        ("issuer", "https://login.example.com/?x", "https"),
        ("issuer", "https://login.example.com/#x", "https"),
        ("issuer", "", "issuer"),
        ("issuer", "https://login.example.com/a b", "issuer"),
        ("issuer", "https://login.example.com/{tenant}", "braces"),
        ("issuer", "https://{tenantid}.example.com/", "braces"),
        ("issuer", "https://login.example.com/{tenantid}/{tenantid}", "braces"),
        ("issuer", "https://login.example.com/{tenantid}", "metadata_url"),
        ("aliases", ["{"], "braces"),
        ("aliases", 7, "aliases"),
        ("audience", [], "who its tokens are for"),
        ("audience", [7], "audience"),
        ("audience", [""], "audience"),
        ("algorithms", ["HS256"], "algorithms"),
        ("algorithms", ["none"], "algorithms"),
        ("algorithms", [], "algorithms"),
        ("typ", [], "typ"),
        ("jwks_url", "http://login.example.com/keys", "jwks_url"),
        ("jwks_url", "file:///etc/keys", "jwks_url"),
        ("metadata_url", "data:,{}", "metadata_url"),
        ("scopes", 'a"b', "scope"),
        ("scope_claims", 7, "scope_claims"),
        ("scope_claims", [[]], "empty name"),
        ("scope_claims", ["scope", [""]], "empty name"),
        ("require", ["typ"], "require"),
        ("require", None, "require"),
        ("require", {"": "a"}, "require"),
        ("require", {"typ": 1.5}, "require"),
        ("require", {"typ": {"a": "b"}}, "require"),
        ("subject", "", "subject"),
        ("numeric_subject", 1, "numeric_subject"),
        ("shared_ids", "yes", "shared_ids"),
        ("max_size", 100_000, "max_size"),
        ("max_size", True, "max_size"),
        ("provider", "acme", "provider"),
        ("provider", 7, "provider"),
        ("audiance", "api", "no member 'audiance'"),
        ("aliases", "https://login.example.com/{tenantid}/v2", "users of both could have one id"),
    ],
)
def test_a_record_that_cannot_be_says_which_member_is_wrong(member: str, value: Any, what: str) -> None:
    told = refusal({**CORP, member: value})
    assert what in told
    assert "record 1" in told


def test_http_is_for_this_machine_alone() -> None:
    for host in ("127.0.0.1:8080", "localhost", "[::1]", "idp.localhost"):
        assert Issuer("dev", f"http://{host}", audience="api")
        assert is_safe_url(f"http://{host}/keys")
        assert not is_safe_url(f"http://{host}/keys", plain=False)
    for host in ("test", "testserver", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com", "127.0.0.1@evil"):
        assert not is_safe_url(f"http://{host}/keys")


def test_two_records_of_one_name_or_of_one_token_stop_the_start() -> None:
    other = {**CORP, "name": "other"}
    assert "of the name corp" in refusal(CORP, {**CORP, "issuer": "https://b.example.com"})
    assert "for one issuer: corp and other" in refusal(CORP, other)
    alias = {**other, "issuer": "https://b.example.com", "aliases": ["https://login.example.com"]}
    assert "for one issuer" in refusal(CORP, alias)
    hole = {**other, "issuer": "https://b.example.com/{tenantid}/v2", "jwks_url": "https://b.example.com/keys"}
    assert "for one issuer" in refusal({**CORP, "issuer": "https://b.example.com/one/v2"}, hole)


@pytest.mark.parametrize("own", [{"url": "https://login.example.com"}, {"jwt_issuer": "https://login.example.com"}])
def test_our_own_issuer_is_no_other(own: Any) -> None:
    assert "our own issuer" in refusal(CORP, **own)


def test_issuers_need_the_backend_that_reads_tokens() -> None:
    assert "BACKENDS" in refusal(CORP, backends="session")


@pytest.mark.parametrize("text", ["{", "{}", "7", '["corp"]', '[{"name": "a", "name": "b"}]'])
def test_what_is_no_list_of_records_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="JWT_TRUSTED_ISSUERS"):
        Settings(jwt_trusted_issuers=text)


def test_records_are_shown_as_they_are_read() -> None:
    everything = Issuer.of("keycloak", **CORP, scopes="read write", aliases="corp", max_size=4096, shared_ids=True)
    shown = Settings(jwt_trusted_issuers=[everything, {**CORP, "name": "b", "issuer": "https://b.example"}]).describe()
    text = shown["ASGI_AUTH_JWT_TRUSTED_ISSUERS"]
    assert Settings(jwt_trusted_issuers=text).jwt_trusted_issuers[0] == everything
    assert json.loads(text)[1] == {"name": "b", "issuer": "https://b.example", "audience": ["api"]}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_provider_is_a_record_with_its_shape(provider: str) -> None:
    given = {"name": "them", "issuer": "https://login.example.com", "audience": "api", "scopes": "read"}
    record = Issuer.of(provider, **given)
    assert record == Issuer.parse({**given, "provider": provider})
    assert record.algorithms[0] == "RS256"
    assert Issuer.of(provider, **given, algorithms="ES256").algorithms == ("ES256",)


def test_what_a_record_requires_takes_nothing_away_from_what_its_provider_does() -> None:
    """Else an ID token would pass where somebody names tenants."""
    record = Issuer.of("entra", **CORP, require={"tid": "t1"})
    assert record.require == {"ver": "2.0", "azp": None, "tid": "t1"}
    assert Issuer.of("entra", **CORP, require={"ver": "3.0"}).require == {"ver": "3.0", "azp": None}


def test_tenants_of_one_issuer_never_share_the_ids_of_ours() -> None:
    """Whoever owns one of the tenants would say who anybody is."""
    hole = {"issuer": "https://login.example.com/{tenantid}", "jwks_url": "https://login.example.com/keys"}
    assert "each tenant could name" in refusal({**CORP, **hole, "shared_ids": True})
    assert Issuer.parse({**CORP, **hole})


def test_a_role_of_each_audience_is_looked_for_where_keycloak_puts_it() -> None:
    record = Issuer.of("keycloak", name="kc", issuer="https://kc.example.com/realms/one", audience=["a", "b"])
    assert record.scope_claims[2:] == (("resource_access", "a", "roles"), ("resource_access", "b", "roles"))


@pytest.mark.parametrize(
    ("identifier", "iss", "tenant"),
    [
        ("https://a.example", "https://a.example", ""),
        ("https://a.example", "https://a.example/", None),
        ("https://a.example", "https://a.exampl", None),
        ("https://a.example", "https://A.example", None),
        ("https://a.example/{tenantid}/v2.0", "https://a.example/t-1/v2.0", "t-1"),
        ("https://a.example/{tenantid}/v2.0", "https://a.example/{tenantid}/v2.0", None),
        ("https://a.example/{tenantid}/v2.0", "https://a.example//v2.0", None),
        ("https://a.example/{tenantid}/v2.0", "https://a.example/v2.0", None),
        ("https://a.example/{tenantid}/v2.0", "https://a.example/a/b/v2.0", None),
        ("https://a.example/{tenantid}/v2.0", "https://a.example/t/v2.0\n", None),
        ("https://a.example/{tenantid}/", "https://a.example/t/", "t"),
        ("https://a.example/{tenantid}/", "https://a.example/t", None),
        ("https://a.example/{tenantid}/", "https://a.example/", None),
    ],
)
def test_an_issuer_is_compared_to_the_letter(identifier: str, iss: str, tenant: str | None) -> None:
    assert fits(identifier, iss) == tenant


def test_an_issuer_of_any_tenant_is_a_risk() -> None:
    hole = {"issuer": "https://a.example/{tenantid}/", "metadata_url": "https://a.example/common", "audience": "api"}
    told = risks(Settings(jwt_trusted_issuers=[{"name": "all", **hole}]))
    assert any("any tenant" in risk for risk in told)
    one = {"name": "all", **hole, "require": {"tid": ["t1", "t2"]}}
    assert not any("any tenant" in risk for risk in risks(Settings(jwt_trusted_issuers=[one])))
