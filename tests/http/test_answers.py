"""Refusals with their challenges, privacy in caches, CORS (RFC 6750 §3, RFC 9470 §3, WHATWG Fetch)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth import errors
from asgi_auth.errors import CredentialError
from asgi_auth.http.answers import (
    Answer,
    HeaderList,
    Schemes,
    cors_headers,
    empty_answer,
    json_answer,
    make_private,
    preflight,
    refusal,
)

REALM = "app.example.com"
ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, CredentialError)]
CHALLENGE = re.compile(r'(Bearer|Basic) (?:[a-z_]+="[\x20\x21\x23-\x5b\x5d-\x7e]*"(?:, |\Z))+')


def _header(answer: Answer, name: bytes) -> str | None:
    found = [value.decode("ascii") for key, value in answer.headers if key == name]
    assert len(found) <= 1
    return found[0] if found else None


def _challenge(error: CredentialError) -> str | None:
    return _header(refusal(error, schemes=Schemes(REALM)), b"www-authenticate")


@pytest.mark.parametrize("error", ERRORS)
def test_every_answer_of_ours_is_typed_and_nosniff(error: type[CredentialError]) -> None:
    answer = refusal(error(), schemes=Schemes(REALM))
    assert answer.status == error.status
    assert _header(answer, b"content-type") == "application/json"
    assert _header(answer, b"content-length") == str(len(answer.body))
    assert _header(answer, b"x-content-type-options") == "nosniff"
    assert _header(answer, b"cache-control") == "no-store"
    assert json.loads(answer.body) == {"error": error.code, "error_description": error.default}


def test_json_of_ours_cannot_be_included_by_another_site() -> None:
    assert _header(json_answer(200, {}), b"cross-origin-resource-policy") == "same-origin"


@pytest.mark.parametrize("error", [error for error in ERRORS if error.status == 401])
def test_every_401_has_a_challenge(error: type[CredentialError]) -> None:
    assert CHALLENGE.fullmatch(_challenge(error()) or "")


@pytest.mark.parametrize("error", [errors.LoginRequired, errors.InvalidCredentials])
def test_nobody_gets_a_challenge_without_error(error: type[CredentialError]) -> None:
    assert _challenge(error(scope="read", max_age=5)) == 'Bearer realm="app.example.com"'


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            errors.InvalidToken(errors.InvalidToken.EXPIRED),
            'Bearer realm="app.example.com", error="invalid_token", error_description="The access token expired"',
        ),
        (
            errors.InsufficientScope(scope="orders:write read"),
            'Bearer realm="app.example.com", error="insufficient_scope", '
            'error_description="The scope does not allow this", scope="orders:write read"',
        ),
        (
            errors.MalformedAuthorization("Twice"),
            'Bearer realm="app.example.com", error="invalid_request", error_description="Twice"',
        ),
        (errors.InvalidRequest("Twice"), None),
        (errors.CookieNotKept(), None),
        (errors.InvalidGrant(), None),
        (errors.CrossOrigin(), None),
        (errors.Unavailable(), None),
        (errors.InvalidClient(), 'Basic realm="app.example.com"'),
    ],
)
def test_bearer_errors_table(error: CredentialError, expected: str | None) -> None:
    assert _challenge(error) == expected


EXPIRED = errors.InvalidToken(errors.InvalidToken.EXPIRED)
TOLD = 'error="invalid_token", error_description="The access token expired"'
ALGORITHMS = ("ES256", "Ed25519")


@pytest.mark.parametrize(
    ("error", "schemes", "expected"),
    [
        (errors.LoginRequired(), {}, ["Bearer realm", "DPoP realm algs"]),
        (EXPIRED, {}, ["Bearer realm told", "DPoP realm algs"]),
        (EXPIRED, {"used": True}, ["Bearer realm", "DPoP realm told algs"]),
        (EXPIRED, {"bearer": False}, ["DPoP realm told algs"]),
        (EXPIRED, {"algorithms": (), "used": True}, ["Bearer realm told"]),
        (errors.LoginRequired(), {"bearer": False}, ["DPoP realm algs"]),
        (errors.InvalidClient(), {"used": True}, ["Basic realm"]),
        (errors.InvalidProof(), {"used": True}, []),
    ],
)
def test_a_401_names_every_scheme_that_would_do_and_the_error_in_the_one_used(
    error: CredentialError, schemes: dict[str, Any], expected: list[str]
) -> None:
    """RFC 9449 §7.1. A 400 of the token endpoint has no challenge."""
    said = Schemes(**{"realm": REALM, "algorithms": ALGORITHMS, **schemes})
    answer = refusal(error, schemes=said)
    parts = {"realm": f'realm="{REALM}"', "told": TOLD, "algs": 'algs="ES256 Ed25519"'}
    lines = [f"{scheme} " + ", ".join(parts[part] for part in rest) for scheme, *rest in map(str.split, expected)]
    assert [value.decode() for name, value in answer.headers if name == b"www-authenticate"] == lines


@pytest.mark.parametrize(
    ("error", "code"), [(errors.InvalidProof, "invalid_dpop_proof"), (errors.NonceWanted, "use_dpop_nonce")]
)
def test_a_proof_that_will_not_do_is_answered_by_the_rfc(error: type[errors.InvalidProof], code: str) -> None:
    """RFC 9449 §5, §7.1, §8: 400 where a token is asked for, 401 elsewhere; one nonce."""
    for status in (400, 401):
        refused = error(nonce="a-nonce")
        refused.status = status
        answer = refusal(refused, schemes=Schemes(REALM, algorithms=ALGORITHMS, used=True))
        assert (answer.status, json.loads(answer.body)["error"]) == (status, code)
        assert _header(answer, b"dpop-nonce") == "a-nonce"
        challenges = [value.decode() for name, value in answer.headers if name == b"www-authenticate"]
        assert [f'error="{code}"' in one for one in challenges] == ([] if status == 400 else [False, True])


def test_step_up_names_the_age_and_the_scope() -> None:
    assert _challenge(errors.InsufficientUserAuthentication("Again", max_age=300, scope="pay")) == (
        'Bearer realm="app.example.com", error="insufficient_user_authentication", '
        'error_description="Again", scope="pay", max_age="300"'
    )


def test_a_login_that_must_be_of_now_has_the_age_zero() -> None:
    assert 'max_age="0"' in (_challenge(errors.InsufficientUserAuthentication(max_age=0)) or "")


@given(st.sampled_from(ERRORS), st.text(min_size=1), st.text(), st.text())
def test_no_challenge_can_be_broken_by_a_value(
    error: type[CredentialError], description: str, scope: str, realm: str
) -> None:
    answer = refusal(error(description, scope=scope), schemes=Schemes(realm))
    value = _header(answer, b"www-authenticate")
    assert value is None or CHALLENGE.fullmatch(value)
    assert json.loads(answer.body)["error_description"] == description


def test_a_dead_cookie_learns_its_reason() -> None:
    assert json.loads(refusal(errors.LoginRequired(reason="ended"), schemes=Schemes(REALM)).body)["reason"] == "ended"


def test_retry_after_and_allow_are_headers() -> None:
    assert _header(refusal(errors.Unavailable(retry_after=1), schemes=Schemes(REALM)), b"retry-after") == "1"
    assert _header(refusal(errors.MethodNotAllowed(allow="GET, POST"), schemes=Schemes(REALM)), b"allow") == "GET, POST"


def test_a_public_document_may_be_fetched_by_any_origin() -> None:
    answer = json_answer(200, {}, content_type=b"application/jwk-set+json", public=b"public, max-age=60")
    assert _header(answer, b"content-type") == "application/jwk-set+json"
    assert _header(answer, b"cache-control") == "public, max-age=60"
    assert _header(answer, b"access-control-allow-origin") == "*"
    assert _header(answer, b"cross-origin-resource-policy") is None
    assert _header(answer, b"x-content-type-options") == "nosniff"


@pytest.mark.parametrize(("status", "length"), [(204, None), (200, "0"), (303, "0")])
def test_an_empty_answer_is_not_stored_and_204_has_no_length(status: int, length: str | None) -> None:
    answer = empty_answer(status, headers=[(b"location", b"/")])
    assert answer.body == b""
    assert _header(answer, b"content-length") == length
    assert _header(answer, b"cache-control") == "no-store"
    assert _header(answer, b"location") == "/"


def _private(given_headers: HeaderList, **why: bool) -> dict[str, list[str]]:
    headers = list(given_headers)
    make_private(headers, **{"sets_cookie": False, "vary": False, "guarded": False, **why})
    result: dict[str, list[str]] = {}
    for name, value in headers:
        result.setdefault(name.decode().lower(), []).append(value.decode())
    return result


OURS = 'no-cache="Set-Cookie", private'


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], [OURS]),
        (["private"], ["private"]),
        (["no-store"], ["no-store"]),
        (["Private, max-age=60"], ["Private, max-age=60"]),
        (["max-age=60"], [OURS + ", max-age=60"]),
        (["public"], [OURS]),
        (["public, max-age=60"], [OURS + ", max-age=60"]),
        (["Public", "max-age=60"], [OURS + ", max-age=60"]),
        (["max-age=60", "private"], ["max-age=60", "private"]),
        (["public, private"], ["private"]),
        (["public, no-store"], ["no-store"]),
        (["s-maxage=600, max-age=1"], [OURS + ", max-age=1"]),
        (["no-cache"], ["private, no-cache"]),
        (['private="X-User"'], [OURS + ', private="X-User"']),
        (['ext="a, private"'], [OURS + ', ext="a, private"']),
        (['ext="a, private'], [OURS + ', ext="a, private']),
        ([""], [OURS]),
    ],
)
def test_an_answer_with_our_cookie_is_private(said: list[str], expected: list[str]) -> None:
    headers = [(b"cache-control", line.encode()) for line in said]
    assert _private(headers, sets_cookie=True) == {"vary": ["Cookie"], "cache-control": expected}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], ["Cookie"]),
        (["Accept"], ["Accept", "Cookie"]),
        (["Accept, Cookie"], ["Accept, Cookie"]),
        (["accept ,cookie"], ["accept ,cookie"]),
        (["Accept", "COOKIE"], ["Accept", "COOKIE"]),
        (["*"], ["*"]),
        (["Cookies"], ["Cookies", "Cookie"]),
    ],
)
@pytest.mark.parametrize("why", ["sets_cookie", "vary"])
def test_vary_names_the_cookie_once(why: str, said: list[str], expected: list[str]) -> None:
    assert _private([(b"Vary", line.encode()) for line in said], **{why: True})["vary"] == expected


def test_reading_session_data_changes_nothing_but_vary() -> None:
    headers = [(b"cache-control", b"public, max-age=60")]
    assert _private(headers, vary=True) == {"cache-control": ["public, max-age=60"], "vary": ["Cookie"]}


@pytest.mark.parametrize("sets_cookie", [True, False])
def test_behind_a_guard_an_answer_that_names_nothing_is_not_stored(sets_cookie: bool) -> None:
    assert _private([], guarded=True, sets_cookie=sets_cookie)["cache-control"] == ["private, no-store"]


def test_behind_a_guard_the_applications_word_stands() -> None:
    assert _private([(b"Cache-Control", b"max-age=60")], guarded=True) == {"cache-control": ["max-age=60"]}


def test_an_answer_to_nobody_is_left_alone() -> None:
    headers: HeaderList = [(b"Vary", b"Accept"), (b"cache-control", b"public")]
    assert _private(headers) == {"vary": ["Accept"], "cache-control": ["public"]}


@pytest.mark.parametrize("name", [b"cdn-cache-control", b"Vercel-CDN-Cache-Control", b"Surrogate-Control"])
def test_a_cdn_is_not_told_otherwise(name: bytes) -> None:
    headers = [(name, b"max-age=600"), (b"cache-control", b"private")]
    assert _private(headers, sets_cookie=True) == {"vary": ["Cookie"], "cache-control": ["private"]}


@pytest.mark.parametrize(
    ("cache", "vary"), [(b"Cache-Control", b"Vary"), (b"CACHE-CONTROL", b"VARY"), (b"cache-control", b"vary")]
)
def test_headers_the_app_set_are_found_whatever_their_case(cache: bytes, vary: bytes) -> None:
    headers: Any = [[cache, b"public"], [vary, b"Cookie"], [b"Set-Cookie", b"a=b"]]
    make_private(headers, sets_cookie=True, vary=True, guarded=True)
    assert [(bytes(name).lower(), value) for name, value in headers] == [
        (b"vary", b"Cookie"),
        (b"set-cookie", b"a=b"),
        (b"cache-control", OURS.encode()),
    ]


@given(st.lists(st.tuples(st.sampled_from([b"Vary", b"cache-control", b"x"]), st.binary() | st.just(b"public"))))
def test_whatever_the_app_said_no_shared_cache_keeps_our_cookie(headers: list[tuple[bytes, bytes]]) -> None:
    others = [entry for entry in headers if entry[0] == b"x"]
    make_private(headers, sets_cookie=True, vary=False, guarded=False)
    line = b",".join(value for name, value in headers if name == b"cache-control").lower()
    plain = {part.strip() for part in re.sub(rb'"(?:[^"\\]|\\.)*(?:"|\Z)', b"", line, flags=re.DOTALL).split(b",")}
    assert plain & {b"private", b"no-store"}
    assert b"public" not in plain
    assert [entry for entry in headers if entry[0] == b"x"] == others


TRUSTED = frozenset({b"https://spa.example.com"})


@pytest.mark.parametrize(
    ("origin", "trusted", "expected"),
    [
        (b"https://spa.example.com", frozenset[bytes](), {}),
        (None, TRUSTED, {b"vary": b"Origin"}),
        (b"https://evil.test", TRUSTED, {b"vary": b"Origin"}),
        (b"https://spa.example.com:443", TRUSTED, {b"vary": b"Origin"}),
        (b"HTTPS://spa.example.com", TRUSTED, {b"vary": b"Origin"}),
        (b"null", TRUSTED, {b"vary": b"Origin"}),
        (
            b"https://spa.example.com",
            TRUSTED,
            {
                b"access-control-allow-origin": b"https://spa.example.com",
                b"access-control-allow-credentials": b"true",
                b"access-control-expose-headers": b"WWW-Authenticate, Retry-After, DPoP-Nonce",
                b"vary": b"Origin",
            },
        ),
    ],
)
def test_cors_of_our_own_answers_table(
    origin: bytes | None, trusted: frozenset[bytes], expected: dict[bytes, bytes]
) -> None:
    assert dict(cors_headers(origin, trusted)) == expected


def test_a_preflight_of_a_trusted_origin_is_answered() -> None:
    answer = preflight(b"https://spa.example.com", TRUSTED, allow="GET, DELETE")
    assert (answer.status, answer.body) == (204, b"")
    assert _header(answer, b"access-control-allow-origin") == "https://spa.example.com"
    assert _header(answer, b"access-control-allow-credentials") == "true"
    assert _header(answer, b"access-control-allow-methods") == "GET, DELETE"
    assert {"Authorization", "Content-Type"} <= set(
        (_header(answer, b"access-control-allow-headers") or "").split(", ")
    )
    assert _header(answer, b"vary") == "Origin"


@pytest.mark.parametrize("origin", [None, b"https://evil.test", b"null"])
def test_a_preflight_of_another_origin_gets_no_permission(origin: bytes | None) -> None:
    answer = preflight(origin, TRUSTED, allow="GET")
    assert answer.status == 204
    assert not [name for name, _ in answer.headers if name.startswith(b"access-control")]
