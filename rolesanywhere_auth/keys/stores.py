# SPDX-License-Identifier: Apache-2.0
"""Key stores: places that keep a private key to themselves, named by ``scheme:reference``.

Each scheme has a module, which is imported when a reference to it is used first. Others
register theirs by an entry point of the group ``rolesanywhere_auth.key_stores``, named
like the scheme, that loads an `OpenStore`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import Signer
from rolesanywhere_auth.secrets import Passphrase

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "rolesanywhere_auth.key_stores"

# No single letter: those are drives. Spaces and line ends before it come from copying.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):")
_MODULES: dict[str, str] = {
    "handle": "rolesanywhere_auth.keys.tpm",
    "spiffe": "rolesanywhere_auth.keys.spiffe",
    "pkcs11": "rolesanywhere_auth.keys.pkcs11",
    "tpm": "rolesanywhere_auth.keys.tpm",
    "store": "rolesanywhere_auth.keys.os_store",
}
"""By scheme; each has an ``open_store``."""


class KeyStore(Protocol):
    """An opened reference. Threads share it, and so do the children of a fork."""

    @property
    def source(self) -> str:
        """How messages name it: never with a PIN."""
        ...

    def certificates(self) -> Sequence[bytes]:
        """DER: all that may be the leaf, and what else of its chain is kept there; or none.

        Raises:
            CertificateLoadError, PassphraseError: the store cannot be read.
        """
        ...

    def signer(self, public_keys: Sequence[bytes]) -> Signer:
        """The key.

        Args:
            public_keys: DER of the SubjectPublicKeyInfo of each certificate that may belong
                to it: for telling several keys apart.

        Raises:
            PrivateKeyLoadError: there is no such key, or more than one.
            PassphraseError: the PIN is missing, wrong or locked.
        """
        ...

    def stamp(self) -> object:
        """What differs, by ``==``, once there is another certificate or key.

        Asked for about once a minute, and before each sign-in; it may raise what the others do.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call *changed*, from any thread, whenever a new certificate is there.

        For stores that are told so; the others do nothing.
        """
        ...


class OpenStore(Protocol):
    """What a module or an entry point gives."""

    def __call__(self, reference: str, *, passphrase: Passphrase | None) -> KeyStore:
        """Understand *reference*, scheme included, without I/O.

        Args:
            reference: As the user wrote it.
            passphrase: The PIN or password, where the reference says nothing of one.

        Raises:
            ConfigurationError: it makes no sense.
            MissingExtraError: what reads it is not installed.
        """
        ...


def scheme_of(value: object) -> str | None:
    """The scheme, in lower case, if *value* names a key store; None for paths and content."""
    found = _SCHEME.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme in _MODULES:
        return scheme
    if "-----BEGIN" in str(value) or _exists(str(value)):
        return None
    return scheme if any(each.name == scheme for each in _entry_points()) else None


def open_store(reference: str, *, passphrase: Passphrase | None) -> KeyStore:
    """Open a reference for which `scheme_of` knows a scheme; raises as `OpenStore` does."""
    scheme = scheme_of(reference)
    with local_work():
        if scheme in _MODULES:
            opener: OpenStore = import_module(_MODULES[scheme]).open_store
        else:
            opener = next(each for each in _entry_points() if each.name == scheme).load()
    return opener(reference.strip(), passphrase=passphrase)


class Stores:
    """The key stores among the parameters of an identity, each opened once, when needed.

    Args:
        passphrase: For those that ask for a PIN.
    """

    def __init__(self, *, passphrase: Passphrase | None) -> None:
        self._passphrase = passphrase
        self._opened: dict[str, KeyStore] = {}
        self._watchers: list[Callable[[], None]] = []

    def get(self, value: object) -> KeyStore | None:
        """The store that *value* names; None if it names none. Raises as `OpenStore` does."""
        if scheme_of(value) is None:
            return None
        reference = str(value)
        store = self._opened.get(reference)
        if store is None:
            opened = open_store(reference, passphrase=self._passphrase)
            store = self._opened.setdefault(reference, opened)
            for changed in self._watchers:
                store.watch(changed)
        return store

    def stamps(self) -> tuple[object, ...]:
        """Of all that were opened; raises as `KeyStore.stamp` does."""
        return tuple(store.stamp() for store in list(self._opened.values()))

    def watch(self, changed: Callable[[], None]) -> None:
        """As `KeyStore.watch`, for all of them."""
        self._watchers.append(changed)
        for store in list(self._opened.values()):
            store.watch(changed)


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _entry_points() -> list[EntryPoint]:
    with local_work():
        from importlib.metadata import entry_points

        return list(entry_points(group=ENTRY_POINTS))
