"""Keys in a real software TPM, made by tpm2-tools. See also test_compliance.py."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from backends.swtpm import SoftTPM, environ_with
from rolesanywhere_auth._der import INTEGER, OCTET_STRING, OID, SEQUENCE, context, encode
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    IdentityError,
    MissingExtraError,
    PassphraseError,
    PrivateKeyLoadError,
    SigningError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.keys import _tpm_device, check_signature
from rolesanywhere_auth.keys._tpm_reference import default_tcti, parse_reference
from rolesanywhere_auth.keys._tss2 import TSS2Key, parse_tss2
from rolesanywhere_auth.keys.stores import open_store
from rolesanywhere_auth.keys.tpm import TPMSigner
from rolesanywhere_auth.testing import CertificateAuthority

DATA = b"AWS4-X509-ECDSA-SHA256\n20261122T000000Z\n" + b"0" * 110
NOTHING = (b"", b"", b"")
SIGNING = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"
NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTPM]:
    """One for most tests."""
    tpm = SoftTPM(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.stop()


@pytest.fixture(scope="module")
def common_parent(shared: SoftTPM) -> str:
    """The key that its keys hang on."""
    return shared.parent()


@pytest.fixture
def tpm(shared: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftTPM]:
    """A TPM that tests share, and leave empty behind them."""
    set_environment(shared, monkeypatch)
    yield shared
    assert shared.loaded() == NOTHING


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftTPM]:
    """A TPM for one test."""
    tpm = SoftTPM(tmp_path)
    set_environment(tpm, monkeypatch)
    yield tpm
    tpm.stop()


def set_environment(tpm: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process use it."""
    for name, value in tpm.environment().items():
        monkeypatch.setenv(name, value)


def check(signer: TPMSigner, data: bytes = DATA) -> None:
    """The signature is one that the service would take."""
    check_signature(signer.public_key(), signer.sign(data), data, source="test")


# -------------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tpm:0x81000001", (0x81000001, None, None)),
        ("handle:81000001", (0x81000001, None, None)),
        ("TPM:0x810ABCDE;", (0x810ABCDE, None, None)),
        ("tpm:/etc/pki/a.pem", (None, "/etc/pki/a.pem", None)),
        ("tpm:a%3Bb.pem", (None, "a;b.pem", None)),
        ("tpm:0x81000001?tcti=swtpm:port=1,host=a%3B", (0x81000001, None, "swtpm:port=1,host=a;")),
    ],
)
def test_references(text: str, expected: tuple[object, ...]) -> None:
    """A reference names a handle or a file, and how to reach the TPM."""
    found = parse_reference(text)

    assert (found.handle, found.path, found.tcti) == expected
    assert found.policy == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tpm:", "persistent handle"),
        ("tpm:0x80000001", "persistent handle"),
        ("tpm:01c00002", "persistent handle"),
        ("handle:key.pem", "persistent handle"),
        ("tpm:0x81000001;pin-value=s3cret", "option is not known"),
        ("tpm:0x81000001;tcti=", "option is not known"),
        ("tpm:0x81000001;s3cret", "option is not known"),
        ("tpm:0x81000001;auth", "option is not known"),
        ("tpm:0x81000001;auth=s3cret", "option auth: neither env:NAME, file:/path"),
        ("tpm:0x81000001;auth=value:s3cret", "auth: a password is not written into a reference"),
        ("tpm:a.pem;parent-auth=s3cret", "parent-auth: neither env:NAME"),
        ("tpm:0x81000001;policy=pcr:7", "pcr:sha256:0,7"),
        ("tpm:0x81000001;policy=secret", "authvalue"),
        ("tpm:0x81000001;policy=sign:1", "authvalue"),
    ],
)
def test_wrong_references(text: str, says: str) -> None:
    """They are refused at once, with what would be right, and never with a password."""
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        open_store(text, passphrase=None)

    assert "s3cret" not in str(caught.value)


def test_where_the_tpm_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the TPM tools say it; without them, it is the kernel's manager if any."""
    monkeypatch.delenv("TPM2TOOLS_TCTI", raising=False)
    monkeypatch.setenv("TPM2_PYTSS_TCTI", "mssim")
    assert default_tcti() == "mssim"
    monkeypatch.setenv("TPM2TOOLS_TCTI", "swtpm")
    assert default_tcti() == "swtpm"

    monkeypatch.delenv("TPM2TOOLS_TCTI")
    monkeypatch.delenv("TPM2_PYTSS_TCTI")
    manager = Path("/dev/tpmrm0").exists()
    assert default_tcti() == ("device:/dev/tpmrm0" if manager else None)
    monkeypatch.setattr("rolesanywhere_auth.keys._tpm_reference._RESOURCE_MANAGER", os.devnull)
    assert default_tcti() == f"device:{os.devnull}"


