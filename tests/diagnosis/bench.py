"""Where set-ups are built: an emulator, a folder, a profile of the AWS config file."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from rolesanywhere_auth import RolesAnywhereConfig, cli
from rolesanywhere_auth.diagnosis import Diagnosis
from rolesanywhere_auth.diagnosis.case import Case, Step, examine
from rolesanywhere_auth.diagnosis.material import SETTINGS
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing._setup import Setup
from rolesanywhere_auth.testing.authority import Leaf

ADMINISTRATOR = "admin"
NOBODY = 65534


@dataclass
class Bench:
    """One test's.

    ``folder`` can be entered by every user, unlike those of pytest.
    """

    emulator: Emulator
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    cleanup: contextlib.ExitStack
    nobody: bool = False

    @functools.cached_property
    def keys(self) -> tuple[str, str]:
        """Access keys of an administrator of the emulator's AWS."""
        iam = self.emulator.client("iam")
        iam.create_user(UserName=ADMINISTRATOR)
        key = iam.create_access_key(UserName=ADMINISTRATOR)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def write(self, name: str, content: str | bytes, *, mode: int = 0o600) -> str:
        """A file of the folder; its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    def set_up(self, **arguments: Any) -> Setup:
        """All that a sign-in needs, in the emulator."""
        return self.emulator.set_up(**arguments)

    def settings(
        self, setup: Setup | None = None, *, leaf: Leaf | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The lines of a profile's block that signs in, but for *changes*; None takes one away."""
        setup = setup or self.set_up()
        leaf = leaf or setup.leaf
        found = {
            "trust_anchor_arn": setup.trust_anchor_arn,
            "profile_arn": setup.profile_arn,
            "role_arn": setup.role_arn,
            "certificate": self.write("app.pem", leaf.certificate_pem, mode=0o644),
            "private_key": self.write("app.key", leaf.private_key_pem),
            "endpoint_url": self.emulator.endpoint_url,
            "max_attempts": 1,
        }
        if leaf.chain:
            found["certificate_chain"] = self.write("chain.pem", leaf.chain_pem, mode=0o644)
        found |= changes
        return {name: value for name, value in found.items() if value is not None}

    def over_tls(self, **changes: Any) -> dict[str, Any]:
        """The same by HTTPS."""
        verified = {
            "endpoint_url": self.emulator.https_endpoint_url,
            "verify": self.emulator.ca_bundle,
        }
        return self.settings(**{**verified, **changes})

    def trusting(self, *, condition: Any = None, actions: Any = None) -> Setup:
        """A role whose trust policy has other conditions or actions, and the rest."""
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"Service": "rolesanywhere.amazonaws.com"},
            "Action": actions or ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        }
        if condition:
            statement["Condition"] = condition
        policy = {"Version": "2012-10-17", "Statement": statement}
        return self.set_up(role_arn=self.emulator.create_role("app", trust_policy=policy))

    def config(self, setup: Setup | None = None, **changes: Any) -> RolesAnywhereConfig:
        """A configuration that signs in, but for *changes*."""
        arguments = (setup or self.set_up()).config_arguments()
        return RolesAnywhereConfig(**{"max_attempts": 1, **arguments, **changes})

    def configure(self, settings: dict[str, Any] | str, *, administrator: bool = False) -> None:
        """Write the AWS config file: the profile ``app``, and perhaps the administrator's."""
        if not isinstance(settings, str):
            lines = [f"  {name} = {value}\n" for name, value in settings.items()]
            settings = f"[profile app]\nrolesanywhere =\n{''.join(lines)}"
        if administrator:
            settings += self.administrator()
        path = self.write("config", settings, mode=0o644)
        self.monkeypatch.setenv("AWS_CONFIG_FILE", path)
        if self.nobody and os.geteuid() == 0:
            # What is imported late may be where nobody else may read.
            with contextlib.redirect_stdout(io.StringIO()):
                cli.main(["doctor", "--profile", "app"])
            os.seteuid(NOBODY)
            self.cleanup.callback(os.seteuid, 0)

    def administrator(self) -> str:
        """The profile of one who may do everything."""
        return (
            f"\n[profile {ADMINISTRATOR}]\naws_access_key_id = {self.keys[0]}\n"
            f"aws_secret_access_key = {self.keys[1]}\n"
            f"endpoint_url = {self.emulator.aws_endpoint_url}\n"
        )

    def as_nobody(self) -> None:
        """Let the test go on with the rights of a user who owns nothing, once it is configured."""
        self.nobody = True

    def foreign_tls(self, **arguments: Any) -> tuple[str, str, str]:
        """A TLS server's certificate of another CA, its key, and the CA's file."""
        authority = CertificateAuthority("Foreign CA")
        leaf = authority.issue("server", client_auth=False, **arguments)
        return (
            self.write("server.pem", leaf.certificate_pem),
            self.write("server.key", leaf.private_key_pem),
            self.write("foreign-ca.pem", authority.certificate_pem),
        )


def examined(config: RolesAnywhereConfig, *groups: Sequence[Step], **options: Any) -> Diagnosis:
    """A diagnosis of these groups of checks alone."""
    case = Case(
        lambda: config,
        origin="a test",
        **{
            "make_session": botocore.session.Session,
            "administrator": None,
            "now": time.time,
            "sleep": lambda _: None,
            "jitter": lambda: 0.0,
            "expiry_days": 30,
            **options,
        },
    )
    steps = [step for group in (SETTINGS, *groups) for step in group]
    return Diagnosis(tuple(examine(case, steps)), datetime.now(timezone.utc))
