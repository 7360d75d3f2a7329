# SPDX-License-Identifier: Apache-2.0
"""Sockets for diagnosis: each step on the way to an endpoint by itself, and what went wrong."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.util.ssltransport import SSLTransport

from rolesanywhere_auth.refusals import one_line

_DEFAULT_PORTS = {"http": 80, "https": 443}


_AWS_SUFFIXES = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu",
)


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


def is_aws(url: str) -> bool:
    """Whether its host is one of AWS's."""
    return (urlsplit(url).hostname or "").endswith(_AWS_SUFFIXES)


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
    proxy: str,
    target: Place,
    *,
    headers: Mapping[str, str],
    timeout: float,
    context: ssl.SSLContext | None,
) -> socket.socket:
    """A connection to *target* through the proxy, by CONNECT.

    *context* is for a proxy that itself is spoken to by TLS (``https://``): what the headers
    say of user and password is for its eyes alone.

    Raises:
        TunnelError: The proxy refuses.
        OSError: It cannot be reached, does not answer, or is not believed (ssl.SSLError).
    """
    through = place_of(proxy)
    connection = socket.create_connection(through, timeout=timeout)
    try:
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname=through.host)
        _ask(connection, target, headers)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, target: Place, headers: Mapping[str, str]) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = http.client.HTTPResponse(connection, method="CONNECT")
    try:
        answer.begin()
    except http.client.HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        answer.close()
    if answer.status != http.HTTPStatus.OK:
        raise TunnelError(answer.status, one_line(answer.reason))


def open_way(
    target: Place,
    *,
    proxy: str | None,
    headers: Mapping[str, str],
    timeout: float,
    context: ssl.SSLContext | None,
) -> socket.socket:
    """A connection to *target*, through the proxy if there is one; raises as `tunnel`."""
    if proxy is not None:
        return tunnel(proxy, target, headers=headers, timeout=timeout, context=context)
    return socket.create_connection(target, timeout=timeout)


def shake_hands(
    connection: socket.socket, context: ssl.SSLContext, *, name: str
) -> tuple[str, bytes]:
    """TLS on *connection*, which is closed then: the version, and the server's certificate.

    Raises:
        ssl.SSLError: The handshake failed.
        OSError: The connection broke, or the peer does not answer.
    """
    with connection, _secured(connection, context, name=name) as secured:
        return secured.version() or "TLS", secured.getpeercert(binary_form=True) or b""


def _secured(
    connection: socket.socket, context: ssl.SSLContext, *, name: str
) -> ssl.SSLSocket | SSLTransport:
    """TLS on *connection*, which may be one with a proxy by TLS: `ssl` cannot do that twice."""
    if isinstance(connection, ssl.SSLSocket):
        return SSLTransport(connection, context, server_hostname=name)
    return context.wrap_socket(connection, server_hostname=name)
