# SPDX-License-Identifier: Apache-2.0
"""Which certificate of an operating system's store is meant: the language of ``store:``.

``store:[PLACE][?KEY=VALUE[&KEY=VALUE…]]``. A certificate must fit all that is said:

========================  =====================================================================
``subject``, ``issuer``   the whole name, whatever the order of its attributes
``subject-includes``,     some attributes of it
``issuer-includes``
``serial``                the serial number, hexadecimal
``san``                   a subject alternative name; ``DNS:``, ``URI:``, ``email:``, ``IP:`` or
                          ``UPN:`` before it says of which kind
``thumbprint``            SHA-1 or SHA-256 of the certificate, hexadecimal
``newest``                ``true``: of several, the one that expires last
========================  =====================================================================

Values are percent-encoded where they hold ``&``, ``%`` or ``#`` (RFC 3986). ``+`` is itself: it
belongs to names. The language is ours, but for the three keys of AWS's ``aws_signing_helper``,
which `parse_cert_selector` reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from rolesanywhere_auth._der import Reader
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys._names import DistinguishedName, fold, parse_name

if TYPE_CHECKING:
    from cryptography import x509

SCHEME = "store"

_SAN_KINDS = {"dns": "DNS", "uri": "URI", "email": "email", "ip": "IP", "upn": "UPN"}
_UPN = "1.3.6.1.4.1.311.20.2.3"
_UTF8_STRING = 0x0C
_THUMBPRINTS = {40: "sha1", 64: "sha256"}
# Windows' certificate dialog puts an invisible mark before the thumbprint that is copied from it.
_IGNORED_IN_HEX = re.compile("[\\s:\u200e\u200f]|^0[xX]")
_INLINE = re.compile(r"\s*Key=(?P<key>.+?),Value=(?P<value>.+?)\s*(?=Key=|$)")
_HELPER_KEYS = {"x509Subject": "subject", "x509Issuer": "issuer", "x509Serial": "serial"}


class AlternativeName(NamedTuple):
    """A ``san`` as it was asked for; without a kind, any will do."""

    kind: str | None
    value: str


@dataclass(frozen=True, kw_only=True)
class Selector:
    """What a certificate must fit; see this module's text. Nothing asked for fits all."""

    subject: DistinguishedName | None = None
    issuer: DistinguishedName | None = None
    subject_includes: DistinguishedName | None = None
    issuer_includes: DistinguishedName | None = None
    serial: int | None = None
    san: AlternativeName | None = None
    thumbprint: bytes | None = None
    newest: bool = False

    def fits(self, certificate: Certificate) -> bool:
        """Whether the certificate is such a one. One that cannot be read fits no name."""
        if self.serial is not None and certificate.serial_number != self.serial:
            return False
        if self.thumbprint is not None:
            algorithm = _THUMBPRINTS[2 * len(self.thumbprint)]
            digest = hashlib.new(algorithm, certificate.der, usedforsecurity=False).digest()
            if digest != self.thumbprint:
                return False
        names = (self.subject, self.issuer, self.subject_includes, self.issuer_includes, self.san)
        return all(name is None for name in names) or self._fits_names(certificate)

    def _fits_names(self, certificate: Certificate) -> bool:
        with local_work():
            from cryptography import x509

            from rolesanywhere_auth._x509 import UNREADABLE

            try:
                parsed = x509.load_der_x509_certificate(certificate.der)
                subject, issuer = parsed.subject, parsed.issuer
                alternatives = _alternative_names(parsed) if self.san else set()
            except UNREADABLE:
                return False
        return (
            (self.subject is None or self.subject.equals(subject))
            and (self.issuer is None or self.issuer.equals(issuer))
            and (self.subject_includes is None or self.subject_includes.is_within(subject))
            and (self.issuer_includes is None or self.issuer_includes.is_within(issuer))
            and (self.san is None or _has_alternative(self.san, alternatives))
        )


class Reference(NamedTuple):
    """A ``store:`` reference, understood."""

    text: str
    place: str
    """What stands between ``store:`` and ``?``; what it means is the operating system's."""
    selector: Selector


