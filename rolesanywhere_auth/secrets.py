# SPDX-License-Identifier: Apache-2.0
"""Where a passphrase comes from, and the promise that it is not printed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.errors import ConfigurationError, PassphraseError, RolesAnywhereError
from rolesanywhere_auth.forking import local_work

if TYPE_CHECKING:
    from rolesanywhere_auth._secret_sources import Kept

Passphrase = str | bytes | Callable[[], str | bytes]
"""A passphrase itself, or a callable that fetches it when it is needed."""

MASK = "********"

_KINDS = {
    "env": "give the name of an environment variable, env:NAME",
    "file": "give the path of a file, file:/path",
    "credential": "give the name of a credential of the systemd unit, credential:NAME, without /",
    "fd": "give the number of a file descriptor, fd:N",
    "keyring": "give service and user of a keyring's entry, keyring:service/user",
    "prompt": "",
    "value": "",
}
_PATTERNS = {
    "env": r"[^=\0]+",
    "file": r"[^\0\r\n]+",
    "credential": r"(?!\.\.?$)[^/\0]+",
    "fd": r"[0-9]{1,9}",
    "keyring": r".+/[^/]+",
}
_DER_BASE64 = r"(?:^|[^A-Za-z0-9+/_-])M[C-I](?=(?:[a-z0-9+/_-]*[A-Z]){8})[A-Za-z0-9+/_-]{58}"
"""A SEQUENCE of some length, also in the alphabet for URLs; capitals, as names have few."""


def looks_like_content(text: str) -> bool:
    """Whether a would-be path may be a key or certificate: then no message may show it.

    A line end, a PEM line, base64 that begins as that of DER does (in quotes, perhaps,
    as some tools leave them), or nothing but base64 of some length, which a path that
    begins with a slash is not taken for.
    """
    if "\n" in text or "\r" in text or "PRIVATE KEY" in text or "-----" in text:
        return True
    if re.search(_DER_BASE64, text):
        return True
    bare = text.strip().rstrip("=")
    plain = bare.replace("+", "").replace("/", "").replace(" ", "")
    return len(bare) >= 60 and not bare.startswith("/") and plain.isalnum() and plain.isascii()


def refuse_content(value: object, *, name: str) -> None:
    """Refuse what is given as the path *name*, but looks like a key or certificate.

    Raises:
        ConfigurationError: It does; the message does not show it.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(text, str) and looks_like_content(text):
        raise ConfigurationError(
            f"{name} is a path, but looks like the content of a key or certificate "
            f"({len(text)} characters, not shown). Write it to a file, and give its path"
        )


def reveal(passphrase: Passphrase | None) -> bytes | None:
    """The passphrase as bytes; text is encoded as UTF-8. None, and nothing at all, is None.

    A callable is called each time, so that it can read a secret store, and so
    that the secret need not stay in memory. Bytes that ``os.environ`` could not
    decode (PEP 383) come out as they were.

    Raises:
        PassphraseError: the callable raised an error, which is the cause.
        ConfigurationError: it is neither text nor bytes, or no text that can be encoded.
    """
    value = _ask(passphrase) if callable(passphrase) else passphrase
    if isinstance(value, str):
        return _encode(value) or None
    if value is not None and not isinstance(value, bytes | bytearray):
        raise ConfigurationError(f"a passphrase must be str or bytes, not {type(value).__name__}")
    return bytes(value) if value else None


def _ask(passphrase: Callable[[], str | bytes]) -> str | bytes:
    try:
        return passphrase()
    except RolesAnywhereError:
        raise
    except Exception as error:
        # its text may hold the secret: the cause has it, for who looks, and no log does
        raise PassphraseError(
            f"the callable given as passphrase raised {type(error).__name__}"
        ) from error


def _encode(text: str) -> bytes:
    with contextlib.suppress(UnicodeEncodeError):  # it holds the text: never our error's context
        return text.encode("utf-8", "surrogateescape")
    raise ConfigurationError("the passphrase holds half a surrogate pair; give it as bytes")


