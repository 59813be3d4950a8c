"""`users`: what each command does to the store, and what it never takes or shows."""

from __future__ import annotations

import json
from functools import partial

import pytest
from cli_helpers import GOOD, OTHER, can_log_in, with_auth

from asgi_auth import User
from asgi_auth.model import UserRow


@pytest.fixture
def alice(cli):
    """Her id."""
    assert cli("users", "add", "alice", "--id", "a-1", input=GOOD + "\n").code == 0
    return "a-1"


def listed(cli):
    done = cli("users", "list", "--json")
    assert done.code == 0
    return json.loads(done.out)


# Passwords


def test_users_add_takes_a_password_from_a_prompt_or_standard_input_only(command, terminal, store_url):
    assert command("users", "add", "alice", input=GOOD + "\n").code == 0
    assert can_log_in(store_url, "alice", GOOD)
    assert terminal(["users", "add", "bob"], [("Password: ", OTHER + "\n"), ("again: ", OTHER + "\n")]).code == 0
    assert can_log_in(store_url, "bob", OTHER)
    for attempt in ([OTHER], ["--password", OTHER], [f"--password={OTHER}"]):
        done = command("users", "add", "carol", *attempt, input=OTHER + "\n")
        assert done.code == 2
        assert OTHER not in done.out + done.err
    assert not can_log_in(store_url, "carol", OTHER)


def test_a_prompt_shows_nothing_of_what_is_typed(terminal):
    done = terminal(["users", "add", "alice"], [("Password: ", GOOD + "\n"), ("again: ", GOOD + "\n")])
    assert done.code == 0
    assert "Added alice" in done.out
    assert GOOD not in done.out


def test_two_different_passwords_at_a_prompt_change_nothing(terminal, cli):
    done = terminal(["users", "add", "alice"], [("Password: ", GOOD + "\n"), ("again: ", OTHER + "\n")])
    assert (done.code, listed(cli)) == (2, [])
    assert "differ" in done.out


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 2), ("\n", 2)], ids=["ctrl-c", "ctrl-d", "enter"])
def test_whoever_leaves_a_prompt_gets_no_traceback(terminal, cli, key, code):
    done = terminal(["users", "add", "alice"], [("Password: ", key)])
    assert (done.code, listed(cli)) == (code, [])
    assert "Traceback" not in done.out


@pytest.mark.parametrize("text", [GOOD, GOOD + "\n", GOOD + "\r\n", GOOD + "\nmore\n"])
def test_a_password_is_the_first_line_of_standard_input(cli, store_url, text):
    assert cli("users", "add", "alice", input=text).code == 0
    assert can_log_in(store_url, "alice", GOOD)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no password"),
        (b"\n", "no password"),
        (b"\xff\xfe not text, but long enough\n", "UTF-8"),
        (b"short\n", "too short"),
        (b"x" * 9000 + b"\n", "too long"),
        (b"passwordpassword\n", "commonest"),
    ],
)
def test_a_bad_password_is_refused_with_the_reason(cli, text, why):
    done = cli("users", "add", "alice", input=text)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert listed(cli) == []


# add


def test_add_keeps_all_that_it_is_told(cli):
    arguments = ["--scope", "read", "--scope", "orders:write admin", "--id", "42", "--display-name", "Alice A."]
    assert cli("users", "add", "Alice", *arguments, input=GOOD).code == 0
    assert listed(cli) == [
        {
            "id": "42",
            "display_name": "Alice A.",
            "scopes": ["admin", "orders:write", "read"],
            "claims": {},
            "name": "Alice",
            "disabled": False,
        }
    ]


def test_add_tells_the_new_id(cli):
    done = cli("users", "add", "alice", input=GOOD)
    assert done.out == f"Added alice, id {listed(cli)[0]['id']}\n"


def test_a_taken_name_is_told_before_a_password_is_asked_for(cli, alice):
    done = cli("users", "add", "ALICE", input="")
    assert (done.code, done.err) == (2, "another user has this name\n")


def test_a_taken_id_is_refused(cli, alice):
    done = cli("users", "add", "bob", "--id", alice, input=GOOD)
    assert (done.code, done.err) == (2, "another user has this id\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([""], "a user's name has 1 to 255 characters"),
        ([" alice"], "space"),
        (["a\nb"], "control characters"),
        (["alice", "--scope", 'a"b'], "is no scope"),
        (["alice", "--id", ""], "a user's id is"),
        (["alice", "--id", "x" * 256], "a user's id is"),
        (["alice", "--id", "a\x1bb"], "control characters"),
    ],
)
def test_what_no_user_can_be_called_is_refused_before_a_password_is_asked_for(cli, arguments, why):
    done = cli("users", "add", *arguments, input="")
    assert (done.code, done.out) == (2, "")
    assert why in done.err


# passwd and disable


@pytest.mark.parametrize("who", [["Alice"], ["--id", "a-1"]])
def test_passwd_replaces_the_password_and_ends_all_sessions(cli, store_url, alice, who):
    with_auth(store_url, lambda auth: auth.issue(User(alice)))
    done = cli("users", "passwd", *who, input=OTHER)
    assert done.code == 0
    assert OTHER not in done.out + done.err
    assert (can_log_in(store_url, "alice", GOOD), can_log_in(store_url, "alice", OTHER)) == (False, True)
    assert with_auth(store_url, lambda auth: auth.sessions(alice)) == []


