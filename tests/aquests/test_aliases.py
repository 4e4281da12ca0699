"""Aliases and how their members are written (SPEC TK-01, TK-02)."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skitai
from aquests import aliases as module
from aquests import errors
from aquests.aliases import (
    DB_MONGODB,
    DB_PGSQL,
    DB_REDIS,
    DB_SQLITE3,
    DJANGO,
    PROTO_HTTP,
    PROTO_HTTPS,
    PROTO_WSS,
    Aliases,
    Member,
    parse_member,
)


@pytest.mark.parametrize(
    ('type', 'text', 'member'),
    [
        (DB_PGSQL, 'localhost', Member('localhost', 5432)),
        (DB_MONGODB, 'localhost', Member('localhost', 27017)),
        (DB_REDIS, 'localhost/3', Member('localhost', 6379, '3')),
        (PROTO_HTTP, 'example.com', Member('example.com', 80)),
        (PROTO_HTTPS, 'example.com', Member('example.com', 443)),
        (PROTO_WSS, 'example.com:8443', Member('example.com', 8443)),
        (DB_PGSQL, 'user:pass@localhost/mydb 20', Member('localhost', 5432, 'mydb', 'user', 'pass', 20)),
        (DB_PGSQL, 'user:pass@remote.com/mydb\t10 ', Member('remote.com', 5432, 'mydb', 'user', 'pass', 10)),
        (DB_PGSQL, 'user@host', Member('host', 5432, '', 'user')),
        (DB_PGSQL, 'user:@host', Member('host', 5432, '', 'user')),
        (DB_REDIS, ':secret@host', Member('host', 6379, '', '', 'secret')),
        (DB_PGSQL, 'u%40x:p%40%2F%3A%25ö@host/db', Member('host', 5432, 'db', 'u@x', 'p@/:%ö')),
        (DB_PGSQL, 'user:a:b@host', Member('host', 5432, '', 'user', 'a:b')),
        (DB_PGSQL, 'user:a@b@host', Member('host', 5432, '', 'user', 'a@b')),
        (DB_PGSQL, 'u:p@[::1]:5433/db', Member('::1', 5433, 'db', 'u', 'p')),
        (PROTO_HTTP, '[fe80::1%eth0]', Member('fe80::1%eth0', 80)),
        # A base path is as it is written; a database's name has no slashes around it.
        (PROTO_HTTP, 'host:8000/a/b/c/', Member('host', 8000, 'a/b/c/')),
        (PROTO_HTTP, 'host/@me/x', Member('host', 80, '@me/x')),
        (PROTO_HTTP, 'user:pw@host/@me', Member('host', 80, '@me', 'user', 'pw')),
        (DB_MONGODB, 'host/db/collection', Member('host', 27017, 'db/collection')),
        (DB_PGSQL, 'host/db/', Member('host', 5432, 'db')),
        # As it was once written.
        (DB_PGSQL, 'host:5433/db/user/password 3', Member('host', 5433, 'db', 'user', 'password', 3)),
        (DB_PGSQL, 'host/db/user/p@s/s%2F', Member('host', 5432, 'db', 'user', 'p@s/s/')),
        # Files.
        (DB_SQLITE3, '/var/lib/my.db', Member('', 0, '/var/lib/my.db')),
        (DB_SQLITE3, 'a b@c:d/my.db', Member('', 0, 'a b@c:d/my.db')),
        (DB_SQLITE3, ':memory:', Member('', 0, ':memory:')),
        (DB_SQLITE3, 'my file.db 3', Member('', 0, 'my file.db', weight=3)),
    ],
)
def test_members(type: str, text: str, member: Member) -> None:
    assert parse_member(text, type) == member


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'an address is needed'),
        (' \n', 'an address is needed'),
        (None, 'an address is needed'),
        ('user:secret@', 'user:...@'),
        ('user:secret', "'user:...'"),
        (':5432/db', 'an address is'),
        ('host:70000', 'an address is'),
        ('host:', 'an address is'),
        ('::1/db', 'an address is'),
        ('[::1/db', 'an address is'),
        ('user:secret@ho st/db', 'user:...@ho st/db.* has blanks'),
        ('host/d b', 'blanks'),
        ('host/d\0b', 'control'),
        ('user:secret@host/db 0', 'a weight is a number from 1'),
        ('user:secret@host/db 1000000', 'a weight is a number from 1'),
        ('user:sec/ret@host/db', '%40 and %2F'),
        ('user:se@c/ret@host/db', '%40 and %2F'),
        ('ho st/db/user/sec@ret', 'ho st...'),
        ('ho st/db/user/secret', 'ho st/db/user/...'),
    ],
)
def test_what_is_no_member_is_refused_without_its_password(text: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace('[', r'\[')) as caught:
        parse_member(text, DB_PGSQL)
    assert 'sec' not in str(caught.value)
    assert 'ret' not in str(caught.value).replace('are written', '')


_types = st.sampled_from([DB_PGSQL, DB_SQLITE3, DB_REDIS, PROTO_HTTP])
_SECRET = 'QqQq'
_forms = st.sampled_from(
    ['{}', '{}:{secret}@{}', 'u:{secret}@{}', 'u:{secret}/{secret}@{}', '{}/db/u/{secret}']
)


@settings(max_examples=100, deadline=None)
@given(_types, _forms, st.text(max_size=12), st.text(alphabet=':/@[] 1a%\x00', max_size=12))
def test_any_text_is_a_member_or_a_value_error(type: str, form: str, text: str, more: str) -> None:
    if form.startswith('{}/db'):
        text = text.replace('/', '').replace('@', '')  # else it is another form
    written = form.format(text, more, secret=_SECRET)
    member, words = None, ''
    try:
        member = parse_member(written, type)
    except ValueError as error:
        words = str(error)
    assert _SECRET not in words
    if member:
        assert member.host or type == DB_SQLITE3
        assert 0 <= member.port <= 65535
        assert 1 <= member.weight <= 10000
        if member.password:
            assert member.password not in repr(member) or _SECRET not in member.password


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1), st.text(), st.integers(1, 65535), st.integers(1, 10000))
def test_user_and_password_may_be_anything(user: str, password: str, port: int, weight: int) -> None:
    text = f'{quote(user, safe="")}:{quote(password, safe="")}@host:{port}/db {weight}'
    assert parse_member(text, DB_PGSQL) == Member('host', port, 'db', user, password, weight)


def test_an_address_for_messages() -> None:
    assert parse_member('user:secret@host/db', DB_PGSQL).address == 'host:5432/db'
    assert parse_member('user:secret@[::1]', DB_PGSQL).address == '[::1]:5432'
    assert parse_member('/a/b.db', DB_SQLITE3).address == '/a/b.db'


# -- names ------------------------------------------------------------------------------------------------


def test_the_first_registration_of_a_name_wins() -> None:
    """SPEC TK-01, A-79."""
    known = Aliases()
    first = known.add('@mypg', DB_PGSQL, ['a/db 20', 'b/db 10'], 'role', 'source', True, 5)
    assert [member.weight for member in first.members] == [20, 10]
    assert (first.role, first.source, first.ssl, first.max_conns) == ('role', 'source', True, 5)
    assert known.add('@mypg', DB_SQLITE3, 'file') is first
    assert known.find('@mypg') is first
    assert '@mypg' in known
    assert known.add('@one', DB_PGSQL, 'a').max_conns == 32


def test_an_unknown_alias_is_a_name_error_with_the_name() -> None:
    for known in (Aliases(), Aliases(Aliases())):
        assert '@nobody' not in known
        with pytest.raises(NameError, match=r'@nobody.*skitai\.alias') as caught:
            known.find('@nobody')
        assert isinstance(caught.value, errors.UnknownAlias)


def test_an_apps_own_aliases_go_above_those_of_all() -> None:
    """SPEC TK-01."""
    shared = Aliases()
    own, other = Aliases(shared), Aliases(shared)
    mine = own.add('@a', DB_PGSQL, 'mine')
    everybodys = shared.add('@a', DB_PGSQL, 'everybodys')
    assert own.find('@a') is mine
    assert other.find('@a') is everybodys
    assert '@a' in other
    own.clear()
    assert own.find('@a') is everybodys


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (('mypg', DB_PGSQL, 'a'), "begins with '@'"),
        ((5, DB_PGSQL, 'a'), "begins with '@'"),
        (('@', DB_PGSQL, 'a'), "begins with '@'"),
        (('@a/b', DB_PGSQL, 'a'), "begins with '@'"),
        (('@a', '*oracle', 'a'), r"@a: type '\*oracle' is unknown.*\*postgresql.*add_database_interface"),
        (('@a', None, 'a'), 'type None'),
        (('@a', DB_PGSQL, []), '@a: at least one member'),
        (('@a', DB_PGSQL, [5]), '@a: member 5'),
        (('@a', DB_PGSQL, ['a', 'u:secret@']), '@a: member .*u:...@'),
        (('@a', DB_PGSQL, 'a', '', '', False, 0), 'max_conns = 0'),
        (('@a', DB_PGSQL, 'a', '', '', False, True), 'max_conns = True'),
    ],
)
def test_what_is_no_alias_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Aliases().add(*arguments)
    assert 'secret' not in str(caught.value)


def test_skitai_has_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC TK-01."""
    monkeypatch.setattr(module.aliases, '_known', {})
    skitai.alias('@mypg', skitai.DB_PGSQL, ['user:pass@localhost/mydb 20'], max_conns=3)
    found = module.aliases.find('@mypg')
    assert (found.type, found.max_conns, found.members[0].weight) == ('*postgresql', 3, 20)
    assert skitai.DB_POSTGRESQL == skitai.DB_SYN_PGSQL == DB_PGSQL


