"""Events and health: frozen values that hold no secret."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.events import Health, RenewalEvent, RenewalHook
from rolesanywhere_auth.testing import Emulator

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_an_event_cannot_change() -> None:
    """One object goes to every hook; what is not known yet is None."""
    event = RenewalEvent(kind="started", at=NOW, attempt=1)
    with pytest.raises(AttributeError):
        event.kind = "failed"  # type: ignore[misc]
    assert (event.duration, event.expires_at, event.serial_number) == (None, None, None)
    assert (event.error, event.next_attempt) == (None, None)


def test_health_cannot_change() -> None:
    """It is what was true at one moment."""
    health = Health(
        state="none",
        circuit="closed",
        expires_at=None,
        last_success=None,
        last_error=None,
        next_attempt=None,
        certificate_serial_number=None,
        certificate_expires_at=None,
    )
    with pytest.raises(AttributeError):
        health.state = "fresh"  # type: ignore[misc]


def test_a_hook_is_any_callable_and_may_ask_for_health() -> None:
    """It is told of a sign-in in order, and what it sees of the state holds no secret."""
    seen: list[tuple[RenewalEvent, Health]] = []

    class Hook:
        def __call__(self, event: RenewalEvent, /) -> object:
            seen.append((event, credentials.health()))
            if len(seen) == 1:
                raise ZeroDivisionError
            return None

    hook: RenewalHook = Hook()
    with Emulator() as emulator:
        config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
        credentials = RolesAnywhereCredentials(config, on_event=hook)
        credentials._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
        frozen = credentials.get_frozen_credentials()

    assert [event.kind for event, _ in seen] == ["started", "succeeded"]
    assert [health.state for _, health in seen] == ["none", "fresh"]
    last, health = seen[-1]
    assert last.expires_at == health.expires_at == credentials.expires_at
    assert last.serial_number == health.certificate_serial_number
    assert last.duration is not None
    assert 0 < last.duration < 60
    assert str(frozen.secret_key) not in repr(seen)
    assert str(frozen.token) not in repr(seen)
