"""Building SQL without writing values into it (SPEC chapter 23). No I/O: it renders.

    from aquests.sql import Q

    (db.select ('foo')
        .get ('id, name')
        .filter (Q (from_wallet_id = 8) | Q (detail = 'ReturnTx'), created__gte = yesterday)
        .order_by ('-created')
        .limit (10)).execute ()

Every value is a bound parameter, and every name that is given as a keyword, as a table or an alias, to
`order_by`, `group_by`, `returning`, `into`, `upflict` is checked: these may come from users. What is executed
as it is must not: F (...), `template`, `append`, `having`, `get`, `aggregate`, and a str in `filter`,
`exclude`, `on` and Q.
"""

from __future__ import annotations

from .builder import Builder, Compiled
from .delete import Delete
from .dialect import Dialect
from .entry import Entry, With
from .expressions import D, F, Json, V
from .insert import Insert
from .postgresql import POSTGRESQL
from .q import Q
from .select import Select
from .sqlite import SQLITE
from .template import Template
from .update import Update

__all__ = [
    'POSTGRESQL',
    'SQLITE',
    'Builder',
    'Compiled',
    'D',
    'Delete',
    'Dialect',
    'Entry',
    'F',
    'Insert',
    'Json',
    'Q',
    'Select',
    'Template',
    'Update',
    'V',
    'With',
]
