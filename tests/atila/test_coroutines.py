"""Services that give their thread back: coroutines, deferred contents, streamed input and output."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import math
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from projects import wait_for
from serving import Direct, build

import aquests
from atila import Atila
from skitai.engine.asgi import AsgiEngine
from skitai.testing import Client

ClientFor = Callable[..., Client]


def slow(value: Any, seconds: float = 0.05) -> Any:
    time.sleep(seconds)
    return value


@pytest.fixture
def site(client_for: ClientFor) -> Client:
    """One service in three forms, and what else the chapters name."""
    app = Atila('app')
    ends: list[str] = []
    app.ends = ends  # type: ignore[attr-defined]
    app.teardown_request(lambda was: ends.append(was.request.path))

    def result(was: Any, tasks: Any) -> Any:
        values = tasks.fetch()
        return was.API(a=values.a, b=values.b)

    def make(was: Any, fail: str) -> Any:
        if fail == 'early':
            raise was.Error('409 Conflict', 'early')
        return was.Tasks(
            a=was.Thread(slow, 1), b=was.Thread(_fails) if fail == 'task' else was.Mask('mask'), timeout=5
        )

    @app.route('/def')
    def plain(was: Any, fail: str = '') -> Any:
        return result(was, make(was, fail))

    @app.route('/generator', coroutine=True)
    def generator(was: Any, fail: str = '') -> Any:
        tasks = yield make(was, fail)
        if fail == 'late':
            raise was.Error('410 Gone', 'late')
        return result(was, tasks)

    @app.route('/decorated')
    @app.coroutine
    def decorated(was: Any, fail: str = '') -> Any:
        tasks = yield make(was, fail)
        return result(was, tasks)

    @app.route('/async')
    async def awaits(was: Any, fail: str = '') -> Any:
        tasks = make(was, fail)
        await tasks
        if fail == 'late':
            raise was.Error('410 Gone', 'late')
        return result(was, tasks)

    @app.route('/then')
    def then(was: Any, fail: str = '') -> Any:
        return make(was, fail).then(result)

    @app.route('/map')
    def mapped(was: Any, fail: str = '') -> Any:
        return was.Mapped(make(was, fail))

    @app.route('/several', coroutine=True)
    def several(was: Any) -> Any:
        first = yield was.Thread(slow, 1)
        second = yield was.Mask(2)
        third = yield was.Subprocess('echo three')
        return was.API(a=first.fetch(), b=second.fetch(), c=third.fetch().strip())

    @app.route('/stream', coroutine=True)
    def stream(was: Any, fail: bool = False) -> Any:
        yield 'head\n'
        for number in range(3):
            task = yield was.Thread(slow, number, 0.01)
            yield f'{task.fetch()}\n'
        if fail:
            raise LookupError

    @app.route('/never', coroutine=True)
    def never(was: Any) -> Any:
        return 'at once'
        yield

    @app.route('/no-generator', coroutine=True)
    def no_generator(was: Any) -> Any:
        return 'text'

    @app.route('/odd', coroutine=True)
    def odd(was: Any) -> Any:
        yield 5

    @app.route('/late', coroutine=True, timeout=0.2)
    def late(was: Any) -> Any:
        yield was.Thread(slow, 1, 2)

    @app.route('/late-async', timeout=0.2)
    async def late_async(was: Any) -> Any:
        await asyncio.sleep(5)

    @app.route('/echo', methods=['POST'], input_stream=True)
    def echo(was: Any) -> Any:
        while data := (yield was.Input(16184)):
            yield b':' + data

    @app.route('/whole', methods=['POST'], input_stream=True)
    def whole(was: Any) -> Any:
        parts = []
        while data := (yield was.Input(4096)):
            parts.append(data)
        return b''.join(parts)

    @app.route('/whole-async', methods=['POST'], input_stream=True)
    async def whole_async(was: Any) -> Any:
        parts = []
        while data := await was.Input(4096):
            parts.append(data)
        return b''.join(parts)

    @app.route('/pass')
    def thread_pass(was: Any) -> Any:
        return was.ThreadPass(
            lambda was, a, b: was.API(a=a, b=b, path=was.request.path), args=(1,), kwargs={'b': 2}
        )

    @app.route('/queue')
    def queue(was: Any) -> Any:
        def produce(queue: Any) -> None:
            for number in range(20):
                queue.put(f'{number},')

        return was.Queue(produce)

    @app.route('/ends')
    def count(was: Any) -> Any:
        return was.API(ends=ends)

    return client_for(app)


def _fails() -> None:
    raise aquests.errors.TaskTimeout('on purpose')


FORMS = ['/def', '/generator', '/decorated', '/async', '/then', '/map']


@pytest.mark.parametrize('path', FORMS)
def test_same_result_in_every_form(site: Client, path: str) -> None:
    """SPEC CO-01 to CO-04, TK-09, RS-24."""
    assert site.get(path).json() == {'a': 1, 'b': 'mask'}


@pytest.mark.parametrize('path', FORMS)
def test_same_errors_in_every_form(site: Client, path: str) -> None:
    """SPEC CO-08, RS-27, ER-05: before the first step, in a Task."""
    answer = site.get(f'{path}?fail=early')
    assert (answer.status_code, answer.json()['more_info']) == (409, 'early')
    assert site.get(f'{path}?fail=task').status_code == 504


@pytest.mark.parametrize('path', ['/generator', '/async'])
def test_errors_after_the_first_step(site: Client, path: str) -> None:
    """PITFALLS, Tasks: before and after the first `yield` the same status."""
    answer = site.get(f'{path}?fail=late')
    assert (answer.status_code, answer.json()['more_info']) == (410, 'late')


def test_several_steps(site: Client) -> None:
    """SPEC CO-03."""
    assert site.get('/several').json() == {'a': 1, 'b': 2, 'c': 'three'}


def test_streaming(site: Client) -> None:
    """SPEC CO-06, A-127."""
    assert site.get('/stream').text == 'head\n0\n1\n2\n'
    assert site.head('/stream').content == b''


def test_stream_that_fails_is_not_whole(direct_for: Callable[..., Direct], caplog: Any) -> None:
    """SPEC CO-08."""
    app = Atila('app')

    @app.route('/', coroutine=True)
    def stream(was: Any) -> Any:
        yield 'a'
        yield was.Thread(slow, 1, 0.01)
        raise LookupError

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(f'http://127.0.0.1:{direct_for(app).port}/', timeout=20)
    assert 'half-way' in caplog.text


def test_no_coroutines(site: Client) -> None:
    """SPEC CO-01: a generator that never yields; no generator; what cannot be yielded."""
    assert site.get('/never').text == 'at once'
    assert site.get('/no-generator').status_code == 500
    assert site.get('/odd').status_code == 500


@pytest.mark.parametrize('path', ['/late', '/late-async'])
def test_time_limit_of_a_route(site: Client, path: str) -> None:
    began = time.monotonic()
    assert site.get(path).status_code == 503
    assert time.monotonic() - began < 1.5


def test_deferred_contents(site: Client) -> None:
    """SPEC RS-20, RS-21."""
    assert site.get('/pass').json() == {'a': 1, 'b': 2, 'path': '/pass'}
    assert site.get('/queue').text == ''.join(f'{n},' for n in range(20))


@pytest.mark.parametrize('path', ['/whole', '/whole-async'])
@pytest.mark.parametrize('size', [0, 1, 4096, 100_000])
def test_input(site: Client, path: str, size: int) -> None:
    """SPEC SI-01 to SI-03: any length."""
    body = bytes(n % 251 for n in range(size))
    assert site.post(path, body, headers={'Content-Type': 'text/csv'}).content == body


def test_bidirectional_stream(site: Client) -> None:
    """SPEC SI-02, CO-07, A-128: 100 x 4096 bytes, 26 times ':' with Input (16184)."""
    answer = site.post('/echo', iter([b'x' * 4096] * 100))
    assert len(answer.content) == 409600 + 26


def test_each_chunk_is_answered_when_it_arrives(direct_for: Callable[..., Direct]) -> None:
    """PITFALLS, Streaming in: a client that waits for the answer to what it has sent."""
    app = Atila('app')

    @app.route('/', input_stream=True)
    def echo(was: Any) -> Any:
        while data := (yield was.Input()):
            yield data.upper()

    connection = http.client.HTTPConnection('127.0.0.1', direct_for(app).port, timeout=20)
    connection.putrequest('POST', '/')
    connection.putheader('Transfer-Encoding', 'chunked')
    connection.endheaders()
    connection.send(b'3\r\nabc\r\n')
    response = connection.response_class(connection.sock, method='POST')
    response.begin()
    assert response.read1(10) == b'ABC'
    connection.send(b'2\r\nde\r\n0\r\n\r\n')
    assert response.read() == b'DE'
    connection.close()


@pytest.mark.parametrize('form', ['generator', 'map', 'then', 'async'])
def test_threads_are_free_while_tasks_run(direct_for: Callable[..., Direct], form: str) -> None:
    """200 requests that wait 100 ms each, with four service threads: side by side, not in turn."""
    app = Atila('app')
    aquests.configure(threads=256)

    @app.route('/generator', coroutine=True)
    def generator(was: Any) -> Any:
        task = yield was.Thread(slow, 1, 0.1)
        return was.API(result=task.fetch())

    app.route('/map')(lambda was: was.Map(result=was.Thread(slow, 1, 0.1)))
    app.route('/then')(
        lambda was: was.Thread(slow, 1, 0.1).then(lambda was, task: was.API(result=task.fetch()))
    )

    @app.route('/async')
    async def awaits(was: Any) -> Any:
        return was.API(result=await was.Thread(slow, 1, 0.1))

    engine = direct_for(app, threads=4)

    def ask(number: int) -> Any:
        return requests.get(f'http://127.0.0.1:{engine.port}/{form}', timeout=30).json()

    with ThreadPoolExecutor(200) as pool:
        began = time.monotonic()
        assert list(pool.map(ask, range(200))) == [{'result': 1}] * 200
        assert time.monotonic() - began < 5  # 200 x 0.1 / 4 would be 5 s; the bar is measured elsewhere


def test_services_that_block_take_turns(direct_for: Callable[..., Direct]) -> None:
    """200 requests that hold one of four service threads for 20 ms each: all, in the order they came."""
    app = Atila('app')
    aquests.configure(threads=8)
    arrivals: list[float] = []

    @app.route('/')
    def service(was: Any) -> Any:
        arrivals.append(was.exchange.started)
        return was.API(result=was.Thread(slow, 1, 0.02).fetch())

    engine = direct_for(app, threads=4)

    def ask(number: int) -> Any:
        return requests.get(f'http://127.0.0.1:{engine.port}/', timeout=30).json()

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(ask, range(200))) == [{'result': 1}] * 200
    order = sorted(range(200), key=arrivals.__getitem__)
    # Those that arrive at the same time, on the server's six threads, may overtake each other.
    assert max(abs(place - turn) for turn, place in enumerate(order)) <= 12


def test_many_coroutines_wait_at_once() -> None:
    """10,000 use less than 20 KB each: the request, the Task, the generator, what calls the engine."""
    app, count = Atila('app'), 10_000
    waiting: list[aquests.Task] = []

    @app.route('/', coroutine=True)
    def service(was: Any) -> Any:
        waiting.append(was._own(aquests.Task(timeout=60)))  # finished by nobody but us
        task = yield waiting[-1]
        return task.fetch()

    table, settings, mounts = build(app)
    engine = AsgiEngine(table, settings)
    scope = {'type': 'http', 'http_version': '1.1', 'method': 'GET', 'path': '/', 'query_string': b''}
    answers: list[bytes] = []

    async def ask() -> None:
        asked = iter([{'type': 'http.request', 'body': b'', 'more_body': False}])
        gone = asyncio.get_running_loop().create_future()

        async def receive() -> Any:
            return next(asked, None) or await gone

        async def send(message: Any) -> None:
            answers.append(message.get('body'))

        await engine({**scope, 'headers': [(b'host', b't')]}, receive, send)

    async def begin(number: int) -> list[asyncio.Task[None]]:
        asking = []
        for _ in range(number):
            asking.append(asyncio.ensure_future(ask()))
            while len(asking) - len(waiting) > 100:  # no more than may wait for a service thread
                await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            while len(waiting) < number:
                await asyncio.sleep(0.01)
        return asking

    async def end(asking: list[asyncio.Task[None]]) -> None:
        while waiting:
            waiting.pop()._succeed('content')
        await asyncio.wait_for(asyncio.gather(*asking), 60)

    async def measure() -> float:
        await end(await begin(50))  # what is made once
        gc.collect()
        tracemalloc.start(1)
        try:
            asking = await begin(count)
            used = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        await end(asking)
        return used / count

    try:
        used = asyncio.run(measure())
    finally:
        mounts.umount()
    assert answers.count(b'content') == count + 50
    assert used < 20_000


@pytest.mark.parametrize('form', ['generator', 'map', 'async'])
def test_tasks_are_cancelled_when_the_client_goes(direct_for: Callable[..., Direct], form: str) -> None:
    """SPEC CO-09: the generator is closed, what hangs on it ends, teardown runs."""
    app, events = Atila('app'), []
    started = threading.Event()
    app.teardown_request(lambda was: events.append('teardown'))

    def hang(was: Any) -> Any:
        started.set()
        task = was.Subprocess('sleep 30')
        task.add_done_callback(lambda task: events.append('ended'))
        return task

    @app.route('/generator', coroutine=True)
    def generator(was: Any) -> Any:
        try:
            yield hang(was)
        finally:
            events.append('closed')

    app.route('/map')(lambda was: was.Map(result=hang(was)))

    @app.route('/async')
    async def awaits(was: Any) -> Any:
        await hang(was)

    engine = direct_for(app)
    connection = http.client.HTTPConnection('127.0.0.1', engine.port, timeout=20)
    connection.request('GET', f'/{form}')
    assert started.wait(10)
    connection.sock.close()
    wanted = {'ended', 'teardown'} | ({'closed'} if form == 'generator' else set())
    wait_for(lambda: wanted <= set(events), f'the end in {events}')


def test_map_options_and_errors(client_for: ClientFor) -> None:
    """SPEC RS-23, RS-27, TH-06: status, constants, suffixes, `__etag`, `__maxage`."""
    app = Atila('app')
    app.route('/status')(lambda was: was.Map('408 OK', was.Mask(1), a=123))
    app.route('/one')(lambda was: was.Map(n__one=was.Mask([7]), k__x=was.Mask({'x': 5})))
    app.route('/none')(lambda was: was.Map(n__one=was.Mask([])))
    app.route('/many')(lambda was: was.Map(n__one=was.Mask([1, 2])))
    app.route('/etag')(lambda was: was.Map(n=was.Mask({'id': 3}), __etag='n.id', __maxage=60))
    app.route('/unknown')(lambda was: was.Map(__other=1))
    client = client_for(app)
    answer = client.get('/status')
    assert (answer.status_code, answer.json()) == (408, {'a': 123})
    assert client.get('/one').json() == {'n': 7, 'k': 5}
    assert client.get('/none').status_code == 410
    assert client.get('/many').status_code == 409
    answer = client.get('/etag')
    assert answer.headers['Cache-Control'] == 'max-age=60'
    assert client.get('/etag', headers={'If-None-Match': answer.headers['ETag']}).status_code == 304
    assert client.get('/unknown').status_code == 500


def test_render_or_map(client_for: ClientFor, tmp_path: Any) -> None:
    """SPEC RS-25, RS-26, PITFALLS: results are the template's context."""
    (tmp_path / 'page.html').write_text('{{ name }}-{{ context.name }}')
    app = Atila('app')
    app.config.TEMPLATE_DIRS = [str(tmp_path)]
    app.route('/map')(lambda was: was.render_or_Map('page.html', name=was.Thread(slow, 'x', 0.01)))
    app.route('/mapped')(lambda was: was.render_or_Mapped('page.html', was.Tasks(name=was.Mask('x'))))
    client = client_for(app)
    for path in ('/map', '/mapped'):
        assert client.get(path, headers={'Accept': 'text/html'}).text == 'x-x'
        assert client.get(path, headers={'Accept': 'application/json'}).json() == {'name': 'x'}


