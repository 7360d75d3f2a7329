"""An AWS account to set up in: the emulator, with moto's IAM and STS."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from rolesanywhere_auth.provisioning import Admin, make_development_ca
from rolesanywhere_auth.testing import Emulator

READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
}


class Interrupted(BaseException):
    """As a Ctrl-C, or a machine that goes down."""


class Account:
    """What tests ask of the account."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.now = datetime.now(timezone.utc)
        self.reset()

    def reset(self) -> None:
        """Back to the beginning."""
        self.emulator.clear()
        # The emulator's own port: half the work of moto's.
        self.clients = {"rolesanywhere": self.emulator.control_plane()}
        self.clients |= {name: self.emulator.client(name) for name in ("iam", "sts")}
        self.rolesanywhere, self.iam = self.clients["rolesanywhere"], self.clients["iam"]
        self.policies = [self.policy(name) for name in ("read", "other")]
        self.admin = self.admin_of(self.clients)

    @staticmethod
    def admin_of(clients: dict[str, Any]) -> Admin:
        """Who calls by these clients."""
        return Admin(**{name: clients[name] for name in ("rolesanywhere", "iam", "sts")})

    def policy(self, name: str) -> str:
        """A managed policy's ARN."""
        document = json.dumps(READ)
        return self.iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]

    def user(self, policy: Any, *, name: str = "alice") -> Admin:
        """An administrator with this policy alone."""
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(
            UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy)
        )  # fmt: skip
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        keys = {
            "aws_access_key_id": key["AccessKeyId"],
            "aws_secret_access_key": key["SecretAccessKey"],
        }
        clients = {
            name: self.emulator.client(name, **keys) for name in ("rolesanywhere", "iam", "sts")
        }
        return self.admin_of(clients)

    def tags(self, arn: str) -> dict[str, str]:
        """Of something of Roles Anywhere."""
        found = self.rolesanywhere.list_tags_for_resource(resourceArn=arn)["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    def snapshot(self) -> Any:
        """All there is, with numbers in place of UUIDs: equal for equal accounts."""
        found: dict[str, Any] = {}
        for operation, key, arn in (
            ("list_trust_anchors", "trustAnchors", "trustAnchorArn"),
            ("list_profiles", "profiles", "profileArn"),
            ("list_crls", "crls", "crlArn"),
        ):
            items = getattr(self.rolesanywhere, operation)()[key]
            found[key] = [{**item, "tags": self.tags(item[arn])} for item in items]
        found["roles"] = []
        for item in self.iam.list_roles()["Roles"]:
            name = item["RoleName"]
            role = self.iam.get_role(RoleName=name)["Role"]
            role["attached"] = self.iam.list_attached_role_policies(RoleName=name)[
                "AttachedPolicies"
            ]
            found["roles"].append(role)
        return _comparable(found)

    @contextlib.contextmanager
    def interrupted(self, *, at: int, when: str) -> Iterator[None]:
        """Call number *at* does not reach AWS (before-call), or its answer us (after-call)."""
        count = 0

        def handler(**event: Any) -> None:
            nonlocal count
            count += 1
            if count == at + 1:
                raise Interrupted

        for client in self.clients.values():
            client.meta.events.register(when, handler)
        try:
            with pytest.raises(Interrupted):
                yield
        finally:
            for client in self.clients.values():
                client.meta.events.unregister(when, handler)

    @contextlib.contextmanager
    def operations(self) -> Iterator[list[str]]:
        """The names of the calls meanwhile."""
        names: list[str] = []

        def handler(model: Any, **event: Any) -> None:
            names.append(model.name)

        for client in self.clients.values():
            client.meta.events.register("before-call", handler)
        try:
            yield names
        finally:
            for client in self.clients.values():
                client.meta.events.unregister("before-call", handler)


def _comparable(value: Any) -> Any:
    text = json.dumps(value, default=lambda it: it.decode() if isinstance(it, bytes) else "{time}")
    text = re.sub(r'"(RoleId|createdBy)": "[^"]*"', r'"\1": "…"', text)
    seen: dict[str, str] = {}
    numbered = re.sub(
        r"[0-9a-f]{8}-[0-9a-f-]{27}",
        lambda match: seen.setdefault(match[0], f"uuid-{len(seen)}"),
        text,
    )
    return json.loads(numbered)


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    """One emulator with moto for a module; moto has room for one service."""
    with Emulator(aws=True) as emulator:
        yield emulator


@pytest.fixture
def account(running: Emulator) -> Account:
    """An account with nothing in it but two managed policies."""
    return Account(running)


@pytest.fixture(scope="session")
def cas(tmp_path_factory: Any) -> list[Any]:
    """The folders of two CAs."""
    folders = [tmp_path_factory.mktemp(f"ca{number}") for number in range(2)]
    for folder in folders:
        make_development_ca(folder, now=datetime.now(timezone.utc), common_name=folder.name)
    return folders
