"""The language of ``store:`` references, with certificates of cryptography and OpenSSL."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.keys._selectors import (
    choose,
    parse_cert_selector,
    parse_reference,
    reference_of,
    selector,
)
from rolesanywhere_auth.testing import CertificateAuthority

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


def der_utf8(text: str) -> bytes:
    """A UTF8String."""
    return bytes((0x0C, len(text.encode()))) + text.encode()


def certificate(
    common_name: str = "app",
    *,
    serial_number: int = 0x1F,
    san: list[x509.GeneralName] | None = None,
    days: int = 30,
    extension: x509.UnrecognizedExtension | None = None,
) -> Certificate:
    """A certificate of `KEY`."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(serial_number)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=days))
    )
    if san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(KEY, hashes.SHA256())
    return Certificate.from_der(made.public_bytes(Encoding.DER), source="test")


def fits(criteria: str, one: Certificate) -> bool:
    """Whether a reference with these criteria means a certificate."""
    return parse_reference(f"store:?{criteria}").selector.fits(one)


def test_a_reference() -> None:
    """Place and criteria; neither is needed."""
    whole = parse_reference("store:LocalMachine/MY?subject-includes=CN=app&newest=true")

    assert whole.place == "LocalMachine/MY"
    assert whole.selector.newest
    assert whole.selector.subject_includes is not None
    assert parse_reference("store:") == ("store:", "", selector({}))
    assert parse_reference("STORE:?").selector == selector({})
    assert parse_reference("store:My%20Store?&").place == "My Store"
    assert not parse_reference("store:?newest=False").selector.newest


def test_percent_encoding() -> None:
    """``&`` and ``%`` are written encoded; ``+`` stays what it is in names."""
    one = certificate("a & b + 100% ä")

    assert fits("subject-includes=CN=a %26 b \\%2B 100%25 %C3%A4", one)
    assert fits("subject-includes=CN=a %26 b \\+ 100%25 ä", one)
    assert fits("subject=O=Acme+CN=a %26 b \\%2B 100%25 ä", one)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ("subject=CN=app,O=Acme", True),
        ("subject=O=acme, CN=APP", True),
        ("subject=CN=app", False),
        ("subject-includes=CN=app", True),
        ("subject-includes=CN=other", False),
        ("issuer=CN=Acme CA", True),
        ("issuer=CN=Acme", False),
        ("issuer-includes=CN=acme ca", True),
        ("issuer-includes=O=Acme", False),
        ("serial=1f", True),
        ("serial=1F", True),
        ("serial=0x1f", True),
        ("serial=00:1F", True),
        ("serial=31", False),
        ("subject=CN=app,O=Acme&issuer=CN=Acme CA&serial=1f", True),
        ("subject=CN=app,O=Acme&issuer=CN=Acme CA&serial=1e", False),
        ("", True),
    ],
)
def test_names_and_serial_number(criteria: str, expected: bool) -> None:
    """All that is said must hold; names are whole or in part, serial numbers hexadecimal."""
    assert fits(criteria, certificate()) is expected


def test_thumbprints() -> None:
    """SHA-1 or SHA-256, as OpenSSL, PowerShell and Windows' dialog write them."""
    one = certificate()
    parsed = x509.load_der_x509_certificate(one.der)
    for algorithm in (hashes.SHA1(), hashes.SHA256()):
        digest = parsed.fingerprint(algorithm)
        for text in (
            digest.hex(),
            digest.hex().upper(),
            digest.hex(":"),
            "\u200e" + digest.hex(" "),
        ):
            assert fits(f"thumbprint={text}", one), text
        assert not fits(f"thumbprint={digest[::-1].hex()}", one)


def test_openssl_prints_what_selects(tmp_path: Path) -> None:
    """The serial number and fingerprint that OpenSSL prints select the certificate."""
    one = certificate(serial_number=2**150 + 7)
    (tmp_path / "one.der").write_bytes(one.der)
    for option, key in (("-serial", "serial"), ("-fingerprint", "thumbprint")):
        done = subprocess.run(
            ["openssl", "x509", "-in", tmp_path / "one.der", "-noout", option],
            check=True, capture_output=True, text=True,
        )  # fmt: skip

        assert fits(f"{key}={done.stdout.strip().partition('=')[2]}", one)


def test_alternative_names() -> None:
    """By kind or any; case does not count; a certificate without such names fits none."""
    one = certificate(
        san=[
            x509.DNSName("App.example.com"),
            x509.UniformResourceIdentifier("spiffe://acme/app"),
            x509.RFC822Name("app@acme.com"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), der_utf8("app@AD")),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01\xff"),
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), der_utf8("other")),
        ]
    )
    for san, expected in {
        "DNS:app.EXAMPLE.com": True,
        "app.example.com": True,
        "URI:app.example.com": False,
        "uri:spiffe://acme/app": True,
        "spiffe://acme/app": True,
        "email:app@acme.com": True,
        "IP:192.0.2.1": True,
        "UPN:app@ad": True,
        "other": False,
        "dns:example.com": False,
    }.items():
        assert fits(f"san={san}", one) is expected, san
    assert not fits("san=app", certificate())


