# SPDX-License-Identifier: Apache-2.0
"""Where the server listens."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import stat
from pathlib import Path

from rolesanywhere_auth.errors import ConfigurationError

BUFFER_BYTES = 32768
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def listen_on(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        ConfigurationError: there is no such address, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; give another --port, or stop "
            "what listens there"
        ) from None
    return found


def listen_at(path: Path) -> socket.socket:
    """A bound Unix socket with mode 0600; what a server that is gone left there is replaced.

    Raises:
        ConfigurationError: something else is there, or the folder cannot be used.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        found.bind(str(path))
        path.chmod(0o600)  # before it listens nobody can connect
    except OSError as error:
        found.close()
        raise ConfigurationError(
            f"cannot listen at {path}: {error.strerror or error}; give another --unix-socket"
        ) from None
    except ConfigurationError:
        found.close()
        raise
    return found


def _clear(path: Path) -> None:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode):
        raise ConfigurationError(f"{path} is there and no socket; give another --unix-socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ConfigurationError(
                f"another server answers at {path}; stop it, or give another --unix-socket"
            )


def remove(path: Path, inode: int) -> None:
    """Remove the file of a Unix socket, unless another one is there by now."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == inode:
            path.unlink()


def is_loopback(found: socket.socket) -> bool:
    """Whether nobody beyond this machine can reach it."""
    if found.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(str(found.getsockname()[0])).is_loopback


def set_hop_limit(found: socket.socket, hops: int) -> None:
    """How many routers an answer may pass; accepted connections take it over."""
    if found.family == socket.AF_INET:
        found.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    elif found.family == socket.AF_INET6:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)


def limit_buffers(found: socket.socket) -> None:
    """Little of the system's memory for each connection; accepted ones take it over.

    Left alone, Linux keeps up to 4 MB for a client that does not take its answers.
    """
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        found.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)


def url_of(found: socket.socket) -> str | None:
    """The base URL, None for a Unix socket."""
    if found.family == socket.AF_UNIX:
        return None
    host, port = found.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what is asked for
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
