from __future__ import annotations

import base64
import copy
import logging
import pickle
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateLoadError,
    CertificateNotYetValidError,
    CertificateRequirementError,
    ConfigurationError,
    IdentityError,
    KeyMismatchError,
    PassphraseError,
    PrivateKeyLoadError,
    RolesAnywhereError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.keys import ProvedSigner

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # an older cryptography
    MLDSA: list[Any] = []
else:
    MLDSA = [mldsa.MLDSA44PrivateKey, mldsa.MLDSA65PrivateKey, mldsa.MLDSA87PrivateKey]

NOW = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
PASSPHRASE = "correct hörse"
DATA = b"string to sign"


def openssl(*arguments: str, cwd: Path, stdin: bytes = b"") -> bytes:
    """Run openssl, and give its output."""
    done = subprocess.run(
        ["openssl", *arguments], cwd=cwd, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class PKI:
    """A root, two intermediates and leaves, all made by openssl, as files."""

    directory: Path

    def read(self, *names: str) -> bytes:
        return b"".join((self.directory / name).read_bytes() for name in names)

    def path(self, name: str) -> Path:
        return self.directory / name

    def openssl(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return openssl(*arguments, cwd=self.directory, stdin=stdin)

    def der(self, name: str) -> bytes:
        return x509.load_pem_x509_certificate(self.read(f"{name}.pem")).public_bytes(Encoding.DER)

    def header(self, name: str) -> str:
        """One certificate as ``openssl base64`` writes it."""
        return self.openssl("base64", "-A", stdin=self.der(name)).decode()

    def key(self, name: str, *arguments: str) -> None:
        self.openssl("genpkey", *arguments, "-out", f"{name}.key")

    def issue(self, name: str, issuer: str | None, section: str) -> None:
        by = ["-signkey", f"{name}.key"]
        if issuer is not None:
            by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial"]
        self.openssl("req", "-new", "-config", "c.cnf", "-subj", f"/CN={name}",
                     "-key", f"{name}.key", "-out", "r.csr")  # fmt: skip
        self.openssl("x509", "-req", "-in", "r.csr", *by, "-days", "30", "-sha256", "-extfile",
                     "c.cnf", "-extensions", section, "-out", f"{name}.pem")  # fmt: skip


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    """Root > upper > lower > leaves of each classical kind."""
    made = PKI(tmp_path_factory.mktemp("pki"))
    made.path("c.cnf").write_text(_CONFIG)
    p256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    for name, issuer in (("root", None), ("upper", "root"), ("lower", "upper")):
        made.key(name, *p256)
        made.issue(name, issuer, "ca")
    kinds = {
        "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        "p256": p256,
        "p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    }
    for name, arguments in kinds.items():
        made.key(name, *arguments)
        made.issue(name, "lower", "leaf")
    return made


def verify(identity: Identity) -> None:
    """cryptography verifies the signer's signature with the key in the header's certificate."""
    certificate = x509.load_der_x509_certificate(base64.b64decode(identity.certificate_header))
    public_key: Any = certificate.public_key()
    signature = identity.signer.sign(DATA)
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, DATA, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, DATA, ec.ECDSA(hashes.SHA256()))
    else:
        public_key.verify(signature, DATA)


def assert_whole(identity: Identity, pki: PKI, kind: str) -> None:
    """Leaf and both intermediates, in order; root and the rest left out."""
    certificate = x509.load_der_x509_certificate(pki.der(kind))

    assert identity.certificate_header == pki.header(kind)
    assert identity.chain_header == f"{pki.header('lower')},{pki.header('upper')}"
    assert identity.serial_number == certificate.serial_number
    assert identity.not_valid_after == certificate.not_valid_after_utc
    verify(identity)


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
def test_separate_files(pki: PKI, kind: str) -> None:
    """Certificate, key and chain may each have a file."""
    pki.path("chain.pem").write_bytes(pki.read("root.pem", "upper.pem", "lower.pem"))
    identity = Identity.load(
        pki.path(f"{kind}.pem"),
        private_key=str(pki.path(f"{kind}.key")),
        certificate_chain=pki.path("chain.pem"),
        now=NOW,
    )

    assert_whole(identity, pki, kind)
    assert identity.source == str(pki.path(f"{kind}.pem"))


ORDERS = [
    ("p256.key", "p256.pem", "lower.pem", "upper.pem", "root.pem"),
    ("root.pem", "upper.pem", "lower.pem", "p256.pem", "p256.key"),
    ("upper.pem", "rsa.pem", "p256.key", "root.pem", "p256.pem", "lower.pem", "p256.pem"),
]


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
@pytest.mark.parametrize("dressing", ["plain", "crlf", "bom", "text"])
def test_one_file_in_any_order(pki: PKI, order: tuple[str, ...], dressing: str) -> None:
    """The leaf is the certificate of the key wherever it stands; the chain is put in order."""
    pem = pki.read(*order)
    dressed = {
        "plain": pem,
        "crlf": pem.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + pem,
        "text": pem.replace(b"-----BEGIN", "subject=Bücher\nBag Attributes\n-----BEGIN".encode()),
    }[dressing]

    assert_whole(Identity.load(dressed, now=NOW), pki, "p256")
    if dressing != "text":
        text = dressed.decode("utf-8-sig")
        assert_whole(Identity.load(text, private_key=text, now=NOW), pki, "p256")


def test_openssl_text_around(pki: PKI) -> None:
    """What ``openssl x509 -text`` prints around the block does not matter."""
    printed = pki.openssl("x509", "-in", "p256.pem", "-text")

    assert b"Subject Public Key Info" in printed
    assert Identity.load(printed, private_key=pki.path("p256.key"), now=NOW).leaf.der == pki.der(
        "p256"
    )


@pytest.mark.parametrize("label", ["X509 CERTIFICATE", "TRUSTED CERTIFICATE"])
def test_other_labels(pki: PKI, label: str) -> None:
    """The older label, and openssl's own with data behind the certificate, are read."""
    if label.startswith("TRUSTED"):
        pem = pki.openssl("x509", "-in", "p256.pem", "-trustout", "-addtrust", "clientAuth")
    else:
        pem = pki.read("p256.pem").replace(b" CERTIFICATE", b" X509 CERTIFICATE")

    assert label.encode() in pem
    identity = Identity.load(pem, private_key=pki.path("p256.key"), now=NOW)
    assert identity.leaf.der == pki.der("p256")


def test_broken_trusted_certificate() -> None:
    """Rubbish under that label is an error like any other."""
    pem = b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"

    with pytest.raises(CertificateLoadError, match="damaged or not DER"):
        Identity.load(pem, private_key=ec.generate_private_key(ec.SECP256R1()), now=NOW)


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_der(pki: PKI, kind: str) -> None:
    """Certificate, key and chain as DER, from bytes and from files."""
    key = load_pem_private_key(pki.read(f"{kind}.key"), None)
    key_der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pki.path("c.der").write_bytes(pki.der(kind))
    identity = Identity.load(
        pki.path("c.der"), private_key=key_der, certificate_chain=pki.der("lower"), now=NOW
    )

    assert identity.certificate_header == pki.header(kind)
    assert identity.chain_header == pki.header("lower")
    verify(identity)


def bundle(pki: PKI, kind: str, *arguments: str, passphrase: str = PASSPHRASE) -> bytes:
    """A PKCS#12 file of openssl's making, with the whole chain."""
    chain = pki.path("all.pem")
    chain.write_bytes(pki.read("root.pem", "lower.pem", "upper.pem"))
    return pki.openssl(
        "pkcs12", "-export", "-in", f"{kind}.pem", "-inkey", f"{kind}.key", "-certfile", "all.pem",
        "-passout", f"pass:{passphrase}", *arguments,
    )  # fmt: skip


PKCS12 = {
    "new": (),
    "legacy": ("-legacy",),
    "3des": ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "SHA1"),
    "aes128": ("-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC", "-macalg", "SHA512"),
    "plain certificates": ("-certpbe", "NONE"),
    "plain key": ("-keypbe", "NONE"),
    "nomac": ("-nomac",),
}


@pytest.mark.parametrize("kind", ["rsa", "p256"])
@pytest.mark.parametrize("how", sorted(PKCS12))
def test_pkcs12(pki: PKI, kind: str, how: str) -> None:
    """PKCS#12 with old and new ciphers gives leaf, chain and key; a wrong passphrase is told."""
    data = bundle(pki, kind, *PKCS12[how])
    path = pki.path("bundle.p12")
    path.write_bytes(data)

    assert_whole(Identity.load(path, passphrase=PASSPHRASE, now=NOW), pki, kind)
    assert_whole(Identity.load(data, passphrase=PASSPHRASE.encode(), now=NOW), pki, kind)
    with pytest.raises(PassphraseError, match="none was given") as caught:
        Identity.load(path, now=NOW)
    assert caught.value.source == str(path)
    with pytest.raises(PassphraseError, match="passphrase does not open") as caught:
        Identity.load(path, passphrase="wrong", now=NOW)
    assert caught.value.source == str(path)


OLD = ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "SHA1")


