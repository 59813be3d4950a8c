"""Published vectors: RFC 7515 appendix A, RFC 7520 section 4, RFC 8037 appendix A, RFC 7638, and some of Wycheproof."""

from __future__ import annotations

import json

import pytest

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens import verify_jws
from asgi_auth.tokens.jose import encode_base64url
from asgi_auth.tokens.keys import SigningKey, kid_for

CLAIMS = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
CLAIMS_SEGMENT = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
TOLKIEN = (
    "It\u2019s a dangerous business, Frodo, going out your door. You step onto the road, and if you don't keep your "
    "feet, there\u2019s no knowing where you might be swept off to."
).encode()

A1_KEY = {
    "kty": "oct",
    "alg": "HS256",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
A2_KEY = {
    "kty": "RSA",
    "alg": "RS256",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ"
    "S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca"
    "pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h"
    "4FRWyuXpoQ",
    "e": "AQAB",
}
A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
A4_KEY = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
HOBBIT_RSA = {
    "kty": "RSA",
    "kid": "bilbo.baggins@hobbiton.example",
    "use": "sig",
    "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2w"
    "qVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJls"
    "de3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc"
    "5gHdrNP5zw",
    "e": "AQAB",
}
HOBBIT_EC = {
    "kty": "EC",
    "kid": "bilbo.baggins@hobbiton.example",
    "use": "sig",
    "crv": "P-521",
    "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
    "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
    "d": "AAhRON2r9cqXX1hg-RoI6R1tX5p2rUAYdmpHZoC1XNM56KtscrX6zbKipQrCW9CGZH3T4ubpnoTKLDYJ_fF3_rJt",
}
HOBBIT_OCT = {
    "kty": "oct",
    "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037",
    "use": "sig",
    "alg": "HS256",
    "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
}
OKP_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
OKP_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4i"
    "ylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

RFC_VECTORS = {
    "7515 A.1": (
        A1_KEY,
        CLAIMS,
        f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS_SEGMENT}",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    ),
    "7515 A.2": (
        A2_KEY,
        CLAIMS,
        f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS_SEGMENT}",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
        "1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j"
        "zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
        "Ge77Rw",
    ),
    "7515 A.3": (
        A3_KEY,
        CLAIMS,
        f"eyJhbGciOiJFUzI1NiJ9.{CLAIMS_SEGMENT}",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "7515 A.4": (
        A4_KEY,
        b"Payload",
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
        "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZC"
        "PEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    ),
    "7520 4.1": (
        {**HOBBIT_RSA, "alg": "RS256"},
        TOLKIEN,
        f"eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{encode_base64url(TOLKIEN)}",
        "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA"
        "78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQ"
        "dLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18"
        "kDquDg",
    ),
    "7520 4.2": (
        {**HOBBIT_RSA, "alg": "PS384"},
        TOLKIEN,
        f"eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{encode_base64url(TOLKIEN)}",
        "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcb"
        "UrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8I"
        "mUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-"
        "X72Eaw",
    ),
    "7520 4.3": (
        HOBBIT_EC,
        TOLKIEN,
        f"eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{encode_base64url(TOLKIEN)}",
        "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxX"
        "Pn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
    ),
    "7520 4.4": (
        HOBBIT_OCT,
        TOLKIEN,
        f"eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.{encode_base64url(TOLKIEN)}",
        "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
    ),
    "8037 A.4": (OKP_KEY, b"Example of Ed25519 signing", *OKP_TOKEN.rsplit(".", 1)),
}


@pytest.mark.parametrize("vector", RFC_VECTORS)
def test_rfc_vectors_verify(vector: str) -> None:
    key, payload, signing_input, signature = RFC_VECTORS[vector]
    assert verify_jws(f"{signing_input}.{signature}".encode(), key) == payload


@pytest.mark.parametrize("vector", RFC_VECTORS)
def test_rfc_vectors_with_one_bit_turned_do_not_verify(vector: str) -> None:
    key, _, signing_input, signature = RFC_VECTORS[vector]
    turned = ("B" if signature[0] == "A" else "A") + signature[1:]
    with pytest.raises(InvalidToken):
        verify_jws(f"{signing_input}.{turned}".encode(), key)


def test_the_unsecured_jws_of_rfc_7515_a5_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verify_jws(f"eyJhbGciOiJub25lIn0.{CLAIMS_SEGMENT}.".encode(), A1_KEY)


def _json_forms() -> dict[str, tuple[dict[str, str], str]]:
    """RFC 7515 A.6 and A.7, RFC 7520 4.5 to 4.7: the signatures of the compact examples in other clothes."""
    a2, a3, hobbit = (RFC_VECTORS[name] for name in ("7515 A.2", "7515 A.3", "7520 4.4"))
    first, second, mac = (
        {"protected": vector[2].partition(".")[0], "header": {"kid": "any"}, "signature": vector[3]}
        for vector in (a2, a3, hobbit)
    )
    payload, song = a3[2].partition(".")[2], hobbit[2].partition(".")[2]
    return {
        "7515 A.6 general": (A3_KEY, json.dumps({"payload": payload, "signatures": [first, second]})),
        "7515 A.7 flattened": (A3_KEY, json.dumps({"payload": payload, **second})),
        "7515 A.6 of one": (A2_KEY, json.dumps({"payload": payload, "signatures": [first]})),
        "7520 4.5 detached": (HOBBIT_OCT, f"{hobbit[2].partition('.')[0]}..{hobbit[3]}"),
        "7520 4.5 detached, flattened": (HOBBIT_OCT, json.dumps(mac)),
        "7520 4.6 flattened": (HOBBIT_OCT, json.dumps({"payload": song, **mac})),
    }


@pytest.mark.parametrize("form", _json_forms())
def test_what_is_no_compact_jws_is_refused(form: str) -> None:
    key, text = _json_forms()[form]
    with pytest.raises(InvalidToken):
        verify_jws(text.encode(), key)


def test_ed25519_signs_as_rfc_8037_does() -> None:
    signing_input, signature = OKP_TOKEN.rsplit(".", 1)
    key = SigningKey.from_jwk({**OKP_KEY, "alg": "EdDSA"})
    assert encode_base64url(key.sign(signing_input.encode())) == signature


def test_hmac_signs_as_rfc_7515_does() -> None:
    _, _, signing_input, signature = RFC_VECTORS["7515 A.1"]
    assert encode_base64url(SigningKey.from_jwk(A1_KEY).sign(signing_input.encode())) == signature


def test_thumbprints_are_those_of_rfc_7638_and_rfc_8037() -> None:
    rsa = {
        "kty": "RSA",
        "alg": "RS256",
        "kid": "2011-04-29",
        "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }
    assert kid_for(rsa) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert kid_for(OKP_KEY) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


# Wycheproof, json_web_signature_test: the groups hs256/base64 and SpecialCaseEs256.
ZEROS = {"kty": "oct", "kid": "hs256-key", "use": "sig", "alg": "HS256", "k": "A" * 43}
ZEROS_HEADER = "eyJraWQiOiJoczI1Ni1rZXkiLCJhbGciOiJIUzI1NiJ9"
EC256 = {
    "alg": "ES256",
    "use": "sig",
    "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY",
    "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw",
    "crv": "P-256",
    "kid": "kid-ec-sign",
    "kty": "EC",
}
EC256_INPUT = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    "token",
    [
        f"{ZEROS_HEADER}.VGVzdA.c1LROH7eNQwUT8KMVEO52VC3WZ9e_AnDWbZ7aMmowV8",
        f"{ZEROS_HEADER}.VDIxMzI1NjY4.AAAAtBuQqoI9HuBeAsgjL4nx8sCGYJa5-G2OrureLO4",
        "eyAia2lkIiA6ICJoczI1Ni1rZXkiLCAiYWxnIiA6ICJIUzI1NiIgfQ.VGVzdA.3nl1C7dKVGLfNyALp4ZKkmNFBJlFP8M9VGzCyil9S1c",
        "eyJraWQiOiJoczI1Ni1rZXkiLAoJImFsZyI6IkhTMjU2In0.VGVzdA.Yxn8cTl7IHpFIoEPOFrWmjm-GQlr_RMqHNJOp1ZuweY",
    ],
)
def test_unusual_but_right_tokens_verify(token: str) -> None:
    assert verify_jws(token.encode(), ZEROS).startswith(b"T")


@pytest.mark.parametrize(
    "token",
    [
        f"{ZEROS_HEADER}.VGVzdA.    c1LROH7eNQwUT8KMVEO52VC3WZ9e_AnDWbZ7aMmowV8",
        f"{ZEROS_HEADER}.VGVzdA.?c1LROH7eNQwUT8KMVEO52VC3WZ9e_AnDWbZ7aMmowV8",
        f"{ZEROS_HEADER}####.VGVzdA.23srvDiEYo7665_26qKv4D-0E2a149WRWH_av2ki2I4",
        f"{ZEROS_HEADER}.    VGVzdA.AbPJgmXfihyNBUYpbdPK8qRpPjNuTE-Z_wYQyrU2lMQ",
        f"{ZEROS_HEADER}.AB.8sL_ycV8G_D-K_2A3I0EW3NoPMeQzv13cAzuHlQ5TAE",
        f"{ZEROS_HEADER}.VGVzdA?.c1LROH7eNQwUT8KMVEO52VC3WZ9e_AnDWbZ7aMmowV8",
        f"{ZEROS_HEADER}.VGVzdA.",
        f"{ZEROS_HEADER}.VGVzdA",
        ".VGVzdA.",
        "VGVzdA",
        "",
    ],
)
def test_misspelt_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        verify_jws(token.encode(), ZEROS)


@pytest.mark.parametrize("r", [0, 1, ORDER - 1, ORDER, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, ORDER - 1, ORDER, 2**256 - 1])
def test_ecdsa_signatures_of_edge_numbers_are_refused(r: int, s: int) -> None:
    signature = encode_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    with pytest.raises(InvalidToken):
        verify_jws(f"{EC256_INPUT}.{signature}".encode(), EC256)


def test_a_key_for_encryption_verifies_nothing() -> None:
    good = f"{EC256_INPUT}.5cA0OHyMP7ezamUd5c9kV-FrGxdx4hbGXOdplQkutrqWrte5P-pAvsE3Ve6xSyU3YDQwUHjVVOtvcrEbbnZ8yA"
    assert verify_jws(good.encode(), EC256) == b"foo"
    for purpose in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": []}, {"key_ops": "verify"}, {"use": None}):
        with pytest.raises(InvalidToken):
            verify_jws(good.encode(), {**EC256, **purpose})
