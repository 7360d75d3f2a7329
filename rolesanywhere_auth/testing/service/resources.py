# SPDX-License-Identifier: Apache-2.0
"""What trust anchors, profiles and CRLs have in common: aliases, switches, pages, answers."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from rolesanywhere_auth.testing.service.callers import Caller
from rolesanywhere_auth.testing.service.directory import Directory
from rolesanywhere_auth.testing.service.limits import Limits
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
    caller: Caller
    new_id: Callable[[], str]
    directory: Directory
    limits: Limits = field(default_factory=Limits)


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


def read_tags(call: Call) -> dict[str, str]:
    """The ``tags`` of a call; of several with one key the last counts. Case matters.

    Raises:
        Refusal: ``ValidationException`` for a key under ``aws:``, in whatever case, which
            AWS keeps for itself in all services (the text is ours).
    """
    tags = {tag["key"]: tag["value"] for tag in call.members.get("tags", [])}
    reserved = [key for key in tags if key.lower().startswith("aws:")]
    if reserved:
        raise invalid(f"The tag key '{reserved[0]}' begins with aws:, which is reserved.")
    return tags


def created(
    call: Call, item: SwitchT, describe: Callable[[Call, SwitchT], dict[str, Any]]
) -> dict[str, Any]:
    """Store a new *item* with its alias and tags, and describe it."""
    item, tags = keep_alias(call, item), read_tags(call)
    if tags:
        call.caller.check("rolesanywhere:TagResource", arn_of(item))
        call.shelf.tags[arn_of(item)] = tags
    call.shelf.put(item)
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

    Ours, as AWS documents neither: oldest first, and 50 in a page whose size the call
    does not name. A token says after which resource to go on, so that one that is
    deleted in the meantime makes no gap; the token of one operation is none of another.
    """

    def handler(call: Call) -> dict[str, Any]:
        after = _number(call.members.get("nextToken"), plural)
        size = call.members.get("pageSize", _DEFAULT_PAGE)
        if size < 1:
            raise invalid(f"The page size must be at least 1, not {size}.")
        numbers = call.shelf.numbers
        items = [item for item in call.shelf.all(kind) if numbers[arn_of(item)] > after]
        shown = items[:size]
        page: dict[str, Any] = {plural: [next(iter(describe(call, i).values())) for i in shown]}
        if len(items) > size:
            page["nextToken"] = _token(plural, numbers[arn_of(shown[-1])])
        return page

    return handler


def _token(plural: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{plural}:{number}".encode()).decode()


def _number(token: str | None, plural: str) -> int:
    if token is None:
        return -1
    with contextlib.suppress(ValueError):  # binascii's and UnicodeDecodeError among them
        kind, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
        if kind == plural:
            return int(number)
    raise invalid("The nextToken is not one that this operation gave.")