@pytest.mark.parametrize(
    "arguments",
    [("-keypbe", "NONE", "-certpbe", "NONE", "-nomac"), (), OLD],
    ids=["plain", "empty", "empty, old ciphers"],
)
@pytest.mark.parametrize("passphrase", [None, "", b"", "needless"], ids=repr)
def test_pkcs12_without_passphrase(pki: PKI, arguments: tuple[str, ...], passphrase: Any) -> None:
    """A PKCS#12 file with no or with an empty passphrase opens, whatever is given."""
    data = bundle(pki, "p256", *arguments, passphrase="")

    assert_whole(Identity.load(data, passphrase=passphrase, now=NOW), pki, "p256")


@pytest.mark.parametrize(
    ("arguments", "passphrase"),
    [((), PASSPHRASE), (("-keypbe", "NONE", "-certpbe", "NONE", "-nomac"), ""), ((), "")],
    ids=["passphrase", "plain", "empty passphrase"],
)
def test_pkcs12_rsa_is_not_validated(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], passphrase: str
) -> None:
    """``cryptography`` sees no key in a PKCS#12, as it would validate it for 40 ms and more."""
    data = bundle(pki, "rsa", *arguments, passphrase=passphrase)
    load, seen = pkcs12.load_pkcs12, []

    def watched(*arguments: Any) -> Any:
        seen.append(load(*arguments))
        return seen[-1]

    monkeypatch.setattr(pkcs12, "load_pkcs12", watched)

    assert_whole(Identity.load(data, passphrase=passphrase, now=NOW), pki, "rsa")
    assert [found.key for found in seen] == [None]


