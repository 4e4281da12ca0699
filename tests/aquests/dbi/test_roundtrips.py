"""Any value comes back from each database that has such: written by a statement of its own, read by another.

What a database does not have is refused at once, or by it, and never becomes something else. (SQLite's kinds
of values are in `test_sqlite`, PostgreSQL's one by one in `test_postgresql`.)
"""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import bson
import pytest
from databases import Mongo, Postgres, Redis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import aquests
from aquests.aliases import DB_MONGODB, DB_PGSQL, DB_REDIS, DB_SQLITE3, Aliases
from aquests.dbi import Options, database

UTC = datetime.UTC
TEXTS = st.text(
    st.characters(exclude_categories=['Cs']) | st.sampled_from('\0\ufeff\u202e\U0001f600\U0010ffff')
)
#: What PostgreSQL's text and JSON take: all but U+0000.
PG_TEXTS = TEXTS.map(lambda text: text.replace('\0', ''))
ZONES = st.integers(-1439, 1439).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
#: PostgreSQL's time of day has no others.
NEAR_ZONES = ZONES.filter(lambda zone: abs(zone.utcoffset(None)) < datetime.timedelta(hours=15))
MOMENTS = st.datetimes(
    datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29), timezones=ZONES | st.just(UTC)
)
INTS = st.integers(-(2**63), 2**63 - 1)
#: One beyond 64 bits by any number of digits, both signs.
LARGE = st.integers(2**63, 10**60) | st.integers(-(10**60), -(2**63) - 1)
#: With up to six places, also where they are zeros.
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**30), max_value=10**30)

PG_TYPES: dict[type, str] = {str: 'text', bytes: 'bytea', int: 'int8', float: 'float8'}

often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope='module')
def open_database() -> Iterator[Callable[[str, str], Any]]:
    register = Aliases()

    def make(type: str, member: str) -> Any:
        name = f'@{type[1:]}{len(register._known)}'
        register.add(name, type, member)
        return database(name, Options(), None, register)

    yield make
    aquests.shutdown(2)


@pytest.fixture
def pg(open_database: Any, postgres: Postgres) -> Iterator[Any]:
    db = open_database(DB_PGSQL, postgres.member)
    yield db
    tables = ['roundtrip', *(f'roundtrip_{name}' for name in PG_TYPES.values())]
    db.execute(f'DROP TABLE IF EXISTS {", ".join(tables)}').commit()


@pytest.fixture
def mongo_db(open_database: Any, mongo: Mongo) -> Iterator[Any]:
    db = open_database(DB_MONGODB, f'{mongo.host}:{mongo.port}/aquests/roundtrip')
    db.delete({}).commit()
    yield db
    db.delete({}).commit()


# -- what all have ----------------------------------------------------------------------------------


