"""What a reverse proxy changes: paths and redirections, by themselves (SPEC LB-06, RFC 3986)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skitai.exchange import Exchange
from skitai.mounts.forwarding import climbs_out, moved, split_path, target_of
from skitai.mounts.table import Mount

#: Paths made of what matters to them.
PATHS = st.lists(
    st.sampled_from(['/', '..', '.', '%2e', '%2E', '%2f', '%5c', '\\', ';', 'a', '%61', '%', '%zz', 'x']),
    max_size=12,
).map(lambda pieces: ('/' + ''.join(pieces)).encode())


def exchange_of(raw_path: bytes, point: str, root_path: str = '') -> Exchange:
    exchange: Any = Exchange()
    exchange.scope = {'raw_path': raw_path, 'root_path': root_path}
    exchange.mount = Mount(point, None)  # type: ignore[arg-type]
    return exchange  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ('raw', 'point', 'expected'),
    [
        (b'/x/a', '/x', (b'/x', b'/a')),
        (b'/a', '', (b'', b'/a')),
        (b'/%78/a', '/x', (b'/%78', b'/a')),
        (b'/x%2Fa', '/x', None),
        (b'/%C3%A4/a', '/ä', (b'/%C3%A4', b'/a')),
        (b'/x%2Fy/a', '/x/y', (b'/x%2Fy', b'/a')),
        (b'/xy/a', '/x', None),
        (b'/%', '/x', None),
    ],
)
def test_the_part_below_a_mount_point(raw: bytes, point: str, expected: Any) -> None:
    assert split_path(exchange_of(raw, point)) == expected


def test_the_part_below_a_mount_point_behind_an_outer_server() -> None:
    assert split_path(exchange_of(b'/out/x/a', '/x', '/out')) == (b'/out/x', b'/a')
    assert split_path(exchange_of(b'/x/a', '/x', '/out')) == (b'/x', b'/a')


@given(PATHS, st.sampled_from(['', '/x', '/x/a', '/a']))
def test_nothing_is_lost_of_a_path(raw: bytes, point: str) -> None:
    parts = split_path(exchange_of(raw, point))
    if parts is not None:
        prefix, rest = parts
        assert prefix + rest == raw
        assert unquote_to_bytes(prefix) == point.encode()
        assert rest.startswith(b'/')


@given(PATHS)
@example(b'/..;/a')
@example(b'/a//../../b')
def test_what_does_not_climb_out_stays_below_for_every_reading(path: bytes) -> None:
    """Plain resolution, and servers that decode, merge slashes, drop parameters or turn backslashes first."""
    if climbs_out(path):
        return
    plain = path.decode()
    decoded = unquote_to_bytes(path).decode('latin-1')
    slashes = decoded.replace('\\', '/')
    bare = '/'.join(segment.partition(';')[0] for segment in slashes.split('/'))
    for reading in (plain, decoded, slashes, bare):
        for text in (reading, *_merged(reading)):
            depth = 0
            for segment in text.split('/'):
                depth += {'..': -1, '.': 0, '': 0}.get(segment, 1)
                assert depth >= 0, text


def _merged(path: str) -> list[str]:
    while '//' in path:
        path = path.replace('//', '/')
    return [path]


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_target_fits_into_a_request_line_and_means_the_same(path: bytes, query: bytes) -> None:
    target = target_of(b'/' + path, query)
    assert target.isascii()
    assert target.isprintable()
    assert ' ' not in target
    assert '#' not in target
    assert unquote_to_bytes(target).startswith(unquote_to_bytes(b'/' + path))


TEXTS = st.lists(
    st.sampled_from(['http:', 'https:', '/', '//', 'h', 'evil', ':80', '?', '#', '\\', 'base', '@', '..']),
    max_size=8,
).map(''.join)


@given(TEXTS, st.sampled_from(['', '/x']), st.sampled_from(['http://h', 'http://h/base']))
def test_a_moved_redirection_stays_on_the_clients_host(location: str, prefix: str, base: str) -> None:
    result = moved(location, base, prefix)
    if result != location:
        at = urlsplit(urljoin('http://front/', result))
        assert (at.scheme, at.netloc) == ('http', 'front')
        assert not result.startswith(('//', '/\\'))
        assert result == prefix or result.startswith((prefix + '/', prefix + '?', prefix + '#'))
