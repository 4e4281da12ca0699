"""`field__op = value` (SPEC SQ-09): from a keyword and its value to a Condition.

A keyword is `[table__]field[___key...][__op]`. A last word that is no operator is a part of the column, as a
first one is: `exists = 1` is about a column. To compare a column whose name is an operator's, name the
operator: `t1__all__eq`.

Operators are objects of a few kinds, in the table OPERATORS: `take` checks a value when it is given, `sql`
renders the condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..refusals import refuse, sendable
from .expressions import Expression, F, Json, SubQuery, taken
from .names import Name, name, short
from .rendering import Rendering

#: What no row fulfills, and what every row does.
NOTHING, EVERYTHING = '1 = 0', '1 = 1'


class Column:
    """A column, or what is in its JSON document at `keys`."""

    __slots__ = ('keys', 'name')

    def __init__(self, name: Name, keys: Sequence[str] = ()) -> None:
        self.name, self.keys = name, keys

    def text(self, out: Rendering) -> str:
        """As it is; a part of a JSON document as text."""
        base = out.name(self.name)
        return out.dialect.json_text(base, self.keys, out) if self.keys else base

    def comparable(self, out: Rendering, values: Sequence[Any]) -> str:
        """As something that can be compared with `values`."""
        if not self.keys:
            return out.name(self.name)
        plain = [value for value in values if not isinstance(value, Expression)]
        return out.dialect.json_value(out.name(self.name), self.keys, plain, out)

    def value(self, out: Rendering, value: Any) -> str:
        """What `comparable` is compared with."""
        return out.compared(out.dialect.json_parameter(value) if self.keys else value)


class Operator:
    def take(self, keyword: str, value: Any) -> Any:
        """`value` as it is kept; TypeError or ValueError, naming `keyword`, if the operator can't have it."""
        raise NotImplementedError

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        raise NotImplementedError


class _Compare(Operator):
    def __init__(self, symbol: str, null: str | None = None) -> None:
        self._symbol, self._null = symbol, null

    def take(self, keyword: str, value: Any) -> Any:
        if value is None and self._null is None:
            raise ValueError(f'{keyword} cannot compare with NULL')
        return value

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        if value is None:
            return f'{column.text(out)} {self._null}'
        return f'{column.comparable(out, [value])} {self._symbol} {column.value(out, value)}'


class _Between(Operator):
    def take(self, keyword: str, value: Any) -> Any:
        values = _list(keyword, value)
        if len(values) != 2:
            raise ValueError(f'{keyword} takes (from, to), not {len(values)} values')
        return values

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        left = column.comparable(out, value)
        return f'{left} BETWEEN {column.value(out, value[0])} AND {column.value(out, value[1])}'


class _In(Operator):
    """With an empty list: nothing; and NOT IN everything."""

    def __init__(self, negative: bool) -> None:
        self._word = 'NOT IN' if negative else 'IN'
        self._array = '<> ALL' if negative else '= ANY'
        self._empty = EVERYTHING if negative else NOTHING

    def take(self, keyword: str, value: Any) -> Any:
        return value if isinstance(value, SubQuery) else _list(keyword, value)

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        if isinstance(value, SubQuery):
            return f'{column.text(out)} {self._word} {value._sql(out)}'
        if not value:
            return self._empty
        left = column.comparable(out, value)
        array = out.array(value)
        if array is not None:
            return f'{left} {self._array} ({array})'
        return f'{left} {self._word} ({",".join(column.value(out, each) for each in value)})'


class _All(Operator):
    """Equal to all of a list's or a sub-query's (PostgreSQL) values."""

    def take(self, keyword: str, value: Any) -> Any:
        return value if isinstance(value, SubQuery) else _list(keyword, value)

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        if isinstance(value, SubQuery):
            if not out.dialect.arrays:
                raise ValueError(f'{out.dialect} has no = ALL (SELECT ...)')
            return f'{column.text(out)} = ALL {value._sql(out)}'
        if not value:
            return EVERYTHING
        array = out.array(value)
        if array is not None:
            return f'{column.comparable(out, value)} = ALL ({array})'
        # The left side anew for each: it may have parameters of its own.
        terms = [f'{column.comparable(out, value)} = {column.value(out, each)}' for each in value]
        return f'({" AND ".join(terms)})'


class _IsNull(Operator):
    def take(self, keyword: str, value: Any) -> Any:
        if not isinstance(value, bool):
            raise TypeError(f'{keyword} takes True or False, not {short(value)}')
        return value

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        return f'{column.text(out)} {"IS NULL" if value else "IS NOT NULL"}'


class _Like(Operator):
    """LIKE with what is found taken literally. Upper and lower case are different, but not in SQLite."""

    def __init__(self, before: str, after: str, negative: bool) -> None:
        self._before, self._after = before, after
        self._word = 'NOT LIKE' if negative else 'LIKE'

    def take(self, keyword: str, value: Any) -> Any:
        if isinstance(value, F):
            return value
        if not isinstance(value, str):
            raise TypeError(f'{keyword} takes a str, not {short(value)}')
        if '\0' in value:
            # To SQLite a pattern ends there: '%\0secret%' would be '%', and find everything.
            raise ValueError(f'{keyword} cannot look for a NUL character')
        for special in '\\%_':
            value = value.replace(special, '\\' + special)
        return self._before + value + self._after

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        return f'{column.text(out)} {self._word} {out.operand(value)}{out.dialect.like_escape}'


