# SPDX-License-Identifier: Apache-2.0
"""The one call of the SPIFFE Workload API that is needed here: gRPC over plain HTTP/2.

Not by grpcio: a process that follows a stream with it cannot fork well. Its children are told
nothing of later certificates, and each fork prints a line to standard error.

Sources: SPIFFE Workload API and SPIFFE Workload Endpoint (standards of spiffe.io); gRPC over
HTTP/2 (grpc.io); Protocol Buffers' wire format (protobuf.dev).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from rolesanywhere_auth._der import SEQUENCE, DERError, Reader
from rolesanywhere_auth.errors import ConfigurationError

OK = 0
PERMISSION_DENIED = 7

_REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("workload.spiffe.io", "true"),  # against requests forged through a server (SSRF)
]
_EMPTY_MESSAGE = bytes(5)
_LARGEST_MESSAGE = 4 * 1024 * 1024
"""Bytes, as gRPC has it by default."""
_LONGEST_TEXT = 200


class Ended(Exception):
    """There is no answer, or no further one.

    Args:
        text: Why, for messages.
        status: gRPC's, where the agent gave one.
    """

    def __init__(self, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Address(NamedTuple):
    """Where an agent listens."""

    family: socket.AddressFamily
    target: Any
    """As `socket.socket.connect` takes it."""

    @classmethod
    def parse(cls, text: str, *, name: str) -> Address:
        """Understand ``unix:///path`` or ``tcp://IP:port`` (SPIFFE Workload Endpoint, 4).

        Args:
            text: The URI.
            name: How messages name where it stood.

        Raises:
            ConfigurationError: it is neither.
        """
        try:
            parts = urlsplit(text)
            if not parts.query and not parts.fragment:
                found = cls._unix(parts) or cls._tcp(parts)
                if found is not None:
                    return found
        except ValueError:  # of a port or an address
            pass
        raise ConfigurationError(
            f"{name}: the address of the SPIFFE agent must be like unix:///run/spire/agent.sock or "
            f"tcp://127.0.0.1:8081, with an absolute path or an IP address and a port, not {text!r}"
        )

    @classmethod
    def _unix(cls, parts: SplitResult) -> Address | None:
        if parts.scheme != "unix" or parts.netloc or not parts.path.startswith("/"):
            return None
        return cls(socket.AF_UNIX, unquote(parts.path))

    @classmethod
    def _tcp(cls, parts: SplitResult) -> Address | None:
        if parts.scheme != "tcp" or parts.path or "@" in parts.netloc or not parts.port:
            return None
        host = ipaddress.ip_address(parts.hostname or "")
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        return cls(family, (str(host), parts.port))


class SVID:
    """One identity that the agent granted: an X.509-SVID and its key."""

    __slots__ = ("chain", "hint", "key", "spiffe_id")

    def __init__(self, spiffe_id: str, hint: str, chain: tuple[bytes, ...], key: bytes) -> None:
        self.spiffe_id = spiffe_id
        self.hint = hint
        """What the operator says that it is for, or nothing."""
        self.chain = chain
        """DER: the leaf, then intermediates."""
        self.key = key
        """DER of an unencrypted PKCS#8 private key."""

    def __repr__(self) -> str:
        return f"<SVID {self.spiffe_id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle or copy an SVID: it holds a private key")


