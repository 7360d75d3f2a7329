"""`Emulator`: IAM Roles Anywhere on loopback, for tests, demonstrations and development."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing._aws import moto_directory
from rolesanywhere_auth.testing._clients import Clients, create_role
from rolesanywhere_auth.testing._setup import Setup, least_privilege_trust_policy
from rolesanywhere_auth.testing._workshop import Workshop
from rolesanywhere_auth.testing.authority import CertificateAuthority, Leaf, LeafKeyType
from rolesanywhere_auth.testing.fronts.http import HTTPFront
from rolesanywhere_auth.testing.fronts.tls import server_context
from rolesanywhere_auth.testing.service.audit import Event
from rolesanywhere_auth.testing.service.core import Service
from rolesanywhere_auth.testing.service.directory import MemoryDirectory, Role
from rolesanywhere_auth.testing.service.faults import Fault
from rolesanywhere_auth.testing.service.limits import Limits
from rolesanywhere_auth.testing.service.state import IssuedSession, partition_of
from rolesanywhere_auth.testing.service.wire import Refusal

if TYPE_CHECKING:
    from typing_extensions import Self

    from rolesanywhere_auth.testing.fronts.moto_server import MotoServer


class Emulator:
    """The service on loopback, over HTTP and HTTPS; a context manager.

    ::

        with Emulator() as emulator:
            setup = emulator.set_up()
            config = RolesAnywhereConfig(**setup.config_arguments())

    It checks what AWS checks: the signature, the chain to the trust anchor, CRLs,
    the profile, the role's trust policy. Its keys are AWS's in form and open
    nothing, unless *aws* is true.

    Args:
        region: The Region of everything that is made in it.
        account_id: The account, likewise.
        aws: Also run moto's server (``pip install "rolesanywhere-auth[testing]"``),
            so that the sessions work with STS, IAM and S3 at `aws_endpoint_url`.
            moto's state is global to the process: one such emulator at a time.
        clock: The present moment, with a time zone; by default the machine's clock
            and what `advance` added.
        strict: Refuse requests that AWS accepts and only records in CloudTrail
            (unsigned headers, an algorithm that is not the key's).
        max_skew: How far the date of a request may be from *clock*.
        limits: How many resources there may be; by default AWS's quotas.
    """

    def __init__(
        self,
        *,
        region: str = "eu-west-1",
        account_id: str = "111122223333",
        aws: bool = False,
        clock: Callable[[], datetime] | None = None,
        strict: bool = False,
        max_skew: timedelta = timedelta(minutes=5),
        limits: Limits | None = None,
    ) -> None:
        self.region = region
        self.account_id = account_id
        self._aws = aws
        self._given_clock = clock
        self._ahead = timedelta()
        self._directory = None if aws else MemoryDirectory(random=os.urandom)
        self._service = Service(
            directory=self._directory or moto_directory(self.now),
            region=region,
            account_id=account_id,
            clock=self.now,
            random=os.urandom,
            strict=strict,
            max_skew=max_skew,
            limits=limits,
        )
        self._running = contextlib.ExitStack()
        self._fronts: dict[str, HTTPFront] = {}
        self._moto: MotoServer | None = None
        self._workshop = Workshop(self._service)
        self._role_names: dict[str, int] = {}
        self._ca_bundle: Path | None = None
        self._clients = Clients(region)

    # Starting and stopping

    def start(self) -> Self:
        """Listen on free ports of 127.0.0.1.

        Raises:
            RuntimeError: It runs already.
        """
        if self._fronts:
            raise RuntimeError("The emulator runs already; call stop() first.")
        with contextlib.ExitStack() as stack:
            # Undo a start that fails half way as well.
            stack.callback(self._fronts.clear)
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="rolesanywhere-", ignore_cleanup_errors=True)
                )
            )
            tls, self._ca_bundle = server_context(folder, region=self.region)
            for scheme, context in (("http", None), ("https", tls)):
                front = self._fronts[scheme] = HTTPFront(self._service, tls=context)
                front.start()
                stack.callback(front.stop)
            if self._aws:
                self._moto = self._moto_server(stack)
            self._running = stack.pop_all()
        return self

    def stop(self) -> None:
        """Close all connections and remove all files; nothing happens if it does not run."""
        self._running.close()
        self._moto = self._ca_bundle = None
        self._forget()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.endpoint_url if self._fronts else "not running"
        return f"<Emulator {self.account_id} {self.region} {where}>"

    def clear(self) -> None:
        """Back to an empty service with a clock that tells the time; the ports stay."""
        self._ahead = timedelta()
        self._forget()
        if self._moto is not None:
            self._moto.reset()

    def _forget(self) -> None:
        self._service.clear()
        self._workshop.forget()
        self._role_names.clear()

    def _moto_server(self, stack: contextlib.ExitStack) -> MotoServer:
        from rolesanywhere_auth.testing.fronts.moto_server import MotoServer

        moto = MotoServer(self._service, account_id=self.account_id, region=self.region)
        moto.start()
        stack.callback(moto.stop)
        return moto

    # Where it is

    @property
    def endpoint_url(self) -> str:
        """The service over HTTP."""
        return f"http://127.0.0.1:{self._front('http').port}"

    @property
    def https_endpoint_url(self) -> str:
        """The service over HTTPS; `ca_bundle` verifies it."""
        return f"https://127.0.0.1:{self._front('https').port}"

    @property
    def ca_bundle(self) -> str:
        """The path of the PEM file that verifies `https_endpoint_url`; gone after `stop`."""
        self._front("https")
        return str(self._ca_bundle)

    @property
    def aws_endpoint_url(self) -> str:
        """moto's services over HTTP, Roles Anywhere among them.

        Raises:
            RuntimeError: The emulator was made without ``aws=True``.
        """
        return self._moto_or_error().endpoint_url

    def _front(self, scheme: str) -> HTTPFront:
        if scheme not in self._fronts:
            raise RuntimeError("The emulator does not run; use it in a with block or call start().")
        return self._fronts[scheme]

    def _moto_or_error(self) -> MotoServer:
        if self._moto is None:
            raise RuntimeError("There is no AWS behind this emulator; start an Emulator(aws=True).")
        return self._moto

    # Time, faults, and what happened

    def now(self) -> datetime:
        """The emulator's time, with a time zone."""
        if self._given_clock is not None:
            return self._given_clock()
        return datetime.now(timezone.utc) + self._ahead

    def advance(self, seconds: float | timedelta) -> None:
        """Move the emulator's clock forward; the clients' clocks stay where they are.

        Raises:
            RuntimeError: The emulator was given a clock: move that one.
        """
        if self._given_clock is not None:
            raise RuntimeError("This emulator goes by the clock it was given; move that one.")
        self._ahead += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)

    @property
    def events(self) -> list[Event]:
        """One event per CreateSession that reached the service, oldest first."""
        return list(self._service.events)

    @property
    def sessions(self) -> list[IssuedSession]:
        """The sessions that were vended, oldest first, without their secrets."""
        return list(self._service.state.sessions)

    def inject(self, *answers: Fault) -> None:
        """Answer the next CreateSession calls with *answers*, one each, in order.

        An answer is a `wire.Response`, a `wire.Refusal`, a tuple of status, headers
        and bytes, ``"drop"`` (close the connection), ``"pass"`` (let the service
        answer), or a callable that takes the `wire.Request` and returns one of these.
        """
        self._service.faults.add(answers)

    def fail_next(
        self,
        count: int = 1,
        *,
        status: int = 503,
        code: str = "ServiceUnavailableException",
        message: str = "Service unavailable",
        retry_after: int | None = None,
    ) -> None:
        """Refuse the next *count* CreateSession calls; *retry_after* in seconds."""
        response = Refusal(status, code, message).response()
        headers = {"Content-Type": "application/json", **response.headers}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        self.inject(*[(status, headers, response.encoded())] * count)

    # Clients

    def control_plane(self) -> Any:
        """An unmodified boto3 client for Roles Anywhere at this emulator."""
        return self._clients.make("rolesanywhere", self.endpoint_url, ("testing", "testing", None))

    def client(
        self,
        service_name: str,
        *,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
    ) -> Any:
        """An unmodified boto3 client for moto; without keys it is the administrator's."""
        moto = self._moto_or_error()
        if aws_access_key_id is None or aws_secret_access_key is None:
            return self._clients.make(service_name, moto.endpoint_url, (*moto.administrator, None))
        keys = (aws_access_key_id, aws_secret_access_key, aws_session_token)
        return self._clients.make(service_name, moto.endpoint_url, keys)

    def enforcing_iam(self) -> contextlib.AbstractContextManager[None]:
        """Let moto check signatures and IAM policies within a ``with`` block."""
        return self._moto_or_error().enforcing_iam()

    # Making things

    def create_role(
        self,
        name: str,
        *,
        trust_policy: Mapping[str, Any] | None = None,
        trust_anchor_arn: str | None = None,
        policy: Mapping[str, Any] | None = None,
        max_session_duration: int = 3600,
    ) -> str:
        """Make an IAM role and return its ARN.

        Args:
            name: The role's name; a path may stand before it.
            trust_policy: Default: Roles Anywhere from *trust_anchor_arn* alone, or from
                any trust anchor of this account and Region.
            trust_anchor_arn: For the default trust policy.
            policy: What the role may do; only moto (``aws=True``) can enforce it.
            max_session_duration: Seconds, 3,600 to 43,200.

        Raises:
            ValueError: *max_session_duration* is out of these bounds.
        """
        if not 3600 <= max_session_duration <= 43200:
            raise ValueError(
                f"max_session_duration must be 3600 to 43200 seconds, not {max_session_duration}"
            )
        document = trust_policy or least_privilege_trust_policy(
            region=self.region, account_id=self.account_id, trust_anchor_arn=trust_anchor_arn
        )
        if self._directory is None:
            return create_role(
                self.client("iam"),
                name,
                trust_policy=document,
                policy=policy,
                max_session_duration=max_session_duration,
            )
        arn = f"arn:{partition_of(self.region)}:iam::{self.account_id}:role/{name}"
        self._directory.add(Role(arn, document, max_session_duration))
        return arn

    def set_up(
        self,
        *,
        authority: CertificateAuthority | None = None,
        anchor: CertificateAuthority | None = None,
        common_name: str = "app",
        key_type: LeafKeyType = "ec-p256",
        role_name: str = "app",
        role_arn: str | None = None,
        policy: Mapping[str, Any] | None = None,
        session_duration: int = 3600,
        accept_role_session_name: bool = False,
    ) -> Setup:
        """Make all that a sign-in needs, by the control plane's own API.

        Args:
            authority: Who issues the certificate; a new CA by default.
            anchor: The CA in the trust anchor; *authority* by default. Give the root
                here when *authority* is an intermediate.
            common_name: Of the certificate.
            key_type: Of the certificate's key.
            role_name: Of a new role that trusts the new trust anchor alone; a number is
                added where it is taken.
            role_arn: An existing role, instead of a new one.
            policy: What the new role may do; needs ``aws=True`` to have an effect.
            session_duration: Seconds, of the profile; the role allows as much.
            accept_role_session_name: Whether clients may name their sessions.
        """
        authority = authority or CertificateAuthority(now=self.now)
        anchor_arn = self._workshop.trust_anchor(anchor or authority, issuer=authority)
        role_arn = role_arn or self.create_role(
            self._unused(role_name),
            trust_anchor_arn=anchor_arn,
            policy=policy,
            max_session_duration=max(session_duration, 3600),
        )
        profile_arn = self._workshop.profile(
            role_arn,
            session_duration=session_duration,
            accept_role_session_name=accept_role_session_name,
        )
        leaf = authority.issue(common_name, key_type=key_type)
        return Setup(
            authority=authority,
            leaf=leaf,
            trust_anchor_arn=anchor_arn,
            profile_arn=profile_arn,
            role_arn=role_arn,
            files=leaf.write_to(tempfile.mkdtemp(dir=self._folder())),
            endpoint_url=self.endpoint_url,
        )

    def _unused(self, role_name: str) -> str:
        """*role_name*, or with a number behind it where another `set_up` took it."""
        self._role_names[role_name] = count = self._role_names.get(role_name, 0) + 1
        return role_name if count == 1 else f"{role_name}-{count}"

    def create_trust_anchor(self, authority: CertificateAuthority) -> str:
        """Make an enabled trust anchor of *authority*'s certificate and return its ARN."""
        return self._workshop.trust_anchor(authority)

    def revoke(self, leaf: Leaf) -> None:
        """Put *leaf* on its CA's CRL and import that into the CA's trust anchors, enabled.

        Raises:
            ValueError: No trust anchor that this emulator made belongs to the CA.
        """
        self._workshop.revoke(leaf)

    def _folder(self) -> Path:
        self._front("http")
        return Path(self.ca_bundle).parent
