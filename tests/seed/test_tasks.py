"""Acceptance rows of the chapters on Tasks and coroutines (SPEC appendix A).

A-65, A-85, A-86, A-89, A-90, A-115, A-116, A-118, A-119, A-128, A-134; those with databases are in
test_databases. Where the seed asks another site, a Thread or a Mask gives the same data.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from projects import Launcher, wait_for

from skitai.testing import ServerClient

SERVE = """
    import skitai
    import myapp

    if __name__ == '__main__':
        with skitai.preference () as pref:
            skitai.mount ('/', myapp, pref)
        skitai.run (port = 5000)
"""

#: Each row is a function that is mounted at its own point; templates are in myapp/templates.
MYAPP = """
    import json
    import math
    import os
    import random
    import time

    from atila import Atila

    LOGS = os.path.join (os.path.dirname (__file__), 'log')

    def __app__ ():
        return Atila (__name__)

    def __setup__ (app, mntopt):
        app.mount ('/65', row_65)
        app.mount ('/85', row_85)
        app.mount ('/86', row_86)
        app.mount ('/89', row_89)
        app.mount ('/90', row_90)
        app.mount ('/115', row_115)
        app.mount ('/116', row_116)
        app.mount ('/118', row_118)
        app.mount ('/128', row_128)
        app.mount ('/134', row_134)

    # what the seed asks another site for
    def page (text, *args, **kargs):
        time.sleep (0.01)
        return text

    def my_func (arg1, arg2):
        return [arg1, arg2, os.getpid ()]

    # lines 1263-1264
    def respond (was, task):
        return was.API (result = task.fetch (), a = task.meta.get ('a'))

    def row_65 (app):
        @app.route ("/bistreaming", methods = ['POST'], input_stream = True)
        def streaming (was):
            buf = []
            while 1:
                data = yield was.Input (4096)
                if not data:
                    break
                buf.append (data)
            return b''.join (buf)

    def row_85 (app):
        @app.route ('')
        def tasks (was):
            arg1, arg2 = 'a', 2
            thread = was.Thread (my_func, arg1, arg2)
            process = was.Process (my_func, arg1, arg2)
            task = was.Subprocess (f'ls {LOGS}', timeout = 3)
            return was.API (
                thread = thread.fetch (),
                process = process.fetch (),
                files = task.fetch (),
                pid = os.getpid ()
            )

    def row_86 (app):
        @app.route ('')
        def masks (was):
            task = was.Mask (1)
            result = task.fetch () # 1
            tasks = was.Mask ([1, 2])
            result1, result2 = tasks.fetch () # 1, 2
            return was.API (results = [result, result1, result2])

    def row_89 (app):
        @app.route ("/coroutine/2", coroutine = True)
        def coroutine (was):
            task = yield was.Thread (page, '<h1>Example Domain</h1>')
            return task.fetch ()

    def row_90 (app):
        def some_sync_task ():
            time.sleep (0.01)

        @app.route ("/coroutine", coroutine = True)
        def coroutine (was):
            def wait_hello (timeout = 1.0):
                time.sleep (timeout)
                return 'mask'

            # do sync tasks in thread
            some_sync_task ()

            # swith to async event loop in main thread
            tasks = yield was.Tasks (
                a = was.Mask ("Example Domain"),
                b = was.Thread (wait_hello, args = (1.0,))
            )
            task3 = yield was.Thread (wait_hello, args = (1.0,))
            task4 = yield was.Subprocess ('ls')

            # finally
            return was.API (d = task4.fetch (), c = task3.fetch (), **tasks.fetch ())

    def row_115 (app):
        committed = []

        def some_synchronous_task (a):
            return math.sqrt (a)

        @app.route ("/thread_future", methods = ['GET'])
        def thread_future_respond (was):
            def respond (was, a):
                a = some_synchronous_task (a)
                # you can make corequest
                was.Thread (committed.append, a).commit ()
                return was.API (
                    result = a,
                    committed = committed
                )
            return was.ThreadPass (respond, args = (4.0,))

    def row_116 (app):
        running = []

        class Producer:
            def get (self, n):
                return [random.randrange (1000) for _ in range (n)]

        def producing (producer):
            def produce (queue):
                running.append (1)
                try:
                    while 1:
                        items = producer.get (100)
                        if not items:
                            queue.put (None) # end of stream
                            break
                        queue.put (str (items))
                finally:
                    running.pop ()
            return produce

        @app.route ("/threaproducer")
        def threaproducer (was):
            return was.Queue (producing (Producer ()))

        @app.route ('/running')
        def count (was):
            return was.API (running = len (running))

    def row_118 (app):
        @app.route ('/process')
        def foo (was):
            return was.Process (math.sqrt, args = (4.0,), meta = {'a': 1}).then (respond)

        @app.route ('/thread')
        def foo2 (was):
            def sqrt (a):
                return math.sqrt (a)
            return was.Thread (sqrt, args = (4.0,)).then (respond)

    def row_128 (app):
        @app.route ("/bistreaming", methods = ['POST'], coroutine = True, input_stream = True)
        def coroutine_streaming (was):
            while 1:
                data = yield was.Input (16184)
                if not data:
                    break
                yield b':' + data

    def row_134 (app):
        @app.route ("")
        def intro (was):
            return was.render (
                'template.html',
                task1 = was.Thread (page, json.loads ('[{"name": "a<b"}, {"name": "c"}]')),
                task2 = was.Mask (json.loads ('[{"name": "Hans"}]')),
            )
