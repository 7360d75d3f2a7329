"""The service as one object: a request goes in, an answer comes out."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from rolesanywhere_auth.testing.service.audit import Event
from rolesanywhere_auth.testing.service.control_plane import ControlPlane
from rolesanywhere_auth.testing.service.create_session import CreateSession
from rolesanywhere_auth.testing.service.directory import Directory
from rolesanywhere_auth.testing.service.faults import Faults, RawAnswer, raw
from rolesanywhere_auth.testing.service.limits import Limits
from rolesanywhere_auth.testing.service.state import State
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
        limits: the quotas of each account and Region; by default AWS's.
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
        limits: Limits | None = None,
    ) -> None:
        self.state = State()
        self.events: list[Event] = []
        self.faults = Faults()
        self.directory = directory
        self.account_id = account_id
        self._clock = clock
        self._random = random
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
            events=self.events,
            new_id=self._new_id,
            max_skew=max_skew,
            strict=strict,
        )

    def handle(self, request: Request) -> RawAnswer:
        """Answer one request; every answer has a request ID and the emulator's ``Date``.

        Raises:
            Dropped: an injected fault wants the connection closed without an answer.
        """
        is_session = request.method == "POST" and request.path == "/sessions"
        answer = self.faults.take(request) if is_session else None
        request_id = self._new_id()
        now = self._clock().astimezone(timezone.utc)
        if answer is None:
            answer = raw(self._respond(request, now, request_id, is_session=is_session))
        return _dressed(answer, now, request_id)

    def refuse(self, refusal: Refusal) -> RawAnswer:
        """The answer for a request that a front could not read."""
        now = self._clock().astimezone(timezone.utc)
        return _dressed(raw(refusal.response()), now, self._new_id())

    def clear(self) -> None:
        """Forget resources, subjects, sessions, roles, events and faults."""
        with self.state.lock:
            self.state.clear()
            self.events.clear()
            self.faults.clear()
            self.directory.clear()

    def _respond(
        self, request: Request, now: datetime, request_id: str, *, is_session: bool
    ) -> Response:
        with self.state.lock:
            try:
                if is_session:
                    return self._create_session.handle(request, now=now, request_id=request_id)
                return self._control_plane.handle(request, now=now)
            except Refusal as refusal:
                return refusal.response()
            except Exception as error:
                # A fault of the emulator must reach the client as an answer, and the
                # test's author as a log record.
                _logger.exception("The emulator failed at %s %s", request.method, request.path)
                text = f"The emulator failed: {type(error).__name__}. Its log has the details."
                return Refusal(500, "InternalServerException", text).response()

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._random(16), version=4))


def _dressed(answer: RawAnswer, now: datetime, request_id: str) -> RawAnswer:
    present = {name.lower() for name, _ in answer.headers}
    extra = (("x-amzn-RequestId", request_id), ("Date", format_datetime(now, usegmt=True)))
    missing = tuple(item for item in extra if item[0].lower() not in present)
    return RawAnswer(answer.status, (*answer.headers, *missing), answer.body)
