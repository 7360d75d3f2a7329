# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth setup``: trust anchor, role and profile, from a plan that is shown first."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.cli import _administration

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.authority import Authority
    from rolesanywhere_auth.provisioning.blueprint import Blueprint

_SHOWN = ("all", "profile", "environment", "python")


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "setup",
        help="make trust anchor, role and profile at AWS",
        description="Makes what a sign-in needs at AWS: a trust anchor for your CA, a role that "
        "trusts it with the least privilege, and a profile. What is there as wanted is kept, what "
        "differs is changed, and an interrupted run is taken up by the next. All that is made is "
        "tagged rolesanywhere-auth:setup=NAME, and `teardown` removes it. At the end the settings "
        "of a program are printed.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("name", metavar="NAME", help="of the set-up and of what it makes")
    _add_trust(command)
    _add_limits(command)
    out = command.add_argument_group("what it tells")
    out.add_argument("--certificate", metavar="FILE", help="for the settings that are printed")
    out.add_argument("--private-key", metavar="FILE", help="the same")
    out.add_argument("--show", choices=_SHOWN, default="all", help="which form of the settings")
    _administration.add_flags(command)


def _add_trust(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("whom to trust")
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument("--ca-bundle", metavar="FILE", help="your CA's certificate; two at most")
    one.add_argument("--acm-pca-arn", metavar="ARN", help="a CA of AWS Private CA")
    one.add_argument("--trust-anchor-arn", metavar="ARN", help="a trust anchor that is there")
    one.add_argument(
        "--development-ca",
        metavar="FOLDER",
        help="a CA in FOLDER, made if there is none, and a certificate NAME.pem and NAME.key",
    )
    group.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="ATTRIBUTE=VALUE",
        help="what a certificate must say, such as x509Subject/CN=app; may be repeated, of one "
        "attribute with several values; by default, with --development-ca, the CN NAME",
    )


def _add_limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("for what")
    role = group.add_mutually_exclusive_group()
    role.add_argument("--role-name", metavar="NAME", help="of the role; by default NAME")
    role.add_argument("--role-arn", metavar="ARN", help="a role that is there")
    group.add_argument(
        "--policy-arn",
        action="append",
        default=[],
        metavar="ARN",
        help="a managed policy for the role; may be repeated",
    )
    group.add_argument(
        "--session-policy", metavar="FILE", help="JSON: what sessions may do at most"
    )
    group.add_argument(
        "--session-policy-arn",
        action="append",
        default=[],
        metavar="ARN",
        help="the same as a managed policy; may be repeated",
    )
    group.add_argument(
        "--session-duration",
        type=int,
        default=3600,
        metavar="SECONDS",
        help="900 to 43200; by default 3600",
    )
    group.add_argument(
        "--accept-role-session-name", action="store_true", help="clients may name their sessions"
    )


def run(options: argparse.Namespace) -> int:
    """Plan, ask, make, tell; 0, or 1 if it could not be done."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth.cli import fail

    try:
        _set_up(options)
    except (BotoCoreError, OSError, ValueError) as error:  # ours are among them
        return fail(error)
    return 0


def _set_up(options: argparse.Namespace) -> None:
    from rolesanywhere_auth.provisioning.setting_up import plan_setup

    now = datetime.now(timezone.utc)
    blueprint, before = _wanted(options, now=now)
    admin = _administration.admin_of(options)
    plan = plan_setup(blueprint, admin, now=now)
    if before is not None:
        note = f"{options.certificate} and its key are written first, and their CA if there is none"
        plan = replace(plan, notes=(note, *plan.notes))
    arns = _administration.carry_out(plan, admin, options, before=before)
    if arns is not None:
        _tell(options, arns, duration=blueprint.seconds)


def _wanted(
    options: argparse.Namespace, *, now: datetime
) -> tuple[Blueprint, Callable[[], object] | None]:
    """The blueprint, and what is to be written on this machine first."""
    from rolesanywhere_auth.provisioning import authority as authorities
    from rolesanywhere_auth.provisioning.blueprint import Blueprint, check_name, read_policy

    check_name(options.name)
    before: Callable[[], object] | None = None
    bundle: Any = options.ca_bundle
    required = _requirements(options.require)
    if options.development_ca:
        folder = Path(options.development_ca).absolute()
        ca = authorities.open_development_ca(folder, now=now)
        bundle = ca.certificate_pem
        certificate, key = (folder / f"{options.name}.{end}" for end in ("pem", "key"))
        options.certificate = options.certificate or str(certificate)
        options.private_key = options.private_key or str(key)
        required = required or {"x509Subject/CN": options.name}
        if certificate.exists():
            _check_kept(ca, certificate, now=now)
        else:
            before = functools.partial(_write, ca, folder, options.name, now=now)
    policy = options.session_policy
    blueprint = Blueprint(
        name=options.name,
        ca_bundle=bundle,
        acm_pca_arn=options.acm_pca_arn,
        trust_anchor_arn=options.trust_anchor_arn,
        require={} if options.role_arn and not options.require else required,
        role_name=options.role_name,
        role_arn=options.role_arn,
        policy_arns=options.policy_arn,
        session_policy=policy and read_policy(Path(policy).read_text("utf-8"), source=policy),
        session_policy_arns=options.session_policy_arn,
        session_duration=options.session_duration,
        accept_role_session_name=options.accept_role_session_name,
    )
    return blueprint, before


def _check_kept(ca: Authority, path: Path, *, now: datetime) -> None:
    from rolesanywhere_auth.errors import CertificateExpiredError, ConfigurationError
    from rolesanywhere_auth.provisioning.authority import load_certificate

    found = load_certificate(path, role="certificate")
    if not ca.issued(found):
        raise ConfigurationError(f"{path} is there, but is of another CA than {path.parent}/ca.pem")
    if now > found.not_valid_after_utc:
        raise CertificateExpiredError(
            f"{path} expired at {found.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}. Move it and its "
            "key away: the next run issues another.",
            source=str(path),
        )


def _requirements(given: list[str]) -> dict[str, list[str]]:
    from rolesanywhere_auth.errors import ConfigurationError

    found: dict[str, list[str]] = {}
    for text in given:
        attribute, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--require {text}: write ATTRIBUTE=VALUE")
        found.setdefault(attribute, []).append(value)
    return found


def _write(ca: Authority, folder: Path, name: str, *, now: datetime) -> None:
    from rolesanywhere_auth.provisioning.authority import issue_leaf, write_development_ca

    write_development_ca(ca, folder)
    issue_leaf(ca, folder, common_name=name, now=now)


def _tell(options: argparse.Namespace, arns: dict[str, str], *, duration: int) -> None:
    from rolesanywhere_auth.provisioning import usage

    found = usage.settings(
        arns,
        certificate=_absolute(options.certificate),
        private_key=_absolute(options.private_key),
        session_duration=duration,
        endpoint_url=options.endpoint,
    )
    forms = {
        "profile": ("# in ~/.aws/config", usage.as_profile(options.name, found)),
        "environment": ("# or in the environment", usage.as_environment(found)),
        "python": ("# or in Python", usage.as_python(found)),
    }
    if options.show == "all":
        print("\n".join(f"{heading}\n{text}" for heading, text in forms.values()), end="")
    else:
        print(forms[options.show][1], end="")


def _absolute(path: str | None) -> str | None:
    """Paths become absolute; references to key stores stay."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path
