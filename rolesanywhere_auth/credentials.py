# SPDX-License-Identifier: Apache-2.0
"""`RolesAnywhereCredentials`: botocore credentials that sign in by certificate."""

from __future__ import annotations

import logging
import os
import random
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth import exchange, schedule, transport
from rolesanywhere_auth.errors import (
    CertificateExpiredError,
    CertificateNotYetValidError,
    ConfigurationError,
)
from rolesanywhere_auth.events import Health, Labels, RenewalHook
from rolesanywhere_auth.exchange import Clock, SessionCredentials
from rolesanywhere_auth.forking import preload
from rolesanywhere_auth.hooks import Hooks
from rolesanywhere_auth.identity import IdentitySource
from rolesanywhere_auth.log_fields import log_fields
from rolesanywhere_auth.renewal import Renewal, Snapshot
from rolesanywhere_auth.renewed import RenewedCredentials
from rolesanywhere_auth.settings import default_session

if TYPE_CHECKING:
    import botocore.session

    from rolesanywhere_auth.cache import HostCache
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.identity import Identity
    from rolesanywhere_auth.transport import Session

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
        if session is not None and not hasattr(session, "get_config_variable"):
            raise ConfigurationError(
                f"session takes a botocore session, not {type(session).__module__}."
                f"{type(session).__qualname__}; for boto3, use boto3_session()"
            )
        self.clock = Clock(now)
        self._config = config
        self._session: Session | None = session
        self._sessions = transport.HTTPSessions()
        self._sleep = sleep
        self._jitter = jitter
        self._cache: HostCache | None = None
        self._newest: datetime | None = None
        self.hooks = Hooks(now=now)
        """Told of its requests."""
        self.shared_lifetime: Any = None
        """Seconds or None: of a session that another process signed in for, as it was asked for."""
        self.identities = IdentitySource(
            config.certificate,
            private_key=config.private_key,
            certificate_chain=config.certificate_chain,
            passphrase=config.passphrase,
        )

    def poll(self) -> bool:
        """Whether a new certificate, chain or key is there since the last look."""
        return self.identities.poll(now=self.clock.utcnow())

    def __call__(self, *, once: bool = False) -> SessionCredentials:
        """Sign in once, attempts included; or take a session of the host's cache.

        Args:
            once: Whether no failure is tried again.

        Raises:
            RolesAnywhereError: its leaf says why; see `rolesanywhere_auth.errors`.
        """
        preload(cache=self._config.cache is not None)
        identity = self._identity()
        if self._session is None:
            self._session = default_session()
        endpoint = transport.resolve_endpoint(self._config, self._session)
        sign_in = partial(self._exchange, identity, self._session, endpoint, once=once)
        if self._config.cache is None:
            found = sign_in()
        else:
            found = self._shared(identity, endpoint, sign_in)
        self._newest = found.expiration
        return found

    def _identity(self) -> Identity:
        try:
            return self.identities.current(now=self.clock.utcnow())
        except (CertificateExpiredError, CertificateNotYetValidError):
            if not self.clock.offset:
                raise
            self.clock.offset = 0.0  # what we were told of the time may have been wrong
            return self.identities.current(now=self.clock.utcnow())

    def _shared(
        self, identity: Identity, endpoint: str, sign_in: Callable[[], SessionCredentials]
    ) -> SessionCredentials:
        from rolesanywhere_auth.cache import HostCache, cache_key

        if self._cache is None:
            folder = self._config.cache
            if isinstance(folder, str | os.PathLike):
                self._cache = HostCache(Path(folder).expanduser())
            else:
                self._cache = HostCache()
        self.shared_lifetime = self._config.session_duration
        return self._cache.fetch(
            cache_key(self._config, identity, endpoint=endpoint),
            config=self._config,
            sign_in=partial(self._own, sign_in),
            clock=self.clock,
            acceptable=self._acceptable,
            timeout=self._config.patience,
        )

    def _own(self, sign_in: Callable[[], SessionCredentials]) -> SessionCredentials:
        self.shared_lifetime = None
        return sign_in()

    def _acceptable(self, found: SessionCredentials) -> bool:
        """Whether another process's session is worth taking: newer than ours, not about to end."""
        if self._newest is not None and found.expiration <= self._newest:
            return False
        return (found.expiration - self.clock.utcnow()).total_seconds() > schedule.advisory_window(
            0
        )

    def _exchange(
        self, identity: Identity, session: Session, endpoint: str, *, once: bool
    ) -> SessionCredentials:
        request = exchange.build_request(
            self._config, endpoint=endpoint, user_agent=transport.USER_AGENT
        )
        conversation = exchange.create_session(
            self._config,
            request=request,
            identity=identity,
            clock=self.clock,
            random=self._jitter,
            once=once,
        )
        line = transport.Transport(
            self._config, session, endpoint=endpoint, sessions=self._sessions
        )
        try:
            send = self.hooks.watched(line.send)
            found = transport.run(conversation, send=send, sleep=self._sleep)
        finally:
            line.close()
        logger.info(
            "signed in to %s by certificate %x until %s",
            found.assumed_role_arn or found.role_arn,
            identity.serial_number,
            found.expiration.isoformat(),
            extra=log_fields(
                labels=Labels(self._config.role_arn, self._config.profile_arn),
                serial_number=identity.serial_number,
                certificate_expires_at=identity.not_valid_after,
                expires_at=found.expiration,
            ),
        )
        return found


