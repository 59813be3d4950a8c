"""Who may enter which path, however the path is written (`PROTECT`, `PASSIVE_PATHS`)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.http.guarding import PathRules, Rule

ANYBODY, SOMEBODY = Rule(True), Rule(False)
ADMIN, READ_WRITE = Rule(False, frozenset({"admin"})), Rule(False, frozenset({"read", "write"}))
RULES = PathRules.parse("/health=any, /docs/*=any, /admin/*=admin, /api/*=read+write, /*")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/health", ANYBODY),
        ("/docs", ANYBODY),
        ("/docs/", ANYBODY),
        ("/docs/a/b", ANYBODY),
        ("/admin", ADMIN),
        ("/admin/", ADMIN),
        ("/admin/users/1", ADMIN),
        ("/api/things", READ_WRITE),
        ("/apix", SOMEBODY),
        ("/administrator", SOMEBODY),
        ("/", SOMEBODY),
        ("", SOMEBODY),
        ("*", SOMEBODY),
        ("/anything/else", SOMEBODY),
    ],
)
def test_the_first_match_decides(path: str, rule: Rule) -> None:
    assert RULES.match(path) == rule


@pytest.mark.parametrize(
    "path",
    [
        "//admin",
        "/admin//",
        "///admin/x",
        "/x/../admin",
        "/docs/../admin/x",
        "/docs/..//admin",
        "/./admin",
        "/admin/.",
        "/admin/..",
        "/admin/../docs/x",
        "//admin/../docs/x",
        "/%61dmin",
        "/%2561dmin",
        "/%%36%31dmin",
        "/x%2f..%2fadmin",
        "/docs/%2e%2e/admin",
        "/docs/%252E%252E/admin",
        "/%2fadmin",
        "/docs\\..\\admin",
        "\\admin",
        "admin",
        "/ADMIN",
        "/Admin/users",
        "/../../admin",
    ],
)
def test_no_spelling_gets_around_a_guard(path: str) -> None:
    found = RULES.match(path)
    assert found is not None
    assert "admin" in found.scopes


@pytest.mark.parametrize(
    "path", ["/health/", "//health", "/HEALTH", "/x/../health", "/health/../x", "/%68ealth", "/health/x"]
)
def test_only_the_very_path_is_opened_to_anybody(path: str) -> None:
    assert RULES.match(path) == SOMEBODY


def test_a_path_that_reads_as_two_needs_what_both_need() -> None:
    assert RULES.match("/admin/../api/x") == Rule(False, frozenset({"admin", "read", "write"}))


def test_a_guard_on_one_path_holds_for_its_other_spellings() -> None:
    rules = PathRules.parse("/admin=admin, /*=any")
    assert {rules.match(path) for path in ("/admin", "/admin/", "//admin", "/Admin", "/%61dmin")} == {ADMIN}
    assert rules.match("/admin/x") == ANYBODY


def test_a_guard_written_in_capitals_holds() -> None:
    rules = PathRules.parse("/Admin/*=admin")
    assert rules.match("/Admin/x") == ADMIN
    assert rules.match("/admin/x") == ADMIN


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_the_root_alone(path: str) -> None:
    rules = PathRules.parse("/=admin")
    assert rules.match(path) == ADMIN
    assert rules.match("/x") is None


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_rules_match_nothing(text: str) -> None:
    assert not PathRules.parse(text)
    assert PathRules.parse(text).match("/") is None


def test_paths_without_requirements() -> None:
    passive = PathRules.parse("/poll, /live/*", requirements=False)
    assert passive.match("/poll")
    assert passive.match("/live/x")
    assert passive.match("/other") is None


@pytest.mark.parametrize(
    "entry",
    [
        "admin",
        "admin/*=admin",
        "*",
        "=admin",
        "/admin*",
        "/admin/*/x",
        "/*/admin",
        "/admin/",
        "//admin",
        "/a//b",
        "/a/../b",
        "/a/./*",
        "/%61dmin",
        "/a\\b",
        "/a b",
        "/a?b",
        "/a#b",
        "https://a.test/x",
        "/admin=",
        "/admin= ",
        "/admin=read+",
        "/admin=+",
        "/admin=a\\b",
        '/admin=a"',
        "/admin=read write",
        "/admin=é",
    ],
)
def test_a_malformed_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="'") as caught:
        PathRules.parse(f"/health=any, {entry}, /*")
    assert entry.strip().partition("=")[0] in str(caught.value).replace("\\\\", "\\")


@pytest.mark.parametrize(
    "text",
    [
        "/*, /admin/*=admin",
        "/*=any, /x",
        "/a/*=any, /a/b=admin",
        "/a/*, /A=admin",
        "/a, /a=admin",
        "/*, /*",
        "/a/*, /a/*",
    ],
)
def test_an_entry_that_would_never_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never counts"):
        PathRules.parse(text)


def test_a_requirement_among_mere_paths_is_refused() -> None:
    with pytest.raises(ValueError, match="path alone"):
        PathRules.parse("/poll=any", requirements=False)


@given(st.text("/.%25efa\\dmin", max_size=24) | st.text(max_size=12))
def test_every_path_is_guarded_under_a_rule_for_all(path: str) -> None:
    rule = RULES.match(path)
    assert rule is not None
    if rule.anybody:
        assert path == "/health" or path.startswith("/docs")


@given(st.text())
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    try:
        rules = PathRules.parse(text)
    except ValueError:
        return
    rules.match(text)


@given(st.text("/.ab-", max_size=16).map(lambda path: "/" + path))
def test_an_odder_spelling_never_needs_less(path: str) -> None:
    rules = PathRules.parse("/a/*=a, /b=b, /*")
    plain, odd, encoded = rules.match(path), rules.match("/" + path + "/"), rules.match(path.replace("a", "%61"))
    assert plain is not None
    assert odd is not None
    assert encoded is not None
    if ".." not in path.split("/"):
        assert plain.scopes <= odd.scopes
        assert plain.scopes <= encoded.scopes


def test_a_path_that_is_encoded_thousands_of_times_costs_no_more_than_another() -> None:
    """Each decoding of this one reveals the next; to decode them all took 160 s for 60 KB."""
    path = "/" + "%" * 30_000 + "3" * 30_001
    began = time.perf_counter()
    assert RULES.match(path) == SOMEBODY
    assert RULES.match("/admin/" + path) == ADMIN
    assert time.perf_counter() - began < 5
