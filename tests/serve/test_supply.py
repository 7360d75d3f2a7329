"""Credentials that are not there yet, that run out, and that cannot be had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from serve_client import Client

from rolesanywhere_auth import (
    CertificateLoadError,
    ConfigurationError,
    ResourceNotFoundError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
)
from rolesanywhere_auth.record import Snapshot
from rolesanywhere_auth.serve import CredentialServer, supply
from rolesanywhere_auth.testing import Emulator

Serving = Callable[..., Client]


@pytest.fixture
def fresh() -> Iterator[Emulator]:
    """An emulator of the test's own."""
    with Emulator() as found:
        yield found
        found.faults.clear()


@pytest.fixture
def own(fresh: Emulator) -> RolesAnywhereConfig:
    """Signs in there, with one attempt."""
    return RolesAnywhereConfig(**fresh.set_up().config_arguments(), max_attempts=1)


class Clock:
    """Real time, and what was added."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, ten seconds at most."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_wrong_setting_ends_it_at_once(
    own: RolesAnywhereConfig, fresh: Emulator, tmp_path: Any
) -> None:
    """What trying again does not mend is raised by `start()`, and nothing is left behind."""
    fresh.clear()
    server = CredentialServer(own, token_folder=tmp_path / "tokens")

    with pytest.raises(ResourceNotFoundError):
        server.start()

    assert not (tmp_path / "tokens").exists()
    server.stop()


def test_an_outage_does_not(
    own: RolesAnywhereConfig, fresh: Emulator, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile it answers 503 with the cause, and never 200; it mends itself afterwards."""
    monkeypatch.setattr(supply, "WARM_SECONDS", (0.01, 0.02))
    fresh.faults.refuse(status=503)
    clock = Clock()
    client = serving(RolesAnywhereCredentials(own, now=clock), imds=True, now=clock)

    reply = client.credentials()
    assert (reply.status, reply.code) == (503, "ServiceUnavailableException")
    assert reply.headers["retry-after"] == "1"
    path = "/latest/meta-data/iam/security-credentials/app"
    assert client.ask(path, X_aws_ec2_metadata_token=client.imds_token()).status == 503
    health = client.ask("/health")
    assert (health.status, health.json["status"]) == (503, "unavailable")
    state = health.json["roles"]["app"]
    assert (state["state"], state["last_error"]) == ("none", "ServiceUnavailableError")
    assert state["next_attempt"] is not None

    fresh.faults.clear()
    clock.ahead = 3600  # the back-off is over
    fresh.advance(3600)
    until(lambda: client.ask("/health").status == 200)
    assert client.credentials().status == 200


def test_a_refusal_later_names_its_cause(
    own: RolesAnywhereConfig, fresh: Emulator, serving: Serving
) -> None:
    """403 for containers, 500 for IMDS, whose clients take 403 for IMDS being off."""
    fresh.faults.refuse(status=503)
    client = serving(own, imds=True)
    fresh.faults.clear()
    renewal = client.server._roles["app"]._renewal
    renewal.circuit = type(renewal.circuit)()  # as if the back-off were over
    fresh.clear()

    reply = client.credentials()
    assert (reply.status, reply.code) == (403, "ResourceNotFoundException")
    assert "trust anchor" in reply.json["message"].lower()
    path = "/latest/meta-data/iam/security-credentials/app"
    reply = client.ask(path, X_aws_ec2_metadata_token=client.imds_token())
    assert (reply.status, reply.code) == (500, "ResourceNotFoundException")


def test_all_wait_for_one_sign_in(own: RolesAnywhereConfig, fresh: Emulator) -> None:
    """32 clients before the first credentials, one CreateSession."""
    server = CredentialServer(own)
    with fresh.faults.hang() as fault, ThreadPoolExecutor(32) as pool:
        server.begin()
        try:
            assert not server.await_ready(0.05)
            replies = [pool.submit(Client(server).credentials) for _ in range(32)]
            fault.wait_until_hit()
            time.sleep(0.1)
            assert not any(reply.done() for reply in replies)
            fault.release()
            keys = {reply.result().json["AccessKeyId"] for reply in replies}
        finally:
            fault.release()
            server.stop()

    assert len(keys) == 1
    assert fault.hits == 1


