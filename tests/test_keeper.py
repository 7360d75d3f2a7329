"""The background thread: it runs when it can, sleeps as told, and ends with its owner."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import NoReturn

import pytest

from rolesanywhere_auth.keeper import MAX_SLEEP, Bell, Keeper

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""


class Owner:
    """Its step takes no time, and its thread then sleeps for a minute."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.delay = 3600.0
        self.error: Exception | None = None
        self.keeper = Keeper(self)

    def step(self) -> float:
        """Count."""
        self.steps.release()
        if self.error is not None:
            raise self.error
        return self.delay

    def stepped(self) -> bool:
        """Whether a step comes."""
        return self.steps.acquire(timeout=PATIENCE)

    @property
    def thread(self) -> threading.Thread:
        """The one it has."""
        thread = self.keeper._thread
        assert thread is not None
        return thread


@pytest.fixture
def owner() -> Iterator[Owner]:
    """An owner whose thread has ended when the test is over."""
    made = Owner()
    threads = [made.keeper]
    yield made
    thread = threads.pop()._thread
    del made
    assert thread is None or thread.daemon


def cannot_start(self: threading.Thread) -> NoReturn:
    """As at the limit of the system."""
    raise RuntimeError("can't start new thread")


def test_it_starts_once(owner: Owner) -> None:
    """ensure() starts a daemon thread, and then finds it."""
    assert owner.keeper.ensure()
    thread = owner.thread
    assert thread.daemon
    assert thread.name == "rolesanywhere-auth"
    assert owner.keeper.ensure()
    assert owner.thread is thread
    assert owner.stepped()


def test_64_threads_start_one(owner: Owner) -> None:
    """However many ask at once."""
    barrier = threading.Barrier(64, timeout=PATIENCE)
    seen: list[threading.Thread] = []

    def ask() -> None:
        barrier.wait()
        assert owner.keeper.ensure()
        seen.append(owner.thread)

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(seen) == 64
    assert len(set(seen)) == 1


def test_it_sleeps_until_woken(owner: Owner) -> None:
    """One step at the start, and one for each time that it is woken."""
    owner.keeper.ensure()
    assert owner.stepped()
    assert not owner.steps.acquire(timeout=0.01)
    for _ in range(3):
        owner.keeper.wake()
        assert owner.stepped()
    assert not owner.steps.acquire(timeout=0.01)


def test_a_call_during_the_step_is_not_lost(owner: Owner) -> None:
    """Who wakes it before it sleeps, however often, gets one more step."""
    for _ in range(3):
        owner.keeper.wake()
    owner.keeper.ensure()
    assert owner.stepped()
    assert owner.stepped()
    assert not owner.steps.acquire(timeout=0.01)


@pytest.mark.parametrize(("delay", "seconds"), [(3600, MAX_SLEEP), (7.5, 7.5), (-1, 0)])
def test_how_long_it_sleeps(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, delay: float, seconds: float
) -> None:
    """As long as the step said, but a minute at most: the machine may be suspended."""
    slept: list[float] = []

    class Watch(Bell):
        def wait(self, seconds: float) -> None:
            slept.append(seconds)
            super().wait(PATIENCE)

    owner.keeper._bell = Watch()
    owner.delay = delay
    owner.keeper.ensure()
    assert owner.stepped()
    owner.keeper.wake()
    assert owner.stepped()
    assert slept[0] == seconds


def test_a_step_that_fails_is_logged(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    """The thread goes on, a minute later or when woken."""
    owner.error = ZeroDivisionError("a bug")
    owner.keeper.ensure()
    assert owner.stepped()
    owner.error = None
    owner.keeper.wake()
    assert owner.stepped()
    assert "the background thread failed, and goes on" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


def test_it_is_started_again_when_it_is_gone(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ended it, the next to ask gets another."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    owner.error = SystemExit()  # type: ignore[assignment]
    owner.keeper.ensure()
    first = owner.thread
    first.join(PATIENCE)
    assert not first.is_alive()
    owner.error = None
    assert owner.keeper.ensure()
    assert owner.thread is not first


def test_no_thread_left(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system has none, ensure() says so, and tries again the next time."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot_start)
        with caplog.at_level("DEBUG"):
            assert not owner.keeper.ensure()
        assert "signing in blocks its caller: can't start new thread" in caplog.text
    assert owner.keeper.ensure()


def test_daemon_threads_forbidden(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some subinterpreters refuse to make the object already."""

    def forbidden(*args: object, **options: object) -> NoReturn:
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading, "Thread", forbidden)
    assert not owner.keeper.ensure()


def test_a_frozen_thread_is_no_thread(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter shuts down it looks alive and never runs again."""
    assert owner.keeper.ensure()
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    assert owner.thread.is_alive()
    assert not owner.keeper.ensure()


def test_an_interruption_of_the_start_makes_no_second(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while start() waits for the thread to come up: the next to ask finds it."""
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> NoReturn:
        start(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            owner.keeper.ensure()
    first = owner.thread
    assert owner.keeper.ensure()
    assert owner.thread is first


def test_a_thread_that_another_just_started(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who had to wait for the lock looks again."""
    answers = iter([False, True])
    monkeypatch.setattr(owner.keeper, "_runs", lambda: next(answers))
    assert owner.keeper.ensure()
    assert owner.keeper._thread is None


def test_it_ends_with_its_owner() -> None:
    """It does not keep the owner alive, and does not sleep on when that is gone."""
    owner = Owner()
    owner.keeper.ensure()
    assert owner.stepped()
    thread, watched = owner.thread, weakref.ref(owner)
    del owner
    gc.collect()  # the owner of this test holds its keeper, and that a reference to it
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert watched() is None


def test_an_owner_that_goes_during_its_step() -> None:
    """The thread itself may hold the last reference."""
    inside, go_on = threading.Event(), threading.Event()

    class Busy(Owner):
        def step(self) -> float:
            inside.set()
            go_on.wait(PATIENCE)
            return 3600

    owner = Busy()
    owner.keeper.ensure()
    thread = owner.thread
    assert inside.wait(PATIENCE)
    del owner
    go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_bell_may_ring_while_it_rings() -> None:
    """Ringing waits for nothing, and several times count once."""
    bell = Bell()
    bell.ring()
    bell.ring()
    bell.wait(PATIENCE)
    thread = threading.Thread(target=bell.wait, args=(PATIENCE,))
    thread.start()
    thread.join(0.01)
    assert thread.is_alive()
    bell.ring()
    thread.join(PATIENCE)
    assert not thread.is_alive()