def from_text(text: str, *, name: str) -> SecretReference:
    """Understand where a PIN or passphrase is kept, as command lines and URIs say it.

    That is whatever `SecretReference` takes, or the absolute path of a file, as in the
    ``pin-source`` of PKCS#11 URIs (RFC 7512, 2.4), whose commands (``|program``) are refused.

    Args:
        text: Already percent-decoded.
        name: How messages name where it stood.

    Raises:
        ConfigurationError: it is neither. The message does not show *text*: it may be the
            secret itself.
    """
    if text.startswith("|"):
        raise ConfigurationError(
            f"{name}: programs are not run for a secret; put it into a file (file:/path), or pass "
            "a callable as passphrase that runs the program"
        )
    is_path = text.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", text)
    return SecretReference(f"file:{text}" if is_path else text, name=name)


class SecretReference:
    """Where a PIN or passphrase is kept; called, it reads it.

    It takes the place of a passphrase anywhere. It is read when it is needed, each time
    anew, and holds no secret itself, so that it can be shown, compared and pickled.

    ============================  ==========================================================
    ``env:NAME``                  the environment variable
    ``file:/path``                a file, without one line end at its end
    ``credential:NAME``           a systemd credential: ``LoadCredential=`` of the unit
    ``fd:N``                      a file descriptor that the process inherited
    ``keyring:service/user``      the keyring of the system or of the user (extra ``keyring``)
    ``prompt:`` or ``prompt:…``   asks on the terminal, by this text
    ``value:…``                   the secret itself; then it is not shown and not pickled
    ============================  ==========================================================

    Args:
        reference: One of these.
        name: How messages name where it stood.

    Raises:
        ConfigurationError: *reference* is none of these; it may be the secret itself, and is
            not shown.
    """

    __slots__ = ("_kept", "_kind", "_text")

    def __init__(self, reference: str, *, name: str = "SecretReference") -> None:
        kind, colon, text = reference.partition(":")
        if not colon or kind not in _KINDS:
            raise ConfigurationError(
                f"{name}: neither env:NAME, file:/path, credential:NAME, fd:N, "
                f"keyring:service/user nor prompt: ({len(reference)} characters, not shown)"
            )
        self._kind = kind
        self._text = text
        self._kept: Kept | None = None
        if kind == "file":
            refuse_content(text, name=name)
        if kind in _PATTERNS and re.fullmatch(_PATTERNS[kind], text, re.DOTALL) is None:
            raise ConfigurationError(f"{name}: {_KINDS[kind]}, not {reference!r}")

    def __call__(self) -> bytes:
        """The secret, read now.

        Raises:
            PassphraseError: it is not there, or empty; the message says where, and never what.
            MissingExtraError: the extra ``keyring`` is not installed.
        """
        secret = _encode(self._text) if self._kind == "value" else self._read()
        if not secret and self._kind != "prompt":
            raise PassphraseError(f"{self}: it is empty. Put the secret there.", source=str(self))
        return secret

    def _read(self) -> bytes:
        with local_work():
            from rolesanywhere_auth import _secret_sources as sources

        if self._kept is None:
            self._kept = sources.Kept()
        return sources.read(self._kind, self._text, source=str(self), kept=self._kept)

    def __str__(self) -> str:
        return f"{self._kind}:{MASK if self._kind == 'value' else self._text}"

    def __repr__(self) -> str:
        return f"SecretReference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretReference):
            return NotImplemented
        return (self._kind, self._text) == (other._kind, other._text)

    def __hash__(self) -> int:
        return hash((self._kind, self._text))

    def __copy__(self) -> SecretReference:
        return self  # cannot change

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretReference:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._kind == "value":
            raise TypeError(
                "cannot pickle a SecretReference that is the secret itself; refer to it by env:, "
                "file: or credential: instead, so that no secret travels in the pickle"
            )
        return SecretReference, (str(self),)
