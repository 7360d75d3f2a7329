from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth import schedule
from rolesanywhere_auth.schedule import (
    Circuit,
    advisory_window,
    backoff,
    mandatory_window,
    process_spread,
    renewal_start,
    renewal_window,
)

MINUTE, HOUR = 60.0, 3600.0
ALMOST_ONE = math.nextafter(1.0, 0.0)

spreads = st.floats(0, 1, exclude_max=True)
clocks = st.floats(0, 4e9)
service_lifetimes = st.floats(900, 43200)
lifetimes = st.floats(1, 10 * 86400)
lives = st.floats(-10 * 86400, 10 * 86400)


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [
        # by lifetime at issue, as in the table of botocore pull request 3760
        (1, 5 * MINUTE),
        (15 * MINUTE, 5 * MINUTE),
        (20 * MINUTE, 5 * MINUTE),
        (20 * MINUTE + 1, 15 * MINUTE),
        (60 * MINUTE, 15 * MINUTE),
        (90 * MINUTE - 1, 15 * MINUTE),
        (90 * MINUTE, 60 * MINUTE),
        (12 * HOUR, 60 * MINUTE),
    ],
)
def test_the_advisory_window_grows_with_the_lifetime(lifetime: float, window: float) -> None:
    """5, 15 or 60 minutes, with the borders where botocore is to have them."""
    assert advisory_window(lifetime) == window


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [(900, 300), (1200, 300), (1260, 420), (3600, 900), (5400, 1800), (10800, 3600), (60, 20),
     (0, 0), (-5, 0)],
)  # fmt: skip
def test_the_renewal_window_is_a_third_of_the_life_at_most(lifetime: float, window: float) -> None:
    """That holds for sessions of just above 20 and 90 minutes, and for those of seconds."""
    assert renewal_window(lifetime) == window


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [(12 * HOUR, 60), (15 * MINUTE, 60), (10 * MINUTE, 60), (10, 1), (0, 0), (-5, 0)],
)
def test_the_mandatory_window_is_a_minute_of_every_session_that_the_service_gives(
    lifetime: float, window: float
) -> None:
    """A tenth of the shorter ones that an emulator gives, and never negative."""
    assert mandatory_window(lifetime) == window


@pytest.mark.parametrize(
    ("lifetime", "first", "last"),
    [
        # the ages at which a renewal may start
        (15 * MINUTE, 600, 750),
        (20 * MINUTE, 900, 1050),
        # a third of the life, where the window is longer than that
        (21 * MINUTE, 840, 1110),
        (1 * HOUR, 2700, 3300),
        (89 * MINUTE, 4440, 5040),
        (90 * MINUTE, 3600, 4800),
        (4 * HOUR, 10800, 13200),
        (12 * HOUR, 39600, 42000),
        # what only an emulator gives
        (5 * MINUTE, 200, 250),
        (30, 20, 25),
        (3, 2, 2.5),
    ],
)
def test_a_renewal_starts_in_the_part_of_the_window_that_leaves_a_reserve(
    lifetime: float, first: float, last: float
) -> None:
    """The ends of the range by session length, in seconds of age."""
    start = renewal_start(issued=0, expires=lifetime, spread=0)
    end = renewal_start(issued=0, expires=lifetime, spread=ALMOST_ONE)
    assert (start, end) == (pytest.approx(first), pytest.approx(last))


@given(issued=clocks, lifetime=lifetimes, spread=spreads)
def test_a_renewal_never_starts_before_the_window_or_after_the_mandatory_one_began(
    issued: float, lifetime: float, spread: float
) -> None:
    """For every lifetime, a few seconds included, and every draw."""
    expires = issued + lifetime
    start = renewal_start(issued=issued, expires=expires, spread=spread)
    lifetime = expires - issued  # floats of today's clock are 0.2 µs apart
    assert start > issued
    assert expires - advisory_window(lifetime) - 1e-6 <= start
    assert start <= expires - mandatory_window(lifetime)


@given(lifetime=service_lifetimes, one=spreads, other=spreads)
def test_a_later_spread_is_a_later_start(lifetime: float, one: float, other: float) -> None:
    """Monotone in the draw, so that the order of a fleet's processes is kept."""
    first, second = (
        renewal_start(issued=0, expires=lifetime, spread=spread) for spread in sorted([one, other])
    )
    assert first <= second


