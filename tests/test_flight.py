"""One sign-in under way: claimed once, waited for by many, its error raised by each."""

from __future__ import annotations

import gc
import threading
import traceback
import weakref
from typing import Any

import pytest

from rolesanywhere_auth.errors import TransportError
from rolesanywhere_auth.flight import Flight, copy_of, without_frames

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""


class Awkward(Exception):
    """Cannot be made from its ``args``."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Turncoat(Exception):
    """Comes out as something else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Exception, self.args


class Held:
    """What a frame holds."""


def caught(error: Exception, *, cause: Exception | None = None) -> Exception:
    """*error*, as raised two calls down."""

    def sign_in() -> None:
        if cause is None:
            raise error
        try:
            raise cause
        except Exception as inner:
            raise error from inner

    try:
        sign_in()
    except Exception as found:  # noqa: BLE001
        return found
    raise AssertionError


def names(error: BaseException) -> list[str]:
    """The functions of its traceback."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_one_of_many_claims_it() -> None:
    """Of 32 threads one gets it, and knows it as its own until it has landed."""
    flight = Flight()
    barrier = threading.Barrier(32, timeout=PATIENCE)
    mine: list[tuple[bool, bool]] = []

    def claim() -> None:
        barrier.wait()
        mine.append((flight.claim(), flight.is_mine))
        barrier.wait()

    assert not flight.claimed
    threads = [threading.Thread(target=claim) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(mine) == [(False, False)] * 31 + [(True, True)]
    assert flight.claimed
    assert not flight.is_mine


def test_it_lands() -> None:
    """Waiting ends at the time given, or when it lands; it is nobody's after that."""
    flight = Flight()
    assert flight.claim()
    assert not flight.wait(0.001)
    assert not flight.wait(-1)
    error = TransportError("no answer", endpoint="https://host.example")
    flight.land(error)
    assert flight.wait(0)
    assert flight.error is error
    assert not flight.is_mine


def test_a_kept_error_holds_nothing_of_its_frames() -> None:
    """Neither it nor its cause; what they say is all there."""
    held = Held()
    watched = weakref.ref(held)

    def sign_in(thing: Held) -> Exception:
        def fail() -> None:
            raise ValueError(f"inside {thing is None}")

        try:
            fail()
        except ValueError as cause:
            return without_frames(caught(TransportError("no", endpoint="x"), cause=cause))
        raise AssertionError

    gc.disable()
    try:
        error = sign_in(held)
        del held
        gc.collect()
    finally:
        gc.enable()
    assert watched() is None
    assert isinstance(error, TransportError)
    assert error.__traceback__ is None
    assert str(error.__cause__) == "inside False"
    assert error.__suppress_context__


def test_a_kept_error_knows_its_context() -> None:
    """What was being handled comes along, unless it was raised ``from None``."""
    error = ValueError("x")
    error.__context__ = KeyError("y")
    assert repr(without_frames(error).__context__) == "KeyError('y')"
    error.__suppress_context__ = True
    assert without_frames(error).__context__ is None
    error.__cause__ = KeyboardInterrupt()
    assert without_frames(error).__cause__ is None


def test_a_kept_error_goes_round_no_circle() -> None:
    """Two errors that are each other's context are followed for a while."""
    error, other = ValueError("x"), ValueError("y")
    error.__context__ = other
    other.__context__ = error
    kept: BaseException | None = without_frames(error, depth=3)
    said = []
    while kept is not None:
        said.append(str(kept))
        kept = kept.__context__
    assert said == ["x", "y", "x", "y"]


def test_a_copy_says_the_same() -> None:
    """Type, text, data and cause; its traceback grows on its own."""
    error = caught(TransportError("no", endpoint="https://x"), cause=OSError(5, "io"))
    copies = [copy_of(error) for _ in range(2)]
    before = names(error)
    for copied in copies:
        with pytest.raises(TransportError, match="no") as found:
            raise copied
        assert found.value.endpoint == "https://x"
        assert isinstance(found.value.__cause__, OSError)
        assert found.value.__suppress_context__
        assert names(found.value) == ["test_a_copy_says_the_same"]
    assert names(error) == before
    assert copies[0] is not copies[1] is not error


@pytest.mark.parametrize("error", [Awkward("no", code=3), Turncoat("no")])
def test_what_cannot_be_copied_is_raised_itself(error: Exception) -> None:
    """Without what earlier raisings added to its traceback."""
    assert caught(error) is error
    assert copy_of(error) is error
    assert error.__traceback__ is None
