"""From the start of a process: to the end of an import, to credentials, to an S3 client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from statistics import median

from benchmarks.instructions import can_count, instructions
from benchmarks.stage import Stage
from benchmarks.table import OURS, PEER, Budget, Samples, budget, measure, ratios, section

WAYS = {True: "endpoint given", False: "endpoint looked up"}
"""Given as an argument, or found by the library, which the environment sends to loopback."""
BARE = "bare interpreter"
STATIC = "boto3, static keys"

_OURS = """
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
RolesAnywhereCredentials(RolesAnywhereConfig(**{arguments!r})).get_frozen_credentials()
"""
_PEER = """
from iam_rolesanywhere_session import IAMRolesAnywhereSession
IAMRolesAnywhereSession(**{arguments!r}).get_refreshable_credentials().get_frozen_credentials()
"""
_STATIC = """
import boto3
session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI")
session.get_credentials().get_frozen_credentials()
"""
_OURS_SESSION = """
from rolesanywhere_auth import RolesAnywhereConfig, boto3_session
session = boto3_session(RolesAnywhereConfig(**{arguments!r}))
session.get_credentials().get_frozen_credentials()
"""
_PEER_SESSION = """
from iam_rolesanywhere_session import IAMRolesAnywhereSession
session = IAMRolesAnywhereSession(**{arguments!r}).get_session()
session.get_credentials().get_frozen_credentials()
"""
_CLIENT = 'session.client("s3")\n'
_END = "\nimport time; print(time.monotonic_ns())\n"
_AT_ONCE = "\nimport os; os._exit(0)\n"
"""What an interpreter takes to end is no part of a start."""
_IMPORT = """
import time
begin = time.perf_counter_ns()
{statement}
print(time.perf_counter_ns() - begin)
"""
_BOTOCORE = "from botocore.credentials import RefreshableCredentials"


_FIRST_CLIENT = """
import time
begin = time.perf_counter_ns()
session.client({service!r})
print(time.perf_counter_ns() - begin)
"""


def programs(found: Stage, key_type: str, *, endpoint: bool, client: bool) -> dict[str, str]:
    """One program per contender that ends with first credentials, or with the client too."""
    ours, peer = (_OURS_SESSION, _PEER_SESSION) if client else (_OURS, _PEER)
    end = _CLIENT if client else ""
    return {
        OURS: ours.format(arguments=found.config_arguments(key_type, endpoint=endpoint)) + end,
        PEER: peer.format(arguments=found.peer_arguments(key_type, endpoint=endpoint)) + end,
        STATIC: _STATIC + end,
        BARE: "",
        **({} if client else {"import botocore.credentials": _BOTOCORE}),
    }


def environment(found: Stage, *, endpoint: bool) -> dict[str, str]:
    """What leads a library to the server that is not given the endpoint."""
    return {} if endpoint else {"AWS_ENDPOINT_URL_ROLESANYWHERE": found.url}


def _until_end(found: Stage, source: str, env: Mapping[str, str]) -> float:
    """Milliseconds from before the process starts until *source* has run."""
    begin = time.monotonic_ns()  # one clock for all processes of a machine
    return (int(found.run(source + _END, env=env)[0]) - begin) / 1e6


def _import_time(found: Stage, statement: str) -> float:
    """Milliseconds that *statement* takes inside a new interpreter."""
    return int(found.run(_IMPORT.format(statement=statement))[0]) / 1e6


def imports(found: Stage, *, rounds: int) -> list[Budget]:
    """Print import times; the budget on the package's own."""
    statements = {
        OURS: "import rolesanywhere_auth",
        f"{OURS}, with the names used": (
            "from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials"
        ),
        PEER: "from iam_rolesanywhere_session import IAMRolesAnywhereSession",
        "boto3": "import boto3",
        "botocore.session": "import botocore.session",
        "botocore.credentials": _BOTOCORE,
    }
    samples = measure(
        {name: partial(_import_time, found, text) for name, text in statements.items()},
        rounds=rounds,
    )
    print(section("Import, in a new interpreter", samples, unit="ms", base=PEER))
    return [budget("importing the package", samples[OURS], 5.0, unit="ms")]


def _start(
    found: Stage, key_type: str, *, endpoint: bool, client: bool, rounds: int
) -> tuple[str, Samples]:
    env = environment(found, endpoint=endpoint)
    contenders: dict[str, Callable[[], float]] = {
        name: partial(_until_end, found, source, env)
        for name, source in programs(found, key_type, endpoint=endpoint, client=client).items()
    }
    goal = "first S3 client" if client else "first credentials"
    what = f"{goal}, {key_type}, {WAYS[endpoint]}"
    samples = measure(contenders, rounds=rounds)
    print(section(f"Process start to {what}", samples, unit="ms", base=PEER))
    return what, samples


def _counts(found: Stage, key_type: str) -> Budget:
    """Print what the S3 client takes in instructions, where neither noise nor waiting counts."""
    what = f"first S3 client, {key_type}, {WAYS[False]}"
    env = environment(found, endpoint=False)
    samples = {
        name: [instructions(found, source + _AT_ONCE, env)]
        for name, source in programs(found, key_type, endpoint=False, client=True).items()
    }
    print(section(f"The same in instructions: {what}", samples, unit="M instr.", base=PEER))
    return budget(f"{what}, instructions / peer", ratios(samples, OURS, PEER), None)


def _first_client(found: Stage, source: str) -> float:
    """Milliseconds that *source*, which prints nanoseconds, has counted."""
    return int(found.run(source)[0]) / 1e6


def clients(found: Stage, *, rounds: int) -> list[Budget]:
    """Print what a session takes for its first client alone, by service; no budget."""
    ours = _OURS_SESSION.format(arguments=found.config_arguments("ec-p256"))
    for service in ("s3", "sts", "dynamodb", "ec2"):
        end = _FIRST_CLIENT.format(service=service)
        contenders = {
            OURS: partial(_first_client, found, ours + end),
            STATIC: partial(_first_client, found, _STATIC + end),
        }
        samples = measure(contenders, rounds=rounds)
        print(section(f"First client of a session, {service}", samples, unit="ms", base=STATIC))
    return []


def starts(found: Stage, *, rounds: int) -> list[Budget]:
    """Print the start-up times; the budgets against the peer, wherever it has the endpoint from."""
    budgets = []
    for client, limit in ((False, 0.72), (True, 0.80)):
        for key_type, endpoint in product(("ec-p256", "rsa-2048"), (False, True)):
            what, samples = _start(found, key_type, endpoint=endpoint, client=client, rounds=rounds)
            budgets.append(budget(f"{what} / peer", ratios(samples, OURS, PEER), limit))
            over = median(samples[OURS]) - median(samples[STATIC])
            print(f"{OURS} over {STATIC}: {over:+.1f} ms")
            if client and not endpoint and can_count():
                budgets.append(_counts(found, key_type))
    return budgets
