"""Where a passphrase comes from, and the promise that it is not printed."""

from __future__ import annotations

from collections.abc import Callable

Passphrase = str | bytes | Callable[[], str | bytes]
"""A passphrase itself, or a callable that fetches it when it is needed."""

MASK = "********"


def reveal(passphrase: Passphrase | None) -> bytes | None:
    """The passphrase as bytes; text is encoded as UTF-8. None, and nothing at all, is None.

    A callable is called each time, so that it can read a secret store, and so
    that the secret need not stay in memory.
    """
    value = passphrase() if callable(passphrase) else passphrase
    if isinstance(value, str):
        value = value.encode()
    if value is not None and not isinstance(value, bytes | bytearray):
        raise TypeError(f"a passphrase must be str or bytes, not {type(value).__name__}")
    return bytes(value) if value else None
