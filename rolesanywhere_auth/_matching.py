# SPDX-License-Identifier: Apache-2.0
"""Which of several certificates belongs to a key, and which of them link it upwards."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rolesanywhere_auth.certificates import MAX_INTERMEDIATES, Certificate, check_leaf, naming
from rolesanywhere_auth.errors import (
    CertificateError,
    CertificateRequirementError,
    KeyMismatchError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import Signer, unsupported_key

if TYPE_CHECKING:
    from rolesanywhere_auth.keys import PublicKey

logger = logging.getLogger("rolesanywhere_auth.identity")

_RSASSA_PSS = "1.2.840.113549.1.1.10"


def match_leaf(
    certificates: Sequence[Certificate],
    signer: Signer,
    *,
    now: datetime,
    source: str,
    key_source: str,
) -> Certificate:
    """The certificate of this key; of several, one that can sign in, then the newest."""
    with local_work():
        from rolesanywhere_auth.keys._plain import plain_public_key_info

    public_key = signer.public_key()
    info = plain_public_key_info(public_key)
    matching = [each for each in certificates if each.public_key_info == info]
    if not matching:
        matching = [each for each in certificates if _same_key(each, public_key)]
    if not matching:
        raise KeyMismatchError(_mismatch(certificates, source, key_source), source=key_source)
    leaf = max(matching, key=lambda each: (is_usable(each, now=now), each.not_valid_before))
    if leaf.public_key_algorithm == _RSASSA_PSS:
        raise unsupported_key(
            f"the certificate {leaf.subject_text} restricts its RSA key to RSASSA-PSS, while the "
            "service verifies PKCS#1 v1.5 signatures",
            source=source,
        )
    return leaf


def is_usable(certificate: Certificate, *, now: datetime) -> bool:
    """Whether ``check_leaf`` has nothing against it."""
    try:
        check_leaf(certificate, now=now, source="")
    except CertificateError:
        return False
    return True


def _same_key(certificate: Certificate, public_key: PublicKey) -> bool:
    """Compare by value: one key may be written in several ways (compressed points …)."""
    from cryptography.exceptions import UnsupportedAlgorithm

    with local_work():
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


def order_chain(
    leaf: Certificate, others: Iterable[Certificate], *, source: str
) -> tuple[Certificate, ...]:
    """The intermediates that link the leaf upwards, in that order.

    The leaf, self-signed roots and certificates that do not belong to its chain
    are left out.

    Args:
        leaf: The certificate that is to sign in.
        others: All that may stand above it.
        source: How messages name where the leaf came from.

    Raises:
        CertificateRequirementError: There are more than five.
    """
    pool = [other for other in others if other.is_ca and other.der != leaf.der]
    chain: list[Certificate] = []
    current = leaf
    while True:
        issuer = _issuer_of(current, [other for other in pool if other not in chain])
        if issuer is None or issuer.is_self_signed:
            break
        chain.append(issuer)
        current = issuer
    if len(chain) > MAX_INTERMEDIATES:
        raise CertificateRequirementError(
            f"{naming(leaf, source)} has a chain of {len(chain)} intermediates; the service "
            f"takes {MAX_INTERMEDIATES}. Use a trust anchor closer to the certificate: an "
            "intermediate can be one, and what stands above it need not be sent.",
            source=source,
        )
    return tuple(chain)


def _issuer_of(child: Certificate, pool: list[Certificate]) -> Certificate | None:
    if child.is_self_signed:
        return None
    named = [other for other in pool if _same_name(other, child)]
    if child.authority_key_id is not None:
        by_id = [other for other in named if other.subject_key_id == child.authority_key_id]
        named = by_id or [other for other in named if other.subject_key_id is None]
    if len({other.public_key_info for other in named}) > 1:
        named = [other for other in named if _issued(other, child)]
    # The same CA may be there twice: renewed, or signed by another root as well. A root is
    # not sent, so a cross certificate leads further; of equals, the one that lasts longest.
    return max(
        named, key=lambda other: (not other.is_self_signed, other.not_valid_after), default=None
    )


def _same_name(issuer: Certificate, child: Certificate) -> bool:
    """Whether the child names this issuer; with equal key ids, however each spells the name.

    Types of strings, upper and lower case and spaces may differ (RFC 5280 7.1).
    """
    if issuer.subject == child.issuer:
        return True
    if child.authority_key_id is None or child.authority_key_id != issuer.subject_key_id:
        return False
    return _folded(issuer.subject_text) == _folded(child.issuer_text)


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _issued(issuer: Certificate, child: Certificate) -> bool:
    """Whether the signature fits: only asked where names and key ids do not decide."""
    with local_work():
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

        from rolesanywhere_auth._x509 import UNREADABLE

        try:
            x509.load_der_x509_certificate(child.der).verify_directly_issued_by(
                x509.load_der_x509_certificate(issuer.der)
            )
        except (InvalidSignature, UnsupportedAlgorithm, *UNREADABLE):
            return False
    return True


def explain_chain(
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
        if each.weak_digest is not None:
            logger.warning(
                "%s: the intermediate %s is signed with %s; the service takes SHA-256 or stronger.",
                source,
                each.subject_text,
                each.weak_digest,
            )