def test_pkcs12_as_key_only(pki: PKI) -> None:
    """A PKCS#12 file may serve as private_key, beside a PEM certificate; and the other way."""
    data = bundle(pki, "rsa")
    identity = Identity.load(pki.path("rsa.pem"), private_key=data, passphrase=PASSPHRASE, now=NOW)
    other = Identity.load(data, private_key=pki.path("rsa.key"), passphrase=PASSPHRASE, now=NOW)

    assert identity.leaf.der == pki.der("rsa")
    assert identity.chain_header is None
    assert_whole(other, pki, "rsa")


def test_pkcs12_without_key(pki: PKI) -> None:
    """A PKCS#12 file with certificates alone serves as chain, and lacks a key as certificate."""
    data = pki.openssl(
        "pkcs12", "-export", "-nokeys", "-in", "lower.pem", "-passout", "pass:x", "-certfile",
        "upper.pem",
    )  # fmt: skip
    identity = Identity.load(
        pki.path("p256.pem"),
        private_key=pki.path("p256.key"),
        certificate_chain=data,
        passphrase="x",
        now=NOW,
    )

    assert_whole(identity, pki, "p256")
    with pytest.raises(PrivateKeyLoadError, match="No private_key was given"):
        Identity.load(data, passphrase="x", now=NOW)


