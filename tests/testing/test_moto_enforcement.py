"""What sessions may do under moto's IAM enforcement."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from datetime import datetime, timedelta, timezone

import boto3
import moto
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws, settings
from moto.core.responses import BaseResponse
from moto.iam import access_control
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import PolicyVersion
from moto.sts.models import STSBackend

from rolesanywhere_auth.testing.fronts.moto import MotoDirectory, moto_service, register
from rolesanywhere_auth.testing.fronts.moto_enforcement import CannotJudgeError, session_context
from rolesanywhere_auth.testing.fronts.moto_sessions import Vended
from rolesanywhere_auth.testing.service.directory import Grant
from rolesanywhere_auth.testing.service.policy import Layer, check_permissions, permits

CN = "aws:PrincipalTag/x509Subject/CN"
# moto itself refuses operators that do not exist, and lets this pass.
ODD = {"ArnLike": {"aws:PrincipalArn": "<*>"}}
LOCATION = {"LocationConstraint": "eu-west-1"}

# The first half of the SHA-256 of the source of each inner part of moto that the add-on
# relies on, of moto 5.0.28, 5.1.5, 5.1.22, 5.2.0 and 5.2.5. A moto that changes one fails
# here by name: read the change, see whether ours must follow, and add the new value.
KNOWN = {
    "IAMRequestBase.__init__": {"b606a83700ae8354", "ce6169738bde8da8"},
    "IAMRequestBase.check_action_permitted": {"24fab0fee95af065", "c4cad2131aeeec99"},
    "IAMRequest._raise_access_denied": {"8c1741bf743368e2"},
    "S3IAMRequest._raise_access_denied": {"98daa0c1dded7c78"},
    "AssumedRoleAccessKey.__init__": {"45c420cfd0af161b", "f8f9b3c23079a2ca"},
    "AssumedRoleAccessKey.create_credentials": {"ebca433f2ecf1e2b"},
    "AssumedRoleAccessKey.collect_policies": {"123bbd0df152e7a7", "3ace7604fa4acd80"},
    "IAMUserAccessKey.create_credentials": {"3bdf8364b13e2a08"},
    "IAMPolicy.__init__": {"1af3974f4f249df4"},
    "PolicyVersion.__init__": {"6f53c1c44b6163c7", "9cadb6bc9eb8493c"},
    "STSBackend.assume_role": {"f32a21bb2eb0084c"},
    "BaseResponse._authenticate_and_authorize_s3_action": {"5fb168df6e779774", "f42e68966e400a18"},
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_we_rely_on_in_moto_is_as_we_read_it(name):
    """moto's own source of each inner part is one that was read and judged."""
    owner, _, member = name.partition(".")
    places = {c.__name__: c for c in (PolicyVersion, STSBackend, BaseResponse)}
    cls = places.get(owner) or getattr(access_control, owner)
    found = hashlib.sha256(inspect.getsource(getattr(cls, member)).encode()).hexdigest()[:16]

    assert found in KNOWN[name], f"moto {moto.__version__} changed {name}: reread and update"


def policy(*statements, **statement):
    """A policy of statements that allow everything, with changes."""
    sound = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    listed = [{**sound, **changes} for changes in (statements or (statement,))]
    return {"Version": "2012-10-17", "Statement": listed}


@pytest.fixture
def aws(aws):
    """An empty emulator with moto, and a bucket."""
    aws.client("s3").create_bucket(Bucket="demo", CreateBucketConfiguration=LOCATION)
    return aws


