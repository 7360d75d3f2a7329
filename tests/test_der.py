from __future__ import annotations

import contextlib
from datetime import datetime, timezone

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth._der import (
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    DERError,
    Reader,
    context,
)


def encode(tag: int, content: bytes) -> bytes:
    """One DER element; an independent writer for these tests."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def encode_integer(value: int) -> bytes:
    """A DER INTEGER of minimal length."""
    length = ((value + (value < 0)).bit_length() + 8) // 8
    return encode(INTEGER, value.to_bytes(length, "big", signed=True))


@given(st.integers())
def test_integers(value: int) -> None:
    """Every integer of any size and sign is read back."""
    reader = Reader(encode_integer(value))

    assert reader.integer() == value
    reader.finish()


@given(st.binary(max_size=300) | st.integers(120, 70_000).map(bytes))
def test_lengths(content: bytes) -> None:
    """Short and long forms of the length lead to the whole content."""
    element = encode(OCTET_STRING, content)
    reader = Reader(element + b"\x05\x00")

    assert Reader(element).raw() == element
    assert Reader(element).raw(OCTET_STRING) == element
    assert reader.read(OCTET_STRING) == content
    assert reader.raw() == b"\x05\x00"
    assert not reader


@given(st.integers(0, 2), st.lists(st.integers(0, 2**70), max_size=8), st.data())
def test_object_identifiers(first: int, rest: list[int], data: st.DataObject) -> None:
    """OBJECT IDENTIFIERs are written in dotted form as cryptography writes them."""
    second = data.draw(st.integers(0, 39 if first < 2 else 2**40))
    content = b""
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))

    assert Reader(encode(6, content)).oid() == ".".join(map(str, (first, second, *rest)))


def test_object_identifier_known() -> None:
    """A known identifier is read as the standard writes it."""
    name = x509.oid.SignatureAlgorithmOID.ECDSA_WITH_SHA256

    assert Reader(bytes.fromhex("06082a8648ce3d040302")).oid() == name.dotted_string


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (0x17, b"500101000000Z", datetime(1950, 1, 1, tzinfo=timezone.utc)),
        (0x17, b"491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
        (0x18, b"20500228120000Z", datetime(2050, 2, 28, 12, tzinfo=timezone.utc)),
        (0x18, b"99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    ],
)
def test_times(tag: int, text: bytes, expected: datetime) -> None:
    """UTCTime turns the century at 50 (RFC 5280 4.1.2.5.1), GeneralizedTime has it written."""
    assert Reader(encode(tag, text)).time() == expected


@pytest.mark.parametrize(
    "text",
    [b"", b"Z", b"250101000000", b"2501010000Z", b"250101000000+0000", b"250230000000Z",
     b"251301000000Z", b"250101250000Z", b"25010100000xZ", "25010100000\xb2Z".encode("latin-1"),
     b"-50101000000Z"],
)  # fmt: skip
def test_times_refused(text: bytes) -> None:
    """A time in another form, or one that does not exist, is an error."""
    with pytest.raises(DERError):
        Reader(encode(0x17, text)).time()


@pytest.mark.parametrize(
    "element",
    [
        b"",
        b"\x02",
        b"\x02\x01",
        b"\x02\x02\x01",
        b"\x02\x80\x01\x00\x00",
        b"\x02\x81",
        b"\x02\x81\x01\x01",
        b"\x02\x82\x00\x81" + bytes(0x81),
        b"\x02\x85\x00\x00\x00\x00\x01\x01",
        b"\x02\xff" + bytes(200),
        b"\x1f\x81\x01\x00",
        b"\x02\x00",
        b"\x02\x02\x00\x01",
        b"\x02\x02\xff\xff",
        b"\x04\x01\x01",
    ],
)
def test_integers_refused(element: bytes) -> None:
    """Cut, indefinite, over-long and non-minimal elements are errors, as is another tag."""
    with pytest.raises(DERError):
        Reader(element).integer()


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x00\x00"])
def test_booleans_refused(content: bytes) -> None:
    """DER knows one way to write TRUE and one to write FALSE."""
    with pytest.raises(DERError):
        Reader(encode(BOOLEAN, content)).boolean()


@pytest.mark.parametrize("content", [b"", b"\x80\x01", b"\x2a\x80\x01", b"\x2a\x86"])
def test_object_identifiers_refused(content: bytes) -> None:
    """Empty, padded and unfinished identifiers are errors."""
    with pytest.raises(DERError):
        Reader(encode(6, content)).oid()


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x08\x00", b"\x07\x81"])
def test_bit_strings_refused(content: bytes) -> None:
    """The number of unused bits must be possible, and those bits zero."""
    with pytest.raises(DERError):
        Reader(encode(3, content)).bit_string()


def test_walk() -> None:
    """A reader enters, skips, peeks and sees to it that nothing is left."""
    inner = encode(context(1, constructed=False), b"x") + encode(BOOLEAN, b"\xff")
    outer = Reader(encode(SEQUENCE, inner) + encode(3, b"\x01\x80"))
    reader = outer.enter()

    assert not reader.skip(context(0))
    assert reader.skip(0x81)
    with pytest.raises(DERError, match="goes on"):
        reader.finish()
    assert reader.boolean()
    assert reader.peek() is None
    assert not reader.skip(BOOLEAN)
    with pytest.raises(DERError, match="instead of 0x04"):
        outer.raw(OCTET_STRING)
    assert outer.bit_string() == (b"\x80", 1)
    outer.finish()


def test_element_does_not_leave_its_parent() -> None:
    """An element that claims more bytes than its parent has is an error."""
    reader = Reader(encode(SEQUENCE, b"\x04\x05abc") + b"defgh").enter()

    with pytest.raises(DERError, match="cut short"):
        reader.read(OCTET_STRING)


@given(st.binary(max_size=60))
def test_rubbish(data: bytes) -> None:
    """Any bytes lead to a value or to DERError, and to nothing else."""
    for read in (Reader.integer, Reader.boolean, Reader.oid, Reader.bit_string, Reader.time):
        reader = Reader(data)
        with contextlib.suppress(DERError):
            while reader:
                read(reader)
