"""An event loop across a renewal that takes 2 s: what it stands still for, and how long tasks wait.

The stock class is aiobotocore's, once over a fetch that is written for the loop, and once over one
that blocks, as all libraries for Roles Anywhere do that were not written for asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from benchmarks.lanes import HOUR, LEFT, STATIC, STOCK, Lane, MovableClock, Server, fetch, serving
from benchmarks.stage import Stage
from benchmarks.table import OURS, Budget, budget
from rolesanywhere_auth import RolesAnywhereConfig

DELAY = 2.0
"""Seconds that the service takes to answer."""
TASKS = 16
PAUSE = 0.02
"""Seconds between two calls of a task."""
TICK = 0.001
"""Seconds that the task sleeps which sees the loop stand still."""
LIMIT = 5.0
"""Milliseconds."""
STOCK_ASYNC = "aiobotocore, fetch on the loop"
STOCK_BLOCKING = "aiobotocore, fetch that blocks"
STATES = {
    "none": "cold start",
    "advisory": "begun in the advisory window",
    "mandatory": "begun in the mandatory window",
}


class Seen(NamedTuple):
    """What one renewal did to the loop."""

    stall: float
    """Milliseconds: the longest time in which no task ran, though the loop had a core."""
    longest: float
    """Milliseconds of the longest call."""
    calls: int
    requests: int


class _Contender:
    """Credentials before one lane, asked by ``await``."""

    def __init__(self, name: str, found: Stage, lane: Lane) -> None:
        self.name = name
        self.lane = lane
        self._clock = MovableClock()
        self._call = self._made(found)

    def _made(self, found: Stage) -> Callable[[], Awaitable[Any]]:
        from aiobotocore.credentials import AioCredentials, AioDeferredRefreshableCredentials

        if self.name == OURS:
            from rolesanywhere_auth.aio import AioRolesAnywhereCredentials

            url = f"https://127.0.0.1:{self.lane.port}"
            config = RolesAnywhereConfig(
                **{**found.config_arguments("ec-p256"), "endpoint_url": url}
            )
            ours = AioRolesAnywhereCredentials(config, now=self._clock)
            return ours.get_frozen_credentials
        if self.name == STATIC:
            static = AioCredentials("AKIAIOSFODNN7EXAMPLE", "secret", "token")
            return partial(_frozen, static)
        blocking = partial(fetch, port=self.lane.port, bundle=found.bundle)
        if self.name == STOCK_ASYNC:
            context = ssl.create_default_context(cafile=found.bundle)
            using = partial(_fetch_on_loop, port=self.lane.port, context=context)
        else:
            using = partial(_in_coroutine, blocking)
        return partial(_frozen, AioDeferredRefreshableCredentials(using, "custom"))

    async def place(self, state: str) -> None:
        """Have credentials that are in *state*."""
        if state == "none" or self.name == STATIC:
            return
        left = LEFT[OURS if self.name == OURS else STOCK][state]
        # ours goes by a clock that can be moved, the others by the expiry alone
        self.lane.set(lifetime=HOUR if self.name == OURS else left)
        await self._call()
        self.lane.set(lifetime=HOUR)
        if self.name == OURS:
            self._clock.offset += HOUR - left
            self.lane.set(skew=self._clock.offset)

    async def watch(self, seconds: float) -> Seen:
        """Tasks call for so long, or longer where they have to wait."""
        before = self.lane.requests
        over = time.perf_counter() + seconds
        ticking = asyncio.create_task(_stall(over))
        calls = await asyncio.gather(*(self._calls(over) for _ in range(TASKS)))
        stall = await ticking
        longest = max(each for some in calls for each in some)
        return Seen(stall, longest, sum(map(len, calls)), self.lane.requests - before)

    async def _calls(self, over: float) -> list[float]:
        took = []
        while (begin := time.perf_counter()) < over:
            assert (await self._call()).access_key
            took.append((time.perf_counter() - begin) * 1000)
            await asyncio.sleep(PAUSE)
        return took


async def _frozen(credentials: Any) -> Any:
    return await credentials.get_frozen_credentials()


async def _stall(over: float) -> float:
    """The longest gap between two turns, less what the machine let this thread wait for a core."""
    worst, last = 0.0, time.perf_counter()
    with _waited() as waited:
        before = waited()
        while last < over:
            await asyncio.sleep(TICK)
            now, so_far = time.perf_counter(), waited()
            worst = max(worst, now - last - TICK - (so_far - before))
            last, before = now, so_far
    return worst * 1000


@contextlib.contextmanager
def _waited() -> Iterator[Callable[[], float]]:
    """Seconds that this thread was ready to run and had no core, by Linux's account."""
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        yield lambda: 0.0
        return
    try:
        yield lambda: int(os.pread(file, 100, 0).split()[1]) / 1e9
    finally:
        os.close(file)