def by_postgresql(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    pg = request.getfixturevalue('pg')
    for name in PG_TYPES.values():
        pg.execute(f'CREATE TABLE IF NOT EXISTS roundtrip_{name} (id serial, x {name})').commit()

    def there_and_back(value: Any) -> Any:
        table = f'roundtrip_{PG_TYPES[type(value)]}'
        number = pg.insert(table).set(x=value).returning('id').execute().one()
        return pg.execute(f'DELETE FROM {table} WHERE id = $1 RETURNING x', [number.id]).one().x

    return there_and_back


def by_sqlite(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    folder = request.getfixturevalue('tmp_path')
    db = request.getfixturevalue('open_database')(DB_SQLITE3, str(folder / 'file.db'))
    db.execute('CREATE TABLE t (id integer PRIMARY KEY, x)').commit()

    def there_and_back(value: Any) -> Any:
        db.execute('INSERT OR REPLACE INTO t VALUES (1, ?)', (value,)).commit()
        return db.execute('SELECT x FROM t').one().x

    return there_and_back


def by_mongodb(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    db = request.getfixturevalue('mongo_db')

    def there_and_back(value: Any) -> Any:
        (number,) = db.insert({'x': value}).fetch().inserted_ids
        return db.findone({'_id': number}).fetch().x

    return there_and_back


def by_redis(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    server: Redis = request.getfixturevalue('redis_server')
    db = request.getfixturevalue('open_database')(DB_REDIS, f'{server.host}:{server.port}/9')

    def there_and_back(value: Any) -> Any:
        """A string has no type there: it is the reader who knows."""
        db.set('roundtrip', value).commit()
        if isinstance(value, bytes):
            return db.raw.getdel('roundtrip').fetch()
        return type(value)(db.getdel('roundtrip').fetch())

    return there_and_back


@pytest.fixture(params=[by_postgresql, by_sqlite, by_mongodb, by_redis])
def there_and_back(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = request.param(request)
    return made


@pytest.mark.parametrize(
    'values', [PG_TEXTS, st.binary(), INTS, st.floats(allow_nan=False)], ids=['str', 'bytes', 'int', 'float']
)
def test_what_all_have(there_and_back: Callable[[Any], Any], values: st.SearchStrategy[Any]) -> None:
    @often
    @given(values)
    def check(value: Any) -> None:
        found = there_and_back(value)
        assert isinstance(found, type(value))  # bson.Int64 is an int
        assert found == value
        if isinstance(value, float):
            assert math.copysign(1, found) == math.copysign(1, value)

    check()


def test_u_0000(there_and_back: Callable[[Any], Any], request: pytest.FixtureRequest) -> None:
    """PostgreSQL's text has it not, and says so; the others have it."""
    text = 'a\0b\0'
    if 'by_postgresql' in request.node.name:
        with pytest.raises(Exception, match='0x00') as caught:
            there_and_back(text)
        assert caught.value.http_status == 400  # type: ignore[attr-defined]
        assert there_and_back('after') == 'after'
    else:
        assert there_and_back(text) == text


def test_half_a_surrogate_pair(there_and_back: Callable[[Any], Any]) -> None:
    """No text that UTF-8 has: nowhere does it become another."""
    with pytest.raises(Exception, match=r'surrogate|encode'):
        there_and_back('a\ud83d')
    assert there_and_back('after') == 'after'


def test_more_than_64_bits(there_and_back: Callable[[Any], Any], request: pytest.FixtureRequest) -> None:
    if 'by_redis' in request.node.name:
        assert there_and_back(-(10**100)) == -(10**100)
        return
    for number in (2**63, -(2**63) - 1, 10**60):
        with pytest.raises(Exception, match=r'64|range|8-byte'):
            there_and_back(number)
    assert there_and_back(2**63 - 1) == 2**63 - 1


# -- PostgreSQL -------------------------------------------------------------------------------------

PG_JSON = st.recursive(
    st.booleans() | INTS | st.floats(-1e15, 1e15) | PG_TEXTS,
    lambda inner: (
        st.lists(inner | st.none(), max_size=4) | st.dictionaries(PG_TEXTS, inner | st.none(), max_size=4)
    ),
    max_leaves=10,
)
PG_KINDS: dict[str, st.SearchStrategy[Any]] = {
    'numeric': NUMBERS | LARGE.map(Decimal) | st.sampled_from([Decimal('NaN'), Decimal('Infinity')]),
    'timestamptz': MOMENTS,
    'timestamp': st.datetimes(),
    'date': st.dates(),
    'time': st.times(),
    'timetz': st.times(timezones=NEAR_ZONES),
    'interval': st.timedeltas(datetime.timedelta(-(10**6)), datetime.timedelta(10**6)),
    'uuid': st.uuids(),
    'bool': st.booleans(),
    'bytea': st.binary(),
    'text': PG_TEXTS,
    'int8': INTS,
    'jsonb': PG_JSON,
    'json': PG_JSON,
}


def same(found: Any, value: Any) -> bool:
    """Equal, with as many digits, in time and instant; NaN is itself."""
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, Decimal):
        if value.is_nan():
            return bool(found.is_nan())
        places = value.as_tuple().exponent
        fraction = isinstance(places, int) and places < 0
        return bool(found == value) and (not fraction or found.as_tuple().exponent == places)
    if isinstance(value, datetime.datetime):
        return bool(found == value) and (found.tzinfo is None) is (value.tzinfo is None)
    return bool(found == value) and isinstance(found, type(value))


@pytest.mark.parametrize('kind', PG_KINDS)
def test_postgresqls_kinds(pg: Any, kind: str) -> None:
    """By itself and NULL, in an array of any of them, by `execute`, by the builder, and many at once."""
    pg.execute('DROP TABLE IF EXISTS roundtrip').commit()
    pg.execute(f'CREATE TABLE roundtrip (id int PRIMARY KEY, x {kind}, xs {kind}[])').commit()
    optional = st.none() | PG_KINDS[kind]
    arrays = kind not in ('json', 'jsonb')  # a list there is JSON itself
    lists = st.lists(optional, max_size=4) if arrays else st.none()

    @often
    @given(optional, lists, st.lists(optional, max_size=3))
    def check(value: Any, values: Any, more: list[Any]) -> None:
        rows = [
            'DELETE FROM roundtrip',
            pg.insert('roundtrip').set(id=1, x=value, xs=values),
            'SELECT * FROM roundtrip',
        ]
        found = [pg.execute(rows).one()]
        update = 'UPDATE roundtrip SET x = $1, xs = $2 WHERE id = 1 RETURNING *'
        found.append(pg.execute(update, [value, values]).one())
        for row in found:
            assert same(row.x, value)
            assert row.xs is None if values is None else same(row.xs, values)
        insert = 'INSERT INTO roundtrip VALUES (%s, %s) RETURNING x'
        many = pg.executemany(insert, [(number + 2, each) for number, each in enumerate(more)]).fetch()
        assert same([row.x for row in many], more)

    check()


def test_postgresqls_large_ints(pg: Any) -> None:
    @often
    @given(LARGE)
    def check(number: int) -> None:
        assert pg.execute('SELECT $1::numeric AS x', [number]).one().x == number
        assert pg.execute('SELECT $1::numeric[] AS x', [[number, None, 1]]).one().x == [number, None, 1]
        with pytest.raises(Exception, match='range'):
            pg.execute('SELECT $1::int8', [number]).fetch()

    check()


def test_postgresqls_nested_arrays(pg: Any) -> None:
    @often
    @given(st.integers(1, 3), st.integers(1, 3), st.data())
    def check(rows: int, columns: int, data: Any) -> None:
        values = [[data.draw(st.none() | PG_TEXTS) for _ in range(columns)] for _ in range(rows)]
        assert pg.execute('SELECT $1::text[][] AS x', [values]).one().x == values

    check()


# -- MongoDB ----------------------------------------------------------------------------------------

KEYS = TEXTS.map(lambda text: text.replace('\0', '')).filter(
    lambda key: key and not key.startswith('$') and key != '_id'
)
MONGO_LEAVES = (
    st.none()
    | st.booleans()
    | INTS
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary()
    | st.uuids()
    | NUMBERS.filter(lambda number: len(number.as_tuple().digits) <= 34)
    | MOMENTS
    | st.binary(min_size=12, max_size=12).map(bson.ObjectId)
)


def as_kept(value: Any) -> Any:
    """What MongoDB has of a value: decimals are Decimal128, time goes by milliseconds and has UTC."""
    if isinstance(value, dict):
        return {key: as_kept(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_kept(each) for each in value]
    if isinstance(value, Decimal):
        return bson.Decimal128(value)
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return value


def test_mongodbs_documents(mongo_db: Any) -> None:
    documents = st.dictionaries(
        KEYS,
        st.recursive(
            MONGO_LEAVES,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
            max_leaves=12,
        ),
        max_size=6,
    )

    @settings(often, max_examples=150)
    @given(documents)
    def check(document: dict[str, Any]) -> None:
        (number,) = mongo_db.insert(document).fetch().inserted_ids
        expected = {'_id': number, **as_kept(document)}
        found = mongo_db.findone({'_id': number}).fetch()
        assert found == expected
        assert list(found) == list(expected)
        assert mongo_db.find({'_id': number}).one() == expected
        mongo_db.updateone({'_id': number}, {'$set': {'again': document}}).commit()
        assert mongo_db.findone({'_id': number}).fetch().again == as_kept(document)

    check()


def test_a_value_finds_itself(mongo_db: Any) -> None:
    """Also where it is a part of a spec."""

    @often
    @given(MONGO_LEAVES)
    def check(value: Any) -> None:
        assume(value is not None)
        (number,) = mongo_db.insert({'x': value, 'y': uuid.uuid4()}).fetch().inserted_ids
        assert number in [each._id for each in mongo_db.find({'x': value}).fetch()]

    check()


@pytest.mark.parametrize(
    'value',
    [
        2**63,
        Decimal('1' * 35),
        Decimal('1E+7000'),
        datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.date(2024, 2, 29),
        {'a\0b': 1},
    ],
    ids=str,
)
def test_what_mongodb_does_not_have(mongo_db: Any, value: Any) -> None:
    """It is refused where it is given, and not rounded."""
    with pytest.raises((OverflowError, ValueError, bson.errors.BSONError)):
        mongo_db.insert({'x': value})
    assert mongo_db.find({}).fetch() == []
    if isinstance(value, Decimal):
        with pytest.raises(bson.errors.InvalidDocument, match=r'34 digits at most.* give it as text'):
            mongo_db.find({'x': {'$gt': value}})
