# SPDX-License-Identifier: Apache-2.0
"""AssumeRole of AWS STS as a conversation without I/O: from one role to the next.

Not by a botocore client, nor by botocore's signer: they log answers and signed headers at DEBUG,
secret key and session token included. The protocol is AWS's query protocol (form in, XML out), the
signature SigV4 with HMAC (IAM user guide, "AWS Signature Version 4"). As in `exchange`, which
conducts it, all I/O is the caller's.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rolesanywhere_auth._durations import session_seconds
from rolesanywhere_auth._mappings import FrozenMapping
from rolesanywhere_auth.arns import ROLE, parse_arn
from rolesanywhere_auth.config import SESSION_NAME
from rolesanywhere_auth.errors import (
    AccessDeniedError,
    AssumeRoleDeniedError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    ServiceError,
    ServiceUnavailableError,
    ThrottlingError,
    TransportError,
)
from rolesanywhere_auth.exchange import (
    MALFORMED,
    SECRET,
    Clock,
    HTTPResponse,
    Reply,
    SessionCredentials,
    Step,
    attempts,
    parse_time,
)
from rolesanywhere_auth.refusals import THROTTLING, TRANSIENT, excerpt, one_line, retry_after
from rolesanywhere_auth.signing import (
    HTTPRequest,
    canonical_headers,
    canonical_request,
    host_header,
    string_to_sign,
    timestamp,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from botocore.credentials import ReadOnlyCredentials

EVENT = "before-send.sts.AssumeRole"
"""botocore's event for such a request about to be sent."""
MAX_ATTEMPTS = 3
_ALGORITHM = "AWS4-HMAC-SHA256"
_EXTERNAL_ID = r"[\w+=,.@:/-]{2,1224}"
_XML_ERRORS = (*MALFORMED, SyntaxError)
_CAUSES = (
    "the role's trust policy does not allow the role before it sts:AssumeRole",
    "with tags: it, or the permissions of the role before it, do not allow sts:TagSession",
    "the permissions of the role before it do not allow sts:AssumeRole on this role",
    "external_id, or another condition of the trust policy, does not fit",
    "the role does not exist",
)


@dataclass(frozen=True, kw_only=True)
class Role:
    """What AssumeRole is asked for; the limits are those of the STS API reference."""

    role_arn: str
    role_session_name: str | None = None
    external_id: str | None = None
    tags: Mapping[str, str] | None = None
    transitive_tag_keys: tuple[str, ...] = ()
    session_duration: int = 3600

    def __post_init__(self) -> None:
        parse_arn(self.role_arn, kind=ROLE)
        _matches("role_session_name", self.role_session_name, SESSION_NAME)
        _matches("external_id", self.external_id, _EXTERNAL_ID)
        object.__setattr__(self, "session_duration", session_seconds(self.session_duration))
        object.__setattr__(self, "transitive_tag_keys", _keys(self.transitive_tag_keys))
        if self.tags is not None:
            object.__setattr__(self, "tags", _tags(self.tags))

    @property
    def account_id(self) -> str:
        """Of the role, 12 digits."""
        return parse_arn(self.role_arn, kind=ROLE).account_id

    def form(self, *, role_session_name: str) -> bytes:
        """The body of the request."""
        pairs = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.role_arn),
            ("RoleSessionName", self.role_session_name or role_session_name),
            ("DurationSeconds", str(self.session_duration)),
        ]
        if self.external_id is not None:
            pairs.append(("ExternalId", self.external_id))
        for number, (key, value) in enumerate((self.tags or {}).items(), 1):
            pairs.append((f"Tags.member.{number}.Key", key))
            pairs.append((f"Tags.member.{number}.Value", value))
        for number, key in enumerate(self.transitive_tag_keys, 1):
            pairs.append((f"TransitiveTagKeys.member.{number}", key))
        return urlencode(pairs).encode()


def _matches(name: str, value: object, pattern: str) -> None:
    if value is not None and not (
        isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)
    ):
        raise ConfigurationError(f"{name} must fit {pattern}, not {value!r}")


def _keys(value: Iterable[str]) -> tuple[str, ...]:
    keys = (value,) if isinstance(value, str) else tuple(value)
    if isinstance(value, str) or not all(isinstance(key, str) for key in keys):
        raise ConfigurationError(
            f"transitive_tag_keys takes a list of keys of tags, such as ['team'], not {value!r}"
        )
    return keys


def _tags(value: object) -> FrozenMapping:
    if (
        not isinstance(value, Mapping)
        or len(value) > 50
        or not all(isinstance(part, str) for item in value.items() for part in item)
        or not all(1 <= len(key) <= 128 and len(text) <= 256 for key, text in value.items())
    ):
        raise ConfigurationError(
            "tags takes a mapping of at most 50 keys of 1 to 128 characters to values of at most "
            f"256, not {value!r}"
        )
    return FrozenMapping(value)


def assume_role(
    role: Role,
    *,
    keys: ReadOnlyCredentials,
    endpoint: str,
    region: str,
    role_session_name: str,
    user_agent: str,
    clock: Clock,
    random: Callable[[], float],
    once: bool = False,
) -> Generator[Step, Reply, SessionCredentials]:
    """Ask for *role*, again where that can help.

    Args:
        role: What to ask for.
        keys: Of the role before it.
        endpoint: Of STS.
        region: Which the endpoint is of.
        role_session_name: Where *role* says none.
        user_agent: For the header.
        clock: As in `exchange.create_session()`, like *random* and *once*.
        random: Returns 0 to 1.
        once: Whether no failure is tried again.

    Raises:
        SignInError: Its leaf says why.
    """
    request = HTTPRequest(
        method="POST",
        url=f"{endpoint.rstrip('/')}/",
        headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": user_agent,
        },
        body=role.form(role_session_name=role_session_name),
    )
    return attempts(
        lambda: sign(request, keys=keys, region=region, when=clock.utcnow()),
        lambda reply: read_reply(reply, role=role, now=clock.utcnow()),
        clock=clock,
        random=random,
        most=MAX_ATTEMPTS,
        once=once,
    )