"""

FILES = {
    'serve.py': SERVE,
    'myapp/__init__.py': MYAPP,
    'myapp/log/my app.log': '',
    'myapp/log/syslog': '',
    'myapp/templates/template.html': """\
        {% set rows = context.task1.fetch () %}
        {% for row in rows %}
        <li>{{ row.name }}</li>
        {% endfor %}
        {% set profile = context.task2.one () %}
        <p>{{ profile.name }}</p>
    """,
}


@pytest.fixture(scope='module')
def project(launch_module: Callable[[], Launcher]) -> tuple[ServerClient, Path]:
    launcher = launch_module()
    return launcher(FILES), launcher.directory


@pytest.fixture
def site(project: tuple[ServerClient, Path]) -> ServerClient:
    return project[0]


def parts(count: int, size: int) -> Iterator[bytes]:
    return (b'%c' % (97 + number % 26) * size for number in range(count))


@pytest.mark.parametrize('chunked', [True, False])
def test_a_65_streaming(site: ServerClient, chunked: bool) -> None:
    body = b''.join(parts(20, 5000))
    answer = site.post('/65/bistreaming', parts(20, 5000) if chunked else body)
    assert (answer.status_code, answer.content) == (200, body)


def test_a_85_thread_process_subprocess(site: ServerClient) -> None:
    found = site.get('/85').json()
    assert found['thread'] == ['a', 2, found['pid']]
    assert found['process'][:2] == ['a', 2]
    assert found['process'][2] != found['pid']
    assert found['files'] == 'my app.log\nsyslog\n'


def test_a_86_mask(site: ServerClient) -> None:
    assert site.get('/86').json() == {'results': [1, 1, 2]}


def test_a_89_coroutine_single(site: ServerClient) -> None:
    answer = site.get('/89/coroutine/2')
    assert (answer.status_code, answer.text) == (200, '<h1>Example Domain</h1>')


def test_a_90_coroutine_multi(site: ServerClient) -> None:
    found = site.get('/90/coroutine').json()
    listed = found.pop('d')
    assert found == {'a': 'Example Domain', 'b': 'mask', 'c': 'mask'}
    assert {'myapp', 'serve.py'} <= set(listed.split('\n'))


def test_a_115_thread_pass(site: ServerClient) -> None:
    assert site.get('/115/thread_future').json() == {'result': 2.0, 'committed': [2.0]}


def test_a_116_queue_producer(site: ServerClient) -> None:
    """The stream is endless; the producer's thread is free again when the client has gone."""
    connection = http.client.HTTPConnection('127.0.0.1', site.port, timeout=20)
    connection.request('GET', '/116/threaproducer')
    with connection.getresponse() as answer:
        assert answer.status == 200
        begun = answer.read(10_000).decode()
        numbers = begun[1 : begun.index(']')].split(', ')
        assert len(numbers) == 100
        assert all(0 <= int(number) < 1000 for number in numbers)
        assert site.get('/116/running').json() == {'running': 1}
    connection.close()
    wait_for(lambda: site.get('/116/running').json() == {'running': 0}, 'the end of the producer')


def test_a_118_process_then(site: ServerClient) -> None:
    assert site.get('/118/process').json() == {'result': 2.0, 'a': 1}


def test_a_119_thread_then(site: ServerClient) -> None:
    assert site.get('/118/thread').json() == {'result': 2.0, 'a': None}


@pytest.mark.parametrize('chunked', [True, False])
def test_a_128_bidirectional_stream(site: ServerClient, chunked: bool) -> None:
    """The numbers of SPEC SI-02."""
    body = b''.join(parts(100, 4096))
    answer = site.post('/128/bistreaming', parts(100, 4096) if chunked else body)
    assert len(answer.content) == 409_600 + 26
    assert answer.content == b''.join(
        b':' + body[start : start + 16184] for start in range(0, len(body), 16184)
    )


def test_a_134_tasks_in_a_template(site: ServerClient) -> None:
    text = site.get('/134').text
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        '<li>a&lt;b</li>',
        '<li>c</li>',
        '<p>Hans</p>',
    ]
