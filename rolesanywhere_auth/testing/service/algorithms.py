# SPDX-License-Identifier: Apache-2.0
"""Which keys and signatures the service takes.

Source: user guide, pages "authentication" and "trust-model" (RSA, EC, ML-DSA;
SHA-256 or stronger). That EC means P-256, P-384 and P-521 is ours: AWS does not
list curves.
"""

from __future__ import annotations

from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from rolesanywhere_auth.testing._material import signature_algorithms

KeyKind = Literal["RSA", "ECDSA", "MLDSA"]

# ML-DSA-44, -65 and -87 (NIST), for keys and for signatures. By OID, so that this
# works on a cryptography that has no classes for them.
_ML_DSA_OIDS = frozenset(f"2.16.840.1.101.3.4.3.{number}" for number in (17, 18, 19))
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class UnusableKeyError(Exception):
    """A certificate's key is of a kind that the service does not take."""

    def __init__(self) -> None:
        super().__init__("the key is not RSA, EC (P-256, P-384, P-521) or ML-DSA-44, -65 or -87")


def key_kind(certificate: x509.Certificate) -> KeyKind:
    """The kind of the certificate's key, as it is called in the names of signature algorithms.

    Raises:
        UnusableKeyError: It is of another kind, or not readable.
    """
    if certificate.public_key_algorithm_oid.dotted_string in _ML_DSA_OIDS:
        return "MLDSA"
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise UnusableKeyError from error
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return "ECDSA"
    raise UnusableKeyError


def has_strong_signature(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Whether a certificate or CRL is signed with SHA-256 or stronger, or with ML-DSA."""
    if signed.signature_algorithm_oid.dotted_string in _ML_DSA_OIDS:
        return True
    try:
        digest = signed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return False
    return digest is not None and digest.digest_size >= 32


def check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """That the *issuer*'s key, of a kind that `key_kind` knows, signed the certificate.

    `cryptography` has ``verify_directly_issued_by``, which wants the names of both to
    be equal letter by letter; RFC 5280, section 7.1, does not.

    Raises:
        InvalidSignature: It did not.
        ValueError: The algorithm named in the certificate is not that of the signature
            (RFC 5280, 4.1.1.2).
        TypeError: It is not of the key's kind.
        UnsupportedAlgorithm: It is of a kind that `cryptography` does not know.
    """
    inner, outer = signature_algorithms(certificate)
    if inner != outer:
        raise ValueError("two different signature algorithms are named")
    key: Any = issuer.public_key()
    signed = (certificate.signature, certificate.tbs_certificate_bytes)
    if issuer.public_key_algorithm_oid.dotted_string in _ML_DSA_OIDS:
        if certificate.signature_algorithm_oid != issuer.public_key_algorithm_oid:
            raise TypeError("the signature is not ML-DSA's, as the key is")
        key.verify(*signed)
        return
    scheme = certificate.signature_algorithm_parameters
    digest: Any = certificate.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and isinstance(scheme, (padding.PKCS1v15, padding.PSS)):
        key.verify(*signed, scheme, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
        key.verify(*signed, scheme)
    else:
        raise TypeError("the signature is not of the key's kind")
