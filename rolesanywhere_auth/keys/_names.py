# SPDX-License-Identifier: Apache-2.0
"""Distinguished names: read from text as people have it at hand, and compared.

The text may be what RFC 4514 prescribes, what ``openssl x509 -subject`` prints
(``C = US, O = Acme, CN = app``), what Windows shows (``CN=app, O="Acme, Inc.", S=Utah``),
or what Go's ``pkix.Name.String()`` writes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rolesanywhere_auth._der import DERError, Reader
from rolesanywhere_auth.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.x509 import Name

_TYPES = {
    "cn": "2.5.4.3",
    "commonname": "2.5.4.3",
    "sn": "2.5.4.4",
    "surname": "2.5.4.4",
    "serialnumber": "2.5.4.5",
    "c": "2.5.4.6",
    "countryname": "2.5.4.6",
    "l": "2.5.4.7",
    "localityname": "2.5.4.7",
    "st": "2.5.4.8",
    "s": "2.5.4.8",
    "stateorprovincename": "2.5.4.8",
    "street": "2.5.4.9",
    "streetaddress": "2.5.4.9",
    "o": "2.5.4.10",
    "organizationname": "2.5.4.10",
    "ou": "2.5.4.11",
    "organizationalunitname": "2.5.4.11",
    "t": "2.5.4.12",
    "title": "2.5.4.12",
    "postalcode": "2.5.4.17",
    "g": "2.5.4.42",
    "gn": "2.5.4.42",
    "givenname": "2.5.4.42",
    "i": "2.5.4.43",
    "initials": "2.5.4.43",
    "generationqualifier": "2.5.4.44",
    "dnqualifier": "2.5.4.46",
    "pseudonym": "2.5.4.65",
    "organizationidentifier": "2.5.4.97",
    "uid": "0.9.2342.19200300.100.1.1",
    "userid": "0.9.2342.19200300.100.1.1",
    "dc": "0.9.2342.19200300.100.1.25",
    "domaincomponent": "0.9.2342.19200300.100.1.25",
    "e": "1.2.840.113549.1.9.1",
    "email": "1.2.840.113549.1.9.1",
    "emailaddress": "1.2.840.113549.1.9.1",
}
"""RFC 4514 section 3, RFC 4519, and what OpenSSL, Windows and Go write besides."""

_ATTRIBUTE = re.compile(r"\s*(?:OID\.)?([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)\s*=\s*", re.IGNORECASE)
_HEX = re.compile(r"#((?:[0-9A-Fa-f]{2})+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"(?:[^\\,+;]|\\.)*", re.DOTALL)
_ESCAPE = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)|\\(.)", re.DOTALL)
_STRINGS = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
"""Encodings by the tag of the string type (X.680 section 41)."""


class Attribute(NamedTuple):
    """One attribute, in a form that ``==`` compares as RFC 5280 section 7.1 does, nearly."""

    type: str
    """OID."""
    value: str


class DistinguishedName(NamedTuple):
    """A subject or issuer as a user wrote it."""

    text: str
    attributes: tuple[Attribute, ...]

    def equals(self, name: Name) -> bool:
        """Whether *name* has these attributes, in whatever order, and no others."""
        return Counter(self.attributes) == attributes_of(name)

    def is_within(self, name: Name) -> bool:
        """Whether *name* has all these attributes, and maybe others."""
        return Counter(self.attributes) <= attributes_of(name)


def attributes_of(name: Name) -> Counter[Attribute]:
    """The attributes of a certificate's name, comparable with those of a `DistinguishedName`."""
    return Counter(
        Attribute(
            each.oid.dotted_string,
            fold(each.value if isinstance(each.value, str) else "#" + each.value.hex()),
        )
        for each in name
    )


def fold(text: str) -> str:
    """Text whose case, spaces and Unicode form do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def parse_name(text: str, *, parameter: str) -> DistinguishedName:
    r"""Read a name such as ``CN=app,O=Acme``.

    Attributes end at ``,``, ``+`` or ``;``. Such characters within a value are escaped by a
    backslash, also as two hexadecimal digits of UTF-8, or the value is in double quotes.
    ``#`` and hexadecimal digits are the DER of a value. Types are known names or OIDs.

    Args:
        text: The name.
        parameter: How the error calls it.

    Raises:
        ConfigurationError: it is not such a text.
    """
    attributes: list[Attribute] = []
    position = 0
    while True:
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            raise _unreadable(text, parameter, "it is no name such as CN=app,O=Acme")
        value, position = _value(text, match.end(), parameter)
        attributes.append(Attribute(_type(text, match[1], parameter), fold(value)))
        if position == len(text):
            return DistinguishedName(text, tuple(attributes))
        position += 1


def _type(text: str, name: str, parameter: str) -> str:
    if name[0].isdigit():
        return name
    found = _TYPES.get(name.lower())
    if found is None:
        raise _unreadable(text, parameter, f"the attribute type {name!r} is not known: use its OID")
    return found


def _value(text: str, start: int, parameter: str) -> tuple[str, int]:
    """The value, and where it ends: at a separator, or at the end of the text."""
    if match := _QUOTED.match(text, start):
        value = _unescape(match[1], text, parameter)
    elif match := _HEX.match(text, start):
        value = _decode(bytes.fromhex(match[1]), text, parameter)
    else:
        match = _PLAIN.match(text, start)
        assert match is not None
        value = _unescape(match[0], text, parameter)
    end = match.end()
    while text[end : end + 1].isspace():
        end += 1
    if end < len(text) and text[end] not in ",+;":
        raise _unreadable(text, parameter, f"after its character {end} a comma should follow")
    return value, end


def _unescape(value: str, text: str, parameter: str) -> str:
    def plain(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[2]
        return bytes.fromhex(match[1].replace("\\", "")).decode("utf-8")

    try:
        return _ESCAPE.sub(plain, value)
    except UnicodeDecodeError:
        raise _unreadable(text, parameter, "its escaped bytes are not UTF-8") from None


def _decode(der: bytes, text: str, parameter: str) -> str:
    reader = Reader(der)
    try:
        tag = reader.peek()
        content = reader.read(tag or 0)
        reader.finish()
        return content.decode(_STRINGS[tag or 0])
    except (DERError, KeyError, UnicodeDecodeError):
        raise _unreadable(text, parameter, "a value after # is not the DER of a string") from None


def _unreadable(text: str, parameter: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{parameter}={text}: {why}. Write the name as RFC 4514 has it; openssl x509 -noout "
        "-subject -nameopt RFC2253 prints it."
    )
