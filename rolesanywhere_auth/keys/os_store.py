# SPDX-License-Identifier: Apache-2.0
"""``store:``: certificates with their keys in the store that the operating system has for them.

Windows' certificate stores (``windows.py``) and the macOS Keychain (``macos.py``): what they have
in common. How certificates are named is in ``_selectors.py``.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from rolesanywhere_auth.certificates import Certificate, issuers
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.forking import Guard, local_work
from rolesanywhere_auth.keys import check_signer
from rolesanywhere_auth.keys._selectors import Reference, choose, listed, parse_reference
from rolesanywhere_auth.secrets import Passphrase

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

logger = logging.getLogger("rolesanywhere_auth.keys")

_MODULES = {
    "win32": "rolesanywhere_auth.keys.windows",
    "darwin": "rolesanywhere_auth.keys.macos",
}
"""By `sys.platform`; each has a ``parse_place`` and a ``system``."""


class Key(Protocol):
    """A handle of a private key. Used and closed within the guard of its system."""

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest, in the form that `Signer.sign` promises.

        Raises:
            SigningError: the key refused.
        """
        ...

    def close(self) -> None:
        """Give the handle back; once."""
        ...


class Contents(NamedTuple):
    """The certificates of a place, in DER."""

    identities: Sequence[bytes]
    """Those with a private key."""
    others: Sequence[bytes]
    """Those that may stand above them."""


class System(Protocol):
    """What an operating system has. Its functions are called within its guard alone."""

    @property
    def guard(self) -> Guard:
        """One for all that uses these libraries."""
        ...

    @property
    def abandoned(self) -> deque[tuple[int, Key]]:
        """Keys that nobody uses any more, with the guard's generation they are of."""
        ...

    def contents(self, place: str) -> Contents:
        """The certificates of a place.

        Raises:
            CertificateLoadError: it is not there, or cannot be read.
        """
        ...

    def open_key(self, place: str, certificate: bytes, *, elliptic: bool, source: str) -> Key:
        """The key of a certificate.

        Args:
            place: As for ``contents``.
            certificate: DER.
            elliptic: Whether it is an EC key, and no RSA key.
            source: How messages name it.

        Raises:
            PrivateKeyLoadError: there is none, or this process may not use it.
        """
        ...


class StoreSigner:
    """A private key that stays in the operating system's store. A ``Signer``.

    Its handle is kept between signatures. A key that refuses is opened once more: its card may
    have been away, its service started again. It can be neither pickled nor copied.

    Args:
        system: Where the key is.
        place: As the system names it.
        certificate: Whose key it is.
        source: How messages name it.

    Raises:
        PrivateKeyLoadError: there is none, or this process may not use it.
        UnsupportedKeyError: The service has no signing algorithm for it.
    """

    def __init__(
        self, system: System, *, place: str, certificate: Certificate, source: str
    ) -> None:
        self.source = source
        self._system = system
        self._place = place
        self._certificate = certificate.der
        self._public_key = _public_key(certificate, source=source)
        self.kind = check_signer(self, source=source)
        """Such as ``"RSA 2048"`` or ``"P-256"``."""
        self._key: tuple[int, Key] | None = None
        self._abandon: Callable[[], object] | None = None
        with using(system):
            self._open()

    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        """Sign, as ``Signer.sign`` says.

        Raises:
            SigningError: the key refused, or is gone.
        """
        digest = hashlib.sha256(data).digest()
        with using(self._system):
            key = self._current()
            if key is not None:
                try:
                    return key.sign(digest)
                except SigningError as error:
                    logger.debug("%s: %s Opening the key once more.", self.source, error)
                    self._close()
            try:
                key = self._open()
            except PrivateKeyLoadError as error:
                raise SigningError(str(error), source=self.source) from error
            return key.sign(digest)

    def _current(self) -> Key | None:
        """The key opened before; one of the process that this one was forked from is none."""
        if self._key is None or self._key[0] != self._system.guard.generation:
            return None
        return self._key[1]

    def _open(self) -> Key:
        key = self._system.open_key(
            self._place,
            self._certificate,
            elliptic=not self.kind.startswith("RSA"),
            source=self.source,
        )
        self._key = (self._system.guard.generation, key)
        # The finalizer may run at any moment, in any thread: it may not wait for a guard.
        self._abandon = weakref.finalize(self, self._system.abandoned.append, self._key).detach
        return key

    def _close(self) -> None:
        assert self._key is not None
        assert self._abandon is not None
        self._abandon()
        _, key = self._key
        self._key = None
        key.close()

    def __repr__(self) -> str:
        """Kind and source; nothing of the key."""
        return f"<StoreSigner {self.kind} from {self.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: handles belong to one process."""
        raise TypeError("A StoreSigner holds a handle of this process: pass on the reference.")


