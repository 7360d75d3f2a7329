# SPDX-License-Identifier: Apache-2.0
"""The service's refusals: which exception, and what is known to cause each text.

The texts are AWS's own as users have quoted them; the causes come from AWS staff's
answers and from users' reports, so they are leads and not the service's word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
from rolesanywhere_auth.exchange import http_date

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig


class Refusal(NamedTuple):
    """One known text (a part of it, compared without case), its exception and its causes."""

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
        "Some attributes failed to be mapped into session tags",
        AssumeRoleDeniedError,
        (
            (
                "a value of the certificate that the text names cannot be a session tag "
                "(parentheses, asterisks …), and the role's trust policy asks for it: have it ask "
                "for another, or use a certificate without such characters"
            ),
        ),
    ),
    Refusal(
        "exceeds the MaxSessionDuration",
        AssumeRoleDeniedError,
        (
            (
                "session_duration is above the role's maximum session duration (one hour unless "
                "changed): lower the one or raise the other"
            ),
        ),
    ),
    Refusal(
        "Unable to assume role",
        AssumeRoleDeniedError,
        (
            (
                "the role's trust policy does not allow rolesanywhere.amazonaws.com all of "
                "sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity"
            ),
            (
                "a condition of the trust policy does not fit: aws:SourceArn must be this trust "
                "anchor, aws:PrincipalTag/x509Subject/… what the certificate says"
            ),
            "session_duration is above the role's maximum session duration",
            "the role does not exist",
        ),
    ),
    Refusal(
        "different account ID",
        InvalidRequestError,
        ("the trust anchor, the profile and the role are not of one account",),
    ),
)
"""The first that fits counts: what follows "Unable to assume role" says more than it."""

THROTTLING = frozenset(
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
TRANSIENT = frozenset({"ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException"})
"""What does not tell by its status that it may pass."""


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
    code = one_line(str(code).split(":")[0].split("#")[-1]).strip() or f"HTTP{status}"
    text = str(answer.get("message") or answer.get("Message") or excerpt(body))
    kind, causes = _kind(status, code, text)
    request_id = headers.get("x-amzn-requestid")
    message = (
        f"CreateSession was refused with HTTP {status} {code}: {one_line(text)} "
        f"(role {config.role_arn}, profile {config.profile_arn}, trust anchor "
        f"{config.trust_anchor_arn}{f', request id {one_line(request_id)}' if request_id else ''})"
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
        retry_after=retry_after(headers, answer),
    )


def _kind(status: int, code: str, text: str) -> tuple[type[ServiceError], tuple[str, ...]]:
    if status == 429 or code in THROTTLING:
        cause = (
            "CreateSession is limited, by default to 10 calls a second per account and Region, "
            "and by certificate and address"
        )
        return ThrottlingError, (cause,)
    if status >= 500 or status == 408 or code in TRANSIENT:
        return ServiceUnavailableError, ()
    if status < 400:  # the service never sends anybody elsewhere
        cause = "something on the way answered in the service's place: a proxy, a captive portal"
        return ServiceUnavailableError, (cause,)
    for known in KNOWN:
        if known.text.lower() in text.lower():
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
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def one_line(text: str) -> str:
    """*text* as one line of a message: a proxy's page must not write the log's next lines."""
    return printable(text)[:1000]


def printable(text: str) -> str:
    """*text* with blanks for what is more than letters: new lines, a terminal's commands."""
    return "".join(c if c.isprintable() else " " for c in text)


def excerpt(body: bytes) -> str:
    """What can be said of an answer without a message; never of credentials."""
    if body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}:
        return "no message"  # JSON under a wrong status may hold credentials
    words = " ".join(body[:65536].decode("utf-8", "replace").split())
    words = "".join(c for c in words if c.isprintable())
    if not words or "accesskey" in words.lower():  # of another encoding, or behind a few words
        return "no message"
    return f"no message; the answer begins {words[:120]!r}"


def retry_after(headers: Mapping[str, str], answer: dict[str, Any]) -> float | None:
    """Seconds to wait, as the service said it.

    ``x-amz-retry-after`` is in milliseconds (as in botocore's standard retry mode),
    ``Retry-After`` in seconds or a date (RFC 9110, 10.2.3), the body's
    ``retryAfterSeconds`` in seconds.
    """
    milliseconds = _number(headers.get("x-amz-retry-after"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", answer.get("retryAfterSeconds"))
    seconds = _number(asked)
    return _until(asked, headers.get("date")) if seconds is None else seconds


def _number(value: object) -> float | None:
    """*value* as a finite number, not under 0; None if it is none."""
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: object, now: str | None) -> float | None:
    then, present = http_date(date), http_date(now)
    if then is None or present is None:
        return None
    return max(0.0, (then - present).total_seconds())
