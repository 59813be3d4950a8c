"""Bodies that two readers could understand differently are refused (ASVS 15.3, RFC 6749 §3.2)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.errors import InvalidRequest
from asgi_auth.http.bodies import MAX_MEMBERS, Form, flag, parse_body, text
from asgi_auth.http.strict import MAX_DEPTH

JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (JSON, b"{}", {}),
        (JSON, b' {"a": [1, 2.5, null, true], "b": {"c": "d"}} ', {"a": [1, 2.5, None, True], "b": {"c": "d"}}),
        (JSON, '{"a": "é😀"}'.encode(), {"a": "é😀"}),
        (JSON, b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (JSON, b'{"a": "[[[[[[[[[[[[[[[[[[[[\\"{{{{"}', {"a": "[" * 20 + '"{{{{'}),
        (b"Application/JSON; charset=UTF-8", b"{}", {}),
        (b'application/json ;Charset="utf-8"', b"{}", {}),
        (FORM, b"", {}),
        (FORM, b"a=b&c=d+e%20f%26", {"a": "b", "c": "d e f&"}),
        (FORM, b"a=&b&c=d", {"c": "d"}),
        (FORM, b"a=%C3%A9&b=\xc3\xa9", {"a": "é", "b": "é"}),
        (FORM, b"a=1;b=2", {"a": "1;b=2"}),
        (FORM + b"; charset=utf-8", b"a=b", {"a": "b"}),
    ],
)
def test_well_formed_bodies(content_type: bytes, body: bytes, expected: dict[str, object]) -> None:
    assert parse_body(content_type, body, form=True) == expected


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, b"{}"),
        (b"", b"{}"),
        (b"text/plain", b"{}"),
        (b"application/jsonx", b"{}"),
        (b"multipart/form-data; boundary=x", b""),
        (b"application/json; charset=latin-1", b"{}"),
        (FORM + b"; charset=utf-16", b"a=b"),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"{}{}"),
        (JSON, b"[]"),
        (JSON, b"null"),
        (JSON, b'"a"'),
        (JSON, b"{'a': 1}"),
        (JSON, b'{"a": 1, "a": 1}'),
        (JSON, b'{"b": [{"a": 1, "\\u0061": 2}]}'),
        (JSON, b'{"a": NaN}'),
        (JSON, b'{"a": -Infinity}'),
        (JSON, b'{"a": 1e999}'),
        (JSON, b'{"a": ' + b"9" * 15_000 + b"x}"),
        (JSON, b'{"a": "\\ud800"}'),
        (JSON, b'{"\\udfff": 1}'),
        (JSON, b'{"a": "\xff"}'),
        (JSON, b'\xef\xbb\xbf{"a": 1}'),
        (JSON, '{"a": 1}'.encode("utf-16")),
        (JSON, b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"),
        (JSON, b"[" * 16_000),
        (JSON, b'{"a":' * 3_000),
        (FORM, b"a=1&a=1"),
        (FORM, b"a=&a=1"),
        (FORM, b"a=1&%61=2"),
        (FORM, b"a=%FF"),
        (FORM, b"a=\xff"),
        (FORM, b"a=%ED%A0%80"),
        (FORM, b"a=%00"),
        (FORM, b"%00=a"),
        (FORM, b"&".join(b"a%d=1" % number for number in range(MAX_MEMBERS + 1))),
    ],
)
def test_bodies_that_are_refused(content_type: bytes | None, body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(content_type, body, form=True)
    assert caught.value.description.isascii()
    assert not {'"', "\\"} & set(caught.value.description)


def test_the_deepest_body_is_taken() -> None:
    deepest = b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert "a" in parse_body(JSON, deepest, form=False)


def test_a_form_is_refused_where_only_json_is_taken() -> None:
    with pytest.raises(InvalidRequest, match=r"application/json$"):
        parse_body(FORM, b"a=b", form=False)


@given(
    st.sampled_from([JSON, FORM, None]) | st.binary(), st.binary() | st.text('{}[]":,\\u0dae1NnI&=%').map(str.encode)
)
def test_no_body_raises_anything_but_invalid_request(content_type: bytes | None, body: bytes) -> None:
    try:
        members = parse_body(content_type, body, form=True)
    except InvalidRequest:
        return
    json.dumps(members, allow_nan=False, ensure_ascii=False).encode()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3), st.booleans())
def test_what_json_can_say_is_read_as_it_was_said(members: dict[str, object], ascii_only: bool) -> None:
    try:
        body = json.dumps(members, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    try:
        assert parse_body(JSON, body, form=False) == members
    except InvalidRequest:
        nested = json.dumps(members)
        assert "\\ud" in nested or nested.count("[") + nested.count("{") > MAX_DEPTH


@pytest.mark.parametrize("value", [1, True, None, [], {}, "a\0b"])
def test_a_member_of_a_wrong_type_is_named(value: object) -> None:
    for required in (True, False):
        with pytest.raises(InvalidRequest, match="username"):
            text({"username": value}, "username", required=required)


@pytest.mark.parametrize("body", [{}, {"username": ""}])
def test_a_required_text_that_is_missing_is_named(body: dict[str, object]) -> None:
    assert text(body, "username") is None
    with pytest.raises(InvalidRequest, match="username is missing"):
        text(body, "username", required=True)


def test_a_text_is_handed_on_as_it_is() -> None:
    assert text({"password": " é "}, "password", required=True) == " é "


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, False),
        ({"remember": True}, True),
        ({"remember": False}, False),
        (Form(remember="true"), True),
        (Form(remember="on"), True),
        (Form(remember="1"), True),
        (Form(remember="0"), False),
        (Form(), False),
    ],
)
def test_flags(body: dict[str, object], expected: bool) -> None:
    assert flag(body, "remember") is expected


@pytest.mark.parametrize(
    "body",
    [
        {"remember": "true"},
        {"remember": "on"},
        {"remember": ""},
        {"remember": 1},
        {"remember": 0},
        {"remember": None},
        {"remember": []},
        Form(remember="True"),
        Form(remember="yes"),
        Form(remember=" on"),
    ],
)
def test_a_flag_that_is_none_is_named(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="remember"):
        flag(body, "remember")


def test_a_form_keeps_its_kind_so_that_json_texts_are_no_flags() -> None:
    assert flag(parse_body(FORM, b"remember=on", form=True), "remember")
    with pytest.raises(InvalidRequest):
        flag(parse_body(JSON, b'{"remember": "on"}', form=True), "remember")
