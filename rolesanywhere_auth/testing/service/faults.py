# SPDX-License-Identifier: Apache-2.0
"""Faults of the emulator: what may stand between a CreateSession call and the service.

`Switchboard` is the mechanism: a queue of whole answers, and faults that are switched
on for a number of calls, with a probability, or until they are ended. The faults that
have a name are in `fault_verbs`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Literal

from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it goes on the wire: any status, any headers, any bytes.

    ``hang_up`` closes the connection behind it.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    hang_up: bool = False


class Dropped(Exception):
    """The connection is to be closed without an answer; *reset*: by a TCP RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("The emulator was told to drop the connection.")
        self.reset = reset


Fixed = Response | Refusal | RawAnswer | tuple[int, dict[str, str], bytes] | Literal["drop", "pass"]
Fault = Fixed | Callable[[Request], Fixed]
"""What can be injected: a fixed answer, or a callable that is given the request.

``"drop"`` closes the connection; ``"pass"`` lets the service answer. A callable may
wait (for a ``threading.Event``, say) before it returns either: that is a delay
without sleeping.
"""


@dataclass
class Conditions:
    """What faults change in the service itself, for one call.

    ``lifetime`` is that of the credentials in seconds, negative for expired ones.
    ``disabled`` are ARNs of trust anchors that count as disabled, ``"*"`` all of them.
    """

    skew: timedelta = timedelta()
    lifetime: float | None = None
    disabled: set[str] = field(default_factory=set)

    def move_clock(self, seconds: float) -> None:
        """Let the service's clock go *seconds* ahead, on top of what it does already."""
        self.skew += timedelta(seconds=seconds)

    def live(self, seconds: float) -> None:
        """Let the credentials live *seconds*, or end so long ago."""
        self.lifetime = seconds

    def validity(self, duration_seconds: int) -> timedelta:
        """How long credentials live that would live *duration_seconds*."""
        if self.lifetime is None:
            return timedelta(seconds=duration_seconds)
        return timedelta(seconds=min(self.lifetime, duration_seconds))

    def disables(self, arn: str) -> bool:
        """Whether the trust anchor counts as disabled."""
        return not self.disabled.isdisjoint((arn, "*"))


@dataclass
class Call:
    """One CreateSession on its way to the service."""

    request: Request
    conditions: Conditions = field(default_factory=Conditions)


Proceed = Callable[[], RawAnswer]


@dataclass(frozen=True)
class Deed:
    """What a fault does to a call, in this order; what is None is not done.

    Args:
        applies: whether the call is one for it.
        hold: waits, for the event that it is given or for less.
        change: changes the conditions of the call.
        instead: answers in the service's place.
        after: changes the answer.
    """

    applies: Callable[[Request], bool] | None = None
    hold: Callable[[threading.Event], object] | None = None
    change: Callable[[Conditions], object] | None = None
    instead: Proceed | None = None
    after: Callable[[RawAnswer], RawAnswer] | None = None


@dataclass(frozen=True)
class Scope:
    """How often a fault strikes: *calls* times at most, each call with *probability*.

    Raises:
        ValueError: one of them is out of its bounds.
    """

    calls: int | None = None
    probability: float = 1.0
    random: Random | None = None

    def __post_init__(self) -> None:
        if self.calls is not None and self.calls < 1:
            raise ValueError(f"The number of calls must be 1 or more, not {self.calls}.")
        if not 0 < self.probability <= 1:
            raise ValueError(f"A probability is above 0 and at most 1, not {self.probability}.")


