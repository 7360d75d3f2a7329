"""AssumeRole without I/O, compared with what botocore itself sends, signs and reads."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials, ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_auth import sts
from rolesanywhere_auth.errors import (
    AccessDeniedError,
    ARNError,
    AssumeRoleDeniedError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    ServiceError,
    ServiceUnavailableError,
    ThrottlingError,
    TransportError,
)
from rolesanywhere_auth.exchange import Clock, HTTPResponse, Reply, SessionCredentials, Step, Wait
from rolesanywhere_auth.signing import HTTPRequest

ROLE = "arn:aws:iam::444455556666:role/other"
KEYS = ReadOnlyCredentials("ASIAEXAMPLE", "secret/key", "token==")
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=timezone.utc)
FULL = sts.Role(
    role_arn=ROLE,
    role_session_name="host-42",
    external_id="tenant/7:a=b",
    tags={"team": "blue & green", "empty": ""},
    transitive_tag_keys=("team",),
    session_duration=900,
)


def answer(**changes: str) -> bytes:
    """An answer of STS, as its API reference shows it."""
    values = {
        "AccessKeyId": "ASIANEW",
        "SecretAccessKey": "new+secret",
        "SessionToken": "new/token",
        "Expiration": "2026-11-22T13:00:00Z",
    } | changes
    keys = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        "<SourceIdentity>app</SourceIdentity><AssumedRoleUser>"
        "<Arn>arn:aws:sts::444455556666:assumed-role/other/host-42</Arn>"
        "<AssumedRoleId>AROAEXAMPLE:host-42</AssumedRoleId></AssumedRoleUser>"
        f"<Credentials>{keys}</Credentials></AssumeRoleResult><ResponseMetadata>"
        "<RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata>"
        "</AssumeRoleResponse>"
    ).encode()


def refusal(code: str, message: str = "no") -> bytes:
    """An error of STS."""
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
        f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>r</RequestId></ErrorResponse>"
    ).encode()


def talk(
    role: sts.Role = FULL, *, once: bool = False, clock: Clock | None = None
) -> Generator[Step, Reply, SessionCredentials]:
    """The conversation for *role*."""
    return sts.assume_role(
        role,
        keys=KEYS,
        endpoint="https://sts.eu-west-1.amazonaws.com",
        region="eu-west-1",
        role_session_name="fallback",
        user_agent="test",
        clock=clock or Clock(NOW.timestamp),
        random=lambda: 0.5,
        once=once,
    )


def ends(conversation: Generator[Step, Reply, SessionCredentials], reply: Reply) -> Any:
    """What *reply* ends it with."""
    with pytest.raises(StopIteration) as end:
        conversation.send(reply)
    return end.value.value


def botocores_request(role: sts.Role) -> Any:
    """What botocore's own client would send."""
    session = botocore.session.Session()
    session.set_config_variable("sts_regional_endpoints", "regional")
    client = session.create_client(
        "sts",
        region_name="eu-west-1",
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        aws_session_token=KEYS.token,
    )
    sent: list[Any] = []

    def note(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, Body(answer()))

    client.meta.events.register("before-send.sts.AssumeRole", note)
    client.assume_role(
        RoleArn=role.role_arn,
        RoleSessionName=str(role.role_session_name),
        ExternalId=str(role.external_id),
        Tags=[{"Key": key, "Value": value} for key, value in (role.tags or {}).items()],
        TransitiveTagKeys=list(role.transitive_tag_keys),
        DurationSeconds=role.session_duration,
    )
    return sent[0]


class Body:
    """A raw answer for `AWSResponse`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_: Any) -> Any:
        """Once, all of it."""
        yield self._data


def test_the_form_is_botocores() -> None:
    """URL, content type and every parameter are what botocore's client sends."""
    theirs = botocores_request(FULL)
    ours = next(talk())

    assert isinstance(ours, HTTPRequest)
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    body = theirs.body if isinstance(theirs.body, str) else theirs.body.decode()
    assert parse_qs(ours.body.decode(), keep_blank_values=True, strict_parsing=True) == parse_qs(
        body, keep_blank_values=True, strict_parsing=True
    )
    assert ours.headers["Content-Type"] == str(
        theirs.headers["Content-Type"].decode()
        if isinstance(theirs.headers["Content-Type"], bytes)
        else theirs.headers["Content-Type"]
    )