# -- Django -----------------------------------------------------------------------------------------------

SETTINGS = """
DATABASES = {
    'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': '/a/b.sqlite3'},
    'pg': {
        'ENGINE': 'django.db.backends.postgresql',
        'NAME': 'my', 'USER': 'us@er', 'PASSWORD': 'se:c/r et', 'HOST': 'db.example.com', 'PORT': 5433
    },
    'local': {'ENGINE': 'django.contrib.gis.db.backends.postgis', 'NAME': 'my', 'HOST': '', 'PORT': ''},
    'six': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'my', 'HOST': '::1'},
    'oracle': {'ENGINE': 'django.db.backends.oracle', 'NAME': 'my'},
    'none': {}
}
"""


@pytest.fixture
def django(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    name = 'settings_of_aliases'
    (tmp_path / f'{name}.py').write_text(SETTINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_django_settings(django: str) -> None:
    """SPEC TK-01: `role` names the entry of DATABASES."""
    known = Aliases()
    default = known.add('@default', DJANGO, django)
    assert (default.type, default.members) == (DB_SQLITE3, (Member('', 0, '/a/b.sqlite3'),))
    remote = known.add('@pg', DJANGO, [django], role='pg')
    assert remote.type == DB_PGSQL
    assert remote.members == (Member('db.example.com', 5433, 'my', 'us@er', 'se:c/r et'),)
    assert known.add('@local', DJANGO, django, 'local').members == (Member('localhost', 5432, 'my'),)
    assert known.add('@six', DJANGO, django, 'six').members == (Member('::1', 5432, 'my'),)
    with pytest.raises(ValueError, match='oracle is not supported'):
        known.add('@a', DJANGO, django, 'oracle')
    for role in ('none', 'nothing'):
        with pytest.raises(ValueError, match=rf"no DATABASES \['{role}'\]"):
            known.add('@a', DJANGO, django, role)
