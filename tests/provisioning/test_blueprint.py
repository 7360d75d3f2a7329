"""`Blueprint`: what cannot work is refused before any call."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rolesanywhere_auth import ARNError, ConfigurationError
from rolesanywhere_auth.provisioning import Blueprint
from rolesanywhere_auth.provisioning.blueprint import read_policy, trust_policy
from rolesanywhere_auth.provisioning.inventory import normal
from rolesanywhere_auth.provisioning.plan import Document, Later, filled

ANCHOR = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/x"
PCA = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/x"
ROLE = "arn:aws:iam::111122223333:role/app"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": "a b"}, "the name 'a b' must be"),
        ({"name": "x" * 65}, "must be 1 to 64"),
        ({"ca_bundle": None}, "give one of ca_bundle, acm_pca_arn and trust_anchor_arn"),
        ({"trust_anchor_arn": ANCHOR}, "give one of"),
        ({"ca_bundle": None, "acm_pca_arn": "arn:x"}, "no ARN of a private CA"),
        ({"role_name": "a/b"}, "the role name 'a/b'"),
        ({"role_arn": ROLE, "role_name": "b"}, "role_arn is never changed"),
        ({"role_arn": ROLE, "policy_arns": ["arn:aws:iam::aws:policy/A"]}, "is never changed"),
        ({"role_arn": ROLE, "require": {"x509Subject/CN": "a"}}, "is never changed"),
        ({"session_duration": 60}, "session_duration must be 900"),
        ({"require": {"CN": "a"}}, "'CN' is no attribute of a certificate"),
        ({"require": {"x509Subject/CN": ""}}, "not empty"),
        ({"require": {"x509Subject/CN": []}}, "not empty"),
        ({"policy_arns": ["ReadOnlyAccess"]}, "no ARN of a managed policy"),
        ({"session_policy_arns": [ROLE]}, "no ARN of a managed policy"),
    ],
)
def test_what_cannot_work(members, message):
    """Each fault is named with what is expected."""
    with pytest.raises(ConfigurationError, match=message):
        Blueprint(**{"name": "app", "ca_bundle": b"x"} | members)


@pytest.mark.parametrize("member", ["trust_anchor_arn", "role_arn"])
def test_malformed_arns(member):
    """ARNs of the wrong kind are refused."""
    members = {"trust_anchor_arn": ANCHOR} | {member: "arn:aws:s3:::b"}
    with pytest.raises(ARNError, match=r"six parts|service 's3'|in the"):
        Blueprint(name="app", **members)


def test_what_works():
    """A private CA, a duration as timedelta, and names with all that is allowed."""
    blueprint = Blueprint(
        name="Team_a-1",
        acm_pca_arn=PCA,
        session_duration=timedelta(minutes=15),
        policy_arns=["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        require={"x509SAN/Name/OU": "a", "x509Issuer/2.5.4.5": ["b", "c"], "x509SAN/URI": "s://*"},
    )
    conditions = trust_policy(blueprint, account_id="1", anchor=Later("a"))["Statement"][0]

    assert blueprint.seconds == 900
    assert conditions["Condition"] == {
        "ArnEquals": {"aws:SourceArn": Later("a")},
        "StringEquals": {
            "aws:SourceAccount": "1",
            "aws:PrincipalTag/x509SAN/Name/OU": "a",
            "aws:PrincipalTag/x509Issuer/2.5.4.5": ["b", "c"],
        },
        "StringLike": {"aws:PrincipalTag/x509SAN/URI": "s://*"},
    }


def test_policies_are_read():
    """What is no JSON, or no policy, is refused by the name of its file."""
    assert read_policy('{"Statement": []}', source="p.json") == {"Statement": []}
    with pytest.raises(ConfigurationError, match=r"p\.json is no JSON"):
        read_policy("{", source="p.json")
    for text in ("[]", "{}"):
        with pytest.raises(ConfigurationError, match=r"p\.json is no policy"):
            read_policy(text, source="p.json")


def test_policies_that_mean_the_same_are_equal():
    """Order and lists of one make no difference; what is said does."""
    one = {"Action": ["b", "a"], "Resource": ["*"], "Condition": {"Bool": {"x": True}}}
    two = {"Condition": {"Bool": {"x": True}}, "Resource": "*", "Action": ["a", "b"]}

    assert normal(one) == normal(two)
    assert normal(one) != normal({**two, "Action": ["a"]})


def test_later_values_are_filled_in():
    """What an earlier step brought takes its place, in lists and documents too."""
    value = {"a": [Later("x")], "b": Document({"c": Later("x")}), "d": 1}

    assert filled(value, {"x": "arn"}) == {"a": ["arn"], "b": '{"c": "arn"}', "d": 1}
