from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from functools import cache

import boto3
import pytest
import requests
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from iam_rolesanywhere_session import IAMRolesAnywhereSigner
from moto import mock_aws, settings
from moto.server import ThreadedMotoServer

from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing._setup import least_privilege_trust_policy
from rolesanywhere_auth.testing.fronts.moto import moto_service, register

HOST = "rolesanywhere.us-east-1.amazonaws.com"
LIST_ONLY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}],
}


@cache
def boto3_session() -> boto3.Session:
    """One session, as it keeps the service models."""
    return boto3.Session()


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead


def client(name, endpoint_url=None, keys=None, region="us-east-1"):
    """A boto3 client with the keys of a credential set, or with any keys."""
    keys = keys or {"accessKeyId": "testing", "secretAccessKey": "testing", "sessionToken": None}
    return make_client(name, endpoint_url, region, tuple(keys.items()))


@cache
def make_client(name, endpoint_url, region, items):
    """One client of a kind for all tests: making one takes longer than most tests."""
    keys = dict(items)
    return boto3_session().client(
        name,
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=keys["accessKeyId"],
        aws_secret_access_key=keys["secretAccessKey"],
        aws_session_token=keys["sessionToken"],
    )


def prepare(endpoint_url=None, region="us-east-1"):
    """Trust anchor, profile, role and certificate by boto3, and a signed CreateSession."""
    authority = CertificateAuthority()
    leaf = authority.issue()
    plane = client("rolesanywhere", endpoint_url, region=region)
    source = {
        "sourceType": "CERTIFICATE_BUNDLE",
        "sourceData": {"x509CertificateData": authority.certificate_pem},
    }
    anchor = plane.create_trust_anchor(name="a", source=source, enabled=True)["trustAnchor"]
    iam = client("iam", endpoint_url, region=region)
    trust = least_privilege_trust_policy(
        region=region, account_id="123456789012", trust_anchor_arn=anchor["trustAnchorArn"]
    )
    document = json.dumps(trust)
    role = iam.create_role(RoleName="app", AssumeRolePolicyDocument=document)["Role"]
    iam.put_role_policy(RoleName="app", PolicyName="p", PolicyDocument=json.dumps(LIST_ONLY))
    profile = plane.create_profile(name="p", roleArns=[role["Arn"]], enabled=True)["profile"]
    body = {
        "trustAnchorArn": anchor["trustAnchorArn"],
        "profileArn": profile["profileArn"],
        "roleArn": role["Arn"],
    }
    suffix = ".cn" if region.startswith("cn-") else ""
    url = endpoint_url or f"https://rolesanywhere.{region}.amazonaws.com{suffix}"
    request = AWSRequest("POST", f"{url}/sessions", data=json.dumps(body))
    IAMRolesAnywhereSigner(
        certificate=leaf.certificate_pem.encode(),
        private_key=leaf.private_key_pem.encode(),
        region=region,
        service_name="rolesanywhere",
    ).add_auth(request)
    return leaf, request.prepare()


def takes_arns(plane) -> bool:
    """Whether the installed botocore (1.44.5) takes ARNs where there were UUIDs."""
    shape = plane.meta.service_model.operation_model("GetProfile").input_shape
    return shape.members["profileId"].metadata["max"] > 36


def in_process(request, region="us-east-1"):
    """Send as botocore clients do: by their before-send event."""
    events = client("rolesanywhere", region=region).meta.events
    response = events.emit_until_response(
        "before-send.rolesanywhere.CreateSession", request=request
    )[1]
    return response.status_code, response.headers, json.loads(response.content)


def over_http(request):
    """Send over loopback."""
    response = requests.post(
        request.url, data=request.body, headers=dict(request.headers), timeout=30
    )
    return response.status_code, response.headers, response.json()


@pytest.fixture
def clock() -> Clock:
    """The clock of the registered service."""
    return Clock()


@pytest.fixture
def service(clock):
    """A service that is registered with moto."""
    with register(moto_service(clock=clock)) as service:
        yield service


