"""IAM's and Private CA's part in the control plane, with moto's services behind it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from moto import mock_aws, settings

from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.fronts.moto import moto_service, register

ACCOUNT = "111122223333"
APP, OTHER = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("app", "other"))


def user(aws, *statements, name="alice"):
    """A boto3 client for Roles Anywhere of a user with a policy of (actions, resources)."""
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": resources}
            for actions, resources in statements
        ],
    }
    if statements:
        text = json.dumps(document)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return aws.client(
        "rolesanywhere",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def plain_client(aws, **arguments):
    """A boto3 client for Roles Anywhere at moto, made by hand."""
    return boto3.client(
        "rolesanywhere", region_name="eu-west-1", endpoint_url=aws.aws_endpoint_url, **arguments
    )


def refusal(call, **members):
    """Code and text of the refusal of *call*."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def denied(action, resource, who=f"arn:aws:iam::{ACCOUNT}:user/alice"):
    """The refusal of a user who lacks a permission."""
    text = f"User: {who} is not authorized to perform: {action} on resource: {resource}"
    return "AccessDeniedException", text


# Permissions


@pytest.mark.conformance(
    "every operation",
    source="UG/security_iam_troubleshoot",
    text="User: {caller} is not authorized to perform: {action} on resource: {resource}",
)
def test_call_without_permission_is_refused(aws):
    """Under enforcement each operation needs its own action."""
    alice = user(aws, ("rolesanywhere:ListProfiles", "*"))

    with aws.enforcing_iam():
        assert alice.list_profiles(pageSize=3)["profiles"] == []
        assert refusal(alice.list_crls) == denied("rolesanywhere:ListCrls", "*")
    assert alice.list_crls()["crls"] == []


@pytest.mark.conformance(
    "CreateProfile, UpdateProfile, EnableProfile: Create, update and enable of a profile ask for "
    "iam:PassRole on every role in it; that UpdateProfile does is ours.",
    source="UG/security_iam_troubleshoot + observed + choice",
)
def test_profile_needs_pass_role_for_each_role(aws):
    """Create, update and enable of a profile ask for iam:PassRole on every role in it."""
    alice = user(aws, ("rolesanywhere:*", "*"), ("iam:PassRole", APP))
    both = aws.client("rolesanywhere").create_profile(name="both", roleArns=[APP, OTHER])
    expected = denied("iam:PassRole", OTHER)

    with aws.enforcing_iam():
        made = alice.create_profile(name="p", roleArns=[APP])["profile"]
        identifier = made["profileId"]
        assert refusal(alice.create_profile, name="p", roleArns=[APP, OTHER]) == expected
        alice.update_profile(profileId=identifier, name="q")
        assert refusal(alice.update_profile, profileId=identifier, roleArns=[OTHER]) == expected
        alice.enable_profile(profileId=identifier)
        foreign = both["profile"]["profileId"]
        assert refusal(alice.enable_profile, profileId=foreign) == expected
        alice.disable_profile(profileId=foreign)
    assert made["createdBy"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert both["profile"]["createdBy"] == f"arn:aws:iam::{ACCOUNT}:user/administrator"


@pytest.mark.conformance("CreateTrustAnchor, CreateProfile, ImportCrl", source="choice")
def test_create_with_tags_needs_leave_to_tag(aws):
    """A create that brings tags asks for rolesanywhere:TagResource on what it makes."""
    alice = user(aws, ("rolesanywhere:CreateProfile", "*"), ("iam:PassRole", "*"))
    tags = [{"key": "team", "value": "blue"}]

    with aws.enforcing_iam():
        code, text = refusal(alice.create_profile, name="p", roleArns=[APP], tags=tags)
        alice.create_profile(name="p", roleArns=[APP])
    assert code == "AccessDeniedException"
    assert "perform: rolesanywhere:TagResource on resource: arn:aws:rolesanywhere:" in text
    assert len(aws.client("rolesanywhere").list_profiles()["profiles"]) == 1


@pytest.mark.conformance("GetProfile", source="model")
def test_permission_for_one_resource(aws):
    """A policy names a profile by its ARN, however the call names it; an alias is no resource."""
    admin = aws.client("rolesanywhere")
    shape = admin.meta.service_model.operation_model("CreateProfile").input_shape
    has_aliases = "aliasName" in shape.members
    alias = {"aliasName": "mine"} if has_aliases else {}
    mine = admin.create_profile(name="mine", roleArns=[], **alias)["profile"]
    yours = admin.create_profile(name="yours", roleArns=[])["profile"]
    actions = ["rolesanywhere:GetProfile", "rolesanywhere:TagResource"]
    alice = user(aws, (actions, mine["profileArn"]))

    with aws.enforcing_iam():
        names = [mine["profileId"]]
        names += [mine["profileArn"], mine["aliasArn"]] if has_aliases else []
        for name in names:
            assert alice.get_profile(profileId=name)["profile"]["name"] == "mine"
        alice.tag_resource(resourceArn=mine["profileArn"], tags=[{"key": "a", "value": "b"}])
        assert refusal(alice.get_profile, profileId=yours["profileId"]) == denied(
            "rolesanywhere:GetProfile", yours["profileArn"]
        )
        if has_aliases:
            unknown = mine["aliasArn"] + "/unknown"
            assert refusal(alice.get_profile, profileId=unknown) == denied(
                "rolesanywhere:GetProfile", unknown
            )


def test_session_of_roles_anywhere_is_a_caller(aws, create_session):
    """A session that signed in may configure the service as far as its role may."""
    policy = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "rolesanywhere:List*", "Resource": "*"},
    }
    setup = aws.set_up(policy=policy)
    session = create_session(setup, at=aws.now()).session
    keys = session["credentials"]
    client = aws.client(
        "rolesanywhere",
        aws_access_key_id=keys["accessKeyId"],
        aws_secret_access_key=keys["secretAccessKey"],
        aws_session_token=keys["sessionToken"],
    )

    with aws.enforcing_iam():
        assert len(client.list_trust_anchors()["trustAnchors"]) == 1
        assert refusal(client.create_profile, name="p", roleArns=[]) == denied(
            "rolesanywhere:CreateProfile", "*", who=session["assumedRoleUser"]["arn"]
        )
    made = client.create_profile(name="p", roleArns=[])["profile"]
    assert made["createdBy"] == session["assumedRoleUser"]["arn"]