def test_without_tpm2_pytss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the extra, and what it is built with."""
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)

    for reference in ("tpm:0x81000001", str(tmp_path)):
        with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[tpm\].*libtss2-dev"):
            open_store(f"tpm:{reference.removeprefix('tpm:')}", passphrase=None)


# ---------------------------------------------------------------------------------------- key files


def tss2(*fields: bytes, oid: str = "6781050a0103", parent: bytes = b"\x40\0\0\1") -> bytes:
    """A key file as the specification has it, with empty content."""
    end = encode(INTEGER, parent), encode(OCTET_STRING, b"pub"), encode(OCTET_STRING, b"priv")
    return encode(SEQUENCE, b"".join((encode(OID, bytes.fromhex(oid)), *fields, *end)))


def policy_field(*steps: tuple[int, bytes]) -> bytes:
    """The field ``policy``."""
    parts = (
        encode(context(0), encode(INTEGER, code.to_bytes(2, "big")))
        + encode(context(1), encode(OCTET_STRING, parameters))
        for code, parameters in steps
    )
    return encode(context(1), encode(SEQUENCE, b"".join(encode(SEQUENCE, each) for each in parts)))


def boolean(number: int, value: int) -> bytes:
    """A field that is true or not."""
    return encode(context(number), bytes((1, 1, value)))


def test_the_fields_of_key_files() -> None:
    """All of the specification's fields are understood, also as BER and as a signed number."""
    description = encode(context(4), encode(0x0C, b"mine"))

    assert parse_tss2(tss2(), source="x") == TSS2Key(b"pub", b"priv", 0x40000001)
    assert parse_tss2(tss2(boolean(0, 1), description, boolean(5, 1)), source="x").rsa_parent
    assert not parse_tss2(tss2(boolean(5, 0)), source="x").rsa_parent
    assert parse_tss2(tss2(parent=b"\x81\0\0\1"), source="x").parent == 0x81000001
    assert parse_tss2(tss2(parent=b"\0\x81\0\0\1"), source="x").parent == 0x81000001
    found = parse_tss2(tss2(policy_field((0x17F, b"a"), (0x16B, b""))), source="x")
    assert found.policy == ((0x17F, b"a"), (0x16B, b""))


@pytest.mark.parametrize(
    ("oid", "says"),
    [
        ("6781050a0104", "to be imported"),
        ("6781050a0105", "is no key"),
        ("2a0304", "not known here .1.2.3.4."),
    ],
)
def test_other_kinds_of_files(oid: str, says: str) -> None:
    """What is no key of this TPM yet is refused by name."""
    with pytest.raises(UnsupportedKeyError, match=says):
        parse_tss2(tss2(oid=oid), source="x")


@pytest.mark.parametrize("der", [b"", b"\x30\x03\x02\x01\x01", tss2()[:-1], tss2(b"\x04\0")])
def test_damaged_files(der: bytes) -> None:
    """The error says what to do."""
    with pytest.raises(PrivateKeyLoadError, match="x: the TSS2 PRIVATE KEY block is damaged"):
        parse_tss2(der, source="x")


def pem(der: bytes) -> bytes:
    """The file around it."""
    body = base64.encodebytes(der)
    return b"-----BEGIN TSS2 PRIVATE KEY-----\n" + body + b"-----END TSS2 PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pem(tss2()), "what the file holds of the TPM's is damaged"),
        (pem(tss2()) * 2, "holds TSS2 PRIVATE KEY, TSS2 PRIVATE KEY"),
        (CertificateAuthority().issue().private_key_pem.encode(), "holds EC PRIVATE KEY|PRIVATE"),
        (CertificateAuthority().certificate_pem.encode(), "holds no private key"),
    ],
)
def test_files_of_no_use(content: bytes, says: str) -> None:
    """What holds no such key, or several, is refused."""
    with pytest.raises(PrivateKeyLoadError, match=says):
        TPMSigner(content)


# ------------------------------------------------------------------------------------ kinds of keys


