"""Credentials that sign in when first needed, and again before expiry: against the emulator."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.session import Session

from rolesanywhere_auth import (
    AccessDeniedError,
    CertificateExpiredError,
    CertificateLoadError,
    CertificateRevokedError,
    InvalidResponseError,
    RenewalEvent,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    ServiceUnavailableError,
    SignInTimeoutError,
    TransportError,
    create_session,
)
from rolesanywhere_auth.credentials import SignIn
from rolesanywhere_auth.keeper import Keeper
from rolesanywhere_auth.testing import Emulator


class Time:
    """A clock that starts now and moves when told."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Let the time pass without waiting."""
        self.slept.append(seconds)


def credentials_for(config: RolesAnywhereConfig, clock: Time) -> RolesAnywhereCredentials:
    """Credentials that go by *clock*."""
    return RolesAnywhereCredentials(config, now=clock, sleep=clock.sleep)


def sign_ins(emulator: Emulator) -> int:
    """How many CreateSession calls reached the service."""
    return len(emulator.events)


def test_nothing_happens_before_the_first_use(config: RolesAnywhereConfig) -> None:
    """Making them reads no file and sends nothing; the account id is known at once."""
    gone = replace(config, certificate="/no/such/file.pem")
    credentials = RolesAnywhereCredentials(gone)

    assert isinstance(credentials, RefreshableCredentials)
    assert credentials.method == "custom-rolesanywhere"
    assert credentials.account_id == "111122223333"
    assert credentials.expires_at is None
    assert credentials.refresh_needed()
    with pytest.raises(CertificateLoadError, match=r"/no/such/file\.pem"):
        credentials.get_frozen_credentials()


