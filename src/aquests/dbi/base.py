"""What all database interfaces have in common (SPEC chapter 22, DB).

`Interface` is what `was.db (alias)` gives: its methods make Tasks (`Query`). A Query hands its request to the
alias's cluster; a backend, one for each member, carries it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Self

from .. import cache as caches
from ..aliases import Alias
from ..cluster import Cluster, Seat
from ..errors import NetworkError, PoolExhausted, TaskError, TaskTimeout
from ..group import Tasks
from ..keeping import KeptResult, KeptTask, Options, found
from ..result import CODE_NETERR, STA_NETERR, Result, failure
from ..task import Task


class Request:
    """What a database is to do. Backends have kinds of their own.

    `idempotent`: doing it twice is doing it once. `waiting`: no connection is free for it at the moment.
    """

    __slots__ = ('idempotent', 'waiting')

    def __init__(self, idempotent: bool) -> None:
        self.idempotent = idempotent
        self.waiting = False


class Answer(KeptResult):
    """What a database answered."""

    __slots__ = ()

    def one(self, *args: Any, **kargs: Any) -> Any:
        """As fetch, but the only element; what violates a unique key is a 409 here (SPEC TK-05)."""
        if self.error is not None and is_duplicate(self.error):
            self.error.http_status = 409  # type: ignore[attr-defined]
        return super().one()


class Query(KeptTask):
    """A request to a database, under way."""

    __slots__ = ('_cluster', '_request')

    def __init__(
        self,
        cluster: Cluster,
        request: Request,
        options: Options,
        key: Hashable,
        keep: float | None = None,
        seat: Seat | None = None,
    ) -> None:
        """`key`, `keep`, `seat`: see `KeptTask`."""
        self._cluster = cluster
        self._request = request
        super().__init__(options, key, keep, seat)

    def _work(self) -> Awaitable[Any]:
        if self._seat is None:
            return self._cluster.run(self._request)
        return self._cluster.run_on(self._seat, self._request)

    # -- inside ---------------------------------------------------------------------------------------

    def _succeed(self, value: Any) -> bool:
        self._work_ended()
        if self._result is not None:
            return False
        if self._keep:
            caches.cache.put(self._key, value, self._since, self._keep)
        if self._filter is not None:
            return super()._succeed(value)
        return self._settle(Answer(value, key=self._key, since=self._since))

    def _fail(self, error: BaseException) -> bool:
        self._work_ended()
        return self._settle(failure_of(error))

    def _too_late(self) -> TaskTimeout:
        if not self._request.waiting:
            return super()._too_late()
        return exhausted(self._describe(), self._cluster.alias)

    def _describe(self) -> str:
        return f'Query of {self._cluster.alias.name}'


def failure_of(error: BaseException) -> Result:
    """The Result of a Query that ended with `error` (SPEC TK-11, TK-12)."""
    if isinstance(error, NetworkError):
        return Result(None, error, STA_NETERR, CODE_NETERR, 'Network Error')
    if isinstance(error, TaskError) or not isinstance(error, Exception):
        return failure(error)
    if not hasattr(error, 'http_status'):
        try:
            error.http_status = 502  # type: ignore[attr-defined]
        except AttributeError:  # an exception without a dict is answered with 500
            pass
    return Answer(None, error, 500, 'Database Error')


def exhausted(who: str, alias: Alias) -> PoolExhausted:
    """The error of what waited for a connection until its time was up."""
    return PoolExhausted(
        f'{who}: all {alias.max_conns} connections were in use until its time was up; '
        f'skitai.alias ({alias.name!r}, ..., max_conns = ...) sets how many there may be'
    )


def is_duplicate(error: BaseException) -> bool:
    """Whether a database refused a second row with the same unique key."""
    return (
        getattr(error, 'sqlstate', None) == '23505'
        or getattr(error, 'sqlite_errorname', None)
        in ('SQLITE_CONSTRAINT_UNIQUE', 'SQLITE_CONSTRAINT_PRIMARYKEY', 'SQLITE_CONSTRAINT_ROWID')
        or getattr(error, 'code', None) == 11000
    )


class Interface:
    """What `was.db (alias)` gives; also as `with was.db (alias) as db`.

    It holds no connection: it may be used as often, and by as many threads, as one likes.
    """

    #: The kind of Task that it makes.
    query: type[Query] = Query

    def __init__(
        self, alias: Alias, cluster: Cluster, options: Options, own: Callable[[Task], object] | None = None
    ) -> None:
        """`own (task)` is told of each Task: it is a request's, and ends with it."""
        self.alias = alias
        self._cluster = cluster
        self._options = options
        self._own = own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.alias.name}>'

    def transaction(self) -> Any:
        """One connection, whose statements hold together; TypeError where there is no such thing."""
        raise TypeError(f'alias {self.alias.name} is of type {self.alias.type!r}: it has no transactions')

    def cursor(self) -> Any:
        """Rows as they are needed; TypeError where there is no such thing."""
        raise TypeError(f'alias {self.alias.name} is of type {self.alias.type!r}: it has no cursors')

    def _send(self, request: Request, what: Hashable, kept: bool = True) -> Task:
        """The Task of `request`; a finished one where its result is kept. `what`: the request as a key.

        `kept`: False for what is always to be done: it is neither looked up nor kept.
        """
        options = self._options
        if not kept and (options.use_cache is not None or options.cache is not None):
            options = dataclasses.replace(options, use_cache=None, cache=None)
        if options.everywhere:
            return self._send_to_all(request, what)
        key = (self.alias, what)
        if options.use_cache is not None:
            try:
                return found(caches.cache.get(key, caches.not_before(options.use_cache)), options)
            except KeyError as error:
                if error.args != (key,):
                    raise
        task = self.query(self._cluster, request, options, key, options.keep)
        if self._own is not None:
            self._own(task)
        return task

    def _send_to_all(self, request: Request, what: Hashable) -> Task:
        own = dataclasses.replace(self._options, callback=None, meta=None)
        tasks = Tasks(
            *(
                self.query(self._cluster, request, own, (self.alias, seat.member, what), seat=seat)
                for seat in self._cluster.seats
            ),
            timeout=self._options.timeout,
            meta=self._options.meta,
        )
        if self._options.callback is not None:
            tasks.add_done_callback(self._options.callback)
        if self._own is not None:
            self._own(tasks)
        return tasks
