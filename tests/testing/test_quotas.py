from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.service.quotas import Quotas, Rate, region_of
from rolesanywhere_auth.testing.service.wire import Refusal, Request

NOW = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_rate_lets_one_second_through_at_once_and_refills():
    """A bucket holds one second's calls, and fills with time to no more than that."""
    clock = Clock()
    rate = Rate(4, clock=clock)

    assert [rate.is_exceeded() for _ in range(6)] == [False] * 4 + [True] * 2
    clock.move(0.5)
    assert [rate.is_exceeded() for _ in range(3)] == [False] * 2 + [True]
    clock.move(3600)
    assert [rate.is_exceeded() for _ in range(5)] == [False] * 4 + [True]


def test_slow_rate_lets_one_through():
    """A rate below one a second lets one through, and the next after its time."""
    clock = Clock()
    rate = Rate(0.1, clock=clock)

    assert [rate.is_exceeded() for _ in range(2)] == [False, True]
    clock.move(9)
    assert rate.is_exceeded()
    clock.move(1)
    assert not rate.is_exceeded()


def test_clock_put_back_neither_gives_nor_takes():
    """A clock that goes back does not lock the service up."""
    clock = Clock()
    rate = Rate(2, clock=clock)
    assert not rate.is_exceeded()
    clock.move(-3600)

    assert [rate.is_exceeded() for _ in range(2)] == [False, True]
    clock.move(0.5)
    assert not rate.is_exceeded()


def test_keys_have_rates_of_their_own():
    """What one key used is not missing to another; clear() forgets both."""
    rate = Rate(1, clock=Clock())

    assert [rate.is_exceeded(key) for key in "aabb"] == [False, True, False, True]
    rate.clear()
    assert not rate.is_exceeded("a")


def get(path: str, region: str = "eu-west-1") -> Request:
    """A request of the control plane."""
    scope = f"AWS4-HMAC-SHA256 Credential=a/20260504/{region}/rolesanywhere/aws4_request, x"
    return Request("GET", path, "", (("Authorization", scope),))


@pytest.mark.conformance("every operation", source="UG/quotas")
@pytest.mark.parametrize(
    "group",
    [
        ("/trustanchors", "/trustanchor/1", "/trustanchor/1/enable"),
        ("/profiles", "/profile/1"),
        ("/subjects", "/subject/1"),
        ("/crls", "/crl/1/disable"),
        ("/TagResource", "/UntagResource", "/ListTagsForResource"),
    ],
)
def test_operations_of_one_group_count_together(group):
    """One call a second for each group of the user guide, in each Region."""
    quotas = Quotas(clock=Clock(), enforced=True)

    quotas.admit(get(group[0]))
    for path in group:
        with pytest.raises(Refusal, match="Rate exceeded"):
            quotas.admit(get(path))
    quotas.admit(get(group[0], region="eu-west-2"))


def test_groups_do_not_disturb_each_other():
    """Each group has a rate of its own."""
    quotas = Quotas(clock=Clock(), enforced=True)

    for path in ("/trustanchors", "/profiles", "/subjects", "/crls", "/TagResource"):
        quotas.admit(get(path))
        with pytest.raises(Refusal):
            quotas.admit(get(path))
    quotas.clear()
    quotas.admit(get("/crls"))


@pytest.mark.conformance(
    "PutAttributeMapping, DeleteAttributeMapping, PutNotificationSettings, "
    "ResetNotificationSettings",
    source="UG/quotas",
)
@pytest.mark.parametrize(
    "path", ["/profiles/1/mappings", "/put-notifications-settings", "/profilesque", "/none"]
)
def test_what_is_in_no_group_has_no_quota(path):
    """Attribute mappings and notification settings are not in the user guide's table."""
    quotas = Quotas(clock=Clock(), enforced=True)

    for _ in range(5):
        quotas.admit(get(path))


def test_quotas_are_off_unless_asked_for(emulator, create_session):
    """Suites are not slowed down."""
    setup = emulator.set_up()

    assert {create_session(setup).status for _ in range(12)} == {201}
    assert [emulator.control_plane().list_crls()["crls"] for _ in range(3)] == [[]] * 3


@pytest.mark.conformance(
    "CreateSession", source="UG/quotas + choice", check="quota", text="Rate exceeded"
)
def test_quotas_are_enforced_when_asked_for(create_session, request_to):
    """Ten sign-ins and one call of a group a second; setting up is not counted."""
    clock = Clock()
    with Emulator(clock=clock, quotas=True) as emulator:
        setup = emulator.set_up()
        emulator.set_up()

        assert [create_session(setup).status for _ in range(11)] == [201] * 10 + [429]
        refused = emulator.events[-1]
        assert (refused.error_code, refused.refused_by.name) == ("ThrottlingException", "quota")
        calls = [request_to(emulator.endpoint_url, "GET", "/crls", {}, b"") for _ in range(2)]
        assert calls[0].status == 200
        assert calls[1].refusal == (429, "ThrottlingException", "Rate exceeded")
        assert emulator.cloudtrail()[-1]["errorCode"] == "ThrottlingException"
        assert json.dumps(emulator.cloudtrail())
        clock.move(1)
        assert request_to(emulator.endpoint_url, "GET", "/crls", {}, b"").status == 200
        emulator.clear()
        assert request_to(emulator.endpoint_url, "GET", "/crls", {}, b"").status == 200


def test_region_is_read_from_the_signature():
    """A request that is not signed has no Region."""
    assert region_of(get("/crls", region="us-gov-west-1")) == "us-gov-west-1"
    assert region_of(Request("GET", "/crls", "", ())) is None
