"""Ten hard minutes: ``python -m benchmarks.soak --minutes 10``.

64 threads and 8 forked children ask two `RolesAnywhereCredentials` for credentials
without pause, while the service fails at random and for seconds at a time, and the
certificate's files are replaced. One gets sessions of 8 s, which a failed sign-in may
outlast; the other of 5 minutes, with which every outage can be bridged. Children are
forked in the middle of all this, and replaced by new ones.

It ends with 1 if an invariant broke. Linux, as it reads ``/proc``.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.faulty_server import FAULTS
from benchmarks.lanes import Lane, Server, serving
from benchmarks.soak_callers import Callers, Children, Tally
from benchmarks.stage import Stage, stage
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.testing import CertificateAuthority

THREADS = 64
CHILDREN = 8
SHORT, LONG = 8.0, 300.0
"""Seconds that sessions last."""
RATE = 0.2
"""How many answers are faults, when there is no outage."""
OUTAGE = 4.0
"""Seconds that an outage lasts at most. A request fails within 1 s."""
ROTATION = 3.0
"""Seconds between two certificates."""
MEMORY = 4.0
"""MiB by which the last quarter's median may exceed the second quarter's."""


@dataclass(frozen=True)
class Sample:
    """What the process held at one moment."""

    threads: int
    files: int
    memory: float
    """MiB, resident."""


def sample() -> Sample:
    """Now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        threading.active_count(),
        len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - it must open one file only
        pages * resource.getpagesize() / 2**20,
    )


class Rotation:
    """Certificate and key in ``current/``, replaced in three ways, as tools do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = CertificateAuthority()
        self._ways = (self._rename, self._in_place, self._swap)
        self.count = 0
        (folder / "0").mkdir(parents=True)
        self._swap()

    @property
    def current(self) -> Path:
        """A symbolic link to the folder with both files."""
        return self._folder / "current"

    def turn(self) -> None:
        """The next certificate, the next way."""
        self.count += 1
        self._ways[self.count % len(self._ways)]()

    def _issue(self, folder: Path) -> Path:
        self._authority.issue("app").write_to(folder)
        return folder

    def _pairs(self) -> list[tuple[Path, Path]]:
        fresh = self._issue(self._folder / "fresh")
        return [(fresh / name, self.current / name) for name in ("client.pem", "client.key")]

    def _rename(self) -> None:
        for new, old in self._pairs():
            new.replace(old)

    def _in_place(self) -> None:
        for new, old in self._pairs():
            old.write_bytes(new.read_bytes())

    def _swap(self) -> None:
        link = self._folder / "next"
        link.symlink_to(self._issue(self._folder / f"v{self.count}"))
        link.replace(self.current)


def credentials(found: Stage, lane: Lane, rotation: Rotation) -> RolesAnywhereCredentials:
    """Impatient ones: a hanging server is one of many faults."""
    config = RolesAnywhereConfig(
        **{
            **found.config_arguments("ec-p256"),
            "certificate": str(rotation.current / "client.pem"),
            "private_key": str(rotation.current / "client.key"),
            "endpoint_url": f"https://127.0.0.1:{lane.port}",
            "connect_timeout": 1,
            "read_timeout": 1,
        }
    )
    return RolesAnywhereCredentials(config)


class Weather:
    """Random faults, and now and then an outage of one kind."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._lanes = lanes
        self._until = 0.0
        self._next = time.monotonic() + 2
        self.outages = 0
        self._calm()

    def _calm(self) -> None:
        choice = [fault for fault in FAULTS if fault != "refused"]
        for lane in self._lanes:
            lane.set(fault="random", rate=RATE, choice=choice)

    def turn(self) -> None:
        """Begin or end an outage, if it is time to."""
        now = time.monotonic()
        if self._until and now >= self._until:
            self._until, self._next = 0.0, now + random.uniform(5, 15)
            self._calm()
        elif not self._until and now >= self._next:
            self.outages += 1
            self._until = now + random.uniform(1, OUTAGE)
            for lane in self._lanes:
                lane.set(fault=random.choice(FAULTS))


