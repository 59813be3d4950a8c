"""Keys that sign: made by us, or given as JWT_KEY."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from token_forge import (
    EVERY_ALGORITHM,
    cryptography_key,
    leaks,
    private_jwk,
    public_jwk,
    public_pem,
    shown,
    sign,
    signing_key,
    spellings,
)

from asgi_auth.errors import ConfigurationError
from asgi_auth.tokens import verify_jws
from asgi_auth.tokens.jose import ALGORITHMS, InvalidKey, VerifyingKey, decode_base64url, parse
from asgi_auth.tokens.keys import SigningKey, generate, is_private, jwks, kid_for, load_keys, newest_signing
from asgi_auth.tokens.material import is_key_material

ASYMMETRIC = {"RS256": "RSA", "ES256": "EC", "ES384": "EC", "ES512": "EC", "Ed25519": "OKP"}


def pem(algorithm: str, kind: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return cryptography_key(algorithm).private_bytes(Encoding.PEM, kind, NoEncryption()).decode()


def refused(text: str, algorithm: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(text, algorithm)
    assert (
        leaks(shown(caught.value), *(line for line in text.splitlines() if len(line) > 30 and "-----" not in line))
        == []
    )
    return str(caught.value)


# --- generate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_a_generated_key_signs_for_its_algorithm_and_has_a_name(algorithm: str) -> None:
    jwk = private_jwk(algorithm)
    key = SigningKey.from_jwk(jwk)
    assert (key.kid, key.algorithm, jwk["use"]) == (jwk["kid"], algorithm, "sig")
    assert verify_jws(sign(key, None, b"x"), jwk) == b"x"


def test_generated_keys_have_128_bits_of_strength() -> None:
    assert len(decode_base64url(generate("RS256")["n"].encode())) * 8 == 3072
    for algorithm, size in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        assert len(decode_base64url(generate(algorithm)["k"].encode())) == size


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "Ed25519"])
def test_two_generated_keys_differ(algorithm: str) -> None:
    assert generate(algorithm)["kid"] != generate(algorithm)["kid"]


@pytest.mark.parametrize("algorithm", ["none", "", "ES256K", "hs256", "RS1"])
def test_an_unknown_algorithm_is_a_configuration_error(algorithm: str) -> None:
    for make in (lambda: generate(algorithm), lambda: load_keys("x" * 64, algorithm)):
        with pytest.raises(ConfigurationError, match="JWT_ALGORITHM"):
            make()


def test_the_kid_of_a_secret_is_no_hash_of_it() -> None:
    secret = b"s" * 64
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}
    kid = decode_base64url(kid_for(jwk).encode())
    thumbprint = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    for text in (secret, jwk["k"].encode(), thumbprint):
        assert kid != hashlib.sha256(text).digest()
    assert kid_for(jwk) == kid_for({**jwk, "alg": "HS256"})


# --- JWKS ---------------------------------------------------------------------------------------------------------


def test_jwks_never_holds_a_secret() -> None:
    published = jwks([signing_key(algorithm) for algorithm in EVERY_ALGORITHM] + [signing_key("ES256").verifying])
    assert len(published["keys"]) == len(EVERY_ALGORITHM) - 3 + 1
    for jwk in published["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & jwk.keys()
        assert jwk["kty"] != "oct"
        assert jwk["use"] == "sig"
        VerifyingKey.from_jwk(jwk)


def test_keys_from_jwks_verify_our_tokens() -> None:
    (jwk,) = jwks([signing_key("ES256")])["keys"]
    token = sign(signing_key("ES256"))
    assert jwk["kid"] == parse(token).header["kid"]
    assert verify_jws(token, jwk)


def test_a_key_shows_nothing_private() -> None:
    for algorithm in EVERY_ALGORITHM:
        jwk = private_jwk(algorithm)
        private = [jwk[name] for name in ("d", "p", "q", "k") if name in jwk]
        assert private
        assert leaks(repr(signing_key(algorithm)) + str(signing_key(algorithm).verifying), *private) == []


# --- private keys that are none -----------------------------------------------------------------------------------


def spoilt(name: str) -> dict[str, Any]:
    rs, es, okp, hs = (private_jwk(a) for a in ("RS256", "ES256", "Ed25519", "HS256"))
    return {
        "public": public_jwk("ES256"),
        "another's d (EC)": {**es, "d": generate("ES256")["d"]},
        "another's d (OKP)": {**okp, "d": generate("Ed25519")["d"]},
        "d short": {**es, "d": es["d"][:-4]},
        "d padded": {**es, "d": es["d"] + "="},
        "d with junk": {**okp, "d": okp["d"] + "!"},
        "d zero": {**es, "d": "A" * 43},
        "d number": {**es, "d": 7},
        "d null": {**okp, "d": None},
        "rsa d wrong": {**rs, "d": rs["dp"]},
        "rsa p wrong": {**rs, "p": rs["q"]},
        "rsa p absent": {k: v for k, v in rs.items() if k != "p"},
        "rsa padded": {**rs, "qi": rs["qi"] + "="},
        "rsa multi-prime": {**rs, "oth": []},
        "k padded": {**hs, "k": hs["k"] + "="},
        "kid wrong": {**es, "kid": ""},
        "use enc": {**es, "use": "enc"},
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "public", "another's d (EC)", "another's d (OKP)", "d short", "d padded", "d with junk", "d zero",
        "d number", "d null", "rsa d wrong", "rsa p wrong", "rsa p absent", "rsa padded", "rsa multi-prime",
        "k padded", "kid wrong", "use enc",
    ],
)  # fmt: skip
def test_a_private_key_that_is_none_is_refused(name: str) -> None:
    jwk = spoilt(name)
    with pytest.raises(InvalidKey) as caught:
        SigningKey.from_jwk(jwk)
    values = [value for key, value in jwk.items() if isinstance(value, str) and key not in ("alg", "crv", "kty", "use")]
    assert leaks(shown(caught.value), *values) == []


# --- JWT_KEY ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_private_pem_signs(algorithm: str) -> None:
    (key,) = load_keys(pem(algorithm), algorithm)
    assert isinstance(key, SigningKey)
    assert key.kid == private_jwk(algorithm)["kid"]
    assert verify_jws(sign(key, None, b"x"), public_jwk(algorithm)) == b"x"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_traditional_pem_signs_too(algorithm: str) -> None:
    (key,) = load_keys(pem(algorithm, PrivateFormat.TraditionalOpenSSL), algorithm)
    assert key.kid == private_jwk(algorithm)["kid"]


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_public_pem_verifies_only(algorithm: str) -> None:
    keys = load_keys(public_pem(algorithm), algorithm)
    assert newest_signing(keys) is None
    (key,) = keys
    assert isinstance(key, VerifyingKey)
    assert key.kid == private_jwk(algorithm)["kid"]
    key.verify(parse(sign(signing_key(algorithm))))


def test_pem_blocks_in_a_row_are_newest_first() -> None:
    other = SigningKey.from_jwk(generate("ES256"))
    newest = ALGORITHMS["ES256"].scheme.from_jwk(json.dumps(dict(other.jwk)))
    text = (
        newest.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        + "\n# before:\n"
        + pem("ES256")
    )
    keys = load_keys(text, "ES256")
    assert [key.kid for key in keys] == [other.kid, private_jwk("ES256")["kid"]]
    assert newest_signing(keys) is keys[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff \n" + text + "\n\n",
        lambda text: "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + text,
    ],
)
def test_pem_is_read_as_files_and_environments_hold_it(change: Any) -> None:
    (key,) = load_keys(change(pem("ES256")), "ES256")
    assert key.kid == private_jwk("ES256")["kid"]


def test_jwk_and_jwks_are_read() -> None:
    newest, older = generate("ES256"), {k: v for k, v in public_jwk("ES256").items() if k not in ("kid", "alg")}
    (single,) = load_keys(json.dumps(newest), "ES256")
    assert single.kid == newest["kid"]
    keys = load_keys(json.dumps({"keys": [newest, older]}), "ES256")
    assert [key.kid for key in keys] == [newest["kid"], private_jwk("ES256")["kid"]]
    assert isinstance(keys[1], VerifyingKey)


def test_a_kid_of_ones_own_is_kept() -> None:
    (key,) = load_keys(json.dumps({**private_jwk("Ed25519"), "kid": "2026-01"}), "Ed25519")
    assert key.kid == "2026-01"


def test_a_jwk_secret_is_read_for_hs() -> None:
    jwk = {k: v for k, v in private_jwk("HS256").items() if k not in ("kid", "alg")}
    (key,) = load_keys(json.dumps(jwk), "HS256")
    assert key.kid == private_jwk("HS256")["kid"]


def test_secrets_are_newest_first() -> None:
    new, old = "n" * 64, "o" * 64
    keys = load_keys(f" {new} , {old}\n", "HS512")
    assert [load_keys(s, "HS512")[0].kid for s in (new, old)] == [key.kid for key in keys]
    assert newest_signing(keys) is keys[0]


def test_an_ed25519_key_serves_under_either_name_but_is_not_relabelled() -> None:
    for name in ("Ed25519", "EdDSA"):
        (key,) = load_keys(pem("Ed25519"), name)
        assert key.algorithm == name
    assert "JWT_ALGORITHM" in refused(json.dumps(private_jwk("EdDSA")), "Ed25519")


@pytest.mark.parametrize(
    ("text", "algorithm", "said"),
    [
        ("", "ES256", "empty"),
        (" ", "HS256", "empty"),
        ("\ufeff\n", "HS256", "empty"),
        (",", "HS256", "secret 1 has 0 bytes"),
        ("s" * 31, "HS256", "31 bytes"),
        ("s" * 47, "HS384", "47 bytes"),
        ("s" * 63, "HS512", "63 bytes"),
        ("s" * 32 + ",", "HS256", "secret 2 has 0 bytes"),
        ("s" * 32 + ",short", "HS256", "secret 2 has 5 bytes"),
        ("s" * 32 + "," + "s" * 32, "HS256", "two keys of one kid"),
        ("\ud800" * 64, "HS256", "no text"),
        ("\ud800" * 64, "ES256", "neither PEM nor a JWK"),
        ("s" * 64, "ES256", "neither PEM nor a JWK"),
        ("{", "ES256", "strict JSON"),
        ('{"kty":"EC","kty":"EC"}', "ES256", "strict JSON"),
        ('{"k":"\ud800"}', "ES256", "strict JSON"),
        ("[" * 100_000, "ES256", "strict JSON"),
        ("[]", "ES256", "key 1|JWK"),
        ('{"keys":[]}', "ES256", "JWK Set"),
        ('{"keys":{}}', "ES256", "JWK Set"),
        ('{"keys":["x"]}', "ES256", "JWK Set"),
        ("{}", "ES256", "key 1 is not one for ES256"),
        ('{"kty":"EC","crv":"P-256"}', "ES256", "key 1 cannot be used"),
        ('{"kty":"oct","k":""}', "HS256", "32 bytes"),
        ('{"kty":"oct","alg":"none"}', "HS256", "not one for HS256"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "ES256", "cut short"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "ES256", "cannot be read"),
        ("-----BEGIN PRIVATE KEY-----\nü\n-----END PRIVATE KEY-----", "ES256", "cannot be read"),
        ("-----begin private key-----\nAAAA\n-----end private key-----", "ES256", "cut short"),
        ("-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----", "ES256", "is a nonsense"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
            "RS256",
            "encrypted",
        ),
    ],
    ids=lambda x: repr(x)[:40],
)  # fmt: skip
def test_a_wrong_jwt_key_says_what_to_do(text: str, algorithm: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_keys(text, algorithm)
    assert "ASGI_AUTH_JWT_KEY" in str(caught.value)


def test_an_encrypted_pem_is_told_so() -> None:
    text = cryptography_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    assert "encrypted" in refused(text.decode(), "ES256")


def pem_of(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: pem("RS256"), "ES256"),
        (lambda: pem("ES256"), "RS256"),
        (lambda: pem("ES384"), "ES256"),
        (lambda: pem("Ed25519"), "ES256"),
        (lambda: pem("ES256"), "Ed25519"),
        (lambda: pem("ES256"), "HS256"),
        (lambda: public_pem("RS256"), "HS256"),
        (lambda: json.dumps(private_jwk("RS256")), "PS256"),
        (lambda: json.dumps(private_jwk("HS256")), "ES256"),
        (lambda: json.dumps(public_jwk("ES256")), "HS256"),
        (lambda: json.dumps({**private_jwk("ES256"), "use": "enc"}), "ES256"),
        (lambda: pem_of(rsa.generate_private_key(65537, 1024)), "RS256"),
        (lambda: pem_of(rsa.generate_private_key(3, 2048)), "RS256"),
        (lambda: pem_of(ec.generate_private_key(ec.SECP256K1())), "ES256"),
        (lambda: pem_of(ed448.Ed448PrivateKey.generate()), "Ed25519"),
        (lambda: pem_of(dsa.generate_private_key(1024)), "RS256"),
        (lambda: pem("ES256") + pem("ES256"), "ES256"),
        (lambda: pem("ES256") + public_pem("ES256"), "ES256"),
    ],
)  # fmt: skip
def test_a_key_unlike_the_algorithm_or_too_weak_stops_the_start(make: Any, algorithm: str) -> None:
    assert "ASGI_AUTH_JWT_KEY" in refused(make(), algorithm)


# --- public keys as secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hmac", ["HS256", "HS512"])
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_public_key_text_as_a_secret_stops_the_start(algorithm: str, hmac: str) -> None:
    texts = spellings(algorithm)
    assert len(texts) >= 12
    taken = []
    for name, text in texts.items():
        try:
            load_keys(text, hmac)
            taken.append(name)
        except ConfigurationError as error:
            assert leaks(str(error), text[40:80]) == []  # noqa: PT017
    assert taken == []


def test_public_key_bytes_as_a_jwk_secret_are_refused() -> None:
    for algorithm in ASYMMETRIC:
        for text in spellings(algorithm).values():
            k = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
            with pytest.raises(InvalidKey):
                SigningKey.from_jwk({"kty": "oct", "alg": "HS256", "k": k})


@given(st.binary(min_size=32, max_size=200))
def test_random_secrets_are_no_key_material(raw: bytes) -> None:
    for text in (raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")):
        assert not is_key_material(text)


def test_is_private_goes_by_the_members() -> None:
    assert is_private(private_jwk("RS256"))
    assert is_private(private_jwk("HS256"))
    assert not is_private(public_jwk("RS256"))
    assert not is_private({"kty": ["oct"], "k": "x"})


@given(
    st.text(max_size=60) | st.text('{}[]":,kty oct-BEGIN\n', max_size=60), st.sampled_from(["HS256", "ES256", "RS256"])
)
def test_jwt_key_raises_nothing_but_configuration_error(text: str, algorithm: str) -> None:
    try:
        load_keys(text, algorithm)
    except ConfigurationError as error:
        assert "ASGI_AUTH_JWT_KEY" in str(error)  # noqa: PT017


def test_only_points_on_the_curve_are_key_material() -> None:
    assert not is_key_material(b"\x04" + bytes(64))
    assert is_key_material(bytes.fromhex(spellings("ES256")["point in hex"]))
