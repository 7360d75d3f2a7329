"""``rolesanywhere-auth update``: when it writes, and what ends it."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import pytest
from commands import sign_in_flags

from rolesanywhere_auth import cli, schedule
from rolesanywhere_auth.cli.update import LONGEST_SLEEP, Updater
from rolesanywhere_auth.errors import AccessDeniedError, TransportError
from rolesanywhere_auth.exchange import Clock, SessionCredentials
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing._setup import Setup


@pytest.fixture
def emulator(aws: Emulator) -> Emulator:
    """With STS behind it."""
    return aws


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared credentials file, with something of the user's."""
    path = tmp_path / "credentials"
    path.write_text("[own]\nregion = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def flags(setup: Setup) -> list[str]:
    """The command with the flags that sign in with *setup*."""
    return ["update", *sign_in_flags(setup)]


def test_once(emulator: Emulator, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--once writes the profile and ends with 0; boto3 and the AWS CLI take the credentials."""
    setup = emulator.set_up()
    assert cli.main([*flags(setup), "--profile", "app", "--once"]) == 0
    assert capsys.readouterr().out == ""
    assert file.read_text().startswith("[own]\nregion = x\n[app]\naws_access_key_id = ASIA")

    session = boto3.Session(profile_name="app", region_name="eu-west-1")
    identity = session.client("sts", endpoint_url=emulator.aws_endpoint_url).get_caller_identity()
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "aws"),
            *("sts", "get-caller-identity", "--profile", "app", "--output", "text"),
            *("--query", "Arn", "--region", "eu-west-1"),
            *("--endpoint-url", emulator.aws_endpoint_url),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (identity["Arn"], "")
    assert "assumed-role/app/" in identity["Arn"]


def test_default_profile(emulator: Emulator, file: Path) -> None:
    """Without --profile it is the default one."""
    assert cli.main([*flags(emulator.set_up()), "--once"]) == 0
    assert "\n[default]\naws_access_key_id" in file.read_text()


def test_what_cannot_work_ends_it(
    emulator: Emulator, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that no profile can have, and flags that contradict each other, are one line and 1,
    before anything is sent; with --once a refusal and an unwritable file are so too.
    """
    setup = emulator.set_up()
    assert cli.main([*flags(setup), "--profile", "a]b"]) == 1
    assert "cannot be the name of a profile" in capsys.readouterr().err
    assert cli.main([*flags(setup), "--session-duration", "1"]) == 1
    assert emulator.events == []
    file.unlink()
    file.mkdir()
    assert cli.main([*flags(setup), "--once"]) == 1
    assert str(file) in capsys.readouterr().err
    emulator.revoke(setup.leaf)
    assert cli.main([*flags(setup), "--once"]) == 1
    err = capsys.readouterr().err
    assert "Certificate revoked" in err
    assert err.count("\n") == 1


def wait_for(condition: Callable[[], bool]) -> None:
    """Until *condition* holds; half a minute at most."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_renews_until_a_signal_ends_it(
    number: signal.Signals, emulator: Emulator, file: Path, command: list[str]
) -> None:
    """It writes again before the credentials expire, says so on standard error, and a signal
    ends it with 0 and nothing left behind.
    """
    setup = emulator.set_up()
    with emulator.faults.short_lived(3):
        _update_until_renewed(number, emulator, file, [*command, *flags(setup)])


def _update_until_renewed(
    number: signal.Signals, emulator: Emulator, file: Path, command: list[str]
) -> None:
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        wait_for(lambda: len(emulator.events) > 1 and "[default]" in file.read_text())
    finally:
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (0, "")
    assert "wrote credentials until" in err
    parser = configparser.RawConfigParser()
    parser.read(file)
    for name in ("aws_secret_access_key", "aws_session_token"):
        assert parser["default"][name] not in err
    assert [each.name for each in file.parent.iterdir()] == [file.name]


class Scene:
    """A clock, a service and a file for an `Updater`."""

    def __init__(self, *answers: float | Exception, stop_at: float = 1e9) -> None:
        self.time = 1_000_000.0
        self.stop_at = self.time + stop_at
        self.answers = list(answers)
        self.clock = Clock(lambda: self.time)
        self.asked: list[float] = []
        self.written: list[float] = []
        self.waits: list[float] = []
        self.new_certificate_at: float | None = None
        self.full = False

    def __call__(self) -> SessionCredentials:
        self.asked.append(self.time - 1_000_000.0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SessionCredentials(
            access_key="a",
            secret_key="s",
            token="t",
            expiration=datetime.fromtimestamp(self.time, timezone.utc)
            + timedelta(seconds=answer + self.clock.offset),
            role_arn="arn:aws:iam::111122223333:role/app",
        )

    def poll(self) -> bool:
        due = self.new_certificate_at
        if due is None or self.time < due:
            return False
        self.new_certificate_at = None
        return True

    def write(self, found: SessionCredentials) -> None:
        if self.full:
            self.full = False
            raise OSError(28, "No space left on device")
        self.written.append(self.time - 1_000_000.0)

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.time += seconds
        return self.time >= self.stop_at or not self.answers

    def run(self, draw: float = 0.5) -> None:
        Updater(self, self.write, now=lambda: self.time, wait=self.wait, draw=lambda: draw).run()


def test_renews_at_the_moment_of_all_renewals() -> None:
    """The moment is that of the library's rules; the clock is looked at each minute."""
    scene = Scene(3600.0, 3600.0, 3600.0)
    scene.run()
    due = schedule.renewal_start(issued=0, expires=3600, spread=0.5)
    assert scene.asked == [0.0, due, 2 * due]
    assert max(scene.waits) == LONGEST_SLEEP


def test_a_wrong_clock_of_this_machine_does_not_move_the_renewal() -> None:
    """The expiry is by the service's clock, and is brought to the local one."""
    scene = Scene(3600.0, 3600.0)
    scene.clock.offset = -7200.0
    scene.run()
    assert scene.asked[1] == schedule.renewal_start(issued=0, expires=3600, spread=0.5)


def test_failures_do_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """It goes on after refusals, outages and a full disk, with back-off, saying each in one line;
    what it wrote last stays.
    """
    down = TransportError("no\nanswer", endpoint="https://x", retryable=True)
    denied = AccessDeniedError(
        "denied", status=403, code="AccessDeniedException", service_message="denied"
    )
    scene = Scene(down, denied, 900.0, down, down, 900.0, 900.0)
    scene.full = True
    scene.run()
    assert len(scene.asked) == 7
    assert len(scene.written) == 3 - 1
    gaps = [b - a for a, b in zip(scene.asked, scene.asked[1:], strict=False)]
    assert min(gaps) >= schedule.SHORTEST_BACKOFF
    lines = [each.message for each in caplog.records]
    assert lines[0].startswith("no answer; next attempt at ")
    assert lines[1].startswith("denied; next attempt at ")
    assert lines[2].startswith("[Errno 28] No space left on device; next attempt at ")


def test_a_throttled_first_sign_in_waits_longer() -> None:
    """The rules of back-off hear what the service said."""
    from rolesanywhere_auth.errors import ThrottlingError

    slow = ThrottlingError(
        "slow",
        status=429,
        code="ThrottlingException",
        service_message="slow",
        retry_after=120.0,
    )
    scene = Scene(slow, 900.0, 900.0)
    scene.run()
    assert scene.asked[1] >= 120


def test_a_new_certificate_is_used_at_once() -> None:
    """Within a minute or two of its coming, not at the next renewal."""
    scene = Scene(3600.0, 3600.0, 3600.0)
    scene.new_certificate_at = scene.time + 90
    scene.run()
    assert scene.asked[1] == 120.0


def test_stops_while_it_sleeps() -> None:
    """Time to stop is noticed in the midst of a sleep."""
    scene = Scene(3600.0, 3600.0, stop_at=100)
    scene.run()
    assert scene.asked == [0.0]


def test_stops_when_it_is_due() -> None:
    """A stop that came during the last moment of sleep still comes before a sign-in."""
    due = schedule.renewal_start(issued=0, expires=3600, spread=0.5)
    scene = Scene(3600.0, 3600.0, stop_at=due)
    scene.run()
    assert scene.asked == [0.0]
