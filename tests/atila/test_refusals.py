"""Values that a database cannot take, through the HTTP door: 400 or 409, in words (SPEC ER-05, TK-12).

The exception that a service can catch is the driver's own; what is the service's own fault stays 5xx.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aquests
import skitai
from aquests import dbi
from aquests.aliases import DB_PGSQL, DB_SQLITE3, Aliases
from aquests.sql import Json
from atila import Atila
from skitai.testing import Client

if TYPE_CHECKING:
    from databases import Postgres

Make = Callable[..., Client]

FORMS = ('plain', 'generator', 'then', 'map', 'async', 'pass', 'thread', 'transaction')
SECRET = 'tr0ub4dor'
#: What cannot be written in a request's JSON.
SPECIAL = {
    'surrogate': SECRET + '\ud800',
    'nan': float('nan'),
    'infinity': {'a': [float('inf')]},
    'huge': 10**5000,
    'long': ''.join(chr(0x4E00 + at * 7919 % 20000) for at in range(60_000)),
    'object': object(),
    'document': Json({SECRET: object()}),
}

POSTGRES = """
    CREATE TYPE {table}_mood AS ENUM ('sad', 'ok');
    CREATE TABLE {table} (
        id int, small smallint, big bigint, ratio real, name text, nick varchar (3), price numeric (5, 2),
        uid uuid, day date, doc jsonb, tags text [], counts int [], ok boolean, mood {table}_mood,
        need int NOT NULL DEFAULT 0, pos int CHECK (pos > 0), uq int UNIQUE, title text UNIQUE,
        ref int REFERENCES {table} (uq), span int4range, EXCLUDE USING gist (span WITH &&)
    );
    INSERT INTO {table} (id, uq, doc, span) VALUES (1, 1, '{{"age": "tr0ub4dor"}}', '[1,5)')
"""
LITE = """
    CREATE TABLE {table} (
        id INTEGER PRIMARY KEY, name TEXT, price REAL, doc TEXT, need INTEGER NOT NULL DEFAULT 0,
        pos INTEGER CHECK (pos > 0), uq INTEGER UNIQUE, ref INTEGER REFERENCES {table} (uq),
        typed INTEGER
    ) STRICT;
    INSERT INTO {table} (id, uq) VALUES (1, 1)
"""


@pytest.fixture(scope='module')
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('lite') / 'lite.db'


@pytest.fixture(scope='module')
def register(postgres: Postgres, lite: Path) -> Iterator[tuple[Aliases, str]]:
    """The test's own way to both databases, and the name of a table in them."""
    register, table = Aliases(), f't_{uuid.uuid4().hex[:8]}'
    register.add('@pg', DB_PGSQL, postgres.member, max_conns=4)
    register.add('@lite', DB_SQLITE3, str(lite))
    for alias, sql in (('@pg', POSTGRES), ('@lite', LITE)):
        dbi.database(alias, register=register).execute(sql.format(table=table)).commit()
    yield register, table
    dbi.database('@pg', register=register).execute(f'DROP TABLE {table}; DROP TYPE {table}_mood').commit()
    aquests.shutdown(2)


@pytest.fixture
def table(register: tuple[Aliases, str]) -> Iterator[str]:
    """Nothing that is refused may have been written."""
    yield register[1]
    for alias in ('@pg', '@lite'):
        rows = dbi.database(alias, register=register[0]).select(register[1]).get('uq').execute().fetch()
        assert [row.uq for row in rows] == [1]


@pytest.fixture
def app(postgres: Postgres, lite: Path, register: tuple[Aliases, str]) -> Atila:
    app = Atila(f'refusals_{uuid.uuid4().hex[:8]}')
    app.alias('@pg', skitai.DB_PGSQL, postgres.member, max_conns=4)
    app.alias('@lite', skitai.DB_SQLITE3, str(lite))
    add_forms(app, register[1])
    return app


def query_of(db: Any, table: str, todo: dict[str, Any]) -> Any:
    """What the request asks for: {do, column, value}, or SQL with values."""
    value = todo.get('value')
    if isinstance(value, str) and value.startswith('special '):
        value = SPECIAL[value.removeprefix('special ')]
    do, column = todo['do'], todo.get('column', '')
    if do == 'sql':
        return todo['sql'].format(table=table), [value] if 'value' in todo else None
    if do == 'insert':
        return db.insert(table).set({column: value}), None
    if do == 'update':
        return db.update(table).set({column: value}).filter(id=1), None
    if do == 'order':
        return db.select(table).order_by(value), None
    if do == 'limit':
        return db.select(table).limit(value), None
    if do == 'set':
        return db.update(table).set(value).filter(id=1), None
    return db.select(table).get('id').filter(**{column: value}), None


