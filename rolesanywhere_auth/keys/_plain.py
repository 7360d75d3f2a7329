# SPDX-License-Identifier: Apache-2.0
"""The everyday forms of RSA and EC keys, without ``cryptography``'s ``serialization``.

That package imports ciphers, bcrypt and OpenSSH's formats: 7 ms, which every start
of a process would pay. What has not exactly the plain form of RFC 8017 A.1.2,
RFC 5915 3 or RFC 5480 2 is left to it, and so are all errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolesanywhere_auth._der import (
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    DERError,
    Reader,
    context,
    encode,
)

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey
    from rolesanywhere_auth.keys._pkcs8 import PrivateKeyInfo

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
_CURVES: dict[str, ec.EllipticCurve] = {
    "1.2.840.10045.3.1.7": ec.SECP256R1(),
    "1.3.132.0.34": ec.SECP384R1(),
    "1.3.132.0.35": ec.SECP521R1(),
}
_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")
_EC_OID = bytes.fromhex("06072a8648ce3d0201")
_CURVE_OIDS = {
    "secp256r1": bytes.fromhex("06082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("06052b81040022"),
    "secp521r1": bytes.fromhex("06052b81040023"),
}


def plain_private_key(
    label: str, der: bytes, info: PrivateKeyInfo | None
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None:
    """The key in a PKCS#1, SEC1 or (as *info*) PKCS#8 structure, or None: ask ``serialization``.

    An RSA key is not validated, as that takes 40 to 270 ms.
    """
    try:
        if label == "RSA PRIVATE KEY":
            return _rsa(der)
        if label == "EC PRIVATE KEY":
            return _ec(der, None)
        if info is not None and info.algorithm == _RSA:
            return _rsa(info.key)
        if info is not None and info.algorithm == _EC:
            return _ec(info.key, info.curve)
    except (ValueError, OverflowError):  # also what cryptography says to impossible numbers
        return None
    return None


def _rsa(der: bytes) -> rsa.RSAPrivateKey:
    outer = Reader(der)
    reader = outer.enter()
    outer.finish()
    if reader.integer() != 0:
        raise DERError("this RSA key has more than two primes")
    n, e, d, p, q, dmp1, dmq1, iqmp = (reader.integer() for _ in range(8))
    reader.finish()
    public = rsa.RSAPublicNumbers(e, n)
    numbers = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _ec(der: bytes, curve_oid: str | None) -> ec.EllipticCurvePrivateKey:
    outer = Reader(der)
    reader = outer.enter()
    outer.finish()
    if reader.integer() != 1:
        raise DERError("this is not an ECPrivateKey of version 1")
    secret = reader.read(OCTET_STRING)
    if reader.peek() == context(0):
        parameters = reader.enter(context(0))
        named = parameters.oid()
        parameters.finish()
        if curve_oid not in (None, named):
            raise DERError("this EC key names two curves")
        curve_oid = named
    point = None
    if reader.peek() == context(1):
        public = reader.enter(context(1))
        point, unused = public.bit_string()
        public.finish()
        if unused:
            raise DERError("the public half in the file is not made of whole bytes")
    reader.finish()
    curve = _CURVES.get(curve_oid or "")
    if curve is None or len(secret) != (curve.key_size + 7) // 8:
        raise DERError("this is not a key on a curve that is known here")
    key = ec.derive_private_key(int.from_bytes(secret, "big"), curve)
    if point not in (None, _point(key.public_key())):
        raise DERError("the public half in the file is not that of the private one")
    return key


def plain_public_key_info(public_key: PublicKey) -> bytes | None:
    """The SubjectPublicKeyInfo, as nearly all certificates have it; None for other kinds."""
    if isinstance(public_key, rsa.RSAPublicKey):
        numbers = public_key.public_numbers()
        pair = encode(SEQUENCE, _integer(numbers.n) + _integer(numbers.e))
        return encode(SEQUENCE, _RSA_ALGORITHM + encode(BIT_STRING, b"\0" + pair))
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        oid = _CURVE_OIDS.get(public_key.curve.name)
        if oid is None:
            return None
        algorithm = encode(SEQUENCE, _EC_OID + oid)
        return encode(SEQUENCE, algorithm + encode(BIT_STRING, b"\0" + _point(public_key)))
    return None


def _integer(value: int) -> bytes:
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _point(public_key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = public_key.public_numbers()
    size = (public_key.curve.key_size + 7) // 8
    return b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
