"""The evaluator of IAM policies: trust policies case by case, and against another evaluator."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolesanywhere_auth.testing.service.policy import (
    Layer,
    PolicyError,
    UnsupportedPolicyError,
    allows,
    check_permissions,
    permits,
)

ANCHOR = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/0e2f-a/b"
CN = "aws:PrincipalTag/x509Subject/CN"
CONTEXT = {CN: "alice", "aws:SourceArn": ANCHOR, "aws:SourceAccount": "111122223333"}
ACTIONS = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


def policy(*statements: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A policy of statements that each allow the service everything, with changes."""
    sound = {
        "Effect": "Allow",
        "Principal": {"Service": "rolesanywhere.amazonaws.com"},
        "Action": ACTIONS,
    }
    listed = [{**sound, **changes, **statement} for statement in statements or ({},)]
    return {"Version": "2012-10-17", "Statement": listed}


def allowed(document: Any, action: str = "sts:AssumeRole", **context: Any) -> bool:
    """Whether *document* allows *action* in CONTEXT, changed by *context*."""
    return allows(document, action=action, context={**CONTEXT, **context}).allowed


def holds(operator: str, key: str, wanted: Any, context: dict[str, Any] | None = None) -> bool:
    """Whether one condition lets the request pass."""
    document = policy(Condition={operator: {key: wanted}})
    given = CONTEXT if context is None else context
    return allows(document, action="sts:TagSession", context=given).allowed


@pytest.mark.conformance("trust policy", source="UG/trust-model")
@pytest.mark.parametrize("action", ACTIONS)
def test_the_policy_of_the_user_guide_allows_each_action(action: str) -> None:
    """All three actions pass where the statement lists them and its conditions hold."""
    document = policy(
        Condition={"StringEquals": {CN: "alice"}, "ArnEquals": {"aws:SourceArn": ANCHOR}}
    )
    decision = allows(json.dumps(document), action=action, context=CONTEXT)
    assert decision.allowed
    assert decision.reason == (
        f"statement 1 allows {action}, as "
        f"StringEquals {CN} wants ['alice'], the request has 'alice'; "
        f"ArnEquals aws:SourceArn wants ['{ANCHOR}'], the request has '{ANCHOR}'"
    )


def test_one_statement_may_stand_without_a_list() -> None:
    """Statement may be an object, Version may be absent."""
    assert allowed({"Statement": policy()["Statement"][0]})


def test_actions_may_be_allowed_by_different_statements() -> None:
    """Each action is asked for on its own."""
    document = policy(
        {"Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]},
        {"Action": "sts:TagSession", "Condition": {"StringEquals": {CN: "bob"}}},
    )
    assert allowed(document, "sts:AssumeRole")
    assert not allowed(document, "sts:TagSession")
    assert allowed(document, "sts:TagSession", **{CN: "bob"})


@pytest.mark.conformance("trust policy", source="IAM/reference_policies_evaluation-logic")
@pytest.mark.parametrize("order", [1, -1])
def test_an_explicit_deny_wins(order: int) -> None:
    """A deny that applies decides, wherever it stands, and names itself."""
    deny = {"Sid": "NoBob", "Effect": "Deny", "Condition": {"StringEquals": {CN: "bob"}}}
    document = policy(*[{}, deny][::order])
    assert allowed(document)
    decision = allows(document, action="sts:AssumeRole", context={CN: "bob"})
    assert not decision.allowed
    assert decision.denied
    assert decision.reason.endswith(
        f"(NoBob) denies sts:AssumeRole, as StringEquals {CN} wants ['bob'], the request has 'bob'"
    )


@pytest.mark.conformance("trust policy", source="IAM/reference_policies_elements_principal")
@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"Service": "rolesanywhere.amazonaws.com"}, True),
        ({"Service": ["ec2.amazonaws.com", "rolesanywhere.amazonaws.com"]}, True),
        ({"AWS": "111122223333", "Service": "rolesanywhere.amazonaws.com"}, True),
        ({"Service": "ec2.amazonaws.com"}, False),
        ({"Service": "rolesanywhere.eu-west-1.amazonaws.com"}, False),
        ({"AWS": "arn:aws:iam::111122223333:root"}, False),
        ({"Federated": "cognito-identity.amazonaws.com"}, False),
    ],
)
def test_the_principal_must_name_the_service(principal: Any, expected: bool) -> None:
    """Service principals are compared whole; everyone is everyone; others do not match."""
    assert allowed(policy(Principal=principal)) is expected


