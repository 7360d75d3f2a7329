# SPDX-License-Identifier: Apache-2.0
"""An audit trail in the manner of CloudTrail: one event per call, never a secret.

The form of a record, the ``additionalEventData`` of CreateSession and the record of
a control-plane call are those of AWS's user guide, "logging-using-cloudtrail". AWS
shows no record of a CreateSession: ``userIdentity``, ``requestParameters`` and
``responseElements`` of those are ours.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service.quotas import region_of
from rolesanywhere_auth.testing.service.state import partition_of
from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_auth.testing.service.faults import Conditions
    from rolesanywhere_auth.testing.service.parameters import Parameters
    from rolesanywhere_auth.testing.service.signature import VerifiedSignature
    from rolesanywhere_auth.testing.service.state import Shelf, TrustAnchor

_LIMIT = 10_000
CREATE_SESSION = "CreateSession"


@dataclass(frozen=True)
class Check:
    """One check that a call passed, or the one that refused it.

    ``detail`` says what was found. For a refusal it holds the reason that the short
    text of the answer hides, such as the rule of RFC 5280 that failed.
    """

    name: str
    passed: bool
    detail: str = ""


class Checks:
    """Records which check is being made; whatever comes next means that it passed."""

    def __init__(self) -> None:
        self._done: list[Check] = []
        self._name: str | None = None
        self._detail = ""

    def begin(self, name: str) -> None:
        """The check before, if any, has passed; now *name* is made."""
        self._close(passed=True)
        self._name = name

    def note(self, detail: str) -> None:
        """What the present check found."""
        self._detail = detail

    def end(self, refusal: Refusal | None) -> tuple[Check, ...]:
        """All checks; *refusal* is what the last one said."""
        if refusal is not None:
            self._detail = reason_of(refusal)
        self._close(passed=refusal is None)
        return tuple(self._done)

    def _close(self, *, passed: bool) -> None:
        if self._name is not None:
            self._done.append(Check(self._name, passed, self._detail))
        self._name, self._detail = None, ""


def reason_of(refusal: Refusal) -> str:
    """The text of *refusal* and the reasons that hang on it as causes."""
    found = [refusal.message]
    cause = refusal.__cause__
    while cause is not None:
        text = str(cause)
        if text and text not in found:
            found.append(text)
        cause = cause.__cause__
    return ": ".join(found)


@dataclass(frozen=True)
class Event:
    """One call, allowed or refused; `cloudtrail` writes it as CloudTrail does.

    ``additional_event_data`` holds ``missingSignedHeaders``, ``postEmptyBody`` and
    ``algorithmMismatch`` of CreateSession calls that authenticated, whatever became
    of them then. ``checks`` are those of CreateSession, in order, up to the one that
    refused. ``trust_anchor_arn`` to ``duration_seconds`` are CreateSession's too.
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
    event_name: str = CREATE_SESSION
    event_source: str = "rolesanywhere.amazonaws.com"
    checks: tuple[Check, ...] = ()
    certificate_subject: str | None = None
    event_id: str = ""
    account_id: str = ""
    aws_region: str = ""
    source_ip_address: str = ""
    user_agent: str = ""
    user_identity: Mapping[str, Any] = field(default_factory=dict)
    request_parameters: Mapping[str, Any] | None = None
    response_elements: Mapping[str, Any] | None = None
    tls_details: Mapping[str, str] = field(default_factory=dict)

    @property
    def refused_by(self) -> Check | None:
        """The check that refused the call; None when it succeeded."""
        return next((check for check in self.checks if not check.passed), None)

    @property
    def read_only(self) -> bool:
        """Whether a call of this name changes nothing."""
        return self.event_name.startswith(("Get", "List"))

    def cloudtrail(self) -> dict[str, Any]:
        """The event as a CloudTrail record, ready for JSON."""
        record: dict[str, Any] = {
            "eventVersion": "1.08",
            "userIdentity": dict(self.user_identity),
            "eventTime": f"{self.event_time.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": self.event_source,
            "eventName": self.event_name,
            "awsRegion": self.aws_region,
            "sourceIPAddress": self.source_ip_address,
            "userAgent": self.user_agent,
            "errorCode": self.error_code,
            "errorMessage": self.error_message,
            "requestParameters": _plain(self.request_parameters),
            "responseElements": _plain(self.response_elements),
            "additionalEventData": dict(self.additional_event_data) or None,
            "requestID": self.request_id,
            "eventID": self.event_id,
            "readOnly": self.read_only,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self.account_id,
            "eventCategory": "Management",
            "tlsDetails": dict(self.tls_details) or None,
        }
        # These two are written as null; the others are left out (CloudTrail's user guide).
        kept = ("requestParameters", "responseElements")
        return {name: value for name, value in record.items() if value is not None or name in kept}


@dataclass
class Attempt:
    """What is known of one CreateSession so far: it fills the event and the subject."""

    request: Request
    request_id: str
    now: datetime
    conditions: Conditions
    parameters: Parameters | None = None
    signature: VerifiedSignature | None = None
    shelf: Shelf | None = None
    anchor: TrustAnchor | None = None
    path: tuple[x509.Certificate, ...] = ()
    authenticated: bool = False
    session_name: str | None = None
    duration_seconds: int | None = None
    checks: Checks = field(default_factory=Checks)


@dataclass
class Operation:
    """What is known of one control-plane call so far."""

    request: Request
    request_id: str
    now: datetime
    caller_arn: str | None = None
    name: str | None = None
    members: Mapping[str, Any] | None = None


