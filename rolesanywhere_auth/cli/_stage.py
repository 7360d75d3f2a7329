# SPDX-License-Identifier: Apache-2.0
"""What the experiments need at an endpoint: made when first asked for, removed at the end."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing.authority import CertificateAuthority, Flaw, Leaf

NAME = "rolesanywhere-auth-experiment"
"""The name of everything that is made."""

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_ATTRIBUTES = (
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.USER_ID,
    NameOID.DOMAIN_COMPONENT,
    NameOID.SERIAL_NUMBER,
    NameOID.SURNAME,
    NameOID.GIVEN_NAME,
    NameOID.INITIALS,
    NameOID.TITLE,
    NameOID.PSEUDONYM,
    NameOID.GENERATION_QUALIFIER,
    NameOID.DN_QUALIFIER,
    NameOID.STREET_ADDRESS,
    NameOID.POSTAL_CODE,
    NameOID.BUSINESS_CATEGORY,
    NameOID.ORGANIZATION_IDENTIFIER,
    NameOID.EMAIL_ADDRESS,
)


class Stage:
    """Trust anchors, profiles, CRLs and certificates for one run.

    Args:
        client: A boto3 client for Roles Anywhere, who may make and delete these.
        role_arn: A role that trusts Roles Anywhere from any trust anchor of the account,
            with a maximum session duration of one hour.
        region: Of everything.
        now: The present time, aware.
    """

    def __init__(
        self, client: Any, *, role_arn: str, region: str, now: Callable[[], datetime]
    ) -> None:
        self.client = client
        self.region = region
        self.now = now
        self.role_arn = role_arn
        self._partition, self.account_id = role_arn.split(":")[1], role_arn.split(":")[4]
        self._missing = str(uuid.uuid4())
        self._arns: dict[str, str] = {}
        self._leaves: dict[str, Leaf] = {}
        self._undo: list[Callable[[], object]] = []
        self.root = CertificateAuthority("Experiment Root CA", now=now)
        self.stranger = CertificateAuthority("Experiment Foreign CA", now=now)
        self.expired = CertificateAuthority(
            "Experiment Expired CA",
            not_valid_before=now() - 30 * _DAY,
            not_valid_after=now() - _DAY,
            now=now,
        )

    def close(self) -> None:
        """Delete what was made, last things first; what cannot be deleted is left."""
        from botocore.exceptions import BotoCoreError, ClientError

        while self._undo:
            try:
                self._undo.pop()()
            except (BotoCoreError, ClientError):
                continue

    def role(self, name: str) -> str:
        """The ARN of the role ``given`` or ``missing``."""
        if name == "given":
            return self.role_arn
        return f"arn:{self._partition}:iam::{self.account_id}:role/{NAME}-missing"

    def arn(self, kind: str, name: str) -> str:
        """The ARN of an ``anchor`` or ``profile``.

        Raises:
            ClientError: The service refuses to make it.
        """
        key = f"{kind}:{name}"
        if key not in self._arns:
            made = self._missing_arn(kind) if name == "missing" else None
            make = self._anchor if kind == "anchor" else self._profile
            self._arns[key] = made or make(name)
        return self._arns[key]

    def leaf(self, name: str) -> Leaf:
        """The certificate of this name; see `LEAVES`."""
        if name not in self._leaves:
            self._leaves[name] = LEAVES[name](self)
        return self._leaves[name]

    def placeholders(self) -> dict[str, str]:
        """What differs from run to run, and the words that stand for it in a record."""
        found = {arn: f"{{{key}}}" for key, arn in self._arns.items()}
        found |= {arn.rpartition("/")[2]: f"{{{key}-id}}" for key, arn in self._arns.items()}
        found |= {self.role_arn: "{role:given}", self.role("missing"): "{role:missing}"}
        for name, leaf in self._leaves.items():
            if not name.startswith("serial-"):
                found[f"{leaf.serial_number:x}"] = "{serial-hex}"
                found[f"{leaf.serial_number:X}"] = "{SERIAL-HEX}"
                found[str(leaf.serial_number)] = "{serial}"
        found[f"assumed-role/{self.role_arn.rpartition('/')[2]}/"] = "assumed-role/{role}/"
        found[self._missing] = "{missing}"
        found[self.account_id] = "{account}"
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def fill(self, value: Any) -> Any:
        """*value* of a `Call` with what its words in braces stand for."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not (isinstance(value, str) and value.startswith("{")):
            return value
        word = value[1:-1]
        kind, _, name = word.partition(":")
        if name:
            return self.arn(kind, name) if kind == "anchor" else self._id(self.arn(kind, name))
        return {"missing": self._missing, "name": NAME, "delta-crl": self._delta_crl()}[word]

    @staticmethod
    def _id(arn: str) -> str:
        return arn.rpartition("/")[2]

    def _missing_arn(self, kind: str) -> str:
        what = "trust-anchor" if kind == "anchor" else kind
        place = f"{self._partition}:rolesanywhere:{self.region}:{self.account_id}"
        return f"arn:{place}:{what}/{self._missing}"

    def _anchor(self, name: str) -> str:
        pem = (self.expired if name == "expired" else self.root).certificate_pem
        more = {"aliasName": f"{NAME}-{secrets.token_hex(4)}"} if name == "alias" else {}
        anchor = self.client.create_trust_anchor(
            name=NAME,
            source={
                "sourceType": "CERTIFICATE_BUNDLE",
                "sourceData": {"x509CertificateData": pem},
            },
            enabled=name != "disabled",
            **more,
        )["trustAnchor"]
        identifier, arn = anchor["trustAnchorId"], str(anchor["trustAnchorArn"])
        self._undo.append(lambda: self.client.delete_trust_anchor(trustAnchorId=identifier))
        if name in _CRLS:
            self._crl(arn, _CRLS[name](self))
        return str(anchor["aliasArn"]) if name == "alias" else arn

    def _crl(self, anchor_arn: str, pem: str) -> None:
        crl = self.client.import_crl(
            name=NAME, crlData=pem.encode(), trustAnchorArn=anchor_arn, enabled=True
        )["crl"]
        self._undo.append(lambda: self.client.delete_crl(crlId=crl["crlId"]))

    def _profile(self, name: str) -> str:
        elsewhere = name in {"elsewhere", "closed-elsewhere"}
        roles = [self.role("missing")] if elsewhere else [self.role_arn, self.role("missing")]
        more = {"sessionPolicy": _LONG_POLICY} if name == "heavy" else {}
        profile = self.client.create_profile(
            name=NAME,
            roleArns=roles,
            enabled=name != "disabled",
            durationSeconds=43200 if name == "long" else 3600,
            acceptRoleSessionName=not name.startswith("closed"),
            **more,
        )["profile"]
        identifier = profile["profileId"]
        self._undo.append(lambda: self.client.delete_profile(profileId=identifier))
        return str(profile["profileArn"])

    def _delta_crl(self) -> bytes:
        now = self.now()
        builder = x509.CertificateRevocationListBuilder(
            self.root.certificate.subject, now, now + _DAY
        )
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        key = ec.generate_private_key(ec.SECP256R1())
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _subject(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _serial() -> int:
    """A random serial number that is always of one length in hexadecimal, so of one form."""
    return 5 << 124 | secrets.randbits(124)


def _deep(stage: Stage) -> Leaf:
    authority = stage.root
    for number in range(6):
        authority = authority.intermediate(f"Experiment CA {number}")
    return authority.issue("deep", serial_number=_serial())


def _issue(**options: Any) -> Callable[[Stage], Leaf]:
    return lambda stage: stage.root.issue(**{"serial_number": _serial(), **options})


def _flawed(flaw: Flaw, **options: Any) -> Callable[[Stage], Leaf]:
    return lambda stage: stage.root.issue_flawed(flaw, serial_number=_serial(), **options)


LEAVES: dict[str, Callable[[Stage], Leaf]] = {
    "sound": _issue(common_name="sound"),
    "expired": lambda stage: stage.root.issue(
        "expired",
        serial_number=_serial(),
        not_valid_before=stage.now() - 2 * _DAY,
        not_valid_after=stage.now() - _HOUR,
    ),
    "not-yet-valid": lambda stage: stage.root.issue(
        "early",
        serial_number=_serial(),
        not_valid_before=stage.now() + _HOUR,
        not_valid_after=stage.now() + _DAY,
    ),
    "of-expired": lambda stage: stage.expired.issue("of-expired", serial_number=_serial()),
    "foreign": lambda stage: stage.stranger.issue("foreign", serial_number=_serial()),
    "ca-true": _flawed("ca-true"),
    "no-signing": _flawed("no-digital-signature"),
    "empty-subject": _flawed("empty-subject", dns_names=["empty.example"]),
    "critical": _flawed("critical-unknown-extension"),
    "revoked": _issue(common_name="revoked"),
    "of-stale": _issue(common_name="stale"),
    "of-foreign": _issue(common_name="of-foreign"),
    "serial-1": _issue(common_name="serial", serial_number=1),
    "serial-odd": _issue(common_name="serial", serial_number=0xABC),
    "serial-high": _issue(common_name="serial", serial_number=0x936EACBE07F201DF),
    "two-names": _issue(
        subject=_subject((NameOID.COMMON_NAME, "first"), (NameOID.COMMON_NAME, "second"))
    ),
    "space": _issue(common_name="with space"),
    "brackets": _issue(common_name="with (brackets)"),
    "long-name": _issue(common_name="n" * 64),
    "attributes": _issue(subject=_subject(*((oid, "not (a tag)") for oid in _ATTRIBUTES))),
    "san": _issue(
        common_name="san",
        dns_names=["*.example"],
        uris=["https://example/?a=b"],
        directory_names=[_subject((NameOID.COMMON_NAME, "not (a tag)"))],
    ),
    "rsa-1024": _issue(common_name="rsa", key_type="rsa-1024"),
    "p-521": _issue(common_name="p521", key_type="ec-p521"),
    "secp256k1": _issue(common_name="k1", key_type="ec-secp256k1"),
    "deep": _deep,
}
"""The certificates, by name."""


def _revoking(stage: Stage) -> str:
    stage.root.revoke(stage.leaf("revoked"))
    return stage.root.crl_pem()


def _stale(stage: Stage) -> str:
    stage.root.revoke(stage.leaf("of-stale"))
    now = stage.now()
    return stage.root.crl_pem(last_update=now - 2 * _DAY, next_update=now - _DAY)


def _foreign(stage: Stage) -> str:
    stage.stranger.revoke(stage.leaf("of-foreign").serial_number)
    return stage.stranger.crl_pem()


_CRLS: dict[str, Callable[[Stage], str]] = {
    "crl": _revoking,
    "stale-crl": _stale,
    "foreign-crl": _foreign,
}

_LONG_POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":['
    + ",".join(f'"arn:aws:s3:::{uuid.UUID(int=number * 7**40)}/*"' for number in range(1, 35))
    + "]}]}"
)
