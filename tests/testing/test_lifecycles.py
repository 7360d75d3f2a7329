"""Whole lives of resources, as infrastructure tools and the AWS CLI lead them.

Terraform's provider writes, reads back, and plans a change for whatever it finds
different from what it wrote: what is read must be what was written, to the letter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rolesanywhere_auth.testing import CertificateAuthority

ROLES = [f"arn:aws:iam::111122223333:role/{name}" for name in ("app", "team/other")]


@pytest.fixture
def client(emulator):
    """An unmodified boto3 client at the emulator."""
    return emulator.control_plane()


class Resource:
    """A managed resource: `apply` makes it as wanted, step by step as the provider does."""

    def __init__(self, client, kind: str) -> None:
        self.client = client
        self.kind = kind
        self.member = kind.replace("_a", "A")
        self.identifier = ""
        self.arn = ""
        self.applied: dict = {}

    def call(self, verb, **members):
        """One operation on this resource."""
        if self.identifier:
            members[f"{self.member}Id"] = self.identifier
        return getattr(self.client, f"{verb}_{self.kind}")(**members)[self.member]

    def apply(self, wanted):
        """Create or update, and see that a refresh finds nothing to change."""
        wanted = {"tags": {}, "enabled": False, **wanted}
        if self.identifier:
            self._update(wanted)
        else:
            tags = [{"key": key, "value": value} for key, value in wanted["tags"].items()]
            made = self.call("create", **wanted | {"tags": tags})
            self.identifier, self.arn = made[f"{self.member}Id"], made[f"{self.member}Arn"]
        self.applied = wanted
        assert self.drift() == {}

    def _update(self, wanted):
        def changed(name):
            return wanted[name] != self.applied.get(name)

        plain = {name: wanted[name] for name in wanted if name not in ("tags", "enabled")}
        if any(changed(name) for name in plain):
            self.call("update", **{name: value for name, value in plain.items() if changed(name)})
        if changed("enabled"):
            self.call("enable" if wanted["enabled"] else "disable")
        old, new = self.applied["tags"], wanted["tags"]
        if removed := [key for key in old if key not in new]:
            self.client.untag_resource(resourceArn=self.arn, tagKeys=removed)
        if added := [{"key": k, "value": v} for k, v in new.items() if old.get(k) != v]:
            self.client.tag_resource(resourceArn=self.arn, tags=added)

    def drift(self):
        """What a refresh finds other than applied."""
        found = self.call("get")
        tags = self.client.list_tags_for_resource(resourceArn=self.arn)["tags"]
        found["tags"] = {tag["key"]: tag["value"] for tag in tags}
        return {
            name: (value, found.get(name))
            for name, value in self.applied.items()
            if found.get(name) != value
        }

    def destroy(self):
        """Delete, twice: the second time it is gone already."""
        self.call("delete")
        for verb in ("get", "delete"):
            with pytest.raises(self.client.exceptions.ResourceNotFoundException):
                self.call(verb)


@pytest.mark.conformance(
    "CreateTrustAnchor, GetTrustAnchor, UpdateTrustAnchor, EnableTrustAnchor, DisableTrustAnchor, "
    "DeleteTrustAnchor, TagResource",
    source="model",
)
def test_life_of_a_trust_anchor(client):
    """Create, rename, exchange the CA, enable, tag, disable, destroy."""
    sources = [
        {
            "sourceType": "CERTIFICATE_BUNDLE",
            "sourceData": {"x509CertificateData": CertificateAuthority(name).certificate_pem},
        }
        for name in ("One", "Two")
    ]
    anchor = Resource(client, "trust_anchor")

    anchor.apply({"name": "tf-acc", "source": sources[0], "tags": {"key1": "value1"}})
    anchor.apply({"name": "tf-acc-2", "source": sources[0], "tags": {"key1": "value1"}})
    anchor.apply({"name": "tf-acc-2", "source": sources[1], "enabled": True})
    anchor.apply({"name": "tf-acc-2", "source": sources[1], "tags": {"Key1": "", "key2": "v 2"}})
    assert anchor.applied["enabled"] is False
    # Somebody changes it by hand: the next refresh sees that, and the next apply mends it.
    client.enable_trust_anchor(trustAnchorId=anchor.identifier)
    assert anchor.drift() == {"enabled": (False, True)}
    anchor.applied["enabled"] = True
    anchor.apply({"name": "tf-acc-2", "source": sources[1], "tags": {"Key1": "", "key2": "v 2"}})
    anchor.destroy()


@pytest.mark.conformance("CreateProfile, GetProfile, UpdateProfile, DeleteProfile", source="model")
def test_life_of_a_profile(client):
    """Create with little, then with everything, then with less."""
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        },
        indent=2,
    )
    profile = Resource(client, "profile")

    profile.apply({"name": "tf-acc", "roleArns": ROLES[:1]})
    everything = {
        "name": "tf-acc",
        "roleArns": ROLES,
        "durationSeconds": 7200,
        "managedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "sessionPolicy": policy,
        "acceptRoleSessionName": True,
        "enabled": True,
        "tags": {"key1": "value1"},
    }
    profile.apply(everything)
    profile.apply({**everything, "roleArns": [], "managedPolicyArns": [], "durationSeconds": 900})
    profile.destroy()


def test_profile_is_found_again_by_import(client):
    """What `terraform import` reads by the ID alone is what another tool made, defaults too."""
    made = client.create_profile(name="p", roleArns=ROLES, requireInstanceProperties=True)
    profile = Resource(client, "profile")
    profile.identifier = made["profile"]["profileId"]
    profile.arn = made["profile"]["profileArn"]

    profile.applied = {
        "name": "p",
        "roleArns": ROLES,
        "requireInstanceProperties": True,
        "durationSeconds": 3600,
        "enabled": False,
        "acceptRoleSessionName": False,
        "tags": {},
    }

    assert profile.drift() == {}


# The AWS CLI


def aws_cli(emulator, *arguments, fails=False):
    """``aws rolesanywhere …``: its JSON, or what it says on the standard error."""
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "aws"),
            "rolesanywhere",
            *arguments,
            *("--endpoint-url", emulator.endpoint_url),
            *("--region", "eu-west-1", "--output", "json"),
        ],
        env={**os.environ, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else json.loads(done.stdout or "{}")


@pytest.mark.conformance(
    "CreateProfile, PutAttributeMapping, DeleteAttributeMapping", source="model"
)
def test_aws_cli_makes_and_changes_a_profile(emulator, client):
    """The CLI makes a profile and takes mappings from it, two specifiers in one query string."""
    made = aws_cli(emulator, "create-profile", "--name", "p", "--role-arns", *ROLES)["profile"]
    for specifier in ("CN", "OU"):
        client.put_attribute_mapping(
            profileId=made["profileId"],
            certificateField="x509Subject",
            mappingRules=[{"specifier": specifier}],
        )

    changed = aws_cli(
        emulator,
        "delete-attribute-mapping",
        *("--profile-id", made["profileId"], "--certificate-field", "x509Subject"),
        *("--specifiers", "CN", "OU"),
    )

    assert made["roleArns"] == ROLES
    assert {"certificateField": "x509Subject", "mappingRules": [{"specifier": "*"}]} in (
        changed["profile"]["attributeMappings"]
    )


@pytest.mark.extended
def test_aws_cli_leads_a_whole_life(emulator, tmp_path):
    """The commands of AWS's user guide, from the trust anchor to the revocation list."""
    authority = CertificateAuthority(now=emulator.now)
    (tmp_path / "crl.pem").write_text(authority.crl_pem())
    source = json.dumps(
        {
            "sourceType": "CERTIFICATE_BUNDLE",
            "sourceData": {"x509CertificateData": authority.certificate_pem},
        }
    )

    anchor = aws_cli(
        emulator, "create-trust-anchor", "--name", "a", "--source", source, "--enabled"
    )["trustAnchor"]
    arn = anchor["trustAnchorArn"]
    crl = aws_cli(
        emulator,
        *("import-crl", "--name", "c", "--crl-data", f"fileb://{tmp_path / 'crl.pem'}"),
        *("--trust-anchor-arn", arn, "--enabled"),
    )["crl"]
    assert (anchor["enabled"], crl["enabled"], crl["trustAnchorArn"]) == (True, True, arn)
    by_arn = aws_cli(emulator, "disable-crl", "--crl-id", crl["crlArn"])["crl"]
    assert by_arn["enabled"] is False
    aws_cli(emulator, "tag-resource", "--resource-arn", arn, "--tags", "key=team,value=blue")
    tags = aws_cli(emulator, "list-tags-for-resource", "--resource-arn", arn)["tags"]
    assert tags == [{"key": "team", "value": "blue"}]
    for number in range(3):
        aws_cli(emulator, "create-profile", "--name", f"p{number}", "--role-arns", *ROLES)
    listed = aws_cli(emulator, "list-profiles", "--page-size", "2")["profiles"]
    assert [profile["name"] for profile in listed] == ["p0", "p1", "p2"]
    text = aws_cli(
        emulator, "get-crl", "--crl-id", "0" * 8 + "-0000-0000-0000-" + "0" * 12, fails=True
    )
    assert "(ResourceNotFoundException) when calling the GetCrl operation" in text
    text = aws_cli(emulator, "create-profile", "--name", "a/b", "--role-arns", ROLES[0], fails=True)
    assert "1 validation error detected: Value 'a/b' at 'name' failed" in text
