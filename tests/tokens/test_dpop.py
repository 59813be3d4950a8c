"""DPoP proofs: made, and read by the twelve checks of RFC 9449 §4.3 (10 and 11, nonce and time, in test_nonces)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk as joserfc_jwk
from joserfc import jws as joserfc_jws
from token_forge import NOW, leaks, private_jwk, seal, shown, signing_key

from asgi_auth.errors import InvalidProof
from asgi_auth.tokens.dpop import (
    ALGORITHMS,
    Proof,
    Target,
    is_thumbprint,
    make_proof,
    public_members,
    read_proof,
    target,
    thumbprint,
    token_hash,
)
from asgi_auth.tokens.jose import encode_base64url
from asgi_auth.tokens.keys import SigningKey, generate

URL = "https://app.example/orders"
AT = Target(b"https://app.example", "/orders")
TOKEN = "an.access.token"
KEY = signing_key("ES256")
OTHER = SigningKey.from_jwk(generate("ES256"))

# RFC 9449 §4.2 and §7.1: its own proofs, keys and thumbprint.
RFC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
}
RFC_PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
    "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGki"
    "OiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjY"
    "yNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)


def head(key: SigningKey = KEY, **changes: Any) -> dict[str, Any]:
    assert key.public is not None
    good = {"typ": "dpop+jwt", "alg": key.algorithm, "jwk": public_members(key.public)}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def said(**changes: Any) -> dict[str, Any]:
    good = {"jti": "one", "htm": "GET", "htu": URL, "iat": int(NOW), "ath": token_hash(TOKEN.encode())}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def forge(header: object, payload: object, key: SigningKey = KEY) -> bytes:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return seal(key, *(encode_base64url(part).encode() for part in parts))


def taken(*proofs: bytes, method: str = "GET", url: str = URL) -> Proof:
    proof = read_proof(proofs)
    at = target(url)
    assert at is not None
    proof.check(method, at, access_token=TOKEN.encode())
    return proof


def good() -> bytes:
    return make_proof(KEY, "GET", URL, now=NOW, access_token=TOKEN).encode()


def other_signature(proof: bytes) -> bytes:
    return proof.rpartition(b".")[0] + b"." + good().rpartition(b".")[2]


def secret_proof() -> bytes:
    secret = signing_key("HS256")
    return forge({"typ": "dpop+jwt", "alg": "HS256", "jwk": secret.jwk}, said(), secret)


def test_the_proof_of_the_rfc_is_read() -> None:
    proof = read_proof([RFC_PROOF.encode()])
    proof.check("POST", Target(b"https://server.example.com", "/token"))
    assert proof.jkt == thumbprint(RFC_JWK) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    assert (proof.jti, proof.iat, proof.nonce, proof.ath) == ("-BwC3ESc6acc2lTc", 1562262616, None, None)


def test_the_token_hash_of_the_rfc() -> None:
    token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # RFC 9449 §7.1
    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_proof_that_we_make_is_read_by_us_and_by_others(algorithm: str) -> None:
    key = signing_key(algorithm)
    text = make_proof(key, "POST", URL + "?a=1#b", now=NOW + 0.7, nonce="n-1", access_token=TOKEN)
    proof = taken(text.encode(), method="POST")
    assert (proof.jkt, proof.htu, proof.iat, proof.nonce) == (thumbprint(key.jwk), URL, int(NOW), "n-1")
    assert is_thumbprint(proof.jkt)
    assert leaks(text, str(key.jwk["d"])) == []

    header = json.loads(base64.urlsafe_b64decode(text.split(".")[0] + "=="))
    theirs = joserfc_jwk.import_key(header["jwk"])
    registry = joserfc_jws.JWSRegistry(algorithms=[header["alg"]])
    registry.max_header_length = 1024  # its 512 bytes are too few for an RSA key
    claims = json.loads(joserfc_jws.deserialize_compact(text, theirs, registry=registry).payload)
    assert claims["ath"] == encode_base64url(hashlib.sha256(TOKEN.encode()).digest())
    assert theirs.thumbprint() == proof.jkt


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_proof_made_by_joserfc_is_read(algorithm: str) -> None:
    theirs: Any
    if algorithm.startswith("E") and algorithm != "ES256":
        theirs = joserfc_jwk.OKPKey.generate_key("Ed25519")
    elif algorithm == "ES256":
        theirs = joserfc_jwk.ECKey.generate_key("P-256")
    else:
        theirs = joserfc_jwk.RSAKey.generate_key(2048)
    header = {"typ": "dpop+jwt", "alg": algorithm, "jwk": theirs.as_dict(private=False)}
    registry = joserfc_jws.JWSRegistry(algorithms=[algorithm])
    text = joserfc_jws.serialize_compact(header, json.dumps(said()), theirs, registry=registry)
    assert taken(text.encode()).jkt == theirs.thumbprint()


def test_each_proof_has_an_id_of_its_own() -> None:
    assert len({read_proof([good()]).jti for _ in range(50)}) == 50


BIG = "A" * 11000

REFUSED: dict[str, Any] = {
    # 1: not more than one DPoP header, and one
    "no proof": lambda: taken(),
    "two proofs": lambda: taken(good(), good()),
    "two proofs in one header": lambda: taken(good() + b", " + good()),
    # 2: a single well-formed JWT
    "empty": lambda: taken(b""),
    "junk": lambda: taken(b"\xff\xfe..."),
    "two segments": lambda: taken(good().rpartition(b".")[0]),
    "five segments": lambda: taken(good() + b".a.b"),
    "padding": lambda: taken(good() + b"="),
    "too long": lambda: taken(forge(head(), said(x=BIG))),
    "header no object": lambda: taken(forge([], said())),
    "payload no object": lambda: taken(forge(head(), b"[]")),
    "payload no JSON": lambda: taken(forge(head(), b"{")),
    "a member twice": lambda: taken(forge(head(), json.dumps(said())[:-1].encode() + b',"htm":"GET"}')),
    "a header member twice": lambda: taken(forge(json.dumps(head())[:-1].encode() + b',"alg":"ES256"}', said())),
    "400 levels": lambda: taken(forge(head(), json.dumps(said())[:-1].encode() + b',"x":' + b"[" * 400 + b"]" * 400)),
    "crit": lambda: taken(forge(head(crit=["jwk"]), said())),
    "jku": lambda: taken(forge(head(jku="https://evil.example/keys"), said())),
    "x5c": lambda: taken(forge(head(x5c=["MIIB"]), said())),
    "cty": lambda: taken(forge(head(cty="JWT"), said())),
    "b64": lambda: taken(forge(head(b64=True), said())),
    # 3: all required claims
    "no jti": lambda: taken(forge(head(), said(jti=None))),
    "no htm": lambda: taken(forge(head(), said(htm=None))),
    "no htu": lambda: taken(forge(head(), said(htu=None))),
    "no iat": lambda: taken(forge(head(), said(iat=None))),
    "no ath": lambda: taken(forge(head(), said(ath=None))),
    "jti a number": lambda: taken(forge(head(), said(jti=1))),
    "jti empty": lambda: taken(forge(head(), said(jti=""))),
    "jti too long": lambda: taken(forge(head(), said(jti="x" * 257))),
    "jti with a control character": lambda: taken(forge(head(), said(jti="a\n"))),
    "htm a list": lambda: taken(forge(head(), said(htm=["GET"]))),
    "htu a list": lambda: taken(forge(head(), said(htu=[URL]))),
    "iat a text": lambda: taken(forge(head(), said(iat=str(int(NOW))))),
    "iat a bool": lambda: taken(forge(head(), said(iat=True))),
    "iat negative": lambda: taken(forge(head(), said(iat=-1))),
    "iat too large": lambda: taken(forge(head(), said(iat=2**54))),
    "iat infinite": lambda: taken(forge(head(), b'{"jti":"1","htm":"GET","htu":"%s","iat":1e999}' % URL.encode())),
    "nonce a number": lambda: taken(forge(head(), said(nonce=1))),
    "ath a number": lambda: taken(forge(head(), said(ath=1))),
    # 4: typ
    "typ at+jwt": lambda: taken(forge(head(typ="at+jwt"), said())),
    "typ JWT": lambda: taken(forge(head(typ="JWT"), said())),
    "no typ": lambda: taken(forge(head(typ=None), said())),
    "typ a number": lambda: taken(forge(head(typ=7), said())),
    # 5: an asymmetric algorithm that we know
    "none": lambda: taken(forge(head(alg="none"), said())),
    "alg null": lambda: taken(forge(json.dumps({**head(), "alg": None}).encode(), said())),
    "alg a list": lambda: taken(forge(head(alg=["ES256"]), said())),
    "HS256 with the secret in it": lambda: taken(secret_proof()),
    "ES384": lambda: taken(forge(head(signing_key("ES384")), said(), signing_key("ES384"))),
    "RS512": lambda: taken(forge(head(signing_key("RS512")), said(), signing_key("RS512"))),
    "another alg than the key's": lambda: taken(forge(head(alg="Ed25519"), said())),
    "alg of the jwk and the header differ": lambda: taken(
        forge(head(jwk={**public_members(KEY.jwk), "alg": "ES384"}), said())
    ),
    # 6: the signature
    "a signature of another proof": lambda: taken(other_signature(forge(head(), said()))),
    "no signature": lambda: taken(good().rpartition(b".")[0] + b"."),
    "signed by another key": lambda: taken(forge(head(OTHER), said())),
    # 7: the key is a public one, and a good one
    "no jwk": lambda: taken(forge(head(jwk=None), said())),
    "jwk a text": lambda: taken(forge(head(jwk="key"), said())),
    "a private key": lambda: taken(forge(head(jwk=dict(KEY.jwk)), said())),
    "a key for encryption": lambda: taken(forge(head(jwk={**public_members(KEY.jwk), "use": "enc"}), said())),
    "a point that is none": lambda: taken(forge(head(jwk={**public_members(KEY.jwk), "y": "A" * 43}), said())),
    "a coordinate with padding": lambda: taken(
        forge(head(jwk={**public_members(KEY.jwk), "x": str(KEY.jwk["x"]) + "="}), said())
    ),
    # 8: htm, exactly
    "another method": lambda: taken(forge(head(), said(htm="POST"))),
    "the method in small letters": lambda: taken(forge(head(), said(htm="get"))),
    # 9: htu
    "another path": lambda: taken(forge(head(), said(htu=URL + "/1"))),
    "a slash more": lambda: taken(forge(head(), said(htu=URL + "/"))),
    "another host": lambda: taken(forge(head(), said(htu="https://evil.example/orders"))),
    "another scheme": lambda: taken(forge(head(), said(htu="http://app.example/orders"))),
    "another port": lambda: taken(forge(head(), said(htu="https://app.example:8443/orders"))),
    "the host as a user": lambda: taken(forge(head(), said(htu="https://app.example@evil.example/orders"))),
    "a user": lambda: taken(forge(head(), said(htu="https://me@app.example/orders"))),
    "a path alone": lambda: taken(forge(head(), said(htu="/orders"))),
    "a path in capitals": lambda: taken(forge(head(), said(htu="https://app.example/ORDERS"))),
    # 12: ath, to the letter (the thumbprint is compared where the token is read)
    "of another token": lambda: taken(forge(head(), said(ath=token_hash(b"another")))),
    "ath with padding": lambda: taken(forge(head(), said(ath=token_hash(TOKEN.encode()) + "="))),
}


@pytest.mark.parametrize("why", REFUSED)
def test_dpop_proof_table(why: str) -> None:
    """RFC 9449 §4.3, a row a check; nonce and time are those of test_nonces."""
    assert taken(forge(head(), said())).jti == "one"
    with pytest.raises(InvalidProof) as caught:
        REFUSED[why]()
    assert leaks(shown(caught.value), str(KEY.jwk["d"]), good().decode()[-86:]) == []


@pytest.mark.parametrize(
    ("htu", "url"),
    [
        ("HTTPS://APP.example/orders", URL),
        ("https://app.example:443/orders", URL),
        ("https://app.example/orders?page=2#top", URL),
        ("https://app.example/%6Frders", URL),
        ("https://app.example/a%2fb%C3%A9", "https://app.example/a%2Fb%c3%a9"),
        ("https://app.example", "https://app.example/"),
        ("https://app.example?x", "https://app.example/"),
        ("wss://app.example/orders", URL),
        ("http://[::1]:80/", "http://[0:0::1]"),
    ],
)
def test_urls_that_name_the_same_are_the_same(htu: str, url: str) -> None:
    assert target(htu) is not None
    taken(forge(head(), said(htu=htu)), url=url)


@pytest.mark.parametrize(
    "url", ["", "orders", "//app.example/", "https:/app.example", "https:///x", "https://a b/", "https://app.example/ü"]
)
def test_what_is_no_url_is_none(url: str) -> None:
    assert target(url) is None


def test_a_claim_that_nobody_knows_is_ignored() -> None:
    assert taken(forge(head(kid="my-key"), said(sub="x", iat=NOW + 0.5))).iat == NOW + 0.5


def test_typ_is_a_media_type_so_its_case_does_not_count() -> None:
    taken(forge(head(typ="DPoP+JWT"), said()))


def test_a_key_as_webcrypto_exports_it_is_good() -> None:
    jwk = {**public_members(KEY.jwk), "key_ops": ["verify"], "ext": True}
    assert taken(forge(head(jwk=jwk), said())).jkt == thumbprint(KEY.jwk)


def test_signatures_of_one_proof_name_the_same_key_and_id() -> None:
    """ECDSA's (r, n−s) verifies too: a replay is known by key and `jti`, never by its text."""
    proof = forge(head(), said())
    signing_input, _, signature = proof.rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    again = signing_input + b"." + encode_base64url(mirrored).encode()
    assert again != proof
    assert taken(again) == taken(proof)


