# SPDX-License-Identifier: Apache-2.0
"""TLS whose work on this machine a `fork()` does not cut in two; see `forking`.

Reading a CA bundle and shaking hands make OpenSSL look up and keep algorithms, and it locks
its tables meanwhile. A child forked by another thread at that moment has them locked for
ever: of those forked during the first handshake of a process, about one in a hundred hung in
its own. So both are done within `local_work()`, and the waits for the peer in between are not.

Left out are the handshake with an ``https://`` proxy, for which urllib3 makes contexts of its
own, and contexts that another library has put in the place of Python's.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from botocore.httpsession import URLLib3Session
from urllib3.util.wait import wait_for_read, wait_for_write

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.forking import local_work


class GuardedContext(ssl.SSLContext):
    """Python's own, but forks wait for what it does."""

    _bundle: str | None = None

    def load_verify_locations(
        self, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        """As Python's, but the same file is read once; urllib3 asks for it at each connection.

        Raises:
            ConfigurationError: the file cannot be read, or holds no certificate.
        """
        if cafile is not None and cafile == self._bundle:
            return
        try:
            with local_work():
                super().load_verify_locations(cafile, capath, cadata)
        except OSError as error:
            raise ConfigurationError(
                f"the CA bundle {cafile} cannot be used: {error.strerror or error}; it must be a "
                "file with the certificates of CAs in PEM. See verify, AWS_CA_BUNDLE, the "
                "profile's ca_bundle and REQUESTS_CA_BUNDLE"
            ) from error
        self._bundle = cafile

    def wrap_socket(  # type: ignore[override]
        self, sock: socket.socket, *, server_hostname: str | None = None
    ) -> ssl.SSLSocket:
        """As Python's, of a connected socket; with the arguments that urllib3 gives.

        Raises:
            TimeoutError: the handshake takes longer than the socket's time-out.
        """
        with local_work():
            wrapped = super().wrap_socket(
                sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        try:
            _shake_hands(wrapped)
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def _shake_hands(connection: ssl.SSLSocket) -> None:
    """``do_handshake()``, step by step.

    Raises:
        TimeoutError: the socket's time-out is over, which counts for all of it.
    """
    timeout = connection.gettimeout()
    deadline = None if timeout is None else time.monotonic() + timeout
    connection.settimeout(0)
    while True:
        try:
            with local_work():
                connection.do_handshake()
        except ssl.SSLWantReadError:
            wait = wait_for_read
        except ssl.SSLWantWriteError:
            wait = wait_for_write
        else:
            break
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not wait(connection, left):
            raise TimeoutError("the TLS handshake timed out")
    connection.settimeout(timeout)


class GuardedSession(URLLib3Session):
    """botocore's, with a `GuardedContext`."""

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()  # type: ignore[misc]
        if type(context) is ssl.SSLContext:
            context.__class__ = GuardedContext
        return context