def signature_of_botocore(request: HTTPRequest, keys: ReadOnlyCredentials) -> str:
    """The signature that botocore's signer makes of the same request at the same time."""
    signer = SigV4Auth(Credentials(*keys[:3]), "sts", "eu-west-1")
    headers = {k: v for k, v in request.headers.items() if k != "Authorization"}
    again = AWSRequest(request.method, request.url, headers, request.body)
    again.context["timestamp"] = headers["X-Amz-Date"]
    canonical = signer.canonical_request(again)
    return str(signer.signature(signer.string_to_sign(again, canonical), again))


@settings(max_examples=30)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50),
    token=st.none() | st.just("a/token+of=some==length"),
    name=st.text(st.sampled_from("abcXYZ019_=,.@-+"), min_size=2, max_size=64),
)
def test_the_signature_is_botocores(secret: str, token: str | None, name: str) -> None:
    """Whatever the keys and the body: botocore's signer comes to the same signature."""
    keys = ReadOnlyCredentials("ASIAEXAMPLE", secret, token)
    role = sts.Role(role_arn=ROLE)
    request = HTTPRequest(
        method="POST",
        url="https://sts.eu-west-1.amazonaws.com/",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        body=role.form(role_session_name=name),
    )

    signed = sts.sign(request, keys=keys, region="eu-west-1", when=NOW)

    assert ("X-Amz-Security-Token" in signed.headers) is (token is not None)
    assert signed.headers["Authorization"].endswith(
        f"Signature={signature_of_botocore(signed, keys)}"
    )


def test_credentials_of_an_answer() -> None:
    """A complete answer ends the conversation; nothing of it is shown."""
    conversation = talk()
    next(conversation)
    found = ends(conversation, HTTPResponse(200, {}, answer()))

    assert (found.access_key, found.secret_key, found.token) == (
        "ASIANEW",
        "new+secret",
        "new/token",
    )
    assert found.expiration == NOW + timedelta(hours=1)
    assert found.account_id == "444455556666"
    assert found.assumed_role_arn == "arn:aws:sts::444455556666:assumed-role/other/host-42"
    assert found.source_identity == "app"
    assert "new" not in repr(found).replace("ASIANEW", "")


def test_name_of_the_session_before() -> None:
    """Without a name of its own the session gets that of the one before it."""
    request = next(talk(sts.Role(role_arn=ROLE)))

    assert isinstance(request, HTTPRequest)
    sent = parse_qs(request.body.decode())
    assert sent["RoleSessionName"] == ["fallback"]
    assert "ExternalId" not in sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>captive portal",
        b"<a/>",
        answer(SessionToken=""),
        answer(Expiration="tomorrow"),
        answer(SecretAccessKey="two lines\nhere"),
        answer(Expiration="2026-11-22T11:59:59Z"),
    ],
)
def test_useless_answers(body: bytes) -> None:
    """An answer that is none, incomplete or expired is an error without its content."""
    conversation = talk(once=True)
    next(conversation)
    with pytest.raises(InvalidResponseError, match="nothing of it was used") as caught:
        conversation.send(HTTPResponse(200, {}, body))
    assert caught.value.retryable
    assert caught.value.__context__ is None
    assert "new" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (403, "AccessDenied", AssumeRoleDeniedError, False),
        (403, "InvalidClientTokenId", AccessDeniedError, False),
        (403, "ExpiredToken", AccessDeniedError, True),
        (400, "ExpiredTokenException", AccessDeniedError, True),
        (400, "ValidationError", InvalidRequestError, False),
        (400, "Throttling", ThrottlingError, True),
        (429, "", ThrottlingError, True),
        (503, "ServiceUnavailable", ServiceUnavailableError, True),
        (302, "", ServiceUnavailableError, True),
        (408, "", ServiceUnavailableError, True),
        (400, "RequestTimeout", ServiceUnavailableError, True),
    ],
)
def test_refusals(status: int, code: str, kind: type[ServiceError], retryable: bool) -> None:
    """Each refusal is an error of its kind, with the words of STS."""
    conversation = talk(once=True)
    next(conversation)
    body = refusal(code, "User: a is not authorized") if code else b"<html>no"
    with pytest.raises(kind) as caught:
        conversation.send(HTTPResponse(status, {"x-amzn-requestid": "r-1"}, body))

    error = caught.value
    assert isinstance(error, ServiceError)
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.code == (code or f"HTTP{status}")
    assert error.request_id == "r-1"
    assert error.service_message.startswith("User: a" if code else "no message")
    assert ROLE in str(error)
    assert bool(error.causes) is (kind is AssumeRoleDeniedError)


