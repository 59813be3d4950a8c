"""The parser, the header's rules, the keys that verify."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwk as joserfc_jwk
from joserfc import jws as joserfc_jws
from token_forge import EVERY_ALGORITHM, claims, header, private_jwk, public_jwk, seal, sign, signing_key

from asgi_auth.errors import InvalidToken
from asgi_auth.http.strict import strict_json
from asgi_auth.tokens import verify_jws
from asgi_auth.tokens.jose import (
    ALGORITHMS,
    Compact,
    InvalidKey,
    VerifyingKey,
    _der_integer,
    decode_base64url,
    encode_base64url,
    parse,
)

KEY = signing_key("ES256")
HEAD = encode_base64url(json.dumps(header(KEY)).encode()).encode()
BODY = encode_base64url(json.dumps(claims()).encode()).encode()

P25519 = 2**255 - 19
D25519 = -121665 * pow(121666, -1, P25519) % P25519
Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")


def u(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8 or 1, "big"))


# --- JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"b":{"a":1,"a":2}}]',
        b"NaN",
        b'{"a":Infinity}',
        b"-Infinity",
        b"1e999",
        b"1" * 21,
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'["\\udc00\\ud800"]',
        b'"\xed\xa0\x80"',
        b"[" * 17 + b"]" * 17,
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"\\"' * 40_000 + b"[" * 40_000,
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b"\xff",
        b'"\x00"',
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_json_that_two_parsers_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not strict JSON$"):
        strict_json(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 16 + b"]" * 16,
        b'"' + b"[" * 50 + b'"',
        b'["\\\\","[[[[[[[[[[[[[[[[[[[","\\"{{{{{{{{{{{{{{{{{{"]',
        b"[" + b"[]," * 40 + b"[]]",
        b'"\\ud83d\\ude00"',
        b' {"a" : [1.5, -2, true, null, "\\u0000"]}\n',
        '"\u00fc"'.encode(),
    ],
)
def test_plain_json_is_read(raw: bytes) -> None:
    assert strict_json(raw) == json.loads(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 2**53) | st.text(st.characters(codec="utf-8")),
        lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), x, max_size=4),
        max_leaves=12,
    )
)
def test_what_python_writes_is_read_back(value: Any) -> None:
    raw = json.dumps(value).encode()
    try:
        assert strict_json(raw) == value
    except ValueError:
        assert raw.count(b"[") + raw.count(b"{") > 16


@given(st.binary(max_size=200))
@example(b'{"\\ud800":1}')
def test_json_raises_nothing_but_a_value_error(raw: bytes) -> None:
    try:
        strict_json(raw)
    except ValueError as error:
        assert str(error) == "not strict JSON"  # noqa: PT017


# --- base64url ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    text = encode_base64url(raw).encode()
    assert decode_base64url(text) == raw
    for other in (text + b"=", text + b"\n", b" " + text, text + b"!", text.replace(b"_", b"/") + b"+"):
        with pytest.raises(ValueError, match="base64url"):
            decode_base64url(other)


def test_of_all_short_texts_those_are_read_that_are_written() -> None:
    """The decoder is pydantic's: what it takes is compared with what Python's writes."""
    alphabet = [encode_base64url(bytes([number << 2]))[0] for number in range(64)]
    for size in range(4):
        for letters in itertools.product(alphabet, repeat=size):
            text = "".join(letters).encode()
            raw = base64.urlsafe_b64decode(text + b"=" * (-size % 4)) if size != 1 else b"?"
            if encode_base64url(raw).encode() == text:
                assert decode_base64url(text) == raw
            else:
                with contextlib.suppress(ValueError):
                    pytest.fail(f"{text!r} is {decode_base64url(text)!r}")


@pytest.mark.parametrize("text", [b"QQ==", b"QQ=", b"QR", b"QUJ", b"A", b"-_+/", b"Q\nQ", "ü".encode(), b"QQ.QQ"])
def test_other_spellings_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


# --- form and header ----------------------------------------------------------------------------------------------


def test_a_good_token_is_taken_apart() -> None:
    token = sign(KEY)
    compact = parse(token)
    assert compact.header == header(KEY)
    assert json.loads(compact.payload) == claims()
    assert token.startswith(compact.signing_input + b".")
    assert repr(compact.payload) not in repr(compact)


class Untouchable(bytes):
    """A token that must be refused before anybody takes it apart."""

    def split(self, *args: Any) -> Any:
        raise AssertionError

    partition = rsplit = decode = __getitem__ = split  # type: ignore[assignment]


@pytest.mark.parametrize("token", [b"a" * 4095 + b"." + b"a" * 4095 + b".a", b"." * 8192, b"a.b", b"a.b.c.d.e", b""])
def test_size_and_dots_are_refused_before_any_split(token: bytes) -> None:
    with pytest.raises(InvalidToken):
        parse(Untouchable(token))


def test_the_size_limit_is_to_the_byte() -> None:
    token = sign(KEY)
    assert parse(token, max_size=len(token))
    with pytest.raises(InvalidToken):
        parse(token, max_size=len(token) - 1)


@pytest.mark.parametrize("token", [None, "a.b.c", 7, bytearray(b"a.b.c"), [b"a", b"b", b"c"]])
def test_only_bytes_are_a_token(token: Any) -> None:
    with pytest.raises(InvalidToken):
        parse(token)
    with pytest.raises(InvalidToken):
        verify_jws(token, public_jwk("ES256"))


BAD_HEADERS: list[Any] = [
    [],
    "ES256",
    None,
    {},
    b"{}",
    b"",
    b"[" * 100_000,
    b'{"alg":"ES256","alg":"ES256"}',
    b'{"alg":"ES256","kid":"a","kid":"a"}',
    b'{"alg":"ES256","x":{"a":1,"a":1}}',
    b"\xef\xbb\xbf" + b'{"alg":"ES256"}',
    '{"alg":"ES256"}'.encode("utf-16"),
    *(
        {"alg": alg}
        for alg in ("none", "nOnE", "NONE", "", "es256", "ES256 ", "HS256", None, 7, True, ["ES256"], {"a": 1})
    ),
    {"alg": ["ES256"], "kid": KEY.kid},
    *({"alg": "ES256", "kid": kid} for kid in ("", "a" * 129, "ü" * 65, "a\nb", "\x00", "a\x7f", 7, None, ["a"], {})),
    b'{"alg":"ES256","kid":"\\ud800"}',
    *({"alg": "ES256", "typ": typ} for typ in (7, None, ["JWT"], {})),
    *(
        {"alg": "ES256", name: value}
        for name in ("cty", "zip", "crit", "b64", "jku", "jwk", "x5u", "x5c")
        for value in (None, "", [], True, False, 0, "JWT", ["b64"], {"kty": "oct"})
    ),
]


@pytest.mark.parametrize("head", BAD_HEADERS, ids=lambda head: repr(head).replace(KEY.kid, "kid")[:50])
def test_headers_that_break_a_rule_are_refused(head: Any) -> None:
    with pytest.raises(InvalidToken):
        verify_jws(sign(KEY, head if isinstance(head, bytes) else json.dumps(head).encode()), public_jwk("ES256"))


@pytest.mark.parametrize("typ", [{}, {"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": "anything"}])
def test_a_jws_may_be_of_any_type_and_have_any_payload(typ: dict[str, str]) -> None:
    assert verify_jws(sign(KEY, {"alg": "ES256", **typ}, b"\xff no JSON"), public_jwk("ES256")) == b"\xff no JSON"
    assert verify_jws(sign(KEY, {"alg": "ES256", "unknown": [1]}, b""), public_jwk("ES256")) == b""


@given(
    st.binary(max_size=300)
    | st.lists(st.text("abcEJ0_-=", max_size=30), min_size=3, max_size=3).map(lambda p: ".".join(p).encode())
)
def test_the_parser_raises_nothing_but_invalid_token(token: bytes) -> None:
    with pytest.raises(InvalidToken):
        verify_jws(token, public_jwk("ES256"))


@given(st.data())
def test_no_byte_of_a_token_can_be_changed(data: st.DataObject) -> None:
    token = bytearray(sign(KEY))
    at = data.draw(st.integers(0, len(token) - 1))
    token[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidToken):
        verify_jws(bytes(token), public_jwk("ES256"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=5,
)
members = st.sampled_from(["kty", "crv", "alg", "use", "kid", "key_ops", "n", "e", "x", "y", "d", "k", "p", "q"])
plausible = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "P-521", "Ed25519", *ALGORITHMS, "sig", "AQAB", "A" * 43, "A" * 342]
)


@given(st.dictionaries(members, plausible | json_values) | json_values)
@example({"kty": "RSA", "alg": "RS256", "n": "\ud800", "e": "AQAB"})
@example({"kty": ["EC"], "crv": {}, "alg": []})
def test_keys_raise_nothing_but_invalid_key(jwk: Any) -> None:
    with pytest.raises((InvalidKey, InvalidToken)):
        VerifyingKey.from_jwk(jwk).verify(parse(sign(KEY)))
    with pytest.raises(InvalidToken):
        verify_jws(sign(KEY), jwk)


# --- keys ---------------------------------------------------------------------------------------------------------

EC, RSA, OKP, OCT = (public_jwk("ES256"), public_jwk("RS256"), public_jwk("Ed25519"), private_jwk("HS256"))
N = int.from_bytes(decode_base64url(RSA["n"].encode()), "big")


def ed(y: int, sign_bit: int = 0) -> str:
    return encode_base64url((y + (sign_bit << 255)).to_bytes(32, "little"))


WEAK_KEYS = {
    "no object": [EC],
    "empty": {},
    "member names are texts": {**EC, 7: "x"},
    "rsa without alg": {k: v for k, v in RSA.items() if k != "alg"},
    "oct without alg": {k: v for k, v in OCT.items() if k != "alg"},
    "alg none": {**EC, "alg": "none"},
    "alg list": {**EC, "alg": ["ES256"]},
    "alg null": {**EC, "alg": None},
    "ES384 on P-256": {**EC, "alg": "ES384"},
    "RS256 on an EC key": {**EC, "alg": "RS256"},
    "HS256 on an EC key": {**EC, "alg": "HS256"},
    "ES256K": {**EC, "crv": "secp256k1", "alg": "ES256K"},
    "Ed448": {"kty": "OKP", "crv": "Ed448", "x": "A" * 76},
    "curve unknown": {"kty": "EC", "crv": "", "x": EC["x"], "y": EC["y"]},
    "use enc": {**EC, "use": "enc"},
    "use null": {**EC, "use": None},
    "key_ops encrypt": {**EC, "key_ops": ["encrypt"]},
    "key_ops text": {**EC, "key_ops": "verify"},
    "kid number": {**EC, "kid": 7},
    "kid empty": {**EC, "kid": ""},
    "kid long": {**EC, "kid": "a" * 129},
    "private EC": private_jwk("ES256"),
    "private RSA": private_jwk("RS256"),
    "private OKP": private_jwk("Ed25519"),
    "RSA 1024": {**RSA, "n": u(N >> 2048 | 1)},
    "RSA 2047": {**RSA, "n": u((1 << 2046) + 1)},
    "RSA 4097": {**RSA, "n": u((1 << 4096) + 1)},
    "RSA 65536": {**RSA, "n": u((1 << 65535) + 1)},
    "RSA even": {**RSA, "n": u(N + 1)},
    "RSA e 3": {**RSA, "e": u(3)},
    "RSA e 1": {**RSA, "e": u(1)},
    "RSA e even": {**RSA, "e": u(65538)},
    "RSA e huge": {**RSA, "e": u(N - 2)},
    "RSA e with a zero": {**RSA, "e": encode_base64url(b"\0\1\0\1")},
    "RSA n with a zero": {**RSA, "n": encode_base64url(b"\0" + decode_base64url(RSA["n"].encode()))},
    "RSA n padded": {**RSA, "n": RSA["n"] + "=="},
    "RSA n number": {**RSA, "n": N},
    "RSA n absent": {"kty": "RSA", "alg": "RS256", "e": "AQAB"},
    "EC off the curve": {**EC, "y": EC["x"]},
    "EC zero": {**EC, "x": "A" * 43, "y": "A" * 43},
    "EC x short": {**EC, "x": encode_base64url(decode_base64url(EC["x"].encode())[:-1])},
    "EC x long": {**EC, "x": encode_base64url(b"\0" + decode_base64url(EC["x"].encode()))},
    "EC x padded": {**EC, "x": EC["x"] + "="},
    "EC x with junk": {**EC, "x": EC["x"][:20] + "!" + EC["x"][20:]},
    "EC x not ASCII": {**EC, "x": "ü" + EC["x"]},
    "EC y absent": {k: v for k, v in EC.items() if k != "y"},
    "OKP short": {**OKP, "x": "A" * 42},
    "OKP padded": {**OKP, "x": OKP["x"] + "="},
    "OKP neutral point": {**OKP, "x": ed(1)},
    "OKP neutral point, sign": {**OKP, "x": ed(1, 1)},
    "OKP order 2": {**OKP, "x": ed(P25519 - 1)},
    "OKP order 4": {**OKP, "x": ed(0)},
    "OKP order 4, sign": {**OKP, "x": ed(0, 1)},
    "OKP order 8": {**OKP, "x": ed(Y8)},
    "OKP order 8, sign": {**OKP, "x": ed(Y8, 1)},
    "OKP order 8, other": {**OKP, "x": ed(P25519 - Y8)},
    "OKP order 8, other, sign": {**OKP, "x": ed(P25519 - Y8, 1)},
    "OKP y = p": {**OKP, "x": ed(P25519)},
    "OKP y = p + 1": {**OKP, "x": ed(P25519 + 1)},
    "OKP all ones": {**OKP, "x": encode_base64url(b"\xff" * 32)},
    "oct empty": {**OCT, "k": ""},
    "oct absent": {"kty": "oct", "alg": "HS256"},
    "oct 31 bytes": {**OCT, "k": encode_base64url(b"\x81" * 31)},
    "oct 47 bytes": {**OCT, "alg": "HS384", "k": encode_base64url(b"\x81" * 47)},
    "oct 63 bytes": {**OCT, "alg": "HS512", "k": encode_base64url(b"\x81" * 63)},
    "oct padded": {**OCT, "k": OCT["k"] + "="},
    "oct of no alg we have": {**OCT, "alg": "none"},
}


@pytest.mark.parametrize("name", WEAK_KEYS)
def test_weak_and_malformed_keys_are_refused(name: str) -> None:
    with pytest.raises(InvalidKey):
        VerifyingKey.from_jwk(WEAK_KEYS[name])  # type: ignore[arg-type]


def test_the_points_of_order_8_are_the_roots_of_their_equation() -> None:
    # Doubling them gives y = 0, which on -x² + y² = 1 + d·x²·y² means d·y⁴ + 2y² = 1.
    for y in (Y8, P25519 - Y8):
        assert (D25519 * pow(y, 4, P25519) + 2 * y * y - 1) % P25519 == 0


def test_a_private_key_of_ours_verifies_by_its_public_half() -> None:
    key = VerifyingKey.from_jwk(private_jwk("ES256"), own=True)
    key.verify(parse(sign(KEY)))
    assert key.public is not None
    assert "d" not in key.public


def test_unknown_members_of_a_key_are_ignored() -> None:
    VerifyingKey.from_jwk({**EC, "x5t": "?", "exp": 7, "key_ops": ["verify", "deriveKey"]}).verify(parse(sign(KEY)))


def test_ed25519_answers_to_its_older_name_only_where_the_key_names_neither() -> None:
    key = signing_key("Ed25519")
    nameless = {k: v for k, v in OKP.items() if k != "alg"}
    for alg in ("Ed25519", "EdDSA"):
        assert verify_jws(sign(key, {"alg": alg}, b"x"), nameless) == b"x"
        assert verify_jws(sign(key, {"alg": alg}, b"x"), {**nameless, "alg": alg}) == b"x"
    for key_alg, token_alg in (("Ed25519", "EdDSA"), ("EdDSA", "Ed25519")):
        with pytest.raises(InvalidToken):
            verify_jws(sign(key, {"alg": token_alg}, b"x"), {**nameless, "alg": key_alg})


@pytest.mark.parametrize("token_alg", [*EVERY_ALGORITHM, "none"])
@pytest.mark.parametrize("key_alg", ["HS256", "RS256", "PS256", "ES256", "Ed25519"])
def test_one_key_one_algorithm(key_alg: str, token_alg: str) -> None:
    """Signed rightly by the key's own algorithm, or the header's where the key could: only the key's counts."""
    jwk = private_jwk(key_alg)
    signer = (
        signing_key(token_alg)
        if ALGORITHMS.get(token_alg, ALGORITHMS["HS256"]).kty == "RSA" and key_alg in ("RS256", "PS256")
        else signing_key(key_alg)
    )
    token = sign(signer, {"alg": token_alg}, b"x")
    if token_alg == key_alg:
        assert verify_jws(token, jwk) == b"x"
    else:
        with pytest.raises(InvalidToken):
            verify_jws(token, jwk)


