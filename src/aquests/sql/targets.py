"""What is given where a table or columns are expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .expressions import Expression, F, SubQuery
from .names import Name, name, short


def table(given: Any, what: str) -> Name | Expression:
    """A table: its name, a class that knows it (a model of Django's or SQLAlchemy's), a query, or F (...)."""
    if isinstance(given, SubQuery | F):
        return given._taken()
    if not isinstance(given, str):
        found = getattr(getattr(given, '_meta', None), 'db_table', None)
        found = found or getattr(given, '__tablename__', None)
        if not isinstance(found, str):
            raise TypeError(f"{what} takes a table's name, a model or a query, not {short(given)}")
        given = found
    return name(given, what)


def written(given: Any, what: str) -> Name:
    """A table that is written to: its name or a class that knows it."""
    target = table(given, what)
    if isinstance(target, Expression):
        raise TypeError(f"{what} takes a table's name or a model, not {short(given)}")
    return target


def columns(items: Iterable[Any], what: str, star: bool = False) -> Iterator[Name | Expression]:
    """Columns, each a str (several with commas between) or F (...); None and '' are left out."""
    for item in items:
        if isinstance(item, F):
            yield item
        elif isinstance(item, str):
            for part in item.split(',') if item.strip() else ():
                yield name(part.strip(), what, star)
        elif item is not None:
            raise TypeError(f'{what} takes names of columns, or F (...), not {short(item)}')