async def _in_coroutine(blocking: Callable[[], dict[str, str]]) -> dict[str, str]:
    return blocking()


async def _fetch_on_loop(*, port: int, context: ssl.SSLContext) -> dict[str, str]:
    """What `benchmarks.lanes.fetch` does, by the streams of asyncio."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")  # it hangs up after an answer
    writer.close()
    if b" 201 " not in head.splitlines()[0]:
        raise RuntimeError(head.splitlines()[0].decode())
    keys = json.loads(body)["credentialSet"][0]["credentials"]
    return {
        "access_key": keys["accessKeyId"],
        "secret_key": keys["secretAccessKey"],
        "token": keys["sessionToken"],
        "expiry_time": keys["expiration"],
    }


async def _across(name: str, state: str, found: Stage, server: Server) -> Seen:
    """One renewal that takes `DELAY` seconds, begun in *state*."""
    with server.lane() as lane:
        one = _Contender(name, found, lane)
        await one.place(state)
        lane.set(delay=DELAY)
        return await one.watch(DELAY + 0.5)


def loops(found: Stage, *, rounds: int) -> list[Budget]:
    """Print what a renewal did to the loop; the budgets on ours."""
    try:
        import aiobotocore
    except ImportError:
        print("\nasyncio: not here: pip install 'rolesanywhere-auth[aio]', which has aiobotocore")
        return []
    print(f"\naiobotocore {aiobotocore.__version__}")
    budgets = []
    contenders = (OURS, STOCK_ASYNC, STOCK_BLOCKING, STATIC)
    with serving(found) as server:
        asyncio.run(_warmed_up(found, server))
        for state, title in STATES.items():
            runs: dict[str, list[Seen]] = {}
            for _ in range(rounds):
                for name in contenders:
                    seen = asyncio.run(_across(name, state, found, server))
                    runs.setdefault(name, []).append(seen)
            _table(f"{TASKS} tasks, a renewal that takes {DELAY:g} s, {title}", runs)
            noise = min(each.stall for each in runs[STATIC])
            if state != "none":
                stalls = [each.stall for each in runs[OURS]]
                budgets.append(_least(f"asyncio, {title}: stand-still", stalls, noise))
            if state == "advisory":
                longest = [each.longest for each in runs[OURS]]
                budgets.append(_least(f"asyncio, {title}: call", longest, noise))
    return budgets


def _least(name: str, figures: Sequence[float], noise: float) -> Budget:
    """What a renewal does each time shows in all rounds, what a machine's host does in some."""
    if noise > LIMIT:
        print(f"{name}: this machine is too noisy to tell")
    limit = LIMIT if noise <= LIMIT else None
    return replace(budget(name, figures, limit, unit="ms"), value=min(figures))


async def _warmed_up(found: Stage, server: Server) -> None:
    """Modules that a first sign-in imports would else count as its own."""
    for name in (OURS, STOCK_ASYNC, STOCK_BLOCKING):
        with server.lane() as lane:
            await _Contender(name, found, lane).watch(0.1)


def _table(title: str, runs: dict[str, list[Seen]]) -> None:
    print(f"\n{title}\n{'-' * len(title)}")
    columns = ("loop stands still", "at least", "longest call", "CreateSession", "calls")
    print(f"{'':<32}" + "".join(f"{column:>20}" for column in columns))
    for name, found in runs.items():
        figures = (
            f"{median(each.stall for each in found):,.1f} ms",
            f"{min(each.stall for each in found):,.1f} ms",
            f"{median(each.longest for each in found):,.1f} ms",
            f"{median(each.requests for each in found):g}",
            f"{median(each.calls for each in found):,.0f}",
        )
        print(f"{name:<32}" + "".join(f"{figure:>20}" for figure in figures))
