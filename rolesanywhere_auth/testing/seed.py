# SPDX-License-Identifier: Apache-2.0
"""Puts what a seed describes into an emulator, by the service's own control plane.

A seed is a wish, not a list of steps: what has the same name already is brought in line
with it, so that a seed can be applied to a state that was kept, over and over.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.testing._leaf import LeafFiles, write_private
from rolesanywhere_auth.testing._seed_shape import Seed, check_seed, read_seed
from rolesanywhere_auth.testing._workshop import call
from rolesanywhere_auth.testing.authority import CertificateAuthority
from rolesanywhere_auth.testing.service.policy import unrepeated
from rolesanywhere_auth.testing.service.state import CRL, Profile, TrustAnchor, arn_of

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.emulator import Emulator

__all__ = ["Planted", "Seed", "check_seed", "plant", "read_seed"]


@dataclass
class Planted:
    """What a seed became: ARNs and files by the names in the seed."""

    trust_anchors: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)
    crls: dict[str, str] = field(default_factory=dict)
    leaves: dict[str, LeafFiles] = field(default_factory=dict)


def plant(emulator: Emulator, seed: Seed) -> Planted:
    """Bring *emulator*, which runs, in line with *seed*.

    Raises:
        ConfigurationError: The seed names what is not there, or a file in it is wrong.
        ValueError: The service refuses something; its own words.
        OSError: A file cannot be read or written.
    """
    return _Gardener(emulator, seed).work()


class _Gardener:
    def __init__(self, emulator: Emulator, seed: Seed) -> None:
        self._emulator = emulator
        self._service = emulator.service
        self._shelf = self._service.state.shelf(emulator.account_id, emulator.region)
        self._seed = seed
        self._planted = Planted()
        self._authorities: dict[str, CertificateAuthority] = {}

    def work(self) -> Planted:
        for anchor in self._seed.trust_anchors:
            self._trust_anchor(anchor)
        for role in self._seed.roles:
            self._role(role)
        for profile in self._seed.profiles:
            self._profile(profile)
        for leaf in self._seed.leaves:
            self._leaf(leaf)
        for crl in self._seed.crls:
            self._crl(crl)
        return self._planted

    def _trust_anchor(self, item: dict[str, Any]) -> None:
        pem = self._anchor_pem(item)
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
        arn = self._put(TrustAnchor, "trustanchor", item, {"name": item["name"], "source": source})
        self._planted.trust_anchors[item["name"]] = arn

    def _anchor_pem(self, item: dict[str, Any]) -> str:
        given = item.get("certificate", [])
        if given:
            return "".join(
                self._text(path) for path in ([given] if isinstance(given, str) else given)
            )
        wish = item["generate"] if isinstance(item["generate"], dict) else {}
        authority = self._authorities[item["name"]] = self._authority(item["name"], wish)
        return authority.certificate_pem

    def _authority(self, name: str, wish: dict[str, str]) -> CertificateAuthority:
        """The CA of an anchor: of the files that the seed names, or new and written there."""
        certificate, key = (
            self._seed.folder / wish[each] if each in wish else None
            for each in ("certificate", "private_key")
        )
        now = self._emulator.now
        if certificate and key and certificate.exists() and key.exists():
            return CertificateAuthority.load(certificate.read_bytes(), key.read_bytes(), now=now)
        made = CertificateAuthority(
            wish.get("common_name", name),
            key_type=wish.get("key_type", "ec-p256"),  # type: ignore[arg-type]
            now=now,
        )
        if key:
            write_private(key, made.private_key_pem)
        if certificate:
            certificate.parent.mkdir(parents=True, exist_ok=True)
            certificate.write_text(made.certificate_pem)
        return made

    def _role(self, item: dict[str, Any]) -> None:
        anchor = item.get("trust_anchor")
        self._planted.roles[item["name"]] = self._emulator.create_role(
            item["name"],
            trust_policy=self._policy(item.get("trust_policy")),
            trust_anchor_arn=self._anchor_arn(anchor) if anchor else None,
            policy=self._policy(item.get("policy")),
            max_session_duration=item.get("max_session_duration", 3600),
        )

    def _profile(self, item: dict[str, Any]) -> None:
        roles = [self._planted.roles.get(role, role) for role in item["roles"]]
        for role in roles:
            if not role.startswith("arn:"):
                raise ConfigurationError(
                    f"the profile {item['name']!r} lists the role {role!r}, which is neither an "
                    "ARN nor a role of this seed"
                )
        members: dict[str, Any] = {
            "name": item["name"],
            "roleArns": roles,
            "durationSeconds": item.get("duration_seconds", 3600),
            "acceptRoleSessionName": item.get("accept_role_session_name", False),
            "managedPolicyArns": item.get("managed_policy_arns", []),
        }
        policy = self._policy(item.get("session_policy"))
        if policy is not None:
            members["sessionPolicy"] = json.dumps(policy)
        arn = self._put(Profile, "profile", item, members)
        for certificate_field, specifiers in item.get("attribute_mappings", {}).items():
            self._map(arn, certificate_field, specifiers)
        self._planted.profiles[item["name"]] = arn

    def _map(self, arn: str, certificate_field: str, specifiers: list[str]) -> None:
        """The mappings of one field are to be *specifiers* and no others."""
        profile = self._shelf.find(Profile, arn)
        path = f"/profiles/{profile.profile_id}/mappings"
        if any(
            each["certificateField"] == certificate_field for each in profile.attribute_mappings
        ):
            call(
                self._service,
                path,
                {},
                method="DELETE",
                query=f"certificateField={quote(certificate_field)}",
            )
        rules = [{"specifier": specifier} for specifier in specifiers]
        if rules:
            members = {"certificateField": certificate_field, "mappingRules": rules}
            call(self._service, path, members, method="PUT")

    def _leaf(self, item: dict[str, Any]) -> None:
        authority = self._generated(item["trust_anchor"], what=f"the leaf {item['name']!r}")
        folder = self._seed.folder / item["folder"]
        kept = _kept(folder, authority)
        if kept is None:
            options = {
                name: item[name]
                for name in (
                    "key_type",
                    "organization",
                    "organizational_units",
                    "dns_names",
                    "uris",
                )
                if name in item
            }
            common_name = item.get("common_name", item["name"])
            if "flaw" in item:
                for name in ("organization", "organizational_units", "uris"):
                    if name in options:
                        raise ConfigurationError(
                            f"the leaf {item['name']!r} has a flaw; such a leaf takes no {name}"
                        )
                leaf = authority.issue_flawed(item["flaw"], common_name=common_name, **options)
            else:
                leaf = authority.issue(common_name, **options)
            kept = leaf.write_to(folder)
        self._planted.leaves[item["name"]] = kept

    def _crl(self, item: dict[str, Any]) -> None:
        name, anchor = item["name"], item["trust_anchor"]
        if "file" in item:
            data = (self._seed.folder / item["file"]).read_bytes()
        else:
            authority = self._generated(anchor, what=f"the CRL {name!r}")
            for leaf in item["revoke"]:
                authority.revoke(self._serial_number(leaf, crl=name))
            data = authority.crl_pem().encode()
        members = {
            "name": name,
            "crlData": base64.b64encode(data).decode(),
            "trustAnchorArn": self._anchor_arn(anchor),
        }
        self._planted.crls[name] = self._put(CRL, "crl", item, members)

    def _serial_number(self, leaf: str, *, crl: str) -> int:
        if leaf not in self._planted.leaves:
            raise ConfigurationError(
                f"the CRL {crl!r} revokes {leaf!r}, which is no leaf of this seed"
            )
        pem = self._planted.leaves[leaf].certificate.read_bytes()
        return x509.load_pem_x509_certificate(pem).serial_number

    def _put(
        self,
        kind: type[TrustAnchor | Profile | CRL],
        path: str,
        item: dict[str, Any],
        members: dict[str, Any],
    ) -> str:
        """Create, or update what has this name; enabled unless the seed says no."""
        found = self._named(kind, item["name"])
        if isinstance(found, CRL) and found.trust_anchor_arn != members["trustAnchorArn"]:
            # UpdateCrl cannot move it.
            call(self._service, f"/crl/{found.crl_id}", {}, method="DELETE")
            found = None
        if found is None:
            call(self._service, f"/{path}s", {**members, "enabled": False})
        else:
            changes = {name: value for name, value in members.items() if name != "trustAnchorArn"}
            call(self._service, f"/{path}/{_id(found)}", changes, method="PATCH")
        present = self._named(kind, item["name"])
        assert present is not None
        switch = "enable" if item.get("enabled", True) else "disable"
        call(self._service, f"/{path}/{_id(present)}/{switch}", {})
        arn = arn_of(present)
        tags = [{"key": key, "value": value} for key, value in item.get("tags", {}).items()]
        if tags:
            call(self._service, "/TagResource", {"resourceArn": arn, "tags": tags})
        return arn

    def _named(
        self, kind: type[TrustAnchor | Profile | CRL], name: str
    ) -> TrustAnchor | Profile | CRL | None:
        items = [item for item in self._shelf.resources.values() if isinstance(item, kind)]
        return next((item for item in items if item.name == name), None)

    def _anchor_arn(self, name: str) -> str:
        if name not in self._planted.trust_anchors:
            raise ConfigurationError(
                f"there is no trust anchor {name!r} in this seed; it has "
                f"{', '.join(self._planted.trust_anchors) or 'none'}"
            )
        return self._planted.trust_anchors[name]

    def _generated(self, name: str, *, what: str) -> CertificateAuthority:
        self._anchor_arn(name)
        if name not in self._authorities:
            raise ConfigurationError(
                f"{what} needs the CA's key, but the trust anchor {name!r} has a certificate "
                "alone: give it `generate` with certificate and private_key"
            )
        return self._authorities[name]

    def _policy(self, given: dict[str, Any] | str | None) -> dict[str, Any] | None:
        """A policy document, or the one in the JSON file of this name."""
        if not isinstance(given, str):
            return given
        try:
            found: dict[str, Any] = json.loads(self._text(given), object_pairs_hook=unrepeated)
        except ValueError as error:
            raise ConfigurationError(
                f"{self._seed.folder / given} is no JSON policy: {error}"
            ) from None
        return found

    def _text(self, path: str) -> str:
        return (self._seed.folder / path).read_text(encoding="utf-8")


def _id(item: TrustAnchor | Profile | CRL) -> str:
    return arn_of(item).rpartition("/")[2]


def _kept(folder: Path, authority: CertificateAuthority) -> LeafFiles | None:
    """The leaf that an earlier run wrote to *folder*, if this CA issued it."""
    certificate, key = folder / "client.pem", folder / "client.key"
    if not (certificate.exists() and key.exists()):
        return None
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        found.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return None
    return LeafFiles(certificate, key, None)