def test_pkcs12_of_cryptography(pki: PKI) -> None:
    """What cryptography writes opens too, with a key that is not PBES2 of openssl's defaults."""
    key = load_pem_private_key(pki.read("p256.key"), None)
    data = pkcs12.serialize_key_and_certificates(
        b"name",
        key,  # type: ignore[arg-type]
        x509.load_pem_x509_certificate(pki.read("p256.pem")),
        [x509.load_pem_x509_certificate(pki.read(f"{name}.pem")) for name in ("lower", "upper")],
        BestAvailableEncryption(PASSPHRASE.encode()),
    )

    assert_whole(Identity.load(data, passphrase=PASSPHRASE, now=NOW), pki, "p256")


def element(tag: int, content: bytes) -> bytes:
    """One DER element."""
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


def test_pkcs12_in_ber(pki: PKI) -> None:
    """PKCS#12 with an indefinite length, as other tools write it, is recognised and opened."""
    der = bundle(pki, "p256")
    assert der[:2] == b"\x30\x82"
    ber = b"\x30\x80" + der[4:] + b"\x00\x00"

    with pytest.warns(UserWarning, match="BER"):  # cryptography's own; it may drop BER one day
        assert_whole(Identity.load(ber, passphrase=PASSPHRASE, now=NOW), pki, "p256")


def test_pkcs12_damaged(pki: PKI) -> None:
    """Damage in a PKCS#12 file never leads to anything but a typed error."""
    data = bundle(pki, "p256")
    for at in range(0, len(data), 23):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        try:
            Identity.load(bytes(damaged), passphrase=PASSPHRASE, now=NOW)
        except IdentityError as error:
            assert error.source  # noqa: PT017


def test_pkcs12_with_an_unknown_cipher(pki: PKI) -> None:
    """A PKCS#12 file with a cipher that is not known is a typed error."""
    data = bundle(pki, "p256", "-nomac")
    aes = bytes.fromhex("060960864801650304012a")

    assert aes in data
    with pytest.raises(IdentityError, match="bytes given as certificate: "):
        Identity.load(data.replace(aes, aes[:-1] + b"\x7f"), passphrase=PASSPHRASE, now=NOW)


def test_pkcs12_with_an_unsupported_key(pki: PKI) -> None:
    """A PKCS#12 file whose key the service has no algorithm for is told, encrypted or not."""
    pki.key("koblitz", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:sect233k1")
    pki.issue("koblitz", "lower", "leaf")
    plain = bundle(pki, "koblitz", "-keypbe", "NONE", "-certpbe", "NONE", "-nomac", passphrase="")
    old = bundle(pki, "koblitz", *OLD, passphrase="")

    for data in (plain, old, bundle(pki, "koblitz")):
        for passphrase in (None, PASSPHRASE) if data in (plain, old) else (PASSPHRASE,):
            with pytest.raises(UnsupportedKeyError, match=r"bytes given as .*sect233k1|1\.3\.132"):
                Identity.load(data, passphrase=passphrase, now=NOW)


def test_pkcs12_signed() -> None:
    """A PKCS#12 file protected by a public key is no crash."""
    signed = element(6, bytes.fromhex("2a864886f70d010702"))
    data = element(0x30, b"\x02\x01\x03" + element(0x30, signed))

    with pytest.raises(PassphraseError, match=r"\(or the file is damaged"):
        Identity.load(data, passphrase=PASSPHRASE, now=NOW)


def test_encrypted_key(pki: PKI) -> None:
    """An encrypted key in the certificate's file opens with the passphrase."""
    key = pki.openssl("pkcs8", "-topk8", "-in", "p256.key", "-passout", f"pass:{PASSPHRASE}")
    pem = pki.read("p256.pem") + key

    identity = Identity.load(pem, passphrase=PASSPHRASE, now=NOW)
    verify(identity)
    with pytest.raises(PassphraseError, match="bytes given as certificate"):
        Identity.load(pem, now=NOW)


def name(text: str) -> x509.Name:
    """A name of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def leaf(
    public_key: Any,
    *,
    days: tuple[int, int] = (-1, 30),
    subject: str = "leaf",
    ca: bool = False,
    usage: bool = True,
) -> bytes:
    """A certificate by cryptography, as PEM."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("CA"))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usage:
        bits = [True, *[False] * 8]
        builder = builder.add_extension(x509.KeyUsage(*bits), critical=True)
    issuer = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.PEM)


KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"days": (-9, -1)}, CertificateExpiredError, "expired at"),
        ({"days": (1, 9)}, CertificateNotYetValidError, "valid only from"),
        ({"ca": True}, CertificateRequirementError, "CA certificate"),
        ({"usage": False}, CertificateRequirementError, "digitalSignature"),
    ],
    ids=["expired", "early", "ca", "usage"],
)
def test_unfit_leaf(changes: dict[str, Any], error: type[IdentityError], text: str) -> None:
    """An unfit leaf is a typed error before any request."""
    pem = leaf(KEY.public_key(), **changes)

    with pytest.raises(error, match=text) as caught:
        Identity.load(pem, private_key=KEY, now=NOW)
    assert caught.value.source == "bytes given as certificate"
    assert "CN=leaf" in str(caught.value)


@pytest.mark.parametrize("reverse", [True, False])
def test_several_certificates_of_one_key(reverse: bool) -> None:
    """Of several certificates of the key, one that is fit is taken, and of those the newest."""
    fitting = leaf(KEY.public_key(), subject="new", days=(-2, 9))
    pems = [
        leaf(KEY.public_key(), subject="old", days=(-3, 90)),
        fitting,
        leaf(KEY.public_key(), subject="early", days=(1, 90)),
        leaf(KEY.public_key(), subject="ca", ca=True, days=(-1, 9)),
    ]
    identity = Identity.load(b"".join(pems[::-1] if reverse else pems), private_key=KEY, now=NOW)

    assert identity.leaf.subject_text == "CN=new"


def test_mismatch(pki: PKI) -> None:
    """A key of none of the certificates is an error that names both sources and the names."""
    with pytest.raises(KeyMismatchError) as caught:
        Identity.load(pki.path("p256.pem"), private_key=pki.path("p384.key"), now=NOW)

    for part in (str(pki.path("p256.pem")), str(pki.path("p384.key")), "CN=p256"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP521R1()),
        *(kind.generate() for kind in MLDSA),
    ],
    ids=lambda key: type(key).__name__,
)
def test_key_objects_of_cryptography(key: Any) -> None:
    """A private key object of cryptography is taken as it is, as is its seed-only PKCS#8."""
    pem = leaf(key.public_key())
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    verify(Identity.load(pem, private_key=key, now=NOW))
    verify(Identity.load(pem + written, now=NOW))


@pytest.mark.skipif(not MLDSA, reason="this cryptography has no ML-DSA")
def test_mldsa_seed_and_expanded(pki: PKI) -> None:
    """The seed-plus-expanded form of RFC 9881 signs for its certificate, and for no other."""
    key = mldsa.MLDSA65PrivateKey.generate()
    both = element(0x30, element(4, key.private_bytes_raw()) + element(4, bytes(4032)))
    algorithm = element(0x30, element(6, bytes.fromhex("608648016503040312")))
    content = element(0x30, b"\x02\x01\x00" + algorithm + element(4, both))

    verify(Identity.load(leaf(key.public_key()), private_key=content, now=NOW))
    with pytest.raises(KeyMismatchError):
        Identity.load(
            leaf(mldsa.MLDSA65PrivateKey.generate().public_key()), private_key=content, now=NOW
        )