class _Snapshots:
    """Turns sign-ins into snapshots by the local clock."""

    def __init__(self, sign_in: SignIn, now: Callable[[], float]) -> None:
        self._sign_in = sign_in
        self._now = now

    def __call__(self, *, once: bool) -> Snapshot:
        found = self._sign_in(once=once)
        frozen = ReadOnlyCredentials(
            found.access_key, found.secret_key, found.token, found.account_id
        )
        return snapshot_of(
            frozen,
            found.expiration,
            now=self._now(),
            offset=self._sign_in.clock.offset,
            lifetime=self._sign_in.shared_lifetime,
        )


def snapshot_of(
    frozen: ReadOnlyCredentials,
    expiration: datetime,
    *,
    now: float,
    offset: float,
    lifetime: float | None = None,
) -> Snapshot:
    """Credentials with the moments at which they are renewed.

    Args:
        frozen: The credentials.
        expiration: By the service's clock.
        now: Seconds of the local clock.
        offset: Seconds that the service's clock is ahead of it.
        lifetime: Seconds, if they were not issued just now.
    """
    expires = expiration.timestamp() - offset
    issued = expires - lifetime if lifetime else _issued(expires, now)
    return Snapshot(
        frozen=frozen,
        issued=issued,
        fresh_until=expires - schedule.renewal_window(expires - issued),
        usable_until=expires - schedule.mandatory_window(expires - issued),
        expires=expires,
        expiration=expiration,
    )


def _issued(expires: float, now: float) -> float:
    """When the session began, by its lifetime to the minute.

    The answer took a moment, and the service cuts fractions of a second: 90 minutes are
    5399.6 s here, and would get another window.
    """
    lifetime = expires - now
    return expires - round(lifetime / 60) * 60 if lifetime >= 600 else now


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Calls *method* for as long as its owner is there, which this does not keep alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        found = reference()
        if found is not None:
            found()

    return call


def create_session(
    config: RolesAnywhereConfig, *, session: botocore.session.Session | None = None
) -> SessionCredentials:
    """One CreateSession call, now: temporary credentials without renewal.

    For most programs `rolesanywhere_auth.boto3_session` is the better way.

    Raises:
        RolesAnywhereError: its leaf says why; see `rolesanywhere_auth.errors`.
    """
    return SignIn(config, session=session)()


class RolesAnywhereCredentials(RenewedCredentials):
    """Credentials for botocore that sign in when first needed, and again before expiry.

    It takes the place of any botocore credentials object. Nothing is read or sent
    before the first use. A background thread renews; a caller waits only when there are
    no credentials, or when these have less than a minute to live.

    Args:
        config: Who signs in, and for which role.
        session: The botocore session whose settings (proxies, CA bundle, endpoint)
            and event handlers count; one is made at the first sign-in by default.
        on_event: Told of every sign-in that starts, succeeds, fails or is skipped.
        now: Seconds since the epoch, as `time.time`.
        sleep: As `time.sleep`; used between attempts.
    """

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        session: botocore.session.Session | None = None,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.config = config
        self._sign_in = SignIn(config, session=session, now=now, sleep=sleep)
        hooks = Hooks(on_event, identities=self._sign_in.identities, now=now)
        self._sign_in.hooks = hooks
        renewal = Renewal(
            _Snapshots(self._sign_in, now),
            now=now,
            random=random.random,  # noqa: S311 - spreads renewals, no secret
            patience=config.patience,
            serve_expired=config.serve_expired,
            poll=self._sign_in.poll,
            notify=hooks,
            labels=Labels(config.role_arn, config.profile_arn),
        )
        super().__init__(renewal, method=METHOD, now=now, hooks=hooks)
        self._sign_in.identities.watch(_weakly(renewal.look_soon))

    def health(self) -> Health:
        """How the credentials stand; reads and sends nothing."""
        identity = self._sign_in.identities.identity
        if identity is None:
            return super().health()
        return (
            super()
            .health()
            ._replace(
                certificate_serial_number=identity.serial_number,
                certificate_expires_at=identity.not_valid_after,
            )
        )

    @property  # type: ignore[misc]
    def account_id(self) -> str:
        """The account of the role; needs no sign-in."""
        return self.config.account_id

    def __repr__(self) -> str:
        return f"RolesAnywhereCredentials({self.config!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # by reference: hook, clock and session stay behind, and the other process signs in
        return type(self), (self.config,)
