from __future__ import annotations

import json
import logging
import re

import pytest

CN = "aws:PrincipalTag/x509Subject/CN"


def session_policy(**changes):
    """A session policy that allows everything, with changes, as text."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", **changes}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def sign_in(emulator, create_session):
    """Signs in at a profile with the given session policy and managed policies."""
    setup = emulator.set_up()
    identifier = setup.profile_arn.rpartition("/")[2]
    plane = emulator.control_plane()

    def run(policy, managed=()):
        plane.update_profile(
            profileId=identifier, sessionPolicy=policy, managedPolicyArns=list(managed)
        )
        return create_session(setup)

    return run


@pytest.mark.conformance("CreateSession", source="choice", check="session policies")
def test_profile_policies_count_into_the_packed_size(sign_in):
    """A longer session policy and more managed policies make a larger packed size."""
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    short = sign_in(session_policy()).session["packedPolicySize"]
    more = sign_in(session_policy(), [arn]).session["packedPolicySize"]
    long = sign_in(session_policy(Sid="x" * 1000), [arn]).session["packedPolicySize"]

    assert 0 < short < more < long <= 100


@pytest.mark.conformance(
    "CreateSession",
    source="UG/authentication-create-session + STS + choice",
    check="session policies",
    text="PACKED_POLICY_TOO_LARGE",
)
def test_too_large_a_session_is_refused(sign_in):
    """At 100 percent there is a session; over that the call fails as STS says it."""
    one = sign_in(session_policy()).session["packedPolicySize"]
    padding = (100 - one) * 2048 // 100
    fits = sign_in(session_policy(Sid="x" * (padding - 10)))
    assert fits.session["packedPolicySize"] in (99, 100)

    answer = sign_in(session_policy(Sid="x" * (padding + 50)))

    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "PackedPolicyTooLarge")
    assert re.fullmatch(
        r"Packed policy consumes 10[1-4]% of allotted space, please use smaller policy\.",
        answer.body["message"],
    )


@pytest.mark.conformance(
    "CreateSession",
    source="STS + choice",
    check="session policies",
    text="SESSION_POLICY_MALFORMED",
)
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("x", "is not JSON"),
        (session_policy(Principal="*"), "Principal is no element of an identity or session policy"),
    ],
)
def test_a_session_policy_that_is_none_is_refused(sign_in, policy, words):
    """What is no policy fails the call with STS's code."""
    answer = sign_in(policy)

    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "MalformedPolicyDocument")
    assert words in answer.body["message"]


@pytest.mark.conformance("CreateSession", source="choice", check="session policies")
def test_an_unknown_operator_waits_until_it_is_judged(sign_in):
    """A session policy with a part that the emulator does not know gives a session."""
    assert sign_in(session_policy(Condition={"StringMatches": {"a": "b"}})).status == 201


@pytest.mark.conformance("CreateSession, GetSubject", source="UG/monitoring-subjects")
def test_refused_sessions_leave_a_failed_subject_and_an_event(sign_in, emulator):
    """A session policy that cannot be used is a failure like every other."""
    sign_in("x")

    [event] = emulator.events
    assert (event.outcome, event.error_code) == ("failure", "MalformedPolicyDocument")


@pytest.mark.conformance(
    "CreateSession",
    source="IAM/reference_policies_elements_condition_operators",
    check="trust policy",
)
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"ForAllValues:StringLike": {"aws:TagKeys": "x509*"}}, 201),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": "x509Subject/OU"}}, 403),
        ({"DateLessThan": {"aws:CurrentTime": "2000-01-01"}}, 403),
        ({"DateGreaterThan": {"aws:CurrentTime": "2000-01-01"}}, 201),
        ({"NumericGreaterThan": {"aws:EpochTime": "946684800"}}, 201),
        ({"StringEquals": {CN: "${aws:RequestTag/x509Subject/CN}"}}, 201),
        (
            {"StringLikeIfExists": {"sts:SourceIdentity": "CN=${aws:PrincipalTag/x509Subject/CN}"}},
            201,
        ),
        ({"StringNotEquals": {"aws:PrincipalTag/x509Subject/OU": "Sales"}}, 201),
        ({"StringEquals": {"aws:PrincipalTag/x509Subject/OU": "Sales"}}, 403),
        ({"Null": {"aws:PrincipalTag/x509Subject/OU": "true"}}, 201),
    ],
)
def test_conditions_of_the_trust_policy_decide(emulator, create_session, condition, status, caplog):
    """Set operators, times and variables work in the trust policy; the log has the reason."""
    caplog.set_level(logging.INFO, logger="rolesanywhere_auth.testing")
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        "Condition": condition,
    }
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    role_arn = emulator.create_role("app", trust_policy=trust)

    answer = create_session(emulator.set_up(role_arn=role_arn))

    assert answer.status == status
    if status == 403:
        assert answer.body["message"] == f"Unable to assume role for {role_arn}"
    (operator, (key, *_)) = next((name, list(keys)) for name, keys in condition.items())
    *_, reason = [text for text in caplog.messages if f" of {role_arn}: " in text]
    assert f"{operator} {key} wants [" in reason
    assert ("no statement allows" in reason) is (status == 403)
