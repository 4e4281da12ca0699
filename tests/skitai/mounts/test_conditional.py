"""Dates, entity tags and preconditions (SPEC RS-08 to RS-10; RFC 9110, 5.6.7, 8.8, 13)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.mounts.conditional import freshness, http_date, is_listed, outcome, parse_date, range_applies

ETAG = b'"a,b"'
NOW = 784111777  # RFC 9110's example

opaque = st.binary(max_size=12).map(
    lambda value: bytes(b for b in value if b == 0x21 or 0x23 <= b <= 0x7E or b >= 0x80)
)


def run(method: str = 'GET', etag: bytes | None = ETAG, modified: int | None = NOW, **fields: bytes) -> int:
    named = {name.replace('_', '-').encode(): value for name, value in fields.items()}
    return outcome(method, named.get, etag, modified)


@pytest.mark.parametrize(
    'text', [b'Sun, 06 Nov 1994 08:49:37 GMT', b'Sunday, 06-Nov-94 08:49:37 GMT', b'Sun Nov  6 08:49:37 1994']
)
def test_all_three_date_formats_are_read(text: bytes) -> None:
    assert parse_date(text) == NOW


@given(st.integers(min_value=0, max_value=250_000_000_000))
def test_a_written_date_reads_as_the_same_second(seconds: int) -> None:
    assert parse_date(http_date(seconds)) == seconds


@given(st.binary(max_size=40) | st.text('0123456789 :,-+SunNovGMT', max_size=40).map(str.encode))
def test_no_bytes_break_the_reading_of_dates(value: bytes) -> None:
    assert parse_date(value) is None or isinstance(parse_date(value), int)
    assert run(if_modified_since=value) in (200, 304)
    assert run(if_unmodified_since=value) in (200, 412)


@given(st.lists(opaque, max_size=4), opaque, st.booleans(), st.booleans())
def test_a_tag_is_found_in_a_list_with_commas_in_it(
    tags: list[bytes], wanted: bytes, weak: bool, strong: bool
) -> None:
    listed = b', '.join([b'"%s"' % tag for tag in tags] + [(b'W/"%s"' if weak else b'"%s"') % wanted])
    assert is_listed(b'"%s"' % wanted, listed, strong=strong) is (not (strong and weak) or wanted in tags)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reading_of_tags(value: bytes) -> None:
    assert run(if_none_match=value) in (200, 304)
    assert run(if_match=value) in (200, 412)


def test_a_tag_is_not_matched_by_a_part_of_another() -> None:
    assert not is_listed(b'"a"', b'"ba", "ab"', strong=False)
    assert not is_listed(b'"a"', b'a', strong=False)


@pytest.mark.parametrize(
    ('method', 'fields', 'status'),
    [
        ('GET', {}, 200),
        ('GET', {'if_none_match': b'W/"a,b"'}, 304),
        ('HEAD', {'if_none_match': b'*'}, 304),
        ('PUT', {'if_none_match': b'*'}, 412),
        ('PUT', {'if_modified_since': http_date(NOW)}, 200),
        ('PUT', {'if_match': b'"a,b"'}, 200),
        ('PUT', {'if_match': b'"a"'}, 412),
        ('PUT', {'if_unmodified_since': http_date(NOW - 1)}, 412),
        ('GET', {'if_modified_since': http_date(NOW + 1)}, 304),
        ('GET', {'if_modified_since': http_date(NOW - 1)}, 200),
        ('GET', {'if_modified_since': b'yesterday'}, 200),
        ('GET', {'if_match': b'"a,b"', 'if_none_match': b'"a,b"'}, 304),
        ('GET', {'if_match': b'"x"', 'if_none_match': b'"a,b"'}, 412),
        ('GET', {'if_none_match': b'"x"', 'if_modified_since': http_date(NOW)}, 200),
    ],
)
def test_preconditions_in_their_order(method: str, fields: dict[str, bytes], status: int) -> None:
    """RFC 9110, 13.2.2."""
    assert run(method, **fields) == status


def test_unknown_validators_match_nothing_but_a_star() -> None:
    assert run(etag=None, if_none_match=b'"a"') == 200
    assert run(etag=None, if_match=b'"a"') == 412
    assert run(etag=None, if_match=b'*') == 200
    assert run(modified=None, if_modified_since=http_date(NOW)) == 200


def test_a_weak_tag_never_allows_a_part() -> None:
    """RFC 9110, 13.1.5."""
    assert not range_applies({b'if-range': b'W/"a"'}.get, b'W/"a"', None)
    assert range_applies({b'if-range': b'"a"'}.get, b'"a"', None)
    assert range_applies({}.get, None, None)


def test_freshness_by_version() -> None:
    """SPEC RS-10."""
    assert freshness(60, '1.1') == [(b'cache-control', b'max-age=60')]
    assert freshness(60, '2.0') == [(b'cache-control', b'max-age=60')]
    ((name, value),) = freshness(60, '1.0')
    assert name == b'expires'
    assert parse_date(value) is not None
