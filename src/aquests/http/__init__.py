"""HTTP requests to the members of an alias, or to any server: what stubs and the reverse proxy stand on.

    client = http.client ('@api/v1')
    async with await client.request ('GET', '/users?limit=10') as response:
        text = await response.read ()

That is the core (`clients`, `pool`, `request`, `response`, `sending`, `address`): who gets a request,
connections, what travels; aiohttp carries it, only `pool`, `sending` and `response` know that. On it stands
what users call: what bodies mean, redirects, Tasks (`stubs`: the ways in; `stub`, `rpcs`, `call`, `answer`,
`redirects`; `template`, `payload`, `multipart`, `files`: what is sent).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..aliases import Aliases, aliases
from .address import split

if TYPE_CHECKING:
    from .clients import Client


def client(base: str, register: Aliases = aliases) -> Client:
    """A client of `base`: '@alias[/path]' or 'http[s]://[user:password@]host[:port][/path]' (SPEC HC-01).

    It holds no connection: it may be made anew as often, and used by as many, as one likes. UnknownAlias,
    TypeError for an alias that is no HTTP server, ValueError for what is neither; ImportError without the
    extra 'http'.
    """
    try:
        from .clients import AliasClient, UrlClient
    except ImportError as error:
        if (error.name or '').startswith('aquests'):
            raise
        raise ImportError(
            f"{base} needs the package {error.name}: pip install 'atila[http]'", name=error.name
        ) from None
    if base.startswith('@'):
        return AliasClient(base, register)
    return UrlClient(base)


__all__ = ['client', 'split']
