from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing import CertificateAuthority, Emulator

ANCHORS = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor"
ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")


@pytest.fixture
def authority(now) -> CertificateAuthority:
    """A CA that lives by the emulator's clock."""
    return CertificateAuthority(now=lambda: now)


def policy(*actions: str, condition: Any = None, effect: str = "Allow") -> dict[str, Any]:
    """A trust policy of one statement for the service."""
    statement = {
        "Effect": effect,
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": list(actions),
    }
    if condition:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement]}


# The answer


@pytest.mark.conformance("CreateSession", source="UG/authentication-create-session", check="keys")
def test_answer_has_the_documented_shape(emulator, create_session, now):
    """The answer has the members, the status and the formats of AWS's documentation."""
    setup = emulator.set_up()

    answer = create_session(setup)

    session = answer.session
    name = f"{setup.leaf.serial_number:x}"
    name = name.zfill(len(name) + len(name) % 2)
    assert set(answer.body) == {"credentialSet", "subjectArn"}
    assert set(session) == {
        "assumedRoleUser",
        "credentials",
        "packedPolicySize",
        "roleArn",
        "sourceIdentity",
    }
    assert session["assumedRoleUser"]["arn"] == f"arn:aws:sts::111122223333:assumed-role/app/{name}"
    assert session["assumedRoleUser"]["assumedRoleId"].startswith("AROA")
    assert session["assumedRoleUser"]["assumedRoleId"].endswith(f":{name}")
    assert session["roleArn"] == setup.role_arn
    assert session["sourceIdentity"] == "CN=app"
    assert 0 <= session["packedPolicySize"] <= 100
    keys = session["credentials"]
    assert set(keys) == {"accessKeyId", "expiration", "secretAccessKey", "sessionToken"}
    assert keys["accessKeyId"].startswith("ASIA")
    assert len(keys["accessKeyId"]) == 20
    assert len(keys["secretAccessKey"]) == 40
    assert keys["expiration"] == (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert answer.headers["content-type"] == "application/json"
    assert answer.body["subjectArn"].startswith("arn:aws:rolesanywhere:eu-west-1:111122223333:subj")


@pytest.mark.conformance(
    "CreateSession: RSA keys sign, and EC keys; that EC means P-256, P-384 and P-521 is ours.",
    source="UG/authentication + choice",
    check="signature",
)
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"])
def test_every_usual_key_signs_in(emulator, create_session, key_type):
    """RSA and the three NIST curves are accepted."""
    assert create_session(emulator.set_up(key_type=key_type)).status == 201


@pytest.mark.conformance("CreateSession", source="choice", check="keys")
def test_no_two_sessions_share_keys(emulator, create_session):
    """Each call gets keys of its own."""
    setup = emulator.set_up()

    first, second = create_session(setup).session, create_session(setup).session

    for member in ("accessKeyId", "secretAccessKey", "sessionToken"):
        assert first["credentials"][member] != second["credentials"][member]


@pytest.mark.conformance("CreateSession", source="STS")
def test_role_with_a_path_is_assumed_by_its_name(emulator, create_session):
    """The assumed-role ARN has the role's name without its path."""
    setup = emulator.set_up(role_name="team/blue/app")

    session = create_session(setup).session

    assert ":assumed-role/app/" in session["assumedRoleUser"]["arn"]
    assert session["roleArn"].endswith(":role/team/blue/app")


@pytest.mark.conformance(
    "CreateSession",
    source="UG/authentication",
    check="path to the trust anchor",
    text="Untrusted signing certificate",
)
def test_intermediates_travel_in_the_chain_header(emulator, create_session, authority):
    """A leaf of an intermediate signs in when the intermediate comes along."""
    intermediate = authority.intermediate()
    setup = emulator.set_up(authority=intermediate, anchor=authority)

    assert create_session(setup).status == 201
    assert create_session(setup, chain=()).refusal == (
        403,
        "AccessDeniedException",
        "Untrusted signing certificate",
    )


# Parameters


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-create-session", check="parameters"
)
def test_parameters_may_come_in_the_query(emulator, create_session):
    """The three ARNs are read from the query as AWS's helper sends them."""
    setup = emulator.set_up()
    query = urlencode(
        {
            "profileArn": setup.profile_arn,
            "roleArn": setup.role_arn,
            "trustAnchorArn": setup.trust_anchor_arn,
        }
    )

    answer = create_session(setup, query=query, body=b'{"durationSeconds":900}')

    assert answer.session["credentials"]["expiration"] == "2026-05-04T12:15:00Z"