def test_renewal_in_the_background(
    own: RolesAnywhereConfig, fresh: Emulator, serving: Serving
) -> None:
    """Within the advisory window old credentials are served until new ones are there."""
    clock = Clock()
    client = serving(RolesAnywhereCredentials(own, now=clock), now=clock)
    first = client.credentials().json
    clock.ahead = 3600 - 200
    fresh.advance(3600 - 200)

    client.credentials()  # wakes the thread that renews
    until(lambda: client.credentials().json["AccessKeyId"] != first["AccessKeyId"])


def test_valid_credentials_are_served_while_the_service_hangs(
    own: RolesAnywhereConfig, fresh: Emulator, serving: Serving
) -> None:
    """Within the last minute a renewal is waited for, but not longer than SDKs wait for us."""
    clock = Clock()
    client = serving(RolesAnywhereCredentials(own, now=clock), now=clock)
    first = client.credentials().json
    fresh.advance(3600 - 30)

    assert supply.GRACE_SECONDS < 1
    with fresh.faults.hang() as fault:
        clock.ahead = 3600 - 30
        begin = time.monotonic()
        assert client.credentials().json == first
        assert time.monotonic() - begin < 5  # that much a busy machine may take
        fault.wait_until_hit()
        fault.release()
    until(lambda: client.credentials().json != first)


def test_expired_credentials(own: RolesAnywhereConfig, fresh: Emulator, serving: Serving) -> None:
    """In an outage they are given out with their true end, and health says so."""
    clock = Clock()
    client = serving(RolesAnywhereCredentials(own, now=clock), now=clock)
    first = client.credentials().json
    fresh.faults.refuse(status=503)
    fresh.advance(3601)
    clock.ahead = 3601

    assert client.credentials().json == first
    health = client.ask("/health")
    assert (health.status, health.json["roles"]["app"]["state"]) == (503, "expired")


def test_no_empty_answer(own: RolesAnywhereConfig, serving: Serving) -> None:
    """Whatever went wrong inside, there is no 200 without keys; others are served on."""
    found = RolesAnywhereCredentials(own)
    client = serving({"app": found, "other": own})
    end = time.time() + 3600
    for keys in (("", "b", "c"), ("a", "", "c"), ("a", "b", None)):
        found._renewal.snapshot = Snapshot(
            ReadOnlyCredentials(*keys), 0, end, end, end, datetime.now(timezone.utc), end
        )
        reply = client.credentials()
        assert (reply.status, reply.code) == (500, "InternalError")
    found._renewal.snapshot = found._renewal.snapshot._replace(usable_until=0.0)
    assert client.credentials().status == 500
    assert client.credentials("other").status == 200


def test_no_thread_to_be_had(
    own: RolesAnywhereConfig, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without room for a thread is an error of the moment, not the end."""
    clock = Clock()
    client = serving(RolesAnywhereCredentials(own, now=clock), now=clock)
    clock.ahead = 7200

    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(supply, "threading", SimpleNamespace(Thread=Thread))
        reply = client.credentials()
    assert (reply.status, reply.code) == (500, "InternalError")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "a" * 65, "a\n"])
def test_names_of_roles(credentials: RolesAnywhereCredentials, name: str) -> None:
    """They stand in paths and name files."""
    with pytest.raises(ConfigurationError, match="cannot name a role"):
        CredentialServer({name: credentials})


def test_a_server_needs_a_role() -> None:
    """Without one there is nothing to serve."""
    with pytest.raises(ConfigurationError, match="at least one role"):
        CredentialServer({})


def test_an_identity_that_is_not_there(own: RolesAnywhereConfig, tmp_path: Any) -> None:
    """The error of the first sign-in is the library's own."""
    config = RolesAnywhereConfig(
        trust_anchor_arn=own.trust_anchor_arn,
        profile_arn=own.profile_arn,
        role_arn=own.role_arn,
        certificate=tmp_path / "missing.pem",
    )

    with pytest.raises(CertificateLoadError):
        CredentialServer(config).start()