def test_first_use_signs_in(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """The first use gives one session's keys and the role's account; later ones the same."""
    credentials = RolesAnywhereCredentials(config)
    before = time.time()

    frozen = credentials.get_frozen_credentials()

    assert isinstance(frozen, ReadOnlyCredentials)
    assert frozen.access_key.startswith("ASIA")
    assert frozen.secret_key
    assert frozen.account_id == "111122223333"
    assert (credentials.access_key, credentials.secret_key, credentials.token) == (
        frozen.access_key,
        frozen.secret_key,
        frozen.token,
    )
    assert credentials.expires_at is not None
    assert 3590 <= credentials.expires_at.timestamp() - before <= 3610
    assert sign_ins(emulator) == 1


def test_fifty_calls_on_the_shortest_session_sign_in_once(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """50 calls on a 900 s session make one CreateSession (botocore's own windows make 50)."""
    credentials = RolesAnywhereCredentials(replace(config, session_duration=900))

    keys = {credentials.get_frozen_credentials().access_key for _ in range(50)}

    assert len(keys) == 1
    assert sign_ins(emulator) == 1


def renewed(credentials: RolesAnywhereCredentials, old: ReadOnlyCredentials) -> bool:
    """Whether the background thread replaces *old* within ten seconds of calls."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if credentials.get_frozen_credentials() != old:
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize(
    ("duration", "window"),
    [(900, 300), (1200, 300), (1260, 420), (3600, 900), (5340, 900), (5400, 1800), (43200, 3600)],
)
def test_renewal_window_by_lifetime(emulator: Emulator, duration: int, window: int) -> None:
    """5, 15 and 60 minutes before expiry for lifetimes up to 20, under 90 minutes, and longer.

    But a third of the life at most. Within it the background thread renews; before it nothing does.
    """
    clock = Time()
    setup = emulator.set_up(session_duration=duration)
    config = RolesAnywhereConfig(**setup.config_arguments(), session_duration=duration)
    credentials = credentials_for(config, clock)
    first = credentials.get_frozen_credentials()

    clock.ahead = duration - window - 5
    assert credentials.get_frozen_credentials() == first
    assert credentials.health().state == "fresh"
    assert not credentials.refresh_needed()
    assert credentials.refresh_needed(window + 10)
    clock.ahead = duration - window + 5
    assert credentials.refresh_needed()
    assert credentials.health().state == "stale"
    emulator.advance(duration - 65)
    clock.ahead = duration - 65
    assert renewed(credentials, first)
    assert sign_ins(emulator) == 2


def test_many_threads_make_one_sign_in(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """64 threads that come at once to a cold object get the same keys of one sign-in."""
    credentials = RolesAnywhereCredentials(config)
    gate = threading.Barrier(64)
    keys: list[str] = []

    def use() -> None:
        gate.wait()
        keys.append(credentials.get_frozen_credentials().access_key)

    threads = [threading.Thread(target=use) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 64
    assert len(set(keys)) == 1
    assert sign_ins(emulator) == 1


def test_failed_renewal_keeps_good_credentials(
    emulator: Emulator, config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """While the credentials are good, a failing service costs a warning and no caller's time."""
    events: list[RenewalEvent] = []
    clock = Time()
    credentials = RolesAnywhereCredentials(
        config, now=clock, sleep=clock.sleep, on_event=events.append
    )
    first = credentials.get_frozen_credentials()
    emulator.fail_next(1)
    emulator.advance(3600 - 200)
    clock.ahead = 3600 - 200

    while len(events) < 4:
        assert credentials.get_frozen_credentials() == first
        time.sleep(0.001)

    assert [event.kind for event in events] == ["started", "succeeded", "started", "failed"]
    assert not clock.slept  # one request: the back-off sees to the next
    assert caplog.text.count("renewal failed") == 1
    health = credentials.health()
    assert (health.state, health.circuit) == ("stale", "open")
    assert isinstance(health.last_error, ServiceUnavailableError)
    assert health.next_attempt == events[-1].next_attempt
    assert health.certificate_serial_number == events[-1].serial_number

    emulator.advance(60)
    clock.ahead += 60
    assert renewed(credentials, first)
    assert credentials.health().circuit == "closed"
    assert credentials.health().last_error is None


def test_last_minute_waits_and_still_serves_what_is_valid(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """In the last minute a call waits for the sign-in; if that fails, it gets what still works."""
    clock = Time()
    credentials = credentials_for(config, clock)
    first = credentials.get_frozen_credentials()
    emulator.fail_next(1)
    emulator.advance(3600 - 30)
    clock.ahead = 3600 - 30

    assert credentials.get_frozen_credentials() == first
    assert not clock.slept
    assert credentials.health().circuit == "open"


@pytest.mark.parametrize("serve_expired", [True, False])
def test_outage_beyond_expiry(
    emulator: Emulator, config: RolesAnywhereConfig, serve_expired: bool
) -> None:
    """In an outage the expired credentials are given out with a warning, unless told otherwise."""
    clock = Time()
    credentials = credentials_for(replace(config, serve_expired=serve_expired), clock)
    first = credentials.get_frozen_credentials()
    emulator.fail_next(3)
    emulator.advance(3600 + 30)
    clock.ahead = 3600 + 30

    if serve_expired:
        assert credentials.get_frozen_credentials() == first
        assert credentials.health().state == "expired"
    else:
        with pytest.raises(ServiceUnavailableError):
            credentials.get_frozen_credentials()
    emulator.advance(20)
    clock.ahead += 20
    assert credentials.get_frozen_credentials() != first


def test_no_credentials_and_no_service_is_an_error(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Without any credentials the first failure is raised, and stands for some seconds."""
    clock = Time()
    credentials = credentials_for(config, clock)
    emulator.fail_next(3)

    for _ in range(5):
        with pytest.raises(ServiceUnavailableError):
            credentials.get_frozen_credentials()
    assert len(clock.slept) == 2
    clock.ahead = 11
    assert credentials.get_frozen_credentials().access_key.startswith("ASIA")


def test_call_waits_no_longer_than_it_may(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A service that does not answer costs a caller its own deadline, no more."""
    credentials = RolesAnywhereCredentials(replace(config, wait_timeout=0.05))
    go_on = threading.Event()

    def hang(_: Any) -> str:
        go_on.wait(10)
        return "pass"

    emulator.inject(hang)
    with pytest.raises(SignInTimeoutError, match=r"0\.05 s"):
        credentials.get_frozen_credentials()
    go_on.set()
    for _ in range(200):  # of 0.05 s each, at most
        with contextlib.suppress(SignInTimeoutError):
            assert credentials.get_frozen_credentials().access_key.startswith("ASIA")
            break
    assert credentials.health().state == "fresh"


def test_rotated_certificate_renews_early(emulator: Emulator) -> None:
    """New files are noticed by the background thread, and signed in with before expiry."""
    events: list[RenewalEvent] = []
    clock = Time()
    setup = emulator.set_up()
    config = RolesAnywhereConfig(**setup.config_arguments())
    credentials = RolesAnywhereCredentials(config, now=clock, on_event=events.append)
    first = credentials.get_frozen_credentials()
    new = setup.authority.issue("app", key_type="rsa-2048")
    setup.private_key.write_text(new.private_key_pem)
    setup.certificate.write_text(new.certificate_pem)

    credentials._renewal._polled -= 61  # a minute has passed since the last look
    credentials._renewal._keeper.wake()

    assert renewed(credentials, first)
    assert credentials.health().certificate_serial_number == new.serial_number
    while len(events) < 4:  # told after the callers are
        time.sleep(0.001)
    assert events[-1].serial_number == new.serial_number
    assert events[-1].kind == "succeeded"


def test_revoked_certificate_is_refused_at_the_next_sign_in(emulator: Emulator) -> None:
    """Revocation stops new sessions, not the one that was issued."""
    clock = Time()
    setup = emulator.set_up()
    credentials = credentials_for(RolesAnywhereConfig(**setup.config_arguments()), clock)
    first = credentials.get_frozen_credentials()
    emulator.revoke(setup.leaf)

    assert credentials.get_frozen_credentials() == first
    emulator.advance(3600)
    clock.ahead = 3600
    with pytest.raises(CertificateRevokedError) as caught:
        credentials.get_frozen_credentials()
    assert (caught.value.status, caught.value.service_message) == (403, "Certificate revoked")
    assert caught.value.request_id


def test_leaf_that_expires_meanwhile_is_not_sent(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """A certificate that expired since it was loaded is an error before any request."""
    clock = Time()
    credentials = credentials_for(config, clock)
    credentials.get_frozen_credentials()
    clock.ahead = 400 * 86400

    with pytest.raises(CertificateExpiredError):
        credentials.get_frozen_credentials()
    assert sign_ins(emulator) == 1


def test_wrong_clock_is_corrected_once_and_remembered(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """A clock an hour behind costs one refusal; the next sign-in uses the right time at once.

    The moment of renewal goes by the corrected clock too.
    """
    emulator.advance(3600)
    clock = Time()
    credentials = credentials_for(config, clock)

    first = credentials.get_frozen_credentials()

    assert [event.error_code is None for event in emulator.events] == [False, True]
    assert not credentials.refresh_needed()
    emulator.advance(3600 - 120)
    clock.ahead = 3600 - 120
    assert renewed(credentials, first)
    assert [event.error_code is None for event in emulator.events] == [False, True, True]


def test_misled_clock_finds_back(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A wrong Date of the service's own is got over: the certificate fits by the local clock."""
    clock = Time()
    credentials = credentials_for(config, clock)
    body = b'{"message":"Invalid signature"}'
    headers = {"Date": "Sun, 22 Nov 2048 12:00:00 GMT", "x-amzn-RequestId": "r"}
    emulator.inject(*[(403, headers, body)] * 2)
    with pytest.raises(AccessDeniedError):
        credentials.get_frozen_credentials()

    emulator.advance(6)
    clock.ahead = 6
    assert credentials.get_frozen_credentials().access_key.startswith("ASIA")


def test_lasting_refusal_is_logged_once(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is asked again, a refusal stands in the log once, at ERROR."""
    clock = Time()
    setup = emulator.set_up()
    credentials = credentials_for(RolesAnywhereConfig(**setup.config_arguments()), clock)
    emulator.revoke(setup.leaf)
    for _ in range(4):
        with pytest.raises(CertificateRevokedError):
            credentials.get_frozen_credentials()
        emulator.advance(6)
        clock.ahead += 6

    assert sign_ins(emulator) == 4
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"credentialSet":[]}',
        (
            b'{"credentialSet":[{"credentials":{"accessKeyId":null,"secretAccessKey":null,'
            b'"sessionToken":null,"expiration":"2099-01-01T00:00:00Z"}}]}'
        ),
        (
            b'{"credentialSet":[{"credentials":{"accessKeyId":"A","secretAccessKey":"B",'
            b'"sessionToken":"C","expiration":"2020-01-01T00:00:00Z"}}]}'
        ),
        b'{"credentialSet":[{"cred',
    ],
)
def test_bad_answer_is_never_a_result(
    emulator: Emulator, config: RolesAnywhereConfig, body: bytes
) -> None:
    """A success without complete, valid credentials is an error, and replaces nothing."""
    clock = Time()
    credentials = credentials_for(config, clock)
    first = credentials.get_frozen_credentials()
    emulator.inject((201, {"Content-Type": "application/json"}, body))
    emulator.advance(3600 - 30)
    clock.ahead = 3600 - 30

    assert credentials.get_frozen_credentials() == first
    assert isinstance(credentials.health().last_error, InvalidResponseError)
    emulator.advance(25)
    clock.ahead += 25
    assert credentials.get_frozen_credentials() != first


def test_dropped_connections_are_tried_again(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Two dropped connections are healed by the third attempt, with growing pauses at most."""
    clock = Time()
    emulator.inject("drop", "drop")

    credentials_for(config, clock).get_frozen_credentials()

    assert len(clock.slept) == 2
    assert clock.slept[0] <= 0.05
    assert clock.slept[1] <= 0.1


def test_attempts_end(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """After max_attempts the last error is raised."""
    clock = Time()
    emulator.inject("drop", "drop")

    with pytest.raises(TransportError):
        credentials_for(replace(config, max_attempts=2), clock).get_frozen_credentials()
    assert len(clock.slept) == 1


def test_processes_may_share_sessions(
    emulator: Emulator, config: RolesAnywhereConfig, tmp_path: Path
) -> None:
    """With a cache two objects, as of two processes, sign in once, and renew once."""
    clock = Time()
    shared = replace(config, cache=tmp_path / "cache")
    one, other = credentials_for(shared, clock), credentials_for(shared, clock)

    first = one.get_frozen_credentials()
    assert other.get_frozen_credentials() == first
    assert sign_ins(emulator) == 1

    assert one.health().state == "fresh"
    emulator.advance(3600 - 30)
    clock.ahead = 3600 - 30
    second = other.get_frozen_credentials()
    assert second != first
    assert one.get_frozen_credentials() == second
    assert sign_ins(emulator) == 2


def test_a_late_process_knows_how_old_a_shared_session_is(
    config: RolesAnywhereConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds in the cache within the advisory window serves it, and is due to be renewed."""
    # A thread that is awake when the clock goes on would renew at once.
    monkeypatch.setattr(Keeper, "ensure", lambda self: False)
    clock = Time()
    shared = replace(config, cache=tmp_path / "cache")
    first = credentials_for(shared, clock).get_frozen_credentials()

    clock.ahead = 3600 - 800
    late = credentials_for(shared, clock)
    assert late.get_frozen_credentials() == first
    assert late.health().state == "stale"


def test_cache_lies_in_memory_unless_told_otherwise(
    emulator: Emulator, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cache=True means a private folder in the user's run-time directory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        shared = replace(config, cache=True)
        keys = {RolesAnywhereCredentials(shared).access_key for _ in range(2)}
        assert list(Path(folder).iterdir())

    assert len(keys) == 1
    assert sign_ins(emulator) == 1


def test_missing_certificate_is_logged_once(
    config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not there stands in the log once, however often it is looked for."""
    caplog.set_level(logging.DEBUG)
    clock = Time()
    credentials = credentials_for(replace(config, certificate="/no/such/file.pem"), clock)
    for _ in range(3):
        with pytest.raises(CertificateLoadError):
            credentials.get_frozen_credentials()
        clock.ahead += 6

    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert caplog.text.count("signing in failed:\n") == 3  # where, at DEBUG


@pytest.fixture
def metadata_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An instance metadata service, which botocore is told of: the paths it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        yield asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("with_session", [True, False])
def test_nobody_else_is_asked_for_credentials(
    emulator: Emulator,
    config: RolesAnywhereConfig,
    metadata_service: list[str],
    monkeypatch: pytest.MonkeyPatch,
    with_session: bool,
) -> None:
    """Finding the endpoint and signing in build no client, and go through no credential chain.

    At the end of a chain that finds nothing stands the instance metadata service.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", str(config.endpoint_url))
    clients: list[object] = []
    monkeypatch.setattr(Session, "create_client", lambda *_, **__: clients.append(1))

    create_session(replace(config, endpoint_url=None), session=Session() if with_session else None)

    assert sign_ins(emulator) == 1
    assert (clients, metadata_service) == ([], [])
    assert Session().get_credentials() is None
    assert "/latest/api/token" in metadata_service


def test_create_session_is_one_call(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """create_session() gives the whole answer, typed, and shows no secret."""
    found = create_session(config)

    assert found.access_key.startswith("ASIA")
    assert found.role_arn == config.role_arn
    assert str(found.assumed_role_arn).startswith("arn:aws:sts::111122223333:assumed-role/app/")
    assert str(found.subject_arn).split(":")[2:5] == ["rolesanywhere", "eu-west-1", "111122223333"]
    assert found.source_identity == "CN=app"
    assert found.account_id == "111122223333"
    assert found.expiration > datetime.now(timezone.utc)
    for secret in (found.secret_key, found.token):
        assert secret not in repr(found)
    assert sign_ins(emulator) == 1


def test_pickle_carries_the_configuration_alone(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """A copy in another process signs in by itself: no secret travels."""
    credentials = RolesAnywhereCredentials(config)
    frozen = credentials.get_frozen_credentials()

    pickled = pickle.dumps(credentials)
    again = pickle.loads(pickled)

    for secret in (frozen.secret_key, frozen.token, frozen.access_key):
        assert str(secret).encode() not in pickled
    assert again.config == config
    assert again.get_frozen_credentials() != frozen
    assert copy.deepcopy(credentials) is copy.copy(credentials) is credentials
    assert sign_ins(emulator) == 2


def test_child_of_fork_signs_in_by_itself(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A child forked while another thread signs in does not hang on the parent's lock."""
    credentials = RolesAnywhereCredentials(config)
    inside, go_on = threading.Event(), threading.Event()

    def hold(_: Any) -> str:
        inside.set()
        go_on.wait(10)
        return "pass"

    emulator.inject(hold)
    thread = threading.Thread(target=credentials.get_frozen_credentials)
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:  # pragma: no cover - a process of its own
        ok = credentials.get_frozen_credentials().access_key.startswith("ASIA")
        os._exit(0 if ok else 1)
    status = _wait_for(child, seconds=10)
    go_on.set()
    thread.join()

    assert status == 0


def test_child_of_fork_watches_by_itself(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A child goes on with the inherited credentials, and its first call starts its own thread."""
    credentials = RolesAnywhereCredentials(config)
    frozen = credentials.get_frozen_credentials()
    child = os.fork()
    if child == 0:  # pragma: no cover - a process of its own
        before = [thread.name for thread in threading.enumerate()]
        same = credentials.get_frozen_credentials() == frozen
        after = [thread.name for thread in threading.enumerate()]
        watched = "rolesanywhere-auth" not in before and "rolesanywhere-auth" in after
        os._exit(0 if same and watched else 1)

    assert _wait_for(child, seconds=10) == 0
    assert sign_ins(emulator) == 1


def _wait_for(child: int, *, seconds: float) -> int | None:
    """The exit status of *child*, or None (and it is killed) if it does not end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def test_no_secret_in_log_or_repr(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything at DEBUG: no key, token, passphrase or key material, wherever it shows."""
    caplog.set_level(logging.DEBUG)
    setup = emulator.set_up()
    passphrase = "correct horse battery staple"
    key = tmp_path / "encrypted.key"
    key.write_text(setup.leaf.encrypted_private_key_pem(passphrase))
    config = replace(
        RolesAnywhereConfig(**setup.config_arguments()), private_key=key, passphrase=passphrase
    )
    credentials = RolesAnywhereCredentials(config)
    frozen = credentials.get_frozen_credentials()
    emulator.fail_next(1, status=403, code="AccessDeniedException", message="Invalid signature")
    sign_in = SignIn(config)
    with pytest.raises(Exception, match="Invalid signature") as caught:
        sign_in()

    shown = caplog.text + repr([credentials, config, credentials._renewal.snapshot])
    shown += repr([caught.value, caught.value.__dict__, sign_in])
    lines = setup.leaf.private_key_pem.splitlines()
    for secret in [frozen.secret_key, str(frozen.token), passphrase, *lines[1:-1]]:
        assert secret not in shown
    assert "signed in to arn:aws:sts::111122223333:assumed-role/app/" in caplog.text
    assert caplog.text.count("signed in to") == 1
