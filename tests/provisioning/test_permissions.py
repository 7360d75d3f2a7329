"""The policy that docs/setup.md gives for the administrator."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from rolesanywhere_auth.provisioning import (
    Authority,
    Blueprint,
    apply,
    plan_revoke,
    plan_setup,
    plan_teardown,
)


@pytest.fixture
def policy(repository):
    """As the page has it."""
    page = (repository / "docs" / "setup.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return json.loads(text)


def everything(account, admin, cas):
    """Set up, change, revoke twice, and tear down."""
    ca = Authority.load(cas[0] / "ca.pem", cas[0] / "ca.key")
    for number in range(2):
        blueprint = Blueprint(
            name="app",
            ca_bundle=cas[number] / "ca.pem",
            require={"x509Subject/CN": f"app-{number}"},
            policy_arns=account.policies[number:],
            session_duration=3600 * (number + 1),
        )
        apply(plan_setup(blueprint, admin, now=account.now), admin)
        for kind in ("profile", "trust_anchor") if number == 0 else ():
            member = kind.replace("_a", "A")
            (item,) = getattr(account.rolesanywhere, f"list_{kind}s")()[f"{member}s"]
            identifier = {f"{member}Id": item[f"{member}Id"]}
            getattr(account.rolesanywhere, f"disable_{kind}")(**identifier)
    ca = Authority.load(cas[1] / "ca.pem", cas[1] / "ca.key")
    for serial in (5, 6):
        end = account.now + timedelta(days=9)
        plan = plan_revoke(ca, [serial], admin, now=account.now, next_update=end)
        apply(plan, admin)
        (crl,) = account.rolesanywhere.list_crls()["crls"]
        account.rolesanywhere.disable_crl(crlId=crl["crlId"])
    statement = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    account.iam.put_role_policy(RoleName="app", PolicyName="own", PolicyDocument=document)
    apply(plan_teardown("app", admin), admin)


def test_documented_policy_is_enough(account, cas, policy):
    """With its actions all succeeds while IAM is enforced, and no other calls are made.

    On which roles is not shown here: moto asks its IAM for leave on `*` alone.
    """
    for statement in policy["Statement"]:
        statement["Resource"] = "*"
    before = account.snapshot()
    alice = account.user(policy)
    called = set()

    def note(model, **event):
        service = model.service_model.signing_name
        called.add(f"{service}:{model.name}")

    for client in alice._clients.values():
        client.meta.events.register("before-call", note)
    with account.emulator.enforcing_iam():
        everything(account, alice, cas)

    allowed = {
        action
        for statement in policy["Statement"]
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    # These go with creating; AWS asks for no permission to learn who one is.
    implied = {"rolesanywhere:TagResource", "iam:TagRole", "iam:PassRole"}
    implied |= {"iam:CreateServiceLinkedRole"}
    assert called - {"sts:GetCallerIdentity"} == allowed - implied
    assert account.snapshot() == before
