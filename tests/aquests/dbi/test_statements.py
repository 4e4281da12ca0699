"""SQL as the user wrote it: its parameters, and what it may do (`dbi.statements`)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquests.dbi.statements import numbered, traits

# -- parameters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('sql', 'params', 'text', 'values'),
    [
        ('SELECT 1', None, 'SELECT 1', []),
        ('SELECT 5 % 2, 100 %% 3', None, 'SELECT 5 % 2, 100 %% 3', []),
        ('SELECT %s', ['a'], 'SELECT $1', ['a']),
        ('SELECT %s, %s', ('a', 'b'), 'SELECT $1, $2', ['a', 'b']),
        ('SELECT 5 %% %s, a % b', [2], 'SELECT 5 % $1, a % b', [2]),
        ('SELECT 5 %% 2', [], 'SELECT 5 % 2', []),
        ('SELECT $1, $2', [1, 2], 'SELECT $1, $2', [1, 2]),
        ('SELECT a %size FROM t WHERE b = $1', [1], 'SELECT a %size FROM t WHERE b = $1', [1]),
        ('SELECT %(a)s, %(b)s, %(a)s', {'a': 1, 'b': 2, 'c': 3}, 'SELECT $1, $2, $1', [1, 2]),
        ('SELECT 5 %% %(a)s', {'a': 2}, 'SELECT 5 % $1', [2]),
        ('SELECT %(größe)s', {'größe': 2}, 'SELECT $1', [2]),
        # What is a text, a name or a comment stays as it is.
        ("SELECT '%s %% $1', %s", [1], "SELECT '%s %% $1', $1", [1]),
        ("SELECT 'it''s %s', %s", [1], "SELECT 'it''s %s', $1", [1]),
        (r"SELECT E'it\'s %s', e'\\', %s", [1], r"SELECT E'it\'s %s', e'\\', $1", [1]),
        (r"SELECT 'C:\', %s", [1], r"SELECT 'C:\', $1", [1]),
        ('SELECT "%s""%s", %s', [1], 'SELECT "%s""%s", $1', [1]),
        ("SELECT 1 -- %s don't\n, %s", [1], "SELECT 1 -- %s don't\n, $1", [1]),
        ('SELECT /* %s /* %s */ %s */ %s', [1], 'SELECT /* %s /* %s */ %s */ $1', [1]),
        ('SELECT $$%s$1$$, $a$ %s $$ $b$ $a$, %s', [1], 'SELECT $$%s$1$$, $a$ %s $$ $b$ $a$, $1', [1]),
        ('SELECT a$b$ = %s, c$b$', [1], 'SELECT a$b$ = $1, c$b$', [1]),
        ("SELECT '%(a)s', %(a)s", {'a': 1}, "SELECT '%(a)s', $1", [1]),
        # What doesn't end is the server's to refuse.
        ("SELECT %s, 'a %s", [1], "SELECT $1, 'a %s", [1]),
        ('SELECT %s /* /* %s */', [1], 'SELECT $1 /* /* %s */', [1]),
        ('SELECT %s, $x$ %s', [1], 'SELECT $1, $x$ %s', [1]),
    ],
)
def test_numbered(sql: str, params: Any, text: str, values: list[Any]) -> None:
    """SPEC DB-02."""
    found, given = numbered(sql, params)
    assert (found, list(given)) == (text, values)


@pytest.mark.parametrize(
    ('sql', 'params', 'error', 'words'),
    [
        ('SELECT %s', [], ValueError, r'1 %s, 0 values'),
        ("SELECT '%s'", ['x'], ValueError, r'0 %s, 1 values'),
        ('SELECT %s', {'a': 1}, ValueError, 'a list'),
        ('SELECT %(a)s', ['x'], ValueError, r'%\(a\)s.*a dict'),
        ('SELECT %(a)s', {'b': 'x'}, ValueError, "no 'a'"),
        ('SELECT %s', 'x', TypeError, 'not str'),
        ('SELECT %s', b'x', TypeError, 'not bytes'),
        ('SELECT %s', {1}, TypeError, 'not set'),
        ('SELECT %s', 5, TypeError, 'not int'),
    ],
)
def test_what_does_not_fit_is_refused(sql: str, params: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        numbered(sql, params)


#: Parts of statements, each with whether it is SQL, and as PostgreSQL reads them one after the other.
_opaque = st.one_of(
    st.text().map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.text().map(lambda text: "E'" + text.replace('\\', r'\\').replace("'", r'\'') + "'"),
    st.text().map(lambda text: '"' + text.replace('"', '""') + '"'),
    st.text().map(lambda text: f'--{text}'.replace('\n', '') + '\n'),
    st.text().map(lambda text: '/*' + text.replace('*', '').replace('/', '') + '*/'),
    st.text().map(lambda text: '$t$' + text.replace('$', '') + '$t$'),
    st.sampled_from(["'%s'", '"%s"', '--%s\n', '/*%s/*%(a)s*/%%*/', '$$%s$1$$', "E'\\'%s'", '$a$ $$%s $a$']),
)
_parts = st.lists(st.one_of(_opaque, st.sampled_from([' a ', ' %% ', ' %s ', ' , '])), max_size=12)


@settings(max_examples=100, deadline=None)
@given(_parts)
def test_numbering_never_changes_what_is_opaque(parts: list[str]) -> None:
    marks = parts.count(' %s ')
    text, _ = numbered(' '.join(parts), list(range(marks)))
    expected, count = [], 0
    for part in parts:
        if part == ' %s ':
            count += 1
            part = f' ${count} '
        expected.append(' % ' if part == ' %% ' else part)
    assert text == ' '.join(expected)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='\'"$-/*%s(a)1 \n\\eE;tag'), st.lists(st.text(), max_size=3))
def test_values_are_never_in_the_text(sql: str, values: list[str]) -> None:
    """Whatever the statement is: what comes out of it does not depend on the values (SPEC SQ-20)."""
    try:
        text, given = numbered(sql, values)
    except ValueError:
        return
    assert list(given) == values
    assert text == numbered(sql, ['x'] * len(values))[0]
    traits(sql)


# -- traits ----------------------------------------------------------------------------------------------

LOOKS = """
SELECT 1
select * from a where b = $1 order by c limit 10
(SELECT a FROM b) UNION (SELECT c FROM d)
SELECT count (*), lower (a), coalesce(b, 0) FROM t GROUP BY lower(a) HAVING count(*) > 1
SELECT pg_catalog.lower(a) FROM t;
VALUES (1), (2)
TABLE a
WITH a AS (SELECT 1) SELECT * FROM a
SELECT 'DELETE; INSERT INTO a', $$; DROP$$ -- UPDATE
SELECT /* ; */ 1
"""

CLEAN = """
INSERT INTO a VALUES (1)
INSERT INTO "a" ("b") VALUES ($1) ON CONFLICT DO NOTHING RETURNING id
UPDATE a SET b = 1
DELETE FROM a
WITH a AS (INSERT INTO b VALUES (1) RETURNING c) SELECT * FROM a
SELECT * FROM a FOR UPDATE
SELECT * INTO b FROM a
SELECT nextval ('a')
SELECT f (1)
SELECT x FROM "Delete"
SELECT "lower evil"(1)
SELECT "evil".lower(1)
SELECT evil . lower (1)
SELECT evil /**/ . lower (1)
SELECT änow (1)
SELECT my$now (1)
SELECT pg_sleep (1)
EXPLAIN ANALYZE SELECT 1
MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE
"""

UNCLEAN = """
SET search_path = a
RESET ALL
LISTEN a
BEGIN
COMMIT
CREATE TABLE a (b int)
CREATE TEMP TABLE a (b int)
SELECT * INTO TEMP b FROM a
SELECT * INTO temporary b FROM a
SELECT * INTO pg_temp.b FROM a
SELECT * INTO "pg_temp".b FROM a
SELECT set_config ('a.b', 'c', false)
SELECT pg_catalog.set_config ('a.b', 'c', false)
SELECT "set_config" ('a.b', 'c', false)
SELECT pg_advisory_lock (1)
SELECT pg_try_advisory_lock (1)
SELECT "pg_advisory_unlock" (1)
SELECT 1; SELECT 2
SELECT 1;;SET a.b = 'c'
SELECT '' ; SET a.b = ''
DO $$ BEGIN END $$
CALL a ()
PREPARE a AS SELECT 1
äselect 1
-- SELECT
"""


@pytest.mark.parametrize('sql', LOOKS.strip().split('\n'))
def test_looks(sql: str) -> None:
    """What may be carried out twice (SPEC LB-03)."""
    assert (traits(sql).look, traits(sql).clean) == (True, True)


@pytest.mark.parametrize('sql', CLEAN.strip().split('\n'))
def test_what_is_no_look_but_leaves_the_session_as_it_was(sql: str) -> None:
    assert (traits(sql).look, traits(sql).clean) == (False, True)


@pytest.mark.parametrize('sql', [*UNCLEAN.strip().split('\n'), '', ' ', ';'])
def test_what_may_change_a_session(sql: str) -> None:
    assert (traits(sql).look, traits(sql).clean) == (False, False)


@pytest.mark.parametrize(
    ('sql', 'several'),
    [
        ('SELECT 1', False),
        ('SELECT 1; ', False),
        ("SELECT ';'; -- ;", False),
        ('SELECT 1; SELECT 2', True),
        ('SELECT 1; /* */ SELECT 2', True),
        ('CREATE FUNCTION f () RETURNS int BEGIN ATOMIC SELECT 1; END', True),
    ],
)
def test_several_statements(sql: str, several: bool) -> None:
    assert traits(sql).several is several


@pytest.mark.parametrize(
    ('sql', 'copies'),
    [
        ('COPY t FROM STDIN', True),
        ('copy t (a, "b") from\nstdin with (format csv)', True),
        ('COPY (SELECT 1) TO STDOUT', True),
        ('/* a */ COPY t TO /* b */ STDOUT;', True),
        ('SELECT 1; -- c\n COPY "t" FROM STDIN', True),
        ("COPY t FROM '/tmp/from stdin'", False),
        ('COPY "from stdin" FROM \'/tmp/x\'', False),
        ("COPY t FROM PROGRAM 'cat'", False),
        ("SELECT 'COPY t FROM STDIN'", False),
        ("SELECT copy FROM stdin; INSERT INTO copy VALUES ('; COPY t FROM STDIN')", False),
        ('SELECT $$; COPY t FROM STDIN$$', False),
    ],
)
def test_rows_by_the_connection(sql: str, copies: bool) -> None:
    assert traits(sql).copies is copies
