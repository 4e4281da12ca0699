"""Where requests go: bases, and the targets below them. Text in, text out; nothing is normalised.

A target is what stands in a request line: a path and perhaps a query, percent-encoded. It is sent byte for
byte: `..`, `//` and `%2F` are the server's to understand.
"""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote, urlsplit

from ..aliases import PROTO_HTTP, PROTO_HTTPS, Alias, Member
from ..rpc import is_rpc

PORTS = {'http': 80, 'https': 443}

#: What a request line can carry (RFC 9112, 3.2.1, and what is seen besides), without a fragment.
_TARGET = re.compile(r'/[!"$-~]*')
_PATH = re.compile(r'(/[!"$->@-~]*)?')
_ALIAS = re.compile(r'(@[\w.-]+)(.*)', re.DOTALL)
_URL = re.compile(r'(https?://[^/?#]+)(.*)', re.DOTALL | re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A server and a path on it. `path`: '' or '/...' without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str = ''
    user: str = ''
    password: str = dataclasses.field(default='', repr=False)

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`; the port where it is not the scheme's own."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{self.scheme}://{host}' + ('' if self.port == PORTS[self.scheme] else f':{self.port}')


def split(address: str) -> tuple[str, str]:
    """An address as (base, target): '@api/users?a=1' is ('@api', '/users?a=1'), and so for URLs.

    A fragment is left out. ValueError for what has neither an alias nor a server.
    """
    match = _ALIAS.fullmatch(address) or _URL.fullmatch(address)
    if match is None:
        raise ValueError(
            f"{_shown(address)!r}: an address begins with '@alias', 'http://host' or 'https://host'"
        )
    rest = match[2].partition('#')[0]
    return match[1], rest if rest.startswith('/') else '/' + rest


def split_alias(base: str) -> tuple[str, str]:
    """'@alias/path' as (name, path); a path is '' or '/...', without a slash at its end. ValueError."""
    match = _ALIAS.fullmatch(base)
    if match is None:
        raise ValueError(f"{base!r}: an alias is '@name', or '@name/path'")
    return match[1], checked_path(match[2])


def base_of(alias: Alias, member: Member) -> Base:
    """Where a member is. TypeError for an alias that is no HTTP server, ValueError for its path."""
    if alias.type not in (PROTO_HTTP, PROTO_HTTPS) and not is_rpc(alias.type):
        raise TypeError(f'alias {alias.name} is of type {alias.type!r}, which is no HTTP server')
    scheme = 'https' if alias.ssl or alias.type == PROTO_HTTPS else 'http'
    path = checked_path('/' + member.path if member.path else '')
    return Base(scheme, member.host, member.port, path, member.user, member.password)


def base_of_url(url: str) -> Base:
    """`http[s]://[user:password@]host[:port][/path]`. ValueError for anything else; it shows no password."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f'a base is http[s]://host[:port][/path], not {_shown(url)!r}')
    if not re.fullmatch(r'[^\x00-\x20\x7f"<>\\^`{|}]+', parts.netloc):
        raise ValueError(f'{_shown(url)!r} has blanks or control characters in its host')
    try:
        parts.hostname.encode('idna')  # what a resolver is asked for
    except UnicodeError as error:
        raise ValueError(f'{_shown(url)!r}: that is no host name: {error}') from None
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise ValueError(f'{_shown(url)!r}: a port is a number from 1 to 65535') from None
    path = checked_path(parts.path)
    user, password = unquote(parts.username or ''), unquote(parts.password or '')
    return Base(parts.scheme, parts.hostname, port, path, user, password)


def checked_path(path: str) -> str:
    """A base's path without the slash at its end. ValueError for what no request line can carry."""
    if not _PATH.fullmatch(path):
        raise ValueError(
            f"{path!r}: a base's path begins with '/' and is percent-encoded, without query and fragment"
        )
    return path.rstrip('/')


def checked_target(target: str) -> str:
    """`target`, if a request line can carry it: ValueError otherwise (CR, LF and blanks above all)."""
    if not _TARGET.fullmatch(target):
        raise ValueError(
            f"{target!r}: a target begins with '/' and is percent-encoded, as urllib.parse.quote does it"
        )
    return target


def _shown(url: str) -> str:
    return re.sub(r'//[^/]*@', '//...@', url)