class ForeignSigner:
    """A key kept elsewhere, as a user would write it."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def public_key(self) -> Any:
        return self._key.public_key()

    def sign(self, data: bytes) -> bytes:
        signature: bytes = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature


def test_signer_object() -> None:
    """Any object with public_key() and sign() serves as private_key, matched as keys are."""
    signer = ForeignSigner(KEY)
    identity = Identity.load(leaf(KEY.public_key()), private_key=signer, now=NOW)

    assert isinstance(identity.signer, ProvedSigner)
    assert identity.signer.signer is signer
    verify(identity)
    with pytest.raises(KeyMismatchError, match="ForeignSigner given as private_key"):
        Identity.load(
            leaf(ec.generate_private_key(ec.SECP256R1()).public_key()),
            private_key=signer,
            now=NOW,
        )


def test_signer_object_of_an_unsupported_kind() -> None:
    """A signer with a key of another kind is refused, and so is cryptography's own object."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = leaf(key.public_key())

    for signer in (ForeignSigner(key), key):
        with pytest.raises(UnsupportedKeyError, match="Ed25519"):
            Identity.load(pem, private_key=signer, now=NOW)  # type: ignore[arg-type]


def test_rsa_pss_certificate(pki: PKI) -> None:
    """A certificate that restricts its key to RSASSA-PSS is refused with the reason."""
    pki.key("pss", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")
    pki.issue("pss", "lower", "leaf")

    with pytest.raises(UnsupportedKeyError, match="RSASSA-PSS"):
        Identity.load(pki.path("pss.pem"), private_key=pki.path("pss.key"), now=NOW)


def test_compressed_point(pki: PKI) -> None:
    """The key fits its certificate also where the point is written in the short form."""
    pki.openssl("ec", "-in", "p256.key", "-conv_form", "compressed", "-out", "short.key")
    pki.issue("short", "lower", "leaf")
    identity = Identity.load(pki.path("short.pem"), private_key=pki.path("p256.key"), now=NOW)
    info = identity.leaf.public_key_info

    assert info != load_der_public_key(info).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    verify(identity)


def test_unreadable_key_beside(pki: PKI) -> None:
    """A certificate whose key cryptography cannot read is passed over, not a crash."""
    pki.key("binary", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:sect233k1")
    pki.issue("binary", "lower", "leaf")

    with pytest.raises(KeyMismatchError, match="CN=binary"):
        Identity.load(pki.path("binary.pem"), private_key=pki.path("p256.key"), now=NOW)


def test_unrelated_chain(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """A chain that does not belong to the leaf is not sent, and a warning says so."""
    identity = Identity.load(
        pki.path("p256.pem"),
        private_key=pki.path("p256.key"),
        certificate_chain=pki.path("root.pem"),
        now=NOW,
    )
    (record,) = caplog.records

    assert identity.chain_header is None
    assert (record.name, record.levelname) == ("rolesanywhere_auth.identity", "WARNING")
    assert "no certificate of certificate_chain issued this one" in record.getMessage()


def test_root_as_chain_is_quiet(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """The leaf's own root as chain is left out without a warning."""
    pki.key("direct", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    pki.issue("direct", "root", "leaf")
    identity = Identity.load(
        pki.path("direct.pem"),
        private_key=pki.path("direct.key"),
        certificate_chain=pki.path("root.pem"),
        now=NOW,
    )

    assert identity.chain_header is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("until", "digest", "expected"),
    [
        (-1, hashes.SHA256(), "the intermediate CN=CA is valid from"),
        (9, hashes.SHA224(), "the intermediate CN=CA is signed with SHA-224"),
    ],
    ids=["expired", "weak digest"],
)
def test_unfit_intermediate(
    caplog: pytest.LogCaptureFixture, until: int, digest: Any, expected: str
) -> None:
    """An intermediate that the service refuses is sent, with a warning that names it."""
    intermediate = (
        x509.CertificateBuilder()
        .subject_name(name("CA"))
        .issuer_name(name("root"))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=9))
        .not_valid_after(NOW + timedelta(days=until))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, digest)
        .public_bytes(Encoding.PEM)
    )
    identity = Identity.load(
        leaf(KEY.public_key()), private_key=KEY, certificate_chain=intermediate, now=NOW
    )
    (record,) = caplog.records

    assert len(identity.intermediates) == 1
    assert (record.name, record.levelname) == ("rolesanywhere_auth.identity", "WARNING")
    assert expected in record.getMessage()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"rubbish", "neither PEM nor DER.*-----BEGIN CERTIFICATE-----"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n", "lacks its -----END"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "damaged or not DER"),
        (b"-----BEGIN CERTIFICATE-----\nM*A=\n-----END CERTIFICATE-----\n", "not base64"),
        (b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "holds no certificate"),
        (b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n", "openssl pkcs7 -print_certs"),
        (element(0x30, element(6, bytes.fromhex("2a864886f70d010702"))), "openssl pkcs7"),
    ],
    ids=str,
)
@pytest.mark.parametrize("role", ["certificate", "certificate_chain"])
def test_no_certificate(pki: PKI, tmp_path: Path, content: bytes, expected: str, role: str) -> None:
    """A file without a usable certificate is an error that names the file and what is wrong."""
    path = tmp_path / "some.pem"
    path.write_bytes(content)
    files: dict[str, Any] = {"certificate": pki.path("p256.pem"), role: path}

    with pytest.raises(CertificateLoadError, match=expected) as caught:
        Identity.load(files.pop("certificate"), private_key=KEY, now=NOW, **files)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.source == str(path)