def parse_reference(reference: str) -> Reference:
    """Understand a reference to a store.

    Raises:
        ConfigurationError: it makes no sense.
    """
    body = reference.partition(":")[2]
    place, _, query = body.partition("?")
    criteria: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        key, equals, value = piece.partition("=")
        key = key.lower()
        if not equals or not value:
            raise ConfigurationError(f"{reference}: {piece!r} is not of the form KEY=VALUE.")
        if key in criteria:
            raise ConfigurationError(f"{reference}: {key} is there twice. Leave one.")
        criteria[key] = _percent_decoded(value, reference)
    return Reference(reference, unquote(place), selector(criteria))


def _percent_decoded(value: str, reference: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ConfigurationError(
            f"{reference}: a % that begins no percent-encoding. Write it as %25."
        )
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{reference}: what is percent-encoded must be UTF-8 in the end."
        ) from None


def selector(criteria: Mapping[str, str]) -> Selector:
    """Make a selector of keys and values.

    Args:
        criteria: As in a reference, but without percent-encoding.

    Raises:
        ConfigurationError: a key is not known, or its value makes no sense.
    """
    values: dict[str, object] = {}
    for key, text in criteria.items():
        reader = _READERS.get(key)
        if reader is None:
            raise ConfigurationError(
                f"{key!r} selects no certificate. There are: {', '.join(_READERS)}."
            )
        values[key.replace("-", "_")] = reader(text, key)
    return Selector(**values)  # type: ignore[arg-type]


def _read_name(text: str, key: str) -> DistinguishedName:
    return parse_name(text, parameter=key)


def _read_serial(text: str, key: str) -> int:
    digits = _IGNORED_IN_HEX.sub("", text)
    if not re.fullmatch(r"-?[0-9A-Fa-f]+", digits):
        raise ConfigurationError(
            f"{key}={text}: no hexadecimal number, which openssl x509 -noout -serial prints."
        )
    return int(digits, 16)


def _read_thumbprint(text: str, key: str) -> bytes:
    digits = _IGNORED_IN_HEX.sub("", text)
    if len(digits) not in _THUMBPRINTS or not re.fullmatch(r"[0-9A-Fa-f]+", digits):
        raise ConfigurationError(
            f"{key}={text}: must be 40 hexadecimal digits (SHA-1) or 64 (SHA-256), which "
            "openssl x509 -noout -fingerprint prints."
        )
    return bytes.fromhex(digits)


def _read_san(text: str, key: str) -> AlternativeName:
    kind, _, value = text.partition(":")
    known = _SAN_KINDS.get(kind.lower())
    if known is None:
        return AlternativeName(None, text)
    if not value:
        raise ConfigurationError(f"{key}={text}: the name is missing behind {kind}:.")
    return AlternativeName(known, value)


def _read_newest(text: str, key: str) -> bool:
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise ConfigurationError(f"{key}={text}: must be true or false.")
    return known[text.lower()]


_READERS: dict[str, Callable[[str, str], object]] = {
    "subject": _read_name,
    "issuer": _read_name,
    "subject-includes": _read_name,
    "issuer-includes": _read_name,
    "serial": _read_serial,
    "san": _read_san,
    "thumbprint": _read_thumbprint,
    "newest": _read_newest,
}


def parse_cert_selector(text: str) -> dict[str, str]:
    """Read ``--cert-selector`` of ``aws_signing_helper``.

    ``Key=x509Subject,Value=CN=app Key=x509Serial,Value=1F`` (a value goes on to the next ``Key=``),
    or ``file://`` and the path of a JSON file: ``[{"Key": "x509Subject", "Value": "CN=app"}]``.
    Such JSON itself is understood too, which the helper's help promises and its code refuses.

    Returns:
        Criteria for `selector` and `reference_of`.

    Raises:
        ConfigurationError: it is not such a text, or the file cannot be read.
    """
    if text.startswith("file://"):
        pairs = _selector_file(text[7:])
    elif text.lstrip().startswith("["):
        pairs = _selector_json(text, "it")
    else:
        pairs = _selector_text(text)
    criteria: dict[str, str] = {}
    for key, value in pairs:
        name = _HELPER_KEYS.get(key)
        if name is None:
            raise ConfigurationError(
                f"cert selector: {key!r} is not among {', '.join(_HELPER_KEYS)}."
            )
        if name in criteria:
            raise ConfigurationError(f"cert selector: {key} is there twice. Leave one.")
        criteria[name] = value
    return criteria


