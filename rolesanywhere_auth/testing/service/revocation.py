# SPDX-License-Identifier: Apache-2.0
"""Certificate revocation lists: which are taken, and what they revoke.

``Certificate revoked`` is AWS's text, all others are ours. What AWS does with a
list that is out of date, of a foreign CA, or for a part of the certificates is
not known; `check_revocation` says what happens here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from rolesanywhere_auth._x509 import read_crl
from rolesanywhere_auth.testing.service.algorithms import has_strong_signature
from rolesanywhere_auth.testing.service.extensions import extension_of
from rolesanywhere_auth.testing.service.names import same_name
from rolesanywhere_auth.testing.service.trust import UntrustedError, name_text
from rolesanywhere_auth.testing.service.wire import access_denied, invalid


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """Read a CRL, PEM or DER; before the PEM may stand what ``openssl crl -text`` writes.

    A weak hash is refused, like those of certificates; so are critical extensions
    that are not known here, and lists that mean something else than "these
    certificates of my issuer are revoked": delta CRLs, indirect ones, and those of
    attribute certificates (RFC 5280, 5.2.4, 5.2.5 and 5.3.3). A list for another
    part of the certificates is taken, as AWS Private CA makes such partitions.

    Raises:
        Refusal: A ``ValidationException``, text ours.
    """
    try:
        crl = read_crl(data)
    except ValueError as error:
        raise invalid("crlData is not a certificate revocation list in PEM or DER") from error
    point = extension_of(crl, x509.IssuingDistributionPoint)
    unknown = sorted(set(_unknown_critical(crl)))
    if not has_strong_signature(crl):
        raise invalid("crlData must be signed with SHA-256 or stronger")
    if extension_of(crl, x509.DeltaCRLIndicator) is not None:
        raise invalid("crlData is a delta CRL; import the complete one")
    if point is not None and (point.indirect_crl or point.only_contains_attribute_certs):
        raise invalid("crlData is indirect or of attribute certificates; import the CA's own list")
    if unknown:
        raise invalid(f"crlData has critical extensions unknown here: {', '.join(unknown)}")
    return crl


def _unknown_critical(crl: x509.CertificateRevocationList) -> Iterator[str]:
    understood = {
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
        ExtensionOID.DELTA_CRL_INDICATOR,  # refused by itself
        CRLEntryExtensionOID.CRL_REASON,
    }
    for part in (crl, *crl):
        for extension in part.extensions:
            if extension.critical and extension.oid not in understood:
                yield extension.oid.dotted_string


def check_revocation(
    path: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    *,
    at: datetime,
    anchors: Sequence[x509.Certificate] = (),
) -> None:
    """Refuse a *path* of which the leaf or an intermediate is revoked.

    Ours, as AWS does not say: a CRL counts for the certificates of the CA that
    issued it, whichever of the CA's keys signed it, as long as that key's
    certificate is in the *path* or one of the trust anchor's *anchors*; others are
    ignored, and a CA without a CRL is not in the way. A CRL past its nextUpdate
    still revokes what it lists, and lets the rest pass; one dated after *at* does not
    count yet. Of several lists, each revokes. The CA's keyUsage need not have
    cRLSign. An entry counts whatever its date, unless its reason is removeFromCRL
    (RFC 5280, 6.3.3 (k)).

    Raises:
        Refusal: ``Certificate revoked``.
    """
    known = (*path[1:], *anchors)
    for certificate, issuer in pairwise(path):
        for crl in crls:
            if (
                _lists(crl, certificate.serial_number)
                and crl.last_update_utc <= at
                and same_name(crl.issuer, issuer.subject)
                and any(_signed(crl, ca) for ca in known if same_name(crl.issuer, ca.subject))
            ):
                raise access_denied("Certificate revoked") from UntrustedError(
                    f"{name_text(certificate.subject)}, serial {certificate.serial_number}, "
                    f"is on the CRL of {name_text(issuer.subject)}"
                )


def _lists(crl: x509.CertificateRevocationList, serial_number: int) -> bool:
    entry = crl.get_revoked_certificate_by_serial_number(serial_number)
    if entry is None:
        return False
    reason = extension_of(entry, x509.CRLReason)
    return reason is None or reason.reason is not x509.ReasonFlags.remove_from_crl


def _signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    key: Any = ca.public_key()
    return crl.is_signature_valid(key)
