"""Whose credentials metrics are about."""

from __future__ import annotations

import gc
import threading
from datetime import datetime, timezone
from typing import Any

import boto3
import pytest

from rolesanywhere_auth import (
    ConfigurationError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    ThrottlingError,
    assume_role,
    boto3_session,
    botocore_session,
)
from rolesanywhere_auth.watched import Reading, Watched, credentials_of, error_name

ARN = "arn:aws:rolesanywhere:eu-west-1:111122223333:"
ROLE = "arn:aws:iam::111122223333:role/app"


def config() -> RolesAnywhereConfig:
    """One of which nothing is read."""
    return RolesAnywhereConfig(
        trust_anchor_arn=f"{ARN}trust-anchor/5d4cfa47-2fd1-4ca4-b3bc-4ac8f80acb93",
        profile_arn=f"{ARN}profile/5d4cfa47-2fd1-4ca4-b3bc-4ac8f80acb93",
        role_arn=ROLE,
        certificate="/no/such/file.pem",
        private_key="/no/such/file.key",
    )


def test_sessions_and_credentials_can_be_watched() -> None:
    """A session stands for its credentials; nothing is read or sent to find them."""
    credentials = RolesAnywhereCredentials(config())
    session = boto3_session(config())
    below = botocore_session(config())
    chained = assume_role(config(), role_arn=ROLE)

    assert credentials_of(credentials) is credentials
    assert credentials_of(session) is session.get_credentials()
    assert credentials_of(below) is below.get_credentials()
    assert credentials_of(chained).labels == (ROLE, "")
    assert credentials_of(session).labels == (ROLE, config().profile_arn)


def test_what_cannot_be_watched_is_refused() -> None:
    """Foreign credentials, none, and sessions that must be awaited; the message says what to do."""

    class AioSession:
        async def get_credentials(self) -> None: ...

    foreign = boto3.Session(aws_access_key_id="AKIA", aws_secret_access_key="x")
    refused: dict[str, Any] = {
        r"^Credentials are no .*watch the source": foreign,
        r"^str are no": "arn:…",
        r"await session\.get_credentials": AioSession(),
    }
    for message, target in refused.items():
        with pytest.raises(ConfigurationError, match=message):
            credentials_of(target)


def test_being_watched_keeps_nothing_alive() -> None:
    """Whoever drops a session is rid of it; and nothing is watched twice."""
    watched = Watched()
    credentials = RolesAnywhereCredentials(config())

    assert watched.add(credentials)
    assert not watched.add(credentials)
    assert list(watched.readings()) == [credentials.labels]
    reference = watched._references[0]
    del credentials
    gc.collect()
    assert watched.readings() == {}
    watched._references.append(reference)  # as another thread saw the list a moment ago
    assert watched.readings() == {}


def test_of_two_threads_one_watches() -> None:
    """Each request of a server may watch its session: no sign-in is counted twice."""
    watched = Watched()
    credentials = RolesAnywhereCredentials(config())
    looking, over = threading.Event(), threading.Event()

    def looked_at() -> None:
        if not looking.is_set():  # the first thread, until the other one is over or cannot go on
            looking.set()
            over.wait(0.2)

    watched._references.append(looked_at)  # type: ignore[arg-type]
    added: list[bool] = []
    first = threading.Thread(target=lambda: added.append(watched.add(credentials)))
    first.start()
    assert looking.wait(30)
    added.append(watched.add(credentials))
    over.set()
    first.join()

    assert sorted(added) == [False, True]


def test_of_several_the_worst_counts() -> None:
    """Two sessions of one role and profile are one reading, of the earliest and the worst."""
    early, late = (datetime(2026, month, 1, tzinfo=timezone.utc) for month in (1, 2))
    one = Reading("fresh", "open", early, late, None)
    other = Reading("stale", "closed", late, None, early)

    worst = Reading("stale", "open", early, late, early)
    assert one.worse(other) == other.worse(one) == worst

    watched = Watched()
    credentials = [RolesAnywhereCredentials(config()) for _ in range(2)]
    for each in credentials:
        watched.add(each)
    assert watched.readings() == {
        credentials[0].labels: Reading("none", "closed", None, None, None)
    }


def test_names_of_errors_are_few() -> None:
    """Only this library's errors go by name: a passphrase callable may raise anything."""
    throttled = ThrottlingError(
        "slow down", status=429, code="ThrottlingException", service_message="slow down"
    )
    assert error_name(throttled) == "ThrottlingError"
    assert error_name(ZeroDivisionError()) == "other"
    assert error_name(None) == "other"