def _selector_text(text: str) -> Iterable[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    position = 0
    while match := _INLINE.match(text, position):
        pairs.append((match["key"], match["value"]))
        position = match.end()
    if not pairs or text[position:].strip():
        raise ConfigurationError(
            f"cert selector {text!r}: write Key=x509Subject,Value=CN=app, further ones behind it "
            "after a space; or file:// and the path of a JSON file."
        )
    return pairs


def _selector_file(path: str) -> Iterable[tuple[str, str]]:
    try:
        content = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unusable_selector(path, error) from error
    return _selector_json(content, path)


def _selector_json(text: str, source: str) -> Iterable[tuple[str, str]]:
    try:
        return [(str(each["Key"]), str(each["Value"])) for each in json.loads(text)]
    except (ValueError, TypeError, KeyError) as error:
        raise _unusable_selector(source, error) from error


def _unusable_selector(source: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"cert selector: {source} cannot be used ({type(error).__name__}: {error}). It must hold "
        '[{"Key": "x509Subject", "Value": "CN=app"}].'
    )


def reference_of(criteria: Mapping[str, str], *, place: str = "") -> str:
    """The ``store:`` reference that asks for these criteria."""
    query = "&".join(f"{key}={quote(value, safe='=,+:/ ')}" for key, value in criteria.items())
    return f"{SCHEME}:{place}{'?' + query if query else ''}"


def _alternative_names(certificate: x509.Certificate) -> set[AlternativeName]:
    from cryptography import x509

    names: set[AlternativeName] = set()
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return names
    kinds = {x509.DNSName: "DNS", x509.UniformResourceIdentifier: "URI", x509.RFC822Name: "email"}
    for each in found.value:
        if type(each) in kinds:
            names.add(AlternativeName(kinds[type(each)], fold(str(each.value))))
        elif isinstance(each, x509.IPAddress):
            names.add(AlternativeName("IP", fold(str(each.value))))
        elif isinstance(each, x509.OtherName) and each.type_id.dotted_string == _UPN:
            names.add(AlternativeName("UPN", fold(_utf8_string(each.value))))
    return names


def _utf8_string(der: bytes) -> str:
    try:
        return Reader(der).read(_UTF8_STRING).decode("utf-8")
    except ValueError:
        return ""


def _has_alternative(wanted: AlternativeName, names: set[AlternativeName]) -> bool:
    value = fold(wanted.value)
    return any(name.value == value and wanted.kind in (None, name.kind) for name in names)


def choose(
    certificates: Sequence[Certificate],
    selector: Selector,
    *,
    source: str,
    error: type[CertificateLoadError | PrivateKeyLoadError],
) -> Certificate:
    """The certificate that is meant.

    CA certificates are left out, unless nothing else fits: they cannot sign in.

    Args:
        certificates: Those with a private key.
        selector: What to look for.
        source: How messages name the store.
        error: What to raise.

    Raises:
        CertificateLoadError, PrivateKeyLoadError: there is none; or there are several, and
            ``newest`` was not asked for.
    """
    fitting = [each for each in certificates if selector.fits(each)]
    candidates = [each for each in fitting if not each.is_ca] or fitting
    if len(candidates) == 1 or (candidates and selector.newest):
        return max(candidates, key=lambda each: (each.not_valid_after, each.not_valid_before))
    if not candidates:
        raise error(_none(certificates, source), source=source)
    raise error(
        f"{source}: {len(candidates)} certificates fit:{listed(candidates)}\n"
        "Say which by thumbprint=, serial=, subject=, issuer= or san=; or newest=true for the one "
        "that expires last.",
        source=source,
    )


def _none(certificates: Sequence[Certificate], source: str) -> str:
    if not certificates:
        return (
            f"{source}: there is no certificate with a private key. Put both there, or see whether "
            "it is another store of another account."
        )
    return f"{source}: no certificate fits. With a private key there are:{listed(certificates)}"


_MOST_LISTED = 20


def listed(certificates: Sequence[Certificate]) -> str:
    """A line for each of them, but for those above twenty."""
    lines = [
        f"\n  {each.subject_text}, issued by {each.issuer_text}, serial={each.serial_number:x}, "
        f"thumbprint={hashlib.sha1(each.der, usedforsecurity=False).hexdigest()}, valid until "
        f"{each.not_valid_after:%Y-%m-%dT%H:%M:%SZ}"
        for each in certificates[:_MOST_LISTED]
    ]
    rest = len(certificates) - len(lines)
    return "".join(lines) + (f"\n  and {rest} more" if rest else "")