@pytest.mark.conformance("trust policy", source="IAM/reference_policies_elements_action")
@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ("sts:AssumeRole", True),
        (["sts:TagSession", "sts:AssumeRole"], True),
        ("STS:assumerole", True),
        ("sts:*", True),
        ("*", True),
        ("sts:Assume*", True),
        ("sts:AssumeRol?", True),
        ("sts:AssumeRole?", False),
        ("sts:AssumeRoleWithSAML", False),
        ("sts:TagSession", False),
        ("s3:*", False),
        ("sts:Assume[A-Z]ole", False),
    ],
)
def test_actions_match_without_case_and_with_wildcards(actions: Any, expected: bool) -> None:
    """Action is compared without case; * and ? are its only wildcards."""
    assert allowed(policy(Action=actions)) is expected


@pytest.mark.parametrize(
    ("operator", "wanted", "expected"),
    [
        ("StringEquals", "alice", True),
        ("StringEquals", ["bob", "alice"], True),
        ("StringEquals", "Alice", False),
        ("StringEquals", "al*", False),
        ("StringNotEquals", "alice", False),
        ("StringNotEquals", "bob", True),
        ("StringNotEquals", ["bob", "alice"], False),
        ("StringNotEquals", ["bob", "carol"], True),
        ("StringEqualsIgnoreCase", "ALICE", True),
        ("StringEqualsIgnoreCase", "bob", False),
        ("StringNotEqualsIgnoreCase", "ALICE", False),
        ("StringLike", "al*", True),
        ("StringLike", "a?ice", True),
        ("StringLike", "*", True),
        ("StringLike", "alice*", True),
        ("StringLike", "Al*", False),
        ("StringLike", "a?e", False),
        ("StringLike", "[a]lice", False),
        ("StringLike", "al", False),
        ("StringNotLike", "al*", False),
        ("StringNotLike", ["b*", "c*"], True),
        ("StringEqualsIfExists", "alice", True),
        ("StringEqualsIfExists", "bob", False),
        ("StringNotEqualsIfExists", "alice", False),
    ],
)
def test_string_operators(operator: str, wanted: Any, expected: bool) -> None:
    """String operators: any of the list, or with Not none of the list."""
    assert holds(operator, CN, wanted) is expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringLike", False),
        ("ArnLike", False),
        ("Bool", False),
        ("StringNotEquals", True),
        ("StringNotLike", True),
        ("ArnNotEquals", True),
        ("StringEqualsIfExists", True),
        ("StringNotEqualsIfExists", True),
        ("ArnLikeIfExists", True),
        ("BoolIfExists", True),
    ],
)
@pytest.mark.parametrize("context", [{}, {"aws:x": []}])
def test_absent_keys(operator: str, expected: bool, context: dict[str, Any]) -> None:
    """An absent key fails a plain operator, and passes a negated one or one with IfExists."""
    wanted = {"Arn": ANCHOR, "Boo": "true"}.get(operator[:3], "x")
    assert holds(operator, "aws:x", wanted, context) is expected


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (ANCHOR, ANCHOR, True),
        ("arn:aws:rolesanywhere:*:111122223333:trust-anchor/*", ANCHOR, True),
        ("arn:*:*:*:*:*", ANCHOR, True),
        ("arn:aws:rolesanywhere:eu-west-?:111122223333:trust-anchor/*", ANCHOR, True),
        ("arn:aws:rolesanywhere:eu-west-1:*:trust-anchor/other", ANCHOR, False),
        ("arn:aws:*:trust-anchor/0e2f-a/b::", ANCHOR, False),
        ("arn:aws:rolesanywhere:*:trust-anchor/*:x", ANCHOR, False),
        ("arn:aws:a:b:c:d:*", "arn:aws:a:b:c:d:e:f", True),
        ("arn:aws:a:b:c:*", "arn:aws:a:b:c", False),
    ],
)
@pytest.mark.parametrize("operator", ["ArnEquals", "ArnLike"])
def test_arn_operators_compare_part_by_part(
    operator: str, pattern: str, value: str, expected: bool
) -> None:
    """ArnEquals is ArnLike: a wildcard stays within its part, the sixth part keeps its colons."""
    context = {"aws:SourceArn": value}
    assert holds(operator, "aws:SourceArn", pattern, context) is expected
    negated = operator.replace("Arn", "ArnNot")
    assert holds(negated, "aws:SourceArn", pattern, context) is not expected


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "expected"),
    [
        ("Null", CN, "false", True),
        ("Null", CN, "true", False),
        ("Null", "aws:x", "true", True),
        ("Null", "aws:x", True, True),
        ("Null", "aws:x", False, False),
        ("Bool", "aws:SecureTransport", "true", True),
        ("Bool", "aws:SecureTransport", True, True),
        ("Bool", "aws:SecureTransport", "false", False),
        ("StringEquals", "aws:SourceAccount", 111122223333, True),
    ],
)
def test_null_bool_and_json_values(operator: str, key: str, wanted: Any, expected: bool) -> None:
    """Null asks for absence; JSON's booleans and numbers count as their text."""
    context = {**CONTEXT, "aws:SecureTransport": "true"}
    assert holds(operator, key, wanted, context) is expected


