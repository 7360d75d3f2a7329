"""What `cryptography` cannot read is a ValueError, of whatever kind its own error is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth._x509 import read_bundle, read_certificate, read_crl
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing._leaf import Leaf

VERSION = (bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
NO_STRING = (b"\x0c\x03app", b"\x00\x03app")
BITS = (b"\x0c\x03app", b"\x03\x03\x00pp")
TWICE = (bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23"))


@pytest.fixture(scope="module")
def leaf() -> Leaf:
    """A certificate for CN=app."""
    return CertificateAuthority("ca").issue("app")


def der(leaf: Leaf, old: bytes = b"", new: bytes = b"") -> bytes:
    """The certificate, with a part of it exchanged."""
    data = leaf.certificate.public_bytes(Encoding.DER)
    assert not old or data.count(old) == 1
    return data.replace(old, new) if old else data


@pytest.mark.parametrize("change", [VERSION, NO_STRING, BITS, (b"\x30", b"\x31")])
def test_malformed_certificate(leaf: Leaf, change: tuple[bytes, bytes]) -> None:
    """A wrong version, names in odd types and what is no DER."""
    data = der(leaf, *change) if change[0] != b"\x30" else b"\x31" + der(leaf)[1:]

    with pytest.raises(ValueError, match=r"."):
        read_certificate(data)


def test_malformed_extensions(leaf: Leaf) -> None:
    """They matter only where they are asked for, and in a bundle."""
    data = der(leaf, *TWICE)
    pem = x509.load_der_x509_certificate(data).public_bytes(Encoding.PEM)

    assert read_certificate(data).subject == leaf.certificate.subject
    with pytest.raises(ValueError, match="DuplicateExtension"):
        read_certificate(data, extensions=True)
    with pytest.raises(ValueError, match="DuplicateExtension"):
        read_bundle(pem)


def test_good_ones(leaf: Leaf) -> None:
    """What is well is read, as PEM and DER."""
    authority = CertificateAuthority("ca")
    authority.revoke(5)
    pem = leaf.certificate_pem.encode() + authority.certificate_pem.encode()

    assert read_certificate(der(leaf), extensions=True) == leaf.certificate
    assert read_bundle(pem) == (leaf.certificate, authority.certificate)
    words = b"Certificate Revocation List (CRL):\n    Version 2 (0x1)\n"
    for data in (authority.crl_der(), words + authority.crl_pem().encode()):
        assert [each.serial_number for each in read_crl(data)] == [5]


def test_malformed_list() -> None:
    """An issuer in an odd type, and what is no DER."""
    data = CertificateAuthority("app").crl_der()
    assert data.count(BITS[0]) == 1

    for odd in (data.replace(*BITS), data[1:], b"", b"-----BEGIN X509 CRL-----"):
        with pytest.raises(ValueError, match=r"."):
            read_crl(odd)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("what", ["certificate", "list"])
def test_every_byte_changed(leaf: Leaf, what: str) -> None:
    """Each byte in turn, to eight values each: it is read, or it is a ValueError."""
    authority = CertificateAuthority("ca")
    authority.revoke(5)
    data = der(leaf) if what == "certificate" else authority.crl_der()
    errors = []

    for place, value in itertools.product(range(len(data)), (0, 1, 3, 5, 12, 19, 48, 0xA3)):
        odd = data[:place] + bytes([value]) + data[place + 1 :]
        read: Callable[[], Any] = (
            (lambda odd=odd: read_certificate(odd, extensions=True))
            if what == "certificate"
            else (lambda odd=odd: read_crl(odd))
        )
        try:
            read()
        except ValueError as error:
            errors.append(error)
    assert len(errors) > len(data)
    # who follows causes would never come to an end
    assert not any(error.__cause__ is error for error in errors)
