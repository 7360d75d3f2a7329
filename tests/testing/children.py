"""Children that end with their test: forked ones, and other programs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 20.0
"""Seconds after which a child hangs."""


@contextmanager
def children_of(
    work: Callable[[], bytes], *, count: int = 1, patience: float = PATIENCE
) -> Iterator[list[bytes]]:
    """Run *work* in forked children, and give what they returned.

    Those that take longer than *patience*, in seconds, are ended.
    """
    pipes, pids = [], []
    for _ in range(count):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:  # the child: nothing of pytest may run here
            try:
                os.write(writing, work())
            except BaseException as error:  # noqa: BLE001
                os.write(writing, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        pipes.append(reading)
        pids.append(pid)
    try:
        end = time.monotonic() + patience
        answers = []
        for reading in pipes:
            ready, _, _ = select.select([reading], [], [], max(end - time.monotonic(), 0))
            answers.append(os.read(reading, 1000) if ready else b"the child hangs")
        yield answers
    finally:
        for pid, reading in zip(pids, pipes, strict=True):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)


@contextmanager
def running_process(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A `subprocess.Popen` that does not outlive a test that fails."""
    with subprocess.Popen(arguments, **options) as child:
        try:
            yield child
        finally:
            child.kill()
