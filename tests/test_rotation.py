"""Rotation: files replaced in all the ways that there are, and certificates running out."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from children import children_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from rolesanywhere_auth import rotation
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateLoadError,
    ConfigurationError,
    IdentityError,
    KeyMismatchError,
    PassphraseError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.authority import Leaf

NOW = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(minutes=1)
DAY = timedelta(days=1)
PATIENCE = 30.0
"""Seconds before a test gives up waiting for another thread or process."""

Write = Callable[[Path, bytes], object]


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    """A root whose time is the tests'."""
    return CertificateAuthority(now=lambda: NOW)


@pytest.fixture(scope="module")
def leaves(ca: CertificateAuthority) -> list[Leaf]:
    """Leaves for a year, with EC keys."""
    return [ca.issue(f"app-{number}") for number in range(4)]


class Pair:
    """A certificate file and a key file, and their source."""

    def __init__(self, folder: Path, leaf: Leaf, **options: Any) -> None:
        self.certificate, self.key = folder / "app.pem", folder / "app.key"
        self.put(leaf)
        self.source = IdentitySource(self.certificate, private_key=str(self.key), **options)

    def put(self, leaf: Leaf, write: Write = Path.write_bytes) -> None:
        write(self.certificate, leaf.certificate_pem.encode())
        write(self.key, leaf.private_key_pem.encode())


@pytest.fixture
def pair(tmp_path: Path, leaves: list[Leaf]) -> Pair:
    """The first leaf's files, loaded."""
    made = Pair(tmp_path, leaves[0])
    assert_is(made.source.current(now=NOW), leaves[0])
    return made


def rename_over(path: Path, content: bytes) -> None:
    """Replace a file as careful writers do."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def unlink_and_write(path: Path, content: bytes) -> None:
    """Replace a file as careless writers do."""
    path.unlink()
    path.write_bytes(content)


def verify(identity: Identity) -> None:
    """cryptography verifies the signer's signature with the key in the header's certificate."""
    certificate = x509.load_der_x509_certificate(base64.b64decode(identity.certificate_header))
    public_key: Any = certificate.public_key()
    signature = identity.signer.sign(b"data")
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())
    else:
        public_key.verify(signature, b"data", ec.ECDSA(hashes.SHA256()))


def assert_is(identity: Identity | None, leaf: Leaf) -> None:
    """The identity is that of *leaf*, and signs."""
    assert identity is not None
    assert identity.serial_number == leaf.serial_number
    verify(identity)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings since the last call."""
    found = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name == "rolesanywhere_auth.identity"
    ]
    caplog.clear()
    return found


# ---------------------------------------------------------------------------- ways to replace files


@pytest.mark.parametrize("write", [Path.write_bytes, rename_over, unlink_and_write])
def test_replaced_files_are_noticed(pair: Pair, leaves: list[Leaf], write: Write) -> None:
    """A rewrite in place, a rename and a new file are seen at the next sign-in, and by poll."""
    pair.put(leaves[1], write)
    assert_is(pair.source.current(now=LATER), leaves[1])
    pair.put(leaves[2], write)

    assert_is(pair.source.identity, leaves[1])
    assert pair.source.poll(now=LATER)
    assert_is(pair.source.identity, leaves[2])
    assert_is(pair.source.current(now=LATER), leaves[2])
    assert not pair.source.poll(now=LATER)