class Trail:
    """The events of one service, the last 10,000 of them.

    Args:
        account_id: The account of calls that name none.
        region: The Region of calls that name none.
        new_id: Makes the UUID of an event.
        watch: Is told of each CreateSession that ended.
    """

    def __init__(
        self,
        *,
        account_id: str,
        region: str,
        new_id: Callable[[], str],
        watch: Callable[[Attempt, Event], None],
    ) -> None:
        self._account_id = account_id
        self._region = region
        self._new_id = new_id
        self._watch = watch
        self.calls: deque[Event] = deque(maxlen=_LIMIT)
        self.sign_ins: deque[Event] = deque(maxlen=_LIMIT)

    def clear(self) -> None:
        """Forget all events."""
        self.calls.clear()
        self.sign_ins.clear()

    def sign_in(
        self, attempt: Attempt, *, refusal: Refusal | None = None, answer: Response | None = None
    ) -> None:
        """Record one CreateSession that ended in *refusal* or in *answer*."""
        parameters, signature, request = attempt.parameters, attempt.signature, attempt.request
        region, account_id = _place(parameters, self._region, self._account_id)
        subject = signature.certificate.subject.rfc4514_string() if signature else None
        event = Event(
            event_time=attempt.now,
            outcome="failure" if refusal else "success",
            request_id=attempt.request_id,
            error_code=refusal.code if refusal else None,
            error_message=refusal.message if refusal else None,
            serial_number=str(signature.serial_number) if signature else None,
            trust_anchor_arn=parameters.trust_anchor_arn if parameters else None,
            profile_arn=parameters.profile_arn if parameters else None,
            role_arn=parameters.role_arn if parameters else None,
            role_session_name=attempt.session_name,
            duration_seconds=attempt.duration_seconds,
            additional_event_data=_flags(attempt),
            checks=attempt.checks.end(refusal),
            certificate_subject=subject,
            event_id=self._new_id(),
            account_id=account_id,
            aws_region=region,
            source_ip_address=request.source_ip,
            user_agent=request.header("User-Agent") or "",
            user_identity=_certificate_identity(signature, account_id),
            request_parameters=parameters.as_sent() if parameters else None,
            response_elements=_without_secrets(answer),
            tls_details=_tls_details(request),
        )
        self.sign_ins.append(event)
        self.calls.append(event)
        self._watch(attempt, event)

    def operation(
        self,
        operation: Operation,
        *,
        refusal: Refusal | None = None,
        answer: Response | None = None,
    ) -> None:
        """Record one call of the control plane; a path that names no operation leaves nothing."""
        if operation.name is None:
            return
        request = operation.request
        event = Event(
            event_time=operation.now,
            outcome="failure" if refusal else "success",
            request_id=operation.request_id,
            error_code=refusal.code if refusal else None,
            error_message=refusal.message if refusal else None,
            event_name=operation.name,
            event_id=self._new_id(),
            account_id=self._account_id,
            aws_region=region_of(request) or self._region,
            source_ip_address=request.source_ip,
            user_agent=request.header("User-Agent") or "",
            user_identity=self._administrator(operation),
            request_parameters=operation.members,
            response_elements=answer.body if answer else None,
            tls_details=_tls_details(request),
        )
        # CloudTrail keeps the answers of calls that change something.
        kept = replace(event, response_elements=None) if event.read_only else event
        self.calls.append(kept)

    def _administrator(self, operation: Operation) -> dict[str, Any]:
        arn = operation.caller_arn
        if arn is not None:
            kind = "AssumedRole" if ":assumed-role/" in arn else "IAMUser"
            return {"type": kind, "arn": arn, "accountId": self._account_id}
        region = region_of(operation.request) or self._region
        return {
            "type": "Root",
            "principalId": self._account_id,
            "arn": f"arn:{partition_of(region)}:iam::{self._account_id}:root",
            "accountId": self._account_id,
        }


def _place(parameters: Parameters | None, region: str, account_id: str) -> tuple[str, str]:
    if parameters is None:
        return region, account_id
    found = parameters.trust_anchor_arn.split(":")
    return found[3], found[4]


def _flags(attempt: Attempt) -> dict[str, Any]:
    signature = attempt.signature
    # Left out for a wrong signature, an untrusted or a revoked certificate (UG).
    if signature is None or not attempt.authenticated:
        return {}
    return {
        "missingSignedHeaders": list(signature.missing_signed_headers),
        "postEmptyBody": signature.post_empty_body,
        "algorithmMismatch": signature.algorithm_mismatch,
    }


def _certificate_identity(signature: VerifiedSignature | None, account_id: str) -> dict[str, Any]:
    # "Unknown" is CloudTrail's type for an identity that it cannot tell.
    identity = {"type": "Unknown", "accountId": account_id}
    if signature is not None:
        identity["principalId"] = str(signature.serial_number)
        identity["userName"] = signature.certificate.subject.rfc4514_string()
    return identity


def _without_secrets(answer: Response | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    entries = []
    for entry in answer.body["credentialSet"]:
        shown = {name: entry["credentials"][name] for name in ("accessKeyId", "expiration")}
        entries.append(entry | {"credentials": shown})
    return answer.body | {"credentialSet": entries}


def _tls_details(request: Request) -> dict[str, str]:
    found = {
        "tlsVersion": request.tls_version,
        "cipherSuite": request.cipher_suite,
        "clientProvidedHostHeader": request.header("Host"),
    }
    return {name: value for name, value in found.items() if value}


def _plain(value: Any) -> Any:
    """*value* as JSON can hold it."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