@pytest.mark.conformance("CreateSession", source="UG/logging-using-cloudtrail", check="parameters")
def test_duration_may_come_in_the_query(emulator, create_session):
    """A call with everything in the query and no body is accepted, and recorded as such."""
    setup = emulator.set_up()
    query = urlencode(
        {
            "durationSeconds": "900",
            "profileArn": setup.profile_arn,
            "roleArn": setup.role_arn,
            "trustAnchorArn": setup.trust_anchor_arn,
        }
    )

    answer = create_session(setup, query=query, body=b"")

    assert answer.session["credentials"]["expiration"] == "2026-05-04T12:15:00Z"
    assert emulator.events[0].additional_event_data["postEmptyBody"] is True


@pytest.mark.conformance(
    "CreateSession: A missing ARN, and a duration below 900 or above 43,200 seconds, are refused "
    "in the words that AWS's services share.",
    source="observed + UG/authentication-create-session",
    check="parameters",
)
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"trustAnchorArn": None},
            "Value null at 'trustAnchorArn' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"durationSeconds": 899},
            (
                "Value '899' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value greater than or equal to 900"
            ),
        ),
        (
            {"durationSeconds": 43201},
            (
                "Value '43201' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value less than or equal to 43200"
            ),
        ),
    ],
)
def test_broken_constraint_has_the_services_text(emulator, create_session, parameters, text):
    """A parameter out of its bounds is refused in the words that the service uses."""
    answer = create_session(emulator.set_up(), parameters=parameters)

    assert answer.refusal == (400, "ValidationException", f"1 validation error detected: {text}")


@pytest.mark.conformance(
    "CreateSession: Patterns of ARNs, at most 50 instance properties and 200 characters in each; "
    "all that is broken is listed and counted.",
    source="model",
    check="parameters",
)
def test_several_broken_constraints_come_in_one_text(emulator, create_session):
    """All broken constraints are listed and counted."""
    answer = create_session(
        emulator.set_up(),
        parameters={
            "profileArn": "arn:aws:iam::1:x",
            "instanceProperties": {"a": "", "": "b", **{f"k{n}": "v" for n in range(50)}},
        },
    )

    status, code, text = answer.refusal
    assert (status, code) == (400, "ValidationException")
    assert text.startswith("4 validation errors detected: Value 'arn:aws:iam::1:x' at 'profileArn'")
    assert "Member must satisfy regular expression pattern" in text
    assert "Value '{a=, =b, k0=v, k1=v" in text
    length = "Member must have length less than or equal to"
    for rule in (f"{length} 50", f"Map keys must satisfy constraint: [{length} 200, Member"):
        assert f"at 'instanceProperties' failed to satisfy constraint: {rule}" in text
    assert f"constraint: Map value must satisfy constraint: [{length} 200, Member" in text


@pytest.mark.conformance("CreateSession", source="choice", check="parameters")
@pytest.mark.parametrize(
    "parameters",
    [
        {"durationSeconds": "soon"},
        {"durationSeconds": "９００"},  # digits of another script, which int() would take
        {"durationSeconds": "1000000000"},
        {"durationSeconds": "9" * 5000},  # which int() would refuse
        {"durationSeconds": True},
        {"durationSeconds": 900.5},
        {"roleArn": 7},
        {"instanceProperties": ["a"]},
        {"instanceProperties": {"a": 1}},
    ],
)
def test_parameter_of_a_wrong_type_is_refused(emulator, create_session, parameters):
    """A parameter of a wrong type is no crash but a 400."""
    status, code, text = create_session(emulator.set_up(), parameters=parameters).refusal

    assert (status, code) == (400, "SerializationException")
    assert next(iter(parameters)) in text


@pytest.mark.conformance("CreateSession", source="choice", check="parameters")
@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_no_json_object_is_refused(emulator, create_session, body):
    """A body that cannot be read is no crash but a 400."""
    status, code, _ = create_session(emulator.set_up(), body=body).refusal

    assert (status, code) == (400, "SerializationException")


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-create-session + choice", check="parameters"
)
def test_deprecated_and_unknown_members_are_ignored(emulator, create_session):
    """sessionName and members that nobody knows change nothing."""
    answer = create_session(emulator.set_up(), parameters={"sessionName": "x", "color": "red"})

    assert answer.status == 201


# The signature


@pytest.mark.conformance(
    "CreateSession", source="observed", check="signature", text="Invalid signature"
)
def test_changed_body_has_an_invalid_signature(emulator, create_session):
    """A body that was changed after signing is refused with AWS's text."""
    answer = create_session(emulator.set_up(), tamper=True)

    assert answer.refusal == (403, "AccessDeniedException", "Invalid signature")


