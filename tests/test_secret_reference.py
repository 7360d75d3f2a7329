"""References to secrets: read from real files, pipes, terminals and keyrings, and never shown."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest
from children import running_process

from rolesanywhere_auth import (
    ConfigurationError,
    Identity,
    MissingExtraError,
    PassphraseError,
    RolesAnywhereConfig,
    SecretReference,
    _secret_sources,
)
from rolesanywhere_auth.secrets import from_text, reveal
from rolesanywhere_auth.testing import Emulator


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file that only its owner may read."""
    path = tmp_path / "pin"
    path.write_bytes(b"hunter2\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hunter2", b"hunter2"),
        (b"hunter2\n", b"hunter2"),
        (b"hunter2\r\n", b"hunter2"),
        (b"hunter2\n\n", b"hunter2\n"),
        (b" \xff\x00 \n", b" \xff\x00 "),
        (b"hunter2\r", b"hunter2\r"),
    ],
)
def test_one_line_end_is_dropped(secret_file: Path, content: bytes, expected: bytes) -> None:
    """The line end that editors add is no part of the secret; everything else is."""
    secret_file.write_bytes(content)

    assert SecretReference(f"file:{secret_file}")() == expected


def test_forms_of_a_file(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Paths, ``~``, relative paths and file URIs name the same file, which nobody else reads."""
    monkeypatch.setenv("HOME", str(secret_file.parent))
    monkeypatch.chdir(secret_file.parent)
    for text in (str(secret_file), "~/pin", "pin", f"//{secret_file}", f"//localhost{secret_file}"):
        assert SecretReference(f"file:{text}")() == b"hunter2"
    assert caplog.records == []


def test_a_file_is_read_each_time(secret_file: Path) -> None:
    """A changed PIN is used without a restart."""
    reference = SecretReference(f"file:{secret_file}")
    assert reference() == b"hunter2"
    secret_file.write_bytes(b"hunter3")
    assert reference() == b"hunter3"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_warned_of_once(
    secret_file: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The file, its mode and the cure, at the first read; the secret stays unsaid."""
    secret_file.chmod(mode)
    reference = SecretReference(f"file:{secret_file}")
    assert [reference(), reference()] == [b"hunter2", b"hunter2"]

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(secret_file) in record.getMessage()
    assert f"{mode:o}" in record.getMessage()
    assert "hunter2" not in caplog.text


def test_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bytes the variable has."""
    monkeypatch.setenv("KEY_PIN", os.fsdecode(b"hunter\xff\n"))
    assert SecretReference("env:KEY_PIN")() == b"hunter\xff\n"


def test_systemd_credential(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of the folder that systemd names; who may read it is systemd's matter."""
    secret_file.chmod(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret_file.parent))

    assert SecretReference("credential:pin")() == b"hunter2"
    assert caplog.records == []


def test_content_in_the_place_of_a_file_is_not_shown() -> None:
    """A PEM where the path of the passphrase's file belongs is refused, and not shown."""
    for text in ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n", "-----BEGIN KEY-----c2VjcmV0"):
        with pytest.raises(ConfigurationError, match="not shown") as caught:
            SecretReference(f"file:{text}", name="--passphrase-file")
        assert "c2VjcmV0" not in str(caught.value)


def test_value() -> None:
    """The secret itself, for where only a reference can be written; never shown."""
    reference = SecretReference("value:hunter2")
    assert reference() == b"hunter2"
    assert repr(reference) == "SecretReference('value:********')"
    assert "hunter2" not in f"{reference} {reference!r}"
    assert copy.deepcopy(reference) is copy.copy(reference) is reference
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        pickle.dumps(reference)
    assert "hunter2" not in str(caught.value)


# descriptors


def test_pipe_is_read_once_and_its_secret_kept() -> None:
    """What a pipe gave cannot be had again, so the reference keeps it."""
    reader, writer = os.pipe()
    os.write(writer, b"hunter2\n")
    os.close(writer)
    reference = SecretReference(f"fd:{reader}")

    assert [reference(), reference()] == [b"hunter2", b"hunter2"]
    assert "hunter2" not in repr(reference)
    assert b"hunter2" not in pickle.dumps(reference)
    with pytest.raises(PassphraseError, match="empty"):  # nothing is left for another one
        SecretReference(f"fd:{reader}")()
    os.close(reader)


