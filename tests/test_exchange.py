"""CreateSession, driven by hand: requests, attempts, the clock, and what counts as an answer."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ProcessProvider
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from rolesanywhere_auth.config import RolesAnywhereConfig
from rolesanywhere_auth.errors import (
    AccessDeniedError,
    InvalidRequestError,
    InvalidResponseError,
    InvalidSignatureError,
    ServiceUnavailableError,
    SignInError,
    ThrottlingError,
    TransportError,
)
from rolesanywhere_auth.exchange import (
    BASE_DELAY,
    MAX_DELAY,
    Clock,
    HTTPResponse,
    Reply,
    SessionCredentials,
    Wait,
    build_request,
    create_session,
    http_date,
    read_reply,
)
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.signing import HTTPRequest

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=timezone.utc)
UUID = "9f084b8b-2f3b-4c9e-a3c5-0a2f7b1c5d6e"
CONFIG = RolesAnywhereConfig(
    trust_anchor_arn=f"arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/{UUID}",
    profile_arn=f"arn:aws:rolesanywhere:eu-west-1:111122223333:profile/{UUID}",
    role_arn="arn:aws:iam::111122223333:role/path/app+=,.@-_",
    certificate="app.pem",
)
ARNS = {
    "profileArn": CONFIG.profile_arn,
    "roleArn": CONFIG.role_arn,
    "trustAnchorArn": CONFIG.trust_anchor_arn,
}
ENDPOINT = "https://rolesanywhere.eu-west-1.amazonaws.com"
SECRETS = ("wJalrXUtnFEMI", "IQoJb3JpZ2lu")


def make_identity() -> Identity:
    """A leaf below a CA, made by ``cryptography``."""
    day = timedelta(days=1)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")]))
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(4096)
        .not_valid_before(NOW - day)
        .not_valid_after(NOW + day)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Identity.load(
        leaf.public_bytes(pem),
        private_key=key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        now=NOW,
    )


IDENTITY = make_identity()


def answer_of(*, expiration: Any = "2026-11-22T13:00:00Z") -> dict[str, Any]:
    """A whole answer, as the service's documentation shows it."""
    return {
        "credentialSet": [
            {
                "assumedRoleUser": {
                    "arn": "arn:aws:sts::111122223333:assumed-role/app/1000",
                    "assumedRoleId": "AROAEXAMPLE:1000",
                },
                "credentials": {
                    "accessKeyId": "ASIAEXAMPLE",
                    "expiration": expiration,
                    "secretAccessKey": SECRETS[0],
                    "sessionToken": SECRETS[1],
                },
                "packedPolicySize": 10,
                "roleArn": CONFIG.role_arn,
                "sourceIdentity": "CN=app",
            }
        ],
        "subjectArn": f"arn:aws:rolesanywhere:eu-west-1:111122223333:subject/{UUID}",
    }


