"""`token`: makes them, says what one is, and why one does not count."""

from __future__ import annotations

import json
import time

import pytest
from cli_helpers import GOOD, with_auth
from local_issuer import LocalIssuer, new_key

from asgi_auth import Auth, Settings, User
from asgi_auth.cli import verdicts
from asgi_auth.identity import Identity
from asgi_auth.tokens.dpop import thumbprint
from asgi_auth.tokens.keys import generate

ALICE = User("1", scopes={"read", "write"})


@pytest.fixture
def alice(cli):
    assert cli("users", "add", "alice", "--id", "1", "--scope", "read", "--scope", "write", input=GOOD).code == 0


def issued(cli, *arguments, **settings):
    done = cli("token", "issue", "alice", *arguments, **settings)
    assert done.code == 0, done.err
    return done.out.splitlines()


def judged(cli, token, **settings):
    done = cli("token", "verify", "--json", input=f"{token}\n", **settings)
    [found] = json.loads(done.out)
    assert done.code == (0 if found["accepted"] else 1)
    assert found["accepted"] == (found["told"] == "")
    return found


def why(cli, token, **settings):
    found = judged(cli, token, **settings)
    assert not found["accepted"]
    return found["told"], found["reasons"][0]


def counts(store_url, token, **settings):
    """What a request with it would get."""

    async def asked(auth):
        return isinstance(await auth.parts.jwt_backend.identify(token.encode()), Identity)

    return with_auth(store_url, asked)


# ------------------------------------------------------------------ issue


def test_issue_prints_the_two_tokens_and_nothing_else(cli, store_url, alice):
    done = cli("token", "issue", "alice")
    access, refresh = done.out.splitlines()
    assert counts(store_url, access)
    pair = with_auth(store_url, lambda auth: auth.refresh(refresh))
    assert pair.session.user_id == "1"
    assert f"asgi-auth sessions revoke {pair.session.id}" in done.err
    assert access not in done.err
    assert refresh not in done.err


def test_issue_is_a_login_among_the_security_events(cli, alice):
    lines = [line for line in cli("token", "issue", "alice").err.splitlines() if line.startswith("{")]
    events = [json.loads(line)["event"] for line in lines]
    assert {"session_created:1", "authn_token_created:1,read write"} <= set(events)


def test_issue_with_less_than_all(cli, alice, store_url):
    arguments = ("--scope", "read", "--client-id", "cron", "--lifetime", "1h", "--json")
    [answer] = json.loads("".join(issued(cli, *arguments)))
    assert (answer["scope"], answer["token_type"]) == ("read", "Bearer")
    facts = judged(cli, answer["refresh_token"])["reasons"]
    assert "client cron alone may use it" in facts
    assert any("another 60 minutes" in fact for fact in facts)


def test_issue_for_another_service_gives_an_access_token_alone(cli, alice):
    [token] = issued(cli, "--audience", "https://other.example")
    told, reason = why(cli, token)
    assert told == "The access token is not for this audience"
    assert reason == "it is for 'https://other.example', and we are 'asgi-auth' (JWT_AUDIENCE)"
    assert judged(cli, token, jwt_audience="https://other.example", jwt_issuer="asgi-auth")["accepted"]


