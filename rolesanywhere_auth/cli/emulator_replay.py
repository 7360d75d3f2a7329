# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth emulator replay``: where the emulator answers otherwise than a record."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

DIFFERENT = 3
"""The exit status when an answer differs; 1 is an error, 2 wrong arguments."""


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "replay",
        help="compare a record with the emulator's answers",
        description="Makes the experiments of a record on an emulator of its own and prints "
        f"where the answers differ. Exits with {DIFFERENT} if one does.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("record", metavar="RECORD", help="a file that `record` wrote")
    command.add_argument("--strict", action="store_true", help="as the emulator's flag")
    command.add_argument(
        "--max-skew", type=float, default=300, metavar="SECONDS", help="by default 300"
    )


def run(options: argparse.Namespace) -> int:
    """Compare; 0 where all is alike, 3 where it is not, 1 if it could not be done."""
    from botocore.exceptions import BotoCoreError, ClientError

    from rolesanywhere_auth.cli import fail

    try:
        return _replay(options)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        return fail(error)


def _replay(options: argparse.Namespace) -> int:
    from rolesanywhere_auth.cli import _answers, _experiments

    text = Path(options.record).read_text(encoding="utf-8")
    head, recorded = _answers.read(text, source=options.record)
    experiments = _experiments.chosen([line["experiment"] for line in recorded])
    here = _emulated(experiments if recorded else (), options, region=head["region"])
    different = 0
    for line in recorded:
        found = _answers.differences(line["answer"], here[line["experiment"]])
        if found:
            different += 1
            print(f"{line['experiment']} ({line['question']})")
            for difference in found:
                print(f"  {difference}")
    print(f"{different} of {len(recorded)} answers differ")
    return DIFFERENT if different else 0


def _emulated(
    experiments: tuple[Any, ...], options: argparse.Namespace, *, region: str
) -> dict[str, Any]:
    """The emulator's answers, by experiment."""
    from rolesanywhere_auth.cli import _asking
    from rolesanywhere_auth.cli._stage import Stage
    from rolesanywhere_auth.testing import Emulator

    skew = timedelta(seconds=options.max_skew)
    with Emulator(region=region, strict=options.strict, max_skew=skew, tls_port=None) as emulator:
        stage = Stage(
            emulator.control_plane(),
            role_arn=emulator.create_role("experiment"),
            region=region,
            now=emulator.now,
        )
        lines = _asking.ask(
            experiments,
            stage,
            endpoint=emulator.endpoint_url,
            send=_asking.sender(verify=True, proxies={}),
            pause=lambda: None,
        )
        return {line["experiment"]: line["answer"] for line in lines}