@pytest.mark.conformance("CreateSession", source="choice", check="signature")
@pytest.mark.parametrize("minutes", [-6, 6])
def test_date_far_from_the_clock_is_refused(emulator, create_session, now, minutes):
    """A request dated further away than the allowed skew is refused."""
    answer = create_session(emulator.set_up(), at=now + timedelta(minutes=minutes))

    assert answer.status == 403


def test_skew_is_adjustable(create_session, now):
    """The allowed skew is the emulator's max_skew."""
    with Emulator(clock=lambda: now, max_skew=timedelta(minutes=15)) as emulator:
        assert create_session(emulator.set_up(), at=now + timedelta(minutes=14)).status == 201


@pytest.mark.conformance(
    "CreateSession", source="UG/logging-using-cloudtrail + choice", check="signature"
)
def test_strict_refuses_what_aws_only_records(create_session, now):
    """A strict emulator refuses an empty body beside a query."""
    with Emulator(clock=lambda: now, strict=True) as emulator:
        setup = emulator.set_up()
        query = urlencode(
            {
                "profileArn": setup.profile_arn,
                "roleArn": setup.role_arn,
                "trustAnchorArn": setup.trust_anchor_arn,
            }
        )

        assert create_session(setup).status == 201
        assert "Strict mode" in create_session(setup, query=query, body=b"").refusal[2]


# Trust anchor and profile


@pytest.mark.conformance(
    "CreateSession",
    source="choice",
    check="trust anchor and profile exist",
    text="TRUST_ANCHOR_NOT_FOUND",
)
@pytest.mark.conformance(
    "CreateSession",
    source="choice",
    check="trust anchor and profile exist",
    text="PROFILE_NOT_FOUND",
)
@pytest.mark.parametrize(
    ("member", "what"), [("trustAnchorArn", "Trust anchor"), ("profileArn", "Profile")]
)
def test_unknown_resource_is_not_found(emulator, create_session, member, what):
    """A trust anchor or profile that does not exist is a 404."""
    setup = emulator.set_up()
    arn = setup.trust_anchor_arn if member == "trustAnchorArn" else setup.profile_arn
    arn = arn[:-12] + "0" * 12

    answer = create_session(setup, parameters={member: arn})

    assert answer.refusal == (404, "ResourceNotFoundException", f"{what} {arn} does not exist.")


@pytest.mark.conformance(
    "CreateSession",
    source="observed + choice",
    check="one account, one Region",
    text="ACCOUNTS_DIFFER",
)
def test_role_of_another_account_is_refused(emulator, create_session):
    """Trust anchor, profile and role must be of one account."""
    setup = emulator.set_up()

    status, code, text = create_session(
        setup, parameters={"roleArn": "arn:aws:iam::999999999999:role/app"}
    ).refusal

    assert (status, code) == (400, "ValidationException")
    assert "different account ID" in text


