# SPDX-License-Identifier: Apache-2.0
"""`plan_revoke`: certificates onto the CRLs of their trust anchors; `verify_revoked`: the proof."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.errors import (
    CertificateRevokedError,
    ProvisioningError,
    ResourceConflictError,
)
from rolesanywhere_auth.provisioning._anchor import bundle_of
from rolesanywhere_auth.provisioning.blueprint import TAG
from rolesanywhere_auth.provisioning.crl import (
    MAX_FOR_ANCHOR,
    build_crl,
    is_of,
    load_crl,
    number_of,
    pem_of,
)
from rolesanywhere_auth.provisioning.inventory import Inventory
from rolesanywhere_auth.provisioning.plan import Plan, Step, switch

if TYPE_CHECKING:
    from cryptography import x509

    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.provisioning.admin import Admin
    from rolesanywhere_auth.provisioning.authority import Authority


@dataclass(frozen=True)
class _Imported:
    """A CRL of this CA, as a trust anchor has it."""

    detail: dict[str, Any]
    crl: x509.CertificateRevocationList

    def does(self, serials: Collection[int], *, now: datetime) -> bool:
        """Whether it lists all of them, and is not out of date."""
        end = self.crl.next_update_utc
        found = self.crl.get_revoked_certificate_by_serial_number
        return (end is None or end > now) and all(found(each) is not None for each in serials)


def plan_revoke(
    authority: Authority,
    serials: Collection[int],
    admin: Admin,
    *,
    now: datetime,
    next_update: datetime,
    reason: str = "unspecified",
    trust_anchor_arns: Sequence[str] = (),
) -> Plan:
    """Plan to put *serials* on the CRL of each trust anchor that trusts their CA.

    A CRL belongs to one trust anchor: another one of the same CA still takes the certificate.
    A list of the CA that is there is replaced by its successor, which keeps all entries; a
    second one is not added, as AWS takes two for a trust anchor, of whichever CAs.

    Args:
        authority: The CA that issued the certificates.
        serials: Their serial numbers.
        admin: With whose permissions to look.
        now: The time, aware.
        next_update: When the lists are to be replaced, aware.
        reason: A name of RFC 5280, 5.3.1, such as ``keyCompromise``; not ``removeFromCRL``.
        trust_anchor_arns: Only these; by default those that hold the CA or the one above it.

    Raises:
        ConfigurationError: Something given cannot be.
        ResourceConflictError: CRLs of others are in the way.
        ProvisioningError: There is no such trust anchor, or AWS refused to tell.
    """
    inventory = Inventory(admin)
    steps: list[Step] = []
    kept: list[str] = []
    anchors = _anchors(authority, inventory, trust_anchor_arns)
    for anchor in anchors:
        place = _Place(anchor, inventory, authority)
        ready = place.ready(serials, now=now)
        if ready is None:
            steps += place.steps(serials, reason=reason, now=now, next_update=next_update)
        elif ready["enabled"]:
            kept.append(f"already on the CRL {ready['crlArn']}, which is enabled")
        else:
            steps.append(_enabling(ready))
    notes = ["sessions that were given out live on until they expire"] if steps else []
    return Plan(
        title=f"Revocation at {authority.name} in account {admin.account_id}, {admin.region}",
        steps=tuple(steps),
        kept=tuple(kept),
        notes=(*notes, *_unseen(authority, inventory, anchors)),
    )


def _unseen(
    authority: Authority, inventory: Inventory, anchors: list[dict[str, Any]]
) -> Iterator[str]:
    """The trust anchors that do not show their CA, which may be the one above this."""
    if authority.certificate.issuer == authority.certificate.subject:
        return
    for other in inventory.all("trustAnchor"):
        if other not in anchors and not bundle_of(other["source"]):
            yield (
                f"{other['trustAnchorArn']} does not show its CA, which AWS Private CA keeps: if "
                f"that stands above {authority.name}, name it too (trust_anchor_arns=, "
                "--trust-anchor-arn)"
            )


class _Place:
    """A trust anchor, its CRLs, and those of them that are lists of this CA."""

    def __init__(self, anchor: dict[str, Any], inventory: Inventory, authority: Authority) -> None:
        self._arn: str = anchor["trustAnchorArn"]
        self._inventory = inventory
        self._authority = authority
        self._found = [c for c in inventory.all("crl") if c["trustAnchorArn"] == self._arn]
        loaded = [(item, load_crl(item["crlData"])) for item in self._found]
        self.mine = [
            _Imported(item, crl)
            for item, crl in loaded
            if crl is not None and is_of(crl, authority)
        ]

    def ready(self, serials: Collection[int], *, now: datetime) -> dict[str, Any] | None:
        """A list that needs no change, an enabled one if there is one."""
        found = [each.detail for each in self.mine if each.does(serials, now=now)]
        return max(found, key=lambda detail: bool(detail["enabled"]), default=None)

    def steps(
        self, serials: Collection[int], *, reason: str, now: datetime, next_update: datetime
    ) -> list[Step]:
        """What makes a list with *serials* count here."""
        lists = [each.crl for each in self.mine]
        made = build_crl(
            self._authority,
            serials,
            existing=lists,
            reason=reason,
            now=now,
            next_update=next_update,
        )
        details = _details(made, lists, serials, reason)
        if self.mine:
            return self._update(made, details)
        self._check_room()
        return [self._import(made, details)]

    def _update(self, made: x509.CertificateRevocationList, details: tuple[str, ...]) -> list[Step]:
        target = next((m for m in self.mine if m.detail["enabled"]), self.mine[0]).detail
        step = Step(
            sign="~",
            title=f"CRL {target['crlArn']}",
            service="rolesanywhere",
            operation="update_crl",
            parameters={"crlId": target["crlId"], "crlData": pem_of(made)},
            details=details,
        )
        return [step] if target["enabled"] else [step, _enabling(target)]

    def _check_room(self) -> None:
        if len(self._found) < MAX_FOR_ANCHOR:
            return
        arns = tuple(crl["crlArn"] for crl in self._found)
        raise ResourceConflictError(
            f"the trust anchor {self._arn} has {len(arns)} CRLs, none of {self._authority.name}, "
            f"and AWS takes no more than {MAX_FOR_ANCHOR}: {', '.join(arns)}. Delete one that is "
            "not needed, or disable the trust anchor to keep everybody out.",
            arns=arns,
        )

    def _import(self, made: x509.CertificateRevocationList, details: tuple[str, ...]) -> Step:
        name = re.sub(r"[^ A-Za-z0-9_-]+", " ", f"CRL of {self._authority.name}")[:255].strip()
        setup = self._inventory.setup_of(self._arn)
        return Step(
            sign="+",
            title=f"CRL of {self._authority.name} for {self._arn}",
            service="rolesanywhere",
            operation="import_crl",
            parameters={
                "name": name,
                "crlData": pem_of(made),
                "trustAnchorArn": self._arn,
                "enabled": True,
                "tags": [{"key": TAG, "value": setup}] if setup else [],
            },
            details=details,
        )


def trust_anchors_of(authority: Authority, admin: Admin) -> list[str]:
    """The ARNs of the trust anchors that hold this CA's certificate, or that of the CA above it.

    Raises:
        ProvisioningError: There is none, or AWS refused to tell.
    """
    return [anchor["trustAnchorArn"] for anchor in _anchors(authority, Inventory(admin), ())]


def _anchors(
    authority: Authority, inventory: Inventory, wanted: Sequence[str]
) -> list[dict[str, Any]]:
    everything = inventory.all("trustAnchor")
    if wanted:
        by_arn = {anchor["trustAnchorArn"]: anchor for anchor in everything}
        missing = [arn for arn in wanted if arn not in by_arn]
        if missing:
            raise ProvisioningError(
                f"there is no trust anchor {', '.join(missing)} in this account and Region"
            )
        return [by_arn[arn] for arn in wanted]
    found = [anchor for anchor in everything if _trusts(anchor, authority)]
    if not found:
        raise ProvisioningError(
            f"no trust anchor of this account and Region holds the certificate of {authority.name} "
            "or of the CA above it. Name it: trust_anchor_arns=, --trust-anchor-arn."
        )
    return found


def _trusts(anchor: dict[str, Any], authority: Authority) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    ca = authority.certificate
    for each in bundle_of(anchor["source"]):
        try:
            held = read_certificate(each.der)
            if (held.subject, held.public_key()) == (ca.subject, ca.public_key()):
                return True
            ca.verify_directly_issued_by(held)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return True
    return False


def _details(
    made: x509.CertificateRevocationList,
    lists: Sequence[x509.CertificateRevocationList],
    serials: Collection[int],
    reason: str,
) -> tuple[str, ...]:
    before = {entry.serial_number for crl in lists for entry in crl}
    new = [serial for serial in serials if serial not in before]
    end = made.next_update_utc
    assert end is not None
    return (
        (
            f"CRL number {max(map(number_of, lists), default=0)} -> {number_of(made)}, "
            f"{len(before)} -> {len(before) + len(new)} certificates, next update {end:%Y-%m-%d}"
        ),
        *(f"+ serial number {serial} (0x{serial:x}), {reason}" for serial in new),
        *(f"= serial number {serial} (0x{serial:x})" for serial in serials if serial in before),
    )


def _enabling(crl: dict[str, Any]) -> Step:
    title = f"CRL {crl['crlArn']}: enable, with all that it lists"
    return switch("crl", crl, to="enable", title=title)


def verify_revoked(
    config: RolesAnywhereConfig, *, sleep: Callable[[float], object], attempts: int = 6
) -> CertificateRevokedError:
    """Sign in with the revoked certificate, to see that it is refused.

    Args:
        config: With the certificate and its key.
        sleep: Takes seconds; between attempts, as a list may take a moment to count.
        attempts: How often to try.

    Returns:
        The refusal.

    Raises:
        ProvisioningError: The certificate is still accepted.
        RolesAnywhereError: Refused, or not answered, for another reason: nothing is proved.
    """
    from rolesanywhere_auth.credentials import create_session

    for attempt in range(attempts):
        if attempt:
            sleep(2.0)
        try:
            create_session(config)
        except CertificateRevokedError as error:
            return error
    raise ProvisioningError(
        f"the certificate is still accepted with {config.trust_anchor_arn}, {attempts} sign-ins "
        "after the CRL was imported. See that it is of this CA and this trust anchor, and enabled; "
        "until then, disable the trust anchor or the profile."
    )
