"""The Range field (RFC 9110, 14.1.2 and 14.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.mounts.ranges import Span, UnsatisfiableRange, parse_range

sizes = st.integers(min_value=0, max_value=10**15)


@given(st.binary(max_size=40), sizes)
def test_no_bytes_break_the_parser_and_no_part_leaves_the_file(value: bytes, size: int) -> None:
    for field in (value, b'bytes=' + value):
        try:
            span = parse_range(field, size)
        except UnsatisfiableRange:
            continue
        if span is not None:
            assert span.start >= 0
            assert span.length > 0
            assert span.start + span.length <= size


@given(sizes, st.integers(min_value=0, max_value=10**30), st.integers(min_value=0, max_value=10**30))
def test_a_range_is_cut_at_the_end(size: int, first: int, last: int) -> None:
    field = b'bytes=%d-%d' % (first, last)
    if last < first:
        assert parse_range(field, size) is None
    elif first >= size:
        with pytest.raises(UnsatisfiableRange):
            parse_range(field, size)
    else:
        assert parse_range(field, size) == Span(first, min(last + 1, size) - first)


@given(st.integers(min_value=1, max_value=10**15), st.integers(min_value=1, max_value=10**30))
def test_a_suffix_is_the_end_of_the_file(size: int, length: int) -> None:
    span = parse_range(b'bytes=-%d' % length, size)
    assert span is not None
    assert span.start + span.length == size
    assert span.length == min(size, length)


def test_a_position_of_thousands_of_digits_is_no_error() -> None:
    assert parse_range(b'bytes=0-' + b'9' * 10_000, 10) == Span(0, 10)
    with pytest.raises(UnsatisfiableRange):
        parse_range(b'bytes=' + b'9' * 10_000 + b'-', 10)
    assert parse_range(b'bytes=' + b'0' * 10_000 + b'5-', 10) == Span(5, 5)


def test_empty_list_elements_don_t_make_several_ranges() -> None:
    """RFC 9110, 5.6.1."""
    assert parse_range(b'bytes=, 1-2 ,', 10) == Span(1, 2)


def test_a_suffix_of_an_empty_file_is_ignored() -> None:
    assert parse_range(b'bytes=-5', 0) is None
    with pytest.raises(UnsatisfiableRange):
        parse_range(b'bytes=0-', 0)
