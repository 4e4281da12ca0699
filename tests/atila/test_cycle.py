"""Request hooks and events (SPEC chapter 11, EV-04) around every kind of service."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import wait_for

from atila import Atila
from skitai.testing import Client

ClientFor = Callable[..., Client]

#: The kinds of service that answer with one content.
FORMS = ['/plain', '/async', '/generator', '/async-generator']


def tracked(**hooks: Any) -> tuple[Atila, list[str]]:
    """An app that writes down what is called, with one service of each form."""
    app, seen = Atila('app'), []

    def hook(kind: str) -> None:
        def call(was: Any, *args: Any) -> Any:
            seen.append(kind)
            return hooks[kind](was, *args) if kind in hooks else None

        def two(was: Any, second: Any) -> Any:
            return call(was, second)

        def one(was: Any) -> Any:
            return call(was)

        getattr(app, kind)(two if kind in ('finish_request', 'failed_request') else one)

        def listen(was: Any, *args: Any) -> None:
            seen.append(f'event {kind}')

        listen.__qualname__ = kind
        app.on(kind)(listen)

    for kind in ('before_request', 'finish_request', 'failed_request', 'teardown_request'):
        hook(kind)

    @app.route('/plain')
    def plain(was: Any, fail: str = '') -> str:
        seen.append('service')
        _fail(was, fail)
        return 'content'

    @app.route('/async')
    async def awaits(was: Any, fail: str = '') -> str:
        await asyncio.sleep(0)
        seen.append('service')
        _fail(was, fail)
        return 'content'

    @app.route('/generator')
    def generator(was: Any, fail: str = '') -> Iterator[str]:
        seen.append('service')
        _fail(was, fail)
        yield 'con'
        yield 'tent'
        seen.append('end of stream')

    @app.route('/async-generator')
    async def async_generator(was: Any, fail: str = '') -> AsyncIterator[str]:
        seen.append('service')
        _fail(was, fail)

        async def parts() -> AsyncIterator[str]:
            yield 'con'
            await asyncio.sleep(0)
            yield 'tent'

        return parts()  # type: ignore[return-value]

    return app, seen


def _fail(was: Any, how: str) -> None:
    if how == 'error':
        raise was.Error('409 Conflict', 'on purpose')
    if how == 'bug':
        raise LookupError('a bug')


def ended(seen: list[str]) -> list[str]:
    wait_for(lambda: 'event teardown_request' in seen, f'the end of the request in {seen}')
    return seen


@pytest.mark.parametrize('path', FORMS)
def test_order_of_success(client_for: ClientFor, path: str) -> None:
    """SPEC RC-01, RC-02, RC-04, RC-05, EV-04: hook, then event; teardown last."""
    app, seen = tracked()
    assert client_for(app).get(path).text == 'content'
    assert [item for item in ended(seen) if item != 'end of stream'] == [
        'before_request',
        'event before_request',
        'service',
        'finish_request',
        'event finish_request',
        'teardown_request',
        'event teardown_request',
    ]


def test_teardown_follows_the_end_of_a_stream(client_for: ClientFor) -> None:
    """SPEC RC-04, RC-08."""
    app, seen = tracked()
    client_for(app).get('/generator')
    assert ended(seen).index('end of stream') < seen.index('teardown_request')


@pytest.mark.parametrize(('how', 'status'), [('error', 409), ('bug', 500)])
@pytest.mark.parametrize('path', FORMS)
def test_order_of_failure(client_for: ClientFor, path: str, how: str, status: int) -> None:
    """SPEC RC-03: raised HTTP errors come to the failed_request hook too."""
    app, seen = tracked()
    assert client_for(app).get(f'{path}?fail={how}').status_code == status
    assert ended(seen) == [
        'before_request',
        'event before_request',
        'service',
        'failed_request',
        'event failed_request',
        'teardown_request',
        'event teardown_request',
    ]


@pytest.mark.parametrize('path', FORMS)
def test_content_of_before_request_is_the_answer(client_for: ClientFor, path: str) -> None:
    """SPEC RC-01: the service is skipped, finish and teardown still run."""
    app, seen = tracked(before_request=lambda was: 'early')
    assert client_for(app).get(path).text == 'early'
    assert 'service' not in ended(seen)
    assert 'finish_request' in seen


@pytest.mark.parametrize('path', FORMS)
def test_content_of_failed_request_is_the_answer(client_for: ClientFor, path: str) -> None:
    """SPEC RC-03: with the exception's triple; what the service had set is dropped."""
    triples: list[Any] = []

    def failed(was: Any, expt: Any) -> Any:
        triples.append(expt)
        return was.response('503 Later', 'sorry')

    app, seen = tracked(failed_request=failed)
    answer = client_for(app).get(f'{path}?fail=bug')
    assert (answer.status_code, answer.text) == (503, 'sorry')
    kind, error, trace = triples[0]
    assert kind is LookupError
    assert str(error) == 'a bug'
    assert trace is not None
    assert 'finish_request' not in ended(seen)


def test_finish_request_replaces_content_and_sets_headers(client_for: ClientFor) -> None:
    """SPEC RC-02, A-48."""

    def finish(was: Any, response: Any) -> Any:
        was.response.add_header('X-Custom', 'some-value')
        return response + '--'

    app, _ = tracked(finish_request=finish)
    for path in ('/plain', '/async'):
        answer = client_for(app).get(path)
        assert answer.text == 'content--'
        assert answer.headers['X-Custom'] == 'some-value'