def test_then_of_processes_and_chains(client_for: ClientFor) -> None:
    """SPEC TK-09, A-118, A-119: `then ()` without a function; a callback may defer again."""
    app = Atila('app')

    def respond(was: Any, task: Any) -> Any:
        return was.API(result=task.fetch(), a=task.meta.get('a'))

    app.route('/process')(lambda was: was.Process(math.sqrt, args=(4.0,), meta={'a': 1}).then(respond))
    app.route('/value')(lambda was: was.Thread(slow, 'text', 0.01).then())
    app.route('/chain')(
        lambda was: was.Thread(slow, 1, 0.01).then(lambda was, task: was.Thread(slow, 2, 0.01).then(respond))
    )
    app.route('/fails')(lambda was: was.Mask(1).then(lambda was, task: 1 / 0))
    client = client_for(app)
    assert client.get('/process').json() == {'result': 2.0, 'a': 1}
    assert client.get('/value').text == 'text'
    assert client.get('/chain').json() == {'result': 2, 'a': None}
    assert client.get('/fails').status_code == 500


def test_blocking_call_on_the_loop_is_an_error_in_words(client_for: ClientFor) -> None:
    app = Atila('app')

    @app.route('/')
    async def service(was: Any) -> Any:
        try:
            return was.API(result=was.Thread(slow, 1).fetch())
        except RuntimeError as error:
            return str(error)

    assert 'event loop' in client_for(app).get('/').text


