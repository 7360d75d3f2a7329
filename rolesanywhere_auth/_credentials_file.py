# SPDX-License-Identifier: Apache-2.0
"""The shared credentials file: one profile's credentials replaced, at once or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_auth._merging import check_profile, merged, sections
from rolesanywhere_auth.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, which is refused below
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from rolesanywhere_auth.exchange import SessionCredentials

logger = logging.getLogger("rolesanywhere_auth.update")

PATIENCE = 30.0
"""Seconds to wait for other writers; each needs the file for some milliseconds."""
_POLL = 0.02  # seconds between two looks at the lock
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def default_path(environ: Mapping[str, str]) -> Path:
    """Where AWS SDKs look: ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``."""
    return Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def write_profile(
    path: Path,
    profile: str,
    found: SessionCredentials,
    *,
    sleep: Callable[[float], object] = time.sleep,
    steady: Callable[[], float] = time.monotonic,
) -> None:
    """Put *found* into the file as the credentials of *profile*.

    A reader finds the file as it was or as it will be, whole. Writers of this library take
    turns. Mode and owner stay; a new file is its owner's alone. A symbolic link stays one.

    Args:
        path: Its folder is made (0700) if it is not there.
        profile: The name of the section.
        found: What to write.
        sleep: As `time.sleep`.
        steady: Seconds of a clock that nobody sets.

    Raises:
        ConfigurationError: The name of the profile, or what is at *path*, cannot be used.
        OSError: The file cannot be read or written, or is locked by another process.
    """
    values = {
        "aws_access_key_id": found.access_key,
        "aws_secret_access_key": found.secret_key,
        "aws_session_token": found.token,
    }
    check_profile(profile)
    if fcntl is None:
        raise ConfigurationError(  # pragma: no cover - as above
            "updating the credentials file needs a POSIX system; use credential-process"
        )
    real = Path(os.path.realpath(path))
    real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(real, sleep=sleep, deadline=steady() + PATIENCE, steady=steady) as file:
        before = _content(file)
        _replace(real, merged(before, profile, values), like=os.fstat(file))
    if sections(before, profile) > 1:
        logger.warning(
            "%s has more than one section [%s]: the first one was updated, but botocore and the "
            "AWS CLI refuse such a file. Remove the others.",
            real,
            profile,
        )


@contextlib.contextmanager
def _locked(
    path: Path, *, sleep: Callable[[float], object], deadline: float, steady: Callable[[], float]
) -> Iterator[int]:
    """A descriptor of the file, which no other writer replaces meanwhile.

    The lock is on the file that is there; who waited for it may find that it was replaced,
    and then waits for the lock of the new one.
    """
    while True:
        file = _open(path)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise ConfigurationError(f"{path} is no regular file; see --profile and "
                                         "AWS_SHARED_CREDENTIALS_FILE")  # fmt: skip
            if _lock(file) and _is_still(path, file):
                yield file
                return
        finally:
            os.close(file)
        if steady() >= deadline:
            raise TimeoutError(
                f"another process has had {path} locked for {PATIENCE:g} s; end it, or look why "
                "it does not go on"
            )
        sleep(_POLL)


def _open(path: Path) -> int:
    flags = os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_RDWR, 0o600)  # NFS locks what may be written alone
    except PermissionError:
        return os.open(path, flags | os.O_RDONLY, 0o600)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, file: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file))


def _content(file: int) -> bytes:
    with os.fdopen(os.dup(file), "rb") as stream:
        return stream.read()


def _replace(path: Path, content: bytes, *, like: os.stat_result) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, _CREATE, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            mine = os.fstat(descriptor)
            if (mine.st_uid, mine.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