def reply_of(
    status: int = 201, body: Any = None, *, date: datetime | str | None = None, **headers: str
) -> HTTPResponse:
    """An answer; *body* is sent as JSON unless it is bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if date is not None:
        named.setdefault("x-amzn-requestid", "r-1")  # as each of the service's answers has
        named["date"] = date if isinstance(date, str) else format_datetime(date, usegmt=True)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status, named, raw)


GOOD = reply_of(201, answer_of())
DOWN = reply_of(503, {"message": "down"})
THROTTLED = reply_of(429, {"message": "slower"})
DENIED = reply_of(403, {"message": "no"})
NO_ANSWER = TransportError("no answer", endpoint=ENDPOINT)
DISTRUST = TransportError("no trust", endpoint=ENDPOINT, retryable=False)
EMPTY = reply_of(201, {})


@dataclass
class Driver:
    """Plays the service and the clock for one conversation after the other."""

    config: RolesAnywhereConfig = CONFIG
    time: datetime = NOW
    random: Callable[[], float] = lambda: 0.5
    requests: list[HTTPRequest] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(self.seconds)

    def seconds(self) -> float:
        """The local clock."""
        return self.time.timestamp()

    def run(self, replies: Sequence[Reply], *, once: bool = False) -> SessionCredentials:
        """Give *replies* in order; every one must be asked for."""
        self.requests, self.waits = [], []
        left = list(replies)
        conversation = create_session(
            self.config,
            request=build_request(self.config, endpoint=ENDPOINT, user_agent="test"),
            identity=IDENTITY,
            clock=self.clock,
            random=self.random,
            once=once,
        )
        reply: Reply = None
        try:
            while True:
                step = conversation.send(reply)
                reply = None
                if isinstance(step, Wait):
                    self.waits.append(step.seconds)
                    self.time += timedelta(seconds=step.seconds)
                else:
                    self.requests.append(step)
                    reply = left.pop(0)
        except StopIteration as end:
            result: SessionCredentials = end.value
            return result
        finally:
            assert not left, f"{len(left)} replies were not asked for"

    def dates(self) -> list[str]:
        """When the requests were signed."""
        return [each.headers["X-Amz-Date"] for each in self.requests]


# ------------------------------------------------------------------------------------- the request


def test_the_request_has_all_in_its_body() -> None:
    """ARNs and duration go as JSON into the body; there is no query."""
    request = build_request(CONFIG, endpoint=ENDPOINT, user_agent="test/1")
    assert (request.method, request.url) == ("POST", f"{ENDPOINT}/sessions")
    assert request.headers == {"Content-Type": "application/json", "User-Agent": "test/1"}
    assert json.loads(request.body) == {"durationSeconds": 3600, **ARNS}


def test_the_request_has_what_was_chosen() -> None:
    """Duration, session name and properties are sent when they are given."""
    config = replace(
        CONFIG,
        session_duration=timedelta(minutes=15),
        role_session_name="app@host",
        instance_properties={"host": "wéb"},
    )
    request = build_request(config, endpoint=ENDPOINT, user_agent="test")
    assert json.loads(request.body) == {
        **ARNS,
        "durationSeconds": 900,
        "roleSessionName": "app@host",
        "instanceProperties": {"host": "wéb"},
    }


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080/base", "http://127.0.0.1:8080/base/"])
def test_the_request_keeps_the_endpoints_path(base: str) -> None:
    """An endpoint may have a path, with or without a final slash."""
    request = build_request(CONFIG, endpoint=base, user_agent="test")
    assert request.url == "http://127.0.0.1:8080/base/sessions"


# ------------------------------------------------------------------------------------ the attempts


def test_one_request_is_enough() -> None:
    """A good answer to the first, signed request ends the conversation."""
    driver = Driver()
    found = driver.run([GOOD])
    assert found == SessionCredentials(
        access_key="ASIAEXAMPLE",
        secret_key=SECRETS[0],
        token=SECRETS[1],
        expiration=datetime(2026, 11, 22, 13, tzinfo=timezone.utc),
        role_arn=CONFIG.role_arn,
        assumed_role_arn="arn:aws:sts::111122223333:assumed-role/app/1000",
        subject_arn=f"arn:aws:rolesanywhere:eu-west-1:111122223333:subject/{UUID}",
        source_identity="CN=app",
        packed_policy_size=10,
    )
    assert found.account_id == "111122223333"
    (request,) = driver.requests
    assert driver.waits == []
    assert request.headers["X-Amz-X509"] == IDENTITY.certificate_header
    assert request.headers["X-Amz-Date"] == "20261122T120000Z"
    assert request.headers["Authorization"].startswith(
        "AWS4-X509-ECDSA-SHA256 Credential=4096/20261122/eu-west-1/rolesanywhere/aws4_request, "
    )


def test_it_signs_for_the_trust_anchors_region() -> None:
    """The credential scope has the configuration's Region."""
    driver = Driver()
    driver.run([GOOD])
    assert "/20261122/eu-west-1/rolesanywhere/" in driver.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    "failures",
    [[DOWN], [THROTTLED], [NO_ANSWER], [EMPTY], [DOWN, NO_ANSWER], [EMPTY, THROTTLED]],
    ids=["503", "429", "transport", "empty", "503-transport", "empty-429"],
)
def test_what_may_pass_is_tried_again(failures: list[Reply]) -> None:
    """After a failure that may pass another request is signed, at the time it is then."""
    driver = Driver(random=lambda: 1.0)
    assert driver.run([*failures, GOOD]).access_key == "ASIAEXAMPLE"
    assert len(driver.requests) == len(failures) + 1
    assert len(driver.waits) == len(failures)
    assert len({each.headers["Authorization"] for each in driver.requests}) > len(failures)


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([DOWN] * 3, ServiceUnavailableError),
        ([THROTTLED] * 3, ThrottlingError),
        ([NO_ANSWER] * 3, TransportError),
        ([EMPTY] * 3, InvalidResponseError),
        ([DOWN, THROTTLED, NO_ANSWER], TransportError),
        ([DENIED], AccessDeniedError),
        ([DOWN, DENIED], AccessDeniedError),
        ([DISTRUST], TransportError),
        ([reply_of(301, b"moved")] * 3, ServiceUnavailableError),
        ([reply_of(400, b"")], InvalidRequestError),
    ],
    ids=["503", "429", "transport", "empty", "mixed", "403", "503-403", "trust", "301", "400"],
)
def test_where_it_ends(replies: list[Reply], error: type[SignInError]) -> None:
    """Three attempts at most, and one for what will not pass; the last error is raised."""
    driver = Driver()
    with pytest.raises(error) as caught:
        driver.run(replies)
    assert type(caught.value) is error or error is SignInError
    assert len(driver.requests) == len(replies)
    assert len(driver.waits) == len(replies) - 1


