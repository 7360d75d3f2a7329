"""Orders to `benchmarks.faulty_server`, and the contenders, each placed before one lane."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.credentials import Credentials, DeferredRefreshableCredentials

from benchmarks.stage import ROOT, Stage
from benchmarks.table import OURS, PEER
from rolesanywhere_auth import RenewalEvent, RolesAnywhereConfig, RolesAnywhereCredentials

STOCK = "botocore RefreshableCredentials"
STATIC = "static Credentials (noise)"
STATES = ("far", "advisory", "mandatory", "none")
LEFT = {
    OURS: {"far": 3600, "advisory": 290, "mandatory": 50},
    PEER: {"far": 3600, "advisory": 880, "mandatory": 500},
    STOCK: {"far": 3600, "advisory": 880, "mandatory": 500},
}
"""Seconds of life that are left in a state.

The windows differ, so the positions do. Those of botocore, which the peer has too, are
900 s (advisory: a caller renews, others go on) and 600 s (mandatory: all wait). Ours, in
a session of an hour, are 900 s and 60 s; each process begins somewhere from 900 to 300 s
before the end, so at 290 s the renewal is due in all of them.
"""
HOUR = 3600.0


class Server:
    """The process, for as long as `serving` lasts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lock = threading.Lock()

    def order(self, do: str, **more: Any) -> dict[str, Any]:
        """One order and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            return answer

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """A port of one's own."""
        lane = Lane(self, self.order("open")["port"])
        try:
            yield lane
        finally:
            self.order("shut", port=lane.port)


@dataclass(frozen=True)
class Lane:
    """One port of the server."""

    server: Server
    port: int

    def set(self, **manners: Any) -> None:
        """Change some of its `benchmarks.faulty_server.Manners`."""
        self.server.order("set", port=self.port, manners=manners)

    @property
    def requests(self) -> int:
        """How many whole requests came."""
        return int(self.server.order("count", port=self.port)["requests"])

    @property
    def faults(self) -> int:
        """How many of them were answered by a fault."""
        return int(self.server.order("count", port=self.port)["faults"])


@contextmanager
def serving(found: Stage) -> Iterator[Server]:
    """A faulty server."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.faulty_server", str(found.folder / "server.pem")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


class MovableClock:
    """`time.time`, and what was added."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.offset


@dataclass
class Contender:
    """Credentials before one lane."""

    name: str
    lane: Lane
    credentials: Any
    clock: MovableClock = field(default_factory=MovableClock)
    events: list[RenewalEvent] = field(default_factory=list)

    def place(self, state: str) -> None:
        """Fetch credentials that have so long to live that they are in *state*."""
        if state == "none" or self.name == STATIC:
            return
        left = LEFT[self.name][state]
        # ours goes by a clock that can be moved, the others by the expiry alone
        self.lane.set(lifetime=HOUR if self.name == OURS else left)
        self.credentials.get_frozen_credentials()
        self.lane.set(lifetime=HOUR)
        if self.name == OURS and left < HOUR:
            self.move(HOUR - left)

    def move(self, seconds: float) -> None:
        """Set our clock forward, and the service's."""
        self.clock.offset += seconds
        self.lane.set(skew=self.clock.offset)

    @property
    def sign_ins(self) -> int:
        """How many sign-ins began; ours only."""
        return sum(event.kind == "started" for event in self.events)

    def settle(self, seconds: float) -> None:
        """Wait until a sign-in under way is over; ours only."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            over = sum(event.kind in {"failed", "succeeded"} for event in self.events)
            if over == self.sign_ins:
                return
            time.sleep(0.02)


def contender(name: str, found: Stage, lane: Lane, **settings: Any) -> Contender:
    """One of ours, the peer, botocore's own and static ones; *settings* go into our config."""
    made = Contender(name, lane, None)
    if name == OURS:
        config = RolesAnywhereConfig(
            **{
                **found.config_arguments("ec-p256"),
                "endpoint_url": f"https://127.0.0.1:{lane.port}",
                **settings,
            }
        )
        made.credentials = RolesAnywhereCredentials(
            config, now=made.clock, on_event=made.events.append
        )
    elif name == PEER:
        from iam_rolesanywhere_session import IAMRolesAnywhereSession  # not in each environment

        endpoint = {"endpoint": f"127.0.0.1:{lane.port}"}
        peer = IAMRolesAnywhereSession(**{**found.peer_arguments("ec-p256"), **endpoint})
        made.credentials = peer.get_refreshable_credentials()
    elif name == STOCK:
        made.credentials = DeferredRefreshableCredentials(
            partial(fetch, port=lane.port, bundle=found.bundle), "custom"
        )
    else:
        made.credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token")
    return made


