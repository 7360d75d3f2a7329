"""The CA for tests makes what it says, by the judgement of the openssl command line."""

from __future__ import annotations

import inspect
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing.authority import (
    CertificateAuthority,
    Flaw,
    KeyType,
    Leaf,
    LeafKeyType,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def clock() -> datetime:
    """The time of this file."""
    return NOW


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    """A root with an EC key."""
    return CertificateAuthority("Root", organization="Example", now=clock)


def openssl(*arguments: str, data: str | bytes = b"") -> str:
    """What the openssl command line prints."""
    raw = data.encode() if isinstance(data, str) else data
    done = subprocess.run(["openssl", *arguments], input=raw, capture_output=True, check=True)
    return done.stdout.decode()


def text(certificate: str) -> str:
    """A certificate as openssl shows it."""
    return openssl("x509", "-noout", "-text", data=certificate)


def verify(folder: Path, leaf: Leaf, root: CertificateAuthority) -> None:
    """Have ``openssl verify`` accept the leaf under strict rules."""
    (folder / "root.pem").write_text(root.certificate_pem)
    (folder / "leaf.pem").write_text(leaf.certificate_pem)
    chain: list[str] = []
    if leaf.chain:
        (folder / "chain.pem").write_text(leaf.chain_pem)
        chain = ["-untrusted", str(folder / "chain.pem")]
    at = str(int(NOW.timestamp()))
    roots = ["-CAfile", str(folder / "root.pem")]
    openssl("verify", "-x509_strict", "-attime", at, *roots, *chain, str(folder / "leaf.pem"))


def test_a_root_is_a_proper_ca(ca: CertificateAuthority) -> None:
    """Version 3, critical basicConstraints and keyUsage, key identifiers, ten years."""
    shown = text(ca.certificate_pem)
    assert "Version: 3" in shown
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE\n" in shown
    assert "Key Usage: critical\n                Certificate Sign, CRL Sign" in shown
    assert "Subject Key Identifier" in shown
    assert "Subject: O = Example, CN = Root" in shown
    assert ca.chain == ()
    assert ca.certificate.not_valid_before_utc == NOW - DAY
    assert ca.certificate.not_valid_after_utc == NOW + 3652 * DAY
    assert repr(ca) == "<CertificateAuthority 'CN=Root,O=Example'>"


def test_a_leaf_is_a_proper_client(ca: CertificateAuthority, tmp_path: Path) -> None:
    """Digital signature, client authentication, CA:FALSE, and the names that were asked for."""
    directory = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dir")])
    leaf = ca.issue(
        "alice",
        organization="Ltd",
        organizational_units=["A", "B"],
        serial_number=0x1002,
        dns_names=["a.example", "b.example"],
        uris=["spiffe://example/a"],
        email_addresses=["a@example.com"],
        directory_names=[directory],
    )
    shown = text(leaf.certificate_pem)
    assert "Subject: O = Ltd, OU = A, OU = B, CN = alice" in shown
    assert "Serial Number: 4098 (0x1002)" in shown
    assert "CA:FALSE" in shown
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in shown
    assert "TLS Web Client Authentication" in shown
    names = "DNS:a.example, DNS:b.example, URI:spiffe://example/a, email:a@example.com, DirName:"
    assert names in shown
    assert leaf.serial_number == 0x1002
    assert leaf.certificate.not_valid_after_utc == NOW + 365 * DAY
    verify(tmp_path, leaf, ca)


def test_a_leaf_without_extras(ca: CertificateAuthority) -> None:
    """Extended key usage and alternative names can be left out, the subject be given whole."""
    subject = x509.Name.from_rfc4514_string("CN=x,C=DE")
    leaf = ca.issue(subject=subject, client_auth=False)
    assert leaf.certificate.subject == subject
    with pytest.raises(x509.ExtensionNotFound):
        leaf.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert ca.issue(None, organization="O").certificate.subject.rfc4514_string() == "O=O"


def test_intermediates_stack_up(ca: CertificateAuthority, tmp_path: Path) -> None:
    """The chain goes from the leaf upwards, without the root, as X-Amz-X509-Chain wants it."""
    upper = ca.intermediate("Upper", organization="Example")
    lower = upper.intermediate("Lower", path_length=0)
    leaf = lower.issue("alice")
    assert leaf.chain == lower.chain == (lower.certificate, upper.certificate)
    assert leaf.chain_pem == lower.certificate_pem + upper.certificate_pem
    assert leaf.bundle_pem == leaf.certificate_pem + leaf.chain_pem
    assert "CA:TRUE, pathlen:0" in text(lower.certificate_pem)
    assert "CA:TRUE\n" in text(upper.certificate_pem)
    verify(tmp_path, leaf, ca)


@pytest.mark.parametrize(
    ("key_type", "shown"),
    [
        ("rsa-1024", "(1024 bit)"),
        ("rsa-2048", "(2048 bit)"),
        ("ec-p256", "P-256"),
        ("ec-p384", "P-384"),
        ("ec-p521", "P-521"),
        ("ec-secp256k1", "secp256k1"),
        ("ed25519", "ED25519"),
    ],
)
def test_kinds_of_keys(ca: CertificateAuthority, key_type: Any, shown: str) -> None:
    """Each name gives the key that it says."""
    leaf = ca.issue(key_type=key_type)
    assert shown in text(leaf.certificate_pem)
    assert openssl("pkey", "-pubout", data=leaf.private_key_pem) == openssl(
        "x509", "-noout", "-pubkey", data=leaf.certificate_pem
    )


def test_an_encrypted_ca_key_is_not_loaded(ca: CertificateAuthority) -> None:
    """The error is the one that is promised, and says what the key is."""
    key = serialization.load_pem_private_key(ca.private_key_pem.encode(), password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ValueError, match=r"CA's private key cannot be read: .* encrypted"):
        CertificateAuthority.load(ca.certificate_pem.encode(), encrypted)


@pytest.mark.parametrize("strength", [44, 65, 87])
def test_ml_dsa(strength: int) -> None:
    """ML-DSA keys serve for CAs and leaves; the signature is ML-DSA's."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    key_type: Any = f"ml-dsa-{strength}"
    root = CertificateAuthority(key_type=key_type)
    leaf = root.issue(key_type=key_type, hash_algorithm="sha384")
    leaf.certificate.verify_directly_issued_by(root.certificate)
    assert leaf.certificate.signature_hash_algorithm is None
    loaded = serialization.load_pem_private_key(leaf.private_key_pem.encode(), None)
    assert loaded.public_key() == leaf.certificate.public_key()


def test_ml_dsa_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `cryptography` without ML-DSA is named, with the version to install."""
    module = "cryptography.hazmat.primitives.asymmetric.mldsa"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match="install cryptography 49 or newer"):
        CertificateAuthority(key_type="ml-dsa-44")


