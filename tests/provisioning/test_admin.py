"""`Admin`: clients of an administrator, and refusals that say what to do."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from rolesanywhere_auth import (
    ConfigurationError,
    MissingPermissionError,
    ProvisioningError,
    RolesAnywhereConfig,
    RolesAnywhereError,
    TransportError,
    boto3_session,
)
from rolesanywhere_auth.provisioning import Admin
from rolesanywhere_auth.provisioning.admin import is_absent

NOWHERE = "http://127.0.0.1:9"


def keys(monkeypatch, account):
    """The administrator's keys in the environment."""
    credentials = account.iam._request_signer._credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_key)


def test_admin_of_the_environment(account, monkeypatch):
    """Credentials, endpoints and Region come as for the AWS CLI, unless they are given."""
    keys(monkeypatch, account)
    monkeypatch.setenv("AWS_ENDPOINT_URL", account.emulator.aws_endpoint_url)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("HTTP_PROXY", "")
    admin = Admin.from_profile()

    assert admin.region == "eu-west-1"
    assert admin.account_id == "111122223333"
    assert admin.caller_arn == "arn:aws:iam::111122223333:user/administrator"
    assert admin.listed("rolesanywhere", "list_profiles", "profiles") == []


def test_endpoints_on_loopback_need_no_proxy(account, monkeypatch):
    """Given endpoints of this machine are reached directly, whatever proxy there is."""
    keys(monkeypatch, account)
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    url = account.emulator.aws_endpoint_url
    admin = Admin.from_profile(
        region="eu-west-1",
        endpoint_url=account.emulator.endpoint_url,
        iam_endpoint_url=url,
        sts_endpoint_url=url,
    )

    assert admin.account_id == "111122223333"
    assert admin.find("iam", "get_role", RoleName="none") is None
    assert admin.listed("rolesanywhere", "list_crls", "crls") == []


def test_region_or_profile_that_is_not_there(monkeypatch):
    """Without a Region, and with an unknown profile, the error says what to give."""
    with pytest.raises(ConfigurationError, match="Give --region, or set AWS_REGION"):
        Admin.from_profile()
    with pytest.raises(ConfigurationError, match="nobody"):
        Admin.from_profile("nobody", region="eu-west-1")


def test_no_credentials_and_no_answer(monkeypatch):
    """What botocore cannot send is our error, with its words."""
    admin = Admin.from_profile(region="eu-west-1", sts_endpoint_url=NOWHERE)
    with pytest.raises(ProvisioningError, match=r"sts:GetCallerIdentity .*Unable to locate"):
        admin.account_id  # noqa: B018
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    admin = failing(EndpointConnectionError(endpoint_url=NOWHERE))
    with pytest.raises(ProvisioningError, match="Could not connect") as caught:
        admin.find("iam", "get_role", RoleName="x")
    assert caught.value.code is None


class _Client:
    """A client of which each call fails with the error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name):
        def call(**_):
            raise self.error

        return call


def failing(error):
    """An Admin whose calls all fail."""
    client = _Client(error)
    return Admin(rolesanywhere=client, iam=client, sts=client)


def refusal(code, message):
    """What botocore raises."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "X")


@pytest.mark.parametrize(
    ("code", "message", "action", "resource", "said"),
    [
        (
            "AccessDenied",
            "User: arn:u is not authorized to perform: iam:GetRole on resource: role app because",
            "iam:GetRole",
            "role",
            "Allow iam:GetRole on role in a policy of arn:u.",
        ),
        (
            "AccessDenied",
            (
                "User: arn:u is not authorized to perform: iam:GetRole on resource: arn:r with an "
                "explicit deny in a service control policy"
            ),
            "iam:GetRole",
            "arn:r",
            "An explicit Deny stands in the way",
        ),
        (
            "AccessDeniedException",
            "No",
            "iam:GetRole",
            None,
            "If the reason is not what follows, allow iam:GetRole on it in a policy",
        ),
    ],
)
def test_denied(code, message, action, resource, said):
    """The action is AWS's where it names one, else that of the call."""
    with pytest.raises(MissingPermissionError) as caught:
        failing(refusal(code, message)).call("iam", "get_role", RoleName="x")

    error = caught.value
    assert (error.code, error.action, error.resource) == (code, action, resource)
    assert said in str(error)
    assert message in str(error)


def test_expired_credentials():
    """Expired keys are told from missing permissions."""
    with pytest.raises(ProvisioningError, match=r"expired or wrong\. Sign in again") as caught:
        failing(refusal("ExpiredToken", "…")).call("sts", "get_caller_identity")
    assert not is_absent(caught.value)


def test_own_errors_pass(account, tmp_path):
    """An administrator who signs in by this library gets the library's own errors."""
    setup = account.emulator.set_up()
    arguments = setup.config_arguments() | {"endpoint_url": NOWHERE, "max_attempts": 1}
    session = boto3_session(RolesAnywhereConfig(**arguments))
    url = account.emulator.aws_endpoint_url
    clients = {name: session.client(name, endpoint_url=url) for name in ("rolesanywhere", "iam")}
    admin = Admin(**clients, sts=session.client("sts", endpoint_url=url))

    with pytest.raises(RolesAnywhereError) as caught:
        admin.account_id  # noqa: B018
    assert isinstance(caught.value, TransportError)


def test_half_an_emulator_is_an_error(monkeypatch):
    """With Roles Anywhere on this machine the role is not made at AWS, unless that is asked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    here = {"region": "eu-west-1", "endpoint_url": NOWHERE}

    with pytest.raises(ConfigurationError, match=r"IAM would be .*amazonaws.* --iam-endpoint"):
        Admin.from_profile(**here)
    with pytest.raises(ConfigurationError, match=r"STS would be .*amazonaws.* --sts-endpoint"):
        Admin.from_profile(**here, iam_endpoint_url=NOWHERE)
    aws = {f"{name}_endpoint_url": f"https://{name}.amazonaws.com" for name in ("iam", "sts")}
    assert Admin.from_profile(**here, **aws).region == "eu-west-1"
