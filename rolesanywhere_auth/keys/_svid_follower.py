# SPDX-License-Identifier: Apache-2.0
"""Follows a SPIFFE agent's stream: the thread that notices new X.509-SVIDs."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from rolesanywhere_auth.keeper import Bell
from rolesanywhere_auth.keys._workload_api import PERMISSION_DENIED, Ended, Stream

if TYPE_CHECKING:
    from rolesanywhere_auth.keys._workload_api import SVID
    from rolesanywhere_auth.keys.spiffe import SPIFFEStore

logger = logging.getLogger("rolesanywhere_auth.keys.spiffe")

LONGEST_PAUSE = 15.0
"""Seconds between two connections."""


class Follower:
    """Reads one agent's answers for one store, which it does not keep alive, in one process.

    An agent may end a stream at any time, to be there again at once (SPIFFE Workload API,
    4.2). So the store hears of a failure when the next connection fails too.
    """

    def __init__(self, store: SPIFFEStore) -> None:
        self._address = store.address
        self._time_limit = store.time_limit
        self._process = os.getpid()
        self._bell = Bell()
        self._stream: Stream | None = None
        self._thread: threading.Thread | None = None
        self._store = weakref.ref(store, lambda _: self._wake())

    def runs(self) -> bool:
        """Whether its thread is there, in this process."""
        thread = self._thread
        return self._process == os.getpid() and thread is not None and thread.is_alive()

    def close(self) -> None:
        """Let go of the connection; that of a forking parent goes on."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def ask(self, store: SPIFFEStore) -> None:
        """Connect and wait for an answer, which *store* gets; or it gets the failure."""
        outcome = self._outcome()
        if isinstance(outcome, Ended):
            _fail(store, outcome)
        else:
            store.received(outcome)

    def start(self) -> bool:
        """Go on in a thread; False where there can be none."""
        try:
            if sys.is_finalizing():  # start() would wait for ever
                raise RuntimeError("the interpreter shuts down")
            self._thread = threading.Thread(
                target=self._run, name="rolesanywhere-auth-spiffe", daemon=True
            )
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self.close()
            logger.debug("no thread follows the SPIFFE agent, it is asked each time: %s", error)
            return False
        return True

    def _wake(self) -> None:
        self._bell.ring()
        stream = self._stream
        if stream is not None:
            stream.interrupt()

    def _outcome(self) -> tuple[SVID, ...] | Ended:
        """One answer: a new connection must give it in time, one in use may be silent for ever."""
        try:
            if self._stream is not None:
                return self._stream.read(deadline=None)
            deadline = time.monotonic() + self._time_limit
            self._stream = Stream(self._address, deadline=deadline)
            return self._stream.read(deadline=deadline)
        except Ended as ended:
            self.close()
            return ended

    def _run(self) -> None:
        failures = 0
        while True:
            outcome = self._outcome()
            store = self._store()
            if store is None:
                break
            if not isinstance(outcome, Ended):
                failures = 0
                store.received(outcome)
                del store, outcome  # asleep, the thread holds nothing
                continue
            if failures or outcome.status is not None:
                _fail(store, outcome)
            del store
            self._bell.wait(_pause(failures))
            failures += 1
        self.close()


def _fail(store: SPIFFEStore, ended: Ended) -> None:
    store.failed(str(ended), refused=ended.status == PERMISSION_DENIED)


def _pause(failures: int) -> float:
    """Seconds before the next connection: short at first."""
    longest = min(LONGEST_PAUSE, 0.05 * 2.0 ** min(failures, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, no secret
