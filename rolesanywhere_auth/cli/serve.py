# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth serve``: credentials for programs in any language, over HTTP."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth import _flags

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.serve import CredentialServer


def add_to(verbs: Any) -> None:
    """Add the command; flags that ``aws_signing_helper serve`` has are named as there."""
    command = verbs.add_parser(
        "serve",
        help="give credentials to programs in any language, over HTTP on this machine",
        description="Serves the container-credentials protocol and IMDSv2 until it is "
        "interrupted, and prints the environment that leads AWS SDKs and tools to it.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _flags.add_sign_in_flags(command, required=False)
    _add_roles(command.add_argument_group("which roles"))
    _add_places(command.add_argument_group("where it listens"))
    _add_guards(command.add_argument_group("who gets credentials"))


def _add_roles(roles: Any) -> None:
    roles.add_argument(
        "--name",
        help="of the first role in paths; by default a profile's, or the last part of its ARN",
    )
    roles.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="a profile of ~/.aws/config with a block rolesanywhere =, instead of the flags above "
        "or besides; its role has its name; may be repeated",
    )
    roles.add_argument(
        "--environment",
        action="store_true",
        help="what the variables ROLESANYWHERE_… say; the role is named by its last part",
    )
    roles.add_argument(
        "--role",
        action="append",
        default=[],
        type=_role,
        metavar="NAME=ARN[,PROFILE-ARN]",
        help="another role of the first one's certificate, perhaps by another profile; may be "
        "repeated",
    )


def _add_places(where: Any) -> None:
    where.add_argument(
        "--port", type=_number(0, 65535), default=9911, metavar="N", help="9911; 0 for a free one"
    )
    where.add_argument(
        "--host",
        default="127.0.0.1",
        help="address, by default 127.0.0.1; any other than loopback shows the credentials to "
        "the network, in clear",
    )
    where.add_argument("--unix-socket", metavar="FILE", help="there instead, with mode 0600")
    where.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="HOST",
        help="another name by which clients call it; may be repeated",
    )
    where.add_argument(
        "--metrics",
        action="store_true",
        help="answer GET /metrics for Prometheus; needs the extra prometheus",
    )
    where.add_argument("--export", metavar="FILE", help="write the environment there, once it runs")


def _add_guards(who: Any) -> None:
    who.add_argument(
        "--imds",
        action=argparse.BooleanOptionalAction,
        help="answer as IMDSv2, to any user of this machine; by default so on a loopback port",
    )
    who.add_argument(
        "--token-folder",
        metavar="FOLDER",
        help="for the token files, one for each role, mode 0600; by default $RUNTIME_DIRECTORY, "
        "a folder in $XDG_RUNTIME_DIR, or a temporary one",
    )
    who.add_argument(
        "--token-lifetime",
        type=_number(10, 604800),
        default=3600,
        metavar="SECONDS",
        help="3600; a token is replaced after half of them",
    )
    who.add_argument(
        "--hop-limit",
        type=_number(1, 255),
        metavar="N",
        help="routers that an answer may pass; by default 1 on loopback, else 64",
    )
    who.add_argument(
        "--max-connections", type=_number(1, 1000000), default=2048, metavar="N", help="2048"
    )


def _number(least: int, most: int) -> Any:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return number


def _role(text: str) -> tuple[str, str, str | None]:
    name, equals, arns = text.partition("=")
    if not (name and equals and arns):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ARN or NAME=ARN,PROFILE-ARN")
    role, comma, profile = arns.partition(",arn:")  # a comma may be in the name of a role
    return name, role, f"arn:{profile}" if comma else None


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 0 then, 1 if it could not start."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._logging import log_to_stderr
    from rolesanywhere_auth.cli._signals import stopping

    log_to_stderr(options)
    try:
        with stopping() as stopped:
            server = server_of(options)
            try:
                _serve(server, options, stopped)
            finally:
                server.stop()
    except (BotoCoreError, OSError) as error:
        return fail(error)
    return 0


def roles_of(options: argparse.Namespace) -> dict[str, RolesAnywhereConfig]:
    """The roles by name: of the flags, of profiles, of the environment, and of ``--role``.

    Raises:
        ConfigurationError: two have one name, there is none, or what describes one cannot work.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    roles = list(_described(options))
    if not roles:
        raise ConfigurationError(
            "no role is given: give --profile, --environment, or --trust-anchor-arn, "
            "--profile-arn, --role-arn and --certificate"
        )
    name, first = roles[0]
    roles[0] = (options.name or name, first)
    for name, role_arn, profile_arn in options.role:
        more = replace(first, role_arn=role_arn, profile_arn=profile_arn or first.profile_arn)
        roles.append((name, more))
    found: dict[str, RolesAnywhereConfig] = {}
    for name, config in roles:
        if name in found:
            raise ConfigurationError(f"two roles are named {name!r}; give each a name of its own")
        found[name] = config
    return found


def _described(options: argparse.Namespace) -> Iterator[tuple[str, RolesAnywhereConfig]]:
    from rolesanywhere_auth._flag_values import config_of
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.serve import default_name

    if _flags.check_complete(options):
        config = config_of(options)
        yield default_name(config.role_arn), config
    for profile in options.profile:
        yield profile, RolesAnywhereConfig.from_profile(profile)
    if options.environment:
        config = RolesAnywhereConfig.from_environment()
        yield default_name(config.role_arn), config


def server_of(options: argparse.Namespace) -> CredentialServer:
    """The server that the flags describe."""
    from rolesanywhere_auth.serve import CredentialServer
    from rolesanywhere_auth.serve.sockets import is_loopback
    from rolesanywhere_auth.serve.systemd import passed_sockets
    from rolesanywhere_auth.serve.tokens import default_folder

    roles = roles_of(options)
    sockets = passed_sockets(os.environ)
    local = not options.unix_socket and options.host in {"127.0.0.1", "::1", "localhost"}
    if sockets:
        local = all(is_loopback(each) for each in sockets)
    name = "serve-unix" if options.unix_socket else f"serve-{options.port or os.getpid()}"
    return CredentialServer(
        roles,
        host=options.host,
        port=options.port,
        unix_socket=options.unix_socket,
        sockets=sockets,
        imds=local if options.imds is None else options.imds,
        metrics=options.metrics,
        host_names=options.host_name,
        hop_limit=options.hop_limit,
        token_folder=options.token_folder or default_folder(dict(os.environ), name=name),
        token_lifetime=options.token_lifetime,
        max_connections=options.max_connections,
        environment=os.environ,
    )


def _serve(server: CredentialServer, options: argparse.Namespace, stopped: threading.Event) -> None:
    export = Path(options.export) if options.export else None
    if export is not None:
        export.unlink(missing_ok=True)  # of an earlier run: whoever waits for it waits for ours
    server.begin()
    if not server.is_loopback:
        print(
            f"warning: {server.url} is not loopback. Credentials and tokens cross the network in "
            "clear, and whoever shows a token gets them",
            file=sys.stderr,
        )
    while not server.await_ready(0.05):
        if stopped.is_set():
            return
    if export is None:
        print(server.exports(), end="", flush=True)
    else:
        part = export.with_name(f"{export.name}.part")
        part.write_text(server.exports())
        part.replace(export)
    where = options.unix_socket or server.url
    print(f"answering at {where} – Ctrl-C stops", file=sys.stderr, flush=True)
    while not stopped.wait(1):
        server.await_ready()  # raises if it has ended
    print("stopping", file=sys.stderr)
    if export is not None:
        export.unlink(missing_ok=True)
