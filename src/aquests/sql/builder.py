"""What all statements have in common (SPEC SQ-01, SQ-15, SQ-18): to be shown, compiled, executed, copied.

A builder's methods change it and return it. It belongs to whoever made it: no two threads at once. A query
that is put into another is taken as it is then.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, Self

from ..task import Task
from .dialect import Dialect
from .expressions import D, Expression, F
from .names import Name, short, single
from .postgresql import POSTGRESQL
from .q import Q, terms_of
from .rendering import Bound, Rendering, Shown, joined
from .targets import columns as names_of

#: SQL with places, and the values for them.
Compiled = tuple[str, list[Any]]


class Database(Protocol):
    """What executes builders; see `Entry`."""

    _dialect: Dialect

    def _run_query(self, builder: Builder, **options: Any) -> Task: ...

    def _empty_result(self, **options: Any) -> Task: ...


class Builder(Expression):
    """A statement; see `Select`, `Insert`, `Update`, `Delete`, `Template`.

    `database`: what executes it, and whose SQL is written; without one PostgreSQL's is.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database
        self._with: list[tuple[str, Builder | D]] = []
        self._appended: list[Builder] = []
        self._in_transaction = False

    # -- with others ------------------------------------------------------------------------------------

    def with_(self, alias: str | Builder | D, query: Builder | D | None = None) -> Self:
        """`WITH alias AS (query)` in front; `with_ (query)` is named cte_1, cte_2, ... (SPEC SQ-15).

        `query`: any statement, or D (...) for values. SQLite has only SELECT and values there.
        """
        if query is None and not isinstance(alias, str):
            label, query = self._free_alias(), alias
        else:
            label = single(alias, 'with_')
        if not isinstance(query, Builder | D):
            raise TypeError(f'with_ takes a query or D (...), not {short(query)}')
        if any(label == other for other, _ in self._with):
            raise ValueError(f'with_: there is a query {label!r} already')
        self._with.append((label, query._alone() if isinstance(query, Builder) else query))
        return self

    def append(self, statement: Builder | str) -> Self:
        """Another statement to be executed after this one, a str as it is: not for what comes from users.

        Not one transaction, unless `tran` says so.
        """
        if isinstance(statement, str):
            statement = _Text(statement, self._database)
        if not isinstance(statement, Builder):
            raise TypeError(f'append takes a statement, not {short(statement)}')
        if statement._in_transaction:
            raise ValueError('append: tran () is said of the whole, not of a part')
        statement = statement.clone()
        self._appended.append(statement)
        self._appended.extend(statement._appended)
        statement._appended = []
        return self

    def tran(self) -> Self:
        """This and what is appended is one transaction: all or nothing."""
        self._in_transaction = True
        return self

    @property
    def is_transaction(self) -> bool:
        return self._in_transaction

    # -- the text ---------------------------------------------------------------------------------------

    def compile(self, dialect: Dialect | None = None) -> Compiled:
        """(SQL, values): as it is executed. `dialect`: another one than the database's.

        ValueError if there is more than one statement; see `statements`.
        """
        if self._appended:
            raise ValueError('compile is for one statement, and others are appended: see statements ()')
        out = Bound(dialect or self._dialect)
        return self._text(out), out.params

    def statements(self, dialect: Dialect | None = None) -> list[Compiled]:
        """What `compile` gives, for this and each that is appended, in their order.

        If `is_transaction`, whoever executes them puts them between BEGIN and COMMIT.
        """
        compiled = []
        for statement in (self, *self._appended):
            out = Bound(dialect or self._dialect)
            compiled.append((statement._text(out), out.params))
        return compiled

    def render(self) -> str:
        """The SQL with the values in it, to be read. It is not what is executed, and should not be."""
        texts = [statement._text(Shown(self._dialect)) for statement in (self, *self._appended)]
        if self._in_transaction:
            texts = ['BEGIN', *texts, 'COMMIT']
        return texts[0] if len(texts) == 1 else ';\n'.join(texts) + ';'

    as_sql = render
    query = property(render)

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        return f'<{type(self).__name__}>'

    # -- the rest ---------------------------------------------------------------------------------------

    def execute(self, **options: Any) -> Task:
        """A Task with the result; `options` are the database's (SPEC DB-02).

        What can be seen to be wrong is raised here: AssertionError for an UPDATE or DELETE without a filter,
        ValueError, TypeError; RuntimeError where there is no database.
        """
        self.statements()
        if self._database is None:
            raise no_database()
        if self._is_void():
            return self._database._empty_result(**options)
        return self._database._run_query(self, **options)

    def clone(self) -> Self:
        """An independent copy (SPEC SQ-13)."""
        other = copy.copy(self)
        for attribute, value in vars(self).items():
            if isinstance(value, list | dict):
                setattr(other, attribute, value.copy())
        return other

    branch = clone

    # -- for the kinds ----------------------------------------------------------------------------------

    def _statement(self, out: Rendering) -> list[str]:
        """The clauses, in their order, without WITH."""
        raise NotImplementedError

    def _is_void(self) -> bool:
        """Nothing needs to be executed: there can be no result."""
        return False

    def _only_reads(self) -> bool:
        return False

    def _check(self) -> None:
        """Raise if the statement must not be executed as it is."""

    @property
    def _dialect(self) -> Dialect:
        return POSTGRESQL if self._database is None else self._database._dialect

    def _text(self, out: Rendering) -> str:
        self._check()
        clauses = []
        if self._with:
            queries = (self._with_query(label, query, out) for label, query in self._with)
            clauses.append(f'WITH {", ".join(queries)}')
        return '\n'.join([*clauses, *self._statement(out)])

    def _with_query(self, label: str, query: Builder | D, out: Rendering) -> str:
        names = out.name((label,))
        if isinstance(query, D):
            names += f' ({", ".join(out.name((column,)) for column in query.columns)})'
            return f'{names} AS ({query._sql(out)})'
        if not query._only_reads() and not out.dialect.modifying_with:
            raise ValueError(f'with_: {out.dialect} can only have SELECT in WITH, not {query!r}')
        with out.nested():
            return f'{names} AS ({query._text(out)})'

    def _sql(self, out: Rendering) -> str:
        with out.nested():
            return f'({self._text(out)})'

    def _taken(self) -> Expression:
        return self._alone()

    def _alone(self) -> Self:
        """A copy to be put into another statement; ValueError if it is several."""
        if self._appended or self._in_transaction:
            raise ValueError(
                f'{self!r} has statements appended, or tran (): it cannot be a part of another one'
            )
        return self.clone()

    def _free_alias(self) -> str:
        taken = {label for label, _ in self._with}
        number = 1
        while f'cte_{number}' in taken:
            number += 1
        return f'cte_{number}'


