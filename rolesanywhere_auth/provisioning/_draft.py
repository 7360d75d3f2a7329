# SPDX-License-Identifier: Apache-2.0
"""A plan of a set-up in the making, and what its parts share."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from rolesanywhere_auth.errors import ResourceConflictError
from rolesanywhere_auth.provisioning.blueprint import TAG, Blueprint
from rolesanywhere_auth.provisioning.inventory import Inventory, Kind
from rolesanywhere_auth.provisioning.plan import Document, Step

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin


class Draft:
    """A plan in the making."""

    def __init__(self, blueprint: Blueprint, admin: Admin) -> None:
        self.blueprint = blueprint
        self.inventory = Inventory(admin)
        self.account_id = admin.account_id
        self.region = admin.region
        self.steps: list[Step] = []
        self.known: dict[str, str] = {}
        self.kept: list[str] = []
        self.notes: list[str] = []

    @property
    def tags(self) -> list[dict[str, str]]:
        """Of what Roles Anywhere makes."""
        return [{"key": TAG, "value": self.blueprint.name}]

    def keep(self, name: str, arn: str, text: str) -> str:
        """Note that *arn* is there, and stays."""
        self.known[name] = arn
        self.kept.append(f"{text} {arn}")
        return arn

    def mine(self, kind: Kind, what: str) -> dict[str, Any] | None:
        """The one thing of this kind that this set-up made; None if there is none yet.

        Raises:
            ResourceConflictError: There are several: two runs at once made them.
        """
        made = self.inventory.made_by(self.blueprint.name, kind, everywhere=False)
        if len(made) > 1:
            arns = tuple(item[f"{kind}Arn"] for item in made)
            raise ResourceConflictError(
                f"the set-up {self.blueprint.name} has {len(made)} {what}s, made by runs at the "
                f"same time: {', '.join(arns)}. Delete what is not in use, or tear the set-up "
                "down, which removes all.",
                arns=arns,
            )
        return made[0] if made else None


def known(draft: Draft, name: str, arn: str, before: int, what: str) -> str:
    """Note *arn*, as kept if no step was added since there were *before*."""
    if len(draft.steps) == before:
        return draft.keep(name, arn, f"keep {what}")
    draft.known[name] = arn
    return arn


def change(
    title: str,
    operation: str,
    parameters: dict[str, Any],
    details: tuple[str, ...] = (),
    *,
    service: Literal["iam", "rolesanywhere"] = "rolesanywhere",
) -> Step:
    """A step that changes what is there."""
    return Step(
        sign="~",
        title=title,
        service=service,
        operation=operation,
        parameters=parameters,
        details=details,
    )


def plain(value: Any) -> Any:
    """What a document holds; anything else as it is."""
    return value.value if isinstance(value, Document) else value


def differences(name: str, before: Any, after: Any) -> Iterable[str]:
    """Lines of what goes (-) and what comes (+)."""
    old, new = (_shown(plain(value)).splitlines() for value in (before, after))
    if len(old) == len(new) == 1:
        return [f"{name}: {old[0]} -> {new[0]}"]
    changed = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    return [f"{name}:", *(f"  {line}" for line in changed)]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "nothing"
    return json.dumps(value, indent=2, default=lambda later: f"(the new {later.name})")
