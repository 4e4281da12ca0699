"""What makes stubs and single requests: `aquests.stub`, `was.stub`, `was.get`, `was.xmlrpc` and their like.

    from aquests import get, stub, xmlrpc

    get ('https://example.com/').fetch ()
    with stub ('https://example.com/api') as api:
        api.get ('/users/{}', 3).fetch ()

Alone they use the aliases of `skitai.alias`; a server makes them a request's by deriving from `Maker`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import rpc
from ..aliases import Aliases, aliases
from ..task import TIMEOUT, Task
from .call import Auth, CallOptions
from .request import Fields
from .rpcs import rpc_stub
from .stub import Stub, once


class Surroundings(NamedTuple):
    """Whose a Task is: see `Caller`."""

    own: Callable[[Task], object] | None = None
    register: Aliases = aliases
    ids: tuple[str, str] | None = None


class Maker:
    """Who makes requests, and what they are told."""

    __slots__ = ()

    def _told(self, given: dict[str, Any], everywhere: bool = False) -> tuple[CallOptions, Surroundings]:
        """`given`: what the user said. TypeError for an option that there is not."""
        return options_of(given, everywhere), Surroundings()


class Stubs(Maker):
    """`was.stub`: called, it gives a stub; `.lb` is the same, `.map` asks all members of an alias."""

    __slots__ = ()

    def __call__(
        self,
        base: str,
        headers: Fields | None = None,
        auth: Auth = None,
        timeout: float | None = TIMEOUT,
        **options: Any,
    ) -> Stub:
        """Requests below `base`: '@alias[/path]' or 'http[s]://host[:port][/path]' (SPEC HC-01).

        `headers`: a dict or pairs, for each request. `auth`: (user, password) for Basic, or a bearer token.
        `timeout`: seconds of each request, until its answer is complete. Others: `meta`, `filter`,
        `callback`, `use_cache`, `cache` (as for `was.db`, and `rm_cache` there), `max_size`: bytes that an
        answer may have, decompressed (16 MB).

        NameError for an alias that nobody registered, TypeError for one that is no HTTP server, ValueError
        for what is no address or no header; ImportError without the extra 'http'.
        """
        given = {'headers': headers, 'auth': auth, 'timeout': timeout, **options}
        told, surroundings = self._told(given)
        return Stub(base, told, *surroundings)

    lb = __call__

    def map(self, base: str, headers: Fields | None = None, **options: Any) -> Stub:
        """A stub of all members of an alias: results are lists, with one of each (SPEC LB-04)."""
        told, surroundings = self._told({'headers': headers, **options}, True)
        return Stub(base, told, *surroundings)


class Once(Maker):
    """`was.get (address, headers)`, `was.post (address, data)` and their like: one request (SPEC HC-04)."""

    __slots__ = ('_method',)

    def __init__(self, method: str) -> None:
        """`method`: of a stub."""
        self._method = method

    def __call__(self, address: str, *args: Any, **options: Any) -> Task:
        """The Task of a request to '@alias/path?query' or a URL, sent as it is: it has no places for values.

        After the address come, or are given by name, `headers` and `data` (a query string) of GET, HEAD,
        DELETE, OPTIONS, and `data` and `headers` of the others. Options, errors: as of a stub.
        """
        return self._ask(address, args, options, False)

    lb = __call__

    def map(self, address: str, *args: Any, **options: Any) -> Task:
        """The same of all members of an alias (SPEC LB-04)."""
        return self._ask(address, args, options, True)

    def _ask(self, address: str, args: tuple[Any, ...], options: dict[str, Any], everywhere: bool) -> Task:
        names = ('headers', 'data') if self._method in _HEADERS_FIRST else ('data', 'headers')
        if len(args) > 2:
            raise TypeError(f'{self._method} takes an address, {names[0]} and {names[1]}; all else by name')
        given = dict(zip(names, args, strict=False))
        if twice := given.keys() & options.keys():
            raise TypeError(f'{self._method} got {", ".join(twice)} twice')
        given |= options
        data = given.pop('data', None)
        told, surroundings = self._told(given, everywhere)
        return once(self._method, address, data, told, *surroundings)


_HEADERS_FIRST = frozenset({'get', 'head', 'delete', 'options'})
METHODS = ('get', 'head', 'delete', 'options', 'post', 'put', 'patch', 'upload')


class RPCStubs(Maker):
    """`was.xmlrpc`, `was.jsonrpc` and their like: as `Stubs`, in an RPC protocol (SPEC HC-05)."""

    __slots__ = ('_protocol',)

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol

    def __call__(
        self,
        base: str,
        headers: Fields | None = None,
        auth: Auth = None,
        timeout: float | None = TIMEOUT,
        **options: Any,
    ) -> rpc.Stub:
        """A stub whose attributes are the methods of the server at `base`. Options, errors: see `Stubs`.

        With `use_cache` or `cache` the value of the same call may do. `max_size`: the protocol's (16 MB).
        """
        given = {'headers': headers, 'auth': auth, 'timeout': timeout, **options}
        told, surroundings = self._told(given)
        return rpc_stub(self._protocol, base, told, *surroundings)

    lb = __call__

    def map(self, base: str, headers: Fields | None = None, **options: Any) -> rpc.Stub:
        """A stub of all members of an alias (SPEC LB-04)."""
        told, surroundings = self._told({'headers': headers, **options}, True)
        return rpc_stub(self._protocol, base, told, *surroundings)


def options_of(given: dict[str, Any], everywhere: bool = False) -> CallOptions:
    """TypeError, in words, for an option that there is not; ValueError for one that makes no sense."""
    unknown = [name for name in given if name not in _KNOWN]
    if unknown:
        raise TypeError(f'there is no option {", ".join(unknown)}: there are {", ".join(sorted(_KNOWN))}')
    return CallOptions(**given, everywhere=everywhere)


_KNOWN = frozenset(
    [
        'auth',
        'cache',
        'callback',
        'content_type',
        'filter',
        'headers',
        'max_size',
        'meta',
        'timeout',
        'use_cache',
    ]
)

#: At the front door of `aquests`.
MADE: dict[str, Any] = {
    'stub': Stubs(),
    **{method: Once(method) for method in METHODS},
    **{protocol: RPCStubs(protocol) for protocol in ('xmlrpc', 'jsonrpc')},
}
