"""Comparison of distinguished names."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing.service.names import canonical, same_name


def name(*parts: tuple[x509.ObjectIdentifier, str | bytes]) -> x509.Name:
    """A name of single-valued RDNs."""
    return x509.Name([x509.NameAttribute(*part) for part in parts])


CN, ORG, ID = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.X500_UNIQUE_IDENTIFIER
BITS = x509.name._ASN1Type.BitString
BASE = name((ORG, "Ex ample"), (CN, "Prüfer ﬁn"))


@pytest.mark.conformance("CreateSession", source="RFC 5280, 7.1", check="path to the trust anchor")
@pytest.mark.parametrize(
    "other",
    [
        name((ORG, " EX   ample "), (CN, "Prüfer ﬁn")),
        name((ORG, "Ex ample"), (CN, "PRU\u0308FER FIN")),
        name((ORG, "Ex ample"), (CN, "prüfer fin")),
    ],
)
def test_case_spaces_and_forms_do_not_matter(other: x509.Name) -> None:
    """RFC 5280, 7.1: case, inner and outer spaces, composed letters and ligatures."""
    assert other != BASE
    assert same_name(other, BASE)


@pytest.mark.conformance("CreateSession", source="RFC 5280, 7.1", check="path to the trust anchor")
@pytest.mark.parametrize(
    "other",
    [
        name((CN, "Prüfer ﬁn"), (ORG, "Ex ample")),
        name((ORG, "Ex ample")),
        name((ORG, "Example"), (CN, "Prüfer ﬁn")),
        name((CN, "Ex ample"), (CN, "Prüfer ﬁn")),
    ],
)
def test_order_length_and_kinds_matter(other: x509.Name) -> None:
    """Names with other parts, or the same in another order, are other names."""
    assert not same_name(other, BASE)


def test_parts_of_one_rdn_have_no_order_and_bits_no_case() -> None:
    """A relative distinguished name is a set; a unique identifier is compared as it is."""
    attributes = [x509.NameAttribute(CN, "A"), x509.NameAttribute(ORG, "B")]
    one, other = (x509.RelativeDistinguishedName(a) for a in (attributes, attributes[::-1]))
    assert same_name(x509.Name([one]), x509.Name([other]))
    bits = [x509.Name([x509.NameAttribute(ID, value, BITS)]) for value in (b"a", b"A")]
    assert canonical(bits[0]) != canonical(bits[1])