def test_condition_keys_have_no_case() -> None:
    """aws:principaltag/X509SUBJECT/cn is the same key."""
    assert holds("StringEquals", CN.upper(), "alice")
    assert holds("StringEquals", CN, "alice", {CN.lower(): "alice"})


def test_all_conditions_must_hold() -> None:
    """Operators and keys of one Condition are joined by and."""
    conditions = {"StringEquals": {CN: "alice", "aws:SourceAccount": "1"}}
    assert not allowed(policy(Condition=conditions))
    assert allowed(policy(Condition=conditions), **{"aws:SourceAccount": "1"})


def test_the_reason_of_a_refusal_names_the_condition() -> None:
    """Each statement that might have allowed says why it did not."""
    document = policy(
        {"Action": "sts:TagSession"},
        {"Sid": "Two", "Condition": {"StringEqualsIfExists": {CN: "bob"}}},
        {"Principal": {"Service": "ec2.amazonaws.com"}},
        {"Condition": {"StringEquals": {"aws:x": "1", "aws:y": "2"}}},
        {"Effect": "Deny", "Action": "s3:*"},
    )
    assert allows(document, action="sts:AssumeRole", context=CONTEXT).reason == (
        "no statement allows sts:AssumeRole: "
        "statement 1: its Action does not list sts:AssumeRole; "
        f"statement 2 (Two): StringEqualsIfExists {CN} wants ['bob'], the request has 'alice'; "
        "statement 3: its Principal does not name the service rolesanywhere.amazonaws.com; "
        "statement 4: StringEquals aws:x wants ['1'], the request has no such key"
        " and StringEquals aws:y wants ['2'], the request has no such key"
    )
    denied = allows(policy(Effect="Deny", Action="s3:*"), action="sts:AssumeRole", context={})
    assert denied.reason == "no statement allows sts:AssumeRole"


