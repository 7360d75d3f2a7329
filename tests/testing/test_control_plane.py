from __future__ import annotations

import base64
import re
import subprocess
from datetime import datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rolesanywhere_auth.testing import CertificateAuthority, Emulator, Limits

CRL_DP = "crlDpRevocationEnabled"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PREFIX = "arn:aws:rolesanywhere:eu-west-1:111122223333"
ROLE = "arn:aws:iam::111122223333:role/app"


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """One CA for all tests."""
    return CertificateAuthority()


@pytest.fixture
def client(emulator):
    """An unmodified boto3 client at the emulator."""
    return emulator.control_plane()


@pytest.fixture
def careless(emulator):
    """A boto3 client that lets the service find what is wrong with the parameters."""
    return boto3.client(
        "rolesanywhere",
        region_name="eu-west-1",
        endpoint_url=emulator.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(parameter_validation=False, proxies={}),
    )


def has(client, member) -> bool:
    """Whether the installed botocore's trust anchors have *member*."""
    shape = client.meta.service_model.operation_model("CreateTrustAnchor").input_shape
    return member in shape.members


def identifiers(client, created, kind) -> list[str]:
    """What names a resource: its ID and, since botocore 1.44.5, its ARN."""
    arns = [created[f"{kind}Arn"]] if has(client, "aliasName") else []
    return [created[f"{kind}Id"], *arns]


def bundle(pem: str) -> dict:
    """The source of a trust anchor."""
    return {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}


def anchor(client, authority, **members):
    """A new trust anchor."""
    members = {"name": "anchor", "source": bundle(authority.certificate_pem), **members}
    return client.create_trust_anchor(**members)["trustAnchor"]


def profile(client, **members):
    """A new profile."""
    return client.create_profile(**{"name": "p", "roleArns": [ROLE], **members})["profile"]


def crl(client, authority, anchor_arn, **members):
    """An imported CRL."""
    members = {"name": "c", "crlData": authority.crl_pem().encode(), **members}
    return client.import_crl(trustAnchorArn=anchor_arn, **members)["crl"]


# Trust anchors


@pytest.mark.conformance("CreateTrustAnchor", source="observed + model")
def test_new_trust_anchor_is_as_documented(client, authority, now):
    """A trust anchor is disabled at first, with the documented defaults, ID and ARN."""
    created = anchor(client, authority)

    assert re.fullmatch(UUID, created["trustAnchorId"])
    assert created["trustAnchorArn"] == f"{PREFIX}:trust-anchor/{created['trustAnchorId']}"
    assert created["enabled"] is False
    assert created.get(CRL_DP) is (False if has(client, CRL_DP) else None)
    assert created["source"] == bundle(authority.certificate_pem)
    assert created["createdAt"] == created["updatedAt"] == now
    assert isinstance(created["createdAt"], datetime)
    assert {
        (s["event"], s["threshold"], s["configuredBy"]) for s in created["notificationSettings"]
    } == {
        ("CA_CERTIFICATE_EXPIRY", 45, "rolesanywhere.amazonaws.com"),
        ("END_ENTITY_CERTIFICATE_EXPIRY", 45, "rolesanywhere.amazonaws.com"),
    }


@pytest.mark.conformance("CreateTrustAnchor, UpdateTrustAnchor", source="model")
def test_create_answers_201_and_update_200(client, authority):
    """The status codes are the model's."""
    created = client.create_trust_anchor(name="a", source=bundle(authority.certificate_pem))
    got = client.get_trust_anchor(trustAnchorId=created["trustAnchor"]["trustAnchorId"])

    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert re.fullmatch(UUID, got["ResponseMetadata"]["RequestId"])


@pytest.mark.conformance("GetTrustAnchor", source="model")
def test_trust_anchor_is_found_by_id_and_by_arn(client, authority):
    """The ID in a path may be a UUID or an ARN with its slash encoded."""
    created = anchor(client, authority, enabled=True)

    for identifier in identifiers(client, created, "trustAnchor"):
        assert client.get_trust_anchor(trustAnchorId=identifier)["trustAnchor"] == created
        off = client.disable_trust_anchor(trustAnchorId=identifier)["trustAnchor"]
        on = client.enable_trust_anchor(trustAnchorId=identifier)["trustAnchor"]
        assert (off["enabled"], on["enabled"]) == (False, True)


@pytest.mark.conformance("UpdateTrustAnchor", source="model")
def test_update_changes_what_it_names(client, authority):
    """An update leaves alone what it does not name."""
    created = anchor(client, authority)
    other = CertificateAuthority("Other CA")
    identifier = created["trustAnchorId"]

    renamed = client.update_trust_anchor(trustAnchorId=identifier, name="new")["trustAnchor"]
    changed = client.update_trust_anchor(
        trustAnchorId=identifier,
        source=bundle(other.certificate_pem),
        **({CRL_DP: True} if has(client, CRL_DP) else {}),
    )["trustAnchor"]

    assert (renamed["name"], renamed["source"]) == ("new", created["source"])
    assert (changed["name"], changed["source"]) == ("new", bundle(other.certificate_pem))
    assert changed.get(CRL_DP) is (True if has(client, CRL_DP) else None)


