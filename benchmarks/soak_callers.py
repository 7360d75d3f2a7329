"""Who asks, in `benchmarks.soak`: threads here, and threads in forked children."""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from rolesanywhere_auth import RolesAnywhereCredentials

PAUSE = 0.02
"""Seconds between two calls of a thread."""
CHILD_THREADS = 4
CHILD_LIVES = (5.0, 30.0)
"""Seconds that a child lives, from and to."""
Held = Mapping[str, RolesAnywhereCredentials]


@dataclass
class Tally:
    """What callers saw."""

    calls: int = 0
    renewals: int = 0
    """How often a thread got another key than before."""
    mixed: int = 0
    failed_valid: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Exceptions, by whose credentials."""
    expired: dict[str, int] = field(default_factory=dict)
    """Calls that returned expired credentials, likewise."""
    errors: dict[str, int] = field(default_factory=dict)
    longest: float = 0.0

    def add(self, other: Tally) -> None:
        """Count *other* in."""
        self.longest = max(self.longest, other.longest)
        for name in ("calls", "renewals", "mixed", "failed_valid"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("failed", "expired", "errors"):
            mine: dict[str, int] = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count


class Callers:
    """Threads that ask for credentials of one of *held*, again and again."""

    def __init__(self, held: Held, *, threads: int) -> None:
        self._over = threading.Event()
        self._tallies = [Tally() for _ in range(threads)]
        names = list(held)
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(names[number % len(names)], held[names[number % len(names)]], tally),
                daemon=True,
            )
            for number, tally in enumerate(self._tallies)
        ]

    def start(self) -> None:
        """All threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> Tally:
        """End all threads; what they saw."""
        self._over.set()
        whole = Tally()
        for thread, tally in zip(self._threads, self._tallies, strict=True):
            thread.join(60)
            if thread.is_alive():
                tally.errors["a thread that never came back"] = 1
                tally.failed_valid += 1
            whole.add(tally)
        self._threads.clear()
        return whole

    def _run(self, name: str, credentials: RolesAnywhereCredentials, tally: Tally) -> None:
        last = None
        while not self._over.wait(PAUSE):
            last = _ask(name, credentials, tally, last)


def _ask(
    name: str, credentials: RolesAnywhereCredentials, tally: Tally, last: str | None
) -> str | None:
    held_until = _expiry(credentials)
    begin = time.monotonic()
    tally.calls += 1
    try:
        frozen = credentials.get_frozen_credentials()
    except Exception as error:  # noqa: BLE001 - each is counted
        if time.time() < held_until:
            tally.failed_valid += 1
        tally.failed[name] = tally.failed.get(name, 0) + 1
        kind = type(error).__name__
        tally.errors[kind] = tally.errors.get(kind, 0) + 1
        return last
    finally:
        tally.longest = max(tally.longest, time.monotonic() - begin)
    if time.time() > _expiry(credentials) + 0.05:
        tally.expired[name] = tally.expired.get(name, 0) + 1
    key, secret, token = (part or "" for part in frozen[:3])
    # the server ends all three by the same number
    tally.mixed += not (key and key[-8:] == secret[-8:] == token[-8:])
    tally.renewals += last is not None and last != key
    return str(key)


def _expiry(credentials: RolesAnywhereCredentials) -> float:
    moment = credentials.expires_at
    return 0.0 if moment is None else moment.timestamp()


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it must open one file only


def _memory() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - little else is wanted
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


class Children:
    """So many forked children at a time, each with threads of its own.

    They are forked while this process's threads are in the middle of their calls.
    """

    def __init__(self, held: Held, *, count: int) -> None:
        self._held = held
        self._count = count
        self._living: dict[int, tuple[int, float]] = {}
        self._seen = Tally()
        self.forked = 0
        self.died = 0
        """Ended other than by their own will, or did not end in time."""
        self.threads_grown = 0
        self.files_grown = 0
        self.memory_grown = 0.0

    def turn(self, *, end: float) -> None:
        """Replace those that have ended; none lives beyond *end*, of the monotonic clock."""
        self._reap()
        left = end - time.monotonic()
        if len(self._living) < self._count and left > 0.3:
            self._fork(min(random.uniform(*CHILD_LIVES), left))

    def stop(self) -> Tally:
        """Wait for all; what they saw."""
        while self._living:
            self._reap()
            time.sleep(0.05)
        self._held = {}
        return self._seen

    def _fork(self, seconds: float) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.close(reading)
                _live(self._held, seconds, writing)
                code = 0
            except BaseException:  # noqa: BLE001 - a child must not run the parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.forked += 1
        self._living[pid] = reading, time.monotonic() + seconds + 60

    def _reap(self) -> None:
        for pid, (reading, deadline) in list(self._living.items()):
            if _readable(reading):
                self._count_in(pid, reading)
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGABRT)
                self._count_in(pid, reading)

    def _count_in(self, pid: int, reading: int) -> None:
        """Its report fits into the pipe, or it ended without one."""
        with os.fdopen(reading) as file:
            text = file.read()
        _, status = os.waitpid(pid, 0)
        del self._living[pid]
        if status or not text:
            self.died += 1
            return
        report = json.loads(text)
        self._seen.add(Tally(**report["tally"]))
        self.threads_grown = max(self.threads_grown, report["threads"])
        self.files_grown = max(self.files_grown, report["files"])
        self.memory_grown = max(self.memory_grown, report["memory"])


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))


def _live(held: Held, seconds: float, writing: int) -> None:
    """The child's whole life."""
    files, memory = _files(), _memory()
    callers = Callers(held, threads=CHILD_THREADS)
    callers.start()
    time.sleep(seconds)
    tally = callers.stop()
    _wait_for_quiet(files)
    report = {
        "tally": asdict(tally),
        "threads": threading.active_count() - 1 - len(held),  # one of each is its own
        "files": _files() - files,
        "memory": _memory() - memory,
    }
    os.write(writing, json.dumps(report).encode())


def _wait_for_quiet(files: int) -> None:
    """A sign-in under way has a connection open, for a few seconds at most."""
    end = time.monotonic() + 6
    while _files() > files and time.monotonic() < end:
        time.sleep(0.05)
