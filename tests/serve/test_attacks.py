"""Clients that mean harm: nothing leaks, and good clients are served meanwhile."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from serve_client import Client, drained

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.serve import Timeouts
from rolesanywhere_auth.serve.connection import DRAIN_BYTES, Connection
from rolesanywhere_auth.serve.http import HEAD_LIMIT
from rolesanywhere_auth.testing import Emulator

Serving = Callable[..., Client]
SHORT = Timeouts(head=0.4, idle=0.4, write=0.4, stop=0.4)
GOOD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def nothing_leaks(
    credentials: RolesAnywhereCredentials, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """No log at DEBUG holds a secret, and no loop met an error that nobody expected."""
    caplog.set_level(logging.DEBUG)
    frozen = credentials.get_frozen_credentials()
    yield
    for secret in (frozen.secret_key, frozen.token):
        assert secret is not None
        assert secret not in caplog.text
    assert not [each for each in caplog.records if each.name == "asyncio" and each.levelno > 10]


def rebound(client: Client, *, extra: bytes = b"") -> bytes:
    """What a web page could send whose name was rebound to 127.0.0.1."""
    token = client.token().encode()
    return (
        b"GET /v1/credentials HTTP/1.1\r\nHost: evil.example:9911\r\nAuthorization: "
        + token
        + b"\r\n"
        + extra
        + b"\r\n"
    )


def test_dns_rebinding(client: Client) -> None:
    """A page of evil.example gets neither credentials nor an IMDS token, nor learns of health."""
    for request in (
        rebound(client),
        rebound(client, extra=b"Origin: http://evil.example:9911\r\n"),
        (
            b"PUT /latest/api/token HTTP/1.1\r\nHost: evil.example\r\n"
            b"X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
        ),
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ):
        answer = client.raw(request)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"ForeignHost" in answer
        assert b"SecretAccessKey" not in answer
    assert client.credentials().status == 200


SMUGGLED = b"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n\r\n"


@pytest.mark.parametrize(
    "front",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
        (
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Length: %d\r\n\r\n0\r\n\r\n"
        ),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        (
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: %d"
            b"\r\n\r\n"
        ),
        b"GET /health HTTP/1.1\nHost: localhost\nContent-Length: %d\n\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: y\n\r\n\r\n",
    ],
)
def test_smuggling(client: Client, front: bytes) -> None:
    """What hides behind an ambiguous request is never taken for a request of its own."""
    hidden = SMUGGLED % client.token().encode()
    with contextlib.suppress(TypeError):
        front %= len(hidden)

    answer = client.raw(front + hidden)

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"SecretAccessKey" not in answer


def test_pipelining_is_answered_in_order(client: Client) -> None:
    """Many requests at once, the last of which ends the connection."""
    token = client.token().encode()
    keys = (
        b"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + token + b"\r\n\r\n"
    )
    last = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    answer = client.raw((GOOD + keys) * 20 + last + GOOD)

    parts = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert len(parts) == 41
    assert [b"SecretAccessKey" in part for part in parts] == [False, True] * 20 + [False]


def test_a_refusal_ends_pipelining(client: Client) -> None:
    """After a refused request nothing of the connection is read as one."""
    answer = client.raw(GOOD.replace(b"localhost", b"evil.example") + GOOD * 10)

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("size", [HEAD_LIMIT, 10 * HEAD_LIMIT, 10_000_000])
def test_huge_headers(client: Client, size: int) -> None:
    """They are cut off, however much comes; who sends little more can read why."""
    answer = client.raw(b"GET / HTTP/1.1\r\nX: " + b"y" * size)

    if size < DRAIN_BYTES:
        assert answer.startswith(b"HTTP/1.1 431 ")
    assert client.credentials().status == 200


def test_a_huge_body(client: Client) -> None:
    """It is not read."""
    head = b"PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"

    assert client.raw(head + b"x" * 1000).startswith(b"HTTP/1.1 413 ")
    client.raw(head + b"x" * 10_000_000)
    assert client.credentials().status == 200


def test_slow_heads(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """A byte now and then does not win time: the whole head has one time-out."""
    client = serving(credentials, timeouts=SHORT)
    begin = time.monotonic()
    with client.connect() as line:
        with contextlib.suppress(ConnectionError):
            for place in range(len(GOOD)):
                line.sendall(GOOD[place : place + 1])
                if select.select([line], [], [], 0.05)[0]:
                    break
        assert drained(line) == b""

    assert 0.4 <= time.monotonic() - begin < 2


def test_idle_connections(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """One that says nothing is closed, before its first request and after it."""
    client = serving(credentials, timeouts=SHORT)
    with client.connect() as silent, client.connect() as used:
        used.sendall(GOOD)
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
        used.sendall(GOOD)
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")

        assert drained(silent) == b""
        assert drained(used) == b""


def test_who_does_not_read(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """A client that asks and asks and takes no answer is hung up on; little is kept for it."""
    client = serving(credentials, timeouts=SHORT)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(5)
        line.connect(client.address)
        endless = itertools.repeat(GOOD * 100)
        with pytest.raises(ConnectionError):
            collections.deque(map(line.sendall, endless), maxlen=0)

    assert client.credentials().status == 200


def test_who_reads_late(
    serving: Serving, credentials: RolesAnywhereCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that pauses gets all its answers; nothing is answered that it has no room for."""
    client = serving(credentials)
    stalled = threading.Event()
    real = Connection.pause_writing

    def pause_writing(self: Connection) -> None:
        real(self)
        stalled.set()

    monkeypatch.setattr(Connection, "pause_writing", pause_writing)
    count = 1000
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(10)
        line.connect(client.address)
        sender = threading.Thread(target=line.sendall, args=(GOOD * count,))
        sender.start()
        assert stalled.wait(10)
        found = bytearray()
        while found.count(b"HTTP/1.1 200 OK") < count:
            found += line.recv(1 << 20)
        sender.join()


