from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from bench import Bench, examined
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID

from rolesanywhere_auth.diagnosis.leaf import RULES
from rolesanywhere_auth.diagnosis.material import MATERIAL
from rolesanywhere_auth.errors import SigningError


def test_content_given_in_code_has_no_files(bench: Bench) -> None:
    """Bytes, PEM texts and signers are examined as well; there is no file to look at."""
    leaf = bench.set_up().leaf
    config = bench.config(
        certificate=leaf.certificate_pem, private_key=leaf.private_key_pem.encode()
    )

    found = examined(config, MATERIAL)

    assert found.ok
    assert found["certificate-file"].evidence == "certificate is no file but str given in code"
    assert found["key-file"].evidence == "private_key is no file but bytes given in code"


def test_key_in_the_certificates_file_is_looked_at_there(bench: Bench) -> None:
    """Where one file holds both, its mode counts as that of a key."""
    leaf = bench.set_up().leaf
    path = bench.write("all.pem", leaf.certificate_pem + leaf.private_key_pem, mode=0o644)

    found = examined(bench.config(certificate=path, private_key=None), MATERIAL)

    assert found["certificate-file"].status == "warn"
    assert found["key-file"].evidence == "no private_key is given"
    assert found["key-match"].status == "pass"


@pytest.mark.parametrize(("mode", "status"), [(0o600, "pass"), (0o640, "pass"), (0o660, "warn")])
def test_modes_of_a_key(bench: Bench, mode: int, status: str) -> None:
    """The owner's group may read a key, as Debian's ssl-cert does; it may not write it."""
    key = bench.write("a.key", bench.set_up().leaf.private_key_pem, mode=mode)

    assert examined(bench.config(private_key=key), MATERIAL)["key-file"].status == status


def test_key_store_is_no_file(bench: Bench) -> None:
    """A reference is named by its scheme, without what may be a PIN in it."""
    config = bench.config(private_key="pkcs11:token=x?pin-value=914285")

    found = examined(config, MATERIAL[:3])

    assert found["key-file"].evidence == "private_key is no file but a key store (pkcs11:)"
    assert "914285" not in str(found)


def test_pipe_is_read_once(bench: Bench) -> None:
    """What a shell makes of <(command) is not opened before it is used."""
    reading, writing = os.pipe()
    os.write(writing, bench.set_up().leaf.certificate_pem.encode())
    os.close(writing)
    setup = bench.set_up()

    found = examined(bench.config(setup, certificate=f"/dev/fd/{reading}"), MATERIAL[:4])
    os.close(reading)

    assert "is a pipe or device, which is read once" in found["certificate-file"].evidence
    assert found["certificate"].status == "pass"


@pytest.mark.parametrize("path", ["/etc/\0hostname", "/etc/hostname/x", "a." * 150])
def test_impossible_path(bench: Bench, path: str) -> None:
    """A path that no system takes is a failure and no traceback."""
    found = examined(bench.config(private_key=path), MATERIAL[2:3])["key-file"]

    assert found.status == "fail"
    assert "private_key" in found.evidence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_without_a_name(bench: Bench) -> None:
    """A user whom the system does not know is shown by number."""
    key = bench.write("a.key", bench.set_up().leaf.private_key_pem)
    os.chown(key, 54321, -1)

    found = examined(bench.config(private_key=key), MATERIAL)

    assert "(mode 0600, owner 54321)" in found["key-file"].evidence


class Faulty:
    """A caller's own signer that cannot sign."""

    def __init__(self, leaf: Any, error: Exception) -> None:
        self._leaf = leaf
        self._error = error

    def public_key(self) -> Any:
        """The right one."""
        return self._leaf.private_key.public_key()

    def sign(self, data: bytes) -> bytes:
        """Never."""
        raise self._error


def test_signer_that_fails(bench: Bench) -> None:
    """What a caller's own signer raises is named by its kind: its text may hold anything."""
    setup = bench.set_up()
    signer = Faulty(setup.leaf, RuntimeError("PIN 914285 refused"))

    found = examined(bench.config(setup, private_key=signer), MATERIAL)["test-signature"]

    assert (found.status, found.evidence) == ("fail", "sign() of Faulty raised RuntimeError")


def test_signer_that_says_why(bench: Bench) -> None:
    """A SigningError is told in its own words."""
    setup = bench.set_up()
    signer = Faulty(setup.leaf, SigningError("the card was taken out; put it in"))

    found = examined(bench.config(setup, private_key=signer), MATERIAL)["test-signature"]

    assert (found.evidence, found.fix) == ("the card was taken out", "put it in")


def test_folder_of_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path counts from the working directory, and a folder may not be listable."""
    empty = bench.folder / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    found = examined(bench.config(certificate="app.pem"), MATERIAL[:1])["certificate-file"]

    assert found.evidence == "app.pem, given as certificate, does not exist"
    assert "a relative one counts from the working directory" in found.fix


def test_key_that_cryptography_cannot_read(bench: Bench) -> None:
    """A certificate's key of a kind that is not known here is a warning: AWS may know it."""
    ec, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    der = bench.set_up().leaf.certificate.public_bytes(Encoding.DER).replace(ec, unknown)

    found = examined(bench.config(certificate=der), MATERIAL[:5], RULES)["key-type"]

    assert found.status == "warn"
    assert "cannot read the certificate's key" in found.evidence


def test_rules_of_a_good_certificate(bench: Bench) -> None:
    """All pass, and say what they saw."""
    found = examined(bench.config(), MATERIAL, RULES)

    assert found.ok
    assert not found.warnings
    assert found["key-usage"].evidence == "keyUsage digitalSignature"
    assert found["key-type"].evidence.endswith("P-256")


def test_malformed_extension(bench: Bench) -> None:
    """A certificate that cannot be read to the end is a failure, and no traceback."""
    found = examined(issued(bench, extension=b"\x30\x03\x02\x01"), MATERIAL, RULES)

    assert found.first_failure is not None
    assert found.first_failure.name == "chain"
    assert "the certificate CN=app is malformed: " in found.first_failure.evidence
    assert found.first_failure.fix.startswith("Have it issued again")


def test_name_of_a_certificate_forges_no_line(bench: Bench) -> None:
    """New lines and a terminal's commands in a subject are blanks in text and JSON."""
    found = examined(issued(bench, name="app\x1b[31m\npass  sign-in"), MATERIAL, RULES)

    assert found["subject"].evidence == "CN=app [31m pass  sign-in"
    assert not any(line.startswith("pass  sign-in") for line in str(found).splitlines())
    assert "\x1b" not in str(found)


def issued(bench: Bench, *, name: str = "app", extension: bytes | None = None) -> Any:
    """The configuration of a certificate of this name, with this for alternative names."""
    authority = bench.set_up().authority
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    issuer_key: Any = load_pem_private_key(authority.private_key_pem.encode(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(
        issuer_name=issuer.subject,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key.public_key(),
        serial_number=5,
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=90),
    ).add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
    if extension is not None:
        alternative = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, extension)
        builder = builder.add_extension(alternative, critical=False)
    made = builder.sign(issuer_key, hashes.SHA256())
    return bench.config(
        certificate=made.public_bytes(Encoding.PEM),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
