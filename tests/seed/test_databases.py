"""Acceptance rows of databases (SPEC appendix A): what the seed writes, on real servers.

A-79, A-82 to A-84, A-87, A-88, A-91, A-95, A-99, A-117, A-120 to A-127, A-134. Rows with '@mydb' run on
PostgreSQL and on SQLite.
"""

from __future__ import annotations

import json
import re
import socketserver
import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from projects import Launcher, wait_for

import aquests
import skitai
from aquests import dbi
from aquests.aliases import DB_MONGODB, DB_PGSQL, DB_REDIS, Aliases
from aquests.dbi import asynredis
from skitai.testing import ServerClient

if TYPE_CHECKING:
    from databases import Mongo, Postgres, Redis

SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.alias ("@mypg", skitai.DB_PGSQL, ["{postgresql}"])
            skitai.alias ("@sqlite3", skitai.DB_SQLITE3, ["./sqlite3.db"])
            skitai.alias ("@mymongo", skitai.DB_MONGODB, ["{mongodb}"])
            skitai.alias ("@myredis", skitai.DB_REDIS, ["{redis}"])
            skitai.alias ("@mydb", {mydb})
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Each row is a function that is mounted at its own point; templates are in myapp/templates.
MYAPP = """
    import os
    import time
    from urllib.request import urlopen

    import skitai
    from aquests.sql import Q
    from atila import Atila

    LOGS = os.path.join (os.path.dirname (__file__), 'log')
    NAMES = 'select name from user order by id'

    # line 1100
    def __config__ (pref):
        skitai.register_g ('tables.users', 'table.photos')

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        app.mount ('/82', row_82)
        app.mount ('/83', row_83)
        app.mount ('/84', row_84)
        app.mount ('/87', row_87)
        app.mount ('/88', row_88)
        app.mount ('/95', row_95)
        app.mount ('/117', row_117)
        app.mount ('/120', row_120)
        app.mount ('/121', row_121)
        app.mount ('/122', row_122)
        app.mount ('/123', row_123)
        app.mount ('/124', row_124)
        app.mount ('/125', row_125)
        app.mount ('/126', row_126)
        app.mount ('/127', row_127)
        app.mount ('/134', row_134)

    def my_func (arg1, arg2):
        return [arg1, arg2, os.getpid ()]

    # lines 1306-1309
    def hide_password (rows):
        for row in rows:
            row.password = '****'
        return rows

    def row_82 (app):
        @app.route ('')
        def select (was):
            # PostgreSQL / SQLite3
            with was.db ('@mypg') as db:
                task = (db.select ('my_table')
                            .filter (name = 'Hans')
                            .with_ ('a', db.insert ('my_table').set (name = 'Hans'))
                        ).execute ()
            return was.API (rows = task.fetch ())

    def row_83 (app):
        @app.route ('')
        def find (was):
            with was.db('@mymongo') as db:
                task = db.find ({'city': 'New York'})
            return was.API (rows = task.fetch ())

    def row_84 (app):
        @app.route ('')
        def set_and_get (was):
            with was.db ("@myredis") as db:
                task1 = db.set('foo', 'bar')
                task2 = db.get('foo')
            return was.API (set = task1.fetch (), got = task2.fetch ())

    def row_87 (app):
        # what the seed asks another site for
        @app.route ('/api/profiles/<int:id>')
        def profile (was, id, limit):
            return was.API (id = id, limit = limit)

        def load (url, *params):
            with urlopen (url.format (*params), timeout = 5) as answer:
                return answer.read ().decode ()

        @app.route ('')
        def several (was):
            arg1, arg2 = 'a', 2
            url = f'http://{was.request.host}/87/api/profiles/{{}}?limit={{}}'
            with was.db('@mymongo') as db:
                task1 = db.find ({'city': 'New York'})
            task2 = was.Thread (load, url, 100, 10)
            task3 = was.Process (my_func, arg1, arg2)

            tasks = was.Tasks ([task1, task2, task3])
            a, b, c = tasks.fetch () # got 3 results
            return was.API (a = a, b = b, c = c)

    def row_88 (app):
        @app.route ('')
        def named (was):
            with was.db ('@mydb') as db:
                tasks = was.Tasks (
                    db.insert ('city').set (name = 'Hans').execute (),
                    files = was.Subprocess (f'ls {LOGS}', filter = lambda x: x.replace (' ', '_')),
                    result = was.db ('@mydb', filter = hide_password).execute ('select * from user')
                )
            results = tasks.fetch ()
            results ['files']
            results ['result']
            return was.API (results = results)

        @app.route ('/cities')
        def cities (was):
            return was.API (rows = was.db ('@mydb').select ('city').execute ().fetch ())

    def row_95 (app):
        SELECT = 'select name from users order by id'
        heard = []

        @app.route ("/update")
        def update (was):
            # update tables.users modification time
            was.db ('@mydb', rm_cache = 'tables.users').execute ("update users set name = 'new'").commit ()
            return was.API (pid = os.getpid ())

        @app.route ("/query")
        def query (was):
            # use cache if tables.users modification time is older
            task = was.db ('@mydb', use_cache = 'tables.users').execute (SELECT)
            return was.API (rows = task.fetch (), pid = os.getpid ())

        @app.route ("/query2")
        def query2 (was):
            # check all times are older
            task = was.db ('@mydb', use_cache = ['tables.users', 'table.photos']).execute (SELECT + ' desc')
            return was.API (rows = task.fetch ())

        @app.route ('/photos')
        def photos (was):
            was.setlu ('table.photos')

        @app.on ("setlu:tables.users")
        def table_updated (was, *args, **kargs):
            heard.append (was.request.uri)

        @app.route ('/heard')
        def events (was):
            return was.API (heard = heard)

    def row_117 (app):
        def respond (was, task):
            return was.API (result = task.fetch (), a = task.meta.get ('a'))

        @app.route ('')
        def foo (was):
            task = was.db ("@sqlite3").execute ("select * from test")
            return task.then (respond)

    def row_120 (app):
        @app.route ('/datalist')
        def datalist (was):
            task = was.db ("@sqlite3").execute ("select * from test")
            return was.API (result = task.fetch ())

    def row_121 (app):
        # same result but transit to async
        # return thread to pool early
        @app.route ('/datalist')
        def datalist (was):
            task = was.db ("@sqlite3").execute ("select * from test")
            return was.Map (result = task)

    def row_122 (app):
        @app.route ("/bench/sp", methods = ['GET'])
        def bench_sp (was):
            with was.db ('@mydb') as db:
                root = (db.select ("foo")
                            .order_by ("-created_at")
                            .limit (10)
                            .filter (Q (from_wallet_id = 8) | Q (detail = 'ReturnTx')))
                return was.Map (
                    was.Thread (time.sleep, args = (0.3,)), # no need map
                    files = was.Subprocess (f'ls {LOGS}'),
                    result = root.clone ().execute (),
                    record_count__one = root.clone ().aggregate ('count (id) as cnt').execute ()
                )

    def row_123 (app):
        @app.route ('')
        def filtered (was):
            return was.Map (
                files = was.Subprocess (f'ls {LOGS}', filter = lambda x: x.replace (' ', '_')),
                result = was.db ('@mydb', filter = hide_password).execute ('select * from user')
            )

    def row_124 (app):
        @app.route ('')
        def index (was):
            with was.db ('@mydb') as db:
                return was.render_or_Map ("index.j2", result = db.execute (NAMES))

    def row_125 (app):
        @app.route ('')
        def mapped (was):
            tasks = was.Tasks (
                files = was.Subprocess (f'ls {LOGS}', filter = lambda x: x.replace (' ', '_')),
                result = was.db ('@mydb', filter = hide_password).execute ('select * from user')
            )
            return was.Mapped (tasks)

    def row_126 (app):
        @app.route ('')
        def index (was):
            with was.db ('@mydb') as db:
                tasks = was.Tasks (result = db.execute (NAMES))
                return was.render_or_Mapped ("index.j2", tasks)

    def row_127 (app):
        fetch_count = 2

        @app.route ("/download_csv", coroutine = True)
        def download_csv (was):
            yield "ID, NAME\\n"
            current_id = 0
            while 1:
                task = yield (was.db ('@mydb').select ('tble')
                                .get ('id, name')
                                .filter (id__gt = current_id).
                                limit (fetch_count)).execute ()
                rows = task.fetch ()
                if not rows:
                    break
                current_id += fetch_count
                yield '\\n'.join (['{}, "{}"'.format (row.id, row.name) for row in rows])

    def row_134 (app):
        @app.route ("/")
        def intro (was):
            with was.db ('@mydb') as db:
                return was.render (
                    'template.html',
                    task1 = db.execute (NAMES),
                    task2 = db.select ('tble').filter (id = 5).execute (),
                )
"""

