"""What a reverse proxy changes of a request and of its answer: paths, header fields. Bytes in, bytes out.

Forwarded: paths and queries byte for byte; fields in their order, repeated ones too. Not forwarded: what
belongs to one connection (RFC 9110, 7.6.1), also what its Connection field names; what frames a body, which
is framed anew; and what only a proxy may say of a client, unless the peer is a proxy that is believed
(`settings.proxied`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from ..exchange import Exchange, RawHeaders
from ..headers import HOP_BY_HOP
from ..logs import transaction_of

#: Said anew, by us or by the HTTP client; `proxy` would become HTTP_PROXY in a CGI's environment (httpoxy).
_ANEW = frozenset(
    {
        b'host',
        b'content-length',
        b'expect',
        b'cookie',
        b'via',
        b'x-gtxn-id',
        b'x-ltxn-id',
        b'proxy',
        b'proxy-authorization',
    }
)
#: What is said of a client by proxies between it and us, besides X-Forwarded-*.
_HEARSAY = frozenset({b'forwarded', b'x-real-ip'})
#: A byte of a path, percent-encoded or not.
_ENCODED = re.compile(rb'%[0-9A-Fa-f]{2}|.', re.DOTALL)
_NOT_IN_TARGETS = re.compile(rb'[^!"$-~]')
_URL = re.compile(r'(?:(https?):)?//([^/?#]*)([^?#]*)(.*)', re.IGNORECASE | re.DOTALL)
_PORTS = {'http': ':80', 'https': ':443'}


def split_path(exchange: Exchange) -> tuple[bytes, bytes] | None:
    """The path as sent, as (mount point, what is below it); None where the point ends inside a segment.

    `/x%2Fy` is no path below `/x`, though it reads so when it is decoded.
    """
    raw = exchange.raw_path
    point = exchange.mount.point if exchange.mount is not None else ''
    for prefix in dict.fromkeys((exchange.scope.get('root_path', '') + point, point)):
        wanted = prefix.encode('utf-8', 'surrogateescape')
        if raw.startswith(wanted + b'/'):
            return wanted, raw[len(wanted) :]
        decoded, end = b'', 0
        for piece in _ENCODED.finditer(raw):
            if len(decoded) >= len(wanted):
                break
            decoded, end = decoded + unquote_to_bytes(piece[0]), piece.end()
        if decoded == wanted and raw[end : end + 1] == b'/':
            return raw[:end], raw[end:]
    return None


def climbs_out(path: bytes) -> bool:
    """Whether a path leads above where it begins, for any server's reading of it.

    Such readings are: encoded slashes and dots are slashes and dots, backslashes are slashes, what follows a
    semicolon is a parameter, several slashes are one.
    """
    if b'..' not in path and b'%2e' not in path.lower():
        return False
    depth = 0
    for segment in re.split(rb'[/\\]', unquote_to_bytes(path)):
        name = segment.partition(b';')[0]
        if name == b'..':
            depth -= 1
            if depth < 0:
                return True
        elif name not in (b'', b'.'):
            depth += 1
    return False


def target_of(path: bytes, query: bytes) -> str:
    """Path and query for a request line; bytes that it cannot carry are percent-encoded."""
    target = path + b'?' + query if query else path
    return _NOT_IN_TARGETS.sub(lambda match: b'%%%02X' % match[0][0], target).decode('ascii')


def request_fields(exchange: Exchange, believed: bool, with_authorization: bool) -> RawHeaders:
    """The fields for the upstream. `believed`: the peer is a proxy, what it says of its client goes on.

    `with_authorization`: the client's Authorization is for the upstream.
    """
    named = _named_by_connection(exchange.scope['headers'])
    fields: RawHeaders = []
    for name, value in exchange.scope['headers']:
        if name in HOP_BY_HOP or name in _ANEW or name in named:
            continue
        if name == b'authorization' and not with_authorization:
            continue
        # 'x_forwarded_for' is the same to a server that makes an environ of it.
        if _is_hearsay(name.replace(b'_', b'-')) and not (believed and b'_' not in name):
            continue
        if believed and name in (b'x-forwarded-for', b'x-forwarded-host', b'x-forwarded-proto'):
            continue  # below
        fields.append((name, value))
    if (cookie := exchange.header(b'cookie')) is not None and b'cookie' not in named:
        fields.append((b'cookie', cookie))  # HTTP/2 may split it (RFC 9113, 8.2.3)
    fields += _told_of_client(exchange, believed)
    version = exchange.http_version
    via = f'{version if version.startswith("1") else version.removesuffix(".0")} skitai'.encode()
    before = exchange.header(b'via')
    fields.append((b'via', via if before is None else before + b', ' + via))
    gtxid, ltxid = transaction_of(exchange)  # SPEC HC-07
    fields += [(b'x-gtxn-id', gtxid.encode('ascii')), (b'x-ltxn-id', ltxid.encode('ascii'))]
    return fields


def _told_of_client(exchange: Exchange, believed: bool) -> Iterator[tuple[bytes, bytes]]:
    def before(name: bytes) -> bytes:
        return (exchange.header(name) or b'') if believed else b''

    peer = exchange.client[0].encode()
    if chain := b', '.join(filter(None, (before(b'x-forwarded-for'), peer))):
        yield b'x-forwarded-for', chain
    if host := before(b'x-forwarded-host') or exchange.header(b'host'):
        yield b'x-forwarded-host', host
    yield b'x-forwarded-proto', before(b'x-forwarded-proto') or exchange.scheme.encode()


def _is_hearsay(name: bytes) -> bool:
    return name.startswith(b'x-forwarded-') or name in _HEARSAY


def answer_fields(fields: Iterable[tuple[bytes, bytes]], base: str, prefix: bytes) -> list[tuple[str, str]]:
    """The fields for the client, without the connection's. `base`, `prefix`: see `moved`."""
    lowered = [(name.lower(), value) for name, value in fields]
    named = _named_by_connection(lowered)
    kept = []
    for name, value in lowered:
        if name in HOP_BY_HOP or (name in named and name != b'content-length'):
            continue
        text = value.decode('latin-1')
        if name == b'location':
            text = moved(text, base, prefix.decode('latin-1'))
        kept.append((name.decode('latin-1'), text))
    return kept


def moved(location: str, base: str, prefix: str) -> str:
    """A redirection below the upstream's `base` (a URL without a slash at its end), as one below `prefix`.

    Others are left alone: those to other servers, and those that name none.
    """
    there, here = _URL.fullmatch(location), _URL.fullmatch(base)
    if there is None or here is None:
        return location
    scheme = (there[1] or here[1]).lower()
    if scheme != here[1] or _with_port(scheme, there[2]) != _with_port(scheme, here[2]):
        return location
    path, above = there[3], here[3]
    if path != above and not path.startswith(above + '/'):
        return location
    # Never '//name', which would be another server.
    return '/' + (prefix + path[len(above) :]).lstrip('/\\') + there[4]


def _with_port(scheme: str, authority: str) -> str:
    authority = authority.lower()
    return authority if re.search(r':\d+$', authority) else authority + _PORTS[scheme]


def _named_by_connection(fields: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    values = [value for name, value in fields if name == b'connection']
    return frozenset(item.strip().lower() for value in values for item in value.split(b','))
