# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth emulator``: the emulated service for programs in any language."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.emulator import Emulator
    from rolesanywhere_auth.testing.seed import Planted, Seed

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_to(verbs: Any) -> None:
    """Add the command and those below it."""
    from rolesanywhere_auth.cli import emulator_record, emulator_replay

    command = verbs.add_parser(
        "emulator",
        help="run the emulated service in the foreground, for programs in any language",
        description="Runs IAM Roles Anywhere on this machine until it is interrupted, and "
        "prints the environment that leads AWS SDKs and tools to it.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _add_flags(command)
    below = command.add_subparsers(title="commands", metavar="COMMAND")
    emulator_record.add_to(below)
    emulator_replay.add_to(below)


def _add_flags(command: argparse.ArgumentParser) -> None:
    where = command.add_argument_group("where it listens")
    where.add_argument("--host", default="127.0.0.1", help="address, by default 127.0.0.1")
    for name, what in (
        ("--port", "of HTTP"),
        ("--tls-port", "of HTTPS"),
        ("--aws-port", "of moto, with --aws"),
    ):
        where.add_argument(
            name, type=_port, default=0, metavar="N", help=f"port {what}; by default a free one"
        )
    where.add_argument("--no-tls", action="store_true", help="no HTTPS")
    where.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="another name by which clients reach it, for the TLS certificate and the page; "
        "may be repeated",
    )
    held = command.add_argument_group("what it holds")
    held.add_argument("--region", default="eu-west-1", help="by default eu-west-1")
    held.add_argument("--account", default="111122223333", metavar="ID", help="the account")
    held.add_argument("--aws", action="store_true", help="also run moto: STS, IAM, S3 and the rest")
    held.add_argument("--state", metavar="FILE", help="keep the resources in FILE")
    held.add_argument("--seed", metavar="FILE", help="JSON or YAML: what it shall hold")
    held.add_argument(
        "--set-up",
        metavar="FOLDER",
        help="a CA, trust anchor, role and profile, and a certificate in FOLDER",
    )
    held.add_argument("--strict", action="store_true", help="refuse what AWS only records")
    out = command.add_argument_group("what it tells")
    out.add_argument("--export", metavar="FILE", help="write the environment there, once it runs")
    out.add_argument("--ca-bundle", metavar="FILE", help="write there what verifies the HTTPS port")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 0 then, 1 if it could not start or save."""
    from botocore.exceptions import BotoCoreError, ClientError

    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._signals import stopping

    try:
        with stopping() as stopped:
            _serve(options, stopped)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        return fail(error)
    return 0


def _serve(options: argparse.Namespace, stopped: threading.Event) -> None:
    from rolesanywhere_auth.testing.emulator import Emulator
    from rolesanywhere_auth.testing.seed import plant

    seeds = _seeds(options)
    export = Path(options.export) if options.export else None
    if export is not None:
        export.unlink(missing_ok=True)  # of an earlier run: whoever waits for it waits for ours
    emulator = Emulator(
        region=options.region,
        account_id=options.account,
        aws=options.aws,
        strict=options.strict,
        host=options.host,
        port=options.port,
        tls_port=None if options.no_tls else options.tls_port,
        aws_port=options.aws_port,
        host_names=options.name,
        state_file=options.state,
    )
    with emulator:
        if options.ca_bundle and not options.no_tls:
            Path(options.ca_bundle).write_bytes(Path(emulator.ca_bundle).read_bytes())
        planted = [plant(emulator, seed) for seed in seeds]
        emulator.save()
        lines = exports(environment(emulator, planted, ca_bundle=options.ca_bundle))
        _tell(options, emulator, lines, export)
        stopped.wait()
        print("stopping", file=sys.stderr)
        if export is not None:
            export.unlink(missing_ok=True)


def _seeds(options: argparse.Namespace) -> list[Seed]:
    from rolesanywhere_auth.testing.seed import check_seed, read_seed

    seeds = [read_seed(Path(options.seed))] if options.seed else []
    if options.set_up:
        folder = Path(options.set_up).absolute()
        seeds.append(check_seed(_SET_UP, folder=folder, source="--set-up"))
    return seeds


_SET_UP = {
    "trust_anchors": [
        {"name": "app", "generate": {"certificate": "ca.pem", "private_key": "ca.key"}}
    ],
    "roles": [{"name": "app", "trust_anchor": "app"}],
    "profiles": [{"name": "app", "roles": ["app"]}],
    "leaves": [{"name": "app", "trust_anchor": "app", "folder": "."}],
}


def environment(
    emulator: Emulator, planted: list[Planted], *, ca_bundle: str | None
) -> dict[str, str]:
    """What a program needs to know: the variables of AWS's SDKs, and ours.

    The first trust anchor, profile, role and leaf have names without a suffix; each has one
    with its own name, in capitals.
    """
    found = {
        "AWS_ENDPOINT_URL_ROLESANYWHERE": emulator.endpoint_url,
        "AWS_REGION": emulator.region,
    }
    if emulator.has_tls:
        bundle = str(Path(ca_bundle).absolute()) if ca_bundle else emulator.ca_bundle
        found["ROLESANYWHERE_EMULATOR_HTTPS"] = emulator.https_endpoint_url
        found["ROLESANYWHERE_EMULATOR_CA_BUNDLE"] = bundle
    if emulator.has_aws:
        found["AWS_ENDPOINT_URL"] = emulator.aws_endpoint_url
    values = [
        (f"ROLESANYWHERE_{what}", name, value)
        for each in planted
        for what, items in _values(each)
        for name, value in items.items()
    ]
    for variable, _, value in values:
        found.setdefault(variable, value)
    for variable, name, value in values:
        suffix = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        found[f"{variable}_{suffix}"] = value
    return found


def _values(planted: Planted) -> Iterator[tuple[str, dict[str, str]]]:
    yield "TRUST_ANCHOR_ARN", planted.trust_anchors
    yield "PROFILE_ARN", planted.profiles
    yield "ROLE_ARN", planted.roles
    yield (
        "CERTIFICATE",
        {name: str(files.certificate) for name, files in planted.leaves.items()},
    )
    yield (
        "PRIVATE_KEY",
        {name: str(files.private_key) for name, files in planted.leaves.items()},
    )


def exports(variables: dict[str, str]) -> str:
    """*variables* as lines for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _tell(options: argparse.Namespace, emulator: Emulator, lines: str, export: Path | None) -> None:
    if options.host not in _LOOPBACK:
        print(
            f"warning: {options.host} is not loopback. This is no security boundary: whoever "
            "reaches the emulator may change it, and sign in with what they made",
            file=sys.stderr,
        )
    if export is None:
        print(lines, end="", flush=True)
    else:
        part = export.with_name(f"{export.name}.part")
        part.write_text(lines)
        part.replace(export)
    print(f"the page is {emulator.endpoint_url}/ – Ctrl-C stops", file=sys.stderr, flush=True)