FILES = {
    'myapp/log/my app.log': '',
    'myapp/log/syslog': '',
    'myapp/templates/index.j2': '{% for row in context.result %}<li>{{ row.name }}</li>{% endfor %}',
    'myapp/templates/template.html': """\
        {% set rows = context.task1.fetch () %}
        {% for row in rows %}
        <li>{{ row.name }}</li>
        {% endfor %}
        {% set profile = context.task2.one () %}
        <p>{{ profile.name }}</p>
    """,
}

TABLES = """
    CREATE TABLE my_table (name text);
    CREATE TABLE city (name text);
    CREATE TABLE test (id int, name text);
    CREATE TABLE "user" (id int, name text, password text);
    CREATE TABLE users (id int, name text);
    CREATE TABLE tble (id int, name text);
    CREATE TABLE foo (id int, from_wallet_id int, detail text, created_at int);
    INSERT INTO test VALUES (1, 'one'), (2, 'two');
    INSERT INTO "user" VALUES (1, 'Ha<n>s', 'secret'), (2, 'Roh', '');
    INSERT INTO users VALUES (1, 'old');
    INSERT INTO tble VALUES (1, 'name 1'), (2, 'name 2'), (3, 'name 3'), (4, 'name 4'), (5, 'name 5');
"""
#: From the oldest to the newest: every third is of wallet 8, every fourth a return.
FOO = [(n, 8 if n % 3 == 0 else 1, 'ReturnTx' if n % 4 == 0 else 'Pay', 1000 + n) for n in range(40)]

