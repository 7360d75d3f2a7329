"""Development CAs and their certificates; `openssl` judges them."""

from __future__ import annotations

import stat
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rolesanywhere_auth import (
    CertificateExpiredError,
    CertificateLoadError,
    CertificateRequirementError,
    ConfigurationError,
    KeyMismatchError,
    PassphraseError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.provisioning import Authority, issue_leaf, make_development_ca
from rolesanywhere_auth.provisioning._new_files import write_new
from rolesanywhere_auth.provisioning.authority import (
    load_certificate,
    open_development_ca,
    write_development_ca,
)
from rolesanywhere_auth.testing import CertificateAuthority

NOW = datetime.now(timezone.utc)


def openssl(*arguments):
    """What a command of openssl prints."""
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=True
    ).stdout


def mode(path):
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_openssl_verifies_the_leaf(tmp_path, key_type):
    """Leaf and CA verify, for a client; keys fit and are for their owner alone."""
    ca = make_development_ca(tmp_path / "ca", now=NOW, key_type=key_type)
    files = issue_leaf(
        ca,
        tmp_path / "leaf",
        common_name="app",
        now=NOW,
        organization="Org",
        organizational_units=["A", "B"],
        dns_names=["app.example"],
        uris=["spiffe://example/app"],
        key_type=key_type,
    )

    ca_file = tmp_path / "ca" / "ca.pem"
    verify = openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", ca_file,
                     files.certificate)  # fmt: skip
    text = openssl("x509", "-noout", "-text", "-in", files.certificate)
    assert verify == f"{files.certificate}: OK\n"
    for part in (
        "O = Org, OU = A, OU = B, CN = app",
        "DNS:app.example, URI:spiffe://example/app",
        "CA:FALSE",
        "Digital Signature",
        "TLS Web Client Authentication",
    ):
        assert part in text.replace("=", " = ").replace("  ", " ")
    assert openssl("pkey", "-pubout", "-in", files.private_key) == openssl(
        "x509", "-noout", "-pubkey", "-in", files.certificate
    )
    for path in (files.private_key, tmp_path / "ca" / "ca.key"):
        assert mode(path) == 0o600
    assert mode(tmp_path / "ca") == 0o700
    assert "PRIVATE" not in repr(ca)
    assert "key=" not in repr(ca)


