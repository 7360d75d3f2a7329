"""Metrics and notices, against the values of AWS's user guide.

Trust anchor, leaf and intermediate ends are set by the clock, which the tests move.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
from cryptography import x509

from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.service.metrics import NAMESPACE, Metric, serial_text

START = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[Emulator, Clock]]:
    clock = Clock()
    with Emulator(clock=clock) as emulator:
        yield emulator, clock


@pytest.fixture
def clock(_running) -> Clock:
    """The clock of `emulator`, at its start."""
    _running[1].now = START
    return _running[1]


@pytest.fixture
def emulator(_running, clock) -> Iterator[Emulator]:
    """An empty emulator."""
    yield _running[0]
    _running[0].clear()


def settings(emulator: Emulator, setup, **changes) -> None:
    """Change the notification settings of the set-up's trust anchor."""
    emulator.control_plane().put_notification_settings(
        trustAnchorId=setup.trust_anchor_arn.rpartition("/")[2], notificationSettings=[changes]
    )


def before_end(certificate: x509.Certificate, days: int) -> datetime:
    """Noon, *days* before the day on which *certificate* ends."""
    day = certificate.not_valid_after_utc.replace(hour=12, minute=0, second=0)
    return day - timedelta(days=days)


# Counters


@pytest.mark.conformance("CloudWatch", source="UG/monitoring-cloudwatch + choice")
def test_calls_are_counted_with_their_dimensions(emulator, create_session):
    """Each CreateSession counts once, as a success of its trust anchor or a kind of failure."""
    setup, other = emulator.set_up(), emulator.set_up()
    for _ in range(2):
        create_session(setup)
    create_session(other)
    create_session(setup, tamper=True)
    create_session(setup, parameters={"roleArn": None})

    metrics = emulator.metrics
    anchor = {"TrustAnchorArn": setup.trust_anchor_arn}
    assert metrics.sum("Success") == 3
    assert metrics.sum("Success", dimensions=anchor) == 2
    assert metrics.sum("Failure") == 2
    assert metrics.sum("Failure", dimensions={"ErrorType": "AccessDeniedException"}) == 1
    assert metrics.sum("Failure", dimensions={"ErrorType": "ValidationException"}) == 1
    assert metrics.sum("Failure", dimensions=anchor) == 0
    assert repr(metrics) == "<AWS/RolesAnywhere: 3 Success, 2 Failure>"
    assert metrics.data()[0] == Metric(
        "Success", {"Operation": "CreateSession", **anchor}, 1, START
    )
    emulator.clear()
    assert metrics.data() == []


@pytest.mark.conformance("CloudWatch", source="UG/monitoring-cloudwatch")
def test_data_are_what_cloudwatch_takes(emulator, clock, create_session):
    """boto3's CloudWatch client accepts the data as they are."""
    setup = emulator.set_up()
    create_session(setup)
    create_session(setup, tamper=True)
    clock.now = before_end(setup.authority.certificate, 10)

    data = [metric.datum() for metric in emulator.metrics.data()]

    client = boto3.client(
        "cloudwatch",
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(),
    )
    shape = client.meta.service_model.operation_model("PutMetricData").input_shape
    report = ParamValidator().validate({"Namespace": NAMESPACE, "MetricData": data}, shape)
    assert not report.has_errors(), report.generate_report()
    names = client.meta.service_model.shape_for("StandardUnit").enum
    assert {datum["Unit"] for datum in data} <= set(names)
    assert [datum["MetricName"] for datum in data] == ["Success", "Failure", "DaysToExpiry"]


def test_unknown_counter_is_an_error(emulator):
    """A misspelt name is not an empty metric."""
    with pytest.raises(ValueError, match="not 'Sucess'"):
        emulator.metrics.sum("Sucess")


@pytest.mark.conformance("CloudWatch", source="UG/customize-notification-settings")
@pytest.mark.parametrize(("days", "published"), [(46, None), (45, 45), (1, 1), (0, 0), (-1, None)])
def test_days_to_expiry_from_threshold_to_the_day(emulator, clock, days, published):
    """Published from 45 days before the end until the day of the end."""
    setup = emulator.set_up()
    clock.now = before_end(setup.authority.certificate, days)

    assert emulator.metrics.days_to_expiry(setup.trust_anchor_arn) == published


@pytest.mark.conformance(
    "CloudWatch, PutNotificationSettings", source="UG/customize-notification-settings"
)
def test_days_to_expiry_follow_the_settings(emulator, clock):
    """A custom threshold counts, and a disabled notification publishes nothing."""
    setup = emulator.set_up()
    clock.now = before_end(setup.authority.certificate, 60)
    settings(emulator, setup, event="CA_CERTIFICATE_EXPIRY", enabled=True, threshold=60)
    assert emulator.metrics.days_to_expiry(setup.trust_anchor_arn) == 60

    settings(emulator, setup, event="CA_CERTIFICATE_EXPIRY", enabled=False, threshold=60)

    assert emulator.metrics.days_to_expiry(setup.trust_anchor_arn) is None


