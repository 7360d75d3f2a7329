"""The reader of PKCS #11 URIs, against libp11-kit's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.keys._rfc7512 import PKCS11URI, parse_uri

CLASSES = {"data": 0, "cert": 1, "public": 2, "private": 3, "secret-key": 4}


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_ulong),
        ("value", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    )


@lru_cache(maxsize=1)
def kit() -> ctypes.CDLL:
    """libp11-kit; scripts/test installs it."""
    library = ctypes.CDLL("libp11-kit.so.0")
    library.p11_kit_uri_new.restype = ctypes.c_void_p
    library.p11_kit_uri_parse.argtypes = [ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p]
    for name in ("pin_value", "pin_source", "module_path", "module_name"):
        function = getattr(library, f"p11_kit_uri_get_{name}")
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    for name in ("token_info", "slot_info", "module_info"):
        function = getattr(library, f"p11_kit_uri_get_{name}")
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    library.p11_kit_uri_get_slot_id.restype = ctypes.c_ulong
    library.p11_kit_uri_get_slot_id.argtypes = [ctypes.c_void_p]
    library.p11_kit_uri_get_attribute.restype = ctypes.POINTER(_Attribute)
    library.p11_kit_uri_get_attribute.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    library.p11_kit_uri_any_unrecognized.argtypes = [ctypes.c_void_p]
    library.p11_kit_uri_free.argtypes = [ctypes.c_void_p]
    return library


def by_kit(text: str) -> dict[str, Any] | None:
    """What libp11-kit makes of it, in our terms; None if that can match nothing."""
    library = kit()
    uri = library.p11_kit_uri_new()
    try:
        if library.p11_kit_uri_parse(text.encode(), 0xFFFF, uri):
            return None
        if library.p11_kit_uri_any_unrecognized(uri):
            return None
        return _fields(library, uri)
    finally:
        library.p11_kit_uri_free(uri)


def _fields(library: ctypes.CDLL, uri: Any) -> dict[str, Any]:
    def attribute(number: int) -> bytes | None:
        found = library.p11_kit_uri_get_attribute(uri, number)
        return ctypes.string_at(found[0].value, found[0].length) if found else None

    def cut(name: str, start: int, end: int) -> str | None:
        data = ctypes.string_at(getattr(library, f"p11_kit_uri_get_{name}")(uri), end)[start:]
        return data.rstrip(b" \0").decode("utf-8", "surrogateescape") or None

    def text(name: str) -> str | None:
        found: bytes | None = getattr(library, f"p11_kit_uri_get_{name}")(uri)
        return None if found is None else found.decode("utf-8", "surrogateescape")

    kind, label = attribute(0), attribute(3)
    slot = library.p11_kit_uri_get_slot_id(uri)
    module = ctypes.string_at(library.p11_kit_uri_get_module_info(uri), 88)
    return {
        "token": cut("token_info", 0, 32),
        "manufacturer": cut("token_info", 32, 64),
        "model": cut("token_info", 64, 80),
        "serial": cut("token_info", 80, 96),
        "slot_description": cut("slot_info", 0, 64),
        "slot_manufacturer": cut("slot_info", 64, 96),
        "slot_id": None if slot == ctypes.c_ulong(-1).value else slot,
        "library_manufacturer": cut("module_info", 2, 34),
        "library_description": cut("module_info", 48, 80),
        "library_version": None if module[80:82] == b"\xff\xff" else tuple(module[80:82]),
        "object": None if label is None else label.decode("utf-8", "surrogateescape"),
        "id": attribute(0x102),
        "type": kind and {v: k for k, v in CLASSES.items()}[int.from_bytes(kind, "little")],
        "pin_value": text("pin_value"),
        "pin_source": text("pin_source"),
        "module_path": text("module_path"),
        "module_name": text("module_name"),
    }


def by_us(text: str) -> dict[str, Any] | None:
    """The same by our reader."""
    try:
        return vars(parse_uri(text)).copy()
    except ConfigurationError:
        return None


SAME = """
pkcs11:
pkcs11:token=prod;object=app;type=private?pin-value=1234
pkcs11:id=%02;manufacturer=piv_II?pin-source=file:/etc/pin
pkcs11:token=a%20b;id=%70%32%35%36?module-path=/usr/lib/softhsm/libsofthsm2.so
PKCS11:token=x
pkcs11:token=x;token=y
pkcs11:token
pkcs11:=x
pkcs11:token=%zz
pkcs11:token=%z
pkcs11:object=RSA;pin-value=1234
pkcs11:x-foo=bar;token=t
pkcs11:TOKEN=a
pkcs11:tok%65n=a
pkcs11:module-path=/x
pkcs11:type=private;
pkcs11:type=banana
pkcs11:type=CERT
pkcs11:type=
pkcs11:type=%63ert
pkcs11:type=cert;type=private
pkcs11:object-type=private
pkcs11:objecttype=cert
pkcs11:type=secret-key
pkcs11:type=data
pkcs11:type=public
pkcs11:slot-id=abc
pkcs11:slot-id=1x
pkcs11:slot-id=-1
pkcs11:slot-id=0
pkcs11:slot-id=17
pkcs11:slot-id=%31
pkcs11:token=a+b
pkcs11:token=a b
pkcs11:token=a=b
pkcs11:token=a&object=b
pkcs11:token=a#b
pkcs11:token=caf%C3%A9
pkcs11:token=café
pkcs11:token=%ff
pkcs11:token=
pkcs11:id=
pkcs11:object=
pkcs11:id=abc
pkcs11:id=%ab%CD
pkcs11:id=%00%01
pkcs11:token=12345678901234567890123456789012
pkcs11:token=123456789012345678901234567890123
pkcs11:serial=12345678901234567
pkcs11:library-version=1.2
pkcs11:library-version=a
pkcs11:library-version=1.
pkcs11:library-version=256.1
pkcs11:library-version=1.2.3
pkcs11:library-manufacturer=m;library-description=d
pkcs11:slot-description=d;slot-manufacturer=m
pkcs11:model=m;serial=s
pkcs11:pinfile=/x
pkcs11:?pinfile=/x
pkcs11:?pin-value=
pkcs11:?pin-value=a&pin-value=b
pkcs11:?pin-value=a;b
pkcs11:?pin-value=%zz
pkcs11:?pin-value
pkcs11:?=1
pkcs11:token=a;?pin-value=1&pin-source=b
pkcs11:token=a?object=b
pkcs11:token=a?
pkcs11:?module-name=softhsm2
pkcs11:?x-vendor=1&foo=2
""".strip().splitlines()


@pytest.mark.parametrize("text", SAME)
def test_as_p11_kit(text: str) -> None:
    """Each URI says to us what it says to p11-kit, and is of no use to both or to none."""
    assert by_us(text) == by_kit(text)


def _quoted(strategy: st.SearchStrategy[bytes], *, longest: int) -> st.SearchStrategy[str]:
    return strategy.filter(lambda data: len(data) <= longest).map(quote_from_bytes)


_NAME = st.binary(min_size=1, max_size=36).filter(lambda data: data.rstrip(b" \0") == data)
_VALUES: dict[str, st.SearchStrategy[str]] = {
    "token": _quoted(_NAME, longest=36),
    "manufacturer": _quoted(_NAME, longest=36),
    "serial": _quoted(_NAME, longest=18),
    "model": _quoted(_NAME, longest=16),
    "slot-manufacturer": _quoted(_NAME, longest=32),
    "slot-description": _quoted(_NAME, longest=36),
    "library-manufacturer": _quoted(_NAME, longest=32),
    "library-description": _quoted(_NAME, longest=32),
    "object": _quoted(st.binary(max_size=40), longest=40),
    "id": _quoted(st.binary(max_size=20), longest=20),
    "type": st.sampled_from([*CLASSES, "banana"]),
    "slot-id": st.integers(0, 2**40).map(str),
    "library-version": st.tuples(st.integers(0, 299), st.integers(0, 254)).map(
        lambda pair: f"{pair[0]}.{pair[1]}"
    ),
    "pin-value": _quoted(st.binary(max_size=12).filter(lambda data: 0 not in data), longest=12),
    "unheard-of": st.just("1"),
}
_PAIRS = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda name: _VALUES[name].map(lambda value: f"{name}={value}")
)


@given(st.lists(_PAIRS, max_size=6), st.sampled_from(["", ";", "?pin-source=/x&module-name=m"]))
def test_any_uri_as_p11_kit(pairs: list[str], end: str) -> None:
    """The same for all that attributes may hold."""
    text = "pkcs11:" + ";".join(pairs) + (end if pairs or end != ";" else "")

    assert by_us(text) == by_kit(text)


@given(st.lists(_PAIRS, max_size=6))
def test_written_and_read_again(pairs: list[str]) -> None:
    """What is shown of a URI says the same, but for the PIN."""
    text = "pkcs11:" + ";".join(pairs)
    if by_us(text) is None:
        return
    uri = parse_uri(text)

    assert "pin" not in str(uri).partition("?")[2]
    assert vars(parse_uri(str(uri))) == {**vars(uri), "pin_value": None, "pin_source": None}


def test_shown() -> None:
    """It is shown as a URI, and without PIN and pin-source also as a repr."""
    uri = parse_uri(
        "pkcs11:object=a b%3B;pin-value=739182;id=%01a?pin-source=/s&module-path=/x y&module-name=n"
    )

    assert str(uri) == "pkcs11:object=ab%3B;id=%01%61?module-path=/xy&module-name=n" == repr(uri)
    assert parse_uri("pkcs11:library-version=1.2;slot-id=3") == PKCS11URI(
        library_version=(1, 2), slot_id=3
    )


def test_more_lenient_than_p11_kit() -> None:
    """Empty attributes anywhere, and a library's version without its second part, are fine."""
    assert parse_uri("pkcs11:;;token=a;;?&pin-value=1&") == PKCS11URI(token="a", pin_value="1")
    assert parse_uri("pkcs11:library-version=3").library_version == (3, 0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pkcs11:secret739182", "without '='"),
        ("pkcs11:pin-value=%739182%", "pin-value"),
        ("pkcs11:pin=739182", "(pin)"),
        ("pkcs11:739182 is secret!=1", "odd name"),
        ("pkcs11:slot-id=s739182", "slot-id"),
        ("pkcs11:module-path=/739182", "module-path before the '?'"),
        ("pkcs11:type=739182", "type"),
        ("pkcs11:library-version=739182", "library-version"),
        ("pkcs11:slot-id=", "slot-id"),
    ],
)
def test_errors_name_the_attribute_alone(text: str, named: str) -> None:
    """What is wrong is said without any value, which may be a PIN."""
    with pytest.raises(ConfigurationError) as caught:
        parse_uri(text)

    assert named in str(caught.value)
    assert "739182" not in str(caught.value)


def test_the_oracle_is_one() -> None:
    """libp11-kit does tell URIs apart."""
    parsers: list[Callable[[str], Any]] = [by_kit, by_us]
    for parse in parsers:
        assert parse("pkcs11:token=a")["token"] == "a"
        assert parse("pkcs11:token=b") != parse("pkcs11:token=a")