@pytest.mark.conformance(
    "CreateSession",
    source="helper + choice",
    check="one account, one Region",
    text="REGIONS_DIFFER",
)
def test_profile_of_another_region_is_refused(emulator, create_session):
    """Trust anchor and profile must be of one Region."""
    setup = emulator.set_up()
    client = boto3.client(
        "rolesanywhere",
        region_name="us-east-1",
        endpoint_url=emulator.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    profile = client.create_profile(name="other", roleArns=[setup.role_arn], enabled=True)
    arn = profile["profile"]["profileArn"]
    assert ":us-east-1:" in arn

    status, _, text = create_session(setup, parameters={"profileArn": arn}).refusal

    assert status == 400
    anchor = setup.trust_anchor_arn
    assert text == f"The profile is in Region us-east-1, the trust anchor {anchor} is not."


@pytest.mark.conformance(
    "CreateSession", source="choice", check="one account, one Region", text="REGIONS_DIFFER"
)
def test_signature_of_another_region_is_refused(emulator, create_session):
    """The credential scope must name the trust anchor's Region."""
    status, code, text = create_session(emulator.set_up(), region="us-east-1").refusal

    assert (status, code) == (400, "ValidationException")
    assert "credential scope is in Region us-east-1" in text


@pytest.mark.conformance(
    "CreateSession, EnableTrustAnchor, DisableTrustAnchor",
    source="observed",
    check="enabled",
    text="TRUST_ANCHOR_DISABLED",
)
@pytest.mark.conformance(
    "CreateSession, EnableProfile, DisableProfile",
    source="observed",
    check="enabled",
    text="PROFILE_DISABLED",
)
def test_disabled_resources_admit_nobody(emulator, create_session):
    """A disabled profile or trust anchor is refused at once, and enabling it helps at once."""
    setup = emulator.set_up()
    client = emulator.control_plane()

    client.disable_profile(profileId=setup.profile_arn.rpartition("/")[2])
    assert create_session(setup).refusal[1:] == ("AccessDeniedException", "Profile is disabled")
    client.disable_trust_anchor(trustAnchorId=setup.trust_anchor_arn.rpartition("/")[2])
    assert create_session(setup).refusal[2] == "Trust anchor is disabled"
    client.enable_trust_anchor(trustAnchorId=setup.trust_anchor_arn.rpartition("/")[2])
    client.enable_profile(profileId=setup.profile_arn.rpartition("/")[2])
    assert create_session(setup).status == 201


# The certificate


@pytest.mark.conformance(
    "CreateSession",
    source="observed",
    check="path to the trust anchor",
    text="Untrusted signing certificate",
)
def test_leaf_of_another_ca_is_untrusted(emulator, create_session, authority):
    """Only the CA of the named trust anchor counts, not that of another one."""
    setup = emulator.set_up()
    other = emulator.set_up(authority=authority)

    assert create_session(setup, leaf=other.leaf).refusal == (
        403,
        "AccessDeniedException",
        "Untrusted signing certificate",
    )


@pytest.mark.conformance(
    "CreateSession",
    source="observed + UG/trust-model",
    check="leaf",
    text="Untrusted certificate. Insufficient certificate",
)
@pytest.mark.parametrize("flaw", ["ca-true", "no-digital-signature", "no-key-usage"])
def test_unfit_leaf_is_insufficient(emulator, create_session, authority, flaw):
    """A leaf of the right CA that may not sign gets AWS's text for that."""
    setup = emulator.set_up(authority=authority)

    assert create_session(setup, leaf=authority.issue_flawed(flaw)).refusal == (
        403,
        "AccessDeniedException",
        "Untrusted certificate. Insufficient certificate",
    )


@pytest.mark.conformance("CreateSession", source="UG/trust-model + choice", check="leaf")
@pytest.mark.parametrize("flaw", ["expired", "not-yet-valid"])
def test_leaf_out_of_its_time_is_refused(emulator, create_session, authority, flaw):
    """An expired or future leaf gets no session."""
    setup = emulator.set_up(authority=authority)

    assert create_session(setup, leaf=authority.issue_flawed(flaw)).refusal[:2] == (
        403,
        "AccessDeniedException",
    )
    assert emulator.events[-1].refused_by.name == "leaf"


@pytest.mark.conformance(
    "CreateSession, ImportCrl, UpdateCrl",
    source="observed",
    check="revocation",
    text="Certificate revoked",
)
def test_revoked_leaf_is_refused_and_others_are_not(emulator, create_session):
    """Revoking stops new sessions of this leaf alone; revoking a second one adds to the CRL."""
    setup = emulator.set_up()
    others = [setup.authority.issue("other"), setup.authority.issue("third")]

    emulator.revoke(setup.leaf)
    emulator.revoke(others[0])

    for leaf in (setup.leaf, others[0]):
        assert create_session(setup, leaf=leaf).refusal == (
            403,
            "AccessDeniedException",
            "Certificate revoked",
        )
    assert create_session(setup, leaf=others[1]).status == 201
    assert len(emulator.control_plane().list_crls()["crls"]) == 1


@pytest.mark.conformance(
    "CreateSession, EnableCrl, DisableCrl", source="observed", check="revocation"
)
def test_disabled_crl_does_not_count(emulator, create_session):
    """Only enabled CRLs of the named trust anchor are looked at."""
    setup = emulator.set_up()
    client = emulator.control_plane()
    emulator.revoke(setup.leaf)
    (crl,) = client.list_crls()["crls"]

    client.disable_crl(crlId=crl["crlId"])
    assert create_session(setup).status == 201

    client.enable_crl(crlId=crl["crlId"])
    anchor = emulator.create_trust_anchor(setup.authority)
    role = emulator.create_role("free", trust_anchor_arn=anchor)
    profile = client.create_profile(name="p", roleArns=[role], enabled=True)["profile"]
    answer = create_session(
        setup,
        parameters={"trustAnchorArn": anchor, "profileArn": profile["profileArn"], "roleArn": role},
    )
    assert answer.status == 201


# Role, name, duration


@pytest.mark.conformance(
    "CreateSession", source="observed", check="role in the profile", text="ROLE_NOT_IN_PROFILE"
)
def test_role_must_be_in_the_profile(emulator, create_session):
    """A role that the profile does not list is refused with AWS's text."""
    setup = emulator.set_up()
    other = emulator.create_role("other")

    assert create_session(setup, parameters={"roleArn": other}).refusal == (
        403,
        "AccessDeniedException",
        "Requested Role isn't one of those listed in the Profile",
    )


@pytest.mark.conformance(
    "CreateSession",
    source="observed + UG/authentication-create-session",
    check="session name",
    text="SESSION_NAME_REFUSED",
)
def test_session_name_needs_the_profiles_consent(emulator, create_session):
    """A roleSessionName is refused unless the profile accepts one."""
    setup = emulator.set_up()
    consenting = emulator.set_up(role_name="named", accept_role_session_name=True)
    parameters = {"roleSessionName": "night-shift"}

    assert create_session(setup, parameters=parameters).refusal == (
        403,
        "AccessDeniedException",
        "Not authorized to set roleSessionName",
    )
    session = create_session(consenting, parameters=parameters).session
    assert session["assumedRoleUser"]["arn"].endswith(":assumed-role/named/night-shift")
    assert create_session(consenting).status == 201


@pytest.mark.conformance("CreateSession", source="STS", check="session name")
@pytest.mark.parametrize("name", ["a", "a" * 65, "a b", "nö"])
def test_session_name_that_sts_refuses_is_invalid(emulator, create_session, name):
    """A session name has 2 to 64 characters of STS's set."""
    setup = emulator.set_up(accept_role_session_name=True)

    status, code, text = create_session(setup, parameters={"roleSessionName": name}).refusal

    assert (status, code) == (400, "ValidationException")
    assert f"Value '{name}' at 'roleSessionName' failed to satisfy constraint" in text


@pytest.mark.conformance(
    "CreateSession", source="UG/authentication-create-session", check="duration"
)
@pytest.mark.parametrize(
    ("profile", "asked", "minutes"), [(3600, None, 60), (3600, 900, 15), (1800, 3600, 30)]
)
def test_duration_is_the_lesser_of_profile_and_request(
    emulator, create_session, now, profile, asked, minutes
):
    """The session lasts as long as the shorter of the profile's and the request's wish."""
    setup = emulator.set_up(session_duration=profile)

    answer = create_session(setup, parameters={"durationSeconds": asked})

    assert answer.session["credentials"]["expiration"] == (
        (now + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    )


@pytest.mark.conformance(
    "CreateSession",
    source="observed + UG/authentication-create-session",
    check="duration",
    text="DURATION_TOO_LONG",
)
def test_duration_above_the_roles_maximum_is_refused(emulator, create_session):
    """A session longer than the role allows is refused, not shortened."""
    role = emulator.create_role("app", max_session_duration=3600)
    setup = emulator.set_up(role_arn=role, session_duration=7200)

    status, code, text = create_session(setup).refusal

    assert (status, code) == (403, "AccessDeniedException")
    assert text == (
        f"Unable to assume role for {role}. "
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    )
    assert create_session(setup, parameters={"durationSeconds": 3600}).status == 201


@pytest.mark.conformance(
    "CreateSession", source="observed", check="role exists", text="UNABLE_TO_ASSUME"
)
def test_role_that_does_not_exist_cannot_be_assumed(emulator, create_session):
    """A role in the profile that IAM does not know is not told apart from a refusing one."""
    arn = "arn:aws:iam::111122223333:role/ghost"
    setup = emulator.set_up(role_arn=arn)

    assert create_session(setup).refusal == (
        403,
        "AccessDeniedException",
        f"Unable to assume role for {arn}",
    )


# The trust policy


@pytest.mark.conformance(
    "CreateSession",
    source="observed + UG/trust-model",
    check="trust policy",
    text="UNABLE_TO_ASSUME",
)
@pytest.mark.parametrize("missing", ACTIONS)
def test_each_of_the_three_actions_is_needed(emulator, create_session, missing):
    """A role that lacks one of the three actions is refused."""
    allowed = [action for action in ACTIONS if action != missing]
    role = emulator.create_role("partial", trust_policy=policy(*allowed))

    answer = create_session(emulator.set_up(role_arn=role))

    assert answer.refusal == (403, "AccessDeniedException", f"Unable to assume role for {role}")


@pytest.mark.conformance("CreateSession", source="UG/trust-model", check="trust policy")
def test_actions_may_be_split_over_statements(emulator, create_session):
    """Each action is judged on its own, so statements with other conditions add up."""
    document = policy(
        "sts:AssumeRole",
        "sts:SetSourceIdentity",
        condition={"StringEquals": {"sts:SourceIdentity": "CN=app"}},
    )
    document["Statement"] += policy("sts:TagSession")["Statement"]
    role = emulator.create_role("split", trust_policy=document)

    assert create_session(emulator.set_up(role_arn=role)).status == 201


@pytest.mark.conformance(
    "CreateSession", source="IAM/reference_policies_evaluation-logic", check="trust policy"
)
def test_explicit_deny_wins(emulator, create_session):
    """A Deny of one action refuses the session."""
    document = policy(*ACTIONS)
    document["Statement"] += policy("sts:TagSession", effect="Deny")["Statement"]
    role = emulator.create_role("denied", trust_policy=document)

    assert create_session(emulator.set_up(role_arn=role)).status == 403


@pytest.mark.conformance(
    "CreateSession: The trust policy sees the condition keys of the guide; `aws:RequestTag/…` and "
    "`sts:RoleSessionName` are ours.",
    source="UG/trust-model + choice",
    check="trust policy",
)
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"StringEquals": {"aws:SourceAccount": "111122223333"}}, 201),
        ({"StringEquals": {"aws:SourceAccount": "999999999999"}}, 403),
        ({"ArnLike": {"aws:SourceArn": f"{ANCHORS}/*"}}, 201),
        ({"ArnEquals": {"aws:SourceArn": f"{ANCHORS}/x"}}, 403),
        ({"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "app"}}, 201),
        ({"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "other"}}, 403),
        ({"StringEquals": {"aws:PrincipalTag/x509Issuer/CN": "Test Root CA"}}, 201),
        ({"StringNotEquals": {"aws:PrincipalTag/x509Subject/OU": "x"}}, 201),
        ({"StringEquals": {"aws:RequestTag/x509Subject/CN": "app"}}, 201),
        # Only the calls that set a source identity have the key (UG/trust-model).
        ({"StringEquals": {"sts:SourceIdentity": "CN=app"}}, 403),
        ({"StringEqualsIfExists": {"sts:SourceIdentity": "CN=app"}}, 201),
        ({"StringEqualsIfExists": {"sts:RoleSessionName": "someone-else"}}, 403),
    ],
)
def test_conditions_of_the_trust_policy_hold(emulator, create_session, condition, status):
    """The trust policy sees the documented condition keys."""
    role = emulator.create_role("app", trust_policy=policy(*ACTIONS, condition=condition))

    assert create_session(emulator.set_up(role_arn=role)).status == status


@pytest.mark.conformance("CreateSession", source="choice", check="trust policy")
def test_policy_beyond_the_emulator_is_told_so(emulator, create_session):
    """An operator that nobody knows is neither allowed nor silently refused."""
    condition = {"StringResembles": {"aws:SourceAccount": "1"}}
    role = emulator.create_role("odd", trust_policy=policy(*ACTIONS, condition=condition))

    status, code, text = create_session(emulator.set_up(role_arn=role)).refusal

    assert (status, code) == (501, "NotImplementedException")
    assert role in text
    assert "StringResembles" in text


@pytest.mark.conformance(
    "CreateSession",
    source="observed",
    check="trust policy",
    text="Some attributes failed to be mapped into session tags.",
)
def test_attributes_that_became_no_tag_are_named(emulator, create_session, authority):
    """When the role refuses, the text names the values that could not become tags."""
    setup = emulator.set_up(
        authority=authority,
        role_arn=emulator.create_role(
            "app",
            trust_policy=policy(
                *ACTIONS,
                condition={"StringEquals": {"aws:PrincipalTag/x509Subject/CN": "app (blue)"}},
            ),
        ),
    )

    status, _, text = create_session(setup, leaf=authority.issue("app (blue)")).refusal

    assert status == 403
    assert text == (
        f"Unable to assume role for {setup.role_arn}. Some attributes failed to be mapped into "
        "session tags. Issuer: [  ]; Subject: [ CN ]; SAN: [  ]"
    )


@pytest.mark.conformance(
    "CreateSession, DeleteAttributeMapping", source="UG/attribute-mapping-and-trust-policy"
)
def test_mappings_of_the_profile_decide_the_tags(emulator, create_session):
    """Without a mapping rule there is no tag."""
    setup = emulator.set_up()
    emulator.control_plane().delete_attribute_mapping(
        profileId=setup.profile_arn.rpartition("/")[2], certificateField="x509Subject"
    )

    create_session(setup)

    (session,) = emulator.sessions
    assert session.tags == {"x509Issuer/CN": "Test Root CA"}


# The order


@pytest.mark.conformance(
    "CreateSession: The checks are made in this order; the first one that fails is the answer.",
    source="choice",
)
def test_checks_are_made_in_the_documented_order(emulator, create_session, authority, now):
    """A call with everything wrong shows one fault after another as they are mended."""
    other = CertificateAuthority("Other CA", now=lambda: now)
    client = emulator.control_plane()
    setup = emulator.set_up(
        authority=authority,
        session_duration=7200,
        role_arn="arn:aws:iam::111122223333:role/unlisted",
    )
    anchor_id, profile_id = (
        arn.rpartition("/")[2] for arn in (setup.trust_anchor_arn, setup.profile_arn)
    )
    client.disable_trust_anchor(trustAnchorId=anchor_id)
    client.disable_profile(profileId=profile_id)
    role = emulator.create_role("app", trust_policy=policy("sts:AssumeRole"))
    ca_leaf = authority.issue_flawed("ca-true")
    revoked = authority.issue("revoked")
    good = authority.issue("good")
    emulator.revoke(ca_leaf)
    emulator.revoke(revoked)
    asked: dict[str, Any] = {
        "roleArn": "arn:aws:iam::999999999999:role/app",
        "profileArn": setup.profile_arn[:-12] + "0" * 12,
        "durationSeconds": 1,
        "roleSessionName": "x",
    }
    seen = []

    def attempt(**changes: Any) -> None:
        answer = create_session(setup, parameters=asked, **changes)
        seen.append(answer.body.get("message", "session"))

    attempt(tamper=True, leaf=other.issue(), region="us-east-1")
    asked["durationSeconds"] = 7200
    attempt(tamper=True, leaf=other.issue(), region="us-east-1")
    attempt(leaf=other.issue(), region="us-east-1")
    asked["profileArn"] = setup.profile_arn
    attempt(leaf=other.issue(), region="us-east-1")
    asked["roleArn"] = role
    attempt(leaf=other.issue(), region="us-east-1")
    attempt(leaf=other.issue())
    client.enable_trust_anchor(trustAnchorId=anchor_id)
    attempt(leaf=other.issue())
    client.enable_profile(profileId=profile_id)
    attempt(leaf=other.issue_flawed("ca-true"))
    attempt(leaf=ca_leaf)
    attempt(leaf=revoked)
    attempt(leaf=good)
    client.update_profile(profileId=profile_id, roleArns=[role])
    attempt(leaf=good)
    client.update_profile(profileId=profile_id, acceptRoleSessionName=True)
    attempt(leaf=good)
    asked["roleSessionName"] = "fine"
    attempt(leaf=good)
    asked["durationSeconds"] = 3600
    attempt(leaf=good)
    emulator.create_role("app", trust_policy=policy(*ACTIONS))
    attempt(leaf=good)

    beginnings = [
        "1 validation error detected: Value '1' at 'durationSeconds'",
        "Invalid signature",
        "Profile arn:",
        "The role arn:aws:iam::999999999999:role/app has a different account ID",
        "The credential scope is in Region us-east-1",
        "Trust anchor is disabled",
        "Profile is disabled",
        "Untrusted signing certificate",
        "Untrusted certificate. Insufficient certificate",
        "Certificate revoked",
        "Requested Role isn't one of those listed in the Profile",
        "Not authorized to set roleSessionName",
        "1 validation error detected: Value 'x' at 'roleSessionName'",
        f"Unable to assume role for {role}. The requested DurationSeconds",
        f"Unable to assume role for {role}",
        "session",
    ]
    assert [text[: len(start)] for text, start in zip(seen, beginnings, strict=True)] == beginnings


@pytest.mark.conformance(
    "CreateSession: STS takes 50 session tags; that a certificate with more gets `Unable to "
    "assume role` is ours.",
    source="STS + choice",
    check="trust policy",
)
@pytest.mark.parametrize(("count", "status"), [(50, 201), (51, 403)])
def test_session_takes_fifty_tags(emulator, create_session, count, status):
    """STS takes 50 session tags; a certificate that gives more cannot sign in."""
    setup = emulator.set_up()
    profile_id = setup.profile_arn.rpartition("/")[2]
    client = emulator.control_plane()
    for field in ("x509Issuer", "x509SAN", "x509Subject"):
        client.delete_attribute_mapping(profileId=profile_id, certificateField=field)
    oids = [f"1.3.6.1.4.1.55555.{number}" for number in range(count)]
    rules = [{"specifier": oid} for oid in oids]
    client.put_attribute_mapping(
        profileId=profile_id, certificateField="x509Subject", mappingRules=rules
    )
    subject = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), "v") for oid in oids])

    answer = create_session(setup, leaf=setup.authority.issue(subject=subject))

    assert answer.status == status
    if status == 403:
        assert answer.refusal[2] == (
            f"Unable to assume role for {setup.role_arn}. The certificate gives 51 session tags; "
            "50 are allowed"
        )
        (summary,) = client.list_subjects()["subjects"]
        subject = client.get_subject(subjectId=summary["subjectId"])["subject"]
        assert subject["credentials"][0]["failed"] is True


