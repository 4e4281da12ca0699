"""What may be sent (RFC 9110, 5.1, 5.5; RFC 9112, 3.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquests.http.request import Request, Stream, checked_fields


async def parts() -> AsyncIterator[bytes]:
    yield b''


@pytest.mark.parametrize('method', ['', 'get', 'GE T', 'GET\r\nX: y', 'GÉT', 'GET '])
def test_a_method_is_a_word_in_upper_case(method: str) -> None:
    with pytest.raises(ValueError, match='method'):
        Request(method, '/')


@pytest.mark.parametrize('target', ['', 'x', '/a b', '/a\r\nX: y', '/ä', '/\x7f', '/#a', 'http://h/'])
def test_a_target_cannot_break_out_of_its_line(target: str) -> None:
    with pytest.raises(ValueError, match='target'):
        Request('GET', target)


@pytest.mark.parametrize(
    'field',
    [('a b', 'x'), ('', 'x'), ('a:', 'x'), ('a', 'x\r\ny: z'), ('a', 'x\n'), ('a', '\0'), ('a', '\ud800')],
)
def test_a_field_cannot_break_out_of_its_line(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match='header'):
        Request('GET', '/', [field])


@pytest.mark.parametrize(
    'name', ['Content-Length', 'transfer-encoding', 'Connection', 'Expect', 'TE', 'Upgrade']
)
def test_framing_is_ours(name: str) -> None:
    with pytest.raises(ValueError, match='follows from'):
        Request('GET', '/', {name: '1'})


def test_fields_are_a_mapping_or_pairs_of_text_or_bytes() -> None:
    assert checked_fields({'A': ' b '}) == [('a', 'b')]
    assert checked_fields([('a', '1'), (b'a', 'ä'.encode()), (b'a', b'\xe4')]) == [
        ('a', '1'),
        ('a', 'ä'),
        ('a', 'ä'),
    ]
    with pytest.raises(TypeError):
        checked_fields([('a', 1)])  # type: ignore[list-item]


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=3))
def test_what_passes_has_no_line_ends(fields: list[tuple[str, str]]) -> None:
    try:
        checked = checked_fields(fields)
    except ValueError:
        return
    for name, value in checked:
        assert name.isascii()
        assert not set(value) & {'\r', '\n', '\0'}
        (name + value).encode()


@pytest.mark.parametrize(
    ('method', 'expected'), [('GET', True), ('PUT', True), ('POST', False), ('PATCH', False)]
)
def test_what_may_be_done_twice(method: str, expected: bool) -> None:
    assert Request(method, '/', body=b'x').idempotent is expected


def test_a_stream_that_has_begun_cannot_be_sent_again() -> None:
    request = Request('PUT', '/', body=parts())
    assert isinstance(request.body, Stream)
    assert request.idempotent
    request.body.begun = True
    assert not request.idempotent


@pytest.mark.parametrize('body', ['text', 5, [b'x']])
def test_what_is_no_body(body: Any) -> None:
    with pytest.raises(TypeError, match='body'):
        Request('POST', '/', body=body)


def test_numbers_that_cannot_be() -> None:
    with pytest.raises(ValueError, match='timeout'):
        Request('GET', '/', timeout=0)
    with pytest.raises(ValueError, match='length'):
        Stream(parts(), -1)