@pytest.mark.parametrize("attempts", [1, 2, 7])
def test_max_attempts(attempts: int) -> None:
    """The number of attempts is the configuration's."""
    driver = Driver(replace(CONFIG, max_attempts=attempts))
    with pytest.raises(ServiceUnavailableError):
        driver.run([DOWN] * attempts)
    assert len(driver.requests) == attempts


def test_attempts_without_end() -> None:
    """The thousands of a long outage are like those before them."""
    driver = Driver(replace(CONFIG, max_attempts=1100))
    with pytest.raises(ServiceUnavailableError):
        driver.run([DOWN] * 1100)
    assert len(driver.requests) == 1100


def test_once_is_one_request() -> None:
    """Where nobody waits, what fails is not tried again, however it failed."""
    driver = Driver()
    for reply in (DOWN, TransportError("no answer", endpoint=ENDPOINT), reply_of(429, b"")):
        with pytest.raises(SignInError):
            driver.run([reply], once=True)
        assert len(driver.requests) == 1
        assert not driver.waits
    assert driver.run([GOOD], once=True).access_key == "ASIAEXAMPLE"


@pytest.mark.parametrize("luck", [0.0, 0.25, 1.0])
def test_full_jitter(luck: float) -> None:
    """Each pause is between nothing and a limit that doubles, up to the longest pause."""
    driver = Driver(replace(CONFIG, max_attempts=12), random=lambda: luck)
    with pytest.raises(ServiceUnavailableError):
        driver.run([DOWN] * 12)
    limits = [min(MAX_DELAY, BASE_DELAY * 2**n) for n in range(11)]
    assert driver.waits == pytest.approx([luck * limit for limit in limits])
    assert limits[-1] == MAX_DELAY


@pytest.mark.parametrize(
    "reply",
    [
        reply_of(503, {}, retry_after="7"),
        reply_of(429, {}, retry_after=format_datetime(NOW + timedelta(seconds=7)), date=NOW),
        reply_of(503, {}, x_amz_retry_after="7000"),
        reply_of(503, {"retryAfterSeconds": 7}),
    ],
    ids=["seconds", "date", "milliseconds", "body"],
)
def test_retry_after_is_kept(reply: HTTPResponse) -> None:
    """The service's wish is waited for when it is longer than the jitter."""
    driver = Driver()
    driver.run([reply, GOOD])
    assert driver.waits == [7.0]