FILTERED = {
    'files': 'my_app.log\nsyslog\n',
    'result': [
        {'id': 1, 'name': 'Ha<n>s', 'password': '****'},
        {'id': 2, 'name': 'Roh', 'password': '****'},
    ],
}


class Site(NamedTuple):
    """The project, and the test's own ways to what is in its databases. `mydb`: a statement on '@mydb'."""

    client: ServerClient
    mydb: Callable[[str], Any]

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)


@pytest.fixture(scope='module')
def own() -> Iterator[Callable[[str, str], Any]]:
    """`own (type, member)`: the test's own way to a database."""
    register = Aliases()

    def connect(type: str, member: str) -> Any:
        name = f'@own{uuid.uuid4().hex[:8]}'
        register.add(name, type, member)
        return dbi.database(name, register=register)

    yield connect
    aquests.shutdown(2)


@pytest.fixture(scope='module')
def members(own: Any, postgres: Postgres, redis_server: Redis, mongo: Mongo) -> dict[str, str]:
    """What SERVE wants: databases of this module alone, with what its rows ask for."""
    name = f'seed_{uuid.uuid4().hex[:8]}'
    own(DB_PGSQL, postgres.member).execute(f'CREATE DATABASE {name}').commit()
    members = {
        'postgresql': f'postgres@{postgres.host}:{postgres.port}/{name}',
        # as the seed does: the database and the collection have one name
        'mongodb': f'{mongo.host}:{mongo.port}/{name}',
        'redis': f'{redis_server.host}:{redis_server.port}/11',
    }
    pg = own(DB_PGSQL, members['postgresql'])
    pg.execute(TABLES).commit()
    pg.executemany('INSERT INTO foo VALUES ($1, $2, $3, $4)', FOO).commit()
    people = [{'name': 'Ann', 'city': 'New York'}, {'name': 'Bo', 'city': 'Rome'}]
    people.append({'name': 'Cy', 'city': 'New York'})
    own(DB_MONGODB, members['mongodb']).insert(people).commit()
    own(DB_REDIS, members['redis']).delete('foo').commit()
    return members


@pytest.fixture(scope='module', params=['postgresql', 'sqlite3'])
def site(
    request: pytest.FixtureRequest, members: dict[str, str], own: Any, launch_module: Callable[[], Launcher]
) -> Site:
    launcher = launch_module()
    file = make_file(launcher.directory)
    client = launcher(project(members, request.param))
    if request.param == 'sqlite3':
        return Site(client, lambda sql: execute(file, sql))
    pg = own(DB_PGSQL, members['postgresql'])
    return Site(client, lambda sql: pg.execute(sql).commit())


