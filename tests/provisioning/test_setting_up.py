"""`plan_setup`: from what is there to what is wanted, however often and however interrupted."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509

from rolesanywhere_auth import (
    AssumeRoleDeniedError,
    CertificateLoadError,
    CertificateRequirementError,
    MissingPermissionError,
    ProvisioningError,
    ResourceConflictError,
    RolesAnywhereConfig,
    create_session,
)
from rolesanywhere_auth.provisioning import (
    Authority,
    Blueprint,
    apply,
    issue_leaf,
    plan_revoke,
    plan_setup,
)
from rolesanywhere_auth.testing import CertificateAuthority

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


def wanted(account, cas, **changes):
    """A blueprint that uses everything."""
    return dataclasses.replace(
        Blueprint(
            name="app",
            ca_bundle=cas[0] / "ca.pem",
            require={"x509Subject/CN": "app"},
            policy_arns=account.policies[:1],
            session_policy=POLICY,
            session_policy_arns=account.policies,
            session_duration=7200,
        ),
        **changes,
    )


def other(account, cas):
    """A blueprint of the same set-up that differs in everything."""
    return Blueprint(
        name="app",
        ca_bundle=cas[1] / "ca.pem",
        require={"x509Subject/CN": ["a*", "b"], "x509Issuer/CN": "ca1*"},
        policy_arns=account.policies[1:],
        accept_role_session_name=True,
    )


def set_up(account, blueprint):
    """Plan, apply, and see that nothing is left to do."""
    plan = plan_setup(blueprint, account.admin, now=account.now)
    arns = apply(plan, account.admin)
    again = plan_setup(blueprint, account.admin, now=account.now)
    assert again.steps == ()
    assert again.known == arns
    assert str(again).endswith("Nothing to do.")
    return plan, arns


def config(account, arns, folder, name="app"):
    """For a new certificate of the CA in *folder*."""
    ca = Authority.load(folder / "ca.pem", folder / "ca.key")
    target = folder / name
    if not (target / f"{name}.pem").exists():
        issue_leaf(ca, target, common_name=name, now=account.now)
    return RolesAnywhereConfig(
        **arns,
        certificate=target / f"{name}.pem",
        private_key=target / f"{name}.key",
        endpoint_url=account.emulator.endpoint_url,
        proxies={},
    )


def test_setup_from_nothing_lets_its_certificate_in_and_no_other(account, cas):
    """All is made, enabled and tagged; the right certificate signs in, another CN does not."""
    plan, arns = set_up(account, wanted(account, cas))

    shown = str(plan)
    assert [step.operation for step in plan.steps] == [
        "create_trust_anchor",
        "create_role",
        "attach_role_policy",
        "create_profile",
    ]
    assert "+ trust anchor app\n      trusts CN=ca00, until 20" in shown
    assert "aws:SourceArn is the new trust anchor's" in shown
    assert "aws:PrincipalTag/x509Subject/CN is app" in shown
    assert shown.endswith("4 steps.")
    for name in ("trust_anchor_arn", "profile_arn"):
        assert account.tags(arns[name]) == {"rolesanywhere-auth:setup": "app"}
    assert create_session(config(account, arns, cas[0])).expiration
    with pytest.raises(AssumeRoleDeniedError):
        create_session(config(account, arns, cas[0], name="stranger"))


def test_role_trusts_one_anchor_with_three_actions(account, cas):
    """The trust policy is the least: this service, this trust anchor, this account, this CN."""
    _, arns = set_up(account, wanted(account, cas))

    role = account.iam.get_role(RoleName="app")["Role"]
    assert role["AssumeRolePolicyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {
                    "ArnEquals": {"aws:SourceArn": arns["trust_anchor_arn"]},
                    "StringEquals": {
                        "aws:SourceAccount": "111122223333",
                        "aws:PrincipalTag/x509Subject/CN": "app",
                    },
                },
            }
        ],
    }
    assert role["Arn"] == "arn:aws:iam::111122223333:role/rolesanywhere-auth/app"
    assert role["MaxSessionDuration"] == 7200


def test_planning_changes_nothing(account, cas):
    """A plan is made of reads alone."""
    before = account.snapshot()
    with account.operations() as names:
        plan = plan_setup(wanted(account, cas), account.admin, now=account.now)

    assert plan
    assert all(name.startswith(("Get", "List")) for name in names)
    assert account.snapshot() == before


def test_changes_are_shown_and_made(account, cas):
    """What differs is brought in line; the plan shows each difference, before and after."""
    _, before = set_up(account, wanted(account, cas))
    plan, after = set_up(account, other(account, cas))

    shown = str(plan)
    assert after["trust_anchor_arn"] == before["trust_anchor_arn"]
    assert after["profile_arn"] != before["profile_arn"]
    for line in (
        "- trusts CN=ca00, until",
        "+ trusts CN=ca10, until",
        '-           "aws:PrincipalTag/x509Subject/CN": "app"',
        '+             "a*",',
        "7200 -> 3600 seconds",
        "- role app: policy arn:aws:iam::111122223333:policy/read",
        "+ role app: policy arn:aws:iam::111122223333:policy/other",
        "- profile app",
        "! the profile is replaced to drop its session policy: its ARN changes",
        "clients may name their sessions",
    ):
        assert line in shown
    assert create_session(config(account, after, cas[1], name="abc")).expiration


def test_profile_is_updated_in_place(account, cas):
    """Another duration and session policy change the profile, which keeps its ARN."""
    _, before = set_up(account, wanted(account, cas))
    read = {"Version": "2012-10-17", "Statement": [{**POLICY["Statement"][0], "Action": "s3:Get*"}]}
    changed = wanted(account, cas, session_policy=read, session_duration=timedelta(hours=1))
    plan, after = set_up(account, dataclasses.replace(changed, session_policy_arns=[]))

    assert after == before
    assert "durationSeconds: 7200 -> 3600" in str(plan)
    assert '-       "Action": "s3:*",\n' in str(plan)
    profile = account.rolesanywhere.list_profiles()["profiles"][0]
    assert json.loads(profile["sessionPolicy"]) == read
    assert profile["managedPolicyArns"] == []


def test_broken_session_policy_is_replaced(account, cas):
    """What somebody wrote into the profile that is no JSON is shown, and replaced."""
    _, arns = set_up(account, wanted(account, cas))
    profile = arns["profile_arn"].rpartition("/")[2]
    account.rolesanywhere.update_profile(profileId=profile, sessionPolicy="{broken")

    plan, _ = set_up(account, wanted(account, cas))

    assert "sessionPolicy:\n        - {broken\n        + {\n" in str(plan)


def test_disabled_things_of_ours_are_enabled(account, cas):
    """What somebody disabled is enabled again, as the plan says."""
    _, arns = set_up(account, wanted(account, cas))
    for kind in ("trustAnchor", "profile"):
        operation = f"disable_{re.sub('A', '_a', kind)}"
        arn = arns["trust_anchor_arn" if kind == "trustAnchor" else "profile_arn"]
        getattr(account.rolesanywhere, operation)(**{f"{kind}Id": arn.rpartition("/")[2]})

    plan, _ = set_up(account, wanted(account, cas))

    assert [step.title for step in plan.steps] == [
        "trust anchor app: enable",
        "profile app: enable",
    ]


def moments(steps):
    """Each call that is not made, and the last one's answer that is not heard.

    A lost answer leaves AWS as the loss of the next call does.
    """
    last = len(steps) - 1
    return [*((number, "before-call") for number in range(len(steps))), (last, "after-call")]


def applied(account, blueprint):
    """Plan and apply."""
    return apply(plan_setup(blueprint, account.admin, now=account.now), account.admin)


def test_interrupted_at_every_step_it_is_taken_up(account, cas):
    """Whichever call or answer is lost, the next run ends where an undisturbed one does."""
    steps = plan_setup(wanted(account, cas), account.admin, now=account.now).steps
    set_up(account, wanted(account, cas))
    undisturbed = account.snapshot()
    for number, when in moments(steps):
        account.reset()
        plan = plan_setup(wanted(account, cas), account.admin, now=account.now)
        with account.interrupted(at=number, when=when):
            apply(plan, account.admin)
        applied(account, wanted(account, cas))

        assert account.snapshot() == undisturbed, f"{when} {number}"


@pytest.mark.extended
def test_interrupted_change_is_taken_up(account, cas):
    """The same for a change of everything, with the profile replaced."""
    set_up(account, wanted(account, cas))
    steps = plan_setup(other(account, cas), account.admin, now=account.now).steps
    set_up(account, other(account, cas))
    undisturbed = account.snapshot()
    assert len(steps) == 7
    for number, when in moments(steps):
        account.reset()
        applied(account, wanted(account, cas))
        plan = plan_setup(other(account, cas), account.admin, now=account.now)
        with account.interrupted(at=number, when=when):
            apply(plan, account.admin)
        applied(account, other(account, cas))

        assert account.snapshot() == undisturbed, f"{when} {number}"


# Adopting


def test_same_ca_is_adopted_and_never_changed(account, cas):
    """An enabled trust anchor of somebody else for the same CA is used as it is."""
    pem = (cas[0] / "ca.pem").read_text()
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
    theirs = account.rolesanywhere.create_trust_anchor(name="x", source=source, enabled=True)
    before = theirs["trustAnchor"]

    plan, arns = set_up(account, wanted(account, cas))

    assert arns["trust_anchor_arn"] == before["trustAnchorArn"]
    assert f"= adopt trust anchor {before['trustAnchorArn']}" in str(plan)
    assert account.rolesanywhere.list_trust_anchors()["trustAnchors"] == [before]
    assert account.tags(before["trustAnchorArn"]) == {}
    account.rolesanywhere.disable_trust_anchor(trustAnchorId=before["trustAnchorId"])
    with pytest.raises(ResourceConflictError, match="is disabled, and not ours") as caught:
        plan_setup(wanted(account, cas), account.admin, now=account.now)
    assert caught.value.arns == (before["trustAnchorArn"],)


def test_given_anchor_is_used(account, cas):
    """A trust anchor named by its ARN is adopted; one that is not there is an error."""
    anchor = account.emulator.create_trust_anchor(CertificateAuthority())
    blueprint = Blueprint(name="app", trust_anchor_arn=anchor)

    plan, arns = set_up(account, blueprint)

    assert arns["trust_anchor_arn"] == anchor
    assert "! every certificate of this CA may take the role" in str(plan)
    assert "! the role has no policies" in str(plan)
    with pytest.raises(ProvisioningError, match="there is no trust anchor arn:"):
        plan_setup(
            dataclasses.replace(blueprint, trust_anchor_arn=anchor[:-4] + "0000"),
            account.admin,
            now=account.now,
        )


def test_two_setups_of_one_ca_have_their_own_anchors(account, cas):
    """What another set-up made is not adopted, as it goes with it; the plan says so."""
    _, first = set_up(account, wanted(account, cas))
    plan, second = set_up(account, wanted(account, cas, name="two"))

    assert first["trust_anchor_arn"] != second["trust_anchor_arn"]
    assert "of another set-up trusts the same CA" in str(plan)


def test_role_and_profile_as_wanted_are_adopted(account, cas):
    """Untagged ones that are just as wanted are taken, whatever their tags otherwise."""
    _, arns = set_up(account, wanted(account, cas))
    tag = "rolesanywhere-auth:setup"
    account.iam.untag_role(RoleName="app", TagKeys=[tag])
    for name in ("trust_anchor_arn", "profile_arn"):
        account.rolesanywhere.untag_resource(resourceArn=arns[name], tagKeys=[tag])

    plan, adopted = set_up(account, wanted(account, cas))

    assert adopted == arns
    assert plan.steps == ()
    assert [line.rsplit(" ", 1)[0] for line in plan.kept] == [
        "adopt trust anchor",
        "adopt role",
        "adopt profile",
    ]


@pytest.mark.parametrize("setup", [None, "other"])
def test_role_of_somebody_else_is_a_conflict(account, cas, setup):
    """A role of the name that is not as wanted is neither changed nor used."""
    tags = [{"Key": "rolesanywhere-auth:setup", "Value": setup}] if setup else []
    account.iam.create_role(
        RoleName="app", AssumeRolePolicyDocument=json.dumps(POLICY), Tags=tags
    )  # fmt: skip
    whose = "of the set-up other" if setup else "not made by this set-up"

    with pytest.raises(ResourceConflictError, match=whose) as caught:
        plan_setup(wanted(account, cas), account.admin, now=account.now)
    assert caught.value.arns == ("arn:aws:iam::111122223333:role/app",)
    _, arns = set_up(account, wanted(account, cas, role_name="app-2"))
    assert arns["role_arn"].endswith("role/rolesanywhere-auth/app-2")


def test_given_role_is_never_changed(account, cas):
    """A role named by its ARN is put into the profile and left alone."""
    role = account.emulator.create_role("team/own")
    plan, arns = set_up(
        account, Blueprint(name="app", ca_bundle=cas[0] / "ca.pem", role_arn=role)
    )  # fmt: skip

    assert [step.operation for step in plan.steps] == ["create_trust_anchor", "create_profile"]
    assert "! the role is not changed" in str(plan)
    assert create_session(config(account, arns, cas[0])).expiration


@pytest.mark.parametrize(
    "arn", ["arn:aws:iam::111122223333:role/own", "arn:aws:iam::999999999999:role/team/own"]
)
def test_given_role_must_be_there(account, cas, arn):
    """A role without its path, of another account, or none at all, is found out by the plan."""
    blueprint = Blueprint(name="app", ca_bundle=cas[0] / "ca.pem", role_arn=arn)
    with pytest.raises(ProvisioningError, match="there is no role arn:aws:iam::"):
        plan_setup(blueprint, account.admin, now=account.now)
    account.emulator.create_role("team/own")
    with pytest.raises(ProvisioningError, match="there is no role arn:aws:iam::"):
        plan_setup(blueprint, account.admin, now=account.now)


def test_renamed_things_are_found_by_their_tags(account, cas):
    """Somebody renamed the trust anchor and the profile: no second ones are made."""
    _, arns = set_up(account, wanted(account, cas))
    anchor = arns["trust_anchor_arn"].rpartition("/")[2]
    profile = arns["profile_arn"].rpartition("/")[2]
    account.rolesanywhere.update_trust_anchor(trustAnchorId=anchor, name="renamed")
    account.rolesanywhere.update_profile(profileId=profile, name="renamed")

    plan, after = set_up(account, wanted(account, cas))

    assert after == arns
    assert [step.operation for step in plan.steps] == ["update_profile"]


def test_doubled_profile_is_a_conflict(account, cas):
    """Two runs at once made two: nobody can know which is in use."""
    _, arns = set_up(account, wanted(account, cas))
    tags = [{"key": "rolesanywhere-auth:setup", "value": "app"}]
    account.rolesanywhere.create_profile(name="app", roleArns=[arns["role_arn"]], tags=tags)

    with pytest.raises(ResourceConflictError, match="has 2 profiles") as caught:
        plan_setup(wanted(account, cas), account.admin, now=account.now)
    assert arns["profile_arn"] in caught.value.arns


# CAs


def test_private_ca(account, cas):
    """A CA of AWS Private CA: its ARN is the source, and a change from it is shown."""
    arn = private_ca(account.emulator.client("acm-pca"))
    blueprint = Blueprint(name="app", acm_pca_arn=arn)

    set_up(account, blueprint)
    plan, _ = set_up(account, Blueprint(name="app", ca_bundle=cas[0] / "ca.pem"))

    assert f'- trusts {{"acmPcaArn": "{arn}"}}' in str(plan)
    assert "+ trusts CN=ca00" in str(plan)


def test_private_ca_may_stand_above_a_ca(account):
    """Revoking names the trust anchors whose CA cannot be seen, where it may be the one above."""
    blueprint = Blueprint(name="pca", acm_pca_arn=private_ca(account.emulator.client("acm-pca")))
    unseen = apply(plan_setup(blueprint, account.admin, now=account.now), account.admin)
    root = CertificateAuthority("Root")
    below = root.intermediate("Below")
    account.emulator.create_trust_anchor(root)
    account.emulator.create_trust_anchor(below)
    notes = []
    for ca in (root, below):
        authority = Authority.load(ca.certificate_pem, ca.private_key_pem)
        end = account.now + timedelta(days=9)
        plan = plan_revoke(authority, [5], account.admin, now=account.now, next_update=end)
        notes.append([note for note in plan.notes if "does not show its CA" in note])

    assert notes[0] == []
    assert notes[1][0].startswith(unseen["trust_anchor_arn"])


def private_ca(pca):
    """An active root CA in moto's AWS Private CA; its ARN."""
    arn = pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "RSA_2048",
            "SigningAlgorithm": "SHA256WITHRSA",
            "Subject": {"CommonName": "Private CA"},
        },
        CertificateAuthorityType="ROOT",
    )["CertificateAuthorityArn"]
    issued = pca.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode(),
        SigningAlgorithm="SHA256WITHRSA",
        TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
        Validity={"Value": 10, "Type": "DAYS"},
    )["CertificateArn"]
    pem = pca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)["Certificate"]
    pca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=pem.encode()
    )
    return arn