def test_ca_is_made_once(tmp_path):
    """The second time the CA that is there is loaded, and a leaf's file is never overwritten."""
    first = make_development_ca(tmp_path, now=NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    second = make_development_ca(tmp_path, now=NOW, common_name="Other")
    issue_leaf(second, tmp_path, common_name="app", now=NOW)

    with pytest.raises(ConfigurationError, match=r"app\.pem is there already"):
        issue_leaf(second, tmp_path, common_name="app", now=NOW)
    assert first.certificate == second.certificate
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_new_ca_is_not_written_before_its_time(tmp_path):
    """`open_development_ca` makes a CA in memory alone."""
    folder = tmp_path / "ca"
    assert open_development_ca(folder, now=NOW).name == "CN=Development CA"
    assert not folder.exists()


def test_interrupted_making_is_taken_up(tmp_path, monkeypatch):
    """A key without its certificate, of an interrupted run, is used and not replaced."""
    ca = make_development_ca(tmp_path, now=NOW)
    leaf = issue_leaf(ca, tmp_path, common_name="app", now=NOW)
    keys = [path.read_bytes() for path in (tmp_path / "ca.key", leaf.private_key)]
    (tmp_path / "ca.pem").unlink()
    leaf.certificate.unlink()

    again = make_development_ca(tmp_path, now=NOW)
    issue_leaf(again, tmp_path, common_name="app", now=NOW)

    assert [path.read_bytes() for path in (tmp_path / "ca.key", leaf.private_key)] == keys
    assert openssl("verify", "-CAfile", tmp_path / "ca.pem", leaf.certificate).endswith("OK\n")


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    """Between the look and the write somebody else made the file: theirs stays."""
    path = tmp_path / "x"
    path.write_text("theirs")

    with pytest.raises(ConfigurationError, match="nothing is overwritten"):
        write_new(path, b"ours", mode=0o600)
    assert path.read_text() == "theirs"


def test_leaf_does_not_outlive_its_ca(tmp_path):
    """A leaf ends with its CA at the latest."""
    ca = make_development_ca(tmp_path, now=NOW, lifetime=timedelta(days=10))
    files = issue_leaf(ca, tmp_path, common_name="app", now=NOW)

    found = load_certificate(files.certificate, role="certificate")
    assert found.not_valid_after_utc == ca.certificate.not_valid_after_utc


@pytest.mark.parametrize("name", ["ca", "../app", "a/b", "", ".hidden"])
def test_names_that_are_no_file_names(tmp_path, name):
    """A common name that leads elsewhere, or to the CA's own files, needs another file name."""
    ca = make_development_ca(tmp_path, now=NOW)
    with pytest.raises(ConfigurationError, match="cannot be a file's name"):
        issue_leaf(ca, tmp_path, common_name=name, now=NOW)
    assert issue_leaf(ca, tmp_path, common_name="a/b", file_name="ok", now=NOW).certificate.exists()


def test_unknown_key_type(tmp_path):
    """Another kind of key is refused with those there are."""
    with pytest.raises(ConfigurationError, match="there are ec-p256, ec-p384, rsa-2048"):
        make_development_ca(tmp_path, now=NOW, key_type="dsa")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_ca(tmp_path):
    """A leaf, another CA's key, a missing passphrase, no key and no certificate are told apart."""
    ca, other = CertificateAuthority("One"), CertificateAuthority("Two")
    leaf = ca.issue("app")
    pem = ca.certificate_pem
    encrypted = leaf.encrypted_private_key_pem("secret")
    builder = x509.load_pem_x509_certificate(pem.encode())
    assert builder.subject.rfc4514_string() == "CN=One"
    for certificate, key, error, message in (
        (leaf.certificate_pem, leaf.private_key_pem, CertificateRequirementError, "CN=app is none"),
        (pem, other.private_key_pem, KeyMismatchError, "is not the private key of the CA"),
        (pem, encrypted, PassphraseError, "no passphrase was given"),
        (pem, pem, PrivateKeyLoadError, "no private key"),
        (ca.private_key_pem, ca.private_key_pem, CertificateLoadError, "holds no certificate"),
    ):
        with pytest.raises(error, match=message):
            Authority.load(certificate, key)
    damaged = pem.replace("\n", "\nAAAA", 1)
    with pytest.raises(CertificateLoadError, match="ca_certificate"):
        Authority.load(damaged, ca.private_key_pem)
    der = ca.certificate.public_bytes(serialization.Encoding.DER)
    twice = der.replace(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d13"))
    bits = der.replace(b"\x0c\x03One", b"\x03\x03\x00ne")
    for odd in (twice, bits):
        assert odd != der
        with pytest.raises(CertificateLoadError, match="ca_certificate"):
            Authority.load(odd, ca.private_key_pem)


def test_certificate_without_basic_constraints_is_no_ca(tmp_path):
    """An old certificate without extensions is none of a CA."""
    leaf = CertificateAuthority().issue_flawed("version-1")
    with pytest.raises(CertificateRequirementError, match="none of a CA"):
        Authority.load(leaf.certificate_pem, leaf.private_key_pem)


def test_encrypted_ca_key(tmp_path):
    """The CA's key may be encrypted; the passphrase comes as everywhere here."""
    ca = CertificateAuthority("One")
    key = serialization.load_pem_private_key(ca.private_key_pem.encode(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    loaded = Authority.load(ca.certificate_pem, pem, passphrase=lambda: "secret")

    assert loaded.name == "CN=One"
    assert loaded.issued(ca.issue("app").certificate)
    assert not loaded.issued(CertificateAuthority("Two").issue("app").certificate)
    assert not loaded.issued(CertificateAuthority("One").issue("app").certificate)


def test_other_run_that_was_faster(tmp_path):
    """Of two runs at once one ends with an error; no certificate goes beside another's key."""
    first, second = (open_development_ca(tmp_path, now=NOW) for _ in range(2))
    write_development_ca(first, tmp_path)
    with pytest.raises(ConfigurationError, match=r"ca\.pem is there already"):
        write_development_ca(second, tmp_path)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.key is there already"):
        write_development_ca(second, tmp_path)

    assert not (tmp_path / "ca.pem").exists()
    write_development_ca(first, tmp_path)
    assert Authority.load(tmp_path / "ca.pem", tmp_path / "ca.key").certificate == first.certificate


def test_expired_ca_issues_nothing(tmp_path):
    """A certificate of it would never be valid."""
    ca = make_development_ca(tmp_path, now=NOW, lifetime=timedelta(minutes=1))
    before = sorted(tmp_path.iterdir())

    with pytest.raises(CertificateExpiredError, match="the CA CN=Development CA expired at"):
        issue_leaf(ca, tmp_path, common_name="app", now=NOW + timedelta(minutes=1))
    assert sorted(tmp_path.iterdir()) == before