def project(members: dict[str, str], mydb: str) -> dict[str, str]:
    alias = {
        'postgresql': f'skitai.DB_PGSQL, ["{members["postgresql"]}"]',
        'sqlite3': 'skitai.DB_SQLITE3, ["./sqlite3.db"]',
    }
    myapp = MYAPP
    if mydb == 'postgresql':  # where user is a word of the language: who is connected
        myapp = re.sub(r'from user\b', 'from "user"', myapp)
    return {**FILES, 'serve.py': SERVE.format(**members, mydb=alias[mydb]), 'myapp/__init__.py': myapp}


def make_file(directory: Path) -> Path:
    file = directory / 'sqlite3.db'
    execute(file, TABLES)
    with sqlite3.connect(file) as connection:
        connection.executemany('INSERT INTO foo VALUES (?, ?, ?, ?)', FOO)
    connection.close()
    return file


def execute(file: Path, sql: str) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.close()


# -- clients ----------------------------------------------------------------------------------------------


def test_A_79_aliases(launch: Launcher) -> None:
    """Seed 967-973, SPEC TK-01, TK-02: registered as written."""
    client = launch(
        {
            'serve.py': """
                import skitai
                from atila import Atila

                with skitai.preference () as pref:
                    skitai.alias ("@mypg", skitai.DB_PGSQL, ["user:pass@localhost/mydb"])
                    skitai.alias ("@mylite", skitai.DB_SQLITE3, ["./sqlite3.db"])
                    skitai.alias ("@mymongo", skitai.DB_MONGODB, ["localhost/mycollection"])
                    skitai.alias ("@myredis", skitai.DB_REDIS, ["localhost/0"])
                    skitai.alias ('@myapi', skitai.PROTO_HTTPS, ["s1.myserver.com"])

                app = Atila (__name__)

                @app.route ('/aliases')
                def aliases (was):
                    found = {}
                    for name in ('@mypg', '@mylite', '@mymongo', '@myredis'):
                        alias = was.db (name).alias
                        found [name] = [alias.type, [member.address for member in alias.members]]
                    return was.API (found)

                @app.route ('/lite')
                def lite (was):
                    return was.API (was.db ('@mylite').execute ('SELECT 1 AS one').one ())

                @app.route ('/refused')
                def refused (was, name):
                    try:
                        was.db (name)
                    except TypeError as error:
                        return f'TypeError: {error}'
                    except NameError as error:
                        return f'NameError: {error}'

                skitai.mount ('/', app, pref)
                skitai.run (port = 5000)
            """
        }
    )
    assert client.get('/aliases').json() == {
        '@mypg': ['*postgresql', ['localhost:5432/mydb']],
        '@mylite': ['*sqlite3', ['./sqlite3.db']],
        '@mymongo': ['*mongodb', ['localhost:27017/mycollection']],
        '@myredis': ['*redis', ['localhost:6379/0']],
    }
    assert client.get('/lite').json() == {'one': 1}
    assert (launch.directory / 'sqlite3.db').exists()
    refused = client.get('/refused?name=@myapi').text
    assert refused == "TypeError: alias @myapi is of type 'https', which is no database"
    refused = client.get('/refused?name=@nobody').text
    assert refused.startswith("NameError: alias '@nobody' is not registered")


def test_A_82_select_with_an_insert(site: Site, own: Any, members: dict[str, str]) -> None:
    """Seed 997-1001, SPEC SQ-19: what is inserted is seen by the next statement, not by this one."""
    own(DB_PGSQL, members['postgresql']).execute('DELETE FROM my_table').commit()
    assert site.get('/82').json() == {'rows': []}
    assert site.get('/82').json() == {'rows': [{'name': 'Hans'}]}


def test_A_83_mongodb_find(site: Site) -> None:
    """Seed 1002-1004, SPEC DB-07: the alias names the collection; all that match."""
    rows = site.get('/83').json()['rows']
    assert [(row['name'], row['city']) for row in rows] == [('Ann', 'New York'), ('Cy', 'New York')]
    assert all(re.fullmatch('[0-9a-f]{24}', row['_id']) for row in rows)


def test_A_84_redis_set_get(site: Site) -> None:
    """Seed 1005-1008, SPEC DB-06."""
    assert site.get('/84').json() == {'set': True, 'got': 'bar'}