# --- every algorithm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_every_algorithm_verifies_what_it_signs(algorithm: str) -> None:
    token = sign(signing_key(algorithm), None, b"payload")
    jwk = private_jwk(algorithm) if algorithm.startswith("HS") else public_jwk(algorithm)
    assert verify_jws(token, jwk) == b"payload"
    other = bytearray(token)
    other[-10] = ord("A") if other[-10] != ord("A") else ord("B")
    with pytest.raises(InvalidToken):
        verify_jws(bytes(other), jwk)


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_pyjwt_verifies_what_we_sign(algorithm: str) -> None:
    jws = jwt.PyJWS()
    if algorithm == "Ed25519":
        jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())
    key = ALGORITHMS[algorithm].scheme.from_jwk(json.dumps(private_jwk(algorithm)))
    public = key if isinstance(key, bytes) else key.public_key()
    assert jws.decode(sign(signing_key(algorithm), None, b"payload"), public, algorithms=[algorithm]) == b"payload"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_joserfc_verifies_what_we_sign_and_we_what_it_signs(algorithm: str) -> None:
    key = joserfc_jwk.import_key(private_jwk(algorithm))
    token = sign(signing_key(algorithm), None, b"payload")
    assert joserfc_jws.deserialize_compact(token, key, algorithms=[algorithm]).payload == b"payload"
    theirs = joserfc_jws.serialize_compact({"alg": algorithm}, b"payload", key, algorithms=[algorithm])
    assert verify_jws(theirs.encode(), private_jwk(algorithm)) == b"payload"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "Ed25519", "RS256", "HS256"])