@given(lifetime=service_lifetimes, start=spreads, draw=spreads)
def test_a_sign_in_that_hangs_leaves_time_for_another_before_calls_must_wait(
    lifetime: float, start: float, draw: float
) -> None:
    """45 s are three read timeouts: the longest that a first attempt can take."""
    remaining = lifetime - renewal_start(issued=0, expires=lifetime, spread=start) - 45
    assert remaining - backoff(remaining=remaining, spread=draw) > schedule.MANDATORY_WINDOW


@pytest.mark.parametrize("lifetime", [0, -1, -HOUR])
def test_credentials_that_came_expired_are_due_at_their_expiry(lifetime: float) -> None:
    """A local clock that is ahead by more than the session's life gives such ones."""
    assert renewal_start(issued=1e9, expires=1e9 + lifetime, spread=0.5) == 1e9 + lifetime


@given(one=spreads, other=spreads)
def test_the_spread_of_a_process_is_a_spread(one: float, other: float) -> None:
    """It stays in [0, 1), and does not depend on the order of the draws."""
    assert 0 <= process_spread(one, other) < 1
    assert process_spread(one, other) == process_spread(other, one)


def test_fewer_processes_renew_at_the_ends_of_the_window_than_in_its_middle() -> None:
    """That is what the second draw is for."""
    draws = [i / 100 for i in range(100)]
    all_of_them = [process_spread(a, b) for a, b in itertools.product(draws, draws)]
    assert sum(spread < 0.1 for spread in all_of_them) < len(all_of_them) * 0.03
    assert sum(0.45 <= spread < 0.55 for spread in all_of_them) > len(all_of_them) * 0.18


@pytest.mark.parametrize(
    ("remaining", "retry_after", "throttled", "shortest", "longest"),
    [
        # a long life: 5 to 10 minutes
        (12 * HOUR, None, False, 300, 600),
        (40 * MINUTE, None, False, 300, 600),
        # a quarter of what is left
        (20 * MINUTE, None, False, 150, 300),
        (5 * MINUTE, None, False, 37.5, 75),
        (1 * MINUTE, None, False, 7.5, 15),
        # the floor, on both sides of expiry
        (40, None, False, 5, 10),
        (1, None, False, 5, 10),
        (0, None, False, 5, 10),
        (-1, None, False, 5, 10),
        # expired: half of the time since
        (-1 * MINUTE, None, False, 15, 30),
        (-10 * MINUTE, None, False, 150, 300),
        (-20 * MINUTE, None, False, 300, 600),
        (-86400, None, False, 300, 600),
        # over the quota: those with nothing to save give way, the others hold on
        (20 * MINUTE, None, True, 150, 300),
        (0, None, True, 30, 60),
        (-1 * MINUTE, None, True, 60, 120),
        (-5 * MINUTE, None, True, 300, 600),
        (-1 * HOUR, None, True, 300, 600),
        # Retry-After: kept, and never a reason to come sooner
        (12 * HOUR, 1200, False, 1200, 1500),
        (20 * MINUTE, 1, False, 150, 300),
        (20 * MINUTE, 0, False, 150, 300),
        (15 * MINUTE, 600, False, 600, 750),
        # as far as an attempt remains before calls must wait
        (15 * MINUTE, 86400, False, 672, 840),
        (15 * MINUTE, math.inf, True, 672, 840),
        # then half of what is left
        (1 * MINUTE, 86400, False, 30, 37.5),
        # expired: ten minutes, and a quarter of jitter
        (-1, 120, False, 120, 150),
        (-1, 86400, False, 600, 750),
    ],
)
def test_the_back_off_by_life_left_and_what_the_service_asked_for(
    remaining: float, retry_after: float | None, throttled: bool, shortest: float, longest: float
) -> None:
    """Each row's bounds are what the smallest and the greatest draw give."""
    waits = [
        backoff(remaining=remaining, spread=spread, retry_after=retry_after, throttled=throttled)
        for spread in (0, ALMOST_ONE)
    ]
    assert waits == [pytest.approx(shortest), pytest.approx(longest)]


