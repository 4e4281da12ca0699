"""Aliases: names of backends, their members, how these are written (SPEC TK-01, TK-02).

    aliases.add ('@mypg', '*postgresql', ['user:pass@localhost/mydb 20', 'user:pass@remote.com/mydb 10'])
    aliases.find ('@mypg')

Registered before a server's workers are forked, or at any time in a script. What is connected under an alias
is its kind's (`dbi`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from .errors import UnknownAlias

DB_PGSQL = DB_POSTGRESQL = DB_SYN_PGSQL = '*postgresql'
DB_SQLITE3 = '*sqlite3'
DB_MONGODB = DB_SYN_MONGODB = '*mongodb'
DB_REDIS = DB_SYN_REDIS = '*redis'
PROTO_HTTP = PROTO_SYN_HTTP = 'http'
PROTO_HTTPS = PROTO_SYN_HTTPS = 'https'
PROTO_WS = 'ws'
PROTO_WSS = 'wss'
#: A Django settings module: the alias is what its DATABASES say.
DJANGO = '*django'

#: The types there are, and the port of a member that names none. Custom ones are added by their interface.
PORTS: dict[str, int] = {
    DB_PGSQL: 5432,
    DB_MONGODB: 27017,
    DB_REDIS: 6379,
    PROTO_HTTP: 80,
    PROTO_HTTPS: 443,
    PROTO_WS: 80,
    PROTO_WSS: 443,
    DB_SQLITE3: 0,
}

#: What a type's port is that of, with TLS.
WITH_TLS = {PROTO_HTTP: PROTO_HTTPS, PROTO_WS: PROTO_WSS}
_MAX_WEIGHT = 10_000
_WEIGHT = re.compile(r'^(.*\S)\s+(\d+)$', re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One server. `path`: what follows the address, without the slash: a database, a base path, a file."""

    host: str
    port: int
    path: str = ''
    user: str = ''
    password: str = dataclasses.field(default='', repr=False)
    weight: int = 1

    @property
    def address(self) -> str:
        """For messages: without user and password."""
        if not self.host:
            return self.path
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{host}:{self.port}/{self.path}' if self.path else f'{host}:{self.port}'


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Alias:
    """A registered name. `max_conns`: connections to each member, of each process (SPEC LB-05)."""

    name: str
    type: str
    members: tuple[Member, ...]
    ssl: bool = False
    max_conns: int = 32
    role: str = ''
    source: str = ''


class Aliases:
    """A register of names. `above`: where names are looked up that are not in this one.

    Written before or while a server runs, read by all threads: a dict changed by single operations.
    """

    def __init__(self, above: Aliases | None = None) -> None:
        self._above = above
        self._known: dict[str, Alias] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._known or (self._above is not None and name in self._above)

    def add(
        self,
        name: str,
        type: str,
        members: str | Sequence[str],
        role: str = '',
        source: str = '',
        ssl: bool = False,
        max_conns: int = 32,
    ) -> Alias:
        """Register a name; who comes first wins (SPEC TK-01). The alias under that name.

        `members`: see `parse_member`; a str or a list of them. `ssl`: connect with TLS. ValueError, TypeError
        for what is none of it.
        """
        if not isinstance(name, str) or not re.fullmatch(r'@[\w.-]+', name):
            raise ValueError(f"alias {name!r}: a name begins with '@', as in '@mydb'")
        if isinstance(max_conns, bool) or not isinstance(max_conns, int) or max_conns < 1:
            raise ValueError(f'alias {name}: max_conns = {max_conns!r}: a number from 1 is needed')
        if type == DJANGO:
            type, members = _from_django(members, role)
        if type not in PORTS:
            raise ValueError(
                f'alias {name}: type {type!r} is unknown: there are {", ".join(sorted(PORTS))}; others are '
                'added with skitai.add_database_interface or skitai.add_http_rpc_proto'
            )
        texts = [members] if isinstance(members, str) else list(members)
        if not texts:
            raise ValueError(f'alias {name}: at least one member is needed')
        try:
            # With TLS a member that names no port has that of its protocol with TLS.
            spoken = WITH_TLS.get(type, type) if ssl else type
            parsed = tuple(parse_member(text, spoken) for text in texts)
        except ValueError as error:
            raise ValueError(f'alias {name}: {error}') from None
        return self._known.setdefault(name, Alias(name, type, parsed, ssl, max_conns, role, source))

    def find(self, name: str) -> Alias:
        """UnknownAlias (a NameError) for a name that nobody registered."""
        found = self._known.get(name)
        if found is not None:
            return found
        if self._above is not None:
            return self._above.find(name)
        raise UnknownAlias(
            f'alias {name!r} is not registered: call skitai.alias ({name!r}, type, members) before it is used'
        )

    def clear(self) -> None:
        """Forget all: for tests."""
        self._known.clear()