def test_caller_must_be_known_and_sign_well(aws):
    """Under enforcement a request is signed by a known key with the right secret."""
    key, _ = aws._moto.administrator
    unknown = plain_client(aws, aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x")
    forger = plain_client(aws, aws_access_key_id=key, aws_secret_access_key="x")

    with aws.enforcing_iam():
        assert refusal(unknown.list_crls)[0] == "UnrecognizedClientException"
        assert refusal(forger.list_crls)[0] == "InvalidSignatureException"
    for client in (unknown, forger):
        assert client.list_crls()["crls"] == []
    made = unknown.create_profile(name="p", roleArns=[])["profile"]
    assert made["createdBy"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_unsigned_call_is_refused_under_enforcement(monkeypatch):
    """A call without a signature is nobody's; only moto in process gets one to the service."""
    client = boto3.client(
        "rolesanywhere", region_name="eu-west-1", config=Config(signature_version=UNSIGNED)
    )
    with register(moto_service()), mock_aws():
        assert client.list_crls()["crls"] == []
        monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        assert refusal(client.list_crls) == (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )


@pytest.mark.conformance("CreateSession", source="UG/vpc-interface-endpoints")
def test_sign_in_needs_no_permission(aws, create_session):
    """No IAM action stands before CreateSession, also at moto's own endpoint."""
    setup = aws.set_up()

    with aws.enforcing_iam():
        answer = create_session(setup, at=aws.now(), endpoint_url=aws.aws_endpoint_url)
    assert answer.status == 201


# AWS Private CA


def private_ca(aws, common_name="Private CA"):
    """The ARN of an active root CA in moto's AWS Private CA, and its certificate."""
    pca = aws.client("acm-pca")
    arn = pending_ca(pca, common_name)
    issue_root(pca, arn)
    return arn, pca.get_certificate_authority_certificate(CertificateAuthorityArn=arn)[
        "Certificate"
    ]


def pending_ca(pca, common_name="Private CA"):
    """The ARN of a root CA without a certificate."""
    return pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "RSA_2048",
            "SigningAlgorithm": "SHA256WITHRSA",
            "Subject": {"Organization": "Example", "CommonName": common_name},
        },
        CertificateAuthorityType="ROOT",
    )["CertificateAuthorityArn"]


def issue_root(pca, arn):
    """Give the CA a new certificate of its own, and return that."""
    csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode()
    certificate = issue(pca, arn, csr, template="RootCACertificate")
    pca.import_certificate_authority_certificate(
        CertificateAuthorityArn=arn, Certificate=certificate.encode()
    )
    return certificate


def issue(pca, arn, csr, template="EndEntityCertificate"):
    """A certificate of the CA for *csr*."""
    certificate_arn = pca.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=csr,
        SigningAlgorithm="SHA256WITHRSA",
        TemplateArn=f"arn:aws:acm-pca:::template/{template}/V1",
        Validity={"Type": "DAYS", "Value": 365},
    )["CertificateArn"]
    return pca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=certificate_arn)[
        "Certificate"
    ]


def source(arn):
    """The source of a trust anchor."""
    return {"sourceType": "AWS_ACM_PCA", "sourceData": {"acmPcaArn": arn}}