def test_finish_request_may_take_was_alone(client_for: ClientFor) -> None:
    """SPEC RC-02 (note)."""
    app = Atila('app')
    app.route('/')(lambda was: 'content')

    @app.finish_request
    def finish(was: Any) -> None:
        was.response.add_header('X-Seen', 'yes')

    assert client_for(app).get('/').headers['X-Seen'] == 'yes'


def test_finish_request_may_wrap_a_stream(client_for: ClientFor) -> None:
    """SPEC RC-02 for a generator service."""

    def finish(was: Any, response: Any) -> Any:
        was.response.add_header('X-Custom', 'some-value')
        return (part.upper() for part in response)

    app, seen = tracked(finish_request=finish)
    answer = client_for(app).get('/generator')
    assert answer.text == 'CONTENT'
    assert answer.headers['X-Custom'] == 'some-value'
    ended(seen)


@pytest.mark.parametrize('kind', ['before_request', 'finish_request'])
@pytest.mark.parametrize('path', FORMS)
def test_failing_hook_is_a_failed_request(client_for: ClientFor, path: str, kind: str) -> None:
    def fail(was: Any, *args: Any) -> None:
        raise was.Error('418 Teapot')

    app, seen = tracked(**{kind: fail})
    assert client_for(app).get(path).status_code == 418
    assert 'failed_request' in ended(seen)


def test_failing_teardown_changes_nothing(client_for: ClientFor, caplog: pytest.LogCaptureFixture) -> None:
    """SPEC RC-04."""

    def fail(was: Any) -> None:
        raise LookupError('in the teardown')

    app, _ = tracked(teardown_request=fail)
    client = client_for(app)
    for path in FORMS:
        assert client.get(path).text == 'content'
    assert 'in the teardown' in caplog.text


def test_failing_failed_request_leaves_the_error(
    client_for: ClientFor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(was: Any, expt: Any) -> None:
        raise LookupError('in the failed hook')

    app, seen = tracked(failed_request=fail)
    assert client_for(app).get('/plain?fail=error').status_code == 409
    assert 'teardown_request' in ended(seen)
    assert 'in the failed hook' in caplog.text


def test_failing_events_change_nothing(client_for: ClientFor, caplog: pytest.LogCaptureFixture) -> None:
    """SPEC EV-04, A-49."""
    app = Atila('app')
    app.route('/')(lambda was: 'content')

    @app.on('before_request', 'finish_request', 'teardown_request')
    def handler(was: Any, *args: Any) -> str:
        raise LookupError('in the handler')

    assert client_for(app).get('/').text == 'content'
    assert caplog.text.count('LookupError') >= 2


def test_bad_parameters_are_a_failed_request(client_for: ClientFor) -> None:
    """PM-08: hooks come before parameters are bound."""
    app, seen = tracked()
    assert client_for(app).get('/plain?unknown=1').status_code == 400
    assert ended(seen)[0] == 'before_request'
    assert 'failed_request' in seen


def test_requests_without_a_service_have_no_cycle(client_for: ClientFor) -> None:
    app, seen = tracked()
    client = client_for(app)
    assert client.get('/nothing').status_code == 404
    assert client.put('/plain', {}).status_code == 405
    assert seen == []


def test_teardown_before_a_whole_body_is_sent(client_for: ClientFor) -> None:
    """Who has the answer sees what the teardown did."""
    app = Atila('app')
    ends: list[int] = []
    app.teardown_request(lambda was: ends.append(1))
    app.route('/')(lambda was: 'content')
    client = client_for(app)
    for count in range(1, 30):
        client.get('/')
        assert len(ends) == count


def test_teardown_of_files(client_for: ClientFor, tmp_path: Path) -> None:
    app = Atila('app')
    ends: list[str] = []
    (tmp_path / 'a.txt').write_text('a file')

    @app.teardown_request
    def teardown(was: Any) -> None:
        ends.append(was.request.path)

    @app.route('/file')
    def file(was: Any) -> Any:
        return was.File(str(tmp_path / 'a.txt'))

    @app.route('/object')
    def object_(was: Any) -> Any:
        return was.File(io.BytesIO(b'an object'))

    @app.route('/missing')
    def missing(was: Any) -> Any:
        return was.File(str(tmp_path / 'b.txt'))

    client = client_for(app)
    assert client.get('/file').text == 'a file'
    assert client.get('/object').text == 'an object'
    assert client.get('/missing').status_code == 404
    wait_for(lambda: ends == ['/file', '/object', '/missing'], 'three ends')


def test_request_g_lives_from_hook_to_hook(client_for: ClientFor) -> None:
    """SPEC G-04, A-50."""
    app = Atila('app')
    lines: list[Any] = []

    @app.before_request
    def before(was: Any) -> None:
        assert dict(was.request.g) == {}
        was.request.g['START'] = 1

    @app.teardown_request
    def teardown(was: Any) -> None:
        lines.append(was.request.g['START'])

    @app.route('/')
    def index(was: Any) -> str:
        app.r.more = 2
        return f'{was.request.g.START} {was.request.g.more}'

    assert client_for(app).get('/').text == '1 2'
    assert lines == [1]


def test_hooks_are_registered_before_serving() -> None:
    from atila import load

    app = load(Atila('app'))
    with pytest.raises(RuntimeError, match='__setup__'):
        app.before_request(lambda was: None)
    with pytest.raises(RuntimeError, match='__setup__'):
        app.on('teardown_request')(lambda was: None)


@pytest.mark.parametrize('kind', ['before_request', 'failed_request', 'teardown_request'])
def test_hook_that_cannot_be_called_is_an_error_at_once(kind: str) -> None:
    with pytest.raises(TypeError, match='must take'):
        getattr(Atila('app'), kind)(lambda: None)
