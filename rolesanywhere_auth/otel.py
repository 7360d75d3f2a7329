# SPDX-License-Identifier: Apache-2.0
"""Traces and metrics by OpenTelemetry (extra ``otel``): `CredentialsTelemetry`.

Attributes whose names do not begin with ``rolesanywhere`` are those of OpenTelemetry's semantic
conventions ("HTTP spans", "AWS SDK spans", "Recording errors").
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import Token
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.errors import MissingExtraError, RolesAnywhereError, ServiceError
from rolesanywhere_auth.events import AttemptEvent, Labels, RenewalEvent
from rolesanywhere_auth.watched import (
    BUCKETS,
    CIRCUITS,
    STATES,
    Reading,
    Watched,
    credentials_of,
    error_name,
)

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import Observation
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError as missing:
    raise MissingExtraError(
        f"rolesanywhere_auth.otel needs the API of OpenTelemetry ({missing}): "
        "pip install 'rolesanywhere-auth[otel]'",
        extra="otel",
    ) from missing

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from rolesanywhere_auth.watched import Target

__all__ = ["CredentialsTelemetry"]

_ROLE = "rolesanywhere.role.arn"
_PROFILE = "rolesanywhere.profile.arn"
_RESULT = "rolesanywhere.result"
_STATE = "rolesanywhere.state"
_ERROR = "error.type"
_SCOPE = "rolesanywhere_auth"
Attributes = dict[str, str | int]


class CredentialsTelemetry:
    """Sign-ins as spans, and how long credentials and certificates are valid as metrics.

    The span of a sign-in is the present one in its thread: what instruments HTTP hangs its own
    below it. Several credentials of one role and profile are one series: the worst of them.
    Credentials are not kept alive.

    Args:
        tracer_provider: By default that of the process, whether set before or later.
        meter_provider: The same.
        now: Returns the time, aware; by which the seconds to expiry are counted.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._watched = Watched()
        self._now = now
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._sign_ins = meter.create_counter(
            "rolesanywhere.sign_ins",
            unit="{sign_in}",
            description="Sign-ins by result; skipped ones were due, but the last had failed "
            "just before.",
        )
        self._duration = meter.create_histogram(
            "rolesanywhere.sign_in.duration",
            unit="s",
            description="How long sign-ins took, attempts and pauses included.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._observe(meter)

    def _observe(self, meter: metrics.Meter) -> None:
        meter.create_observable_gauge(
            "rolesanywhere.credentials.time_to_expiry",
            [lambda _: self._left(lambda reading: reading.expires_at)],
            unit="s",
            description="Seconds until the present credentials expire; negative afterwards.",
        )
        meter.create_observable_gauge(
            "rolesanywhere.certificate.time_to_expiry",
            [lambda _: self._left(lambda reading: reading.certificate_expires_at)],
            unit="s",
            description="Seconds until the certificate that signs in expires; negative afterwards.",
        )
        meter.create_observable_gauge(
            "rolesanywhere.credentials.state",
            [lambda _: self._states(STATES, lambda reading: reading.state)],
            description="1 for how the credentials stand, else 0.",
        )
        meter.create_observable_gauge(
            "rolesanywhere.circuit.state",
            [lambda _: self._states(CIRCUITS, lambda reading: reading.circuit)],
            description="1 for whether sign-ins are attempted, else 0.",
        )

    def watch(self, target: Target) -> None:
        """Trace and count the sign-ins of *target*, and show how its credentials stand.

        Args:
            target: A session of this library, or its credentials.

        Raises:
            ConfigurationError: its credentials are not of this library.
        """
        credentials = credentials_of(target)
        if self._watched.add(credentials):
            hook = _Hook(self, credentials.labels)
            credentials.add_hook(hook, attempts=hook.attempt)

    # what observable instruments ask for

    def _left(self, which: Callable[[Reading], datetime | None]) -> Iterator[Observation]:
        now = self._now()
        for labels, reading in self._watched.readings().items():
            moment = which(reading)
            if moment is not None:
                yield Observation((moment - now).total_seconds(), _attributes(labels))

    def _states(
        self, states: tuple[str, ...], which: Callable[[Reading], str]
    ) -> Iterator[Observation]:
        for labels, reading in self._watched.readings().items():
            for state in states:
                value = int(state == which(reading))
                yield Observation(value, {**_attributes(labels), _STATE: state})

    # what hooks tell

    def count(self, event: RenewalEvent, labels: Labels) -> None:
        """Count the end of a sign-in, or that one was skipped."""
        found: Attributes = {**_attributes(labels), _RESULT: event.kind}
        if event.kind == "failed":
            found[_ERROR] = error_name(event.error)
        self._sign_ins.add(1, found)
        if event.duration is not None:
            self._duration.record(event.duration, found)

    def start(self, labels: Labels, event: RenewalEvent) -> trace.Span:
        """The span of a sign-in."""
        found: Attributes = {**_attributes(labels), "rolesanywhere.sign_in.attempt": event.attempt}
        return self._tracer.start_span("rolesanywhere sign_in", attributes=found)

    def attempt(self, event: AttemptEvent, labels: Labels, parent: Context) -> None:
        """The span of one request, which is over."""
        service, method = ("RolesAnywhere", "CreateSession")
        if not labels.profile_arn:
            service, method = ("STS", "AssumeRole")
        begin = int(event.at.timestamp() * 1e9)
        span = self._tracer.start_span(
            f"{service}.{method}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=_of_request(event, service=service, method=method),
            start_time=begin,
        )
        if event.status is None:
            span.set_attribute(_ERROR, error_name(event.error))
            span.set_status(StatusCode.ERROR, str(event.error))
        elif event.status >= 400:
            span.set_attribute(_ERROR, str(event.status))
            span.set_status(StatusCode.ERROR)
        span.end(begin + int(event.duration * 1e9))


class _Open(NamedTuple):
    """A sign-in under way in this thread."""

    span: trace.Span
    context: Context
    token: Token[Context]


class _Hook:
    """Of one object of credentials, to which it must not refer."""

    def __init__(self, telemetry: CredentialsTelemetry, labels: Labels) -> None:
        self._telemetry = telemetry
        self._labels = labels
        # One sign-in may begin before the end of the last is told of; each keeps to its thread.
        self._here = threading.local()

    def __call__(self, event: RenewalEvent, /) -> None:
        opened: _Open | None = self._here.__dict__.pop("opened", None)
        if opened is not None and event.kind in ("started", "skipped"):  # Ctrl-C ended it
            _close(opened)
        if event.kind == "skipped":
            self._telemetry.count(event, self._labels)
            return
        if event.kind == "started":
            span = self._telemetry.start(self._labels, event)
            inside = trace.set_span_in_context(span)
            self._here.opened = _Open(span, inside, context.attach(inside))
            return
        try:
            self._telemetry.count(event, self._labels)  # within, for exemplars
        finally:
            if opened is not None:
                _finish(opened.span, event)
                _close(opened)

    def attempt(self, event: AttemptEvent, /) -> None:
        """Note one request."""
        opened: _Open | None = self._here.__dict__.get("opened")
        if opened is not None:
            self._telemetry.attempt(event, self._labels, opened.context)


def _close(opened: _Open) -> None:
    opened.span.end()
    context.detach(opened.token)


def _finish(span: trace.Span, event: RenewalEvent) -> None:
    if event.serial_number is not None:
        span.set_attribute("rolesanywhere.certificate.serial_number", f"{event.serial_number:x}")
    if event.expires_at is not None:
        span.set_attribute("rolesanywhere.credentials.expires_at", event.expires_at.isoformat())
    error = event.error
    if error is None:
        return
    span.set_attribute(_ERROR, error_name(error))
    if isinstance(error, ServiceError) and error.request_id:
        span.set_attribute("aws.request_id", error.request_id)
    known = isinstance(error, RolesAnywhereError)  # what others say may be a secret
    span.set_status(StatusCode.ERROR, str(error) if known else type(error).__name__)


def _attributes(labels: Labels) -> Mapping[str, str]:
    found = {_ROLE: labels.role_arn}
    return {**found, _PROFILE: labels.profile_arn} if labels.profile_arn else found


def _of_request(event: AttemptEvent, *, service: str, method: str) -> Attributes:
    parts = urlsplit(event.url)
    found: Attributes = {
        "rpc.system": "aws-api",
        "rpc.service": service,
        "rpc.method": method,
        "http.request.method": "POST",
        "url.full": event.url,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
    if event.number > 1:
        found["http.request.resend_count"] = event.number - 1
    if event.status is not None:
        found["http.response.status_code"] = event.status
    if event.request_id:
        found["aws.request_id"] = event.request_id
    return found