def sign(
    request: HTTPRequest, *, keys: ReadOnlyCredentials, region: str, when: datetime
) -> HTTPRequest:
    """*request* signed by *keys* for STS: SigV4 with HMAC-SHA256.

    Raises:
        ValueError: *when* has no time zone.
    """
    date = timestamp(when)
    headers = {**request.headers, "Host": host_header(request.url), "X-Amz-Date": date}
    if keys.token:
        headers["X-Amz-Security-Token"] = keys.token
    signed = canonical_headers(headers)
    scope = f"{date[:8]}/{region}/sts/aws4_request"
    to_sign = string_to_sign(
        algorithm=_ALGORITHM,
        date=date,
        scope=scope,
        canonical=canonical_request(request, signed),
    )
    key = f"AWS4{keys.secret_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), sha256)
    authorization = (
        f"{_ALGORITHM} Credential={keys.access_key}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={key.hex()}"
    )
    return request._replace(headers={**headers, "Authorization": authorization})


def read_reply(reply: Reply, *, role: Role, now: datetime) -> SessionCredentials:
    """Credentials, of an answer that holds complete ones that are still valid at *now*.

    Raises:
        TransportError: there was no answer.
        ServiceError: STS refused.
        InvalidResponseError: anything is missing, malformed or expired.
    """
    if isinstance(reply, TransportError):
        raise reply
    if reply is None:
        raise TypeError("the driver sent neither an answer nor an error")
    if not 200 <= reply.status < 300:
        raise _refusal(reply, role=role)
    found = None
    with contextlib.suppress(*_XML_ERRORS):  # never our error's context: they may hold the answer
        found = _credentials(_parsed(reply.body), role=role)
    if found is None or found.expiration <= now:
        fault = "without complete credentials" if found is None else "with expired credentials"
        raise InvalidResponseError(
            f"STS answered HTTP {reply.status} {fault} for {role.role_arn}; nothing of it was "
            "used. A proxy in between may have changed the answer, or this machine's clock is wrong"
        )
    return found


def _parsed(body: bytes) -> Element:
    from xml.etree.ElementTree import fromstring

    return fromstring(body)  # noqa: S314 - of AWS, over TLS; and expat bounds expansions


def _text(root: Element, path: str) -> str:
    """The text at *path*, in whatever namespace; empty if there is none.

    A path that begins with a slash may stand at any depth.
    """
    names = "/".join(f"{{*}}{name}" for name in path.lstrip("/").split("/"))
    found = root.find(f".//{names}" if path.startswith("/") else names)
    return (found.text or "").strip() if found is not None else ""


def _credentials(root: Element, *, role: Role) -> SessionCredentials:
    keys = "AssumeRoleResult/Credentials"
    access_key, secret_key, token = (
        _text(root, f"{keys}/{name}") for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    for value in (access_key, secret_key, token):
        if not SECRET.fullmatch(value):
            raise ValueError("empty or malformed")
    user = "AssumeRoleResult/AssumedRoleUser/Arn"
    return SessionCredentials(
        access_key=access_key,
        secret_key=secret_key,
        token=token,
        expiration=parse_time(_text(root, f"{keys}/Expiration")),
        role_arn=role.role_arn,
        assumed_role_arn=_text(root, user) or None,
        source_identity=_text(root, "AssumeRoleResult/SourceIdentity") or None,
    )


def _refusal(reply: HTTPResponse, *, role: Role) -> ServiceError:
    code = text = ""
    with contextlib.suppress(*_XML_ERRORS):
        root = _parsed(reply.body)
        # one level deeper in moto's answers
        code, text = _text(root, "/Error/Code"), _text(root, "/Error/Message")
    code = one_line(code) or f"HTTP{reply.status}"
    text = text or excerpt(reply.body)
    kind, causes = _kind(reply.status, code)
    request_id = reply.headers.get("x-amzn-requestid")
    message = (
        f"STS refused AssumeRole with HTTP {reply.status} {code}: {one_line(text)} "
        f"(role {role.role_arn}{f', request id {one_line(request_id)}' if request_id else ''})"
    )
    if causes:
        message += ". Possible causes: " + "; ".join(causes)
    asked: dict[str, Any] = {}
    error = kind(
        message,
        status=reply.status,
        code=code,
        service_message=text,
        request_id=request_id,
        causes=causes,
        retry_after=retry_after(reply.headers, asked),
    )
    if code.startswith("ExpiredToken"):
        error.retryable = True  # the role before it signs in again
    return error


def _kind(status: int, code: str) -> tuple[type[ServiceError], tuple[str, ...]]:
    if status == 429 or code in THROTTLING:
        return ThrottlingError, ()
    if status >= 500 or status < 400 or status == 408 or code in TRANSIENT:
        return ServiceUnavailableError, ()
    if code in {"AccessDenied", "AccessDeniedException"}:
        return AssumeRoleDeniedError, _CAUSES
    if status == 403 or code.startswith("ExpiredToken"):
        return AccessDeniedError, ()
    return InvalidRequestError, ()