@pytest.fixture
def session(aws, create_session):
    """Makes a session for a common name and a role's policy; returns its clients."""

    def run(role_policy, *, name="alice", session_policy=None, managed=(), setup=None, leaf=None):
        setup = setup or aws.set_up(policy=role_policy, common_name=name)
        changes = {"managedPolicyArns": list(managed)}
        if session_policy is not None:
            changes["sessionPolicy"] = json.dumps(session_policy)
        aws.control_plane().update_profile(
            profileId=setup.profile_arn.rpartition("/")[2], **changes
        )
        keys = create_session(setup, at=aws.now(), leaf=leaf).session["credentials"]
        return lambda service: aws.client(
            service,
            aws_access_key_id=keys["accessKeyId"],
            aws_secret_access_key=keys["secretAccessKey"],
            aws_session_token=keys["sessionToken"],
        )

    return run


def may(aws, call, **arguments):
    """Whether moto allows a call under enforcement."""
    with aws.enforcing_iam():
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
    return True


def may_put(aws, s3, key="key", **arguments):
    """Whether *s3* may put an object."""
    return may(aws, s3.put_object, Bucket="demo", Key=key, Body=b"", **arguments)


@pytest.mark.conformance("session", source="UG/trust-model")
def test_a_tag_in_a_roles_policy_decides(aws, session):
    """Two certificates, one role: only the one whose common name the policy wants may write."""
    setup = aws.set_up(policy=policy(Condition={"StringEquals": {CN: "alice"}}), common_name="bob")
    alice = session(None, setup=setup, leaf=setup.authority.issue("alice"))
    bob = session(None, setup=setup)

    assert may_put(aws, alice("s3"))
    assert not may_put(aws, bob("s3"))


def test_a_tag_in_the_resource_decides(aws, session):
    """A variable in Resource is the session's own tag."""
    s3 = session(policy(Resource=f"arn:aws:s3:::demo/${{{CN}}}/*"))("s3")

    assert may_put(aws, s3, "alice/key")
    assert not may_put(aws, s3, "bob/key")
    assert not may(aws, s3.list_objects_v2, Bucket="demo")


def test_prefixes_and_object_tags_of_the_request_decide(aws, session):
    """The guide's examples: s3:prefix and s3:RequestObjectTag against a principal's tag."""
    s3 = session(
        policy(
            {
                "Action": "s3:ListBucket",
                "Condition": {"StringLike": {"s3:prefix": f"${{{CN}}}-*"}},
            },
            {
                "Action": "s3:PutObject",
                "Condition": {
                    "StringEquals": {"s3:RequestObjectTag/owner": f"${{{CN}}}"},
                    "ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["owner"]},
                    "StringEqualsIfExists": {"s3:x-amz-storage-class": "STANDARD"},
                },
            },
        )
    )("s3")

    # No slash: moto 5.0 gets the signature of one in a query wrong.
    assert may(aws, s3.list_objects_v2, Bucket="demo", Prefix="alice-x")
    assert not may(aws, s3.list_objects_v2, Bucket="demo", Prefix="bob-")
    assert not may(aws, s3.list_objects_v2, Bucket="demo")
    assert may_put(aws, s3, Tagging="owner=alice")
    assert may_put(aws, s3, Tagging="owner=alice", StorageClass="STANDARD")
    assert not may_put(aws, s3, Tagging="owner=alice", StorageClass="GLACIER")
    assert not may_put(aws, s3, Tagging="owner=bob")
    assert not may_put(aws, s3, Tagging="owner=alice&more=x")
    assert not may_put(aws, s3)


KEYS = [
    ({"StringEquals": {"aws:SourceIdentity": "CN=alice"}}, True),
    ({"StringEquals": {"aws:SourceIdentity": "CN=bob"}}, False),
    ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/app*"}}, True),
    ({"ArnLike": {"aws:PrincipalArn": "arn:aws:sts::111122223333:assumed-role/*"}}, False),
    ({"StringLike": {"aws:userid": "AROA*:*"}}, True),
    ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, True),
    ({"Bool": {"aws:SecureTransport": "false"}}, False),
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
    ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
    ({"Null": {"aws:Referer": "false"}}, False),
    ({"Null": {"aws:username": "true"}}, True),
]


