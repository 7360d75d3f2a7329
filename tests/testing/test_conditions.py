"""Conditions of IAM policies: the tables of the IAM User Guide, row by row, and their edges."""

from __future__ import annotations

from typing import Any

import pytest

from rolesanywhere_auth.testing.service.conditions import (
    PolicyError,
    UnsupportedPolicyError,
    read_conditions,
    request_context,
)

MATCH, NO_MATCH = True, False
ROLE = "arn:aws:iam::222222222222"
TOPIC = "arn:aws:sns:us-west-2:123456789012:TOPIC-ID"
LOGS = "arn:aws::cloudfront:123456789012:distribution"
TAG = "aws:PrincipalTag"


def holds(condition: dict[str, Any], context: dict[str, Any]) -> bool:
    """Whether all of *condition* holds, in a policy of Version 2012-10-17."""
    given = request_context(context)
    found = read_conditions(condition, "statement 1", variables=True)
    return all(one.holds(given) for one in found)


JOB = {"StringEquals": {f"{TAG}/job-category": "iamuser-admin"}}
HOME = {"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/"]}}
CREATE_TAGS = {
    "StringEqualsIgnoreCase": {"aws:RequestTag/environment": ["preprod", "storage"]},
    "ForAnyValue:StringEquals": {"aws:TagKeys": "environment"},
}
INSECURE = {"Bool": {"aws:SecureTransport": "false"}}
BINARY = {"BinaryEquals": {"key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}
ADDRESS = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
SOURCE = {"ArnEquals": {"aws:SourceArn": TOPIC}}
DELIVERY = {
    "ForAllValues:ArnLike": {
        "logs:LogGeneratingResourceArns": [f"{LOGS}/*", f"{LOGS}/support*"],
    }
}
INSTANCE = {"StringLikeIfExists": {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}


@pytest.mark.conformance(
    "trust policy: Every condition operator as in the examples of the guide.",
    source="IAM/reference_policies_elements_condition_operators",
)
@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        (JOB, {f"{TAG}/job-category": "iamuser-admin"}, MATCH),
        (JOB, {f"{TAG}/job-category": "dev-ops"}, NO_MATCH),
        (JOB, {}, NO_MATCH),
        (HOME, {"s3:prefix": "home/martha_rivera/", "aws:username": "martha_rivera"}, MATCH),
        (HOME, {"s3:prefix": "home/nikki_wolf/", "aws:username": "nikki_wolf"}, MATCH),
        (HOME, {"s3:prefix": "home/nikki_wolf/", "aws:username": "martha_rivera"}, NO_MATCH),
        (HOME, {"s3:prefix": "home/martha_rivera/"}, NO_MATCH),
        (HOME, {"s3:prefix": ""}, MATCH),
        (
            CREATE_TAGS,
            {"aws:TagKeys": ["environment"], "aws:RequestTag/environment": "preprod"},
            MATCH,
        ),
        (
            CREATE_TAGS,
            {"aws:TagKeys": ["environment", "costcenter"], "aws:RequestTag/environment": "PreProd"},
            MATCH,
        ),
        (
            CREATE_TAGS,
            {"aws:TagKeys": ["Environment"], "aws:RequestTag/Environment": "preprod"},
            NO_MATCH,
        ),
        (
            CREATE_TAGS,
            {"aws:TagKeys": ["costcenter"], "aws:RequestTag/environment": "preprod"},
            NO_MATCH,
        ),
        (CREATE_TAGS, {"aws:RequestTag/environment": "storage"}, NO_MATCH),
        (CREATE_TAGS, {"aws:TagKeys": ["environment"]}, NO_MATCH),
        (CREATE_TAGS, {}, NO_MATCH),
        (INSECURE, {"aws:SecureTransport": "false"}, MATCH),
        (INSECURE, {"aws:SecureTransport": "true"}, NO_MATCH),
        (INSECURE, {}, NO_MATCH),
        (BINARY, {"key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}, MATCH),
        (BINARY, {"key": "ASIAIOSFODNN7EXAMPLE"}, NO_MATCH),
        (BINARY, {}, NO_MATCH),
        (ADDRESS, {"aws:SourceIp": "203.0.113.1"}, MATCH),
        (ADDRESS, {"aws:SourceIp": "198.51.100.1"}, NO_MATCH),
        (SOURCE, {"aws:SourceArn": TOPIC}, MATCH),
        (SOURCE, {"aws:SourceArn": TOPIC.replace("123456789012", "777788889999")}, NO_MATCH),
        (SOURCE, {}, NO_MATCH),
        (DELIVERY, {"logs:LogGeneratingResourceArns": [f"{LOGS}/costcenter"]}, MATCH),
        (
            DELIVERY,
            {"logs:LogGeneratingResourceArns": [f"{LOGS}/costcenter", f"{LOGS}/support2025"]},
            MATCH,
        ),
        (
            DELIVERY,
            {"logs:LogGeneratingResourceArns": ["arn:aws::cloudfront:777788889999:distribution/c"]},
            NO_MATCH,
        ),
        (DELIVERY, {}, MATCH),
        (INSTANCE, {"ec2:InstanceType": "t1.micro"}, MATCH),
        (INSTANCE, {"ec2:InstanceType": "m2.micro"}, NO_MATCH),
        (INSTANCE, {}, MATCH),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "10"}, MATCH),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "11"}, NO_MATCH),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {}, NO_MATCH),
        (
            {"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}},
            {"aws:TokenIssueTime": "2020-01-01T00:00:02Z"},
            MATCH,
        ),
        ({"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}}, {}, NO_MATCH),
        ({"Null": {"aws:TokenIssueTime": "false"}}, {"aws:TokenIssueTime": "2020"}, MATCH),
        ({"Null": {"aws:TokenIssueTime": "false"}}, {}, NO_MATCH),
    ],
)
def test_examples_of_the_operators_page(
    condition: dict[str, Any], context: dict[str, Any], expected: bool
) -> None:
    """IAM User Guide, reference_policies_elements_condition_operators.

    Two of its tables are not here, as they contradict its text: of the one for
    ForAllValues:StringNotLike every row but the second is the opposite of "none of the
    values … can match", and the fourth row for ForAllValues:ArnLike calls ``…/admin`` no
    match for ``…/*``.
    """
    assert holds(condition, context) is expected


DELETE_ALL = {
    "ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]},
    "Null": {"aws:TagKeys": "false"},
}
DELETE_ANY = {"ForAnyValue:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}}


@pytest.mark.conformance(
    "trust policy: Set operators as in the examples of the guide.",
    source="IAM/reference_policies_condition-single-vs-multi-valued-context-keys",
)
@pytest.mark.parametrize(
    ("keys", "all_values", "any_value"),
    [
        (["environment"], MATCH, MATCH),
        (["cost-center"], MATCH, MATCH),
        (["environment", "cost-center"], MATCH, MATCH),
        (["environment", "dept"], NO_MATCH, MATCH),
        (["dept"], NO_MATCH, NO_MATCH),
        ([], NO_MATCH, NO_MATCH),
    ],
)
def test_examples_of_the_page_on_multivalued_keys(
    keys: list[str], all_values: bool, any_value: bool
) -> None:
    """IAM User Guide, reference_policies_condition-single-vs-multi-valued-context-keys."""
    assert holds(DELETE_ALL, {"aws:TagKeys": keys}) is all_values
    assert holds(DELETE_ANY, {"aws:TagKeys": keys}) is any_value


@pytest.mark.conformance(
    "trust policy: Several keys and values as in the examples of the guide.",
    source="IAM/reference_policies_condition-logic-multiple-context-keys-or-values",
)
@pytest.mark.parametrize(
    ("department", "role", "user", "like", "not_like"),
    [
        ("legal", "audit", "Mary", MATCH, NO_MATCH),
        ("legal", "audit", "Nikki", NO_MATCH, MATCH),
        ("hr", "payroll", "Mary", NO_MATCH, NO_MATCH),
        ("hr", "payroll", "Nikki", NO_MATCH, NO_MATCH),
        ("hr", None, "Mary", NO_MATCH, NO_MATCH),
        (None, None, "Nikki", NO_MATCH, NO_MATCH),
    ],
)
def test_examples_of_the_page_on_several_keys_and_values(
    department: str | None, role: str | None, user: str, like: bool, not_like: bool
) -> None:
    """IAM User Guide, reference_policies_condition-logic-multiple-context-keys-or-values."""
    tags = {f"{TAG}/department": department, f"{TAG}/role": role}
    context = {key: value for key, value in tags.items() if value is not None}
    context["aws:PrincipalArn"] = f"{ROLE}:user/{user}"
    wanted = {
        f"{TAG}/department": ["finance", "hr", "legal"],
        f"{TAG}/role": ["audit", "security"],
    }
    users = {"aws:PrincipalArn": [f"{ROLE}:user/Ana", f"{ROLE}:user/Mary"]}
    assert holds({"StringEquals": wanted, "ArnLike": users}, context) is like
    assert holds({"StringEquals": wanted, "ArnNotLike": users}, context) is not_like


OWNER = {"s3:ExistingObjectTag/owner": "${aws:PrincipalTag/owner}"}


@pytest.mark.conformance(
    "trust policy: Policy variables without a value as in the guide.",
    source="IAM/reference_policies_variables",
)
@pytest.mark.parametrize(
    ("operator", "context", "expected"),
    [
        ("StringEquals", {"s3:ExistingObjectTag/owner": "a", f"{TAG}/owner": "a"}, MATCH),
        ("StringEquals", {"s3:ExistingObjectTag/owner": "a", f"{TAG}/owner": "b"}, NO_MATCH),
        ("StringEquals", {"s3:ExistingObjectTag/owner": "a"}, NO_MATCH),
        ("StringEquals", {f"{TAG}/owner": "a"}, NO_MATCH),
        ("StringEquals", {}, NO_MATCH),
        ("StringLike", {"s3:ExistingObjectTag/owner": "a", f"{TAG}/owner": "a"}, MATCH),
        ("StringLike", {"s3:ExistingObjectTag/owner": "a"}, NO_MATCH),
        ("StringLike", {"s3:ExistingObjectTag/owner": "ab", f"{TAG}/owner": "a*"}, NO_MATCH),
        ("StringNotEquals", {"s3:ExistingObjectTag/owner": "a", f"{TAG}/owner": "a"}, NO_MATCH),
        ("StringNotEquals", {"s3:ExistingObjectTag/owner": "a"}, MATCH),
        ("StringNotLike", {"s3:ExistingObjectTag/owner": "a"}, MATCH),
        ("StringNotEquals", {}, MATCH),
    ],
)
def test_variables_and_absent_values(
    operator: str, context: dict[str, Any], expected: bool
) -> None:
    """IAM User Guide, reference_policies_variables: "Policy variables with no value"."""
    assert holds({operator: OWNER}, context) is expected


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("StringEquals", "a${*}${?}${$}", "a*?$", MATCH),
        ("StringLike", "a${*}*", "a*b", MATCH),
        ("StringLike", "a${*}*", "ab", NO_MATCH),
        ("StringEquals", "${none, 'x y'}", "x y", MATCH),
        ("StringEquals", "${none, ''}", "", MATCH),
        ("StringEquals", "${ADDRESSEE, 'x'}", "world", MATCH),
        ("StringEquals", "hello ${addressee}, ${addressee}", "hello world, world", MATCH),
        ("StringEqualsIgnoreCase", "${addressee}", "WORLD", MATCH),
        ("StringEquals", "$addressee", "$addressee", MATCH),
        ("ArnLike", "arn:aws:s3:::b/${addressee}/*", "arn:aws:s3:::b/world/x", MATCH),
        ("ArnEquals", "${arn}", "arn:aws:s3:::b", MATCH),
        ("ArnEquals", "${arn}/*", "arn:aws:s3:::b/x:y", MATCH),
        ("ArnEquals", "${addressee}", "arn:aws:s3:::b", NO_MATCH),
        ("ArnNotEquals", "${none}", "arn:aws:s3:::b", MATCH),
        ("Bool", "${flag}", "true", MATCH),
        ("Bool", "${flag}", "false", NO_MATCH),
    ],
)
def test_variables(operator: str, wanted: str, value: str, expected: bool) -> None:
    """Variables, their defaults and the three letters, in text, ARN and Bool operators."""
    context = {"k": value, "addressee": "world", "arn": "arn:aws:s3:::b", "flag": "True"}
    assert holds({operator: {"k": wanted}}, context) is expected


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("NumericEquals", "10", "10.0", MATCH),
        ("NumericEquals", ["1", "-2"], "-2", MATCH),
        ("NumericEquals", 10, "+10", MATCH),
        ("NumericEquals", "10", "ten", NO_MATCH),
        ("NumericNotEquals", "10", "ten", MATCH),
        ("NumericNotEquals", ["10", "11"], "11", NO_MATCH),
        ("NumericNotEquals", "10", "9.99", MATCH),
        ("NumericLessThan", "10", "9.99", MATCH),
        ("NumericLessThan", "10", "10", NO_MATCH),
        ("NumericLessThanEquals", "10", "10", MATCH),
        ("NumericGreaterThan", "10", "10", NO_MATCH),
        ("NumericGreaterThan", "10", "11", MATCH),
        ("NumericGreaterThanEquals", "10", "10", MATCH),
        ("NumericGreaterThanEquals", "10", "9", NO_MATCH),
        ("NumericEquals", "10", "\u0661\u0660", NO_MATCH),
        ("DateEquals", "2024", "2024-01-01T00:00:00Z", MATCH),
        ("DateEquals", "2024-03", "2024-03-01", MATCH),
        ("DateEquals", "2024-03-01", "2024-03-01T00:00Z", MATCH),
        ("DateEquals", "2024-03-01T01:00+01:00", "2024-03-01T00:00Z", MATCH),
        ("DateEquals", "2024-02-29T22:30-01:30", "2024-03-01", MATCH),
        ("DateEquals", "2024-03-01T00:00:00.5Z", "2024-03-01T00:00:00.500Z", MATCH),
        ("DateEquals", "1709251200", "2024-03-01", MATCH),
        ("DateEquals", "1709251200.0", "2024-03-01", MATCH),
        ("DateEquals", "2024-03-01", "soon", NO_MATCH),
        ("DateNotEquals", "2024-03-01", "2024-03-01", NO_MATCH),
        ("DateNotEquals", "2024-03-01", "soon", MATCH),
        ("DateLessThan", "2024-03-01", "2024-02-29", MATCH),
        ("DateLessThan", "2024-03-01", "2024-03-01", NO_MATCH),
        ("DateLessThanEquals", "2024-03-01", "2024-03-01", MATCH),
        ("DateGreaterThan", "2024-03-01", "2024-03-01T00:00:01Z", MATCH),
        ("DateGreaterThanEquals", "2024-03-01", "2024-03-01", MATCH),
        ("DateGreaterThanEquals", "2024-03-01", "1709251199", NO_MATCH),
        ("IpAddress", "10.0.0.1", "10.0.0.1", MATCH),
        ("IpAddress", "10.0.0.1", "10.0.0.2", NO_MATCH),
        ("IpAddress", "10.0.0.7/24", "10.0.0.1", MATCH),
        ("IpAddress", "0.0.0.0/0", "203.0.113.9", MATCH),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", NO_MATCH),
        (
            "IpAddress",
            ["203.0.113.0/24", "2001:DB8:1234:5678::/64"],
            "2001:db8:1234:5678::1",
            MATCH,
        ),
        ("IpAddress", "2001:db8::1", "2001:DB8:0::1", MATCH),
        ("IpAddress", "10.0.0.0/8", "localhost", NO_MATCH),
        ("NotIpAddress", "10.0.0.0/8", "10.1.1.1", NO_MATCH),
        ("NotIpAddress", ["10.0.0.0/8", "192.0.2.0/24"], "10.1.1.1", NO_MATCH),
        ("NotIpAddress", ["10.0.0.0/8", "192.0.2.0/24"], "203.0.113.1", MATCH),
        ("NotIpAddress", "10.0.0.1", "2001:db8::1", MATCH),
        ("NotIpAddress", "10.0.0.0/8", "localhost", MATCH),
        ("BinaryEquals", ["AAAA", "cmVk"], "cmVk", MATCH),
        ("BinaryEquals", "cmVk", "cm!Vk", NO_MATCH),
        ("Bool", "TRUE", "true", MATCH),
        ("Bool", ["true", "false"], "perhaps", NO_MATCH),
        ("Null", ["true", "false"], "x", MATCH),
    ],
)
def test_typed_operators(operator: str, wanted: Any, value: str, expected: bool) -> None:
    """Numbers, dates, addresses and bytes are compared as such; what is none is unequal."""
    assert holds({operator: {"k": wanted}}, {"k": value}) is expected


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], MATCH),
        ("ForAllValues:StringEquals", ["a", "c"], NO_MATCH),
        ("ForAllValues:StringEquals", [], MATCH),
        ("ForAllValues:StringEquals", [""], MATCH),
        ("ForAllValues:StringEquals", ["", ""], NO_MATCH),
        ("ForAllValues:StringNotEquals", ["c", "d"], MATCH),
        ("ForAllValues:StringNotEquals", ["a", "c"], NO_MATCH),
        ("ForAllValues:StringNotEquals", [], MATCH),
        ("ForAnyValue:StringEquals", ["a", "c"], MATCH),
        ("ForAnyValue:StringEquals", ["c", "d"], NO_MATCH),
        ("ForAnyValue:StringEquals", [], NO_MATCH),
        ("ForAnyValue:StringNotEquals", ["a", "c"], MATCH),
        ("ForAnyValue:StringNotEquals", ["a", "b"], NO_MATCH),
        ("ForAnyValue:StringNotEquals", [], NO_MATCH),
        ("ForAllValues:StringEqualsIfExists", [], MATCH),
        ("ForAllValues:StringEqualsIfExists", ["c"], NO_MATCH),
        ("ForAnyValue:StringEqualsIfExists", [], MATCH),
        ("ForAnyValue:StringEqualsIfExists", ["c"], NO_MATCH),
        ("ForAnyValue:StringNotLikeIfExists", ["a"], NO_MATCH),
        ("StringEquals", ["a"], MATCH),
        ("StringEqualsIfExists", [], MATCH),
    ],
)
def test_set_operators(operator: str, values: list[str], expected: bool) -> None:
    """Every value, or one of them, of the request; absent keys as the guide has them."""
    assert holds({operator: {"k": ["a", "b"]}}, {"k": values}) is expected


