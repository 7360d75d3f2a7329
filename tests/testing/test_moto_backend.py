from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

import boto3
import pytest
from moto import mock_aws

from rolesanywhere_auth import RolesAnywhereConfig
from rolesanywhere_auth.errors import MissingExtraError
from rolesanywhere_auth.testing import CertificateAuthority, moto_backend

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "rolesanywhere.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        }
    ],
}


def test_one_call_puts_the_service_into_moto(monkeypatch):
    """boto3 makes what is needed, the library signs in, and moto's STS knows who that is."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    authority = CertificateAuthority()
    leaf = authority.issue("in-process")
    with moto_backend() as service, mock_aws():
        client = boto3.client("rolesanywhere", region_name="us-east-1")
        source = {"x509CertificateData": authority.certificate_pem}
        anchor = client.create_trust_anchor(
            name="ca",
            source={"sourceType": "CERTIFICATE_BUNDLE", "sourceData": source},
            enabled=True,
        )["trustAnchor"]["trustAnchorArn"]
        role = boto3.client("iam").create_role(
            RoleName="app", AssumeRolePolicyDocument=json.dumps(TRUST)
        )["Role"]["Arn"]
        profile = client.create_profile(name="app", roleArns=[role], enabled=True)["profile"]
        config = RolesAnywhereConfig(
            trust_anchor_arn=anchor,
            profile_arn=profile["profileArn"],
            role_arn=role,
            certificate=leaf.certificate_pem.encode(),
            private_key=leaf.private_key_pem.encode(),
            proxies={},
        )
        from rolesanywhere_auth import boto3_session

        identity = boto3_session(config).client("sts").get_caller_identity()

        assert identity["Arn"].startswith("arn:aws:sts::123456789012:assumed-role/app/")
        assert [event.outcome for event in service.events] == ["success"]
        assert [role.arn for role in service.directory.roles()] == [role]
    assert "moto.rolesanywhere" not in sys.modules


def test_region_account_and_clock_are_given_on():
    """The three options are those of the service."""
    moment = datetime(2026, 5, 4, tzinfo=timezone.utc)
    with (
        moto_backend(
            region="eu-west-1", account_id="111122223333", clock=lambda: moment
        ) as service,
        mock_aws(),
    ):
        client = boto3.client(
            "rolesanywhere",
            region_name="eu-west-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        profile = client.create_profile(
            name="app", roleArns=["arn:aws:iam::111122223333:role/app"]
        )["profile"]

        assert profile["createdAt"] == moment
        assert ":eu-west-1:111122223333:" in profile["profileArn"]
        assert len(service.state.shelves()) == 1


def test_without_moto_the_extra_is_named(monkeypatch):
    """Without moto the error says what to install."""
    monkeypatch.setitem(sys.modules, "rolesanywhere_auth.testing.fronts.moto", None)

    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[testing\]"), moto_backend():
        raise AssertionError