class using:  # noqa: N801 - a context manager, named as one reads it
    """Within: the guard of a system, with no handle of this process left that nobody uses."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __enter__(self) -> None:
        self._system.guard.__enter__()
        while self._system.abandoned:
            generation, key = self._system.abandoned.popleft()
            if generation == self._system.guard.generation:
                key.close()

    def __exit__(self, *error: object) -> None:
        self._system.guard.__exit__(None, None, None)


def _public_key(certificate: Certificate, *, source: str) -> PublicKey:
    with local_work():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            return load_der_public_key(certificate.public_key_info)  # type: ignore[return-value]
        except (ValueError, UnsupportedAlgorithm) as error:
            raise PrivateKeyLoadError(
                f"{source}: the public key of the certificate {certificate.subject_text} cannot "
                f"be read: {error}.",
                source=source,
            ) from error


class OSStore:
    """A ``store:`` reference. A ``KeyStore``."""

    def __init__(self, reference: Reference, *, place: str, system: Callable[[], System]) -> None:
        self._reference = reference
        self._place = place
        self._system = system

    @property
    def source(self) -> str:
        """The reference as it was written."""
        return self._reference.text

    def certificates(self) -> Sequence[bytes]:
        """The leaf, and what may stand above it; raises as `KeyStore.certificates` does."""
        identities, others = self._contents()
        leaf = choose(
            identities, self._reference.selector, source=self.source, error=CertificateLoadError
        )
        above = issuers([leaf], [*identities, *others])
        return list(dict.fromkeys([leaf.der, *(each.der for each in above)]))

    def matching(self) -> list[bytes]:
        """DER of all that fit and have a key, whatever ``newest`` says; to be listed.

        Raises:
            CertificateLoadError: the store cannot be read.
        """
        identities, _ = self._contents()
        return [each.der for each in identities if self._reference.selector.fits(each)]

    def signer(self, public_keys: Sequence[bytes]) -> StoreSigner:
        """The key of the certificate that is meant; raises as `KeyStore.signer` does."""
        identities, _ = self._contents()
        selector = self._reference.selector
        belonging = [each for each in identities if each.public_key_info in public_keys]
        if public_keys and not belonging and any(map(selector.fits, identities)):
            raise PrivateKeyLoadError(
                f"{self.source}: none of the private keys there belongs to the certificate:"
                f"{listed(identities)}",
                source=self.source,
            )
        fitting = [each for each in belonging or identities if selector.fits(each)]
        if len({each.public_key_info for each in fitting}) == 1:
            found = fitting[0]  # one key, maybe of several certificates
        else:
            found = choose(
                fitting or identities,
                selector,
                source=self.source,
                error=PrivateKeyLoadError,
            )
        return StoreSigner(self._system(), place=self._place, certificate=found, source=self.source)

    def stamp(self) -> object:
        """The certificates that fit, and what may stand above them."""
        identities, others = self._contents()
        fitting = [each for each in identities if self._reference.selector.fits(each)]
        above = issuers(fitting, [*identities, *others])
        return frozenset(hashlib.sha256(each.der).digest() for each in (*fitting, *above))

    def watch(self, changed: Callable[[], None]) -> None:
        """Do nothing: `stamp` is asked for."""

    def _contents(self) -> tuple[list[Certificate], list[Certificate]]:
        system = self._system()
        with using(system):
            found = system.contents(self._place)
        return self._parsed(found.identities), self._parsed(found.others)

    def _parsed(self, found: Sequence[bytes]) -> list[Certificate]:
        """Those that are certificates for us: stores hold old and odd ones too."""
        parsed: list[Certificate] = []
        for der in dict.fromkeys(found):
            try:
                parsed.append(Certificate.from_der(der, source=self.source))
            except CertificateLoadError as error:
                logger.debug("%s", error)
        return parsed


def open_store(reference: str, *, passphrase: Passphrase | None) -> OSStore:  # noqa: ARG001
    """Understand a reference to this system's store, without I/O.

    Args:
        reference: ``store:[PLACE][?CRITERIA]``.
        passphrase: Not used: the store asks nobody, it knows who its user is.

    Raises:
        ConfigurationError: it makes no sense, or this system has no such store.
    """
    parsed = parse_reference(reference)
    module = _MODULES.get(sys.platform)
    if module is None:
        raise ConfigurationError(
            f"{reference}: this system ({sys.platform}) has no certificate store that holds keys; "
            "'store:' is for Windows and macOS. Use a file, 'pkcs11:' or 'tpm:'."
        )
    with local_work():
        system = import_module(module)
    place = system.parse_place(parsed.place, reference=reference)
    return OSStore(parsed, place=place, system=system.system)
