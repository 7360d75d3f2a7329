# SPDX-License-Identifier: Apache-2.0
"""CreateSession as a conversation without I/O.

`create_session()` is a generator: it yields an `HTTPRequest` to be sent or a `Wait`
to be waited, receives the `HTTPResponse` or the `TransportError` that came of it,
and returns `SessionCredentials` or raises. Attempts, back-off and the correction of
a wrong clock are decided here, once for every way of doing I/O.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Generator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from rolesanywhere_auth.errors import (
    InvalidResponseError,
    ServiceError,
    SignInError,
    TransportError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.signing import HTTPRequest, sign

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.identity import Identity

T = TypeVar("T")

BASE_DELAY = 0.05
"""Seconds: the longest pause before the second attempt; it doubles with each one."""
MAX_DELAY = 20.0
"""Seconds: a longer ``Retry-After`` is not waited for, the error is raised with it."""
MAX_SKEW = timedelta(minutes=4)
"""An answer whose ``Date`` differs by more shows that the local clock is wrong."""
_YEARS = range(2022, 2200)
"""A ``Date`` from before the service began, or far from our time, is nobody's clock."""


class HTTPResponse(NamedTuple):
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """Not shown: it may hold credentials."""

    def __repr__(self) -> str:
        return f"HTTPResponse(status={self.status}, headers={self.headers!r})"


class Wait(NamedTuple):
    """Pause for *seconds* before the next request."""

    seconds: float


class Clock:
    """The local clock, and what the service taught us of its error.

    Args:
        now: Returns seconds since the epoch, as `time.time` does.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.offset = 0.0
        """Seconds that the service's clock is ahead of the local one."""

    def utcnow(self) -> datetime:
        """The service's time, as far as it is known."""
        return datetime.fromtimestamp(self._now() + self.offset, timezone.utc)


class SessionCredentials(NamedTuple):
    """What CreateSession answers. ``repr`` shows no secret."""

    access_key: str
    """The access key id."""
    secret_key: str
    """The secret access key."""
    token: str
    """The session token."""
    expiration: datetime
    """By the service's clock; aware, UTC."""
    role_arn: str
    """The role that was asked for."""
    assumed_role_arn: str | None = None
    """Role and session name, as ``sts:GetCallerIdentity`` tells them."""
    subject_arn: str | None = None
    """The service's record of the certificate's subject."""
    source_identity: str | None = None
    """Which CloudTrail shows with each call."""
    packed_policy_size: int | None = None
    """Per cent of the room for session policies and tags that is used."""

    @property
    def account_id(self) -> str:
        """The account of the role."""
        return self.role_arn.split(":")[4]

    def __repr__(self) -> str:
        shown = (name for name in self._fields if name not in ("secret_key", "token"))
        return f"SessionCredentials({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("SessionCredentials hold secrets and are never pickled; pickle the config")

    def credential_process(self) -> dict[str, Any]:
        """The JSON object that botocore's ``credential_process`` protocol expects."""
        return {
            "Version": 1,
            "AccessKeyId": self.access_key,
            "SecretAccessKey": self.secret_key,
            "SessionToken": self.token,
            "Expiration": self.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading JSON of another shape, depth or date range than expected raises."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-]\d\d:\d\d))", re.ASCII)
SECRET = re.compile(r"[!-~]+")
"""Credentials travel in HTTP headers: anything else would fail there, at every call."""

Step = HTTPRequest | Wait
Reply = HTTPResponse | TransportError | None