@pytest.mark.conformance("DeleteTrustAnchor, GetTrustAnchor", source="model")
def test_deleted_trust_anchor_is_gone(client, authority):
    """Delete answers with what it deleted; after that there is a modelled 404."""
    created = anchor(client, authority)
    identifier = created["trustAnchorId"]

    assert client.delete_trust_anchor(trustAnchorId=identifier)["trustAnchor"] == created
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.get_trust_anchor(trustAnchorId=identifier)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert identifier in caught.value.response["Error"]["Message"]


@pytest.mark.conformance(
    "CreateTrustAnchor", source="observed", text="Incorrect basic constraints for CA certificate"
)
def test_certificate_that_is_no_ca_is_refused(client, authority):
    """A leaf as trust anchor gets AWS's text."""
    with pytest.raises(client.exceptions.ValidationException) as caught:
        client.create_trust_anchor(name="a", source=bundle(authority.issue().certificate_pem))

    assert caught.value.response["Error"]["Message"] == (
        "Incorrect basic constraints for CA certificate"
    )


@pytest.mark.conformance("CreateTrustAnchor", source="choice")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            {"sourceType": "AWS_ACM_PCA", "sourceData": {"acmPcaArn": "arn:aws:acm-pca:x"}},
            "There is no AWS Private CA in this emulator, so that arn:aws:acm-pca:x is unknown",
        ),
        ({"sourceType": "AWS_ACM_PCA"}, "needs sourceData.acmPcaArn"),
        (
            {"sourceType": "SELF_SIGNED_REPOSITORY"},
            "knows trust anchors of the sourceTypes CERTIFICATE_BUNDLE and AWS_ACM_PCA, not SELF_",
        ),
        ({"sourceType": "CERTIFICATE_BUNDLE"}, "needs sourceData.x509CertificateData"),
        (bundle("no certificate"), "PEM"),
    ],
)
def test_source_that_is_no_bundle_is_refused(client, source, text):
    """Other sources, and bundles that cannot be read, are refused with the reason."""
    with pytest.raises(client.exceptions.ValidationException, match=re.escape(text)):
        client.create_trust_anchor(name="a", source=source)


@pytest.mark.conformance("CreateTrustAnchor", source="model + choice")
def test_source_with_two_kinds_of_data_is_refused(careless, authority):
    """The source's data is a union: one member, not two."""
    source = bundle(authority.certificate_pem)
    source["sourceData"]["acmPcaArn"] = "arn:aws:acm-pca:x"

    with pytest.raises(ClientError, match="must have one member, not x509CertificateData, acmPca"):
        careless.create_trust_anchor(name="a", source=source)


@pytest.mark.conformance("CreateTrustAnchor", source="UG/quotas")
def test_anchor_takes_two_certificates_and_no_third(client, authority):
    """Two CAs may stand in one trust anchor, for a rotation (user guide, quotas)."""
    pems = [CertificateAuthority(f"CA {number}").certificate_pem for number in (2, 3)]
    two = authority.certificate_pem + pems[0]

    assert anchor(client, authority, source=bundle(two))["source"] == bundle(two)
    with pytest.raises(client.exceptions.ValidationException, match="at most 2"):
        anchor(client, authority, source=bundle(two + pems[1]))


@pytest.mark.conformance(
    "CreateTrustAnchor: The 51st trust anchor of an account and Region is refused, until one is "
    "deleted; code and text are ours.",
    source="UG/quotas + choice",
)
def test_trust_anchors_have_a_quota(client, authority):
    """The 51st trust anchor of a Region is refused, until one is deleted."""
    made = [anchor(client, authority)["trustAnchorId"] for _ in range(50)]

    with pytest.raises(client.exceptions.ValidationException, match="the quota is 50"):
        anchor(client, authority)
    client.delete_trust_anchor(trustAnchorId=made[7])
    anchor(client, authority)


@pytest.mark.conformance("CreateProfile", source="UG/quotas + choice")
def test_profiles_have_a_quota(client):
    """The 251st profile of a Region is refused."""
    for _ in range(250):
        profile(client)

    with pytest.raises(client.exceptions.ValidationException, match="the quota is 250"):
        profile(client)


@pytest.mark.conformance("ImportCrl", source="UG/quotas + choice")
def test_crls_have_a_quota_per_trust_anchor(client, authority):
    """A trust anchor takes two CRLs, another one its own two."""
    first, second = (anchor(client, authority)["trustAnchorArn"] for _ in range(2))
    made = [crl(client, authority, first)["crlId"] for _ in range(2)]

    with pytest.raises(client.exceptions.ValidationException, match="the quota is 2"):
        crl(client, authority, first)
    crl(client, authority, second)
    client.delete_crl(crlId=made[0])
    crl(client, authority, first)


def test_quotas_may_be_raised_and_lowered(authority):
    """AWS raises quotas on request; the emulator takes any."""
    limits = Limits(trust_anchors=1, profiles=0, crls_per_trust_anchor=0)
    with Emulator(limits=limits) as emulator:
        client = emulator.control_plane()
        arn = anchor(client, authority)["trustAnchorArn"]

        for attempt in (
            lambda: anchor(client, authority),
            lambda: profile(client),
            lambda: crl(client, authority, arn),
        ):
            with pytest.raises(client.exceptions.ValidationException, match="the quota is"):
                attempt()


