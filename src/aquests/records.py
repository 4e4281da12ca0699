"""Named values: rows of databases (SPEC TK-19), results of named Tasks (SPEC TH-04)."""

from __future__ import annotations

from typing import Any


class Record(dict[str, Any]):
    """`record ['id']` is `record.id`, to read and to write.

    A name that dict has already (`items`, `keys`) is reached by `record ['items']` only.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f'there is no {name!r}: there are {", ".join(map(str, self))}') from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None