def build_request(config: RolesAnywhereConfig, *, endpoint: str, user_agent: str) -> HTTPRequest:
    """The unsigned request: all in the body, as the user guide's example has it.

    The example is that of "Signing process". AWS's own client puts the ARNs into the
    query; the service takes both.
    """
    body: dict[str, Any] = {
        "durationSeconds": config.session_duration,
        "profileArn": config.profile_arn,
        "roleArn": config.role_arn,
        "trustAnchorArn": config.trust_anchor_arn,
    }
    if config.instance_properties:
        body["instanceProperties"] = dict(config.instance_properties)
    if config.role_session_name:
        body["roleSessionName"] = config.role_session_name
    return HTTPRequest(
        method="POST",
        url=f"{endpoint.rstrip('/')}/sessions",
        headers={"Content-Type": "application/json", "User-Agent": user_agent},
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def create_session(
    config: RolesAnywhereConfig,
    *,
    request: HTTPRequest,
    identity: Identity,
    clock: Clock,
    random: Callable[[], float],
    once: bool = False,
) -> Generator[Step, Reply, SessionCredentials]:
    """Sign *request*, have it sent, read the answer; again where that can help.

    Args:
        config: Region, and the number of attempts.
        request: Of `build_request()`.
        identity: Who signs.
        clock: Corrected in place when the service's ``Date`` shows that it is wrong.
        random: Returns 0 to 1, for the jitter.
        once: Whether no failure is tried again, as nobody waits. A wrong clock still is
            corrected, within the number of attempts.

    Raises:
        SignInError: Its leaf says why.
    """
    return attempts(
        lambda: sign(request, identity=identity, region=str(config.region), when=clock.utcnow()),
        lambda reply: read_reply(reply, config=config, now=clock.utcnow()),
        clock=clock,
        random=random,
        most=config.max_attempts,
        once=once,
    )


def attempts(
    make: Callable[[], HTTPRequest],
    read: Callable[[Reply], SessionCredentials],
    *,
    clock: Clock,
    random: Callable[[], float],
    most: int,
    once: bool,
) -> Generator[Step, Reply, SessionCredentials]:
    """Have requests sent until one is answered well, *most* of them.

    Args:
        make: A request, signed by the clock of this moment.
        read: Credentials of an answer, or a `SignInError`.
        clock: As in `create_session()`, like *random* and *once*.
        random: Returns 0 to 1.
        most: The number of attempts.
        once: Whether no failure is tried again.

    Raises:
        SignInError: Of the last attempt.
    """
    corrected = False
    for attempt in range(1, most + 1):
        reply = yield make()
        skewed = _correct(clock, reply)
        try:
            return read(reply)
        except SignInError as error:
            failure = error
        delay = _delay(failure, attempt=attempt, random=random)
        if skewed and not corrected:
            corrected = True  # and at once again, with the right time
        elif delay is None or once:
            break
        elif attempt < most:
            yield Wait(delay)
    raise failure


def run(
    conversation: Generator[Step, Reply, SessionCredentials],
    *,
    send: Callable[[HTTPRequest], HTTPResponse],
    sleep: Callable[[float], object],
) -> SessionCredentials:
    """Drive *conversation* to its end with blocking I/O."""
    reply: Reply = None
    try:
        while True:
            step = conversation.send(reply)
            reply = None
            if isinstance(step, Wait):
                sleep(step.seconds)
                continue
            try:
                reply = send(step)
            except TransportError as error:
                reply = error
    except StopIteration as end:
        result: SessionCredentials = end.value
        return result


def _delay(failure: SignInError, *, attempt: int, random: Callable[[], float]) -> float | None:
    """Seconds until the next attempt (full jitter, never under Retry-After), or None for never."""
    if not failure.retryable:
        return None
    asked = failure.retry_after if isinstance(failure, ServiceError) else None
    if asked is not None and asked > MAX_DELAY:
        return None
    jittered = random() * min(MAX_DELAY, BASE_DELAY * 2.0 ** min(attempt - 1, 20))
    return max(asked or 0.0, jittered)


def _correct(clock: Clock, reply: Reply) -> bool:
    """Set *clock* by the answer's ``Date``, if that is far off; whether it was.

    A success counts too: the service may put up with a difference that would make
    us misjudge when the credentials expire.
    """
    if not isinstance(reply, HTTPResponse) or reply.status >= 500 or reply.status in (404, 429):
        return False
    if not reply.headers.keys() & {"x-amzn-requestid", "x-amzn-errortype"}:
        return False  # of a proxy, whose clock is its own
    theirs = http_date(reply.headers.get("date"))
    if theirs is None or theirs.year not in _YEARS:
        return False
    skew = theirs - clock.utcnow()
    if abs(skew) <= MAX_SKEW:
        return False
    clock.offset += skew.total_seconds()
    return True


def read_reply(reply: Reply, *, config: RolesAnywhereConfig, now: datetime) -> SessionCredentials:
    """Credentials, of an answer that holds complete ones that are still valid at *now*.

    Raises:
        TransportError: there was no answer.
        ServiceError: the service refused.
        InvalidResponseError: anything is missing, empty, malformed or expired.
    """
    if isinstance(reply, TransportError):
        raise reply
    if reply is None:
        raise TypeError("the driver sent neither an answer nor an error")
    if not 200 <= reply.status < 300:
        with local_work():
            from rolesanywhere_auth.refusals import service_error

        raise service_error(reply.status, reply.headers, reply.body, config=config)
    found = None
    with contextlib.suppress(*MALFORMED):  # never our error's context: they may hold the answer
        answer = json.loads(reply.body)
        found = _credentials(answer["credentialSet"][0], answer, role_arn=config.role_arn)
    if found is None:
        raise InvalidResponseError(
            f"the service answered HTTP {reply.status} without complete credentials"
            f"{_request_id(reply)}; nothing of it was used. A proxy in between may have changed "
            "or cut the answer"
        )
    if found.expiration <= now:
        raise InvalidResponseError(
            f"the service answered with credentials that expired at {found.expiration:%FT%TZ} "
            f"(it is {now:%FT%TZ}){_request_id(reply)}; check this machine's clock"
        )
    return found


def _request_id(reply: HTTPResponse) -> str:
    with local_work():
        from rolesanywhere_auth.refusals import one_line

    name = reply.headers.get("x-amzn-requestid")
    return f" (request id {one_line(name)})" if name else ""


def _credentials(entry: Any, answer: Any, *, role_arn: str) -> SessionCredentials:
    keys = entry["credentials"]
    access_key, secret_key, token, expiration = (
        keys[name] for name in ("accessKeyId", "secretAccessKey", "sessionToken", "expiration")
    )
    for value in (access_key, secret_key, token):
        if not SECRET.fullmatch(value):
            raise ValueError("empty or malformed")
    user = entry.get("assumedRoleUser") or {}
    return SessionCredentials(
        access_key=access_key,
        secret_key=secret_key,
        token=token,
        expiration=parse_time(expiration),
        role_arn=role_arn,
        assumed_role_arn=_optional(user.get("arn"), str),
        subject_arn=_optional(answer.get("subjectArn"), str),
        source_identity=_optional(entry.get("sourceIdentity"), str),
        packed_policy_size=_optional(entry.get("packedPolicySize"), int),
    )


def _optional(value: Any, kind: type[T]) -> T | None:
    """*value* if it is of this *kind*: nothing is refused for what only informs."""
    return value if isinstance(value, kind) else None


def parse_time(text: str) -> datetime:
    """An RFC 3339 time in UTC; what `datetime.fromisoformat()` takes differs by Python."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError("no time, or no time zone")
    return datetime.fromisoformat(parts[1] + (parts[2] or "+00:00")).astimezone(timezone.utc)


def http_date(text: object) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7), aware; None if *text* is none."""
    if not isinstance(text, str):
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
