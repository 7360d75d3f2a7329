# SPDX-License-Identifier: Apache-2.0
"""Certificates: what is in them, and what the service demands of them.

The fields are read by our own small DER reader (see ``_der.py``): they serve to
choose, order and explain. Nothing here decides trust; the service does.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from rolesanywhere_auth._der import (
    BIT_STRING,
    BOOLEAN,
    OCTET_STRING,
    SEQUENCE,
    DERError,
    Reader,
    context,
)
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateLoadError,
    CertificateNotYetValidError,
    CertificateRequirementError,
)
from rolesanywhere_auth.forking import local_work

logger = logging.getLogger("rolesanywhere_auth.certificates")

MAX_INTERMEDIATES = 5
"""Certificates the service takes in ``X-Amz-X509-Chain`` (user guide, quotas page)."""

_BASIC_CONSTRAINTS = "2.5.29.19"
_KEY_USAGE = "2.5.29.15"
_SUBJECT_KEY_ID = "2.5.29.14"
_AUTHORITY_KEY_ID = "2.5.29.35"
_RSASSA_PSS = "1.2.840.113549.1.1.10"
_EMPTY_NAME = b"\x30\x00"

# Signature algorithms and digests weaker than SHA-256, which the service rejects.
_WEAK = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.3": "MD4",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.2.840.113549.1.1.14": "SHA-224",
    "1.2.840.10040.4.3": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.10045.4.3.1": "SHA-224",
    "1.3.14.3.2.29": "SHA-1",
    "1.3.14.3.2.26": "SHA-1",
    "1.2.840.113549.2.5": "MD5",
    "2.16.840.1.101.3.4.2.4": "SHA-224",
}


class Certificate(NamedTuple):
    """The fields of one X.509 certificate that signing in needs.

    Make one with ``from_der``.
    """

    der: bytes
    serial_number: int
    subject: bytes
    """The DER of the name."""
    issuer: bytes
    """The DER of the name."""
    not_valid_before: datetime
    """UTC, aware."""
    not_valid_after: datetime
    """UTC, aware; the certificate is valid up to and including this second."""
    public_key_info: bytes
    """The DER of the SubjectPublicKeyInfo."""
    public_key_algorithm: str
    """OID of the key's algorithm."""
    signature_algorithm: str
    """OID of the algorithm the issuer signed with."""
    weak_digest: str | None
    """Name of the digest under the issuer's signature, if it is weaker than SHA-256."""
    version: int
    """3 for X.509 v3."""
    is_ca: bool
    """``CA:TRUE`` in basicConstraints."""
    key_usage: bytes | None
    """Bits of keyUsage, digitalSignature first; ``None`` without the extension."""
    subject_key_id: bytes | None
    authority_key_id: bytes | None

    def __repr__(self) -> str:
        """Without the long binary fields."""
        return (
            f"Certificate(serial_number={self.serial_number}, "
            f"not_valid_before={self.not_valid_before!r}, "
            f"not_valid_after={self.not_valid_after!r}, "
            f"public_key_algorithm={self.public_key_algorithm!r}, "
            f"signature_algorithm={self.signature_algorithm!r}, "
            f"weak_digest={self.weak_digest!r}, version={self.version}, is_ca={self.is_ca})"
        )

    @classmethod
    def from_der(cls, der: bytes, *, source: str) -> Certificate:
        """Read one certificate.

        Args:
            der: The certificate, and nothing behind it.
            source: How messages name where it came from.

        Raises:
            CertificateLoadError: It is not a certificate.
        """
        try:
            return _parse(bytes(der))
        except DERError as error:
            raise CertificateLoadError(
                f"{source}: a certificate in it is damaged or not DER: {error}.", source=source
            ) from error

    @property
    def encoded(self) -> str:
        """Base64 of the DER in one line, as the header ``X-Amz-X509`` carries it."""
        return base64.b64encode(self.der).decode("ascii")

    @property
    def digital_signature(self) -> bool:
        """Whether keyUsage is there and includes digitalSignature."""
        return bool(self.key_usage and self.key_usage[0] & 0x80)

    @property
    def is_self_signed(self) -> bool:
        """Whether it names itself as issuer, by name and, where present, by key id."""
        return self.subject == self.issuer and self.authority_key_id in (None, self.subject_key_id)

    @property
    def subject_text(self) -> str:
        """The subject as RFC 4514 writes it; for messages."""
        return self._name_text("subject")

    @property
    def issuer_text(self) -> str:
        """The issuer as RFC 4514 writes it; for messages."""
        return self._name_text("issuer")

    def _name_text(self, which: str) -> str:
        with local_work():
            from cryptography import x509

            from rolesanywhere_auth._x509 import UNREADABLE

            try:
                name: x509.Name = getattr(x509.load_der_x509_certificate(self.der), which)
                return name.rfc4514_string() or f"(empty {which})"
            except UNREADABLE:
                return f"(unreadable {which}, serial number {self.serial_number:x})"