def test_issue_for_a_key(cli, alice):
    jkt = thumbprint(generate("ES256"))
    access, refresh = issued(cli, "--jkt", jkt, dpop="required")
    for token in (access, refresh, *issued(cli, "--jkt", jkt, "--audience", "asgi-auth")):
        assert any(jkt in fact for fact in judged(cli, token)["reasons"])
    assert cli("token", "issue", "alice", dpop="required").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no user with the name 'nobody'"),
        (["--id", "7"], "no user with the id '7'"),
        (["alice", "--scope", "admin"], "scope"),
        (["alice", "--lifetime", "1y"], "'1y' is no duration"),
        (["alice", "--lifetime", "400d"], "SESSION_LIFETIME"),
        (["alice", "--jkt", "short"], "thumbprint"),
        (["alice", "--client-id", "an app\n"], "client_id"),
    ],
)
def test_what_cannot_be_issued_is_told_and_leaves_no_session(cli, store_url, alice, arguments, said):
    done = cli("token", "issue", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert with_auth(store_url, lambda auth: auth.sessions("1")) == []


def test_a_disabled_user_gets_none(cli, alice):
    cli("users", "disable", "alice")
    done = cli("token", "issue", "alice")
    assert (done.code, done.out) == (2, "")
    assert "may not log in" in done.err


# ------------------------------------------------------------------ verify


def test_a_token_that_counts(cli, alice):
    access, refresh = issued(cli)
    for token in (access, f"Bearer {access}", refresh):
        done = cli("token", "verify", input=token)
        assert done.code == 0
        assert done.out.startswith("It is accepted:\n  it is ")
    assert "user 1, session " in done.out


def test_looking_at_a_token_uses_nothing_up(cli, alice, store_url):
    _, first = issued(cli)
    pair = with_auth(store_url, lambda auth: auth.refresh(first))
    for token in (pair.access_token, pair.refresh_token, first):
        judged(cli, token)
    # Had its successor been seen, this would end the session once the grace is over.
    again = with_auth(store_url, lambda auth: auth.refresh(first), refresh_grace=0)
    assert again.refresh_token == pair.refresh_token


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_token_is_no_argument_and_is_not_repeated(cli, command):
    done = cli("token", command, "eyJhbGciOi.secret.secret")
    assert (done.code, done.out) == (2, "")
    assert "secret" not in done.err
    assert "standard input" in done.err


@pytest.mark.parametrize("input", ["", "\n", "Bearer \n", "a" * 70_000])
def test_no_token_at_all(cli, input):
    assert cli("token", "verify", input=input).code == 2


REVOKED = "The access token was revoked"


@pytest.mark.parametrize(
    ("end", "told", "said"),
    [
        (["sessions", "revoke-user", "alice"], REVOKED, "has ended: it was revoked"),
        (["users", "disable", "alice"], REVOKED, "has ended: the user was disabled"),
        (["users", "delete", "alice"], REVOKED, "has ended: the user was deleted"),
        (["users", "passwd", "alice"], REVOKED, "has ended: the password was changed"),
        (["sessions", "revoke-all", "--yes"], REVOKED, "has ended"),
    ],
)
def test_what_ended_a_login_is_told(cli, alice, end, told, said):
    access, refresh = issued(cli)
    assert cli(*end, input="another good password\n").code == 0
    assert why(cli, access)[0] == told
    for token in (access, refresh):
        assert said in why(cli, token)[1] or "known here" in why(cli, token)[1]


def test_out_of_date_says_of_which_revision(cli, alice, store_url):
    access, refresh = issued(cli)
    with_auth(store_url, lambda auth: auth.update_user("1", scopes={"read"}))
    told, reason = why(cli, access)
    assert told == "The access token is out of date"
    assert "this is revision 2, the token was made for 1" in reason
    assert judged(cli, refresh)["accepted"]


def test_one_token_that_was_revoked_by_itself(cli, alice, store_url):
    access, refresh = issued(cli)
    with_auth(store_url, lambda auth: auth.revoke_token(access))
    told, reason = why(cli, access)
    assert (told, "this one token was revoked" in reason) == (REVOKED, True)
    assert judged(cli, refresh)["accepted"]


def test_a_refresh_token_that_was_used(cli, alice, store_url):
    _, first = issued(cli)
    with_auth(store_url, lambda auth: auth.refresh(first))
    told, reason = why(cli, first)
    assert told == "The grant is invalid, expired or revoked"
    assert "not the current one, which is number 2" in reason


def test_a_token_of_another_store_or_secret(cli, alice, tmp_path):
    access, refresh = issued(cli)
    elsewhere = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    assert "no key here is named" in why(cli, access, store=elsewhere)[1]
    assert "none of ours" in why(cli, refresh, store=elsewhere)[1]


def test_an_expired_token_says_since_when(cli, store_url):
    async def made():
        async with Auth(Settings(store=store_url), clock=lambda: time.time() - 3600) as auth:
            return await auth.issue(ALICE)

    import anyio

    told, reason = why(cli, anyio.run(made).access_token)
    assert told == "The access token expired"
    assert "it expired 50 minutes ago" in reason


def test_without_revocation_it_says_that_nobody_was_asked(cli, alice):
    access, _ = issued(cli)
    cli("sessions", "revoke-user", "alice")
    assert "JWT_REVOCATION is off" in judged(cli, access, jwt_revocation="off")["reasons"][-1]


def test_where_no_tokens_count_none_is_judged(cli):
    assert cli("token", "verify", input="a.b.c", backends="session").code == 2


@pytest.mark.parametrize("token", ["", "a.b.c", "ü.b.c", "\u202e"])
def test_the_verdict_is_that_of_the_backend(cli, alice, store_url, token):
    access, _ = issued(cli)
    for one in (access, access[:-1], access + token, token or "x"):
        assert judged(cli, one)["accepted"] == counts(store_url, one)


def test_every_end_has_its_words():
    from typing import get_args

    from asgi_auth.model import Reason

    assert set(verdicts._ENDS) == set(get_args(Reason))


# ------------------------------------------------------------------ inspect


def seen(cli, token):
    done = cli("token", "inspect", "--json", input=f"{token}\n", store="sqlite:////nowhere/at/all.sqlite3")
    assert done.code == 0, done.err
    return {(row["part"], row["name"]): row for row in json.loads(done.out)}


def test_inspect_needs_neither_key_nor_store_and_says_times_in_words(cli, alice):
    access, refresh = issued(cli)
    rows = seen(cli, access)
    assert rows["token", "kind"]["value"] == "an access token (RFC 9068)"
    assert rows["header", "alg"]["value"] == "ES256"
    assert rows["claim", "sub"]["value"] == "1"
    assert rows["claim", "exp"]["words"].endswith(("in 10 minutes", "in 9 minutes"))
    assert rows["claim", "iat"]["words"].endswith("ago")
    assert seen(cli, refresh)["token", "generation"]["value"] == 1
    shown = cli("token", "inspect", input=access).out + cli("token", "inspect", input=refresh).out
    assert access.rpartition(".")[2] not in shown
    assert refresh.split(".")[2] not in shown


E = "e30"  # {}


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("a.b.c.d.e", "an encrypted token (JWE)"),
        ("nothing", "no token that is known here"),
        ("a.b.c", "no token that is known here"),
        (f"{E}.{E}.", "a signed token (JWS)"),
        ("eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.x", "a DPoP proof (RFC 9449)"),
        ("eyJ0eXAiOiJKV1QifQ.eyJub25jZSI6Im4ifQ.x", "a signed token (JWS), by its claims an ID token"),
        ("\u202e.\x1b[31m.x", "no token that is known here"),
    ],
)  # fmt: skip
def test_what_a_token_seems_to_be(cli, token, kind):
    assert seen(cli, token)["token", "kind"]["value"] == kind