@pytest.mark.parametrize("name", ["ec-p225", "rsa-", "rsa-2O48", "ml-dsa-43"])
def test_an_unknown_kind_of_key_is_refused(ca: CertificateAuthority, name: Any) -> None:
    """A typing error is named."""
    with pytest.raises(ValueError, match=f"unknown key type '{name}'"):
        ca.issue(key_type=name)


@pytest.mark.parametrize("which", [{"not_valid_after"}, {"not_valid_before"}])
def test_a_moment_without_time_zone_is_in_utc(ca: CertificateAuthority, which: set[str]) -> None:
    """As for `cryptography`, for leaves and CAs, whichever end is given."""
    moments = {name: NOW.replace(tzinfo=None) for name in which}
    made = (ca.issue(**moments), ca.intermediate(**moments))  # type: ignore[arg-type]

    for certificate in (each.certificate for each in made):
        ends = {
            "not_valid_before": certificate.not_valid_before_utc,
            "not_valid_after": certificate.not_valid_after_utc,
        }
        assert {ends[name] for name in which} == {NOW}


def test_the_names_of_keys() -> None:
    """A leaf can have every key that a CA can have, and two more."""
    assert set(get_args(LeafKeyType)) - set(get_args(KeyType)) == {"ed25519", "ec-secp256k1"}


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384"])
def test_hash_algorithms(name: Any, key_type: Any) -> None:
    """The CA signs with the hash that is asked for."""
    leaf = CertificateAuthority(key_type=key_type).issue(hash_algorithm=name)
    assert name in text(leaf.certificate_pem).lower().split("signature algorithm: ")[1][:40]


@pytest.mark.parametrize("kind", [ed25519.Ed25519PrivateKey, None])
def test_a_given_public_key_is_certified(ca: CertificateAuthority, kind: Any) -> None:
    """For a key in hardware there is a certificate, and no private key."""
    key = kind.generate() if kind else ec.generate_private_key(ec.SECP384R1())
    leaf = ca.issue("hsm", public_key=key.public_key())
    assert leaf.certificate.public_key() == key.public_key()
    with pytest.raises(ValueError, match="issued for a given public key"):
        _ = leaf.private_key