def test_quota_below_zero_is_refused():
    """A quota is a number of resources."""
    with pytest.raises(ValueError, match="profiles must be 0 or more, not -1"):
        Limits(profiles=-1)


@pytest.mark.conformance("PutNotificationSettings, ResetNotificationSettings", source="model")
def test_notification_settings_are_put_and_reset(client, authority):
    """Custom settings carry the account; a reset brings the defaults back."""
    identifier = anchor(client, authority)["trustAnchorId"]
    settings = [{"enabled": True, "event": "CA_CERTIFICATE_EXPIRY", "threshold": 10}]

    put = client.put_notification_settings(trustAnchorId=identifier, notificationSettings=settings)[
        "trustAnchor"
    ]
    reset = client.reset_notification_settings(
        trustAnchorId=identifier,
        notificationSettingKeys=[{"event": "CA_CERTIFICATE_EXPIRY"}],
    )["trustAnchor"]

    def ca_setting(answer):
        (found,) = [
            s for s in answer["notificationSettings"] if s["event"] == "CA_CERTIFICATE_EXPIRY"
        ]
        return found

    assert ca_setting(put) == {**settings[0], "channel": "ALL", "configuredBy": "111122223333"}
    assert ca_setting(reset)["threshold"] == 45
    assert len(reset["notificationSettings"]) == 2


@pytest.mark.conformance("PutNotificationSettings", source="model + choice")
def test_enabled_notification_needs_a_threshold(client, authority):
    """An enabled notification without threshold is invalid; a disabled one needs none."""
    settings = {"enabled": True, "event": "CA_CERTIFICATE_EXPIRY"}

    with pytest.raises(client.exceptions.ValidationException, match="threshold"):
        anchor(client, authority, notificationSettings=[settings])
    off = anchor(client, authority, notificationSettings=[settings | {"enabled": False}])
    assert off["notificationSettings"][0] == {
        **settings,
        "enabled": False,
        "channel": "ALL",
        "configuredBy": "111122223333",
    }


@pytest.mark.conformance("CreateTrustAnchor, PutNotificationSettings", source="model")
@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"threshold": 0}, "Member must have value greater than or equal to 1"),
        ({"threshold": 361}, "Member must have value less than or equal to 360"),
        ({"channel": "PAGER"}, "Member must satisfy enum value set: [ALL]"),
        ({"event": "LUNCH"}, "Member must satisfy enum value set: [CA_CERTIFICATE_EXPIRY, END_ENT"),
    ],
)
def test_notification_setting_has_bounds(careless, authority, setting, text):
    """Threshold, channel and event are the model's."""
    whole = {"enabled": True, "event": "CA_CERTIFICATE_EXPIRY", "threshold": 10, **setting}
    name = next(iter(setting))

    with pytest.raises(careless.exceptions.ValidationException) as caught:
        anchor(careless, authority, notificationSettings=[whole])
    assert caught.value.response["Error"]["Message"].startswith(
        f"1 validation error detected: Value '{setting[name]}' at 'notificationSettings.1.member."
        f"{name}' failed to satisfy constraint: {text}"
    )


# Profiles


@pytest.mark.conformance("CreateProfile", source="observed + UG/attribute-mapping")
def test_new_profile_is_as_documented(client):
    """A profile is disabled at first, lasts an hour, and maps what AWS maps by default."""
    created = profile(client)

    assert created["profileArn"] == f"{PREFIX}:profile/{created['profileId']}"
    assert created["enabled"] is False
    assert created["durationSeconds"] == 3600
    assert created["acceptRoleSessionName"] is False
    assert created["requireInstanceProperties"] is False
    assert created["roleArns"] == [ROLE]
    assert created["createdBy"] == "arn:aws:iam::111122223333:root"
    assert created["attributeMappings"] == [
        {"certificateField": "x509Issuer", "mappingRules": [{"specifier": "*"}]},
        {
            "certificateField": "x509SAN",
            "mappingRules": [{"specifier": "DNS"}, {"specifier": "URI"}, {"specifier": "Name/*"}],
        },
        {"certificateField": "x509Subject", "mappingRules": [{"specifier": "*"}]},
    ]


@pytest.mark.conformance("CreateProfile, UpdateProfile, GetProfile", source="model")
def test_profile_keeps_what_it_is_given(client):
    """All members of a create and of an update come back."""
    first = {
        "requireInstanceProperties": True,
        "sessionPolicy": "{}",
        "durationSeconds": 900,
        "managedPolicyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "enabled": True,
        "acceptRoleSessionName": True,
    }
    created = profile(client, **first)
    second = {
        "name": "renamed",
        "sessionPolicy": '{"a":1}',
        "durationSeconds": 43200,
        "managedPolicyArns": [],
        "acceptRoleSessionName": False,
        "roleArns": [],
    }

    updated = client.update_profile(profileId=created["profileId"], **second)["profile"]

    assert {name: created[name] for name in first} == first
    assert {name: updated[name] for name in second} == second
    assert updated["enabled"] is True


