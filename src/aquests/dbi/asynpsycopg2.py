"""The base class for connections of one's own to relational databases (SPEC DB-08)."""

from __future__ import annotations

from typing import ClassVar

from ..sql import POSTGRESQL, Dialect
from . import asynconnect


class AsynConnect(asynconnect.AsynConnect):
    """`db.execute (sql, params)` is a request with `sql` and `params` as they were given. So is a built
    query: its values are a list, and `dialect` says how they are marked in the SQL (`$1` for PostgreSQL).
    Rows are reported with the `description` of their columns, as lists or tuples, and become Records; None is
    an empty list. Else as `asynconnect.AsynConnect`.
    """

    style: ClassVar[str] = 'rdbms'
    #: Whose SQL `db.select (...)` and the like write.
    dialect: ClassVar[Dialect] = POSTGRESQL
