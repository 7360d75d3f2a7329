from __future__ import annotations

import errno
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from random import Random
from urllib.parse import urlsplit

import pytest

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    ServiceUnavailableError,
    ThrottlingError,
)
from rolesanywhere_auth import (
    create_session as sign_in,
)
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.service.fault_verbs import Faults
from rolesanywhere_auth.testing.service.faults import Call, Dropped, RawAnswer
from rolesanywhere_auth.testing.service.wire import Request


@pytest.fixture
def setup(emulator):
    """What a sign-in needs."""
    return emulator.set_up()


class InThread:
    """A call in a thread of its own."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.answers: list[object] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(act()))
        self._thread.start()

    def result(self) -> object:
        self._thread.join(10)
        (answer,) = self.answers
        return answer


def statuses(create_session, setup, count: int) -> list[int]:
    """What *count* calls are answered with."""
    return [create_session(setup).status for _ in range(count)]


# How often


def test_next_strikes_that_many_calls(emulator, create_session, setup):
    """A fault for the next two calls ends by itself, and tells how often it struck."""
    fault = emulator.faults.next(2).refuse()
    assert repr(emulator.faults) == "<faults: <refuse(503): 0 hits, 2 to come>>"
    assert fault.active

    assert statuses(create_session, setup, 3) == [503, 503, 201]

    assert (fault.hits, fault.calls_left, fault.active) == (2, 0, False)
    assert repr(fault) == "<refuse(503): 2 hits, ended>"
    assert emulator.faults.active == ()
    assert repr(emulator.faults) == "<faults: none>"


def test_with_block_bounds_a_fault(emulator, create_session, setup):
    """Within its block a fault strikes every call, outside of it none."""
    with emulator.faults.refuse(status=500) as fault:
        assert statuses(create_session, setup, 2) == [500, 500]
        assert emulator.faults.active == (fault,)
        assert repr(fault) == "<refuse(500): 2 hits>"

    assert statuses(create_session, setup, 1) == [201]


def test_clear_ends_all_faults(emulator, create_session, setup):
    """After clear() the service is whole again, injected answers included."""
    fault = emulator.faults.refuse()
    emulator.inject("pass", "drop")
    assert repr(emulator.faults) == "<faults: <refuse(503): 0 hits>, 2 injected answers>"

    emulator.faults.clear()
    fault.end()

    assert not fault.active
    assert statuses(create_session, setup, 1) == [201]


def test_probability_is_drawn_from_the_given_random(emulator, create_session, setup):
    """The same seed strikes the same calls, about as many as asked for."""

    def struck() -> list[int]:
        with emulator.faults.sometimes(0.4, random=Random(7)).refuse():
            return statuses(create_session, setup, 12)

    first = struck()

    assert first == struck()
    random = Random(7)
    assert first == [503 if random.random() < 0.4 else 201 for _ in range(12)]
    assert 0 < first.count(503) < 12


def test_scopes_combine(emulator, create_session, setup):
    """With a probability, calls that were spared do not count towards the number."""
    fault = emulator.faults.sometimes(0.5, random=Random(1)).next(2).refuse()

    found = statuses(create_session, setup, 12)

    assert found.count(503) == fault.hits == 2
    assert found.index(201) < 11 - found[::-1].index(503)


@pytest.mark.parametrize("calls", [0, -1])
def test_number_of_calls_out_of_bounds_is_refused(emulator, calls):
    """A fault strikes once at least."""
    with pytest.raises(ValueError, match=f"1 or more, not {calls}"):
        emulator.faults.next(calls)


@pytest.mark.parametrize("probability", [0, 1.5, -0.1])
def test_probability_out_of_bounds_is_refused(emulator, probability):
    """A probability is one."""
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        emulator.faults.sometimes(probability, random=Random(1))


def test_faults_take_effect_in_the_order_they_were_switched_on(emulator, create_session, setup):
    """What answers first hides what stands behind it, which keeps its calls."""
    first = emulator.faults.next(1).refuse(status=500)
    second = emulator.faults.next(1).refuse(status=503)

    assert statuses(create_session, setup, 3) == [500, 503, 201]
    assert (first.hits, second.hits) == (1, 1)


def test_several_faults_strike_one_call(emulator, create_session, setup, now):
    """Changes of the service's conditions add up."""
    emulator.faults.short_lived(30)
    emulator.faults.skew_clock(100)
    emulator.faults.skew_clock(20)

    answer = create_session(setup)

    assert parsedate_to_datetime(answer.headers["date"]) == now + timedelta(seconds=120)
    assert answer.session["credentials"]["expiration"] == "2026-05-04T12:02:30Z"


