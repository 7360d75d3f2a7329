# SPDX-License-Identifier: Apache-2.0
"""A folder of this user alone, and whole files in it: what the host cache stands on.

Files are reached by a descriptor of the folder that was checked when it was opened, so
that nobody who can rename what lies above can divert a read or a write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from pathlib import Path

from rolesanywhere_auth.errors import ConfigurationError

FOLDER = "rolesanywhere-auth"
"""Name of the default folder; in ``/dev/shm``, which all users share, the user id follows."""
KEPT = 86400.0
"""Seconds; files of a name that nobody renewed for so long are removed."""
MAX_SIZE = 65536
"""Bytes; no entry is nearly as long, and a longer one is read as a torn one."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a private folder in it is used
_MOUNTS = Path("/proc/self/mountinfo")
_OURS = re.compile(r"([0-9a-f]{64})\.(?:json|lock|[0-9a-f]{16}\.tmp)", re.ASCII)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT}
"""What says nothing of the folder, and may be over the next time."""


def default_folder(runtime: str) -> Path:
    """The folder in memory.

    Raises:
        ConfigurationError: this machine has none.
    """
    if Path(runtime).is_absolute():
        with contextlib.suppress(OSError):
            about = Path(runtime).stat()
            if _private(about) and _in_memory(about):
                return Path(runtime) / FOLDER
    with contextlib.suppress(OSError):
        if _in_memory(_SHARED_MEMORY.stat()):
            return _SHARED_MEMORY / f"{FOLDER}-{os.geteuid()}"
    raise ConfigurationError(
        "there is no place in memory for the host cache: XDG_RUNTIME_DIR is not set to a tmpfs "
        f"folder of this user with mode 0700, and {_SHARED_MEMORY} is no tmpfs. Give the cache a "
        "directory; on a disk it holds credentials in plain text"
    )


def _private(about: os.stat_result) -> bool:
    return (
        stat.S_ISDIR(about.st_mode)
        and about.st_uid == os.geteuid()
        and about.st_mode & 0o777 == 0o700
    )


def _in_memory(about: os.stat_result) -> bool:
    """Whether the file system is one in memory (proc(5), "mountinfo")."""
    device = f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"
    for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == device:
            return kind.split()[0] in {"tmpfs", "ramfs"}
    return False


def open_folder(path: Path) -> int:
    """A descriptor of the folder, which is made if it is not there.

    Raises:
        ConfigurationError: it cannot be made, or something that is not private is there.
        OSError: the machine is short of something.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        folder = os.open(path, _READ | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in _PASSING:
            raise
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise ConfigurationError(
            f"the host cache cannot use {path}: {reason}. Give the cache another directory, or "
            "make this one: a folder, no symbolic link, of this user, mode 0700"
        ) from error
    about = os.fstat(folder)
    if not _private(about):
        os.close(folder)
        raise ConfigurationError(
            f"the host cache does not use {path}: it is of user {about.st_uid} with mode "
            f"{about.st_mode & 0o777:04o}, and must be of user {os.geteuid()} with mode 0700. "
            "Look who else could have changed it, then remove it (or chmod 700 it), or give "
            "the cache another directory"
        )
    return folder


def read_own(name: str, *, folder: int) -> bytes | None:
    """The content of a file that is ours alone; None for anything else, and for nothing."""
    try:
        file = os.open(name, _READ, dir_fd=folder)
    except OSError:  # not there; a symbolic link; a mode that even we cannot read
        return None
    try:
        return os.read(file, MAX_SIZE) if _own_file(os.fstat(file)) else None
    finally:
        os.close(file)


def _own_file(about: os.stat_result) -> bool:
    """Ours, regular, 0600 and under one name: a second one may be where others can write."""
    return (
        stat.S_ISREG(about.st_mode)
        and about.st_uid == os.geteuid()
        and stat.S_IMODE(about.st_mode) == 0o600
        and about.st_nlink == 1
    )


def remove_foreign(name: str, *, folder: int) -> None:
    """Remove what is not a file of ours, and so might not be for us to lock."""
    with contextlib.suppress(FileNotFoundError):
        if not _own_file(os.stat(name, dir_fd=folder, follow_symlinks=False)):
            os.unlink(name, dir_fd=folder)


def write(name: str, data: bytes, *, folder: int) -> None:
    """Replace the file at once: a reader finds the old content or the new, whole.

    There is no ``fsync``: what a power failure tears, the checksum finds.
    """
    temporary = f"{name.partition('.')[0]}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            file.write(data)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def sweep(folder: int, *, key: str) -> None:
    """Remove what certificates of the past, and processes killed while writing, left behind."""
    files: list[tuple[str, str, float]] = []
    with os.scandir(folder) as entries:
        for each in entries:
            if match := _OURS.fullmatch(each.name):
                with contextlib.suppress(FileNotFoundError):
                    modified = each.stat(follow_symlinks=False).st_mtime
                    files.append((match[1], each.name, modified))
    newest: dict[str, float] = {}
    for stem, _, modified in files:
        newest[stem] = max(modified, newest.get(stem, modified))
    limit = newest.get(key, 0.0) - KEPT  # our own was written just now
    for stem, name, _ in files:
        if newest[stem] < limit:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
