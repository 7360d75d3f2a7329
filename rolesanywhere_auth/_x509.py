# SPDX-License-Identifier: Apache-2.0
"""Certificates and revocation lists as `cryptography` has them, malformed ones known by one error.

`cryptography` reads names and extensions only when they are asked for, and what it
raises then for malformed ones is not always a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509

UNREADABLE = (
    ValueError,
    KeyError,  # a string type that ASN.1 does not have: in names, up to cryptography 45 or so
    TypeError,  # a BIT STRING as the value of an attribute that is none
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for DER that it cannot read."""


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever `cryptography` raises within the block is a ValueError."""
    try:
        yield
    except ValueError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def read_certificate(der: bytes, *, extensions: bool = False) -> x509.Certificate:
    """A certificate of which both names can be had, and with *extensions* these too.

    Raises:
        ValueError: It or that part of it is malformed.
    """
    with _reading():
        found = x509.load_der_x509_certificate(der)
        _ = (found.subject, found.issuer, found.extensions if extensions else None)
    return found


def read_bundle(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM, of which names and extensions can be had.

    Raises:
        ValueError: There is none, or a part of one is malformed.
    """
    with _reading():
        found = x509.load_pem_x509_certificates(pem)
        _ = [(each.subject, each.issuer, each.extensions) for each in found]
    return tuple(found)


def read_crl(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list in PEM or DER, of which issuer, entries and extensions can be had.

    Before a PEM may stand words, as ``openssl crl -text`` writes them.

    Raises:
        ValueError: It or a part of it is malformed.
    """
    pem = b"-----BEGIN X509 CRL-----" in data
    with _reading():
        found = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
        _ = (found.issuer, found.extensions, [each.extensions for each in found])
    return found