def rsa_jwk(bits: int, e: int | None = None) -> dict[str, str]:
    """A public RSA key of this size, with an exponent as somebody may have chosen it."""
    n = (1 << bits) - 1
    e = 65537 if e is None else e
    numbers = {"n": n.to_bytes((bits + 7) // 8, "big"), "e": e.to_bytes((e.bit_length() + 7) // 8, "big")}
    return {"kty": "RSA", **{name: encode_base64url(raw) for name, raw in numbers.items()}}


@pytest.mark.parametrize(
    "jwk",
    [
        rsa_jwk(3072, (1 << 3071) + 1),
        rsa_jwk(16384),
        rsa_jwk(8192),
        rsa_jwk(2047),
        rsa_jwk(1024),
        rsa_jwk(2048, 3),
        {**rsa_jwk(2048), "n": encode_base64url((1 << 2047).to_bytes(256, "big"))},
    ],
    ids=["e of 3071 bits", "16384 bits", "8192 bits", "2047 bits", "1024 bits", "e = 3", "an even modulus"],
)
def test_a_proof_key_that_costs_too_much_is_refused_before_any_arithmetic(
    jwk: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RSA 3072 with a 3071-bit exponent costs 8.7 ms a verification: a proof brings its own key."""
    proof = forge({"typ": "dpop+jwt", "alg": "RS256", "jwk": jwk}, said(), signing_key("RS256"))
    made = []
    monkeypatch.setattr(rsa.RSAPublicNumbers, "public_key", lambda self: made.append(self))
    with pytest.raises(InvalidProof):
        read_proof([proof])
    assert made == []


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_a_small_order_point_and_a_zero_key_sign_for_nobody(algorithm: str) -> None:
    jwk = {"OKP": {"x": "A" * 43}, "EC": {"x": "A" * 43, "y": "A" * 43}, "RSA": {"n": "AA"}}
    key = signing_key(algorithm)
    bad = {**public_members(key.jwk), **jwk[str(key.jwk["kty"])]}
    with pytest.raises(InvalidProof):
        read_proof([forge(head(key, jwk=bad), said(), key)])


def test_only_a_key_that_proofs_may_be_made_with_makes_one() -> None:
    for algorithm in ("HS256", "ES384", "RS512"):
        with pytest.raises(ValueError, match="ES256"):
            make_proof(SigningKey.from_jwk(private_jwk(algorithm)), "GET", URL, now=NOW)
    with pytest.raises(ValueError, match="URL"):
        make_proof(KEY, "GET", "/orders", now=NOW)


@given(st.binary(max_size=300))
def test_whatever_comes_as_a_proof_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    with pytest.raises(InvalidProof):
        read_proof([raw])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    header=st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "kid", "crit", "b64", "x5u"]), JSON, max_size=3),
    key=st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use", "kid"]), JSON, max_size=3
    ),
    payload=st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce"]), JSON, max_size=3),
)
def test_a_signed_proof_with_anything_in_it_is_read_or_refused(
    header: dict[str, Any], key: dict[str, Any], payload: dict[str, Any]
) -> None:
    proof = forge({**head(), "jwk": {**public_members(KEY.jwk), **key}, **header}, {**said(), **payload})
    try:
        read = read_proof([proof])
        read.check("GET", AT, access_token=TOKEN.encode())
    except InvalidProof:
        return
    assert (read.htm, read.jkt) == ("GET", thumbprint(KEY.jwk))
    assert target(read.htu) == AT


@given(st.text(max_size=60))
def test_any_url_is_compared_without_an_accident(text: str) -> None:
    assert target(text) == target(text)
    proof = Proof("k", "1", "GET", text, 0)
    if target(text) != AT:
        with pytest.raises(InvalidProof):
            proof.check("GET", AT)
