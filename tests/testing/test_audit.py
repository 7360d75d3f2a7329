from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from urllib.parse import urlsplit

import pytest

from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.service.audit import Check, Checks, Event, reason_of
from rolesanywhere_auth.testing.service.callers import Caller
from rolesanywhere_auth.testing.service.wire import Reason, Request, access_denied

ALL_CHECKS = [
    "quota",
    "parameters",
    "signature",
    "trust anchor and profile exist",
    "one account, one Region",
    "enabled",
    "path to the trust anchor",
    "leaf",
    "revocation",
    "role in the profile",
    "session name",
    "role exists",
    "duration",
    "trust policy",
    "session policies",
    "keys",
]


def last(emulator) -> Event:
    """The newest event."""
    return emulator.events[-1]


# Checks


def test_success_passes_every_check(emulator, create_session, now):
    """A session that was vended has passed all checks, and says what they found."""
    setup = emulator.set_up(common_name="host-42")

    create_session(setup)

    event = last(emulator)
    assert [check.name for check in event.checks] == ALL_CHECKS
    assert all(check.passed for check in event.checks)
    assert event.refused_by is None
    details = {check.name: check.detail for check in event.checks}
    assert details["path to the trust anchor"] == "CN=host-42 < CN=" + (
        setup.authority.certificate.subject.rfc4514_string().removeprefix("CN=")
    )
    assert details["signature"].startswith("AWS4-X509-ECDSA-SHA256 over content-type;host;")
    assert details["duration"] == "3600 seconds"
    assert details["revocation"] == "enabled CRLs: 0"


def test_refusal_names_its_check_and_the_hidden_reason(emulator, create_session):
    """The event says which rule failed, where the answer has AWS's short text alone."""
    setup = emulator.set_up()
    stranger = CertificateAuthority("Stranger").issue("app")

    text = create_session(setup, leaf=stranger).refusal[2]

    event = last(emulator)
    assert text == event.error_message == "Untrusted signing certificate"
    assert [check.name for check in event.checks] == ALL_CHECKS[:7]
    assert [check.passed for check in event.checks] == [True] * 6 + [False]
    assert event.refused_by == Check(
        "path to the trust anchor",
        False,
        "Untrusted signing certificate: no way up to an anchor: the issuer is CN=Stranger, "
        "and the chain that was sent has 0 certificates",
    )


@pytest.mark.conformance(
    "CreateSession", source="observed", check="role exists", text="UNABLE_TO_ASSUME"
)
@pytest.mark.parametrize(
    ("trust_policy", "name", "reason"),
    [
        (None, "role exists", "there is no such role"),
        (
            {
                "Statement": {
                    "Effect": "Allow",
                    "Principal": {"Service": "ec2.amazonaws.com"},
                    "Action": "sts:*",
                }
            },
            "trust policy",
            "its Principal does not name the service rolesanywhere.amazonaws.com",
        ),
    ],
)
def test_one_text_hides_several_reasons(emulator, create_session, trust_policy, name, reason):
    """STS's answer is the same for a missing role and a denying policy; the event is not."""
    arn = "arn:aws:iam::111122223333:role/none"
    if trust_policy is not None:
        arn = emulator.create_role("other", trust_policy=trust_policy)

    text = create_session(emulator.set_up(role_arn=arn)).refusal[2]

    assert text == f"Unable to assume role for {arn}"
    assert last(emulator).refused_by.name == name
    assert last(emulator).refused_by.detail.startswith(text + ": ")
    assert reason in last(emulator).refused_by.detail


def test_unreadable_request_has_one_check(emulator, create_session):
    """What cannot be read gets no further than the parameters."""
    create_session(emulator.set_up(), body=b"[")

    assert [(check.name, check.passed) for check in last(emulator).checks] == [
        ("quota", True),
        ("parameters", False),
    ]


def test_checks_end_without_a_beginning():
    """Nothing was checked, so there is nothing to report."""
    assert Checks().end(None) == ()


def test_reason_leaves_out_what_says_nothing():
    """Empty causes and repetitions of the text are not shown."""
    refusal = access_denied("No")
    refusal.__cause__ = Reason("No")
    refusal.__cause__.__cause__ = Reason("")
    refusal.__cause__.__cause__.__cause__ = Reason("the moon is full")

    assert reason_of(refusal) == "No: the moon is full"


# Records

# Every name in the one record that AWS's user guide shows ("logging-using-cloudtrail").
SHOWN = {
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "requestParameters",
    "responseElements",
    "requestID",
    "eventID",
    "readOnly",
    "eventType",
    "managementEvent",
    "recipientAccountId",
    "eventCategory",
    "tlsDetails",
}


