"""Conditions that can be combined (SPEC SQ-10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .expressions import Enclosed, Expression, F
from .lookups import conditions
from .names import short
from .rendering import MAX_DEPTH, Rendering, joined


class Q(Expression):
    """Conditions of which all hold: `Q (a = 1, b__gt = 2)`.

    `p & q`: both; `p | q`: one of them; `~p`: not. `terms` are more of them: a Q, F (...), or SQL as a str,
    which must not contain anything from a user. Values of None are left out, and a Q without any condition
    is void: it disappears wherever it is put. A Q never changes.

    Deeper than 64 is a ValueError; the number of terms beside each other has no limit.
    """

    __slots__ = ('_depth', '_negated', '_terms', '_word')

    _depth: int

    def __init__(self, /, *terms: Any, **lookups: Any) -> None:
        self._word, self._negated = 'AND', False
        self._terms: tuple[Expression, ...] = (*_given(terms), *conditions(lookups))
        if len(self._terms) == 1 and isinstance(self._terms[0], Q):
            only = self._terms[0]
            self._word, self._negated, self._terms = only._word, only._negated, only._terms
        self._depth = 1 + max((term._depth for term in self._terms if isinstance(term, Q)), default=0)
        self._bound()

    @property
    def void(self) -> bool:
        return not self._terms

    def __and__(self, other: Any) -> Q:
        return self._with(other, 'AND')

    def __or__(self, other: Any) -> Q:
        return self._with(other, 'OR')

    def __invert__(self) -> Q:
        return _made(self._terms, self._word, self._depth, not self._negated) if self._terms else self

    def _with(self, other: Any, word: str) -> Q:
        if not isinstance(other, Q):
            raise TypeError(f'Q can be combined with Q, not with {short(other)}')
        if self.void or other.void:
            return other if self.void else self
        terms: tuple[Expression, ...] = ()
        depth = 0
        for part in (self, other):
            # In a row, not within each other, as long as the word is the same.
            alike = not part._negated and (part._word == word or len(part._terms) == 1)
            terms += part._terms if alike else (part,)
            depth = max(depth, part._depth + (not alike))
        return _made(terms, word, depth)

    def _bound(self) -> None:
        if self._depth > MAX_DEPTH:
            raise ValueError(f'Q is nested deeper than {MAX_DEPTH}')

    def _sql(self, out: Rendering) -> str:
        with out.nested():
            if not self._terms:
                raise ValueError('a condition is needed here, and this Q has none')
            sql = joined([term._sql(out) for term in self._terms], self._word)
        if self._negated:
            return f'NOT ({sql})'
        return sql if len(self._terms) == 1 else f'({sql})'

    def __repr__(self) -> str:
        return f'<Q of {len(self._terms)} terms>'


def terms_of(terms: Sequence[Any], lookups: dict[str, Any]) -> list[Expression]:
    """What `filter` is given, as terms that are ANDed."""
    return [*_given(terms), *conditions(lookups)]


def _given(terms: Sequence[Any]) -> list[Expression]:
    given: list[Expression] = []
    for term in terms:
        if isinstance(term, str):
            if term.strip():
                given.append(Enclosed(F(term)))
        elif isinstance(term, F):
            given.append(Enclosed(term))
        elif isinstance(term, Q):
            if not term.void:
                given.append(term)
        elif term is not None:
            raise TypeError(f'a condition is Q (...), a keyword, or SQL as a str, not {short(term)}')
    return given


def _made(terms: tuple[Expression, ...], word: str, depth: int, negated: bool = False) -> Q:
    made = Q.__new__(Q)
    made._terms, made._word, made._depth, made._negated = terms, word, depth, negated
    made._bound()
    return made
