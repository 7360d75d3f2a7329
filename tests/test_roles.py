"""`assume_role()`: chains of roles, with the emulator before and moto's STS behind."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from rolesanywhere_auth import (
    AssumeRoleDeniedError,
    ConfigurationError,
    RolesAnywhereConfig,
    TransportError,
    assume_role,
    boto3_session,
    botocore_session,
)
from rolesanywhere_auth.roles import AssumedRoleCredentials, hexadecimal
from rolesanywhere_auth.testing import Emulator

OTHER = "arn:aws:iam::111122223333:role/other"
THIRD = "arn:aws:iam::444455556666:role/third"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator with STS behind it."""
    with Emulator(aws=True) as running:
        yield running


@pytest.fixture
def config(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> RolesAnywhereConfig:
    """The first role; STS is moto's for whoever asks the environment."""
    emulator.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.aws_endpoint_url)
    return RolesAnywhereConfig(**emulator.set_up().config_arguments())


def credentials_of(session: boto3.Session) -> AssumedRoleCredentials:
    """The session's credentials, as what they are."""
    found: Any = session.get_credentials()
    assert isinstance(found, AssumedRoleCredentials)
    return found


def caller(session: boto3.Session, emulator: Emulator) -> str:
    """Who STS says the session's credentials are."""
    frozen = session.get_credentials().get_frozen_credentials()
    client = emulator.client(
        "sts",
        aws_access_key_id=frozen.access_key,
        aws_secret_access_key=frozen.secret_key,
        aws_session_token=frozen.token,
    )
    return str(client.get_caller_identity()["Arn"])


def assumed() -> list[Any]:
    """The AssumeRole calls for the second role that moto took."""
    from moto.backends import get_backend

    backend: Any = get_backend("sts")["111122223333"]["aws"]
    return [each for each in backend.assumed_roles if each.role_arn == OTHER]


