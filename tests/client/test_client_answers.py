"""What a server's headers say, as a table; and values that come from elsewhere."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.client import TokenFile, Tokens
from asgi_auth.client.answers import Refusal, date, refusal, seconds
from asgi_auth.errors import ConfigurationError


@pytest.mark.parametrize(
    ("lines", "scheme", "said"),
    [
        (['Bearer realm="x", error="a", error_description="Why, \\"so\\""'], "Bearer", ("a", 'Why, "so"')),
        (['bearer ERROR=invalid_token'], "Bearer", ("invalid_token", "")),
        (['Bearer realm="error=\\"no\\", DPoP error=no"'], "Bearer", ("", "")),
        (['Basic realm="a", Bearer error="b", DPoP error="c"'], "Bearer", ("b", "")),
        (['Basic realm="a", Bearer error="b", DPoP error="c"'], "DPoP", ("c", "")),
        (['DPoP algs="ES256", error="use_dpop_nonce"', 'Bearer realm="x"'], "DPoP", ("use_dpop_nonce", "")),
        (['Bearer realm="x"', 'DPoP algs="ES256", error="use_dpop_nonce"'], "DPoP", ("use_dpop_nonce", "")),
        (["Negotiate YII=, Bearer error=b"], "Bearer", ("b", "")),
        (["Bearer"], "Bearer", ("", "")),
        (['DPoP error="c"'], "Bearer", ("", "")),
        (['Bearer error="a", error="b"'], "Bearer", ("a", "")),
        (['Bearer realm="x" error="a"'], "Bearer", ("a", "")),
        (['Bearer error="a'], "Bearer", ("", "")),
        ([], "Bearer", ("", "")),
    ],
)  # fmt: skip
def test_challenges_table(lines, scheme, said):
    assert refusal(lines, scheme) == Refusal(*said)


@given(st.lists(st.text(alphabet='Bearer ,="\\DPoP\terror=x', max_size=60), max_size=3))
def test_no_header_breaks_the_reader(lines):
    assert isinstance(refusal(lines, "Bearer"), Refusal)


def test_a_challenge_as_long_as_a_header_may_be_is_read_at_once():
    for line in ('Bearer a="' + "\\" * 60_000, "Bearer " + "a=b, " * 12_000, "Bearer " + "a" * 60_000, '"' * 60_000):
        refusal([line], "Bearer")


def test_dates_and_seconds():
    assert date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    assert date("") is date("yesterday") is date("Sun, 06 Nov 99999999 08:49:37 GMT") is None
    assert [seconds(text) for text in ("7", "", "-1", "7.5", "Sun, 06 Nov 1994 08:49:37 GMT")] == [7, 0, 0, 0, 0]


GOOD = {"access_token": "a", "token_type": "bearer", "expires_in": 600, "refresh_token": "r", "scope": "read"}


def test_an_answer_becomes_a_pair():
    tokens = Tokens.from_answer(GOOD, now=1000)
    assert tokens == Tokens("a", "r", "Bearer", 1600, 600, "read")


def test_a_refresh_that_names_no_new_refresh_token_keeps_the_old_one():
    before = Tokens.from_answer(GOOD, now=1000)
    after = Tokens.from_answer({"access_token": "b", "token_type": "Bearer"}, now=2000, before=before)
    assert (after.refresh_token, after.scope, after.expires_at) == ("r", "read", math.inf)


@pytest.mark.parametrize(
    "change",
    [
        {"token_type": "mac"},
        {"token_type": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "a\nb"},
        {"refresh_token": 7},
        {"expires_in": "600"},
        {"scope": ["read"]},
    ],
)
def test_what_is_no_such_answer_is_refused(change):
    with pytest.raises(ValueError, match="token"):
        Tokens.from_answer({**GOOD, **change}, now=1000)


def test_a_file_keeps_the_pair_for_this_user_alone(tmp_path):
    path = tmp_path / "deeper" / "tokens.json"
    storage = TokenFile(path)
    assert storage.load() is None
    for tokens in (Tokens.from_answer(GOOD, now=1000), Tokens("b")):
        with storage.lock():
            storage.save(tokens)
        assert storage.load() == TokenFile(path).load() == tokens
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == ["tokens.json", "tokens.json.lock"]
    with storage.lock():
        storage.save(None)
        storage.save(None)
    assert storage.load() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"access_token": 7}', json.dumps({"token": "a"})])
def test_a_file_that_holds_something_else_is_told_and_kept(tmp_path, content):
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"tokens\.json"):
        TokenFile(path).load()
    assert path.read_text() == content