def add_forms(app: Atila, table: str) -> None:
    """A service of each form, which asks the database for what the request wants."""

    def task_of(was: Any, todo: dict[str, Any]) -> Any:
        db = was.db(todo['alias'])
        query, params = query_of(db, table, todo)
        return db.execute(query, params) if params is not None else db.execute(query)

    @app.route('/plain')
    def plain(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=task_of(was, todo).fetch())

    @app.route('/one')
    def one(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=task_of(was, todo).one())

    @app.route('/commit')
    def commit(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=task_of(was, todo).commit())

    @app.route('/dispatch')
    def dispatch(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=task_of(was, todo).dispatch().fetch())

    @app.route('/generator', coroutine=True)
    def generator(was, todo):  # type: ignore[no-untyped-def]
        task = yield task_of(was, todo)
        return was.API(rows=task.fetch())

    @app.route('/then')
    def then(was, todo):  # type: ignore[no-untyped-def]
        return task_of(was, todo).then(lambda was, task: was.API(rows=task.fetch()))

    @app.route('/map')
    def mapped(was, todo):  # type: ignore[no-untyped-def]
        return was.Map(rows=task_of(was, todo))

    @app.route('/async')
    async def awaits(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=await task_of(was, todo))

    @app.route('/pass')
    def thread_pass(was, todo):  # type: ignore[no-untyped-def]
        return was.ThreadPass(plain, todo)

    @app.route('/thread')
    def thread(was, todo):  # type: ignore[no-untyped-def]
        return was.API(rows=was.Thread(lambda: task_of(was, todo).fetch()).fetch())

    @app.route('/transaction')
    def transaction(was, todo):  # type: ignore[no-untyped-def]
        with was.transaction(todo['alias']) as tx:
            return was.API(rows=tx.execute(*query_of(tx, table, todo)).fetch())

    @app.route('/cursor')
    def cursor(was, todo):  # type: ignore[no-untyped-def]
        with was.cursor(todo['alias']) as cursor:
            cursor.execute(*query_of(was.db(todo['alias']), table, todo))
            return was.API(rows=cursor.fetchall())

    @app.route('/many')
    def many(was, todo):  # type: ignore[no-untyped-def]
        place = '$1' if todo['alias'] == '@pg' else '?'
        sql = f'INSERT INTO {table} ({todo["column"]}) VALUES ({place})'
        rows = [[None], [SPECIAL.get(str(todo['value']).removeprefix('special '), todo['value'])]]
        return was.API(rows=was.db(todo['alias']).executemany(sql, rows).fetch())

    @app.route('/caught')
    def caught(was, todo):  # type: ignore[no-untyped-def]
        try:
            task_of(was, todo).fetch()
        except Exception as error:
            return was.API(kind=f'{type(error).__module__}.{type(error).__name__}', words=str(error))


def ask(client: Client, form: str, **todo: Any) -> Any:
    answer = client.post(f'/{form}', json={'todo': todo})
    for told in (SECRET, 'Traceback', 'asyncpg', 'sqlite', 'SELECT', 'INSERT', 't_', 'Error'):
        assert told not in answer.text, (form, todo, answer.text)
    return answer


