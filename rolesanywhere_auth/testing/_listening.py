# SPDX-License-Identifier: Apache-2.0
"""Where an emulator listens: its sockets, and the URLs by which clients reach them."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from rolesanywhere_auth.testing.fronts.http import Answering, HTTPFront, cannot_listen
from rolesanywhere_auth.testing.fronts.tls import server_context

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound here
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Listening:
    """Address, ports (0: a free one) and the names by which clients know the address."""

    host: str
    port: int
    tls_port: int | None
    aws_port: int
    names: tuple[str, ...]

    @property
    def hosts(self) -> frozenset[str]:
        """The host names and addresses that a client may write into ``Host``."""
        return frozenset(name.lower() for name in (*_LOOPBACK, self._reachable, *self.names))

    @property
    def _reachable(self) -> str:
        return _ANYWHERE.get(self.host, self.host)

    def url(self, scheme: str, port: int) -> str:
        """The URL of *port* for a client on this machine."""
        host = self._reachable
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def open(
        self,
        answering: Answering,
        fronts: dict[str, HTTPFront],
        stack: contextlib.ExitStack,
        *,
        folder: Path,
        region: str,
    ) -> Path | None:
        """Start the servers, into *fronts*; *stack* stops them.

        Returns:
            The PEM file that verifies the one with TLS.

        Raises:
            OSError: A port is taken, or the address is not this machine's.
        """
        bundle = None
        ports: list[tuple[str, int]] = [("http", self.port)]
        if self.tls_port is not None:
            ports.append(("https", self.tls_port))
        for scheme, port in ports:
            tls = None
            if scheme == "https":
                names = (self._reachable, *self.names)
                tls, bundle = server_context(folder, region=region, names=names)
            front = self._front(answering, tls, port)
            front.start()
            stack.callback(front.stop)
            fronts[scheme] = front
        return bundle

    def _front(self, answering: Answering, tls: ssl.SSLContext | None, port: int) -> HTTPFront:
        try:
            return HTTPFront(answering, tls=tls, host=self.host, port=port)
        except OSError as error:
            raise cannot_listen(self.host, port, error) from error