@pytest.mark.parametrize(
    ("algorithm", "attributes", "kind"),
    [
        ("ecc256", SIGNING, "P-256"),
        ("ecc521", SIGNING, "P-521"),
        ("ecc256:ecdsa-sha384", SIGNING, "P-256"),
        ("ecc384:ecdsa-sha384", SIGNING, "P-384"),
        ("ecc384:ecdsa-sha512", SIGNING, "P-384"),
        ("ecc521:ecdsa-sha512", SIGNING, "P-521"),
        ("ecc256:ecdsa-sha256:null", f"{SIGNING}|restricted", "P-256"),
        ("rsa2048:rsassa-sha256", SIGNING, "RSA 2048"),
        ("rsa2048:rsassa-sha256:null", f"{SIGNING}|restricted", "RSA 2048"),
        ("rsa2048", SIGNING.replace("sign", "decrypt").replace("decryptin", "signin"), "RSA 2048"),
    ],
)
def test_kinds_of_keys(
    tpm: SoftTPM, common_parent: str, algorithm: str, attributes: str, kind: str
) -> None:
    """Keys bound to a longer hash, restricted ones and such that only decrypt sign all the same."""
    signer = TPMSigner(tpm.encode(tpm.create(algorithm, "-a", attributes, parent=common_parent)))

    assert signer.kind == kind
    for length in (0, 1, 1024, 1025, 3000):
        check(signer, bytes(length))


@pytest.mark.parametrize(
    ("algorithm", "attributes", "says"),
    [
        ("rsa1024:rsapss-sha256:null", SIGNING, "RSASSA-PSS only"),
        ("rsa1024:rsassa-sha384", SIGNING, "another scheme or hash"),
        ("rsa1024:oaep-sha256", SIGNING.replace("|sign", "|decrypt"), "decryption or storage"),
        ("ecc256:ecschnorr-sha256", SIGNING, "another scheme or hash"),
        ("ecc256:ecdsa-sha1", SIGNING, "another scheme or hash"),
        ("ecc384:ecdsa-sha384:null", f"{SIGNING}|restricted", "a restricted key of sha384"),
        ("ecc256", SIGNING.replace("|sign", "|decrypt"), "may not sign"),
        ("ecc224", SIGNING, "the TPM's curve"),
        ("hmac", SIGNING, "neither an RSA nor an EC key"),
    ],
)
def test_keys_of_no_use(
    tpm: SoftTPM, common_parent: str, algorithm: str, attributes: str, says: str
) -> None:
    """What cannot sign for the service is refused when it is opened, with the reason."""
    path = tpm.encode(tpm.create(algorithm, "-a", attributes, parent=common_parent))

    with pytest.raises(UnsupportedKeyError, match=says):
        TPMSigner(path)


def test_a_parent_of_rsa(tpm: SoftTPM) -> None:
    """Files that say so hang on the RSA key of the common template."""
    parent = tpm.path(".parent")
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
    tpm.run(
        "tpm2_createprimary", "-C", "o", "-G", "rsa2048:aes128cfb", "-a", attributes, "-c", parent
    )
    public, private, _ = tpm.create("ecc256", parent=parent)
    blobs = [encode(OCTET_STRING, Path(each).read_bytes()) for each in (public, private)]
    oid, handle = encode(OID, bytes.fromhex("6781050a0103")), encode(INTEGER, b"\x40\0\0\1")
    der = encode(SEQUENCE, b"".join((oid, boolean(5, 255), handle, *blobs)))

    check(TPMSigner(pem(der)))


# ---------------------------------------------------------------------------------------- passwords


class Tap:
    """Goes between, and keeps what passes."""

    def __init__(self, tpm: SoftTPM) -> None:
        port = int(tpm.tcti.rpartition("=")[2])
        self.seen = bytearray()
        while True:
            first = socket.create_server(("127.0.0.1", 0))
            try:
                second = socket.create_server(("127.0.0.1", first.getsockname()[1] + 1))
                break
            except (OSError, OverflowError):
                first.close()
        self.tcti = f"swtpm:host=127.0.0.1,port={first.getsockname()[1]}"
        self.servers = (first, second)
        for number, server in enumerate(self.servers):
            threading.Thread(target=self.serve, args=(server, port + number), daemon=True).start()

    def serve(self, server: socket.socket, port: int) -> None:
        while True:
            try:
                one, _ = server.accept()
            except OSError:
                return
            with one, socket.create_connection(("127.0.0.1", port)) as other:
                self.carry(one, other)

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        while True:
            for source in select.select([one, other], [], [])[0]:
                data = source.recv(4096)
                if not data:
                    return
                self.seen += data
                (other if source is one else one).sendall(data)