@pytest.mark.conformance("EnableProfile, DisableProfile, DeleteProfile", source="model")
def test_profile_is_switched_and_deleted(client):
    """Enable, disable and delete answer with the profile."""
    identifier = identifiers(client, profile(client), "profile")[-1]

    assert client.enable_profile(profileId=identifier)["profile"]["enabled"] is True
    assert client.disable_profile(profileId=identifier)["profile"]["enabled"] is False
    client.delete_profile(profileId=identifier)
    assert client.list_profiles()["profiles"] == []


@pytest.mark.conformance(
    "CreateProfile, UpdateProfile", source="observed + choice", text="CROSS_ACCOUNT_ROLE"
)
def test_role_of_another_account_is_refused(client):
    """A profile cannot hold another account's role."""
    with pytest.raises(client.exceptions.AccessDeniedException) as caught:
        profile(client, roleArns=["arn:aws:iam::999999999999:role/x"])

    assert caught.value.response["Error"]["Message"] == "Cross-account pass role is not allowed"


@pytest.mark.conformance(
    "PutAttributeMapping, DeleteAttributeMapping",
    source="UG/put-attribute-mapping + UG/delete-attribute-mapping + choice",
)
def test_attribute_mappings_are_added_and_removed(client):
    """Put adds rules to one field, Delete takes some or all away."""
    identifier = profile(client)["profileId"]

    def rules(answer, field):
        return [
            [rule["specifier"] for rule in mapping["mappingRules"]]
            for mapping in answer["profile"]["attributeMappings"]
            if mapping["certificateField"] == field
        ]

    put = client.put_attribute_mapping(
        profileId=identifier,
        certificateField="x509Subject",
        mappingRules=[{"specifier": "CN"}, {"specifier": "OU"}, {"specifier": "CN"}],
    )
    named = client.put_attribute_mapping(
        profileId=identifier, certificateField="x509SAN", mappingRules=[{"specifier": "Name/"}]
    )
    some = client.delete_attribute_mapping(
        profileId=identifier, certificateField="x509Subject", specifiers=["CN", "*"]
    )
    none = client.delete_attribute_mapping(profileId=identifier, certificateField="x509Subject")

    assert rules(put, "x509Subject") == [["*", "CN", "OU"]]
    assert rules(named, "x509SAN") == [["DNS", "URI", "Name/*"]]
    assert rules(some, "x509Subject") == [["OU"]]
    assert rules(none, "x509Subject") == []
    with pytest.raises(client.exceptions.ValidationException, match="maps nothing"):
        client.delete_attribute_mapping(
            profileId=identifier, certificateField="x509Subject", specifiers=["OU"]
        )


@pytest.mark.conformance("PutAttributeMapping", source="UG/attribute-mapping + choice")
@pytest.mark.parametrize(
    ("certificate_field", "specifier"),
    [
        ("x509Subject", "*"),
        ("x509Subject", "UID"),
        ("x509Issuer", "1.2.840.113549.1.9.1"),
        ("x509SAN", "DNS"),
        ("x509SAN", "URI"),
        ("x509SAN", "Name/CN"),
        ("x509SAN", "Name/2.5.4.3"),
    ],
)
def test_specifier_that_can_stand_for_something_is_taken(client, certificate_field, specifier):
    """Names, dotted OIDs and the star are specifiers, in the SAN under Name/."""
    identifier = profile(client)["profileId"]
    client.delete_attribute_mapping(profileId=identifier, certificateField=certificate_field)
    answer = client.put_attribute_mapping(
        profileId=identifier,
        certificateField=certificate_field,
        mappingRules=[{"specifier": specifier}],
    )

    assert {
        "certificateField": certificate_field,
        "mappingRules": [{"specifier": specifier}],
    } in answer["profile"]["attributeMappings"]


@pytest.mark.conformance("PutAttributeMapping", source="observed + choice")
@pytest.mark.parametrize(
    ("certificate_field", "specifier"),
    [
        ("x509Subject", ""),
        ("x509Subject", "CN/O"),
        ("x509Issuer", "O U"),
        ("x509Issuer", "1.02.3"),
        ("x509SAN", "CN"),
        ("x509SAN", "*"),
        ("x509SAN", "IP"),
        ("x509SAN", "Name/Name/CN"),
    ],
)
def test_specifier_that_stands_for_nothing_is_refused(client, certificate_field, specifier):
    """A profile cannot be given a rule that no certificate can ever meet."""
    identifier = profile(client)["profileId"]

    with pytest.raises(
        client.exceptions.ValidationException, match=f"is none of {certificate_field}"
    ):
        client.put_attribute_mapping(
            profileId=identifier,
            certificateField=certificate_field,
            mappingRules=[{"specifier": "CN"}, {"specifier": specifier}],
        )


