"""Several hooks at once, of sign-ins and of their requests: against the emulator."""

from __future__ import annotations

import pytest

from rolesanywhere_auth import (
    RenewalEvent,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    RolesAnywhereError,
    TransportError,
    assume_role,
)
from rolesanywhere_auth.events import AttemptEvent
from rolesanywhere_auth.exchange import HTTPResponse
from rolesanywhere_auth.hooks import Hooks
from rolesanywhere_auth.renewed import RenewedCredentials
from rolesanywhere_auth.signing import HTTPRequest
from rolesanywhere_auth.testing import Emulator


@pytest.fixture
def credentials(emulator: Emulator) -> RolesAnywhereCredentials:
    """They sign in in the thread that asks, so that hooks are told before it goes on."""
    config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    found = RolesAnywhereCredentials(config, sleep=lambda _: None)
    found._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    return found


def boom(_: object) -> None:
    """A hook with a mistake."""
    raise ZeroDivisionError


def test_a_hook_that_raises_disturbs_neither_the_renewal_nor_the_others(
    credentials: RolesAnywhereCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told of each event, in the order in which they came; what one raises is logged."""
    first: list[RenewalEvent] = []
    last: list[RenewalEvent] = []
    credentials.add_hook(first.append)
    credentials.add_hook(boom, attempts=boom)
    credentials.add_hook(last.append)

    assert credentials.get_frozen_credentials().access_key.startswith("ASIA")

    assert [event.kind for event in first] == ["started", "succeeded"]
    assert first == last
    assert first[1].serial_number == credentials.health().certificate_serial_number
    assert caplog.text.count("the hook for renewal events failed") == 2
    assert caplog.text.count("the hook for requests failed") == 1


def test_each_request_of_a_sign_in_is_told(
    emulator: Emulator, credentials: RolesAnywhereCredentials
) -> None:
    """What was tried again within a sign-in shows, though the sign-in went well."""
    told: list[AttemptEvent] = []
    credentials.add_hook(lambda _: None, attempts=told.append)
    emulator.fail_next(2)

    credentials.get_frozen_credentials()

    assert [(event.number, event.status) for event in told] == [(1, 503), (2, 503), (3, 201)]
    assert all(event.url.startswith("http://127.0.0.1:") for event in told)
    assert all(event.url.endswith("/sessions") for event in told)
    assert all(event.request_id and event.duration > 0 for event in told)
    assert told[0].at <= told[1].at <= told[2].at


def test_a_request_without_an_answer_is_told() -> None:
    """The error is told and goes on; the URL is told without user, password and query."""
    told: list[AttemptEvent] = []
    hooks = Hooks(now=lambda: 0.0)
    hooks.add(lambda _: None, attempts=told.append)

    def send(_: HTTPRequest) -> HTTPResponse:
        raise TransportError("no answer", endpoint="https://host:1")

    request = HTTPRequest("POST", "https://user:secret@host:1/sessions?a=secret", {}, b"")
    with pytest.raises(TransportError, match="no answer"):
        hooks.watched(send)(request)

    [event] = told
    assert isinstance(event.error, TransportError)
    assert (event.number, event.status, event.request_id) == (1, None, None)
    assert event.url == "https://host:1/sessions"
    assert event.at.timestamp() == 0.0


def test_without_hooks_nothing_is_in_the_way() -> None:
    """Who listens to nothing pays nothing."""

    def send(_: HTTPRequest) -> HTTPResponse:
        raise AssertionError

    assert Hooks().watched(send) is send


def test_the_next_role_has_hooks_too(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a role that a role assumes, sign-ins and requests are told in the same way."""
    events: list[RenewalEvent] = []
    told: list[AttemptEvent] = []
    config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{emulator.endpoint_url}/no-sts-is-here")
    session = assume_role(config, role_arn="arn:aws:iam::222233334444:role/next")
    credentials = session.get_credentials()
    assert isinstance(credentials, RenewedCredentials)
    credentials._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    credentials.add_hook(events.append, attempts=told.append)

    with pytest.raises(RolesAnywhereError):
        credentials.get_frozen_credentials()

    assert [event.kind for event in events] == ["started", "failed"]
    assert told
    assert all("/no-sts-is-here" in event.url for event in told)
    assert credentials.labels == ("arn:aws:iam::222233334444:role/next", "")