def test_A_87_tasks(site: Site) -> None:
    """Seed 1020-1027, SPEC TH-04: a database, a call, a process, side by side; results in their order."""
    found = site.get('/87').json()
    assert [row['name'] for row in found['a']] == ['Ann', 'Cy']
    assert json.loads(found['b']) == {'id': 100, 'limit': '10'}
    assert found['c'][:2] == ['a', 2]


def test_A_88_tasks_named(site: Site) -> None:
    """Seed 1028-1035, SPEC TH-05: what has no name is done, and left out."""
    site.mydb('DELETE FROM city')
    assert site.get('/88').json() == {'results': FILTERED}
    assert site.get('/88/cities').json() == {'rows': [{'name': 'Hans'}]}


def test_A_91_weighted_members(launch: Launcher, postgres: Postgres, members: dict[str, str]) -> None:
    """Seed 1070-1073, SPEC LB-02: two to one."""
    client = launch(
        {
            'serve.py': f"""
                import skitai
                from atila import Atila

                with skitai.preference () as pref:
                    members = ["{members['postgresql']} 20", "{postgres.member} 10"]
                    skitai.alias ("@mypg", skitai.DB_PGSQL, members)

                app = Atila (__name__)

                @app.route ('/')
                def which (was):
                    return was.API (was.db ('@mypg').execute ('SELECT current_database () AS name').one ())

                skitai.mount ('/', app, pref)
                skitai.run (port = 5000)
            """
        }
    )
    asked = Counter(client.get('/').json()['name'] for _ in range(30))
    assert asked == {members['postgresql'].rpartition('/')[2]: 20, 'postgres': 10}


