# SPDX-License-Identifier: Apache-2.0
"""Whether a certificate is trusted: its path to the anchor, and its fitness.

Path validation follows RFC 5280, section 6.1, over `cryptography`'s parsers and
signature checks. Its ready-made verifier (``cryptography.x509.verification``) is
made for the web and does not suffice, even with policies for extensions that let
everything pass (new in cryptography 45): it compares names letter by letter, knows
neither constraints on directory names nor critical certificate policies nor RSA
keys below 2048 bits, and does not look at key identifiers. Of the generated chains
that OpenSSL, pyHanko's validator and this code all accept it refuses more than a
quarter. So a test compares this code with those two, over some thousand chains;
``docs/emulator.md`` says where they differ.

``Untrusted signing certificate``, ``Untrusted certificate. Insufficient
certificate`` and ``Incorrect basic constraints for CA certificate`` are AWS's
texts; all others are ours. The reason behind AWS's short texts hangs on the
refusal as its ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from rolesanywhere_auth._x509 import read_bundle
from rolesanywhere_auth.testing.service import certificate_policies
from rolesanywhere_auth.testing.service.algorithms import (
    UnusableKeyError,
    check_signature,
    has_strong_signature,
    key_kind,
)
from rolesanywhere_auth.testing.service.extensions import extension_of
from rolesanywhere_auth.testing.service.name_constraints import NameConstraintError, check_names
from rolesanywhere_auth.testing.service.names import canonical, is_self_issued, same_name
from rolesanywhere_auth.testing.service.wire import access_denied, invalid

MAX_ANCHORS = 2
"""Certificates in one trust anchor (user guide, "quotas")."""

_UNDERSTOOD = certificate_policies.UNDERSTOOD | {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    # Lists are imported, not fetched (user guide, "trust-model").
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
}


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

    An anchor may be an intermediate CA; its validity, pathLen and name constraints
    count. The order of *intermediates* does not matter, nor do strangers among them.
    An authority key identifier that contradicts a candidate excludes it.

    Whether the leaf is fit and within its validity is `check_leaf`'s business.

    Raises:
        Refusal: No valid path at the time *at*.
    """
    reason = UntrustedError(
        f"no way up to an anchor: the issuer is {name_text(leaf.issuer)}, and the chain that was "
        f"sent has {len(intermediates)} certificates"
    )
    flaws = [reason]
    for path in _paths((leaf,), intermediates, anchors, flaws):
        try:
            _check_path(path, at)
        except UntrustedError as error:
            reason = error
        else:
            return path
    raise access_denied("Untrusted signing certificate") from (
        reason if reason is not flaws[0] else flaws[-1]
    )


def _paths(
    path: tuple[x509.Certificate, ...],
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    flaws: list[UntrustedError],
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Every chain of names and signatures to an anchor, each intermediate used once at most.

    What is wrong with certificates that have the right name is added to *flaws*.
    """
    certificate = path[-1]
    for issuer in (*anchors, *intermediates):
        if issuer in path or not same_name(issuer.subject, certificate.issuer):
            continue
        if not _is_meant(issuer, extension_of(certificate, x509.AuthorityKeyIdentifier)):
            name = name_text(certificate.subject)
            # Often just a namesake, so any other flaw says more.
            error = UntrustedError(f"{name} is of another issuer, says its authorityKeyIdentifier")
            flaws.insert(1, error)
            continue
        try:
            _check_link(certificate, issuer)
        except UntrustedError as error:
            flaws.append(error)
            continue
        if issuer in anchors:
            yield (*path, issuer)
        else:
            yield from _paths((*path, issuer), intermediates, anchors, flaws)


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    name = name_text(certificate.subject)
    if not has_strong_signature(certificate):
        raise UntrustedError(f"{name} is signed with a hash weaker than SHA-256")
    try:
        key_kind(issuer)
        check_signature(certificate, issuer)
    except UnusableKeyError as error:
        raise UntrustedError(f"{name_text(issuer.subject)}: {error}") from error
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise UntrustedError(f"{name} is not signed by the key of its issuer") from error


def _is_meant(issuer: x509.Certificate, identifier: x509.AuthorityKeyIdentifier | None) -> bool:
    """RFC 5280, 4.2.1.1, gives it to find the issuer; OpenSSL and others exclude by it, too."""
    if identifier is None:
        return True
    own = extension_of(issuer, x509.SubjectKeyIdentifier)
    key = identifier.key_identifier
    if own is not None and key is not None and own.digest != key:
        return False
    serial_number = identifier.authority_cert_serial_number
    if serial_number is not None and serial_number != issuer.serial_number:
        return False
    names = [
        name.value
        for name in identifier.authority_cert_issuer or ()
        if isinstance(name, x509.DirectoryName)
    ]
    return not names or canonical(issuer.issuer) in map(canonical, names)


def _check_path(path: tuple[x509.Certificate, ...], at: datetime) -> None:
    """All but names, signatures, and the validity of the leaf, ``path[0]``."""
    for certificate in path:
        for extension in certificate.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                name, oid = name_text(certificate.subject), extension.oid.dotted_string
                raise UntrustedError(f"{name} has the critical extension {oid}, unknown here")
    try:
        for below, issuer in enumerate(path[1:]):
            _check_issuer(issuer, path[1 : below + 1], at)
            check_names(issuer, path[: below + 1])
        certificate_policies.check_policies(path)
    except (NameConstraintError, certificate_policies.PolicyError) as error:
        raise UntrustedError(str(error)) from error


def _check_issuer(
    issuer: x509.Certificate, below: tuple[x509.Certificate, ...], at: datetime
) -> None:
    """RFC 5280, 6.1.4 (k) to (n); *below* are the CAs between the issuer and the leaf."""
    name = name_text(issuer.subject)
    if not issuer.not_valid_before_utc <= at <= issuer.not_valid_after_utc:
        raise UntrustedError(f"{name} is not valid at {moment_text(at)}")
    constraints = extension_of(issuer, x509.BasicConstraints)
    if issuer.version is not x509.Version.v3 or constraints is None or not constraints.ca:
        raise UntrustedError(f"{name} is no CA (version 3 and basicConstraints CA:TRUE)")
    usage = extension_of(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise UntrustedError(f"{name} may not sign certificates (keyUsage keyCertSign)")
    counted = sum(not is_self_issued(ca) for ca in below)
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
        raise access_denied(f"Certificate expired at {moment_text(leaf.not_valid_after_utc)}")
    if at < leaf.not_valid_before_utc:
        raise access_denied(
            f"Certificate not valid before {moment_text(leaf.not_valid_before_utc)}"
        )


def _leaf_flaw(leaf: x509.Certificate) -> str | None:
    constraints = extension_of(leaf, x509.BasicConstraints)
    usage = extension_of(leaf, x509.KeyUsage)
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
    constraints = extension_of(certificate, x509.BasicConstraints)
    usage = extension_of(certificate, x509.KeyUsage)
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
        certificates = read_bundle(pem.encode())
    except ValueError as error:
        raise invalid("x509CertificateData must be one or two certificates in PEM") from error
    if len(certificates) > MAX_ANCHORS:
        raise invalid(
            f"x509CertificateData has {len(certificates)} certificates; "
            f"a trust anchor takes at most {MAX_ANCHORS}"
        )
    for certificate in certificates:
        check_anchor(certificate)
    return certificates


# Small questions about one certificate


def name_text(name: x509.Name) -> str:
    """*name* for people."""
    return name.rfc4514_string() or "the certificate without a subject"


def moment_text(value: datetime) -> str:
    """*value* for people, in UTC."""
    return f"{value.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
