# SPDX-License-Identifier: Apache-2.0
"""What a leaf shall be, and what can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography import x509

from rolesanywhere_auth.testing._material import HashName, key_usage

Flaw = Literal[
    "expired",
    "not-yet-valid",
    "ca-true",
    "no-digital-signature",
    "no-key-usage",
    "sha1",
    "md5",
    "empty-subject",
    "wrong-signature",
    "critical-unknown-extension",
    "version-1",
]
"""What is wrong with a leaf; ``wrong-signature``: signed by another CA of the same name."""

_DAY = timedelta(days=1)
_SIGNING = key_usage(digital_signature=True)
_UNKNOWN_OID = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")


@dataclass(frozen=True)
class Plan:
    """The contents of a leaf, before it is signed."""

    subject: x509.Name
    public_key: Any
    serial_number: int
    not_valid_before: datetime
    not_valid_after: datetime
    names: tuple[x509.GeneralName, ...] = ()
    client_auth: bool = True
    hash_algorithm: HashName = "sha256"
    ca: bool = False
    key_usage: x509.KeyUsage | None = _SIGNING
    extension: x509.ExtensionType | None = None


def with_flaw(plan: Plan, flaw: Flaw) -> Plan:
    """*plan* with *flaw*; some flaws only come with the signature, and change nothing here.

    Raises:
        ValueError: *flaw* is none of the names.
    """
    changed: dict[str, dict[str, Any]] = {
        "expired": {
            "not_valid_before": plan.not_valid_before - 365 * _DAY,
            "not_valid_after": plan.not_valid_before,
        },
        "not-yet-valid": {"not_valid_before": plan.not_valid_before + 2 * _DAY},
        "ca-true": {"ca": True},
        "no-digital-signature": {"key_usage": key_usage(key_agreement=True)},
        "no-key-usage": {"key_usage": None},
        "sha1": {},
        "md5": {},
        "empty-subject": {"subject": x509.Name([])},
        "wrong-signature": {},
        "critical-unknown-extension": {
            "extension": x509.UnrecognizedExtension(_UNKNOWN_OID, b"\x05\x00")
        },
        "version-1": {},
    }
    if flaw not in changed:
        raise ValueError(f"unknown flaw {flaw!r}; known: {', '.join(changed)}")
    return replace(plan, **changed[flaw])
