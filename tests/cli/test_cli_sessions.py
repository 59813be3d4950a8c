"""`sessions`, `users enable`, `users delete`: what each command ends, and that it tells what it did not find."""

from __future__ import annotations

import json

import pytest
from cli_helpers import GOOD, can_log_in, with_auth

from asgi_auth import User

ALICE = User("a-1", scopes=frozenset({"read"}))


@pytest.fixture
def alice(cli):
    assert cli("users", "add", "alice", "--id", "a-1", "--scope", "read", input=GOOD + "\n").code == 0
    return "a-1"


@pytest.fixture
def sessions(store_url, alice):
    """Two of hers, the later one first."""

    async def begin(auth):
        first = await auth.issue(ALICE, client_id="cli", amr=["pwd", "otp"], acr="aal2")
        return [(await auth.issue(ALICE)).session.id, first.session.id]

    return with_auth(store_url, begin)


def alive(store_url):
    async def ids(auth):
        return {session.id for session in await auth.sessions("a-1")}

    return with_auth(store_url, ids)


@pytest.mark.parametrize("who", [["alice"], ["--id", "a-1"]])
def test_a_users_sessions_are_listed(cli, sessions, who):
    rows = json.loads(cli("sessions", "list", *who, "--json").out)
    assert {row["id"] for row in rows} == set(sessions)
    assert {row["user_id"] for row in rows} == {"a-1"}
    told = {row["id"]: (row["amr"], row["acr"]) for row in rows}
    assert told[sessions[1]] == (["pwd", "otp"], "aal2")
    table = cli("sessions", "list", *who).out
    assert all(session in table for session in sessions)
    assert "pwd otp" in table


def test_one_session_is_ended_and_no_other(cli, store_url, sessions):
    assert cli("sessions", "revoke", sessions[0]).code == 0
    assert alive(store_url) == {sessions[1]}
    done = cli("sessions", "revoke", sessions[0])
    assert done.code == 2
    assert "no session" in done.err


@pytest.mark.parametrize("text", ["x", "", "../..", "00" + "x" * 22, "é"])
def test_a_session_that_is_none_is_told(cli, alice, text):
    done = cli("sessions", "revoke", text)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_all_sessions_of_a_user_are_ended(cli, store_url, sessions):
    done = cli("sessions", "revoke-user", "alice")
    assert done.code == 0
    assert done.out == "2 sessions of alice have ended\n"
    assert alive(store_url) == set()
    assert can_log_in(store_url, "alice", GOOD)


def test_everybodys_sessions_are_ended_by_who_means_it(cli, store_url, sessions):
    done = cli("sessions", "revoke-all")
    assert done.code == 2
    assert "--yes" in done.err
    assert alive(store_url) == set(sessions)
    assert cli("sessions", "revoke-all", "--yes").code == 0
    assert alive(store_url) == set()


def test_who_was_disabled_is_enabled(cli, store_url, alice):
    cli("users", "disable", "alice")
    assert not can_log_in(store_url, "alice", GOOD)
    assert cli("users", "enable", "alice").code == 0
    assert can_log_in(store_url, "alice", GOOD)


def test_who_is_deleted_is_gone_with_all_sessions(cli, store_url, sessions):
    assert cli("users", "delete", "alice").code == 0
    assert not can_log_in(store_url, "alice", GOOD)
    assert alive(store_url) == set()
    assert cli("users", "delete", "alice").code == 2


@pytest.mark.parametrize("verb", [["sessions", "list"], ["sessions", "revoke-user"], ["users", "enable"]])
def test_who_is_not_there_is_told(cli, alice, verb):
    done = cli(*verb, "bob")
    assert done.code == 2
    assert "bob" in done.err


def test_a_revocation_from_the_command_line_counts_everywhere_when_it_returns(cli, redis_url):
    """The command follows no feed, so it waits for the longest lease; an application sees it then at the latest."""

    async def begin(auth):
        return (await auth.issue(User("a-1"))).session.id

    session = with_auth(redis_url, begin)
    assert cli("sessions", "revoke", session, store=redis_url, staleness="0.2s").code == 0
    assert alive(redis_url) == set()