def test_a_short_retry_after_does_not_shorten_the_pause() -> None:
    """Jitter above the service's wish stays."""
    driver = Driver(random=lambda: 1.0)
    driver.run([reply_of(503, {}, retry_after="0"), GOOD])
    assert driver.waits == [BASE_DELAY]


def test_a_long_retry_after_is_not_waited_for() -> None:
    """Nobody is kept for minutes: the error comes at once, and says when."""
    driver = Driver()
    driver.run([reply_of(429, {}, retry_after="20"), GOOD])
    assert driver.waits == [MAX_DELAY]
    with pytest.raises(ThrottlingError) as caught:
        driver.run([reply_of(429, {}, retry_after="21")])
    assert caught.value.retry_after == 21
    assert driver.waits == []


def test_a_driver_that_answers_nothing_is_told() -> None:
    """Neither an answer nor an error is a mistake of the driver's."""
    with pytest.raises(TypeError, match="driver"):
        Driver().run([None])


# --------------------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("minutes", [-300, -5, 5, 90])
def test_a_wrong_clock_is_corrected(status: int, minutes: int) -> None:
    """A refusal with a Date far off is answered by one more request, signed for that time."""
    driver = Driver()
    theirs = NOW + timedelta(minutes=minutes)
    refusal = reply_of(status, {"message": "Invalid signature"}, date=theirs)
    good = reply_of(201, answer_of(expiration=f"{theirs + timedelta(hours=1):%FT%TZ}"))
    driver.run([refusal, good])
    assert driver.dates() == ["20261122T120000Z", f"{theirs:%Y%m%dT%H%M%SZ}"]
    assert driver.waits == []
    assert driver.clock.offset == minutes * 60
    assert driver.clock.utcnow() == theirs


def test_the_correction_is_remembered() -> None:
    """The next conversation starts with the right time."""
    driver = Driver()
    theirs = NOW + timedelta(hours=6)
    good = reply_of(201, answer_of(expiration="2026-11-22T19:00:00Z"))
    driver.run([reply_of(403, {"message": "Invalid signature"}, date=theirs), good])
    driver.time += timedelta(minutes=1)
    driver.run([good])
    assert driver.dates() == ["20261122T180100Z"]


def test_the_clock_is_corrected_once_in_a_conversation() -> None:
    """A second Date that differs again does not start a circle."""
    driver = Driver()
    far = reply_of(403, {"message": "Invalid signature"}, date=NOW + timedelta(hours=6))
    farther = reply_of(403, {"message": "Invalid signature"}, date=NOW + timedelta(hours=12))
    with pytest.raises(InvalidSignatureError):
        driver.run([far, farther])


def test_a_conversation_can_correct_a_correction() -> None:
    """When the clock was set right meanwhile, the next refusal undoes the offset."""
    driver = Driver()
    driver.clock.offset = 3600.0
    driver.run([reply_of(403, {"message": "Invalid signature"}, date=NOW), GOOD])
    assert driver.clock.offset == 0
    assert driver.dates() == ["20261122T130000Z", "20261122T120000Z"]


def test_the_correction_is_one_of_the_attempts() -> None:
    """Three requests are the most, the one that showed the clock's error included."""
    driver = Driver()
    refusal = reply_of(403, {"message": "Invalid signature"}, date=NOW + timedelta(minutes=10))
    driver.run([refusal, DOWN, GOOD])
    assert len(driver.requests) == 3
    assert len(driver.waits) == 1


def test_once_still_corrects_the_clock() -> None:
    """A refusal for a wrong clock is no failure of the service: once more, with the right time."""
    driver = Driver()
    refusal = reply_of(403, {"message": "Invalid signature"}, date=NOW + timedelta(minutes=10))
    driver.run([refusal, GOOD], once=True)
    driver = Driver()
    with pytest.raises(ServiceUnavailableError):
        driver.run([refusal, DOWN], once=True)


