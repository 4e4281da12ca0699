"""What the databases write differently. Each has a module with a subclass: `postgresql`, `sqlite`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..refusals import refuse
from .expressions import Json

if TYPE_CHECKING:
    from .rendering import Rendering

#: Keys into a JSON document, outermost first.
Keys = Sequence[str]

#: What a client is told who sent NaN, or something that is nested too deep.
NO_JSON = 'a value cannot be written as JSON'
#: A key that is written as it is. Others are bound.
PLAIN_KEY = re.compile(r'[A-Za-z0-9_ .:-]+')


class Dialect:
    """One database's SQL. Has no state: there is one instance of each."""

    name: str
    #: A list of values can be one parameter.
    arrays: bool
    #: What tells that `\\` escapes in LIKE.
    like_escape: str
    #: The operator for regular expressions; None if there is none.
    regex: str | None
    #: INSERT, UPDATE and DELETE can stand in WITH.
    modifying_with: bool
    #: DELETE can look at other tables.
    delete_using: bool
    #: LIMIT where there is only an OFFSET.
    no_limit: str
    #: Words that cannot be names without quotes.
    reserved: frozenset[str]

    def __repr__(self) -> str:
        return self.name

    def quoted(self, part: str) -> str:
        """A checked part of a name, in quotes where it needs them."""
        raise NotImplementedError

    def place(self, number: int) -> str:
        """The place of the `number`th value, from 1."""
        raise NotImplementedError

    def parameter(self, value: Any) -> Any:
        """`value` as it is given to the layer that talks to the database."""
        raise NotImplementedError

    def literal(self, value: Any) -> str:
        """`value` to be shown. Nothing that is executed comes from here."""
        raise NotImplementedError

    def type_of(self, value: Any) -> str | None:
        """What `value` must be cast to where nothing else tells its type."""
        raise NotImplementedError

    def wide_type(self, values: Sequence[Any]) -> str | None:
        """What numbers must be cast to that may be too great for the column they are compared with."""
        raise NotImplementedError

    # -- JSON: `base` is a column, as SQL ---------------------------------------------------------------

    def json_text(self, base: str, keys: Keys, out: Rendering) -> str:
        """What is in the document at `keys`, as text."""
        raise NotImplementedError

    def json_value(self, base: str, keys: Keys, values: Sequence[Any], out: Rendering) -> str:
        """The same, to be compared with `values`."""
        raise NotImplementedError

    def json_parameter(self, value: Any) -> Any:
        """What `json_value` is compared with for `value`."""
        return value

    def has_key(self, base: str, keys: Keys, wanted: Sequence[str], out: Rendering) -> str:
        """A condition: what is in the document at `keys` is an object with one of the keys `wanted`."""
        raise NotImplementedError


def quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def scalar_literal(value: Any) -> str:
    if value is None:
        return 'NULL'
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float | Decimal):
        text = float.__repr__(value) if isinstance(value, float) else Decimal.__str__(value)
        return text if text[-1].isdigit() else quoted_text(text)
    return quoted_text(str(value))


def json_of(value: Any) -> str:
    """`value` (or a Json) as JSON. TypeError in words where it cannot be."""
    plain = value.value if isinstance(value, Json) else value
    try:
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    except (TypeError, ValueError, RecursionError) as error:
        told = TypeError(f'a {type(plain).__name__} cannot be written as JSON: {error}')
        raise (told if isinstance(error, TypeError) else refuse(told, NO_JSON)) from None