def _parse(der: bytes) -> Certificate:
    outer = Reader(der)
    certificate = outer.enter()
    outer.finish()
    body = certificate.enter()
    signature_algorithm, weak_digest = _read_signature_algorithm(certificate.enter())
    certificate.bit_string()
    certificate.finish()

    version = 1
    if body.peek() == context(0):
        explicit = body.enter(context(0))
        version = explicit.integer() + 1
        explicit.finish()
    if version not in (1, 2, 3):
        raise DERError(f"it has the unknown X.509 version {version}")
    serial_number = body.integer()
    body.enter()
    issuer = body.raw(SEQUENCE)
    validity = body.enter()
    not_valid_before, not_valid_after = validity.time(), validity.time()
    validity.finish()
    subject = body.raw(SEQUENCE)
    public_key_info = body.raw(SEQUENCE)
    body.skip(context(1, constructed=False))
    body.skip(context(2, constructed=False))
    extensions = _read_extensions(body.enter(context(3))) if body else {}
    body.finish()
    return Certificate(
        der=der,
        serial_number=serial_number,
        subject=subject,
        issuer=issuer,
        not_valid_before=not_valid_before,
        not_valid_after=not_valid_after,
        public_key_info=public_key_info,
        public_key_algorithm=_read_key_algorithm(public_key_info),
        signature_algorithm=signature_algorithm,
        weak_digest=weak_digest,
        version=version,
        is_ca=_read_basic_constraints(extensions.get(_BASIC_CONSTRAINTS)),
        key_usage=_read_key_usage(extensions.get(_KEY_USAGE)),
        subject_key_id=_read_subject_key_id(extensions.get(_SUBJECT_KEY_ID)),
        authority_key_id=_read_authority_key_id(extensions.get(_AUTHORITY_KEY_ID)),
    )


def _read_signature_algorithm(reader: Reader) -> tuple[str, str | None]:
    """The OID, and the name of a weak digest. RSASSA-PSS names it apart (RFC 4055 3.1)."""
    algorithm = reader.oid()
    if algorithm != _RSASSA_PSS:
        return algorithm, _WEAK.get(algorithm)
    parameters = reader.enter() if reader else reader
    if parameters.peek() != context(0):
        return algorithm, "SHA-1"
    return algorithm, _WEAK.get(parameters.enter(context(0)).enter().oid())


def _read_key_algorithm(public_key_info: bytes) -> str:
    info = Reader(public_key_info).enter()
    algorithm = info.enter().oid()
    info.read(BIT_STRING)
    info.finish()
    return algorithm


def _read_extensions(explicit: Reader) -> dict[str, bytes]:
    reader = explicit.enter()
    explicit.finish()
    extensions: dict[str, bytes] = {}
    while reader:
        extension = reader.enter()
        name = extension.oid()
        if extension.peek() == BOOLEAN:
            extension.boolean()
        value = extension.read(OCTET_STRING)
        extension.finish()
        if name in extensions:
            raise DERError(f"the extension {name} is there twice")
        extensions[name] = value
    return extensions