@pytest.mark.conformance("trust policy", source="choice")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Condition": {"ForSomeValues:StringLike": {"aws:TagKeys": "a"}}}, "ForSomeValues:"),
        ({"Condition": {"ForAllValues:Null": {"aws:TagKeys": "true"}}}, "ForAllValues:Null"),
        ({"Condition": {":StringEquals": {CN: "alice"}}}, ":StringEquals"),
        ({"Condition": {"StringMatches": {CN: "alice"}}}, "StringMatches"),
        ({"Condition": {"NullIfExists": {"aws:x": "true"}}}, "NullIfExists"),
        ({"Condition": {"stringequals": {CN: "alice"}}}, "stringequals"),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "*"}}}, "six parts of an ARN"),
        ({"Principal": {"Service": "*.amazonaws.com"}}, "*.amazonaws.com"),
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_what_is_not_known_is_refused_by_name(
    changes: dict[str, Any], words: str, effect: str
) -> None:
    """Unknown parts raise, even in a statement behind one that decides already."""
    document = policy({}, {"Effect": effect, "Sid": "Odd", **changes})
    with pytest.raises(UnsupportedPolicyError) as raised:
        allowed(document)
    assert words in str(raised.value)
    assert "statement 2 (Odd)" in str(raised.value)


def test_several_values_need_a_set_operator() -> None:
    """A key with several values in the request is refused by name in a plain operator."""
    assert holds("StringEquals", "aws:TagKeys", "a", {"aws:TagKeys": ["a"]})
    with pytest.raises(UnsupportedPolicyError, match=r"aws:TagKeys: .* several values .*\(a, b\)"):
        holds("StringEquals", "aws:TagKeys", "a", {"aws:TagKeys": ["a", "b"]})
    assert holds("ForAnyValue:StringEquals", "aws:TagKeys", "a", {"aws:TagKeys": ["a", "b"]})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be a JSON object"),
        ({}, "has no Statement"),
        ({"Statement": []}, "has no Statement"),
        ({"Statement": ["x"]}, "statement 1 is not a JSON object"),
        ({"Version": "2020-01-01", "Statement": []}, "Version '2020-01-01'"),
        (policy(Effect="allow"), "Effect must be Allow or Deny, not 'allow'"),
        (policy(Resource="*"), "Resource is no element of a trust policy"),
        ({"Statements": []}, "Statements is no element of a policy"),
        (policy(Principal=None), "Principal must be"),
        (policy(NotPrincipal="*"), "needs one of Principal and NotPrincipal and has both"),
        (policy(NotAction="*"), "needs one of Action and NotAction and has both"),
        ({"Statement": {"Effect": "Allow", "Action": "*"}}, "NotPrincipal and has neither"),
        (policy(Action="AssumeRole"), "'AssumeRole' has no service before a colon"),
        (policy(Principal={}), "Principal must be"),
        (policy(Principal={"Users": "x"}), "Principal has no type Users"),
        (policy(Principal={"Service": []}), "Principal Service must be a string or a list"),
        (policy(Action=None), "Action must be a string or a list"),
        (policy(Action=[]), "Action must be a string or a list"),
        (policy(Condition=[]), "Condition must be an object"),
        (policy(Condition={"StringEquals": "x"}), "StringEquals must be an object"),
        (policy(Condition={"StringEquals": {}}), "StringEquals must be an object"),
        (policy(Condition={"StringEquals": {CN: {}}}), "must be a string or a list"),
        (policy(Condition={"StringEquals": {CN: ["a", {}]}}), "must be a string or a list"),
        (policy(Condition={"Null": {CN: "maybe"}}), 'must be "true" or "false"'),
        (policy(Condition={"Bool": {CN: "1"}}), 'must be "true" or "false"'),
        (policy(Condition={"NumericEquals": {CN: "1e3"}}), "'1e3' is not an integer or decimal"),
        (policy(Condition={"DateLessThan": {CN: "tomorrow"}}), "'tomorrow' is neither a date"),
        (policy(Condition={"DateLessThan": {CN: "2024-02-30"}}), "'2024-02-30' is no date: day"),
        (policy(Condition={"DateEquals": {CN: "9" * 20}}), "is no date: Python int too large"),
        (policy(Condition={"IpAddress": {CN: "10.0.0.0/33"}}), "'10.0.0.0/33' does not appear"),
        (policy(Condition={"BinaryEquals": {CN: "a"}}), "'a' is not base64"),
        (policy(Condition={"StringLike": {CN: "${aws:x"}}), "begins no policy variable"),
        (policy(Condition={"StringLike": {CN: "${}"}}), "begins no policy variable"),
        (policy(Condition={"StringLike": {CN: "${a, b}"}}), "begins no policy variable"),
        (policy(Condition={"NumericEquals": {CN: "${aws:x}"}}), "is not an integer"),
    ],
)
def test_a_malformed_document_says_where(document: Any, words: str) -> None:
    """Malformed documents raise, with the place and what belongs there."""
    with pytest.raises(PolicyError) as raised:
        allowed(document)
    assert words in str(raised.value)
    assert not isinstance(raised.value, UnsupportedPolicyError)


