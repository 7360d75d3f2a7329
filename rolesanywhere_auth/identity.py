"""``Identity``: one certificate, its intermediates and its key, checked to fit together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from rolesanywhere_auth._containers import (
    Contents,
    Readable,
    hint,
    open_contents,
    read_material,
)
from rolesanywhere_auth.certificates import Certificate, check_leaf, order_chain
from rolesanywhere_auth.errors import (
    CertificateError,
    KeyMismatchError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.keys import Signer, check_signer, unsupported_key
from rolesanywhere_auth.secrets import Passphrase, reveal

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

logger = logging.getLogger("rolesanywhere_auth.identity")

_RSASSA_PSS = "1.2.840.113549.1.1.10"


@dataclass(frozen=True)
class Identity:
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

    @cached_property
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
                PKCS#12; a path, bytes, or a PEM text. The leaf is the certificate
                that fits the key.
            private_key: PEM, DER or PKCS#12, or any ``Signer``. ``None`` if
                ``certificate`` holds it.
            certificate_chain: Intermediates that are not in ``certificate``.
            passphrase: Opens the key or the PKCS#12: bytes, a str (taken as UTF-8), or
                a callable that gives one of these. Harmless where nothing is encrypted.
            now: The present time, aware.

        Raises:
            ConfigurationError: A parameter is of the wrong type, or names a key store.
            CertificateLoadError, PrivateKeyLoadError, PassphraseError: by their names.
            UnsupportedKeyError: The service has no signing algorithm for the key.
            KeyMismatchError: The key belongs to none of the certificates.
            CertificateExpiredError, CertificateNotYetValidError,
            CertificateRequirementError: The service would refuse the certificate.
        """
        secret = reveal(passphrase)
        contents = _open(certificate, role="certificate", passphrase=secret)
        found = _certificates(contents)
        extra: list[Certificate] = []
        if certificate_chain is not None:
            chain = _open(certificate_chain, role="certificate_chain", passphrase=secret)
            extra = _certificates(chain)
        signer, key_source = _signer(private_key, contents, secret)
        source = contents.material.source
        leaf = _match(found, signer, now=now, source=source, key_source=key_source)
        intermediates = order_chain(leaf, [*found, *extra])
        _explain_chain(leaf, intermediates, extra, now=now, source=source)
        identity = cls(leaf, intermediates, signer, source)
        identity.check(now=now)
        return identity


def _open(value: Readable, *, role: str, passphrase: bytes | None) -> Contents:
    return open_contents(read_material(value, role=role), passphrase=passphrase)


def _certificates(contents: Contents) -> list[Certificate]:
    material = contents.material
    if not contents.certificates:
        raise material.error(
            hint(contents)
            or (
                f"holds no certificate{' but a private key' if contents.keys else ''}. A "
                "certificate file has a line '-----BEGIN CERTIFICATE-----'."
            )
        )
    return [
        Certificate.from_der(der, source=material.source)
        for der in dict.fromkeys(contents.certificates)
    ]


def _signer(
    private_key: Readable | Signer | None, contents: Contents, passphrase: bytes | None
) -> tuple[Signer, str]:
    """The signer, and how messages name where it came from."""
    from rolesanywhere_auth.keys.files import FileSigner, is_private_key

    if private_key is None:
        if not contents.keys:
            source = contents.material.source
            raise PrivateKeyLoadError(
                f"No private_key was given, and {source} holds none. Pass private_key.",
                source=source,
            )
        return FileSigner.from_contents(contents, passphrase=passphrase), contents.material.source
    if is_private_key(private_key):
        source = f"{type(private_key).__name__} given as private_key"
        return FileSigner(private_key, source=source), source
    if isinstance(private_key, Signer):
        source = f"{type(private_key).__name__} given as private_key"
        check_signer(private_key, source=source)
        return private_key, source
    signer = FileSigner.load(private_key, passphrase=passphrase)
    return signer, signer.source


def _match(
    certificates: Sequence[Certificate],
    signer: Signer,
    *,
    now: datetime,
    source: str,
    key_source: str,
) -> Certificate:
    """The certificate of this key; of several, one that can sign in, then the newest."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public_key = signer.public_key()
    info = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    matching = [each for each in certificates if each.public_key_info == info]
    if not matching:
        matching = [each for each in certificates if _same_key(each, public_key)]
    if not matching:
        raise KeyMismatchError(_mismatch(certificates, source, key_source), source=key_source)
    leaf = max(matching, key=lambda each: (_usable(each, now), each.not_valid_before))
    if leaf.public_key_algorithm == _RSASSA_PSS:
        raise unsupported_key(
            f"the certificate {leaf.subject_text} restricts its RSA key to RSASSA-PSS, while the "
            "service verifies PKCS#1 v1.5 signatures",
            source=source,
        )
    return leaf


def _usable(certificate: Certificate, now: datetime) -> bool:
    try:
        check_leaf(certificate, now=now, source="")
    except CertificateError:
        return False
    return True


def _same_key(certificate: Certificate, public_key: PublicKey) -> bool:
    """Compare by value: one key may be written in several ways (compressed points …)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(certificate.public_key_info) == public_key
    except (ValueError, UnsupportedAlgorithm):
        return False


def _mismatch(certificates: Sequence[Certificate], source: str, key_source: str) -> str:
    names = ", ".join(
        f"{each.subject_text} (serial number {each.serial_number:x})" for each in certificates
    )
    return (
        f"The private key from {key_source} belongs to none of the certificates from {source}: "
        f"{names}. Pass the key whose public half was certified, or the certificate of this key."
    )


def _explain_chain(
    leaf: Certificate,
    intermediates: Sequence[Certificate],
    extra: Sequence[Certificate],
    *,
    now: datetime,
    source: str,
) -> None:
    """Log what may make the service say "Untrusted certificate"."""
    if extra and not intermediates and all(each.subject != leaf.issuer for each in extra):
        logger.warning(
            "%s: no certificate of certificate_chain issued this one; none is sent.", source
        )
    for each in intermediates:
        if not each.not_valid_before <= now <= each.not_valid_after:
            logger.warning(
                "%s: the intermediate %s is valid from %s to %s only.",
                source,
                each.subject_text,
                each.not_valid_before,
                each.not_valid_after,
            )


class IdentitySource:
    """Gives the ``Identity`` to sign in with. It holds references; loading waits for the first use.

    Args: as ``Identity.load`` takes them.
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
        self._identity: Identity | None = None

    def current(self, *, now: datetime) -> Identity:
        """The identity, loaded at the first call, checked against the time at each.

        Threads that come first together may load twice; the results are equal.

        Raises:
            IdentityError, ConfigurationError: as ``Identity.load`` does.
        """
        identity = self._identity
        if identity is None:
            identity = self._load(now)
            self._identity = identity
        else:
            identity.check(now=now)
        return identity

    def _load(self, now: datetime) -> Identity:
        return Identity.load(
            self._certificate,
            private_key=self._private_key,
            certificate_chain=self._certificate_chain,
            passphrase=self._passphrase,
            now=now,
        )

    def __repr__(self) -> str:
        """Where from, once that is known; no content."""
        loaded = self._identity
        return f"<IdentitySource {'not loaded' if loaded is None else loaded.source}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: it may hold a private key or a passphrase."""
        raise TypeError(
            "An IdentitySource may hold a private key or a passphrase and cannot be pickled or "
            "copied. Pass on the configuration instead."
        )