def test_a_certificate_that_cannot_be_read() -> None:
    """Broken names select nothing; serial number and thumbprint still do."""
    broken = certificate(
        extension=x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x01")
    )

    assert not fits("san=app", broken)
    assert fits("serial=1f", broken)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("store:?subject", "'subject' is not of the form KEY=VALUE"),
        ("store:?subject=", "'subject=' is not of the form KEY=VALUE"),
        ("store:?serial=1&SERIAL=2", "serial is there twice"),
        ("store:?name=app", "'name' selects no certificate. There are: subject, issuer"),
        ("store:?subject=CN=100%", "a % that begins no percent-encoding"),
        ("store:?subject=CN=%ff", "must be UTF-8"),
        ("store:?subject=app", "subject=app: it is no name"),
        ("store:?serial=xyz", "no hexadecimal number"),
        ("store:?thumbprint=1f", "40 hexadecimal digits"),
        ("store:?thumbprint=" + 40 * "x", "40 hexadecimal digits"),
        ("store:?san=DNS:", "the name is missing behind DNS:"),
        ("store:?newest=yes", "must be true or false"),
    ],
)
def test_what_is_no_reference(reference: str, why: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(ConfigurationError, match=why):
        parse_reference(reference)


def test_the_other_program_s_selector() -> None:
    """``--cert-selector`` of aws_signing_helper, as its documentation has it."""
    text = (
        "Key=x509Subject,Value=CN=A B,O=C  Key=x509Issuer,Value=CN=Acme CA Key=x509Serial,Value=1F "
    )

    criteria = parse_cert_selector(text)

    assert criteria == {"subject": "CN=A B,O=C", "issuer": "CN=Acme CA", "serial": "1F"}
    assert parse_reference(reference_of(criteria)).selector == selector(criteria)
    assert parse_cert_selector(" Key=x509Serial,Value=1") == {"serial": "1"}


def test_references_are_made_of_criteria() -> None:
    """Whatever is in a name, the reference made of it asks for it."""
    criteria = {"subject": "CN=100% a&b #ä?,O=c+OU=d", "newest": "true"}

    reference = reference_of(criteria, place="LocalMachine/MY")

    assert reference.startswith("store:LocalMachine/MY?subject=CN=100%25 a%26b ")
    assert parse_reference(reference).selector == selector(criteria)
    assert reference_of({}) == "store:"


def test_the_other_program_s_file(tmp_path: Path) -> None:
    """The same as JSON in a file."""
    file = tmp_path / "selector.json"
    file.write_text(json.dumps([{"Key": "x509Subject", "Value": "CN=app"}]))

    assert parse_cert_selector(f"file://{file}") == {"subject": "CN=app"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "write Key=x509Subject"),
        ("CN=app", "write Key=x509Subject"),
        ("Key=x509Subject", "write Key=x509Subject"),
        ("Key=x509Subject,Value=CN=app Key=x509Serial", "write Key=x509Subject"),
        ("Key=x509Name,Value=CN=app", "'x509Name' is not among x509Subject"),
        ("Key=x509Serial,Value=1 Key=x509Serial,Value=2", "x509Serial is there twice"),
        ("file://nowhere.json", "FileNotFoundError"),
    ],
)
def test_what_is_no_selector(text: str, why: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(ConfigurationError, match=why):
        parse_cert_selector(text)


@pytest.mark.parametrize("content", ["{", "[1]", '[{"Key": "x"}]', "1", "\xff"])
def test_a_file_that_is_no_selector(content: str, tmp_path: Path) -> None:
    """The error names the file and what it must hold."""
    file = tmp_path / "selector.json"
    file.write_bytes(content.encode("latin-1"))

    with pytest.raises(ConfigurationError, match=r"selector\.json cannot be used .* It must hold"):
        parse_cert_selector(f"file://{file}")


def chosen(candidates: list[Certificate], criteria: str = "") -> Certificate:
    """The one that is meant."""
    return choose(
        candidates,
        parse_reference(f"store:?{criteria}").selector,
        source="store:",
        error=CertificateLoadError,
    )


def test_the_one_that_fits() -> None:
    """One alone is taken; of several the one that expires last, if that is asked for."""
    old, new, other = certificate(days=10), certificate(days=20), certificate("other", days=90)

    assert chosen([old]) == old
    assert chosen([new, old, other], "subject-includes=CN=app&newest=true") == new
    assert chosen([old, other], "subject-includes=CN=other") == other


def test_several_that_fit() -> None:
    """The error lists each, with what tells them apart, and says how to choose."""
    pair = [certificate(serial_number=0xAB1), certificate("other", serial_number=0xAB2)]

    with pytest.raises(CertificateLoadError) as caught:
        chosen(pair)

    text = str(caught.value)
    assert "store:: 2 certificates fit:" in text
    for each in pair:
        parsed = x509.load_der_x509_certificate(each.der)
        assert parsed.subject.rfc4514_string() in text
        assert f"serial={each.serial_number:x}" in text
        assert f"thumbprint={parsed.fingerprint(hashes.SHA1()).hex()}" in text
    assert "issued by CN=Acme CA" in text
    assert "valid until 2026-07-01T00:00:00Z" in text
    assert "newest=true" in text


def test_many_that_fit() -> None:
    """No error lists hundreds."""
    with pytest.raises(CertificateLoadError, match="25 certificates fit") as caught:
        chosen([certificate(serial_number=number) for number in range(1, 26)])

    assert str(caught.value).count("thumbprint=") == 20 + 1
    assert "and 5 more" in str(caught.value)


def test_none_that_fits() -> None:
    """The error lists what there is, of the kind that was asked for."""
    with pytest.raises(CertificateLoadError, match="no certificate fits") as caught:
        chosen([certificate()], "serial=1")
    assert "serial=1f" in str(caught.value)
    with pytest.raises(PrivateKeyLoadError, match="no certificate with a private key"):
        choose([], selector({}), source="store:", error=PrivateKeyLoadError)


def test_authorities_do_not_sign_in() -> None:
    """A CA certificate with its key is no candidate, unless nothing else is."""
    authority = CertificateAuthority()
    root = Certificate.from_der(authority.certificate.public_bytes(Encoding.DER), source="test")
    leaf = certificate()

    assert chosen([root, leaf]) == leaf
    assert chosen([root]) == root
