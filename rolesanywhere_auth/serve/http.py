# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as little of it as a credentials endpoint needs, and strictly; no I/O.

Requests have no body and few, short headers. What two readers could read in two ways (RFC 9112
section 11.2) is refused, and the connection closed: a bare CR or LF, a folded line, blanks
before a colon, a repeated ``Host`` or ``Content-Length``, any ``Transfer-Encoding``.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import NamedTuple

HEAD_LIMIT = 8192
"""Bytes of a request line and its headers."""
HEADERS_LIMIT = 64

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,2047}) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)")
_ONCE = {
    "authorization",
    "content-length",
    "host",
    "x-aws-ec2-metadata-token",
    "x-aws-ec2-metadata-token-ttl-seconds",
}
"""What would be ambiguous if it came twice."""


class Head(NamedTuple):
    """A request; it has no body."""

    method: str
    path: str
    """Without the query, not decoded."""
    headers: dict[str, str]
    """Names in lower case."""
    keep_alive: bool

    def __repr__(self) -> str:
        return f"<{self.method} request>"  # path and headers may hold anything, also a token


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    def __repr__(self) -> str:
        return f"<answer {self.status}>"  # the body may be credentials

    def encoded(self, *, date: str, close: bool) -> bytes:
        """As it goes over the wire."""
        lines = [
            f"HTTP/1.1 {self.status} {_reason(self.status)}",
            f"Date: {date}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in self.headers),
            f"Connection: {'close' if close else 'keep-alive'}",
        ]
        return "\r\n".join(lines).encode() + _END + self.body


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase


def refusal(
    status: int, code: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """An error as AWS's SDKs look for it.

    Those in Rust, Go and Java read ``code`` and ``message`` of a container endpoint, the one in
    JavaScript ``Code`` and ``Message``, and so do all of IMDS.
    """
    told = {"code": code, "message": message, "Code": code, "Message": message}
    return Answer(status, json.dumps(told).encode(), headers)


class BadRequestError(Exception):
    """What came cannot be answered; the connection is of no more use."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        code = HTTPStatus(status).phrase.replace(" ", "")
        self.answer = refusal(status, code, message)


def take_head(buffer: bytearray) -> Head | None:
    """Take the first request off *buffer*; None while its head is not complete.

    Raises:
        BadRequestError: it is malformed, ambiguous, too long, or has a body.
    """
    end = buffer.find(_END, 0, HEAD_LIMIT + len(_END))
    if end < 0:
        _check_beginning(buffer)
        return None
    raw = bytes(buffer[:end])
    del buffer[: end + len(_END)]
    return _parse(raw)


def _check_beginning(buffer: bytearray) -> None:
    if len(buffer) >= HEAD_LIMIT:
        raise BadRequestError(431, f"the request line and headers exceed {HEAD_LIMIT} bytes")
    if buffer and not 0x41 <= buffer[0] <= 0x5A:
        raise BadRequestError(400, "this is no HTTP request; the endpoint speaks plain HTTP/1.1")
    if buffer.count(b"\n") != buffer.count(b"\r\n"):
        raise BadRequestError(400, "lines of the head must end in CR LF")


def _parse(raw: bytes) -> Head:
    line, *fields = raw.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequestError(400, "the request line is malformed")
    method, target, minor = match.groups()
    headers = _headers(fields)
    if "transfer-encoding" in headers:
        raise BadRequestError(400, "a request here has no body and no Transfer-Encoding")
    if not re.fullmatch(r"0+", headers.get("content-length", "0")):
        raise BadRequestError(413, "a request here has no body")
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return Head(
        method=method.decode(),
        path=target.decode().partition("?")[0],
        headers=headers,
        keep_alive=minor == b"1" and "close" not in words,
    )


def _headers(fields: list[bytes]) -> dict[str, str]:
    if len(fields) > HEADERS_LIMIT:
        raise BadRequestError(431, f"there are more than {HEADERS_LIMIT} headers")
    headers: dict[str, str] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise BadRequestError(400, "a header line is malformed")
        name = match[1].decode().lower()
        if name in _ONCE and name in headers:
            raise BadRequestError(400, f"the header {name} is there twice")
        headers[name] = match[2].decode("latin-1").rstrip(" \t")
    return headers
