"""Renewal: who waits and for how long, the schedule, failures, forks and other endings."""

from __future__ import annotations

import copy
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from children import children_of

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    ConfigurationError,
    InvalidResponseError,
    ServiceUnavailableError,
    SignInTimeoutError,
    ThrottlingError,
    TransportError,
)
from rolesanywhere_auth.events import RenewalEvent
from rolesanywhere_auth.flight import Flight
from rolesanywhere_auth.renewal import (
    NOTHING,
    POLL_INTERVAL,
    Renewal,
    Snapshot,
    _after_fork_in_child,
)
from rolesanywhere_auth.schedule import mandatory_window, renewal_window
from rolesanywhere_auth.testing import Emulator

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""
START = 1_000_000.0
FRESH_FOR = 2700.0
"""Seconds of an hour before the advisory window; with a spread of 0 the renewal starts then."""
MANDATORY = 3550.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
threads_may_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Clock:
    """Time that goes when it is told to: the wall's, and a steady one."""

    def __init__(self) -> None:
        self.time = START
        self.uptime = 50.0

    def __call__(self) -> float:
        return self.time

    def steady(self) -> float:
        """What nobody sets."""
        return self.uptime

    def go(self, seconds: float) -> None:
        """Let both go on.

        What the service is to do then is said before: a real thread may be awake, and see it.
        """
        self.time += seconds
        self.uptime += seconds


def snapshot(now: float, *, lifetime: float = 3600.0, name: str = "AKIA") -> Snapshot:
    """Credentials issued *now*."""
    expires = now + lifetime
    return Snapshot(
        frozen=ReadOnlyCredentials(name, "hunter2", "token"),
        issued=now,
        fresh_until=expires - renewal_window(lifetime),
        usable_until=expires - mandatory_window(lifetime),
        expires=expires,
        expiration=datetime.fromtimestamp(expires, timezone.utc),
    )


class Service:
    """Counts sign-ins, and answers as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lifetime = 3600.0
        self.calls = 0
        self.threads: list[str] = []
        self.onces: list[bool] = []
        self.error: BaseException | None = None
        self.during: Callable[[], object] = lambda: None

    def __call__(self, *, once: bool = False) -> Snapshot:
        self.calls += 1
        self.threads.append(threading.current_thread().name)
        self.onces.append(once)
        self.during()
        if self.error is not None:
            raise copy.copy(self.error)  # the one here is not to hold the frames it passes
        return snapshot(self.clock(), lifetime=self.lifetime, name=f"AKIA{self.calls}")


class Door:
    """Something to put in the way of a sign-in: it arrives, and goes on when told."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.arrived.set()
        assert self.go_on.wait(PATIENCE)


class Outcome:
    """What a call in a thread came to."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def join(self) -> Outcome:
        """Wait for the end of the thread."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the thread hangs"
        return self


class Idle:
    """A keeper whose thread never gets a turn: the test calls step()."""

    def __init__(self) -> None:
        self.wakes = 0

    def ensure(self) -> bool:
        """It runs, they say."""
        return True

    def wake(self) -> None:
        """Count."""
        self.wakes += 1


class NoThread(Idle):
    """A keeper where no thread can be started."""

    def ensure(self) -> bool:
        """It does not run."""
        return False