class _Regex(Operator):
    def take(self, keyword: str, value: Any) -> Any:
        if not isinstance(value, str | F):
            raise TypeError(f'{keyword} takes a str, not {short(value)}')
        return value

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        if out.dialect.regex is None:
            raise ValueError(f'{out.dialect} has no regular expressions')
        return f'{column.text(out)} {out.dialect.regex} {out.operand(value)}'


class _Exists(Operator):
    """EXISTS (SELECT ...); the column is not used, and may be left out: `filter (exists = query)`."""

    def __init__(self, word: str) -> None:
        self._word = word

    def take(self, keyword: str, value: Any) -> Any:
        if not isinstance(value, SubQuery):
            raise TypeError(f'{keyword} takes a query, not {short(value)}')
        return value

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        return f'{self._word} {value._sql(out)}'


class _HasKey(Operator):
    """The JSON document has the key; or one of several."""

    def __init__(self, several: bool) -> None:
        self._several = several

    def take(self, keyword: str, value: Any) -> Any:
        keys = _list(keyword, value) if self._several else [value]
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(
                    f'{keyword} takes {"a list of" if self._several else "a"} str, not {short(key)}'
                )
        return keys

    def sql(self, column: Column, value: Any, out: Rendering) -> str:
        if not value:
            return NOTHING
        return out.dialect.has_key(out.name(column.name), column.keys, value, out)


OPERATORS: dict[str, Operator] = {
    'eq': _Compare('=', 'IS NULL'),
    'exact': _Compare('=', 'IS NULL'),
    'neq': _Compare('<>', 'IS NOT NULL'),
    'lt': _Compare('<'),
    'lte': _Compare('<='),
    'gt': _Compare('>'),
    'gte': _Compare('>='),
    'between': _Between(),
    'in': _In(negative=False),
    'notin': _In(negative=True),
    'all': _All(),
    'isnull': _IsNull(),
    'contains': _Like('%', '%', negative=False),
    'startswith': _Like('', '%', negative=False),
    'endswith': _Like('%', '', negative=False),
    'ncontains': _Like('%', '%', negative=True),
    'notcontain': _Like('%', '%', negative=True),
    'nstartswith': _Like('', '%', negative=True),
    'notstartwith': _Like('', '%', negative=True),
    'nendswith': _Like('%', '', negative=True),
    'notendwith': _Like('%', '', negative=True),
    'regex': _Regex(),
    'exists': _Exists('EXISTS'),
    'notexist': _Exists('NOT EXISTS'),
    'haskey': _HasKey(several=False),
    'haskeyin': _HasKey(several=True),
}


class Condition(Expression):
    """A keyword and its value. ValueError or TypeError if they are not what the operator takes."""

    __slots__ = ('_column', '_operator', '_value')

    def __init__(self, keyword: str, value: Any) -> None:
        self._column, word = parsed(keyword, value)
        self._operator = OPERATORS[word]
        try:
            self._value = self._operator.take(keyword, taken(value, keyword))
        except (TypeError, ValueError) as error:
            if sendable(value):
                refuse(error, f'{".".join(self._column.name)}: this is not what can be looked for')
            raise

    def _sql(self, out: Rendering) -> str:
        return self._operator.sql(self._column, self._value, out)


def conditions(lookups: dict[str, Any]) -> list[Condition]:
    """A Condition for each keyword whose value is not None."""
    return [Condition(keyword, value) for keyword, value in lookups.items() if value is not None]


def parsed(keyword: str, value: Any = None) -> tuple[Column, str]:
    """`keyword` as a column and the word of an operator."""
    if not isinstance(keyword, str):
        raise TypeError(f'filter takes names of columns, not {short(keyword)}')
    if keyword in ('exists', 'notexist') and isinstance(value, SubQuery):
        return Column((keyword,)), keyword
    word = 'eq'
    head, *keys = keyword.split('___')
    if keys:
        if not all(keys):
            raise ValueError(f'filter: {short(keyword)} has an empty key')
        last, _, suffix = keys[-1].rpartition('__')
        if last and suffix in OPERATORS:
            keys[-1], word = last, suffix
    else:
        before, _, suffix = head.rpartition('__')
        if before and suffix in OPERATORS:
            head, word = before, suffix
    return Column(name(head.replace('__', '.'), f'filter: {short(keyword)}'), keys), word


def _list(keyword: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | dict | Expression | Json) or not isinstance(value, Iterable):
        raise TypeError(f'{keyword} takes a list, not {short(value)}')
    values = [taken(each, keyword) for each in value]
    if any(each is None for each in values):
        # NOT IN (1, NULL) is true of no row, and IN (1, NULL) of none that is NULL.
        raise ValueError(f'{keyword} cannot have None in its list: use isnull')
    return values
