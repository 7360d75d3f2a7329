"""Refusals: the right exception, the service's words, and what is known to cause them."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from botocore.session import Session
from hypothesis import example, given
from hypothesis import strategies as st

from rolesanywhere_auth.config import RolesAnywhereConfig
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
from rolesanywhere_auth.refusals import KNOWN, service_error

UUID = "9f084b8b-2f3b-4c9e-a3c5-0a2f7b1c5d6e"
CONFIG = RolesAnywhereConfig(
    trust_anchor_arn=f"arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/{UUID}",
    profile_arn=f"arn:aws:rolesanywhere:eu-west-1:111122223333:profile/{UUID}",
    role_arn="arn:aws:iam::111122223333:role/app",
    certificate="app.pem",
)
DENIED = {"x-amzn-errortype": "AccessDeniedException", "x-amzn-requestid": "3f0c"}
UNABLE = "Unable to assume role for arn:aws:iam::111122223333:role/app"


def refusal(
    status: int = 403, headers: dict[str, str] | None = None, body: Any = None
) -> ServiceError:
    """The error of an answer; *body* is sent as JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return service_error(status, headers or {}, raw, config=CONFIG)


@pytest.mark.parametrize(
    ("text", "kind", "cause"),
    [
        ("Invalid signature", InvalidSignatureError, "clock is wrong"),
        ("Untrusted signing certificate", UntrustedCertificateError, "another CA"),
        (
            "Untrusted certificate. Insufficient certificate",
            UntrustedCertificateError,
            "digitalSignature",
        ),
        ("Certificate revoked", CertificateRevokedError, "CRL"),
        (UNABLE, AssumeRoleDeniedError, "sts:SetSourceIdentity"),
        (f"{UNABLE}.", AssumeRoleDeniedError, "sts:TagSession"),
        (
            (
                f"{UNABLE}. Some attributes failed to be mapped into session tags. "
                "Issuer: [  ]; Subject: [  ]; SAN: [ DNS/2 ]"
            ),
            AssumeRoleDeniedError,
            "cannot be a session tag",
        ),
        (
            (
                f"{UNABLE} The requested DurationSeconds exceeds the MaxSessionDuration set "
                "for this role."
            ),
            AssumeRoleDeniedError,
            "lower the one or raise the other",
        ),
        (
            "Requested Role isn't one of those listed in the Profile",
            RoleNotInProfileError,
            "roleArns",
        ),
        (
            "Requested Role isn't one of those listed in the Profile.",
            RoleNotInProfileError,
            "roleArns",
        ),
        (
            "Not authorized to set roleSessionName.",
            RoleSessionNameNotAllowedError,
            "acceptRoleSessionName",
        ),
        ("Trust anchor is disabled", ResourceDisabledError, "enable it"),
        ("Profile is disabled", ResourceDisabledError, "enable it"),
        ("INVALID SIGNATURE", InvalidSignatureError, "private key"),
    ],
)
def test_texts_that_are_known(text: str, kind: type[ServiceError], cause: str) -> None:
    """Each text that users have met gives its own exception with the causes that were found."""
    error = refusal(403, DENIED, {"message": text})
    assert type(error) is kind
    assert (error.status, error.code) == (403, "AccessDeniedException")
    assert (error.service_message, error.request_id) == (text, "3f0c")
    assert any(cause in each for each in error.causes)
    assert all(each in str(error) for each in error.causes)
    assert not error.retryable


def test_a_longer_text_has_narrower_causes() -> None:
    """What follows "Unable to assume role" is the cause; nothing else is blamed beside it."""
    plain = refusal(body={"message": UNABLE})
    longer = refusal(body={"message": f"{UNABLE} … exceeds the MaxSessionDuration set …"})
    assert len(plain.causes) > len(longer.causes) == 1


def test_accounts_that_differ() -> None:
    """The one known text of HTTP 400 names its cause."""
    error = refusal(
        400,
        {"x-amzn-errortype": "ValidationException"},
        {"message": "Profile has a different account ID"},
    )
    assert type(error) is InvalidRequestError
    assert error.causes == ("the trust anchor, the profile and the role are not of one account",)


