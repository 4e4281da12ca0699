"""The Range field: which part of a representation a client asks for (RFC 9110, 14.1 and 14.2).

Bytes in, numbers out. One range is answered with 206 or 416. Several ranges in one request are answered
with the whole (14.2 lets a server ignore the field): no client needs `multipart/byteranges`, and a
handful of overlapping ranges would make one small request cost a file many times over. What is
malformed, or counted in another unit than bytes, is ignored likewise.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(rb'(\d*)[ \t]*-[ \t]*(\d*)')
#: Larger than any file; a position of more digits is as good as this one (and `int` refuses thousands).
_FAR = 10**300


class Span(NamedTuple):
    """`length` bytes (at least one) from `start` on."""

    start: int
    length: int


class UnsatisfiableRange(Exception):
    """The range begins behind the end of the representation: the answer is 416."""


def parse_range(value: bytes, size: int) -> Span | None:
    """The part of `size` bytes that a Range field asks for; None where the field is to be ignored.

    UnsatisfiableRange where no byte of it exists.
    """
    unit, equals, rest = value.partition(b'=')
    if not equals or unit.strip().lower() != b'bytes':
        return None
    ranges = [item.strip() for item in rest.split(b',')]
    ranges = [item for item in ranges if item]  # a list may have empty elements (RFC 9110, 5.6.1)
    if len(ranges) != 1 or (match := _RANGE.fullmatch(ranges[0])) is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(_number(last), size) if last else None
    start, stop = _number(first), _number(last) + 1 if last else size
    if stop <= start and last:
        return None  # 'bytes=5-2' is no range at all
    if start >= size:
        raise UnsatisfiableRange
    return Span(start, min(stop, size) - start)


def _suffix(length: int, size: int) -> Span | None:
    """The last `length` bytes."""
    if not length:
        raise UnsatisfiableRange
    if not size:
        return None  # satisfiable, but Content-Range cannot tell a part of nothing: send it all
    length = min(length, size)
    return Span(size - length, length)


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b'0')
    return _FAR if len(digits) > 300 else int(digits or b'0')
