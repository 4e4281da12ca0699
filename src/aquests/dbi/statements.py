"""SQL as the user wrote it: where its parameters go, and what the statement may do.

Reads text; connects to nothing. What is not understood is taken for the worst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

#: Where something begins that is no SQL of the statement's own: a text, a quoted name, a comment.
_OPENING = re.compile(r"""(?<![\w$])[eE]'|'|"|(?<![\w$])\$(?:[^\W\d]\w*)?\$|--|/\*""")
#: All of it, for those that a pattern can tell.
_OPAQUE = {
    "'": re.compile(r"'[^']*+(?:''[^']*+)*+'"),
    "E'": re.compile(r"[eE]'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'", re.DOTALL),
    '"': re.compile(r'"[^"]*+(?:""[^"]*+)*+"'),
    '--': re.compile(r'--[^\n]*'),
}
_COMMENT = re.compile(r'/\*|\*/')
_MARK = re.compile(r'%s|%%|%\(\w+\)s')
_NUMBERED = re.compile(r'(?<![\w$])\$\d')
_DOT = re.compile(r'\s*\.\s*')
_CALL = re.compile(r'([\w.$"]+)\s*\(')
_WORD = re.compile(r'[\w$]+')

#: Statements that leave a session as it was.
_PLAIN = frozenset({'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'WITH', 'VALUES', 'TABLE', 'MERGE', 'EXPLAIN'})
#: What makes more of a SELECT than a look.
_WRITES = frozenset({'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'INTO', 'FOR'})
#: What may stand before a bracket in a look without doing anything: words and functions.
_HARMLESS = frozenset(
    word
    for line in (
        'select in values and or not on as from where any all some exists over filter within using by join',
        'having case when then else between like distinct union intersect except with limit offset array row',
        'cast count sum avg min max coalesce nullif greatest least abs ceil floor round trunc mod power sqrt',
        'sign lower upper length char_length octet_length trim btrim ltrim rtrim substr substring replace',
        'position concat concat_ws format left right lpad rpad strpos split_part reverse initcap md5 encode',
        'decode now date_trunc date_part extract age to_char to_date to_timestamp to_number make_date',
        'make_timestamp row_number rank dense_rank ntile lag lead first_value last_value nth_value array_agg',
        'string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bool_and bool_or every unnest',
        'json_build_object jsonb_build_object json_build_array jsonb_build_array to_json to_jsonb',
        'row_to_json generate_series array_length cardinality numeric decimal varchar char int integer text',
        'date time timestamp datetime strftime julianday ifnull iif instr typeof total group_concat printf',
        'hex random json_extract json json_array json_object json_type json_each',
    )
    for word in line.split()
)
#: What changes a session in the middle of such a statement.
_SESSION = re.compile(
    r'set_config|advisory_(?:un)?lock|dblink_connect|pg_temp|\btemp(?:orary)?\b', re.IGNORECASE
)
_COPY = re.compile(r'(?:^|;)\s*copy\b[^;]*\b(?:from\s+stdin|to\s+stdout)\b', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')


class Traits(NamedTuple):
    """`look`: doing it twice is doing it once. `reads`: it writes nothing, if its functions don't.
    `clean`: it leaves the session as it was. `several`: it may be more than one statement. `copies`: there
    is a COPY in it whose rows are to come from the connection, or to go there.
    """

    look: bool
    reads: bool
    clean: bool
    several: bool
    copies: bool


@lru_cache(maxsize=1024)
def traits(sql: str) -> Traits:
    """What `sql` may do."""
    # Names in quotes are looked at as if they were words: they may be those of functions.
    text = ''.join(
        part if kind in ('', '"') else ' ' if kind in ('--', '/*') else "''" for kind, part in _parts(sql)
    )
    words = [word.upper() for word in _WORD.findall(text)]
    first = words[0] if words else ''
    several = ';' in text.rstrip().rstrip(';')
    clean = first in _PLAIN and not several and not _SESSION.search(text)
    reads = clean and first in ('SELECT', 'VALUES', 'TABLE', 'WITH') and _WRITES.isdisjoint(words)
    look = reads and all(
        name.lower().removeprefix('pg_catalog.') in _HARMLESS for name in _CALL.findall(_DOT.sub('.', text))
    )
    copies = 'COPY' in words and _COPY.search(_QUOTED.sub('""', text)) is not None
    return Traits(look, reads, clean, several, copies)


def numbered(sql: str, params: Any) -> tuple[str, Sequence[Any]]:
    """`sql` with `$1`, `$2`, and the values in that order, as PostgreSQL takes them.

    Written as such it is left alone; `%s` with a sequence and `%(name)s` with a dict are numbered, `%%` is
    a percent sign then. Texts, quoted names and comments stay as they are. TypeError for values that are
    neither, ValueError where they don't fit.
    """
    if params is None:
        return sql, ()
    if isinstance(params, Mapping):
        text, names = _by_name(sql)
        missing = [name for name in names if name not in params]
        if missing:
            raise ValueError(f'the statement has %({missing[0]})s, the parameters have no {missing[0]!r}')
        return text, [params[name] for name in names]
    if isinstance(params, str | bytes | bytearray) or not isinstance(params, Sequence):
        raise TypeError(f'parameters are given as a list, tuple or dict, not {type(params).__name__}')
    text, count = _by_place(sql)
    if count is not None and count != len(params):
        raise ValueError(f'the statement has {count} %s, {len(params)} values are given')
    return text, params


@lru_cache(maxsize=1024)
def _by_place(sql: str) -> tuple[str, int | None]:
    """Numbered text and how many `%s` there were; None where it was numbered already."""
    if '%' not in sql or any(not kind and _NUMBERED.search(part) for kind, part in _parts(sql)):
        return sql, None
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        mark = match[0]
        if mark == '%%':
            return '%'
        if mark != '%s':
            raise ValueError(f'the statement has {mark}: its parameters are a dict then')
        count += 1
        return f'${count}'

    return _replaced(replace, sql), count


@lru_cache(maxsize=1024)
def _by_name(sql: str) -> tuple[str, list[str]]:
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        mark = match[0]
        if mark == '%%':
            return '%'
        if mark == '%s':
            raise ValueError('the statement has %s: its parameters are a list then')
        name = mark[2:-2]
        if name not in names:
            names.append(name)
        return f'${names.index(name) + 1}'

    return _replaced(replace, sql), names


def _replaced(replace: Callable[[re.Match[str]], str], sql: str) -> str:
    """`sql` with its marks replaced, outside of what is opaque."""
    return ''.join(part if kind else _MARK.sub(replace, part) for kind, part in _parts(sql))


def _parts(sql: str) -> Iterator[tuple[str, str]]:
    """The parts of `sql`, each with how it begins, or '' for those that are SQL. What doesn't end is
    taken to be so to the end.
    """
    at = 0
    while found := _OPENING.search(sql, at):
        start = found.start()
        if start > at:
            yield '', sql[at:start]
        at = _end(sql, found)
        yield found[0], sql[start:at]
    if at < len(sql):
        yield '', sql[at:]


def _end(sql: str, opening: re.Match[str]) -> int:
    kind = opening[0].upper()
    if kind[0] == '$':
        end = sql.find(opening[0], opening.end())
        return len(sql) if end < 0 else end + len(kind)
    if kind == '/*':  # these nest
        depth = 0
        for mark in _COMMENT.finditer(sql, opening.start()):
            depth += 1 if mark[0] == '/*' else -1
            if not depth:
                return mark.end()
        return len(sql)
    match = _OPAQUE[kind].match(sql, opening.start())
    return len(sql) if match is None else match.end()
