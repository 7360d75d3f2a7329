# SPDX-License-Identifier: Apache-2.0
"""What AWS would publish: CloudWatch counters and EventBridge notices of certificates' end.

Names, dimensions, thresholds and ends of evaluation are those of AWS's user guide,
pages "monitoring-cloudwatch", "monitoring-events" and "customize-notification-settings".
Ours: ``ErrorType`` is the code of the refusal; one datum carries all dimensions; a day
is one of UTC, and days to expiry are counted by date; a leaf or intermediate is
announced once a day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service.audit import Attempt, Event
from rolesanywhere_auth.testing.service.state import TrustAnchor

if TYPE_CHECKING:
    from cryptography import x509

NAMESPACE = "AWS/RolesAnywhere"
_LIMIT = 10_000
_DAYS_AFTER = 14
_DETAIL_TYPE = "Roles Anywhere Certificate Expiration State Change"
_CA, _LEAF = "CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY"


@dataclass(frozen=True)
class Metric:
    """One datum; `datum` writes it as CloudWatch's PutMetricData does."""

    name: str
    dimensions: Mapping[str, str]
    value: float
    timestamp: datetime
    unit: str = "Count"

    def datum(self) -> dict[str, Any]:
        """The datum as a ``MetricDatum``."""
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions.items()]
        return {
            "MetricName": self.name,
            "Dimensions": dimensions,
            "Timestamp": self.timestamp,
            "Value": self.value,
            "Unit": self.unit,
        }


class Metrics:
    """The namespace ``AWS/RolesAnywhere`` of one emulator, all accounts and Regions together.

    Args:
        anchors: All trust anchors.
        clock: The emulator's clock.
    """

    def __init__(
        self, anchors: Callable[[], Iterable[TrustAnchor]], *, clock: Callable[[], datetime]
    ) -> None:
        self._anchors = anchors
        self._clock = clock
        self._counted: deque[Metric] = deque(maxlen=_LIMIT)

    def __repr__(self) -> str:
        return f"<{NAMESPACE}: {self.sum('Success')} Success, {self.sum('Failure')} Failure>"

    def data(self) -> list[Metric]:
        """The counted calls, oldest first, then today's ``DaysToExpiry``."""
        return [*self._counted, *self._days_to_expiry()]

    def sum(self, name: str, *, dimensions: Mapping[str, str] | None = None) -> int:
        """The sum of the counter *name*, ``Success`` or ``Failure``.

        Args:
            name: Of the metric.
            dimensions: Only what has these, such as ``{"ErrorType": "AccessDeniedException"}``.

        Raises:
            ValueError: There is no such counter.
        """
        if name not in ("Success", "Failure"):
            raise ValueError(f"The counters are Success and Failure, not {name!r}; see data().")
        wanted = (dimensions or {}).items()
        found = [
            metric.value
            for metric in list(self._counted)
            if metric.name == name and wanted <= metric.dimensions.items()
        ]
        return int(sum(found))

    def days_to_expiry(self, trust_anchor_arn: str) -> int | None:
        """Today's ``DaysToExpiry`` of the trust anchor, the least of its certificates.

        None when none is published: the threshold is not reached, the notification
        is disabled, or the certificate expired.
        """
        found = [
            metric.value
            for metric in self._days_to_expiry()
            if metric.dimensions["TrustAnchorArn"] == trust_anchor_arn
        ]
        return int(min(found)) if found else None

    def count(self, event: Event) -> None:
        """Count one CreateSession."""
        dimensions = {"Operation": event.event_name}
        if event.error_code is None:
            dimensions["TrustAnchorArn"] = str(event.trust_anchor_arn)
        else:
            dimensions["ErrorType"] = event.error_code
        name = "Failure" if event.error_code else "Success"
        self._counted.append(Metric(name, dimensions, 1, event.event_time))

    def clear(self) -> None:
        """Forget what was counted."""
        self._counted.clear()

    def _days_to_expiry(self) -> Iterator[Metric]:
        now = self._clock()
        for anchor in self._anchors():
            threshold = threshold_of(anchor, _CA)
            for certificate in anchor.certificates:
                days = days_left(certificate, now)
                if threshold is not None and 0 <= days <= threshold:
                    dimensions = {"TrustAnchorArn": anchor.trust_anchor_arn}
                    # The guide says "Integer", which is no unit of CloudWatch's.
                    yield Metric("DaysToExpiry", dimensions, days, now, unit="None")


