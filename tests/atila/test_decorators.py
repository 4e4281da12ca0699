"""Decorators below `@app.route` (SPEC HP-01 to HP-06, CA-06)."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import Launcher, wait_for

from atila import Atila, load
from skitai.testing import Client

ClientFor = Callable[..., Client]


def as_def(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def as_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def service(was: Any, **values: Any) -> Any:
        await asyncio.sleep(0)
        return function(was, **values)

    return service


def as_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def service(was: Any, **values: Any) -> Iterator[Any]:
        yield function(was, **values)

    return service


FORMS = [as_def, as_async, as_generator]


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    ('returned', 'status', 'text'),
    [(None, 200, 'content'), (True, 200, 'content'), ('other', 200, 'other'), (False, 403, None)],
)
def test_testpass_required(
    client_for: ClientFor, form: Any, returned: Any, status: int, text: str | None
) -> None:
    """SPEC HP-01."""
    app = Atila('app')
    service = app.testpass_required(lambda was: returned)(form(lambda was: 'content'))
    app.route('/')(service)
    answer = client_for(app).get('/', headers={'Accept': 'text/html'})
    assert answer.status_code == status
    assert answer.text == text if text else 'Permission Denied' in answer.text


def test_testpass_may_raise(client_for: ClientFor) -> None:
    """SPEC HP-01, A-76: `was.user` is an alias."""
    app = Atila('app')

    def is_admin(was: Any) -> None:
        if was.user is None:
            raise was.Error('401 Unauthorized', 'who are you?')

    app.route('/')(app.testpass_required(is_admin)(lambda was: 'content'))
    answer = client_for(app).get('/')
    assert answer.status_code == 401
    assert answer.json()['more_info'] == 'who are you?'


@pytest.mark.parametrize('form', FORMS)
def test_run_before_and_after(client_for: ClientFor, form: Any) -> None:
    """SPEC HP-03, HP-04, A-78: in their order; what `run_after` returns is ignored."""
    app, seen = Atila('app'), []

    def note(name: str) -> Callable[[Any], Any]:
        return lambda was: seen.append(name)

    def service(was: Any) -> str:
        seen.append('service')
        return 'content'

    def after(was: Any) -> str:
        seen.append('post1')
        return 'ignored'

    decorated = app.run_before(note('pre1'), note('pre2'))(app.run_after(after)(form(service)))
    app.route('/')(decorated)
    assert client_for(app).get('/').text == 'content'
    # What a generator yields comes when it is sent, after it was returned.
    wanted = ['pre1', 'pre2', 'service', 'post1']
    assert seen == wanted or (form is as_generator and sorted(seen) == sorted(wanted))


def test_first_content_of_run_before_is_the_answer(client_for: ClientFor) -> None:
    """SPEC HP-03."""
    app, seen = Atila('app'), []

    @app.route('/')
    @app.run_before(lambda was: None, lambda was: 'early', lambda was: seen.append('never'))
    def service(was: Any) -> str:
        seen.append('service')
        return 'content'

    assert client_for(app).get('/').text == 'early'
    assert seen == []


def test_decorators_run_from_the_outermost_inwards(client_for: ClientFor) -> None:
    """PM-08; the service's own parameters stay bound by name (HP-06)."""
    app, seen = Atila('app'), []

    def note(name: str) -> Callable[[Any], Any]:
        return lambda was: seen.append(name)

    @app.route('/<int:number>')
    @app.run_before(note('one'))
    @app.testpass_required(note('two'))
    @app.inspect(ints=['other'])
    def service(was: Any, number: int, other: Any = 5) -> str:
        return f'{number + 1} {other + 1}'

    client = client_for(app)
    assert client.get('/1?other=7').text == '2 8'
    assert seen == ['one', 'two']
    assert client.get('/1?other=x').status_code == 400
    assert client.get('/1?unknown=1').status_code == 400


