# SPDX-License-Identifier: Apache-2.0
"""The PKCS #11 URI (RFC 7512), as leniently as p11-kit reads it.

p11-kit takes the PIN in the path too (as AWS's helper documents it), lets the last of two
equal attributes win, drops spaces and line ends, and ignores a semicolon at the end and
what it does not know behind the question mark. What it does not know before that matches
nothing (RFC 7512 section 2.3): here it is an error that says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from urllib.parse import quote_from_bytes, unquote_to_bytes

from rolesanywhere_auth.errors import ConfigurationError

_WHITESPACE = re.compile(r"[ \n\r\v]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LONGEST = {
    "token": 32,
    "manufacturer": 32,
    "serial": 16,
    "model": 16,
    "library-manufacturer": 32,
    "library-description": 32,
    "slot-manufacturer": 32,
    "slot-description": 64,
}
"""Bytes in the structures of PKCS #11: what is longer cannot be the name of anything."""
_PLAIN = (*_LONGEST, "object")
_TYPES = frozenset({"public", "private", "cert", "secret-key", "data"})
_PINS = {"pin-value": "pin_value", "pin-source": "pin_source", "pinfile": "pin_source"}
_MODULES = {"module-path": "module_path", "module-name": "module_name"}
# Without these, a "token" that needs no quoting by RFC 7512 section 2.3 is still readable.
_UNQUOTED = ":[]@!$'()*+,=&"


@dataclass(frozen=True)
class PKCS11URI:
    """What a URI says; None for what it does not say."""

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    library_manufacturer: str | None = None
    library_description: str | None = None
    library_version: tuple[int, int] | None = None
    slot_manufacturer: str | None = None
    slot_description: str | None = None
    slot_id: int | None = None
    object: str | None = None
    id: bytes | None = None
    type: str | None = None
    module_path: str | None = None
    module_name: str | None = None
    pin_value: str | None = None
    pin_source: str | None = None

    def __str__(self) -> str:
        """As a URI, without the PIN and where it comes from."""
        path = [_written(name.name, getattr(self, name.name)) for name in fields(self)[:13]]
        query = [_written(name, getattr(self, name)) for name in ("module_path", "module_name")]
        text = "pkcs11:" + ";".join(filter(None, path))
        asked = "&".join(filter(None, query))
        return f"{text}?{asked}" if asked else text

    __repr__ = __str__


def _written(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        text = "".join(f"%{byte:02X}" for byte in value)
    elif isinstance(value, tuple):
        text = ".".join(map(str, value))
    else:
        safe = _UNQUOTED if name != "module_path" else _UNQUOTED.replace("&", "") + "/"
        text = quote_from_bytes(str(value).encode("utf-8", "surrogateescape"), safe=safe)
    return f"{name.replace('_', '-')}={text}"


def parse_uri(text: str) -> PKCS11URI:
    """Understand a URI that begins with ``pkcs11:``.

    Raises:
        ConfigurationError: it is none, or has what no token or object can match. The message
            names the attribute, and not its value, which may be a PIN.
    """
    path, _, query = _WHITESPACE.sub("", text)[len("pkcs11:") :].partition("?")
    found: dict[str, object] = {}
    for name, value in _attributes(path, ";"):
        _add_path(found, name, value)
    for name, value in _attributes(query, "&"):
        if name in _PINS:
            found[_PINS[name]] = _text(name, value)
        elif name in _MODULES:
            found[_MODULES[name]] = _text(name, value)
    return PKCS11URI(**found)  # type: ignore[arg-type]


def _attributes(part: str, separator: str) -> list[tuple[str, str]]:
    found = []
    for item in filter(None, part.split(separator)):
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise _error("has an attribute without a name or without '='")
        found.append((name, value))
    return found


def _add_path(found: dict[str, object], name: str, value: str) -> None:
    if name in _PLAIN:
        text = _text(name, value)
        longest = _LONGEST.get(name)
        if longest is not None and len(_bytes(name, value)) > longest:
            raise _error(f"has a {name} of more than {longest} bytes, which none can have")
        # Padding: all blank is what PKCS #11 has for "none".
        found[name.replace("-", "_")] = text if name == "object" or text else None
    elif name == "id":
        found["id"] = _bytes(name, value)
    elif name in ("type", "object-type", "objecttype"):
        if value not in _TYPES:
            raise _error("has a type that is none of cert, private, public, secret-key and data")
        found["type"] = value
    elif name == "slot-id":
        if not re.fullmatch(r"[0-9]{1,19}", value):
            raise _error("has a slot-id that is no number")
        found["slot_id"] = int(value)
    elif name == "library-version":
        found["library_version"] = _version(value)
    elif name in _PINS:
        found[_PINS[name]] = _text(name, value)
    elif name in _MODULES:
        raise _error(f"has {name} before the '?': write ?{name}=… at the end")
    else:
        shown = name if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) else "one of an odd name"
        raise _error(
            f"has an attribute that is not known ({shown}), so that nothing can match it. Known "
            f"are {', '.join(_PLAIN)}, id, type, slot-id and library-version, and after a '?' "
            "module-path, module-name, pin-value and pin-source"
        )


def _version(value: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?", value)
    if match is None or max(int(match[1]), int(match[2] or 0)) > 255:
        raise _error("has a library-version that is no MAJOR.MINOR")
    return int(match[1]), int(match[2] or 0)


def _bytes(name: str, value: str) -> bytes:
    if _BAD_PERCENT.search(value):
        raise _error(f"has a '%' in {name} that two hexadecimal digits do not follow")
    return unquote_to_bytes(value.encode("utf-8", "surrogateescape"))


def _text(name: str, value: str) -> str:
    return _bytes(name, value).decode("utf-8", "surrogateescape")


def _error(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"A pkcs11: reference {what}. Write it as in RFC 7512: "
        "pkcs11:token=NAME;object=LABEL;type=private?module-path=/path/of/module.so (p11tool "
        "--list-all and p11-kit list-modules print such)."
    )
