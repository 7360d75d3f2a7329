"""The command: its start-up, and a renewal by it against one within the process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from functools import partial

from benchmarks.instructions import can_count, instructions
from benchmarks.stage import Stage
from benchmarks.table import Budget, Samples, budget, measure, ratios, section

BARE = "import ssl, http.client, cryptography"
USED = "the same, with cryptography's X.509, EC and RSA"
READY = "credential-process, until the request is signed"
WHOLE = "credential-process, to its end"
BOTOCORE = "the same by botocore's HTTP client"
INSIDE = "in the process"
CHILD = "credential_process as a child"

_USED = """
import ssl, http.client
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
"""
_COMMAND = "import sys\nfrom rolesanywhere_auth.cli import main\nsys.exit(main({arguments!r}))\n"
_READY = """
import os
from rolesanywhere_auth import _direct
_direct.Line.send = lambda self, request: os._exit(0)
"""
_LONG_WAY = """
from rolesanywhere_auth import _direct
_direct.is_simple = lambda config, environ: False
"""


def command(found: Stage) -> list[str]:
    """The arguments of a sign-in."""
    given = found.config_arguments("ec-p256")
    return [
        "credential-process",
        *(f"--{name.replace('_', '-')}={given[name]}" for name in
          ("trust_anchor_arn", "profile_arn", "role_arn", "certificate", "private_key")),
        f"--endpoint={given['endpoint_url']}",
    ]  # fmt: skip


def programs(found: Stage) -> dict[str, str]:
    """One program per contender; the command's as its console script runs it."""
    whole = _COMMAND.format(arguments=command(found))
    return {
        BARE: BARE,
        USED: _USED,
        READY: _READY + whole,
        WHOLE: whole,
        BOTOCORE: _LONG_WAY + whole,
    }


def _processor_time(found: Stage, source: str, env: Mapping[str, str]) -> float:
    """Milliseconds of the processor that a new interpreter takes for *source*."""
    before = os.times()
    found.execute([sys.executable, "-c", source], env)
    after = os.times()
    spent = after.children_user - before.children_user
    return (spent + after.children_system - before.children_system) * 1e3


def _start_up(found: Stage, *, rounds: int) -> list[Budget]:
    env = {"AWS_CA_BUNDLE": found.bundle}
    counts = can_count()
    figure, unit = (instructions, "M instr.") if counts else (_processor_time, "ms CPU")
    contenders = programs(found)
    for source in contenders.values():
        found.execute([sys.executable, "-c", source], env)  # byte code is there from now on
    samples = measure(
        {name: partial(figure, found, text, env) for name, text in contenders.items()},
        rounds=1 if counts else rounds,  # instructions hardly vary
        warm_up=0,
    )
    print(section("Start-up of the command", samples, unit=unit, base=USED))
    return [
        budget("credential-process, ready to send / bare interpreter", ratios(samples, READY, USED),
               1.5)
    ]  # fmt: skip


def _renewals(found: Stage, *, rounds: int) -> list[Budget]:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.credentials import SignIn

    env = {"AWS_CA_BUNDLE": found.bundle}
    sign_in = SignIn(RolesAnywhereConfig(**found.config_arguments("ec-p256")))
    child = [sys.executable, "-c", _COMMAND.format(arguments=command(found))]

    def inside() -> float:
        begin = time.perf_counter_ns()
        sign_in()
        return (time.perf_counter_ns() - begin) / 1e6

    def by_child() -> float:
        begin = time.perf_counter_ns()
        found.execute(child, env)
        return (time.perf_counter_ns() - begin) / 1e6

    samples: Samples = measure({INSIDE: inside, CHILD: by_child}, rounds=rounds)
    print(section("One renewal", samples, unit="ms", base=CHILD))
    return [budget("renewal in the process / by a child", ratios(samples, INSIDE, CHILD), 0.2)]


def commands(found: Stage, *, rounds: int) -> list[Budget]:
    """Print start-up and renewals; the budgets on both."""
    return [*_start_up(found, rounds=rounds), *_renewals(found, rounds=rounds)]