@pytest.mark.conformance("session", source="UG/trust-model + IAM/reference_policies_condition-keys")
def test_keys_of_the_session_and_the_request(aws, session):
    """What AWS tells of a session is there to be asked for; a role's policy may change."""
    s3 = session(policy())("s3")
    for condition, expected in KEYS:
        document = json.dumps(policy(Condition=condition))
        (name,) = aws.client("iam").list_role_policies(RoleName="app")["PolicyNames"]
        aws.client("iam").put_role_policy(RoleName="app", PolicyName=name, PolicyDocument=document)
        assert may_put(aws, s3) is expected, condition


def test_time_is_the_emulators(aws, session):
    """aws:CurrentTime moves with the emulator's clock, aws:TokenIssueTime stays."""
    end = (aws.now() + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    s3 = session(policy(Condition={"DateLessThan": {"aws:CurrentTime": end}}))("s3")
    old = session(policy(Condition={"DateLessThan": {"aws:TokenIssueTime": end}}))("s3")

    assert may_put(aws, s3)
    aws.advance(601)
    assert not may_put(aws, s3)
    assert may_put(aws, old)


@pytest.mark.conformance("session", source="model")
def test_session_policy_takes_away_and_never_gives(aws, session):
    """A request needs the role's policy and the profile's session policy."""
    narrow = policy(Resource="arn:aws:s3:::demo/*", Action="s3:PutObject")
    s3 = session(policy(Action=["s3:PutObject", "s3:ListBucket"]), session_policy=narrow)("s3")
    assert may_put(aws, s3)
    assert not may(aws, s3.list_objects_v2, Bucket="demo")

    wide = session(policy(Action="s3:ListBucket"), session_policy=policy())("s3")
    assert may(aws, wide.list_objects_v2, Bucket="demo")
    assert not may_put(aws, wide)

    tagged = policy(Condition={"StringEquals": {CN: "bob"}})
    assert not may_put(aws, session(policy(), session_policy=tagged)("s3"))


@pytest.mark.conformance("session", source="model")
def test_managed_policies_of_the_profile_restrict_too(aws, session):
    """Inline and managed session policies give together; the newest default version counts."""
    iam = aws.client("iam")
    arn = iam.create_policy(
        PolicyName="put", PolicyDocument=json.dumps(policy(Action="s3:PutObject"))
    )["Policy"]["Arn"]
    s3 = session(policy(), session_policy=policy(Action="s3:ListBucket"), managed=[arn])("s3")
    assert may_put(aws, s3)
    assert may(aws, s3.list_objects_v2, Bucket="demo")
    assert not may(aws, s3.get_object, Bucket="demo", Key="key")

    iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=json.dumps(policy(Effect="Deny")), SetAsDefault=True
    )
    assert not may(aws, s3.list_objects_v2, Bucket="demo")


def test_managed_policies_and_boundary_of_the_role_count(aws, session):
    """A role's attached policies give, its permissions boundary takes away."""
    iam = aws.client("iam")
    arns = [
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))["Policy"]["Arn"]
        for name, document in [
            ("listing", policy(Action="s3:ListBucket")),
            ("boundary", policy(Action="s3:PutObject")),
        ]
    ]
    setup = aws.set_up(policy=policy(Action="s3:PutObject"), role_name="bounded")
    iam.attach_role_policy(RoleName="bounded", PolicyArn=arns[0])
    s3 = session(None, setup=setup)("s3")
    assert may_put(aws, s3)
    assert may(aws, s3.list_objects_v2, Bucket="demo")

    iam.put_role_permissions_boundary(RoleName="bounded", PermissionsBoundary=arns[1])
    assert may_put(aws, s3)
    assert not may(aws, s3.list_objects_v2, Bucket="demo")


def test_get_caller_identity_is_always_allowed(aws, session):
    """Even an explicit deny does not touch it."""
    sts = session(policy(Effect="Deny"))("sts")

    assert may(aws, sts.get_caller_identity)
    assert not may(aws, sts.get_session_token)


