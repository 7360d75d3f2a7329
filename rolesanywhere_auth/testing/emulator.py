# SPDX-License-Identifier: Apache-2.0
"""`Emulator`: IAM Roles Anywhere on loopback, for tests, demonstrations and development."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing._aws import moto_directory
from rolesanywhere_auth.testing._clients import Clients
from rolesanywhere_auth.testing._clock import Clock
from rolesanywhere_auth.testing._listening import Listening
from rolesanywhere_auth.testing._making import Making
from rolesanywhere_auth.testing._state_file import StateFile
from rolesanywhere_auth.testing._workshop import Workshop
from rolesanywhere_auth.testing.fronts.http import HTTPFront
from rolesanywhere_auth.testing.page import Gate
from rolesanywhere_auth.testing.service.audit import Event
from rolesanywhere_auth.testing.service.core import Service
from rolesanywhere_auth.testing.service.directory import MemoryDirectory
from rolesanywhere_auth.testing.service.fault_verbs import Faults, refusal_answer
from rolesanywhere_auth.testing.service.faults import Fault
from rolesanywhere_auth.testing.service.limits import Limits
from rolesanywhere_auth.testing.service.metrics import Metrics
from rolesanywhere_auth.testing.service.state import IssuedSession

if TYPE_CHECKING:
    from typing_extensions import Self

    from rolesanywhere_auth.testing.fronts.moto_server import MotoServer


class Emulator(Making):
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
            as `advance` and `set_time` moved it.
        strict: Refuse requests that AWS accepts and only records in CloudTrail
            (unsigned headers, an algorithm that is not the key's, an empty body).
        max_skew: How far the date of a request may be from *clock*.
        quotas: Refuse calls above AWS's quotas of calls a second; `set_up`,
            `create_trust_anchor` and `revoke` do not count.
        limits: How many resources there may be; by default AWS's quotas.
        host: The address to listen on. Whoever reaches it may configure the emulator
            and sign in with what they made: loopback, unless you mean that.
        port: Of the service over HTTP; 0 is a free one.
        tls_port: Over HTTPS; 0 is a free one, None means no HTTPS.
        aws_port: Of moto; 0 is a free one.
        host_names: Other names or addresses by which clients reach *host*.
        state_file: Keep resources, subjects and roles in this file: read at the start,
            written after every change and at the end. Not moto's state.

    Raises:
        ValueError: *region* or *account_id* could not stand in an ARN.
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
        quotas: bool = False,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_port: int | None = 0,
        aws_port: int = 0,
        host_names: Sequence[str] = (),
        state_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.region = region
        self.account_id = account_id
        self._aws = aws
        self._clock = Clock(clock)
        self._directory = None if aws else MemoryDirectory(random=os.urandom)
        self._service = Service(
            directory=self._directory or moto_directory(self.now),
            region=region,
            account_id=account_id,
            clock=self.now,
            random=os.urandom,
            strict=strict,
            max_skew=max_skew,
            quotas=quotas,
            limits=limits,
        )
        self._listening = Listening(host, port, tls_port, aws_port, tuple(host_names))
        self._state_file = None
        if state_file is not None:
            self._state_file = StateFile(state_file, self._service.state, self._directory)
        self._running = contextlib.ExitStack()
        self._process = os.getpid()
        self._fronts: dict[str, HTTPFront] = {}
        self._moto: MotoServer | None = None
        self._workshop = Workshop(self._service)
        self._ca_bundle: Path | None = None
        self._clients = Clients(region)

    # Starting and stopping

    def start(self) -> Self:
        """Listen, on free ports of 127.0.0.1 unless others were given.

        Raises:
            RuntimeError: It runs already, or another one with ``aws=True`` does.
            OSError: A port is taken, or the state file cannot be read.
            ConfigurationError: The state file does not hold a state.
        """
        if self._fronts:
            raise RuntimeError("The emulator runs already; call stop() first.")
        self._process = os.getpid()
        folder = tempfile.TemporaryDirectory(prefix="rolesanywhere-", ignore_cleanup_errors=True)
        with contextlib.ExitStack() as stack:
            # Undo a start that fails half way as well.
            stack.callback(self._fronts.clear)
            self._private_folder = Path(stack.enter_context(folder))
            if self._state_file is not None:
                self._state_file.load()
                stack.callback(self._state_file.save)
            gate = Gate(self._service, hosts=self._listening.hosts, state_file=self._state_file)
            self._ca_bundle = self._listening.open(
                gate, self._fronts, stack, folder=self._private_folder, region=self.region
            )
            if self._aws:
                self._moto = self._moto_server(stack)
            self._running = stack.pop_all()
        return self

    def stop(self) -> None:
        """Close all connections and remove all files; nothing happens if it does not run.

        Nor in a forked child, whose parent's it is.
        """
        if os.getpid() != self._process:
            return
        self.faults.clear()  # which may hold calls
        try:
            self._running.close()
        finally:
            self._moto = self._ca_bundle = None
            self._forget()

    def save(self) -> None:
        """Write the state file now, if there is one.

        Raises:
            OSError: It cannot be written.
        """
        if self._state_file is not None:
            self._state_file.save()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.endpoint_url if self.is_running else "not running"
        return f"<Emulator {self.account_id} {self.region} {where}>"

    def clear(self) -> None:
        """Back to an empty service with a clock that tells the time; the ports stay."""
        self._clock.reset()
        self._forget()
        if self._moto is not None:
            self._moto.reset()

    def _forget(self) -> None:
        self._service.clear()
        self._workshop.forget()

    def _moto_server(self, stack: contextlib.ExitStack) -> MotoServer:
        from rolesanywhere_auth.testing.fronts.moto_server import MotoServer

        moto = MotoServer(
            self._service,
            account_id=self.account_id,
            region=self.region,
            host=self._listening.host,
            port=self._listening.aws_port,
        )
        moto.start()
        stack.callback(moto.stop)
        return moto

    # Where it is

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return bool(self._fronts)

    @property
    def endpoint_url(self) -> str:
        """The service over HTTP."""
        return self._listening.url("http", self._front("http").port)

    @property
    def https_endpoint_url(self) -> str:
        """The service over HTTPS; `ca_bundle` verifies it."""
        return self._listening.url("https", self._front("https").port)

    @property
    def ca_bundle(self) -> str:
        """The path of the PEM file that verifies `https_endpoint_url`; gone after `stop`."""
        self._front("https")
        return str(self._ca_bundle)

    @property
    def has_tls(self) -> bool:
        """Whether `https_endpoint_url` is there."""
        return "https" in self._fronts

    @property
    def has_aws(self) -> bool:
        """Whether `aws_endpoint_url` is there."""
        return self._aws

    @property
    def aws_endpoint_url(self) -> str:
        """moto's services over HTTP, Roles Anywhere among them.

        Raises:
            RuntimeError: The emulator was made without ``aws=True``, or does not run.
        """
        port = int(self._moto_or_error().endpoint_url.rpartition(":")[2])
        return self._listening.url("http", port)

    def _front(self, scheme: str) -> HTTPFront:
        if not self._fronts:
            raise RuntimeError("The emulator does not run; use it in a with block or call start().")
        if scheme not in self._fronts:
            raise RuntimeError("This emulator was made with tls_port=None, without HTTPS.")
        return self._fronts[scheme]

    def _moto_or_error(self) -> MotoServer:
        self._front("http")
        if self._moto is None:
            raise RuntimeError(
                "There is no AWS behind this emulator; start an Emulator(aws=True), or, with "
                "pytest, override the fixture rolesanywhere_emulator_aws in conftest.py."
            )
        return self._moto

    # Time, faults, and what happened

    def now(self) -> datetime:
        """The emulator's time, with a time zone."""
        return self._clock.now()

    def advance(self, seconds: float | timedelta) -> None:
        """Move the emulator's clock, back if *seconds* are negative; the clients' clocks stay.

        Raises:
            RuntimeError: The emulator was given a clock: move that one.
        """
        self._clock.advance(seconds)

    def set_time(self, moment: datetime) -> None:
        """Let it be *moment* now; the clock goes on from there.

        Raises:
            ValueError: *moment* has no time zone.
            RuntimeError: As for `advance`.
        """
        self._clock.set(moment)

    @property
    def service(self) -> Service:
        """The service itself, without sockets."""
        return self._service

    @property
    def events(self) -> list[Event]:
        """One event per CreateSession that reached the service, the last 10,000, oldest first."""
        return self._service.events

    def cloudtrail(self) -> list[dict[str, Any]]:
        """All calls, also the control plane's, as CloudTrail records; the last 10,000."""
        return [event.cloudtrail() for event in list(self._service.trail.calls)]

    @property
    def metrics(self) -> Metrics:
        """What CloudWatch would count: successes, failures, days to expiry."""
        return self._service.metrics

    @property
    def notices(self) -> list[dict[str, Any]]:
        """What EventBridge would get about certificates that end soon, oldest first."""
        return self._service.notices

    @property
    def faults(self) -> Faults:
        """What may go wrong with CreateSession, by name: ``faults.next(2).refuse()``."""
        return self._service.faults

    @property
    def sessions(self) -> list[IssuedSession]:
        """The sessions that were vended, the last 10,000, oldest first, without their secrets."""
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
        answer = refusal_answer(status, code=code, message=message, retry_after=retry_after)
        self.inject(*[answer] * count)

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
        """An unmodified boto3 client for moto; without keys it is the administrator's.

        Raises:
            ValueError: Only a part of the keys is given.
        """
        moto = self._moto_or_error()
        keys: tuple[str, str, str | None] = (*moto.administrator, None)
        if aws_access_key_id is not None and aws_secret_access_key is not None:
            keys = (aws_access_key_id, aws_secret_access_key, aws_session_token)
        elif aws_access_key_id or aws_secret_access_key or aws_session_token:
            raise ValueError("give aws_access_key_id and aws_secret_access_key, or no key at all")
        return self._clients.make(service_name, moto.endpoint_url, keys)

    def enforcing_iam(self) -> contextlib.AbstractContextManager[None]:
        """Let moto check signatures and IAM policies within a ``with`` block."""
        return self._moto_or_error().enforcing_iam()

    def _folder(self) -> Path:
        self._front("http")
        return self._private_folder
