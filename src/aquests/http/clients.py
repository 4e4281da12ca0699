"""Who gets a request: a member of an alias, as its cluster says, or the server that a URL names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable
from typing import Protocol

from .. import loop as loops
from ..aliases import Aliases, aliases
from ..cluster import Cluster, Clusters, Seat
from ..errors import NetworkError
from .address import base_of, base_of_url, split_alias
from .pool import Backend, KeptConnectionClosed, Pool, forget
from .request import Body, Fields, Request
from .response import Response

#: Requests under way to all servers that have no alias, and to one of them.
MOST = 128
MOST_TO_ONE = 32
#: Seconds that a server may be silent, if nothing is said.
TIMEOUT = 10.0

clusters = Clusters(loops.at_end)
_urls = Pool(MOST, MOST_TO_ONE)


class Client(Protocol):
    """Sends requests. Coroutines, on the event loop that `loop.get ()` gives (or any other one)."""

    async def request(
        self,
        method: str,
        target: str,
        headers: Fields = (),
        body: Body | AsyncIterable[bytes] = None,
        *,
        timeout: float | None = TIMEOUT,
        decompress: bool = False,
    ) -> Response:
        """The answer, when its head is there: to be read to its end, or closed.

        `target`: '/path?query' below the base, percent-encoded, sent as it is. `headers`: a mapping or
        pairs; nothing is added but Host, what frames the body, and the Authorization that the base has.
        `body`: bytes, a `Stream` or any asynchronous iterable of bytes, which is sent in chunks as it comes.
        `timeout`: seconds that the server may be silent, until its answer begins and between two parts of
        it; the time of a Task is another one. `decompress`: ask for a compressed answer and decode it.
        Redirects are not followed.

        ValueError, TypeError for what cannot be sent. NetworkError: no server could be reached, or the
        connection broke (`sent`: it may have been carried out). TaskTimeout, and PoolExhausted where no
        connection became free. MalformedAnswer: that was no HTTP. What a body raises while it is sent.
        """
        ...


class AliasClient:
    """Requests to the members of an alias (SPEC LB-01 to LB-03, LB-05).

    What a member didn't get goes on to the next; what it may have got only if it is idempotent and its body
    is still there. What timed out doesn't.
    """

    def __init__(self, base: str, register: Aliases = aliases) -> None:
        """`base`: '@alias[/path]'. UnknownAlias, TypeError for one that is no HTTP server, ValueError."""
        name, self.path = split_alias(base)
        self.alias = register.find(name)
        for member in self.alias.members:
            base_of(self.alias, member)

    @property
    def cluster(self) -> Cluster:
        return clusters.of(self.alias, Backend)

    @property
    def seats(self) -> list[Seat]:
        """The members, for requests to all of them (SPEC LB-04)."""
        return self.cluster.seats

    async def request(
        self,
        method: str,
        target: str,
        headers: Fields = (),
        body: Body | AsyncIterable[bytes] = None,
        *,
        timeout: float | None = TIMEOUT,
        decompress: bool = False,
        seat: Seat | None = None,
    ) -> Response:
        """See `Client.request`. `seat`: only this member is to do it."""
        request = Request(method, self.path + target, headers, body, timeout, decompress)
        cluster = self.cluster
        if seat is not None:
            return await _request_of(cluster, seat, request)
        tried: list[Seat] = []
        while True:
            seat = cluster.pick(tried)
            try:
                return await _request_of(cluster, seat, request)
            except NetworkError as error:
                tried.append(seat)
                if not cluster.goes_on(error, request, len(tried)):
                    raise


class UrlClient:
    """Requests to a server that has no alias. All of them share one pool of connections."""

    def __init__(self, base: str) -> None:
        """`base`: 'http[s]://[user:password@]host[:port][/path]'. ValueError."""
        self.base = base_of_url(base)

    async def request(
        self,
        method: str,
        target: str,
        headers: Fields = (),
        body: Body | AsyncIterable[bytes] = None,
        *,
        timeout: float | None = TIMEOUT,
        decompress: bool = False,
    ) -> Response:
        """See `Client.request`."""
        request = Request(method, target, headers, body, timeout, decompress)
        return await _urls.send(self.base, request, self.base.origin)


async def _request_of(cluster: Cluster, seat: Seat, request: Request) -> Response:
    """Have this member do it; it counts among its `active` until the answer is read."""
    cluster.taken(seat)
    try:
        response = await _backend(seat).send(request)
    except BaseException as error:
        cluster.given_back(seat)
        if isinstance(error, NetworkError) and not isinstance(error, KeptConnectionClosed):
            cluster.failed(seat)
        raise
    cluster.worked(seat)
    response.watch(lambda: cluster.given_back(seat), lambda: cluster.failed(seat))
    return response


def _backend(seat: Seat) -> Backend:
    backend = seat.backend
    assert isinstance(backend, Backend)
    return backend


def _forked() -> None:
    global _urls
    forget()
    clusters.forget()
    _urls = Pool(MOST, MOST_TO_ONE)


os.register_at_fork(after_in_child=_forked)
