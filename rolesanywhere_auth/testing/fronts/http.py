# SPDX-License-Identifier: Apache-2.0
"""The emulator's own HTTP and HTTPS server on loopback, from the standard library alone."""

from __future__ import annotations

import contextlib
import logging
import re
import selectors
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, cast

from rolesanywhere_auth.testing.service.faults import Dropped, RawAnswer
from rolesanywhere_auth.testing.service.wire import Refusal, Request

_logger = logging.getLogger("rolesanywhere_auth.testing")
_BODY_LIMIT = 4 * 1024 * 1024
_IDLE_SECONDS = 60
_LINGER_SECONDS = 2
_LINGER_BYTES = 16 * 1024 * 1024


class Answering(Protocol):
    """Who answers requests: the service itself, or somebody who stands before it."""

    def handle(self, request: Request) -> RawAnswer:
        """Answer one request."""

    def refuse(self, refusal: Refusal) -> RawAnswer:
        """The answer for a request that could not be read."""


class HTTPFront:
    """One listening socket in a thread of its own; `stop` closes it and every connection.

    Args:
        service: who answers.
        tls: a server context makes it HTTPS.
        host: the address to listen on.
        port: 0 for a free one.
    """

    def __init__(
        self,
        service: Answering,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._server = _Server(service, tls, (host, port))
        self._ending, self._ended = socket.socketpair()
        self._thread = threading.Thread(
            target=self._server.serve_until,
            args=(self._ended,),
            name="rolesanywhere-emulator",
            daemon=True,
        )

    @property
    def port(self) -> int:
        """The port, also where the system chose it."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close what is still connected."""
        self._ending.shutdown(socket.SHUT_WR)  # closing is not enough where a child has it too
        self._thread.join()
        self._ending.close()
        self._ended.close()
        self._server.close_connections()
        self._server.server_close()


def cannot_listen(host: str, port: int, error: OSError) -> OSError:
    """What is raised where the system's *error* names neither address nor port."""
    return OSError(
        f"cannot listen on port {port} of {host}: {error.strerror or error}; "
        "choose another port, or 0 for a free one"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A benchmark may open many connections at once; the default of 5 would refuse some.
    request_queue_size = 128
    # `handle_request` is called when somebody is there.
    timeout = 0

    def __init__(
        self, service: Answering, tls: ssl.SSLContext | None, address: tuple[str, int]
    ) -> None:
        self.service = service
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._closed = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def serve_until(self, ended: socket.socket) -> None:
        """Answer until the other end of *ended* hangs up; `serve_forever` would have to poll."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.socket, selectors.EVENT_READ)
            waiting.register(ended, selectors.EVENT_READ)
            while all(key.fileobj is not ended for key, _ in waiting.select()):
                self.handle_request()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak TLS in the connection's own thread, where a slow client harms nobody else."""
        connection = cast("socket.socket", request)
        connection.settimeout(_IDLE_SECONDS)
        with self._tracked(connection):
            if self._tls is None:
                super().finish_request(connection, client_address)
                return
            secured = self._tls.wrap_socket(connection, server_side=True)
            with secured, self._tracked(secured):
                super().finish_request(secured, client_address)

    @contextlib.contextmanager
    def _tracked(self, connection: socket.socket) -> Iterator[None]:
        with self._open_lock:
            if self._closed:
                raise ConnectionAbortedError("The emulator stopped.")
            self._open.add(connection)
        try:
            yield
        finally:
            with self._open_lock:
                self._open.discard(connection)

    def close_connections(self) -> None:
        """Hang up on every client, so that its thread ends."""
        with self._open_lock:
            self._closed = True
            for connection in self._open:
                # Below TLS, whose state belongs to the connection's own thread.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that hung up or spoke no TLS is no reason to print a traceback."""
        _logger.debug("The connection from %s ended: %r", client_address, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # What a request line without a version is taken for; with 0.9 an error would have no head.
    default_request_version = "HTTP/1.1"
    # Buffer the answer, or its head and body travel as two packets 40 ms apart.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_method(self) -> None:
        """Answer one request, whatever its method."""
        try:
            answer = self._service().handle(self._request())
        except Refusal as refusal:
            self._turn_away(refusal)
        except Dropped as dropped:
            self.close_connection = True
            if dropped.reset:
                self._reset()
        else:
            self.close_connection |= answer.hang_up
            self._write(answer)

    def _reset(self) -> None:
        """Close the socket at once, with an RST, under everything that would say goodbye."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        socket.close(self.connection.detach())

    # http.server looks for one method each, by these names.
    do_DELETE = do_GET = do_HEAD = handle_method  # noqa: N815
    do_OPTIONS = do_PATCH = do_POST = do_PUT = handle_method  # noqa: N815

    def handle_expect_100(self) -> bool:
        """Say "100 Continue" at once; the client waits for it."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses (long lines, bad syntax), as JSON."""
        text = message or explain or "The request cannot be read."
        self._turn_away(Refusal(int(code), _code_of(int(code)), text))

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer a request that was not read to its end, and hang up."""
        self.close_connection = True
        self._write(self._service().refuse(refusal))
        # Closing with bytes unread would reset the connection, and the client might lose
        # the answer: read on until it hangs up or falls silent.
        self.connection.settimeout(_LINGER_SECONDS)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.connection, socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and (data := socket.socket.recv(self.connection, 65536)):
                left -= len(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        """Requests are logged at DEBUG, without their headers."""
        _logger.debug(format, *args)

    def _service(self) -> Answering:
        return cast("_Server", self.server).service

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        tls = self.connection if isinstance(self.connection, ssl.SSLSocket) else None
        cipher = tls.cipher() if tls else None
        return Request(
            method=self.command,
            path=path,
            query=query,
            headers=tuple(self.headers.items()),
            body=self._body(),
            source_ip=self.client_address[0],
            tls_version=tls.version() if tls else None,
            cipher_suite=cipher[0] if cipher else None,
        )

    def _body(self) -> bytes:
        coding = self.headers.get("Transfer-Encoding", "").lower()
        if coding == "chunked":
            return read_chunked(self.rfile.readline, self.rfile.read)
        if coding:
            raise _unreadable(f"Transfer-Encoding {coding} is not known; send chunked or a length.")
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch(r"[0-9]{1,19}", length):
            raise _unreadable(f"Content-Length must be a number, not {length[:40]!r}.")
        _check_size(int(length))
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _unreadable(f"The body ends after {len(body)} of {length} bytes.")
        return body

    def _write(self, answer: RawAnswer) -> None:
        self.log_request(answer.status)
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in answer.headers):
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()


def read_chunked(readline: Callable[[int], bytes], read: Callable[[int], bytes]) -> bytes:
    """A chunked body (RFC 9112 section 7.1); extensions and trailers are skipped.

    Raises:
        Refusal: the coding is broken, or the body larger than 4 MiB.
    """
    body = bytearray()
    while True:
        size = _chunk_size(readline(_LINE_LIMIT))
        if size == 0:
            break
        _check_size(len(body) + size)
        body += read(size)
        if readline(_LINE_LIMIT) not in (b"\r\n", b"\n"):
            raise _unreadable("A chunk of the body does not end where its size says.")
    while readline(_LINE_LIMIT) not in (b"\r\n", b"\n", b""):
        pass
    return bytes(body)


_LINE_LIMIT = 4096


def _chunk_size(line: bytes) -> int:
    try:
        size = int(line.split(b";")[0].strip(), 16)
    except ValueError:
        size = -1
    if size < 0:
        raise _unreadable("A chunk of the body has no size.")
    return size


def _check_size(size: int) -> None:
    if size > _BODY_LIMIT:
        text = f"The body has {size} bytes; {_BODY_LIMIT} are allowed."
        raise Refusal(413, "RequestEntityTooLargeException", text)


def _unreadable(text: str) -> Refusal:
    return Refusal(400, "SerializationException", text)


def _code_of(status: int) -> str:
    if status in (414, 431):
        return "RequestHeaderSectionTooLargeException"
    return "UnknownOperationException" if status == 501 else "SerializationException"