def issued_leaf(aws, arn):
    """A leaf of the CA with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = issue(aws.client("acm-pca"), arn, csr.public_bytes(Encoding.PEM))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return SimpleNamespace(certificate=certificate, private_key=key, chain=())


def trusting_setup(aws, anchor_arn):
    """What `create_session` wants to know, for an anchor that the test made."""
    role = aws.create_role("app", trust_anchor_arn=anchor_arn)
    profile = aws.client("rolesanywhere").create_profile(name="p", roleArns=[role], enabled=True)
    return SimpleNamespace(
        trust_anchor_arn=anchor_arn,
        profile_arn=profile["profile"]["profileArn"],
        role_arn=role,
        endpoint_url=aws.endpoint_url,
    )


def test_leaf_of_a_private_ca_signs_in(aws, create_session):
    """A trust anchor of a private CA admits what that CA issued, and nothing else."""
    arn, _ = private_ca(aws)
    other, _ = private_ca(aws)  # of the same name
    anchor = aws.client("rolesanywhere").create_trust_anchor(
        name="a", source=source(arn), enabled=True
    )["trustAnchor"]
    setup = trusting_setup(aws, anchor["trustAnchorArn"])
    now = datetime.now(timezone.utc)

    answer = create_session(setup, leaf=issued_leaf(aws, arn), at=now)
    refused = create_session(setup, leaf=issued_leaf(aws, other), at=now)

    assert anchor["source"] == source(arn)
    assert answer.session["sourceIdentity"] == "CN=app"
    assert refused.refusal == (403, "AccessDeniedException", "Untrusted signing certificate")


@pytest.mark.conformance("CreateTrustAnchor, UpdateTrustAnchor", source="UG/trust-model")
def test_certificate_of_the_ca_is_read_at_create_and_update(aws):
    """A renewed CA counts from the next UpdateTrustAnchor on (user guide, trust-model)."""
    arn, first = private_ca(aws)
    client = aws.client("rolesanywhere")
    anchor = client.create_trust_anchor(name="a", source=source(arn))["trustAnchor"]
    identifier = anchor["trustAnchorId"]

    def trusted():
        shelf = aws._service.state.shelf(ACCOUNT, "eu-west-1")
        (certificate,) = shelf.resources[anchor["trustAnchorArn"]].certificates
        return certificate.public_bytes(Encoding.PEM).decode().strip()

    assert trusted() == first.strip()
    second = issue_root(aws.client("acm-pca"), arn).strip()
    client.enable_trust_anchor(trustAnchorId=identifier)
    assert trusted() == first.strip() != second
    client.update_trust_anchor(trustAnchorId=identifier, name="b")
    assert trusted() == second
    client.update_trust_anchor(trustAnchorId=identifier, source=source(private_ca(aws)[0]))
    assert trusted() not in (first.strip(), second)
    pem = CertificateAuthority().certificate_pem
    bundle = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
    client.update_trust_anchor(trustAnchorId=identifier, source=bundle)
    client.update_trust_anchor(trustAnchorId=identifier, name="c")
    assert trusted() == pem.strip()


@pytest.mark.conformance("CreateSession", source="UG/trust-model", check="path to the trust anchor")
def test_anchor_ends_with_the_validity_that_was_read(aws, create_session):
    """After the end of the CA's validity its leaves are not trusted."""
    arn, pem = private_ca(aws)
    anchor = aws.client("rolesanywhere").create_trust_anchor(
        name="a", source=source(arn), enabled=True
    )["trustAnchor"]
    setup = trusting_setup(aws, anchor["trustAnchorArn"])
    end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    leaf = issued_leaf(aws, arn)

    aws.advance(end - aws.now() + timedelta(minutes=1))

    assert create_session(setup, leaf=leaf, at=aws.now()).refusal[:2] == (
        403,
        "AccessDeniedException",
    )


@pytest.mark.conformance("CreateTrustAnchor", source="choice")
@pytest.mark.parametrize(
    ("arn", "text"),
    [
        ("arn:aws:acm-pca:x", "must be the ARN of a private CA, not 'arn:aws:acm-pca:x'"),
        (
            f"arn:aws:acm-pca:eu-west-1:{ACCOUNT}:certificate-authority/none",
            "There is no private CA arn:aws:acm-pca:eu-west-1:",
        ),
    ],
)
def test_unknown_private_ca_is_refused(aws, arn, text):
    """An anchor cannot be made of a CA that moto does not know."""
    client = aws.client("rolesanywhere")

    with pytest.raises(client.exceptions.ValidationException) as caught:
        client.create_trust_anchor(name="a", source=source(arn))
    assert text in caught.value.response["Error"]["Message"]


def test_private_ca_without_certificate_is_refused(aws):
    """A CA that waits for its certificate cannot anchor trust."""
    arn = pending_ca(aws.client("acm-pca"))
    client = aws.client("rolesanywhere")

    with pytest.raises(client.exceptions.ValidationException) as caught:
        client.create_trust_anchor(name="a", source=source(arn))
    message = caught.value.response["Error"]["Message"]
    assert f"The private CA {arn} is PENDING_CERTIFICATE and not ACTIVE" in message