def _read_basic_constraints(value: bytes | None) -> bool:
    if value is None:
        return False
    reader = Reader(value).enter()
    return reader.peek() == BOOLEAN and reader.boolean()


def _read_key_usage(value: bytes | None) -> bytes | None:
    return None if value is None else Reader(value).bit_string()[0]


def _read_subject_key_id(value: bytes | None) -> bytes | None:
    return None if value is None else Reader(value).read(OCTET_STRING)


def _read_authority_key_id(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    reader = Reader(value).enter()
    tag = context(0, constructed=False)
    return reader.read(tag) if reader.peek() == tag else None


def check_leaf(leaf: Certificate, *, now: datetime, source: str) -> None:
    """Check what the service demands of an end-entity certificate, before it is asked.

    The rules are those of "Signature verification" on the trust model page of the
    AWS IAM Roles Anywhere user guide, and the validity period.

    Args:
        leaf: The certificate that is to sign in.
        now: The present time, aware.
        source: How messages name where it came from.

    Raises:
        CertificateExpiredError, CertificateNotYetValidError: By ``now``.
        CertificateRequirementError: The service would refuse it.
    """
    flaw = _flaw(leaf)
    if flaw is not None:
        raise CertificateRequirementError(f"{naming(leaf, source)} {flaw}", source=source)
    if now > leaf.not_valid_after:
        raise CertificateExpiredError(
            f"{naming(leaf, source)} expired at {leaf.not_valid_after:%Y-%m-%dT%H:%M:%SZ} "
            f"(now {now:%Y-%m-%dT%H:%M:%S%z}). Renew it.",
            source=source,
        )
    if now < leaf.not_valid_before:
        raise CertificateNotYetValidError(
            f"{naming(leaf, source)} is valid only from "
            f"{leaf.not_valid_before:%Y-%m-%dT%H:%M:%SZ} (now {now:%Y-%m-%dT%H:%M:%S%z}). "
            "Check this machine's clock, or wait.",
            source=source,
        )


def naming(certificate: Certificate, source: str) -> str:
    """How a message about this certificate begins."""
    return (
        f"{source}: the certificate {certificate.subject_text} "
        f"(serial number {certificate.serial_number:x})"
    )


def _flaw(leaf: Certificate) -> str | None:
    if leaf.is_ca:
        return (
            "is a CA certificate (CA:TRUE), which cannot sign in. Pass the end-entity "
            "certificate that this CA issued, with its key."
        )
    if leaf.version != 3:
        return (
            f"is X.509 v{leaf.version}; the service takes v3 only. Have it issued with extensions."
        )
    if leaf.weak_digest is not None:
        return (
            f"is signed with {leaf.weak_digest}; the service takes SHA-256 or stronger. "
            "Have it issued again with SHA-256."
        )
    if not leaf.digital_signature:
        how = "has no keyUsage" if leaf.key_usage is None else "has a keyUsage"
        return (
            f"{how} {'extension' if leaf.key_usage is None else 'without digitalSignature'}; the "
            "service demands digitalSignature. Have it issued with keyUsage=digitalSignature."
        )
    if leaf.subject == _EMPTY_NAME:
        return "has an empty subject, which the service refuses. Have it issued with a subject."
    return None


def issuers(leaves: Sequence[Certificate], pool: Iterable[Certificate]) -> list[Certificate]:
    """Those of *pool* that may stand above the leaves, by name or by key id.

    For what would otherwise read all that a token or a store holds; the chain is made by a
    closer look.
    """
    left = {each.der: each for each in pool}
    found: list[Certificate] = []
    waiting = list(leaves)
    while waiting:
        child = waiting.pop()
        above = [each for each in left.values() if _may_have_issued(each, child)]
        for each in above:
            del left[each.der]
        found += above
        waiting += above
    return found


def _may_have_issued(issuer: Certificate, child: Certificate) -> bool:
    if issuer.subject == child.issuer:
        return True
    return child.authority_key_id is not None and child.authority_key_id == issuer.subject_key_id