def test_threads_share_one_read_of_a_pipe() -> None:
    """A secret that arrives in pieces is not torn between threads."""
    reader, writer = os.pipe()
    reference = SecretReference(f"fd:{reader}")
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(reference) for _ in range(4)]
        for piece in (b"hun", b"ter", b"2\n"):
            os.write(writer, piece)
        os.close(writer)
        assert {result.result(10) for result in results} == {b"hunter2"}
    os.close(reader)


def test_file_behind_a_descriptor_is_read_anew(tmp_path: Path) -> None:
    """Of a file (a here-document, a memfd) the descriptor's position stays where it was."""
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(b"hunter2\n")
        file.flush()
        reference = SecretReference(f"fd:{file.fileno()}")
        assert [reference(), reference()] == [b"hunter2", b"hunter2"]
        assert file.tell() == 8


def test_descriptor_inherited_from_a_shell(secret_file: Path) -> None:
    """``3<FILE`` of a shell, and a pipe on standard input, reach the program."""
    code = "from rolesanywhere_auth import SecretReference as S; print(S('fd:3')(), S('fd:0')())"
    done = subprocess.run(
        ["bash", "-c", f'echo hunter3 | "{sys.executable}" -c "{code}" 3<{secret_file}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "b'hunter2' b'hunter3'\n"


def test_descriptor_of_a_terminal_is_refused() -> None:
    """A terminal would show what is typed: it is for prompt:."""
    main, terminal = pty.openpty()
    with pytest.raises(PassphraseError, match="Use prompt:"):
        SecretReference(f"fd:{terminal}")()
    os.close(main)
    os.close(terminal)


# keyring


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A backend as others write them, in memory, with one entry that cannot be read."""

    priority = 0.1  # never chosen by itself

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, username: str, password: str) -> None:
        self._entries[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        if username == "locked":
            raise keyring.errors.KeyringLocked("hunter2 is locked")
        return self._entries.get((service, username))


@pytest.fixture
def memory_keyring() -> Iterator[None]:
    """`MemoryKeyring` in the place of the machine's."""
    before = keyring.get_keyring()
    keyring.set_keyring(MemoryKeyring())
    yield
    keyring.set_keyring(before)


def test_keyring_entry(memory_keyring: None) -> None:
    """Service and user are told apart by the last slash; text is UTF-8."""
    keyring.set_password("https://a/b", "tökén", "hünter2")
    assert SecretReference("keyring:https://a/b/tökén")() == "hünter2".encode()


def test_keyring_says_what_is_wrong(memory_keyring: None) -> None:
    """No such entry, and a backend's own refusal, without the backend's words."""
    with pytest.raises(PassphraseError, match="keyring set service user"):
        SecretReference("keyring:service/user")()
    with pytest.raises(PassphraseError, match="refused with KeyringLocked") as caught:
        SecretReference("keyring:service/locked")()
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, keyring.errors.KeyringLocked)


def test_machine_without_keyring(memory_keyring: None) -> None:
    """A server has none: that is said, and where else a secret may be kept."""
    keyring.set_keyring(keyring.backends.fail.Keyring())
    with pytest.raises(PassphraseError, match=r"no keyring.*credential:"):
        SecretReference("keyring:service/user")()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package keyring the extra is named."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[keyring\]") as caught:
        SecretReference("keyring:service/user")()
    assert caught.value.extra == "keyring"


# terminals

ASKS = """
import os, sys, time
from rolesanywhere_auth import SecretReference
from rolesanywhere_auth.errors import PassphraseError
os.setsid()
terminal = os.open(sys.argv[1], os.O_RDWR)  # becomes the session's
if sys.argv[3:] and os.fork() == 0:
    os.setpgid(0, 0)  # like a job in the background
elif sys.argv[3:]:
    sys.exit(os.wait()[1])
try:
    print(SecretReference(sys.argv[2])())
except PassphraseError as error:
    print(error)
"""


def read_soon(descriptor: int) -> bytes:
    """What there is to read, within a time that no test needs."""
    assert select.select([descriptor], [], [], 20)[0]
    return os.read(descriptor, 100)


