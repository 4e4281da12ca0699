"""MongoDB (SPEC DB-07): both styles of calling, values, faults."""

from __future__ import annotations

import asyncio
import datetime
import gc
import math
import os
import signal
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import databases
import pymongo.errors
import pytest
from databases import Mongo
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import wait_for
from tls import certificate

import aquests
from aquests import Record, loop
from aquests.aliases import DB_MONGODB, Aliases
from aquests.dbi import Options, database
from aquests.errors import NetworkError, PoolExhausted, TaskCancelled, TaskTimeout

Db = Callable[..., Any]


# pymongo's watchers let go of a socket that is not connected yet, instead of closing it.
pytestmark = pytest.mark.filterwarnings(
    'ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning'
)


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    aquests.shutdown(1)
    gc.collect()


@pytest.fixture
def db_of() -> Db:
    """`db_of (members, max_conns, source, ssl, **options)`: the interface of an alias of one's own."""
    register = Aliases()

    def make(members: Any, max_conns: int = 32, source: str = '', ssl: bool = False, **options: Any) -> Any:
        name = f'@mongo{len(register._known)}'
        register.add(name, DB_MONGODB, members, source=source, max_conns=max_conns, ssl=ssl)
        return database(name, Options(**options), None, register)

    return make


@pytest.fixture
def member(mongo: Mongo) -> str:
    return f'{mongo.host}:{mongo.port}/aquests/people'


@pytest.fixture
def db(db_of: Db, member: str) -> Iterator[Any]:
    """The collection `people`, empty."""
    db = db_of(member)
    db.command({'dropDatabase': 1}).commit()
    yield db
    db.command({'dropDatabase': 1}).commit()


@pytest.fixture
def ten(db: Any) -> Any:
    """`db` with people 0 to 9."""
    db.insert([{'n': number, 'city': 'Rome' if number % 2 else 'Paris'} for number in range(10)]).commit()
    return db


# -- the short style --------------------------------------------------------------------------------


def test_find(ten: Any) -> None:
    with ten as db:
        task = db.find({'city': 'Rome'})
    people = task.fetch()
    assert [person.n for person in people] == [1, 3, 5, 7, 9]
    assert isinstance(people[0], Record)
    assert people[0]['city'] == people[0].city == 'Rome'
    assert isinstance(people[0]._id, bson.ObjectId)
    assert ten.find({'city': 'Oslo'}).fetch() == []
    assert len(ten.find().fetch()) == len(ten.findall().fetch()) == 10
    assert [one.n for one in ten.find({}, 2, 3).fetch()] == [2, 3, 4]
    assert [one.n for one in ten.find({}, offset=1, limit=2, sort=[('n', -1)]).fetch()] == [8, 7]
    assert ten.find({'n': 3}, projection=['n']).one().keys() == {'_id', 'n'}
    assert ten.find({'n': 3}, projection={'_id': 0, 'city': 1}).one() == {'city': 'Rome'}
    assert ten.findone({'n': 3}).fetch().city == 'Rome'
    assert ten.findone({'n': 33}).fetch() is None
    assert ten.findone(sort='n').fetch().n == 0
    assert len(ten.findall({'city': 'Paris'}).fetch()) == 5


def test_writing(db: Any) -> None:
    one = {'name': 'Anna'}
    result = db.insert(one).fetch()
    assert one == {'name': 'Anna'}, 'what was given is not changed'
    assert [type(each) for each in result.inserted_ids] == [bson.ObjectId]
    assert db.insert([{'_id': 7, 'name': 'Bert'}, {'name': 'Cora'}]).fetch().inserted_ids[0] == 7
    result = db.update({}, {'$set': {'seen': True}}).fetch()
    assert (result.matched_count, result.modified_count, result.upserted_id) == (3, 3, None)
    assert db.update({'name': 'Anna'}, [{'$set': {'twice': {'$concat': ['$name', '$name']}}}]).fetch()
    assert db.findone({'name': 'Anna'}).fetch().twice == 'AnnaAnna'
    assert db.updateone({'seen': True}, {'$set': {'seen': False}}).fetch().modified_count == 1
    assert db.updateone({'_id': 7}, {'name': 'Berta'}).fetch().modified_count == 1
    assert db.findone({'_id': 7}).fetch() == {'_id': 7, 'name': 'Berta'}
    assert db.upsert({'_id': 8}, {'$set': {'name': 'Dora'}}).fetch().upserted_id == 8
    assert db.upsertone({'_id': 9}, {'name': 'Emil'}).fetch().upserted_id == 9
    assert db.upsertone({'_id': 9}, {'name': 'Emma'}).fetch().upserted_id is None
    assert db.findone({'_id': 9}).fetch().name == 'Emma'
    assert db.delete({'_id': {'$gte': 7}}).fetch() == {'deleted_count': 3}
    assert len(db.find().fetch()) == 2


