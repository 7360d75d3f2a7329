from __future__ import annotations

import base64
import contextlib
import copy
import logging
import pickle
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from rolesanywhere_auth import _containers
from rolesanywhere_auth.errors import (
    ConfigurationError,
    PassphraseError,
    PrivateKeyError,
    PrivateKeyLoadError,
    RolesAnywhereError,
    SigningError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.keys import Signer, describe_public_key
from rolesanywhere_auth.keys.files import FileSigner

PASSPHRASE = "correct hörse"
DATA = b"AWS4-X509-RSA-SHA256\n20260601T000000Z\nscope\nhash"


def run(*arguments: str, cwd: Path, stdin: bytes = b"") -> bytes:
    """Run a command, and give its output."""
    done = subprocess.run(arguments, cwd=cwd, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass(frozen=True)
class Workshop:
    """Keys of openssl's making, in every container it can write."""

    directory: Path

    def openssl(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return run("openssl", *arguments, cwd=self.directory, stdin=stdin)

    def pem(self, kind: str) -> bytes:
        return (self.directory / f"{kind}.pem").read_bytes()

    def verify(self, kind: str, signature: bytes) -> None:
        """Let openssl itself verify a signature over DATA."""
        (self.directory / "signature").write_bytes(signature)
        (self.directory / "public.pem").write_bytes(
            self.openssl("pkey", "-in", f"{kind}.pem", "-pubout")
        )
        self.openssl(
            "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", stdin=DATA
        )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A directory with one PKCS#8 PEM of each kind."""
    made = Workshop(tmp_path_factory.mktemp("keys"))
    made.openssl("genrsa", "-out", "rsa.pem", "2048")
    made.openssl("genrsa", "-out", "rsa1024.pem", "1024")
    curves = {
        "p256": "prime256v1",
        "p384": "secp384r1",
        "p521": "secp521r1",
        "p224": "secp224r1",
        "secp256k1": "secp256k1",
        "brainpool": "brainpoolP256r1",
        "binary": "sect233k1",
    }
    for name, curve in curves.items():
        made.openssl(
            "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}",
            "-out", f"{name}.pem",
        )  # fmt: skip
    for name in ("ed25519", "ed448", "x25519"):
        made.openssl("genpkey", "-algorithm", name, "-out", f"{name}.pem")
    return made


SECRET = f"pass:{PASSPHRASE}"
TOPK8 = ("pkcs8", "-topk8", "-passout", SECRET)
CONTAINERS = {
    "pkcs8": ("pkey",),
    "traditional": ("pkey", "-traditional"),
    "pkcs8 der": ("pkcs8", "-topk8", "-nocrypt", "-outform", "DER"),
    "traditional der": ("pkey", "-traditional", "-outform", "DER"),
    "pbkdf2 sha1": (*TOPK8, "-v2", "aes128", "-v2prf", "hmacWithSHA1"),
    "pbkdf2 sha224": (*TOPK8, "-v2", "aes192", "-v2prf", "hmacWithSHA224"),
    "pbkdf2 sha256": (*TOPK8, "-v2", "aes256", "-v2prf", "hmacWithSHA256"),
    "pbkdf2 sha384": (*TOPK8, "-v2", "aes256", "-v2prf", "hmacWithSHA384"),
    "pbkdf2 sha512": (*TOPK8, "-v2", "aes256", "-v2prf", "hmacWithSHA512"),
    "pbkdf2 sha512-224": (*TOPK8, "-v2", "aes256", "-v2prf", "hmacWithSHA512-224"),
    "pbkdf2 sha512-256": (*TOPK8, "-v2", "aes256", "-v2prf", "hmacWithSHA512-256"),
    "pbkdf2 3des": (*TOPK8, "-v2", "des3"),
    "scrypt": (*TOPK8, "-scrypt"),
    "scrypt der": (*TOPK8, "-scrypt", "-outform", "DER"),
    "pkcs12 pbe": (*TOPK8, "-v1", "PBE-SHA1-3DES"),
    "legacy aes128": ("pkey", "-traditional", "-aes128", "-passout", SECRET),
    "legacy aes192": ("pkey", "-traditional", "-aes192", "-passout", SECRET),
    "legacy aes": ("pkey", "-traditional", "-aes256", "-passout", SECRET),
    "legacy 3des": ("pkey", "-traditional", "-des3", "-passout", SECRET),
}
PLAIN = {"pkcs8", "traditional", "pkcs8 der", "traditional der"}


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "p521"])
@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_containers(workshop: Workshop, tmp_path: Path, kind: str, container: str) -> None:
    """Every container of openssl opens, and openssl verifies the signature."""
    path = tmp_path / "key"
    path.write_bytes(workshop.openssl(*CONTAINERS[container], "-in", f"{kind}.pem"))
    passphrase = None if container in PLAIN else PASSPHRASE
    signer = FileSigner.load(path, passphrase=passphrase)

    workshop.verify(kind, signer.sign(DATA))
    assert signer.public_key() == load_pem_public_key(
        workshop.openssl("pkey", "-in", f"{kind}.pem", "-pubout")
    )
    assert isinstance(signer, Signer)
    assert signer.source == str(path)


@pytest.mark.parametrize("container", sorted(set(CONTAINERS) - PLAIN))
def test_passphrases(workshop: Workshop, tmp_path: Path, container: str) -> None:
    """A passphrase may be str or bytes; a missing or wrong one is an error naming the file."""
    path = tmp_path / "key.pem"
    path.write_bytes(workshop.openssl(*CONTAINERS[container], "-in", "p256.pem"))

    FileSigner.load(path, passphrase=PASSPHRASE.encode())
    FileSigner.load(path, passphrase=lambda: PASSPHRASE)
    for missing in (None, "", b""):
        with pytest.raises(PassphraseError, match="no passphrase was given") as caught:
            FileSigner.load(path, passphrase=missing)
        assert caught.value.source == str(path)
        assert str(path) in str(caught.value)
    for wrong in ("wr0ng", "wr1ng", b"\xff"):
        with pytest.raises(PassphraseError, match="passphrase does not open") as caught:
            FileSigner.load(path, passphrase=wrong)
        assert str(path) in str(caught.value)
        assert "wr" not in str(caught.value).replace(str(path), "")


def test_needless_passphrase(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """A passphrase for a key that has none is harmless, and said at DEBUG."""
    caplog.set_level(logging.DEBUG, "rolesanywhere_auth")
    FileSigner.load(workshop.pem("p256"), passphrase="not needed")

    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "passphrase given is not needed" in record.getMessage()


def test_passphrase_of_another_type(workshop: Workshop) -> None:
    """A passphrase that is neither str nor bytes is a configuration error that hides it."""
    with pytest.raises(ConfigurationError, match="str or bytes, not int") as caught:
        FileSigner.load(workshop.pem("p256"), passphrase=31337)  # type: ignore[arg-type]

    assert "31337" not in str(caught.value)


def dress(pem: bytes, way: str) -> bytes:
    """The same PEM as editors, shells and tools leave it."""
    return {
        "crlf": pem.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + pem,
        "utf-16": pem.decode().encode("utf-16"),
        "utf-16-be": b"\xfe\xff" + pem.decode().encode("utf-16-be"),
        "text": "Schlüssel:\n".encode() + pem + b"end of file",
        "indented": pem.replace(b"\n", b"\n  "),
        "one line": pem.replace(b"\n", b" "),
        "no last newline": pem.rstrip(),
        "blank lines": pem.replace(b"\n", b"\n\n"),
    }[way]


@pytest.mark.parametrize(
    "way",
    ["crlf", "bom", "utf-16", "utf-16-be", "text", "indented", "one line", "no last newline",
     "blank lines"],
)  # fmt: skip
def test_dressed(workshop: Workshop, way: str) -> None:
    """CRLF, byte order marks, text around and odd line breaks do not matter."""
    expected = FileSigner.load(workshop.pem("p256")).public_key()

    assert FileSigner.load(dress(workshop.pem("p256"), way)).public_key() == expected


@pytest.mark.parametrize("way", ["crlf", "bom", "text", "indented"])
@pytest.mark.parametrize("cipher", ["legacy aes", "legacy aes192"])
def test_dressed_legacy_encryption(workshop: Workshop, way: str, cipher: str) -> None:
    """The same holds for a PEM with encryption headers."""
    pem = workshop.openssl(*CONTAINERS[cipher], "-in", "rsa.pem")
    signer = FileSigner.load(dress(pem, way), passphrase=PASSPHRASE)

    workshop.verify("rsa", signer.sign(DATA))


def test_ec_parameters_block(workshop: Workshop) -> None:
    """The EC PARAMETERS block that ``openssl ecparam -genkey`` writes is passed over."""
    pem = workshop.openssl("ecparam", "-genkey", "-name", "prime256v1")

    assert b"BEGIN EC PARAMETERS" in pem
    assert FileSigner.load(pem).kind == "P-256"


def test_ways_to_pass_a_key(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path as str or object, ``~``, bytes, bytearray and PEM text are the same key."""
    monkeypatch.setenv("HOME", str(workshop.directory))
    monkeypatch.setenv("USERPROFILE", str(workshop.directory))
    pem = workshop.pem("p256")
    path = workshop.directory / "p256.pem"
    ways: list[Any] = [path, str(path), "~/p256.pem", Path("~/p256.pem"), pem, bytearray(pem),
                       memoryview(pem), pem.decode()]  # fmt: skip
    signers = [FileSigner.load(way) for way in ways]

    assert {signer.source for signer in signers[:4]} == {str(path)}
    assert {signer.source for signer in signers[4:]} == {
        "bytes given as private_key",
        "PEM text given as private_key",
    }
    assert all(signer.public_key() == signers[0].public_key() for signer in signers)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("p224", "curve secp224r1"),
        ("secp256k1", "curve secp256k1"),
        ("brainpool", "curve brainpoolP256r1"),
        ("binary", r"curve sect233k1|unknown kind"),
        ("ed25519", "kind Ed25519"),
        ("ed448", "kind Ed448"),
        ("x25519", "kind X25519"),
    ],
)
@pytest.mark.parametrize("encrypted", [True, False])
def test_unsupported_kinds(workshop: Workshop, kind: str, expected: str, encrypted: bool) -> None:
    """Keys the service has no algorithm for are an error that names kind and remedy."""
    pem = workshop.pem(kind)
    if encrypted:
        pem = workshop.openssl(*TOPK8, "-in", f"{kind}.pem")

    with pytest.raises(UnsupportedKeyError, match=expected) as caught:
        FileSigner.load(pem, passphrase=PASSPHRASE)
    assert "The service accepts RSA, EC" in str(caught.value)


def test_dsa(workshop: Workshop) -> None:
    """A DSA key is unsupported, in its own format and in PKCS#8."""
    workshop.openssl("dsaparam", "-genkey", "-out", "dsa.pem", "1024")
    pkcs8 = workshop.openssl("pkcs8", "-topk8", "-nocrypt", "-in", "dsa.pem")

    for pem in (workshop.pem("dsa"), pkcs8):
        with pytest.raises(UnsupportedKeyError, match="DSA"):
            FileSigner.load(pem)


def test_openssh(workshop: Workshop, tmp_path: Path) -> None:
    """A key in OpenSSH's format is recognised, and the error says how to convert it."""
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "id_ecdsa"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))

    with pytest.raises(UnsupportedKeyError, match="ssh-keygen -p -m PKCS8 -f") as caught:
        FileSigner.load(path)
    assert str(path) in str(caught.value)


def test_tss2() -> None:
    """A key wrapped by a TPM is recognised, and the error says what to do."""
    pem = b"-----BEGIN TSS2 PRIVATE KEY-----\nMAMCAQE=\n-----END TSS2 PRIVATE KEY-----\n"

    with pytest.raises(UnsupportedKeyError, match="wrapped by a TPM"):
        FileSigner.load(pem)


def test_short_rsa(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """An RSA key under 2048 bits works, with one warning."""
    signer = FileSigner.load(workshop.pem("rsa1024"))
    workshop.verify("rsa1024", signer.sign(DATA))

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rolesanywhere_auth.keys", "WARNING")
    assert "an RSA key of 1024 bits" in record.getMessage()


def test_rsa_is_not_validated_at_load(workshop: Workshop) -> None:
    """Loading an RSA key takes a small part of the time that validating it takes."""

    def shortest(load: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            load()
            times.append(time.perf_counter() - start)
        return min(times)

    pem = workshop.pem("rsa")

    assert (
        shortest(lambda: FileSigner.load(pem))
        < shortest(lambda: load_pem_private_key(pem, None)) / 4
    )


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_rsa_is_not_validated_in_any_container(workshop: Workshop, container: str) -> None:
    """A key whose exponent does not fit, which validation would find, loads from each of them."""
    key = load_pem_private_key(workshop.pem("rsa"), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    own = key.private_numbers()
    numbers = (0, own.public_numbers.n, own.public_numbers.e, own.d + 2, own.p, own.q, own.dmp1,
               own.dmq1, own.iqmp)  # fmt: skip
    content = b"".join(der(2, n.to_bytes(n.bit_length() // 8 + 1, "big")) for n in numbers)
    (workshop.directory / "odd.pem").write_bytes(armor("RSA PRIVATE KEY", der(0x30, content)))
    written = workshop.openssl(*CONTAINERS[container], "-in", "odd.pem")
    with pytest.raises(ValueError, match=r"."):
        load_pem_private_key(workshop.pem("odd"), None)

    loaded = FileSigner.load(written, passphrase=PASSPHRASE)

    assert loaded.public_key() == key.public_key()


try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # an older cryptography
    LEVELS: list[Any] = []
else:
    LEVELS = [
        (mldsa.MLDSA44PrivateKey, 17, 2560),
        (mldsa.MLDSA65PrivateKey, 18, 4032),
        (mldsa.MLDSA87PrivateKey, 19, 4896),
    ]
needs_mldsa = pytest.mark.skipif(not LEVELS, reason="this cryptography has no ML-DSA")


def der(tag: int, content: bytes) -> bytes:
    """One DER element."""
    size = (len(content).bit_length() + 7) // 8
    length = (
        bytes([len(content)])
        if len(content) < 128
        else bytes([0x80 | size]) + len(content).to_bytes(size, "big")
    )
    return bytes([tag]) + length + content


def mldsa_pkcs8(number: int, private_key: bytes) -> bytes:
    """PKCS#8 as RFC 9881 section 6 has it."""
    algorithm = der(0x30, der(0x06, bytes.fromhex("6086480165030403") + bytes([number])))
    return der(0x30, der(0x02, b"\x00") + algorithm + der(0x04, private_key))


def both(seed: bytes, expanded_length: int) -> bytes:
    """The form with seed and expanded key; the latter made up, as nothing reads it."""
    return der(0x30, der(0x04, seed) + der(0x04, bytes(expanded_length)))


def armor(label: str, content: bytes) -> bytes:
    """A PEM block."""
    return (
        b"-----BEGIN %b-----\n" % label.encode()
        + base64.encodebytes(content)
        + b"-----END %b-----\n" % label.encode()
    )


@pytest.mark.parametrize(("kind", "number", "length"), LEVELS)
@pytest.mark.parametrize("form", ["seed", "both"])
@pytest.mark.parametrize("encryption", ["none", "none der", "aes256", "aes128-sha512", "scrypt"])
def test_mldsa(
    workshop: Workshop, kind: Any, number: int, length: int, form: str, encryption: str
) -> None:
    """ML-DSA keys in both forms that carry the seed, encrypted or not, load and sign."""
    key = kind.generate()
    seed = key.private_bytes_raw()
    content = mldsa_pkcs8(number, both(seed, length) if form == "both" else der(0x80, seed))
    if form == "seed":
        assert content == key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    written = encrypt(workshop, content, encryption)
    signer = FileSigner.load(written, passphrase=PASSPHRASE)

    assert signer.public_key() == key.public_key()
    assert signer.kind == f"ML-DSA-{kind.__name__[5:7]}"
    key.public_key().verify(signer.sign(DATA), DATA)
    key.public_key().verify(signer.sign(DATA), DATA, b"")


def encrypt(workshop: Workshop, content: bytes, how: str) -> bytes:
    """Encrypt any PKCS#8, by a key of the same layout in openssl: PBES2 as RFC 8018 has it.

    openssl 3.0 cannot read ML-DSA, so the parameters come from a P-256 key it
    encrypted, and the ciphertext from ``openssl enc`` with the key derived by
    ``openssl kdf``.
    """
    if how == "none der":
        return content
    if how == "none":
        return armor("PRIVATE KEY", content)
    arguments = {
        "aes256": ("-v2", "aes256", "-v2prf", "hmacWithSHA256"),
        "aes128-sha512": ("-v2", "aes128", "-v2prf", "hmacWithSHA512"),
        "scrypt": ("-scrypt",),
    }[how]
    model = workshop.openssl(*TOPK8, *arguments, "-in", "p256.pem", "-outform", "DER")
    lines = workshop.openssl("asn1parse", "-inform", "DER", stdin=model).decode().splitlines()
    salt, iv = [line.rsplit(":", 1)[1] for line in lines if "OCTET STRING" in line][:2]
    numbers = [int(line.rsplit(":", 1)[1], 16) for line in lines if "INTEGER" in line]
    if how == "scrypt":
        options = ["SCRYPT", f"n:{numbers[0]}", f"r:{numbers[1]}", f"p:{numbers[2]}"]
    else:
        options = [
            "PBKDF2",
            f"digest:{arguments[-1].removeprefix('hmacWith')}",
            f"iter:{numbers[0]}",
        ]
    length = 16 if "aes128" in arguments else 32
    derived = workshop.openssl(
        "kdf", "-keylen", str(length),
        "-kdfopt", f"pass:{PASSPHRASE}", "-kdfopt", f"hexsalt:{salt}",
        *(part for option in options[1:] for part in ("-kdfopt", option)), options[0],
    )  # fmt: skip
    key = derived.decode().strip().replace(":", "")
    cipher = f"-aes-{8 * length}-cbc"
    ciphertext = workshop.openssl("enc", cipher, "-K", key, "-iv", iv, stdin=content)
    place = re.match(r" *(\d+):d=1  hl=(\d+) l= *(\d+) ", lines[1])
    assert place
    start, head, size = map(int, place.groups())
    scheme = model[start : start + head + size]
    return armor("ENCRYPTED PRIVATE KEY", der(0x30, scheme + der(0x04, ciphertext)))


def test_mldsa_encryption_is_openssls(workshop: Workshop) -> None:
    """The test's own way to encrypt makes what openssl opens; so the cases above are fair."""
    content = workshop.openssl("pkcs8", "-topk8", "-nocrypt", "-in", "p256.pem", "-outform", "DER")

    for how in ("aes256", "aes128-sha512", "scrypt"):
        written = encrypt(workshop, content, how)
        opened = workshop.openssl("pkey", "-passin", SECRET, stdin=written)
        assert opened == workshop.pem("p256")


@needs_mldsa
def test_mldsa_encrypted_by_cryptography() -> None:
    """The seed form that cryptography encrypts opens; a wrong passphrase is told."""
    key = mldsa.MLDSA65PrivateKey.generate()
    written = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())
    )

    assert FileSigner.load(written, passphrase=PASSPHRASE).public_key() == key.public_key()
    with pytest.raises(PassphraseError):
        FileSigner.load(written, passphrase="wrong")


@pytest.mark.parametrize("how", ["aes256", "scrypt"])
def test_mldsa_wrong_passphrase(workshop: Workshop, how: str) -> None:
    """A wrong passphrase for the form that we unwrap ourselves is told as any other."""
    written = encrypt(workshop, mldsa_pkcs8(17, both(bytes(32), 2560)), how)

    with pytest.raises(PassphraseError, match="does not open"):
        FileSigner.load(written, passphrase="wrong")


def test_mldsa_expanded_only() -> None:
    """A key without its seed is an error that says so."""
    written = armor("PRIVATE KEY", mldsa_pkcs8(18, der(0x04, bytes(4032))))

    with pytest.raises(UnsupportedKeyError, match=r"ML-DSA-65 .* without its seed"):
        FileSigner.load(written)


@pytest.mark.parametrize(
    "private_key",
    [b"", der(0x80, bytes(31)), der(0x80, bytes(32)) + b"\x05\x00", both(bytes(33), 2560),
     der(0x30, der(0x04, bytes(32))), bytes(32)],
    ids=str,
)  # fmt: skip
def test_mldsa_damaged(private_key: bytes) -> None:
    """Another form than those of RFC 9881 is an error, not a guess."""
    with pytest.raises(PrivateKeyLoadError, match="damaged"):
        FileSigner.load(armor("PRIVATE KEY", mldsa_pkcs8(17, private_key)))


@pytest.mark.parametrize("number", [17, 18, 19])
@pytest.mark.parametrize("encrypted", [True, False])
def test_mldsa_with_an_old_cryptography(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int, encrypted: bool
) -> None:
    """Where cryptography has no ML-DSA, the error names the version that has."""
    content = mldsa_pkcs8(number, both(bytes(32), 100))
    written = encrypt(workshop, content, "aes256" if encrypted else "none")
    module = "cryptography.hazmat.primitives.asymmetric.mldsa"
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr(module, raising=False)

    with pytest.raises(UnsupportedKeyError, match="cryptography 49 or newer"):
        FileSigner.load(written, passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "neither PEM nor DER.*-----BEGIN PRIVATE KEY-----"),
        (bytes(100), "neither PEM nor DER"),
        (b"\x30\x03\x02\x01\x00", "neither PEM nor DER"),
        (b"\x30\x05\x02\x01\x00\x05\x00", "neither PEM nor DER"),
        (armor("PRIVATE KEY", b"\x30\x00"), "is damaged"),
        (armor("RSA PRIVATE KEY", b"rubbish"), "is damaged"),
        (armor("EC PRIVATE KEY", b"\x30\x03\x02\x01\x01"), "is damaged"),
        (armor("ANY PRIVATE KEY", b"rubbish"), "is damaged"),
        (armor("PRIVATE KEY", b"\x30\x00")[:-5], "lacks its -----END"),
        (armor("PRIVATE KEY", b"\x30\x00").replace(b"MAA=", b"MA!="), "not base64"),
        (armor("PRIVATE KEY", b"\x30\x00").replace(b"MAA=", b"MAA"), "not base64"),
        (armor("PRIVATE KEY", b"").replace(b"\n", b""), "not base64"),
        (armor("PRIVATE KEY", b"\x30\x00").replace(b"\n", rb"\n"), r"line ends written out as \\n"),
        (armor("PUBLIC KEY", b"\x30\x00"), "public key only"),
        (armor("RSA PUBLIC KEY", b"\x30\x00"), "public key only"),
        (armor("CERTIFICATE", b"\x30\x00"), "holds certificates, but no private key"),
        (armor("PKCS7", b"\x30\x00"), r"holds no private key \(found: PKCS7\)"),
        (armor("PRIVATE KEY", b"\x30\x00") * 2, "holds 2 private keys"),
    ],
    ids=str,
)
def test_no_key(tmp_path: Path, content: bytes, expected: str) -> None:
    """A file without a usable key is an error that names the file and what is wrong."""
    path = tmp_path / "some.key"
    path.write_bytes(content)

    with pytest.raises(PrivateKeyLoadError, match=expected) as caught:
        FileSigner.load(path)
    assert caught.value.source == str(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_pkcs8_of_an_unknown_version() -> None:
    """A PKCS#8 of a version that is not defined is refused as damaged."""
    content = der(0x30, b"\x02\x01\x05" + der(0x30, der(6, b"\x2a\x03")) + der(4, b""))

    with pytest.raises(PrivateKeyLoadError, match="damaged"):
        FileSigner.load(content)


def test_unknown_key_derivation(workshop: Workshop) -> None:
    """A key derivation that nobody here knows is told as well."""
    model = workshop.openssl(*TOPK8, "-in", "p256.pem", "-outform", "DER")
    pbkdf2 = bytes.fromhex("06092a864886f70d01050c")

    assert model.count(pbkdf2) == 1
    with pytest.raises(PrivateKeyError, match=r"cannot be read here|or the key is damaged"):
        FileSigner.load(model.replace(pbkdf2, pbkdf2[:-1] + b"\x7f"), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("06082a864886f70d0209", "06082a864886f70d027f"),  # HMAC-SHA-256, nothing
        ("02020800", "02020000"),  # 2048 iterations, none in a form that is not minimal
        ("02020800", "0202ff00"),  # a negative number of iterations
    ],
)
def test_senseless_encryption(workshop: Workshop, old: str, new: str) -> None:
    """Senseless parameters of the encryption are a typed error, never a crash."""
    model = workshop.openssl(*TOPK8, "-in", "p256.pem", "-outform", "DER")

    assert model.count(bytes.fromhex(old)) == 1
    with pytest.raises(PrivateKeyError, match="bytes given as private_key: "):
        FileSigner.load(
            model.replace(bytes.fromhex(old), bytes.fromhex(new)), passphrase=PASSPHRASE
        )


def test_unknown_encryption(workshop: Workshop) -> None:
    """Encryption that cryptography does not know is told apart from a wrong passphrase."""
    model = workshop.openssl(*TOPK8, "-in", "p256.pem", "-outform", "DER")
    aes = bytes.fromhex("060960864801650304012a")
    camellia = bytes.fromhex("060960864801650304017f")

    assert model.count(aes) == 1
    with pytest.raises(PrivateKeyLoadError, match="openssl pkcs8 -topk8"):
        FileSigner.load(model.replace(aes, camellia), passphrase=PASSPHRASE)


def test_unknown_legacy_cipher(workshop: Workshop) -> None:
    """A PEM encrypted by its headers with another cipher is told, and not as a wrong passphrase."""
    pem = workshop.openssl("pkey", "-traditional", "-camellia256", "-passout", SECRET,
                           "-in", "p256.pem")  # fmt: skip

    with pytest.raises(PrivateKeyLoadError, match="cannot be read here"):
        FileSigner.load(pem, passphrase=PASSPHRASE)


def test_damaged_legacy_encryption(workshop: Workshop) -> None:
    """Damage anywhere in such a PEM never leads to anything but a typed error."""
    pem = workshop.openssl(*CONTAINERS["legacy aes192"], "-in", "p256.pem")
    assert pem.count(b"DEK-Info: AES-192-CBC,") == 1

    with pytest.raises(PassphraseError, match="or the key is damaged"):
        FileSigner.load(pem.replace(b"=", b""), passphrase=PASSPHRASE)
    for at in range(0, len(pem), 5):
        with contextlib.suppress(PrivateKeyError):
            FileSigner.load(pem[:at] + b"!" + pem[at + 1 :], passphrase=PASSPHRASE)


def test_many_wrong_passphrases(workshop: Workshop) -> None:
    """A padding that fits by chance, as about one in 256 does, does not make it a key."""
    pem = workshop.openssl(*CONTAINERS["legacy aes192"], "-in", "p256.pem")

    for number in range(600):
        with pytest.raises(PassphraseError):
            FileSigner.load(pem, passphrase=f"{number}")


def test_file_errors(tmp_path: Path) -> None:
    """A missing file, a folder and a huge file are errors that name path and parameter."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(5 * 1024 * 1024)

    with pytest.raises(PrivateKeyLoadError, match=r"given as private_key: No such file"):
        FileSigner.load(tmp_path / "absent.key")
    with pytest.raises(PrivateKeyLoadError, match=r"given as private_key: Is a directory"):
        FileSigner.load(tmp_path)
    with pytest.raises(PrivateKeyLoadError, match="larger than"):
        FileSigner.load(huge)
    with pytest.raises(PrivateKeyLoadError, match="null"):
        FileSigner.load("a\0b")
    with pytest.raises(PrivateKeyLoadError, match="no usable path"):
        FileSigner.load("~no-such-user-here/key.pem")


@pytest.mark.parametrize("value", [17, None, object(), b"x".decode, ["a"]], ids=str)
def test_other_types(value: Any) -> None:
    """Anything but a path, bytes or text is a configuration error."""
    with pytest.raises(ConfigurationError, match="must be a path, bytes or a PEM text"):
        FileSigner.load(value)


def test_path_of_bytes() -> None:
    """A path object whose path is bytes is refused, as bytes mean content here."""

    class BytesPath:
        def __fspath__(self) -> bytes:
            return b"key.pem"

    with pytest.raises(ConfigurationError, match="must be a path"):
        FileSigner.load(BytesPath())  # type: ignore[arg-type]


def test_empty_path() -> None:
    """An empty string, as an unset variable gives, is told as such."""
    with pytest.raises(ConfigurationError, match="private_key is empty"):
        FileSigner.load("")


@pytest.mark.parametrize(
    "reference",
    ["pkcs11:token=prod;object=app?pin-value=54321", "tpm:0x81000001?54321", "handle:54321",
     "store:My/54321", "spiffe:54321", "PKCS11:54321", "awskms:54321"],
)  # fmt: skip
def test_references_to_stores(reference: str) -> None:
    """A reference to a key store is refused, without showing the PIN it may hold."""
    with pytest.raises(ConfigurationError, match="no key store that can be opened here") as caught:
        FileSigner.load(reference)

    assert reference.split(":", 1)[0] + ":" in str(caught.value)
    assert "54321" not in str(caught.value)


def test_file_with_a_colon(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose name only looks like a reference is read, if it is there."""
    monkeypatch.chdir(tmp_path)
    Path("app:2026.pem").write_bytes(workshop.pem("p256"))

    assert FileSigner.load("app:2026.pem").source == "app:2026.pem"


def secrets_of(pem: bytes) -> list[str]:
    """Pieces of the key that must not show up anywhere."""
    body = b"".join(line for line in pem.splitlines() if b"-----" not in line).decode()
    return [body[at : at + 16] for at in range(0, len(body) - 16, 8)]


@pytest.mark.parametrize("kind", ["rsa", "p256"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("-----END", "----END"),
        lambda text: text.replace("-----BEGIN", "----BEGIN"),
        lambda text: "".join(text.splitlines()[1:-1]),
        lambda text: "\n".join(text.splitlines()[1:-1]),
        lambda text: "\r".join(text.splitlines()[1:-1]),
        lambda text: text.replace("M", "!", 1),
        Path,
        lambda text: Path("".join(text.splitlines()[1:-1])),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("PRIVATE KEY", "DSA PRIVATE KEY"),
        lambda text: text.encode()[30:],
        lambda text: text.replace("-----END", "-----BEGIN"),
    ],
    ids=range(12),
)
def test_no_key_in_errors(
    workshop: Workshop, kind: str, spoil: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """However a key is mangled or misplaced, no exception in the chain and no log shows it."""
    caplog.set_level(logging.DEBUG)
    pem = workshop.pem(kind)
    with pytest.raises(RolesAnywhereError) as caught:
        FileSigner.load(spoil(pem.decode()), passphrase=PASSPHRASE)

    shown = caplog.text
    error: BaseException | None = caught.value
    while error is not None:
        shown += f"{error!r} {error} {error.args} {error.__dict__} {vars(error).get('object')}"
        shown += str(getattr(error, "filename", "")) + "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    assert not [secret for secret in secrets_of(pem) if secret in shown]
    assert PASSPHRASE not in shown


@pytest.mark.parametrize("kind", ["p256", "p521"])
def test_bare_base64_is_not_taken_for_a_path(workshop: Workshop, kind: str) -> None:
    """Base64 of a short key without its PEM lines is not shown as the name of a file."""
    sec1 = workshop.openssl("pkey", "-traditional", "-in", f"{kind}.pem")
    bare = b"".join(sec1.splitlines()[1:-1]).decode()

    urls = bare.replace("+", "-").replace("/", "_")
    for text in (bare, f" {bare} ", bare.replace("A", "A "), f'"{bare}"', f"{bare},", urls):
        with pytest.raises(ConfigurationError, match="not shown") as caught:
            FileSigner.load(text)
        assert bare[:16] not in str(caught.value)


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_no_key_in_the_signer(workshop: Workshop, kind: str) -> None:
    """The signer's repr names kind and source alone."""
    signer = FileSigner.load(workshop.directory / f"{kind}.pem")

    assert repr(signer) == f"<FileSigner {signer.kind} from {signer.source}>"
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize(
    "spread",
    [pickle.dumps, copy.copy, copy.deepcopy, lambda signer: pickle.dumps([signer], protocol=2)],
    ids=["pickle", "copy", "deepcopy", "pickle in a list"],
)
def test_signer_is_neither_pickled_nor_copied(
    workshop: Workshop, spread: Callable[[Any], Any]
) -> None:
    """The key leaves the signer by no pickle and no copy, and the error says why."""
    with pytest.raises(TypeError, match="holds a private key and cannot be pickled or copied"):
        spread(FileSigner.load(workshop.pem("p256")))


def test_key_that_cannot_sign(caplog: pytest.LogCaptureFixture) -> None:
    """A key that fails when it signs is a typed error; here one too small for SHA-256."""
    numbers = (0, 3233, 17, 2753, 61, 53, 53, 49, 38)
    tiny = der(0x30, b"".join(der(2, n.to_bytes(2, "big")[n < 128 :]) for n in numbers))
    signer = FileSigner.load(tiny)

    with pytest.raises(SigningError, match="the RSA 12 key does not sign") as caught:
        signer.sign(DATA)
    assert caught.value.source == "bytes given as private_key"


def test_signatures_are_of_the_right_kind(workshop: Workshop) -> None:
    """ECDSA is over SHA-256 whatever the curve, and in DER; RSA is PKCS#1 v1.5."""
    large = FileSigner.load(workshop.pem("p521"))
    public_key = large.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(large.sign(DATA), DATA, ec.ECDSA(hashes.SHA256()))
    common = FileSigner.load(workshop.pem("rsa"))
    public_key = common.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)

    public_key.verify(common.sign(DATA), DATA, padding.PKCS1v15(), hashes.SHA256())
    assert common.sign(DATA) == common.sign(DATA)


def test_describe_something_else() -> None:
    """What is no public key at all is unsupported, too."""
    with pytest.raises(UnsupportedKeyError, match="kind object"):
        describe_public_key(object(), source="x")


def test_imports_of_loading_a_key(workshop: Workshop) -> None:
    """Loading PEM needs neither cryptography.x509 nor the PKCS#12 module."""
    code = """if True:
        import sys
        from rolesanywhere_auth.keys.files import FileSigner
        FileSigner.load(sys.argv[1]).sign(b"x")
        print(*sorted(sys.modules))
    """
    out = run(sys.executable, "-c", code, str(workshop.directory / "p256.pem"), cwd=Path.cwd())
    loaded = out.decode().split()

    assert "cryptography.hazmat.primitives.asymmetric.ec" in loaded
    assert "cryptography.x509" not in loaded
    assert "cryptography.hazmat.primitives.serialization.pkcs12" not in loaded


def test_what_was_read_is_not_shown() -> None:
    """Neither a file's content nor a key block's is in a repr."""
    material = _containers.Material(b"-----BEGIN hidden", "app.key", "private_key")
    block = _containers.KeyBlock("PRIVATE KEY", b"hidden", pem=True)

    assert repr([material, block]) == (
        "[Material(source='app.key', role='private_key'), KeyBlock(label='PRIVATE KEY', pem=True)]"
    )


@pytest.mark.parametrize("last", ["=", "\0"], ids=["too long", "null"])
def test_overlong_path_is_not_shown(last: str) -> None:
    """What is too long for a path may be something else by mistake; the cause hides it too."""
    text = "key.=" * 59 + "key." + last
    with pytest.raises(PrivateKeyLoadError, match="a path of 300 characters") as caught:
        FileSigner.load(text)
    assert "key.=" not in "".join(traceback.format_exception(caught.value))


def test_overlong_reference_is_not_shown() -> None:
    """A reference that is too long for the name of a file is refused like a short one."""
    reference = f"vault:{'x' * 300}?pin=54321"
    with pytest.raises(ConfigurationError, match="no key store that can be opened") as caught:
        FileSigner.load(reference)
    assert "54321" not in "".join(traceback.format_exception(caught.value))
