"""HTTP and RPC as members of `was`: `was.stub`, `was.get`, `was.xmlrpc` and their like (SPEC WAS-03).

What they are is in `aquests.http`; here they become a request's: what was begun ends with it, its transaction
ids go on to aliases, the names of `setlu` tell which answers are out of date.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aquests import Task, rpc
from aquests.http.call import CallOptions
from aquests.http.stubs import Maker, Once, RPCStubs, Stubs, Surroundings, options_of

from .databases import names_of, updating

if TYPE_CHECKING:
    from .was import Was


class _OfRequest(Maker):
    """`_was`: whose Tasks they are."""

    __slots__ = ()

    _was: Was

    def _told(self, given: dict[str, Any], everywhere: bool = False) -> tuple[CallOptions, Surroundings]:
        """Also `rm_cache`: what is done updates these names of `setlu` (SPEC CA-03). The content type of what
        is sent may be the app's (`app.config.default_request_type`, SPEC HC-02).
        """
        was = self._was
        updated = names_of(given.pop('rm_cache', None))
        default = was.app.config.get('default_request_type')
        if default is not None:
            given.setdefault('content_type', default)
        options = options_of(given, everywhere)
        own: Callable[[Task], object] = was._own
        if updated:
            options, own = updating(was, options, updated)
        ids = None if was.exchange is None else was._transaction()
        return options, Surroundings(own, was.app.aliases, ids)


class _Stubs(_OfRequest, Stubs):
    __slots__ = ('_was',)

    def __init__(self, was: Was) -> None:
        self._was = was


class _Once(_OfRequest, Once):
    __slots__ = ('_was',)

    def __init__(self, method: str, was: Was) -> None:
        super().__init__(method)
        self._was = was


class _RPCStubs(_OfRequest, RPCStubs):
    __slots__ = ('_was',)

    def __init__(self, protocol: str, was: Was) -> None:
        super().__init__(protocol)
        self._was = was


def _once(method: str) -> Any:
    return property(partial(_Once, method), doc=f'One {method.upper()} request: see `Once`.')


def _rpc(protocol: str) -> Any:
    return property(partial(_RPCStubs, protocol), doc=f'A stub that speaks {protocol}: see `RPCStubs`.')


class StubMembers:
    """A base of `was.Was`. Protocols of one's own become members when they are added (SPEC DB-09)."""

    __slots__ = ()

    @property
    def stub(self) -> Stubs:
        """A server's URIs as calls (SPEC HC-01)."""
        return _Stubs(self)  # type: ignore[arg-type]

    get: Once = _once('get')
    head: Once = _once('head')
    delete: Once = _once('delete')
    options: Once = _once('options')
    post: Once = _once('post')
    put: Once = _once('put')
    patch: Once = _once('patch')
    upload: Once = _once('upload')

    xmlrpc: RPCStubs = _rpc('xmlrpc')
    jsonrpc: RPCStubs = _rpc('jsonrpc')
    rpc: RPCStubs = _rpc('rpc')


def _add(protocol: str) -> None:
    setattr(StubMembers, protocol, _rpc(protocol))


rpc.when_added(_add)
