"""MongoDB, by pymongo's asynchronous client (SPEC DB-07).

    db.find ({'city': 'New York'}).fetch ()                      the alias names the collection: a list
    db.find ('people', {'city': 'New York'}, 0, 10).fetch ()     a Record with the first ten, and a cursor

An alias names `host/database/collection`, or `host/name` for a database and a collection of one name. Each
method takes the name of another collection first; those that find give a Record then: `data`, a list;
`number_returned`; `starting_from`, how many the cursor gave before; `cursor_id`, for `get_more`, or 0 when
there are no more.

Documents are Records: `person.city` is `person ['city']`. ObjectId, Decimal128 and the like stay what they
are, dates have a time zone. What is sent is copied when it is given: changing it later changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import bson

from ..records import Record
from ..task import Task
from .base import Interface as Base
from .mongolink import Backend, Operation, Perform, connect, names_of
from .mongosearch import Projection, Search, Sort, encoded, more

__all__ = ['Interface', 'connect']


class Interface(Base):
    """`was.db ('@mongodb')`. Methods are described without the collection's name that may come first.

    TypeError for what is no document, bson's InvalidDocument for one that cannot be stored: at once.
    """

    # -- finding ------------------------------------------------------------------------------------

    def find(self, *args: Any, **options: Any) -> Task:
        """`find (spec = {}, offset = 0, limit = 0, sort = None, projection = None)`: documents.

        `limit`: of them, 0 for all. `sort`: a name, or [(name, 1 or -1), ...]. `projection`: names, or a dict
        as MongoDB has it. With a collection's name `limit` is 1 if nothing is said; more are the first of a
        cursor, 0 leaves their number to us, a negative number ends the cursor.
        """
        return self._some(*_split(args), **options)

    def findone(self, *args: Any, **options: Any) -> Task:
        """`findone (spec = {}, sort = None, projection = None)`: a document, or None."""
        return self._one(*_split(args), **options)

    def findall(self, *args: Any, **options: Any) -> Task:
        """`findall (spec = {}, sort = None, projection = None)`: all documents."""
        return self._all(*_split(args), **options)

    def _some(
        self,
        name: str | None,
        spec: Mapping[str, Any] | None = None,
        offset: int = 0,
        limit: int | None = None,
        sort: Sort = None,
        projection: Projection = None,
    ) -> Task:
        search = Search(self._known(name), spec, offset, sort, projection)
        if name is None:
            count = abs(limit or 0)
            return self._do(
                lambda backend: search.documents(backend, count), True, (search.key, 'list', count)
            )
        count = 1 if limit is None else limit
        ends = count == 1 or count < 0
        return self._do(lambda backend: search.begin(backend, count), True, (search.key, count), kept=ends)

    def _one(
        self,
        name: str | None,
        spec: Mapping[str, Any] | None = None,
        sort: Sort = None,
        projection: Projection = None,
    ) -> Task:
        search = Search(self._known(name), spec, 0, sort, projection)
        if name is None:
            return self._do(search.first, True, (search.key, 'first'))
        return self._do(lambda backend: search.begin(backend, 1), True, (search.key, 1))

    def _all(
        self,
        name: str | None,
        spec: Mapping[str, Any] | None = None,
        sort: Sort = None,
        projection: Projection = None,
    ) -> Task:
        search = Search(self._known(name), spec, 0, sort, projection)
        if name is None:
            return self._do(lambda backend: search.documents(backend, 0), True, (search.key, 'list', 0))
        return self._do(search.whole, True, (search.key, 'whole'))

    def get_more(self, *args: Any) -> Task:
        """`get_more (cursor_id, limit = 0)`: the next documents of a cursor of this process, a Record."""
        _, cursor_id, *rest = _split(args, 1)
        _no(rest[1:], 'get_more')
        limit = rest[0] if rest else 0
        operation = self._operation(lambda backend: more(backend, cursor_id, limit), False)
        for seat in self._cluster.seats:
            if isinstance(seat.backend, Backend) and seat.backend.has_cursor(cursor_id):
                options = dataclasses.replace(self._options, use_cache=None, cache=None)
                task = self.query(self._cluster, operation, options, None, seat=seat)
                if self._own is not None:
                    self._own(task)
                return task
        return self._send(operation, None, kept=False)

    def kill_cursors(self, *cursor_ids: Any) -> Task:
        """End cursors, given one by one or as a list; those that there are not do no harm."""
        ids = [one for each in cursor_ids for one in (each if isinstance(each, list | tuple) else (each,))]
        seats = self._cluster.seats

        async def perform(backend: Backend) -> None:
            for each in (seat.backend for seat in seats):
                if isinstance(each, Backend):
                    await each.end_cursors(ids)

        return self._do(perform, True, None, kept=False)

    # -- writing ------------------------------------------------------------------------------------

    def insert(self, *args: Any) -> Task:
        """`insert (document or documents)`: a Record of `inserted_ids`, a list."""
        name, documents, *rest = _split(args, 1)
        _no(rest, 'insert')
        several = isinstance(documents, list | tuple)
        made = [_with_id(document) for document in (documents if several else [documents])]
        raw = [encoded(document, 'a document') for document in made]
        ids = [document['_id'] for document in made]
        known = self._known(name)

        async def perform(backend: Backend) -> Any:
            if several:
                await backend.collection(known).insert_many(raw)
            else:
                await backend.collection(known).insert_one(raw[0])
            return Record(inserted_ids=ids)

        return self._do(perform, False, None, kept=False)

    def update(self, *args: Any) -> Task:
        """`update (spec, change)`: change all such documents, as in `{'$set': {'city': 'Rome'}}`.

        A Record of `matched_count`, `modified_count`, `upserted_id`.
        """
        return self._update('update', args, many=True, upsert=False)

    def updateone(self, *args: Any) -> Task:
        """`updateone (spec, change)`: one document. A `change` without `$` operators replaces it."""
        return self._update('updateone', args, many=False, upsert=False)

    def upsert(self, *args: Any) -> Task:
        """As `update`; where there is no such document, one is made."""
        return self._update('upsert', args, many=True, upsert=True)

    def upsertone(self, *args: Any) -> Task:
        """As `updateone`; where there is no such document, one is made."""
        return self._update('upsertone', args, many=False, upsert=True)

    def _update(self, how: str, args: tuple[Any, ...], many: bool, upsert: bool) -> Task:
        name, spec, change, *rest = _split(args, 2)
        _no(rest, how)
        where = encoded(spec, 'a spec')
        what = _change(how, change, many)
        known = self._known(name)

        async def perform(backend: Backend) -> Any:
            collection = backend.collection(known)
            if many:
                result = await collection.update_many(where, what, upsert=upsert)
            elif isinstance(what, list) or _has_operators(change):
                result = await collection.update_one(where, what, upsert=upsert)
            else:
                result = await collection.replace_one(where, what, upsert=upsert)
            return Record(
                matched_count=result.matched_count,
                modified_count=result.modified_count,
                upserted_id=result.upserted_id,
            )

        return self._do(perform, False, None, kept=False)

    def delete(self, *args: Any) -> Task:
        """`delete (spec)`: delete all such documents. A Record of `deleted_count`."""
        name, spec, *rest = _split(args, 1)
        _no(rest, 'delete')
        where = encoded(spec, 'a spec')
        known = self._known(name)

        async def perform(backend: Backend) -> Any:
            result = await backend.collection(known).delete_many(where)
            return Record(deleted_count=result.deleted_count)

        return self._do(perform, False, None, kept=False)

    # -- all else -----------------------------------------------------------------------------------

    def aggregate(self, *args: Any) -> Task:
        """`aggregate (pipeline)`: what the stages, a list of documents, give: a list."""
        name, pipeline, *rest = _split(args, 1)
        _no(rest, 'aggregate')
        if not isinstance(pipeline, list | tuple):
            raise TypeError(f'aggregate takes a list of stages, not {type(pipeline).__name__}')
        looks = not any('$out' in stage or '$merge' in stage for stage in pipeline)
        stages = [encoded(stage, 'a stage') for stage in pipeline]
        known = self._known(name)

        async def perform(backend: Backend) -> Any:
            cursor = await backend.collection(known).aggregate(stages)
            return await cursor.to_list()

        key = (known, 'aggregate', tuple(stage.raw for stage in stages))
        return self._do(perform, looks, key, kept=looks)

    def command(self, document: Mapping[str, Any]) -> Task:
        """A command of the database: what it answers, a Record."""
        raw = encoded(document, 'a command')

        async def perform(backend: Backend) -> Any:
            database = backend.database()
            return await database.command({**raw}, codec_options=database.codec_options)

        return self._do(perform, False, None, kept=False)

    # -- inside -------------------------------------------------------------------------------------

    def _known(self, name: str | None) -> str | None:
        """`name`; ValueError where neither it nor the alias names a collection, or the alias no database."""
        for member in self.alias.members:
            if not names_of(member)[0]:
                raise ValueError(
                    f'alias {self.alias.name}: {member.address} names no database: it is written '
                    'host/database/collection'
                )
        if name == '':
            raise ValueError('the name of a collection is empty')
        return name

    def _do(self, perform: Perform, idempotent: bool, key: Any, kept: bool = True) -> Task:
        return self._send(self._operation(perform, idempotent), key, kept)

    def _operation(self, perform: Perform, idempotent: bool) -> Operation:
        return Operation(perform, idempotent, self._options.timeout)


def _split(args: tuple[Any, ...], least: int = 0) -> tuple[Any, ...]:
    """The collection's name, or None, and the other arguments."""
    split = args if args and isinstance(args[0], str) else (None, *args)
    if len(split) <= least:
        raise TypeError(f'{least} arguments are needed, after the name of a collection if there is one')
    return split


def _no(rest: Sequence[Any], method: str) -> None:
    if rest:
        raise TypeError(f'{method} was given too many arguments: {rest!r:.100}')


def _with_id(document: Any) -> Mapping[str, Any]:
    if isinstance(document, Mapping) and '_id' not in document:
        return {'_id': bson.ObjectId(), **document}
    return document  # type: ignore[no-any-return]  # `encoded` looks at it


def _change(method: str, change: Any, many: bool) -> Any:
    """What is to become of documents, ready to be sent."""
    if isinstance(change, list | tuple):
        return [encoded(stage, 'a stage') for stage in change]
    if many and isinstance(change, Mapping) and not _has_operators(change):
        raise ValueError(
            f"{method} changes all such documents, so it takes operators, as in {{'$set': {{...}}}}; "
            f'{method}one replaces one'
        )
    return encoded(change, 'a change')


def _has_operators(change: Mapping[str, Any]) -> bool:
    return next(iter(change), '').startswith('$')
