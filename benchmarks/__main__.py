"""The command; see README.md."""

from __future__ import annotations

import argparse
import platform
import ssl
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from benchmarks.stage import stage
from benchmarks.table import Budget

SECTIONS = {
    "import": ("startup.imports", 15, 3),
    "start": ("startup.starts", 15, 3),
    "client": ("startup.clients", 15, 3),
    "createsession": ("createsession.create_sessions", 60, 3),
    "hotpath": ("hotpath.hot_path", 40, 3),
    "memory": ("memory.memory", 7, 3),
    "renewal": ("renewal.renewals", 3, 1),
    "asyncio": ("loops.loops", 5, 2),
    "faults": ("faults.faults", 1, 1),
    "emulator": ("emulator.emulators", 7, 3),
    "keys": ("keystores.key_stores", 15, 3),
    "serve": ("serve.serving", 15, 3),
    "cli": ("cli.commands", 15, 3),
}
"""By name: the function that measures, and how many rounds, usually and at least."""
_PACKAGES = (
    "botocore",
    "boto3",
    "cryptography",
    "urllib3",
    "iam-rolesanywhere-session",
    "pyOpenSSL",  # where it is, botocore imports it
)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: a rough first look")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="this section; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="rounds per section, instead of the usual")
    return parser.parse_args(argv)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not here)"


def main(argv: list[str] | None = None) -> None:
    chosen = arguments(argv)
    print(f"Python {platform.python_version()}, {platform.platform()}, {ssl.OPENSSL_VERSION}")
    print(", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    print("Medians, with first and third quartile; ratios are medians of the rounds' ratios.")
    budgets: list[Budget] = []
    try:
        _measure(chosen, budgets)
    finally:  # a section that fails does not take with it what the others found
        print("\nBudgets\n-------")
        for each in budgets:
            print(each.line())


def _measure(chosen: argparse.Namespace, budgets: list[Budget]) -> None:
    """Run the *chosen* sections, and add what each found to *budgets*."""
    with stage() as found:
        for name, (place, usual, least) in SECTIONS.items():
            if chosen.only and name not in chosen.only:
                continue
            module, _, function = place.partition(".")
            # here, as it imports what it measures against
            run = getattr(import_module(f"benchmarks.{module}"), function)
            rounds = chosen.rounds or (max(usual // 5, least) if chosen.quick else usual)
            budgets += run(found, rounds=rounds)


if __name__ == "__main__":
    main()