class ActiveFault:
    """One fault that is switched on; as a context manager, until the block's end.

    ``hits`` counts the calls that it struck; ``calls_left`` says how many more it
    will, None meaning no end.
    """

    def __init__(
        self,
        name: str,
        deed: Deed,
        *,
        scope: Scope,
    ) -> None:
        self.name = name
        self.hits = 0
        self.calls_left = scope.calls
        self._scope = scope
        self._deed = deed
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._active = True

    def __repr__(self) -> str:
        state = "" if self._active else ", ended"
        if self._active and self.calls_left is not None:
            state = f", {self.calls_left} to come"
        return f"<{self.name}: {self.hits} hit{'s' * (self.hits != 1)}{state}>"

    @property
    def active(self) -> bool:
        """Whether it may still strike."""
        return self._active

    @property
    def holds(self) -> bool:
        """Whether it is of the kind that holds calls, and has not let go of them by `end`."""
        return self._deed.hold is not None and not self._released.is_set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def end(self) -> None:
        """Switch it off, and let go of the calls that it holds; doing so twice is harmless."""
        with self._changed:
            self._active = False
            self._released.set()

    def release(self) -> None:
        """Let the calls that it holds now go on to the service; later ones are held again."""
        with self._changed:
            self._released.set()
            if self._active:
                self._released = threading.Event()

    def wait_until_hit(self, hits: int = 1, *, timeout: float = 10) -> None:
        """Wait until it struck *hits* calls, *timeout* seconds at most.

        Raises:
            TimeoutError: It did not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.hits >= hits, timeout):
                raise TimeoutError(f"{self!r} after {timeout} seconds, not {hits}.")

    def strike(self, call: Call) -> threading.Event | None:
        """Count the call if it is struck, and give it what it waits for when it is held."""
        with self._changed:
            if not (self._active and self._is_meant(call)):
                return None
            self.hits += 1
            if self.calls_left is not None:
                self.calls_left -= 1
                self._active = self.calls_left > 0
            self._changed.notify_all()
            return self._released

    def step(self, call: Call, proceed: Proceed, *, released: threading.Event) -> RawAnswer:
        """Do it to *call*; *proceed* is everything behind it, the service last."""
        deed = self._deed
        if deed.hold is not None:
            deed.hold(released)
        if deed.change is not None:
            deed.change(call.conditions)
        answer = proceed() if deed.instead is None else deed.instead()
        return answer if deed.after is None else deed.after(answer)

    def _is_meant(self, call: Call) -> bool:
        applies, chance = self._deed.applies, self._scope.random
        if applies is not None and not applies(call.request):
            return False
        return chance is None or chance.random() < self._scope.probability


class Switchboard:
    """The queue of injected answers, and the faults that are on, the oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()
        self._faults: list[ActiveFault] = []

    @property
    def active(self) -> tuple[ActiveFault, ...]:
        """The faults that are on, in the order in which a call meets them."""
        with self._lock:
            return tuple(fault for fault in self._faults if fault.active)

    def __repr__(self) -> str:
        shown = [repr(fault) for fault in self.active]
        with self._lock:
            if self._queue:
                shown.append(f"{len(self._queue)} injected answers")
        return f"<faults: {', '.join(shown) or 'none'}>"

    def add(self, answers: Iterable[Fault]) -> None:
        """Put *answers* at the end of the queue: one each for the next CreateSession calls."""
        with self._lock:
            self._queue.extend(answers)

    def clear(self) -> None:
        """End all faults, let go of the calls that they hold, and empty the queue."""
        with self._lock:
            faults, self._faults = self._faults, []
            self._queue.clear()
        # Those too that will strike no more: they may still hold a call.
        for fault in faults:
            fault.end()

    def run(self, call: Call, serve: Proceed) -> RawAnswer:
        """The answer to *call*: an injected one, or the service's after all faults.

        Raises:
            Dropped: the connection is to be closed without one.
        """
        injected = self._injected(call.request)
        return injected or self._proceed(self.active, call, serve)

    def _injected(self, request: Request) -> RawAnswer | None:
        with self._lock:
            if not self._queue:
                return None
            fault = self._queue.popleft()
        return _answer(fault(request) if callable(fault) else fault)

    def _proceed(self, faults: tuple[ActiveFault, ...], call: Call, serve: Proceed) -> RawAnswer:
        if not faults:
            return serve()
        first, *others = faults

        def proceed() -> RawAnswer:
            return self._proceed(tuple(others), call, serve)

        released = first.strike(call)
        if released is None:
            return proceed()
        return first.step(call, proceed, released=released)

    def switch_on(self, name: str, deed: Deed, *, scope: Scope) -> ActiveFault:
        """A new fault, behind those that are on."""
        fault = ActiveFault(name, deed, scope=scope)
        with self._lock:
            self._faults = [other for other in self._faults if other.active or other.holds]
            self._faults.append(fault)
        return fault


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