#: Alias, what is done, column, value, status, words of the answer.
REFUSED: list[tuple[str, str, str, Any, int, str]] = [
    ('@pg', 'insert', 'id', 2**31, 400, 'parameter 1: a number is out of range'),
    ('@pg', 'insert', 'small', 40_000, 400, 'out of range'),
    ('@pg', 'insert', 'big', 2**63 - 1 + 1, 400, 'out of range'),
    ('@pg', 'insert', 'id', 'special huge', 400, ''),
    ('@pg', 'insert', 'ratio', 1e300, 400, ''),
    ('@pg', 'insert', 'id', 1.9, 400, 'not of the kind'),
    ('@pg', 'filter', 'id', 1.9, 400, 'not of the kind'),
    ('@pg', 'filter', 'id__in', [1.9], 400, 'not of the kind'),
    ('@pg', 'filter', 'small', 40_000, 400, 'out of range'),
    ('@pg', 'filter', 'id', SECRET, 400, 'parameter 1: a value is not of the kind that is needed'),
    ('@pg', 'filter', 'id', {'a': SECRET}, 400, 'not of the kind'),
    ('@pg', 'filter', 'id__in', [1, SECRET], 400, 'not of the kind'),
    ('@pg', 'filter', 'id__in', SECRET, 400, 'id: this is not what can be looked for'),
    ('@pg', 'filter', 'name__contains', 5, 400, 'name: this is not what'),
    ('@pg', 'filter', 'name__contains', SECRET + '\0', 400, 'name: this is not what'),
    ('@pg', 'filter', 'name__regex', '(' + SECRET, 400, 'regular expression'),
    ('@pg', 'filter', 'doc___k__in', [1, SECRET], 400, 'one kind'),
    ('@pg', 'filter', 'doc___k\0', SECRET, 400, 'character'),
    ('@pg', 'insert', 'name', SECRET + '\0', 400, 'parameter 1: a text has a character that cannot be kept'),
    ('@pg', 'insert', 'name', 'special surrogate', 400, 'character'),
    ('@pg', 'insert', 'name', 5, 400, 'not of the kind'),
    ('@pg', 'insert', 'tags', [SECRET, 'a\0'], 400, 'character'),
    ('@pg', 'insert', 'counts', [1, 2.5], 400, 'not of the kind'),
    ('@pg', 'insert', 'counts', [[1], [2, 3]], 400, 'not of the kind'),
    ('@pg', 'insert', 'nick', 'abcd', 400, 'a text is too long'),
    ('@pg', 'insert', 'title', 'special long', 400, 'too large'),
    ('@pg', 'insert', 'price', 12345.5, 400, 'out of range'),
    ('@pg', 'insert', 'price', SECRET, 400, 'not of the kind'),
    ('@pg', 'insert', 'uid', SECRET, 400, 'not of the kind'),
    ('@pg', 'insert', 'day', '2020-13-45', 400, 'not of the kind'),
    ('@pg', 'insert', 'ok', 'perhaps', 400, 'not of the kind'),
    ('@pg', 'insert', 'mood', SECRET, 400, 'not written as it has to be'),
    ('@pg', 'filter', 'mood', SECRET, 400, 'not written as it has to be'),
    ('@pg', 'insert', 'doc', {'a': SECRET + '\0'}, 400, 'character'),
    ('@pg', 'insert', 'doc', 'special surrogate', 400, 'character'),
    ('@pg', 'insert', 'doc', 'special infinity', 400, 'not of the kind'),
    ('@pg', 'insert', 'need', None, 400, 'need: a value is missing'),
    ('@pg', 'update', 'need', None, 400, 'need: a value is missing'),
    ('@pg', 'insert', 'pos', -1, 400, 'not one of those that are allowed'),
    ('@pg', 'insert', 'uq', 1, 409, 'there is one like it already'),
    ('@pg', 'insert', 'ref', 99, 409, 'refers to what is not there'),
    ('@pg', 'order', '', SECRET + '; DROP', 400, 'a name has only letters'),
    ('@pg', 'limit', '', -1, 400, 'limit'),
    ('@pg', 'limit', '', 2**70, 400, 'limit'),
    ('@pg', 'limit', '', SECRET, 400, 'limit'),
    ('@pg', 'set', '', [SECRET], 400, 'an object with a value for each name'),
    ('@pg', 'set', '', {SECRET + ' = 1': 1}, 400, 'a name has only letters'),
    ('@pg', 'set', '', {}, 400, 'nothing to be changed'),
    ('@lite', 'insert', 'id', 2**63, 400, 'a number is out of range'),
    ('@lite', 'filter', 'id', 'special huge', 400, 'a number is out of range'),
    ('@lite', 'insert', 'price', 'special nan', 400, 'out of range'),
    ('@lite', 'insert', 'name', 'special surrogate', 400, 'character'),
    ('@lite', 'filter', 'name', 'special surrogate', 400, 'character'),
    ('@lite', 'filter', 'name__contains', SECRET * 7000, 400, 'too long'),
    ('@lite', 'filter', f'doc___{SECRET}"', 1, 400, 'a key has a character'),
    ('@lite', 'insert', 'doc', 'special infinity', 400, 'cannot be written as JSON'),
    ('@lite', 'insert', 'id', SECRET, 400, 'not of the kind'),
    ('@lite', 'insert', 'typed', SECRET, 400, 'typed: a value is not of the kind'),
    ('@lite', 'insert', 'typed', 1.5, 400, 'typed: a value is not of the kind'),
    ('@lite', 'insert', 'need', None, 400, 'need: a value is missing'),
    ('@lite', 'insert', 'pos', -1, 400, 'not one of those that are allowed'),
    ('@lite', 'insert', 'id', 1, 409, 'there is one like it already'),
    ('@lite', 'insert', 'uq', 1, 409, 'there is one like it already'),
    ('@lite', 'insert', 'ref', 99, 409, 'refers to what is not there'),
]


