# SPDX-License-Identifier: Apache-2.0
"""Certificate revocation lists: serial numbers as people write them, and a CA's next list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from rolesanywhere_auth._x509 import read_crl
from rolesanywhere_auth.errors import ConfigurationError, ResourceConflictError
from rolesanywhere_auth.provisioning.authority import Authority, authority_key_id

MAX_SIZE = 300_000
"""Bytes of a CRL (botocore's model: ImportCrl)."""
MAX_FOR_ANCHOR = 2
"""CRLs of a trust anchor; AWS does not raise that (UG/quotas)."""

REASONS: Mapping[str, x509.ReasonFlags | None] = {
    "unspecified": None,  # RFC 5280, 5.3.1: then the reason is left out
    "keyCompromise": x509.ReasonFlags.key_compromise,
    "cACompromise": x509.ReasonFlags.ca_compromise,
    "affiliationChanged": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
    "certificateHold": x509.ReasonFlags.certificate_hold,
    "privilegeWithdrawn": x509.ReasonFlags.privilege_withdrawn,
    "aACompromise": x509.ReasonFlags.aa_compromise,
}
"""By their names in RFC 5280, 5.3.1."""

_KEPT = {ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}
_LABEL = re.compile(r"^\s*serial\s*(number)?\s*[=:]?\s*", re.IGNORECASE)
_BOTH = re.compile(r"([0-9]+)\s*\(0x([0-9a-f]+)\)")


def parse_serial(text: str) -> int:
    """A serial number, as ``openssl`` prints it, as AWS does, or as people write it.

    ``serial=0A1B``, ``0a:1b``, ``0x0A1B``, ``2587 (0xa1b)`` and whatever has a letter are
    hexadecimal; digits alone are decimal, as in AWS's logs and session names.

    Raises:
        ConfigurationError: It is none, or none that RFC 5280 (4.1.2.2) allows.
    """
    label = _LABEL.match(text)
    rest = (text[label.end() :] if label else text).strip().lower()
    both = _BOTH.fullmatch(rest)
    if both:
        found = int(both[1])
        if found != int(both[2], 16):
            raise ConfigurationError(f"the two forms in the serial number {text!r} differ")
    else:
        plain = re.sub(r"[:\s]", "", rest).removeprefix("0x")
        # `openssl x509 -serial` prints "serial=…", always hexadecimal.
        is_hex = bool(label) or ":" in rest or rest.startswith("0x") or not plain.isdecimal()
        if not re.fullmatch(r"[0-9a-f]+", plain):
            raise ConfigurationError(
                f"{text!r} is no serial number: give it decimal, or hexadecimal with 0x in front "
                "or colons between; `openssl x509 -noout -serial -in FILE` shows it"
            )
        found = int(plain, 16 if is_hex else 10)
    if not 0 < found < 1 << 160:
        raise ConfigurationError(f"the serial number {text!r} is not between 1 and 20 octets long")
    return found


def load_crl(data: bytes) -> x509.CertificateRevocationList | None:
    """A CRL of PEM or DER; None for what cannot be read."""
    try:
        return read_crl(data)
    except ValueError:
        return None


def is_of(crl: x509.CertificateRevocationList, authority: Authority) -> bool:
    """Whether *authority* signed *crl*."""
    named = crl.issuer == authority.certificate.subject
    return named and crl.is_signature_valid(authority.key.public_key())


def number_of(crl: x509.CertificateRevocationList) -> int:
    """The CRLNumber; 0 without."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def build_crl(
    authority: Authority,
    serials: Iterable[int],
    *,
    existing: Sequence[x509.CertificateRevocationList] = (),
    reason: str = "unspecified",
    now: datetime,
    next_update: datetime,
) -> x509.CertificateRevocationList:
    """The CA's next list: all entries of *existing*, and *serials*.

    Entries that are there stay as they are, with date and reason. The CRLNumber is one more
    than the highest.

    Args:
        authority: Whose list it is.
        serials: To be revoked.
        existing: The CA's lists so far.
        reason: A name of RFC 5280, 5.3.1, such as ``keyCompromise``; not ``removeFromCRL``.
        now: The time, aware; of the list and of new entries.
        next_update: When the list is to be replaced by a newer one, aware.

    Raises:
        ConfigurationError: No such reason, *next_update* is not to come, or the list would be
            larger than AWS takes.
        ResourceConflictError: An existing list says more than a plain one can.
    """
    if reason not in REASONS:
        raise ConfigurationError(f"no reason {reason!r}: there are {', '.join(REASONS)}")
    if next_update <= now:
        raise ConfigurationError(f"the next update {next_update:%Y-%m-%dT%H:%M:%SZ} is past")
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now).next_update(next_update)
    builder = builder.add_extension(authority_key_id(authority), critical=False)
    number = x509.CRLNumber(max(map(number_of, existing), default=0) + 1)
    builder = builder.add_extension(number, critical=False)
    entries = _entries(existing)
    for serial in serials:
        entries.setdefault(serial, _entry(serial, REASONS[reason], now))
    for entry in entries.values():
        builder = builder.add_revoked_certificate(entry)
    made = builder.sign(authority.key, authority.signing_hash)
    size = len(pem_of(made))
    if size > MAX_SIZE:
        raise ConfigurationError(
            f"the CRL of {len(entries)} certificates has {size} bytes; AWS takes {MAX_SIZE}. "
            "Change to a new CA, or to short-lived certificates."
        )
    return made


def _entries(
    existing: Sequence[x509.CertificateRevocationList],
) -> dict[int, x509.RevokedCertificate]:
    """All entries, by serial number; of two for one, the first list's."""
    found: dict[int, x509.RevokedCertificate] = {}
    for crl in existing:
        _check_plain(crl)
        for entry in crl:
            found.setdefault(entry.serial_number, entry)
    return found


def pem_of(crl: x509.CertificateRevocationList) -> bytes:
    """*crl* in PEM, the form that ImportCrl asks for."""
    return crl.public_bytes(serialization.Encoding.PEM)


def _entry(serial: int, reason: x509.ReasonFlags | None, now: datetime) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()


def _check_plain(crl: x509.CertificateRevocationList) -> None:
    """Refuse a list whose meaning a plain one would change: delta, partition, indirect."""
    others = [each.oid.dotted_string for each in crl.extensions if each.oid not in _KEPT]
    if others:
        raise ResourceConflictError(
            f"the CRL of {crl.issuer.rfc4514_string()} that is imported has extensions that would "
            f"be lost ({', '.join(others)}): it is made by other software. Revoke there, and "
            "import its list: aws rolesanywhere update-crl"
        )