class Notices:
    """The events that EventBridge would get about certificates that end soon.

    A CA certificate is announced on every day on which `all` is asked; AWS does so
    daily. Leaves and intermediates are announced when they are used.

    Args:
        anchors: All trust anchors.
        clock: The emulator's clock.
        new_id: Makes the UUID of an event.
    """

    def __init__(
        self,
        anchors: Callable[[], Iterable[TrustAnchor]],
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._anchors = anchors
        self._clock = clock
        self._new_id = new_id
        self._sent: dict[tuple[str, bytes, str], dict[str, Any]] = {}

    def all(self) -> list[dict[str, Any]]:
        """All notices up to now, in EventBridge's form, oldest first."""
        now = self._clock()
        for anchor in self._anchors():
            threshold = threshold_of(anchor, _CA)
            for certificate in anchor.certificates:
                days = days_left(certificate, now)
                if threshold is not None and -_DAYS_AFTER <= days <= threshold:
                    self._send(anchor, certificate, now, resources=[anchor.trust_anchor_arn])
        return list(self._sent.values())

    def used(self, attempt: Attempt) -> None:
        """The certificates of *attempt* vended a session: announce those that end soon."""
        anchor = attempt.anchor
        threshold = threshold_of(anchor, _LEAF) if anchor else None
        if anchor is None or threshold is None:
            return
        for certificate in attempt.path[:-1]:
            if days_left(certificate, attempt.now) <= threshold:
                self._send(anchor, certificate, attempt.now)

    def clear(self) -> None:
        """Forget all notices."""
        self._sent.clear()

    def _send(
        self,
        anchor: TrustAnchor,
        certificate: x509.Certificate,
        now: datetime,
        *,
        resources: list[str] | None = None,
    ) -> None:
        moment = now.astimezone(timezone.utc)
        arn = anchor.trust_anchor_arn
        key = (arn, certificate.signature, f"{moment:%Y-%m-%d}")
        if key in self._sent:
            return
        event: dict[str, Any] = {
            "version": "0",
            "id": self._new_id(),
            "detail-type": _DETAIL_TYPE,
            "source": "aws.rolesanywhere",
            "account": arn.split(":")[4],
            "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            "region": arn.split(":")[3],
        }
        if resources is not None:
            event["resources"] = resources
        event["detail"] = {
            "certificate-serial-number": serial_text(certificate),
            "days-to-expiry": days_left(certificate, now),
            "issuer": certificate.issuer.rfc4514_string(),
        }
        self._sent[key] = event


def threshold_of(anchor: TrustAnchor, event: str) -> int | None:
    """Days before the end from which *event* is announced; None when it is disabled."""
    for setting in anchor.notification_settings:
        if setting["event"] == event and setting["enabled"]:
            return int(setting["threshold"])
    return None


def days_left(certificate: x509.Certificate, now: datetime) -> int:
    """Days from *now* to the day of the certificate's end, 0 on that day, negative after it."""
    end = certificate.not_valid_after_utc
    return (end.date() - now.astimezone(timezone.utc).date()).days


def serial_text(certificate: x509.Certificate) -> str:
    """The serial number as AWS's notices write it: the bytes of its DER in upper-case hex."""
    number = certificate.serial_number
    return number.to_bytes(number.bit_length() // 8 + 1, "big").hex().upper()