class Rig:
    """A renewal, and all that it asks."""

    def __init__(self, keeper: Idle | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.service = Service(self.clock)
        self.events: list[RenewalEvent] = []
        self.spread = 0.0
        self.polls = 0
        self.changed = False
        options = {"patience": PATIENCE, "notify": self.events.append, **options}
        self.renewal = Renewal(
            self.service,
            now=self.clock,
            random=lambda: self.spread,
            poll=self._poll,
            steady=self.clock.steady,
            **options,
        )
        if keeper is not None:
            self.renewal._keeper = keeper  # type: ignore[assignment]

    def _poll(self) -> bool:
        self.polls += 1
        changed, self.changed = self.changed, False
        return changed

    @property
    def kinds(self) -> list[str]:
        """Of the events so far."""
        return [event.kind for event in self.events]

    def hurry(self) -> None:
        """From here on nobody waits long; the first sign-in may take what a busy machine takes."""
        self.renewal._patience = 0.01

    def sign_in(self) -> Snapshot:
        """The first sign-in, where nothing runs in the background."""
        assert self.renewal._reserve(self.renewal.snapshot) is not None
        self.renewal.step()
        return self.renewal.snapshot


@pytest.fixture
def rig() -> Rig:
    """With a real background thread."""
    return Rig()


@pytest.fixture
def manual() -> Rig:
    """Signed in; the test does what the background thread would do."""
    rig = Rig(Idle())
    rig.sign_in()
    return rig


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def waiting(renewal: Renewal) -> int:
    """How many threads wait for the flight."""
    flight = renewal._flight
    return 0 if flight is None else len(flight._landed._cond._waiters)  # type: ignore[attr-defined]


def outage() -> ServiceUnavailableError:
    """The service is down."""
    return ServiceUnavailableError("down", status=503, code="HTTP503", service_message="down")


def expired() -> CertificateExpiredError:
    """What will not heal by itself."""
    return CertificateExpiredError("the certificate expired", source="app.pem")


# who waits


def test_the_first_call_signs_in_by_the_background_thread(rig: Rig) -> None:
    """Nothing happens before the first call; it waits for a sign-in, and the second does not."""
    assert rig.service.calls == 0
    assert rig.renewal.snapshot is NOTHING
    first = rig.renewal.current()
    assert first.frozen.access_key == "AKIA1"
    assert rig.renewal.current().frozen is first.frozen
    assert rig.service.threads == ["rolesanywhere-auth"]


@pytest.mark.parametrize("age", [None, MANDATORY, 4000.0], ids=["cold", "mandatory", "expired"])
def test_64_threads_wait_for_one_flight(rig: Rig, age: float | None) -> None:
    """All who need new credentials wait for the same sign-in, and get what it brought."""
    if age is not None:
        rig.renewal.current()
    before = rig.service.calls
    rig.service.during = door = Door()
    rig.clock.go(age or 0.0)
    outcomes = [Outcome(rig.renewal.current) for _ in range(64)]
    until(lambda: waiting(rig.renewal) == 64)
    door.go_on.set()
    assert {id(each.join().value.frozen) for each in outcomes} == {id(rig.renewal.snapshot.frozen)}
    assert not any(each.error for each in outcomes)
    assert rig.service.calls == before + 1


def test_64_threads_in_whatever_order(rig: Rig) -> None:
    """However the threads fall on the sign-in, before, during or after it, there is one."""
    barrier = threading.Barrier(64, timeout=PATIENCE)

    def call() -> Snapshot:
        barrier.wait()
        return rig.renewal.current()

    outcomes = [Outcome(call) for _ in range(64)]
    assert {id(each.join().value.frozen) for each in outcomes} == {id(rig.renewal.snapshot.frozen)}
    assert rig.service.calls == 1


def test_in_the_advisory_window_nobody_waits(rig: Rig) -> None:
    """While the sign-in hangs, 64 threads go on with the present credentials."""
    first = rig.renewal.current()
    rig.service.during = door = Door()
    rig.clock.go(FRESH_FOR)
    outcomes = [Outcome(rig.renewal.current) for _ in range(64)]
    assert {id(each.join().value.frozen) for each in outcomes} == {id(first.frozen)}
    assert door.arrived.wait(PATIENCE)
    assert rig.renewal.current().frozen is first.frozen
    assert rig.renewal.state == "stale"
    door.go_on.set()
    until(lambda: rig.renewal.current() is not first)
    assert rig.service.calls == 2


def test_the_mandatory_window_joins_the_flight_under_way(rig: Rig) -> None:
    """A flight begun in time serves those who come when they must have it."""
    first = rig.renewal.current()
    rig.service.during = door = Door()
    rig.clock.go(FRESH_FOR)
    assert rig.renewal.current().frozen is first.frozen
    assert door.arrived.wait(PATIENCE)
    rig.clock.go(MANDATORY - FRESH_FOR)
    late = Outcome(rig.renewal.current)
    until(lambda: waiting(rig.renewal) == 1)
    door.go_on.set()
    assert late.join().value.frozen.access_key == "AKIA2"


def test_a_late_thread_takes_what_landed() -> None:
    """A thread that saw the old credentials, and boards after the landing, starts no flight."""
    rig = Rig(Idle())
    old = rig.renewal.snapshot
    landed = rig.sign_in()
    assert rig.renewal._reserve(old) is None
    rig.renewal.snapshot = old
    reserve = rig.renewal._reserve

    def land_first(*args: Any, **options: Any) -> Flight | None:
        rig.renewal.snapshot = landed
        return reserve(*args, **options)

    rig.renewal._reserve = land_first  # type: ignore[method-assign]
    assert rig.renewal.current() is landed
    assert rig.service.calls == 1


def test_a_slow_hook_keeps_nobody_waiting() -> None:
    """Those who wait go back to work the moment the sign-in ends, not when the hook does."""
    door = Door()
    rig = Rig(notify=lambda event: door() if event.kind == "succeeded" else None)
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    assert door.arrived.wait(PATIENCE)
    assert rig.renewal.circuit_state == "closed"
    door.go_on.set()


def test_each_has_its_own_deadline() -> None:
    """A sign-in that hangs costs each caller its own time, and serves who comes later."""
    rig = Rig(patience=0.01)
    rig.service.during = door = Door()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(SignInTimeoutError, match=r"longer than 0\.01 s; it goes on"):
            rig.renewal.current()
        assert 0.01 <= time.monotonic() - began < PATIENCE
    door.go_on.set()
    until(lambda: rig.renewal.snapshot is not NOTHING)
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    assert rig.service.calls == 1


def test_a_deadline_holds_over_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to try again, because another's sign-in was interrupted, gets no second helping."""
    rig = Rig(Idle(), patience=30.0)
    seconds: list[float] = []

    def wait(self: Flight, left: float) -> bool:
        seconds.append(left)
        rig.clock.go(20.0)
        if len(seconds) == 1:
            rig.renewal._land(self, None)
            return True
        return False

    monkeypatch.setattr(Flight, "wait", wait)
    with pytest.raises(SignInTimeoutError):
        rig.renewal.current()
    assert seconds == [30.0, 10.0]


def test_valid_credentials_are_served_when_time_is_up() -> None:
    """In the last minute a call waits so long, and then gets what still works."""
    rig = Rig()
    first = rig.renewal.current()
    rig.hurry()
    rig.service.during = door = Door()
    rig.clock.go(MANDATORY)
    assert rig.renewal.current().frozen is first.frozen
    door.go_on.set()


@pytest.mark.parametrize("serve", [True, False])
def test_expired_credentials_when_time_is_up(serve: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A service that hangs is one that cannot be reached: they are served, with one warning."""
    rig = Rig(serve_expired=serve)
    first = rig.renewal.current()
    rig.hurry()
    rig.service.during = door = Door()
    rig.clock.go(4000)
    for _ in range(3):
        if serve:
            assert rig.renewal.current().frozen is first.frozen
        else:
            with pytest.raises(SignInTimeoutError):
                rig.renewal.current()
    assert caplog.text.count("the expired credentials are still given out") == serve
    door.go_on.set()


def test_ctrl_c_ends_the_wait_alone(rig: Rig) -> None:
    """KeyboardInterrupt in a caller that waits leaves the sign-in, and the next gets it."""
    rig.service.during = door = Door()

    pressed = threading.Event()

    def raise_once(*_: object) -> None:
        if not pressed.is_set():
            pressed.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        until(lambda: waiting(rig.renewal) == 1)
        while not pressed.wait(0.005):  # one that comes just before the wait begins is not seen
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, raise_once)
    other = Outcome(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            rig.renewal.current()
        other.join()
    finally:
        signal.signal(signal.SIGINT, before)
    door.go_on.set()
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    assert rig.service.calls == 1


def test_a_flight_that_nobody_took_on_is_flown(rig: Rig) -> None:
    """Ctrl-C between reserving a flight and waking the thread strands nobody."""
    assert rig.renewal._reserve(NOTHING) is not None
    assert rig.renewal.current().frozen.access_key == "AKIA1"


def test_a_sign_in_that_needs_itself(rig: Rig) -> None:
    """A passphrase callable that uses the same session is told so instead of waiting for ever."""
    rig.service.during = rig.renewal.current
    with pytest.raises(ConfigurationError, match="give it other credentials"):
        rig.renewal.current()
    rig.service.during = lambda: None
    rig.clock.go(10)
    assert rig.renewal.current().frozen.access_key == "AKIA2"


def test_renew_signs_in_whatever_the_time(rig: Rig) -> None:
    """``renew()`` replaces even fresh credentials, or raises and keeps them; no back-off holds."""
    rig.renewal.renew()
    rig.renewal.renew()
    assert rig.renewal.snapshot.frozen.access_key == "AKIA2"
    rig.service.error = outage()
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError):
            rig.renewal.renew()
    assert rig.renewal.snapshot.frozen.access_key == "AKIA2"
    assert rig.service.calls == 4


# the schedule, step by step


def test_before_the_first_sign_in_the_thread_rests() -> None:
    """It neither signs in nor looks at files, however often it is called."""
    rig = Rig(Idle())
    for _ in range(3):
        assert rig.renewal.step() == POLL_INTERVAL
        rig.clock.go(61)
    assert (rig.service.calls, rig.polls) == (0, 0)


@pytest.mark.parametrize(
    ("lifetime", "spread", "start"),
    [(900, 0, 600), (3600, 0, 2700), (3600, 0.5, 3000), (3600, 1, 3300), (43200, 0.25, 40200)],
)
def test_when_it_renews(lifetime: float, spread: float, start: float) -> None:
    """Each process at its moment of the window, and not a moment before."""
    rig = Rig(Idle())
    rig.spread = spread
    rig.renewal.reset_locks()
    rig.renewal._keeper = Idle()  # type: ignore[assignment]
    rig.service.lifetime = lifetime
    rig.sign_in()
    rig.clock.go(start - 10)
    rig.renewal.step()  # looks at the files
    assert rig.renewal.step() == pytest.approx(10)
    rig.clock.go(9.9)
    rig.renewal.step()
    assert rig.service.calls == 1
    rig.clock.go(0.2)
    rig.renewal.step()
    assert rig.service.calls == 2
    assert rig.renewal.step() > 49


@pytest.mark.parametrize(("lifetime", "calls"), [(900, 6), (1200, 4), (3600, 2), (5400, 1)])
def test_an_hour_of_looks(lifetime: float, calls: int) -> None:
    """A thread that looks as often as it says makes as many sign-ins as the lifetime asks for."""
    rig = Rig(Idle())
    rig.service.lifetime = lifetime
    rig.sign_in()
    looks = 0
    while rig.clock.time < START + 3600:
        looks += 1
        rig.clock.go(rig.renewal.step())
        assert rig.renewal.state in {"fresh", "stale"}
    assert rig.service.calls == calls
    assert looks < 80


def test_a_caller_wakes_a_thread_that_overslept(manual: Rig) -> None:
    """After a suspension its sleep is not over; before this process's moment it is left alone."""
    keeper = manual.renewal._keeper
    assert isinstance(keeper, Idle)
    manual.renewal._spread = 0.5
    before = keeper.wakes
    manual.clock.time += FRESH_FOR
    assert manual.renewal.current() is manual.renewal.snapshot
    assert keeper.wakes == before
    manual.clock.time += 300
    manual.renewal.current()
    assert keeper.wakes == before + 1
    assert manual.renewal._reserve(manual.renewal.snapshot)
    manual.renewal.current()  # it is on its way
    assert keeper.wakes == before + 1


def test_a_clock_that_jumps_ahead(rig: Rig) -> None:
    """The wall clock decides: what expired while the machine slept is replaced before use."""
    rig.renewal.current()
    rig.clock.time += 8 * 3600
    assert rig.renewal.current().frozen.access_key == "AKIA2"


def test_a_clock_that_is_set_back(manual: Rig) -> None:
    """What the old clock said of the expiry is worth nothing: renewed at the next look."""
    manual.clock.go(30)
    manual.clock.time -= 3600
    assert manual.renewal.step() <= POLL_INTERVAL
    assert manual.service.calls == 2
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 2


def test_one_request_while_credentials_are_good(manual: Rig) -> None:
    """Nobody needs its answer then, until they expire; before the first ones somebody does."""
    assert manual.service.onces == [False]
    manual.service.error = outage()
    for age in (3300.0, 3550.0, 3601.0):
        manual.clock.time = START + age
        manual.renewal._reserve(manual.renewal.snapshot)
        manual.renewal.step()
    assert manual.service.onces == [False, True, True, False]


def test_one_request_while_the_quota_is_used_up() -> None:
    """More in a row would not get through either, also without any credentials."""
    rig = Rig(Idle())
    rig.service.error = ThrottlingError("slower", status=429, code="HTTP429", service_message="")
    for _ in range(2):
        rig.renewal._reserve(NOTHING)
        rig.renewal.step()
        rig.clock.go(60)
    assert rig.service.onces == [False, True]


def test_a_set_back_is_remembered_until_a_renewal_succeeds(manual: Rig) -> None:
    """A failure then opens the circuit, and the attempt after it is as soon as it allows."""
    manual.service.error = outage()
    manual.clock.time -= 3600
    manual.renewal.step()
    assert manual.service.calls == 2
    calls, started = 2, manual.clock.time
    while calls == 2:
        manual.clock.go(manual.renewal.step())
        calls = manual.service.calls
    assert 300 <= manual.clock.time - started <= 700
    manual.service.error = None
    manual.clock.go(700)
    manual.renewal.step()
    assert manual.renewal.error is None
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 4


def test_a_set_back_after_a_suspension_is_seen(manual: Rig) -> None:
    """The hours of the suspension are not in hand to set the clock back by."""
    manual.clock.time += 2000
    manual.renewal.step()
    manual.clock.time -= 1000
    manual.renewal.step()
    assert manual.service.calls == 2


def test_a_clock_that_is_slewed_is_no_alarm(manual: Rig) -> None:
    """A second here and there is what clocks are corrected by."""
    for _ in range(20):
        manual.clock.go(60)
        manual.clock.time -= 5
        manual.renewal.step()
    assert manual.service.calls == 1


def test_certificates_are_looked_at_once_a_minute(manual: Rig) -> None:
    """And a new one signs in at once."""
    for _ in range(10):
        manual.clock.go(30)
        manual.renewal.step()
    assert manual.polls == 5
    manual.changed = True
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 2
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 2


def test_a_new_certificate_ends_the_back_off(manual: Rig) -> None:
    """It may be the remedy; if it is not, the next attempt waits its time, and is made."""
    manual.service.error = expired()
    manual.clock.go(FRESH_FOR)
    manual.renewal.step()
    assert manual.renewal.circuit_state == "open"
    manual.changed = True
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 3
    manual.clock.go(60)
    manual.renewal.step()
    assert manual.service.calls == 3
    manual.service.error = None
    manual.clock.go(600)
    manual.renewal.step()
    assert manual.renewal.error is None


def test_a_failed_look_is_no_disaster(manual: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and tried again a minute later."""

    def fail() -> bool:
        raise OSError("no such file")

    manual.renewal._poll = fail
    manual.clock.go(60)
    assert manual.renewal.step() == POLL_INTERVAL
    assert "looking for a new certificate failed: no such file" in caplog.text


def test_a_key_store_may_have_it_look_sooner(manual: Rig) -> None:
    """Who is told of a new certificate need not wait for the next look."""
    polls = manual.polls
    manual.clock.go(1)
    manual.renewal.step()
    assert manual.polls == polls
    manual.changed = True
    manual.renewal.look_soon()
    manual.renewal.step()
    assert manual.polls == polls + 1
    assert manual.service.calls == 2


def test_a_short_session_makes_nobody_spin(manual: Rig) -> None:
    """However short the session, there is a pause between looks."""
    manual.service.lifetime = 0.001
    manual.renewal.renew = None  # type: ignore[assignment, method-assign]
    manual.clock.go(FRESH_FOR)
    assert manual.renewal.step() >= 0.25


def test_an_answer_that_is_over_replaces_nothing(manual: Rig) -> None:
    """Credentials that expired on the way are a failure."""
    first = manual.renewal.snapshot
    manual.clock.go(FRESH_FOR)
    manual.service.lifetime = -1
    manual.renewal.step()
    assert manual.renewal.snapshot is first
    assert isinstance(manual.renewal.error, InvalidResponseError)


# failures


def test_an_error_is_shared(rig: Rig) -> None:
    """All who wait for one flight get its error, each an object of his own."""
    rig.service.error = TransportError("no answer", endpoint="https://host.example")
    rig.service.during = door = Door()
    outcomes = [Outcome(rig.renewal.current) for _ in range(16)]
    until(lambda: waiting(rig.renewal) == 16)
    door.go_on.set()
    errors = [each.join().error for each in outcomes]
    assert len({id(error) for error in errors}) == 16
    assert {type(error) for error in errors} == {TransportError}
    assert {getattr(error, "endpoint", "") for error in errors} == {"https://host.example"}
    assert rig.service.calls == 1
    assert rig.renewal.snapshot is NOTHING


def test_no_thread_slips_past_a_failure(rig: Rig) -> None:
    """A thread that looked before the failure, and boards after it, gets the error as well."""
    rig.service.error = outage()
    barrier = threading.Barrier(32, timeout=PATIENCE)

    def call() -> Snapshot:
        barrier.wait()
        return rig.renewal.current()

    outcomes = [Outcome(call) for _ in range(32)]
    assert {type(each.join().error) for each in outcomes} == {ServiceUnavailableError}
    assert rig.service.calls == 1


def test_an_error_raised_a_thousand_times_does_not_grow(rig: Rig) -> None:
    """Its traceback shows who asked, and no other caller."""
    rig.service.error = outage()
    lengths = set()
    for _ in range(1000):
        with pytest.raises(ServiceUnavailableError) as caught:
            rig.renewal.current()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1
    assert rig.service.calls == 1


@pytest.mark.parametrize("serve", [True, False])
def test_while_they_are_valid_callers_get_them(serve: bool) -> None:
    """Whatever fails, and however: every call of the advisory and the mandatory window."""
    rig = Rig(serve_expired=serve)
    first = rig.renewal.current()
    rig.service.error = outage()
    rig.clock.go(FRESH_FOR)
    for error in (rig.service.error, expired(), ZeroDivisionError("a bug")):
        rig.service.error = error
        for _ in range(20):
            assert rig.renewal.current().frozen is first.frozen
            rig.clock.go(14)
    assert rig.renewal.state == "stale"
    assert rig.clock.time < START + 3600


@pytest.mark.parametrize(
    ("error", "serve", "served"),
    [
        (outage(), True, True),
        (outage(), False, False),
        (ZeroDivisionError("a bug"), True, True),
        (expired(), True, False),
    ],
)
def test_once_expired(
    error: Exception, serve: bool, served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What may heal still serves them, with one warning; what will not is raised."""
    rig = Rig(serve_expired=serve)
    first = rig.renewal.current()
    rig.service.error = error
    rig.clock.go(3600)
    for _ in range(5):
        if served:
            assert rig.renewal.current().frozen is first.frozen
        else:
            with pytest.raises(type(error)):
                rig.renewal.current()
    assert rig.service.calls == 2
    assert caplog.text.count("the expired credentials are still given out") == served
    assert rig.renewal.state == "expired"


def test_expiry_during_the_back_off_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The failure came while they were good; that they are no longer is said once too."""
    rig = Rig()
    rig.spread = 1.0
    first = rig.renewal.current()
    rig.service.error = outage()
    rig.clock.go(3597)
    assert rig.renewal.current().frozen is first.frozen
    rig.clock.go(4)
    for _ in range(3):
        assert rig.renewal.current().frozen is first.frozen
    assert rig.service.calls == 2
    assert [record.getMessage() for record in caplog.records] == [
        "renewal failed, the present credentials are good for 3 s: down",
        "the expired credentials are still given out: down",
    ]


def test_what_will_not_heal_is_raised_again_for_five_seconds(rig: Rig) -> None:
    """Without contact; after that the next call asks again."""
    rig.service.error = expired()
    for _ in range(10):
        with pytest.raises(CertificateExpiredError):
            rig.renewal.current()
        rig.clock.go(0.49)
    assert rig.service.calls == 1
    rig.clock.go(0.2)
    with pytest.raises(CertificateExpiredError):
        rig.renewal.current()
    assert rig.service.calls == 2
    rig.clock.go(5)
    rig.service.error = None
    assert rig.renewal.current().frozen.access_key == "AKIA3"


def test_the_circuit_opens_half_opens_and_closes(manual: Rig) -> None:
    """After a failure no attempt is made for its time; the attempt after it decides."""
    manual.clock.go(FRESH_FOR)
    manual.service.error = outage()
    manual.renewal.step()
    assert str(manual.renewal.circuit_state) == "open"
    wait = manual.renewal.circuit.wait
    assert 5 <= wait <= 900 / 4
    manual.clock.go(wait - 1)
    manual.renewal.step()
    manual.renewal.current()
    assert manual.service.calls == 2
    manual.clock.go(1)
    assert str(manual.renewal.circuit_state) == "half-open"
    manual.renewal.step()
    assert (manual.service.calls, manual.renewal.circuit_state) == (3, "open")
    manual.service.error = None
    manual.clock.go(manual.renewal.circuit.wait)
    manual.renewal.step()
    assert (manual.service.calls, manual.renewal.circuit_state) == (4, "closed")
    assert manual.kinds[2:] == ["started", "failed"] * 2 + ["started", "succeeded"]
    assert [event.attempt for event in manual.events[2:]] == [1, 1, 2, 2, 3, 3]


def test_skipped_is_told_once_for_each_failure(rig: Rig) -> None:
    """64 threads that meet the open circuit make one event, and a new failure another."""
    rig.service.error = outage()
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError):
            rig.renewal.current()
        outcomes = [Outcome(rig.renewal.current) for _ in range(64)]
        assert {type(each.join().error) for each in outcomes} == {ServiceUnavailableError}
        rig.clock.go(10)
    until(lambda: len(rig.events) == 6)
    assert sorted(rig.kinds) == ["failed"] * 2 + ["skipped"] * 2 + ["started"] * 2
    skipped = [event for event in rig.events if event.kind == "skipped"]
    assert [event.attempt for event in skipped] == [1, 2]
    assert skipped[0].next_attempt == datetime.fromtimestamp(START + 5, timezone.utc)


@pytest.mark.parametrize("error", [SystemExit("no passphrase"), KeyboardInterrupt()])
def test_what_would_end_the_thread_is_an_error(rig: Rig, error: BaseException) -> None:
    """Where a passphrase callable gives up by sys.exit(), callers learn it, and none hangs."""
    rig.service.error = error
    hook = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        with pytest.raises(RuntimeError, match="signing in was ended by"):
            rig.renewal.current()
        until(lambda: isinstance(error, SystemExit) or not rig.renewal._keeper._runs())
    finally:
        threading.excepthook = hook
    rig.service.error = None
    rig.clock.go(10)
    assert rig.renewal.current().frozen.access_key == "AKIA2"


def test_a_fault_of_our_own_hangs_nobody(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Even what fails after the sign-in reaches those who wait, and the thread goes on."""
    rig.renewal.succeed = None  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="ended by TypeError"):
        rig.renewal.current()
    until(lambda: "the background thread failed" in caplog.text)
    del rig.renewal.succeed
    assert rig.renewal.current().frozen.access_key == "AKIA2"


# hooks


def test_a_hook_that_raises_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the credentials are there."""

    def hook(event: RenewalEvent) -> None:
        raise ZeroDivisionError(event.kind)

    rig = Rig(notify=hook)
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    until(lambda: "ZeroDivisionError: succeeded" in caplog.text)
    assert "ZeroDivisionError: started" in caplog.text


def test_a_hook_may_look_at_the_state() -> None:
    """It holds no lock that the state would need."""
    seen: list[tuple[str, str, str]] = []
    rig = Rig(Idle(), notify=lambda event: seen.append((event.kind, *state())))

    def state() -> tuple[str, str]:
        return rig.renewal.state, rig.renewal.circuit_state

    rig.service.error = outage()
    rig.sign_in()
    rig.service.error = None
    rig.clock.go(10)
    rig.sign_in()
    assert seen == [
        ("started", "none", "closed"),
        ("failed", "none", "open"),
        ("started", "none", "half-open"),
        ("succeeded", "fresh", "closed"),
    ]


# where no thread can be started


def test_without_threads_callers_sign_in() -> None:
    """Cold and in the last minute the caller does it himself, and gets what it brought."""
    rig = Rig(NoThread())
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    rig.clock.go(MANDATORY)
    assert rig.renewal.current().frozen.access_key == "AKIA2"
    assert set(rig.service.threads) == {"MainThread"}


def test_without_threads_the_advisory_window_costs_one_caller_his_time() -> None:
    """One signs in, from this process's moment on; the others go on, and so does he if it fails."""
    rig = Rig(NoThread())
    first = rig.renewal.current()
    rig.renewal._spread = 0.5
    rig.clock.go(FRESH_FOR)
    assert rig.renewal.current().frozen is first.frozen
    assert rig.service.calls == 1
    rig.clock.go(300)
    rig.service.during = door = Door()
    rig.service.error = outage()
    pilot = Outcome(rig.renewal.current)
    assert door.arrived.wait(PATIENCE)
    assert rig.renewal.current().frozen is first.frozen
    door.go_on.set()
    assert pilot.join().value is first
    assert rig.renewal.current().frozen is first.frozen
    assert rig.service.calls == 2
    rig.service.error = None
    rig.clock.go(600)
    assert rig.renewal.current().frozen.access_key == "AKIA3"


def test_without_threads_one_of_many_flies() -> None:
    """Those who come while another thread signs in wait for that."""
    rig = Rig(NoThread())
    rig.service.during = door = Door()
    pilot = Outcome(rig.renewal.current)
    assert door.arrived.wait(PATIENCE)
    others = [Outcome(rig.renewal.current) for _ in range(8)]
    until(lambda: waiting(rig.renewal) == 8)
    door.go_on.set()
    for each in [pilot, *others]:
        assert each.join().value.frozen.access_key == "AKIA1"
    assert rig.service.calls == 1


def test_of_two_that_take_on_one_flight_one_flies() -> None:
    """The slower of two threads that found nobody doing it waits."""
    rig = Rig(NoThread())
    flight = rig.renewal._reserve(NOTHING)
    assert flight is not None
    rig.renewal._fly(flight)
    rig.renewal._fly(flight)
    assert rig.service.calls == 1


def test_without_threads_a_late_caller_makes_no_second_sign_in() -> None:
    """In the advisory window too, who finds it done takes it."""
    rig = Rig(NoThread())
    old = rig.renewal.current()
    rig.clock.go(FRESH_FOR)
    rig.renewal.renew()
    rig.renewal._renew_inline(old)
    assert rig.service.calls == 2


@pytest.mark.parametrize("call", [Renewal.current, Renewal.renew], ids=["current", "renew"])
def test_an_interrupted_flight_is_flown_by_the_next(call: Callable[[Renewal], object]) -> None:
    """Ctrl-C ends the call of the thread that it hit; who waited for it signs in himself."""
    rig = Rig(NoThread())
    rig.service.during = door = Door()
    rig.service.error = KeyboardInterrupt()
    pilot = Outcome(rig.renewal.current)
    assert door.arrived.wait(PATIENCE)
    other = Outcome(lambda: call(rig.renewal))
    until(lambda: waiting(rig.renewal) == 1)
    rig.service.during = lambda: setattr(rig.service, "error", None)
    door.go_on.set()
    assert isinstance(pilot.join().error, KeyboardInterrupt)
    assert other.join().error is None
    assert rig.renewal.snapshot.frozen.access_key == "AKIA2"


@pytest.mark.parametrize("where", ["sign-in", "hook"])
def test_an_exit_in_the_callers_thread_is_his(where: str) -> None:
    """Without a background thread SystemExit and the like come out, and leave nothing locked."""

    def leave(*_: object) -> None:
        raise SystemExit(3)

    rig = Rig(NoThread(), notify=leave if where == "hook" else lambda _: None)
    rig.service.during = leave
    with pytest.raises(SystemExit):
        rig.renewal.current()
    rig.renewal._notify = lambda _: None
    rig.service.during = lambda: None
    assert str(rig.renewal.current().frozen.access_key).startswith("AKIA")


SCRIPT = """
import atexit, sys, threading, time
from datetime import datetime, timezone
from botocore.credentials import ReadOnlyCredentials
from rolesanywhere_auth.renewal import Renewal, Snapshot

def sign_in(*, once):
    if hang and threading.current_thread().name == "rolesanywhere-auth":
        started.set()
        threading.Event().wait()
    now = time.time()
    return Snapshot(
        ReadOnlyCredentials("AKIA1", "hunter2", "token"),
        issued=now,
        fresh_until=now + 1000,
        usable_until=now + 2000,
        expires=now + 3000,
        expiration=datetime.fromtimestamp(now + 3000, timezone.utc),
    )

hang, started = False, threading.Event()
renewal = Renewal(sign_in, now=time.time, random=lambda: 0.0, patience=10.0)
"""
AT_EXIT = "atexit.register(lambda: print(renewal.current().frozen.access_key, flush=True))"
AT_THE_VERY_END = """
hang = True
renewal._patience = 0.01
try:
    renewal.current()
except Exception as error:
    print(type(error).__name__, flush=True)
started.wait()
renewal._patience = 10.0

class Last:
    def __init__(self):
        self.renewal, self.ending = renewal, sys.is_finalizing

    def __del__(self):
        print(self.ending(), self.renewal.current().frozen.access_key, flush=True)

sys.modules["the last to go"] = Last()
"""


def run(script: str, repository: Path, *, without: str = "-") -> str:
    """What a Python of its own prints."""
    environment = {name: text for name, text in os.environ.items() if without not in name}
    environment["PYTHONPATH"] = str(repository)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    assert done.returncode == 0
    return done.stdout


def test_credentials_in_an_atexit_handler(repository: Path) -> None:
    """The first use may be the last thing a program does."""
    assert run(SCRIPT + AT_EXIT, repository) == "AKIA1\n"


def test_credentials_when_threads_stand_still(repository: Path) -> None:
    """At the very end, with the background thread frozen in a sign-in, the caller does it."""
    assert run(SCRIPT + AT_THE_VERY_END, repository) == "SignInTimeoutError\nTrue AKIA1\n"


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = {code!r}
interpreter = interpreters.create()
failed = interpreters.run_string(interpreter, code)
print("failed" if failed else "", flush=True)
interpreters.destroy(interpreter)
"""


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="CPython 3.12 corrupts its memory now and then when a subinterpreter ends",
)
def test_credentials_in_a_subinterpreter(repository: Path) -> None:
    """An isolated one forbids daemon threads, or all: the caller signs in himself."""

    def run_in_one(code: str) -> str:
        script = SUBINTERPRETER.format(code=code)
        return run(script, repository, without="COVERAGE")  # that does not load in one

    if run_in_one("import botocore.credentials") != "\n":
        pytest.skip("botocore cannot be imported in a subinterpreter of this Python")
    code = SCRIPT + "print(renewal.current().frozen.access_key, renewal._keeper._thread)"
    assert run_in_one(code).split() == ["AKIA1", "None"]


def test_finalizing_spares_a_flight_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in that needs itself is told so then too, and does not go round for ever."""
    rig = Rig()
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    rig.service.during = rig.renewal.current
    with pytest.raises(ConfigurationError):
        rig.renewal.current()
    assert rig.service.calls == 1
    assert rig.service.threads == ["MainThread"]


# the end of the object


@pytest.mark.parametrize("fails", [False, True])
def test_the_thread_ends_with_its_object(fails: bool) -> None:
    """Dropping the last reference ends it: no cycle holds it, also not through a kept error."""
    threads = []
    gc.disable()
    try:
        for _ in range(10):
            clock = Clock()
            service = Service(clock)
            renewal = Renewal(service, now=clock, random=lambda: 0.0, patience=PATIENCE)
            if fails:
                service.error = outage()
            with suppress(ServiceUnavailableError):
                renewal.current()
            threads.append(renewal._keeper._thread)
        watched = weakref.ref(renewal)
        del renewal
        for thread in threads:
            assert thread is not None
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert watched() is None
    finally:
        gc.enable()


# fork, spawn, pickle


def key_of(rig: Rig) -> bytes:
    """The access key that a call gets."""
    return str(rig.renewal.current().frozen.access_key).encode()


@needs_fork
@threads_may_fork
def test_a_child_of_a_flight_with_the_lock_held(rig: Rig) -> None:
    """Forked during a sign-in, while another thread holds every lock: it signs in on its own."""
    parent = os.getpid()
    flying, landing, holding = Door(), Door(), Door()
    rig.service.during = lambda: flying() if os.getpid() == parent else None

    def hold() -> None:
        with rig.renewal._lock, rig.renewal._keeper._lock:
            holding()

    pilot = Outcome(rig.renewal.current)
    assert flying.arrived.wait(PATIENCE)
    until(lambda: waiting(rig.renewal) == 1)
    holder = Outcome(hold)
    assert holding.arrived.wait(PATIENCE)
    with children_of(lambda: key_of(rig)) as answers:
        assert answers == [b"AKIA2"]  # the parent's sign-in was the first
    holding.go_on.set()
    flying.go_on.set()
    landing.go_on.set()
    assert holder.join().error is None
    assert pilot.join().value.frozen.access_key == "AKIA1"
    assert rig.service.calls == 1


@needs_fork
@threads_may_fork
def test_a_child_of_a_renewal_uses_what_there_is(rig: Rig) -> None:
    """Forked in the advisory window, while the parent renews: served at once, then renewed."""
    parent = os.getpid()
    rig.renewal.current()
    flying, theirs = Door(), Door()
    rig.service.during = lambda: flying() if os.getpid() == parent else theirs()
    rig.clock.go(FRESH_FOR)
    rig.renewal.current()
    assert flying.arrived.wait(PATIENCE)

    def work() -> bytes:
        first = key_of(rig)
        theirs.go_on.set()
        until(lambda: key_of(rig) != first)
        return first + b" " + key_of(rig)

    with children_of(work) as answers:
        assert answers == [b"AKIA1 AKIA3"]
    flying.go_on.set()


@needs_fork
@threads_may_fork
def test_32_children_of_a_prefork_server() -> None:
    """They use the parent's credentials, and later renew by themselves, each at its moment."""
    rig = Rig()
    rig.renewal._random = __import__("random").random
    rig.renewal.current()
    until(lambda: len(rig.events) == 2)

    def work() -> bytes:
        inherited = key_of(rig)
        signed_in = rig.service.calls - 1
        rig.clock.go(3300)
        key_of(rig)
        until(lambda: key_of(rig) == b"AKIA2")
        own = rig.service.calls - 1
        return f"{inherited.decode()} {signed_in} {own} {rig.renewal._spread}".encode()

    with children_of(work, count=32) as answers:
        told = [answer.decode().split() for answer in answers]
    assert {tuple(each[:3]) for each in told} == {("AKIA1", "0", "1")}
    spreads = {float(each[3]) for each in told}
    assert len(spreads) == 32
    assert max(spreads) - min(spreads) > 0.3
    assert rig.service.calls == 1


@needs_fork
@threads_may_fork
def test_grandchildren(rig: Rig) -> None:
    """A child that signed in, and has a thread of its own, forks again."""
    rig.renewal.current()

    def work() -> bytes:
        rig.clock.go(MANDATORY)
        own = key_of(rig)

        def deeper() -> bytes:
            inherited = key_of(rig)
            rig.clock.go(MANDATORY)
            return inherited + b" " + key_of(rig)

        with children_of(deeper) as answers:
            return own + b" " + answers[0]

    with children_of(work) as answers:
        assert answers == [b"AKIA2 AKIA2 AKIA3"]


def test_what_the_fork_handler_does(rig: Rig) -> None:
    """Every renewal of the process gets new locks, no thread, and a moment of its own."""
    first = rig.renewal.current()
    before = rig.renewal._lock, rig.renewal._keeper
    rig.spread = 0.7
    _after_fork_in_child()
    assert rig.renewal._lock is not before[0]
    assert rig.renewal._keeper is not before[1]
    assert rig.renewal._keeper._thread is None
    assert rig.renewal._spread == pytest.approx(0.7)
    assert rig.renewal.current().frozen is first.frozen


def test_a_fork_within_the_sign_in() -> None:
    """What the child's copy of that flight leaves does not touch a flight begun since."""
    rig = Rig(NoThread())

    def fork() -> None:
        _after_fork_in_child()
        rig.renewal._flight = later

    later = Flight()
    rig.service.during = fork
    assert rig.renewal.current().frozen.access_key == "AKIA1"
    assert rig.renewal._flight is later


@needs_fork
@threads_may_fork
def test_a_child_knows_of_a_failure(rig: Rig) -> None:
    """The parent's open circuit holds in the child: 32 children are no 32 attempts."""
    rig.service.error = outage()
    with pytest.raises(ServiceUnavailableError):
        rig.renewal.current()

    def work() -> bytes:
        with pytest.raises(ServiceUnavailableError):
            rig.renewal.current()
        return str(rig.service.calls).encode()

    with children_of(work) as answers:
        assert answers == [b"1"]


@needs_fork
@threads_may_fork
def test_a_set_back_around_a_fork_is_seen(rig: Rig) -> None:
    """The steady clock is the machine's: the child goes on with the parent's readings."""
    rig.renewal.current()

    def work() -> bytes:
        rig.clock.time -= 1000
        rig.renewal.step()
        return str(rig.service.calls).encode()

    with children_of(work) as answers:
        assert answers == [b"2"]


def test_a_system_without_fork(repository: Path) -> None:
    """The module loads where there is nothing to register with, as on Windows."""
    code = "import os, random, threading, logging, botocore.credentials\ndel os.register_at_fork\n"
    assert not run(code + "import rolesanywhere_auth.renewal", repository)


@pytest.fixture
def credentials(emulator: Emulator) -> RolesAnywhereCredentials:
    """Signed in."""
    made = RolesAnywhereCredentials(RolesAnywhereConfig(**emulator.set_up().config_arguments()))
    made.get_frozen_credentials()
    return made


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_sign_in_by_themselves(
    credentials: RolesAnywhereCredentials, method: str
) -> None:
    """What travels is the config; the process makes a session of its own."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    with multiprocessing.get_context(method).Pool(1) as pool:
        call = pool.apply_async(attrgetter("access_key"), (credentials,))
        theirs = call.get(timeout=60)
        pool.close()  # they end by themselves, and are not killed as they write
        pool.join()
    assert theirs.startswith("ASIA")
    assert theirs != credentials.access_key


@threads_may_fork
def test_a_pool_of_processes(credentials: RolesAnywhereCredentials) -> None:
    """A ProcessPoolExecutor takes config and credentials as arguments, in forked children too."""
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        made = pool.submit(RolesAnywhereCredentials, credentials.config).result(60)
        keys = list(pool.map(attrgetter("access_key"), [credentials] * 2, timeout=60))
    assert made.config == credentials.config
    assert all(key.startswith("ASIA") for key in keys)


@needs_fork
@threads_may_fork
def test_prefork_workers_of_a_real_service(emulator: Emulator) -> None:
    """Children use the inherited session over the wire's real objects: no sign-in of theirs."""
    config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    credentials = RolesAnywhereCredentials(config)
    ours = credentials.get_frozen_credentials().access_key
    before = len(emulator.events)
    with children_of(lambda: str(credentials.access_key).encode(), count=8) as answers:
        assert {answer.decode() for answer in answers} == {ours}
    assert len(emulator.events) == before


def test_a_snapshot_shows_and_sends_no_secret() -> None:
    """Its repr is the expiry, and it refuses to be pickled."""
    made = snapshot(START)
    assert repr(made) == f"Snapshot(expiration={made.expiration})"
    with pytest.raises(TypeError, match="pickle the config"):
        pickle.dumps(made)


def test_one_line_for_a_failure_that_lasts(manual: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """What will not heal stands in the log once, loudly; an outage at each attempt."""
    manual.clock.go(4000)
    manual.service.error = expired()
    for _ in range(3):
        manual.renewal.step()
        manual.clock.go(5)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.ERROR,
            "renewal failed, and the credentials have expired: the certificate expired",
        )
    ]
    assert manual.service.calls == 4