def test_a_password_is_not_seen_on_its_way(tpm: SoftTPM, common_parent: str) -> None:
    """It goes as the key of an HMAC."""
    password = "never-on-the-bus"
    path = tpm.encode(tpm.create("ecc256", "-p", password, parent=common_parent))
    tap = Tap(tpm)

    signer = TPMSigner(f"tpm:{path};tcti={tap.tcti}", passphrase=password)
    check(signer)
    for server in tap.servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()

    assert len(tap.seen) > 1000
    assert password.encode() not in tap.seen
    assert password not in repr(signer)


def test_wrong_passwords(own: SoftTPM) -> None:
    """Each is tried once; a new one is tried; too many lock the TPM, and the error says so."""
    path = own.encode(own.create("ecc256", "-p", "right"))
    answers = ["wrong", "wrong", "right"]
    signer = TPMSigner(path, passphrase=lambda: answers.pop(0))

    for _ in range(2):
        with pytest.raises(PassphraseError, match="refused the password of the key"):
            signer.sign(DATA)
    assert own.refusals() == 1
    check(signer)
    signer.prove()
    assert answers == []

    for wrong in (None, "third"):
        with pytest.raises(PassphraseError, match="password"):
            TPMSigner(path, passphrase=wrong).sign(DATA)
    with pytest.raises(PassphraseError, match="wants a password for the key: pass passphrase"):
        TPMSigner(path).sign(DATA)
    for _ in range(2):
        with pytest.raises(PassphraseError, match="locked after too many"):
            signer.sign(DATA)
    own.run("tpm2_dictionarylockout", "--clear-lockout")
    check(signer)
    assert own.loaded() == NOTHING