def test_context_follows(client_for: ClientFor) -> None:
    """`skitai.was` in Tasks, callbacks and steps."""
    import skitai

    app = Atila('app')

    def path(*args: Any) -> str:
        return str(skitai.was.request.path)

    @app.route('/generator', coroutine=True)
    def generator(was: Any) -> Any:
        task = yield was.Thread(path)
        return f'{task.fetch()} {path()}'

    app.route('/then')(lambda was: was.Thread(path).then(lambda was, task: f'{task.fetch()} {path()}'))
    client = client_for(app)
    for form in ('/generator', '/then'):
        assert client.get(form).text == f'{form} {form}'


def test_json_is_read_by_none(client_for: ClientFor) -> None:
    """An input stream's body is the service's: JSON or form, nothing is parsed."""
    app = Atila('app')

    @app.route('/', methods=['POST'], input_stream=True)
    def service(was: Any) -> Any:
        data = yield was.Input(1000)
        return was.API(size=len(data), form=was.request.FORM, json=was.request.JSON)

    body = json.dumps({'a': 1})
    answer = client_for(app).post('/', body, headers={'Content-Type': 'application/json'})
    assert answer.json() == {'size': len(body), 'form': None, 'json': None}


def test_a_queue_whose_producer_fails(direct_for: Callable[..., Direct]) -> None:
    """RS-20, CO-08: before the first part it is an error, later the answer is incomplete; at once."""
    app = Atila('app')

    @app.route('/<after>')
    def service(was: Any, after: str) -> Any:
        def produce(queue: Any) -> None:
            if after == 'half':
                queue.put('half')
                time.sleep(0.1)
            queue.put(5 if after == 'wrong' else 'more' if after == 'whole' else math.sqrt(-1))

        return was.Queue(produce, use_thread_pool=after != 'half')

    url = f'http://127.0.0.1:{direct_for(app).port}'
    started = time.monotonic()
    assert requests.get(url + '/whole', timeout=20).text == 'more'
    assert requests.get(url + '/first', timeout=20).status_code == 500
    assert requests.get(url + '/wrong', timeout=20).status_code == 500
    with pytest.raises(requests.RequestException):
        requests.get(url + '/half', timeout=20)
    assert time.monotonic() - started < 6