@pytest.mark.conformance("CloudTrail", source="UG/logging-using-cloudtrail + choice")
def test_sign_in_is_a_cloudtrail_record(emulator, create_session):
    """A success has all members of AWS's example, additionalEventData, and no secret."""
    setup = emulator.set_up()

    answer = create_session(setup, parameters={"durationSeconds": 900})

    event = last(emulator)
    record = event.cloudtrail()
    credentials = answer.session["credentials"]
    assert set(record) == SHOWN | {"additionalEventData"}
    assert record["eventName"] == "CreateSession"
    assert record["eventSource"] == "rolesanywhere.amazonaws.com"
    assert record["eventTime"] == "2026-05-04T12:00:00Z"
    assert (record["awsRegion"], record["recipientAccountId"]) == ("eu-west-1", "111122223333")
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert record["requestID"] == answer.headers["x-amzn-requestid"]
    assert record["eventID"] not in ("", record["requestID"])
    assert record["readOnly"] is False
    assert record["requestParameters"] == {
        "trustAnchorArn": setup.trust_anchor_arn,
        "profileArn": setup.profile_arn,
        "roleArn": setup.role_arn,
        "durationSeconds": 900,
    }
    (entry,) = record["responseElements"]["credentialSet"]
    assert entry["credentials"] == {
        "accessKeyId": credentials["accessKeyId"],
        "expiration": credentials["expiration"],
    }
    assert entry["sourceIdentity"] == "CN=app"
    assert record["responseElements"]["subjectArn"] == answer.body["subjectArn"]
    assert record["userIdentity"] == {
        "type": "Unknown",
        "accountId": "111122223333",
        "principalId": str(setup.leaf.serial_number),
        "userName": "CN=app",
    }
    assert record["tlsDetails"] == {
        "clientProvidedHostHeader": urlsplit(emulator.endpoint_url).netloc
    }
    shown = json.dumps(emulator.cloudtrail()) + repr(event)
    for secret in ("secretAccessKey", "sessionToken"):
        assert credentials[secret] not in shown
    assert "secretAccessKey" not in shown


@pytest.mark.conformance("CloudTrail", source="choice")
def test_refused_sign_in_is_a_record_too(emulator, create_session):
    """A refusal has code and text, what was asked for, and nothing that was answered."""
    setup = emulator.set_up()

    create_session(setup, tamper=True)
    create_session(setup, body=b"[")

    record, unread = (event.cloudtrail() for event in emulator.events)
    assert set(record) == SHOWN | {"errorCode", "errorMessage"}
    assert (record["errorCode"], record["errorMessage"]) == (
        "AccessDeniedException",
        "Invalid signature",
    )
    assert record["requestParameters"]["roleArn"] == setup.role_arn
    assert record["responseElements"] is None
    assert record["userIdentity"] == {"type": "Unknown", "accountId": "111122223333"}
    assert unread["requestParameters"] is None
    assert (unread["awsRegion"], unread["recipientAccountId"]) == ("eu-west-1", "111122223333")


@pytest.mark.conformance("CloudTrail", source="choice")
def test_place_is_that_of_the_trust_anchor(emulator, create_session):
    """A call that names another account is recorded there."""
    setup = emulator.set_up()
    arn = setup.trust_anchor_arn.replace("111122223333", "444455556666")

    create_session(setup, parameters={"trustAnchorArn": arn.replace("eu-west-1", "us-east-1")})

    record = last(emulator).cloudtrail()
    assert (record["awsRegion"], record["recipientAccountId"]) == ("us-east-1", "444455556666")


@pytest.mark.conformance("CloudTrail", source="UG/logging-using-cloudtrail")
def test_flags_are_left_out_until_the_client_is_authenticated(emulator, create_session):
    """They are there for every request that authenticated, whatever became of it then."""
    setup = emulator.set_up()
    stranger = CertificateAuthority("Stranger").issue("app")
    create_session(setup, tamper=True)
    create_session(setup, leaf=stranger)
    create_session(setup, parameters={"roleArn": emulator.create_role("other")})
    emulator.revoke(setup.leaf)
    create_session(setup)

    found = [
        (event.error_message, "additionalEventData" in event.cloudtrail())
        for event in emulator.events
    ]

    assert found == [
        ("Invalid signature", False),
        ("Untrusted signing certificate", False),
        ("Requested Role isn't one of those listed in the Profile", True),
        ("Certificate revoked", False),
    ]


@pytest.mark.conformance("CloudTrail", source="UG/logging-using-cloudtrail")
def test_record_tells_of_tls(emulator):
    """Over TLS the record has its version and cipher suite, as the client saw them."""
    url = urlsplit(emulator.https_endpoint_url)
    context = ssl.create_default_context(cafile=emulator.ca_bundle)
    connection = http.client.HTTPSConnection("localhost", url.port, context=context, timeout=10)
    connection.request("POST", "/sessions", body=b"{}", headers={"User-Agent": "mine/1"})
    connection.getresponse().read()
    cipher = connection.sock.cipher()

    record = last(emulator).cloudtrail()

    assert record["tlsDetails"] == {
        "tlsVersion": connection.sock.version(),
        "cipherSuite": cipher[0],
        "clientProvidedHostHeader": f"localhost:{url.port}",
    }
    assert record["userAgent"] == "mine/1"
    connection.close()


