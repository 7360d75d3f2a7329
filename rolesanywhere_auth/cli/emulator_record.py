# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth emulator record``: ask an endpoint what AWS does not document."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "record",
        help="make experiments at a real endpoint and record the answers",
        description="Makes trust anchors, profiles and CRLs named rolesanywhere-auth-experiment "
        "with the AWS credentials of the environment, signs in in many right and wrong ways, "
        "records the answers without secrets, and deletes what it made.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--role-arn",
        required=True,
        metavar="ARN",
        help="a role that trusts rolesanywhere.amazonaws.com from any trust anchor of the "
        "account, with a maximum session duration of one hour and no permissions",
    )
    command.add_argument("--region", required=True, help="the Region to ask in")
    command.add_argument("--endpoint", metavar="URL", help="by default that of the Region")
    command.add_argument("--output", metavar="FILE", help="by default standard output")
    command.add_argument(
        "--experiment",
        action="append",
        default=[],
        metavar="NAME",
        help="make this one alone; may be repeated",
    )
    command.add_argument(
        "--pause",
        type=float,
        default=1.2,
        metavar="SECONDS",
        help="between experiments, for the quota of one control-plane call a second; "
        "by default 1.2",
    )
    command.add_argument(
        "--list", action=_List, nargs=0, help="name the experiments and their questions, and stop"
    )


class _List(argparse.Action):
    """As ``--version``: prints and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        from rolesanywhere_auth.cli._experiments import EXPERIMENTS

        del given
        for experiment in EXPERIMENTS:
            print(f"{experiment.name:<26} {experiment.question}")
        parser.exit()


def run(options: argparse.Namespace) -> int:
    """Record; 0, or 1 if it could not be done."""
    from botocore.exceptions import BotoCoreError, ClientError

    from rolesanywhere_auth.cli import fail

    try:
        _record(options)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        return fail(error)
    return 0


def _record(options: argparse.Namespace) -> None:
    from botocore.utils import get_environ_proxies

    from rolesanywhere_auth.arns import parse_arn
    from rolesanywhere_auth.cli import _answers, _asking, _experiments
    from rolesanywhere_auth.cli._stage import Stage

    experiments = _experiments.chosen(options.experiment)
    parse_arn(options.role_arn, kind="role")
    endpoint = options.endpoint or f"https://rolesanywhere.{options.region}.amazonaws.com"
    stage = Stage(
        _client(endpoint, options.region),
        role_arn=options.role_arn,
        region=options.region,
        now=lambda: datetime.now(timezone.utc),
    )
    send = _asking.sender(
        verify=os.environ.get("AWS_CA_BUNDLE") or True, proxies=get_environ_proxies(endpoint)
    )
    with contextlib.ExitStack() as stack:
        out = sys.stdout
        if options.output:
            out = stack.enter_context(Path(options.output).open("w", encoding="utf-8"))
        stack.callback(stage.close)
        answers = _asking.ask(
            experiments,
            stage,
            endpoint=endpoint,
            send=send,
            pause=lambda: time.sleep(options.pause),
        )
        lines = itertools.chain([_asking.head(stage, endpoint=endpoint)], answers)
        for line in lines:
            out.write(_answers.written(line))
            out.flush()
            if line.get("experiment") == "sound" and line["answer"]["status"] != 201:
                print(
                    f"warning: the sign-in that should succeed did not: {line['answer']}. The "
                    "other answers then say little; does the role trust Roles Anywhere from "
                    "every trust anchor of the account?",
                    file=sys.stderr,
                )


def _client(endpoint: str, region: str) -> Any:
    """A client with the credentials of the environment; on loopback with invented ones."""
    import boto3
    from botocore.config import Config

    keys: dict[str, Any] = {}
    proxies: dict[str, str] | None = None
    retries: Any = {"mode": "adaptive", "max_attempts": 10}
    if urlsplit(endpoint).hostname in _LOOPBACK:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        proxies = {}
        retries = {"total_max_attempts": 1}
    session: Any = boto3.Session(region_name=region)
    return session.client(
        "rolesanywhere",
        endpoint_url=endpoint,
        config=Config(retries=retries, proxies=proxies),
        **keys,
    )