@pytest.fixture
def server(service):
    """moto's own threaded server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint_url = f"http://{host}:{port}"
    requests.post(f"{endpoint_url}/moto-api/reset", timeout=30)
    yield endpoint_url
    server.stop()


def arn_of(leaf) -> str:
    """The assumed role of *leaf* in moto."""
    name = f"{leaf.serial_number:x}"
    return f"arn:aws:sts::123456789012:assumed-role/app/{name.zfill(len(name) + len(name) % 2)}"


# In process


def test_in_process_session_is_known_to_sts(service):
    """Within mock_aws the vended keys are those of the assumed role."""
    with mock_aws():
        leaf, request = prepare()
        status, headers, body = in_process(request)

        keys = body["credentialSet"][0]["credentials"]
        identity = client("sts", keys=keys).get_caller_identity()

    assert status == 201
    assert headers["x-amzn-RequestId"]
    assert identity["Arn"] == arn_of(leaf) == body["credentialSet"][0]["assumedRoleUser"]["arn"]
    assert identity["UserId"] == body["credentialSet"][0]["assumedRoleUser"]["assumedRoleId"]
    assert len(service.events) == 1


def test_in_process_control_plane_takes_arns(service):
    """ARNs within paths and modelled errors work within mock_aws."""
    with mock_aws():
        prepare()
        plane = client("rolesanywhere")
        (anchor,) = plane.list_trust_anchors()["trustAnchors"]

        if takes_arns(plane):
            got = plane.disable_trust_anchor(trustAnchorId=anchor["trustAnchorArn"])
            assert got["trustAnchor"]["enabled"] is False
        with pytest.raises(plane.exceptions.ResourceNotFoundException):
            plane.get_crl(crlId="0" * 8 + "-0000-0000-0000-" + "0" * 12)


def test_in_process_refusal_has_the_services_text(service):
    """A tampered request is refused within mock_aws as everywhere."""
    with mock_aws():
        _, request = prepare()
        request.body += b" " if isinstance(request.body, bytes) else " "
        status, headers, body = in_process(request)

    assert (status, headers["x-amzn-ErrorType"]) == (403, "AccessDeniedException")
    assert body["message"] == "Invalid signature"


def test_requests_library_is_served_too(service):
    """Users of the requests library reach the service within mock_aws."""
    with mock_aws():
        _, request = prepare()
        assert over_http(request)[0] == 201


def test_china_has_its_own_host_and_partition(service):
    """cn-north-1 is served at its own domain, with ARNs of its partition."""
    with mock_aws():
        _, request = prepare(region="cn-north-1")
        _, _, body = in_process(request, region="cn-north-1")

    assert body["credentialSet"][0]["assumedRoleUser"]["arn"].startswith("arn:aws-cn:sts::")


def test_role_comes_from_motos_iam(service):
    """A role that moto's IAM does not know cannot be assumed."""
    with mock_aws():
        _, request = prepare()
        iam = client("iam")
        iam.delete_role_policy(RoleName="app", PolicyName="p")
        iam.delete_role(RoleName="app")
        status, _, body = in_process(request)

    assert status == 403
    assert body["message"] == "Unable to assume role for arn:aws:iam::123456789012:role/app"


def test_state_is_wiped_between_mocks(service):
    """The next mock_aws starts with an empty service."""
    with mock_aws():
        prepare()
    with mock_aws():
        assert client("rolesanywhere").list_trust_anchors()["trustAnchors"] == []


def test_in_process_session_ends(service, clock):
    """After its end a session is unknown to moto's STS; later sessions clear it away."""
    with mock_aws():
        leaf, request = prepare()
        keys = in_process(request)[2]["credentialSet"][0]["credentials"]
        sts = client("sts", keys=keys)
        assert sts.get_caller_identity()["Arn"] == arn_of(leaf)
        own = client("sts").assume_role(
            RoleArn="arn:aws:iam::123456789012:role/app", RoleSessionName="motos-own"
        )["Credentials"]

        clock.ahead = timedelta(seconds=3599)
        assert sts.get_caller_identity()["Arn"] == arn_of(leaf)
        clock.ahead = timedelta(seconds=3601)
        assert "assumed-role" not in sts.get_caller_identity()["Arn"]
        # moto's own sessions are left as they are.
        others = client(
            "sts",
            keys={
                "accessKeyId": own["AccessKeyId"],
                "secretAccessKey": own["SecretAccessKey"],
                "sessionToken": own["SessionToken"],
            },
        )
        assert others.get_caller_identity()["Arn"].endswith("/motos-own")


def test_dropped_connection_is_an_error_in_process(service):
    """A drop, and half an answer, are connection errors for the in-process client."""
    with mock_aws():
        _, request = prepare()
        service.faults.add(["drop"])
        with pytest.raises(ConnectionResetError):
            in_process(request)
        service.faults.next(1).half_body()
        with pytest.raises(ConnectionResetError, match="half an answer"):
            in_process(request)


def test_unregistered_service_is_gone():
    """After unregister moto knows nothing of Roles Anywhere, and can be given another service."""
    with register(moto_service()):
        assert "moto.rolesanywhere" in sys.modules
        with register(moto_service()) as inner, mock_aws():
            prepare()
            assert len(inner.state.shelf("123456789012", "us-east-1").resources) == 2
        assert "moto.rolesanywhere" in sys.modules
    assert "moto.rolesanywhere" not in sys.modules


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), ("{", 400), (None, 400)], ids=["bytes", "text", "none"]
)
def test_requests_of_older_moto_are_read(service, body, status):
    """moto before 5.2 hands on botocore's own request object, whose body may be text or None."""
    request = AWSRequest("POST", f"https://{HOST}/sessions").prepare()
    request.body = body
    request.headers["X-Bytes"] = b"value"
    backend = sys.modules["moto.rolesanywhere"].rolesanywhere_backends["1" * 12]["us-east-1"]
    (handler,) = backend.urls.values()

    found, headers, _ = handler(request, request.url, request.headers)

    assert found == status
    assert headers["Content-Type"] == "application/json"


# moto's server