def test_guards_below_a_foreign_decorator_are_not_lost(client_for: ClientFor) -> None:
    """Whether or not it copies the function's attributes."""
    app = Atila('app')

    def plain(function: Any) -> Any:
        return lambda was: function(was) + '!'

    def wrapping(function: Any) -> Any:
        return functools.wraps(function)(plain(function))

    for number, decorator in enumerate((plain, wrapping)):

        @app.route(f'/{number}')
        @decorator
        @app.testpass_required(lambda was: was.request.get_header('x-key') == 'yes')
        def service(was: Any) -> str:
            return 'content'

    client = client_for(app)
    for path in ('/0', '/1'):
        assert client.get(path).status_code == 403
        assert client.get(path, headers={'X-Key': 'yes'}).text == 'content!'


def test_decorated_function_is_still_one(client_for: ClientFor) -> None:
    """HP-06: called directly, by another service, it asks its guard too."""
    app = Atila('app')

    @app.inspect(ints=['number'])
    def helper(was: Any, number: Any) -> str:
        return f'{number + 1}'

    @app.route('/')
    def service(was: Any, number: str) -> Any:
        return helper(was, number)

    client = client_for(app)
    assert client.get('/?number=1').text == '2'
    assert client.get('/?number=x').status_code == 400


def test_decorator_above_route_is_an_error_in_words() -> None:
    app = Atila('app')
    with pytest.raises(TypeError, match=r'put @app\.route above'):

        @app.testpass_required(lambda was: False)
        @app.route('/')
        def service(was: Any) -> str:
            return ''


@pytest.mark.parametrize('decorator', ['testpass_required', 'run_before', 'run_after'])
def test_function_that_does_not_take_was_alone_is_an_error_in_words(decorator: str) -> None:
    with pytest.raises(TypeError, match='`was` alone'):
        getattr(Atila('app'), decorator)(lambda: True)


def test_blocking_guard_of_an_async_service_does_not_block_the_loop(client_for: ClientFor) -> None:
    """Guards run on service threads, whatever the service is."""
    app = Atila('app')
    threads: list[bool] = []

    def guard(was: Any) -> None:
        try:
            asyncio.get_running_loop()
            threads.append(False)
        except RuntimeError:
            threads.append(True)

    @app.route('/')
    @app.run_before(guard)
    async def service(was: Any) -> str:
        return 'content'

    assert client_for(app).get('/').text == 'content'
    assert threads == [True]


# -- changes ---------------------------------------------------------------------------------------


def test_if_file_modified(client_for: ClientFor, tmp_path: Path) -> None:
    """SPEC HP-02, A-77: at the first request and whenever the time grows."""
    app, seen = Atila('app'), []
    file = tmp_path / 'watched'
    file.write_text('1')

    @app.route('/')
    @app.if_file_modified(str(file), lambda was, path: seen.append(path), interval=0)
    def service(was: Any) -> str:
        return 'content'

    client = client_for(app)
    for _ in range(3):
        assert client.get('/').text == 'content'
    assert seen == [str(file)]
    os.utime(file, (2_000_000_000, 2_000_000_000))
    client.get('/')
    client.get('/')
    assert seen == [str(file)] * 2
    os.utime(file, (1_000_000_000, 1_000_000_000))  # older: not grown
    client.get('/')
    assert len(seen) == 2