def test_credentials_under_a_wrong_status_are_not_shown() -> None:
    """An answer that a proxy gave another status may hold keys: its words are not cited."""
    conversation = talk(once=True)
    next(conversation)
    body = answer().replace(b' xmlns="https://sts.amazonaws.com/doc/2011-06-15/"', b"")
    with pytest.raises(InvalidRequestError, match="no message") as caught:
        conversation.send(HTTPResponse(400, {}, body))
    assert "Assume" in str(caught.value)
    assert "<" not in str(caught.value)


def test_attempts_and_back_off() -> None:
    """What may pass is tried three times, with pauses; a refusal that lasts once."""
    conversation = talk()
    first = next(conversation)
    pause = conversation.send(HTTPResponse(503, {"retry-after": "2"}, b""))
    assert pause == Wait(2.0)
    assert conversation.send(None) == first
    assert isinstance(conversation.send(TransportError("down", endpoint="e")), Wait)
    conversation.send(None)
    with pytest.raises(ServiceUnavailableError):
        conversation.send(HTTPResponse(500, {}, b""))

    lasting = talk()
    next(lasting)
    with pytest.raises(AssumeRoleDeniedError):
        lasting.send(HTTPResponse(403, {}, refusal("AccessDenied")))


def test_a_wrong_clock_is_corrected() -> None:
    """The date of the answer shows it, and the next request is signed by the right time."""
    conversation = talk(clock=Clock((NOW - timedelta(hours=2)).timestamp))
    first = next(conversation)
    headers = {"date": "Sun, 22 Nov 2026 12:00:00 GMT", "x-amzn-requestid": "r"}
    second = conversation.send(HTTPResponse(403, headers, refusal("SignatureDoesNotMatch")))

    assert isinstance(first, HTTPRequest)
    assert isinstance(second, HTTPRequest)
    assert first.headers["X-Amz-Date"] == "20261122T100000Z"
    assert second.headers["X-Amz-Date"] == "20261122T120000Z"


def test_a_driver_must_answer() -> None:
    """None as an answer is a mistake of the driver's."""
    conversation = talk()
    next(conversation)
    with pytest.raises(TypeError, match="neither an answer nor an error"):
        conversation.send(None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"role_session_name": "a"}, "role_session_name must fit"),
        ({"role_session_name": 42}, "role_session_name must fit"),
        ({"external_id": "tab\there"}, "external_id must fit"),
        ({"session_duration": 899}, "session_duration must be 900"),
        ({"session_duration": 43201}, "session_duration must be 900"),
        ({"session_duration": 900.5}, "session_duration must be 900"),
        ({"session_duration": True}, "session_duration must be 900"),
        ({"session_duration": "900"}, "session_duration must be 900"),
        ({"transitive_tag_keys": "team"}, "transitive_tag_keys takes a list"),
        ({"transitive_tag_keys": [1]}, "transitive_tag_keys takes a list"),
        ({"tags": ["team"]}, "tags takes a mapping"),
        ({"tags": {"team": 1}}, "tags takes a mapping"),
        ({"tags": {"": "x"}}, "tags takes a mapping"),
        ({"tags": {"k": "x" * 257}}, "tags takes a mapping"),
        ({"tags": {f"k{n}": "" for n in range(51)}}, "tags takes a mapping"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    """What STS would refuse is refused before any request."""
    with pytest.raises(ConfigurationError, match=said):
        sts.Role(role_arn=ROLE, **arguments)


def test_wrong_role() -> None:
    """A role is named by its ARN."""
    with pytest.raises(ARNError):
        sts.Role(role_arn="other")


def test_durations() -> None:
    """Seconds or a timedelta."""
    role = sts.Role(role_arn=ROLE, session_duration=timedelta(hours=1))  # type: ignore[arg-type]

    assert role.session_duration == 3600
    assert hash(role) == hash(sts.Role(role_arn=ROLE, session_duration=3600))