def test_what_is_refused_in_every_form(
    client_for: Make, app: Atila, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(app)
    for alias, do, column, value, status, words in REFUSED:
        for form in FORMS:
            answer = ask(client, form, alias=alias, do=do, column=column, value=value)
            assert (form, column, value, answer.status_code) == (form, column, value, status), answer.text
            assert words in answer.json()['more_info']
            assert answer.json()['code'] == status * 100
    assert all(record.exc_info is None for record in caplog.records)
    assert all('\n' not in record.getMessage() for record in caplog.records if record.name == 'atila')
    assert "DataError: invalid input for query argument $1: 'tr0ub4dor'" in caplog.text  # for the author


def test_lists_within_lists(client_for: Make, app: Atila, table: str) -> None:
    """However deep a client may send them."""
    client = client_for(app)
    for depth in (6, 7, 400, 850):
        value: Any = 1.5
        for _ in range(depth):
            value = [value]
        for alias in ('@pg', '@lite'):
            for do, column in (
                ('insert', 'counts'),
                ('filter', 'doc'),
                ('filter', 'doc___k'),
                ('insert', 'uid'),
            ):
                if (alias, do) == ('@lite', 'insert'):
                    do, column = 'filter', 'name__in'
                answer = ask(client, 'plain', alias=alias, do=do, column=column, value=value)
                assert answer.status_code in ((400,) if do == 'insert' else (200, 400)), (
                    depth,
                    alias,
                    column,
                )


@pytest.mark.parametrize('alias', ['@pg', '@lite'])
def test_by_whatever_method(client_for: Make, app: Atila, table: str, alias: str) -> None:
    """SPEC TK-05: a unique key is 409 however the Task is asked; the rest 400."""
    client = client_for(app)
    for form in ('plain', 'one', 'commit', 'dispatch'):
        assert ask(client, form, alias=alias, do='insert', column='uq', value=1).status_code == 409
        assert ask(client, form, alias=alias, do='insert', column='need', value=None).status_code == 400
    for form in ('cursor', 'many'):
        answer = ask(client, form, alias=alias, do='filter', column='name', value='special surrogate')
        assert (form, answer.status_code) == (form, 400)
    assert ask(client, 'many', alias=alias, do='insert', column='uq', value=1).status_code == 409


@pytest.mark.parametrize(
    ('sql', 'value'),
    [
        ('to_tsquery ($1)', 'a & & tr0ub4dor'),
        ('$1::text::int', SECRET),
        ('$1::text::date', '2020-02-30'),
        ('$1::text::json', '{' + SECRET),
        ('$1::text::int []', '{tr0ub4dor,'),
        ('now () AT TIME ZONE $1::text', SECRET),
        ('2 * $1::int', 2**31 - 1),
        ("'ab' LIKE $1 || '\\'", 'a'),
        ('b FROM (VALUES (1)) t (b) LIMIT $1', -1),
    ],
)
def test_values_in_sql_by_hand(client_for: Make, app: Atila, table: str, sql: str, value: Any) -> None:
    client = client_for(app)
    for form in (*FORMS, 'cursor'):
        answer = ask(client, form, alias='@pg', do='sql', sql=f'SELECT {sql}', value=value)
        assert (form, answer.status_code) == (form, 400)
        assert answer.json()['more_info'].startswith('a ')


@pytest.mark.parametrize(
    ('alias', 'todo'),
    [
        ('@pg', {'do': 'sql', 'sql': 'SELECT 1 / $1::int', 'value': 0}),
        ('@pg', {'do': 'sql', 'sql': 'SELECT ln ($1::float8)', 'value': 0.0}),
        ('@pg', {'do': 'sql', 'sql': "SELECT 'tr0ub4dor'::int, $1::int", 'value': 1}),
        ('@pg', {'do': 'sql', 'sql': "SELECT name::int FROM (VALUES ('tr0ub4dor')) t (name)"}),
        ('@pg', {'do': 'filter', 'column': 'doc___age', 'value': 20}),  # what is in the table
        ('@pg', {'do': 'filter', 'column': 'nowhere', 'value': 20}),
        ('@pg', {'do': 'sql', 'sql': 'SELEC $1', 'value': 1}),
        ('@pg', {'do': 'sql', 'sql': 'SELECT 1', 'value': 1}),
        ('@pg', {'do': 'insert', 'column': 'id', 'value': 'special object'}),
        ('@pg', {'do': 'insert', 'column': 'doc', 'value': 'special document'}),
        ('@pg', {'do': 'sql', 'sql': 'INSERT INTO {table} (need) VALUES (NULL)'}),
        ('@lite', {'do': 'sql', 'sql': 'INSERT INTO {table} (need) VALUES (NULL)'}),
        ('@lite', {'do': 'filter', 'column': 'nowhere', 'value': 20}),
        ('@lite', {'do': 'sql', 'sql': 'SELECT json_extract (?, ?)', 'value': SECRET}),
    ],
)
def test_what_is_the_services_own_fault(
    client_for: Make,
    app: Atila,
    table: str,
    alias: str,
    todo: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_for(app)
    for form in FORMS:
        answer = ask(client, form, alias=alias, **todo)
        assert (form, answer.status_code) == (form, 502)
    assert any(record.exc_info for record in caplog.records)


def test_what_has_no_place_in_sqlite_is_the_services_own_fault(
    client_for: Make, app: Atila, table: str
) -> None:
    """It is said where it is asked for, before there is a Task."""
    client = client_for(app)
    for form in FORMS:
        for value in ('special object', 'special document'):
            answer = ask(client, form, alias='@lite', do='insert', column='name', value=value)
            assert answer.status_code == 500


def test_a_service_can_catch_the_drivers_own(client_for: Make, app: Atila, table: str) -> None:
    """SPEC TK-12."""
    client = client_for(app)

    def caught(**todo: Any) -> tuple[str, str]:
        found = client.post('/caught', json={'todo': todo}).json()
        return found['kind'], found['words']

    kind, words = caught(alias='@pg', do='insert', column='id', value=2**31)
    assert kind == 'asyncpg.exceptions.DataError'
    assert 'value out of int32 range' in words
    assert caught(alias='@pg', do='insert', column='uq', value=1)[0].endswith('UniqueViolationError')
    assert caught(alias='@lite', do='insert', column='uq', value=1)[0] == 'sqlite3.IntegrityError'
    assert caught(alias='@lite', do='insert', column='uq', value=2**63)[0] == 'builtins.OverflowError'


def test_deferred_constraints(client_for: Make, app: Atila, register: tuple[Aliases, str]) -> None:
    """They are looked at when everything else has been done."""
    name = f'd_{uuid.uuid4().hex[:8]}'
    sql = f'CREATE TABLE {name} (a int PRIMARY KEY, b int REFERENCES {name} DEFERRABLE INITIALLY DEFERRED)'
    for alias in ('@pg', '@lite'):
        dbi.database(alias, register=register[0]).execute(sql).commit()

    @app.route('/deferred')
    def deferred(was, alias):  # type: ignore[no-untyped-def]
        with was.transaction(alias) as tx:
            tx.insert(name).set(a=1, b=2).execute()
        return 'done'

    @app.route('/deferred/script')
    def script(was, alias):  # type: ignore[no-untyped-def]
        db = was.db(alias)
        db.insert(name).set(a=1, b=2).append(db.insert(name).set(a=3, b=4)).tran().execute().commit()
        return 'done'

    @app.route('/deferred/async')
    async def awaits(was, alias):  # type: ignore[no-untyped-def]
        async with was.transaction(alias) as tx:
            await tx.insert(name).set(a=1, b=2).execute()
        return 'done'

    client = client_for(app)
    for alias in ('@pg', '@lite'):
        for path in ('/deferred', '/deferred/script', '/deferred/async'):
            answer = client.get(path, params={'alias': alias})
            assert (alias, path, answer.status_code) == (alias, path, 409)
            assert name not in answer.text


def test_somebody_elses_attribute_is_no_mark(client_for: Make, app: Atila) -> None:
    @app.route('/marked')
    def marked(was):  # type: ignore[no-untyped-def]
        error = LookupError(SECRET)
        error.refusal = (200, SECRET)  # type: ignore[attr-defined]
        error.http_status = 400  # type: ignore[attr-defined]
        raise error

    answer = client_for(app).get('/marked')
    assert answer.status_code == 500
    assert SECRET not in answer.text


def test_the_page_of_an_app(client_for: Make, app: Atila, table: str) -> None:
    """SPEC ER-03: handlers of an app's own have the words too."""

    @app.error_handler(400, accept='*')
    def refused(was, error):  # type: ignore[no-untyped-def]
        return was.API(own=error.detail)

    answer = client_for(app).post(
        '/plain', json={'todo': {'alias': '@pg', 'do': 'insert', 'column': 'need', 'value': None}}
    )
    assert (answer.status_code, answer.json()) == (400, {'own': 'need: a value is missing'})
