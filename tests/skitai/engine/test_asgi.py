"""A mount table as an ASGI application, under uvicorn and called directly (SPEC GEN-05, FU-06, B.17)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from skitai.body import Body
from skitai.config import Settings
from skitai.engine.asgi import AsgiEngine
from skitai.exchange import Exchange
from skitai.mounts.table import MountTable

SITE = f'{Path(__file__).parent}/engine_site.py:site'
TIMEOUT = 20
LIMIT = 2 << 20


@pytest.fixture(scope='module')
def server(serve: Callable[..., Any]) -> Any:
    settings = {'threads': 3, 'request_timeout': 2, 'network_timeout': 1.5, 'retry_after': 7}
    return serve(SITE, engine='asgi', settings=settings)


def get(server: Any, path: str, **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=TIMEOUT, **options)


def post(server: Any, path: str, data: Any, **options: Any) -> requests.Response:
    return requests.post(server.url + path, data=data, timeout=TIMEOUT, **options)


def seen(server: Any, event: str) -> int:
    return get(server, '/seen').text.split().count(event)


def wait_for(server: Any, event: str, times: int = 1) -> None:
    server.wait_until(lambda: seen(server, event) >= times, event)


# -- handlers and bodies ---------------------------------------------------------------------------


def test_services_run_on_threads_and_quick_handlers_on_the_loop(server: Any) -> None:
    """SPEC GEN-05."""
    assert get(server, '/thread').text.startswith('service')
    assert get(server, '/loop').text == 'MainThread'
    assert get(server, '/coroutine').text.startswith('service')


@pytest.mark.parametrize('size', [0, 1, 100_000, LIMIT])
@pytest.mark.parametrize('chunked', [False, True])
def test_bodies_are_read_before(server: Any, size: int, chunked: bool) -> None:
    """Above 1 MB they are on disk."""
    body = b'x' * size
    answer = post(server, '/body', iter([body]) if chunked else body, headers={'Content-Type': 'x/y'})
    in_memory = size <= 1 << 20
    assert answer.text == f'{size} {size} {in_memory} {size}'


def test_no_body_is_none(server: Any) -> None:
    assert get(server, '/body').text == 'none 0'


def test_a_body_above_the_limit_gets_413(server: Any) -> None:
    """SPEC FU-06: with `Expect: 100-continue` before the body; the connection is closed."""
    head = b'POST /body HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n'
    answer = server.send(head % (LIMIT + 1))
    assert answer.startswith(b'HTTP/1.1 413 ')
    assert b'100 Continue' not in answer
    declared = post(server, '/body', b'x' * (LIMIT + 1000))
    assert (declared.status_code, declared.headers['connection']) == (413, 'close')
    chunks = (b'x' * 100_000 for _ in range(LIMIT // 100_000 + 2))
    assert post(server, '/body', chunks).status_code == 413


def test_a_body_that_stops_gets_408(server: Any) -> None:
    answer = server.send(b'POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc')
    assert answer.startswith(b'HTTP/1.1 408 ')


def test_a_client_that_leaves_during_its_upload_is_logged_as_499(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(b'POST /body?gone HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc')
    server.wait_until(lambda: 'access POST /body 499 0' in server.log(), 'the access log')


@pytest.mark.parametrize('path', ['/fails', '/fails_later', '/exits', '/broken'])
def test_failures_are_500_without_details(server: Any, path: str) -> None:
    answer = get(server, path, headers={'Accept': 'text/html'})
    assert answer.status_code == 500
    assert 'secret' not in answer.text
    assert 'route' not in answer.text


def test_an_unknown_path_is_404(server: Any) -> None:
    assert get(server, '/none').status_code == 404


# -- answers ---------------------------------------------------------------------------------------


def test_the_first_answer_counts(server: Any) -> None:
    assert get(server, '/twice').text == 'first'
    wait_for(server, 'closed:twice')


def test_large_answers_arrive_whole(server: Any) -> None:
    assert get(server, '/big').content == b'b' * 3_000_000


@pytest.mark.parametrize('path', ['/stream', '/stream_async'])
def test_streams_arrive(server: Any, path: str) -> None:
    assert get(server, path).text == ''.join(f'{i};' for i in range(100))
    if path == '/stream':
        wait_for(server, 'closed:stream')


def test_stream_steps_run_on_service_threads(server: Any) -> None:
    assert all(name.startswith('service') for name in get(server, '/threads').text.split())


def test_quick_streams_need_no_thread(server: Any) -> None:
    assert len(get(server, '/quick').content) == 100_000
    wait_for(server, 'closed:quick')


@pytest.mark.parametrize('path', ['/thread', '/big', '/stream', '/quick', '/stream_async', '/endless'])
def test_head_has_no_body(server: Any, path: str) -> None:
    with requests.Session() as session:
        answer = session.head(server.url + path, timeout=TIMEOUT)
        assert (answer.status_code, answer.content) == (200, b'')
        assert session.get(f'{server.url}/loop', timeout=TIMEOUT).text == 'MainThread'


@pytest.mark.parametrize('path', ['/fails_half_way', '/exits_half_way'])
def test_a_stream_that_fails_aborts(server: Any, path: str) -> None:
    """PITFALLS, Errors: the client can tell."""
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(server, path)
    if path == '/fails_half_way':
        wait_for(server, 'closed:fails_half_way')
    assert get(server, '/loop').ok


def test_answers_are_logged(server: Any) -> None:
    assert get(server, '/big?logged').ok
    server.wait_until(lambda: 'access GET /big 200 3000000' in server.log(), 'the access log')


# -- clients that leave, or take nothing -----------------------------------------------------------


@pytest.mark.parametrize('name', ['endless', 'endless_quick', 'endless_async'])
def test_a_stream_ends_when_the_client_leaves(server: Any, name: str) -> None:
    before = seen(server, f'closed:{name}')
    with get(server, f'/{name}', stream=True) as answer:
        next(answer.iter_content(1000))
    wait_for(server, f'closed:{name}', before + 1)


def test_a_coroutine_is_cancelled_when_the_client_leaves(server: Any) -> None:
    sleeping, cancelled = seen(server, 'sleeping'), seen(server, 'cancelled')
    with server.connect() as connection:
        connection.sendall(b'GET /sleeps HTTP/1.1\r\nHost: h\r\n\r\n')
        wait_for(server, 'sleeping', sleeping + 1)
    wait_for(server, 'cancelled', cancelled + 1)


def test_a_client_that_takes_nothing_stops_the_stream_and_is_given_up(server: Any) -> None:
    """Backpressure: nothing is made for a client that reads nothing, until its time is over."""
    closed, made = seen(server, 'closed:endless'), seen(server, 'endless')
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT)
        connection.connect(('127.0.0.1', server.port))
        connection.sendall(b'GET /endless HTTP/1.1\r\nHost: h\r\n\r\n')
        wait_for(server, 'closed:endless', closed + 1)
    assert seen(server, 'endless') - made < 200  # 20 MB: the sockets' buffers


# -- time and load ---------------------------------------------------------------------------------


@pytest.mark.parametrize('path', ['/nothing', '/sleeps'])
def test_no_answer_in_time_is_a_503(server: Any, path: str) -> None:
    """SPEC B.17."""
    before = seen(server, 'cancelled')
    answer = get(server, path)
    assert (answer.status_code, answer.headers['retry-after']) == (503, '7')
    if path == '/sleeps':
        wait_for(server, 'cancelled', before + 1)


def test_a_late_answer_is_dropped(server: Any) -> None:
    get(server, '/hold')
    before = seen(server, 'answered:True')
    assert get(server, '/wait').status_code == 503
    get(server, '/release')
    wait_for(server, 'answered:True', before + 1)
    assert get(server, '/thread').ok


def test_a_full_queue_is_a_503_at_once(serve: Callable[..., Any]) -> None:
    """SPEC B.17, GEN-05: two run, one waits, the fourth is refused; the loop answers meanwhile."""
    server = serve(SITE, engine='asgi', settings={'threads': 2, 'queue': 1, 'retry_after': 3})
    get(server, '/hold')
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(get, server, '/wait') for _ in range(3)]
        wait_for(server, 'waiting', 2)

        def is_refused() -> bool:
            answer = get(server, '/thread')  # waits itself, if it came before the third
            return answer.status_code == 503 and answer.headers['retry-after'] == '3'

        server.wait_until(is_refused, 'a refusal')
        assert get(server, '/loop').ok
        get(server, '/release')
        assert [future.result(TIMEOUT).text for future in waiting] == ['waited'] * 3


# -- called directly -------------------------------------------------------------------------------


class Echo:
    """Answers with what it sees of the request."""

    on_loop = True
    body_limit: int | None = 100

    def find(self, exchange: Exchange) -> Echo:
        return self

    def make_body(self, exchange: Exchange) -> Body:
        return Body()

    def __call__(self, exchange: Exchange) -> None:
        text = f'{exchange.path} {exchange.local_path} {exchange.target} {exchange.client} {exchange.scheme}'
        exchange.respond(200, [], text.encode())


def engine(**options: Any) -> AsgiEngine:
    table = MountTable()
    table.add('/', Echo())
    table.add('/below', Echo())
    return AsgiEngine(table, Settings(), **options)


def call(application: AsgiEngine, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends when it receives `messages`, and then nothing."""
    sent: list[dict[str, Any]] = []
    left = list(messages)

    async def receive() -> Any:
        if not left:
            await asyncio.sleep(TIMEOUT)
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(application(scope, receive, send), TIMEOUT))
    return sent