@pytest.mark.conformance("trust policy", source="IAM/troubleshoot_policies + choice")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"Statement": [], "Statement": []}', "Statement"),
        ('{"Statement": {"Effect": "Deny", "Effect": "Allow"}}', "Effect"),
        ('{"Statement": {"Condition": {"Null": {"a": "true"}, "Null": {}}}}', "Null"),
        ('{"Statement": {"Condition": {"StringLike": {"b": "1", "b": "*"}}}}', "b"),
    ],
)
def test_a_name_twice_in_one_object_is_refused(text: str, name: str) -> None:
    """An element may stand once (the guide); that operators and keys may as well is ours."""
    with pytest.raises(PolicyError, match=f"'{name}' stands more than once"):
        allowed(text)


# Not…


@pytest.mark.conformance("trust policy", source="IAM/reference_policies_elements_notaction")
def test_not_action_means_every_other_action() -> None:
    """NotAction applies to the actions that it does not list."""
    document = policy()
    del document["Statement"][0]["Action"]
    document["Statement"][0]["NotAction"] = ["sts:TagSession", "s3:*"]
    assert allowed(document, "sts:AssumeRole")
    decision = allows(document, action="sts:TagSession", context=CONTEXT)
    assert decision.reason == (
        "no statement allows sts:TagSession: statement 1: its NotAction lists sts:TagSession"
    )


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ({"Service": "rolesanywhere.amazonaws.com"}, True),
        ({"Service": "ec2.amazonaws.com"}, False),
        ({"AWS": "arn:aws:iam::111122223333:root"}, False),
        ("*", True),
    ],
)
def test_not_principal_denies_everyone_else(principal: Any, expected: bool) -> None:
    """A Deny with NotPrincipal leaves alone whom it names, and nobody else."""
    deny = {"Effect": "Deny", "NotPrincipal": principal, "Action": "*"}
    document = {"Statement": [*policy()["Statement"], deny]}
    assert allowed(document) is expected


@pytest.mark.conformance("trust policy", source="IAM/reference_policies_elements_notprincipal")
def test_not_principal_cannot_allow() -> None:
    """The guide: using NotPrincipal with Allow is not supported."""
    statement = {"Effect": "Allow", "NotPrincipal": {"Service": "x"}, "Action": "*"}
    with pytest.raises(PolicyError, match="NotPrincipal goes with Effect Deny only"):
        allowed({"Statement": statement})


# Policies that give permissions


BUCKET = "arn:aws:s3:::bucket"