def test_signatures_are_deterministic(algorithm: str) -> None:
    key = signing_key(algorithm)
    assert key.sign(b"x") == key.sign(b"x")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_signatures_whose_numbers_are_short_or_begin_with_a_one_bit_verify(algorithm: str) -> None:
    """What becomes of r and s in DER depends on how they begin."""
    key, size, seen = signing_key(algorithm), ALGORITHMS[algorithm].size, set()
    # P-521's numbers have 521 bits: their first byte is 0 or 1.
    wanted = 4 if algorithm == "ES512" else 6
    for number in itertools.count():
        if len(seen) == wanted:
            break
        message = b"%d" % number
        signature = key.sign(message)
        kinds = {(at, min(signature[at], 1) + (signature[at] >> 7)) for at in (0, size)}
        if kinds - seen:
            key.verifying.verify(Compact({"alg": algorithm}, b"", message, signature))
            seen |= kinds


@given(st.binary(min_size=1, max_size=66))
@example(b"\0" * 66)
@example(b"\0\x80")
@example(b"\0" * 65 + b"\x7f")
def test_a_number_in_der_is_what_cryptography_writes(number: bytes) -> None:
    whole = encode_dss_signature(int.from_bytes(number, "big"), 1)
    assert whole.endswith(_der_integer(number) + b"\x02\x01\x01")


def test_random_signatures_of_every_length_are_refused() -> None:
    chance = random.Random(7)
    for algorithm in EVERY_ALGORITHM:
        jwk = private_jwk(algorithm)
        head = encode_base64url(json.dumps({"alg": algorithm}).encode())
        for size in (0, 1, 31, 32, 63, 64, 65, 96, 132, 256, 384, 385, 512):
            token = f"{head}.eA.{encode_base64url(chance.randbytes(size))}"
            with pytest.raises(InvalidToken):
                verify_jws(token.encode(), jwk)


def test_segments_stand_in_the_signature_as_they_were_sent() -> None:
    assert verify_jws(seal(KEY, HEAD, BODY), public_jwk("ES256")) == json.dumps(claims()).encode()