def no_database() -> RuntimeError:
    return RuntimeError("there is no database to execute this: make it by was.db ('@alias').select (...)")


class _Text(Builder):
    """A statement as it was given."""

    def __init__(self, sql: str, database: Database | None) -> None:
        super().__init__(database)
        self._piece = F(sql)

    def _statement(self, out: Rendering) -> list[str]:
        return [self._piece._sql(out)]


class Filtered(Builder):
    """A statement with WHERE (SPEC SQ-05 to SQ-07)."""

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database)
        self._where: list[Expression] = []

    def filter(self, /, *terms: Any, **lookups: Any) -> Self:
        """All of these must hold, with those of earlier calls.

        `terms`: Q, or SQL as a str, which must not contain anything from a user. `lookups`: `field__op =
        value` (see `lookups`). Those that are None are left out.
        """
        self._where.extend(terms_of(terms, lookups))
        return self

    def exclude(self, /, *terms: Any, **lookups: Any) -> Self:
        """Not all of these may hold: NOT (a AND b)."""
        excluded = ~Q(*terms, **lookups)
        if not excluded.void:
            self._where.append(excluded)
        return self

    def all(self) -> Self:
        """Every row: an UPDATE or DELETE of all must be said to be one."""
        self._where.append(F('1 = 1'))
        return self

    def _check_filter(self, word: str) -> None:
        if not self._where:
            raise AssertionError(f'{word} has no filter: if every row is meant, say so with .all ()')

    def _where_clause(self, out: Rendering) -> list[str]:
        if not self._where:
            return []
        return [f'WHERE {joined([term._sql(out) for term in self._where], "AND")}']


class Returning(Builder):
    """A statement with RETURNING (SPEC SQ-16)."""

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database)
        self._returning: list[Name | Expression] = []

    def returning(self, *columns: str | F) -> Self:
        """The result has these columns of each row that was written; `*`, the default, for all."""
        self._returning.extend(names_of(columns or ('*',), 'returning', star=True))
        return self

    def _returning_clause(self, out: Rendering) -> list[str]:
        return [f'RETURNING {", ".join(map(out.column, self._returning))}'] if self._returning else []
