# SPDX-License-Identifier: Apache-2.0
"""`Inventory`: what is there at AWS, and whose it is; reads, and changes nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from rolesanywhere_auth.provisioning.blueprint import PATH, TAG

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin

Kind = Literal["trustAnchor", "profile", "crl"]
_LISTINGS = {
    "trustAnchor": ("list_trust_anchors", "trustAnchors"),
    "profile": ("list_profiles", "profiles"),
    "crl": ("list_crls", "crls"),
}


_ANCHOR_REGION = re.compile(r":rolesanywhere:([a-z0-9-]+):[0-9]{12}:trust-anchor/")


@dataclass(frozen=True, kw_only=True)
class Role:
    """An IAM role."""

    name: str
    arn: str
    setup: str | None
    """The set-up that made it."""
    trust_policy: Any
    max_session_duration: int
    policy_arns: tuple[str, ...]
    """Managed policies attached to it."""

    def elsewhere(self, region: str) -> str | None:
        """The Region of the trust anchor that it trusts, if that is another than *region*.

        Roles belong to no Region: one that a set-up of the same name made for another Region
        is not that of this one.
        """
        found = set(_ANCHOR_REGION.findall(json.dumps(self.trust_policy)))
        return None if region in found else min(found, default=None)


class Inventory:
    """What an account has in a Region; each thing is asked for once."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._items: dict[Kind, list[dict[str, Any]]] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def all(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind, oldest first where AWS lists them so."""
        if kind not in self._items:
            operation, key = _LISTINGS[kind]
            self._items[kind] = self._admin.listed("rolesanywhere", operation, key)
        return self._items[kind]

    def setup_of(self, arn: str) -> str | None:
        """The set-up that made this trust anchor, profile or CRL; None if none did."""
        if arn not in self._tags:
            answer = self._admin.call(
                "rolesanywhere", "list_tags_for_resource", resourceArn=arn
            )["tags"]  # fmt: skip
            self._tags[arn] = {tag["key"]: tag["value"] for tag in answer}
        return self._tags[arn].get(TAG)

    def made_by(self, setup: str, kind: Kind, *, everywhere: bool = True) -> list[dict[str, Any]]:
        """What *setup* made, whatever it is named now.

        Unless *everywhere*, what still has the set-up's name is asked first, and the rest only
        if nothing is found: AWS answers one question about tags a second (UG/quotas).
        """
        items = self.all(kind)
        named = [item for item in items if item["name"] == setup]
        found = self._tagged(setup, kind, named)
        if found and not everywhere:
            return found
        return found + self._tagged(setup, kind, [item for item in items if item not in named])

    def _tagged(self, setup: str, kind: Kind, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if self.setup_of(item[f"{kind}Arn"]) == setup]

    def role(self, name: str) -> Role | None:
        """The role of this name, wherever its path."""
        found = self._admin.find("iam", "get_role", RoleName=name)
        if found is None:
            return None
        role = found["Role"]
        attached = self._admin.listed(
            "iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name
        )
        tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
        return Role(
            name=role["RoleName"],
            arn=role["Arn"],
            setup=tags.get(TAG),
            trust_policy=_document(role["AssumeRolePolicyDocument"]),
            max_session_duration=role.get("MaxSessionDuration", 3600),
            policy_arns=tuple(policy["PolicyArn"] for policy in attached),
        )

    def has_role(self, arn: str) -> bool:
        """Whether there is the role with this ARN."""
        found = self._admin.find("iam", "get_role", RoleName=arn.rpartition("/")[2])
        return found is not None and found["Role"]["Arn"] == arn

    def roles_made_by(self, setup: str) -> list[Role]:
        """The roles that *setup* made."""
        listed = self._admin.listed("iam", "list_roles", "Roles", PathPrefix=PATH)
        roles = [self.role(item["RoleName"]) for item in listed]
        return [role for role in roles if role is not None and role.setup == setup]

    def inline_policies(self, role: Role) -> list[str]:
        """The names of the role's own policies."""
        names: list[str] = self._admin.listed(
            "iam", "list_role_policies", "PolicyNames", RoleName=role.name
        )
        return names


def _document(value: Any) -> Any:
    """botocore decodes a policy; where it does not, it is URL-encoded JSON."""
    return json.loads(unquote(value)) if isinstance(value, str) else value


def normal(document: Any) -> Any:
    """A policy such that two which mean the same are equal, as far as order and lists go."""
    if isinstance(document, dict):
        return {key: normal(value) for key, value in document.items()}
    if isinstance(document, list):
        items = [normal(item) for item in document]
        if len(items) == 1:
            return items[0]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return document
