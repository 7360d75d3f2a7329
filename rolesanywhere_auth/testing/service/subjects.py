# SPDX-License-Identifier: Apache-2.0
"""Subjects: what CreateSession saw, and the two operations that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rolesanywhere_auth.testing.service import attributes, resources
from rolesanywhere_auth.testing.service.resources import Call, Handler
from rolesanywhere_auth.testing.service.state import Shelf, Subject


def describe(call: Call, subject: Subject) -> dict[str, Any]:
    """The SubjectDetailResponse."""
    return {"subject": resources.detail(call, subject)}


def record(
    shelf: Shelf,
    certificate: x509.Certificate,
    *,
    now: datetime,
    failed: bool,
    new_id: Callable[[], str],
    instance_properties: Mapping[str, str] | None = None,
) -> Subject:
    """Remember that *certificate* was seen; subjects are keyed by their X.509 name.

    One entry per certificate is kept, with the time and outcome of its last use.
    """
    text = attributes.subject_text(certificate)
    subject = next((s for s in shelf.all(Subject) if s.x509_subject == text), None)
    if subject is None:
        identifier = new_id()
        arn = shelf.arn("subject", identifier)
        subject = Subject(identifier, arn, text, created_at=now, updated_at=now, last_seen_at=now)
    seen = _credential(certificate, now=now, failed=failed)
    others = [
        item
        for item in subject.credentials
        if item["x509CertificateData"] != seen["x509CertificateData"]
    ]
    subject = replace(subject, credentials=(seen, *others), last_seen_at=now, updated_at=now)
    if instance_properties:
        entry = {"seenAt": now, "properties": dict(instance_properties), "failed": failed}
        earlier = [
            item
            for item in subject.instance_properties
            if item["properties"] != entry["properties"]
        ]
        subject = replace(subject, instance_properties=(entry, *earlier))
    shelf.put(subject)
    return subject


def _credential(certificate: x509.Certificate, *, now: datetime, failed: bool) -> dict[str, Any]:
    return {
        "seenAt": now,
        "serialNumber": str(certificate.serial_number),
        "issuer": certificate.issuer.rfc4514_string(),
        "enabled": True,
        "x509CertificateData": certificate.public_bytes(Encoding.PEM).decode(),
        "failed": failed,
    }


HANDLERS: dict[str, Handler] = {
    "GetSubject": resources.getter(Subject, "subjectId", describe),
    "ListSubjects": resources.lister(Subject, "subjects", describe),
}