def test_aggregate_and_command(ten: Any) -> None:
    stages = [{'$group': {'_id': '$city', 'count': {'$sum': 1}}}, {'$sort': {'_id': 1}}]
    assert ten.aggregate(stages).fetch() == [{'_id': 'Paris', 'count': 5}, {'_id': 'Rome', 'count': 5}]
    assert ten.aggregate('nothing', stages).fetch() == []
    assert ten.command({'count': 'people', 'query': {'city': 'Rome'}}).fetch().n == 5
    with pytest.raises(pymongo.errors.OperationFailure, match='no such command'):
        ten.command({'nosuchcommand': 1}).fetch()


def test_what_was_given_may_be_changed_afterwards(db: Any) -> None:
    document = {'n': 0, 'inner': {'values': [1]}}
    tasks = []
    for number in range(30):
        document['n'] = number
        tasks.append(db.insert(document))
        document['inner']['values'].append(number)  # type: ignore[index]
    for task in tasks:
        task.commit()
    assert sorted(len(each.inner['values']) for each in db.find().fetch()) == list(range(1, 31))


# -- the style with a collection's name -------------------------------------------------------------


def test_a_named_collection(db: Any) -> None:
    assert len(db.insert('places', [{'n': number} for number in range(7)]).fetch().inserted_ids) == 7
    assert db.find().fetch() == []
    result = db.find('places', {}, offset=0, limit=1).fetch()
    assert (result.cursor_id, result.starting_from, result.number_returned) == (0, 0, 1)
    assert [each.n for each in result.data] == [0]
    assert db.find('places', {'n': 5}).fetch().data[0].n == 5
    assert db.find('places', {}, 2, -3).fetch().number_returned == 3
    assert db.findone('places', {'n': 3}).fetch().data[0].n == 3
    assert db.findone('places', {'n': 33}).fetch().data == []
    whole = db.findall('places', {}).fetch()
    assert (whole.cursor_id, whole.number_returned) == (0, 7)
    assert db.update('places', {'n': {'$lt': 3}}, {'$inc': {'n': 100}}).fetch().modified_count == 3
    assert db.updateone('places', {'n': 3}, {'n': 4}).fetch().matched_count == 1
    assert db.upsert('places', {'n': -1}, {'$set': {'x': 1}}).fetch().upserted_id is not None
    assert db.upsertone('places', {'n': -2}, {'n': -2}).fetch().upserted_id is not None
    assert db.delete('places', {}).fetch().deleted_count == 9


def test_cursors(ten: Any) -> None:
    first = ten.find('people', {}, 0, 4).fetch()
    assert first.cursor_id
    second = ten.get_more('people', first.cursor_id, 4).fetch()
    assert (second.starting_from, second.number_returned) == (4, 4)
    third = ten.get_more(second.cursor_id).fetch()
    assert (third.cursor_id, third.starting_from, third.number_returned) == (0, 8, 2)
    assert [one.n for part in (first, second, third) for one in part.data] == list(range(10))
    with pytest.raises(pymongo.errors.CursorNotFound, match='not known in this process'):
        ten.get_more(second.cursor_id).fetch()
    others = [ten.find('people', {}, 0, 2).fetch().cursor_id for _ in range(3)]
    ten.kill_cursors(others[0], others[1:]).commit()
    for cursor_id in others:
        with pytest.raises(pymongo.errors.CursorNotFound):
            ten.get_more('people', cursor_id, 2).fetch()
    assert ten.command({'serverStatus': 1}).fetch().metrics['cursor']['open']['total'] == 0
    ten.kill_cursors([12345]).commit()


def test_a_cursor_stays_with_its_member(ten: Any, db_of: Db, member: str) -> None:
    both = db_of([member, member])
    result = both.find('people', {}, 0, 3).fetch()
    seen = [each.n for each in result.data]
    while result.cursor_id:
        result = both.get_more('people', result.cursor_id, 3).fetch()
        seen += [each.n for each in result.data]
    assert seen == list(range(10))


# -- values -----------------------------------------------------------------------------------------