def test_each_change_is_new_once(
    pair: Pair, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """What a sign-in already uses is no reason for another; an unchanged pair never is."""
    caplog.set_level(logging.INFO)
    assert not pair.source.poll(now=LATER)
    assert not caplog.messages
    pair.put(leaves[1])
    pair.source.current(now=LATER)

    assert not pair.source.poll(now=LATER)
    (told,) = caplog.messages
    assert told.startswith(f"{pair.certificate}: changed")
    assert f"serial number {leaves[1].serial_number:x}, valid until 2026-06-01" in told


class Secret:
    """What Kubernetes' kubelet makes of a secret volume, and how it replaces it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def swap(self, files: dict[str, str]) -> None:
        old = self.folder / f"..2025_06_01_12_00_00.{self.number}"
        self.number += 1
        new = self.folder / f"..2025_06_01_12_00_00.{self.number}"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_text(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(new.name)
        link.replace(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        if old.exists():
            for path in old.iterdir():
                path.unlink()
            old.rmdir()


def test_kubernetes_secret(tmp_path: Path, leaves: list[Leaf]) -> None:
    """The swap of the ..data link changes certificate and key at one stroke."""
    secret = Secret(tmp_path)
    secret.swap({"tls.crt": leaves[0].certificate_pem, "tls.key": leaves[0].private_key_pem})
    source = IdentitySource(tmp_path / "tls.crt", private_key=tmp_path / "tls.key")
    assert_is(source.current(now=NOW), leaves[0])

    for leaf in (*leaves[1:], leaves[0]):
        secret.swap({"tls.crt": leaf.certificate_pem, "tls.key": leaf.private_key_pem})
        assert source.poll(now=LATER)
        assert_is(source.current(now=LATER), leaf)
    assert (tmp_path / "tls.crt").readlink() == Path("..data/tls.crt")


@pytest.mark.parametrize("first", ["certificate", "key"])
def test_one_file_after_the_other(
    pair: Pair, leaves: list[Leaf], first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two renames the old pair stays; the second completes the new one."""
    new = {pair.certificate: leaves[1].certificate_pem, pair.key: leaves[1].private_key_pem}
    order = list(new) if first == "certificate" else list(reversed(new))
    rename_over(order[0], new[order[0]].encode())
    assert not pair.source.poll(now=LATER)
    assert_is(pair.source.current(now=LATER), leaves[0])
    (warning,) = warnings(caplog)

    rename_over(order[1], new[order[1]].encode())
    assert pair.source.poll(now=LATER)
    assert_is(pair.source.identity, leaves[1])
    assert f"serial number {leaves[0].serial_number:x}" in warning
    assert f"private key from {pair.key} belongs to none of" in warning
    assert str(pair.certificate) in warning
    assert not warnings(caplog)


def test_written_in_pieces(pair: Pair, leaves: list[Leaf]) -> None:
    """Whatever part of a rewrite in place is seen: never another pair than the old or the new."""
    steps = [
        (path, content[:length])
        for path, content in (
            (pair.key, leaves[1].private_key_pem),
            (pair.certificate, leaves[1].certificate_pem),
        )
        for length in (0, 1, 20, 28, len(content) // 2, len(content) - 2, len(content))
    ]
    for path, content in steps[:-1]:
        path.write_text(content)
        assert not pair.source.poll(now=LATER)
        assert_is(pair.source.current(now=LATER), leaves[0])
    path, content = steps[-1]
    path.write_text(content)

    assert_is(pair.source.current(now=LATER), leaves[1])


def test_other_kind_of_key(pair: Pair, ca: CertificateAuthority, leaves: list[Leaf]) -> None:
    """From EC to RSA and back: the signature follows the key."""
    other = ca.issue("app-rsa", key_type="rsa-2048")
    pair.put(other, rename_over)
    assert_is(pair.source.current(now=LATER), other)
    pair.put(leaves[0], rename_over)

    assert_is(pair.source.current(now=LATER), leaves[0])


def test_pkcs12_replaced(tmp_path: Path, leaves: list[Leaf]) -> None:
    """One PKCS#12 file for everything is loaded anew, and kept while it is cut short."""
    path = tmp_path / "app.p12"
    path.write_bytes(leaves[0].pkcs12("first"))
    source = IdentitySource(path, passphrase="first")
    assert_is(source.current(now=NOW), leaves[0])
    new = leaves[1].pkcs12("first")
    path.write_bytes(new[:-1])
    assert_is(source.current(now=LATER), leaves[0])
    path.write_bytes(new)

    assert source.poll(now=LATER)
    assert_is(source.identity, leaves[1])


def test_chain_replaced(tmp_path: Path, ca: CertificateAuthority) -> None:
    """Another chain under the same leaf is another identity; the same one written again is not."""
    upper = ca.intermediate("Upper")
    lower = upper.intermediate("Lower")
    files = lower.issue("app").write_to(tmp_path)
    chain = files.chain
    assert chain is not None
    whole = chain.read_bytes()
    chain.write_text(lower.certificate_pem)
    source = IdentitySource(
        files.certificate, private_key=files.private_key, certificate_chain=chain
    )
    before = source.current(now=NOW)
    assert len(before.intermediates) == 1
    rename_over(chain, whole)

    assert source.poll(now=LATER)
    after = source.current(now=LATER)
    assert [each.subject for each in after.intermediates] == [
        ca.subject.public_bytes() for ca in (lower.certificate, upper.certificate)
    ]
    rename_over(chain, whole)
    assert not source.poll(now=LATER)
    assert source.identity is after


def test_only_what_is_a_file_is_looked_at(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A key given as text stays while the certificate's file changes."""
    path = tmp_path / "app.pem"
    path.write_text(leaves[0].certificate_pem)
    source = IdentitySource(path, private_key=leaves[0].private_key_pem)
    source.current(now=NOW)
    path.write_text(leaves[1].certificate_pem)
    assert_is(source.current(now=LATER), leaves[0])
    path.write_text(leaves[0].certificate_pem + leaves[1].certificate_pem)

    assert not source.poll(now=LATER)
    assert_is(source.current(now=LATER), leaves[0])


@pytest.mark.parametrize("kind", ["bytes", "text", "signer"])
def test_nothing_to_look_at(leaves: list[Leaf], kind: str) -> None:
    """Without files nothing is ever loaded again, however often it is asked for."""
    asked = []

    def passphrase() -> str:
        asked.append(1)
        return "secret"

    pem = leaves[0].certificate_pem
    key: Any = {
        "bytes": leaves[0].encrypted_private_key_pem("secret").encode(),
        "text": leaves[0].encrypted_private_key_pem("secret"),
        "signer": leaves[0].private_key,
    }[kind]
    source = IdentitySource(pem, private_key=key, passphrase=passphrase)
    identity = source.current(now=NOW)

    assert_is(identity, leaves[0])
    assert source.current(now=LATER) is identity
    assert not source.poll(now=LATER + DAY)
    assert len(asked) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system there")
def test_pipes_are_read_once(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A key from a pipe is asked for once, while the certificate's file may change."""
    certificate, pipe = tmp_path / "app.pem", tmp_path / "pipe"
    os.mkfifo(pipe)
    source = IdentitySource(certificate, private_key=pipe)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_text, leaves[0].private_key_pem)
        with pytest.raises(CertificateLoadError, match="No such file"):
            source.current(now=NOW)  # and the pipe is empty now
        writing.result(PATIENCE)
    certificate.write_text(leaves[0].certificate_pem)
    assert_is(source.current(now=NOW), leaves[0])
    assert not source.poll(now=LATER)
    certificate.write_text(leaves[0].certificate_pem * 2)
    assert not source.poll(now=LATER)

    assert_is(source.current(now=LATER), leaves[0])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_path_that_is_no_text(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A file name that is not UTF-8 is as good as any."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    made = Pair(folder, leaves[0])
    made.source.current(now=NOW)
    made.key.unlink()
    assert_is(made.source.current(now=LATER), leaves[0])
    made.put(leaves[1])

    assert made.source.poll(now=LATER)


def test_relative_paths_are_kept(
    tmp_path: Path, leaves: list[Leaf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that leaves its folder after the first sign-in still sees its files change."""
    made = Pair(tmp_path, leaves[0])
    monkeypatch.chdir(tmp_path)
    source = IdentitySource("app.pem", private_key=Path("app.key"))
    source.current(now=NOW)
    monkeypatch.chdir("/")
    made.put(leaves[1])

    assert source.poll(now=LATER)
    assert_is(source.current(now=LATER), leaves[1])


# ------------------------------------------------------------------------------ when it cannot work


def test_file_gone_and_back(
    pair: Pair, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the file the old identity stays, with one warning; back, it is no other."""
    before = pair.source.identity
    aside = pair.key.rename(pair.key.with_name("aside"))
    for _ in range(3):
        assert pair.source.current(now=LATER) is before
        assert not pair.source.poll(now=LATER)
    (warning,) = warnings(caplog)
    assert f"Cannot read {pair.key}, given as private_key: No such file" in warning
    aside.rename(pair.key)

    assert not pair.source.poll(now=LATER)
    assert pair.source.current(now=LATER) is before
    pair.key.unlink()
    assert pair.source.current(now=LATER) is before
    assert len(warnings(caplog)) == 1


def test_unreadable_file(pair: Pair, leaves: list[Leaf], caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read any more (here: a folder in its place) leaves the old identity."""
    pair.certificate.unlink()
    pair.certificate.mkdir()
    assert_is(pair.source.current(now=LATER), leaves[0])
    (warning,) = warnings(caplog)
    assert f"Cannot read {pair.certificate}" in warning
    pair.certificate.rmdir()
    pair.put(leaves[1])

    assert_is(pair.source.current(now=LATER), leaves[1])


def test_each_failure_is_told_once(
    pair: Pair, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """Another failure is another warning."""
    contents = ["", "rubbish", leaves[1].certificate_pem, leaves[1].private_key_pem]
    for content in contents:
        pair.certificate.write_text(content)
        for _ in range(3):
            assert_is(pair.source.current(now=LATER), leaves[0])
        assert len(warnings(caplog)) == 1


def test_failure_after_success(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """The same failure is told again after new files were loaded in between."""
    path = tmp_path / "app.pem"
    path.write_bytes(padded(leaves[0]))
    source = IdentitySource(path)
    source.current(now=NOW)
    for leaf in leaves[1:]:
        path.write_bytes(b"rubbish")
        assert not source.poll(now=LATER)
        assert not source.poll(now=LATER)
        assert len(warnings(caplog)) == 1
        path.write_bytes(padded(leaf))
        assert source.poll(now=LATER)


@pytest.mark.parametrize("days", [-2, 2])
def test_new_certificate_out_of_its_time(
    pair: Pair, ca: CertificateAuthority, leaves: list[Leaf], days: int
) -> None:
    """An expired or a future certificate does not displace a valid one before its time comes."""
    start = NOW + days * DAY
    other = ca.issue("app", not_valid_before=start, not_valid_after=start + DAY)
    pair.put(other)
    assert not pair.source.poll(now=LATER)
    assert_is(pair.source.current(now=LATER), leaves[0])

    assert_is(pair.source.current(now=NOW + 2.5 * DAY), other if days > 0 else leaves[0])


def test_new_certificate_that_the_service_refuses(
    pair: Pair, ca: CertificateAuthority, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that cannot sign in does not displace one that can."""
    pair.put(ca.issue_flawed("no-digital-signature"))

    assert_is(pair.source.current(now=LATER), leaves[0])
    assert "digitalSignature" in warnings(caplog)[0]


def test_old_identity_runs_out(pair: Pair, leaves: list[Leaf], ca: CertificateAuthority) -> None:
    """When the old identity is over, what is wrong with the new files is raised."""
    over = NOW + 366 * DAY
    rename_over(pair.key, leaves[1].private_key_pem.encode())
    with pytest.raises(KeyMismatchError, match=str(pair.key)) as caught:
        pair.source.current(now=over)
    assert isinstance(caught.value.__cause__, CertificateExpiredError)
    assert not pair.source.poll(now=over)
    pair.key.unlink()
    with pytest.raises(PrivateKeyLoadError, match="No such file") as gone:
        pair.source.current(now=over)
    assert isinstance(gone.value.__cause__, CertificateExpiredError)

    new = ca.issue("app", not_valid_before=NOW, not_valid_after=NOW + 400 * DAY)
    pair.put(new)
    assert pair.source.poll(now=over)
    assert_is(pair.source.current(now=over), new)


def test_expiry_without_new_files(pair: Pair, leaves: list[Leaf]) -> None:
    """Unchanged files of an expired certificate are told as such; time set back helps."""
    with pytest.raises(CertificateExpiredError, match=str(pair.certificate)):
        pair.source.current(now=NOW + 366 * DAY)

    assert not pair.source.poll(now=NOW + 366 * DAY)
    assert_is(pair.source.current(now=NOW), leaves[0])


def test_nothing_happens_before_the_first_use(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """Until the first sign-in, poll neither reads nor complains; then errors raise at once."""
    source = IdentitySource(tmp_path / "app.pem", private_key=tmp_path / "app.key")
    assert not source.poll(now=NOW)
    assert source.identity is None
    for _ in range(2):
        with pytest.raises(CertificateLoadError, match="No such file"):
            source.current(now=NOW)
    Pair(tmp_path, leaves[0])

    assert not source.poll(now=NOW)
    assert_is(source.current(now=NOW), leaves[0])
    assert not warnings(caplog)


# -------------------------------------------------------------------------------------- passphrases


def encrypted(leaf: Leaf, passphrase: str) -> bytes:
    """The key, so encrypted."""
    return leaf.encrypted_private_key_pem(passphrase).encode()


def test_new_passphrase(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """A passphrase is asked for only when files changed, and until it opens the new key."""
    secret, asked = tmp_path / "secret", []

    def passphrase() -> str:
        asked.append(secret.read_text())
        return asked[-1]

    secret.write_text("old one")
    made = Pair(tmp_path, leaves[0], passphrase=passphrase)
    made.key.write_bytes(encrypted(leaves[0], "old one"))
    for minutes in range(5):
        made.source.current(now=NOW + timedelta(minutes=minutes))
    made.key.touch()
    made.key.chmod(0o400)
    assert not made.source.poll(now=LATER)
    assert asked == ["old one"]

    rename_over(made.key, encrypted(leaves[1], "new one"))
    rename_over(made.certificate, leaves[1].certificate_pem.encode())
    assert_is(made.source.current(now=LATER), leaves[0])
    assert not made.source.poll(now=LATER)
    assert asked == ["old one"] * 3
    (warning,) = warnings(caplog)
    assert f"{made.key}: the passphrase does not open" in warning
    rename_over(secret, b"new one")
    assert made.source.poll(now=LATER)
    assert_is(made.source.identity, leaves[1])
    assert asked[3:] == ["new one"]


def test_same_key_under_another_passphrase(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A key encrypted anew is loaded, and is no new identity."""
    words = ["one", "two"]
    made = Pair(tmp_path, leaves[0], passphrase=lambda: words.pop(0))
    made.key.write_bytes(encrypted(leaves[0], "one"))
    before = made.source.current(now=NOW)
    made.key.write_bytes(encrypted(leaves[0], "two"))

    assert not made.source.poll(now=LATER)
    assert made.source.current(now=LATER) is before
    assert not words


def test_passphrase_callable_fails(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """A secret store that is down leaves the old identity; its error's text is not logged."""
    answers: list[Any] = [b"secret", LookupError("secret"), LookupError("secret"), "secret"]

    def passphrase() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made = Pair(tmp_path, leaves[0], passphrase=passphrase)
    made.source.current(now=NOW)
    made.put(leaves[1])
    assert_is(made.source.current(now=LATER), leaves[0])
    assert not made.source.poll(now=LATER)
    (warning,) = warnings(caplog)
    assert "raised LookupError" in warning
    assert "secret" not in warning

    assert made.source.poll(now=LATER)


def test_nothing_secret_is_shown(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs at DEBUG nor reprs nor errors hold a key or a passphrase."""
    caplog.set_level(logging.DEBUG)
    made = Pair(tmp_path, leaves[0], passphrase="open sesame")
    made.source.current(now=NOW)
    made.key.write_bytes(encrypted(leaves[1], "open sesame"))
    made.source.current(now=LATER)
    made.key.write_bytes(encrypted(leaves[1], "another"))
    with pytest.raises(PassphraseError) as caught:
        made.source.current(now=NOW + 366 * DAY)
    shown = caplog.text + repr(caught.value) + repr(made.source) + repr(made.source._loaded)

    assert "sesame" not in shown
    for line in leaves[0].private_key_pem.splitlines()[1:-1]:
        assert line not in shown


# -------------------------------------------------------------------------------------- consistency


class Restless(os.PathLike[str]):
    """A path whose file is rewritten, the first *times* that it is asked for, by *write*."""

    def __init__(self, path: Path, times: int, write: Callable[[int], object]) -> None:
        self.path, self.times, self.write = path, times, write

    def __fspath__(self) -> str:
        if self.times:
            self.times -= 1
            self.write(self.times)
        return str(self.path)


def test_files_change_while_read(tmp_path: Path, leaves: list[Leaf]) -> None:
    """Files that changed in between are read again at once."""
    made = Pair(tmp_path, leaves[0])

    def write(left: int) -> None:
        made.put(leaves[left], rename_over)

    source = IdentitySource(made.certificate, private_key=Restless(made.key, 4, write))

    assert_is(source.current(now=NOW), leaves[0])


def test_files_never_rest(tmp_path: Path, leaves: list[Leaf]) -> None:
    """Files that do not stop changing are an error that names them, and nothing else."""
    made = Pair(tmp_path, leaves[0])
    path = Restless(made.certificate, 1000, lambda left: made.put(leaves[left % 2], rename_over))
    content = "".join(leaves[0].private_key_pem.splitlines()[1:-1])
    for key in (made.key, content):
        path.times = 1000
        source = IdentitySource(path, private_key=key)
        with pytest.raises(CertificateLoadError, match="changed 5 times while") as caught:
            source.current(now=NOW)
        assert str(made.certificate) in str(caught.value)
        assert content not in str(caught.value)
    path.times = 0
    with pytest.raises(ConfigurationError, match="looks like the content"):
        source.current(now=NOW)


def test_rest_is_lost_later(
    tmp_path: Path, leaves: list[Leaf], caplog: pytest.LogCaptureFixture
) -> None:
    """Files that do not rest at a renewal leave the old identity."""
    made = Pair(tmp_path, leaves[0])
    path = Restless(made.certificate, 0, lambda left: made.put(leaves[1 + left % 2], rename_over))
    source = IdentitySource(path, private_key=made.key)
    before = source.current(now=NOW)
    source._files._paths["certificate"] = path  # it was asked for its path once and for all
    path.times = 1000

    assert source.current(now=LATER) is before
    assert not source.poll(now=LATER)
    assert len(warnings(caplog)) == 1
    path.times = 0
    made.put(leaves[3])
    assert_is(source.current(now=LATER), leaves[3])


class WrongPath(os.PathLike[Any]):
    """A path object that gives bytes, as only some functions of ``os`` take them."""

    def __fspath__(self) -> bytes:
        return b"app.pem"


@pytest.mark.parametrize("value", ["~nobody-of-this-name/app.pem", "a\0b", "a" * 5000, WrongPath()])
def test_impossible_paths(value: Any) -> None:
    """A path that can never be one raises what Identity.load raises."""
    with pytest.raises((IdentityError, ConfigurationError)) as expected:
        Identity.load(value, now=NOW)
    with pytest.raises(type(expected.value)) as caught:
        IdentitySource(value).current(now=NOW)

    assert str(caught.value) == str(expected.value)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose clock stands still: writes of one size in one place look alike."""
    real = rotation._stamp

    def stamp(value: object) -> rotation.Stamp:
        found = real(value)
        return None if found is None else (*found[:3], 0, 0)

    monkeypatch.setattr(rotation, "_stamp", stamp)


def padded(leaf: Leaf) -> bytes:
    """Certificate and key in one PEM of one size for all leaves."""
    return (leaf.certificate_pem + leaf.private_key_pem).encode().ljust(2000, b"\n")


@pytest.mark.parametrize("seconds", [0, 1, 60, -60])
def test_rewritten_within_one_tick(
    coarse: None, tmp_path: Path, leaves: list[Leaf], seconds: int
) -> None:
    """A rewrite just after loading is noticed though stat tells no difference."""
    path = tmp_path / "app.pem"
    path.write_bytes(padded(leaves[0]))
    source = IdentitySource(path)
    source.current(now=NOW)
    path.write_bytes(padded(leaves[1]))

    assert source.poll(now=NOW + timedelta(seconds=seconds))
    path.write_bytes(padded(leaves[2]))
    assert_is(source.current(now=NOW + timedelta(seconds=2 * seconds)), leaves[2])


def test_ticks_are_waited_for(coarse: None, tmp_path: Path, leaves: list[Leaf]) -> None:
    """Files found unchanged too early, or moved in anew, are still read at the next check."""
    path = tmp_path / "app.pem"
    path.write_bytes(padded(leaves[0]))
    source = IdentitySource(path)
    source.current(now=NOW)
    assert not source.poll(now=NOW + timedelta(seconds=1))
    path.write_bytes(padded(leaves[1]))
    assert source.poll(now=LATER)
    assert not source.poll(now=LATER + timedelta(seconds=5))
    rename_over(path, padded(leaves[1]))
    assert not source.poll(now=LATER + timedelta(seconds=10))
    path.write_bytes(padded(leaves[2]))

    assert source.poll(now=LATER + timedelta(seconds=11))


def test_settled_files_are_not_read(coarse: None, tmp_path: Path, leaves: list[Leaf]) -> None:
    """Once the bytes were found unchanged after two seconds, stat alone is asked."""
    path = tmp_path / "app.pem"
    path.write_bytes(padded(leaves[0]))
    source = IdentitySource(path)
    before = source.current(now=NOW)
    for seconds in (0.5, 1.9, 2.1):
        assert not source.poll(now=NOW + timedelta(seconds=seconds))
    path.write_bytes(padded(leaves[1]))
    assert source.current(now=LATER) is before  # so it was not read

    path.write_bytes(padded(leaves[1]) + b"\n")
    assert source.poll(now=LATER)


@pytest.mark.skipif(sys.platform == "win32", reason="no time of the last change there")
def test_times_set_back(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A rewrite in place of the same size that keeps the file's time is noticed."""
    path = tmp_path / "app.pem"
    path.write_bytes(padded(leaves[0]))
    os.utime(path, ns=(0, 0))
    source = IdentitySource(path)
    source.current(now=NOW)
    assert not source.poll(now=LATER)
    before = path.stat()
    path.write_bytes(padded(leaves[1]))
    os.utime(path, ns=(0, 0))
    after = path.stat()

    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    )
    assert source.poll(now=LATER)
    assert_is(source.identity, leaves[1])


# ---------------------------------------------------------------------------- threads and processes

_WRITER = """
import os, sys
folder = sys.argv[1]
pairs = [
    [open(f"{folder}/{number}.{kind}", "rb").read() for kind in ("pem", "key")]
    for number in range(4)
]
targets = [f"{folder}/app.pem", f"{folder}/app.key"]

def in_place(target, content):
    with open(target, "wb", buffering=0) as file:
        file.write(content[:100])
        file.write(content[100:])

def rename(target, content):
    in_place(target + ".new", content)
    os.replace(target + ".new", target)

for line in sys.stdin:
    last = int(line)
    for number in range(last + 1, last + 9):
        write = in_place if number % 3 else rename
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            write(targets[index], pairs[number % 4][index])
    print("rest", flush=True)
"""


def test_rotation_without_pause(tmp_path: Path, leaves: list[Leaf]) -> None:
    """While a process rewrites the files again and again, every identity is a matching pair,
    and whenever it rests, the last pair is taken up.
    """
    for number, leaf in enumerate(leaves):
        (tmp_path / f"{number}.pem").write_text(leaf.certificate_pem)
        (tmp_path / f"{number}.key").write_text(leaf.private_key_pem)
    made = Pair(tmp_path, leaves[0])
    made.source.current(now=NOW)
    over = threading.Event()

    def read(_: int) -> dict[int, Identity]:
        found: dict[int, Identity] = {}
        while not over.is_set():
            identity = made.source.current(now=NOW)
            found[id(identity)] = identity
            made.source.poll(now=NOW)
        return found

    with (
        subprocess.Popen(
            [sys.executable, "-I", "-c", _WRITER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        assert writer.stdin is not None
        assert writer.stdout is not None
        reading = [pool.submit(read, number) for number in range(2)]
        try:
            for last in range(20):
                print(last, file=writer.stdin, flush=True)
                assert writer.stdout.readline() == "rest\n"
                leaf = leaves[last % 4]
                # another thread may still be busy with what it read before
                tries = (made.source.current(now=NOW).serial_number for _ in range(1_000_000))
                assert leaf.serial_number in tries
        finally:
            over.set()
            writer.stdin.close()
    identities = {key: each for done in reading for key, each in done.result().items()}

    for identity in identities.values():
        verify(identity)


class Held:
    """A passphrase callable that waits in the process that made it, and counts."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.asked = 0
        self.waiting, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.asked += 1
        if self.asked > 1 and os.getpid() == self.process:
            self.waiting.set()
            assert self.go.wait(PATIENCE)
        return "secret"


def test_loading_holds_up_nobody(tmp_path: Path, leaves: list[Leaf]) -> None:
    """While one thread loads new files, others go on with the old identity."""
    held = Held()
    made = Pair(tmp_path, leaves[0], passphrase=held)
    made.source.current(now=NOW)
    made.put(leaves[1])
    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(made.source.poll, now=LATER)
        assert held.waiting.wait(PATIENCE)
        assert_is(made.source.current(now=LATER), leaves[0])
        assert not made.source.poll(now=LATER)
        held.go.set()
        assert polling.result(PATIENCE)

    assert_is(made.source.current(now=LATER), leaves[1])
    assert held.asked == 2


def test_the_first_load_is_shared(tmp_path: Path, leaves: list[Leaf]) -> None:
    """Threads that come first together load once."""
    held = Held()
    held.asked = 1
    made = Pair(tmp_path, leaves[0], passphrase=held)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(made.source.current, now=NOW) for _ in range(4)]
        assert held.waiting.wait(PATIENCE)
        held.go.set()
        identities = {id(each.result(PATIENCE)) for each in waiting}

    assert len(identities) == 1
    assert held.asked == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of threads: that is the point
def test_forked_while_loading(tmp_path: Path, leaves: list[Leaf]) -> None:
    """A child that was forked while another thread was loading loads on its own."""
    held = Held()
    made = Pair(tmp_path, leaves[0], passphrase=held)
    made.source.current(now=NOW)
    made.put(leaves[1])

    def work() -> bytes:
        return b"%x" % made.source.current(now=LATER).serial_number

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(made.source.poll, now=LATER)
        assert held.waiting.wait(PATIENCE)
        with children_of(work) as (answer,):
            assert answer == b"%x" % leaves[1].serial_number
        held.go.set()
        assert polling.result(PATIENCE)


# ------------------------------------------------------------------------------------------- expiry


def lasting(ca: CertificateAuthority, days: float, *, of: float = 90) -> Leaf:
    """A leaf with *days* left of *of*."""
    end = NOW + days * DAY
    return ca.issue("app", not_valid_before=end - of * DAY, not_valid_after=end)


@pytest.mark.parametrize(
    ("days", "told"),
    [(31, None), (30.01, None), (30, 30), (29.5, 29), (15.01, 15), (15, 15), (7, 7), (0.5, 0)],
)
@pytest.mark.parametrize("by", ["current", "poll"])
def test_expiry_is_near(
    tmp_path: Path,
    ca: CertificateAuthority,
    caplog: pytest.LogCaptureFixture,
    days: float,
    told: int | None,
    by: str,
) -> None:
    """The first look tells once how many days are left, if they are few."""
    leaf = lasting(ca, days)
    made = Pair(tmp_path, leaf)
    if by == "poll":
        made.source.current(now=NOW - 50 * DAY)
        made.source.poll(now=NOW)
    for _ in range(3):
        made.source.current(now=NOW)
        made.source.poll(now=NOW)
    found = warnings(caplog)

    assert len(found) == (told is not None)
    for warning in found:
        assert warning.startswith(f"{made.certificate}: ")
        assert f"serial number {leaf.serial_number:x} " in warning
        assert f"{leaf.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}; " in warning
        assert f"days left: {told}. " in warning
        assert "put the new one in its place: no restart is needed" in warning


def test_expiry_comes_nearer(
    tmp_path: Path, ca: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """In the course of a certificate's life there are three warnings, and three for the next."""
    made = Pair(tmp_path, lasting(ca, 40))
    told = []
    for hours in range(0, 40 * 24, 6):
        made.source.current(now=NOW + timedelta(hours=hours))
        made.source.poll(now=NOW + timedelta(hours=hours))
        told += [40 - hours / 24 for _ in warnings(caplog)]
    assert told == [30, 15, 7]

    made.put(lasting(ca, 80))
    for hours in range(40 * 24, 81 * 24, 6):
        made.source.poll(now=NOW + timedelta(hours=hours))
        told += [80 - hours / 24 for _ in warnings(caplog)]
    assert told == [30, 15, 7] * 2


@pytest.mark.parametrize(("lifetime", "told"), [(1, []), (7, []), (8, [7]), (16, [15, 7])])
def test_short_lives(
    tmp_path: Path,
    ca: CertificateAuthority,
    caplog: pytest.LogCaptureFixture,
    lifetime: int,
    told: list[int],
) -> None:
    """No certificate is warned of at the thresholds that it was issued below."""
    made = Pair(tmp_path, lasting(ca, lifetime, of=lifetime))
    made.source.current(now=NOW)
    assert not warnings(caplog)
    made.put(lasting(ca, lifetime, of=lifetime))
    found = []
    for hours in range(lifetime * 24):
        made.source.current(now=NOW + timedelta(hours=hours))
        found += [lifetime - hours // 24 for _ in warnings(caplog)]

    assert found == told


def test_expiry_of_what_is_no_file(
    ca: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """The advice fits a certificate that was passed as bytes."""
    leaf = lasting(ca, 5)
    source = IdentitySource(leaf.certificate_pem.encode(), private_key=leaf.private_key_pem)
    source.current(now=NOW)
    (warning,) = warnings(caplog)

    assert warning.startswith("bytes given as certificate: ")
    assert warning.endswith("Have it renewed, and pass the new one.")


def test_threads_warn_once(
    tmp_path: Path, ca: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """Of many threads that see the days run out, one tells."""
    made = Pair(tmp_path, lasting(ca, 29))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: made.source.current(now=NOW), range(40)))

    assert len(warnings(caplog)) == 1