# What is remembered


@pytest.mark.conformance("CreateSession, GetSubject, ListSubjects", source="UG/monitoring-subjects")
def test_subject_remembers_certificates_and_properties(emulator, create_session, now):
    """A subject collects its certificates, with the outcome of their last use."""
    setup = emulator.set_up()
    second = setup.authority.issue("app")
    properties = {"host": "rack-7"}

    first = create_session(setup, parameters={"instanceProperties": properties})
    create_session(setup, leaf=second)
    again = create_session(setup, parameters={"instanceProperties": properties})
    refused = create_session(setup, leaf=second, parameters={"roleSessionName": "bob"})

    assert refused.status == 403
    client = emulator.control_plane()
    (summary,) = client.list_subjects()["subjects"]
    subject = client.get_subject(subjectId=summary["subjectId"])["subject"]
    assert first.body["subjectArn"] == again.body["subjectArn"] == subject["subjectArn"]
    assert subject["x509Subject"] == "CN=app"
    assert subject["enabled"] is True
    assert subject["lastSeenAt"] == now
    by_serial = {entry["serialNumber"]: entry for entry in subject["credentials"]}
    assert set(by_serial) == {str(setup.leaf.serial_number), str(second.serial_number)}
    assert by_serial[str(setup.leaf.serial_number)]["failed"] is False
    assert by_serial[str(second.serial_number)]["failed"] is True
    assert x509.load_pem_x509_certificate(subject["credentials"][0]["x509CertificateData"].encode())
    assert [entry["properties"] for entry in subject["instanceProperties"]] == [properties]


