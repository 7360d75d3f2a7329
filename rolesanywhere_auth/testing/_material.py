# SPDX-License-Identifier: Apache-2.0
"""Keys and DER for `authority`: what `cryptography` makes, and what it refuses to make."""

from __future__ import annotations

import importlib
from typing import Any, Literal, get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

KeyType = Literal[
    "rsa-1024",
    "rsa-2048",
    "rsa-3072",
    "rsa-4096",
    "ec-p256",
    "ec-p384",
    "ec-p521",
    "ml-dsa-44",
    "ml-dsa-65",
    "ml-dsa-87",
]
"""Keys that IAM Roles Anywhere can use. ML-DSA needs cryptography 49 or newer."""

LeafKeyType = Literal[KeyType, "ed25519", "ec-secp256k1"]
"""`KeyType`, and keys that the service cannot use, for tests of its refusal."""

HashName = Literal["sha256", "sha384", "sha512"]

_CURVES: dict[str, ec.EllipticCurve] = {
    "ec-p256": ec.SECP256R1(),
    "ec-p384": ec.SECP384R1(),
    "ec-p521": ec.SECP521R1(),
    "ec-secp256k1": ec.SECP256K1(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),  # noqa: S303 - certificates made to be refused
    "sha1": hashes.SHA1(),  # noqa: S303 - the same
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def generate_key(key_type: LeafKeyType) -> Any:
    """A new private key.

    Raises:
        ValueError: *key_type* is none of the names.
        RuntimeError: ML-DSA, with a `cryptography` that has none.
    """
    if key_type not in get_args(LeafKeyType):
        raise ValueError(f"unknown key type {key_type!r}; see LeafKeyType for the names")
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type])
    if key_type.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(key_type[4:]))
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return _generate_ml_dsa(key_type.removeprefix("ml-dsa-"))


def _generate_ml_dsa(strength: str) -> Any:
    try:
        module = importlib.import_module("cryptography.hazmat.primitives.asymmetric.mldsa")
        return getattr(module, f"MLDSA{strength}PrivateKey").generate()
    except (ImportError, UnsupportedAlgorithm) as error:
        raise RuntimeError(
            f"the installed cryptography has no ML-DSA, so no ml-dsa-{strength} key can be made; "
            "install cryptography 49 or newer"
        ) from error


def signing_hash(private_key: Any, name: HashName) -> Any:
    """The hash that a signature by *private_key* takes; None where the scheme has its own."""
    if isinstance(private_key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return _HASHES[name]
    return None


def authority_key_id(key: Any) -> x509.AuthorityKeyIdentifier:
    """The extension that names the issuer's key."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def key_usage(
    *,
    digital_signature: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """The extension with just these bits set."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


# DER. `cryptography` signs neither with SHA-1 and MD5 nor version 1 certificates.

_FAMILIES = ((rsa.RSAPrivateKey, "rsa"), (ec.EllipticCurvePrivateKey, "ec"))
_ALGORITHMS = {
    ("rsa", "md5"): "06092a864886f70d0101040500",
    ("rsa", "sha1"): "06092a864886f70d0101050500",
    ("rsa", "sha256"): "06092a864886f70d01010b0500",
    ("ec", "sha1"): "06072a8648ce3d0401",
    ("ec", "sha256"): "06082a8648ce3d040302",
}


def resign(
    certificate: x509.Certificate, private_key: Any, hash_name: Literal["md5", "sha1", "sha256"]
) -> x509.Certificate:
    """The same certificate, signed with *hash_name* instead.

    Raises:
        ValueError: The key makes no such signature.
    """
    parts = _parts(_content(certificate.tbs_certificate_bytes))
    algorithm = 2 if parts[0][0] == 0xA0 else 1  # after version (absent in version 1) and serial
    return _signed(parts, algorithm, private_key, hash_name)


def as_version_1(certificate: x509.Certificate, private_key: Any) -> x509.Certificate:
    """The certificate as version 1: neither version field nor extensions.

    Raises:
        ValueError: The key is neither RSA nor EC.
    """
    parts = _parts(_content(certificate.tbs_certificate_bytes))
    return _signed([p for p in parts if p[0] not in (0xA0, 0xA3)], 1, private_key, "sha256")


def signature_algorithms(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier inside what is signed, and the one beside the signature, in DER."""
    parts = _parts(_content(certificate.tbs_certificate_bytes))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return parts[2 if parts[0][0] == 0xA0 else 1], _parts(_content(der))[1]


def _signed(
    parts: list[bytes], algorithm: int, private_key: Any, hash_name: str
) -> x509.Certificate:
    family = next((name for kind, name in _FAMILIES if isinstance(private_key, kind)), "this")
    if (family, hash_name) not in _ALGORITHMS:
        raise ValueError(f"{family} keys make no {hash_name} signatures here; use an RSA issuer")
    identifier = _tlv(0x30, bytes.fromhex(_ALGORITHMS[family, hash_name]))
    parts[algorithm] = identifier
    tbs = _tlv(0x30, b"".join(parts))
    digest = _HASHES[hash_name]
    if family == "rsa":
        signature = private_key.sign(tbs, padding.PKCS1v15(), digest)
    else:
        signature = private_key.sign(tbs, ec.ECDSA(digest))
    der = _tlv(0x30, tbs + identifier + _tlv(0x03, b"\0" + signature))
    return x509.load_der_x509_certificate(der)


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _header(der: bytes) -> tuple[int, int]:
    """Length of the header and of the content of the first element of *der*."""
    if der[1] < 0x80:
        return 2, der[1]
    size = der[1] & 0x7F
    return 2 + size, int.from_bytes(der[2 : 2 + size], "big")


def _content(der: bytes) -> bytes:
    return der[_header(der)[0] :]


def _parts(der: bytes) -> list[bytes]:
    parts = []
    while der:
        end = sum(_header(der))
        parts.append(der[:end])
        der = der[end:]
    return parts
