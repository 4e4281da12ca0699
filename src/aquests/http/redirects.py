"""From a request to the whole of the answer that is meant: redirects, and bounds (SPEC HC-07)."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from ..cluster import Seat
from ..errors import BadAnswer
from . import client as client_of
from .address import Base, base_of, split
from .answer import Received
from .clients import AliasClient, Client, UrlClient
from .order import Order
from .pool import basic
from .response import Response
from .template import literal

#: Redirects that are followed, one after the other.
MOST = 5
#: Bytes of a redirect's own body that are read, so that its connection can be used again.
_READ = 1 << 14
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: What another origin gets, too. Of anything else who knows whether it is a secret.
_HARMLESS = frozenset(
    {'accept', 'accept-language', 'user-agent', 'range', 'if-none-match', 'if-modified-since'}
)


async def answered(client: Client, order: Order, max_size: int, seat: Seat | None = None) -> Received:
    """The whole answer, decompressed. `seat`: the member of an alias that is to give it.

    At most five redirects of a GET or HEAD are followed; the next one, and any of other requests, is the
    answer. Another origin (scheme, host, port) gets no credentials, and of the headers only those that are no
    secret. BadAnswer where it has more than `max_size` bytes; errors as `Client.request`.
    """
    response = await _asked(client, order, seat)
    for _ in range(MOST if order.follows else 0):
        location = _location(response)
        if location is None:
            break
        account = _account(client, response)
        await _drop(response)
        origin, target = split(location)
        headers = order.headers
        if _origin(location) != _origin(response.url):
            headers = [field for field in headers if field[0] in _HARMLESS]
        elif account is not None and all(name != 'authorization' for name, _ in headers):
            headers = [*headers, ('authorization', account)]
        client, order = client_of(origin), order._replace(target=target, headers=headers)
        response = await _asked(client, order, None)
    return await _all_of(response, order, max_size)


async def _asked(client: Client, order: Order, seat: Seat | None) -> Response:
    method, target, headers, body, _ = order
    # Its time is the Task's, which ends it.
    if seat is not None and isinstance(client, AliasClient):
        return await client.request(method, target, headers, body, timeout=None, decompress=True, seat=seat)
    return await client.request(method, target, headers, body, timeout=None, decompress=True)


async def _all_of(response: Response, order: Order, max_size: int) -> Received:
    parts, size = [], 0
    async for part in response:
        size += len(part)
        if size > max_size:
            response.close()
            raise BadAnswer(
                f'{order.method} {response.base}: the answer has more than {max_size} bytes; max_size says '
                'how many are read'
            )
        parts.append(part)
    headers = tuple((name.decode('latin-1'), value.decode('latin-1')) for name, value in response.headers)
    return Received(response.status, response.reason, headers, b''.join(parts), response.url)


async def _drop(response: Response) -> None:
    try:
        await response.read(_READ)
    except (ValueError, ConnectionError):  # too long, or broken: it was not wanted anyway
        pass


def _location(response: Response) -> str | None:
    """Where a redirect leads: a URL without user and password; None where there is none that makes sense."""
    value = response.header('Location') if response.status in _REDIRECTS else None
    if value is None:
        return None
    try:
        url = urljoin(response.url, literal(_utf8(value.strip())))
        parts = urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.hostname or '@' in parts.netloc:
            return None
        client_of(f'{parts.scheme}://{parts.netloc}')
    except ValueError:
        return None
    return url


def _utf8(value: str) -> str:
    """Header fields are read as latin-1, but many servers write UTF-8."""
    try:
        return value.encode('latin-1').decode()
    except UnicodeDecodeError:
        return value


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == 'https' else 80)


def _account(client: Client, response: Response) -> str | None:
    """The Authorization that the one who answered got for what his address says."""
    bases: list[Base] = []
    if isinstance(client, UrlClient):
        bases = [client.base]
    elif isinstance(client, AliasClient):
        bases = [base_of(client.alias, member) for member in client.alias.members]
    for base in bases:
        if base.origin + base.path == response.base and (base.user or base.password):
            return basic(base.user, base.password)
    return None