@pytest.mark.conformance(
    "trust policy", source="IAM/reference_policies_elements_condition_operators"
)
@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        ("StringEquals", "a"),
        ("StringEqualsIgnoreCase", "a"),
        ("StringLike", "a"),
        ("NumericEquals", "1"),
        ("NumericLessThan", "1"),
        ("NumericLessThanEquals", "1"),
        ("NumericGreaterThan", "1"),
        ("NumericGreaterThanEquals", "1"),
        ("DateEquals", "2024"),
        ("DateLessThan", "2024"),
        ("DateLessThanEquals", "2024"),
        ("DateGreaterThan", "2024"),
        ("DateGreaterThanEquals", "2024"),
        ("Bool", "true"),
        ("BinaryEquals", "AAAA"),
        ("IpAddress", "10.0.0.0/8"),
        ("ArnEquals", "arn:aws:a:b:c:d"),
        ("ArnLike", "arn:aws:a:b:c:d"),
    ],
)
def test_absent_keys_of_every_operator(operator: str, wanted: str) -> None:
    """An absent key fails each operator and passes its negation and its IfExists."""
    assert not holds({operator: {"k": wanted}}, {})
    assert holds({operator + "IfExists": {"k": wanted}}, {})
    for kind in ("String", "Numeric", "Date", "Arn"):
        negated = operator.replace(kind, kind + "Not")
        if operator.startswith(kind) and "Than" not in operator:
            assert holds({negated: {"k": wanted}}, {})
            assert holds({negated + "IfExists": {"k": wanted}}, {})
    assert holds({"NotIpAddress": {"k": "10.0.0.0/8"}}, {})


