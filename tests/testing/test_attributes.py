"""What certificates turn into: tags, source identity, session name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.loaders import Loader
from cryptography import x509
from cryptography.x509.oid import NameOID

from rolesanywhere_auth.testing.authority import CertificateAuthority
from rolesanywhere_auth.testing.service.attributes import (
    default_mappings,
    dropped_text,
    session_name,
    session_tags,
    source_identity,
    subject_text,
)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """A CA with an organization, for issuer tags."""
    return CertificateAuthority("Root", organization="Example")


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A name of these attributes, in this order."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def mapping(certificate_field: str, *specifiers: str) -> list[dict[str, Any]]:
    """One attribute mapping."""
    rules = [{"specifier": specifier} for specifier in specifiers]
    return [{"certificateField": certificate_field, "mappingRules": rules}]


@pytest.mark.conformance("CreateProfile", source="UG/attribute-mapping")
def test_default_mappings_are_the_user_guides() -> None:
    """A new profile maps all of issuer and subject, and DNS, URI and the name of the SAN."""
    assert {
        entry["certificateField"]: [rule["specifier"] for rule in entry["mappingRules"]]
        for entry in default_mappings()
    } == {"x509Issuer": ["*"], "x509SAN": ["DNS", "URI", "Name/*"], "x509Subject": ["*"]}


def test_default_mappings_have_the_models_shape() -> None:
    """The fields are those of botocore's AttributeMapping."""
    model = Loader().load_service_model("rolesanywhere", "service-2")
    fields = model["shapes"]["CertificateField"]["enum"]
    for entry in default_mappings():
        assert set(entry) == set(model["shapes"]["AttributeMapping"]["members"])
        assert entry["certificateField"] in fields


@pytest.mark.conformance("CreateSession", source="UG/trust-model")
def test_all_attributes_become_tags(authority: CertificateAuthority) -> None:
    """The default mappings take subject, issuer, and the first of each kind in the SAN."""
    leaf = authority.issue(
        "alice",
        organization="Example Ltd",
        organizational_units=["Security", "Engineering", "Research"],
        dns_names=["a.example", "b.example"],
        uris=["spiffe://example/a", "spiffe://example/b"],
        email_addresses=["a@example.com"],
        directory_names=[
            name((NameOID.COMMON_NAME, "first"), (NameOID.LOCALITY_NAME, "Bern")),
            name((NameOID.COMMON_NAME, "second")),
        ],
    )
    found = session_tags(leaf.certificate, default_mappings())
    assert found.tags == {
        "x509Issuer/O": "Example",
        "x509Issuer/CN": "Root",
        "x509SAN/DNS": "a.example",
        "x509SAN/URI": "spiffe://example/a",
        "x509SAN/Name/CN": "first",
        "x509SAN/Name/L": "Bern",
        "x509Subject/O": "Example Ltd",
        "x509Subject/OU": "Security/Engineering/Research",
        "x509Subject/CN": "alice",
    }
    assert found.dropped == {}
    assert dropped_text(found.dropped) == ""


@pytest.mark.conformance("CreateSession", source="UG/trust-model + model")
def test_attributes_that_aws_names(authority: CertificateAuthority) -> None:
    """C, ST, L, O, OU, CN and UID are AWS's own names."""
    subject = name(
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Hessen"),
        (NameOID.LOCALITY_NAME, "Kassel"),
        (NameOID.USER_ID, "u1"),
        (NameOID.COMMON_NAME, "alice"),
    )
    leaf = authority.issue(subject=subject)
    tags = session_tags(leaf.certificate, mapping("x509Subject", "*")).tags
    assert {key.removeprefix("x509Subject/"): value for key, value in tags.items()} == {
        "C": "DE",
        "ST": "Hessen",
        "L": "Kassel",
        "UID": "u1",
        "CN": "alice",
    }


