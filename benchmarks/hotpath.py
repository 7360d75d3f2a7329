"""What every signed AWS request pays: ``get_frozen_credentials()`` while nothing is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from timeit import Timer
from typing import Any

from botocore.credentials import Credentials, RefreshableCredentials
from iam_rolesanywhere_session import IAMRolesAnywhereSession

from benchmarks.stage import Stage
from benchmarks.table import OURS, PEER, Budget, budget, measure, ratios, section
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials

PLAIN = "botocore Credentials (static)"


def _nanoseconds(credentials: Any, number: int) -> float:
    timer = Timer("c.get_frozen_credentials()", globals={"c": credentials})
    return timer.timeit(number) / number * 1e9


def hot_path(found: Stage, *, rounds: int, number: int = 5_000) -> list[Budget]:
    """Print nanoseconds per call; the budget against plain static credentials."""
    ours = RolesAnywhereCredentials(RolesAnywhereConfig(**found.config_arguments("ec-p256")))
    peer = IAMRolesAnywhereSession(**found.peer_arguments("ec-p256"))
    stock = RefreshableCredentials(
        "AKIAIOSFODNN7EXAMPLE",
        "secret",
        "token",
        datetime.now(timezone.utc) + timedelta(hours=1),
        dict,
        "custom",
    )
    things: dict[str, Any] = {
        OURS: ours,
        PLAIN: Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token"),
        "botocore RefreshableCredentials": stock,
        PEER: peer.get_refreshable_credentials(),
    }
    contenders: dict[str, Callable[[], float]] = {
        name: partial(_nanoseconds, thing, number) for name, thing in things.items()
    }
    samples = measure(contenders, rounds=rounds)
    print(section("One get_frozen_credentials()", samples, unit="ns", base=PLAIN))
    return [budget("hot path / plain static Credentials", ratios(samples, OURS, PLAIN), 0.5)]
