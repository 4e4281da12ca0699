"""Secrets in URLs don't reach a log."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skitai.masking import masked, masked_text

SECRET = 'x' * 43 + '?' + 'y' * 20
JWT = jwt.encode({'a': 1}, 'k' * 32)


@pytest.mark.parametrize(
    ('target', 'shown'),
    [
        ('/a?b=1', '/a?b=1'),
        ('/a?token=abc&b=1', '/a?token=***&b=1'),
        ('/a?b=1&XSRF_TOKEN=abc', '/a?b=1&XSRF_TOKEN=***'),
        ('/a?user_password=p%26q#x', '/a?user_password=***#x'),
        ('/a?api_key=1;secret=2', '/a?api_key=***;secret=***'),
        (f'/reset/{SECRET.replace("?", "%3F")}', '/reset/***'),
        (f'/reset?t={SECRET}', '/reset?t=***'),
        (f'/page/{JWT}/x', '/page/***/x'),
        ('/static/' + 'x' * 100 + '.css', '/static/' + 'x' * 100 + '.css'),
    ],
)
def test_targets(target: str, shown: str) -> None:
    assert masked(target.encode()) == shown.encode()


def test_messages() -> None:
    assert masked_text(f'GET /x failed: {JWT}') == 'GET /x failed: ***'


@given(st.binary())
def test_anything_is_masked_in_no_time(target: bytes) -> None:
    assert len(masked(target)) <= max(len(target) * 4, 3)
    masked(target * 500)
