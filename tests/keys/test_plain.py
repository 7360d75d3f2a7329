"""Plain keys read without ``serialization``, compared with ``serialization``."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth._der import INTEGER, OCTET_STRING, SEQUENCE, context, encode
from rolesanywhere_auth.keys._pkcs8 import read_private_key_info
from rolesanywhere_auth.keys._plain import plain_private_key, plain_public_key_info

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RSA = rsa.generate_private_key(65537, 1024)
P256 = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, Key] = {
    "rsa": RSA,
    "p256": P256,
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
}
LABELS = {"rsa": "RSA PRIVATE KEY"}


def pkcs8(key: object) -> bytes:
    """As RFC 5958 has it."""
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )


def traditional(key: object) -> bytes:
    """PKCS#1 or SEC1."""
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


def read(label: str, der: bytes) -> Key | None:
    """What the module makes of it."""
    info = read_private_key_info(der) if label == "PRIVATE KEY" else None
    return plain_private_key(label, der, info)


@pytest.mark.parametrize("name", KEYS)
def test_plain_keys_are_read(name: str) -> None:
    """The key is the one that cryptography reads, from PKCS#8 and from the older forms."""
    key = KEYS[name]

    for label, der in (
        ("PRIVATE KEY", pkcs8(key)),
        (LABELS.get(name, "EC PRIVATE KEY"), traditional(key)),
    ):
        found = read(label, der)

        assert found is not None
        assert found.private_numbers() == key.private_numbers()


@pytest.mark.parametrize("name", KEYS)
def test_public_halves(name: str) -> None:
    """The SubjectPublicKeyInfo is byte for byte what cryptography writes."""
    public = KEYS[name].public_key()

    assert plain_public_key_info(public) == public.public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def test_public_halves_of_other_kinds() -> None:
    """An unknown curve and other algorithms are left to serialization."""
    assert plain_public_key_info(ec.generate_private_key(ec.SECP256K1()).public_key()) is None
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    assert plain_public_key_info(other) is None  # type: ignore[arg-type]


def test_an_ec_key_without_its_public_half() -> None:
    """RFC 5915 lets the public half, and in PKCS#8 the curve, be left out."""
    secret = P256.private_numbers().private_value.to_bytes(32, "big")
    short = encode(SEQUENCE, encode(INTEGER, b"\1") + encode(OCTET_STRING, secret))
    whole = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    der = encode(SEQUENCE, encode(INTEGER, b"\0") + whole + encode(OCTET_STRING, short))

    found = read("PRIVATE KEY", der)

    assert found is not None
    assert found.private_numbers() == P256.private_numbers()


def ec_der(*, version: bytes = b"\1", secret: bytes | None = None, more: bytes = b"") -> bytes:
    """An ECPrivateKey on P-256 by hand."""
    secret = secret or P256.private_numbers().private_value.to_bytes(32, "big")
    curve = encode(context(0), bytes.fromhex("06082a8648ce3d030107"))
    parts = encode(INTEGER, version) + encode(OCTET_STRING, secret) + curve + more
    return encode(SEQUENCE, parts)


def rsa_der(version: bytes) -> bytes:
    """The RSA key with another version."""
    der = traditional(RSA)
    assert der[4:7] == b"\x02\x01\x00"
    return der[:6] + version + der[7:]


LEFT = {
    "more than two primes": ("RSA PRIVATE KEY", rsa_der(b"\1")),
    "impossible numbers": (
        "RSA PRIVATE KEY",
        encode(SEQUENCE, encode(INTEGER, b"\0") + encode(INTEGER, b"\1") * 8),
    ),
    "negative numbers": (
        "RSA PRIVATE KEY",
        encode(SEQUENCE, encode(INTEGER, b"\0") + encode(INTEGER, b"\x83") * 8),
    ),
    "bytes behind an RSA key": ("RSA PRIVATE KEY", traditional(RSA) + b"\0"),
    "bytes behind an EC key": ("EC PRIVATE KEY", traditional(P256) + b"\0"),
    "version of an EC key": ("EC PRIVATE KEY", ec_der(version=b"\2")),
    "a secret that is too short": ("EC PRIVATE KEY", ec_der(secret=b"\1" * 31)),
    "a secret above the order": ("EC PRIVATE KEY", ec_der(secret=b"\xff" * 32)),
    "something behind the public half": ("EC PRIVATE KEY", ec_der(more=encode(context(2), b""))),
    "another public half": (
        "EC PRIVATE KEY",
        ec_der(more=encode(context(1), encode(3, b"\0\4" + bytes(64)))),
    ),
    "a public half with unused bits": (
        "EC PRIVATE KEY",
        ec_der(more=encode(context(1), encode(3, b"\1\4" + bytes(64)))),
    ),
    "more than a curve": (
        "EC PRIVATE KEY",
        traditional(P256).replace(b"\xa0\x0a\x06\x08", b"\xa0\x50\x06\x08"),
    ),
    "an unknown curve": ("EC PRIVATE KEY", traditional(ec.generate_private_key(ec.SECP256K1()))),
    "no curve": (
        "EC PRIVATE KEY",
        encode(SEQUENCE, encode(INTEGER, b"\1") + encode(OCTET_STRING, b"\1" * 32)),
    ),
    "two curves": (
        "PRIVATE KEY",
        encode(
            SEQUENCE,
            encode(INTEGER, b"\0")
            + bytes.fromhex("301006072a8648ce3d020106052b81040022")
            + encode(OCTET_STRING, ec_der()),
        ),
    ),
    "DSA": ("PRIVATE KEY", pkcs8(dsa.generate_private_key(1024))),
    "Ed25519": ("PRIVATE KEY", pkcs8(ed25519.Ed25519PrivateKey.generate())),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_to_serialization(case: str) -> None:
    """Nothing that is not plain is read here, and nothing is raised."""
    assert read(*LEFT[case]) is None


@pytest.mark.parametrize("name", KEYS)
@given(data=st.data())
def test_never_another_key_than_serialization_reads(name: str, data: st.DataObject) -> None:
    """Of damaged bytes, a key that is read is the one that cryptography reads there."""
    label = LABELS.get(name, "EC PRIVATE KEY")
    der = bytearray(traditional(KEYS[name]))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))

    found = read(label, bytes(der))

    if found is not None:
        expected = load_der_private_key(bytes(der), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(expected, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
        assert found.private_numbers() == expected.private_numbers()
