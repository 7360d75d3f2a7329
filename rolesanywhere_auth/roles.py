# SPDX-License-Identifier: Apache-2.0
"""`assume_role()`: a role of another account, by the role that a certificate gave."""

from __future__ import annotations

import inspect
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError

from rolesanywhere_auth import sts, transport
from rolesanywhere_auth._texts import located
from rolesanywhere_auth.config import RolesAnywhereConfig
from rolesanywhere_auth.credentials import RolesAnywhereCredentials, snapshot_of
from rolesanywhere_auth.errors import ConfigurationError, RolesAnywhereError
from rolesanywhere_auth.events import Labels, RenewalHook
from rolesanywhere_auth.exchange import Clock, SessionCredentials
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.hooks import Hooks
from rolesanywhere_auth.log_fields import log_fields
from rolesanywhere_auth.renewal import Renewal
from rolesanywhere_auth.renewed import RenewedCredentials
from rolesanywhere_auth.session import new_session

if TYPE_CHECKING:
    from rolesanywhere_auth.record import Snapshot

logger = logging.getLogger("rolesanywhere_auth.roles")

METHOD = "assume-role"
_LONGEST_CHAINED = 3600
_DEFAULT_NAME = "rolesanywhere-auth"


class _Line(NamedTuple):
    """STS is reached as by a client: by botocore's settings, with time-outs like ours."""

    verify: None = None
    proxies: None = None
    connect_timeout: float = 5.0
    read_timeout: float = 10.0


LINE = _Line()


class Source:
    """Whose credentials assume the role: a configuration, or a session.

    Args:
        given: What the caller passed.
        region_name: Of the clients; by default as the source has it.
        now: Seconds since the epoch.

    Raises:
        ConfigurationError: *given* is none of these, or there is no Region.
    """

    def __init__(
        self,
        given: RolesAnywhereConfig | boto3.Session | botocore.session.Session,
        *,
        region_name: str | None,
        now: Callable[[], float],
    ) -> None:
        self.given = given
        self.profile_name: str | None = None
        self.patience = 0.0
        self.serve_expired = True
        fallback = None
        if isinstance(given, RolesAnywhereConfig):
            self.patience, self.serve_expired = given.patience, given.serve_expired
            own = RolesAnywhereCredentials(given, now=now)
            self._get: Callable[[], Any] = lambda: own
            fallback = given.region
        elif isinstance(given, botocore.session.Session) and not _is_async(given):
            self.profile_name = given.profile
            self._get = given.get_credentials
            region_name = region_name or given.get_config_variable("region")
        elif isinstance(given, boto3.Session):
            name = given.profile_name
            self.profile_name = name if name in given.available_profiles else None
            self._get = given.get_credentials
            region_name = region_name or given.region_name
        else:
            raise ConfigurationError(
                "assume_role() takes a RolesAnywhereConfig, a boto3 or a botocore session, not "
                f"{type(given).__name__}"
            )
        self.region_name: str = self._region(region_name, fallback)

    def _region(self, region_name: str | None, fallback: str | None) -> str:
        found = self._session(region_name, fallback).get_config_variable("region")
        if not found:
            raise ConfigurationError(
                "assume_role() needs a Region for STS: give region_name, or set AWS_DEFAULT_REGION"
            )
        return str(found)

    def _session(self, region_name: str | None, fallback: str | None) -> botocore.session.Session:
        return new_session(
            region_name=region_name, fallback=fallback, profile_name=self.profile_name
        )

    @property
    def is_role(self) -> bool:
        """Whether the source is known to be a role's session, without asking."""
        return isinstance(self.given, RolesAnywhereConfig)

    def session(self) -> botocore.session.Session:
        """A new session with the source's settings, and not yet with credentials."""
        return self._session(self.region_name, None)

    def credentials(self) -> Credentials:
        """The source's credentials object.

        Raises:
            ConfigurationError: the session has none.
        """
        found: Credentials | None = self._get()
        if found is None:
            raise ConfigurationError(
                "the session given to assume_role() has no credentials of its own"
            )
        return found


