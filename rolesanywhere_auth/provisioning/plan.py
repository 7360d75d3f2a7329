# SPDX-License-Identifier: Apache-2.0
"""`Plan`: AWS calls to be made, as data that can be read first; `apply` makes them.

A step is one call. What a call needs of an earlier one's answer, such as the ARN of a new
trust anchor, stands in it as a `Later`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rolesanywhere_auth.errors import ProvisioningError
from rolesanywhere_auth.provisioning.admin import is_absent

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin
    from rolesanywhere_auth.provisioning.inventory import Kind

TRUST_ANCHOR, PROFILE, ROLE = "trust_anchor_arn", "profile_arn", "role_arn"
"""What a set-up brings."""
_NAMES: dict[Kind, str] = {"trustAnchor": "trust_anchor", "profile": "profile", "crl": "crl"}
"""As boto3 has them in the names of its operations."""


@dataclass(frozen=True)
class Later:
    """Stands for the value of this name that an earlier step will bring."""

    name: str


@dataclass(frozen=True)
class Document:
    """Goes out as JSON text; there may be a `Later` in it."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Step:
    """One AWS call."""

    sign: Literal["+", "~", "-"]
    """Makes, changes or removes something."""
    title: str
    service: Literal["iam", "rolesanywhere"]
    operation: str
    """As boto3 names it."""
    parameters: Mapping[str, Any] = field(repr=False)
    details: tuple[str, ...] = ()
    """What becomes how; for people."""
    brings: tuple[str, str, str] | None = None
    """A name for `Later`, and the two members of the answer that lead to its value."""


def switch(
    kind: Kind, item: Mapping[str, Any], *, to: Literal["enable", "disable"], title: str
) -> Step:
    """The step that enables or disables a trust anchor, a profile or a CRL.

    Args:
        kind: What it is.
        item: As AWS lists it.
        to: Which of the two.
        title: For people.
    """
    member = f"{kind}Id"
    return Step(
        sign="~" if to == "enable" else "-",
        title=title,
        service="rolesanywhere",
        operation=f"{to}_{_NAMES[kind]}",
        parameters={member: item[member]},
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done; no AWS call was made that changes anything.

    An empty plan is one that was carried out already.
    """

    title: str
    steps: tuple[Step, ...]
    known: Mapping[str, str] = field(default_factory=dict)
    """ARNs of what is there."""
    kept: tuple[str, ...] = ()
    """What is there and stays as it is; for people."""
    notes: tuple[str, ...] = ()
    """What whoever decides should know."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __str__(self) -> str:
        """For people: each step, each difference, and what stays."""
        lines = [f"  = {kept}" for kept in self.kept]
        for step in self.steps:
            lines.append(f"  {step.sign} {step.title}")
            lines += [f"      {detail}" for detail in step.details]
        lines += [f"  ! {note}" for note in self.notes]
        count = len(self.steps)
        end = f"{count} step{'s' if count > 1 else ''}." if count else "Nothing to do."
        return "\n".join([self.title, "", *lines, *([""] if lines else []), end])


def apply(
    plan: Plan, admin: Admin, *, on_step: Callable[[Step], object] | None = None
) -> dict[str, str]:
    """Make the calls of *plan*, in order.

    Interrupted at any moment, it can be planned and applied again.

    Args:
        plan: Made a moment ago.
        admin: Who makes the calls.
        on_step: Called before each.

    Returns:
        What there is now: ``trust_anchor_arn``, ``profile_arn``, ``role_arn``, as far as the
        plan is about them.

    Raises:
        MissingPermissionError: The administrator may not make a call.
        ProvisioningError: A call was refused, or not answered.
    """
    known = dict(plan.known)
    for number, step in enumerate(plan.steps):
        if on_step is not None:
            on_step(step)
        try:
            answer = admin.call(step.service, step.operation, **filled(step.parameters, known))
        except ProvisioningError as error:
            if step.sign == "-" and is_absent(error):
                continue  # the aim is reached
            error.message += (
                f" ({number} of {len(plan.steps)} steps were done; the next run goes on from there)"
            )
            raise
        if step.brings is not None:
            name, outer, inner = step.brings
            known[name] = answer[outer][inner]
    return known


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """*value* with what each `Later` stands for, and documents as text."""
    if isinstance(value, Later):
        return known[value.name]
    if isinstance(value, Document):
        return json.dumps(filled(value.value, known))
    if isinstance(value, Mapping):
        return {key: filled(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, known) for item in value]
    return value
