"""Bases and targets (SPEC HC-01, TK-02)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquests.aliases import DB_REDIS, PROTO_HTTP, PROTO_HTTPS, Aliases
from aquests.http.address import base_of, base_of_url, checked_target, split, split_alias


@pytest.mark.parametrize(
    ('address', 'expected'),
    [
        ('@api', ('@api', '/')),
        ('@api/users?a=1#x', ('@api', '/users?a=1')),
        ('@api?a=1', ('@api', '/?a=1')),
        ('http://h:1/p%20q/?a=b', ('http://h:1', '/p%20q/?a=b')),
        ('https://h', ('https://h', '/')),
        ('https://u:p@h?a', ('https://u:p@h', '/?a')),
    ],
)
def test_an_address_is_a_base_and_a_target(address: str, expected: tuple[str, str]) -> None:
    assert split(address) == expected


@pytest.mark.parametrize('address', ['', '/x', 'ftp://h/', 'h:80/x', 'http:///x', '@', '@/x'])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match='begins with'):
        split(address)


@pytest.mark.parametrize(
    ('member', 'type', 'ssl', 'expected'),
    [
        ('h', PROTO_HTTP, False, ('http://h', '')),
        ('h:8080/api/', PROTO_HTTP, False, ('http://h:8080', '/api')),
        ('h', PROTO_HTTPS, False, ('https://h', '')),
        ('h', PROTO_HTTP, True, ('https://h', '')),
        ('h:80', PROTO_HTTP, True, ('https://h:80', '')),
        ('[::1]:81/a/b', PROTO_HTTP, False, ('http://[::1]:81', '/a/b')),
    ],
)
def test_the_base_of_a_member(member: str, type: str, ssl: bool, expected: tuple[str, str]) -> None:
    alias = Aliases().add('@a', type, member, ssl=ssl)
    base = base_of(alias, alias.members[0])
    assert (base.origin, base.path) == expected


def test_a_members_credentials() -> None:
    alias = Aliases().add('@a', PROTO_HTTP, 'us%40er:p%2Fw@h')
    base = base_of(alias, alias.members[0])
    assert (base.user, base.password) == ('us@er', 'p/w')
    assert 'p/w' not in repr(base)


def test_an_alias_of_another_type() -> None:
    alias = Aliases().add('@a', DB_REDIS, 'h')
    with pytest.raises(TypeError, match='alias @a is of type'):
        base_of(alias, alias.members[0])


@pytest.mark.parametrize('path', ['a?b', 'a#b', 'ä'])
def test_a_base_path_that_no_request_can_carry(path: str) -> None:
    alias = Aliases().add('@a', PROTO_HTTP, f'h/{path}')
    with pytest.raises(ValueError, match="base's path"):
        base_of(alias, alias.members[0])


def test_the_base_of_a_url() -> None:
    base = base_of_url('https://u%40:p@Host:444/a/')
    assert (base.origin, base.path, base.user, base.password) == ('https://host:444', '/a', 'u@', 'p')
    assert base_of_url('http://h').port == 80
    assert base_of_url('https://h').port == 443


@pytest.mark.parametrize(
    'url',
    ['h', 'http://', 'http://h:0x', 'http://h:99999', 'http://h/?a', 'http://h/#a', 'http://h x/', 'ws://h'],
)
def test_what_is_no_base(url: str) -> None:
    with pytest.raises(ValueError):
        base_of_url(url)


def test_a_wrong_url_is_told_without_its_password() -> None:
    with pytest.raises(ValueError) as raised:
        base_of_url('http://user:secret@h:x/')
    assert 'secret' not in str(raised.value)


def test_an_alias_with_a_path() -> None:
    assert split_alias('@api') == ('@api', '')
    assert split_alias('@api/v1/') == ('@api', '/v1')
    with pytest.raises(ValueError):
        split_alias('@api?x')


@given(st.text(max_size=20))
def test_targets_are_what_a_request_line_can_carry(text: str) -> None:
    try:
        checked_target('/' + text)
    except ValueError:
        assert any(not '!' <= c <= '~' or c == '#' for c in text)
    else:
        assert all('!' <= c <= '~' and c != '#' for c in text)
