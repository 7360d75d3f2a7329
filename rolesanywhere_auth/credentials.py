"""`RolesAnywhereCredentials`: botocore credentials that sign in by certificate."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials

from rolesanywhere_auth import exchange, transport
from rolesanywhere_auth.exchange import Clock, SessionCredentials
from rolesanywhere_auth.identity import IdentitySource
from rolesanywhere_auth.renewal import MANDATORY_WINDOW, Renewal, Snapshot, advisory_window

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig

logger = logging.getLogger("rolesanywhere_auth.credentials")

METHOD = "custom-rolesanywhere"
"""botocore's name for where the credentials come from."""


class SignIn:
    """Makes CreateSession calls for one configuration; called, it makes one.

    Args:
        config: What to ask for.
        session: The botocore session whose settings (proxies, CA bundle, endpoint)
            and event handlers count; one is made at the first call by default.
        now: Seconds since the epoch, as `time.time`.
        sleep: As `time.sleep`.
        jitter: Returns 0 to 1, as `random.random`.
    """

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        session: botocore.session.Session | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,  # noqa: S311 - spreads retries, no secret
    ) -> None:
        self.clock = Clock(now)
        self._config = config
        self._session = session
        self._sleep = sleep
        self._jitter = jitter
        self._identities = IdentitySource(
            config.certificate,
            private_key=config.private_key,
            certificate_chain=config.certificate_chain,
            passphrase=config.passphrase,
        )

    def __call__(self) -> SessionCredentials:
        """Sign in once, attempts included.

        Raises:
            RolesAnywhereError: its leaf says why; see `rolesanywhere_auth.errors`.
        """
        identity = self._identities.current(now=self.clock.utcnow())
        if self._session is None:
            self._session = botocore.session.Session()
        endpoint = transport.resolve_endpoint(self._config, self._session)
        request = exchange.build_request(
            self._config, endpoint=endpoint, user_agent=transport.USER_AGENT
        )
        conversation = exchange.create_session(
            self._config,
            request=request,
            identity=identity,
            clock=self.clock,
            random=self._jitter,
        )
        line = transport.Transport(self._config, self._session, endpoint=endpoint)
        try:
            found = transport.run(conversation, send=line.send, sleep=self._sleep)
        finally:
            line.close()
        logger.info(
            "signed in to %s by certificate %x until %s",
            found.assumed_role_arn or found.role_arn,
            identity.serial_number,
            found.expiration.isoformat(),
        )
        return found


def create_session(
    config: RolesAnywhereConfig, *, session: botocore.session.Session | None = None
) -> SessionCredentials:
    """One CreateSession call, now: temporary credentials without renewal.

    For most programs `rolesanywhere_auth.boto3_session` is the better way.

    Raises:
        RolesAnywhereError: its leaf says why; see `rolesanywhere_auth.errors`.
    """
    return SignIn(config, session=session)()


class RolesAnywhereCredentials(RefreshableCredentials):
    """Credentials for botocore that sign in when first needed, and again before expiry.

    It takes the place of any botocore credentials object. Nothing is read or sent
    before the first use.

    Args:
        config: Who signs in, and for which role.
        session: The botocore session whose settings (proxies, CA bundle, endpoint)
            and event handlers count; one is made at the first sign-in by default.
        now: Seconds since the epoch, as `time.time`.
        sleep: As `time.sleep`; used between attempts.
    """

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        session: botocore.session.Session | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        # The parent's own __init__ makes locks and clocks that nothing here uses.
        self.method = METHOD
        self.config = config
        self._now = now
        self._sign_in = SignIn(config, session=session, now=now, sleep=sleep)
        self._renewal = Renewal(self._new_snapshot, now=now)

    def _new_snapshot(self) -> Snapshot:
        found = self._sign_in()
        frozen = ReadOnlyCredentials(
            found.access_key, found.secret_key, found.token, found.account_id
        )
        expires = found.expiration.timestamp() - self._sign_in.clock.offset
        # what was asked for, to the minute: the answer took a moment, and AWS cuts fractions
        lifetime = round((expires - self._now()) / 60) * 60
        window = advisory_window(lifetime)
        return Snapshot(
            frozen=frozen,
            fresh_until=expires - window,
            usable_until=expires - MANDATORY_WINDOW,
            expires=expires,
            expiration=found.expiration,
        )

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials of this moment, all of one session.

        Raises:
            RolesAnywhereError: there are none, and signing in failed.
        """
        snapshot = self._renewal.snapshot
        if self._now() < snapshot.fresh_until:
            return snapshot.frozen
        return self._renewal.current().frozen

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire (aware, UTC), or None before the first sign-in."""
        return self._renewal.snapshot.expiration

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Whether fewer than *refresh_in* seconds (by default: the advisory window) are left."""
        snapshot = self._renewal.snapshot
        limit = snapshot.fresh_until if refresh_in is None else snapshot.expires - refresh_in
        return self._now() >= limit

    # The parent's four can be set; here that would break the one consistent snapshot.

    @property  # type: ignore[misc]
    def access_key(self) -> str:  # type: ignore[override]
        """The access key id; for several at once use `get_frozen_credentials()`."""
        return str(self.get_frozen_credentials().access_key)

    @property  # type: ignore[misc]
    def secret_key(self) -> str:  # type: ignore[override]
        """The secret access key; for several at once use `get_frozen_credentials()`."""
        return str(self.get_frozen_credentials().secret_key)

    @property  # type: ignore[misc]
    def token(self) -> str | None:  # type: ignore[override]
        """The session token; for several at once use `get_frozen_credentials()`."""
        return self.get_frozen_credentials().token

    @property  # type: ignore[misc]
    def account_id(self) -> str:
        """The account of the role; needs no sign-in."""
        return self.config.account_id

    def __repr__(self) -> str:
        return f"RolesAnywhereCredentials({self.config!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)
