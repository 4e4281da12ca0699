"""Which of SQLite's errors are about a value that a client may have sent (SPEC ER-05).

As `pgrefusals`; what SQLite has no place for at all `sqlitevalues` says before it is sent. A trigger's RAISE
stays 502, as an exception in PostgreSQL's functions does: nobody knows what it is about.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from ..refusals import refuse

#: By the names of its codes; 409, whatever the statement.
CONFLICTS = {
    'SQLITE_CONSTRAINT_UNIQUE': 'there is one like it already',
    'SQLITE_CONSTRAINT_PRIMARYKEY': 'there is one like it already',
    'SQLITE_CONSTRAINT_ROWID': 'there is one like it already',
    'SQLITE_CONSTRAINT_FOREIGNKEY': 'it refers to what is not there, or is still referred to itself',
}
#: 400, if the statement has values.
VALUES = {
    'SQLITE_CONSTRAINT_NOTNULL': 'a value is missing',
    'SQLITE_CONSTRAINT_CHECK': 'a value is not one of those that are allowed',
    'SQLITE_MISMATCH': 'a value is not of the kind that is needed',
    'SQLITE_TOOBIG': 'a value is too large',
}
#: SQLITE_CONSTRAINT_DATATYPE, of tables that are STRICT: the driver has no name for it.
_DATATYPE = 19 | 12 << 8
#: Those that have no code of their own.
_MESSAGES = {
    'LIKE or GLOB pattern too complex': 'a text to look for is too long',
    'too many SQL variables': 'there are too many values',
}
#: `NOT NULL constraint failed: t.name`, `cannot store TEXT value in INTEGER column t.n`. What a CHECK says
#: may be its text, and is not told.
_COLUMN = re.compile(r'(?:NOT NULL constraint failed: |column )\w+\.(\w+)')


def look(error: BaseException, values: Any) -> None:
    """Mark `error`, which a statement with `values` has ended with, if it is about one of them."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, 'sqlite_errorname', '')
        if name in CONFLICTS:
            refuse(error, CONFLICTS[name], 409)
            return
        datatype = getattr(error, 'sqlite_errorcode', 0) == _DATATYPE
        words = VALUES['SQLITE_MISMATCH'] if datatype else VALUES.get(name) or _MESSAGES.get(str(error))
        if words is not None and values:
            column = _COLUMN.search(str(error))
            refuse(error, words if column is None else f'{column[1]}: {words}')
    elif values and isinstance(error, UnicodeEncodeError):
        refuse(error, 'a text has a character that cannot be kept')
    elif values and isinstance(error, OverflowError):
        refuse(error, 'a value is too large')
