"""The reader of requests: what it takes, and the many things it does not."""

from __future__ import annotations

import json
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_auth.serve.http import (
    HEAD_LIMIT,
    Answer,
    BadRequestError,
    Head,
    refusal,
    take_head,
)


def test_an_ordinary_request() -> None:
    """Method, path without the query and headers are there, and the rest stays in the buffer."""
    buffer = bytearray(b"GET /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nX-Y:\t z \r\n\r\nGET /next")

    head = take_head(buffer)

    assert head == Head("GET", "/a/b", {"host": "x:1", "x-y": "z"}, keep_alive=True)
    assert buffer == b"GET /next"


@pytest.mark.parametrize(
    ("first", "header", "stays"),
    [
        ("HTTP/1.1", "X: y", True),
        ("HTTP/1.1", "Connection: Keep-Alive", True),
        ("HTTP/1.1", "Connection: foo, Close", False),
        ("HTTP/1.0", "X: y", False),
    ],
)
def test_connections_are_kept_as_the_client_says(first: str, header: str, stays: bool) -> None:
    """HTTP/1.1 keeps them unless told otherwise."""
    head = take_head(bytearray(f"GET / {first}\r\n{header}\r\n\r\n".encode()))

    assert head is not None
    assert head.keep_alive is stays


def test_an_unfinished_request_waits() -> None:
    """Byte by byte there is no request until its last one."""
    whole = b"PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    for end in range(len(whole)):
        assert take_head(bytearray(whole[:end])) is None

    assert take_head(bytearray(whole)) is not None


REFUSED = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01", 400),
    "a blank first": (b"\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "LF within": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "CR within": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    "lower case": (b"GeT / HTTP/1.1\r\n\r\n", 400),
    "absolute form": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n\r\n", 400),
    "two blanks": (b"GET  / HTTP/1.1\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "8-bit path": (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
    "long path": (b"GET /" + b"a" * 2048 + b" HTTP/1.1\r\n\r\n", 400),
    "folded": (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
    "blank before colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
    "NUL": (b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n", 400),
    "chunked": (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "odd coding": (b"GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    "two lengths": (b"GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    "two tokens": (b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
    "a body": (b"PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
    "signed length": (b"PUT / HTTP/1.1\r\nContent-Length: +0\r\n\r\n", 413),
    "listed length": (b"PUT / HTTP/1.1\r\nContent-Length: 0, 0\r\n\r\n", 413),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 65 + b"\r\n", 431),
    "long head": (b"GET / HTTP/1.1\r\nX: " + b"y" * HEAD_LIMIT, 431),
    "long head, whole": (b"GET / HTTP/1.1\r\nX: " + b"y" * HEAD_LIMIT + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """Whatever two readers could take for two things, and whatever is too much."""
    data, status = REFUSED[name]

    with pytest.raises(BadRequestError) as caught:
        take_head(bytearray(data))

    assert caught.value.answer.status == status
    assert json.loads(caught.value.answer.body)["message"] == str(caught.value)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_noise_is_refused_or_waits(data: bytes) -> None:
    """No bytes do anything but these three things."""
    try:
        head = take_head(bytearray(data))
    except BadRequestError as error:
        status = error.answer.status
    else:
        status = 400 if head is None else 200
        assert head is None or head.path.startswith("/")

    assert status in {200, 400, 413, 431}


class _Line:
    """As much of a socket as `HTTPResponse` needs."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, _: str) -> BytesIO:
        return BytesIO(self.data)


@pytest.mark.parametrize("close", [True, False])
def test_answers_are_read_by_others(close: bool) -> None:
    """The standard library's client reads status, headers and body as they were meant."""
    sent = refusal(503, "Slow", "later", headers=(("Retry-After", "1"),))
    found = HTTPResponse(cast("Any", _Line(sent.encoded(date="today", close=close) + b"more")))
    found.begin()

    assert (found.status, found.reason) == (503, "Service Unavailable")
    assert found.getheader("Retry-After") == "1"
    assert found.getheader("Cache-Control") == "no-store"
    assert found.getheader("Date") == "today"
    assert found.will_close is close
    assert json.loads(found.read())["code"] == "Slow"


def test_nothing_of_requests_and_answers_is_shown() -> None:
    """A request may hold a token and an answer a key; their texts hold neither."""
    head = Head("GET", "/s3cret", {"authorization": "s3cret"}, keep_alive=True)

    assert repr(head) == "<GET request>"
    assert repr(Answer(200, b"s3cret")) == "<answer 200>"
