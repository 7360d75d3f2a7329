"""The command; see README.md."""

from __future__ import annotations

import argparse
import platform
import ssl
from importlib.metadata import version

from benchmarks.stage import stage

SECTIONS = (
    "import",
    "start",
    "createsession",
    "hotpath",
    "memory",
    "renewal",
    "faults",
    "emulator",
    "keys",
)
_PACKAGES = ("botocore", "boto3", "cryptography", "urllib3", "iam-rolesanywhere-session")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: a rough first look")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="this section; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="rounds per section, instead of the usual")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    chosen = arguments(argv)
    # here, as they import what they measure against
    from benchmarks import (
        createsession,
        emulator,
        faults,
        hotpath,
        keystores,
        memory,
        renewal,
        startup,
    )

    print(f"Python {platform.python_version()}, {platform.platform()}, {ssl.OPENSSL_VERSION}")
    print(", ".join(f"{name} {version(name)}" for name in _PACKAGES))
    print("Medians, with first and third quartile; ratios are medians of the rounds' ratios.")
    measurements = {
        "import": (startup.imports, 15, 3),
        "start": (startup.starts, 15, 3),
        "createsession": (createsession.create_sessions, 60, 3),
        "hotpath": (hotpath.hot_path, 40, 3),
        "memory": (memory.memory, 7, 3),
        "renewal": (renewal.renewals, 3, 1),
        "faults": (faults.faults, 1, 1),
        "emulator": (emulator.emulators, 7, 3),
        "keys": (keystores.key_stores, 15, 3),
    }
    budgets = []
    with stage() as found:
        for name, (run, usual, least) in measurements.items():
            if chosen.only and name not in chosen.only:
                continue
            rounds = chosen.rounds or (max(usual // 5, least) if chosen.quick else usual)
            budgets += run(found, rounds=rounds)
    print("\nBudgets\n-------")
    for each in budgets:
        print(each.line())


if __name__ == "__main__":
    main()