def test_injected_answers_come_before_faults(emulator, create_session, setup):
    """An injected answer is not struck; "pass" leaves the call to the faults."""
    fault = emulator.faults.refuse(status=500)
    emulator.inject((502, {}, b"{}"), "pass")

    assert statuses(create_session, setup, 2) == [502, 500]
    assert fault.hits == 1


def test_faults_spare_the_control_plane(emulator):
    """Only CreateSession is struck."""
    fault = emulator.faults.refuse()

    assert emulator.control_plane().list_crls()["crls"] == []
    assert fault.hits == 0


# The service says no


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "ServiceUnavailableException"),
        (429, "ThrottlingException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (400, "ValidationException"),
        (500, "InternalServerException"),
        (502, "InternalServerException"),
    ],
)
def test_refusal_has_the_code_of_its_status(emulator, create_session, setup, status, code):
    """Each status has the error's name that goes with it, and no event: nothing was judged."""
    emulator.faults.refuse(status=status)

    assert create_session(setup).refusal[:2] == (status, code)
    assert emulator.events == []


def test_refusal_says_when_to_come_again(emulator, create_session, setup):
    """retry_after is in the body, as in the service's model, and in the header."""
    emulator.faults.refuse(retry_after=7, code="MyException", message="Not now")

    answer = create_session(setup)

    assert answer.refusal == (503, "MyException", "Not now")
    assert answer.body["retryAfterSeconds"] == 7
    assert answer.headers["retry-after"] == "7"


def test_library_reads_the_refusal():
    """The library's error carries status and seconds."""
    with Emulator() as own:
        config = RolesAnywhereConfig(**own.set_up().config_arguments(), max_attempts=1)
        own.faults.refuse(retry_after=7)

        with pytest.raises(ServiceUnavailableError) as caught:
            sign_in(config)
        assert caught.value.retry_after == 7
        own.faults.clear()
        own.faults.throttle(per_second=1)
        sign_in(config)
        with pytest.raises(ThrottlingError):
            sign_in(config)


def test_redirect_leads_nowhere(emulator, create_session, setup):
    """A redirect names a host that never exists, or the one that is given."""
    emulator.faults.next(1).redirect()
    emulator.faults.redirect("http://127.0.0.1:9/", status=307)

    first, second = create_session(setup), create_session(setup)

    assert (first.status, first.headers["location"]) == (301, "https://elsewhere.invalid/sessions")
    assert (second.status, second.headers["location"]) == (307, "http://127.0.0.1:9/")


def test_trust_anchor_is_disabled_in_mid_run(emulator, create_session, setup):
    """The named trust anchor, or any, counts as disabled; its record does not change."""
    other = emulator.set_up()
    with emulator.faults.disable_trust_anchor(setup.trust_anchor_arn):
        assert create_session(setup).refusal == (
            403,
            "AccessDeniedException",
            "Trust anchor is disabled",
        )
        assert create_session(other).status == 201
    with emulator.faults.disable_trust_anchor():
        assert statuses(create_session, other, 1) == [403]
    assert create_session(setup).status == 201
    anchors = emulator.control_plane().list_trust_anchors()["trustAnchors"]
    assert [anchor["enabled"] for anchor in anchors] == [True, True]


# The service is late or gone


def test_hanging_call_goes_on_when_released(emulator, create_session, setup):
    """A held call waits while others are served, and is answered after release()."""
    fault = emulator.faults.next(1).hang()
    held = InThread(lambda: create_session(setup).status)
    fault.wait_until_hit()

    assert statuses(create_session, setup, 1) == [201]
    assert held.answers == []
    fault.release()

    assert held.result() == 201


def test_release_holds_later_calls_again(emulator, create_session, setup):
    """release() lets go of those that wait, end() of the rest for good."""
    fault = emulator.faults.hang()
    first = InThread(lambda: create_session(setup).status)
    fault.wait_until_hit(1)
    fault.release()
    assert first.result() == 201

    second = InThread(lambda: create_session(setup).status)
    fault.wait_until_hit(2)
    assert second.answers == []
    fault.end()

    assert second.result() == 201
    assert statuses(create_session, setup, 1) == [201]