def test_slow_readers_of_queues_keep_no_thread_from_tasks(direct_for: Callable[..., Direct]) -> None:
    """RS-20: a producer that waits for its client gives its turn away."""
    app = Atila('app')

    @app.route('/endless')
    def endless(was: Any, pool: bool) -> Any:
        def produce(queue: Any) -> None:
            while True:
                queue.put('x' * 100_000)

        return was.Queue(produce, use_thread_pool=pool)

    @app.route('/')
    def index(was: Any) -> Any:
        return was.Thread(str, 'pong').then()

    threads = aquests.pools.sizes.threads
    port = direct_for(app).port
    readers = []
    try:
        for number in range(threads + 2):
            readers.append(socket.create_connection(('127.0.0.1', port)))
            readers[-1].sendall(
                b'GET /endless?pool=%s HTTP/1.1\r\nHost: a\r\n\r\n' % (b'yes' if number else b'')
            )
            assert readers[-1].recv(100)
        time.sleep(0.3)  # until the socket's buffers are full
        assert requests.get(f'http://127.0.0.1:{port}/', timeout=10).text == 'pong'
    finally:
        for reader in readers:
            reader.close()


def test_an_empty_upload_is_answered_with_nothing(client_for: ClientFor) -> None:
    """SI-01, SI-02, CO-10: a service that answers each part has none."""
    app = Atila('app')

    @app.route('/echo', methods=['POST'], input_stream=True)
    def echo(was: Any) -> Any:
        while data := (yield was.Input(8192)):
            yield data

    client = client_for(app)
    for body in (b'', b'abc'):
        response = client.post('/echo', body)
        assert (response.status_code, response.content) == (200, body)