def _is_async(session: botocore.session.Session) -> bool:
    """Whether it is one of aiobotocore."""
    return inspect.iscoroutinefunction(session.get_credentials)


class AssumedRoleCredentials(RenewedCredentials):
    """Credentials of a role that another role assumes, renewed like `RolesAnywhereCredentials`.

    Made by `assume_role()`.
    """

    def __init__(
        self,
        source: Source,
        role: sts.Role,
        *,
        on_event: RenewalHook | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.role = role
        self._source = source
        self._clock = Clock(now)
        self._sleep = sleep
        self._sessions = transport.HTTPSessions()
        self._session: botocore.session.Session | None = None
        self._endpoint: str | None = None
        wait = (LINE.connect_timeout + LINE.read_timeout) * sts.MAX_ATTEMPTS
        hooks = Hooks(on_event, now=now)
        renewal = Renewal(
            self._assume,
            now=now,
            random=random.random,  # noqa: S311 - spreads renewals, no secret
            patience=source.patience + wait,
            serve_expired=source.serve_expired,
            notify=hooks,
            labels=Labels(role.role_arn),
        )
        super().__init__(renewal, method=METHOD, now=now, hooks=hooks)

    @property
    def role_session_name(self) -> str:
        """What CloudTrail calls the session.

        The given name, else that of the session before it: the certificate's serial number
        in hexadecimal, as IAM Roles Anywhere has it. That is known once it has signed in.
        """
        if self.role.role_session_name:
            return self.role.role_session_name
        source = self._source.credentials()
        if isinstance(source, AssumedRoleCredentials):
            return source.role_session_name
        if isinstance(source, RolesAnywhereCredentials):
            serial = source.health().certificate_serial_number
            if serial is not None:
                return hexadecimal(serial)
        return _DEFAULT_NAME

    def _assume(self, *, once: bool) -> Snapshot:
        try:
            keys = self._source.credentials().get_frozen_credentials()
            with local_work():
                session, endpoint = self._place()
            found = self._exchange(session, endpoint, keys, once=once)
        except RolesAnywhereError:
            raise
        except BotoCoreError as error:
            raise ConfigurationError(f"{self.role.role_arn} cannot be assumed: {error}") from error
        frozen = ReadOnlyCredentials(
            found.access_key, found.secret_key, found.token, found.account_id
        )
        return snapshot_of(frozen, found.expiration, now=self._now(), offset=self._clock.offset)

    def _place(self) -> tuple[botocore.session.Session, str]:
        """Where STS is, by botocore's rules; a client knows, and is used for nothing else."""
        if self._session is None:
            try:
                self._session = self._source.session()
            except ConfigurationError as error:
                raise located(error, where=f"{self.role.role_arn} cannot be assumed") from error
            self._session.set_config_variable("sts_regional_endpoints", "regional")
        if self._endpoint is None:
            client = self._session.create_client("sts", config=Config(signature_version=UNSIGNED))
            self._endpoint = client.meta.endpoint_url
        return self._session, self._endpoint

    def _exchange(
        self,
        session: botocore.session.Session,
        endpoint: str,
        keys: ReadOnlyCredentials,
        *,
        once: bool,
    ) -> SessionCredentials:
        conversation = sts.assume_role(
            self.role,
            keys=keys,
            endpoint=endpoint,
            region=self._source.region_name,
            role_session_name=self.role_session_name,
            user_agent=transport.USER_AGENT,
            clock=self._clock,
            random=random.random,  # noqa: S311 - spreads retries, no secret
            once=once,
        )
        line = transport.Transport(
            LINE, session, endpoint=endpoint, sessions=self._sessions, event=sts.EVENT
        )
        try:
            send = self._hooks.watched(line.send)
            found = transport.run(conversation, send=send, sleep=self._sleep)
        finally:
            line.close()
        until = found.expiration.isoformat()
        logger.info(
            "assumed %s until %s",
            found.assumed_role_arn or found.role_arn,
            until,
            extra=log_fields(labels=self.labels, expires_at=found.expiration),
        )
        return found

    @property  # type: ignore[misc]
    def account_id(self) -> str:
        """The account of the role; needs no request."""
        return self.role.account_id

    def __repr__(self) -> str:
        return f"AssumedRoleCredentials({self.role!r}, source={self._source.given!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._source.given
        if not isinstance(given, RolesAnywhereConfig):
            raise TypeError(
                "cannot pickle credentials of a role that a session assumes, as the session's own "
                "cannot be; give assume_role() a RolesAnywhereConfig"
            )
        return _again, (given, self.role, self._source.region_name)


def _again(config: RolesAnywhereConfig, role: sts.Role, region_name: str) -> AssumedRoleCredentials:
    source = Source(config, region_name=region_name, now=time.time)
    return AssumedRoleCredentials(source, role)


class _Provider:
    """The session's only one."""

    def __init__(self, credentials: AssumedRoleCredentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> AssumedRoleCredentials:
        return self._credentials


def assume_role(
    source: RolesAnywhereConfig | boto3.Session | botocore.session.Session,
    *,
    role_arn: str,
    role_session_name: str | None = None,
    external_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    transitive_tag_keys: Iterable[str] = (),
    session_duration: int | timedelta = 3600,
    region_name: str | None = None,
    on_event: RenewalHook | None = None,
    now: Callable[[], float] = time.time,
) -> boto3.Session:
    """A boto3 session of a role that *source* assumes by AWS STS: a role chain.

    Nothing is sent before the session's first use. Its credentials are renewed like those of
    `boto3_session()`: in the background, and before them those of the source if that is due.
    Give the result as *source* again for a third role.

    Args:
        source: A configuration, or a session; its profile and Region count.
        role_arn: The role to assume, in any account of the partition.
        role_session_name: 2 to 64 of ``[A-Za-z0-9_+=,.@-]``. By default that of the session
            before it, which is the certificate's serial number in hexadecimal.
        external_id: What the role's trust policy asks for by ``sts:ExternalId``.
        tags: Session tags, at most 50.
        transitive_tag_keys: Those of *tags* that stay in further sessions of the chain.
        session_duration: Seconds or ``timedelta``. AWS gives a role that a role assumes
            3600 at most (IAM user guide, "Role chaining").
        region_name: Of STS, always its regional endpoint, and of the session's clients.
        on_event: Told of every AssumeRole call; see `RenewalEvent`.
        now: Seconds since the epoch; a test gives its own clock to see a renewal.

    Raises:
        ConfigurationError: An argument cannot work.
    """
    role = sts.Role(
        role_arn=role_arn,
        role_session_name=role_session_name,
        external_id=external_id,
        tags=tags,
        transitive_tag_keys=transitive_tag_keys,  # type: ignore[arg-type] # it makes a tuple
        session_duration=session_duration,  # type: ignore[arg-type] # and seconds
    )
    begin = Source(source, region_name=region_name, now=now)
    _check_duration(begin, role)
    credentials = AssumedRoleCredentials(begin, role, on_event=on_event, now=now)
    session = begin.session()
    session.register_component("credential_provider", _Provider(credentials))
    return boto3.Session(botocore_session=session)


def _check_duration(source: Source, role: sts.Role) -> None:
    if source.is_role and role.session_duration > _LONGEST_CHAINED:
        raise ConfigurationError(
            f"session_duration is {role.session_duration}, but AWS gives a role that another role "
            f"assumes {_LONGEST_CHAINED} seconds at most"
        )


def hexadecimal(serial_number: int) -> str:
    """The name that the service gives a session by default, with a whole number of bytes."""
    return serial_number.to_bytes(max(1, (serial_number.bit_length() + 7) // 8), "big").hex()
