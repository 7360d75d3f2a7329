"""Serial numbers and CRLs; `openssl` reads what is made."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth import ConfigurationError, ResourceConflictError
from rolesanywhere_auth.provisioning import Authority, build_crl, issue_leaf, parse_serial
from rolesanywhere_auth.provisioning.authority import load_certificate
from rolesanywhere_auth.provisioning.crl import REASONS, is_of, load_crl, number_of, pem_of
from rolesanywhere_auth.testing import CertificateAuthority

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=30)


@pytest.fixture(scope="module")
def ca(cas):
    """A CA with its key."""
    return Authority.load(cas[0] / "ca.pem", cas[0] / "ca.key")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("serial=0A1B", 0x0A1B),
        ("serial=1000", 0x1000),
        ("Serial Number: 4096 (0x1000)", 4096),
        ("4096 (0x1000)", 4096),
        ("Serial Number:\n            0a:1b:ff", 0x0A1BFF),
        ("0a:1b:ff", 0x0A1BFF),
        ("10:00", 0x1000),
        ("0x1000", 0x1000),
        ("1000", 1000),
        ("DEADBEEF", 0xDEADBEEF),
        (" 7f ff ", 0x7FFF),
        ("1461501637330902918203684832716283019655932542975", (1 << 160) - 1),
    ],
)
def test_serial_numbers(text, expected):
    """Hexadecimal where openssl prints it so or it cannot be decimal; digits alone are decimal."""
    assert parse_serial(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no serial number"),
        ("serial=", "is no serial number"),
        ("xyz", "is no serial number"),
        ("-5", "is no serial number"),
        ("0", "not between 1 and 20 octets"),
        ("0x" + "ff" * 21, "not between 1 and 20 octets"),
        ("4096 (0x1001)", "the two forms"),
    ],
)
def test_no_serial_numbers(text, message):
    """What is none is refused, and how to write one is said."""
    with pytest.raises(ConfigurationError, match=message):
        parse_serial(text)


def test_serial_number_as_openssl_prints_it(ca, cas, tmp_path):
    """Both of openssl's forms lead to the certificate's number."""
    files = issue_leaf(ca, tmp_path, common_name="app", now=NOW)
    certificate = load_certificate(files.certificate, role="certificate")
    for arguments in (["-serial"], ["-text"]):
        shown = subprocess.run(
            ["openssl", "x509", "-noout", "-in", files.certificate, *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if arguments == ["-text"]:
            start = shown.index("Serial Number:")
            shown = shown[start : shown.index("Signature Algorithm")]
        assert parse_serial(shown) == certificate.serial_number


def openssl_text(crl, ca_file, tmp_path):
    """What openssl reads in a CRL, whose signature it verifies."""
    path = tmp_path / "crl.pem"
    path.write_bytes(pem_of(crl))
    done = subprocess.run(
        ["openssl", "crl", "-in", path, "-CAfile", ca_file, "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verify OK" in done.stderr
    return done.stdout


def test_openssl_reads_the_list(ca, cas, tmp_path):
    """Signature, CRL number, next update, entries and reasons are as openssl understands them."""
    first = build_crl(ca, [0x1000, 7], reason="keyCompromise", now=NOW, next_update=LATER)
    second = build_crl(
        ca, [0xABC, 7], existing=[first], now=NOW + timedelta(days=1), next_update=LATER
    )

    text = openssl_text(second, cas[0] / "ca.pem", tmp_path)

    assert "Version 2" in text
    assert "X509v3 CRL Number: \n                2\n" in text
    assert "Last Update: May  5 12:00:00 2026 GMT" in text
    assert "Next Update: Jun  3 12:00:00 2026 GMT" in text
    assert text.count("Serial Number:") == 3
    assert text.count("Key Compromise") == 2
    assert text.count("Revocation Date: May  4") == 2
    assert "Serial Number: 0ABC" in text
    key_id = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key()).digest.hex(":").upper()
    assert key_id in text


def test_openssl_refuses_what_is_revoked(ca, cas, tmp_path):
    """`openssl verify -crl_check` refuses the certificate on the list, and takes another."""
    now = datetime.now(timezone.utc)
    files = [issue_leaf(ca, tmp_path, common_name=name, now=now) for name in ("bad", "good")]
    bad = load_certificate(files[0].certificate, role="certificate").serial_number
    crl = tmp_path / "crl.pem"
    made = build_crl(ca, [bad], now=now, next_update=now + timedelta(days=1))
    crl.write_bytes(pem_of(made))

    def verify(path):
        return subprocess.run(
            [
                "openssl",
                "verify",
                "-crl_check",
                "-CAfile",
                cas[0] / "ca.pem",
                "-CRLfile",
                crl,
                path,
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "certificate revoked" in verify(files[0].certificate).stderr
    assert verify(files[1].certificate).returncode == 0


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason(ca, cas, tmp_path, reason):
    """Each reason is written as RFC 5280 names it; `unspecified` is left out."""
    crl = build_crl(ca, [1], reason=reason, now=NOW, next_update=LATER)

    (entry,) = crl
    expected = REASONS[reason]
    if expected is None:
        assert len(entry.extensions) == 0
    else:
        assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is expected
        assert expected.value == reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reason": "removeFromCRL"}, "no reason 'removeFromCRL': there are unspecified, key"),
        ({"next_update": NOW}, "is past"),
        (
            {"serials": range(1 << 150, (1 << 150) + 7000)},
            "of 7000 certificates has .* AWS takes 300000",
        ),
    ],
)
def test_lists_that_cannot_be(ca, changes, message):
    """No such reason, a past end, and too many entries for AWS are errors."""
    arguments = {"serials": [1], "reason": "superseded", "next_update": LATER} | changes
    serials = arguments.pop("serials")

    with pytest.raises(ConfigurationError, match=message):
        build_crl(ca, serials, now=NOW, **arguments)


def test_lists_of_other_software_are_not_rewritten(ca):
    """A partition or delta list would change its meaning: an error says what to do."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(NOW).next_update(LATER)
    builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    delta = builder.sign(ca.key, hashes.SHA256())

    with pytest.raises(ResourceConflictError, match=r"would be lost \(2\.5\.29\.27\)"):
        build_crl(ca, [1], existing=[delta], now=NOW, next_update=LATER)


def test_list_is_told_by_its_signature(ca):
    """PEM and DER are read; a list is the CA's if its key signed it, whatever the name."""
    crl = build_crl(ca, [1], now=NOW, next_update=LATER)
    same_name = CertificateAuthority("ca00").crl_pem().encode()
    rsa = CertificateAuthority("ca00", key_type="rsa-2048").crl_der()
    other = CertificateAuthority("other").crl_der()

    for data in (pem_of(crl), crl.public_bytes(Encoding.DER)):
        assert is_of(load_crl(data), ca)
    for data in (same_name, rsa, other):
        assert not is_of(load_crl(data), ca)
    assert number_of(load_crl(other)) == 0
    for data in (b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        assert load_crl(data) is None
    bits = CertificateAuthority("app").crl_der().replace(b"\x0c\x03app", b"\x03\x03\x00pp")
    assert load_crl(bits) is None


def test_ca_without_key_identifier(ca):
    """The list of a CA that names no key of its own is found by the key itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=plain")
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=LATER,
    )
    plain = Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)

    crl = build_crl(plain, [1], now=NOW, next_update=LATER)

    found = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    assert found.key_identifier == own.digest
