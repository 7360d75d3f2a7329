"""The evaluator of role trust policies, case by case from the IAM User Guide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rolesanywhere_auth.testing.service.policy import (
    PolicyError,
    UnsupportedPolicyError,
    allows,
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


@pytest.mark.parametrize("action", ACTIONS)
def test_the_policy_of_the_user_guide_allows_each_action(action: str) -> None:
    """All three actions pass where the statement lists them and its conditions hold."""
    document = policy(
        Condition={"StringEquals": {CN: "alice"}, "ArnEquals": {"aws:SourceArn": ANCHOR}}
    )
    decision = allows(json.dumps(document), action=action, context=CONTEXT)
    assert decision.allowed
    assert decision.reason == f"statement 1 allows {action}"


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


@pytest.mark.parametrize("order", [1, -1])
def test_an_explicit_deny_wins(order: int) -> None:
    """A deny that applies decides, wherever it stands, and names itself."""
    deny = {"Sid": "NoBob", "Effect": "Deny", "Condition": {"StringEquals": {CN: "bob"}}}
    document = policy(*[{}, deny][::order])
    assert allowed(document)
    decision = allows(document, action="sts:AssumeRole", context={CN: "bob"})
    assert not decision.allowed
    assert decision.reason.endswith("(NoBob) denies sts:AssumeRole")


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
        {"Condition": {"StringEquals": {"aws:x": "1"}}},
        {"Effect": "Deny", "Action": "s3:*"},
    )
    assert allows(document, action="sts:AssumeRole", context=CONTEXT).reason == (
        "no statement allows sts:AssumeRole: "
        "statement 1: its Action does not list sts:AssumeRole; "
        f"statement 2 (Two): StringEqualsIfExists {CN} wants ['bob'], the request has 'alice'; "
        "statement 3: its Principal does not name the service rolesanywhere.amazonaws.com; "
        "statement 4: StringEquals aws:x wants ['1'], the request has no such key"
    )
    denied = allows(policy(Effect="Deny", Action="s3:*"), action="sts:AssumeRole", context={})
    assert denied.reason == "no statement allows sts:AssumeRole"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Condition": {"NumericEquals": {"aws:x": "1"}}}, "NumericEquals"),
        ({"Condition": {"DateLessThan": {"aws:x": "1"}}}, "DateLessThan"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, "IpAddress"),
        ({"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}}, "ForAllValues:"),
        ({"Condition": {"ForAnyValue:StringLike": {"aws:TagKeys": "a"}}}, "ForAnyValue:"),
        ({"Condition": {"NullIfExists": {"aws:x": "true"}}}, "NullIfExists"),
        ({"Condition": {"stringequals": {CN: "alice"}}}, "stringequals"),
        ({"Condition": {"StringEquals": {CN: "${aws:username}"}}}, "${aws:username}"),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "*"}}}, "six parts of an ARN"),
        ({"NotPrincipal": {"AWS": "1"}}, "NotPrincipal"),
        ({"NotAction": "s3:*"}, "NotAction"),
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


def test_several_values_of_one_key_are_refused() -> None:
    """A multivalued key needs a set operator, which this evaluator does not know."""
    assert holds("StringEquals", "aws:TagKeys", "a", {"aws:TagKeys": ["a"]})
    with pytest.raises(UnsupportedPolicyError, match="aws:TagKeys has several values"):
        holds("StringEquals", "aws:TagKeys", "a", {"aws:TagKeys": ["a", "b"]})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ({}, "has no Statement"),
        ({"Statement": []}, "has no Statement"),
        ({"Statement": ["x"]}, "statement 1 is not a JSON object"),
        ({"Version": "2020-01-01", "Statement": []}, "Version '2020-01-01'"),
        (policy(Effect="allow"), "Effect must be Allow or Deny, not 'allow'"),
        (policy(Resource="*"), "Resource is no element of a trust policy"),
        (policy(Principal=None), "Principal must be"),
        (policy(Principal={}), "Principal must be"),
        (policy(Principal={"Users": "x"}), "Principal has no type Users"),
        (policy(Principal={"Service": []}), "Principal Service must be a string or a list"),
        (policy(Action=None), "Action must be a string or a list"),
        (policy(Action=[]), "Action must be a string or a list"),
        (policy(Condition=[]), "Condition must be an object"),
        (policy(Condition={"StringEquals": "x"}), "StringEquals must be an object"),
        (policy(Condition={"StringEquals": {}}), "StringEquals must be an object"),
        (policy(Condition={"StringEquals": {CN: {}}}), "must be a string or a list"),
        (policy(Condition={"Null": {CN: "maybe"}}), 'must be "true" or "false"'),
        (policy(Condition={"Bool": {CN: "1"}}), 'must be "true" or "false"'),
    ],
)
def test_a_malformed_document_says_where(document: Any, words: str) -> None:
    """Malformed documents raise, with the place and what belongs there."""
    with pytest.raises(PolicyError) as raised:
        allowed(document)
    assert words in str(raised.value)
    assert not isinstance(raised.value, UnsupportedPolicyError)