def permission(**changes: Any) -> dict[str, Any]:
    """A policy that allows everything, with changes."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"} | changes
    statement = {name: value for name, value in statement.items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [statement]}


def permitted(*layers: dict[str, Any], action: str = "s3:GetObject", **context: Any) -> bool:
    """Whether all of *layers* together permit to get an object in CONTEXT."""
    named = [Layer(f"layer {number}", (document,)) for number, document in enumerate(layers)]
    resource = context.pop("resource", f"{BUCKET}/alice/key")
    given = {**CONTEXT, **context}
    return permits(named, action=action, resource=resource, context=given).allowed


@pytest.mark.parametrize(
    ("resource", "found", "expected"),
    [
        # reference_policies_elements_resource, "Using wildcards in resource ARNs"
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1/test/object.jpg", True),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1/2/test/3/object.jpg", True),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1///test///object.jpg", True),
        (f"{BUCKET}/*/test/*", f"{BUCKET}//test/object.jpg", True),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1/test/", True),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1-test/object.jpg", False),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/test/object.jpg", False),
        (f"{BUCKET}/*/test/*", f"{BUCKET}/1/2/test.jpg", False),
        ("arn:aws:iam::111122223333:user/Bob", "arn:aws:iam::111122223333:user/bob", False),
        # "If the * wildcard is the last character of a segment, it can expand …"
        ("arn:aws:s3:*", f"{BUCKET}/key", True),
        ("arn:aws:sqs:*:111122223333:q", "arn:aws:sqs:eu-west-1:111122223333:q", True),
        ("arn:aws:sqs:*:q", "arn:aws:sqs:eu-west-1:111122223333:q", None),
        ("arn:aws:sqs:eu*1:1:q", "arn:aws:sqs:eu-west-1:1:q", True),
        ("arn:aws:sqs:e*1:1:q", "arn:aws:sqs:eu-west-1:x1:1:q", False),
        ("arn:aws:sqs:e*1:1:q", "arn:aws:sqs:eu-west-:1:1:q", False),
        ("arn:aws:sqs:eu-west-?:1:q", "arn:aws:sqs:eu-west-1:1:q", True),
        ("arn:aws:sqs:eu-west-?:1:q", "arn:aws:sqs:eu-west-", False),
        ("arn:aws:sqs:eu-west-?1:1:q", "arn:aws:sqs:eu-west-:1:1:q", False),
        ("arn:aws:sns:eu-west-1:1:topic?*", "arn:aws:sns:eu-west-1:1:topic:sub", True),
        ("*", "*", True),
        (f"{BUCKET}/key", "*", False),
        # reference_policies_variables
        (f"{BUCKET}/${{{CN}}}/*", f"{BUCKET}/alice/key", True),
        (f"{BUCKET}/${{{CN}}}/*", f"{BUCKET}/bob/key", False),
        (f"{BUCKET}/${{{CN.upper()}}}/*", f"{BUCKET}/alice/key", True),
        (f"{BUCKET}-${{aws:PrincipalTag/team, 'company-wide'}}", f"{BUCKET}-company-wide", True),
        (f"{BUCKET}-${{aws:PrincipalTag/team,'company-wide'}}", f"{BUCKET}-company-wide", True),
        (f"{BUCKET}-${{{CN}, 'company-wide'}}", f"{BUCKET}-alice", True),
        (f"{BUCKET}/${{aws:PrincipalTag/team}}", f"{BUCKET}/", False),
        (f"{BUCKET}/${{*}}", f"{BUCKET}/*", True),
        # not as the guide says, but as AWS's own AmazonTimestreamInfluxDBServiceRolePolicy has it
        ("arn:*:kms:*:${aws:SourceAccount}:key/*", "arn:aws:kms:x:111122223333:key/1", True),
        ("arn:*:kms:*:${aws:SourceAccount}:key/*", "arn:aws:kms:x:999999999999:key/1", False),
        (f"{BUCKET}/${{*}}", f"{BUCKET}/x", False),
        (f"{BUCKET}/${{?}}${{$}}", f"{BUCKET}/?$", True),
    ],
)
def test_resources(resource: str, found: str, expected: bool | None) -> None:
    """Resources match part by part, NotResource inversely; too few parts raise."""
    for element, wanted in (("Resource", expected), ("NotResource", not expected)):
        document = permission(Resource=None) if element == "NotResource" else permission()
        document["Statement"][0][element] = resource
        if expected is None:
            with pytest.raises(PolicyError, match="an ARN has six parts"):
                permitted(document, resource=found)
        else:
            assert permitted(document, resource=found) is wanted


def test_a_value_is_no_pattern() -> None:
    """An asterisk in a tag's value is an asterisk."""
    document = permission(Resource=f"{BUCKET}/${{{CN}}}")
    assert permitted(document, resource=f"{BUCKET}/a*", **{CN: "a*"})
    assert not permitted(document, resource=f"{BUCKET}/alice", **{CN: "a*"})


