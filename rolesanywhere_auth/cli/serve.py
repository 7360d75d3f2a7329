# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth serve``: credentials for programs in any language, over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.serve import CredentialServer


def add_to(verbs: Any) -> None:
    """Add the command; flags that ``aws_signing_helper serve`` has are named as there."""
    from rolesanywhere_auth.cli.credential_process import add_sign_in_flags

    command = verbs.add_parser(
        "serve",
        help="give credentials to programs in any language, over HTTP on this machine",
        description="Serves the container-credentials protocol and IMDSv2 until it is "
        "interrupted, and prints the environment that leads AWS SDKs and tools to it.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    add_sign_in_flags(command)
    roles = command.add_argument_group("which roles")
    roles.add_argument("--name", help="of --role-arn in paths; by default its last part")
    roles.add_argument(
        "--role",
        action="append",
        default=[],
        type=_role,
        metavar="NAME=ARN[,PROFILE-ARN]",
        help="another role, perhaps by another profile; may be repeated",
    )
    _add_places(command.add_argument_group("where it listens"))
    _add_guards(command.add_argument_group("who gets credentials"))


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
    from rolesanywhere_auth.cli._signals import stopping

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
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
    """The roles by name, that of ``--role-arn`` first.

    Raises:
        ConfigurationError: two have one name, or an ARN does not fit.
    """
    from rolesanywhere_auth.cli._config import config_of
    from rolesanywhere_auth.errors import ConfigurationError
    from rolesanywhere_auth.serve import default_name

    first = config_of(options)
    found = {options.name or default_name(first.role_arn): first}
    for name, role_arn, profile_arn in options.role:
        if name in found:
            raise ConfigurationError(f"two roles are named {name!r}; give each a name of its own")
        found[name] = replace(
            first, role_arn=role_arn, profile_arn=profile_arn or first.profile_arn
        )
    return found


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
