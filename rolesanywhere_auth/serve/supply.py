# SPDX-License-Identifier: Apache-2.0
"""One role's credentials for a server whose loop must not wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.errors import ConfigurationError, RolesAnywhereError, ServiceError
from rolesanywhere_auth.renewed import renewal_of
from rolesanywhere_auth.serve.http import Answer, refusal

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.credentials import RolesAnywhereCredentials
    from rolesanywhere_auth.record import Snapshot

logger = logging.getLogger("rolesanywhere_auth.serve")

GRACE_SECONDS = 0.5
"""SDKs give an endpoint one second (IMDS; all of JavaScript's) or two."""
NUDGE_SECONDS = 1.0
"""Between two looks after credentials that are due to be renewed."""
WARM_SECONDS = (1.0, 60.0)
"""Between two attempts to have first credentials: at least, at most."""


class Supply:
    """What is known of one role without waiting, and one sign-in for all who must wait.

    Only to be used in the loop's own thread.

    Args:
        name: Of the role, on this server.
        credentials: Renew themselves.
        now: Seconds since the epoch, as `time.time`.
    """

    def __init__(
        self, name: str, credentials: RolesAnywhereCredentials, *, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.credentials = credentials
        self._renewal = renewal_of(credentials)
        self._now = now
        self._pending: asyncio.Future[Snapshot] | None = None
        self._nudged = float("-inf")
        self._encoded: tuple[Snapshot | None, Answer | None, Answer | None] = (None, None, None)

    @property
    def config(self) -> RolesAnywhereConfig:
        """Who signs in, and for which role."""
        return self.credentials.config

    def peek(self) -> Snapshot | None:
        """Credentials that may be used at once; None if one must wait for them."""
        snapshot = self._renewal.snapshot
        now = self._now()
        if now >= snapshot.usable_until:
            return None
        if now >= snapshot.hot_until and not 0 <= now - self._nudged < NUDGE_SECONDS:
            self._nudged = now
            self.fetch()  # it starts the thread that renews, or does its work
        return snapshot

    def fetch(self) -> asyncio.Future[Snapshot]:
        """The sign-in under way, or a new one; shared, and never to be cancelled."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = pending = loop.create_future()
            pending.add_done_callback(self._landed)
            # No executor: that would be waited for at the end, however long a sign-in hangs.
            thread = threading.Thread(
                target=self._wait, args=(loop, pending), name="rolesanywhere-serve", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # no more threads on this machine
                pending.set_exception(error)
        return self._pending

    def _wait(self, loop: asyncio.AbstractEventLoop, pending: asyncio.Future[Snapshot]) -> None:
        try:
            settle = partial(pending.set_result, self._renewal.current())
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            settle = partial(pending.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(settle)

    def _landed(self, pending: asyncio.Future[Snapshot]) -> None:
        pending.exception()  # seen: nobody may have waited for it
        self._pending = None

    async def wait(self) -> Snapshot | Exception:
        """Credentials, or why there are none.

        While the present ones are valid, their renewal is not waited for longer than SDKs wait
        for us.
        """
        pending = self.fetch()
        snapshot = self._renewal.snapshot
        valid = self._now() < snapshot.expires
        await asyncio.wait({pending}, timeout=GRACE_SECONDS if valid else None)
        if not pending.done():
            return snapshot
        error = pending.exception()
        if error is None:
            return pending.result()
        assert isinstance(error, Exception)
        return error

    async def warm(self) -> None:
        """Try until there are first credentials; after that they renew themselves."""
        least, most = WARM_SECONDS
        while isinstance(await self.wait(), Exception):
            logger.debug("role %s: no credentials yet", self.name)  # renewal said why
            due = self._renewal.next_attempt
            left = 0.0 if due is None else due.timestamp() - self._now()
            await asyncio.sleep(min(max(left, least), most))

    # as the two protocols have it

    def container_answer(self, snapshot: Snapshot) -> Answer:
        """For the container-credentials protocol."""
        return self._answers(snapshot)[0]

    def imds_answer(self, snapshot: Snapshot) -> Answer:
        """For the instance metadata service."""
        return self._answers(snapshot)[1]

    def _answers(self, snapshot: Snapshot) -> tuple[Answer, Answer]:
        known, container, imds = self._encoded
        if known is not snapshot or container is None or imds is None:
            keys = _keys(snapshot)
            more = {"RoleArn": self.config.role_arn, "AccountId": self.config.account_id}
            container = _json({**more, **keys})
            issued = datetime.fromtimestamp(snapshot.issued, timezone.utc)
            imds = _json(
                {"Code": "Success", "LastUpdated": _text(issued), "Type": "AWS-HMAC", **keys}
            )
            self._encoded = (snapshot, container, imds)
        return container, imds

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether credentials are there, and how they stand; no secrets."""
        found = self.credentials.health()
        error = found.last_error
        return found.state in {"fresh", "stale"}, {
            "state": found.state,
            "circuit": found.circuit,
            "expires_at": _text(found.expires_at),
            "last_success": _text(found.last_success),
            "last_error": None if error is None else type(error).__name__,
            "next_attempt": _text(found.next_attempt),
            "certificate_serial_number": _number(found.certificate_serial_number),
            "certificate_expires_at": _text(found.certificate_expires_at),
        }


def _keys(snapshot: Snapshot) -> dict[str, str | None]:
    frozen = snapshot.frozen
    if not (frozen.access_key and frozen.secret_key and frozen.token and snapshot.expiration):
        raise AssertionError("an empty answer would look like credentials")
    return {
        "AccessKeyId": frozen.access_key,
        "SecretAccessKey": frozen.secret_key,
        "Token": frozen.token,
        "Expiration": _text(snapshot.expiration),
    }


def _json(members: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(members).encode())


def _text(moment: datetime | None) -> str | None:
    """As AWS writes it; botocore's reader of IMDS takes neither fractions nor an offset."""
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(serial: int | None) -> str | None:
    return None if serial is None else str(serial)  # JSON's numbers are too short for some readers


def failed(error: Exception, *, final: int) -> Answer:
    """The answer when there are no credentials to give.

    Args:
        error: Why.
        final: The status where trying again will not help; it is 503 where it may.
    """
    if not isinstance(error, RolesAnywhereError):
        logger.error("no credentials: %s", type(error).__name__)
        return refusal(500, "InternalError", "an unexpected error; see the log of the server")
    code = error.code if isinstance(error, ServiceError) and error.code else type(error).__name__
    if error.retryable:
        return refusal(503, code, str(error), headers=(("Retry-After", "1"),))
    return refusal(final, code, str(error))


def check_names(names: list[str]) -> None:
    """Check that *names* can stand in a path and name a file.

    Raises:
        ConfigurationError: one cannot, or there is none.
    """
    if not names:
        raise ConfigurationError("a server of credentials needs at least one role")
    for name in names:
        allowed = all(letter.isalnum() or letter in "_+=,.@-" for letter in name)
        if not (name and name.isascii() and allowed and len(name) <= 64):
            raise ConfigurationError(
                f"{name!r} cannot name a role of the server: use 1 to 64 of letters, digits and "
                "_+=,.@-, as IAM does"
            )
