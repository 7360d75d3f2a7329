"""Where a passphrase comes from, and the promise that it is not printed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rolesanywhere_auth.errors import ConfigurationError, PassphraseError, RolesAnywhereError

Passphrase = str | bytes | Callable[[], str | bytes]
"""A passphrase itself, or a callable that fetches it when it is needed."""

MASK = "********"


def looks_like_content(text: str) -> bool:
    """Whether a would-be path may be a key or certificate: then no message may show it.

    A line end, a PEM line, or nothing but base64 of some length, which a path that
    begins with a slash is not taken for.
    """
    if "\n" in text or "\r" in text or "PRIVATE KEY" in text or "-----" in text:
        return True
    bare = text.strip().rstrip("=")
    plain = bare.replace("+", "").replace("/", "").replace(" ", "")
    return len(bare) >= 60 and not bare.startswith("/") and plain.isalnum() and plain.isascii()


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