def test_every_known_text_gives_its_entry() -> None:
    """No entry of the table hides another one."""
    for known in KNOWN:
        error = refusal(body={"message": f"{known.text} ."})
        assert (type(error), error.causes) == (known.error, known.causes)
        assert known.causes


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDeniedException", AccessDeniedError),
        (403, "SomethingNew", AccessDeniedError),
        (401, "AccessDeniedException", AccessDeniedError),
        (404, "ResourceNotFoundException", ResourceNotFoundError),
        (404, "", ResourceNotFoundError),
        (400, "ResourceNotFoundException", ResourceNotFoundError),
        (400, "ValidationException", InvalidRequestError),
        (400, "", InvalidRequestError),
        (429, "", ThrottlingError),
        (400, "ThrottlingException", ThrottlingError),
        (503, "SlowDown", ThrottlingError),
        (500, "InternalServerError", ServiceUnavailableError),
        (502, "", ServiceUnavailableError),
        (503, "ServiceUnavailableException", ServiceUnavailableError),
        (400, "ServiceUnavailableException", ServiceUnavailableError),
        (408, "", ServiceUnavailableError),
        (301, "", ServiceUnavailableError),
        (418, "Teapot", ServiceError),
    ],
)
def test_texts_that_are_not_known(status: int, code: str, kind: type[ServiceError]) -> None:
    """The code decides, else the status; no cause is made up."""
    error = refusal(status, {"x-amzn-errortype": code} if code else {}, {"message": "New text"})
    assert type(error) is kind
    assert error.code == (code or f"HTTP{status}")
    assert error.retryable is (kind in {ThrottlingError, ServiceUnavailableError})
    assert bool(error.causes) is (kind is ThrottlingError or status == 301)


def test_throttling_beats_a_known_text() -> None:
    """A throttled call is worth trying again whatever its text is."""
    assert type(refusal(429, {}, {"message": "Invalid signature"})) is ThrottlingError


def model() -> ServiceModel:
    """botocore's model of the service."""
    return Session().get_service_model("rolesanywhere")


@pytest.mark.parametrize("shape", model().error_shapes, ids=lambda shape: shape.name)
def test_modelled_errors(shape: Any) -> None:
    """An error of the service's model is retryable here if it is there."""
    status = shape.metadata["error"]["httpStatusCode"]
    error = refusal(status, {"x-amzn-errortype": shape.error_code}, {"message": "text"})
    assert error.retryable is ("retryable" in shape.metadata)


def test_botocores_throttling_codes_are_ours() -> None:
    """Whatever botocore takes as throttling is throttling here."""
    for code in vars(ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"]:
        assert type(refusal(400, {"x-amzn-errortype": code})) is ThrottlingError, code


def test_botocores_transient_errors_are_retryable_here() -> None:
    """So is whatever botocore takes for a fault that may pass."""
    theirs = vars(TransientRetryableChecker)
    for code in theirs["_TRANSIENT_ERROR_CODES"]:
        assert refusal(400, {"x-amzn-errortype": code}).retryable, code
    for status in theirs["_TRANSIENT_STATUS_CODES"]:
        assert refusal(status, {}).retryable, status


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-amzn-errortype": "AccessDeniedException"}, {"message": "text"}),
        ({"x-amzn-errortype": "AccessDeniedException:http://aws.example/x/"}, {"message": "text"}),
        ({"x-amzn-errortype": "AccessDeniedException"}, {"Message": "text", "code": "Other"}),
        ({}, {"code": "AccessDeniedException", "message": "text"}),
        ({}, {"__type": "AccessDeniedException", "message": "text"}),
        ({}, {"__type": "com.amazonaws.ra#AccessDeniedException", "message": "text"}),
        ({}, {"__type": "com.amazonaws.ra#AccessDeniedException:http://aws.example/"}),
    ],
)
def test_code_and_text_are_where_botocore_finds_them(
    headers: dict[str, str], body: dict[str, str]
) -> None:
    """botocore's own parser of this protocol reads the same code and text."""
    answer = {"status_code": 403, "headers": headers, "body": json.dumps(body).encode()}
    theirs = create_parser("rest-json").parse(answer, None)["Error"]  # type: ignore[arg-type]
    ours = refusal(403, headers, body)
    assert ours.code == theirs["Code"] == "AccessDeniedException"
    assert ours.service_message == (theirs["Message"] or "no message")


