# SPDX-License-Identifier: Apache-2.0
"""Fields of log records, for formatters that write JSON; named as in events and `Health`.

Each value is a text or a number, and none holds a secret: of an error it is the class, as the
text of one that is not ours may say anything.
"""

from __future__ import annotations

from datetime import datetime, timezone

TYPE_CHECKING = False  # a sign-in by `credential-process` needs neither typing nor events
if TYPE_CHECKING:
    from rolesanywhere_auth.events import EventKind, Labels, RenewalEvent


def log_fields(
    *,
    labels: Labels | None = None,
    kind: EventKind | None = None,
    attempt: int | None = None,
    duration: float | None = None,
    expires_at: datetime | None = None,
    serial_number: int | None = None,
    error: BaseException | None = None,
    next_attempt: datetime | None = None,
    certificate_expires_at: datetime | None = None,
    days_left: int | None = None,
    source: str | None = None,
) -> dict[str, str | int | float]:
    """What to give a logging call as ``extra``; what is None is left out."""
    found: dict[str, str | int | float | None] = {
        "role_arn": labels.role_arn or None if labels else None,
        "profile_arn": labels.profile_arn or None if labels else None,
        "kind": kind,
        "attempt": attempt,
        "duration": None if duration is None else round(duration, 6),
        "expires_at": _text(expires_at),
        # JSON's numbers are too short for it in some readers
        "serial_number": None if serial_number is None else f"{serial_number:x}",
        "error": None if error is None else type(error).__name__,
        "next_attempt": _text(next_attempt),
        "certificate_expires_at": _text(certificate_expires_at),
        "days_left": days_left,
        "source": source,
    }
    return {name: value for name, value in found.items() if value is not None}


def event_fields(event: RenewalEvent, labels: Labels) -> dict[str, str | int | float]:
    """The same of an event."""
    return log_fields(
        labels=labels,
        kind=event.kind,
        attempt=event.attempt,
        duration=event.duration,
        expires_at=event.expires_at,
        serial_number=event.serial_number,
        error=event.error,
        next_attempt=event.next_attempt,
    )


def _text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