@pytest.mark.parametrize("name", ["passphrase", "parent-auth"])
def test_a_password_that_is_too_long(
    tpm: SoftTPM, common_parent: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What no TPM can have as a password is not tried, and not shown."""
    path = tpm.encode(tpm.create("ecc256", parent=common_parent))
    monkeypatch.setenv("LONG", "p" * 65)
    option = "auth" if name == "passphrase" else name

    with pytest.raises(PassphraseError, match=f"what {name} gives has more than 64") as caught:
        TPMSigner(f"tpm:{path};{option}=env:LONG").sign(DATA)

    assert "ppp" not in str(caught.value)


def test_a_wrong_password_in_many_threads(own: SoftTPM) -> None:
    """One of them tries it, and all get the error."""
    signer = TPMSigner(own.encode(own.create("ecc256", "-p", "right")), passphrase="wrong")
    refused: list[PassphraseError] = []

    def work() -> None:
        with pytest.raises(PassphraseError) as caught:
            signer.sign(DATA)
        refused.append(caught.value)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(refused) == 8
    assert own.refusals() == 1


def test_a_password_from_a_reference(
    tpm: SoftTPM, common_parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stand wherever secrets may, which wins over the passphrase."""
    path = tpm.encode(tpm.create("ecc256", "-a", SIGNING, "-p", "pässword", parent=common_parent))
    file = tmp_path / "password"
    file.write_bytes("pässword\n".encode())
    file.chmod(0o600)
    monkeypatch.setenv("KEY_PASSWORD", "pässword")

    check(TPMSigner(f"tpm:{path};auth=file:{file}", passphrase="other"))
    check(TPMSigner(f"tpm:{path};auth=env:KEY_PASSWORD"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    check(TPMSigner(f"tpm:{path};auth=credential:password"))
    file.unlink()
    for where, why in ((f"file:{file}", "No such file"), ("env:NO_SUCH", "NO_SUCH is not set")):
        store = open_store(f"tpm:{path};auth={where}", passphrase=None)
        with pytest.raises(PassphraseError, match=f"^{where}: .*{why}"):
            store.signer(())
    assert "KEY_PASSWORD" in repr(parse_reference("tpm:a;auth=env:KEY_PASSWORD"))


def test_the_owners_password(own: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hierarchy's password is given as parent-auth; without it the error asks for it."""
    path = own.encode(own.create("ecc256"))
    own.run("tpm2_changeauth", "-c", "owner", "owner-pw")
    monkeypatch.setenv("OWNER", "owner-pw")
    monkeypatch.setenv("WRONG", "hunter2")

    with pytest.raises(PassphraseError, match="wants a password for the owner hierarchy: pass pa"):
        TPMSigner(path).sign(DATA)
    for _ in range(2):
        with pytest.raises(PassphraseError, match="refused the password of the owner hierarchy"):
            TPMSigner(f"tpm:{path};parent-auth=env:WRONG").sign(DATA)
    check(TPMSigner(f"tpm:{path};parent-auth=env:OWNER"))
    assert own.loaded() == NOTHING


def test_a_persistent_parent(own: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent at a handle may have a password, too; when it is gone, the error names it."""
    parent = own.parent("-p", "parent-pw")
    own.run("tpm2_evictcontrol", "-C", "o", "-c", parent, "0x81000001")
    path = own.encode(
        own.create("ecc256", parent="0x81000001", parent_auth="parent-pw"), "-P", "parent-pw"
    )
    monkeypatch.setenv("PARENT", "parent-pw")

    signer = TPMSigner(f"tpm:{path};parent-auth=env:PARENT")
    check(signer)
    with pytest.raises(PassphraseError, match="for the parent key 0x81000001: pass parent-auth"):
        TPMSigner(path).sign(DATA)

    own.run("tpm2_evictcontrol", "-C", "o", "-c", "0x81000001")
    own.restart()
    with pytest.raises(PrivateKeyLoadError, match="no key at the parent key 0x81000001"):
        signer.sign(DATA)


# ----------------------------------------------------------------------------------------- policies


def policy_of(tpm: SoftTPM, *commands: tuple[str, ...]) -> str:
    """A policy's digest, as tpm2-tools compute it."""
    session, digest = tpm.path(".session"), tpm.path(".policy")
    environment = tpm.environment()
    run = lambda *command: subprocess.run(  # noqa: E731
        command, env={**os.environ, **environment}, check=True, capture_output=True
    )
    run("tpm2_startauthsession", "-S", session)
    for command in commands:
        run(command[0], "-S", session, "-L", digest, *command[1:])
    run("tpm2_flushcontext", session)
    return digest


POLICY = "fixedtpm|fixedparent|sensitivedataorigin|noda|sign"
PCR = ("tpm2_policypcr", "-l", "sha256:16,23")
AUTH_VALUE = ("tpm2_policyauthvalue",)


@pytest.mark.parametrize(
    ("commands", "options", "password"),
    [
        ([PCR], ";policy=pcr:sha256:16,23", None),
        ([AUTH_VALUE], ";policy=authvalue", "pw"),
        ([PCR, AUTH_VALUE], ";policy=pcr:sha256:16,23;policy=authvalue", "pw"),
        ([("tpm2_policypassword",)], ";policy=password", "pw"),
        ([("tpm2_policycommandcode", "TPM2_CC_Sign")], ";policy=sign", None),
    ],
)
def test_policies(
    tpm: SoftTPM,
    common_parent: str,
    commands: list[tuple[str, ...]],
    options: str,
    password: str | None,
) -> None:
    """The reference names the steps, in their order."""
    extra = ("-p", password) if password else ()
    digest = policy_of(tpm, *commands)
    path = tpm.encode(
        tpm.create("ecc256", "-a", POLICY, "-L", digest, *extra, parent=common_parent)
    )

    check(TPMSigner(f"tpm:{path}{options}", passphrase=password))
    with pytest.raises(SigningError, match=r"only its policy.*tpm:…;policy=pcr"):
        TPMSigner(path, passphrase=password).sign(DATA)
    if password:
        with pytest.raises(PassphraseError, match="refused the password of the key"):
            TPMSigner(f"tpm:{path}{options}", passphrase="wrong").sign(DATA)


def test_pcrs_that_change(tpm: SoftTPM, common_parent: str) -> None:
    """The key signs no more, and the error says why."""
    digest = policy_of(tpm, PCR)
    key = tpm.create("ecc256", "-a", POLICY, "-L", digest, parent=common_parent)
    signer = TPMSigner(f"tpm:{tpm.encode(key)};policy=pcr:sha256:16,23")
    check(signer)

    tpm.run("tpm2_pcrextend", f"16:sha256={'11' * 32}")
    with pytest.raises(SigningError, match="policy does not hold: the PCRs have other values"):
        signer.sign(DATA)
    tpm.run("tpm2_pcrreset", "16")
    check(signer)


@pytest.mark.parametrize("form", ["openssl_tpm2_engine", "grub", "grub, any value"])
def test_policies_in_key_files(tpm: SoftTPM, common_parent: str, form: str) -> None:
    """A file's own policy is followed, in both forms that its writers have."""
    values = tpm.path(".pcrs")
    tpm.run("tpm2_pcrread", "sha256:16,23", "-o", values)
    digest = hashlib.sha256(Path(values).read_bytes()).digest()
    selection = bytes.fromhex("00000001 000b 03 000081")
    steps = {
        "openssl_tpm2_engine": (0x17F, selection + digest),
        "grub": (0x17F, b"\0\x20" + digest + selection),
        "grub, any value": (0x17F, b"\0\0" + selection),
    }
    policy = policy_of(tpm, PCR, AUTH_VALUE)
    public, private, _ = tpm.create(
        "ecc256", "-a", POLICY, "-L", policy, "-p", "pw", parent=common_parent
    )
    blobs = [encode(OCTET_STRING, Path(each).read_bytes()) for each in (public, private)]
    start = encode(OID, bytes.fromhex("6781050a0103")), policy_field(steps[form], (0x16B, b""))
    der = encode(SEQUENCE, b"".join((*start, encode(INTEGER, b"\x40\0\0\1"), *blobs)))
    signer = TPMSigner(pem(der), passphrase="pw")

    check(signer)
    tpm.run("tpm2_pcrextend", f"23:sha256={'22' * 32}")
    with pytest.raises(SigningError, match="policy does not hold"):
        signer.sign(DATA)
    tpm.run("tpm2_pcrreset", "23")


def test_a_policy_that_is_not_known(tpm: SoftTPM, common_parent: str) -> None:
    """It is refused by name when the key is opened."""
    public, private, _ = tpm.create("ecc256", parent=common_parent)
    blobs = [encode(OCTET_STRING, Path(each).read_bytes()) for each in (public, private)]
    start = encode(OID, bytes.fromhex("6781050a0103")), policy_field((0x16A, b""))
    der = encode(SEQUENCE, b"".join((*start, encode(INTEGER, b"\x40\0\0\1"), *blobs)))

    with pytest.raises(UnsupportedKeyError, match="TPM command 0x16a, which is not known"):
        TPMSigner(pem(der))


# ---------------------------------------------------------------------------- the TPM as a resource


def test_nothing_is_left_in_the_tpm(tpm: SoftTPM, common_parent: str) -> None:
    """Hundreds of signatures, also such that fail, leave no object and no session."""
    key = tpm.create("ecc256", parent=common_parent)
    file, handle = TPMSigner(tpm.encode(key)), TPMSigner(tpm.persist(key, 0x81000010))
    wrong = TPMSigner(tpm.encode(key) + "", passphrase="wrong")

    for _ in range(400):
        handle.sign(DATA)
    for _ in range(150):
        file.sign(DATA)
    with pytest.raises(PassphraseError):
        wrong.sign(DATA)

    assert tpm.loaded() == NOTHING


def test_other_processes_fill_the_tpm(own: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature waits for a place, but not for ever."""
    path = own.encode(own.create("ecc256"))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            own.run("tpm2_flushcontext", "-t")

    device = _tpm_device.Device(own.tcti, sleep=sleep)
    monkeypatch.setitem(_tpm_device._devices, own.tcti, device)
    signer = TPMSigner(path)
    fill(own)
    check(signer)
    assert len(waits) == 3

    fill(own)
    with pytest.raises(IdentityError, match="has no place for another key"):
        signer.sign(DATA)
    assert sum(waits) < 5

    fill(own)
    with pytest.raises(IdentityError, match="has no place for another key"):
        TPMSigner(path).sign(DATA)


def fill(tpm: SoftTPM) -> None:
    """Take all three places for objects, as a program without manners does."""
    environment = {**os.environ, **tpm.environment()}
    subprocess.run(["tpm2_flushcontext", "-t"], env=environment, check=True)
    for _ in range(3):
        command = ["tpm2_createprimary", "-Q", "-C", "n", "-G", "ecc256", "-c", os.devnull]
        subprocess.run(command, env=environment, check=False, capture_output=True)


def test_a_key_flushed_by_others(own: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was to stay loaded, and is not there any more, is loaded again."""
    device = _tpm_device.Device(own.tcti)
    device._keeps = True
    monkeypatch.setitem(_tpm_device._devices, own.tcti, device)
    signer = TPMSigner(own.encode(own.create("ecc256")))
    check(signer)
    assert own.loaded()[0]

    own.run("tpm2_flushcontext", "-t")
    check(signer)


def test_the_parents_handles_in_a_child(own: SoftTPM) -> None:
    """A child opens the TPM anew, and disturbs nothing that its parent has there."""
    signers = [
        TPMSigner(own.encode(own.create("ecc256", "-p", "pw")), passphrase="pw"),
        TPMSigner(own.persist(own.create("ecc256"), 0x81000001)),
    ]
    for signer in signers:
        check(signer)
    context = signers[0]._device._context

    signers[0]._device._guard.after_fork_in_child()
    for signer in signers:
        check(signer)

    assert signers[0]._device._context is not context
    assert own.loaded() == NOTHING


def test_a_tpm_that_is_away(own: SoftTPM) -> None:
    """The errors say how to find it; when it is back, signing goes on."""
    path = own.encode(own.create("ecc256"))
    reference = own.persist(own.create("ecc256"), 0x81000001)
    signer = TPMSigner(reference)
    own.stop()

    with pytest.raises(PrivateKeyLoadError, match=r"cannot be reached.*group tss"):
        TPMSigner(reference)
    for _ in range(2):
        with pytest.raises(SigningError, match="cannot be reached"):
            signer.sign(DATA)
    own.restart()
    check(signer)
    check(TPMSigner(path))


def test_a_tpm_that_was_not_started(own: SoftTPM, tmp_path: Path) -> None:
    """The error says how to start it."""
    reference = own.persist(own.create("ecc256"), 0x81000001)
    own.run("tpm2_shutdown")
    own.stop()
    own.flags = "not-need-init"
    own.restart()

    with pytest.raises(PrivateKeyLoadError, match=r"was not started\. Start it: tpm2_startup"):
        TPMSigner(reference)


def test_another_tpms_key(own: SoftTPM, tpm: SoftTPM, common_parent: str) -> None:
    """A file that this TPM cannot unwrap is refused with the reasons that there may be."""
    path = tpm.encode(tpm.create("ecc256", parent=common_parent))
    signer = TPMSigner(f"tpm:{path};tcti={own.tcti}")

    with pytest.raises(PrivateKeyLoadError, match="wrapped by another TPM, or under another par"):
        signer.sign(DATA)
    assert own.loaded() == NOTHING


def test_another_key_at_the_handle(own: SoftTPM) -> None:
    """The store's stamp tells; who signs on with the old one learns what happened."""
    first = own.create("ecc256", "-p", "pw")
    reference = own.persist(first, 0x81000001)
    store = open_store(reference, passphrase="pw")
    before = store.stamp()
    old = store.signer(())
    assert store.stamp() == before
    assert store.signer(()) is old

    own.run("tpm2_evictcontrol", "-C", "o", "-c", "0x81000001")
    with pytest.raises(PrivateKeyLoadError, match="no key at tpm:0x81000001"):
        store.stamp()
    own.persist(own.create("ecc256", "-p", "pw"), 0x81000001)
    with pytest.raises(SigningError, match="another key is there"):
        old.sign(DATA)
    assert store.stamp() != before
    assert store.signer(()).public_key() != old.public_key()
    new = store.signer(())
    check(new)
    own.run("tpm2_evictcontrol", "-C", "o", "-c", "0x81000001")
    with pytest.raises(SigningError, match=r"no key at tpm:0x81000001 in the TPM .* any more"):
        new.sign(DATA)


def test_a_private_part_of_another_size(tpm: SoftTPM, common_parent: str) -> None:
    """What the TPM says is passed on, with its number."""
    public, _, _ = tpm.create("ecc256", parent=common_parent)
    blobs = [encode(OCTET_STRING, each) for each in (Path(public).read_bytes(), b"\0\x02ab")]
    start = encode(OID, bytes.fromhex("6781050a0103")), encode(INTEGER, b"\x40\0\0\1")
    der = encode(SEQUENCE, b"".join((*start, *blobs)))

    with pytest.raises(PrivateKeyLoadError, match=r"the TPM \(swtpm:.*\) failed\. \(tpm:.*, 0x"):
        TPMSigner(pem(der)).sign(DATA)


# --------------------------------------------------------------------------------- with the library


def test_a_handle_has_no_certificate(tpm: SoftTPM, common_parent: str) -> None:
    """The error says to pass a file."""
    reference = tpm.persist(tpm.create("ecc256", parent=common_parent), 0x81000011)

    with pytest.raises(CertificateLoadError, match="tpm:0x81000011: holds no certificate"):
        Identity.load(reference, now=NOW)


def test_certificate_and_key_in_one_file(tpm: SoftTPM, common_parent: str, tmp_path: Path) -> None:
    """Such a file serves alone, by its path or by a reference; a new one is noticed."""
    authority = CertificateAuthority()
    file = tmp_path / "app.pem"

    def write() -> int:
        path = tpm.encode(tpm.create("ecc256", parent=common_parent))
        leaf = authority.issue(public_key=TPMSigner(path).public_key())
        new = tmp_path / "new"
        new.write_text(leaf.certificate_pem + Path(path).read_text())
        new.rename(file)
        return leaf.serial_number

    serial_number = write()
    for certificate in (str(file), f"tpm:{file}"):
        identity = Identity.load(certificate, now=NOW)
        assert identity.serial_number == serial_number
        identity.signer.sign(DATA)

    source = IdentitySource(f"tpm:{file}")
    source.current(now=NOW)
    serial_number = write()
    assert source.current(now=NOW).serial_number == serial_number


def test_a_signer_of_ones_own(tpm: SoftTPM, common_parent: str) -> None:
    """A TPMSigner serves as private_key; it can be neither pickled nor copied."""
    path = tpm.encode(tpm.create("rsa2048", parent=common_parent))
    signer = TPMSigner(Path(path).read_bytes())
    leaf = CertificateAuthority().issue(public_key=signer.public_key())

    identity = Identity.load(leaf.certificate_pem, private_key=signer, now=NOW)
    check_signature(signer.public_key(), identity.signer.sign(DATA), DATA, source="test")

    assert isinstance(signer.public_key(), RSAPublicKey)
    assert repr(signer) == "<TPMSigner RSA 2048 from bytes given as private_key>"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(signer)
    open_store("tpm:0x81000001", passphrase=None).watch(lambda: None)


MANAGED = """
import sys
from children import children_of
from rolesanywhere_auth.errors import SigningError
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.keys.tpm import TPMSigner

def check(signer):
    check_signature(signer.public_key(), signer.sign(b"x"), b"x", source="test")

def refusal():
    try:
        signers[0].sign(b"x")
    except SigningError as error:
        return str(error).encode()

signers = [TPMSigner(each) for each in sys.argv[1:]]
for signer in signers * 3 + signers[:1] * 20:
    check(signer)
with children_of(lambda: refusal() + b"\\n" + refusal()) as answers:
    print(answers[0].decode())
for signer in signers * 3:
    check(signer)
signers[0]._device._guard.generation += 1  # as a fork does
print(refusal().decode())
"""


FORKED = """
import sys
from children import children_of
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.keys.tpm import TPMSigner

def check():
    check_signature(signer.public_key(), signer.sign(b"x"), b"x", source="test")
    return b"signed"

signer = TPMSigner(sys.argv[1])
check()
with children_of(check, count=4) as answers:
    check()
assert answers == [b"signed"] * 4, answers
"""


def test_under_a_resource_manager(own: SoftTPM, tmp_path: Path) -> None:
    """The key used last stays loaded, others take turns with it; a fork is told what is wrong."""
    parent = own.parent()
    paths = [own.encode(own.create("ecc256", parent=parent)) for _ in range(3)]
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE
    )
    assert bus.stdout is not None
    environment = {
        **environ_with(own),
        "DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().decode().strip(),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    manager = subprocess.Popen(
        ["tpm2-abrmd", "--session", "--allow-root", f"--tcti={own.tcti}"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    environment["TPM2TOOLS_TCTI"] = "abrmd:bus_type=session"
    try:
        ready = ["timeout", "20", "sh", "-c"]
        ready += ["until tpm2_getcap properties-fixed; do sleep 0.05; done"]
        tools = {**environment, "TPM2TOOLS_TCTI": "tabrmd:bus_type=session"}
        subprocess.run(ready, env=tools, check=True, capture_output=True)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", MANAGED, *paths],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        # what the error tells to do
        environment["TPM2TOOLS_TCTI"] = "cmd:tpm2_send -T tabrmd:bus_type=session"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKED, paths[0]],
            env=environment,
            check=True,
            timeout=60,
        )
    finally:
        for process in (manager, bus):
            process.terminate()
            process.wait()
        bus.stdout.close()

    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 3
    assert all("Use the kernel's resource manager" in each for each in said)
    assert all("(cmd:tpm2_send -T tabrmd:bus_type=session)" in each for each in said)


@pytest.mark.extended
def test_the_kernels_resource_manager(repository: Path) -> None:
    """A machine with a TPM signs in through /dev/tpmrm0, in threads and children, too."""
    script = repository / "scripts" / "test-tpm-kernel"

    said = subprocess.run([script, sys.executable], stdout=subprocess.PIPE, check=True).stdout

    places = (b"with tpm:0x81000001", b"with file.pem", b"with pkcs11:token=prod")
    for line in (*places, b"threads and children"):
        assert b"signed in " + line in said