def test_the_message_tells_it_all() -> None:
    """Status, code, text, ARNs, request id and causes are in the message."""
    text = str(refusal(403, DENIED, {"message": "Certificate revoked"}))
    assert text.startswith(
        "CreateSession was refused with HTTP 403 AccessDeniedException: Certificate revoked (role "
    )
    for part in (CONFIG.role_arn, CONFIG.profile_arn, CONFIG.trust_anchor_arn, "request id 3f0c"):
        assert part in text
    assert "). Known causes: the serial number is on a CRL" in text
    assert "request id" not in str(refusal(403, {}, {"message": "text"}))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no message"),
        (b" \n ", "no message"),
        (b"<html>\n<title>502  Bad\x1b[31m Gateway</title>", "'<html> <title>502 Bad[31m Gateway"),
        (b"Access to \xff denied", "'Access to \ufffd denied'"),
        (b"x" * 5000, f"{'x' * 120!r}"),
        (b"null", "begins 'null'"),
        (b'"text"', "begins '\"text\"'"),
    ],
    ids=["empty", "blank", "page", "not-utf8", "long", "null", "string"],
)
def test_answers_that_are_not_the_services(body: bytes, says: str) -> None:
    """A proxy's page is shown by its first words, on one line, without control characters."""
    error = refusal(502, {}, body)
    assert says in error.service_message
    assert len(error.service_message) < 200
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"credentialSet":[{"credentials":{"secretAccessKey":"hunter2"',
        b'{"credentialSet":[{"credentials":{"secretAccessKey":"hunter2"}}]}',
        b'\xef\xbb\xbf\n [{"secretAccessKey":"hunter2"}',
        '{"credentialSet":[{"credentials":{"secretAccessKey":"hunter2"}}]}'.encode("utf-16"),
        b")]}'," + b'{"credentialSet":[{"credentials":{"secretAccessKey":"hunter2"}}]}',
        b"<Token>hunter2" + b"x" * 3000 + b"</Token><AccessKeyId>A</AccessKeyId>",
    ],
    ids=["cut", "whole", "list", "utf-16", "prefix", "xml"],
)
def test_credentials_under_a_wrong_status_are_not_shown(body: bytes) -> None:
    """What came with an error's status is not quoted where it may hold credentials."""
    error = refusal(500, {}, body)
    assert "hunter2" not in str(error)
    assert error.service_message == "no message"
    assert b"hunter2" not in pickle.dumps(error)


def test_the_service_cannot_write_lines_of_the_log() -> None:
    """Line ends and escapes of the text stay out of the message; the text itself is kept."""
    error = refusal(
        403, {"x-amzn-errortype": "A\nB"}, {"message": "one\r\ntwo\x1b[0m" + "x" * 5000}
    )
    assert str(error).isprintable()
    assert len(str(error)) < 2000
    assert error.service_message.startswith("one\r\ntwo\x1b[0m")


DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {}, None),
        ({"retry-after": "7"}, {}, 7.0),
        ({"retry-after": "0"}, {}, 0.0),
        ({"retry-after": "-3"}, {}, 0.0),
        ({"retry-after": "1.5"}, {"retryAfterSeconds": 9}, 1.5),
        ({}, {"retryAfterSeconds": 9}, 9.0),
        ({}, {"retryAfterSeconds": "9"}, 9.0),
        ({}, {"retryAfterSeconds": None}, None),
        ({}, {"retryAfterSeconds": [9]}, None),
        ({}, {"retryAfterSeconds": 10**400}, None),
        ({}, {"retryAfterSeconds": float("inf")}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "soon"}, {}, None),
        ({"x-amz-retry-after": "1500"}, {}, 1.5),
        ({"x-amz-retry-after": "1500", "retry-after": "7"}, {}, 1.5),
        ({"x-amz-retry-after": "soon", "retry-after": "7"}, {}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:09 GMT", "date": DATE}, {}, 9.0),
        ({"retry-after": "Sunday, 22-Nov-26 12:00:09 GMT", "date": DATE}, {}, 9.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT", "date": DATE}, {}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:09 GMT"}, {}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:09 GMT", "date": "now"}, {}, None),
    ],
    ids=str,
)
def test_retry_after(headers: dict[str, str], body: dict[str, Any], expected: float | None) -> None:
    """How long to wait is read in each form that it comes in; nonsense is no wish."""
    assert refusal(503, headers, body).retry_after == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "Message", "code", "__type", "retryAfterSeconds", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(
        st.sampled_from(
            ["x-amzn-errortype", "x-amzn-requestid", "retry-after", "x-amz-retry-after", "date"]
        ),
        st.text(max_size=30),
    ),
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200),
)
@example(status=500, headers={}, body=b"[" * 100_000)
@example(status=500, headers={}, body=b'{"message":' * 100_000)
def test_no_answer_breaks_it(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any answer, however malformed, gives a printable error that can be pickled."""
    error = refusal(status, headers, body)
    assert isinstance(error, ServiceError)
    assert str(error).isprintable()
    assert error.status == status
    assert isinstance(error.code, str)
    assert error.code.strip()
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