def ask(reference: str, answer: bytes, *background: str) -> tuple[str, str]:
    """What a program on a pseudo-terminal prints, and what the terminal shows."""
    main, terminal = pty.openpty()
    with running_process(
        [sys.executable, "-c", ASKS, os.ttyname(terminal), reference, *background],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        shown = b""
        if not background:
            while not shown.endswith(b": "):
                shown += read_soon(main)
            os.write(main, answer)
            if answer.endswith(b"\n"):  # then the cursor goes to the next line
                shown += read_soon(main)
        out = child.communicate(timeout=30)[0]
    os.close(main)
    os.close(terminal)
    return out.strip(), shown.decode()


@pytest.mark.parametrize(
    ("reference", "prompt"),
    [("prompt:", "Passphrase: "), ("prompt:PIN of the token", "PIN of the token: ")],
)
def test_prompt_asks_on_the_terminal(reference: str, prompt: str) -> None:
    """The terminal shows the question, not the answer, whatever standard input is."""
    out, shown = ask(reference, b"hunter2\n")
    assert out == "b'hunter2'"
    assert shown.strip("\r\n") == prompt


def test_no_answer() -> None:
    """The end of input is no secret; an empty line means none."""
    assert ask("prompt:", b"\x04")[0] == "prompt:: there was no answer."
    assert ask("prompt:", b"\n")[0] == "b''"


def test_prompt_in_the_background_is_refused() -> None:
    """A job in the background would be stopped by the terminal for ever."""
    out, shown = ask("prompt:", b"", "background")
    assert "no terminal to ask on, or runs in its background" in out
    assert shown == ""


def test_prompt_without_a_terminal_is_refused() -> None:
    """Standard input is not asked: it may be the program's data."""
    code = (
        "from rolesanywhere_auth import SecretReference\n"
        "try: SecretReference('prompt:')()\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="hunter2\n",
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert "no terminal to ask on" in done.stdout
    assert done.stderr == ""


def test_terminals_of_other_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows knows no process groups: there standard input says whether there is a console."""
    monkeypatch.setattr(_secret_sources, "_TERMINAL", str(tmp_path / "none"))
    assert not _secret_sources._has_terminal()
    file = tmp_path / "no terminal"
    file.touch()
    monkeypatch.setattr(_secret_sources, "_TERMINAL", str(file))
    assert not _secret_sources._has_terminal()

    monkeypatch.delattr(os, "tcgetpgrp")
    main, terminal = pty.openpty()
    for stream, expected in ((terminal, True), (os.open(file, os.O_RDONLY), False)):
        with open(stream) as stdin:  # noqa: PTH123 - a descriptor
            monkeypatch.setattr(sys, "stdin", stdin)
            assert _secret_sources._has_terminal() is expected
    os.close(main)


# what is wrong


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:NO_SUCH_NAME", "NO_SUCH_NAME is not set"),
        ("env:EMPTY", "is empty"),
        ("file:/no/such/file", "No such file or directory.*Check the path"),
        ("file:/", "Is a directory"),
        ("file:/dev/zero", "larger than 65536 bytes"),
        ("credential:pin", "CREDENTIALS_DIRECTORY is not set.*LoadCredential=pin:"),
        ("fd:987654", "Bad file descriptor.*pass_fds="),
        ("value:", "is empty"),
    ],
)
def test_what_is_not_there(reference: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the place, what is wrong with it, and the cure."""
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(PassphraseError, match=expected) as caught:
        SecretReference(reference)()
    assert caught.value.source in (reference, "value:********")
    assert str(caught.value).startswith(f"{caught.value.source}: ")


@pytest.mark.parametrize(
    "text",
    ["hunter2", "hunter:2", "", "env", "FILE:/x", "C:hunter2", "hunter2/x"],
)
def test_what_is_no_reference_is_not_shown(text: str) -> None:
    """It may be the secret itself."""
    for understand in (SecretReference, from_text):
        with pytest.raises(
            ConfigurationError, match=r"here: neither env:NAME.*not shown"
        ) as caught:
            understand(text, name="here")
        assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "reference",
    [
        "env:",
        "env:A=B",
        "file:",
        "file:a\x00b",
        "credential:",
        "credential:..",
        "credential:a/b",
        "fd:",
        "fd:-1",
        "fd:x",
        "fd:٣",
        "keyring:",
        "keyring:service",
        "keyring:/user",
        "keyring:a/",
    ],
)
def test_malformed_references(reference: str) -> None:
    """What can be seen without reading is refused when the reference is made."""
    with pytest.raises(ConfigurationError, match=f"give .*{reference.partition(':')[0]}:"):
        SecretReference(reference)


# texts of command lines and URIs


def test_from_text(secret_file: Path) -> None:
    """References and absolute paths; a program is refused, for PKCS#11's pin-source allows one."""
    assert from_text("env:PIN", name="pin-source") == SecretReference("env:PIN")
    for path in (str(secret_file), "~/pin", "C:\\pin", "d:/pin"):
        assert from_text(path, name="pin-source") == SecretReference(f"file:{path}")
    with pytest.raises(ConfigurationError, match="pin-source: programs are not run") as caught:
        from_text("|cat hunter2", name="pin-source")
    assert "hunter2" not in str(caught.value)


# as a passphrase


def test_compared_hashed_pickled_and_shown() -> None:
    """It is a value, by what it refers to."""
    one, same, other = (SecretReference(text) for text in ("env:A", "env:A", "file:A"))
    assert one == same != other
    assert one != "env:A"
    assert {one: 1}[same] == 1
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one) == "SecretReference('env:A')"


