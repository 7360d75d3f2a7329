# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus (extra ``prometheus``): `CredentialsCollector`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rolesanywhere_auth.errors import MissingExtraError
from rolesanywhere_auth.events import Labels, RenewalEvent
from rolesanywhere_auth.forking import local_work
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
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise MissingExtraError(
        f"rolesanywhere_auth.prometheus needs prometheus_client ({missing}): "
        "pip install 'rolesanywhere-auth[prometheus]'",
        extra="prometheus",
    ) from missing

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from rolesanywhere_auth.watched import Target

__all__ = ["CredentialsCollector"]

RESULTS = ("succeeded", "failed", "skipped")
PASSING = ("ServiceUnavailableError", "ThrottlingError", "TransportError")
"""Errors that come and go, and are there as 0 from the beginning."""
_LABELS = ("role_arn", "profile_arn")
_TIMES = {
    "rolesanywhere_credentials_expiry_timestamp_seconds": (
        "When the present credentials expire, in seconds since the epoch."
    ),
    "rolesanywhere_certificate_expiry_timestamp_seconds": (
        "When the certificate that signs in expires, in seconds since the epoch."
    ),
    "rolesanywhere_last_success_timestamp_seconds": (
        "When signing in went well for the last time, in seconds since the epoch."
    ),
}
_STATES = {
    "rolesanywhere_credentials_state": "1 for how the credentials stand, else 0.",
    "rolesanywhere_circuit_state": (
        "1 for whether sign-ins are attempted, else 0: closed, all is well; open, not for now; "
        "half-open, the next one decides."
    ),
}


class CredentialsCollector(Collector):
    """Sign-ins, and how long credentials and certificates are valid, as Prometheus metrics.

    Several credentials of one role and profile are one series: the worst of them. Credentials
    are not kept alive.

    Args:
        registry: Where it registers; None for nowhere.

    Raises:
        ValueError: *registry* has one already.
    """

    def __init__(self, *, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._watched = Watched()
        self._sign_ins = Counter(
            "rolesanywhere_sign_ins",
            "Sign-ins by result; skipped ones were due, but the last had failed just before.",
            (*_LABELS, "result"),
            registry=None,
        )
        self._errors = Counter(
            "rolesanywhere_sign_in_errors",
            "Sign-ins that failed, by the class of the error.",
            (*_LABELS, "error"),
            registry=None,
        )
        self._duration = Histogram(
            "rolesanywhere_sign_in_duration_seconds",
            "How long sign-ins took, attempts and pauses included.",
            (*_LABELS, "result"),
            buckets=BUCKETS,
            registry=None,
        )
        self._gauges = _shared_gauges() if _multiprocess() else {}
        if registry is not None:
            registry.register(self)

    def watch(self, target: Target) -> None:
        """Count the sign-ins of *target* and show how its credentials stand; sends nothing.

        Args:
            target: A session of this library, or its credentials.

        Raises:
            ConfigurationError: its credentials are not of this library.
        """
        credentials = credentials_of(target)
        if not self._watched.add(credentials):
            return
        labels = credentials.labels
        with local_work():
            # From 0 to 1 is an increase, from nothing to 1 is none.
            for result in RESULTS:
                self._sign_ins.labels(*labels, result)
            for error in PASSING:
                self._errors.labels(*labels, error)
        credentials.add_hook(_Hook(self, labels))

    def note(self, event: RenewalEvent, labels: Labels) -> None:
        """Count *event*."""
        if event.kind == "started":
            return
        # A fork waits for this: in the child, no lock of prometheus_client is held for ever.
        with local_work():
            self._sign_ins.labels(*labels, event.kind).inc()
            if event.duration is not None:
                self._duration.labels(*labels, event.kind).observe(event.duration)
            if event.kind == "failed":
                self._errors.labels(*labels, error_name(event.error)).inc()
            if self._gauges:
                self._share()

    def _share(self) -> None:
        """Write how the credentials stand where the other processes' exporter finds it."""
        for labels, reading in self._watched.readings().items():
            for name, value in _times(reading).items():
                self._gauges[name].labels(*labels).set(value)
            for name, states in _states(reading).items():
                for state, value in states.items():
                    self._gauges[name].labels(*labels, state).set(value)

    def describe(self) -> Iterator[Metric]:
        """The families, without samples."""
        for metric in (self._sign_ins, self._errors, self._duration):
            yield from metric.describe()
        yield from _families().values()

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        with local_work():
            counted = [
                family
                for metric in (self._sign_ins, self._errors, self._duration)
                for family in metric.collect()
            ]
        yield from counted
        families = _families()
        for labels, reading in self._watched.readings().items():
            for name, value in _times(reading).items():
                families[name].add_metric(labels, value)
            for name, states in _states(reading).items():
                for state, value in states.items():
                    families[name].add_metric((*labels, state), value)
        yield from families.values()


class _Hook:
    """Of one object of credentials, to which it must not refer."""

    def __init__(self, collector: CredentialsCollector, labels: Labels) -> None:
        self._collector = collector
        self._labels = labels

    def __call__(self, event: RenewalEvent, /) -> None:
        self._collector.note(event, self._labels)


def _families() -> dict[str, GaugeMetricFamily]:
    times = {name: GaugeMetricFamily(name, text, labels=_LABELS) for name, text in _TIMES.items()}
    states = {
        name: GaugeMetricFamily(name, text, labels=(*_LABELS, "state"))
        for name, text in _STATES.items()
    }
    return {**times, **states}


def _times(reading: Reading) -> dict[str, float]:
    """Seconds since the epoch, of those that are known."""
    moments = (reading.expires_at, reading.certificate_expires_at, reading.last_success)
    return {
        name: moment.timestamp()
        for name, moment in zip(_TIMES, moments, strict=True)
        if moment is not None
    }


def _states(reading: Reading) -> dict[str, Mapping[str, float]]:
    credentials, circuit = _STATES
    return {
        credentials: {state: float(state == reading.state) for state in STATES},
        circuit: {state: float(state == reading.circuit) for state in CIRCUITS},
    }


def _multiprocess() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ


def _shared_gauges() -> dict[str, Gauge]:
    """For the files of ``PROMETHEUS_MULTIPROC_DIR``, of the processes that live.

    The earliest of their moments, and 1 for every state that one of them is in: a metric is
    taken together in one way.
    """
    times = {
        name: Gauge(name, text, _LABELS, registry=None, multiprocess_mode="livemin")
        for name, text in _TIMES.items()
    }
    states = {
        name: Gauge(name, text, (*_LABELS, "state"), registry=None, multiprocess_mode="livemax")
        for name, text in _STATES.items()
    }
    return {**times, **states}
