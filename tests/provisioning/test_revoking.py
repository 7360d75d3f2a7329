"""`plan_revoke` and `verify_revoked`: revoked certificates are refused, and others are not."""

from __future__ import annotations

import base64
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rolesanywhere_auth import (
    CertificateRevokedError,
    ConfigurationError,
    ProvisioningError,
    ResourceConflictError,
    RoleNotInProfileError,
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
    plan_teardown,
    verify_revoked,
)
from rolesanywhere_auth.provisioning.authority import load_certificate
from rolesanywhere_auth.provisioning.revoking import _trusts, trust_anchors_of
from rolesanywhere_auth.testing import CertificateAuthority

MONTH = timedelta(days=30)


class Scene:
    """A set-up, its CA, and certificates."""

    def __init__(self, account, cas, folder) -> None:
        self.account, self.admin, self.now = account, account.admin, account.now
        self.folder = folder
        self.ca = Authority.load(cas[0] / "ca.pem", cas[0] / "ca.key")
        blueprint = Blueprint(name="app", ca_bundle=cas[0] / "ca.pem")
        self.arns = apply(plan_setup(blueprint, self.admin, now=self.now), self.admin)

    def leaf(self, name):
        """A configuration with a new certificate, and its serial number."""
        files = issue_leaf(self.ca, self.folder, common_name=name, now=self.now)
        config = RolesAnywhereConfig(
            **self.arns,
            certificate=files.certificate,
            private_key=files.private_key,
            endpoint_url=self.account.emulator.endpoint_url,
            proxies={},
        )
        return config, load_certificate(files.certificate, role="certificate").serial_number

    def plan(self, *serials, **changes):
        """A plan to revoke."""
        arguments = {"now": self.now, "next_update": self.now + MONTH} | changes
        return plan_revoke(self.ca, serials, self.admin, **arguments)

    def revoke(self, *serials, **changes):
        """Plan, apply, and see that nothing is left to do."""
        plan = self.plan(*serials, **changes)
        apply(plan, self.admin)
        assert not self.plan(*serials, **changes)
        return plan

    def crls(self):
        """What is imported."""
        return self.account.rolesanywhere.list_crls()["crls"]

    def import_crl(self, pem, **members):
        """A CRL of somebody else."""
        anchor = self.arns["trust_anchor_arn"]
        return self.account.rolesanywhere.import_crl(
            name="theirs", crlData=pem, trustAnchorArn=anchor, **members
        )["crl"]


@pytest.fixture
def scene(account, cas, tmp_path):
    """A set-up in the account."""
    return Scene(account, cas, tmp_path)


