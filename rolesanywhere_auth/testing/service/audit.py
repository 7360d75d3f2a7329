"""An audit trail in the manner of CloudTrail: one event per CreateSession, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """One CreateSession, allowed or refused.

    ``additional_event_data`` holds ``missingSignedHeaders``, ``postEmptyBody`` and
    ``algorithmMismatch`` of successful calls (UG/logging-using-cloudtrail); AWS's
    own ``requestParameters`` are not known, so the other names are ours.
    """

    event_time: datetime
    outcome: str
    request_id: str
    error_code: str | None = None
    error_message: str | None = None
    serial_number: str | None = None
    trust_anchor_arn: str | None = None
    profile_arn: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    duration_seconds: int | None = None
    additional_event_data: Mapping[str, Any] = field(default_factory=dict)
    event_name: str = "CreateSession"
    event_source: str = "rolesanywhere.amazonaws.com"
