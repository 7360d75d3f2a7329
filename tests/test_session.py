"""botocore and boto3 sessions: real clients of moto's services behind the emulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    RolesAnywhereProvider,
    boto3_session,
    botocore_session,
    create_session,
)
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.fronts.moto import moto_service, register

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:CreateBucket", "s3:ListBucket"], "Resource": "*"}
    ],
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator with STS and S3 behind it."""
    with Emulator(aws=True) as running:
        yield running


@pytest.fixture
def config(emulator: Emulator) -> RolesAnywhereConfig:
    """A configuration whose role may make buckets and nothing else."""
    emulator.clear()
    return RolesAnywhereConfig(**emulator.set_up(policy=POLICY).config_arguments())


def test_clients_work_as_the_role(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """An unmodified client is the assumed role, may what the role may, and no more."""
    session = boto3_session(config)
    assert isinstance(session, boto3.Session)
    with emulator.enforcing_iam():
        sts = session.client("sts", endpoint_url=emulator.aws_endpoint_url)
        s3 = session.client("s3", endpoint_url=emulator.aws_endpoint_url)
        arn = sts.get_caller_identity()["Arn"]
        s3.create_bucket(
            Bucket="allowed", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket="allowed", Key="k", Body=b"")

    assert arn.startswith("arn:aws:sts::111122223333:assumed-role/app/")
    assert len(emulator.events) == 1


def test_environment_keys_do_not_win(
    emulator: Emulator, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access keys in the environment are not looked at: the session is the certificate's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    assert boto3_session(config).get_credentials().access_key.startswith("ASIA")


def test_region_falls_back_to_the_trust_anchors(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Argument, then environment, then profile, then the trust anchor's Region."""
    assert boto3_session(config).region_name == "eu-west-1"

    path = tmp_path / "config"
    path.write_text("[profile other]\nregion = ap-south-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    assert boto3_session(config, profile_name="other").region_name == "ap-south-1"

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert botocore_session(config).get_config_variable("region") == "us-east-2"
    assert boto3_session(config, region_name="eu-north-1").region_name == "eu-north-1"


@pytest.mark.parametrize("make", [boto3_session, botocore_session])
def test_missing_profile_is_named(
    make: Callable[..., object], config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that is nowhere is an error of ours, as at a sign-in, with the place to look."""
    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS config"):
        make(config, profile_name="gone")
    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS config"):
        make(config, profile_name="gone", region_name="eu-west-1")
    monkeypatch.setenv("AWS_PROFILE", "gone")
    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS_PROFILE"):
        make(config)


@pytest.mark.parametrize("make", [create_session, RolesAnywhereCredentials, RolesAnywhereProvider])
def test_boto3_session_as_settings_is_named(
    make: Callable[..., object], config: RolesAnywhereConfig
) -> None:
    """A session of boto3 where one of botocore belongs is told at once, with the other way in."""
    with pytest.raises(ConfigurationError, match=r"not boto3.session.Session; .*boto3_session"):
        make(config, session=boto3.Session())


def test_user_agent_names_the_library(config: RolesAnywhereConfig) -> None:
    """Calls of the session's clients can be told apart in logs."""
    client = boto3_session(config).client("s3")

    assert "rolesanywhere-auth/" in client.meta.config.user_agent


def test_account_id_is_known_to_clients(config: RolesAnywhereConfig) -> None:
    """botocore's account-based endpoints get the role's account."""
    frozen = boto3_session(config).get_credentials().get_frozen_credentials()

    assert frozen.account_id == "111122223333"


def test_clients_of_one_session_share_a_sign_in(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Several clients and get_credentials() use one credentials object."""
    session = boto3_session(config)
    first = session.get_credentials().get_frozen_credentials()

    assert session.get_credentials().get_frozen_credentials() == first
    sts = session.client("sts", endpoint_url=emulator.aws_endpoint_url)
    sts.get_caller_identity()
    assert len(emulator.events) == 1


def test_provider_joins_botocores_chain(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inserted into the chain, the provider comes after the environment's keys."""

    def chained() -> botocore.session.Session:
        session = botocore.session.Session()
        provider = RolesAnywhereProvider(config, session=session)
        session.get_component("credential_provider").insert_before("assume-role", provider)
        return session

    assert chained().get_credentials().method == "custom-rolesanywhere"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert chained().get_credentials().method == "env"


def test_a_clock_can_be_given(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """With the emulator's clock a test sees a renewal without waiting."""
    session = boto3_session(config, now=lambda: emulator.now().timestamp())
    first = session.get_credentials().get_frozen_credentials()
    emulator.advance(3550)  # less than a minute is left, so that the next call waits

    assert session.get_credentials().get_frozen_credentials() != first


def test_inside_mock_aws_nothing_leaves_the_process() -> None:
    """With the add-on in moto a session signs in within mock_aws, at the real endpoint's name."""
    authority = CertificateAuthority()
    leaf = authority.issue("app")
    service = moto_service(region="eu-west-1")
    with register(service), mock_aws():
        admin = boto3.Session(region_name="eu-west-1")
        anchor = admin.client("rolesanywhere").create_trust_anchor(
            name="a",
            source={
                "sourceType": "CERTIFICATE_BUNDLE",
                "sourceData": {"x509CertificateData": authority.certificate_pem},
            },
            enabled=True,
        )["trustAnchor"]["trustAnchorArn"]
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                    "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                    "Condition": {"ArnEquals": {"aws:SourceArn": anchor}},
                }
            ],
        }
        role = admin.client("iam").create_role(
            RoleName="app", AssumeRolePolicyDocument=json.dumps(trust)
        )["Role"]["Arn"]
        profile = admin.client("rolesanywhere").create_profile(
            name="p", roleArns=[role], enabled=True
        )["profile"]["profileArn"]
        session = boto3_session(
            RolesAnywhereConfig(
                trust_anchor_arn=anchor,
                profile_arn=profile,
                role_arn=role,
                certificate=leaf.certificate_pem.encode(),
                private_key=leaf.private_key_pem.encode(),
            )
        )

        arn = session.client("sts").get_caller_identity()["Arn"]

    assert ":assumed-role/app/" in arn