def test_only_certificates_leave_this_machine(account, cas):
    """A bundle with the key in it becomes a trust anchor without."""
    both = (cas[0] / "ca.key").read_bytes() + (cas[0] / "ca.pem").read_bytes()
    plan, _ = set_up(account, wanted(account, cas, ca_bundle=both))

    source = account.rolesanywhere.list_trust_anchors()["trustAnchors"][0]["source"]
    pem = source["sourceData"]["x509CertificateData"]
    assert "PRIVATE" not in pem
    assert "PRIVATE" not in repr(plan)
    assert x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string() == "CN=ca00"


def weak_ca(folder):
    """A CA certificate that OpenSSL signed with SHA-1."""
    key, certificate = folder / "weak.key", folder / "weak.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -sha1 -days 9 -subj /CN=Weak"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return certificate.read_text()


def test_unfit_bundles_are_refused_before_any_call(account, tmp_path):
    """Leaves, expired and weak CAs, and more than two are refused with what to give instead."""
    ca = CertificateAuthority("Fit")
    old = CertificateAuthority("Old", not_valid_after=account.now - timedelta(days=1))
    leaf = ca.issue("leaf").certificate_pem
    three = "".join(CertificateAuthority(name).certificate_pem for name in "abc")
    for text, expected in (
        (leaf, "CN=leaf is none of a CA"),
        (old.certificate_pem, "CN=Old expired at"),
        (weak_ca(tmp_path), "CN=Weak is signed with SHA-1"),
        (ca.issue_flawed("ca-true").certificate_pem, "has no keyUsage keyCertSign"),
        (three, "holds 3 certificates; a trust anchor takes 2"),
    ):
        blueprint = Blueprint(name="app", ca_bundle=text)
        with account.operations() as names, pytest.raises(CertificateRequirementError) as caught:
            plan_setup(blueprint, account.admin, now=account.now)
        assert expected in str(caught.value)
        assert set(names) <= {"GetCallerIdentity"}
    with pytest.raises(CertificateLoadError, match="holds no certificate"):
        plan_setup(
            Blueprint(name="app", ca_bundle=ca.private_key_pem), account.admin, now=account.now
        )


