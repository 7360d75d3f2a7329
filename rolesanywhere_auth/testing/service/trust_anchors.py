# SPDX-License-Identifier: Apache-2.0
"""The trust anchor operations of the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cryptography import x509

from rolesanywhere_auth.testing.service import limits, resources, trust
from rolesanywhere_auth.testing.service.resources import Call, Handler
from rolesanywhere_auth.testing.service.state import TrustAnchor
from rolesanywhere_auth.testing.service.wire import invalid

# The defaults are those of UG/customize-notification-settings.
_DEFAULT_NOTIFICATIONS = tuple(
    {
        "enabled": True,
        "event": event,
        "threshold": 45,
        "channel": "ALL",
        "configuredBy": "rolesanywhere.amazonaws.com",
    }
    for event in ("CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY")
)


_PCA = "AWS_ACM_PCA"
_DATA = {"CERTIFICATE_BUNDLE": "x509CertificateData", _PCA: "acmPcaArn"}


def describe(call: Call, anchor: TrustAnchor) -> dict[str, Any]:
    """The TrustAnchorDetailResponse."""
    return {"trustAnchor": resources.detail(call, anchor)}


def create(call: Call) -> dict[str, Any]:
    """CreateTrustAnchor. Disabled unless ``enabled`` is true."""
    identifier = call.new_id()
    members = call.members
    place = f"account {call.shelf.account_id}, Region {call.shelf.region}"
    present = call.shelf.all(TrustAnchor)
    limits.check_room(present, call.limits.trust_anchors, what=f"trust anchors in {place}")
    anchor = TrustAnchor(
        trust_anchor_id=identifier,
        trust_anchor_arn=call.shelf.arn("trust-anchor", identifier),
        name=members["name"],
        source=members["source"],
        certificates=_certificates(call, members["source"]),
        enabled=members.get("enabled", False),
        created_at=call.now,
        updated_at=call.now,
        notification_settings=_merged(
            call, _DEFAULT_NOTIFICATIONS, members.get("notificationSettings", [])
        ),
        crl_dp_revocation_enabled=members.get("crlDpRevocationEnabled", False),
    )
    return resources.created(call, anchor, describe)


def update(call: Call) -> dict[str, Any]:
    """UpdateTrustAnchor: name, source, alias and the CRL distribution point flag.

    Each update of an ``AWS_ACM_PCA`` anchor reads the CA's certificate again, since what
    counts is "the validity period found during the most recent TrustAnchor Create/Update
    event" (UG/trust-model).
    """
    members = call.members
    anchor = call.shelf.find(TrustAnchor, members["trustAnchorId"])
    source = members.get("source", anchor.source)
    if source != anchor.source or source["sourceType"] == _PCA:
        anchor = replace(anchor, source=source, certificates=_certificates(call, source))
    flag = members.get("crlDpRevocationEnabled", anchor.crl_dp_revocation_enabled)
    anchor = replace(anchor, name=members.get("name", anchor.name), crl_dp_revocation_enabled=flag)
    return resources.updated(call, anchor, describe)


def put_notifications(call: Call) -> dict[str, Any]:
    """PutNotificationSettings."""
    anchor = call.shelf.find(TrustAnchor, call.members["trustAnchorId"])
    settings = _merged(call, anchor.notification_settings, call.members["notificationSettings"])
    return resources.updated(call, replace(anchor, notification_settings=settings), describe)


def reset_notifications(call: Call) -> dict[str, Any]:
    """ResetNotificationSettings: the named events go back to their defaults."""
    anchor = call.shelf.find(TrustAnchor, call.members["trustAnchorId"])
    events = {key["event"] for key in call.members["notificationSettingKeys"]}
    defaults = {item["event"]: item for item in _DEFAULT_NOTIFICATIONS}
    settings = tuple(
        defaults[item["event"]] if item["event"] in events else item
        for item in anchor.notification_settings
    )
    return resources.updated(call, replace(anchor, notification_settings=settings), describe)


def _merged(
    call: Call, current: tuple[dict[str, Any], ...], changes: list[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    by_event = {item["event"]: item for item in current}
    for change in changes:
        if change["enabled"] and "threshold" not in change:
            raise invalid(f"The notification {change['event']} is enabled and needs a threshold.")
        defaults = {"channel": "ALL", "configuredBy": call.shelf.account_id}
        by_event[change["event"]] = defaults | change
    return tuple(by_event.values())


def _certificates(call: Call, source: Mapping[str, Any]) -> tuple[x509.Certificate, ...]:
    kind = source.get("sourceType")
    if kind not in _DATA:
        raise invalid(
            f"This emulator knows trust anchors of the sourceTypes {' and '.join(_DATA)}, "
            f"not {kind}: give the CA's PEM as x509CertificateData."
        )
    member = _DATA[kind]
    data = source.get("sourceData", {}).get(member)
    if data is None:
        raise invalid(f"A trust anchor of sourceType {kind} needs sourceData.{member}.")
    if kind == _PCA:
        data = call.directory.ca_certificate(data)
    return trust.load_anchor_bundle(data)


HANDLERS: dict[str, Handler] = {
    "CreateTrustAnchor": create,
    "UpdateTrustAnchor": update,
    "PutNotificationSettings": put_notifications,
    "ResetNotificationSettings": reset_notifications,
    "GetTrustAnchor": resources.getter(TrustAnchor, "trustAnchorId", describe),
    "DeleteTrustAnchor": resources.deleter(TrustAnchor, "trustAnchorId", describe),
    "EnableTrustAnchor": resources.switch(TrustAnchor, "trustAnchorId", describe, enabled=True),
    "DisableTrustAnchor": resources.switch(TrustAnchor, "trustAnchorId", describe, enabled=False),
    "ListTrustAnchors": resources.lister(TrustAnchor, "trustAnchors", describe),
}