def test_values_come_back(db: Any) -> None:
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, 123000, datetime.timezone(datetime.timedelta(hours=2)))
    values = {
        'text': 'ä€😀\0',
        'bytes': bytes(range(256)),
        'big': 2**63 - 1,
        'small': -(2**63),
        'real': 0.1,
        'none': None,
        'yes': True,
        'when': when,
        'list': [1, [2, {'x': 3}]],
        'inner': {'a': {'b': 'ü'}},
        'id': bson.ObjectId(),
        'decimal': bson.Decimal128('1.10'),
        'uuid': uuid.uuid4(),
        'ünicode key': 1,
    }
    db.insert({'_id': 1, **values}).commit()
    got = db.findone({'_id': 1}).fetch()
    assert got.pop('_id') == 1
    assert got == values
    assert got.when.tzinfo is not None
    assert got.inner.a.b == 'ü'
    db.insert({'_id': 2, 'price': Decimal('1.10')}).commit()
    assert db.findone({'price': Decimal('1.1')}).fetch().price == bson.Decimal128('1.10')
    assert db.findone({'_id': 2}).fetch().price.to_decimal() == Decimal('1.10')


def test_any_document_comes_back(db: Any) -> None:
    keys = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), min_size=1).filter(
        lambda key: not key.startswith('$') and key != '_id'
    )
    texts = st.text(st.characters(exclude_categories=['Cs']))
    plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
    values = st.recursive(
        plain | texts | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=10,
    )

    @given(st.dictionaries(keys, values, max_size=5))
    @settings(max_examples=50, deadline=None)
    def check(document: dict[str, Any]) -> None:
        (inserted,) = db.insert(document).fetch().inserted_ids
        assert db.find({'_id': inserted}).one() == {'_id': inserted, **document}

    check()


# -- errors -----------------------------------------------------------------------------------------


def test_errors_are_pymongos(db: Any) -> None:
    db.insert({'_id': 1}).commit()
    with pytest.raises(pymongo.errors.DuplicateKeyError) as caught:
        db.insert({'_id': 1}).fetch()
    assert caught.value.http_status == 502  # type: ignore[attr-defined]
    with pytest.raises(pymongo.errors.DuplicateKeyError) as caught:
        db.insert({'_id': 1}).one()
    assert caught.value.http_status == 409  # type: ignore[attr-defined]
    with pytest.raises(pymongo.errors.OperationFailure, match=r'\$nosuch'):
        db.find({'x': {'$nosuch': 1}}).fetch()
    result = db.find({'x': {'$nosuch': 1}}).dispatch()
    assert (result.status, result.status_code) == (aquests.STA_NORMAL, 500)


def test_what_cannot_be_sent_is_refused_at_once(db: Any, db_of: Db, mongo: Mongo) -> None:
    with pytest.raises(TypeError, match='a spec is a dict, not list'):
        db.find([1])
    with pytest.raises(TypeError, match='a document is a dict'):
        db.insert('places', [1])
    with pytest.raises(TypeError, match='2 arguments are needed'):
        db.update({})
    with pytest.raises(TypeError, match='too many'):
        db.delete({}, {})
    with pytest.raises(ValueError, match=r'update changes all such documents.*updateone replaces one'):
        db.update({}, {'name': 'x'})
    with pytest.raises(bson.errors.InvalidDocument):
        db.insert({'x': object()})
    with pytest.raises(OverflowError):
        db.insert({'x': 2**63})
    with pytest.raises(TypeError, match='projection'):
        db.find({}, projection='name')
    with pytest.raises(ValueError, match='names no database'):
        db_of(f'{mongo.host}:{mongo.port}').find({})


def test_options(ten: Any, db_of: Db, member: str) -> None:
    """SPEC TK-14, CA-02; what changes something is always done."""
    assert db_of(member, filter=len).find({}).fetch() == 10
    cached = db_of(member, use_cache=True)
    assert cached.findone({'n': 3}).fetch().city == 'Rome'
    ten.update({'n': 3}, {'$set': {'city': 'Oslo'}}).commit()
    assert cached.findone({'n': 3}).fetch().city == 'Rome'
    assert cached.findone({'n': 3}, projection=['n']).fetch().keys() == {'_id', 'n'}
    for _ in range(2):
        cached.update({'n': 3}, {'$inc': {'count': 1}}).commit()
    assert ten.findone({'n': 3}).fetch()['count'] == 2


# -- members, limits, faults ------------------------------------------------------------------------


