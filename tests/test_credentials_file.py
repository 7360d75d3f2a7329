"""The shared credentials file: replaced at once, one writer after the other."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from rolesanywhere_auth import _credentials_file
from rolesanywhere_auth._credentials_file import PATIENCE, default_path, write_profile
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.exchange import SessionCredentials


def session(text: str = "1") -> SessionCredentials:
    """Credentials that are told apart by *text*."""
    return SessionCredentials(
        access_key=f"ASIA{text}",
        secret_key=f"secret{text}",
        token=f"token{text}",
        expiration=datetime(2030, 1, 1, tzinfo=timezone.utc),
        role_arn="arn:aws:iam::111122223333:role/app",
    )


def written(profile: str, text: str = "1") -> str:
    """The section of `session`."""
    return (
        f"[{profile}]\naws_access_key_id = ASIA{text}\naws_secret_access_key = secret{text}\n"
        f"aws_session_token = token{text}\n"
    )


def test_where_the_file_is() -> None:
    """Where AWS SDKs look for it."""
    assert default_path({"AWS_SHARED_CREDENTIALS_FILE": "/x/y"}) == Path("/x/y")
    assert default_path({"AWS_SHARED_CREDENTIALS_FILE": ""}) == Path.home() / ".aws/credentials"


def test_a_new_file_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    """The folder is made with 0700, the file with 0600, and nothing else is left there."""
    file = tmp_path / ".aws" / "credentials"
    write_profile(file, "app", session())

    assert file.read_text() == written("app")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["credentials"]


def test_mode_and_symbolic_link_stay(tmp_path: Path) -> None:
    """What the link points to is replaced, with the mode that it had."""
    file = tmp_path / "real"
    file.write_text("[other]\nregion = x\n")
    file.chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_profile(tmp_path / "link", "app", session())

    assert (tmp_path / "link").is_symlink()
    assert file.read_text() == "[other]\nregion = x\n" + written("app")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    """Run by root for another user's file, it stays that user's."""
    file = tmp_path / "credentials"
    file.touch()
    os.chown(file, 12345, 12346)
    write_profile(file, "app", session())

    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)


def test_a_file_that_cannot_be_opened_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced all the same: that needs the folder's permission alone."""
    file = tmp_path / "credentials"
    file.touch(0o400)
    real = os.open

    def refuse(path: str, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_RDWR and os.fspath(path) == str(file):  # as for others than root
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    write_profile(file, "app", session())

    assert file.read_text() == written("app")
    assert stat.S_IMODE(file.stat().st_mode) == 0o400


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would take the credentials and keep nothing."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="is no regular file"):
        write_profile(tmp_path / "pipe", "app", session())


def test_a_failure_leaves_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content stays, and the temporary file goes."""
    file = tmp_path / "credentials"
    file.write_text("[other]\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_profile(file, "app", session())
    assert file.read_text() == "[other]\n"
    assert [each.name for each in tmp_path.iterdir()] == ["credentials"]


def test_two_sections_of_the_same_name_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is written; the warning says what botocore makes of it, and the fix."""
    file = tmp_path / "credentials"
    file.write_text("[app]\n[app]\n")
    write_profile(file, "app", session())

    assert file.read_text() == written("app") + "[app]\n"
    assert "more than one section [app]" in caplog.text
    assert "Remove the others" in caplog.text


def test_who_holds_the_lock_too_long_is_told_of(tmp_path: Path) -> None:
    """After half a minute it is an error that names the file."""
    file = tmp_path / "credentials"
    file.touch()
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += max(seconds, 5.0)

    with file.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="credentials locked for 30 s"):
            write_profile(file, "app", session(), sleep=sleep, steady=lambda: clock[0])
    assert clock[0] >= PATIENCE
    assert file.read_text() == ""


@pytest.mark.parametrize("removed", [False, True])
def test_a_file_that_was_replaced_while_waiting(tmp_path: Path, *, removed: bool) -> None:
    """The lock of the old file is worth nothing: the new one is read."""
    file = tmp_path / "credentials"
    file.touch()
    other = file.open()
    fcntl.flock(other, fcntl.LOCK_EX)

    def replace(seconds: float) -> None:
        file.unlink()
        if not removed:
            file.write_text("[new]\n")
        other.close()

    write_profile(file, "app", session(), sleep=replace)
    assert file.read_text() == ("" if removed else "[new]\n") + written("app")


def test_a_file_that_is_gone_once_its_lock_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened again, and so made anew."""
    file = tmp_path / "credentials"
    real, calls = _credentials_file._lock, []

    def lock(descriptor: int) -> bool:
        calls.append(descriptor)
        if len(calls) == 1:
            file.unlink()
        return real(descriptor)

    monkeypatch.setattr(_credentials_file, "_lock", lock)
    write_profile(file, "app", session(), sleep=lambda _: None)
    assert file.read_text() == written("app")


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from test_credentials_file import session
from rolesanywhere_auth._credentials_file import write_profile
file, profile, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
for number in range(rounds):
    write_profile(file, profile, session(f"{profile}{number}"))
"""
ROUNDS = 25


def test_concurrent_writers_lose_nothing(tmp_path: Path, repository: Path) -> None:
    """Four processes write four profiles; a reader always finds whole sections and every line of
    the user's, and at the end each profile has what was written last.
    """
    file = tmp_path / "credentials"
    own = "# mine\r\n[own]\r\nregion=x\r\n\r\n; end"
    file.write_bytes(own.encode())
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), f"p{number}", str(ROUNDS)],
            stdin=subprocess.PIPE,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for number in range(4)
    ]
    wrong: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.wait(0.002):
            content = file.read_bytes()
            rows = content.removeprefix(own.encode()).split(b"\r\n")
            if not content.startswith(own.encode()) or ((len(rows) - 2) % 4 and len(rows) > 1):
                wrong.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    codes = [writer.wait(60) for writer in writers]
    done.set()
    reader.join()

    assert codes == [0, 0, 0, 0]
    assert wrong == []
    content = file.read_text()
    assert content.startswith("# mine\n[own]\nregion=x\n\n; end\n")
    for number in range(4):
        assert content.count(written(f"p{number}", f"p{number}{ROUNDS - 1}")) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["credentials"]
