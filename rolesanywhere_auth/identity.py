# SPDX-License-Identifier: Apache-2.0
"""``Identity``: one certificate, its intermediates and its key, checked to fit together."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from rolesanywhere_auth._containers import (
    Readable,
    may_name_store,
    read_material,
)
from rolesanywhere_auth._loading import Parts
from rolesanywhere_auth._matching import explain_chain, is_usable, match_leaf, order_chain
from rolesanywhere_auth.certificates import Certificate, check_leaf
from rolesanywhere_auth.errors import (
    CertificateError,
    RolesAnywhereError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import ProvedSigner, Signer
from rolesanywhere_auth.log_fields import log_fields
from rolesanywhere_auth.rotation import ExpiryWarnings, Files, Reading, Reads, Seen
from rolesanywhere_auth.secrets import Passphrase

if TYPE_CHECKING:
    from rolesanywhere_auth.keys.stores import Stores

logger = logging.getLogger("rolesanywhere_auth.identity")


class Identity(NamedTuple):
    """What signs in: leaf, intermediates and signer, which belong together.

    Make one with ``load``, or from parts that are known to fit.
    """

    leaf: Certificate
    intermediates: tuple[Certificate, ...]
    signer: Signer
    source: str
    """How messages name where the certificate came from."""

    @property
    def serial_number(self) -> int:
        """The leaf's serial number."""
        return self.leaf.serial_number

    @property
    def not_valid_after(self) -> datetime:
        """The leaf's last valid second, UTC."""
        return self.leaf.not_valid_after

    @property
    def certificate_header(self) -> str:
        """The value of ``X-Amz-X509``."""
        return self.leaf.encoded

    @property
    def chain_header(self) -> str | None:
        """The value of ``X-Amz-X509-Chain``; ``None`` without intermediates."""
        return ",".join(each.encoded for each in self.intermediates) or None

    def check(self, *, now: datetime) -> None:
        """Check the leaf against the service's demands and the time; see ``check_leaf``."""
        check_leaf(self.leaf, now=now, source=self.source)

    @classmethod
    def load(
        cls,
        certificate: Readable,
        *,
        private_key: Readable | Signer | None = None,
        certificate_chain: Readable | None = None,
        passphrase: Passphrase | None = None,
        now: datetime,
    ) -> Identity:
        """Load and check certificate, chain and key.

        Args:
            certificate: PEM (in any order, also with the chain and the key), DER, or
                PKCS#12; a path, bytes, or a PEM text; or a reference to a key store that
                keeps certificates. The leaf is the certificate that fits the key.
            private_key: PEM, DER or PKCS#12, a reference to a key store, or any
                ``Signer``. ``None`` if ``certificate`` holds it.
            certificate_chain: Intermediates that are not in ``certificate``.
            passphrase: Opens the key or the PKCS#12, or is the key store's PIN: bytes, a
                str (taken as UTF-8), or a callable that gives one of these. Harmless
                where nothing is encrypted.
            now: The present time, aware.

        Raises:
            ConfigurationError: A parameter is of the wrong type, or names a key store
                that is not known.
            MissingExtraError: What reads the key store is not installed.
            CertificateLoadError, PrivateKeyLoadError, PassphraseError: by their names.
            UnsupportedKeyError: The service has no signing algorithm for the key.
            KeyMismatchError: The key belongs to none of the certificates.
            CertificateExpiredError, CertificateNotYetValidError,
            CertificateRequirementError: The service would refuse the certificate.
        """
        return cls._load(
            certificate,
            private_key=private_key,
            certificate_chain=certificate_chain,
            passphrase=passphrase,
            now=now,
            read=read_material,
            stores=_stores(certificate, private_key, certificate_chain, passphrase=passphrase),
        )

    @classmethod
    def _load(
        cls,
        certificate: Readable,
        *,
        private_key: Readable | Signer | None,
        certificate_chain: Readable | None,
        passphrase: Passphrase | None,
        now: datetime,
        read: Reading,
        stores: Stores | None,
    ) -> Identity:
        """As ``load``; files are read by *read*."""
        parts = Parts(passphrase, read, stores)
        found, place = parts.certificates(certificate, role="certificate")
        extra: list[Certificate] = []
        if certificate_chain is not None:
            extra, _ = parts.certificates(certificate_chain, role="certificate_chain")
        signer, key_source = parts.signer(private_key, place, found)
        source = place.source
        leaf = match_leaf(found, signer, now=now, source=source, key_source=key_source)
        with local_work():
            intermediates = order_chain(leaf, [*found, *extra], source=source)
            explain_chain(leaf, intermediates, extra, now=now, source=source)
        identity = cls(leaf, intermediates, ProvedSigner(signer, source=key_source), source)
        identity.check(now=now)
        return identity


