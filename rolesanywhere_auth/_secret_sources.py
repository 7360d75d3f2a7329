# SPDX-License-Identifier: Apache-2.0
"""Reads secrets from where a `SecretReference` says that they are."""

from __future__ import annotations

import getpass
import logging
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO

from rolesanywhere_auth.errors import MissingExtraError, PassphraseError
from rolesanywhere_auth.forking import local_work

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("rolesanywhere_auth.secrets")

_SIZE_LIMIT = 65536
_TERMINAL = "/dev/tty"


class Kept:
    """What one reference remembers between its reads."""

    def __init__(self) -> None:
        self.warned = False
        self.once: bytes | None = None
        """What a pipe gave: it cannot be asked again."""
        self._locks: dict[int, threading.Lock] = {}

    def lock(self) -> threading.Lock:
        """This process's: the parent's may be locked by a thread that is not here."""
        return self._locks.setdefault(os.getpid(), threading.Lock())


def read(kind: str, text: str, *, source: str, kept: Kept) -> bytes:
    """The secret.

    Raises:
        PassphraseError, MissingExtraError: as `SecretReference.__call__` does.
    """
    if kind == "file":
        return _from_file(_path(text), source=source, kept=kept)
    if kind == "fd":
        return _from_descriptor(int(text), source=source, kept=kept)
    readers: dict[str, Callable[[str, str], bytes]] = {
        "env": _from_environment,
        "credential": _from_credential,
        "keyring": _from_keyring,
        "prompt": _from_terminal,
    }
    return readers[kind](text, source)


def _from_environment(name: str, source: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise PassphraseError(
            f"{source}: the environment variable {name} is not set in this process. Set it, or "
            "pass it on from the parent process.",
            source=source,
        )
    return value.encode("utf-8", "surrogateescape")


def _path(text: str) -> str:
    for host in ("//localhost", "//"):  # RFC 8089
        if text.startswith(f"{host}/"):
            return text.removeprefix(host)
    return os.path.expanduser(text)  # noqa: PTH111 - Path() raises where there is no home


def _from_file(path: str, *, source: str, kept: Kept) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            if not kept.warned:
                kept.warned = True
                _warn_of_readers(file, source=source)
            content = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise PassphraseError(
            f"{source}: {error.strerror}. Check the path, and that this process may read the file.",
            source=source,
        ) from error
    return _trimmed(content, source=source)


def _warn_of_readers(file: BinaryIO, *, source: str) -> None:
    mode = os.fstat(file.fileno()).st_mode
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o044:
        logger.warning(
            "%s: others than its owner may read this secret (mode %o); chmod 600 ends that.",
            source,
            stat.S_IMODE(mode),
        )


def _trimmed(content: bytes, *, source: str) -> bytes:
    """Without the one line end that editors and ``echo`` add."""
    if len(content) > _SIZE_LIMIT:
        raise PassphraseError(
            f"{source}: larger than {_SIZE_LIMIT} bytes; this is no PIN or passphrase.",
            source=source,
        )
    return content.removesuffix(b"\n").removesuffix(b"\r") if content[-1:] == b"\n" else content


def _from_credential(name: str, source: str) -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise PassphraseError(
            f"{source}: $CREDENTIALS_DIRECTORY is not set, so this process was not started by "
            f"systemd with a credential. Put LoadCredential={name}:/path or "
            f"LoadCredentialEncrypted={name}:/path into the [Service] section of its unit.",
            source=source,
        )
    kept = Kept()
    kept.warned = True  # who may read it is systemd's matter
    return _from_file(os.path.join(folder, name), source=source, kept=kept)  # noqa: PTH118


def _from_descriptor(number: int, *, source: str, kept: Kept) -> bytes:
    try:
        if os.isatty(number):
            raise PassphraseError(
                f"{source}: this is a terminal, where others can read along. Use prompt: instead.",
                source=source,
            )
        if stat.S_ISREG(os.fstat(number).st_mode) and hasattr(os, "pread"):  # not on Windows
            return _trimmed(os.pread(number, _SIZE_LIMIT + 1, 0), source=source)
        with kept.lock():
            if kept.once is None:
                kept.once = _trimmed(_drained(number), source=source)
            return kept.once
    except OSError as error:
        raise PassphraseError(
            f"{source}: {error.strerror}. Have the parent process leave this descriptor open: "
            "pass_fds= of Python's subprocess, or 3</path in a shell.",
            source=source,
        ) from error


def _drained(number: int) -> bytes:
    content = b""
    while len(content) <= _SIZE_LIMIT and (piece := os.read(number, _SIZE_LIMIT)):
        content += piece
    return content


def _from_keyring(text: str, source: str) -> bytes:
    with local_work():
        try:
            import keyring
            import keyring.errors
        except ImportError:
            raise MissingExtraError(
                f"{source}: reading a keyring needs the package keyring: "
                "pip install 'rolesanywhere-auth[keyring]'",
                extra="keyring",
            ) from None
    service, _, user = text.rpartition("/")
    try:
        found = keyring.get_password(service, user)
    except keyring.errors.NoKeyringError as error:
        raise PassphraseError(
            f"{source}: this process has no keyring: none is installed, or its session has no "
            "Secret Service (D-Bus). Start one, or keep the secret elsewhere (credential:, file:).",
            source=source,
        ) from error
    except Exception as error:
        # each backend has its own errors; their text is theirs, and the cause has it
        raise PassphraseError(
            f"{source}: the keyring refused with {type(error).__name__}. See that it is unlocked.",
            source=source,
        ) from error
    if found is None:
        raise PassphraseError(
            f"{source}: the keyring has no such entry. Make it: keyring set {service} {user}",
            source=source,
        )
    return found.encode("utf-8", "surrogateescape")


def _from_terminal(text: str, source: str) -> bytes:
    if not _has_terminal():
        raise PassphraseError(
            f"{source}: this process has no terminal to ask on, or runs in its background. Run it "
            "in one's foreground, or keep the secret elsewhere (credential:, file:, env:).",
            source=source,
        )
    try:
        answer = getpass.getpass(f"{text or 'Passphrase'}: ")
    except (EOFError, OSError) as error:
        raise PassphraseError(f"{source}: there was no answer.", source=source) from error
    return answer.encode("utf-8", "surrogateescape")


def _has_terminal() -> bool:
    """Whether somebody can be asked; never by standard input, which may be the program's data.

    Asked in the background of its terminal, the process would be stopped (SIGTTIN).
    """
    if not hasattr(os, "tcgetpgrp"):  # Windows, where getpass() asks the console
        return sys.stdin is not None and sys.stdin.isatty()
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
