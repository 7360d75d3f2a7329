from __future__ import annotations

import http.client
import json
import ssl
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.service.audit import Check, Checks, Event, reason_of
from rolesanywhere_auth.testing.service.wire import Reason, access_denied

ALL_CHECKS = [
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
    assert [check.name for check in event.checks] == ALL_CHECKS[:6]
    assert [check.passed for check in event.checks] == [True] * 5 + [False]
    assert event.refused_by == Check(
        "path to the trust anchor",
        False,
        "Untrusted signing certificate: no way up to an anchor: the issuer is CN=Stranger, "
        "and the chain that was sent has 0 certificates",
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
        ("parameters", False)
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
