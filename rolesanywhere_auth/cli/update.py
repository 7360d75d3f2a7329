# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth update``: keeps a profile of the shared credentials file fresh."""

from __future__ import annotations

import argparse
import logging
import os
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from rolesanywhere_auth import _flags

if TYPE_CHECKING:
    from rolesanywhere_auth.exchange import Clock, SessionCredentials

logger = logging.getLogger("rolesanywhere_auth.update")

LONGEST_SLEEP = 60.0
"""Seconds between looks at the clock, which a suspended machine misses, and the certificate."""


_OWN = (
    _flags.Flag("--profile", "the section; by default: default", "NAME", "default"),
    _flags.Flag("--once", "write once, and end"),
)


def add_to(verbs: Any) -> None:
    """Add the command and its flags, which are named as in ``aws_signing_helper``."""
    command = verbs.add_parser(
        "update",
        help="keep a profile of ~/.aws/credentials fresh",
        description="Sign in and write the credentials to a profile of the shared credentials "
        "file (AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials), and again before they "
        "expire, until Ctrl-C or SIGTERM. Everything else in the file stays as it is.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _flags.add_sign_in_flags(command)
    _flags.add_flags(command, _OWN)


class SignsIn(Protocol):
    """What `rolesanywhere_auth.credentials.SignIn` is."""

    clock: Clock

    def __call__(self) -> SessionCredentials:
        """Sign in."""
        ...

    def poll(self) -> bool:
        """Whether there is another certificate."""
        ...


class Updater:
    """Signs in and writes, again and again.

    Args:
        sign_in: Gives credentials, or raises.
        write: Puts them where they belong, or raises.
        now: Seconds of the wall clock.
        wait: Sleeps so many seconds; whether it is time to stop.
        draw: Returns 0 to 1; spreads renewals over a fleet.
    """

    def __init__(
        self,
        sign_in: SignsIn,
        write: Callable[[SessionCredentials], object],
        *,
        now: Callable[[], float],
        wait: Callable[[float], bool],
        draw: Callable[[], float],
    ) -> None:
        from rolesanywhere_auth.schedule import process_spread

        self._sign_in = sign_in
        self._write = write
        self._now = now
        self._wait = wait
        self._draw = draw
        self._spread = process_spread(draw(), draw())
        self._expires: float | None = None
        self._failing_since: float | None = None

    def run(self) -> None:
        """Go on until it is time to stop: no failure ends it."""
        from botocore.exceptions import BotoCoreError

        while True:
            try:
                due = self.update()
            except (BotoCoreError, OSError) as error:
                due = self._after(error)
            if self._sleep_until(due):
                return

    def update(self) -> float:
        """Sign in and write; the moment of the next renewal.

        Raises:
            RolesAnywhereError, OSError: nothing was written.
        """
        from rolesanywhere_auth.schedule import renewal_start

        issued = self._now()
        found = self._sign_in()
        self._write(found)
        self._expires = found.expiration.timestamp() - self._sign_in.clock.offset
        self._failing_since = None
        due = renewal_start(issued=issued, expires=self._expires, spread=self._spread)
        logger.info("wrote credentials until %s; renewal at %s",
                    found.expiration.isoformat(), _shown(due))  # fmt: skip
        return due

    def _after(self, error: Exception) -> float:
        """The moment of the next attempt, by the rules of all renewals here."""
        from rolesanywhere_auth.errors import ServiceError, ThrottlingError
        from rolesanywhere_auth.schedule import backoff

        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
        # without any credentials, the time without counts as it does after their expiry
        remaining = (self._expires or self._failing_since) - now
        delay = backoff(
            remaining=min(remaining, 0.0) if self._expires is None else remaining,
            spread=self._draw(),
            retry_after=error.retry_after if isinstance(error, ServiceError) else None,
            throttled=isinstance(error, ThrottlingError),
        )
        logger.error("%s; next attempt at %s", " ".join(str(error).split()), _shown(now + delay))
        return now + delay

    def _sleep_until(self, due: float) -> bool:
        """Sleep; whether it is time to stop. A new certificate ends it early."""
        while (left := due - self._now()) > 0:
            if self._wait(min(left, LONGEST_SLEEP)):
                return True
            if left > LONGEST_SLEEP and self._sign_in.poll():
                return False
        return self._wait(0)


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def run(options: argparse.Namespace) -> int:
    """Write once, or until SIGINT or SIGTERM; 0 then, 1 if it cannot start."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth._credentials_file import default_path, write_profile
    from rolesanywhere_auth._flag_values import config_of
    from rolesanywhere_auth._merging import check_profile
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._logging import log_to_stderr
    from rolesanywhere_auth.cli._signals import stopping
    from rolesanywhere_auth.credentials import SignIn

    log_to_stderr(options, level=logging.WARNING if options.once else logging.INFO)
    path = default_path(os.environ)
    try:
        check_profile(options.profile)
        config = config_of(options)
        with stopping() as stopped:
            updater = Updater(
                SignIn(config, sleep=stopped.wait),
                lambda found: write_profile(path, options.profile, found, sleep=stopped.wait),
                now=time.time,
                wait=stopped.wait,
                draw=random.random,  # noqa: S311 - spreads renewals, no secret
            )
            if options.once:
                updater.update()
            else:
                updater.run()
    except (BotoCoreError, OSError) as error:
        return fail(error)
    return 0