def test_mappings_keep_their_place(client):
    """A field whose rules change stays where it was in the list."""
    identifier = profile(client)["profileId"]
    client.delete_attribute_mapping(profileId=identifier, certificateField="x509SAN")
    client.put_attribute_mapping(
        profileId=identifier, certificateField="x509Issuer", mappingRules=[{"specifier": "CN"}]
    )
    mappings = client.get_profile(profileId=identifier)["profile"]["attributeMappings"]

    assert [mapping["certificateField"] for mapping in mappings] == ["x509Issuer", "x509Subject"]


# CRLs


@pytest.mark.conformance(
    "ImportCrl, GetCrl, ListCrls, UpdateCrl, EnableCrl, DisableCrl, DeleteCrl", source="model"
)
def test_crl_goes_in_and_out(client, authority):
    """A CRL is imported disabled, found, changed, switched and deleted."""
    anchor_arn = anchor(client, authority)["trustAnchorArn"]

    created = crl(client, authority, anchor_arn)
    identifier = created["crlId"]
    renamed = client.update_crl(crlId=identifier, name="new")["crl"]
    authority.revoke(7)
    data = authority.crl_pem().encode()
    updated = client.update_crl(crlId=identifier, crlData=data)["crl"]

    assert created["crlArn"] == f"{PREFIX}:crl/{identifier}"
    assert created["enabled"] is False
    assert created["trustAnchorArn"] == anchor_arn
    assert renamed["name"] == "new"
    assert renamed["crlData"] == created["crlData"]
    assert (updated["name"], updated["crlData"]) == ("new", data)
    assert client.enable_crl(crlId=identifier)["crl"]["enabled"] is True
    assert client.disable_crl(crlId=identifier)["crl"]["enabled"] is False
    assert client.get_crl(crlId=identifier)["crl"]["name"] == "new"
    assert client.delete_crl(crlId=identifier)["crl"]["crlId"] == identifier
    assert client.list_crls()["crls"] == []


@pytest.mark.conformance("ImportCrl", source="model")
def test_crl_made_by_openssl_is_taken(client, authority, tmp_path):
    """A CRL of the openssl command is imported and comes back byte for byte."""
    openssl = ["openssl", "ca", "-gencrl", "-config", "ca.cnf", "-out", "crl.pem"]
    (tmp_path / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=1\n"
        "certificate=ca.pem\nprivate_key=ca.key\n"
    )
    (tmp_path / "index.txt").touch()
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=Test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    subprocess.run(openssl, cwd=tmp_path, check=True, capture_output=True)
    data = (tmp_path / "crl.pem").read_bytes()

    created = crl(client, authority, anchor(client, authority)["trustAnchorArn"], crlData=data)

    assert created["crlData"] == data


@pytest.mark.conformance("ImportCrl", source="model + choice")
def test_crl_needs_a_list_and_an_anchor(client, authority):
    """Bytes that are no CRL, and anchors that do not exist, are refused."""
    anchor_arn = anchor(client, authority)["trustAnchorArn"]

    with pytest.raises(client.exceptions.ValidationException, match="crlData"):
        crl(client, authority, anchor_arn, crlData=b"no list")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        crl(client, authority, anchor_arn[:-1] + "x")


@pytest.mark.conformance("ImportCrl", source="model")
def test_crl_has_a_size(careless, authority):
    """A CRL may have 300,000 bytes; the text tells the number of bytes, not the bytes."""
    anchor_arn = anchor(careless, authority)["trustAnchorArn"]

    with pytest.raises(careless.exceptions.ValidationException) as caught:
        crl(careless, authority, anchor_arn, crlData=b"x" * 300_001)
    assert caught.value.response["Error"]["Message"] == (
        "1 validation error detected: Value '300001 bytes' at 'crlData' failed to satisfy "
        "constraint: Member must have length less than or equal to 300000"
    )


# Aliases


@pytest.mark.conformance("GetTrustAnchor, UpdateTrustAnchor", source="model")
def test_alias_leads_to_its_resource(client, authority):
    """A resource is found by its alias ARN until the alias is taken away."""
    if not has(client, "aliasName"):
        pytest.skip("the installed botocore has no aliases")
    created = anchor(client, authority, aliasName="team/blue")
    alias_arn = f"{PREFIX}:alias/trust-anchor/team/blue"

    assert (created["aliasName"], created["aliasArn"]) == ("team/blue", alias_arn)
    assert client.get_trust_anchor(trustAnchorId=alias_arn)["trustAnchor"] == created
    with pytest.raises(ClientError, match="not the alias"):
        crl(client, authority, alias_arn)
    changed = client.update_trust_anchor(trustAnchorId=alias_arn, aliasName="")["trustAnchor"]
    assert changed["previousAliasName"] == "team/blue"
    assert "aliasName" not in changed
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_trust_anchor(trustAnchorId=alias_arn)


@pytest.mark.conformance("CreateTrustAnchor, CreateProfile", source="model")
def test_alias_is_unique_and_not_reserved(client, authority):
    """An alias belongs to one resource of a kind; names under aws/ are AWS's."""
    if not has(client, "aliasName"):
        pytest.skip("the installed botocore has no aliases")
    first = anchor(client, authority, aliasName="one")
    profile(client, aliasName="one")

    with pytest.raises(client.exceptions.ValidationException, match="is taken by"):
        anchor(client, authority, aliasName="one")
    with pytest.raises(client.exceptions.ValidationException, match="reserved"):
        anchor(client, authority, aliasName="AWS/one")
    again = client.update_trust_anchor(trustAnchorId=first["trustAnchorId"], aliasName="one")
    assert "previousAliasName" not in again["trustAnchor"]


