from __future__ import annotations

from datetime import datetime, timezone

import pytest

from rolesanywhere_auth.testing.service.state import IssuedSession, State, camel, partition_of


@pytest.mark.conformance("every operation", source="model")
@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_partition_is_botocores(region, partition):
    """The partition of a Region is the one that botocore knows."""
    import botocore.session
    from botocore.exceptions import UnknownRegionError

    assert partition_of(region) == partition
    try:
        theirs = botocore.session.get_session().get_partition_for_region(region)
    except UnknownRegionError:
        assert region.startswith("eusc-")  # younger than the oldest botocore
    else:
        assert theirs == partition


def test_wire_names_are_camel_case():
    """Names of members are written as the model writes them."""
    assert camel("crl_dp_revocation_enabled") == "crlDpRevocationEnabled"
    assert camel("name") == "name"


def test_shelves_are_apart_and_forgotten_together():
    """Each account and Region has its own shelf; clear() empties all."""
    state = State()
    shelf = state.shelf("111122223333", "eu-west-1")

    assert state.shelf("111122223333", "eu-west-1") is shelf
    assert state.shelf("111122223333", "eu-west-2") is not shelf
    state.clear()
    assert state.shelf("111122223333", "eu-west-1") is not shelf


def test_old_sessions_are_let_go():
    """An emulator that runs for long keeps the last 10,000 sessions, as it does events."""
    state = State()
    moment = datetime(2026, 5, 4, tzinfo=timezone.utc)
    for number in range(10_002):
        session = IssuedSession(str(number), "arn", "arn", "CN=app", {}, expiration=moment)
        state.sessions.append(session)

    kept = [session.access_key_id for session in state.sessions]
    assert (kept[0], kept[-1], len(kept)) == ("2", "10001", 10_000)