def test_a_session_may_assume_a_role_by_its_source_identity(aws, session):
    """sts:SourceIdentity is there when a session assumes another role, whose trust moto judges."""
    condition = {"StringEquals": {"sts:SourceIdentity": "CN=alice"}}
    for name in ("alice", "bob"):
        role_policy = policy(Action="sts:AssumeRole", Condition=condition)
        sts = session(role_policy, name=name)("sts")
        arn = sts.get_caller_identity()["Arn"]
        statement = {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        other = aws.create_role(f"other-{name}", trust_policy=trust)
        allowed = may(aws, sts.assume_role, RoleArn=other, RoleSessionName="x-y")
        assert allowed is (name == "alice")


@pytest.mark.parametrize(
    ("service", "call"),
    [("s3", "list_buckets"), ("iam", "list_roles"), ("secretsmanager", "list_secrets")],
)
def test_a_policy_that_cannot_be_judged_is_an_error(aws, session, service, call):
    """What the evaluator does not know fails loudly, in each protocol, and is no permission."""
    clients = session(policy(Condition=ODD))

    with aws.enforcing_iam(), pytest.raises(ClientError) as raised:
        getattr(clients(service), call)()

    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert raised.value.response["Error"]["Code"] == "NotImplemented"
    words = raised.value.response["Error"]["Message"]
    assert "ArnLike aws:PrincipalArn: '<*>' has not the six parts of an ARN" in words
    assert "role/app" in words


def test_a_managed_policy_that_moto_does_not_have_is_an_error(aws, session):
    """The message says which, and how to get it."""
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    s3 = session(policy(), managed=[arn])("s3")

    with aws.enforcing_iam(), pytest.raises(ClientError, match=f"no managed policy {arn}; make"):
        s3.list_buckets()


def test_a_role_that_is_gone_gives_nothing(aws, session):
    """A session outlives its role, and may do nothing more."""
    sts = session(policy())("sts")
    (name,) = aws.client("iam").list_role_policies(RoleName="app")["PolicyNames"]
    aws.client("iam").delete_role_policy(RoleName="app", PolicyName=name)
    aws.client("iam").delete_role(RoleName="app")

    assert not may(aws, sts.get_session_token)
    assert may(aws, sts.get_caller_identity)


def test_the_reason_is_logged(aws, session, caplog):
    """What decided is said in the log, for those who wonder."""
    s3 = session(policy(Condition={"StringEquals": {CN: "bob"}}))("s3")

    with caplog.at_level(logging.INFO, logger="rolesanywhere_auth.testing"):
        assert not may_put(aws, s3)

    assert (
        "s3:PutObject on arn:aws:s3:::demo/key: no statement of the role's policies allows "
        f"s3:PutObject: statement 1: StringEquals {CN} wants ['bob'], the request has 'alice'"
    ) in caplog.messages


def test_others_are_judged_by_moto_alone(aws, session, monkeypatch):
    """Users, and sessions of moto's own STS, are as they were without the add-on."""
    session(policy(Condition=ODD))
    keys = aws.client("sts").assume_role(
        RoleArn="arn:aws:iam::111122223333:role/app", RoleSessionName="motos-own"
    )["Credentials"]
    own = aws.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    unjudged = access_control.IAMRequestBase.check_action_permitted.__wrapped__
    assert unjudged.__qualname__ == "IAMRequestBase.check_action_permitted"

    outcomes = [may_put(aws, s3) for s3 in (own, aws.client("s3"))]
    monkeypatch.setattr(access_control.IAMRequestBase, "check_action_permitted", unjudged)
    assert [may_put(aws, s3) for s3 in (own, aws.client("s3"))] == outcomes


def test_moto_gets_its_method_back():
    """Registrations within each other leave moto as it was."""
    before = access_control.IAMRequestBase.check_action_permitted
    with register(moto_service()):
        first = access_control.IAMRequestBase.check_action_permitted
        with register(moto_service()):
            assert access_control.IAMRequestBase.check_action_permitted is not first
        assert access_control.IAMRequestBase.check_action_permitted is first
    assert access_control.IAMRequestBase.check_action_permitted is before


def grant(now):
    """A session of a role in moto."""
    return Grant(
        role_arn="arn:aws:iam::123456789012:role/team/app",
        session_name="0a",
        region="us-east-1",
        duration_seconds=900,
        expiration=now + timedelta(seconds=900),
        source_identity="CN=alice",
        tags={"x509Subject/CN": "alice"},
    )


def test_in_process_enforcement_knows_the_session(monkeypatch):
    """Within mock_aws it is the same, a policy that cannot be judged as well."""
    now = datetime.now(timezone.utc)
    with register(moto_service()), mock_aws():
        admin = boto3.Session("a", "b", region_name="us-east-1")
        iam = admin.client("iam")
        iam.create_role(RoleName="app", Path="/team/", AssumeRolePolicyDocument="{}")
        document = policy(Condition={"StringEquals": {CN: "alice"}})
        keys = MotoDirectory(clock=lambda: now).mint(grant(now))
        names = (keys.access_key_id, keys.secret_access_key, keys.session_token)
        config = Config(retries={"total_max_attempts": 1})
        s3 = boto3.Session(*names, region_name="us-east-1").client("s3", config=config)

        def put(changed):
            iam.put_role_policy(RoleName="app", PolicyName="p", PolicyDocument=json.dumps(changed))
            with monkeypatch.context() as patch:
                patch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
                return s3.list_buckets()

        assert put(document)["Buckets"] == []
        with pytest.raises(ClientError, match="AccessDenied"):
            put(policy(Condition={"StringEquals": {CN: "bob"}}))
        with pytest.raises(ClientError, match=r"'<.>' has not the six parts of an ARN"):
            put(policy(Condition=ODD))


def test_keys_of_a_session():
    """The condition keys of a session, all of them."""
    now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    vended = Vended(grant(now), "AROAX:0a")

    assert session_context(vended, now=now + timedelta(seconds=60), region="eu-west-1") == {
        "aws:PrincipalArn": "arn:aws:iam::123456789012:role/team/app",
        "aws:PrincipalAccount": "123456789012",
        "aws:PrincipalType": "AssumedRole",
        "aws:PrincipalIsAWSService": "false",
        "aws:ViaAWSService": "false",
        "aws:MultiFactorAuthPresent": "false",
        "aws:userid": "AROAX:0a",
        "aws:SourceIdentity": "CN=alice",
        "aws:TokenIssueTime": "2026-03-01T12:00:00Z",
        "aws:CurrentTime": "2026-03-01T12:01:00Z",
        "aws:EpochTime": "1772366460",
        "aws:RequestedRegion": "eu-west-1",
        "aws:SecureTransport": "true",
        "aws:SourceIp": "127.0.0.1",
        "aws:PrincipalTag/x509Subject/CN": "alice",
    }


def test_policies_of_aws_are_understood():
    """A third of AWS's managed policies can be read to the last condition; one is judged."""
    documents = {
        name: json.dumps(known["Document"])
        for name, known in json.loads(aws_managed_policies_data).items()
    }
    for name in [*sorted(documents)[::3], "AmazonTimestreamInfluxDBServiceRolePolicy"]:
        check_permissions(documents[name])

    layers = [Layer("managed", (documents["AmazonS3ReadOnlyAccess"],))]
    got = [
        permits(layers, action=action, resource="arn:aws:s3:::demo/key", context={}).allowed
        for action in ("s3:GetObject", "s3:PutObject")
    ]
    assert got == [True, False]


def test_an_error_escapes_what_it_quotes():
    """XML of an error stays XML."""
    error = CannotJudgeError("a<b", service="s3", headers={})

    assert error.get_body() == "<Error><Code>NotImplemented</Code><Message>a&lt;b</Message></Error>"