def test_request_instead_of_certificate(pki: PKI) -> None:
    """A certificate request is told apart from a certificate."""
    request = pki.openssl("req", "-new", "-config", "c.cnf", "-key", "p256.key")

    with pytest.raises(CertificateLoadError, match="have a CA sign it"):
        Identity.load(request, private_key=KEY, now=NOW)


def test_key_instead_of_certificate(pki: PKI) -> None:
    """A key given as certificate is told, and not shown."""
    pem = pki.read("p256.key")

    with pytest.raises(CertificateLoadError, match="no certificate but a private key") as caught:
        Identity.load(pem, private_key=KEY, now=NOW)
    assert pem.splitlines()[1].decode() not in str(caught.value)


def test_no_key_anywhere(pki: PKI) -> None:
    """A certificate without any key is an error that names the parameter to pass."""
    with pytest.raises(PrivateKeyLoadError, match=r"No private_key was given, and .*p256\.pem"):
        Identity.load(pki.path("p256.pem"), now=NOW)


@pytest.mark.parametrize("role", ["certificate", "private_key", "certificate_chain"])
def test_missing_file(pki: PKI, role: str) -> None:
    """A missing file is named, with the parameter it was given as."""
    files: dict[str, Any] = {
        "certificate": pki.path("p256.pem"),
        "private_key": pki.path("p256.key"),
        role: pki.path("absent.pem"),
    }
    with pytest.raises(IdentityError, match=rf"absent\.pem, given as {role}: No such file"):
        Identity.load(files.pop("certificate"), **files, now=NOW)


@pytest.mark.parametrize("role", ["certificate", "private_key", "certificate_chain"])
@pytest.mark.parametrize("value", ["vault:pin=54321", "", 17])
def test_no_file_at_all(pki: PKI, role: str, value: Any) -> None:
    """A reference to a store, an empty or a wrong value is a ConfigurationError, and not shown."""
    files: dict[str, Any] = {
        "certificate": pki.path("p256.pem"),
        "private_key": pki.path("p256.key"),
        role: value,
    }
    with pytest.raises(ConfigurationError, match=role) as caught:
        Identity.load(files.pop("certificate"), **files, now=NOW)
    assert "54321" not in str(caught.value)