def test_if_file_modified_content_and_missing_file(
    client_for: ClientFor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC HP-02: a content aborts; a missing file is unchanged, and logged."""
    app = Atila('app')
    file = tmp_path / 'watched'

    @app.route('/')
    @app.if_file_modified(str(file), lambda was, path: 'changed', interval=0)
    def service(was: Any) -> str:
        return 'content'

    client = client_for(app)
    for _ in range(3):
        assert client.get('/').text == 'content'
    assert caplog.text.count('watched') == 1
    file.write_text('1')
    assert client.get('/').text == 'changed'
    assert client.get('/').text == 'content'


def test_interval_of_looking(client_for: ClientFor, tmp_path: Path) -> None:
    """SPEC HP-02: at most every `interval` seconds."""
    app, seen = Atila('app'), []
    file = tmp_path / 'watched'
    file.write_text('1')
    app.route('/')(app.if_file_modified(str(file), lambda was, path: seen.append(1), 3600)(lambda was: ''))
    client = client_for(app)
    client.get('/')
    os.utime(file, (2_000_000_000, 2_000_000_000))
    client.get('/')
    assert seen == [1]
    with pytest.raises(ValueError, match='interval'):
        app.if_file_modified(str(file), lambda was, path: None, interval=-1)


def test_failed_reaction_is_tried_again(client_for: ClientFor, tmp_path: Path) -> None:
    app, seen = Atila('app'), []
    file = tmp_path / 'watched'
    file.write_text('1')

    def reaction(was: Any, path: str) -> None:
        seen.append(path)
        if len(seen) == 1:
            raise was.Error('503 Not Yet')

    app.route('/')(app.if_file_modified(str(file), reaction, 3600)(lambda was: 'content'))
    client = client_for(app)
    assert client.get('/').status_code == 503
    assert client.get('/').text == 'content'
    assert client.get('/').text == 'content'
    assert len(seen) == 2


CACHE = """
    import skitai
    from atila import Atila

    app = Atila (__name__)
    KEYS = ['tables.users', 'tables.photos']
    seen = []

    @app.on ('setlu:tables.users')
    def on_users (was, *args, **kargs):
        seen.append (['event', *args])

    @app.route ('/update')
    def update (was, key = 'tables.users'):
        was.setlu (key, 'something')
        return was.API (stamp = was.getlu (key))

    @app.route ('/query')
    @app.if_cache_updated (KEYS, lambda was, name: seen.append (name), interval = 0)
    def query (was):
        found, seen[:] = list (seen), []
        return was.API (seen = found)

    if __name__ == '__main__':
        skitai.register_g ('tables.users', 'tables.photos')
        skitai.mount ('/', app)
        skitai.run ()
    """


def test_if_cache_updated(launch: Launcher) -> None:
    """SPEC CA-04 to CA-06, A-94, A-96 to A-98: once per key first, then for each that was stamped."""
    client = launch({'serve.py': CACHE})

    def query() -> Any:
        return client.get('/query').json()['seen']

    assert query() == ['tables.users', 'tables.photos']
    assert query() == []
    stamp = client.get('/update').json()['stamp']
    assert query() == [['event', 'something'], 'tables.users']
    assert client.get('/update?key=tables.photos').json()['stamp'] >= stamp
    assert query() == ['tables.photos']
    assert query() == []
    assert client.get('/update?key=unknown').status_code == 500


def test_a_stamp_reaches_every_worker(launch: Launcher) -> None:
    """SPEC CA-07."""
    script = CACHE.replace(
        'was.API (seen = found)', 'was.API (seen = found, pid = __import__ ("os").getpid ())'
    )
    client = launch({'serve.py': script}, workers=2)
    client.set_default_header('Connection', 'close')
    pids: set[int] = set()

    def both() -> bool:
        pids.add(client.get('/query').json()['pid'])
        return len(pids) == 2

    wait_for(both, 'both workers answer')
    client.get('/update')
    told: set[int] = set()

    def all_told() -> bool:
        answer = client.get('/query').json()
        if 'tables.users' in answer['seen']:
            told.add(answer['pid'])
        return told == pids

    wait_for(all_told, 'both workers are told')


def test_unregistered_key_is_an_error_at_start() -> None:
    """CA-01."""
    app = Atila('app')

    @app.route('/')
    @app.if_cache_updated('never.registered', lambda was, name: None)
    def service(was: Any) -> str:
        return ''

    with pytest.raises(KeyError, match='register_g'):
        load(app)
