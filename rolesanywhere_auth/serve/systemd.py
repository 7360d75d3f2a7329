# SPDX-License-Identifier: Apache-2.0
"""systemd's side: notification (sd_notify(3)) and sockets that it opened (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from rolesanywhere_auth.errors import ConfigurationError

_FIRST = 3
"""The first descriptor that systemd passes, SD_LISTEN_FDS_START."""


class Notifier:
    """Tells the service manager how things stand; without one, nothing happens.

    Args:
        environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are taken out of it,
            so that no child speaks for this process.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.interval: float | None = None
        """Seconds between two `alive()`: half of what the manager waits; None if it does not."""
        if meant and microseconds.isdigit() and int(microseconds):
            self.interval = int(microseconds) / 2e6

    def ready(self, status: str) -> None:
        """Requests are answered from now on."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The watchdog may rest."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address[:1] not in {"/", "@"} or len(self._address) < 2:
            return
        address = self._address
        if address[0] == "@":  # Linux's abstract names
            address = "\0" + address[1:]
        # A manager that is not there, or whose queue is full, must not stop the service.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line,
        ):
            line.setblocking(False)  # noqa: FBT003 - its own signature
            line.connect(address)
            line.send(text.encode())


def passed_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd opened for this process; none if it did not.

    Args:
        environment: ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are taken out of it.

    Raises:
        ConfigurationError: what was passed is no listening stream socket.
    """
    process = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        try:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - its own signature
            each = socket.socket(fileno=descriptor)
            listening = each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise ConfigurationError(
                f"descriptor {descriptor} of LISTEN_FDS is no socket: {error.strerror}"
            ) from None
        if each.type != socket.SOCK_STREAM or not listening:
            each.detach()
            raise ConfigurationError(
                f"descriptor {descriptor} of LISTEN_FDS is no listening stream socket: use "
                "ListenStream= and Accept=no in the .socket unit"
            )
        found.append(each)
    return found
