# SPDX-License-Identifier: Apache-2.0
"""A small, strict reader of DER (X.690): just what certificates and PKCS#8 need.

It exists because importing ``cryptography.x509`` costs about 20 ms, which every
start of a process would pay. What it reads is never trusted: it finds names,
dates and key ids for choosing, ordering and explaining, while the service alone
verifies. Only definite, minimal lengths and single-byte tags are accepted.
"""

from __future__ import annotations

from datetime import datetime, timezone

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31


class DERError(ValueError):
    """The bytes are not the DER that was expected. The text holds positions, never content."""


def context(number: int, *, constructed: bool = True) -> int:
    """The tag byte of a context-specific field, such as ``[0]``."""
    return (0xA0 if constructed else 0x80) | number


def encode(tag: int, content: bytes) -> bytes:
    """One element."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


class Reader:
    """Walks over the elements of one piece of DER.

    Args:
        data: The whole piece; nothing outside ``start`` and ``end`` is read.
        start: Index of the first byte.
        end: Index after the last byte; ``None`` for the length of the data.
    """

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._position = start
        self._end = len(data) if end is None else end

    def __bool__(self) -> bool:
        """Whether anything is left to read."""
        return self._position < self._end

    def peek(self) -> int | None:
        """The tag of the next element, or ``None`` at the end."""
        return self._data[self._position] if self else None

    def _header(self) -> tuple[int, int, int]:
        """Tag, first content byte, byte after the content, of the next element."""
        data, position, end = self._data, self._position, self._end
        if position + 2 > end:
            raise DERError(f"DER ends at byte {position} where an element should begin")
        tag, length = data[position], data[position + 1]
        if tag & 0x1F == 0x1F:
            raise DERError(f"DER has a multi-byte tag at byte {position}")
        start = position + 2
        if length & 0x80:
            count = length & 0x7F
            start += count
            if start > end or not 1 <= count <= 4:
                raise DERError(f"DER has an unusable length at byte {position}")
            length = int.from_bytes(data[position + 2 : start], "big")
            if length < 0x80 or length >> (8 * (count - 1)) == 0:
                raise DERError(f"DER has a length that is not minimal at byte {position}")
        if start + length > end:
            raise DERError(f"DER is cut short: the element at byte {position} is incomplete")
        return tag, start, start + length

    def _expect(self, tag: int) -> tuple[int, int]:
        found, start, stop = self._header()
        if found != tag:
            raise DERError(
                f"DER has tag 0x{found:02x} at byte {self._position} instead of 0x{tag:02x}"
            )
        self._position = stop
        return start, stop

    def read(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag."""
        start, stop = self._expect(tag)
        return self._data[start:stop]

    def enter(self, tag: int = SEQUENCE) -> Reader:
        """A reader of the content of the next element, which must have this tag."""
        start, stop = self._expect(tag)
        return Reader(self._data, start, stop)

    def raw(self, tag: int | None = None) -> bytes:
        """The next element whole, tag and length included; of this tag, if one is named."""
        begin = self._position
        found, _, stop = self._header()
        if tag is not None and found != tag:
            raise DERError(f"DER has tag 0x{found:02x} at byte {begin} instead of 0x{tag:02x}")
        self._position = stop
        return self._data[begin:stop]

    def skip(self, tag: int) -> bool:
        """Pass over the next element if it has this tag; says whether it did."""
        if self.peek() != tag:
            return False
        self._expect(tag)
        return True

    def finish(self) -> None:
        """Raise ``DERError`` if anything is left."""
        if self:
            raise DERError(f"DER goes on at byte {self._position} where it should end")

    def integer(self) -> int:
        """An INTEGER, signed."""
        content = self.read(INTEGER)
        if not content or (
            len(content) > 1
            and (
                (content[0] == 0 and content[1] < 0x80)
                or (content[0] == 0xFF and content[1] >= 0x80)
            )
        ):
            raise DERError("DER has an INTEGER that is not minimal")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self) -> bool:
        """A BOOLEAN."""
        content = self.read(BOOLEAN)
        if content not in (b"\x00", b"\xff"):
            raise DERError("DER has a BOOLEAN that is neither 00 nor FF")
        return content == b"\xff"

    def oid(self) -> str:
        """An OBJECT IDENTIFIER in dotted form."""
        content = self.read(OID)
        if not content or content[-1] & 0x80:
            raise DERError("DER has an unfinished OBJECT IDENTIFIER")
        arcs: list[int] = []
        value = 0
        fresh = True
        for byte in content:
            if fresh and byte == 0x80:
                raise DERError("DER has an OBJECT IDENTIFIER that is not minimal")
            value = value << 7 | byte & 0x7F
            fresh = not byte & 0x80
            if fresh:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def bit_string(self) -> tuple[bytes, int]:
        """A BIT STRING: its bytes and the number of unused bits in the last."""
        content = self.read(BIT_STRING)
        if not content or content[0] > 7 or (content[0] and len(content) == 1):
            raise DERError("DER has an impossible BIT STRING")
        unused = content[0]
        if unused and content[-1] & ((1 << unused) - 1):
            raise DERError("DER has a BIT STRING with bits set behind its end")
        return content[1:], unused

    def time(self) -> datetime:
        """A UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 has them; aware, in UTC."""
        generalized = self.peek() == GENERALIZED_TIME
        content = self.read(GENERALIZED_TIME if generalized else UTC_TIME)
        digits, zone = content[:-1], content[-1:]
        if len(digits) != (14 if generalized else 12) or zone != b"Z" or not digits.isdigit():
            raise DERError("DER has a time that is not of the form RFC 5280 prescribes")
        text = digits.decode("ascii")
        if not generalized:
            text = ("19" if int(text[:2]) >= 50 else "20") + text
        try:
            parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
            return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[misc, arg-type]
        except ValueError:
            raise DERError("DER has a time that does not exist") from None