def test_server_session_is_known_to_sts(service, server):
    """Over moto's server the vended keys are those of the assumed role."""
    leaf, request = prepare(server)
    status, _, body = over_http(request)

    assert status == 201
    keys = body["credentialSet"][0]["credentials"]
    assert client("sts", server, keys).get_caller_identity()["Arn"] == arn_of(leaf)


def test_server_takes_arns_in_paths(service, server):
    """The server hands the undecoded path on."""
    prepare(server)
    plane = client("rolesanywhere", server)
    (profile,) = plane.list_profiles()["profiles"]

    identifier = profile["profileArn"] if takes_arns(plane) else profile["profileId"]
    assert plane.get_profile(profileId=identifier)["profile"] == profile
    removed = plane.delete_attribute_mapping(
        profileId=identifier, certificateField="x509SAN", specifiers=["DNS", "URI"]
    )
    assert {"certificateField": "x509SAN", "mappingRules": [{"specifier": "Name/*"}]} in (
        removed["profile"]["attributeMappings"]
    )


def test_server_reset_empties_the_service(service, server):
    """moto's own reset reaches the service."""
    prepare(server)
    requests.post(f"{server}/moto-api/reset", timeout=30)

    assert client("rolesanywhere", server).list_profiles()["profiles"] == []


# The emulator with AWS behind it


def sign_in(emulator, setup, create_session, **options):
    """The keys of a session, as keyword arguments for Emulator.client()."""
    keys = create_session(setup, at=emulator.now(), **options).session["credentials"]
    return {
        "aws_access_key_id": keys["accessKeyId"],
        "aws_secret_access_key": keys["secretAccessKey"],
        "aws_session_token": keys["sessionToken"],
    }


def test_session_does_in_s3_what_its_role_may(aws, create_session):
    """Under IAM enforcement the role's policy decides, and a wrong token is refused."""
    keys = sign_in(aws, aws.set_up(policy=LIST_ONLY), create_session)
    location = {"LocationConstraint": "eu-west-1"}

    with aws.enforcing_iam():
        aws.client("s3").create_bucket(Bucket="demo", CreateBucketConfiguration=location)
        assert aws.client("s3", **keys).list_objects_v2(Bucket="demo")["KeyCount"] == 0
        with pytest.raises(ClientError, match="AccessDenied"):
            aws.client("s3", **keys).put_object(Bucket="demo", Key="k", Body=b"")
        with pytest.raises(ClientError, match="InvalidToken"):
            aws.client("s3", **keys | {"aws_session_token": "x"}).list_objects_v2(Bucket="demo")
    aws.client("s3", **keys).put_object(Bucket="demo", Key="k", Body=b"")


def test_expired_session_is_refused_under_enforcement(aws, create_session):
    """A session ends by the emulator's clock, and a new one helps."""
    setup = aws.set_up(policy=LIST_ONLY, session_duration=900)
    keys = sign_in(aws, setup, create_session)

    with aws.enforcing_iam():
        sts = aws.client("sts", **keys)
        assert ":assumed-role/app/" in sts.get_caller_identity()["Arn"]
        aws.advance(901)
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            sts.get_caller_identity()
        fresh = sign_in(aws, setup, create_session)
        assert ":assumed-role/app/" in aws.client("sts", **fresh).get_caller_identity()["Arn"]


def test_enforcement_ends_with_its_block(aws):
    """After the block moto is as lenient as before."""
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    with aws.enforcing_iam():
        pass

    assert aws.client("s3", aws_access_key_id="a", aws_secret_access_key="b").list_buckets()
    assert before == settings.INITIAL_NO_AUTH_ACTION_COUNT


def test_add_on_serves_create_session_as_well(aws, create_session):
    """The AWS endpoint vends sessions of the same state."""
    setup = aws.set_up()

    keys = sign_in(aws, setup, create_session, endpoint_url=aws.aws_endpoint_url)

    assert ":assumed-role/" in aws.client("sts", **keys).get_caller_identity()["Arn"]
    plane = aws.client("rolesanywhere")
    assert plane.list_profiles()["profiles"] == aws.control_plane().list_profiles()["profiles"]


def test_role_with_path_and_duration_is_made_in_iam(aws):
    """create_role() makes a real role in moto."""
    arn = aws.create_role("team/blue/app", max_session_duration=7200)

    role = aws.client("iam").get_role(RoleName="app")["Role"]
    assert role["Arn"] == arn == "arn:aws:iam::111122223333:role/team/blue/app"
    assert (role["Path"], role["MaxSessionDuration"]) == ("/team/blue/", 7200)


def test_administrator_is_who_client_is(aws):
    """Without keys the client is the administrator's, in the emulator's account."""
    identity = aws.client("sts").get_caller_identity()

    assert identity["Arn"] == "arn:aws:iam::111122223333:user/administrator"


def test_clear_empties_aws_too(aws):
    """clear() resets moto's services and the administrator works again."""
    aws.client("s3").create_bucket(
        Bucket="demo", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    aws.create_role("app")

    aws.clear()

    assert aws.client("s3").list_buckets()["Buckets"] == []
    with aws.enforcing_iam():
        assert aws.client("iam").list_roles()["Roles"] == []
