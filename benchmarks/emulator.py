"""The emulator: sign-ins per second through each front, and how long its fixture takes to start."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from benchmarks.stage import Stage
from benchmarks.table import Budget, budget, measure, section

FRONTS = (
    "the core, called directly",
    "HTTP, one connection",
    "HTTPS, one connection",
    "HTTPS, a new connection each",
    "moto in process",
    "moto server",
)
SIGN_INS = 200
_RATE = "from benchmarks.emulator_front import rate; rate({front!r}, count={count})"
# A suite that uses the fixture has imported pytest, and boto3 for the code under test.
_START = """
import boto3, pytest, time
begin = time.perf_counter_ns()
from rolesanywhere_auth.testing import Emulator
{warm_up}
again = time.perf_counter_ns() if {warm!r} else begin
with Emulator(aws={aws}):
    print((time.perf_counter_ns() - again) / 1e6)
"""
_WARM_UP = "with Emulator(aws={aws}): pass"
STARTS = {
    "the fixture": {"aws": False, "warm": False},
    "the fixture with aws=True": {"aws": True, "warm": False},
    "a second Emulator()": {"aws": False, "warm": True},
    "a second Emulator(aws=True)": {"aws": True, "warm": True},
}


def _rate(found: Stage, front: str) -> float:
    """Sign-ins per second of processor time."""
    return float(found.run(_RATE.format(front=front, count=SIGN_INS))[0])


def _start(found: Stage, *, aws: bool, warm: bool) -> float:
    """Milliseconds, with the imports unless it is *warm*."""
    warm_up = _WARM_UP.format(aws=aws) if warm else ""
    return float(found.run(_START.format(aws=aws, warm=warm, warm_up=warm_up))[0])


def emulators(found: Stage, *, rounds: int) -> list[Budget]:
    """Print rates and start times; the budget on the fixture without moto."""
    if not (find_spec("moto") and find_spec("pytest")):
        print("\nemulator: not here: pip install 'rolesanywhere-auth[testing]' pytest")
        return []
    rates = measure({front: partial(_rate, found, front) for front in FRONTS}, rounds=rounds)
    print(section("Sign-ins per second of one core, ec-p256", rates, unit="/s"))
    starts = measure(
        {name: partial(_start, found, **options) for name, options in STARTS.items()},
        rounds=rounds,
    )
    print(section("Start of the emulator", starts, unit="ms"))
    return [budget("start of the emulator's fixture", starts["the fixture"], 150, unit="ms")]