def test_source_loads_once_and_checks_each_time(pki: PKI, tmp_path: Path) -> None:
    """IdentitySource loads at first use, and tells at every call when the time is over."""
    pem = tmp_path / "all.pem"
    pem.write_bytes(pki.read("p256.pem", "p256.key", "lower.pem", "upper.pem"))
    source = IdentitySource(str(pem))
    assert repr(source) == "<IdentitySource not loaded>"
    identity = source.current(now=NOW)

    assert_whole(identity, pki, "p256")
    assert source.current(now=NOW + timedelta(days=1)) is identity
    assert repr(source) == f"<IdentitySource {pem}>"
    with pytest.raises(CertificateExpiredError):
        source.current(now=NOW + timedelta(days=31))
    assert source.current(now=NOW) is identity


def test_source_recovers(pki: PKI, tmp_path: Path) -> None:
    """After a failure IdentitySource tries again at the next call."""
    path = tmp_path / "late.pem"
    source = IdentitySource(
        path,
        private_key=pki.path("p256.key"),
        certificate_chain=pki.read("lower.pem"),
        passphrase="needless",
    )
    with pytest.raises(CertificateLoadError):
        source.current(now=NOW)
    path.write_bytes(pki.read("p256.pem"))

    assert source.current(now=NOW).chain_header == pki.header("lower")


@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
def test_nothing_secret_is_pickled(pki: PKI, spread: Any) -> None:
    """Neither source nor identity leave the process with a key or passphrase."""
    source = IdentitySource(pki.read("p256.pem", "p256.key"), passphrase=PASSPHRASE)

    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        spread(source)
    if spread is not copy.copy:
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            spread(source.current(now=NOW))


def test_nothing_secret_is_shown(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """Reprs and logs at DEBUG hold neither key nor passphrase."""
    caplog.set_level(logging.DEBUG)
    pem = pki.read("rsa.pem", "rsa.key")
    source = IdentitySource(pem, passphrase=PASSPHRASE)
    identity = source.current(now=NOW)
    shown = repr(source) + repr(identity) + repr(identity._asdict()) + caplog.text

    assert PASSPHRASE not in shown
    assert len(repr(identity)) < 700
    for line in pki.read("rsa.key").splitlines()[1:-1]:
        assert line.decode() not in shown


def foreign(pki: PKI) -> ForeignSigner:
    """A signer over the P-256 leaf's key."""
    return ForeignSigner(load_pem_private_key(pki.read("p256.key"), None))


def test_identity_from_parts(pki: PKI) -> None:
    """An Identity is a plain value: equal by its parts, and changed by replacing one."""
    identity = Identity.load(pki.path("p256.pem"), private_key=foreign(pki), now=NOW)
    bare = identity._replace(intermediates=())

    assert bare == identity
    assert bare.chain_header is None


def test_imports_of_the_good_path(pki: PKI) -> None:
    """Loading a PEM pair and its chain needs neither cryptography.x509 nor PKCS#12."""
    code = """if True:
        import sys
        from datetime import datetime, timezone
        from rolesanywhere_auth.identity import Identity
        certificate, key, chain = sys.argv[1:]
        identity = Identity.load(certificate, private_key=key, certificate_chain=chain,
                                 now=datetime.now(timezone.utc))
        assert identity.chain_header and identity.signer.sign(b"x")
        print(*sorted(sys.modules))
    """
    pki.path("two.pem").write_bytes(pki.read("upper.pem", "lower.pem"))
    files = [str(pki.path(each)) for each in ("rsa.pem", "rsa.key", "two.pem")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()

    assert "rolesanywhere_auth.identity" in loaded
    assert "cryptography.x509" not in loaded
    assert "cryptography.hazmat.primitives.serialization.pkcs12" not in loaded
    assert "cryptography.hazmat.primitives.asymmetric.mldsa" not in loaded


def test_errors_belong_to_the_family(pki: PKI) -> None:
    """Whatever goes wrong is a RolesAnywhereError and a ValueError."""
    with pytest.raises(RolesAnywhereError) as caught:
        Identity.load(pki.path("p256.pem"), private_key=pki.path("rsa.key"), now=NOW)

    assert isinstance(caught.value, ValueError)
    assert not caught.value.retryable