def test_the_last_attempt_still_corrects_the_clock() -> None:
    """With no attempt left the refusal is raised, and the next sign-in has the right time."""
    driver = Driver(replace(CONFIG, max_attempts=1))
    refusal = reply_of(403, {"message": "Invalid signature"}, date=NOW + timedelta(minutes=10))
    with pytest.raises(InvalidSignatureError):
        driver.run([refusal])
    assert driver.clock.offset == 600


def test_a_success_corrects_the_clock_too() -> None:
    """A service that puts up with a wrong clock still shows it: expiry is judged rightly."""
    driver = Driver()
    answer = reply_of(201, answer_of(), date=NOW + timedelta(minutes=10))
    assert driver.run([answer]).access_key == "ASIAEXAMPLE"
    assert driver.clock.offset == 600


@pytest.mark.parametrize(
    "reply",
    [
        DENIED,
        reply_of(403, {}, date=NOW),
        reply_of(403, {}, date=NOW + timedelta(minutes=4)),
        reply_of(403, {}, date=NOW - timedelta(minutes=4)),
        reply_of(403, {}, date="yesterday"),
        reply_of(403, {}, date="Thu, 01 Jan 1970 00:00:00 GMT"),
        reply_of(403, {}, date="Fri, 31 Dec 9999 23:59:59 GMT"),
        reply_of(404, {}, date=NOW + timedelta(hours=1)),
        HTTPResponse(403, {"date": format_datetime(NOW + timedelta(days=9), usegmt=True)}, b""),
        DISTRUST,
    ],
    ids=[
        "none",
        "same",
        "4-later",
        "4-earlier",
        "no-date",
        "1970",
        "9999",
        "404",
        "proxy",
        "transport",
    ],
)
def test_the_clock_is_left_alone(reply: Reply) -> None:
    """Without a believable Date that is far off, in a refusal of this request, nothing changes."""
    driver = Driver()
    with pytest.raises(SignInError):
        driver.run([reply])
    assert driver.clock.offset == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_outage_does_not_correct_the_clock(status: int) -> None:
    """The Date of an answer that may come from a proxy is not believed."""
    driver = Driver()
    driver.run([reply_of(status, {}, date=NOW + timedelta(hours=1)), GOOD])
    assert driver.clock.offset == 0


@pytest.mark.parametrize("header", ["x-amzn-requestid", "x-amzn-errortype"])
def test_either_header_shows_who_answered(header: str) -> None:
    """The Date of an answer that has one of the service's own headers is the service's."""
    theirs = NOW + timedelta(minutes=10)
    date = format_datetime(theirs, usegmt=True)
    driver = Driver()
    driver.run([HTTPResponse(403, {header: "AccessDeniedException", "date": date}, b""), GOOD])
    assert driver.clock.offset == 600


# -------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_2xx_is_an_answer(status: int) -> None:
    """Every success counts, as for AWS's own client."""
    assert read_reply(reply_of(status, answer_of()), config=CONFIG, now=NOW).token == SECRETS[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T13:00:00Z", "2026-11-22T13:00:00+00:00"),
        ("2026-11-22T13:00:00.5Z", "2026-11-22T13:00:00+00:00"),
        ("2026-11-22T15:00:00+02:00", "2026-11-22T13:00:00+00:00"),
    ],
)
def test_expiration(text: str, expected: str) -> None:
    """The expiry is an aware time in UTC, to the second."""
    found = read_reply(reply_of(201, answer_of(expiration=text)), config=CONFIG, now=NOW)
    assert found.expiration.isoformat() == expected
    assert found.expiration.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "text", ["2026-11-22T12:00:00Z", "2026-11-22T11:59:59Z", "1970-01-01T00:00:00Z"]
)
def test_expired_credentials_are_an_error(text: str) -> None:
    """Credentials that end now or ended before are never a result."""
    reply = reply_of(201, answer_of(expiration=text), x_amzn_requestid="3f0c")
    with pytest.raises(InvalidResponseError, match=rf"expired at {text}.*2026-11-22T12.*3f0c") as c:
        read_reply(reply, config=CONFIG, now=NOW)
    assert not any(secret in str(c.value) for secret in SECRETS)


