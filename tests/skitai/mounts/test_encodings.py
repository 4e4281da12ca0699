"""The Accept-Encoding field (RFC 9110, 12.5.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.mounts.encodings import choose_coding, weights_of

OFFERED = (b'br', b'gzip')


@given(st.binary(max_size=60) | st.text('brgzip*;q=.,01 ', max_size=60).map(str.encode))
def test_no_bytes_break_the_parser_and_weights_are_in_bounds(value: bytes) -> None:
    assert all(0 <= weight <= 1 for weight in weights_of(value).values())
    assert choose_coding(value, OFFERED) in (None, *OFFERED)


@given(
    st.dictionaries(st.sampled_from([b'br', b'gzip', b'identity', b'zstd']), st.integers(0, 1000), max_size=4)
)
def test_the_choice_is_offered_wanted_and_best(thousandths: dict[bytes, int]) -> None:
    field = b', '.join(b'%s;q=%.3f' % (coding, weight / 1000) for coding, weight in thousandths.items())
    chosen = choose_coding(field, OFFERED)
    best = max(thousandths.get(coding, 0) for coding in OFFERED)
    if chosen is None:
        assert best == 0 or best < thousandths.get(b'identity', 0)
    else:
        assert thousandths[chosen] == best > 0


@pytest.mark.parametrize(
    ('accept', 'coding'),
    [
        (None, None),
        (b'', None),
        (b'x-gzip', b'gzip'),
        (b'gzip;q=1.5', None),
        (b'gzip;q=', None),
        (b'*;q=0.1, br;q=0', b'gzip'),
        (b'gzip ; q = 0.5', b'gzip'),
    ],
)
def test_special_fields(accept: bytes | None, coding: bytes | None) -> None:
    assert choose_coding(accept, OFFERED) == coding


def test_nothing_offered_is_nothing_chosen() -> None:
    assert choose_coding(b'br', ()) is None