def http(path: str, **keys: Any) -> dict[str, Any]:
    return {'type': 'http', 'http_version': '1.1', 'method': 'GET', 'path': path, 'headers': [], **keys}


REQUEST = {'type': 'http.request'}


def test_optional_keys_of_the_scope_may_be_missing() -> None:
    """ASGI: raw_path, scheme, query_string, client and root_path are optional, as are a message's keys."""
    scope = http('/below/ä')
    sent = call(engine(), scope, REQUEST)
    assert sent[0]['status'] == 200
    assert sent[1]['body'].decode() == "/below/ä /ä /below/%C3%A4 ('', 0) http"
    assert scope == http('/below/ä')


def test_the_root_path_of_an_outer_server_is_no_part_of_the_path() -> None:
    sent = call(engine(), http('/outer/below/x', root_path='/outer', raw_path=b'/outer/below/x'), REQUEST)
    assert sent[1]['body'].startswith(b'/below/x /x /outer/below/x ')


def test_each_exchange_is_logged_at_its_end() -> None:
    logged: list[Exchange] = []
    call(engine(access_log=logged.append), http('/x'), REQUEST)
    call(engine(access_log=logged.append), http('/x'), {'type': 'http.disconnect'})
    assert [exchange.status for exchange in logged] == [200, 499]
    assert logged[0].sent > 0
    assert all(exchange.finished >= exchange.started for exchange in logged)