def test_expiry_counts_by_the_services_clock() -> None:
    """With a corrected clock, credentials are not expired that the local clock would call so."""
    driver = Driver()
    driver.clock.offset = -7200.0
    good = reply_of(201, answer_of(expiration="2026-11-22T11:00:00Z"))
    assert driver.run([good]).expiration < NOW


NOTHING: Any = object()


def changed(path: Sequence[str | int], value: Any) -> dict[str, Any]:
    """The whole answer with one place changed, or taken out."""
    answer = answer_of()
    place: Any = answer
    for step in path[:-1]:
        place = place[step]
    if value is NOTHING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return answer


PLACES: list[tuple[str | int, ...]] = [
    ("credentialSet",),
    ("credentialSet", 0),
    ("credentialSet", 0, "credentials"),
    *(
        ("credentialSet", 0, "credentials", name)
        for name in ("accessKeyId", "secretAccessKey", "sessionToken", "expiration")
    ),
]
VALUES = [NOTHING, None, "", " ", [], {}, 5, True, "a b", "a\r\nX-Evil: 1", "größe", ["a"]]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place[-1]))
@pytest.mark.parametrize("value", VALUES, ids=lambda v: "absent" if v is NOTHING else repr(v))
def test_incomplete_credentials_are_an_error(place: Sequence[str | int], value: Any) -> None:
    """Credentials of which a part is missing, empty or malformed are never a result."""
    reply = reply_of(201, changed(place, value), x_amzn_requestid="3f0c")
    with pytest.raises(InvalidResponseError, match=r"without complete credentials.*3f0c") as caught:
        read_reply(reply, config=CONFIG, now=NOW)
    assert caught.value.retryable


EXPIRATIONS = [
    "2026-11-22",
    "2026-11-22T13:00:00",
    "2026-11-22T13:00:00ZZ",
    "2026-11-22T13:00:00Z\n",
    "2026-11-22T25:00:00Z",
    "20261122T130000Z",
    "soon",
    "1795352400",
    "0001-01-01T00:00:00+10:00",
    "9999-12-31T23:59:59-10:00",
]


@pytest.mark.parametrize("text", EXPIRATIONS)
def test_malformed_expirations_are_an_error(text: str) -> None:
    """An expiry that is no time, has no zone or lies beyond the calendar is refused."""
    with pytest.raises(InvalidResponseError, match="without complete credentials"):
        read_reply(reply_of(201, answer_of(expiration=text)), config=CONFIG, now=NOW)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("credentialSet", 0, "assumedRoleUser"), "assumed_role_arn"),
        (("credentialSet", 0, "assumedRoleUser", "arn"), "assumed_role_arn"),
        (("credentialSet", 0, "sourceIdentity"), "source_identity"),
        (("credentialSet", 0, "packedPolicySize"), "packed_policy_size"),
        (("subjectArn",), "subject_arn"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[-1]),
)
@pytest.mark.parametrize("value", [NOTHING, None, {}], ids=["absent", "null", "object"])
def test_what_only_informs_may_be_missing(path: Sequence[str | int], name: str, value: Any) -> None:
    """Complete credentials are good, whatever is said beside them."""
    found = read_reply(reply_of(201, changed(path, value)), config=CONFIG, now=NOW)
    assert getattr(found, name) is None
    assert found.secret_key == SECRETS[0]


def attempt(body: bytes) -> SessionCredentials | None:
    """Read *body*; whatever it is, credentials or InvalidResponseError without a secret."""
    try:
        return read_reply(HTTPResponse(201, {}, body), config=CONFIG, now=NOW)
    except InvalidResponseError as raised:
        error = raised
    # an error behind the error would hold the answer's text
    assert error.__context__ is None
    assert error.__cause__ is None
    assert not any(secret in str(error) for secret in SECRETS)
    return None


WHOLE = json.dumps(answer_of()).encode()


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_cut_answer_is_an_error(length: int) -> None:
    """An answer that breaks off anywhere gives nothing."""
    assert attempt(WHOLE[:length]) is None