def test_what_cannot_be_read_is_told(cli):
    assert seen(cli, "eyJhIjoxLCJhIjoyfQ.e30.x")["token", "header"]["value"] == "has the member 'a' twice"
    assert seen(cli, f"{E}.W10.x")["token", "payload"]["value"] == "is no JSON object"
    assert seen(cli, "eyJhbGciOiJub25lIn0.e30.")["header", "alg"]["words"] == "nobody has signed it"


def test_nothing_that_a_token_says_moves_the_cursor(cli):
    from asgi_auth.tokens.jose import json_segment

    out = cli("token", "inspect", input=f"{json_segment({})}.{json_segment({'sub': chr(27) + '[2J'})}.x").out
    assert chr(27) not in out


# ------------------------------------------------------------------ other issuers


@pytest.fixture
def idp():
    issuer = LocalIssuer()
    yield issuer
    issuer.stop()


def trusting(idp):
    records = [{"name": "corp", "issuer": idp.url, "audience": "api", "scopes": ["read"]}]
    return {"jwt_trusted_issuers": json.dumps(records)}


def test_a_token_of_another_issuer_is_judged_by_its_record(cli, idp):
    facts = judged(cli, idp.token(scope="read write"), **trusting(idp))["reasons"]
    assert facts[0].startswith(f"it is a token of the issuer corp, {idp.url}, for user corp:")
    assert facts[1] == "its scope here is read"


def test_what_is_wrong_with_a_token_of_another_issuer(cli, idp):
    assert why(cli, idp.token(aud="web"), **trusting(idp)) == (
        "The access token is not for this audience",
        "it is for 'web', given to {'client_id': 'cli'}; the record wants audience 'api'",
    )
    told, reason = why(cli, idp.token(head={"typ": "JWT"}), **trusting(idp))
    assert (told, reason) == ("The access token is invalid", "its typ is 'JWT', and tokens of corp have 'at+jwt' (typ)")
    assert "the signature is not" in why(cli, idp.token(key=new_key(kid=idp.key.kid)), **trusting(idp))[1]
    assert "it names the key" in why(cli, idp.token(key=new_key()), **trusting(idp))[1]
    assert "bound to no key" in why(cli, idp.token(), dpop="required", **trusting(idp))[1]
    told, reason = why(cli, idp.token())
    assert "its typ" in reason or "no key here" in reason  # without a record it is a stranger's


def test_an_issuer_that_gives_no_answer_leaves_it_open(cli, idp):
    token, settings = idp.token(), trusting(idp)
    idp.stop()
    done = cli("token", "verify", input=token, **settings)
    assert (done.code, done.out) == (2, "")
    assert "gives no answer" in done.err


@pytest.mark.parametrize("dpop", ["off", "optional", "required"])
def test_whether_a_bound_token_counts_is_the_settings_say(cli, alice, dpop):
    jkt = thumbprint(generate("ES256"))
    bound, unbound = issued(cli, "--jkt", jkt)[0], issued(cli)[0]
    assert judged(cli, bound, dpop=dpop)["accepted"] == (dpop != "off")
    assert judged(cli, unbound, dpop=dpop)["accepted"] == (dpop != "required")
