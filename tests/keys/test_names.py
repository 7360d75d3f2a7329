"""Distinguished names as text, compared with those of certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.keys._names import parse_name

ACME = [
    (NameOID.COUNTRY_NAME, "US"),
    (NameOID.STATE_OR_PROVINCE_NAME, "CO"),
    (NameOID.LOCALITY_NAME, "Boulder"),
    (NameOID.ORGANIZATION_NAME, "Acme, Inc."),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Eng"),
    (NameOID.COMMON_NAME, "eng.acme.com"),
    (NameOID.EMAIL_ADDRESS, "eng@acme.com"),
]


def name_of(parts: list[tuple[Any, str]]) -> x509.Name:
    """One attribute after the other."""
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


@pytest.mark.parametrize(
    "text",
    [
        # RFC 4514, by cryptography
        name_of(ACME).rfc4514_string(),
        # Go's pkix.Name.String(), golang/go issue 39924 with a comma more
        (
            r"CN=eng.acme.com,OU=Eng,O=Acme\, Inc.,L=Boulder,ST=CO,C=US,"
            "1.2.840.113549.1.9.1=#0c0c656e674061636d652e636f6d"
        ),
        # openssl x509 -subject
        (
            'C = US, ST = CO, L = Boulder, O = "Acme, Inc.", OU = Eng, CN = eng.acme.com, '
            "emailAddress = eng@acme.com"
        ),
        # Windows, .NET's X509Certificate2.Subject
        'E=eng@acme.com, CN=eng.acme.com, OU=Eng, O="Acme, Inc.", L=Boulder, S=CO, C=US',
        # multi-valued, other spaces, case and an OID with a prefix
        (
            "OID.2.5.4.3 =  ENG.acme.com + ou=eng ; o=acme\\2C  inc. ,l=boulder,st=co,c=us,"
            "e=ENG@acme.com"
        ),
    ],
)
def test_ways_to_write_a_name(text: str) -> None:
    """What people copy from their tools is understood, and means the same name."""
    assert parse_name(text, parameter="subject").equals(name_of(ACME))


def test_openssl_agrees(tmp_path: Path) -> None:
    """What OpenSSL prints of a name with every special character means that name."""
    subject = 'A, "B" + C; D\\E <F> #G = Ümläut'
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-utf8", "-multivalue-rdn", "-subj",
         "/C=DE/O=" + subject.replace("\\", "\\\\").replace("+", "\\+") + "/OU=x+CN=y",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    name = x509.load_pem_x509_certificate(certificate.read_bytes()).subject
    assert name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == subject
    for options in ("RFC2253", "oneline", "RFC2253,utf8,-esc_msb", "oneline,-esc_msb"):
        printed = subprocess.run(
            ["openssl", "x509", "-noout", "-subject", "-nameopt", options, "-in", certificate],
            check=True, capture_output=True,
        ).stdout.decode()  # fmt: skip
        text = printed.removeprefix("subject=").strip()

        assert parse_name(text, parameter="subject").equals(name), text


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([kind for kind, _ in ACME[1:]]),
            st.text(
                st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]),
                min_size=1,
                max_size=20,
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_cryptography_agrees(parts: list[tuple[Any, str]]) -> None:
    """Whatever is in a name, its RFC 4514 text by cryptography means that name."""
    name = name_of(parts)

    assert parse_name(name.rfc4514_string(), parameter="subject").equals(name)


def test_what_differs() -> None:
    """Another value, one attribute more or less, or one twice make another name."""
    name = name_of([(NameOID.COMMON_NAME, "app"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "a")])

    for text in ("CN=app", "CN=app,OU=b", "CN=app,OU=a,OU=a", "CN=app,O=a", "CN=app,OU=a,C=US"):
        assert not parse_name(text, parameter="subject").equals(name), text


def test_part_of_a_name() -> None:
    """Some attributes are within a name; others, or one more often than there, are not."""
    name = name_of(ACME)

    for text, within in {
        "CN=eng.acme.com": True,
        "OU=Eng,C=US": True,
        "OU=Eng,OU=Eng": False,
        "CN=acme.com": False,
    }.items():
        assert parse_name(text, parameter="subject-includes").is_within(name) is within, text


def test_strings_of_every_kind() -> None:
    """A value as DER may be any string type; bytes that are no text compare as bytes."""
    name = name_of([(NameOID.COMMON_NAME, "é")])
    for der in ("0c02c3a9", "1401e9", "1e0200e9", "1c04000000e9"):
        assert parse_name(f"CN=#{der}", parameter="subject").equals(name), der
    bits = x509.Name(
        [
            x509.NameAttribute(
                NameOID.X500_UNIQUE_IDENTIFIER, b"\0\x01", x509.name._ASN1Type.BitString
            )
        ]
    )
    assert not parse_name("2.5.4.45=x", parameter="subject").equals(bits)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no name such as"),
        ("app", "no name such as"),
        ("CN=app,", "no name such as"),
        ("CN=app\\", "after its character 6 a comma"),
        ('CN="app" x', "after its character 9 a comma"),
        ("XX=app", "the attribute type 'XX' is not known"),
        ("CN=\\ff\\fe", "not UTF-8"),
        ("CN=#0c05", "not the DER of a string"),
        ("CN=#020101", "not the DER of a string"),
        ("CN=#0c01ff", "not the DER of a string"),
        ("CN=#0c016100", "not the DER of a string"),
    ],
)
def test_what_is_no_name(text: str, why: str) -> None:
    """The error shows the text, says what is wrong, and which command prints such a name."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        parse_name(text, parameter="issuer")

    assert f"issuer={text}: " in str(caught.value)
    assert "openssl x509" in str(caught.value)
