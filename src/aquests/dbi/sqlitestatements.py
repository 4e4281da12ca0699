"""What SQLite is told: statements as users write them, and how they are carried out on a connection.

A Task's request is a transaction of its own. A single statement is one by itself; several are put between
BEGIN IMMEDIATE and COMMIT, unless they begin with a BEGIN of their own.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from ..errors import TaskCancelled
from ..records import Record
from ..sql import SQLITE, Builder
from .base import Request
from .sqlitefile import Connection, Job
from .sqliterefusals import look
from .sqlitevalues import Bound, bound
from .statements import traits

#: Lists of values that `executemany` takes before it looks whether it is still wanted.
_BATCH = 500

_SKIP = r'(?:\s|;|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/)*'
_NOTHING = re.compile(_SKIP)
#: What is a reader's, and what is not even then. No harm is done if it writes all the same, by a function
#: that we don't know: the reader's connection refuses that.
_READS = frozenset({'SELECT', 'VALUES', 'WITH'})
_WRITES = re.compile(
    r'\b(?:INSERT|UPDATE|DELETE|INTO|last_insert_rowid|changes|total_changes)\b', re.IGNORECASE
)
_FIRST = re.compile(rf'{_SKIP}([A-Za-z]+)')
#: What changes a connection beyond its transaction.
_WEARS = re.compile(rf'{_SKIP}(?:PRAGMA|ATTACH|DETACH|CREATE\s+TEMP)', re.IGNORECASE)
#: What the driver's executemany takes, and does not lose rows of.
_DML = frozenset({'INSERT', 'UPDATE', 'DELETE', 'REPLACE'})
_RETURNING = re.compile(r'\bRETURNING\b', re.IGNORECASE)
#: A semicolon that may end a statement, or what may have one inside.
_ENDS = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|(?P<end>;)""", re.DOTALL)


class Nature(NamedTuple):
    """Of a statement. `reads`: it is a reader's. `wears`: the connection is not to be used after it. `quick`:
    for the driver's executemany. `begins`: a transaction of its own.
    """

    reads: bool
    wears: bool
    quick: bool
    begins: bool


class Statement(Request):
    """One statement and its values. `many`: `values` is a list of them, for each of which it is done."""

    __slots__ = ('many', 'nature', 'sql', 'values')

    def __init__(self, sql: str, values: Any, many: bool = False) -> None:
        self.nature = nature(sql)
        super().__init__(self.nature.reads and not many)
        self.sql, self.values, self.many = sql, values, many

    @property
    def key(self) -> tuple[str, str]:
        return self.sql, repr(self.values)


class Script(Request):
    """Statements one after the other, in one transaction."""

    __slots__ = ('statements',)

    def __init__(self, statements: Sequence[Statement]) -> None:
        super().__init__(False)
        self.statements = statements

    @property
    def key(self) -> tuple[Any, ...]:
        return tuple(statement.key for statement in self.statements)


@lru_cache(maxsize=1024)
def nature(sql: str) -> Nature:
    first = _FIRST.match(sql)
    word = first[1].upper() if first else ''
    return Nature(
        word in _READS and traits(sql).clean and not _WRITES.search(sql),
        _WEARS.match(sql) is not None,
        word in _DML and not _RETURNING.search(sql),
        word in ('BEGIN', 'SAVEPOINT'),
    )


def request_of(query: Any, params: Any = None) -> Statement | Script:
    """The request of SQL text and its values, of a builder, or of a list of these."""
    if isinstance(query, str):
        if not params and ';' in query:
            parts = split(query)
            if len(parts) > 1:
                return Script([Statement(part, ()) for part in parts])
        return Statement(query, bound(params))
    if params is not None:
        raise TypeError(
            'parameters belong to a single SQL text: a built query has its values, a list takes none'
        )
    if isinstance(query, Builder):
        built = [Statement(sql, bound(values)) for sql, values in query.statements(SQLITE)]
        return built[0] if len(built) == 1 else Script(built)
    if isinstance(query, list | tuple):
        statements: list[Statement] = []
        for one in query:
            request = request_of(one) if not isinstance(one, list | tuple) else None
            if request is None:
                raise TypeError(f'execute takes a list of SQL texts and built queries, not of {one!r}')
            statements.extend(request.statements if isinstance(request, Script) else (request,))
        return Script(statements)
    raise TypeError(f'execute takes SQL as str, a built query, or a list of these, not {query!r}')