@given(body=st.binary(max_size=300))
@example(body=b"")
@example(body=b"null")
@example(body=b"[" * 100_000)
@example(body=b'{"credentialSet":' * 100_000)
@example(body=b"9" * 10_000)
@example(body=b'\xff\xfe{"credentialSet":[]}')
def test_no_bytes_break_it(body: bytes) -> None:
    """Any bytes are InvalidResponseError and nothing else."""
    assert attempt(body) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    place=st.sampled_from([*PLACES, ("credentialSet", 0, "assumedRoleUser"), ("subjectArn",)]),
    value=ANYTHING | st.datetimes(timezones=st.none() | st.just(timezone.utc)).map(str),
)
def test_no_value_breaks_it(place: Sequence[str | int], value: Any) -> None:
    """With anything in any place, the result is an error or usable credentials."""
    found = attempt(json.dumps(changed(place, value)).encode())
    if found is not None:
        assert found.expiration > NOW
        for part in (found.access_key, found.secret_key, found.token):
            assert part
            assert part.isascii()
            assert part.isprintable()


# ------------------------------------------------------------------------------------- the secrets


def test_nothing_shows_a_secret() -> None:
    """Neither credentials nor answers print what is secret."""
    found = read_reply(GOOD, config=CONFIG, now=NOW)
    for shown in (repr(found), str(found), repr(GOOD)):
        assert not any(secret in shown for secret in SECRETS)
    assert "ASIAEXAMPLE" in repr(found)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_are_not_pickled(protocol: int) -> None:
    """A pickle of credentials is refused, and the way out named."""
    found = read_reply(GOOD, config=CONFIG, now=NOW)
    with pytest.raises(TypeError, match="pickle the config"):
        pickle.dumps(found, protocol)


def test_errors_of_a_conversation_hold_no_secret() -> None:
    """After an answer with expired credentials, the error's pickle has nothing of them."""
    stale = reply_of(201, answer_of(expiration="2026-11-22T11:00:00Z"))
    with pytest.raises(InvalidResponseError) as caught:
        Driver().run([stale] * 3)
    assert not any(secret.encode() in pickle.dumps(caught.value) for secret in SECRETS)
    assert caught.value.__context__ is None


def test_botocore_reads_the_credential_process_form(tmp_path: Path) -> None:
    """botocore's own provider for ``credential_process`` takes our JSON."""
    expiration = f"{datetime.now(timezone.utc) + timedelta(hours=1):%FT%TZ}"
    found = read_reply(reply_of(201, answer_of(expiration=expiration)), config=CONFIG, now=NOW)
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(found.credential_process()), "utf-8")
    command = f"'{sys.executable}' -c 'print(open(\"{file}\").read())'"
    profiles = {"profiles": {"default": {"credential_process": command}}}
    theirs = ProcessProvider("default", lambda: profiles).load()
    assert theirs is not None
    assert tuple(theirs.get_frozen_credentials())[:3] == ("ASIAEXAMPLE", *SECRETS)
    assert found.credential_process()["Expiration"] == expiration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 22 Nov 2026 12:00:00 GMT", "2026-11-22T12:00:00+00:00"),
        ("Sun, 22 Nov 2026 12:00:00 -0000", "2026-11-22T12:00:00+00:00"),
        ("Sun, 22 Nov 2026 14:00:00 +0200", "2026-11-22T14:00:00+02:00"),
        ("Sun Nov 22 12:00:00 2026", "2026-11-22T12:00:00+00:00"),
    ],
)
def test_http_dates(text: str, expected: str) -> None:
    """The forms of RFC 9110 and of mail, always with a time zone."""
    found = http_date(text)
    assert found is not None
    assert found.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        "",
        "yesterday",
        "Mon, 20 Nov 99999 19:12:08 GMT",
        "Mon, 20 Nov 1995 99999999999999999999999:12:08 GMT",
        "Mon, 20 Nov 1995 19:12:08 -9900",
    ],
    ids=repr,
)
def test_no_dates(text: object) -> None:
    """What is no date is None, whatever the parser makes of it."""
    assert http_date(text) is None
