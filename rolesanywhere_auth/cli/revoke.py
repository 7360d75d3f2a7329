# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth revoke``: certificates onto the CRLs of their trust anchors."""

from __future__ import annotations

import argparse
import functools
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.cli import _administration
from rolesanywhere_auth.cli.certificate import days

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin
    from rolesanywhere_auth.provisioning.authority import Authority

_REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "revoke",
        help="revoke certificates, and see that they are refused",
        description="Puts certificates on the CRL of their CA, imports it into each trust anchor "
        "that trusts the CA, or replaces the one that is there, and enables it. Entries that are "
        "there are kept. With the certificate's key it signs in, to see that it is refused.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _add_what(command)
    proof = command.add_argument_group("to see that it is refused")
    proof.add_argument("--private-key", metavar="FILE", help="of the one --certificate")
    proof.add_argument("--setup", metavar="NAME", help="the set-up whose profile and role to use")
    proof.add_argument("--profile-arn", metavar="ARN", help="a profile, without a set-up")
    proof.add_argument("--role-arn", metavar="ARN", help="its role")
    _administration.add_flags(command)


def _add_what(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "serial",
        nargs="*",
        metavar="SERIAL",
        help="decimal, or hexadecimal with 0x in front, or as openssl prints it",
    )
    command.add_argument(
        "--certificate",
        action="append",
        default=[],
        metavar="FILE",
        help="instead of its serial number; may be repeated",
    )
    command.add_argument("--reason", choices=_REASONS, default="unspecified", metavar="REASON",
                         help=f"one of {', '.join(_REASONS)}")  # fmt: skip
    command.add_argument(
        "--next-update",
        type=days,
        default=timedelta(days=365),
        metavar="DAYS",
        help="when the CRL is to be replaced by a newer one; by default in 365",
    )
    command.add_argument(
        "--trust-anchor-arn",
        action="append",
        default=[],
        metavar="ARN",
        help="only there; by default in each trust anchor that holds the CA or the CA above it",
    )
    ca = command.add_argument_group("the CA that issued them")
    ca.add_argument("--development-ca", metavar="FOLDER", help="with ca.pem and ca.key")
    ca.add_argument("--ca-certificate", metavar="FILE", help="another CA's certificate")
    ca.add_argument("--ca-key", metavar="FILE", help="its private key")
    ca.add_argument(
        "--passphrase-from",
        metavar="REFERENCE",
        help="of that key: env:NAME, file:/path, prompt: …",
    )


def run(options: argparse.Namespace) -> int:
    """Plan, ask, import, verify; 0, or 1 if it could not be done or is not so."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth.cli import fail

    try:
        _revoke(options)
    except (BotoCoreError, OSError) as error:  # ours are among them
        return fail(error)
    return 0


def _revoke(options: argparse.Namespace) -> None:
    from rolesanywhere_auth.provisioning.revoking import plan_revoke, trust_anchors_of

    now = datetime.now(timezone.utc)
    authority = _authority(options)
    serials = _serials(options, authority)
    admin = _administration.admin_of(options)
    anchors = options.trust_anchor_arn or trust_anchors_of(authority, admin)
    plan_it = functools.partial(
        plan_revoke,
        authority,
        serials,
        admin,
        now=now,
        next_update=now + options.next_update,
        reason=options.reason,
        trust_anchor_arns=anchors,
    )
    if _administration.carry_out(plan_it(), admin, options, again=plan_it) is not None:
        _verify(options, admin, authority, anchors)


def _authority(options: argparse.Namespace) -> Authority:
    from rolesanywhere_auth.errors import ConfigurationError
    from rolesanywhere_auth.provisioning.authority import CA_CERTIFICATE, CA_KEY, Authority
    from rolesanywhere_auth.secrets import from_text

    given = (options.ca_certificate, options.ca_key)
    if options.development_ca and not any(given):
        folder = Path(options.development_ca)
        given = (folder / CA_CERTIFICATE, folder / CA_KEY)
    elif options.development_ca or not all(given):
        raise ConfigurationError("give --development-ca, or --ca-certificate and --ca-key")
    reference = options.passphrase_from
    return Authority.load(
        *given, passphrase=from_text(reference, name="--passphrase-from") if reference else None
    )


def _serials(options: argparse.Namespace, authority: Authority) -> list[int]:
    from rolesanywhere_auth.errors import CertificateRequirementError, ConfigurationError
    from rolesanywhere_auth.provisioning.authority import load_certificate
    from rolesanywhere_auth.provisioning.crl import parse_serial

    found = [parse_serial(text) for text in options.serial]
    for path in options.certificate:
        certificate = load_certificate(path, role="certificate")
        if not authority.issued(certificate):
            raise CertificateRequirementError(
                f"{path}: the certificate {certificate.subject.rfc4514_string()} was not issued by "
                f"{authority.name}, but by {certificate.issuer.rfc4514_string()}: revoke it there.",
                source=path,
            )
        found.append(certificate.serial_number)
    if not found:
        raise ConfigurationError("nothing to revoke: give a serial number, or --certificate")
    return list(dict.fromkeys(found))


def _verify(
    options: argparse.Namespace, admin: Admin, authority: Authority, anchors: list[str]
) -> None:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.provisioning.revoking import verify_revoked

    if not options.private_key or len(options.certificate) != 1:
        print("Not verified: that takes one --certificate with its --private-key.")
        return
    profile, role = options.profile_arn, options.role_arn
    if options.setup:
        profile, role = _of_setup(options.setup, admin)
    if not (profile and role):
        print("Not verified: that takes --setup, or --profile-arn and --role-arn.")
        return
    for anchor in anchors:
        config = RolesAnywhereConfig(
            trust_anchor_arn=anchor,
            profile_arn=profile,
            role_arn=role,
            certificate=options.certificate[0],
            private_key=options.private_key,
            certificate_chain=authority.certificate_pem,  # for trust anchors of the CA above it
            endpoint_url=options.endpoint,
        )
        refusal = verify_revoked(config, sleep=time.sleep)
        print(f"Verified: {refusal.service_message}, says {anchor}")


def _of_setup(name: str, admin: Admin) -> tuple[str, str]:
    """The profile that the set-up made, and its role."""
    from rolesanywhere_auth.errors import ProvisioningError
    from rolesanywhere_auth.provisioning.inventory import Inventory

    found = Inventory(admin).made_by(name, "profile", everywhere=False)
    if not found:
        raise ProvisioningError(
            f"the certificate is revoked, but not verified: the set-up {name} made no profile"
        )
    return found[0]["profileArn"], found[0]["roleArns"][0]