def fetch(*, port: int, bundle: str) -> dict[str, str]:
    """What one writes by hand for botocore's class; botocore's own time-out."""
    context = ssl.create_default_context(cafile=bundle)
    line = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    try:
        line.request("POST", "/sessions", body=b"{}")
        answer = line.getresponse()
        if answer.status != 201:
            raise RuntimeError(f"HTTP {answer.status}")
        keys = json.loads(answer.read())["credentialSet"][0]["credentials"]
    finally:
        line.close()
    return {
        "access_key": keys["accessKeyId"],
        "secret_key": keys["secretAccessKey"],
        "token": keys["sessionToken"],
        "expiry_time": keys["expiration"],
    }


@dataclass
class Calls:
    """What became of some calls."""

    longest: list[float] = field(default_factory=list)
    """Milliseconds, by thread."""
    good: int = 0
    empty: int = 0
    """Handed out without a key."""
    errors: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    """Threads still inside a call when the watch ended."""

    @property
    def worst(self) -> float:
        """Milliseconds of the longest call."""
        return max(self.longest, default=0.0)

    def blocked(self, milliseconds: float) -> int:
        """How many threads had a call longer than that."""
        return sum(longest > milliseconds for longest in self.longest)

    @property
    def total(self) -> int:
        """All calls that ended."""
        return self.good + self.empty + sum(self.errors.values())


class Crowd:
    """Threads that ask for credentials again and again.

    Args:
        credentials: Asked by ``get_frozen_credentials()``.
        threads: How many.
        pause: Seconds between the calls of a thread.
        calls: How many of each; None: until the watch ends.
    """

    def __init__(
        self, credentials: Any, *, threads: int, pause: float, calls: int | None = None
    ) -> None:
        self._credentials = credentials
        self._pause = pause
        self._calls = calls
        self._over = threading.Event()
        self._begun: list[float | None] = [None] * threads
        self._parts = [Calls(longest=[0.0]) for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def _run(self, number: int) -> None:
        part = self._parts[number]
        done = 0
        while not self._over.is_set() and (self._calls is None or done < self._calls):
            begin = self._begun[number] = time.perf_counter()
            try:
                frozen = self._credentials.get_frozen_credentials()
            except Exception as error:  # noqa: BLE001 - each is counted by its name
                name = type(error).__name__
                outcome = None
            else:
                name = ""
                outcome = bool(frozen.access_key and frozen.secret_key and frozen.token)
            took = (time.perf_counter() - begin) * 1000
            self._begun[number] = None
            if self._over.is_set() and took > 1000:
                return  # a call that was let go
            part.longest[0] = max(part.longest[0], took)
            part.good += outcome is True
            part.empty += outcome is False
            if name:
                part.errors[name] = part.errors.get(name, 0) + 1
            done += 1
            self._over.wait(self._pause)

    def watch(self, seconds: float, *, at: float = 0.0, then: Callable[[], object] = int) -> Calls:
        """What happens within so many seconds, or until all calls are over.

        Args:
            seconds: At most.
            at: After so many seconds, *then* is called.
            then: Such as a failure to begin.
        """
        begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        if at:
            time.sleep(at)
            then()
        for thread in self._threads:
            thread.join(max(begin + seconds - time.monotonic(), 0))
        found = self._sum()
        self._over.set()
        return found

    def release(self) -> None:
        """Wait for the threads, whose calls the server has let go."""
        for thread in self._threads:
            thread.join(5)

    def _sum(self) -> Calls:
        whole = Calls()
        now = time.perf_counter()
        for part, begun in zip(self._parts, list(self._begun), strict=True):
            so_far = 0.0 if begun is None else (now - begun) * 1000
            whole.waiting += so_far > 100
            whole.longest.append(max(part.longest[0], so_far))
            whole.good += part.good
            whole.empty += part.empty
            for name, count in part.errors.items():
                whole.errors[name] = whole.errors.get(name, 0) + count
        return whole