def test_times_can_be_chosen(ca: CertificateAuthority) -> None:
    """One end alone moves the other out of its way."""
    late, early = NOW + 900 * DAY, NOW - 900 * DAY
    both = ca.issue(not_valid_before=early, not_valid_after=late).certificate
    assert (both.not_valid_before_utc, both.not_valid_after_utc) == (early, late)
    assert ca.issue(not_valid_before=late).certificate.not_valid_after_utc == late + 365 * DAY
    assert ca.issue(not_valid_before=early).certificate.not_valid_after_utc == NOW + 365 * DAY
    assert ca.issue(not_valid_after=early).certificate.not_valid_before_utc == early - 365 * DAY
    assert ca.issue(not_valid_after=late).certificate.not_valid_before_utc == NOW - DAY
    old = CertificateAuthority(not_valid_after=early, now=clock)
    assert old.certificate.not_valid_after_utc == early
    assert ca.intermediate(not_valid_before=late).certificate.not_valid_before_utc == late


def test_the_system_clock_is_the_default() -> None:
    """Without a clock, certificates are valid now."""
    certificate = CertificateAuthority().issue().certificate
    now = datetime.now(timezone.utc)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


# Leaf in other forms


def test_private_keys_in_pem(ca: CertificateAuthority) -> None:
    """Plain and encrypted PKCS #8, both for openssl."""
    leaf = ca.issue()
    public = openssl("pkey", "-pubout", data=leaf.private_key_pem)
    for passphrase in ("secret", b"secret"):
        encrypted = leaf.encrypted_private_key_pem(passphrase)
        assert "BEGIN ENCRYPTED PRIVATE KEY" in encrypted
        assert openssl("pkey", "-pubout", "-passin", "pass:secret", data=encrypted) == public


def test_pkcs12(ca: CertificateAuthority) -> None:
    """The file has the key, the certificate under its name, and the intermediates."""
    leaf = ca.intermediate("Middle").issue("alice")
    data = leaf.pkcs12("secret", friendly_name="mine")
    shown = openssl("pkcs12", "-passin", "pass:secret", "-nodes", data=data)
    assert "friendlyName: mine" in shown
    assert "BEGIN PRIVATE KEY" in shown
    assert shown.count("BEGIN CERTIFICATE") == 2
    alone = openssl("pkcs12", "-passin", "pass:x", "-nodes", data=ca.issue().pkcs12(b"x"))
    assert alone.count("BEGIN CERTIFICATE") == 1


def test_files(ca: CertificateAuthority, tmp_path: Path) -> None:
    """The key is readable for nobody else, even where such a file was there before."""
    leaf = ca.intermediate().issue()
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        files = leaf.write_to(folder)
        assert files.certificate.read_text() == leaf.certificate_pem
        assert files.private_key.read_text() == leaf.private_key_pem
        assert files.chain is not None
        assert files.chain.read_text() == leaf.chain_pem
        if sys.platform != "win32":
            assert stat.S_IMODE(files.private_key.stat().st_mode) == 0o600
        files.private_key.chmod(0o644)


def test_no_chain_file_below_the_root(ca: CertificateAuthority, tmp_path: Path) -> None:
    """An empty file would be no chain."""
    files = ca.issue().write_to(str(tmp_path))
    assert files.chain is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["client.key", "client.pem"]


def test_no_key_is_shown(ca: CertificateAuthority) -> None:
    """The repr says whose certificate it is."""
    leaf = ca.issue("alice", serial_number=7)
    assert repr(leaf) == "<Leaf 'CN=alice' 7>"


# Revocation


def test_crl(ca: CertificateAuthority) -> None:
    """The list has what was revoked, in PEM and DER, for openssl."""
    ca = CertificateAuthority("Root", now=clock)
    assert "No Revoked Certificates" in openssl("crl", "-noout", "-text", data=ca.crl_pem())
    leaf, sub = ca.issue(serial_number=0xABC), ca.intermediate()
    ca.revoke(leaf, reason=x509.ReasonFlags.key_compromise)
    ca.revoke(leaf.certificate, reason=x509.ReasonFlags.key_compromise)
    ca.revoke(0xDEF)
    ca.revoke(sub)
    shown = openssl("crl", "-noout", "-text", "-inform", "DER", data=ca.crl_der())
    assert shown.count("Serial Number:") == 3
    assert "Serial Number: 0ABC" in shown
    assert "Serial Number: 0DEF" in shown
    assert "Key Compromise" in shown
    assert "Last Update: May  4 12:00:00 2026 GMT" in shown
    assert "Next Update: May  5 12:00:00 2026 GMT" in shown