# Refusals


def test_missing_permission_is_named(account, cas):
    """Who lacks a permission learns which, on what, and for whom, and how far it went."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["iam:*", "rolesanywhere:List*", "rolesanywhere:*TrustAnchor*"],
                "Resource": "*",
            },
            {"Effect": "Allow", "Action": "rolesanywhere:TagResource", "Resource": "*"},
        ],
    }
    alice = account.user(policy)

    with account.emulator.enforcing_iam():
        plan = plan_setup(wanted(account, cas), alice, now=account.now)
        with pytest.raises(MissingPermissionError) as caught:
            apply(plan, alice)

    assert caught.value.action == "rolesanywhere:CreateProfile"
    assert "Allow rolesanywhere:CreateProfile on" in str(caught.value)
    assert "in a policy of arn:aws:iam::111122223333:user/alice" in str(caught.value)
    assert "(3 of 4 steps were done; the next run goes on from there)" in str(caught.value)


def test_policy_that_does_not_exist_is_reported(account, cas):
    """AWS's own words, and where the run stopped."""
    blueprint = wanted(account, cas, policy_arns=["arn:aws:iam::111122223333:policy/none"])

    with pytest.raises(ProvisioningError, match="NoSuchEntity: Policy arn:aws") as caught:
        set_up(account, blueprint)
    assert "(2 of 4 steps were done" in str(caught.value)