@pytest.mark.conformance("CreateSession", source="UG/attribute-mapping-and-trust-policy")
def test_only_what_is_mapped_becomes_a_tag(authority: CertificateAuthority) -> None:
    """Without a rule there is no tag; a rule for what is not there gives none either."""
    leaf = authority.issue("alice", organization="Example", dns_names=["a.example"])
    rules = mapping("x509Subject", "CN", "OU") + mapping("x509SAN", "URI", "Name/CN")
    assert session_tags(leaf.certificate, rules).tags == {"x509Subject/CN": "alice"}
    assert session_tags(leaf.certificate, []).tags == {}


@pytest.mark.conformance("PutAttributeMapping", source="UG/attribute-mapping")
@pytest.mark.parametrize("specifier", ["Name", "Name/", "Name/*", "Name/CN"])
def test_ways_to_ask_for_the_directory_name(
    authority: CertificateAuthority, specifier: str
) -> None:
    """Name and Name/ mean Name/* (user guide, attribute-mapping)."""
    directory = name((NameOID.COMMON_NAME, "alice"))
    leaf = authority.issue(directory_names=[directory], dns_names=["a.example"])
    tags = session_tags(leaf.certificate, mapping("x509SAN", specifier)).tags
    assert tags == {"x509SAN/Name/CN": "alice"}


def test_no_alternative_names_give_no_tags(authority: CertificateAuthority) -> None:
    """A certificate without SAN is nothing special."""
    leaf = authority.issue("alice")
    assert session_tags(leaf.certificate, mapping("x509SAN", "DNS", "Name/*")).tags == {}


@pytest.mark.conformance("CreateSession", source="choice")
def test_a_dotted_oid_must_be_asked_for(authority: CertificateAuthority) -> None:
    """The star takes names that are known; another attribute is named by its OID."""
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.55555.7")
    leaf = authority.issue(subject=name((oid, "seven"), (NameOID.COMMON_NAME, "alice")))
    star = session_tags(leaf.certificate, mapping("x509Subject", "*")).tags
    assert star == {"x509Subject/CN": "alice"}
    asked = session_tags(leaf.certificate, mapping("x509Subject", oid.dotted_string)).tags
    assert asked == {f"x509Subject/{oid.dotted_string}": "seven"}


def test_a_value_that_is_no_text_is_no_attribute(authority: CertificateAuthority) -> None:
    """X.500 unique identifiers are bit strings."""
    oid = NameOID.X500_UNIQUE_IDENTIFIER
    bits = x509.NameAttribute(oid, b"\x00\x01", x509.name._ASN1Type.BitString)
    subject = x509.Name([bits, x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    leaf = authority.issue(subject=subject)
    rules = mapping("x509Subject", "*", oid.dotted_string)
    assert session_tags(leaf.certificate, rules).tags == {"x509Subject/CN": "alice"}


@pytest.mark.conformance("CreateSession", source="UG/trust-model + STS")
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("alice", True),
        ("Jürgen Müller", True),
        ("山田 太郎", True),
        ("a_.:/=+-@9", True),
        ("x" * 64, True),
        ("alice (test)", False),
        ("a*b", False),
        ("a,b", False),
        ("tab\there", False),
    ],
)
def test_values_that_sts_refuses_are_left_out_whole(
    authority: CertificateAuthority, value: str, kept: bool
) -> None:
    """A value outside STS's pattern gives no tag, neither cut nor escaped."""
    leaf = authority.issue(value)
    found = session_tags(leaf.certificate, mapping("x509Subject", "*"))
    assert found.tags == ({"x509Subject/CN": value} if kept else {})
    assert found.dropped == ({} if kept else {"Subject": ("CN",)})


@pytest.mark.conformance("CreateSession", source="UG/trust-model + STS")
@pytest.mark.parametrize(
    ("lengths", "kept"), [((60,) * 3, True), ((64, 64, 64, 61), True), ((64, 64, 64, 62), False)]
)
def test_joined_values_may_have_256_characters(
    authority: CertificateAuthority, lengths: tuple[int, ...], kept: bool
) -> None:
    """The limit is on the joined value, which is dropped as a whole."""
    units = ["x" * length for length in lengths]
    leaf = authority.issue("alice", organizational_units=units)
    found = session_tags(leaf.certificate, mapping("x509Subject", "OU"))
    assert found.tags == ({"x509Subject/OU": "/".join(units)} if kept else {})
    assert found.dropped == ({} if kept else {"Subject": ("OU",)})