@given(remaining=lives, spread=spreads, throttled=st.booleans())
def test_a_back_off_is_bounded(remaining: float, spread: float, throttled: bool) -> None:
    """5 s to 10 min, and never over a quarter of the life that is left but for the floor."""
    wait = backoff(remaining=remaining, spread=spread, throttled=throttled)
    assert 5 <= wait <= 600
    if remaining >= 40:
        assert wait <= remaining / 4


@given(one=st.floats(0, 86400), other=st.floats(0, 86400), spread=spreads, expired=st.booleans())
def test_the_nearer_to_expiry_the_shorter_the_back_off(
    one: float, other: float, spread: float, expired: bool
) -> None:
    """On both sides of it."""
    near, far = (
        backoff(remaining=-life if expired else life, spread=spread)
        for life in sorted([one, other])
    )
    assert near <= far


@given(remaining=lives, spread=spreads, retry_after=st.floats(0, 1e9), throttled=st.booleans())
def test_retry_after_only_ever_lengthens_and_leaves_a_life_to_use(
    remaining: float, spread: float, retry_after: float, throttled: bool
) -> None:
    """Good credentials get another attempt before they expire, whatever was asked for."""
    own = backoff(remaining=remaining, spread=spread, throttled=throttled)
    wait = backoff(remaining=remaining, spread=spread, retry_after=retry_after, throttled=throttled)
    assert wait >= own
    if remaining > 10:
        assert wait < remaining
        assert wait >= min(retry_after, remaining / 2)
    if remaining > 900:
        assert wait <= remaining - schedule.MANDATORY_WINDOW + 1e-6


@given(remaining=st.floats(1, 3600), seed=st.integers())
def test_attempts_go_on_until_expiry_and_are_few(remaining: float, seed: int) -> None:
    """The last falls within the last 10 s of life, and a window of an hour sees under 50."""
    draw = random.Random(seed).random
    attempts, last = 0, 0.0
    while remaining > 0:
        last = remaining
        remaining -= backoff(remaining=remaining, spread=draw())
        attempts += 1
    assert last <= 10
    assert attempts < 50


def test_a_circuit_opens_half_opens_and_closes() -> None:
    """The whole life of one failure, with the moments at which the states change."""
    circuit = Circuit()
    assert (circuit.state(100), circuit.failures) == ("closed", 0)
    assert circuit.allows(100)
    assert circuit.retry_in(100) == 0

    circuit = circuit.failed(100, wait=30)
    assert [circuit.state(t) for t in (100, 129.9, 130, 1e9)] == [
        "open",
        "open",
        "half-open",
        "half-open",
    ]
    assert not circuit.allows(110)
    assert circuit.retry_in(110) == 20
    assert circuit.allows(130)
    assert circuit.retry_in(130) == 0

    again = circuit.failed(135, wait=60)
    assert (again.failures, again.state(150), again.retry_in(150)) == (2, "open", 45)

    closed = again.succeeded(200)
    assert closed == Circuit(failures=0, since=200)
    assert closed.state(200) == "closed"


def test_a_clock_that_is_set_back_does_not_keep_a_circuit_open() -> None:
    """Else a jump of a day would stop renewal for a day."""
    circuit = Circuit().failed(1e9, wait=300)
    assert circuit.state(1e9 - 86400) == "half-open"
    assert circuit.retry_in(1e9 - 86400) == 0


def test_a_clock_that_jumps_forward_ends_the_wait() -> None:
    """A laptop that slept through the back-off tries at once."""
    assert Circuit().failed(1e9, wait=300).state(1e9 + 86400) == "half-open"


def test_a_circuit_is_a_value() -> None:
    """Transitions make a new one, so that threads can read the old without a lock."""
    circuit = Circuit()
    circuit.failed(1, wait=2)
    assert circuit == Circuit()
    assert hash(circuit) == hash(Circuit())


def test_an_error_that_will_not_heal_is_held_for_five_seconds() -> None:
    """As in botocore's coming rules."""
    circuit = Circuit().failed(10, wait=schedule.LASTING_HOLD)
    assert not circuit.allows(14.9)
    assert circuit.allows(15)
