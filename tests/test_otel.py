"""Traces and metrics as a collector gets them: OTLP over HTTP, decoded by OpenTelemetry's own."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from rolesanywhere_auth import (
    PassphraseError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    ServiceUnavailableError,
    TransportError,
)
from rolesanywhere_auth.events import AttemptEvent, Labels, RenewalEvent
from rolesanywhere_auth.otel import CredentialsTelemetry, _Hook
from rolesanywhere_auth.testing import Emulator


class Receiver:
    """An OTLP endpoint that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, list[Any]] = {}
        self.units: dict[str, str] = {}
        self.scopes: set[str] = set()
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path: str, body: bytes) -> None:
        """Read one export."""
        self.bodies.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    self.scopes.add(scope.scope.name)
                    self.spans.extend(scope.spans)
            return
        assert path == "/v1/metrics"
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                self.scopes.add(scope.scope.name)
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    self.units[metric.name] = metric.unit
                    self.metrics[metric.name] = list(data.data_points)

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """Points by the values of those attributes that are not role and profile."""
        return {
            tuple(v for k, v in sorted(plain(each).items()) if not k.endswith(".arn")): each
            for each in self.metrics[name]
        }


def plain(thing: Any) -> dict[str, Any]:
    """Attributes of a span or a point."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in thing.attributes
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers."""
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def tracers(receiver: Receiver) -> Iterator[TracerProvider]:
    """The SDK, with its exporter; each span is sent at its end."""
    provider = TracerProvider(resource=Resource({}))
    exporter = OTLPSpanExporter(f"{receiver.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def meters(receiver: Receiver) -> Iterator[MeterProvider]:
    """The same for metrics, which are sent when the test asks."""
    exporter = OTLPMetricExporter(f"{receiver.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({}))
    yield provider
    provider.shutdown()


def made(emulator: Emulator, **more: Any) -> RolesAnywhereCredentials:
    """Credentials that sign in in the thread that asks."""
    config = RolesAnywhereConfig(**{**emulator.set_up().config_arguments(), **more})
    found = RolesAnywhereCredentials(config, sleep=lambda _: None)
    found._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    return found


def test_a_sign_in_is_a_span_and_each_request_one_below_it(
    emulator: Emulator, receiver: Receiver, tracers: TracerProvider, meters: MeterProvider
) -> None:
    """They have the conventions' attributes, the caller's span above them, and no secret."""
    credentials = made(emulator)
    telemetry = CredentialsTelemetry(tracer_provider=tracers, meter_provider=meters)
    telemetry.watch(credentials)
    telemetry.watch(credentials)  # once is enough
    emulator.fail_next(1)

    with tracers.get_tracer("app").start_as_current_span("request"):
        frozen = credentials.get_frozen_credentials()
        inside = trace.get_current_span().get_span_context()

    failed, good, sign_in, request = receiver.spans
    names = [span.name for span in receiver.spans]
    assert names == [
        "RolesAnywhere.CreateSession",
        "RolesAnywhere.CreateSession",
        "rolesanywhere sign_in",
        "request",
    ]
    assert request.span_id == inside.span_id.to_bytes(8, "big")  # the context is as it was
    assert sign_in.parent_span_id == request.span_id
    assert failed.parent_span_id == good.parent_span_id == sign_in.span_id
    assert {span.trace_id for span in receiver.spans} == {request.trace_id}
    assert sign_in.start_time_unix_nano <= failed.start_time_unix_nano + 1_000_000
    assert failed.start_time_unix_nano < failed.end_time_unix_nano
    assert [span.status.code for span in receiver.spans] == [2, 0, 0, 0]

    arguments = credentials.config
    shown = plain(sign_in)
    assert shown.pop("rolesanywhere.credentials.expires_at")
    serial = credentials.health().certificate_serial_number
    assert shown == {
        "rolesanywhere.role.arn": arguments.role_arn,
        "rolesanywhere.profile.arn": arguments.profile_arn,
        "rolesanywhere.sign_in.attempt": 1,
        "rolesanywhere.certificate.serial_number": f"{serial:x}",
    }
    first, second = plain(failed), plain(good)
    assert first["error.type"] == "503"
    assert first["http.response.status_code"] == 503
    assert second.pop("aws.request_id")
    assert second == {
        "rpc.system": "aws-api",
        "rpc.service": "RolesAnywhere",
        "rpc.method": "CreateSession",
        "http.request.method": "POST",
        "http.request.resend_count": 1,
        "http.response.status_code": 201,
        "url.full": f"{emulator.endpoint_url}/sessions",
        "server.address": "127.0.0.1",
        "server.port": int(emulator.endpoint_url.rpartition(":")[2]),
    }
    meters.force_flush()
    for secret in (frozen.access_key, frozen.secret_key, frozen.token):
        assert not any(str(secret).encode() in body for body in receiver.bodies)
    assert "rolesanywhere_auth" in receiver.scopes


def test_results_durations_and_expiry_are_metrics(
    emulator: Emulator, receiver: Receiver, tracers: TracerProvider, meters: MeterProvider
) -> None:
    """Counts by result and error; seconds to both expiries at the moment of the export; states."""
    credentials = made(emulator)
    later = datetime.now(timezone.utc) + timedelta(hours=2)
    telemetry = CredentialsTelemetry(
        tracer_provider=tracers, meter_provider=meters, now=lambda: later
    )
    telemetry.watch(credentials)
    meters.force_flush()
    assert "rolesanywhere.credentials.time_to_expiry" not in receiver.metrics
    emulator.fail_next(3)
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError):
            credentials.get_frozen_credentials()
    credentials._renewal.renew()
    meters.force_flush()

    counts = {k: v.as_int for k, v in receiver.points("rolesanywhere.sign_ins").items()}
    failed = ("ServiceUnavailableError", "failed")
    assert counts == {failed: 1, ("skipped",): 1, ("succeeded",): 1}
    durations = receiver.points("rolesanywhere.sign_in.duration")
    assert {k: v.count for k, v in durations.items()} == {failed: 1, ("succeeded",): 1}
    assert 45.0 in durations[failed].explicit_bounds
    health = credentials.health()
    for name, moment in {
        "credentials": health.expires_at,
        "certificate": health.certificate_expires_at,
    }.items():
        [point] = receiver.metrics[f"rolesanywhere.{name}.time_to_expiry"]
        assert moment
        assert point.as_double == pytest.approx((moment - later).total_seconds())
        assert receiver.units[f"rolesanywhere.{name}.time_to_expiry"] == "s"
        assert plain(point) == {
            "rolesanywhere.role.arn": credentials.config.role_arn,
            "rolesanywhere.profile.arn": credentials.config.profile_arn,
        }
    states = receiver.points("rolesanywhere.credentials.state")
    assert {k: v.as_int for k, v in states.items()} == {
        ("none",): 0,
        ("fresh",): 1,
        ("stale",): 0,
        ("expired",): 0,
    }
    circuit = receiver.points("rolesanywhere.circuit.state")
    assert {k: v.as_int for k, v in circuit.items()} == {
        ("closed",): 1,
        ("half-open",): 0,
        ("open",): 0,
    }


def test_errors_are_told_without_what_may_be_a_secret(
    emulator: Emulator, receiver: Receiver, tracers: TracerProvider
) -> None:
    """An error of this library says its text, with AWS's request id; any other its class alone."""
    credentials = made(emulator, passphrase=lambda: "wrong")
    CredentialsTelemetry(tracer_provider=tracers).watch(credentials)
    emulator.fail_next(3)
    with pytest.raises(ServiceUnavailableError):
        credentials.get_frozen_credentials()
    [span] = (each for each in receiver.spans if each.name == "rolesanywhere sign_in")
    assert span.status.code == 2
    assert span.status.message
    assert plain(span)["error.type"] == "ServiceUnavailableError"
    assert plain(span)["aws.request_id"]

    def hook_told(error: BaseException) -> Any:
        receiver.spans.clear()
        hook = _Hook(CredentialsTelemetry(tracer_provider=tracers), Labels("arn:role"))
        at = datetime.now(timezone.utc)
        hook(RenewalEvent("started", at, 1))
        hook(RenewalEvent("failed", at, 1, duration=1.0, error=error))
        [span] = receiver.spans
        return span

    foreign = hook_told(ValueError("hunter2"))
    assert (foreign.status.message, plain(foreign)["error.type"]) == ("ValueError", "other")
    ours = hook_told(PassphraseError("the passphrase is wrong"))
    assert ours.status.message == "the passphrase is wrong"
    assert "aws.request_id" not in plain(ours)
    assert plain(ours)["rolesanywhere.role.arn"] == "arn:role"
    assert "rolesanywhere.profile.arn" not in plain(ours)


def test_requests_without_an_answer_and_of_sts(receiver: Receiver, tracers: TracerProvider) -> None:
    """A role that a role assumes is STS's; a time-out has no status; ports have their default."""
    hook = _Hook(CredentialsTelemetry(tracer_provider=tracers), Labels("arn:role"))
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    error = TransportError("no answer", endpoint="https://sts.example")
    told = AttemptEvent(at, 1.5, 1, "https://sts.example/", error=error)

    hook.attempt(told)  # of no sign-in that was told of
    assert receiver.spans == []
    hook(RenewalEvent("started", at, 1))
    hook.attempt(told)
    hook.attempt(AttemptEvent(at, 1.5, 2, "http://sts.example/", status=200))
    hook(RenewalEvent("succeeded", at, 1, duration=1.0, expires_at=at))

    none, plain_http, _ = receiver.spans
    assert none.name == "STS.AssumeRole"
    assert none.end_time_unix_nano - none.start_time_unix_nano == 1_500_000_000
    assert (none.status.code, none.status.message) == (2, "no answer")
    assert plain(none)["error.type"] == "TransportError"
    assert "http.response.status_code" not in plain(none)
    assert (plain(none)["server.port"], plain(plain_http)["server.port"]) == (443, 80)


def test_an_interrupted_sign_in_ends_with_the_next(
    receiver: Receiver, tracers: TracerProvider
) -> None:
    """Ctrl-C is no event; and an end whose begin was not seen, as of a late watch, is counted."""
    hook = _Hook(CredentialsTelemetry(tracer_provider=tracers), Labels("arn:role"))
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    hook(RenewalEvent("started", at, 1))
    hook(RenewalEvent("started", at, 1))
    assert len(receiver.spans) == 1
    hook(RenewalEvent("succeeded", at, 1, duration=1.0))
    assert len(receiver.spans) == 2
    assert not trace.get_current_span().get_span_context().is_valid
    hook(RenewalEvent("succeeded", at, 1, duration=1.0))
    assert len(receiver.spans) == 2
    hook(RenewalEvent("started", at, 1))
    hook(RenewalEvent("skipped", at, 1))
    assert len(receiver.spans) == 3
    assert not trace.get_current_span().get_span_context().is_valid


def test_without_the_library_the_error_names_the_extra() -> None:
    """Who has not installed it is told what to install."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from rolesanywhere_auth import MissingExtraError\n"
        "try:\n    import rolesanywhere_auth.otel\n"
        "except MissingExtraError as error:\n    print(error.extra, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("otel ")
    assert "pip install 'rolesanywhere-auth[otel]'" in done.stdout
