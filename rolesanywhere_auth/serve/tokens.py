# SPDX-License-Identifier: Apache-2.0
"""The tokens that clients show, and the files in which they find them.

A token is a random number, its end and a MAC over both and over what it is good for. The server
keeps nothing of those it gave out, so that nobody can fill its memory by asking for more, and
all end with the process, whose key they stand on.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import logging
import os
import secrets
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from rolesanywhere_auth import _private_folder
from rolesanywhere_auth.errors import ConfigurationError

logger = logging.getLogger("rolesanywhere_auth.serve")

RETRY_SECONDS = 10.0
"""After a token file could not be written."""
_NONCE = 16
_END = struct.Struct(">d")
_MAC = 32
_LENGTH = (_NONCE + _END.size + _MAC) * 4 // 3 + 1
"""Characters: 56 bytes in base64 without padding."""


class Tokens:
    """Gives out tokens and knows its own again.

    Args:
        steady: Seconds of a clock that nobody sets.
        random: So many random bytes, as `secrets.token_bytes`.
    """

    def __init__(
        self,
        *,
        steady: Callable[[], float],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._steady = steady
        self._random = random
        self._key = random(32)

    def issue(self, scope: str, *, lifetime: float) -> str:
        """A token that is good for *scope* for so many seconds."""
        payload = self._random(_NONCE) + _END.pack(self._steady() + lifetime)
        whole = payload + self._mac(scope, payload)
        return _text(whole)

    def knows(self, token: str, scope: str) -> bool:
        """Whether *token* was issued for *scope* and has not ended."""
        if len(token) != _LENGTH or not token.isascii():
            return False
        try:
            whole = base64.b64decode(f"{token}=", altchars=b"-_", validate=True)
        except binascii.Error:
            return False
        if _text(whole) != token:  # "+" and "/" are taken as well, and so are odd last bits
            return False
        payload, mac = whole[:-_MAC], whole[-_MAC:]
        if not hmac.compare_digest(mac, self._mac(scope, payload)):
            return False
        (end,) = _END.unpack(payload[_NONCE:])
        return bool(self._steady() < end)

    def _mac(self, scope: str, payload: bytes) -> bytes:
        # the payload's length is fixed, so that the two cannot be shifted against each other
        return hmac.digest(self._key, payload + scope.encode(), "sha256")


def _text(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).decode().rstrip("=")


class TokenFolder:
    """A folder with a token file for each role, written anew at half of a token's life.

    A reader finds the old token or the new one, whole; the old one stays good for the other
    half. Files are 0600 and go when the server stops.

    Args:
        folder: Made with mode 0700 if it is not there; None for a temporary one.
        tokens: Issues them.
        scopes: What each file's token is good for, by the name of the file.
        lifetime: Seconds that a token is good for.
        steady: Seconds of a clock that nobody sets.

    Raises:
        ConfigurationError: the folder cannot be made, or others may change it.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        tokens: Tokens,
        scopes: dict[str, str],
        lifetime: float,
        steady: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._scopes = scopes
        self._lifetime = lifetime
        self._steady = steady
        self._due = 0.0
        self._made = folder is None or _make(folder)
        self.path = folder or Path(tempfile.mkdtemp(prefix="rolesanywhere-auth-"))
        self._descriptor = _open(self.path)
        try:
            self._write()
        except OSError as error:
            self.remove()
            raise ConfigurationError(
                f"cannot write a token file in {self.path}: {error.strerror}; give another folder"
            ) from None

    def rotate(self) -> None:
        """Write new tokens if they are due; what goes wrong is logged, and tried again soon."""
        if self._steady() < self._due:
            return
        try:
            self._write()
        except OSError as error:
            self._due = self._steady() + RETRY_SECONDS
            logger.warning(
                "cannot renew the token files in %s: %s; clients are refused once the present "
                "tokens end",
                self.path,
                error.strerror,
            )

    def _write(self) -> None:
        for name, scope in self._scopes.items():
            token = self._tokens.issue(scope, lifetime=self._lifetime)
            _private_folder.write(name, token.encode(), folder=self._descriptor)
        self._due = self._steady() + self._lifetime / 2

    def remove(self) -> None:
        """Remove the files, and the folder if it was made here."""
        for name in self._scopes:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._descriptor)
        os.close(self._descriptor)
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the folder for token files, {folder}: {error.strerror}"
        ) from None
    return True


def _open(folder: Path) -> int:
    """A descriptor of *folder*, which nobody but this user and root may change."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"cannot use {folder} for token files: {error.strerror}") from None
    about = os.fstat(descriptor)
    if about.st_uid not in {0, os.geteuid()} or stat.S_IMODE(about.st_mode) & 0o022:
        os.close(descriptor)
        raise ConfigurationError(
            f"token files do not go into {folder}: it is of user {about.st_uid} with mode "
            f"{stat.S_IMODE(about.st_mode):04o}, so that others could put their own there; chmod "
            "go-w it, or give another folder"
        )
    return descriptor


def default_folder(environment: dict[str, str], *, name: str) -> Path | None:
    """Where a service's token files belong; None if nothing says so.

    systemd's ``RUNTIME_DIRECTORY``, else *name* in the user's ``XDG_RUNTIME_DIR``.
    """
    given = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if not (Path(runtime).is_absolute() and os.access(runtime, os.W_OK | os.X_OK)):
        return None
    folder = Path(runtime) / _private_folder.FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / name
