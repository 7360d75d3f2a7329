"""`plan_teardown`: removes what a set-up made, however interrupted, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta

import boto3
import pytest
from botocore.config import Config

from rolesanywhere_auth import ConfigurationError, ResourceConflictError
from rolesanywhere_auth.provisioning import (
    Authority,
    Blueprint,
    apply,
    plan_revoke,
    plan_setup,
    plan_teardown,
)

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


def set_up(account, cas):
    """A set-up, with a revoked certificate and a policy of the role's own; its ARNs."""
    blueprint = Blueprint(
        name="app",
        ca_bundle=cas[0] / "ca.pem",
        policy_arns=account.policies[:1],
        session_policy=POLICY,
    )
    arns = apply(plan_setup(blueprint, account.admin, now=account.now), account.admin)
    ca = Authority.load(cas[0] / "ca.pem", cas[0] / "ca.key")
    end = account.now + timedelta(days=9)
    apply(plan_revoke(ca, [5], account.admin, now=account.now, next_update=end), account.admin)
    document = json.dumps(POLICY)
    account.iam.put_role_policy(RoleName="app", PolicyName="own", PolicyDocument=document)
    return arns


def test_teardown_leaves_the_account_as_it_was(account, cas):
    """After set-up and teardown all is as before; a second teardown has nothing to do."""
    before = account.snapshot()
    arns = set_up(account, cas)
    plan = plan_teardown("app", account.admin)
    apply(plan, account.admin)

    assert account.snapshot() == before
    assert all(arn in str(plan) for arn in arns.values())
    assert [step.operation for step in plan.steps] == [
        "delete_profile",
        "detach_role_policy",
        "delete_role_policy",
        "delete_role",
        "disable_trust_anchor",
        "delete_crl",
        "delete_trust_anchor",
    ]
    again = plan_teardown("app", account.admin)
    assert not again
    assert apply(again, account.admin) == {}


def test_interrupted_at_every_step_it_is_taken_up(account, cas):
    """Whichever call is lost, the next run removes the rest."""
    before = account.snapshot()
    set_up(account, cas)
    count = len(plan_teardown("app", account.admin).steps)
    for number in range(count):
        with account.interrupted(at=number, when="after-call"):
            apply(plan_teardown("app", account.admin), account.admin)
        apply(plan_teardown("app", account.admin), account.admin)
        assert account.snapshot() == before, f"step {number}"
        set_up(account, cas)


def test_what_is_gone_meanwhile_is_no_error(account, cas):
    """Two teardowns at once: the slower one finds things gone, which is what it wants."""
    before = account.snapshot()
    set_up(account, cas)
    plan = plan_teardown("app", account.admin)
    apply(plan_teardown("app", account.admin), account.admin)

    apply(plan, account.admin)

    assert account.snapshot() == before


def test_nothing_else_is_removed(account, cas):
    """Adopted, untagged and other set-ups' things stay, and so do foreign CRLs."""
    pem = (cas[0] / "ca.pem").read_text()
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
    account.rolesanywhere.create_trust_anchor(name="app", source=source, enabled=True)
    other = Blueprint(name="app-2", ca_bundle=cas[1] / "ca.pem")
    apply(plan_setup(other, account.admin, now=account.now), account.admin)
    account.iam.create_role(
        RoleName="mine", Path="/rolesanywhere-auth/", AssumeRolePolicyDocument=json.dumps(POLICY)
    )
    ca = Authority.load(cas[0] / "ca.pem", cas[0] / "ca.key")
    end = account.now + timedelta(days=9)
    apply(plan_revoke(ca, [5], account.admin, now=account.now, next_update=end), account.admin)
    before = account.snapshot()
    adopting = Blueprint(name="app", ca_bundle=pem)
    apply(plan_setup(adopting, account.admin, now=account.now), account.admin)

    plan = plan_teardown("app", account.admin)
    apply(plan, account.admin)

    assert account.snapshot() == before
    assert len(before["crls"]) == len(before["profiles"]) == 1
    assert [step.operation for step in plan.steps] == ["delete_profile", "delete_role"]


def test_foreign_crl_is_named(account, cas):
    """A CRL that somebody else imported for our trust anchor stays; the plan says so."""
    arns = set_up(account, cas)
    crl = account.rolesanywhere.list_crls()["crls"][0]
    theirs = account.rolesanywhere.import_crl(
        name="theirs", crlData=crl["crlData"], trustAnchorArn=arns["trust_anchor_arn"]
    )["crl"]

    plan = plan_teardown("app", account.admin)
    apply(plan, account.admin)

    assert f"! the CRL {theirs['crlArn']} was made by somebody else, and stays" in str(plan)
    assert [each["crlId"] for each in account.rolesanywhere.list_crls()["crls"]] == [
        theirs["crlId"]
    ]


def test_doubled_things_are_all_removed(account, cas):
    """What two runs at once made goes too, renamed or disabled or not."""
    before = account.snapshot()
    arns = set_up(account, cas)
    tags = [{"key": "rolesanywhere-auth:setup", "value": "app"}]
    account.rolesanywhere.create_profile(name="x", roleArns=[arns["role_arn"]], tags=tags)
    anchor = arns["trust_anchor_arn"].rpartition("/")[2]
    account.rolesanywhere.disable_trust_anchor(trustAnchorId=anchor)

    apply(plan_teardown("app", account.admin), account.admin)

    assert account.snapshot() == before


def test_name_is_checked(account):
    """A name that no set-up can have is an error before any call."""
    with account.operations() as names, pytest.raises(ConfigurationError, match="must be 1 to 64"):
        plan_teardown("a b", account.admin)
    assert names == []


def test_role_of_the_same_set_up_elsewhere(account, cas):
    """Roles belong to no Region: that of a set-up of this name in another one is left alone."""
    arns = set_up(account, cas)
    before = account.snapshot()
    here = account.emulator.endpoint_url
    settings = {"region_name": "us-east-1", "endpoint_url": here, "config": Config(proxies={})}
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    clients = {
        **account.clients,
        "rolesanywhere": boto3.client("rolesanywhere", **settings, **keys),
    }
    elsewhere = account.admin_of(clients)

    plan = plan_teardown("app", elsewhere)
    assert not plan
    assert f"! the role {arns['role_arn']} is of the set-up of this name in eu-west-1" in str(plan)
    with pytest.raises(ResourceConflictError, match="in eu-west-1, which would be cut off"):
        plan_setup(Blueprint(name="app", ca_bundle=cas[0] / "ca.pem"), elsewhere, now=account.now)
    assert account.snapshot() == before
