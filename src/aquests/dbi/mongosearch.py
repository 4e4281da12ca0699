"""What is looked for in MongoDB, and the documents that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeRegistry
from bson.raw_bson import RawBSONDocument

from ..records import Record
from ..refusals import refuse
from .mongolink import Backend

Sort = str | Sequence[tuple[str, int]] | Mapping[str, int] | None
Projection = Sequence[str] | Mapping[str, Any] | None

#: Documents that a cursor gives at once where nothing is said: as many as the server would.
BATCH = 101


class Search:
    """A search, as it was given. `key`: what its result is kept under."""

    __slots__ = ('_name', '_offset', '_projection', '_sort', '_spec', 'key')

    def __init__(
        self,
        name: str | None,
        spec: Mapping[str, Any] | None,
        offset: int,
        sort: Sort,
        projection: Projection,
    ) -> None:
        self._name = name
        self._spec = encoded({} if spec is None else spec, 'a spec')
        self._offset = offset
        self._sort = _sorted(sort)
        self._projection = _projected(projection)
        self.key = (name, self._spec.raw, offset, repr(self._sort), repr(self._projection))

    async def documents(self, backend: Backend, count: int) -> list[Any]:
        """All documents, or the first `count`."""
        return await self._cursor(backend, limit=count).to_list()  # type: ignore[no-any-return]

    async def first(self, backend: Backend) -> Any:
        """The first document, or None."""
        found = await self.documents(backend, 1)
        return found[0] if found else None

    async def whole(self, backend: Backend) -> Record:
        """All documents, as of a cursor that is at its end."""
        return result_of(await self.documents(backend, 0), 0, 0)

    async def begin(self, backend: Backend, count: int) -> Record:
        """The first `count` documents of a cursor; 1 or a negative number end it, 0 is `BATCH`."""
        if count == 1 or count < 0:
            return result_of(await self.documents(backend, abs(count)), 0, 0)
        batch = count or BATCH
        return await _taken(backend, self._cursor(backend, batch_size=batch), batch, 0)

    def _cursor(self, backend: Backend, limit: int = 0, batch_size: int = 0) -> Any:
        return backend.collection(self._name).find(
            self._spec,
            self._projection,
            skip=self._offset,
            limit=limit,
            sort=self._sort,
            batch_size=batch_size,
        )


async def more(backend: Backend, cursor_id: int, count: int) -> Record:
    """The next documents of a kept cursor."""
    kept = backend.take_cursor(cursor_id)
    return await _taken(backend, kept.cursor, count or BATCH, kept.taken)


async def _taken(backend: Backend, cursor: Any, count: int, start: int) -> Record:
    """The next `count` documents; the cursor is kept for more, or closed."""
    try:
        data = await cursor.to_list(count)
    except BaseException:
        await cursor.close()
        raise
    return result_of(data, start, await backend.keep_cursor(cursor, start + len(data)))


def result_of(data: list[Any], start: int, cursor_id: int) -> Record:
    """What methods that find give where a collection is named (SPEC DB-07). `start`: those before them."""
    return Record(cursor_id=cursor_id, starting_from=start, number_returned=len(data), data=data)


def encoded(document: Any, what: str) -> RawBSONDocument:
    """A document as it is sent. TypeError for what is none; bson's InvalidDocument."""
    if not isinstance(document, Mapping):
        raise TypeError(f'{what} is a dict, not {type(document).__name__}')
    return RawBSONDocument(bson.encode(document, codec_options=_CODEC))


def _decimal(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    try:
        return bson.Decimal128(value)
    except DecimalException:
        error = bson.errors.InvalidDocument(
            f'{value!s:.60}: a number in MongoDB has 34 digits at most, and an exponent up to 6111: give it '
            'as text, or rounded'
        )
        raise refuse(error, 'a number is out of range') from None


#: Decimals are written as Decimal128, which is what comes back.
_CODEC: CodecOptions[Any] = CodecOptions(
    uuid_representation=UuidRepresentation.STANDARD,
    type_registry=TypeRegistry(fallback_encoder=_decimal),
)


def _sorted(sort: Sort) -> list[tuple[str, int]] | None:
    if sort is None:
        return None
    if isinstance(sort, str):
        return [(sort, 1)]
    return list(sort.items() if isinstance(sort, Mapping) else sort)


def _projected(projection: Projection) -> dict[str, Any] | list[str] | None:
    if projection is None:
        return None
    if isinstance(projection, str):
        raise TypeError(f'projection is a list of names or a dict, not {projection!r}')
    return dict(projection) if isinstance(projection, Mapping) else list(projection)