def test_arn_parts_are_counted_unless_a_variable_may_bring_them() -> None:
    """A pattern that can be no ARN is refused by name."""
    with pytest.raises(UnsupportedPolicyError, match=r"ArnLike k: '\*' has not the six parts"):
        holds({"ArnLike": {"k": "*"}}, {"k": "arn:aws:a:b:c:d"})
    assert not holds({"ArnLike": {"k": "${x}"}}, {"k": "arn:aws:a:b:c:d"})
    assert not holds({"ArnLike": {"k": "arn:*:*:*:*:*"}}, {"k": "no ARN"})


def test_several_values_are_no_variable() -> None:
    """A variable that names a key with several values in the request is refused."""
    context = {"k": "a", "aws:TagKeys": ["a", "b"]}
    with pytest.raises(UnsupportedPolicyError, match=r"StringLike k: .{aws:tagkeys. has several"):
        holds({"StringLike": {"k": "${aws:TagKeys}"}}, context)
    assert holds({"StringLike": {"k": "${aws:TagKeys}"}}, {**context, "aws:TagKeys": ["a"]})


@pytest.mark.parametrize("wanted", ["", "${}", "${a${b}}", "${a", "${'x'}", "${a, x}", "${a 'x'}"])
def test_malformed_variables(wanted: str) -> None:
    """What begins like a variable must be one."""
    if wanted:
        with pytest.raises(PolicyError, match="begins no policy variable"):
            holds({"StringEquals": {"k": f"x{wanted}"}}, {})
    else:
        assert holds({"StringEquals": {"k": wanted}}, {"k": ""})
