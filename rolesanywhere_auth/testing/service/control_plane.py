# SPDX-License-Identifier: Apache-2.0
"""The control plane: finds the operation of a request and lets its handler answer.

The caller's own AWS signature is not checked here: whoever reaches the emulator may
configure it, as with other local emulators. Where moto stands behind it and enforces
IAM, its front checks who calls and hands a `Caller` on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rolesanywhere_auth.testing.service import crls, profiles, subjects, tags, trust_anchors
from rolesanywhere_auth.testing.service.callers import Caller, resource_of
from rolesanywhere_auth.testing.service.directory import Directory
from rolesanywhere_auth.testing.service.limits import Limits
from rolesanywhere_auth.testing.service.model import Codec
from rolesanywhere_auth.testing.service.resources import Call, Handler
from rolesanywhere_auth.testing.service.state import Shelf, State, partition_of
from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response

HANDLERS: dict[str, Handler] = {
    **trust_anchors.HANDLERS,
    **profiles.HANDLERS,
    **crls.HANDLERS,
    **subjects.HANDLERS,
    **tags.HANDLERS,
}

Observe = Callable[[str, Mapping[str, Any] | None], None]


class ControlPlane:
    """All operations of botocore's model over one `State`.

    Args:
        state: where the resources are kept.
        account_id: the account that every control-plane call acts in.
        region: the Region of calls whose signature names none.
        new_id: makes the UUID of a new resource.
        directory: who knows the private CAs.
        limits: the quotas.
    """

    def __init__(
        self,
        state: State,
        *,
        account_id: str,
        region: str,
        new_id: Callable[[], str],
        directory: Directory,
        limits: Limits,
    ) -> None:
        self._state = state
        self._account_id = account_id
        self._region = region
        self._new_id = new_id
        self._directory = directory
        self._limits = limits
        self._codec = Codec()

    def handle(self, request: Request, *, now: datetime, observe: Observe) -> Response:
        """Answer *request*.

        *observe* is told the operation's name, then its members too.

        Raises:
            Refusal: for a path the model lacks (404), an operation the emulator lacks
                (501), and everything that the operation itself refuses.
        """
        found = self._codec.route(request)
        if found is None:
            text = (
                f"No operation of Roles Anywhere is at {request.method} {request.path} "
                "in the model of the installed botocore."
            )
            raise Refusal(404, "UnknownOperationException", text)
        operation, uri = found
        observe(operation.name, None)
        handler = HANDLERS.get(operation.name)
        if handler is None:
            text = f"This emulator does not implement {operation.name}."
            raise Refusal(501, "NotImplementedException", text)
        shelf = self._shelf(request)
        root = f"arn:{partition_of(shelf.region)}:iam::{shelf.account_id}:root"
        caller = request.caller or Caller(root)
        members = self._codec.parse(operation, uri, request)
        observe(operation.name, members)
        caller.check(f"rolesanywhere:{operation.name}", resource_of(members, shelf))
        call = Call(
            members=members,
            shelf=shelf,
            now=now,
            caller=caller,
            new_id=self._new_id,
            directory=self._directory,
            limits=self._limits,
        )
        return self._codec.answer(operation, handler(call))

    def _shelf(self, request: Request) -> Shelf:
        authorization = request.header("Authorization") or ""
        scope = re.search(r"Credential=[^/]+/\d+/([a-z0-9-]+)/", authorization)
        return self._state.shelf(self._account_id, scope[1] if scope else self._region)