@pytest.mark.parametrize("who", [["ALICE"], ["--id", "a-1"]])
def test_disable_lets_nobody_in_and_ends_all_sessions(cli, store_url, alice, who):
    with_auth(store_url, lambda auth: auth.issue(User(alice)))
    assert cli("users", "disable", *who).code == 0
    assert not can_log_in(store_url, "alice", GOOD)
    assert with_auth(store_url, lambda auth: auth.sessions(alice)) == []
    assert [user["disabled"] for user in listed(cli)] == [True]


@pytest.mark.parametrize("verb", ["passwd", "disable"])
@pytest.mark.parametrize("who", [["nobody"], ["--id", "nobody"]])
def test_who_is_not_there_is_told_before_a_password_is_asked_for(cli, alice, verb, who):
    done = cli("users", verb, *who, input="")
    assert (done.code, done.out) == (2, "")
    assert "there is no user" in done.err
    assert "nobody" in done.err


@pytest.mark.parametrize("verb", ["passwd", "disable"])
@pytest.mark.parametrize("who", [[], ["alice", "--id", "a-1"]])
def test_a_user_is_named_in_one_way(cli, alice, verb, who):
    done = cli("users", verb, *who, input="")
    assert (done.code, done.err) == (2, "Give the user's name or --id, one of them\n")


def test_a_deleted_user_is_nobody(cli, store_url, alice):
    with_auth(store_url, lambda auth: auth.delete_user(alice))
    assert cli("users", "disable", "--id", alice).code == 2
    assert listed(cli) == []


# list


def test_users_list_goes_through_all_pages(cli, store_url):
    async def many(auth):
        for number in range(250):
            await auth.parts.store.save_user(UserRow(f"u{number:03}"), expected=None)

    with_auth(store_url, many)
    assert [user["id"] for user in listed(cli)] == [f"u{number:03}" for number in range(250)]
    lines = cli("users", "list").out.splitlines()
    assert len(lines) == 251
    assert lines[0].split() == ["ID", "NAME", "DISPLAY", "NAME", "SCOPES", "STATE"]


def test_a_list_of_nobody_is_an_empty_list(cli):
    assert listed(cli) == []


def test_a_line_of_a_list_is_never_cut(cli, store_url):
    long = "x" * 250
    with_auth(store_url, lambda auth: auth.parts.store.save_user(UserRow(long, display_name=long), expected=None))
    assert cli("users", "list").out.splitlines()[1].split() == [long, long]


def test_control_characters_in_names_are_shown_escaped(cli, store_url):
    name = "a\x1b]0;b\x07\nroot \u202e\x9b[31m[red]:smile:"
    row = UserRow("evil", display_name=name)
    with_auth(store_url, lambda auth: auth.parts.store.save_user(row, expected=None))
    assert listed(cli)[0]["display_name"] == name
    out = cli("users", "list").out
    assert r"a\x1b]0;b\x07\nroot \u202e\x9b[31m[red]:smile:" in out
    assert all(character.isprintable() or character == "\n" for character in out)


def test_no_list_holds_a_password_hash(cli, alice):
    assert "argon2" not in cli("users", "list").out + cli("users", "list", "--json").out


# Around


def test_what_was_done_is_a_security_event_and_what_the_command_itself_did_is_none(cli):
    done = cli("users", "add", "alice", "--id", "a-1", input=GOOD)
    assert [json.loads(line)["event"] for line in done.err.splitlines()] == ["user_created:unknown,a-1"]
    done = cli("users", "passwd", "alice", input=OTHER)
    assert [json.loads(line)["event"] for line in done.err.splitlines()] == ["authn_password_change:a-1"]
    assert cli("users", "list").err == ""


def test_a_directory_of_the_application_keeps_its_own_names(command, tmp_path, store_url):
    (tmp_path / "people.py").write_text("async def verify(username, password):\n    return None\n")
    with_auth(store_url, lambda auth: auth.parts.store.save_user(UserRow("7"), expected=None))
    theirs = partial(command, users="people:verify")
    done = theirs("users", "add", "alice", input=GOOD)
    assert (done.code, done.out) == (2, "")
    assert "ASGI_AUTH_USERS" in done.err
    assert theirs("users", "disable", "--id", "7").code == 0
    assert json.loads(theirs("users", "list", "--json").out)[0]["disabled"] is True


def test_users_and_keys_stand_in_redis_too(command, redis_url):
    on_redis = partial(command, store=redis_url)
    assert on_redis("users", "add", "alice", "--scope", "read", input=GOOD).code == 0
    assert can_log_in(redis_url, "alice", GOOD)
    assert [user["name"] for user in json.loads(on_redis("users", "list", "--json").out)] == ["alice"]
    assert on_redis("keys", "rotate").code == 0
    assert [key["signs"] for key in json.loads(on_redis("keys", "list", "--json").out)] == [True, False, False]
