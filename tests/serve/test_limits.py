"""How often a peer may be refused."""

from __future__ import annotations

from rolesanywhere_auth.serve.limits import RateLimit


def test_a_burst_then_the_rate() -> None:
    """Three at once, then one every half second; waiting fills the bucket, and no more."""
    clock = [0.0]
    limit = RateLimit(rate=2, burst=3, steady=lambda: clock[0])

    assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
    clock[0] = 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    clock[0] = 1000
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_peers_are_told_apart() -> None:
    """What one does is not counted against another."""
    limit = RateLimit(rate=1, burst=1, steady=lambda: 0.0)

    assert limit.allows("a")
    assert limit.allows("b")
    assert not limit.allows("a")


def test_memory_is_bounded() -> None:
    """Of many peers, the one that was not seen for longest is forgotten."""
    limit = RateLimit(rate=1, burst=1, steady=lambda: 0.0, peers=2)
    for peer in ("a", "b", "a", "c"):  # b goes
        limit.allows(peer)

    assert not limit.allows("a")
    assert limit.allows("b")