def test_resets(
    serving: Serving, credentials: RolesAnywhereCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that vanish at any moment leave nothing behind, and do not fill the log."""
    client = serving(credentials)
    for data in (b"", b"G", GOOD, GOOD * 50, b"\x16\x03", SMUGGLED):
        for _ in range(5):
            line = client.connect()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(data)
            line.close()

    assert client.credentials().status == 200
    assert "socket.send() raised exception" not in caplog.text


def test_a_client_that_leaves_while_it_waits(
    emulator: Emulator, serving: Serving, config: RolesAnywhereConfig
) -> None:
    """Its request is forgotten; who asks half-closed is answered all the same."""
    clock = [0.0]
    fresh = RolesAnywhereCredentials(config, now=lambda: time.time() + clock[0])
    client = serving(fresh, now=lambda: time.time() + clock[0])
    request = SMUGGLED % client.token().encode()
    fresh._renewal.snapshot = fresh._renewal.snapshot._replace(
        usable_until=0.0, fresh_until=0.0, hot_until=0.0, expires=1.0
    )
    with emulator.faults.hang() as fault:
        with client.connect() as leaver, client.connect() as half, client.connect() as eager:
            for line in (leaver, half):
                line.sendall(request)
            eager.sendall(request + GOOD * 300)  # more than is kept: reading pauses
            half.shutdown(socket.SHUT_WR)
            fault.wait_until_hit()
            time.sleep(0.05)
            leaver.close()
            time.sleep(0.05)
            fault.release()
            assert b"SecretAccessKey" in drained(half)
            found = b""
            while found.count(b"HTTP/1.1 200 OK") < 301:
                found += eager.recv(1 << 20)
            assert found.index(b"SecretAccessKey") < found.index(b'"status"')


def crowd(client: Client, count: int) -> list[socket.socket]:
    """So many connections that begin a request and do not end it."""
    lines = []
    for _ in range(count):
        line = socket.socket()
        line.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            line.connect(client.address)
        lines.append(line)
    for line in lines:
        ready = select.poll()  # select() ends at descriptor 1023
        ready.register(line, select.POLLOUT)
        ready.poll(5000)
        with contextlib.suppress(OSError):
            line.send(b"GET / HTTP/1.1\r\nX: ")
    return lines


def test_more_slow_connections_than_fit(
    serving: Serving, credentials: RolesAnywhereCredentials
) -> None:
    """Of 400 where 100 fit, the oldest make room; a good client is served at once."""
    client = serving(credentials, max_connections=100)
    lines = crowd(client, 400)
    try:
        for _ in range(20):
            begin = time.monotonic()
            assert client.credentials().status == 200
            assert time.monotonic() - begin < 5
        closed = sum(bool(select.select([line], [], [], 0)[0]) for line in lines)
        assert closed >= 300
    finally:
        for line in lines:
            line.close()


def test_no_room_while_all_wait_for_credentials(
    emulator: Emulator, serving: Serving, config: RolesAnywhereConfig
) -> None:
    """Who waits for a sign-in keeps his place; a new connection is closed."""
    fresh = RolesAnywhereCredentials(config)
    client = serving(fresh, max_connections=1)
    request = SMUGGLED % client.token().encode()
    fresh._renewal.snapshot = fresh._renewal.snapshot._replace(
        usable_until=0.0, fresh_until=0.0, hot_until=0.0, expires=1.0
    )
    with emulator.faults.hang() as fault, client.connect() as first:
        first.sendall(request)
        fault.wait_until_hit()
        assert client.raw(GOOD) == b""
        fault.release()
        assert b"SecretAccessKey" in first.recv(65536)


@pytest.mark.extended
def test_ten_thousand_connections(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """Slow ones, all open at once: good clients are served within a second, and afterwards too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = serving(credentials)
    slowest = 0.0
    lines: list[socket.socket] = []
    try:
        for _ in range(20):
            lines += crowd(client, 500)
            for _ in range(5):
                begin = time.monotonic()
                assert client.credentials().status == 200
                slowest = max(slowest, time.monotonic() - begin)
    finally:
        for line in lines:
            line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(lines) == 10_000
    assert slowest < 2
    assert client.credentials().status == 200
