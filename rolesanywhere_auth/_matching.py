# SPDX-License-Identifier: Apache-2.0
"""Which of several certificates belongs to a key, and whether its chain looks whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rolesanywhere_auth.certificates import Certificate, check_leaf
from rolesanywhere_auth.errors import CertificateError, KeyMismatchError
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