def serials_of(crl, ca_file, tmp_path):
    """The serial numbers in an imported CRL, as openssl reads them, in hexadecimal."""
    path = tmp_path / "imported.pem"
    path.write_bytes(crl["crlData"])
    done = subprocess.run(
        ["openssl", "crl", "-in", path, "-CAfile", ca_file, "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verify OK" in done.stderr
    return {
        line.split(": ")[1].lower().lstrip("0")
        for line in done.stdout.splitlines()
        if line.strip().startswith("Serial Number: ")
    }


def test_revoked_certificate_is_refused(scene, cas, tmp_path):
    """One after the other is refused, others are not; there is one CRL with all of them."""
    (one, first), (two, second), (three, _) = (scene.leaf(name) for name in ("a", "b", "c"))
    assert create_session(one).expiration
    plan = scene.revoke(first, reason="keyCompromise")

    assert [step.operation for step in plan.steps] == ["import_crl"]
    assert "CRL number 0 -> 1, 0 -> 1 certificates" in str(plan)
    assert f"+ serial number {first} (0x{first:x}), keyCompromise" in str(plan)
    assert "! sessions that were given out live on" in str(plan)
    refusal = verify_revoked(one, sleep=pytest.fail)
    assert isinstance(refusal, CertificateRevokedError)
    assert create_session(two).expiration

    plan = scene.revoke(first, second)

    assert [step.operation for step in plan.steps] == ["update_crl"]
    assert "CRL number 1 -> 2, 1 -> 2 certificates" in str(plan)
    assert f"= serial number {first}" in str(plan)
    verify_revoked(one, sleep=pytest.fail)
    verify_revoked(two, sleep=pytest.fail)
    assert create_session(three).expiration
    (crl,) = scene.crls()
    assert crl["enabled"] is True
    assert serials_of(crl, cas[0] / "ca.pem", tmp_path) == {f"{first:x}", f"{second:x}"}


def test_second_run_changes_nothing(scene):
    """What is on an enabled list already needs no call; the plan says where it is."""
    scene.revoke(5)
    before = scene.account.snapshot()
    plan = scene.plan(5)
    apply(plan, scene.admin)

    assert not plan
    assert scene.crls()[0]["crlArn"] in str(plan)
    assert scene.account.snapshot() == before


def test_every_trust_anchor_of_the_ca(scene, account):
    """Two trust anchors hold the CA, a third its root: the certificate is refused at all."""
    root = CertificateAuthority("Root")
    below = root.intermediate("Below")
    authority = Authority.load(below.certificate_pem, below.private_key_pem)
    anchors = [account.emulator.create_trust_anchor(ca) for ca in (root, below, below)]
    leaf = below.issue("app")
    profile, role = (scene.arns[name] for name in ("profile_arn", "role_arn"))

    assert trust_anchors_of(authority, scene.admin) == anchors
    plan = plan_revoke(
        authority,
        [leaf.serial_number],
        scene.admin,
        now=scene.now,
        next_update=scene.now + MONTH,
    )
    apply(plan, scene.admin)

    assert len(plan.steps) == 3
    for anchor in anchors:
        config = RolesAnywhereConfig(
            trust_anchor_arn=anchor,
            profile_arn=profile,
            role_arn=role,
            certificate=leaf.bundle_pem.encode(),
            private_key=leaf.private_key_pem.encode(),
            endpoint_url=account.emulator.endpoint_url,
            proxies={},
        )
        verify_revoked(config, sleep=pytest.fail)


def test_interrupted_it_is_taken_up(scene):
    """A disabled list is updated, then enabled: after each interruption the next run ends both."""
    scene.revoke(5)
    (crl,) = scene.crls()
    identifier = crl["crlId"]
    for number in range(2):
        scene.account.rolesanywhere.disable_crl(crlId=identifier)
        plan = scene.plan(6 + number)
        assert [step.operation for step in plan.steps] == ["update_crl", "enable_crl"]
        with scene.account.interrupted(at=number, when="before-call"):
            apply(plan, scene.admin)
        rest = scene.revoke(6 + number)
        assert rest.steps[-1].operation == "enable_crl"
        assert len(rest.steps) == 2 - number
        (crl,) = scene.crls()
        assert crl["enabled"] is True


def test_list_out_of_date_is_renewed(scene):
    """A list past its next update is replaced, though it has the certificate."""
    scene.revoke(5)
    later = scene.now + 2 * MONTH
    plan = scene.revoke(5, now=later, next_update=later + MONTH)

    assert "CRL number 1 -> 2, 1 -> 1 certificates" in str(plan)


def test_entries_of_all_lists_of_the_ca_are_kept(scene, cas, tmp_path):
    """Two lists of the CA become one that has all; DER and lists without a number are read."""
    name, now = scene.ca.certificate.subject, scene.now
    for serial in (0xA1, 0xB2):
        builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(now)
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.next_update(now + MONTH).add_revoked_certificate(revoked.build())
        crl = builder.sign(scene.ca.key, scene.ca.signing_hash)
        der = crl.public_bytes(serialization.Encoding.DER)
        scene.import_crl(der, enabled=serial == 0xB2)

    plan = scene.revoke(0xC3)

    assert "2 -> 3 certificates" in str(plan)
    updated = next(crl for crl in scene.crls() if crl["crlArn"] in plan.steps[0].title)
    assert updated["enabled"] is True
    assert serials_of(updated, cas[0] / "ca.pem", tmp_path) == {"a1", "b2", "c3"}


def test_foreign_lists_are_left_alone(scene):
    """Of two lists of other CAs none is touched, and a third is not tried, as AWS takes two."""
    for number in range(2):
        pem = CertificateAuthority(f"Other {number}").crl_pem()
        scene.import_crl(pem.encode())
        if number == 0:
            assert scene.plan(5).steps[0].operation == "import_crl"

    with pytest.raises(ResourceConflictError, match="AWS takes no more than 2") as caught:
        scene.plan(5)
    assert caught.value.arns == tuple(crl["crlArn"] for crl in scene.crls())


def test_trust_anchor_is_named_or_found(scene, account):
    """A CA that no trust anchor holds needs one to be named; an unknown one is an error."""
    root = CertificateAuthority("Root")
    low = root.intermediate("Mid").intermediate("Low")
    authority = Authority.load(low.certificate_pem, low.private_key_pem)
    anchor = account.emulator.create_trust_anchor(root)
    times = {"now": scene.now, "next_update": scene.now + MONTH}

    with pytest.raises(
        ProvisioningError, match=r"no trust anchor .* holds the certificate of CN=L"
    ):
        plan_revoke(authority, [5], scene.admin, **times)
    with pytest.raises(ProvisioningError, match="there is no trust anchor arn:nowhere"):
        plan_revoke(authority, [5], scene.admin, trust_anchor_arns=["arn:nowhere"], **times)
    plan = plan_revoke(authority, [5], scene.admin, trust_anchor_arns=[anchor], **times)
    apply(plan, scene.admin)
    assert [crl["trustAnchorArn"] for crl in scene.crls()] == [anchor]
    assert account.tags(scene.crls()[0]["crlArn"]) == {}


def test_list_goes_with_its_setup(scene, account):
    """The CRL of our trust anchor has the set-up's tag, and is removed with it."""
    scene.revoke(5)
    assert account.tags(scene.crls()[0]["crlArn"]) == {"rolesanywhere-auth:setup": "app"}

    apply(plan_teardown("app", scene.admin), scene.admin)

    assert scene.crls() == []


def test_wrong_reason_is_refused_before_any_change(scene):
    """A reason that is none is an error of the plan."""
    with pytest.raises(ConfigurationError, match="no reason"):
        scene.plan(5, reason="because")


def test_verification_waits_and_then_says_so(scene):
    """A certificate that is accepted still is tried again, then it is an error."""
    config, serial = scene.leaf("a")
    slept = []

    with pytest.raises(ProvisioningError, match=r"still accepted .* 3 sign-ins"):
        verify_revoked(config, sleep=slept.append, attempts=3)
    assert slept == [2.0, 2.0]
    # The list takes a moment to count.
    assert verify_revoked(config, sleep=lambda seconds: scene.revoke(serial)).status == 403


def test_verification_passes_on_other_refusals(scene, account):
    """A refusal for another reason proves nothing: it is raised as it is."""
    config, _ = scene.leaf("a")
    other = account.emulator.create_role("other")
    account.rolesanywhere.update_profile(
        profileId=scene.arns["profile_arn"].rpartition("/")[2], roleArns=[other]
    )
    with pytest.raises(RoleNotInProfileError):
        verify_revoked(config, sleep=pytest.fail)


def test_trust_anchor_of_an_unknown_kind_of_key(scene, cas):
    """Another trust anchor's CA, with a key that cryptography cannot read, is no obstacle."""
    der = scene.ca.certificate.public_bytes(serialization.Encoding.DER)
    p256, other = (bytes.fromhex(f"06082a8648ce3d0301{last}") for last in ("07", "05"))
    assert p256 in der
    unknown = base64.encodebytes(der.replace(p256, other)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{unknown}-----END CERTIFICATE-----\n"

    assert not _trusts({"source": {"sourceData": {"x509CertificateData": pem}}}, scene.ca)