@pytest.mark.conformance("CloudTrail, UpdateProfile", source="UG/logging-using-cloudtrail")
def test_control_plane_is_recorded_as_in_the_guide(emulator):
    """UpdateProfile has the members of AWS's example; the records stand in order."""
    setup = emulator.set_up()
    client = emulator.control_plane()
    identifier = setup.profile_arn.rpartition("/")[2]
    client.update_profile(profileId=identifier, name="Updated Test Profile", durationSeconds=3600)
    client.get_profile(profileId=identifier)

    trail = emulator.cloudtrail()

    names = [record["eventName"] for record in trail]
    assert names == ["CreateTrustAnchor", "CreateProfile", "UpdateProfile", "GetProfile"]
    update, get = trail[2:]
    assert set(update) == SHOWN
    assert update["requestParameters"] == {
        "profileId": identifier,
        "name": "Updated Test Profile",
        "durationSeconds": 3600,
    }
    profile = update["responseElements"]["profile"]
    assert (profile["name"], profile["profileId"]) == ("Updated Test Profile", identifier)
    assert update["userIdentity"]["arn"] == "arn:aws:iam::111122223333:root"
    assert update["userAgent"].startswith("Boto3/")
    assert (update["readOnly"], get["readOnly"]) == (False, True)
    assert get["responseElements"] is None
    assert emulator.events == []


@pytest.mark.conformance("CloudTrail", source="choice")
def test_refused_control_plane_call_is_recorded(emulator, request_to):
    """A refusal is there with its code; a path that is no operation leaves nothing."""
    url = emulator.endpoint_url
    assert (
        request_to(url, "GET", "/crl/00000000-0000-0000-0000-000000000000", {}, b"").status == 404
    )
    assert request_to(url, "POST", "/profiles", {}, b"{}").status == 400
    assert request_to(url, "GET", "/nothing", {}, b"").status == 404

    missing, invalid = emulator.cloudtrail()

    assert (missing["eventName"], missing["errorCode"]) == ("GetCrl", "ResourceNotFoundException")
    assert missing["userIdentity"]["type"] == "Root"
    assert (invalid["eventName"], invalid["errorCode"]) == ("CreateProfile", "ValidationException")
    assert invalid["requestParameters"] is None


@pytest.mark.conformance("CloudTrail", source="choice")
def test_imported_crl_is_recorded_in_base64(emulator):
    """Bytes go into a record as they went over the wire."""
    setup = emulator.set_up()
    emulator.revoke(setup.leaf)

    record = emulator.cloudtrail()[-1]

    assert record["eventName"] == "ImportCrl"
    assert record["requestParameters"]["crlData"].startswith("LS0tLS1CRUdJTiBYNTA5IENSTC0")
    assert json.dumps(record)


def test_clear_forgets_the_trail(emulator, create_session):
    """After clear() nothing was ever called."""
    create_session(emulator.set_up())

    emulator.clear()

    assert (emulator.events, emulator.cloudtrail()) == ([], [])


def test_wrong_signature_shows_the_canonical_request(emulator, create_session):
    """Who writes a client sees what should have been signed, with the certificate cut short."""
    setup = emulator.set_up()

    create_session(setup, tamper=True)

    members = ("trustAnchorArn", setup.trust_anchor_arn), ("profileArn", setup.profile_arn)
    body = json.dumps(dict([*members, ("roleArn", setup.role_arn)])).encode() + b" "
    event = last(emulator)
    detail = event.refused_by.detail
    assert event.error_message == "Invalid signature"
    assert detail.startswith(
        r"Invalid signature: the canonical request here is 'POST\n/sessions\n\ncontent-type:"
    )
    assert detail.endswith(hashlib.sha256(body).hexdigest() + "'")
    assert len(detail) < 600


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        ("arn:aws:iam::111122223333:user/eve", "IAMUser"),
        ("arn:aws:sts::111122223333:assumed-role/admin/eve", "AssumedRole"),
    ],
)
def test_known_caller_is_recorded(emulator, arn, kind):
    """Where somebody checked who calls, the record names them."""
    request = Request("GET", "/crls", "", (), caller=Caller(arn))

    assert emulator._service.handle(request).status == 200

    assert emulator.cloudtrail()[-1]["userIdentity"] == {
        "type": kind,
        "arn": arn,
        "accountId": "111122223333",
    }