@pytest.mark.conformance("CreateSession", source="choice")
def test_certificate_that_is_not_authenticated_leaves_no_subject(emulator, create_session):
    """Subjects are of certificates whose key signed, that are trusted and not revoked."""
    setup = emulator.set_up()
    create_session(setup, tamper=True)
    create_session(setup, leaf=CertificateAuthority("Other").issue("app"))
    emulator.revoke(setup.leaf)
    create_session(setup)

    assert [event.outcome for event in emulator.events] == ["failure"] * 3
    assert emulator.control_plane().list_subjects()["subjects"] == []


@pytest.mark.conformance("CloudTrail", source="UG/logging-using-cloudtrail")
def test_audit_has_one_event_per_call_and_no_secret(emulator, create_session, now):
    """Each call leaves an event that says what happened, without keys or tokens."""
    setup = emulator.set_up()

    good = create_session(setup)
    bad = create_session(setup, tamper=True)
    create_session(setup, parameters={"roleArn": None})

    success, refusal, unread = emulator.events
    assert (success.event_name, success.outcome) == ("CreateSession", "success")
    assert success.event_time == now
    assert success.request_id == good.headers["x-amzn-requestid"]
    assert success.serial_number == str(setup.leaf.serial_number)
    assert success.role_arn == setup.role_arn
    assert success.duration_seconds == 3600
    assert success.additional_event_data == {
        "missingSignedHeaders": [],
        "postEmptyBody": False,
        "algorithmMismatch": False,
    }
    assert (refusal.outcome, refusal.error_code, refusal.error_message) == (
        "failure",
        "AccessDeniedException",
        "Invalid signature",
    )
    assert refusal.request_id == bad.headers["x-amzn-requestid"]
    assert refusal.additional_event_data == {}
    assert unread.error_code == "ValidationException"
    assert unread.role_arn is None
    shown = repr(emulator.events) + repr(emulator.sessions) + repr(emulator)
    for member in ("secretAccessKey", "sessionToken"):
        assert good.session["credentials"][member] not in shown


@pytest.mark.conformance("CreateSession", source="UG/trust-model")
def test_empty_common_name_gets_the_serial_as_source_identity(emulator, create_session, authority):
    """Without a common name the source identity is the serial number."""
    setup = emulator.set_up(authority=authority)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")])

    session = create_session(setup, leaf=authority.issue(subject=name, serial_number=0x123)).session

    assert session["sourceIdentity"] == "ID=0123"
    assert session["assumedRoleUser"]["arn"].endswith("/0123")


def test_answer_is_dated_by_the_emulators_clock(emulator, create_session):
    """The Date header tells the emulator's time, not the machine's."""
    answer = create_session(emulator.set_up())

    assert answer.headers["date"] == "Mon, 04 May 2026 12:00:00 GMT"