@pytest.mark.parametrize('form', ['generator', 'async'])
def test_a_malformed_body_that_a_service_reads(
    direct_for: Callable[..., Direct], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SI-01: 400, at once, as where the server reads it; a client that leaves is no failure of ours."""
    app = Atila('app')

    @app.route('/generator', methods=['POST'], input_stream=True)
    def generator(was: Any) -> Any:
        while (yield was.Input(8192)):
            pass
        return 'whole'

    @app.route('/async', methods=['POST'], input_stream=True)
    async def awaits(was: Any) -> Any:
        while await was.Input(8192):
            pass
        return 'whole'

    port = direct_for(app).port
    head = b'POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n' % form.encode()
    with socket.create_connection(('127.0.0.1', port), timeout=10) as connection:
        connection.sendall(head + b'zz\r\nqq')
        assert connection.recv(1000).startswith(b'HTTP/1.1 400 ')
    with socket.create_connection(('127.0.0.1', port), timeout=10) as connection:
        connection.sendall(head)
    with socket.create_connection(('127.0.0.1', port), timeout=10) as connection:
        connection.sendall(head + b'0\r\n\r\n')
        assert connection.recv(1000).startswith(b'HTTP/1.1 200 ')
    assert not caplog.records


def test_the_time_of_a_route_is_for_the_beginning_of_a_stream(client_for: ClientFor) -> None:
    """Of a coroutine, too: what has begun goes on."""
    app = Atila('app')

    @app.route('/', coroutine=True, timeout=0.5)
    def service(was: Any) -> Any:
        for number in range(8):
            yield was.Thread(slow, 1, 0.1)
            yield str(number)

    assert client_for(app).get('/').text == '01234567'


def test_a_body_is_read_by_one_at_a_time(client_for: ClientFor) -> None:
    app = Atila('app')

    @app.route('/', methods=['POST'], input_stream=True)
    async def service(was: Any) -> Any:
        async def read() -> bytes:
            return await was.Input(3)

        found = await asyncio.gather(read(), read(), return_exceptions=True)
        return was.API(errors=[str(error) for error in found if isinstance(error, RuntimeError)])

    [error] = client_for(app).post('/', b'abcdef').data['errors']
    assert 'the body is read already' in error


def test_results_of_any_name(client_for: ClientFor) -> None:
    """RS-23: options begin with two underscores, so that names are free."""
    app = Atila('app')

    @app.route('/')
    def service(was: Any) -> Any:
        return was.Map(rows=was.Mask([1]), meta={'page': 1}, timeout=was.Mask(5), __timeout=3)

    assert client_for(app).get('/').data == {'rows': [1], 'meta': {'page': 1}, 'timeout': 5}


def test_an_asynchronous_generator_reads_its_input(client_for: ClientFor) -> None:
    """SI-01, RS-17: it is the stream itself."""
    app = Atila('app')

    @app.route('/', methods=['POST'], input_stream=True)
    async def service(was: Any) -> Any:
        while data := await was.Input(3):
            yield data + b' '

    assert client_for(app).post('/', b'abcdef').content == b'abc def '


def test_tasks_as_json_instead_of_a_page(client_for: ClientFor) -> None:
    """RS-15, TE-09: a template takes Tasks, so the JSON in its place does."""
    app = Atila('app')

    @app.route('/')
    def service(was: Any) -> Any:
        return was.render_or_API('nowhere.html', a=was.Thread(slow, 1), b=2)

    assert client_for(app).get('/', headers={'Accept': 'application/json'}).data == {'a': 1, 'b': 2}
