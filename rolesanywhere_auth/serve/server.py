# SPDX-License-Identifier: Apache-2.0
"""The server in its loop: who is connected, who is hung up on, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import resource
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rolesanywhere_auth.serve.connection import Connection
from rolesanywhere_auth.serve.routes import Routes
from rolesanywhere_auth.serve.supply import Supply
from rolesanywhere_auth.serve.systemd import Notifier
from rolesanywhere_auth.serve.tokens import TokenFolder

logger = logging.getLogger("rolesanywhere_auth.serve")

BACKLOG = 256
"""Connections that the system keeps for us, and that asyncio accepts at once."""
TICK = 0.25
"""Seconds between two looks at what is due."""
_OTHER_FILES = 64
"""Descriptors that are needed for other things than connections."""


class Timeouts(NamedTuple):
    """Seconds."""

    head: float = 5.0
    """From the connection, or the first byte, to the end of a request's head."""
    idle: float = 30.0
    """Between two requests."""
    write: float = 5.0
    """Until the client has taken an answer."""
    stop: float = 5.0
    """Until requests under way are given up when the server stops."""


def connection_limit(wanted: int) -> int:
    """*wanted*, or as many as this process may have files for.

    The soft limit of open files is raised towards the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + BACKLOG + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    enough = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
        soft = enough
    return max(16, min(wanted, soft - BACKLOG - _OTHER_FILES))


class Server:
    """Serves until it is told to stop; made for one run.

    Args:
        supplies: The roles, by name.
        routes: Answers requests.
        tokens: Renewed when they are due.
        sockets: Bound; closed at the end.
        timeouts: See there.
        max_connections: Beyond, the one that was idle for longest makes room.
        notifier: Of the service manager.
        clock: Seconds since the epoch, for the ``Date`` header.
    """

    def __init__(
        self,
        supplies: Mapping[str, Supply],
        *,
        routes: Routes,
        tokens: TokenFolder,
        sockets: Sequence[socket.socket],
        timeouts: Timeouts,
        max_connections: int,
        notifier: Notifier,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.routes = routes
        self.timeouts = timeouts
        self.stopping = False
        self.time: Callable[[], float] = time.monotonic
        self._supplies = supplies
        self._tokens = tokens
        self._sockets = sockets
        self._most = max_connections
        self._notifier = notifier
        self._clock = clock
        self._date = (0, "")
        self._waiting: dict[Connection, None] = {}
        """For a request, or for the end; in the order in which they began to."""
        self._busy: set[Connection] = set()
        self._empty = asyncio.Event()

    # what connections tell

    def admit(self, connection: Connection) -> None:
        """A new one; the one that waits longest makes room if there are too many."""
        if len(self._waiting) + len(self._busy) >= self._most:
            if not self._waiting:
                logger.debug("no room for a connection: all wait for credentials")
                connection.hang_up()
                return
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.hang_up()
        self._waiting[connection] = None

    def occupy(self, connection: Connection) -> None:
        """It has a request that waits for credentials: not to be hung up on."""
        self._waiting.pop(connection, None)
        self._busy.add(connection)

    def release(self, connection: Connection) -> None:
        """Its request is answered."""
        self._busy.discard(connection)
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self._waiting.pop(connection, None)
        self._busy.discard(connection)
        if self.stopping and not self._waiting and not self._busy:
            self._empty.set()

    def date(self) -> str:
        """For the ``Date`` header (RFC 9110 section 6.6.1)."""
        second = int(self._clock())
        if second != self._date[0]:
            self._date = (second, email.utils.formatdate(second, usegmt=True))
        return self._date[1]

    # the run

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], object]) -> None:
        """Serve until *stop* is set; *ready* is called once requests are answered.

        Raises:
            RolesAnywhereError: the first sign-in failed, and trying again will not help.
        """
        listening = [await self._listen(each) for each in self._sockets]
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._first_sign_ins(stop)
            tasks = [asyncio.create_task(each.warm()) for each in self._supplies.values()]
            tasks.append(asyncio.create_task(self._keep_order()))
            self._notifier.ready("answering")
            ready()
            await stop.wait()
        finally:
            self.stopping = True
            self._notifier.stopping()
            await self._close(listening)
            await self._say_goodbye()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, found: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if found.family == socket.AF_UNIX:
            return await loop.create_unix_server(
                lambda: Connection(self), sock=found, backlog=BACKLOG
            )
        return await loop.create_server(lambda: Connection(self), sock=found, backlog=BACKLOG)

    async def _close(self, listening: Sequence[asyncio.Server]) -> None:
        """Accept nobody any more.

        asyncio trips over a connection that it has accepted and not yet made when its server
        is closed, and leaves the socket open.
        """
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            loop.remove_reader(each)
        await _some_turns()
        for server in listening:
            server.close()

    async def _first_sign_ins(self, stop: asyncio.Event) -> None:
        stopped = asyncio.create_task(stop.wait())
        outcomes = asyncio.gather(*(each.wait() for each in self._supplies.values()))
        both: set[asyncio.Future[Any]] = {stopped, outcomes}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not outcomes.done():
            outcomes.cancel()
            return
        for outcome in outcomes.result():
            if isinstance(outcome, Exception) and not getattr(outcome, "retryable", False):
                raise outcome

    async def _keep_order(self) -> None:
        told = self.time()
        while True:
            await asyncio.sleep(TICK)
            now = self.time()
            for each in [*self._waiting, *self._busy]:
                if now >= each.deadline:
                    each.hang_up()
            self._tokens.rotate()
            if self._notifier.interval is not None and now - told >= self._notifier.interval:
                told = now
                self._notifier.alive()

    async def _say_goodbye(self) -> None:
        for each in list(self._waiting):
            each.finish()
        if self._waiting or self._busy:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self.timeouts.stop)
        for each in [*self._waiting, *self._busy]:
            each.hang_up()
        await _some_turns()


async def _some_turns() -> None:
    """As many of the loop's as a connection takes to be there, and to end."""
    for _ in range(5):
        await asyncio.sleep(0)