def test_a_chain_of_three(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """From the certificate's role to a second one, and from there to one of another account."""
    second = assume_role(config, role_arn=OTHER)
    third = assume_role(second, role_arn=THIRD)
    assert emulator.events == []
    assert second.region_name == third.region_name == "eu-west-1"

    # an unmodified client, at the service itself
    arn = third.client("sts").get_caller_identity()["Arn"]
    assert arn.startswith("arn:aws:sts::444455556666:assumed-role/third/")
    # the certificate's serial number goes along as the name of each session
    (first,) = emulator.sessions
    name = arn.rpartition("/")[2]
    assert first.assumed_role_arn.endswith(f":assumed-role/app/{name}")
    assert caller(second, emulator).endswith(f":assumed-role/other/{name}")


@pytest.mark.parametrize(
    ("serial_number", "name"), [(0xF831C, "0f831c"), (0x1234, "1234"), (5, "05"), (0, "00")]
)
def test_the_default_name(serial_number: int, name: str) -> None:
    """The serial number in whole bytes, as the session of the certificate's role is named."""
    assert hexadecimal(serial_number) == name


def test_what_is_asked_for(config: RolesAnywhereConfig) -> None:
    """External id, name and duration reach STS."""
    session = assume_role(
        config,
        role_arn=OTHER,
        external_id="tenant-7",
        role_session_name="host-42",
        tags={"team": "blue"},
        transitive_tag_keys=["team"],
        session_duration=900,
    )
    credentials = credentials_of(session)
    frozen = credentials.get_frozen_credentials()

    (one,) = assumed()
    assert (one.external_id, one.session_name) == ("tenant-7", "host-42")
    assert frozen.account_id == credentials.account_id == "111122223333"
    assert credentials.method == "assume-role"
    expires_at = credentials.expires_at
    assert expires_at is not None
    assert 890 < expires_at.timestamp() - time.time() <= 901
    assert credentials.health().state == "fresh"
    assert credentials.role_session_name == "host-42"


def test_name_before_the_first_sign_in(config: RolesAnywhereConfig) -> None:
    """What the certificate's serial number is nobody knows yet."""
    credentials = credentials_of(assume_role(config, role_arn=OTHER))

    assert credentials.role_session_name == "rolesanywhere-auth"
    credentials.get_frozen_credentials()
    (one,) = assumed()
    assert credentials.role_session_name == one.session_name != "rolesanywhere-auth"


@pytest.mark.parametrize("kind", ["boto3", "botocore", "keys"])
def test_sessions_as_source(kind: str, config: RolesAnywhereConfig, emulator: Emulator) -> None:
    """A boto3 or botocore session, ours or anybody's, may be the first in the chain."""
    source: Any = boto3_session(config) if kind == "boto3" else botocore_session(config)
    if kind == "keys":
        source = boto3.Session("AKIAIOSFODNN7EXAMPLE", "secret", region_name="eu-north-1")

    session = assume_role(source, role_arn=OTHER, session_duration=7200)

    assert caller(session, emulator).startswith("arn:aws:sts::111122223333:assumed-role/other/")
    assert session.region_name == ("eu-north-1" if kind == "keys" else "eu-west-1")
    if kind == "keys":
        assert caller(session, emulator).endswith("/rolesanywhere-auth")


def test_profile_and_region_of_the_source_count(
    tmp_path: Path, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new session has the settings of the source's profile; an argument goes over them."""
    path = tmp_path / "config"
    path.write_text("[profile p]\nregion = ap-south-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    source = boto3_session(config, profile_name="p")

    assert assume_role(source, role_arn=OTHER).region_name == "ap-south-1"
    assert assume_role(source, role_arn=OTHER).profile_name == "p"
    assert assume_role(source, role_arn=OTHER, region_name="eu-west-3").region_name == "eu-west-3"


@pytest.mark.parametrize(
    ("region", "fips", "host"),
    [
        ("us-east-1", "false", "sts.us-east-1.amazonaws.com"),
        ("us-east-1", "true", "sts-fips.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "true", "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "false", "sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_regional_endpoint_of_sts(
    region: str, fips: str, host: str, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL in the settings it is the Region's, whatever botocore's own default."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    credentials = credentials_of(assume_role(config, role_arn=OTHER, region_name=region))

    assert credentials._place()[1] == f"https://{host}"


def test_renewal_waits_for_nobody(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """In the advisory window a caller gets the present credentials, then the new ones."""
    moved = 0.0

    def now() -> float:
        return time.time() + moved

    seen: list[str] = []
    session = assume_role(
        config, role_arn=OTHER, now=now, on_event=lambda event: seen.append(event.kind)
    )
    credentials = credentials_of(session)
    first = credentials.get_frozen_credentials()
    emulator.faults.latency(0.2)
    moved = 3400.0
    assert credentials.get_frozen_credentials() == first
    deadline = time.monotonic() + 10
    while seen.count("succeeded") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert credentials.get_frozen_credentials() != first
    assert len(assumed()) == 2
    assert seen == ["started", "succeeded"] * 2


class Body:
    """A raw answer for `AWSResponse`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_: Any) -> Any:
        """Once, all of it."""
        yield self._data


def answering(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, str]) -> list[tuple[int, str]]:
    """Has STS answer so, through botocore's own event; the last answer stays."""
    from rolesanywhere_auth import roles

    left = list(answers)
    original = roles.Source.session

    def answer(request: Any, **_: Any) -> AWSResponse:
        status, body = left.pop(0) if len(left) > 1 else left[0]
        return AWSResponse(request.url, status, {}, Body(body.encode()))

    def session(self: roles.Source) -> botocore.session.Session:
        made = original(self)
        made.register("before-send.sts.AssumeRole", answer)
        return made

    monkeypatch.setattr(roles.Source, "session", session)
    return left


DENIED = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: a is not authorized to perform: "
    "sts:AssumeRole</Message></Error></ErrorResponse>"
)


def test_a_refusal_is_typed(config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS's refusal has its words, the role and what may cause it."""
    answering(monkeypatch, (403, DENIED))
    credentials = credentials_of(assume_role(config, role_arn=OTHER))

    with pytest.raises(AssumeRoleDeniedError, match="not authorized to perform") as caught:
        credentials.get_frozen_credentials()
    assert any("external_id" in cause for cause in caught.value.causes)
    assert credentials.health().last_error is not None


def test_valid_credentials_stay_while_sts_fails(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the certificate's own: in an outage what is good, or was, is still given out."""
    moved = 0.0
    session = assume_role(config, role_arn=OTHER, now=lambda: time.time() + moved)
    credentials = credentials_of(session)
    first = credentials.get_frozen_credentials()
    monkeypatch.setattr(credentials, "_endpoint", "http://127.0.0.1:9")
    moved = 3700.0

    assert credentials.get_frozen_credentials() == first
    assert isinstance(credentials.health().last_error, TransportError)


def test_an_unreachable_sts(config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is a TransportError that names the endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")

    with pytest.raises(TransportError, match=r"127.0.0.1:9"):
        credentials_of(assume_role(config, role_arn=OTHER)).get_frozen_credentials()


def test_an_error_of_the_source_is_its_own(config: RolesAnywhereConfig, emulator: Emulator) -> None:
    """Where the first role refuses, that is the error."""
    emulator.fail_next(status=403, code="AccessDeniedException", message="Certificate revoked")

    with pytest.raises(Exception, match=r"CreateSession was refused.*Certificate revoked"):
        credentials_of(assume_role(config, role_arn=OTHER)).get_frozen_credentials()


class AsyncSession(botocore.session.Session):
    """A session in aiobotocore's manner."""

    async def get_credentials(self) -> None:  # type: ignore[override]
        """None, in time."""


def test_sources_that_cannot_be(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else than a session, a session without Region or without credentials."""
    with pytest.raises(ConfigurationError, match=r"takes a RolesAnywhereConfig.*not str"):
        assume_role("app", role_arn=OTHER)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not AsyncSession"):
        assume_role(AsyncSession(), role_arn=OTHER)
    with pytest.raises(ConfigurationError, match=r"needs a Region.*set AWS_DEFAULT_REGION"):
        assume_role(boto3.Session("AKIA", "secret"), role_arn=OTHER)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert assume_role(boto3.Session("AKIA", "secret"), role_arn=OTHER).region_name == "eu-west-1"
    empty = botocore.session.Session()
    session = assume_role(empty, role_arn=OTHER, region_name="eu-west-1")
    with pytest.raises(ConfigurationError, match="no credentials of its own"):
        credentials_of(session).get_frozen_credentials()


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_RETRY_MODE"])
def test_botocores_own_errors_become_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that botocore refuses is a ConfigurationError that names the role."""
    source = boto3.Session("AKIA", "secret", region_name="eu-west-1")
    credentials = credentials_of(assume_role(source, role_arn=OTHER))
    monkeypatch.setenv(name, "gone")

    with pytest.raises(ConfigurationError, match=f"{OTHER} cannot be assumed: .*gone"):
        credentials.get_frozen_credentials()


def test_a_chained_role_lives_an_hour(config: RolesAnywhereConfig) -> None:
    """More is refused before any request, as AWS would refuse it."""
    with pytest.raises(ConfigurationError, match="3600 seconds at most"):
        assume_role(config, role_arn=OTHER, session_duration=3601)


def test_no_secret_in_logs_or_repr(
    config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """All of a chain's fetch at DEBUG shows neither keys nor tokens, of either role."""
    caplog.set_level(logging.DEBUG)
    first = boto3_session(config)
    session = assume_role(first, role_arn=OTHER)
    frozen = [each.get_credentials().get_frozen_credentials() for each in (first, session)]
    shown = caplog.text + repr(credentials_of(session))

    assert "assumed arn:aws:sts::111122223333:assumed-role/other/" in shown
    for each in frozen:
        assert str(each.secret_key) not in shown
        assert str(each.token) not in shown


def test_pickled_by_reference(config: RolesAnywhereConfig) -> None:
    """The other process signs in for itself; without a configuration it could not."""
    credentials = credentials_of(assume_role(config, role_arn=OTHER, external_id="tenant-7"))
    secret = str(credentials.secret_key)
    data = pickle.dumps(credentials)
    again = pickle.loads(data)

    assert secret.encode() not in data
    assert again.role == credentials.role
    assert again.get_frozen_credentials().access_key != credentials.access_key
    of_session = credentials_of(assume_role(boto3_session(config), role_arn=OTHER))
    with pytest.raises(TypeError, match="give assume_role"):
        pickle.dumps(of_session)


def test_inside_mock_aws() -> None:
    """Within moto's mock_aws nothing leaves the process."""
    with mock_aws():
        source = boto3.Session("AKIAIOSFODNN7EXAMPLE", "secret", region_name="eu-west-1")
        session = assume_role(source, role_arn=OTHER)
        assert session.get_credentials().access_key.startswith("ASIA")


def test_iam_judges_the_chain(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With signatures and policies enforced, the first role needs the permission."""
    emulator.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.aws_endpoint_url)
    found: list[AssumedRoleCredentials] = []
    for name, action in (("one", "sts:AssumeRole"), ("two", "s3:ListBucket")):
        statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        setup = emulator.set_up(role_name=name, policy=policy)
        config = RolesAnywhereConfig(**setup.config_arguments())
        found.append(credentials_of(assume_role(config, role_arn=OTHER)))
    with emulator.enforcing_iam():
        allowed = found[0].access_key
        with pytest.raises(AssumeRoleDeniedError, match="not authorized to perform") as caught:
            found[1].get_frozen_credentials()

    assert allowed.startswith("ASIA")
    assert caught.value.code == "AccessDenied"
