"""Servers on loopback that stand in the way: proxies, captive portals, servers that say nothing."""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Handler = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(*handlers: Handler) -> Iterator[int]:
    """The port of a server that hands each connection to a handler, in a thread of its own.

    The first to the first of *handlers*, and so on; the last has all that follow.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        for number in itertools.count():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection, number), daemon=True))
            threads[-1].start()

    def serve(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            handlers[min(number, len(handlers) - 1)](connection)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(30)


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port where the system accepts connections, and nobody ever reads them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def head_of(connection: socket.socket) -> bytes:
    """The head of one HTTP request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096) or b"\r\n\r\n"
    return data


def hang_up(connection: socket.socket) -> None:
    """Says nothing, and is gone."""


def answering(status: str, *headers: str, body: bytes = b"") -> Handler:
    """Answers every request alike."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)

    return handle


def proxy(connection: socket.socket) -> None:
    """Knows CONNECT, and lets everything through."""
    head = head_of(connection).split()
    if not head:  # somebody looked whether anybody is there
        return
    target = head[1].decode()
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as other:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        _pump_both_ways(connection, other)


def _pump_both_ways(one: socket.socket, other: socket.socket) -> None:
    """Until one ends or both are silent; in one thread, as two must not share a TLS connection."""
    sinks = {one: other, other: one}
    while True:
        # What TLS has decrypted already, the system no longer knows of.
        ready: list[socket.socket] = [
            each for each in sinks if isinstance(each, ssl.SSLSocket) and each.pending()
        ]
        ready = ready or select.select(list(sinks), [], [], 30)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            sinks[source].sendall(data)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def tampering(port: int) -> Handler:
    """Passes requests on to *port* of this machine, with a blank behind each body."""

    def handle(connection: socket.socket) -> None:
        data = head_of(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        length = int(found[1]) if found else 0
        while len(body) < length:
            body += connection.recv(65536)
        if length:
            body += b" "
            head = head.replace(found[0], b"\r\nContent-Length: %d" % len(body))
        head += b"\r\nConnection: close"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as other:
            other.sendall(head + b"\r\n\r\n" + body)
            _pump(other, connection)

    return handle


def tls(certificate: str, private_key: str) -> Handler:
    """Shakes hands, and hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    return handle


def by_tls(handler: Handler, certificate: str, private_key: str) -> Handler:
    """What *handler* does, for those who speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            handler(secured)

    return handle