@pytest.mark.conformance("UpdateTrustAnchor, UpdateProfile", source="model")
def test_alias_is_renamed(client, authority):
    """The update that changes an alias names the old one, and no other answer does."""
    if not has(client, "aliasName"):
        pytest.skip("the installed botocore has no aliases")
    made = profile(client, aliasName="team/Blue")
    old, new = (f"{PREFIX}:alias/profile/team/{name}" for name in ("Blue", "blue"))

    renamed = client.update_profile(profileId=old, aliasName="team/blue")["profile"]

    assert (renamed["aliasArn"], renamed["previousAliasName"]) == (new, "team/Blue")
    got = client.get_profile(profileId=new)["profile"]
    assert (got["profileId"], got["aliasName"]) == (made["profileId"], "team/blue")
    assert "previousAliasName" not in got
    assert "previousAliasName" not in client.update_profile(profileId=new, name="x")["profile"]
    for operation in (client.get_profile, client.enable_profile, client.delete_profile):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            operation(profileId=old)
    # The name is free again, and an empty one is none.
    profile(client, aliasName="team/Blue")
    assert "aliasName" not in profile(client, aliasName="")


@pytest.mark.conformance("CreateProfile", source="model")
@pytest.mark.parametrize("alias", ["1a", "a/", "a//b", "-", "a b", "a" * 257])
def test_alias_has_a_form(careless, alias):
    """A letter first; letters, digits, _, - and / after it; no / at the end or doubled."""
    if not has(careless, "aliasName"):
        pytest.skip("the installed botocore has no aliases")
    with pytest.raises(careless.exceptions.ValidationException, match="at 'aliasName' failed"):
        profile(careless, aliasName=alias)


@pytest.mark.conformance("ImportCrl, GetCrl", source="model")
def test_crl_is_found_by_its_alias(client, authority):
    """CRLs have aliases as well."""
    if not has(client, "aliasName"):
        pytest.skip("the installed botocore has no aliases")
    created = crl(client, authority, anchor(client, authority)["trustAnchorArn"], aliasName="c")

    assert created["aliasArn"] == f"{PREFIX}:alias/crl/c"
    assert client.get_crl(crlId=created["aliasArn"])["crl"] == created


# Tags, pages, subjects