def test_a_server_that_cannot_send_any_more_is_a_client_that_left() -> None:
    """ASGI 2.4: `send` raises OSError."""
    logged: list[Exchange] = []

    async def receive() -> Any:
        return REQUEST

    async def send(message: Any) -> None:
        raise BrokenPipeError

    asyncio.run(engine(access_log=logged.append)(http('/x'), receive, send))
    assert len(logged) == 1


def test_the_lifespan_is_entered_and_left() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        steps.append('entered')
        yield
        steps.append('left')

    sent = call(
        engine(lifespan=lifespan),
        {'type': 'lifespan'},
        {'type': 'lifespan.startup'},
        {'type': 'lifespan.shutdown'},
    )
    assert [message['type'] for message in sent] == [
        'lifespan.startup.complete',
        'lifespan.shutdown.complete',
    ]
    assert steps == ['entered', 'left']


def test_a_failing_start_is_told_to_the_server() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise RuntimeError('no database')
        yield

    sent = call(engine(lifespan=lifespan), {'type': 'lifespan'}, {'type': 'lifespan.startup'})
    assert sent == [{'type': 'lifespan.startup.failed', 'message': 'no database'}]


def test_websockets_are_refused() -> None:
    sent = call(engine(), {'type': 'websocket', 'path': '/'}, {'type': 'websocket.connect'})
    assert sent == [{'type': 'websocket.close', 'code': 1000}]


def test_an_unknown_scope_is_an_error() -> None:
    with pytest.raises(RuntimeError, match='nonsense'):
        call(engine(), {'type': 'nonsense'})
