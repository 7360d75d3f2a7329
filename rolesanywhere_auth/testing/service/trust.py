"""Whether a certificate is trusted: path to the anchor, fitness, revocation.

Path validation follows RFC 5280, section 6.1, as far as IAM Roles Anywhere has
use for it, over `cryptography`'s own signature checks, which know RSA, EC and
ML-DSA alike (its ready-made verifier wants a web certificate).

``Untrusted signing certificate``, ``Untrusted certificate. Insufficient
certificate``, ``Certificate revoked`` and ``Incorrect basic constraints for CA
certificate`` are AWS's texts; all others are ours. The reason behind AWS's short
texts hangs on the refusal as its ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from rolesanywhere_auth.testing.service.algorithms import (
    UNREADABLE,
    UnusableKeyError,
    has_strong_signature,
    key_kind,
    readable,
)
from rolesanywhere_auth.testing.service.name_constraints import NameConstraintError, check_names
from rolesanywhere_auth.testing.service.wire import access_denied, invalid

MAX_ANCHORS = 2
"""Certificates in one trust anchor (user guide, "quotas")."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        # Any policy will do: nobody asks for one.
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


class UntrustedError(Exception):
    """Why a certificate was refused; the cause of a refusal, for people who debug."""


# The path


def find_path(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    *,
    at: datetime,
) -> tuple[x509.Certificate, ...]:
    """The way from *leaf* to one of *anchors*, both included.

    An anchor may be an intermediate CA. Names are compared as they are written.

    Raises:
        Refusal: No valid path at the time *at*, or the leaf is not valid then.
    """
    reason = UntrustedError(
        f"no way up to an anchor: the issuer is {_text(leaf.issuer)}, and the chain that was sent "
        f"has {len(intermediates)} certificates"
    )
    for path in _paths((leaf,), intermediates, anchors):
        try:
            _check_path(path, at)
        except UntrustedError as error:
            reason = error
        else:
            _check_validity(leaf, at)
            return path
    raise access_denied("Untrusted signing certificate") from reason


