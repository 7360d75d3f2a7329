"""What trust anchors, profiles and CRLs have in common: aliases, switches, pages, answers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from rolesanywhere_auth.testing.service.state import (
    CRL,
    KINDS,
    Profile,
    Resource,
    ResourceT,
    Shelf,
    TrustAnchor,
    arn_of,
    wire_members,
)
from rolesanywhere_auth.testing.service.wire import invalid

_DEFAULT_PAGE = 50
SwitchT = TypeVar("SwitchT", TrustAnchor, Profile, CRL)


@dataclass(frozen=True)
class Call:
    """One control-plane call: its checked members and where it acts."""

    members: Mapping[str, Any]
    shelf: Shelf
    now: datetime
    caller: str
    new_id: Callable[[], str]


Handler = Callable[[Call], dict[str, Any]]


def keep_alias(call: Call, item: SwitchT) -> SwitchT:
    """*item* with the ``aliasName`` of the call; an empty one takes the alias away.

    Raises:
        Refusal: ``ValidationException`` for a reserved or taken name (the texts are ours;
            the rules stand in the documentation of the model's ``aliasName``).
    """
    name = call.members.get("aliasName")
    if name is None:
        return item
    if name.lower().startswith("aws/"):
        raise invalid(f"The alias name '{name}' begins with aws/, which is reserved.")
    for other in call.shelf.all(type(item)):
        if name and other.alias_name == name and arn_of(other) != arn_of(item):
            raise invalid(f"The alias name '{name}' is taken by {arn_of(other)}.")
    return replace(item, alias_name=name or None)


def keep_tags(call: Call, item: Resource) -> None:
    """Store the ``tags`` of a create call."""
    tags = {tag["key"]: tag["value"] for tag in call.members.get("tags", [])}
    if tags:
        call.shelf.tags[arn_of(item)] = tags


def created(
    call: Call, item: SwitchT, describe: Callable[[Call, SwitchT], dict[str, Any]]
) -> dict[str, Any]:
    """Store a new *item* with its alias and tags, and describe it."""
    item = keep_alias(call, item)
    call.shelf.put(item)
    keep_tags(call, item)
    return describe(call, item)


def updated(
    call: Call, item: SwitchT, describe: Callable[[Call, SwitchT], dict[str, Any]]
) -> dict[str, Any]:
    """Store the changed *item*; the answer names the alias it had if that changed."""
    before = item.alias_name
    item = replace(keep_alias(call, item), updated_at=call.now)
    call.shelf.put(item)
    answer = describe(call, item)
    if before is not None and before != item.alias_name:
        next(iter(answer.values()))["previousAliasName"] = before
    return answer


def detail(call: Call, item: Resource) -> dict[str, Any]:
    """The members that each Detail shape takes straight from the stored resource."""
    members = wire_members(item)
    if "aliasName" in members:
        members["aliasArn"] = call.shelf.arn(f"alias/{KINDS[type(item)]}", members["aliasName"])
    return members


def switch(
    kind: type[SwitchT],
    member: str,
    describe: Callable[[Call, SwitchT], dict[str, Any]],
    *,
    enabled: bool,
) -> Handler:
    """The handler of an Enable or Disable operation."""

    def handler(call: Call) -> dict[str, Any]:
        item = call.shelf.find(kind, call.members[member])
        item = replace(item, enabled=enabled, updated_at=call.now)
        call.shelf.put(item)
        return describe(call, item)

    return handler


def getter(
    kind: type[ResourceT], member: str, describe: Callable[[Call, ResourceT], dict[str, Any]]
) -> Handler:
    """The handler of a Get operation."""
    return lambda call: describe(call, call.shelf.find(kind, call.members[member]))


def deleter(
    kind: type[ResourceT], member: str, describe: Callable[[Call, ResourceT], dict[str, Any]]
) -> Handler:
    """The handler of a Delete operation; it answers with what it deleted."""

    def handler(call: Call) -> dict[str, Any]:
        item = call.shelf.find(kind, call.members[member])
        call.shelf.remove(item)
        return describe(call, item)

    return handler


def lister(
    kind: type[ResourceT], plural: str, describe: Callable[[Call, ResourceT], dict[str, Any]]
) -> Handler:
    """The handler of a paginated List operation.

    The page size of a call that names none is 50; AWS documents none, so this is ours.
    """

    def handler(call: Call) -> dict[str, Any]:
        items = call.shelf.all(kind)
        start = _offset(call.members.get("nextToken"))
        size = call.members.get("pageSize", _DEFAULT_PAGE)
        if size < 1:
            raise invalid(f"The page size must be at least 1, not {size}.")
        page: dict[str, Any] = {
            plural: [
                next(iter(describe(call, item).values())) for item in items[start : start + size]
            ]
        }
        if start + size < len(items):
            page["nextToken"] = base64.urlsafe_b64encode(f"from:{start + size}".encode()).decode()
        return page

    return handler


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        kind, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
        if kind == "from":
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise invalid("The nextToken is not one that this operation gave.")
