# SPDX-License-Identifier: Apache-2.0
"""How a command that runs until it is told to stop is told."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal has its usual effect."""
    stopped = threading.Event()
    before: dict[int, Any] = {}

    def stop(number: int, frame: object) -> None:
        del frame
        signal.signal(number, before[number])
        stopped.set()

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