def _paths(
    path: tuple[x509.Certificate, ...],
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Every chain of names to an anchor, each intermediate used once at most."""
    wanted = path[-1].issuer
    for anchor in anchors:
        if anchor.subject == wanted:
            yield (*path, anchor)
    for candidate in intermediates:
        if candidate.subject == wanted and candidate not in path:
            yield from _paths((*path, candidate), intermediates, anchors)


def _check_path(path: tuple[x509.Certificate, ...], at: datetime) -> None:
    """All but the validity of the leaf, ``path[0]``."""
    for certificate in path:
        for extension in certificate.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                name, oid = _text(certificate.subject), extension.oid.dotted_string
                raise UntrustedError(f"{name} has the critical extension {oid}, unknown here")
    for certificate, issuer in pairwise(path):
        _check_signature(certificate, issuer)
    for below, issuer in enumerate(path[1:]):
        _check_issuer(issuer, path[1 : below + 1], at)
        try:
            check_names(issuer, path[: below + 1])
        except NameConstraintError as error:
            raise UntrustedError(str(error)) from error


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    name = _text(certificate.subject)
    if not has_strong_signature(certificate):
        raise UntrustedError(f"{name} is signed with a hash weaker than SHA-256")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise UntrustedError(f"{name} is not signed by the key of its issuer") from error


def _check_issuer(
    issuer: x509.Certificate, below: tuple[x509.Certificate, ...], at: datetime
) -> None:
    """RFC 5280, 6.1.4 (k) to (n); *below* are the CAs between the issuer and the leaf."""
    name = _text(issuer.subject)
    if not issuer.not_valid_before_utc <= at <= issuer.not_valid_after_utc:
        raise UntrustedError(f"{name} is not valid at {_moment(at)}")
    constraints = _extension(issuer, x509.BasicConstraints)
    if issuer.version is not x509.Version.v3 or constraints is None or not constraints.ca:
        raise UntrustedError(f"{name} is no CA (version 3 and basicConstraints CA:TRUE)")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise UntrustedError(f"{name} may not sign certificates (keyUsage keyCertSign)")
    counted = sum(1 for ca in below if ca.subject != ca.issuer)
    if constraints.path_length is not None and counted > constraints.path_length:
        raise UntrustedError(f"{name} allows {constraints.path_length} CAs below it, not {counted}")


# The leaf and the anchor


def check_leaf(leaf: x509.Certificate, *, at: datetime) -> None:
    """The service's rules for an end-entity certificate (user guide, "trust-model").

    Extended key usage is not checked. Keys other than RSA, EC on P-256, P-384 or
    P-521, and ML-DSA are refused; the list of curves is ours.

    Raises:
        Refusal: It is unfit, expired or not yet valid (texts for both of these: ours).
    """
    flaw = _leaf_flaw(leaf)
    if flaw is not None:
        message = "Untrusted certificate. Insufficient certificate"
        raise access_denied(message) from UntrustedError(flaw)
    _check_validity(leaf, at)


def _check_validity(leaf: x509.Certificate, at: datetime) -> None:
    if at > leaf.not_valid_after_utc:
        raise access_denied(f"Certificate expired at {_moment(leaf.not_valid_after_utc)}")
    if at < leaf.not_valid_before_utc:
        raise access_denied(f"Certificate not valid before {_moment(leaf.not_valid_before_utc)}")


def _leaf_flaw(leaf: x509.Certificate) -> str | None:
    constraints = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    flaws = {
        "the certificate is not X.509 version 3": leaf.version is not x509.Version.v3,
        "basicConstraints is CA:TRUE": constraints is not None and constraints.ca,
        "keyUsage lacks digitalSignature": usage is None or not usage.digital_signature,
        "it is signed with a hash weaker than SHA-256": not has_strong_signature(leaf),
        "the subject is empty": not list(leaf.subject),
    }
    try:
        key_kind(leaf)
    except UnusableKeyError as error:
        flaws[str(error)] = True
    return "; ".join(flaw for flaw, present in flaws.items() if present) or None


def check_anchor(certificate: x509.Certificate) -> None:
    """The service's rules for a CA certificate in a trust anchor (user guide, "trust-model").

    Raises:
        Refusal: A ``ValidationException``; only the text about basic constraints is AWS's.
    """
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if certificate.version is not x509.Version.v3:
        raise invalid("CA certificate must be X.509 version 3")
    if constraints is None or not constraints.ca:
        raise invalid("Incorrect basic constraints for CA certificate")
    if usage is None or not usage.key_cert_sign:
        raise invalid("CA certificate must have the key usage Certificate Sign")
    if not has_strong_signature(certificate):
        raise invalid("CA certificate must be signed with SHA-256 or stronger")


def load_anchor_bundle(pem: str) -> tuple[x509.Certificate, ...]:
    """The CA certificates in *pem*, one or two, each checked by `check_anchor`.

    Raises:
        Refusal: A ``ValidationException``.
    """
    try:
        certificates = [readable(c) for c in x509.load_pem_x509_certificates(pem.encode())]
    except UNREADABLE as error:
        raise invalid("x509CertificateData must be one or two certificates in PEM") from error
    if len(certificates) > MAX_ANCHORS:
        raise invalid(
            f"x509CertificateData has {len(certificates)} certificates; "
            f"a trust anchor takes at most {MAX_ANCHORS}"
        )
    for certificate in certificates:
        check_anchor(certificate)
    return tuple(certificates)


# Revocation


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """Read a CRL, PEM or DER.

    A weak hash is refused, like those of certificates.
    Delta CRLs and CRLs for only a part of the certificates (RFC 5280, 5.2.4 and
    5.2.5) are refused, since what AWS does with them is not known.

    Raises:
        Refusal: A ``ValidationException``, text ours.
    """
    pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
        critical = [e.oid.dotted_string for e in crl.extensions if e.critical]
    except UNREADABLE as error:
        raise invalid("crlData is not a certificate revocation list in PEM or DER") from error
    if not has_strong_signature(crl):
        raise invalid("crlData must be signed with SHA-256 or stronger")
    if critical:
        raise invalid(f"crlData has critical extensions unknown here: {', '.join(critical)}")
    return crl


def check_revocation(
    path: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    *,
    at: datetime,
) -> None:
    """Refuse a *path* of which the leaf or an intermediate is revoked.

    Ours, as AWS does not say: a CRL counts for the certificates of the CA that
    issued and signed it, and others are ignored; one that is past its nextUpdate
    still revokes what it lists, and lets the rest pass; one dated after *at*
    does not count yet; the CA's keyUsage need not have cRLSign.

    Raises:
        Refusal: ``Certificate revoked``.
    """
    for certificate, issuer in pairwise(path):
        for crl in crls:
            if crl.last_update_utc > at or not _is_crl_of(crl, issuer):
                continue
            if crl.get_revoked_certificate_by_serial_number(certificate.serial_number):
                raise access_denied("Certificate revoked") from UntrustedError(
                    f"{_text(certificate.subject)}, serial {certificate.serial_number}, "
                    f"is on the CRL of {_text(issuer.subject)}"
                )


def _is_crl_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    # A key that has come this far signs certificates, so it can check a CRL as well.
    key: Any = issuer.public_key()
    return crl.issuer == issuer.subject and crl.is_signature_valid(key)


# Small questions about one certificate


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _text(name: x509.Name) -> str:
    return name.rfc4514_string() or "the certificate without a subject"


def _moment(value: datetime) -> str:
    return f"{value.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
