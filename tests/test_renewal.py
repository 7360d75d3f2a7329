"""Renewal: the windows, one flight for all threads, and what a fork or an interruption leaves."""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth.errors import (
    ConfigurationError,
    RolesAnywhereError,
    ServiceUnavailableError,
    TransportError,
)
from rolesanywhere_auth.renewal import (
    MANDATORY_WINDOW,
    NOTHING,
    RETRY_INTERVAL,
    Renewal,
    Snapshot,
    advisory_window,
)

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""
START = 1_000_000.0


class Clock:
    """Time that goes when it is told to."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


def snapshot(now: float, *, lifetime: float = 3600.0, name: str = "AKIA") -> Snapshot:
    """Credentials issued *now*."""
    expires = now + lifetime
    return Snapshot(
        frozen=ReadOnlyCredentials(name, "hunter2", "token"),
        fresh_until=expires - advisory_window(lifetime),
        usable_until=expires - MANDATORY_WINDOW,
        expires=expires,
        expiration=datetime.fromtimestamp(expires, timezone.utc),
    )


class Service:
    """Counts sign-ins, and answers as it is told."""

    def __init__(self, clock: Callable[[], float], *, lifetime: float = 3600.0) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.calls = 0
        self.error: BaseException | None = None
        self.during: Callable[[], object] = lambda: None

    def __call__(self) -> Snapshot:
        self.calls += 1
        self.during()
        if self.error is not None:
            raise self.error
        return snapshot(self.clock(), lifetime=self.lifetime, name=f"AKIA{self.calls}")


class Lock:
    """A lock that tells when a number of threads have passed, and can keep one back."""

    def __init__(self, *, passing: int = 0, keep: str = "") -> None:
        self._lock = threading.Lock()
        self._left = passing
        self._keep = keep
        self.passed = threading.Event()
        self.arrived = threading.Event()
        self.go_on = threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread().name == self._keep:
            self.arrived.set()
            assert self.go_on.wait(PATIENCE)
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._left -= 1
        if self._left == 0:
            self.passed.set()
        self._lock.release()


class Outcome:
    """What a call in a thread came to."""

    def __init__(self, call: Callable[[], Any], *, name: str | None = None) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
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


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def service(clock: Clock) -> Service:
    """A service that answers at once."""
    return Service(clock)


@pytest.fixture
def renewal(service: Service, clock: Clock) -> Renewal:
    """A renewal before its first sign-in."""
    return Renewal(service, now=clock)


@pytest.mark.parametrize(
    ("minutes", "window"),
    [(0, 5), (15, 5), (20, 5), (20.1, 15), (60, 15), (89.9, 15), (90, 60), (720, 60)],
)
def test_advisory_window(minutes: float, window: int) -> None:
    """5 minutes for lifetimes up to 20, 15 under 90, else 60."""
    assert advisory_window(minutes * 60) == window * 60


def test_the_first_call_signs_in(renewal: Renewal, service: Service) -> None:
    """Nothing happens before the first call; it signs in, and the second does not."""
    assert service.calls == 0
    assert renewal.snapshot is NOTHING
    first = renewal.current()
    assert first.frozen.access_key == "AKIA1"
    assert renewal.current() is first
    assert service.calls == 1


@pytest.mark.parametrize(
    ("lifetime", "age", "calls"),
    [
        (900, 599.9, 1),
        (900, 600, 2),
        (1200, 899.9, 1),
        (1200, 900, 2),
        (3600, 2699.9, 1),
        (3600, 2700, 2),
        (5400, 1799.9, 1),
        (5400, 1800, 2),
        (43200, 39599.9, 1),
        (43200, 39600, 2),
        (43200, 43200, 2),
    ],
)
def test_when_it_renews(clock: Clock, lifetime: float, age: float, calls: int) -> None:
    """Credentials are renewed from the advisory window on, and not a moment before."""
    service = Service(clock, lifetime=lifetime)
    renewal = Renewal(service, now=clock)
    renewal.current()
    clock.time += age
    renewal.current()
    assert service.calls == calls


def test_fifty_calls_on_a_short_session(clock: Clock) -> None:
    """The service's shortest session is not renewed at every call."""
    service = Service(clock, lifetime=900)
    renewal = Renewal(service, now=clock)
    for _ in range(50):
        renewal.current()
        clock.time += 1
    assert service.calls == 1


