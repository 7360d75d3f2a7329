# SPDX-License-Identifier: Apache-2.0
"""The service as one object: a request goes in, an answer comes out."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from rolesanywhere_auth.testing.service.audit import Attempt, Event, Operation, Trail
from rolesanywhere_auth.testing.service.control_plane import ControlPlane
from rolesanywhere_auth.testing.service.create_session import CreateSession
from rolesanywhere_auth.testing.service.directory import Directory
from rolesanywhere_auth.testing.service.fault_verbs import Faults, Wait
from rolesanywhere_auth.testing.service.faults import Call, RawAnswer, raw
from rolesanywhere_auth.testing.service.limits import Limits
from rolesanywhere_auth.testing.service.metrics import Metrics, Notices
from rolesanywhere_auth.testing.service.quotas import Quotas
from rolesanywhere_auth.testing.service.state import State, TrustAnchor
from rolesanywhere_auth.testing.service.wire import Refusal, Request, Response

_logger = logging.getLogger("rolesanywhere_auth.testing")


class Service:
    """IAM Roles Anywhere over one `State`, independent of HTTP and of moto.

    Args:
        directory: who knows the roles and mints the keys.
        region: the Region of control-plane calls whose signature names none.
        account_id: the account of all control-plane calls.
        clock: the present moment, with a time zone.
        random: a source of random bytes, ``os.urandom`` outside of tests.
        strict: refuse what AWS tolerates and only records in CloudTrail.
        max_skew: how far ``X-Amz-Date`` may be from *clock*.
        quotas: refuse calls above AWS's quotas of calls a second.
        wait: waits for an event, so many seconds at most.
        limits: the quotas of each account and Region; by default AWS's.

    Raises:
        ValueError: *region* or *account_id* could not stand in an ARN.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        region: str,
        account_id: str,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        strict: bool = False,
        max_skew: timedelta = timedelta(minutes=5),
        quotas: bool = False,
        wait: Wait = threading.Event.wait,
        limits: Limits | None = None,
    ) -> None:
        _check_place(region, account_id)
        self._clock = clock
        self._random = random
        self.state = State()
        self.trail = Trail(
            account_id=account_id, region=region, new_id=self._new_id, watch=self._count
        )
        self.metrics = Metrics(self._anchors, clock=clock)
        self._notices = Notices(self._anchors, clock=clock, new_id=self._new_id)
        self.faults = Faults(clock=clock, wait=wait)
        self._quotas = Quotas(clock=clock, enforced=quotas)
        self.directory = directory
        self.account_id = account_id
        self._control_plane = ControlPlane(
            self.state,
            account_id=account_id,
            region=region,
            new_id=self._new_id,
            directory=directory,
            limits=limits or Limits(),
        )
        self._create_session = CreateSession(
            self.state,
            directory=directory,
            trail=self.trail,
            new_id=self._new_id,
            max_skew=max_skew,
            strict=strict,
            admit=self._quotas.admit_sign_in,
        )

    @property
    def events(self) -> list[Event]:
        """One event per CreateSession, the last 10,000, oldest first."""
        return list(self.trail.sign_ins)

    @property
    def notices(self) -> list[dict[str, Any]]:
        """What EventBridge would have got about certificates that end soon."""
        with self.state.lock:
            return self._notices.all()

    def handle(self, request: Request, *, unmetered: bool = False) -> RawAnswer:
        """Answer one request; every answer has a request ID and the emulator's ``Date``.

        Args:
            request: what came in.
            unmetered: do not count it against the quotas.

        Raises:
            Dropped: a fault wants the connection closed without an answer.
        """
        request_id = self._new_id()
        if request.method == "POST" and request.path == "/sessions":
            call = Call(request)
            answer = self.faults.run(call, lambda: self._sign_in(call, request_id))
            return _dressed(answer, self._now() + call.conditions.skew, request_id)
        answer = self._administer(request, request_id, unmetered=unmetered)
        return _dressed(answer, self._now(), request_id)

    def refuse(self, refusal: Refusal) -> RawAnswer:
        """The answer for a request that a front could not read."""
        return _dressed(raw(refusal.response()), self._now(), self._new_id())

    def clear(self) -> None:
        """Forget resources, subjects, sessions, roles, events and faults."""
        with self.state.lock:
            self.state.clear()
            self.trail.clear()
            self.metrics.clear()
            self._notices.clear()
            self.faults.clear()
            self._quotas.clear()
            self.directory.clear()

    def _sign_in(self, call: Call, request_id: str) -> RawAnswer:
        now = self._now() + call.conditions.skew
        return self._respond(
            call.request,
            lambda: self._create_session.handle(
                call.request, now=now, request_id=request_id, conditions=call.conditions
            ),
        )

    def _administer(self, request: Request, request_id: str, *, unmetered: bool) -> RawAnswer:
        caller = request.caller
        operation = Operation(request, request_id, self._now(), caller.arn if caller else None)

        def observe(name: str, members: Mapping[str, Any] | None) -> None:
            operation.name, operation.members = name, members
            if members is None and not unmetered:
                self._quotas.admit(request)

        def respond() -> Response:
            try:
                answer = self._control_plane.handle(request, now=operation.now, observe=observe)
            except Refusal as refusal:
                self.trail.operation(operation, refusal=refusal)
                raise
            self.trail.operation(operation, answer=answer)
            return answer

        return self._respond(request, respond)

    def _respond(self, request: Request, respond: Callable[[], Response]) -> RawAnswer:
        with self.state.lock:
            try:
                return raw(respond())
            except Refusal as refusal:
                return raw(refusal.response())
            except Exception as error:
                # A fault of the emulator must reach the client as an answer, and the
                # test's author as a log record.
                _logger.exception("The emulator failed at %s %s", request.method, request.path)
                text = f"The emulator failed: {type(error).__name__}. Its log has the details."
                return raw(Refusal(500, "InternalServerException", text).response())

    def _count(self, attempt: Attempt, event: Event) -> None:
        self.metrics.count(event)
        if event.error_code is None:
            self._notices.used(attempt)

    def _anchors(self) -> list[TrustAnchor]:
        with self.state.lock:
            return self.state.all(TrustAnchor)

    def _now(self) -> datetime:
        return self._clock().astimezone(timezone.utc)

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._random(16), version=4))


def _check_place(region: str, account_id: str) -> None:
    if not re.fullmatch(r"[a-z0-9-]+", region):
        raise ValueError(f"region must be a Region's name, such as eu-west-1, not {region!r}")
    if not isinstance(account_id, str) or not re.fullmatch(r"[0-9]{12}", account_id):
        raise ValueError(f"account_id must be a text of 12 digits, not {account_id!r}")


def _dressed(answer: RawAnswer, now: datetime, request_id: str) -> RawAnswer:
    present = {name.lower() for name, _ in answer.headers}
    extra = (("x-amzn-RequestId", request_id), ("Date", format_datetime(now, usegmt=True)))
    missing = tuple(item for item in extra if item[0].lower() not in present)
    return replace(answer, headers=(*answer.headers, *missing))