def test_variables_came_with_the_later_version() -> None:
    """Without Version 2012-10-17, ${…} is text; its wildcards are wildcards all the same."""
    document = permission(Resource=f"{BUCKET}/${{{CN}}}", Action="s3:*")
    assert permitted(document, resource=f"{BUCKET}/alice")
    for version in ({"Version": "2008-10-17"}, {}):
        older = {**version, "Statement": document["Statement"]}
        assert not permitted(older, resource=f"{BUCKET}/alice")
        assert permitted(older, resource=f"{BUCKET}/${{{CN}}}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Principal": "*"}, "Principal is no element of an identity or session policy"),
        ({"Resource": None}, "needs one of Resource and NotResource and has neither"),
        ({"Resource": "bucket"}, "Resource 'bucket' is neither an ARN nor"),
        ({"Resource": f"{BUCKET}/${{x"}, "begins no policy variable"),
        ({"Resource": []}, "Resource must be a string or a list"),
    ],
)
def test_a_malformed_permission_says_where(changes: dict[str, Any], words: str) -> None:
    """Malformed documents raise when judged, and when only checked."""
    document = permission(**changes)
    with pytest.raises(PolicyError) as raised:
        check_permissions(json.dumps(document))
    assert words in str(raised.value)
    with pytest.raises(PolicyError):
        permitted(permission(), document)
    check_permissions(permission())


@pytest.mark.parametrize("element", ["Resource", "Condition"])
def test_a_key_with_several_values_is_no_variable(element: str) -> None:
    """The guide: you cannot use a multivalued key as a variable."""
    condition = {"StringEquals": {CN: "${aws:TagKeys}"}}
    changes = condition if element == "Condition" else f"{BUCKET}/${{aws:TagKeys}}"
    context = {"aws:TagKeys": ["a", "b"]}
    with pytest.raises(UnsupportedPolicyError, match=r"\$\{aws:tagkeys\} has several values"):
        permitted(permission(**{element: changes}), **context)


def test_every_layer_must_allow_and_none_may_deny() -> None:
    """Session policies and a role's policies are an intersection; a deny anywhere decides."""
    get, put = permission(Action="s3:GetObject"), permission(Action="s3:PutObject")
    assert permitted(get, permission())
    assert not permitted(get, put)
    assert not permitted(permission(), permission(Effect="Deny", Action="s3:Get*"))
    layers = [Layer("the role", (put, get)), Layer("the session", (put,))]
    both = permits(layers, action="s3:GetObject", resource="*", context={})
    assert (both.allowed, both.denied) == (False, False)
    assert both.reason == (
        "no statement of the session allows s3:GetObject: "
        "statement 1: its Action does not list s3:GetObject"
    )
    alone = permits(layers[:1], action="s3:GetObject", resource="*", context={})
    assert alone.reason == "policy 2, statement 1 of the role allows s3:GetObject"
    none = Layer("the role", ())
    assert permits([none], action="s3:GetObject", resource="*", context={}).reason == (
        "no statement of the role allows s3:GetObject"
    )
    deny = Layer("the boundary", (permission(Effect="Deny"),))
    explicit = permits([none, deny], action="s3:GetObject", resource="*", context={})
    assert explicit.denied
    assert explicit.reason == "statement 1 of the boundary denies s3:GetObject"
    with pytest.raises(ValueError, match="no layer"):
        permits([], action="s3:GetObject", resource="*", context={})


