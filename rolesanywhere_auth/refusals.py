"""The service's refusals: which exception, and what is known to cause each text.

The texts are AWS's own as users have quoted them; the causes come from AWS staff's
answers and from users' reports, so they are leads and not the service's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.errors import (
    AccessDeniedError,
    AssumeRoleDeniedError,
    CertificateRevokedError,
    InvalidRequestError,
    InvalidSignatureError,
    ResourceDisabledError,
    ResourceNotFoundError,
    RoleNotInProfileError,
    RoleSessionNameNotAllowedError,
    ServiceError,
    ServiceUnavailableError,
    ThrottlingError,
    UntrustedCertificateError,
)

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig


@dataclass(frozen=True)
class Refusal:
    """One known text (its beginning, compared without case), its exception and its causes."""

    text: str
    error: type[ServiceError]
    causes: tuple[str, ...]


KNOWN = (
    Refusal(
        "Invalid signature",
        InvalidSignatureError,
        (
            "the private key does not belong to the certificate",
            "a proxy changed the request on its way",
            "this machine's clock is wrong",
        ),
    ),
    Refusal(
        "Untrusted signing certificate",
        UntrustedCertificateError,
        (
            "the certificate was issued by another CA than the one in this trust anchor",
            "an intermediate certificate is missing: give it as certificate_chain",
            "the ARN is another trust anchor's",
        ),
    ),
    Refusal(
        "Untrusted certificate. Insufficient certificate",
        UntrustedCertificateError,
        (
            "the certificate's key usage lacks digitalSignature",
            "the certificate is a CA certificate (CA:TRUE)",
            "the certificate was issued by another CA than the one in this trust anchor",
        ),
    ),
    Refusal(
        "Certificate revoked",
        CertificateRevokedError,
        ("the serial number is on a CRL that was imported for this trust anchor and is enabled",),
    ),
    Refusal(
        "Requested Role isn't one of those listed in the Profile",
        RoleNotInProfileError,
        ("the role is not among the profile's roleArns: add it, or use its profile",),
    ),
    Refusal(
        "Not authorized to set roleSessionName",
        RoleSessionNameNotAllowedError,
        ("the profile's acceptRoleSessionName is false: set it, or drop role_session_name",),
    ),
    Refusal(
        "Trust anchor is disabled",
        ResourceDisabledError,
        ("the trust anchor was created without enabled, or disabled: enable it",),
    ),
    Refusal(
        "Profile is disabled",
        ResourceDisabledError,
        ("the profile was created without enabled, or disabled: enable it",),
    ),
    Refusal(
        "Unable to assume role",
        AssumeRoleDeniedError,
        (
            "the role's trust policy does not allow rolesanywhere.amazonaws.com all of "
            "sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity",
            "a condition of the trust policy does not fit: aws:SourceArn must be this trust "
            "anchor, aws:PrincipalTag/x509Subject/… what the certificate says",
            "session_duration is above the role's maximum session duration",
            "the role does not exist",
        ),
    ),
)

_THROTTLING = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
        "TransactionInProgressException",
        "ProvisionedThroughputExceededException",
    }
)


def service_error(
    status: int, headers: Mapping[str, str], body: bytes, *, config: RolesAnywhereConfig
) -> ServiceError:
    """The typed error of an answer that is not 2xx.

    The code comes from ``X-Amzn-ErrorType``, else from the body (``code`` or
    ``__type``), the text from ``message``, as in AWS's restJson protocol. An answer
    that is not the service's (a proxy's page) keeps its first words.
    """
    answer = _decoded(body)
    code = headers.get("x-amzn-errortype") or answer.get("code") or answer.get("__type") or ""
    code = str(code).split(":")[0].split("#")[-1] or f"HTTP{status}"
    text = str(answer.get("message") or answer.get("Message") or _excerpt(body))
    kind, causes = _kind(status, code, text)
    request_id = headers.get("x-amzn-requestid")
    message = (
        f"CreateSession was refused with HTTP {status} {code}: {text} "
        f"(role {config.role_arn}, profile {config.profile_arn}, trust anchor "
        f"{config.trust_anchor_arn}{f', request id {request_id}' if request_id else ''})"
    )
    if causes:
        message += ". Known causes: " + "; ".join(causes)
    return kind(
        message,
        status=status,
        code=code,
        service_message=text,
        request_id=request_id,
        causes=causes,
        retry_after=_retry_after(headers, answer),
    )


def _kind(status: int, code: str, text: str) -> tuple[type[ServiceError], tuple[str, ...]]:
    if status == 429 or code in _THROTTLING:
        causes = ("CreateSession is limited, by default to 10 calls a second per account and "
                  "Region, and by certificate and address",)  # fmt: skip
        return ThrottlingError, causes
    if status >= 500:
        return ServiceUnavailableError, ()
    for known in KNOWN:
        if text.lower().startswith(known.text.lower()):
            return known.error, known.causes
    by_code = {
        "AccessDeniedException": AccessDeniedError,
        "ResourceNotFoundException": ResourceNotFoundError,
        "ValidationException": InvalidRequestError,
    }
    by_status = {403: AccessDeniedError, 404: ResourceNotFoundError, 400: InvalidRequestError}
    return by_code.get(code, by_status.get(status, ServiceError)), ()


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _excerpt(body: bytes) -> str:
    words = " ".join(body[:2000].decode("utf-8", "replace").split())
    words = "".join(c for c in words if c.isprintable())[:120]
    return f"no message; the answer begins {words!r}" if words else "no message"


def _retry_after(headers: Mapping[str, str], answer: dict[str, Any]) -> float | None:
    """Seconds to wait, as the service said it.

    ``x-amz-retry-after`` is in milliseconds (as in botocore's standard retry mode),
    ``Retry-After`` in seconds or a date (RFC 9110, 10.2.3), the body's
    ``retryAfterSeconds`` in seconds.
    """
    milliseconds = headers.get("x-amz-retry-after")
    seconds = headers.get("retry-after", answer.get("retryAfterSeconds"))
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return None if seconds is None else max(0.0, float(seconds))
    except (TypeError, ValueError):
        return _until(str(seconds), headers.get("date", ""))


def _until(date: str, now: str) -> float | None:
    try:
        seconds = (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError):  # no dates, or only one of them with a time zone
        return None
    return max(0.0, seconds)
