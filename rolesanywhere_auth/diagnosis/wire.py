# SPDX-License-Identifier: Apache-2.0
"""Sockets for diagnosis: each step on the way to an endpoint by itself, and what went wrong."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d+) ?(.*)", re.DOTALL)


class Place(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TunnelError(Exception):
    """The proxy answered CONNECT with another status than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status} {reason}".strip())
        self.status = status


def place_of(url: str) -> Place:
    """Host and port of *url*."""
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])


def addresses(host: str, port: int) -> list[str]:
    """What the resolver says, without repetitions.

    Raises:
        OSError: It knows no such name, or does not answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def connect(place: Place, *, timeout: float) -> tuple[str, float]:
    """Connect, and hang up: the address that answered, and after how many seconds.

    Raises:
        OSError: None of the addresses did.
    """
    begin = time.perf_counter()
    with socket.create_connection(place, timeout=timeout) as connection:
        return str(connection.getpeername()[0]), time.perf_counter() - begin


def tunnel(
    proxy: str, target: Place, *, headers: Mapping[str, str], timeout: float
) -> socket.socket:
    """A connection to *target* through the proxy, by CONNECT.

    Raises:
        TunnelError: The proxy refuses.
        OSError: It cannot be reached, or does not answer.
    """
    kind = http.client.HTTPSConnection if proxy.startswith("https:") else http.client.HTTPConnection
    through = place_of(proxy)
    connection = kind(through.host, through.port, timeout=timeout)
    connection.set_tunnel(target.host, target.port, headers=dict(headers))
    try:
        connection.connect()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        refused = _TUNNEL_STATUS.match(str(error))
        if refused is None:
            raise OSError(str(error) or type(error).__name__) from error
        raise TunnelError(int(refused[1]), refused[2]) from None
    found: socket.socket = connection.sock
    return found


def open_way(
    target: Place, *, proxy: str | None, headers: Mapping[str, str], timeout: float
) -> socket.socket:
    """A connection to *target*, through the proxy if there is one; raises as `tunnel`."""
    if proxy is not None:
        return tunnel(proxy, target, headers=headers, timeout=timeout)
    return socket.create_connection(target, timeout=timeout)


def shake_hands(
    connection: socket.socket, context: ssl.SSLContext, *, name: str
) -> tuple[str, bytes]:
    """TLS on *connection*, which is closed then: the version, and the server's certificate.

    Raises:
        ssl.SSLError: The handshake failed.
        OSError: The connection broke, or the peer does not answer.
    """
    with connection, context.wrap_socket(connection, server_hostname=name) as secured:
        return secured.version() or "TLS", secured.getpeercert(binary_form=True) or b""