def split(sql: str) -> list[str]:
    """The statements of a text. A semicolon within a text, a comment or a trigger ends none."""
    parts = []
    start = 0
    for match in _ENDS.finditer(sql):
        if match['end'] and sqlite3.complete_statement(sql[start : match.end()]):
            parts.append(sql[start : match.end()])
            start = match.end()
    parts.append(sql[start:])
    return [part for part in parts if not _NOTHING.fullmatch(part)]


# -- on a connection's thread -----------------------------------------------------------------------------


def perform(connection: Connection, job: Job, request: Statement | Script) -> list[Record]:
    """The rows of a Task's request, which is a transaction of its own."""
    if type(request) is Statement and not request.many:
        rows = connection.patiently(job, rows_of, connection, request)
        if connection.db.in_transaction:
            raise _left_open()
        return rows
    return _in_transaction(connection, job, request)


def _in_transaction(connection: Connection, job: Job, request: Statement | Script) -> list[Record]:
    own = isinstance(request, Script) and bool(request.statements) and request.statements[0].nature.begins
    if not own:
        connection.patiently(job, run, connection, 'BEGIN IMMEDIATE')
    rows = steps(connection, job, request)
    if connection.db.in_transaction:
        if own:
            raise _left_open()
        connection.patiently(job, run, connection, 'COMMIT')
    return rows


def steps(connection: Connection, job: Job, request: Statement | Script) -> list[Record]:
    """The rows of a request within a transaction; of a script its last statement's."""
    if isinstance(request, Script):
        rows: list[Record] = []
        for statement in request.statements:
            _go_on(job)
            rows = connection.patiently(job, rows_of, connection, statement)
        return rows
    if request.many:
        return _many(connection, job, request)
    return connection.patiently(job, rows_of, connection, request)


def rows_of(connection: Connection, statement: Statement) -> list[Record]:
    cursor = connection.db.cursor()
    try:
        if statement.nature.wears:
            connection.worn = True
        cursor.execute(statement.sql, statement.values)
        return records(cursor, cursor.fetchall())
    except Exception as error:
        look(error, statement.values)
        raise
    finally:
        cursor.close()


def _many(connection: Connection, job: Job, statement: Statement) -> list[Record]:
    rows: list[Record] = []
    lists: Iterator[Bound] = iter(statement.values)
    cursor = connection.db.cursor()
    try:
        while batch := list(islice(lists, _BATCH)):
            _go_on(job)
            if statement.nature.quick:
                cursor.executemany(statement.sql, batch)
                continue
            for values in batch:
                cursor.execute(statement.sql, values)
                rows += records(cursor, cursor.fetchall())
    except Exception as error:
        look(error, statement.values)
        raise
    finally:
        cursor.close()
    return rows


def run(connection: Connection, sql: str) -> None:
    connection.db.execute(sql).close()


def records(cursor: sqlite3.Cursor, rows: list[Any]) -> list[Record]:
    """Rows as they are handed out."""
    if not rows:
        return []
    names = [column[0] for column in cursor.description]
    return [Record(zip(names, row, strict=True)) for row in rows]


def _go_on(job: Job) -> None:
    """Between two statements there is nothing to interrupt."""
    if job.done():
        raise TaskCancelled('it was given up half-way')


def _left_open() -> sqlite3.ProgrammingError:
    return sqlite3.ProgrammingError(
        'a Task is a transaction of its own and left one open, which was rolled back: use was.transaction, '
        'or execute a list of statements'
    )