def test_clear_lets_go_of_calls_that_an_exhausted_fault_holds(emulator, create_session, setup):
    """A fault that strikes no more still lets go of what it holds."""
    fault = emulator.faults.next(1).hang()
    held = InThread(lambda: create_session(setup).status)
    fault.wait_until_hit()
    # Switching on another must not make the board forget it.
    emulator.faults.next(1).null_keys()

    emulator.faults.clear()

    assert held.result() == 201


def test_hang_does_not_hold_up_the_stop(create_session, now):
    """stop() is as fast as ever, whoever hangs."""
    emulator = Emulator(clock=lambda: now).start()
    setup = emulator.set_up()
    fault = emulator.faults.next(1).hang()
    found: list[object] = []

    def call() -> None:
        try:
            found.append(create_session(setup).status)
        except (OSError, http.client.HTTPException) as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    fault.wait_until_hit()
    before = time.monotonic()

    emulator.stop()

    assert time.monotonic() - before < 5
    thread.join(10)
    assert len(found) == 1
    assert not fault.active


def test_waiting_for_a_hit_gives_up(emulator):
    """wait_until_hit() says what did not happen."""
    fault = emulator.faults.hang()

    with pytest.raises(TimeoutError, match=r"<hang: 0 hits> after 0\.01 seconds, not 1"):
        fault.wait_until_hit(timeout=0.01)


def test_latency_delays_the_call(emulator, create_session, setup):
    """The answer comes after the time that was asked for."""
    emulator.faults.latency(0.05)
    before = time.monotonic()

    assert create_session(setup).status == 201
    assert time.monotonic() - before >= 0.05


def test_latency_waits_by_what_it_was_given(now):
    """How the wait is done is passed in: the seconds and what ends it early."""
    waits = []
    faults = Faults(clock=lambda: now, wait=lambda event, seconds: waits.append((event, seconds)))
    fault = faults.latency(30)
    call = Call(Request("POST", "/sessions", "", ()))

    assert faults.run(call, lambda: RawAnswer(201, (), b"")).status == 201
    ((event, seconds),) = waits
    assert (seconds, event.is_set()) == (30, False)
    fault.end()
    assert event.is_set()


def test_latency_ends_with_release(emulator, create_session, setup):
    """A long delay is cut short by release()."""
    fault = emulator.faults.latency(60)
    held = InThread(lambda: create_session(setup).status)
    fault.wait_until_hit()

    fault.release()

    assert held.result() == 201


def test_negative_latency_is_refused(emulator):
    """Nobody answers before the call."""
    with pytest.raises(ValueError, match="0 or more, not -1"):
        emulator.faults.latency(-1)


def test_closed_connection_has_no_answer(emulator, create_session, setup):
    """close() ends the connection without a byte."""
    emulator.faults.next(1).close()

    with pytest.raises(http.client.RemoteDisconnected):
        create_session(setup)
    assert create_session(setup).status == 201
    assert len(emulator.events) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_reset_is_a_reset(emulator, scheme):
    """reset() sends an RST, under TLS too, and the server lives on."""
    fault = emulator.faults.next(1).reset()
    url = urlsplit(emulator.endpoint_url if scheme == "http" else emulator.https_endpoint_url)
    head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    plain = socket.create_connection((url.hostname, url.port), timeout=10)
    connection: socket.socket = plain
    if scheme == "https":
        context = ssl.create_default_context(cafile=emulator.ca_bundle)
        connection = context.wrap_socket(plain, server_hostname="localhost")

    with connection:
        connection.sendall(head)
        # Not by recv(): Python's TLS takes a reset for an end. A FIN alone is no hang-up.
        poll = select.poll()
        poll.register(connection, 0)
        assert poll.poll(10_000)
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error == errno.ECONNRESET

    assert fault.hits == 1
    assert emulator.control_plane().list_crls()["crls"] == []


def test_drop_knows_whether_it_is_a_reset(now):
    """A front that cannot reset may still tell the two apart."""
    faults = Faults(clock=lambda: now)
    faults.next(1).reset()
    faults.close()
    call = Call(Request("POST", "/sessions", "", ()))
    found = []
    for _ in range(2):
        with pytest.raises(Dropped) as caught:
            faults.run(call, lambda: RawAnswer(201, (), b""))
        found.append(caught.value.reset)

    assert found == [True, False]


# The service answers nonsense


