# SPDX-License-Identifier: Apache-2.0
"""moto's server on loopback with the Roles Anywhere add-on: AWS behind the emulator."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
from collections.abc import Iterator

from moto.server import ThreadedMotoServer

from rolesanywhere_auth.testing.fronts.http import cannot_listen
from rolesanywhere_auth.testing.fronts.moto import (
    create_administrator,
    is_registered,
    register,
)
from rolesanywhere_auth.testing.service.core import Service


class MotoServer:
    """moto in this process, on a free port; one at a time, since moto's state is global.

    Args:
        service: who answers for Roles Anywhere.
        account_id: the account of `administrator`.
        region: its Region.
        host: the address to listen on.
        port: 0 for a free one.
    """

    def __init__(
        self,
        service: Service,
        *,
        account_id: str,
        region: str,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._service = service
        self._account_id = account_id
        self._region = region
        self._address = (host, port)
        self._server = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
        self._logger = logging.getLogger("werkzeug")
        self.administrator = ("", "")

    @property
    def endpoint_url(self) -> str:
        """Where every AWS service of moto is."""
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Start with an empty AWS and an administrator in it.

        Raises:
            OSError: The port is taken, or the address is not this machine's.
            RuntimeError: moto answers for another emulator in this process.
        """
        if is_registered():
            raise RuntimeError(
                "Another Emulator(aws=True) or moto_backend() runs in this process, and moto has "
                "one state for all of them: stop that one first, or use it."
            )
        self._check_address()
        with contextlib.ExitStack() as stack:
            stack.enter_context(register(self._service))
            # werkzeug prints a line for each request unless a level is set.
            stack.callback(self._logger.setLevel, self._logger.level)
            self._logger.setLevel(max(self._logger.level, logging.WARNING))
            self._server.start()
            stack.callback(self._server.stop)
            self.reset()
            stack.callback(self._post, "/moto-api/reset", b"")
            self._running = stack.pop_all()

    def stop(self) -> None:
        """Stop, and leave moto as it was before."""
        self._running.close()

    def reset(self) -> None:
        """Empty every service of moto; the administrator gets new keys."""
        self._post("/moto-api/reset", b"")
        self.administrator = create_administrator(self._account_id, region=self._region)

    def _check_address(self) -> None:
        # moto would wait for ever for its thread, which such an error ends.
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server(self._address, family=family).close()
        except OSError as error:
            raise cannot_listen(host, port, error) from error

    @contextlib.contextmanager
    def enforcing_iam(self) -> Iterator[None]:
        """Let moto check signatures and IAM policies of every call within the block."""
        answer = json.loads(self._post("/moto-api/reset-auth", b"0"))
        before = answer["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"]
        try:
            yield
        finally:
            self._post("/moto-api/reset-auth", str(before).encode())

    def _post(self, path: str, body: bytes) -> bytes:
        # Not urllib: it would ask a proxy of the environment.
        connection = http.client.HTTPConnection(*self._server.get_host_and_port(), timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", path, body=body)
            return connection.getresponse().read()