def test_A_99_interface_of_ones_own(launch: Launcher) -> None:
    """Seed 1132-1140, SPEC DB-08."""

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(('127.0.0.1', 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            client = launch(
                {
                    'serve.py': f"""
                        import socket
                        import skitai
                        from atila import Atila
                        from aquests.dbi import asynredis

                        class MyDBI (asynredis.AsynConnect):
                            def __init__ (self):
                                self.stream = None

                            def connect (self):
                                with socket.create_connection (self.address, timeout = 5) as connection:
                                    self.stream = connection.makefile ('rw')

                            def execute (self, request):
                                self.stream.write (' '.join ((request.method, *request.params)) + '\\n')
                                self.stream.flush ()
                                request.handle_result (None, None, self.stream.readline ().strip ())

                            def close (self):
                                if self.stream is not None:
                                    self.stream.close ()

                        DB_MYDBI = '*mydbi'
                        skitai.add_database_interface (DB_MYDBI, MyDBI)
                        skitai.alias ('@mydbi', DB_MYDBI, 'localhost:{server.server_address[1]}')

                        app = Atila (__name__)

                        @app.route ('/')
                        def ask (was):
                            with was.db ('@mydbi') as db:
                                task1, task2 = db.get ('foo'), db.set ('foo', 'bar')
                            return was.API (got = task1.fetch (), set = task2.fetch ())

                        @app.route ('/coroutine', coroutine = True)
                        def coroutine (was):
                            task = yield was.db ('@mydbi').get ('foo')
                            return was.API (got = task.fetch ())

                        skitai.mount ('/', app)
                        skitai.run (port = 5000)
                    """
                }
            )
            assert client.get('/').json() == {'got': 'GET FOO', 'set': 'SET FOO BAR'}
            assert client.get('/coroutine').json() == {'got': 'GET FOO'}
            client.stop()
        finally:
            server.shutdown()
            thread.join()


def test_A_99_its_name_begins_with_a_star() -> None:
    class MyDBI(asynredis.AsynConnect): ...

    with pytest.raises(AssertionError, match=r"begins with '\*'"):
        skitai.add_database_interface('mydbi', MyDBI)


# -- kept results -----------------------------------------------------------------------------------------


def name_of(site: Site | ServerClient, path: str) -> str:
    (row,) = site.get(path).json()['rows']
    name: str = row['name']
    return name


def test_A_95_rm_cache_use_cache(site: Site) -> None:
    """Seed 1101-1114, SPEC CA-02, CA-03: the database is asked once, until it was updated."""
    site.get('/95/update')
    site.mydb("UPDATE users SET name = 'old'")
    assert [name_of(site, '/95/query'), name_of(site, '/95/query2')] == ['old', 'old']
    site.mydb("UPDATE users SET name = 'behind its back'")
    assert [name_of(site, '/95/query'), name_of(site, '/95/query2')] == ['old', 'old']
    site.get('/95/photos')
    assert [name_of(site, '/95/query'), name_of(site, '/95/query2')] == ['old', 'behind its back']
    assert site.get('/95/update').status_code == 200
    assert [name_of(site, '/95/query'), name_of(site, '/95/query2')] == ['new', 'new']
    assert set(site.get('/95/heard').json()['heard']) == {'/95/update'}


def test_A_95_all_workers_know(launch: Launcher, members: dict[str, str]) -> None:
    """Seed 1113: 'a worker update table, also all others can know that'."""
    file = make_file(launch.directory)
    client = launch(project(members, 'sqlite3'), workers=2)
    client.set_default_header('Connection', 'close')

    def names() -> set[str]:
        """What is read in either worker."""
        seen: dict[int, str] = {}

        def both() -> bool:
            answer = client.get('/95/query').json()
            seen[answer['pid']] = answer['rows'][0]['name']
            return len(seen) == 2

        wait_for(both, 'an answer of each worker')
        return set(seen.values())

    assert names() == {'old'}
    execute(file, "UPDATE users SET name = 'behind its back'")
    assert names() == {'old'}
    client.get('/95/update')
    assert names() == {'new'}


# -- answers ----------------------------------------------------------------------------------------------

ROWS = [{'id': 1, 'name': 'one'}, {'id': 2, 'name': 'two'}]


def test_A_117_then(site: Site) -> None:
    """Seed 1263-1268, SPEC TK-09."""
    assert site.get('/117').json() == {'result': ROWS, 'a': None}


def test_A_120_api(site: Site) -> None:
    """Seed 1279-1282."""
    assert site.get('/120/datalist').json() == {'result': ROWS}


def test_A_121_map(site: Site) -> None:
    """Seed 1285-1288: 'same result'."""
    assert site.get('/121/datalist').content == site.get('/120/datalist').content


def test_A_122_map_of_all_kinds(site: Site) -> None:
    """Seed 1289-1303, SPEC RS-23, SQ-14."""
    found = [row for row in reversed(FOO) if row[1] == 8 or row[2] == 'ReturnTx']
    assert site.get('/122/bench/sp').json() == {
        'files': 'my app.log\nsyslog\n',
        'result': [
            dict(zip(('id', 'from_wallet_id', 'detail', 'created_at'), row, strict=True))
            for row in found[:10]
        ],
        'record_count': {'cnt': len(found)},
    }


def test_A_123_filters(site: Site) -> None:
    """Seed 1304-1312, SPEC TK-14."""
    assert site.get('/123').json() == FILTERED


def by_accept(site: Site, path: str) -> None:
    answer = site.get(path, headers={'Accept': 'application/json'})
    assert answer.json() == {'result': [{'name': 'Ha<n>s'}, {'name': 'Roh'}]}
    answer = site.get(path, headers={'Accept': 'text/html'})
    assert answer.headers['Content-Type'].startswith('text/html')
    assert answer.text == '<li>Ha&lt;n&gt;s</li><li>Roh</li>'


def test_A_124_render_or_map(site: Site) -> None:
    """Seed 1313-1317, SPEC RS-25."""
    by_accept(site, '/124')


def test_A_125_mapped(site: Site) -> None:
    """Seed 1318-1323, SPEC RS-24."""
    assert site.get('/125').json() == FILTERED


def test_A_126_render_or_mapped(site: Site) -> None:
    """Seed 1324-1329, SPEC RS-26."""
    by_accept(site, '/126')


def test_A_127_csv_stream(site: Site) -> None:
    """Seed 1330-1344, SPEC CO-06: the seed puts line ends between the rows of a batch only."""
    answer = site.get('/127/download_csv')
    assert answer.headers['Transfer-Encoding'] == 'chunked'
    assert answer.text == 'ID, NAME\n1, "name 1"\n2, "name 2"3, "name 3"\n4, "name 4"5, "name 5"'


def test_A_134_queries_in_a_template(site: Site) -> None:
    """Seed 1389-1400, SPEC TE-09; with other sites' answers in test_tasks."""
    text = site.get('/134/').text
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        '<li>Ha&lt;n&gt;s</li>',
        '<li>Roh</li>',
        '<p>name 5</p>',
    ]
