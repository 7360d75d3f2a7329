"""Certificate policies; the verdicts are compared with ``openssl verify -policy anyPolicy``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest
from chains import Draft, Plan, draft, name
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from rolesanywhere_auth.testing.service import trust
from rolesanywhere_auth.testing.service.wire import Refusal

A, B = (ObjectIdentifier(f"1.3.6.1.4.1.55555.2.{number}") for number in (1, 2))
ANY = x509.CertificatePoliciesOID.ANY_POLICY
MAPPING = x509.UnrecognizedExtension(
    # a SEQUENCE of one mapping, of 1.3.6.1.4.1.55555.2.1 to 1.3.6.1.4.1.55555.2.2
    ObjectIdentifier("2.5.29.33"),
    bytes.fromhex("301a3018060a2b0601040183b2030201060a2b0601040183b2030202"),
)
Extra = dict[str, list[x509.ExtensionType]]


def policies(*identifiers: ObjectIdentifier) -> x509.CertificatePolicies:
    """The extension with these policies."""
    return x509.CertificatePolicies([x509.PolicyInformation(oid, None) for oid in identifiers])


def required(after: int) -> x509.PolicyConstraints:
    """requireExplicitPolicy."""
    return x509.PolicyConstraints(after, None)


CASES: dict[str, tuple[Extra, bool]] = {
    "nothing": ({}, True),
    "policies that differ, none required": ({"1": [policies(A)], "leaf": [policies(B)]}, True),
    "required and had": (
        {"1": [required(0), policies(A)], "2": [policies(A, B)], "leaf": [policies(A)]},
        True,
    ),
    "required and different": (
        {"1": [required(0), policies(A)], "2": [policies(B)], "leaf": [policies(B)]},
        False,
    ),
    "required and the leaf has none": (
        {"1": [required(0), policies(A)], "2": [policies(A)]},
        False,
    ),
    "required below a CA without": (
        {"1": [required(0)], "2": [policies(A)], "leaf": [policies(A)]},
        False,
    ),
    "required from after the leaf on": ({"1": [required(3)]}, True),
    "required at the end": ({"1": [required(2)]}, False),
    "required from the leaf on": ({"1": [required(1)]}, False),
    "required by the lower CA, late": ({"2": [required(1)]}, False),
    "the leaf requires one": ({"leaf": [required(0)]}, False),
    "the leaf requires one of others": ({"leaf": [required(1)]}, True),
    "the nearer requirement holds": (
        {"1": [required(5)], "2": [required(0)]},
        False,
    ),
    "any policy stands for all": (
        {"1": [required(0), policies(ANY)], "2": [policies(A)], "leaf": [policies(A)]},
        True,
    ),
    "any policy below": (
        {"1": [required(0), policies(A)], "2": [policies(ANY)], "leaf": [policies(A)]},
        True,
    ),
    "any policy inhibited": (
        {
            "1": [required(0), policies(A), x509.InhibitAnyPolicy(0)],
            "2": [policies(ANY)],
            "leaf": [policies(A)],
        },
        False,
    ),
    "any policy inhibited from the leaf on": (
        {
            "1": [required(0), policies(A), x509.InhibitAnyPolicy(1)],
            "2": [policies(ANY)],
            "leaf": [policies(A)],
        },
        True,
    ),
    "any policy of the leaf inhibited": (
        {
            "1": [required(0), policies(A), x509.InhibitAnyPolicy(1)],
            "2": [policies(A)],
            "leaf": [policies(ANY)],
        },
        False,
    ),
    "mapped, none required": ({"1": [policies(A), MAPPING], "leaf": [policies(A)]}, True),
}


def below(extra: Extra, *, self_issued: bool = False) -> Draft:
    """A root, the CAs 1 and 2 and a leaf, with extensions."""
    made = draft(Random("policies"), depth=2)
    made.leaf.extensions = []
    if self_issued:
        made.cas[1].subject = made.cas[0].subject
    plans: dict[str, Plan] = {"1": made.cas[0], "2": made.cas[1], "leaf": made.leaf}
    for place, extensions in extra.items():
        plans[place].extensions += [(extension, True) for extension in extensions]
    return made


def ours(made: Draft) -> bool:
    """The verdict of `trust.find_path`."""
    chain = made.build(())
    try:
        trust.find_path(chain.leaf, chain.sent, chain.anchors, at=chain.at)
    except Refusal:
        return False
    return True


def openssls(made: Draft, folder: Path) -> bool:
    """The verdict of ``openssl verify``, told that any policy will do."""
    chain = made.build(())
    for file, items in (("ca", chain.anchors), ("chain", chain.sent), ("leaf", [chain.leaf])):
        (folder / file).write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in items))
    command = ["openssl", "verify", "-attime", str(int(chain.at.timestamp()))]
    command += ["-policy_check", "-policy", "anyPolicy", "-CAfile", "ca", "-untrusted", "chain"]
    done = subprocess.run([*command, "leaf"], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 6.1.2", check="path to the trust anchor"
)
@pytest.mark.parametrize("case", CASES)
def test_verdicts_on_policies_are_openssls(case: str, tmp_path: Path) -> None:
    """We require policies where OpenSSL does, and find them where it does."""
    extra, expected = CASES[case]
    made = below(extra)
    assert (openssls(made, tmp_path), ours(made)) == (expected, expected)


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 6.1.4", check="path to the trust anchor"
)
@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"1": [required(2)]}, True),
        ({"1": [required(1)]}, False),
        (
            {
                "1": [required(0), policies(A), x509.InhibitAnyPolicy(0)],
                "2": [policies(ANY)],
                "leaf": [policies(A)],
            },
            True,
        ),
        (
            {
                "1": [required(0), policies(A), x509.InhibitAnyPolicy(1)],
                "2": [policies(A)],
                "leaf": [policies(ANY)],
            },
            True,
        ),
    ],
)
def test_a_self_issued_ca_does_not_count(extra: Extra, expected: bool, tmp_path: Path) -> None:
    """A CA's new key, certified by its old one, is exempt; OpenSSL agrees."""
    made = below(extra, self_issued=True)
    assert (openssls(made, tmp_path), ours(made)) == (expected, expected)


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 6.1.5", check="path to the trust anchor"
)
@pytest.mark.parametrize(
    "extra",
    [
        {"1": [required(2)]},
        {
            "1": [required(0), policies(A), x509.InhibitAnyPolicy(1)],
            "2": [policies(A)],
            "leaf": [policies(ANY)],
        },
    ],
)
def test_a_self_issued_leaf_counts(extra: Extra) -> None:
    """A leaf with the name of its CA is no CA's new key, so that it is not exempt."""
    found = []
    for made in (below({}), below(extra)):
        made.leaf.subject = made.cas[1].subject
        found.append(ours(made))
    assert found == [True, False]


@pytest.mark.conformance("CreateSession", source="choice", check="path to the trust anchor")
def test_mapped_policies_are_not_followed(tmp_path: Path) -> None:
    """Where a policy is required, a path that maps policies is refused; OpenSSL follows it."""
    extra: Extra = {
        "1": [required(0), policies(A), MAPPING],
        "2": [policies(B)],
        "leaf": [policies(B)],
    }
    made = below(extra)
    assert (openssls(made, tmp_path), ours(made)) == (True, False)

    # Nor where what was mapped is had all the way down.
    made = below({**extra, "2": [policies(A)], "leaf": [policies(A)]})
    assert ours(made) is False


@pytest.mark.conformance(
    "CreateSession", source="RFC 5280, 6.1.1", check="path to the trust anchor"
)
def test_the_anchors_own_policies_do_not_count(tmp_path: Path) -> None:
    """RFC 5280, 6.1.1: an anchor is a name and a key; OpenSSL leaves a root's out as well."""
    made = below({})
    made.anchors[0].extensions += [(required(0), True), (policies(A), True)]
    assert (openssls(made, tmp_path), ours(made)) == (True, True)
    assert made.anchors[0].subject == name("CN=Root,O=Example,C=DE")