@pytest.mark.parametrize(("lifetime", "calls"), [(900, 6), (1200, 4), (3600, 2), (5400, 2)])
def test_an_hour_of_calls(clock: Clock, lifetime: float, calls: int) -> None:
    """One call a second for an hour makes as many sign-ins as lifetime and window ask for."""
    service = Service(clock, lifetime=lifetime)
    renewal = Renewal(service, now=clock)
    for _ in range(3600):
        assert renewal.current().usable_until > clock.time
        clock.time += 1
    assert service.calls == calls


def outage() -> ServiceUnavailableError:
    """The service is down."""
    return ServiceUnavailableError("down", status=503, code="HTTP503", service_message="down")


def test_a_failure_in_the_advisory_window_is_logged(
    renewal: Renewal, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The present credentials stay, one line says why, and the next try waits."""
    first = renewal.current()
    clock.time += 2700
    service.error = outage()
    with caplog.at_level(logging.DEBUG, "rolesanywhere_auth"):
        assert renewal.current() is first
        clock.time += RETRY_INTERVAL - 1
        assert renewal.current() is first
    assert service.calls == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "renewal failed, the present credentials are kept: down"
    clock.time += 1
    service.error = None
    assert renewal.current().frozen.access_key == "AKIA3"


def test_an_outage_of_the_whole_advisory_window(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """While the credentials are good every call is served, with one try a minute at most."""
    first = renewal.current()
    service.error = outage()
    for _ in range(3540):
        assert renewal.current() is first
        clock.time += 1
    assert service.calls <= 1 + (3540 - 2700) / RETRY_INTERVAL
    with pytest.raises(ServiceUnavailableError):
        renewal.current()


def test_a_failure_in_the_mandatory_window_is_raised(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """From 60 seconds before expiry on the error is the caller's; the next call tries again."""
    first = renewal.current()
    clock.time += 3540
    service.error = outage()
    with pytest.raises(ServiceUnavailableError) as caught:
        renewal.current()
    assert caught.value is service.error
    assert renewal.snapshot is first
    service.error = None
    assert renewal.current().frozen.access_key == "AKIA3"


def test_renew_signs_in_whatever_the_time(renewal: Renewal, service: Service) -> None:
    """``renew()`` replaces even fresh credentials, or raises and keeps them."""
    renewal.renew()
    renewal.renew()
    assert renewal.snapshot.frozen.access_key == "AKIA2"
    service.error = outage()
    with pytest.raises(ServiceUnavailableError):
        renewal.renew()
    assert renewal.snapshot.frozen.access_key == "AKIA2"


def test_credentials_that_come_short_lived_are_still_given(clock: Clock) -> None:
    """A session of under a minute is used, and renewed at the next call: no call loops."""
    service = Service(clock, lifetime=30)
    renewal = Renewal(service, now=clock)
    assert renewal.current().frozen.access_key == "AKIA1"
    assert renewal.current().frozen.access_key == "AKIA2"


def test_one_flight_for_64_threads(renewal: Renewal, service: Service) -> None:
    """64 threads that start together make one sign-in, and all get what it brought."""
    lock = Lock(passing=64)
    renewal._gate().lock = lock  # type: ignore[assignment]
    service.during = lambda: lock.passed.wait(PATIENCE)  # not before all are waiting for it
    barrier = threading.Barrier(64, timeout=PATIENCE)

    def call() -> Snapshot:
        barrier.wait()
        return renewal.current()

    outcomes = [Outcome(call) for _ in range(64)]
    assert {id(each.join().value) for each in outcomes} == {id(renewal.snapshot)}
    assert not any(each.error for each in outcomes)
    assert lock.passed.is_set()
    assert service.calls == 1


def test_64_threads_in_whatever_order(renewal: Renewal, service: Service) -> None:
    """However the threads fall on the sign-in, before, during or after it, there is one."""
    barrier = threading.Barrier(64, timeout=PATIENCE)

    def call() -> Snapshot:
        barrier.wait()
        return renewal.current()

    outcomes = [Outcome(call) for _ in range(64)]
    assert {each.join().value for each in outcomes} == {renewal.snapshot}
    assert service.calls == 1


@pytest.mark.parametrize("age", [None, 2700.0, 3540.0], ids=["cold", "advisory", "mandatory"])
def test_a_late_thread_takes_what_landed(
    renewal: Renewal, service: Service, clock: Clock, age: float | None
) -> None:
    """A thread that saw the old credentials, and boards after the landing, starts no flight."""
    if age is not None:
        renewal.current()
        clock.time += age
    before = service.calls
    lock = Lock(keep="late")
    renewal._gate().lock = lock  # type: ignore[assignment]
    late = Outcome(renewal.current, name="late")
    assert lock.arrived.wait(PATIENCE)
    landed = renewal.current()
    lock.go_on.set()
    assert late.join().value is landed
    assert service.calls == before + 1


def test_an_error_is_shared(renewal: Renewal, service: Service) -> None:
    """All who wait for one flight get its error; nobody tries on his own."""
    lock = Lock(passing=16)
    renewal._gate().lock = lock  # type: ignore[assignment]
    service.during = lambda: lock.passed.wait(PATIENCE)
    service.error = TransportError("no answer", endpoint="https://host.example")
    outcomes = [Outcome(renewal.current) for _ in range(16)]
    assert {id(each.join().error) for each in outcomes} == {id(service.error)}
    assert service.calls == 1
    assert renewal.snapshot is NOTHING


def test_an_error_of_any_other_type_is_shared_too(renewal: Renewal, service: Service) -> None:
    """What a key store's library raises ends the flight as well, and the next call flies again."""
    service.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        renewal.current()
    service.error = None
    assert renewal.current().frozen.access_key == "AKIA2"


def test_in_the_advisory_window_only_one_waits(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """While one renews the others go on with what they have."""
    first = renewal.current()
    clock.time += 2700
    flying, land = threading.Event(), threading.Event()

    def during() -> None:
        flying.set()
        assert land.wait(PATIENCE)

    service.during = during
    pilot = Outcome(renewal.current)
    assert flying.wait(PATIENCE)
    for _ in range(20):
        assert renewal.current() is first
    land.set()
    assert pilot.join().value.frozen.access_key == "AKIA2"
    assert service.calls == 2


def test_the_mandatory_window_joins_an_advisory_flight(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """A flight begun in time serves those who come when they must have it."""
    renewal.current()
    clock.time += 2700
    lock = Lock(passing=2)
    renewal._gate().lock = lock  # type: ignore[assignment]
    flying = threading.Event()

    def during() -> None:
        flying.set()
        assert lock.passed.wait(PATIENCE)

    service.during = during
    pilot = Outcome(renewal.current)
    assert flying.wait(PATIENCE)
    clock.time += 840
    assert renewal.current().frozen.access_key == "AKIA2"
    assert pilot.join().error is None
    assert service.calls == 2


@pytest.mark.parametrize("call", [Renewal.current, Renewal.renew], ids=["current", "renew"])
def test_an_interrupted_flight_is_flown_by_the_next(
    renewal: Renewal, service: Service, call: Callable[[Renewal], object]
) -> None:
    """Ctrl-C ends the call of the thread that it hit; who waited for it signs in himself."""
    lock = Lock(passing=2)
    renewal._gate().lock = lock  # type: ignore[assignment]
    flying = threading.Event()

    def during() -> None:
        flying.set()
        service.during = lambda: setattr(service, "error", None)
        assert lock.passed.wait(PATIENCE)

    service.during = during
    service.error = KeyboardInterrupt()
    pilot = Outcome(renewal.current)
    assert flying.wait(PATIENCE)
    waiting = Outcome(lambda: call(renewal))
    assert isinstance(pilot.join().error, KeyboardInterrupt)
    assert waiting.join().error is None
    assert renewal.snapshot.frozen.access_key == "AKIA2"


def test_an_interruption_in_the_advisory_window(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """Ctrl-C is raised there too, and leaves nothing locked."""
    first = renewal.current()
    clock.time += 2700
    service.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        renewal.current()
    assert renewal.snapshot is first
    service.error = None
    assert renewal.current().frozen.access_key == "AKIA3"


def test_a_sign_in_that_needs_itself(renewal: Renewal, service: Service) -> None:
    """A passphrase callable that uses the same session is told so instead of waiting for ever."""
    service.during = renewal.current
    outcome = Outcome(renewal.current).join()
    assert isinstance(outcome.error, ConfigurationError)
    assert "give it other credentials" in str(outcome.error)
    service.during = lambda: None
    assert renewal.current().frozen.access_key == "AKIA2"


def test_a_sign_in_may_use_the_present_credentials(
    renewal: Renewal, service: Service, clock: Clock
) -> None:
    """In the advisory window the same callable works: there are credentials to use."""
    renewal.current()
    clock.time += 2700
    seen: list[Snapshot] = []
    service.during = lambda: seen.append(renewal.current())
    assert renewal.current().frozen.access_key == "AKIA2"
    assert [each.frozen.access_key for each in seen] == ["AKIA1"]


def key_of(renewal: Renewal) -> bytes:
    """The access key that a call gets."""
    return str(renewal.current().frozen.access_key).encode()


@contextmanager
def child_of(work: Callable[[], bytes]) -> Iterator[bytes]:
    """Run *work* in a forked child, and give what it returned; a child that hangs is ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child: nothing of pytest may run here
        try:
            os.write(writing, work())
        except BaseException as error:  # noqa: BLE001
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    try:
        ready, _, _ = select.select([reading], [], [], PATIENCE)
        yield os.read(reading, 1000) if ready else b"the child hangs"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of threads: that is the point
def test_a_forked_child_renews(renewal: Renewal, service: Service) -> None:
    """A child that was forked during a sign-in, with the lock held, signs in on its own."""
    parent = os.getpid()
    flying, land, locked = threading.Event(), threading.Event(), threading.Event()

    def during() -> None:
        if os.getpid() == parent:
            flying.set()
            assert land.wait(PATIENCE)

    def hold() -> None:
        with renewal._gate().lock:
            locked.set()
            assert land.wait(PATIENCE)

    service.during = during
    pilot = Outcome(renewal.current)
    assert flying.wait(PATIENCE)
    holder = Outcome(hold)
    assert locked.wait(PATIENCE)
    with child_of(lambda: key_of(renewal)) as answer:
        assert answer == b"AKIA2"  # the parent's sign-in was the first
    land.set()
    assert holder.join().error is None
    assert pilot.join().value.frozen.access_key == "AKIA1"
    assert service.calls == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_keeps_what_there_is(renewal: Renewal) -> None:
    """Credentials from before the fork serve the child too, without a sign-in."""
    renewal.current()
    with child_of(lambda: key_of(renewal)) as answer:
        assert answer == b"AKIA1"


def test_a_snapshot_shows_and_sends_no_secret() -> None:
    """Its repr is the expiry, and it refuses to be pickled."""
    made = snapshot(START)
    assert repr(made) == f"Snapshot(expiration={made.expiration})"
    with pytest.raises(TypeError, match="pickle the config"):
        pickle.dumps(made)


def test_errors_are_this_librarys(renewal: Renewal, service: Service) -> None:
    """What signing in raises comes out as it is, to be caught by the library's base class."""
    service.error = outage()
    with pytest.raises(RolesAnywhereError):
        renewal.current()
