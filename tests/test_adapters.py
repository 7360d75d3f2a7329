"""What data libraries are given; the libraries themselves are in tests/apps."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth import (
    AccessDeniedError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    adapters,
    assume_role,
)
from rolesanywhere_auth.adapters import ObstoreProvider, PolarsProvider, ask_again_at
from rolesanywhere_auth.record import Snapshot
from rolesanywhere_auth.testing import Emulator


@pytest.fixture
def config(rolesanywhere_emulator: Emulator) -> RolesAnywhereConfig:
    """Of a sign-in that the emulator accepts."""
    return RolesAnywhereConfig(**rolesanywhere_emulator.set_up().config_arguments())


@pytest.fixture(autouse=True)
def nobody_has_arrived() -> None:
    """The credentials that pickles of other tests brought are forgotten."""
    adapters._of_this_process.cache_clear()


def test_obstore_gets_what_botocore_gets(config: RolesAnywhereConfig) -> None:
    """The keys and token of one session with its expiry, and no second sign-in."""
    credentials = RolesAnywhereCredentials(config)

    found = credentials.to_obstore()()

    frozen = credentials.get_frozen_credentials()
    assert found["expires_at"] == credentials.expires_at
    assert found == {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": found["expires_at"],
    }


def test_polars_gets_what_botocore_gets(config: RolesAnywhereConfig) -> None:
    """The keys under object_store's names, and when the background renewal begins."""
    credentials = RolesAnywhereCredentials(config)

    keys, ask_again = credentials.to_polars()()

    frozen = credentials.get_frozen_credentials()
    assert keys == {
        "aws_access_key_id": frozen.access_key,
        "aws_secret_access_key": frozen.secret_key,
        "aws_session_token": frozen.token,
    }
    assert credentials.expires_at is not None
    assert 900 <= credentials.expires_at.timestamp() - ask_again < 901


def snapshot(*, issued: float, lifetime: float) -> Snapshot:
    """Credentials with the windows of a one-hour session."""
    expires = issued + lifetime
    frozen = ReadOnlyCredentials("AKID", "secret", None)
    return Snapshot(frozen, issued, expires - 900, expires - 60, expires, None)


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (0, 2700),
        (2691, 2700),
        # Within 7 seconds of what it was told, polars would sleep until it is over.
        (2693, 3540),
        (2700, 3540),
        (3532, 3540),
        (3533, 3600),
        (3599, 3600),
        # polars refuses a moment in the past; so an outage is asked about each time.
        (3600, 3600),
        (4000, 4000),
    ],
)
def test_polars_is_told_to_ask_again_in_time(age: float, told: float) -> None:
    """At each boundary of the credentials' life, with time to spare; never before now."""
    assert ask_again_at(snapshot(issued=0.5, lifetime=3600), now=age + 0.5) == told


def test_expiry_is_told_by_the_clock_of_this_machine(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """With a clock an hour behind the service's, what a library compares with it is behind too."""
    rolesanywhere_emulator.advance(3600)
    before = time.time()

    credentials = RolesAnywhereCredentials(config)
    found = credentials.to_obstore()()
    _, ask_again = credentials.to_polars()()

    assert found["expires_at"] is not None
    assert credentials.expires_at is not None
    apart = credentials.expires_at - found["expires_at"]
    assert abs(apart.total_seconds() - 3600) < 60
    assert found["expires_at"].tzinfo is timezone.utc
    assert 3500 < found["expires_at"].timestamp() - before < 3700
    assert ask_again < found["expires_at"].timestamp()


class Clock:
    """The machine's, ahead by what a test says."""

    ahead = 0.0

    def __call__(self) -> float:
        return datetime.now(timezone.utc).timestamp() + self.ahead


@pytest.mark.parametrize("ask", ["to_obstore", "to_polars"])
def test_a_renewal_keeps_no_library_waiting(ask: str) -> None:
    """In the advisory window the old credentials come at once, while the service takes its time."""
    clock = Clock()
    with Emulator() as emulator:  # its own: the renewal may go on after the test
        arguments = emulator.set_up().config_arguments()
        config = RolesAnywhereConfig(**arguments, session_duration=900)
        provider = getattr(RolesAnywhereCredentials(config, now=clock), ask)()
        first = provider()
        hang = emulator.faults.next(1).hang()
        emulator.advance(800)
        clock.ahead = 800

        during = provider()

        hang.wait_until_hit()
        assert keys(during) == keys(first)
        hang.release()


def keys(found: object) -> object:
    """What a provider gave, without the time."""
    if isinstance(found, tuple):
        return found[0]
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key != "expires_at"}


def test_a_refusal_reaches_the_library() -> None:
    """Where there are no credentials, the provider raises what signing in raised."""
    with Emulator() as emulator:  # its own: a renewal of another test may not take the refusal
        config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
        emulator.fail_next(status=403, code="AccessDeniedException", message="No")

        with pytest.raises(AccessDeniedError):
            RolesAnywhereCredentials(config).to_obstore()()


@pytest.mark.parametrize("kind", [ObstoreProvider, PolarsProvider])
def test_pickles_hold_no_secret(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig, kind: type[ObstoreProvider]
) -> None:
    """A provider in use travels by its configuration, and what arrives signs in once for all."""
    credentials = RolesAnywhereCredentials(config)
    provider = getattr(credentials, kind.method)()
    provider()
    frozen = credentials.get_frozen_credentials()

    pickled = pickle.dumps(provider)
    arrived = [pickle.loads(pickled) for _ in range(3)]

    for secret in frozen[:3]:
        assert secret is not None
        assert secret.encode() not in pickled
        assert secret not in repr(provider)
    assert {type(each) for each in arrived} == {kind}
    found = [keys(each()) for each in arrived]
    assert found[0] == found[1] == found[2] != keys(provider())
    assert len(rolesanywhere_emulator.events) == 2


def test_a_copy_is_the_provider_itself(config: RolesAnywhereConfig) -> None:
    """A copy would sign in for itself."""
    provider = RolesAnywhereCredentials(config).to_polars()

    assert copy.copy(provider) is copy.deepcopy(provider) is provider
    assert repr(provider) == f"PolarsProvider(RolesAnywhereCredentials({config!r}))"


def test_contents_do_not_travel(
    rolesanywhere_emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """A provider of a configuration that holds the key's bytes does not pickle."""
    setup = rolesanywhere_emulator.set_up()
    content = replace(config, private_key=setup.private_key.read_bytes())

    with pytest.raises(TypeError, match="private_key is the secret or the content itself"):
        pickle.dumps(RolesAnywhereCredentials(content).to_obstore())


def test_an_assumed_role_has_them_too(config: RolesAnywhereConfig) -> None:
    """The credentials of a role chain have the same providers, which travel as they do."""
    role_arn = "arn:aws:iam::444455556666:role/next"
    session = assume_role(config, role_arn=role_arn, tags={"team": "blue"})
    credentials = session.get_credentials()
    assert credentials is not None

    provider: Callable[[], object] = credentials.to_obstore()  # type: ignore[attr-defined]

    assert repr(pickle.loads(pickle.dumps(provider))) == repr(provider)
