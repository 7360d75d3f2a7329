# SPDX-License-Identifier: Apache-2.0
"""What a certificate says about its owner: session tags, names, source identity.

Sources: AWS's user guide, pages "trust-model" (tags, source identity) and
"attribute-mapping". AWS publishes no full list of attribute names: `NAMES` marks
which of them are guesses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from rolesanywhere_auth.testing.service import texts
from rolesanywhere_auth.testing.service.wire import access_denied, invalid

NAMES: dict[str, str] = {
    # Named by AWS
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    # Ours: the names of RFC 4514 and of common libraries
    "0.9.2342.19200300.100.1.25": "DC",
    "2.5.4.4": "SURNAME",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.9": "STREET",
    "2.5.4.12": "T",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GIVENNAME",
    "2.5.4.43": "INITIALS",
    "2.5.4.44": "GENERATION",
    "2.5.4.46": "DNQ",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "1.2.840.113549.1.9.1": "EMAILADDRESS",
}

_MAX_KEY, _MAX_VALUE = 128, 256  # characters; STS AssumeRole, Tag
_MAX_SOURCE_IDENTITY = 64  # characters; STS AssumeRole, SourceIdentity
_MAX_TAGS = 50  # of one session; STS AssumeRole, Tags
_SPECIFIER = re.compile(r"\*|[A-Za-z][A-Za-z0-9-]*|[0-2](\.(0|[1-9][0-9]*))+")
_SECTIONS = {"x509Issuer": "Issuer", "x509Subject": "Subject", "x509SAN": "SAN"}


@dataclass(frozen=True)
class SessionTags:
    """Tags for the session, and what could not become one.

    ``dropped`` has the attributes whose value STS's tag pattern refuses, under
    ``Issuer``, ``Subject`` and ``SAN``.
    """

    tags: dict[str, str]
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)


def default_mappings() -> list[dict[str, Any]]:
    """The ``attributeMappings`` of a new profile (user guide, "attribute-mapping")."""
    return [
        {"certificateField": "x509Issuer", "mappingRules": [{"specifier": "*"}]},
        {
            "certificateField": "x509SAN",
            "mappingRules": [{"specifier": "DNS"}, {"specifier": "URI"}, {"specifier": "Name/*"}],
        },
        {"certificateField": "x509Subject", "mappingRules": [{"specifier": "*"}]},
    ]


def session_tags(
    certificate: x509.Certificate, mappings: Sequence[Mapping[str, Any]]
) -> SessionTags:
    """The tags that *mappings* (as in a profile's ``attributeMappings``) give for *certificate*.

    A value that does not match STS's pattern is left out as a whole, neither cut
    nor escaped (user guide, "trust-model").
    """
    tags: dict[str, str] = {}
    dropped: dict[str, list[str]] = {}
    for mapping in mappings:
        name = mapping["certificateField"]
        attributes = _attributes(certificate, name)
        for rule in mapping["mappingRules"]:
            for attribute in _selected(attributes, rule["specifier"]):
                key, value = f"{name}/{attribute}", attributes[attribute]
                if _is_tag(key, value):
                    tags[key] = value
                else:
                    dropped.setdefault(_SECTIONS[name], []).append(_dropped_name(attribute))
    return SessionTags(tags, {section: _unique(names) for section, names in dropped.items()})


def check_specifier(certificate_field: str, specifier: str) -> None:
    """Refuse a *specifier* that cannot stand for anything in *certificate_field*.

    Ours in detail: AWS validates specifiers and does not say how. Names are not compared
    with `NAMES`, as AWS's list is not known: the short name of an attribute (RFC 4512,
    1.4) or a dotted OID will do, ``*`` for all, and in the SAN ``DNS``, ``URI`` and either
    of these under ``Name/``.

    Raises:
        Refusal: ``ValidationException``, text ours.
    """
    name = specifier
    if certificate_field == "x509SAN":
        if specifier in ("DNS", "URI"):
            return
        name = specifier.removeprefix("Name/") if specifier.startswith("Name/") else ""
    if not _SPECIFIER.fullmatch(name):
        raise invalid(f"The specifier '{specifier}' is none of {certificate_field}.")


def check_count(tags: SessionTags, *, role_arn: str) -> None:
    """Refuse more tags than STS takes for one session (STS AssumeRole, Tags).

    Raises:
        Refusal: ``Unable to assume role``, since STS is who says no; the rest is ours.
    """
    if len(tags.tags) > _MAX_TAGS:
        refusal = texts.UNABLE_TO_ASSUME.refusal({"arn": role_arn})
        raise access_denied(
            f"{refusal.message}. The certificate gives {len(tags.tags)} session tags; "
            f"{_MAX_TAGS} are allowed"
        )


def dropped_text(dropped: Mapping[str, Iterable[str]]) -> str:
    """AWS's sentence about attributes that became no tag, or "" if all did.

    The sentence is as seen from AWS; ``DNS/2`` in it we read as the name with its
    GeneralName tag, so ``URI/6`` and ``Name/4/CN`` are ours by analogy.
    """
    if not any(dropped.values()):
        return ""
    sections = (
        f"{section}: [ {', '.join(dropped.get(section, ()))} ]"
        for section in ("Issuer", "Subject", "SAN")
    )
    return "Some attributes failed to be mapped into session tags. " + "; ".join(sections)


def source_identity(certificate: x509.Certificate) -> str:
    """The session's source identity (user guide, "trust-model", source identity rules).

    ``CN=<cn>``; the bare common name if it has 62 to 64 characters;
    ``ID=<serial in hex>`` if there is none. Ours: of several common names the
    first, and ``ID=`` for a common name over 64 characters.
    """
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    if not name or len(name) > _MAX_SOURCE_IDENTITY:
        return f"ID={session_name(certificate)}"
    prefixed = f"CN={name}"
    return prefixed if len(prefixed) <= _MAX_SOURCE_IDENTITY else name


def session_name(certificate: x509.Certificate) -> str:
    """The default role session name: the serial number in hex.

    Lower case and an even number of digits are ours; AWS shows neither the case
    nor what becomes of a serial number with one digit, which STS would refuse.
    """
    digits = f"{certificate.serial_number:x}"
    return digits if len(digits) % 2 == 0 else "0" + digits


def subject_text(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 writes it, the key of a Subject record."""
    return certificate.subject.rfc4514_string()


