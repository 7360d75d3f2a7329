"""``sign-string``, ``read-certificate-data`` and ``version``, by OpenSSL's word."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rolesanywhere_auth import __version__, cli
from rolesanywhere_auth.cli.read_certificate_data import listed
from rolesanywhere_auth.cli.sign_string import message
from rolesanywhere_auth.keys import stores
from rolesanywhere_auth.keys.files import FileSigner
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing._leaf import Leaf

HEAD = b"AWS Roles Anywhere Credential Helper Signing Test1"


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    """Run openssl; what it printed."""
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """One CA for the module."""
    return CertificateAuthority()


@pytest.fixture
def issue(authority: CertificateAuthority, tmp_path: Path) -> Callable[..., Leaf]:
    """Issues a leaf and writes client.pem and client.key."""

    def make(key_type: str) -> Leaf:
        leaf = authority.issue("app", key_type=key_type)  # type: ignore[arg-type]
        leaf.write_to(tmp_path)
        return leaf

    return make


@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_rsa_signatures_are_openssls(
    digest: str,
    issue: Callable[..., Leaf],
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """With RSA, whose signatures repeat, each format has the bytes that OpenSSL makes of the
    helper's text: a fixed one, then SHA-256 of "IAM RA" and the PKCS#1 public key.
    """
    issue("rsa-2048")
    key = str(tmp_path / "client.key")
    public = openssl("rsa", "-in", key, "-RSAPublicKey_out", "-outform", "DER")
    data = HEAD + hashlib.sha256(b"IAM RA" + public).digest()
    expected = openssl("dgst", f"-{digest.lower()}", "-sign", key, data=data)
    shown = {
        "bin": expected,
        "text": expected.hex().encode(),
        "json": f'"{expected.hex()}"'.encode(),
    }
    for form, output in shown.items():
        assert cli.main(["sign-string", "--private-key", key, *_form(form, digest)]) == 0
        assert capfdbinary.readouterr() == (output, b"")


def _form(form: str, digest: str) -> list[str]:
    """The flags, where they are not the default."""
    return [
        *(["--format", form] if form != "json" else []),
        *([f"--digest={digest}"] if digest != "SHA256" else []),
    ]


def test_ec_signatures_are_verified_by_openssl(
    issue: Callable[..., Leaf], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EC: the public key in the text is the uncompressed point; the key may be in --certificate."""
    issue("ec-p384")
    key, combined = tmp_path / "client.key", tmp_path / "both.pem"
    combined.write_text((tmp_path / "client.pem").read_text() + key.read_text())
    info = openssl("ec", "-in", str(key), "-pubout", "-outform", "DER")
    (tmp_path / "public.pem").write_bytes(openssl("ec", "-in", str(key), "-pubout"))
    (tmp_path / "data").write_bytes(HEAD + hashlib.sha256(b"IAM RA" + info[-97:]).digest())

    assert cli.main(["sign-string", "--certificate", str(combined), "--digest", "SHA384"]) == 0
    (tmp_path / "signature").write_bytes(bytes.fromhex(json.loads(capsys.readouterr().out)))
    verified = openssl(
        *("dgst", "-sha384", "-verify", str(tmp_path / "public.pem")),
        *("-signature", str(tmp_path / "signature"), str(tmp_path / "data")),
    )
    assert verified == b"Verified OK\n"