def test_the_database_of_an_alias(db: Any, db_of: Db, mongo: Mongo) -> None:
    """SPEC DB-07: `host/name` is a database and a collection of one name."""
    same = db_of(f'{mongo.host}:{mongo.port}/aquests')
    same.insert({'n': 1}).commit()
    assert db.findone('aquests', {}).fetch().data[0].n == 1


def test_user_and_password(db: Any, db_of: Db, mongo: Mongo) -> None:
    at = f'{mongo.host}:{mongo.port}/aquests/people'
    user = {'createUser': 'anna', 'pwd': 's:cr@t', 'roles': ['readWrite']}
    db.command(user).commit()
    try:
        status = {'connectionStatus': 1}
        told = db_of(f'anna:s%3Acr%40t@{at}').command(status).fetch()
        assert told.authInfo.authenticatedUsers == [{'user': 'anna', 'db': 'aquests'}]
        for wrong, source in ((f'anna:wrong@{at}', ''), (f'anna:s%3Acr%40t@{at}', 'admin')):
            with pytest.raises(pymongo.errors.OperationFailure, match='Authentication failed') as caught:
                db_of(wrong, source=source).find({}).fetch()
            assert 's:cr@t' not in str(caught.value)
    finally:
        db.command({'dropUser': 'anna'}).commit()


class Secure(Mongo):
    """With TLS, and nothing else."""

    def _prepare(self, folder: Path) -> None:
        super()._prepare(folder)
        self.pem = str(certificate(folder / 'cert.pem'))

    def _command(self) -> list[str]:
        files = ['--tlsCertificateKeyFile', self.pem, '--tlsCAFile', self.pem]
        return [
            *super()._command(),
            *('--tlsMode', 'requireTLS', *files),
            '--tlsAllowConnectionsWithoutCertificates',
        ]


