# SPDX-License-Identifier: Apache-2.0
"""Who is told of sign-ins and of their requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rolesanywhere_auth.errors import TransportError
from rolesanywhere_auth.events import AttemptEvent, AttemptHook, RenewalEvent, RenewalHook

if TYPE_CHECKING:
    from rolesanywhere_auth.exchange import HTTPResponse
    from rolesanywhere_auth.identity import IdentitySource
    from rolesanywhere_auth.signing import HTTPRequest

logger = logging.getLogger("rolesanywhere_auth.credentials")


class Hooks:
    """Tells each hook, and keeps its errors from doing harm.

    Args:
        first: A hook.
        identities: Whose certificate's serial number is added to events.
        now: Seconds since the epoch, as `time.time`.
    """

    def __init__(
        self,
        first: RenewalHook | None = None,
        *,
        identities: IdentitySource | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hooks: list[RenewalHook] = [] if first is None else [first]
        self._of_attempts: list[AttemptHook] = []
        self._identities = identities
        self._now = now

    def add(self, hook: RenewalHook, *, attempts: AttemptHook | None = None) -> None:
        """Tell *hook* too, and *attempts* of every request."""
        self._hooks.append(hook)
        if attempts is not None:
            self._of_attempts.append(attempts)

    def __call__(self, event: RenewalEvent) -> None:
        """Tell all of *event*."""
        if not self._hooks:
            return
        identity = None if self._identities is None else self._identities.identity
        if identity is not None:
            event = event._replace(serial_number=identity.serial_number)
        for hook in tuple(self._hooks):
            try:
                hook(event)
            except Exception:
                logger.exception("the hook for renewal events failed")

    def watched(
        self, send: Callable[[HTTPRequest], HTTPResponse]
    ) -> Callable[[HTTPRequest], HTTPResponse]:
        """*send* for one sign-in, with the hooks told of its requests; itself if there are none."""
        if not self._of_attempts:
            return send
        numbers = count(1)

        def sent(request: HTTPRequest) -> HTTPResponse:
            parts = urlsplit(request.url)
            event = AttemptEvent(
                at=datetime.fromtimestamp(self._now(), timezone.utc),
                duration=0.0,
                number=next(numbers),
                url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
            )
            began = time.perf_counter()
            try:
                answer = send(request)
            except TransportError as error:
                self._tell(event._replace(duration=time.perf_counter() - began, error=error))
                raise
            self._tell(
                event._replace(
                    duration=time.perf_counter() - began,
                    status=answer.status,
                    request_id=answer.headers.get("x-amzn-requestid"),
                )
            )
            return answer

        return sent

    def _tell(self, event: AttemptEvent) -> None:
        for hook in tuple(self._of_attempts):
            try:
                hook(event)
            except Exception:
                logger.exception("the hook for requests failed")