def _attributes(certificate: x509.Certificate, certificate_field: str) -> dict[str, str]:
    if certificate_field == "x509Subject":
        return _name_attributes(certificate.subject)
    if certificate_field == "x509Issuer":
        return _name_attributes(certificate.issuer)
    return _san_attributes(certificate)


def _name_attributes(name: x509.Name) -> dict[str, str]:
    """Name (or dotted OID) to value; several of one type joined by "/" in certificate order."""
    values: dict[str, list[str]] = {}
    for attribute in name:
        oid = attribute.oid.dotted_string
        if isinstance(attribute.value, str):
            values.setdefault(NAMES.get(oid, oid), []).append(attribute.value)
    return {key: "/".join(found) for key, found in values.items()}


def _san_attributes(certificate: x509.Certificate) -> dict[str, str]:
    """DNS, URI and Name/…, of each kind the first name only."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return {}
    found: dict[str, str] = {}
    for name in reversed(list(extension.value)):
        if isinstance(name, x509.DNSName):
            found["DNS"] = name.value
        elif isinstance(name, x509.UniformResourceIdentifier):
            found["URI"] = name.value
    directory = extension.value.get_values_for_type(x509.DirectoryName)
    if directory:
        parts = _name_attributes(directory[0])
        found.update({f"Name/{key}": value for key, value in parts.items()})
    return found


def _selected(attributes: Mapping[str, str], specifier: str) -> list[str]:
    if specifier in ("Name", "Name/"):
        specifier = "Name/*"
    if not specifier.endswith("*"):
        return [specifier] if specifier in attributes else []
    # "*" stands for the recognisable names; a dotted OID must be asked for by itself.
    prefix = specifier[:-1]
    known = {prefix + name for name in NAMES.values()}
    return [attribute for attribute in attributes if attribute in known]


def _is_tag(key: str, value: str) -> bool:
    # STS: [\p{L}\p{Z}\p{N}_.:/=+\-@]*; Python's re has no \p.
    return (
        len(key) <= _MAX_KEY
        and len(value) <= _MAX_VALUE
        and all(unicodedata.category(c)[0] in "LZN" or c in "_.:/=+-@" for c in key + value)
    )


def _dropped_name(attribute: str) -> str:
    tagged = {"DNS": "DNS/2", "URI": "URI/6"}
    return tagged.get(attribute, attribute.replace("Name/", "Name/4/", 1))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