def _stores(*values: object, passphrase: Passphrase | None) -> Stores | None:
    """The key stores that *values* may name; None, and nothing imported, if they cannot."""
    if not any(map(may_name_store, values)):
        return None
    with local_work():
        from rolesanywhere_auth.keys.stores import Stores

    return Stores(passphrase=passphrase)


class _Loaded(NamedTuple):
    """An identity, and the files and the state of the key stores that it was made from."""

    identity: Identity
    seen: Seen
    stamps: tuple[object, ...]


class IdentitySource:
    """Gives the ``Identity`` to sign in with, and notices when its files were replaced.

    It holds references; loading waits for the first use. Relative paths count from
    the process's folder at that time. What was given as bytes, PEM text or ``Signer``
    stays as it is. Threads may share it, and a forked child may go on using it.

    Args: as ``Identity.load`` takes them. A passphrase is asked for at each load, so
    also when new files are tried again.
    """

    def __init__(
        self,
        certificate: Readable,
        *,
        private_key: Readable | Signer | None = None,
        certificate_chain: Readable | None = None,
        passphrase: Passphrase | None = None,
    ) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._certificate_chain = certificate_chain
        self._passphrase = passphrase
        self._files = Files(
            certificate=certificate,
            private_key=private_key,
            certificate_chain=certificate_chain,
        )
        self._stores = _stores(certificate, private_key, certificate_chain, passphrase=passphrase)
        self._loaded: _Loaded | None = None
        self._failure: object = None
        self._expiry = ExpiryWarnings(is_file=self._files.include("certificate"))
        self._locks: dict[int, threading.Lock] = {}

    @property
    def identity(self) -> Identity | None:
        """The identity loaded last, without a look at the files; ``None`` before the first."""
        return None if self._loaded is None else self._loaded.identity

    def current(self, *, now: datetime) -> Identity:
        """The identity to use at *now* (aware), from the files as they are now.

        Changed files that cannot be used (half-written, not yet a matching pair,
        gone …) are warned of once and tried again at each call; until they can, the
        identity loaded before stays, for as long as it is valid itself.

        Raises:
            IdentityError, ConfigurationError: as ``Identity.load`` does, if there is
                no valid identity from before; if one expired, that is the ``__cause__``.
        """
        try:
            self._update(now)
        except Exception as failure:
            if self._loaded is None:
                raise
            try:
                self._loaded.identity.check(now=now)
            except CertificateError as stale:
                raise failure from stale
        assert self._loaded is not None
        identity = self._loaded.identity
        identity.check(now=now)
        self._expiry.check(identity.leaf, source=identity.source, now=now)
        return identity

    def poll(self, *, now: datetime) -> bool:
        """Look at the files between sign-ins: for a background thread, about once a minute.

        Does nothing before the first ``current``. Files that cannot be used are warned
        of once, and never raise.

        Returns:
            Whether this very call loaded another leaf, chain or key than before, so
            that signing in early makes sense.
        """
        if self._loaded is None:
            return False
        new = False
        with contextlib.suppress(Exception):  # it was logged
            new = self._update(now)
        leaf, source = self._loaded.identity.leaf, self._loaded.identity.source
        if is_usable(leaf, now=now):
            self._expiry.check(leaf, source=source, now=now)
        return new

    def _update(self, now: datetime) -> bool:
        """Load if the files changed; whether that gave another identity.

        Raises:
            Exception: Loading failed; it was logged, and the present identity stays.
        """
        loaded = self._loaded
        if loaded and self._unchanged(loaded):
            return False
        lock = self._lock()
        # One thread loads, which may mean to fetch a passphrase; the others need not wait for it.
        usable = loaded is not None and is_usable(loaded.identity.leaf, now=now)
        if not lock.acquire(blocking=not usable):
            return False
        try:
            return self._reload(now)
        finally:
            lock.release()

    def _unchanged(self, loaded: _Loaded) -> bool:
        if not loaded.seen.settled or loaded.seen.stamps != self._files.stamps():
            return False
        try:
            return loaded.stamps == self._store_stamps()
        except Exception:  # noqa: BLE001 - loading will say what is wrong with the store
            return False

    def _store_stamps(self) -> tuple[object, ...]:
        return () if self._stores is None else self._stores.stamps()

    def _lock(self) -> threading.Lock:
        """This process's: after a fork, the parent's may be locked by a thread that is not here."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _reload(self, now: datetime) -> bool:
        before, content = self._loaded, None
        try:
            reads = self._files.read()
            content = reads.digest()
            stamps = self._store_stamps()
            if before is not None and (content, stamps) == (before.seen.content, before.stamps):
                self._loaded = before._replace(seen=before.seen.again(reads, now=now))
                self._failure = None
                return False
            identity = self._load(reads, now)
            if before is None:
                stamps = self._store_stamps()  # the stores were opened just now
        except Exception as error:
            self._report(error, content)
            raise
        self._failure = None
        new = before is not None and not _same(before.identity, identity)
        if before is None:
            self._files.pin()
        elif not new:
            identity = before.identity
        self._loaded = _Loaded(identity, Seen.first(reads, now=now), stamps)
        if new:
            logger.info(
                "%s: changed; signing in with serial number %x, valid until %s, from now on.",
                identity.source,
                identity.serial_number,
                identity.not_valid_after,
                extra=_fields(identity),
            )
        return new

    def _load(self, reads: Reads, now: datetime) -> Identity:
        return Identity._load(
            self._certificate,
            private_key=self._private_key,
            certificate_chain=self._certificate_chain,
            passphrase=self._passphrase,
            now=now,
            read=reads.material,
            stores=self._stores,
        )

    def watch(self, changed: Callable[[], None]) -> None:
        """Call *changed*, from any thread, when a key store says that it has a new certificate.

        `poll` sees the same within a minute.
        """
        if self._stores is not None:
            self._stores.watch(changed)

    def _report(self, error: Exception, content: bytes | None) -> None:
        """Log why changed files cannot be used, unless that was the last thing said."""
        failure = (type(error), content)
        if self._loaded is None or failure == self._failure:
            return
        self._failure = failure
        known = isinstance(error, RolesAnywhereError)
        logger.warning(
            "The certificate or key changed, or is out of reach, and cannot be loaded: the one "
            "with serial number %x, valid until %s, stays in use; each check tries again. %s",
            self._loaded.identity.serial_number,
            self._loaded.identity.not_valid_after,
            # What is raised by a passphrase callable may hold a secret.
            error if known else f"The passphrase callable raised {type(error).__name__}.",
            extra=_fields(self._loaded.identity, error),
        )

    def __repr__(self) -> str:
        """Where from, once that is known; no content."""
        identity = self.identity
        return f"<IdentitySource {'not loaded' if identity is None else identity.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: it may hold a private key or a passphrase."""
        raise TypeError(
            "An IdentitySource may hold a private key or a passphrase and cannot be pickled or "
            "copied. Pass on the configuration instead."
        )


def _fields(identity: Identity, error: Exception | None = None) -> dict[str, str | int | float]:
    return log_fields(
        source=identity.source,
        serial_number=identity.serial_number,
        certificate_expires_at=identity.not_valid_after,
        error=error,
    )


def _same(one: Identity, other: Identity) -> bool:
    """Whether leaf and chain are the same, and so is the key, as it fits the leaf."""
    return one.leaf == other.leaf and one.intermediates == other.intermediates