class Stream:
    """One FetchX509SVID call, which the agent answers again whenever something changed.

    One thread reads; `interrupt` may be called by any.

    Args:
        address: Of the agent.
        deadline: Of the steady clock, in seconds, until which it must be reached.

    Raises:
        Ended: there is no agent.
    """

    def __init__(self, address: Address, *, deadline: float) -> None:
        self._messages: deque[tuple[SVID, ...]] = deque()
        self._buffer = bytearray()
        self._ended: Ended | None = None
        self._heard = False
        self._http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._wait_until(deadline)
            self._socket.connect(address.target)
            self._http.initiate_connection()
            self._http.send_headers(1, _REQUEST)
            self._http.send_data(1, _EMPTY_MESSAGE, end_stream=True)
            self._socket.sendall(self._http.data_to_send())
        except OSError as error:
            self.close()
            raise _unreachable(error) from error

    def read(self, *, deadline: float | None) -> tuple[SVID, ...]:
        """The next answer.

        Args:
            deadline: Of the steady clock, in seconds; None waits for ever.

        Raises:
            Ended: there is none, or none in time; the stream is of no further use.
        """
        while not self._messages:
            if self._ended is not None:
                raise self._ended
            try:
                self._take(self._receive(deadline))
            except Ended as ended:
                self._end(ended)
        return self._messages.popleft()

    def _receive(self, deadline: float | None) -> bytes:
        try:
            self._wait_until(deadline)
            data = self._socket.recv(65536)
        except OSError as error:
            raise _unreachable(error) from error
        if not data:
            raise Ended("the agent closed the connection")
        return data

    def interrupt(self) -> None:
        """Have `read` end now."""
        with contextlib.suppress(OSError):  # it is not connected any more
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of this process's descriptor; in a forked child, the parent's goes on."""
        self._socket.close()

    def _wait_until(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _take(self, data: bytes) -> None:
        if not self._heard and data.startswith(b"HTTP/1"):  # h2 would wait for a frame's rest
            raise Ended("what answers is no SPIFFE agent: it speaks HTTP/1")
        self._heard = True
        try:
            for event in self._http.receive_data(data):
                self._handle(event)
        except (h2.exceptions.H2Error, UnicodeDecodeError) as error:
            raise Ended(
                f"what answers is no SPIFFE agent: HTTP/2 failed ({type(error).__name__})"
            ) from error
        outgoing = self._http.data_to_send()
        if outgoing:
            with contextlib.suppress(OSError):  # the next read says what it is
                self._socket.sendall(outgoing)

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._check_status(dict(event.headers or ()))
        elif isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, 1)
            self._buffer += event.data
            self._messages.extend(self._complete())
        elif isinstance(
            event,
            h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated,
        ):
            self._end(Ended("the agent ended the stream"))

    def _end(self, why: Ended) -> None:
        self._ended = self._ended or why

    def _check_status(self, headers: dict[Any, Any]) -> None:
        http = headers.get(":status", "200")
        if http != "200":
            self._end(Ended(f"what answers is no SPIFFE agent: HTTP status {http}"))
        status = headers.get("grpc-status", str(OK))
        if status != str(OK):
            text = unquote(headers.get("grpc-message", ""))[:_LONGEST_TEXT]
            shown = "".join(each if each.isprintable() else " " for each in text)
            number = int(status) if status.isdecimal() else None
            self._end(Ended(f"the agent said: {shown} (gRPC status {status})", status=number))

    def _complete(self) -> Iterator[tuple[SVID, ...]]:
        """What has arrived in full: a flag for compression and a length stand before each."""
        while len(self._buffer) >= 5:
            size = int.from_bytes(self._buffer[1:5], "big")
            if self._buffer[0] or size > _LARGEST_MESSAGE:
                raise Ended("the agent's answer is compressed or larger than 4 MiB")
            if len(self._buffer) < 5 + size:
                return
            message = bytes(self._buffer[5 : 5 + size])
            del self._buffer[: 5 + size]
            yield parse_response(message)


def _unreachable(error: OSError) -> Ended:
    if isinstance(error, TimeoutError):
        return Ended("there was no answer in time")
    return Ended(error.strerror or type(error).__name__)


def parse_response(message: bytes) -> tuple[SVID, ...]:
    """The SVIDs of an X509SVIDResponse, in the agent's order.

    Raises:
        Ended: it is malformed, or an SVID lacks a part that it must have.
    """
    try:
        return tuple(_svid(value) for number, value in _fields(message) if number == 1)
    except (DERError, UnicodeDecodeError, IndexError) as error:
        raise Ended(f"the agent's answer is malformed ({type(error).__name__})") from error


def _svid(message: bytes) -> SVID:
    fields = dict(_fields(message))
    spiffe_id, leaf_first, key = (fields.get(number, b"") for number in (1, 2, 3))
    if not (spiffe_id and leaf_first and key):
        raise Ended("the agent's answer lacks the SPIFFE ID, certificate or key of an SVID")
    reader, chain = Reader(leaf_first), []
    while reader:
        chain.append(reader.raw(SEQUENCE))
    return SVID(spiffe_id.decode(), fields.get(5, b"").decode(), tuple(chain), key)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field that has a length; the other kinds are left out."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < len(message):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            varint()
            continue
        if kind not in (1, 2, 5):
            raise Ended("the agent's answer is malformed")
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        start, position = position, position + size
        if position > len(message):
            raise Ended("the agent's answer is cut short")
        if kind == 2:
            yield number, message[start:position]