@pytest.mark.conformance(
    "CreateSession",
    source="observed",
    text="Some attributes failed to be mapped into session tags.",
)
def test_the_sentence_about_dropped_attributes() -> None:
    """AWS's sentence as it was seen, for one DNS name with a wildcard."""
    leaf = CertificateAuthority("Root").issue("alice", dns_names=["*.example.com"])
    dropped = session_tags(leaf.certificate, default_mappings()).dropped
    assert dropped_text(dropped) == (
        "Some attributes failed to be mapped into session tags. "
        "Issuer: [  ]; Subject: [  ]; SAN: [ DNS/2 ]"
    )


def test_the_sentence_lists_every_attribute_once() -> None:
    """Several attributes, from all three fields."""
    directory = name((NameOID.COMMON_NAME, "(c)"))
    leaf = CertificateAuthority("(r)").issue(
        "(s)", organization="(o)", uris=["https://e/?q"], directory_names=[directory]
    )
    rules = default_mappings() + mapping("x509Subject", "CN")
    assert dropped_text(session_tags(leaf.certificate, rules).dropped).endswith(
        "Issuer: [ CN ]; Subject: [ O, CN ]; SAN: [ URI/6, Name/4/CN ]"
    )


@pytest.mark.conformance("CreateSession", source="UG/trust-model")
@pytest.mark.parametrize(
    ("common_name", "expected"),
    [
        ("Alice", "CN=Alice"),
        ("x" * 61, "CN=" + "x" * 61),
        ("x" * 62, "x" * 62),
        ("x" * 64, "x" * 64),
        (None, "ID=0123"),
    ],
)
def test_source_identity(
    authority: CertificateAuthority, common_name: str | None, expected: str
) -> None:
    """CN=…, the bare name if the prefix would not fit into 64 characters, or ID=serial."""
    leaf = authority.issue(common_name, organization="Example", serial_number=0x123)
    assert source_identity(leaf.certificate) == expected


@pytest.mark.conformance("CreateSession", source="choice")
def test_source_identity_of_several_common_names(authority: CertificateAuthority) -> None:
    """The first one counts."""
    subject = name((NameOID.COMMON_NAME, "first"), (NameOID.COMMON_NAME, "second"))
    assert source_identity(authority.issue(subject=subject).certificate) == "CN=first"


@pytest.mark.conformance("CreateSession", source="choice")
@pytest.mark.filterwarnings("ignore:Attribute's length must be")
def test_source_identity_of_an_overlong_name(authority: CertificateAuthority) -> None:
    """A common name of more than 64 characters cannot be a source identity."""
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, "x" * 65, _validate=False)
    leaf = authority.issue(subject=x509.Name([attribute]), serial_number=0xABCD)
    assert source_identity(leaf.certificate) == "ID=abcd"


@pytest.mark.conformance(
    "CreateSession: Without a name it is the serial number in hexadecimal; lower case and an even "
    "number of digits are ours.",
    source="observed + choice",
    check="session name",
)
@pytest.mark.parametrize(
    ("serial_number", "expected"),
    [
        (0x1000, "1000"),
        (0x1002, "1002"),
        (1, "01"),
        (0xABC, "0abc"),
        (2**159 - 1, "7f" + "ff" * 19),
    ],
)
def test_session_name(authority: CertificateAuthority, serial_number: int, expected: str) -> None:
    """The serial number in hex fits STS's RoleSessionName."""
    found = session_name(authority.issue(serial_number=serial_number).certificate)
    assert found == expected
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", found)


def test_subject_text(authority: CertificateAuthority) -> None:
    """RFC 4514, which turns the order of the certificate round."""
    leaf = authority.issue("Smith, Alice", organization="Example")
    assert subject_text(leaf.certificate) == "CN=Smith\\, Alice,O=Example"
