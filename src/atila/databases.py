"""Databases as members of `was`: `was.db (alias)` and its like (SPEC DB-01, CA-02, CA-03).

What they are is in `aquests.dbi`; here they become a request's: what was begun ends with it, and the names of
`setlu` tell which results are out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from aquests import Task, cache, dbi
from aquests.aliases import DB_MONGODB, DB_PGSQL, DB_REDIS, DB_SQLITE3
from aquests.cache import UseCache
from aquests.task import TIMEOUT
from skitai import shared

if TYPE_CHECKING:
    from .was import Was

Opts = TypeVar('Opts', bound=dbi.Options)

#: Kept results are as old as what all workers say of these names.
cache.use_stamps(lambda names: shared.stamped(*names))


class Database:
    """`was.db`: called, it gives an alias's interface; `was.db.map` one of all members (SPEC LB-04)."""

    __slots__ = ('_kind', '_was')

    def __init__(self, was: Was, kind: str | None = None) -> None:
        """`kind`: the type that the alias must have; None for any database."""
        self._was = was
        self._kind = kind

    def __call__(
        self,
        alias: str,
        meta: Mapping[str, Any] | None = None,
        use_cache: UseCache = None,
        rm_cache: str | Sequence[str] | None = None,
        filter: Callable[[Any], Any] | None = None,
        callback: Callable[[Task], object] | None = None,
        cache: float | None = None,
        timeout: float | None = TIMEOUT,
        transaction: bool = False,
        cursor: bool = False,
    ) -> Any:
        """The interface of `alias`, to be used at once or as `with was.db (alias) as db` (SPEC DB-01).

        The options hold for all Tasks made with it. `use_cache`: a name or names of `setlu`: a kept result of
        the same query will do if it is newer than the last update of these; else the result is kept, for
        `cache` seconds (60). `rm_cache`: what is done updates these names. `callback (task)`: called when the
        Task is done; it must not block. `transaction`, `cursor`: see `was.transaction`, `was.cursor`.

        NameError for an alias that nobody registered, ImportError where its driver isn't installed.
        """
        options = dbi.Options(meta, filter, timeout, use_cache, cache, callback)
        return self._interface(alias, options, names_of(rm_cache), transaction, cursor)

    lb = __call__

    def map(self, alias: str, **options: Any) -> Any:
        """The interface of all members of `alias`: what is asked for is a list, a result for each."""
        names = names_of(options.pop('rm_cache', None))
        return self._interface(alias, dbi.Options(**options, everywhere=True), names)

    def _interface(
        self,
        name: str,
        options: dbi.Options,
        updated: Sequence[str] = (),
        transaction: bool = False,
        cursor: bool = False,
    ) -> Any:
        was = self._was
        own: Callable[[Task], object] = was._own
        if updated:
            options, own = updating(was, options, updated)
        found = dbi.database(name, options, own, was.app.aliases)
        if self._kind is not None and found.alias.type != self._kind:
            raise TypeError(f'alias {name} is of type {found.alias.type!r}, not {self._kind!r}')
        if not transaction and not cursor:
            return found
        wanted = 'transaction' if transaction else 'cursor'
        make = getattr(found, wanted, None)
        if make is None:
            raise TypeError(f'alias {name} is of type {found.alias.type!r}, which has no {wanted}s')
        return make()


class DatabaseMembers:
    """A base of `was.Was`."""

    __slots__ = ()

    @property
    def db(self) -> Database:
        """Any database (SPEC DB-01)."""
        return Database(self)  # type: ignore[arg-type]

    @property
    def postgresql(self) -> Database:
        return Database(self, DB_PGSQL)  # type: ignore[arg-type]

    @property
    def sqlite3(self) -> Database:
        return Database(self, DB_SQLITE3)  # type: ignore[arg-type]

    @property
    def redis(self) -> Database:
        return Database(self, DB_REDIS)  # type: ignore[arg-type]

    @property
    def mongodb(self) -> Database:
        return Database(self, DB_MONGODB)  # type: ignore[arg-type]

    def transaction(self, alias: str, timeout: float | None = TIMEOUT) -> Any:
        """One connection, whose statements hold together: `with was.transaction (alias) as tx` (SPEC DB-04).

        The block's end commits, an exception rolls back. `timeout`: seconds of each step.
        """
        return self.db(alias, timeout=timeout, transaction=True)

    def cursor(self, alias: str, timeout: float | None = TIMEOUT) -> Any:
        """Rows as they are needed: `with was.cursor (alias) as cursor` (SPEC DB-04)."""
        return self.db(alias, timeout=timeout, cursor=True)


def names_of(given: str | Sequence[str] | None) -> Sequence[str]:
    """What `rm_cache` says."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def updating(was: Was, options: Opts, names: Sequence[str]) -> tuple[Opts, Callable[[Task], object]]:
    """For an interface or a stub whose Tasks update `names` (SPEC CA-03): nothing of theirs is kept.

    The names are stamped now, with the event, and once more when a Task is done: what was read meanwhile may
    be from before the update.
    """
    for name in names:
        was.setlu(name)

    def stamp(task: Task | None = None) -> None:
        for name in names:
            shared.stamp(name)

    def own(task: Task) -> None:
        was._own(task)
        task.add_done_callback(stamp)

    return replace(options, use_cache=None, cache=None, when_done=stamp), own