#: Those of `skitai.alias`; an app's own are registers with this one above.
aliases = Aliases()


def parse_member(text: str, type: str) -> Member:
    """`[user[:password]@]host[:port][/path][ weight]` (SPEC TK-02).

    User and password are percent-decoded: '@' and '/' in them are written %40 and %2F. The weight follows a
    blank: a whole number from 1, default 1. A file's member is its path. Databases may also be written
    `host[:port]/db/user/password`.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'member {text!r}: an address is needed')
    weight = 1
    rest = text.strip()
    if match := _WEIGHT.match(rest):
        rest, weight = match[1], int(match[2])
        if not 1 <= weight <= _MAX_WEIGHT:
            raise ValueError(f'member {_shown(text)!r}: a weight is a number from 1 to {_MAX_WEIGHT}')
    if type == DB_SQLITE3:
        if '\0' in rest:
            raise ValueError(f'member {_shown(text)!r}: a path has no NUL')
        return Member('', 0, rest, weight=weight)
    authority, _, path = rest.partition('/')
    credentials, at, address = authority.rpartition('@')
    user, _, password = credentials.partition(':')
    if type.startswith('*'):
        path = path.strip('/')
        if not at and path.count('/') >= 2:
            path, user, password = path.split('/', 2)
        elif '@' in path:
            raise ValueError(
                f"member {_shown(text)!r}: '@' and '/' in a user or password are written %40 and %2F"
            )
    host, port = _split_address(address, PORTS[type], text)
    if any(ord(c) < 33 or ord(c) == 127 for c in host + path):
        raise ValueError(f'member {_shown(text)!r} has blanks or control characters in its address')
    return Member(host, port, path, unquote(user), unquote(password), weight)


def _split_address(address: str, default: int, text: str) -> tuple[str, int]:
    match = re.fullmatch(r'(\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]]*)(?::(\d{1,5}))?', address)
    if match is None or not match[1] or int(match[2] or 0) > 65535:
        raise ValueError(
            f'member {_shown(text)!r}: an address is [user[:password]@]host[:port][/path][ weight]'
        )
    return match[1].strip('[]'), int(match[2] or default)


def _shown(text: str) -> str:
    """A member for an error message: without what is a password, or may have been meant as one."""
    authority, slash, path = text.partition('/')
    if '@' in path:  # where the password ends is anybody's guess
        return re.split('[:/@]', text, maxsplit=1)[0] + '...'
    credentials, at, address = authority.rpartition('@')
    if ':' in credentials:
        credentials = credentials.partition(':')[0] + ':...'
    if not at and not re.fullmatch(r'[^:]*(:\d{1,5})?(\s+\d+)?', address) and '[' not in address:
        address = address.partition(':')[0] + ':...'
    if path.count('/') >= 2:  # db/user/password
        path = '/'.join([*path.split('/')[:2], '...'])
    return credentials + at + address + slash + path


def _from_django(members: str | Sequence[str], role: str) -> tuple[str, str]:
    """The type and member that the settings module `members` has as DATABASES [role or 'default']."""
    path = members if isinstance(members, str) else members[0]
    settings: Any = import_module(path)
    wanted = role or 'default'
    try:
        database = settings.DATABASES[wanted]
        engine, name = database['ENGINE'], str(database['NAME'])
    except (AttributeError, KeyError):
        raise ValueError(f'{path} has no DATABASES [{wanted!r}] with an ENGINE and a NAME') from None
    if engine.endswith('sqlite3'):
        return DB_SQLITE3, name
    if 'postgresql' not in engine and not engine.endswith('postgis'):
        raise ValueError(f'{path}: {engine} is not supported: sqlite3 and postgresql are')
    credentials = ''
    if database.get('USER'):
        credentials = f'{_quoted(database["USER"])}:{_quoted(database.get("PASSWORD", ""))}@'
    port = f':{database["PORT"]}' if database.get('PORT') else ''
    host = str(database.get('HOST') or 'localhost')
    if ':' in host:
        host = f'[{host}]'
    return DB_PGSQL, f'{credentials}{host}{port}/{name}'


def _quoted(text: Any) -> str:
    from urllib.parse import quote

    return quote(str(text), safe='')
