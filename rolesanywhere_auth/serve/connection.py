# SPDX-License-Identifier: Apache-2.0
"""One client's connection: bytes in, requests one after the other, answers out.

A client has a few seconds for the head of a request, however it trickles, and as long to take
its answer. Whoever is refused is hung up on, so that connections stay with those who are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import TYPE_CHECKING

from rolesanywhere_auth.serve.http import HEAD_LIMIT, Answer, BadRequestError, Head, take_head
from rolesanywhere_auth.serve.routes import Wanted
from rolesanywhere_auth.serve.supply import failed

if TYPE_CHECKING:
    from rolesanywhere_auth.serve.server import Server

logger = logging.getLogger("rolesanywhere_auth.serve")

DRAIN_BYTES = 65536
"""What is still read from a client that was refused, so that it can read its answer."""


class Connection(asyncio.Protocol):
    """Speaks HTTP with one client.

    Args:
        server: Who answers, and keeps the list of connections.
    """

    __slots__ = (
        "_buffer",
        "_closing",
        "_drained",
        "_ended",
        "_peer",
        "_server",
        "_stalled",
        "_task",
        "_transport",
        "deadline",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._stalled = False  # the client does not take what is written
        self._closing = False  # the last answer is written
        self._ended = False  # the client will send no more
        self._drained = 0
        self._peer = ""
        self.deadline = 0.0
        """When the server hangs up, by the loop's clock."""

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer = _peer_of(transport)
        self._wait_for(self._server.timeouts.head)
        self._server.admit(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        if self._closing:
            self._drained += len(data)
            if self._drained > DRAIN_BYTES:
                self._transport.abort()
            return
        if not self._buffer and self._task is None:
            self._wait_for(self._server.timeouts.head)  # and not anew for each byte
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        """Stay until the present request is answered."""
        self._ended = True
        return self._task is not None

    def pause_writing(self) -> None:
        """The client is slow to take its answers."""
        self._stalled = True
        self._wait_for(self._server.timeouts.write)

    def resume_writing(self) -> None:
        """It took them."""
        self._stalled = False
        timeouts = self._server.timeouts
        self._wait_for(timeouts.write if self._closing else timeouts.idle)
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        del exc
        if self._task is not None:
            self._task.cancel()
        self._server.forget(self)

    # requests

    @property
    def busy(self) -> bool:
        """Whether a request waits for credentials."""
        return self._task is not None

    def _advance(self) -> None:
        while not (self._closing or self._stalled or self.busy or self._transport.is_closing()):
            try:
                head = take_head(self._buffer)
            except BadRequestError as error:
                answer = self._server.routes.limited(error.answer, peer=self._peer)
                self._write(answer, close=True)
                break
            if head is None:
                break
            self._respond(head)
        if not self._closing:
            self._flow()

    def _flow(self) -> None:
        """Read on only while there is room for what comes."""
        if len(self._buffer) > HEAD_LIMIT:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _respond(self, head: Head) -> None:
        try:
            answer = self._server.routes.handle(head, peer=self._peer)
        except Exception as error:  # noqa: BLE001 - one request must not end the server
            answer = failed(error, final=500)
        if isinstance(answer, Wanted):
            self.deadline = float("inf")  # the sign-in has time-outs of its own
            self._server.occupy(self)
            self._task = asyncio.get_running_loop().create_task(self._later(head, answer))
        else:
            self._write(answer, close=not head.keep_alive)

    async def _later(self, head: Head, wanted: Wanted) -> None:
        outcome = await wanted.supply.wait()
        try:
            answer = wanted.render(outcome)
        except Exception as error:  # noqa: BLE001 - the same
            answer = failed(error, final=500)
        self._task = None
        self._write(answer, close=not head.keep_alive or self._ended)
        self._advance()

    def _write(self, answer: Answer, *, close: bool) -> None:
        close = close or 400 <= answer.status < 500 or self._server.stopping
        logger.debug("answered %d", answer.status)
        self._closing = close
        self._wait_for(self._server.timeouts.write if close else self._server.timeouts.idle)
        self._server.release(self)
        self._transport.write(answer.encoded(date=self._server.date(), close=close))
        if close:
            self._buffer.clear()
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Close in our direction first: an RST would take an unread answer along."""
        if self._ended or self._server.stopping:
            self._transport.close()
            return
        with contextlib.suppress(OSError):  # the client is gone
            self._transport.write_eof()
        self._transport.resume_reading()

    def _wait_for(self, seconds: float) -> None:
        self.deadline = self._server.time() + seconds

    # what the server calls

    def hang_up(self) -> None:
        """End it at once."""
        self._transport.abort()

    def finish(self) -> None:
        """End it once what was answered is on its way."""
        self._transport.close()


_CREDENTIALS = struct.Struct("3i")


def _peer_of(transport: asyncio.Transport) -> str:
    """Whose refusals are counted together: an address, or the user of a Unix socket."""
    line: socket.socket = transport.get_extra_info("socket")
    if line.family != socket.AF_UNIX:
        address = transport.get_extra_info("peername")
        return str(address[0]) if address else ""
    try:
        raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):  # not Linux
        return "unix"
    return f"user {_CREDENTIALS.unpack(raw)[1]}"
