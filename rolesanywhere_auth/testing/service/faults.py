"""Canned answers for the next CreateSession calls, to test how a client bears them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it goes on the wire: any status, any headers, any bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Dropped(Exception):
    """The connection is to be closed without an answer."""


Fixed = Response | Refusal | RawAnswer | tuple[int, dict[str, str], bytes] | Literal["drop", "pass"]
Fault = Fixed | Callable[[Request], Fixed]
"""What can be injected: a fixed answer, or a callable that is given the request.

``"drop"`` closes the connection; ``"pass"`` lets the service answer. A callable may
wait (for a ``threading.Event``, say) before it returns either: that is a delay
without sleeping.
"""


class Faults:
    """A queue of answers, taken in order by the next CreateSession calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()

    def add(self, answers: Iterable[Fault]) -> None:
        """Put *answers* at the end of the queue."""
        with self._lock:
            self._queue.extend(answers)

    def clear(self) -> None:
        """Forget what is still in the queue."""
        with self._lock:
            self._queue.clear()

    def take(self, request: Request) -> RawAnswer | None:
        """The answer for *request*, or None when the service itself shall answer.

        Raises:
            Dropped: the connection is to be closed.
        """
        with self._lock:
            if not self._queue:
                return None
            fault = self._queue.popleft()
        return _answer(fault(request) if callable(fault) else fault)


def raw(response: Response) -> RawAnswer:
    """*response* as JSON on the wire."""
    headers = {"Content-Type": "application/json", **response.headers}
    return RawAnswer(response.status, tuple(headers.items()), response.encoded())


def _answer(fault: Fixed) -> RawAnswer | None:
    if fault == "drop":
        raise Dropped
    if isinstance(fault, str):
        return None
    if isinstance(fault, Refusal):
        return raw(fault.response())
    if isinstance(fault, Response):
        return raw(fault)
    if isinstance(fault, RawAnswer):
        return fault
    status, headers, body = fault
    return RawAnswer(status, tuple(headers.items()), body)