def test_in_a_configuration() -> None:
    """The configuration shows and pickles the reference, which a plain passphrase forbids."""
    account = "111122223333"
    config = RolesAnywhereConfig(
        trust_anchor_arn=f"arn:aws:rolesanywhere:eu-west-1:{account}:trust-anchor/"
        "1b8e3c2a-0000-4000-8000-000000000000",
        profile_arn=f"arn:aws:rolesanywhere:eu-west-1:{account}:profile/"
        "1b8e3c2a-0000-4000-8000-000000000000",
        role_arn=f"arn:aws:iam::{account}:role/app",
        certificate="app.pem",
        passphrase=SecretReference("env:KEY_PIN"),
    )
    assert "passphrase=SecretReference('env:KEY_PIN')" in repr(config)
    assert pickle.loads(pickle.dumps(config)) == config


def test_opens_an_encrypted_key(
    rolesanywhere_emulator: Emulator, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a passphrase is taken; a missing one is said by its reference."""
    setup = rolesanywhere_emulator.set_up()
    key = secret_file.parent / "key.pem"
    subprocess.run(
        f"openssl pkcs8 -topk8 -in {setup.private_key} -out {key} -passout file:{secret_file}",
        shell=True,
        check=True,
    )

    def load(reference: str) -> Identity:
        return Identity.load(
            str(setup.certificate),
            private_key=str(key),
            passphrase=SecretReference(reference),
            now=setup.leaf.certificate.not_valid_before_utc,
        )

    assert load(f"file:{secret_file}").serial_number == setup.leaf.certificate.serial_number
    with pytest.raises(PassphraseError, match="NO_SUCH_NAME is not set"):
        load("env:NO_SUCH_NAME")


def test_reveal_takes_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a passphrase like any callable."""
    monkeypatch.setenv("KEY_PIN", "hunter2")
    assert reveal(SecretReference("env:KEY_PIN")) == b"hunter2"


def test_a_forked_child_reads_for_itself() -> None:
    """A lock that another thread of the parent holds does not hold up the child."""
    reader, writer = os.pipe()
    reference = SecretReference(f"fd:{reader}")
    thread = threading.Thread(target=reference, daemon=True)
    thread.start()
    kept = None
    while kept is None or not kept.lock().locked():
        kept = reference._kept
    child = os.fork()
    if child == 0:
        os._exit(0 if not kept.lock().locked() else 1)
    os.write(writer, b"hunter2\n")
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join(10)
    assert reference() == b"hunter2"
    os.close(reader)


# a real keyring

STORES_AND_READS = """
import keyring
from rolesanywhere_auth import PassphraseError, SecretReference
assert "SecretService" in type(keyring.get_keyring()).__module__, keyring.get_keyring()
keyring.set_password("rolesanywhere-auth", "app", "hunter2")
print(SecretReference("keyring:rolesanywhere-auth/app")())
try:
    SecretReference("keyring:rolesanywhere-auth/other")()
except PassphraseError as error:
    print(error)
"""


@pytest.mark.extended
def test_the_secret_service_of_a_desktop(tmp_path: Path) -> None:
    """GNOME's keyring, in a D-Bus session and a home of its own."""
    for tool in ("dbus-run-session", "gnome-keyring-daemon"):
        if shutil.which(tool) is None:
            pytest.fail(f"This needs {tool}: run scripts/test-extended.")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    for name in [name for name in environment if name.startswith(("XDG_DATA", "PYTHON_KEYRING"))]:
        del environment[name]
    script = f'echo pass | gnome-keyring-daemon --unlock >&2; exec "{sys.executable}" -c "$0"'
    done = subprocess.run(
        [*["dbus-run-session", "--", "bash", "-euc"], script, STORES_AND_READS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("b'hunter2'\nkeyring:rolesanywhere-auth/other: the keyring has")