@pytest.mark.conformance("TagResource, UntagResource, ListTagsForResource", source="model")
def test_tags_are_kept_per_resource(client, authority):
    """Tags come from a create or from TagResource, and go by UntagResource or with the resource."""
    created = anchor(client, authority, tags=[{"key": "team", "value": "blue"}])
    arn = created["trustAnchorArn"]

    def tags():
        found = client.list_tags_for_resource(resourceArn=arn)["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    answer = client.tag_resource(
        resourceArn=arn, tags=[{"key": "stage", "value": ""}, {"key": "team", "value": "red"}]
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert tags() == {"team": "red", "stage": ""}
    client.untag_resource(resourceArn=arn, tagKeys=["team", "unknown"])
    assert tags() == {"stage": ""}
    client.delete_trust_anchor(trustAnchorId=created["trustAnchorId"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        tags()


@pytest.mark.conformance("TagResource", source="model + choice")
def test_too_many_tags_are_refused(client):
    """The 201st tag is refused with the modelled error."""
    arn = profile(client)["profileArn"]
    tags = [{"key": f"k{number}", "value": "v"} for number in range(200)]
    client.tag_resource(resourceArn=arn, tags=tags)

    with pytest.raises(client.exceptions.TooManyTagsException, match="201 tags"):
        client.tag_resource(resourceArn=arn, tags=[{"key": "one-more", "value": "v"}])


@pytest.mark.conformance("CreateProfile", source="model")
def test_too_many_tags_of_a_create_are_refused(careless):
    """A create takes 200 tags by its model."""
    tags = [{"key": f"k{number}", "value": "v"} for number in range(201)]

    with pytest.raises(careless.exceptions.ValidationException, match="less than or equal to 200"):
        profile(careless, tags=tags)


@pytest.mark.conformance("TagResource", source="choice")
def test_tag_keys_have_a_case_and_a_reserved_prefix(client):
    """Keys that differ in case are two tags; those under aws: are AWS's, whatever the case."""
    pairs = [{"key": "Team", "value": "a"}, {"key": "team", "value": "b"}]
    arn = profile(client, tags=pairs)["profileArn"]

    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == pairs
    for key in ("aws:team", "AWS:x"):
        with pytest.raises(client.exceptions.ValidationException, match="begins with aws:"):
            client.tag_resource(resourceArn=arn, tags=[{"key": key, "value": ""}])
        with pytest.raises(client.exceptions.ValidationException, match="begins with aws:"):
            profile(client, tags=[{"key": key, "value": ""}])
    assert len(client.list_profiles()["profiles"]) == 1


@pytest.mark.conformance("TagResource", source="model")
@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ({"key": "", "value": ""}, "greater than or equal to 1"),
        ({"key": "k" * 129, "value": ""}, "less than or equal to 128"),
        ({"key": "k", "value": "v" * 257}, "less than or equal to 256"),
        ({"key": "ü", "value": ""}, "Member must satisfy regular expression pattern: "),
    ],
)
def test_tag_has_a_form(careless, tag, text):
    """Length and alphabet of tags are the model's; the text does not repeat a sensitive value."""
    arn = profile(careless)["profileArn"]

    with pytest.raises(careless.exceptions.ValidationException, match=re.escape(text)):
        careless.tag_resource(resourceArn=arn, tags=[tag])
    with pytest.raises(careless.exceptions.ValidationException, match="Value at 'tagKeys' failed"):
        careless.untag_resource(resourceArn=arn, tagKeys=["ok", "nö"])


@pytest.mark.conformance("ListProfiles", source="model")
@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_lists_come_in_pages(client, size):
    """botocore's paginator finds each profile once, whatever the page size."""
    made = [profile(client, name=f"p{number}")["profileId"] for number in range(5)]
    pages = list(client.get_paginator("list_profiles").paginate(pageSize=size))

    assert [p["profileId"] for page in pages for p in page["profiles"]] == made
    assert len(pages) == -(-5 // size)


@pytest.mark.conformance("ListProfiles", source="choice")
def test_page_goes_on_after_what_was_deleted(client):
    """What is deleted between two pages neither hides nor repeats another resource."""
    made = [profile(client, name=f"p{number}")["profileId"] for number in range(5)]
    page = client.list_profiles(pageSize=2)
    for gone in made[:3]:
        client.delete_profile(profileId=gone)
    new = profile(client)["profileId"]

    rest = client.list_profiles(pageSize=3, nextToken=page["nextToken"])

    assert [p["profileId"] for p in rest["profiles"]] == [*made[3:], new]
    assert "nextToken" not in rest


@pytest.mark.conformance("ListTrustAnchors, ListProfiles", source="choice")
def test_token_of_another_list_is_refused(client):
    """Each list has its own tokens."""
    for _ in range(2):
        profile(client)
    token = client.list_profiles(pageSize=1)["nextToken"]

    with pytest.raises(client.exceptions.ValidationException, match="nextToken"):
        client.list_crls(nextToken=token)


@pytest.mark.conformance("ListProfiles", source="choice")
def test_list_without_a_page_size_has_fifty(client):
    """The default page has 50 entries (ours)."""
    for _ in range(51):
        profile(client)
    page = client.list_profiles()

    assert len(page["profiles"]) == 50
    assert len(client.list_profiles(nextToken=page["nextToken"])["profiles"]) == 1


@pytest.mark.conformance("ListCrls", source="choice")
@pytest.mark.parametrize("token", ["x", base64.urlsafe_b64encode(b"by:7").decode(), "crls:1", "é"])
def test_foreign_token_is_refused(client, token):
    """A token that no page gave is invalid."""
    with pytest.raises(client.exceptions.ValidationException, match="nextToken"):
        client.list_crls(nextToken=token)


@pytest.mark.conformance("ListCrls", source="choice")
def test_page_of_nothing_is_refused(client):
    """A page size below one is invalid."""
    with pytest.raises(client.exceptions.ValidationException, match="page size"):
        client.list_trust_anchors(pageSize=0)


@pytest.mark.conformance("GetSubject", source="model + choice")
def test_unknown_subject_is_not_found(client):
    """A subject that nobody signed in as is a 404."""
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_subject(subjectId="0" * 8 + "-0000-0000-0000-" + "0" * 12)


@pytest.mark.conformance("ListTrustAnchors", source="UG/quotas")
def test_regions_do_not_see_each_other(client, emulator, authority):
    """What is made in one Region is not listed in another."""
    anchor(client, authority)
    other = boto3.client(
        "rolesanywhere",
        region_name="cn-north-1",
        endpoint_url=emulator.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )

    assert other.list_trust_anchors()["trustAnchors"] == []
    arn = anchor(other, authority)["trustAnchorArn"]
    assert arn.startswith("arn:aws-cn:rolesanywhere:cn-north-1:111122223333:trust-anchor/")


# What the model forbids


@pytest.mark.conformance(
    "every operation: A member outside the model is refused in the words that AWS's services "
    "share.",
    source="observed",
    text=(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy "
        "constraint: {rule}"
    ),
)
@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        (
            "create_trust_anchor",
            {"source": {}},
            (
                "1 validation error detected: Value null at 'name' failed to satisfy constraint: "
                "Member must not be null"
            ),
        ),
        (
            "create_profile",
            {"name": "", "roleArns": []},
            (
                "1 validation error detected: Value '' at 'name' failed to satisfy constraint: "
                "Member must have length greater than or equal to 1"
            ),
        ),
        (
            "create_profile",
            {"name": "n" * 256, "roleArns": []},
            "Member must have length less than or equal to 255",
        ),
        (
            "create_profile",
            {"name": "a/b", "roleArns": []},
            (
                "Value 'a/b' at 'name' failed to satisfy constraint: Member must satisfy regular "
                "expression pattern: "
            ),
        ),
        (
            "create_profile",
            {"name": "a", "roleArns": ["x", "y"]},
            (
                "1 validation error detected: Value '[x, y]' at 'roleArns' failed to satisfy "
                "constraint: Member must satisfy constraint: [Member must have length less than "
                "or equal to 1011, Member must have length greater than or equal to 1, "
                "Member must satisfy regular expression pattern: "
            ),
        ),
        (
            "create_profile",
            {"name": "a", "roleArns": [ROLE] * 251},
            (
                "at 'roleArns' failed to satisfy constraint: "
                "Member must have length less than or equal to 250"
            ),
        ),
        (
            "create_profile",
            {"name": "a", "roleArns": [], "durationSeconds": 43201},
            (
                "Value '43201' at 'durationSeconds' failed to satisfy constraint: "
                "Member must have value less than or equal to 43200"
            ),
        ),
        (
            "put_attribute_mapping",
            {
                "profileId": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
                "certificateField": "x509Serial",
                "mappingRules": [],
            },
            (
                "Value 'x509Serial' at 'certificateField' failed to satisfy constraint: "
                "Member must satisfy enum value set: [x509Subject, x509Issuer, x509SAN]"
            ),
        ),
        (
            "tag_resource",
            {"resourceArn": "x", "tags": [{"key": "k", "value": None}]},
            "1 validation error detected: Value at 'tags.1.member.value' failed",
        ),
        (
            "update_profile",
            {"profileId": "arn:aws:rolesanywhere:x"},
            "Value 'arn:aws:rolesanywhere:x' at 'profileId' failed",
        ),
        ("get_trust_anchor", {"trustAnchorId": "0-0"}, "Value '0-0' at 'trustAnchorId' failed"),
    ],
)
def test_broken_constraint_has_the_services_text(careless, operation, members, text):
    """A member outside the model is refused in the words that all AWS services use."""
    with pytest.raises(careless.exceptions.ValidationException, match=re.escape(text)):
        getattr(careless, operation)(**members)


