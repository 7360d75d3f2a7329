# SPDX-License-Identifier: Apache-2.0
"""The tagging operations of the control plane."""

from __future__ import annotations

from typing import Any

from rolesanywhere_auth.testing.service.resources import Call, Handler, read_tags
from rolesanywhere_auth.testing.service.wire import Refusal, not_found

_MAXIMUM = 200


def tag(call: Call) -> dict[str, Any]:
    """TagResource: adds tags, a known key gets the new value.

    Raises:
        Refusal: ``TooManyTagsException`` over 200 tags, the model's limit for one call;
            whether AWS counts the sum the same way is not known.
    """
    arn = _known(call)
    tags = call.shelf.tags.get(arn, {}) | read_tags(call)
    if len(tags) > _MAXIMUM:
        text = f"{arn} would have {len(tags)} tags; {_MAXIMUM} are allowed."
        raise Refusal(400, "TooManyTagsException", text)
    call.shelf.tags[arn] = tags
    return {}


def untag(call: Call) -> dict[str, Any]:
    """UntagResource: keys that are not there are ignored."""
    tags = call.shelf.tags.get(_known(call), {})
    for key in call.members["tagKeys"]:
        tags.pop(key, None)
    return {}


def list_tags(call: Call) -> dict[str, Any]:
    """ListTagsForResource."""
    tags = call.shelf.tags.get(_known(call), {})
    return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}


def _known(call: Call) -> str:
    arn: str = call.members["resourceArn"]
    if arn not in call.shelf.resources:
        raise not_found(
            f"No resource {arn} in account {call.shelf.account_id}, Region {call.shelf.region}."
        )
    return arn


HANDLERS: dict[str, Handler] = {
    "TagResource": tag,
    "UntagResource": untag,
    "ListTagsForResource": list_tags,
}