def run(found: Stage, server: Server, minutes: float) -> list[tuple[str, str, bool]]:
    """The soak; rows of the table: what, figure, whether it is as promised."""
    rotation = Rotation(found.folder / "soak")
    with server.lane() as short, server.lane() as long:
        short.set(lifetime=SHORT)
        long.set(lifetime=LONG)
        before = sample()
        held = {
            "short": credentials(found, short, rotation),
            "long": credentials(found, long, rotation),
        }
        for each in held.values():
            each.get_frozen_credentials()
        weather = Weather([short, long])
        callers = Callers(held, threads=THREADS)
        children = Children(held, count=CHILDREN)
        samples, tally = _hold_out(minutes * 60, callers, children, rotation, weather)
        requests, faults = short.requests + long.requests, short.faults + long.faults
        held.clear()
        del callers, each
        after = _when_quiet(before)
    return [
        ("calls, in this process and in children", f"{tally.calls:,}", True),
        ("renewals seen", f"{tally.renewals:,}", bool(tally.renewals) or minutes < 0.2),
        ("requests, of which answered by a fault", f"{requests:,}, {faults:,}", True),
        ("outages, rotations", f"{weather.outages}, {rotation.count}", True),
        ("children forked, died", f"{children.forked}, {children.died}", not children.died),
        *_judge_calls(tally),
        *_judge_process(before, samples, after, children),
    ]


def _when_quiet(before: Sample) -> Sample:
    """What is left, once a sign-in that was under way is over."""
    end = time.monotonic() + 10
    while True:
        gc.collect()  # an object whose sign-in failed is in a cycle with that error
        after = sample()
        quiet = after.threads <= before.threads and after.files <= before.files
        if quiet or time.monotonic() > end:
            return after
        time.sleep(0.1)


def _hold_out(
    seconds: float, callers: Callers, children: Children, rotation: Rotation, weather: Weather
) -> tuple[list[Sample], Tally]:
    end = time.monotonic() + seconds
    rotated = sampled = time.monotonic()
    samples: list[Sample] = []
    callers.start()
    while time.monotonic() < end:
        weather.turn()
        children.turn(end=end)
        now = time.monotonic()
        if now >= rotated + ROTATION:
            rotated = now
            rotation.turn()
        if now >= sampled + seconds / 60:
            sampled = now
            samples.append(sample())
        time.sleep(0.1)
    tally = callers.stop()
    tally.add(children.stop())
    return samples, tally


def _judge_calls(tally: Tally) -> list[tuple[str, str, bool]]:
    def row(what: str, count: int) -> tuple[str, str, bool]:
        return what, f"{count:,}", count == 0

    expired = {name: tally.expired.get(name, 0) for name in ("short", "long")}
    return [
        row("exceptions to callers who held valid credentials", tally.failed_valid),
        row("credentials mixed of two sessions, or empty", tally.mixed),
        row("5-minute sessions: calls that got expired credentials", expired["long"]),
        row("5-minute sessions: exceptions", tally.failed.get("long", 0)),
        ("8 s sessions: calls that got expired credentials", f"{expired['short']:,}", True),
        ("8 s sessions: exceptions after expiry", f"{tally.failed.get('short', 0):,}", True),
        ("longest call", f"{tally.longest:.2f} s", True),
        ("which errors", ", ".join(f"{k}: {v}" for k, v in tally.errors.items()) or "none", True),
    ]


def _judge_process(
    before: Sample, samples: list[Sample], after: Sample, children: Children
) -> list[tuple[str, str, bool]]:
    def course(of: Callable[[Sample], float]) -> str:
        figures = [of(samples[0]), of(samples[len(samples) // 2]), of(samples[-1])]
        return "  ".join(f"{figure:.4g}" for figure in [of(before), *figures, of(after)])

    quarter = max(len(samples) // 4, 1)
    memory = [each.memory for each in samples]
    grown = median(memory[-quarter:]) - median(memory[quarter : 2 * quarter] or memory)
    return [
        ("threads: before, start, middle, end, after", course(lambda s: s.threads),
         after.threads <= before.threads),
        ("file descriptors: likewise", course(lambda s: s.files), after.files <= before.files),
        ("memory in MiB: likewise", course(lambda s: s.memory), grown <= MEMORY),
        ("memory: last quarter over second quarter", f"{grown:+.2f} MiB", grown <= MEMORY),
        ("children: most threads, files more at their end than at their start",
         f"{children.threads_grown}, {children.files_grown}",
         children.threads_grown <= 0 and children.files_grown <= 0),
        ("children: most memory more, in MiB", f"{children.memory_grown:.2f}", True),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--verbose", action="store_true", help="leave the library's log on")
    chosen = parser.parse_args(argv)
    if not chosen.verbose:
        logging.disable()
    with stage() as found, serving(found) as server:
        rows: list[Any] = run(found, server, chosen.minutes)
    for what, figure, kept in rows:
        print(f"{what:<68} {figure}{'' if kept else '   BROKEN'}")
    broken = [what for what, _, kept in rows if not kept]
    print(f"{len(broken)} invariants broken" if broken else "all invariants held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