@pytest.mark.conformance("every operation", source="choice")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/profiles", b'{"name":7,"roleArns":[]}'),
        ("/profiles", b'{"name":"a","roleArns":"x"}'),
        ("/profiles", b'{"name":"a","roleArns":[null]}'),
        ("/profiles", b'{"name":"a","roleArns":[],"enabled":"yes"}'),
        ("/profiles", b'{"name":"a","roleArns":[],"durationSeconds":true}'),
        ("/profiles", b'{"name":"a","roleArns":[],"durationSeconds":"900"}'),
        ("/trustanchors", b'{"name":"a","source":[]}'),
        ("/crls", b'{"name":"a","crlData":"***"}'),
        ("/crls", b'{"name":"a","crlData":"\\u00e9"}'),
        ("/profiles", b"{"),
    ],
)
def test_member_of_a_wrong_type_is_refused(emulator, request_to, path, body):
    """JSON of a wrong type is a 400 with a reason, not a crash."""
    status, code, _ = request_to(emulator.endpoint_url, "POST", path, {}, body).refusal

    assert (status, code) == (400, "SerializationException")


def test_page_size_that_is_no_number_is_refused(emulator, request_to):
    """A number in the query must be one."""
    answer = request_to(emulator.endpoint_url, "GET", "/crls?pageSize=many", {}, b"")

    assert answer.refusal[:2] == (400, "SerializationException")


@pytest.mark.conformance("every operation", source="choice")
@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/nothing"), ("GET", "/sessions"), ("PUT", "/crls")]
)
def test_unknown_operation_is_told_so(emulator, request_to, method, target):
    """A path or method that the model lacks is a 404 that names it."""
    status, code, text = request_to(emulator.endpoint_url, method, target, {}, b"").refusal

    assert (status, code) == (404, "UnknownOperationException")
    assert f"{method} {target}" in text


@pytest.mark.conformance("every operation", source="model")
def test_every_operation_of_the_model_is_implemented(client):
    """No operation of the installed botocore answers 501."""
    from rolesanywhere_auth.testing.service.control_plane import HANDLERS

    assert set(client.meta.service_model.operation_names) <= set(HANDLERS)


def test_operation_without_a_handler_is_told_so(emulator, request_to, monkeypatch):
    """An operation that a newer botocore brings is a 501 that names it."""
    from rolesanywhere_auth.testing.service import control_plane

    monkeypatch.delitem(control_plane.HANDLERS, "ListCrls")

    assert request_to(emulator.endpoint_url, "GET", "/crls", {}, b"").refusal == (
        501,
        "NotImplementedException",
        "This emulator does not implement ListCrls.",
    )


@pytest.mark.conformance("every operation", source="UG/logging-using-cloudtrail")
def test_timestamps_are_iso_8601_with_microseconds(emulator, request_to, client):
    """On the wire a timestamp looks as in AWS's CloudTrail sample."""
    profile(client)
    answer = request_to(emulator.endpoint_url, "GET", "/profiles", {}, b"")

    assert answer.body["profiles"][0]["createdAt"] == "2026-05-04T12:00:00.000000Z"