def test_mldsa_signs_the_bare_text(
    issue: Callable[..., Leaf], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ML-DSA: no public key in the text, no digest, no context."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    leaf = issue("ml-dsa-44")
    assert cli.main(["sign-string", "--private-key", str(tmp_path / "client.key")]) == 0
    signature = bytes.fromhex(json.loads(capsys.readouterr().out))
    leaf.certificate.public_key().verify(signature, HEAD)  # type: ignore[union-attr, call-arg]


def test_sign_string_says_what_is_wrong(
    issue: Callable[..., Leaf], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No key, a kind that the service does not take, and a passphrase that is missing are one
    line; the passphrase may come as for a sign-in.
    """
    leaf = issue("rsa-2048")
    odd, secret = tmp_path / "odd.key", tmp_path / "secret.key"
    odd.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    secret.write_text(leaf.encrypted_private_key_pem("s3cret"))
    for given, text in {
        (): "--private-key is missing",
        ("--private-key", str(odd)): "Ed25519",
        ("--private-key", str(secret)): "give --passphrase-from (prompt: asks for it)",
        ("--private-key", str(tmp_path / "client.pem")): "no private key",
    }.items():
        assert cli.main(["sign-string", *given]) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert text in err
    assert cli.main(["sign-string", "--private-key", str(secret), "--pkcs8-password=s3cret"]) == 0


class Store:
    """A key store with one key."""

    source = "shelf:app"

    def __init__(self, signer: FileSigner, certificates: Sequence[bytes]) -> None:
        self._signer = signer
        self._certificates = certificates

    def certificates(self) -> Sequence[bytes]:
        return self._certificates

    def signer(self, public_keys: Sequence[bytes]) -> FileSigner:
        assert not public_keys
        return self._signer


@pytest.fixture
def shelf(issue: Callable[..., Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leaf:
    """A key store for ``shelf:`` references."""
    leaf = issue("ec-p256")
    signer = FileSigner.load(str(tmp_path / "client.key"))
    module = ModuleType("shelf")
    store = Store(signer, [leaf.certificate.public_bytes(Encoding.DER)])
    module.open_store = lambda reference, passphrase: store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shelf", module)
    monkeypatch.setitem(stores._MODULES, "shelf", "shelf")
    return leaf


def test_key_stores_sign_and_list(shelf: Leaf, capsys: pytest.CaptureFixture[str]) -> None:
    """A reference signs as sign-ins do, with no other digest, and its certificates are listed as
    the helper lists them.
    """
    assert cli.main(["sign-string", "--private-key", "shelf:app"]) == 0
    signature = bytes.fromhex(json.loads(capsys.readouterr().out))
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    public_key = shelf.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(signature, message(public_key), ec.ECDSA(SHA256()))

    assert cli.main(["sign-string", "--private-key", "shelf:app", "--digest", "SHA512"]) == 1
    assert "--digest SHA512 is for key files" in capsys.readouterr().err

    assert cli.main(["read-certificate-data", "--certificate", "shelf:app"]) == 0
    der = shelf.certificate.public_bytes(Encoding.DER)
    assert capsys.readouterr().out == (
        f"Matching identities\n1) Hex Fingerprint: {hashlib.sha1(der).hexdigest()}\n"
        f"Subject: {shelf.certificate.subject.rfc4514_string()}\n"
        f"Issuer: {shelf.certificate.issuer.rfc4514_string()}\n"
        f"Serial Number: {shelf.certificate.serial_number:X}\n\n"
    )
    assert listed([]) == "No matching identities\n"


@pytest.mark.parametrize(
    ("key_type", "shown", "algorithms"),
    [
        ("rsa-2048", "RSA", ["RSASHA256", "RSASHA384", "RSASHA512"]),
        ("ec-p256", "EC", ["ECSHA256", "ECSHA384", "ECSHA512"]),
        ("ml-dsa-65", "ML-DSA-65", ["ML-DSA-65"]),
    ],
)
def test_certificate_data(
    key_type: str,
    shown: str,
    algorithms: list[str],
    issue: Callable[..., Leaf],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The helper's members in its order, the serial number in decimal, for the first certificate
    of the file; the DER is OpenSSL's.
    """
    if key_type.startswith("ml"):
        pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    leaf = issue(key_type)
    file = tmp_path / "client.pem"
    assert cli.main(["read-certificate-data", "--certificate", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["keyType", "certificateData", "serialNumber", "supportedAlgorithms"]
    assert found["keyType"] == shown
    assert found["serialNumber"] == str(leaf.serial_number)
    assert found["supportedAlgorithms"] == algorithms
    pem = openssl("base64", "-d", "-A", data=found["certificateData"].encode())
    assert x509.load_der_x509_certificate(pem) == x509.load_pem_x509_certificate(file.read_bytes())


def test_certificate_data_says_what_is_wrong(
    issue: Callable[..., Leaf], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No certificate given, and a file without one, are one line."""
    issue("ec-p256")
    assert cli.main(["read-certificate-data"]) == 1
    assert "--certificate is missing" in capsys.readouterr().err
    assert cli.main(["read-certificate-data", "--certificate", str(tmp_path / "client.key")]) == 1
    assert "holds no certificate" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version alone, on a line."""
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