# Notices


@pytest.mark.conformance(
    "EventBridge", source="UG/monitoring-events + UG/customize-notification-settings"
)
def test_ca_is_announced_daily_until_14_days_after_its_end(emulator, clock):
    """One notice a day from the threshold on, as in the user guide's example."""
    setup = emulator.set_up()
    ca = setup.authority.certificate
    clock.now = before_end(ca, 46)
    assert emulator.notices == []
    clock.now = before_end(ca, 45)
    (notice,) = emulator.notices

    assert emulator.notices == [notice]
    assert notice == {
        "version": "0",
        "id": notice["id"],
        "detail-type": "Roles Anywhere Certificate Expiration State Change",
        "source": "aws.rolesanywhere",
        "account": "111122223333",
        "time": f"{clock.now:%Y-%m-%dT%H:%M:%SZ}",
        "region": "eu-west-1",
        "resources": [setup.trust_anchor_arn],
        "detail": {
            "certificate-serial-number": serial_text(ca),
            "days-to-expiry": 45,
            "issuer": ca.issuer.rfc4514_string(),
        },
    }
    for days in (44, 0, -14, -15):
        clock.now = before_end(ca, days)
        assert emulator.notices
    shown = [notice["detail"]["days-to-expiry"] for notice in emulator.notices]
    assert shown == [45, 44, 0, -14]
    assert len({notice["id"] for notice in emulator.notices}) == 4
    assert json.dumps(emulator.notices)


@pytest.mark.conformance("EventBridge", source="choice")
def test_disabled_trust_anchor_is_announced(emulator, clock):
    """A trust anchor that is disabled has an end all the same."""
    setup = emulator.set_up()
    identifier = setup.trust_anchor_arn.rpartition("/")[2]
    emulator.control_plane().disable_trust_anchor(trustAnchorId=identifier)
    clock.now = before_end(setup.authority.certificate, 3)

    assert [notice["resources"] for notice in emulator.notices] == [[setup.trust_anchor_arn]]


@pytest.mark.conformance("EventBridge", source="UG/monitoring-events + choice")
def test_leaf_and_intermediate_are_announced_when_used(emulator, clock, create_session):
    """A sign-in announces what ends soon on the way to the anchor, once a day."""
    root = CertificateAuthority(now=clock)
    issuer = root.intermediate(not_valid_after=clock() + timedelta(days=200))
    setup = emulator.set_up(authority=issuer, anchor=root)
    leaf = issuer.issue("soon", not_valid_after=clock() + timedelta(days=40))
    create_session(setup)
    assert emulator.notices == []

    for _ in range(2):
        create_session(setup, leaf=leaf)

    (notice,) = emulator.notices
    assert "resources" not in notice
    assert notice["detail"] == {
        "certificate-serial-number": serial_text(leaf.certificate),
        "days-to-expiry": 40,
        "issuer": issuer.certificate.subject.rfc4514_string(),
    }
    clock.now = before_end(issuer.certificate, 45)
    late = issuer.issue("late", not_valid_after=clock() + timedelta(days=20))
    create_session(setup, leaf=late, at=clock.now)
    serials = [item["detail"]["certificate-serial-number"] for item in emulator.notices]
    assert serials[1:] == [serial_text(late.certificate), serial_text(issuer.certificate)]


def test_refused_leaf_is_not_announced(emulator, clock, create_session):
    """Only certificates that vended a session are announced."""
    setup = emulator.set_up()
    leaf = setup.authority.issue("soon", not_valid_after=START + timedelta(days=40))

    assert create_session(setup, leaf=leaf, tamper=True).status == 403

    assert emulator.notices == []


@pytest.mark.conformance(
    "EventBridge, PutNotificationSettings", source="UG/customize-notification-settings"
)
def test_disabled_leaf_notice_is_not_sent(emulator, create_session):
    """The notification settings of the trust anchor decide for leaves as well."""
    setup = emulator.set_up()
    leaf = setup.authority.issue("soon", not_valid_after=START + timedelta(days=40))
    settings(emulator, setup, event="END_ENTITY_CERTIFICATE_EXPIRY", enabled=False)

    create_session(setup, leaf=leaf)

    assert emulator.notices == []


@pytest.mark.conformance("EventBridge", source="UG/monitoring-events")
@pytest.mark.parametrize(
    ("serial_number", "text"),
    [(0x936EACBE07F201DF, "00936EACBE07F201DF"), (0x7F, "7F"), (0x80, "0080"), (1, "01")],
)
def test_serial_number_is_written_as_in_the_guide(serial_number, text):
    """Upper-case hexadecimal of the DER bytes: a leading zero where the first bit is set."""
    leaf = CertificateAuthority().issue("app", serial_number=serial_number)

    assert serial_text(leaf.certificate) == text