def test_half_a_body_ends_early(emulator, create_session, setup):
    """The announced length is right, the body is cut, and the service has vended the session."""
    emulator.faults.half_body()

    with pytest.raises(http.client.IncompleteRead) as caught:
        create_session(setup)
    assert abs(len(caught.value.partial) - (caught.value.expected or 0)) <= 1
    assert [event.outcome for event in emulator.events] == ["success"]


def test_bad_json_is_none(emulator, create_session, setup):
    """The body cannot be parsed."""
    emulator.faults.bad_json()

    with pytest.raises(json.JSONDecodeError):
        create_session(setup)


def test_success_may_be_empty(emulator, create_session, setup):
    """A 201 without credentials, and one whose keys are null."""
    with emulator.faults.empty_credential_set():
        answer = create_session(setup)
        assert (answer.status, answer.body["credentialSet"]) == (201, [])
    with emulator.faults.null_keys():
        credentials = create_session(setup).session["credentials"]
    assert credentials == {
        "accessKeyId": None,
        "secretAccessKey": None,
        "sessionToken": None,
        "expiration": "2026-05-04T13:00:00Z",
    }


def test_spoilt_success_leaves_refusals_alone(emulator, create_session, setup):
    """What is not there cannot be taken away."""
    emulator.faults.empty_credential_set()
    emulator.faults.null_keys()

    assert create_session(setup, tamper=True).refusal[2] == "Invalid signature"


# Time is out of joint


def test_credentials_may_be_expired_or_live_for_seconds(emulator, create_session, setup, now):
    """The expiry is in the past, seconds ahead, or as it would have been if that is less."""

    def expiration() -> datetime:
        text = create_session(setup).session["credentials"]["expiration"]
        return datetime.fromisoformat(text.replace("Z", "+00:00"))

    with emulator.faults.expired_credentials():
        assert expiration() == now - timedelta(seconds=60)
    with emulator.faults.expired_credentials(seconds=5):
        assert expiration() == now - timedelta(seconds=5)
    with emulator.faults.short_lived(4):
        assert expiration() == now + timedelta(seconds=4)
    with emulator.faults.short_lived(100_000):
        assert expiration() == now + timedelta(seconds=3600)
    assert emulator.sessions[2].expiration == now + timedelta(seconds=4)


@pytest.mark.parametrize("seconds", [600, -600])
def test_skewed_clock_judges_and_answers(emulator, create_session, setup, now, seconds):
    """A service whose clock is off refuses good requests, and its Date says what it thinks."""
    emulator.faults.skew_clock(seconds)
    there = now + timedelta(seconds=seconds)

    refused, accepted = create_session(setup), create_session(setup, at=there)

    assert refused.status == 403
    assert accepted.status == 201
    for answer in (refused, accepted):
        assert parsedate_to_datetime(answer.headers["date"]) == there
    assert emulator.now() == now


def test_throttle_goes_by_the_emulators_clock(create_session):
    """Ten at once, then none until the clock moves."""
    moment = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
    times = [moment]
    with Emulator(clock=lambda: times[0]) as emulator:
        setup = emulator.set_up()
        fault = emulator.faults.throttle()

        assert statuses(create_session, setup, 12) == [201] * 10 + [429] * 2
        times[0] += timedelta(seconds=0.2)
        assert statuses(create_session, setup, 3) == [201] * 2 + [429]

        assert create_session(setup).refusal == (429, "ThrottlingException", "Rate exceeded")
        assert fault.hits == 4
        assert repr(fault) == "<throttle(10 a second by account): 4 hits>"
        assert len(emulator.events) == 12


def test_throttle_counts_by_certificate_or_address(emulator, create_session, setup):
    """Another certificate has a rate of its own; the address is the same for all."""
    other = emulator.set_up()
    with emulator.faults.throttle(per_second=1, by="certificate"):
        assert statuses(create_session, setup, 2) == [201, 429]
        assert statuses(create_session, other, 2) == [201, 429]
    with emulator.faults.throttle(per_second=1, by="address"):
        assert statuses(create_session, setup, 2) == [201, 429]
        assert statuses(create_session, other, 1) == [429]


def test_throttle_must_be_a_rate(emulator):
    """A rate is above 0, and of something."""
    with pytest.raises(ValueError, match="above 0, not 0"):
        emulator.faults.throttle(per_second=0)
    with pytest.raises(ValueError, match="account, certificate, address, not 'colour'"):
        emulator.faults.throttle(by="colour")
