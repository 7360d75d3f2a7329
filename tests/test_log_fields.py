"""Fields of log records: what a formatter that writes JSON gets of real sign-ins."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
)
from rolesanywhere_auth.events import Labels, RenewalEvent
from rolesanywhere_auth.log_fields import event_fields, log_fields
from rolesanywhere_auth.testing import Emulator

PAGE = Path(__file__).parents[1] / "docs" / "telemetry.md"
USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Clock:
    """It starts now and moves when told."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def made(emulator: Emulator, clock: Callable[[], float], **more: Any) -> RolesAnywhereCredentials:
    """Credentials that sign in in the thread that asks."""
    config = RolesAnywhereConfig(**{**emulator.set_up().config_arguments(), **more})
    found = RolesAnywhereCredentials(config, now=clock, sleep=lambda _: None)
    found._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    return found


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What is not in every record, after a journey through JSON."""
    more = {name: value for name, value in vars(record).items() if name not in USUAL}
    found: dict[str, Any] = json.loads(json.dumps(more))
    return found


def ours(caplog: pytest.LogCaptureFixture, text: str) -> dict[str, Any]:
    """The fields of the one record of the library that says *text*."""
    [record] = [each for each in caplog.records if text in each.getMessage()]
    return fields(record)


def test_sign_ins_and_failures(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Role, profile, certificate, moments, attempt and error are fields; no secret is."""
    caplog.set_level(logging.DEBUG, "rolesanywhere_auth")
    clock = Clock()
    credentials = made(emulator, clock)
    frozen = credentials.get_frozen_credentials()
    signed_in = ours(caplog, "signed in to")
    health = credentials.health()
    whose = {
        "role_arn": credentials.config.role_arn,
        "profile_arn": credentials.config.profile_arn,
    }
    assert health.expires_at
    assert health.certificate_expires_at
    expires = health.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert signed_in == {
        **whose,
        "serial_number": f"{health.certificate_serial_number:x}",
        "expires_at": expires,
        "certificate_expires_at": health.certificate_expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }

    clock.ahead = 3600 + 30
    emulator.advance(clock.ahead)
    emulator.fail_next(3)
    assert credentials.get_frozen_credentials() == frozen
    failed = ours(caplog, "renewal failed")
    next_attempt = credentials.health().next_attempt
    assert next_attempt
    assert failed.pop("duration") > 0
    assert failed == {
        **whose,
        "kind": "failed",
        "attempt": 1,
        "expires_at": expires,
        "error": "ServiceUnavailableError",
        "next_attempt": next_attempt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    shown = [json.dumps(fields(record)) for record in caplog.records]
    for secret in (frozen.access_key, frozen.secret_key, frozen.token):
        assert not any(str(secret) in each for each in shown)


def test_expired_credentials_that_are_given_out(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning is about whose they are, since when, and why."""
    moment = time.time()
    credentials = made(emulator, lambda: moment)
    credentials.get_frozen_credentials()
    health = credentials.health()
    assert health.expires_at
    emulator.advance(3600)
    emulator.fail_next(1)
    moment = health.expires_at.timestamp() - 2
    credentials.get_frozen_credentials()
    moment += 3  # and no other attempt is made within five seconds
    credentials.get_frozen_credentials()

    found = ours(caplog, "expired credentials are still given out")
    assert found["role_arn"] == credentials.config.role_arn
    assert found["error"] == "ServiceUnavailableError"
    assert found["expires_at"] == health.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_certificates(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """That one expires, is replaced, or cannot be loaded, is said with file and serial number."""
    caplog.set_level(logging.INFO, "rolesanywhere_auth")
    setup = emulator.set_up(session_duration=900)
    config = RolesAnywhereConfig(**setup.config_arguments(), session_duration=900)
    start = datetime.now(timezone.utc)
    old = setup.authority.issue(
        "app",
        not_valid_before=start - timedelta(days=90),
        not_valid_after=start + timedelta(days=6, hours=12),
    )
    setup.certificate.write_text(old.certificate_pem)
    setup.private_key.write_text(old.private_key_pem)
    credentials = RolesAnywhereCredentials(config)
    credentials._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    credentials.get_frozen_credentials()

    warned = ours(caplog, "days left")
    assert warned["days_left"] == 6
    assert warned["serial_number"] == f"{old.serial_number:x}"
    assert warned["source"] == str(setup.certificate)

    new = setup.authority.issue("app")
    setup.certificate.write_text(new.certificate_pem)
    credentials._sign_in.poll()
    stays = ours(caplog, "stays in use")
    assert stays["serial_number"] == f"{old.serial_number:x}"
    assert stays["error"] == "KeyMismatchError"
    setup.private_key.write_text(new.private_key_pem)
    credentials._sign_in.poll()
    changed = ours(caplog, "changed; signing in")
    assert changed["serial_number"] == f"{new.serial_number:x}"
    assert changed["certificate_expires_at"].endswith("Z")


def test_a_session_of_the_hosts_cache(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """What another process signed in for is said of the same role, with the same fields."""
    caplog.set_level(logging.DEBUG, "rolesanywhere_auth")
    first = made(emulator, Clock(), cache=tmp_path / "cache")
    first.get_frozen_credentials()
    second = RolesAnywhereCredentials(replace(first.config))
    second._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    second.get_frozen_credentials()

    found = ours(caplog, "from the host cache")
    assert set(found) == {"role_arn", "profile_arn", "expires_at"}
    assert found["role_arn"] == first.config.role_arn


def test_names_are_those_of_events_and_of_the_page() -> None:
    """Every field stands in the table of the documentation, and is named as in event or health."""
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    event = RenewalEvent(
        "failed",
        moment,
        2,
        1.23456789,
        moment,
        255,
        ZeroDivisionError(),
        moment + timedelta(hours=1),
    )
    told = event_fields(event, Labels("arn:role", "arn:profile"))
    assert told == {
        "role_arn": "arn:role",
        "profile_arn": "arn:profile",
        "kind": "failed",
        "attempt": 2,
        "duration": 1.234568,
        "expires_at": "2026-01-01T00:00:00Z",
        "serial_number": "ff",
        "error": "ZeroDivisionError",
        "next_attempt": "2026-01-01T01:00:00Z",
    }
    assert set(told) - {"role_arn", "profile_arn"} <= set(RenewalEvent._fields)
    every = {*told, *log_fields(certificate_expires_at=moment, days_left=1, source="a.pem")}
    assert log_fields() == log_fields(labels=Labels()) == {}

    section = PAGE.read_text(encoding="utf-8").partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    formatter = set(re.findall(r'"(\w+)",', section.partition("fields = (")[2].partition(")")[0]))
    assert named == every == formatter


def test_no_field_hides_one_of_logging() -> None:
    """``logging`` refuses a record whose extra field has a name of its own: these have not."""
    every = log_fields(
        labels=Labels("a", "b"), kind="failed", attempt=1, duration=1.0, source="a", days_left=1
    )
    assert not set(every) & USUAL
