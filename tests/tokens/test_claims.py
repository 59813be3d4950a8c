"""The two ways of reading claims: the short one for what we write, and the plain one, which decides."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from token_forge import NOW, TOKENS, claims, signing_key

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.claims import Claims, read_any, read_usual
from asgi_auth.tokens.jose import parse

KEY = signing_key("HS256")
THUMBPRINT = "clP87VYjEjHbmRymtOBdjE-iMs-pn9WEOPlEAQRADkk"


def issued(**changes: Any) -> bytes:
    asked: dict[str, Any] = {
        "subject": "42",
        "session_id": "00session",
        "generation": 1,
        "client_id": "cli",
        "scope": "read",
        "auth_time": NOW,
        "amr": {"pwd": NOW},
        "revision": 1,
        "now": NOW,
        "lifetime": 600,
    }
    return parse(TOKENS.issue(KEY, **{**asked, **changes}).encode()).payload


def written(**changes: Any) -> bytes:
    """As `issue` writes it."""
    return json.dumps(claims(**changes), separators=(",", ":"), ensure_ascii=False).encode()


def plainly(payload: bytes) -> Claims | None:
    try:
        return read_any(payload)
    except InvalidToken:
        return None


def all_of(claims: Claims | None) -> str:
    """Types too: 1, 1.0 and True are equal."""
    assert claims is not None
    return repr((claims._replace(all=None), claims.payload))


def agree(payload: bytes) -> None:
    """What is read the short way is what is read plainly, to the type."""
    short = read_usual(payload)
    if short is not None:
        assert all_of(short) == all_of(plainly(payload))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scope": ""},
        {"scope": "read write orders:write"},
        {"subject": "ü\u2603\U0001f600"},
        {"amr": {"pwd": NOW, "otp": NOW}},
        {"acr": "urn:two"},
        {"jkt": THUMBPRINT},
        {"jkt": THUMBPRINT, "acr": "urn:two"},
        {"generation": 999, "history": ("0badcafe", 7)},
        {"auth_time": 0, "amr": {"pwd": 0}, "revision": 0},
    ],
)
def test_what_we_issue_is_read_the_short_way(changes: dict[str, Any]) -> None:
    payload = issued(**changes)
    assert read_usual(payload) is not None
    agree(payload)


@pytest.mark.parametrize("changes", [{"subject": 'a"b'}, {"subject": "a\\b"}, {"amr": {"pwd": NOW, "otp": NOW - 60}}])
def test_what_the_short_way_does_not_know_is_read_plainly(changes: dict[str, Any]) -> None:
    payload = issued(**changes)
    assert read_usual(payload) is None
    assert read_any(payload).payload["sub"] == changes.get("subject", "42")


def test_nobody_can_change_the_claims_whichever_way_they_were_read() -> None:
    for read in (read_usual(written()), read_any(written())):
        assert read is not None
        for change in (lambda said: said.pop("sub"), lambda said: said["amr"].append("otp")):
            with pytest.raises(TypeError):
                change(read.payload)


texts = st.text(max_size=8) | st.sampled_from(
    ["", "a\x7f", "a\nb", '","', '":"', "\\", "pwd", "1.abc", "0.a", "read write", "x" * 255, "x" * 256]
)
numbers = st.integers(-2, 2**54) | st.sampled_from([-1, 0, 1.0, True, 10**15 - 1, 10**15, 2**53, 2**53 + 1, 10**30])
values = texts | numbers | st.none() | st.lists(texts | numbers, max_size=3) | st.dictionaries(texts, texts, max_size=2)


@given(st.dictionaries(st.sampled_from([*claims(), "acr", "amr_at", "cnf", "foo"]), values, max_size=3))
@example({"amr": ['pwd","otp']})
@example({"all": 7, "payload": 7})
@example({"exp": 2**53, "acr": "x"})
@settings(max_examples=400)
def test_both_ways_agree_on_every_value(changes: dict[str, Any]) -> None:
    agree(
        json.dumps({**claims(), **changes}, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    )


PIECES = [
    *(
        b'"',
        b"\\",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b" ",
        b"\n",
        b"\x00",
        b"\x7f",
        b"\xff",
        b"0",
        b"-",
        b"1e3",
        b".5",
    ),
    *(
        b"\\u0041",
        b"\\ud800",
        b'"sub":"43",',
        b'"exp":1,',
        b',"acr":"x"',
        b',"acr":""',
        b',"cnf":{"jkt":"' + THUMBPRINT.encode() + b'"}',
        b',"cnf":{}',
        b"\xc3\xbc",
        b"\xef\xbb\xbf",
    ),
    *(b"null", b"true", b"NaN", "１".encode(), b'","', b'["pwd"]', b"99999999999999999"),
]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), st.sampled_from([b"", *PIECES])), max_size=3),
    st.booleans(),
)
@settings(max_examples=600)
def test_both_ways_agree_on_every_payload(splices: list[tuple[int, int, bytes]], with_acr: bool) -> None:
    """A good payload, with pieces of it cut out and others put in."""
    payload = written(acr="urn:two" if with_acr else None)
    for at, length, piece in splices:
        payload = payload[:at] + piece + payload[at + length :]
    agree(payload)


@pytest.mark.parametrize("piece", PIECES)
def test_both_ways_agree_wherever_a_piece_is_put_in(piece: bytes) -> None:
    payload = written()
    for at in range(len(payload) + 1):
        agree(payload[:at] + piece + payload[at:])