def test_the_reason_names_the_resource() -> None:
    """A statement for other resources says so."""
    for element, verb in (("Resource", "does not list"), ("NotResource", "lists")):
        document = permission(**{"Resource": None, element: "arn:aws:s3:::x"})
        found = "arn:aws:s3:::y" if element == "Resource" else "arn:aws:s3:::x"
        layers = [Layer("x", (document,))]
        reason = permits(layers, action="s3:GetObject", resource=found, context={}).reason
        assert reason.endswith(f"statement 1: its {element} {verb} {found}")


def test_an_unresolved_variable_matches_no_resource() -> None:
    """The guide's words; a NotResource of it alone means every resource."""
    unresolved = f"{BUCKET}/${{aws:PrincipalTag/none}}"
    assert not permitted(permission(Resource=[unresolved]))
    assert permitted(permission(Resource=[unresolved, f"{BUCKET}/*"]))
    assert permitted(permission(Resource=None, NotResource=unresolved))


@pytest.mark.conformance(
    "trust policy: Another evaluator, iam-simulate, says the same of 3,000 policies.",
    source="choice",
)
def test_another_evaluator_agrees() -> None:
    """iam-simulate says the same of 3,000 policies, allowed and denied in every way."""
    path = Path(__file__).with_name("iam_simulate.py")
    spec = importlib.util.spec_from_file_location("iam_simulate", path)
    assert spec is not None
    assert spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    recorded = json.loads(other.ANSWERS.read_text())
    assert recorded["cases"] == other.digest(), "record the answers again: see iam_simulate.py"

    different = []
    for case, answer in zip(other.cases(), recorded["answers"], strict=True):
        policies = [Layer("policy", (case.pop("policy"),))]
        decision = permits(policies, **case)
        ours = "A" if decision.allowed else "E" if decision.denied else "I"
        if ours != answer:
            different.append((answer, ours, policies, case, decision.reason))

    assert different == []
    assert min(recorded["answers"].count(letter) for letter in "AEI") > 250


def test_many_asterisks_take_no_time() -> None:
    """A pattern of hundreds of asterisks is judged at once."""
    pattern = "a*" * 400 + "b"
    assert not holds("StringLike", CN, pattern, {CN: "a" * 400})
    assert holds("StringLike", CN, pattern, {CN: "a" * 400 + "b"})


NAMES = ["Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action"]
NAMES += ["NotAction", "Resource", "NotResource", "Condition", "AWS", "Service", "StringLike"]
NAMES += ["ForAnyValue:StringLike", "NumericLessThanIfExists", "DateEquals", "IpAddress", "Null"]
NAMES += ["Bool", "BinaryEquals", "ArnLike", CN]
VALUES = st.sampled_from(
    ["Allow", "Deny", "*", "sts:*", "arn:aws:s3:::b/${a}", "arn:*", "2012-10-17", "${", "true"]
)
TREES = st.recursive(
    VALUES | st.text() | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=5)
    ),
    max_leaves=12,
)
STATEMENTS = st.fixed_dictionaries(
    {"Effect": st.just("Allow"), "Action": st.just("*")},
    optional={
        "Principal": st.just("*") | TREES,
        "NotPrincipal": TREES,
        "Resource": VALUES | TREES,
        "NotResource": TREES,
        "Condition": st.dictionaries(
            st.sampled_from(NAMES[14:]), st.dictionaries(st.just(CN), VALUES | TREES)
        ),
    },
)


@settings(deadline=None, max_examples=120)
@given(TREES | st.fixed_dictionaries({"Statement": STATEMENTS}))
def test_whatever_the_document_it_is_decided_or_refused(document: Any) -> None:
    """No document ends in another error than PolicyError, given parsed or as text."""
    for form in (document, json.dumps(document)):
        for judge in (allowed, permitted):
            with contextlib.suppress(PolicyError):
                assert judge(form) in (True, False)