def test_times_of_a_crl_can_be_chosen(ca: CertificateAuthority) -> None:
    """Both updates are parameters."""
    pem = ca.crl_pem(last_update=NOW - 9 * DAY, next_update=NOW - 8 * DAY)
    crl = x509.load_pem_x509_crl(pem.encode())
    assert crl.last_update_utc == NOW - 9 * DAY
    assert crl.next_update_utc == NOW - 8 * DAY


def test_a_foreign_certificate_cannot_be_revoked(ca: CertificateAuthority) -> None:
    """Only the CA that issued it can revoke it, and the message names that one."""
    leaf = ca.intermediate("Middle").issue()
    with pytest.raises(ValueError, match=r"'CN=Root,O=Example'.*revoke it at 'CN=Middle'"):
        ca.revoke(leaf)


# Flaws


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ("expired", "Not After : May  3 12:00:00 2026 GMT"),
        ("not-yet-valid", "Not Before: May  5 12:00:00 2026 GMT"),
        ("ca-true", "CA:TRUE"),
        ("no-digital-signature", "X509v3 Key Usage: critical\n                Key Agreement\n"),
        ("sha1", "Signature Algorithm: ecdsa-with-SHA1"),
        ("empty-subject", "Subject: \n"),
        ("critical-unknown-extension", "1.3.6.1.4.1.55555.1: critical"),
        ("version-1", "Version: 1"),
    ],
)
def test_flaws(ca: CertificateAuthority, flaw: Any, words: str) -> None:
    """Each flaw is there, as openssl sees it."""
    assert words in text(ca.issue_flawed(flaw).certificate_pem)


def test_a_flawed_leaf_has_the_names_that_are_asked_for(ca: CertificateAuthority) -> None:
    """Name, key, serial number and alternative names are parameters."""
    leaf = ca.issue_flawed(
        "no-key-usage",
        common_name="x",
        key_type="ec-p384",
        serial_number=9,
        dns_names=["x.example"],
    )
    shown = text(leaf.certificate_pem)
    assert "Key Usage: critical" not in shown
    assert "Subject: CN = x" in shown
    assert "P-384" in shown
    assert "DNS:x.example" in shown
    assert leaf.serial_number == 9


@pytest.mark.parametrize("flaw", ["sha1", "md5", "version-1"])
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_signatures_of_our_own_making_are_right(tmp_path: Path, flaw: Any, key_type: Any) -> None:
    """openssl accepts the signature itself of what `cryptography` does not sign."""
    root = CertificateAuthority(key_type=key_type, now=clock)
    if (flaw, key_type) == ("md5", "ec-p256"):
        with pytest.raises(ValueError, match="ec keys make no md5 signatures"):
            root.issue_flawed(flaw)
        return
    for path, pem in (("root", root.certificate_pem), ("leaf", root.issue_flawed(flaw).bundle_pem)):
        (tmp_path / path).write_text(pem)
    level = ["-auth_level", "0", "-attime", str(int(NOW.timestamp()))]
    openssl("verify", *level, "-CAfile", str(tmp_path / "root"), str(tmp_path / "leaf"))


@pytest.mark.parametrize("flaw", ["sha1", "md5", "version-1"])
def test_an_ml_dsa_ca_cannot_make_old_signatures(flaw: Any) -> None:
    """Those need RSA or EC, and the message says so."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    with pytest.raises(ValueError, match="use an RSA issuer"):
        CertificateAuthority(key_type="ml-dsa-44").issue_flawed(flaw)


def test_a_wrong_signature_is_by_a_namesake(ca: CertificateAuthority) -> None:
    """The issuer's name is right, its key is another."""
    leaf = ca.issue_flawed("wrong-signature")
    assert leaf.certificate.issuer == ca.certificate.subject
    with pytest.raises(InvalidSignature):
        leaf.certificate.verify_directly_issued_by(ca.certificate)


def test_all_flaws_are_made(ca: CertificateAuthority) -> None:
    """Every name of a flaw is known, and no other."""
    root = CertificateAuthority(key_type="rsa-2048")
    for flaw in get_args(Flaw):
        assert isinstance(root.issue_flawed(flaw), Leaf)
    with pytest.raises(ValueError, match="unknown flaw 'nice'; known: expired, "):
        ca.issue_flawed("nice")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [
        CertificateAuthority,
        CertificateAuthority.intermediate,
        CertificateAuthority.issue,
        CertificateAuthority.issue_flawed,
        CertificateAuthority.revoke,
    ],
)
def test_options_are_keywords(function: Any) -> None:
    """Only the first argument may be given by position."""
    parameters = [p for name, p in inspect.signature(function).parameters.items() if name != "self"]
    assert [p.kind for p in parameters[1:]] == [inspect.Parameter.KEYWORD_ONLY] * len(
        parameters[1:]
    )