def test_tls(db_of: Db, mongo: Mongo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Secure(tmp_path) as server:
        at = f'localhost:{server.port}/test'
        began = time.monotonic()
        with pytest.raises(NetworkError, match=r'not trusted \(self-signed.*SSL_CERT_FILE names') as caught:
            db_of(at, ssl=True).insert({'n': 1}).fetch()
        assert not caught.value.sent
        monkeypatch.setenv('SSL_CERT_FILE', server.pem)
        secure = db_of(at, ssl=True)
        for task in [secure.insert({'n': number}) for number in range(10)]:
            task.commit()
        assert len(secure.find({}).fetch()) == 10
        with pytest.raises(NetworkError, match=r"not trusted .*mismatch.* for '127\.0\.0\.1'"):
            db_of(server.member, ssl=True).find({}).fetch()
        with pytest.raises(NetworkError, match='cannot be reached'):
            db_of(f'localhost:{mongo.port}/test', ssl=True).find({}).fetch()
        assert time.monotonic() - began < 3, 'who is not trusted is not looked for again and again'
        with pytest.raises((NetworkError, TaskTimeout)):
            db_of(at, timeout=2).find({}).fetch()
        assert len(secure.find({}).fetch()) == 10


@pytest.mark.parametrize('timeout', [None, math.inf, 1e9, 1e8, 100])
def test_any_time_limit(ten: Any, db_of: Db, member: str, timeout: float | None) -> None:
    assert len(db_of(member, timeout=timeout).find({}).fetch()) == 10


def slow(name: str) -> dict[str, Any]:
    """A spec that takes 30 s where there is a document."""
    return {'$where': f'function () {{ /* {name} */ sleep (30000); return true; }}'}


def running(db: Any, name: str) -> bool:
    return name in str(db.command({'currentOp': 1}).fetch().inprog)


@pytest.fixture
def admin(db_of: Db, mongo: Mongo) -> Any:
    return db_of(f'{mongo.host}:{mongo.port}/admin')


@pytest.mark.parametrize('how', ['cancel', 'timeout'])
def test_what_is_given_up_is_ended_on_the_server(
    ten: Any, db_of: Db, member: str, admin: Any, how: str
) -> None:
    task = db_of(member, timeout=1 if how == 'timeout' else 20).find(slow(how))
    wait_for(lambda: running(admin, f'/* {how} */'), 'it runs')
    if how == 'cancel':
        task.cancel()
    with pytest.raises(TaskCancelled if how == 'cancel' else TaskTimeout):
        task.fetch()
    wait_for(lambda: not running(admin, f'/* {how} */'), 'it was ended')
    assert len(ten.find().fetch()) == 10


def test_all_connections_in_use(ten: Any, db_of: Db, member: str) -> None:
    """SPEC LB-05."""
    few = db_of(member, max_conns=1, timeout=0.4)
    longer = type(few)(few.alias, few._cluster, Options(timeout=2))
    first, second = longer.find(slow('first')), few.find({})
    with pytest.raises(PoolExhausted, match='all 1 connections were in use'):
        second.fetch()
    with pytest.raises(TaskTimeout):
        first.fetch()
    assert len(few.find({}).fetch()) == 10


def test_a_server_that_is_not_there(db_of: Db, tmp_path: Path) -> None:
    with databases.mongo(tmp_path) as server:
        db = db_of(server.member)
        db.findone({}).commit()
        server.kill()
        for task in [db.findone({}) for _ in range(5)]:
            with pytest.raises(NetworkError, match=f'{server.host}:{server.port}'):
                task.fetch()
        with pytest.raises(NetworkError) as caught:
            db.insert({}).fetch()
        assert not caught.value.sent
        server.start()
        db.insert({'n': 1}).commit()
        assert db.findone({'n': 1}).fetch().n == 1
        # One that takes connections and says nothing.
        pid = int(db.command({'serverStatus': 1}).fetch().pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises((TaskTimeout, NetworkError)):
                db_of(server.member, timeout=1).findone({}).fetch()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert db.findone({'n': 1}).fetch().n == 1


def test_killed_in_the_middle(db_of: Db, tmp_path: Path) -> None:
    """No wrong answer, no hang; later ones succeed."""
    with databases.mongo(tmp_path) as server:
        db = db_of(server.member)
        killed = threading.Event()
        errors: list[BaseException] = []

        def work(number: int) -> None:
            for count in range(60):
                key = f'{number}:{count}'
                try:
                    assert db.insert({'_id': key}).fetch().inserted_ids == [key]
                    assert db.find({'_id': key}).one()._id == key
                except NetworkError as error:
                    errors.append(error)
                    killed.wait(0.01)
                except aquests.errors.PartialNotFound:
                    assert killed.is_set(), 'what was not in the journal yet may be lost with a killed server'
                if count == 20:
                    killed.set()

        threads = [aquests.Thread(work, args=(number,), timeout=60) for number in range(6)]
        assert killed.wait(20)
        server.kill()
        server.start()
        for thread in threads:
            thread.fetch()
        assert errors
        db.insert({'_id': 'later'}).commit()


def test_reads_go_on_without_a_killed_member(ten: Any, db_of: Db, member: str, tmp_path: Path) -> None:
    """SPEC LB-03, LB-04."""
    with databases.mongo(tmp_path) as server:
        other = f'{server.host}:{server.port}/aquests/people'
        both = db_of([other, member])
        db_of(other).insert([{'n': number} for number in range(10)]).commit()
        assert [len(each) for each in db_of([other, member], everywhere=True).find({}).fetch()] == [10, 10]
        for _ in range(4):
            assert len(both.find({}).fetch()) == 10
        server.kill()
        for _ in range(20):
            assert len(both.find({}).fetch()) == 10


def test_nothing_is_left_of_what_failed(ten: Any, db_of: Db, member: str) -> None:
    hurried = db_of(member, timeout=0.002)
    for _ in range(20):
        tasks = [hurried.find({}) for _ in range(5)] + [ten.find({'x': {'$nosuch': 1}}) for _ in range(5)]
        cancelled = [ten.find({}) for _ in range(5)]
        for task in cancelled:
            task.cancel()
        for task in tasks + cancelled:
            task.dispatch()
    assert len(ten.find().fetch()) == 10
    aquests.shutdown(2)
    assert len(ten.find().fetch()) == 10

    async def others() -> int:
        return sum('find' in repr(task) for task in asyncio.all_tasks())

    assert asyncio.run_coroutine_threadsafe(others(), loop.get()).result(10) == 0


def test_a_connection_keeps_nothing_of_the_request_that_made_it(db_of: Db, member: str) -> None:
    class Kept: ...

    kept = Kept()
    variable: ContextVar[Any] = ContextVar('variable', default=None)
    db = db_of(member)

    def work(kept: Kept) -> None:
        variable.set(kept)
        db.find({}).commit()

    copy_context().run(work, kept)
    gone = weakref.ref(kept)
    del kept
    wait_for(lambda: gc.collect() >= 0 and gone() is None, 'the request is gone')
