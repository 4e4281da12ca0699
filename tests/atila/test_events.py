"""The event bus and life-cycle events (SPEC chapter 3, MA-01)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from projects import Launcher, wait_for
from serving import build

from atila import Atila, load
from skitai.mounting import Mounts
from skitai.testing import Client

ClientFor = Callable[..., Client]


def test_emit_calls_handlers_with_was_first(client_for: ClientFor) -> None:
    """SPEC EV-01, EV-02, A-21."""
    app, seen = Atila('app'), []

    @app.on('custom-event', 'other')
    def handler(was: Any, detail: str, more: int = 0) -> None:
        seen.append((was.request.path, detail, more))

    @app.route('/make_event')
    def make_event(was: Any) -> str:
        app.emit('custom-event', 'x', more=1)
        was.emit('other', 'y')
        return 'OK'

    assert client_for(app).get('/make_event').text == 'OK'
    assert seen == [('/make_event', 'x', 1), ('/make_event', 'y', 0)]


def test_failing_handler_is_logged_and_the_others_run(
    client_for: ClientFor, caplog: pytest.LogCaptureFixture
) -> None:
    """SPEC EV-02; the seed's own snippet emits without the argument that its handler needs."""
    app, seen = Atila('app'), []

    @app.on('custom-event')
    def needs_detail(was: Any, detail: str) -> None:
        seen.append(detail)

    @app.on('custom-event')
    def runs(was: Any, *args: Any) -> None:
        seen.append('ran')

    @app.route('/make_event')
    def make_event(was: Any) -> str:
        app.emit('custom-event')
        return 'OK'

    assert client_for(app).get('/make_event').text == 'OK'
    assert seen == ['ran']
    assert 'TypeError' in caplog.text


def test_unknown_events_are_no_error() -> None:
    """SPEC EV-02."""
    load(Atila('app')).emit('nobody-listens', 1)


def test_handler_of_the_same_name_is_replaced() -> None:
    """SPEC EV-01: as on a reload; those of other names stay."""
    app, seen = Atila('app'), []

    def make(value: int) -> Any:
        def handler(was: Any) -> None:
            seen.append(value)

        return handler

    app.on('e')(make(1))
    app.on('e')(make(2))

    @app.on('e')
    def other(was: Any) -> None:
        seen.append(3)

    load(app).emit('e')
    assert seen == [2, 3]


def test_on_without_a_name_says_how() -> None:
    app = Atila('app')
    with pytest.raises(TypeError, match='name the events'):
        app.on(lambda was: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='name the events'):
        app.on()


def test_life_cycle_order() -> None:
    """SPEC LC-09, EV-03, A-22: handlers get a `was` without a request; forms of EV-06."""
    app, seen = Atila('app'), []
    for event in ('before_mount', 'mounted', 'reloaded', 'mounted_or_reloaded', 'before_umount', 'umounted'):

        def handler(was: Any, event: str = event) -> None:
            with pytest.raises(RuntimeError, match='no request'):
                was.request  # noqa: B018
            assert was.app is app
            seen.append(event)

        handler.__qualname__ = event
        getattr(app, event)(handler)

    def services(app: Atila) -> None:
        seen.append('__mount__')

    app.mount('/', services)
    _, _, mounts = build(app)
    mounts.umount()
    assert seen == [
        '__mount__',
        'before_mount',
        'mounted',
        'mounted_or_reloaded',
        'before_umount',
        'umounted',
    ]


def test_failing_life_cycle_handler_does_not_keep_the_app_from_serving(client_for: ClientFor) -> None:
    app = Atila('app')
    app.route('/')(lambda was: 'OK')

    @app.on('before_mount')
    def fails(was: Any) -> None:
        raise LookupError

    assert client_for(app).get('/').text == 'OK'


@pytest.mark.parametrize('listener_first', [True, False])
def test_subscribers_get_events_whatever_the_order_of_mounts(
    client_for: ClientFor, listener_first: bool
) -> None:
    """SPEC MA-01, A-28: with `was` of the subscriber's own app; life-cycle and request events too."""
    source, listener, seen = Atila('source'), Atila('listener'), []

    @listener.on('model-reloaded', 'mounted', 'finish_request')
    def handler(was: Any, *args: Any) -> None:
        seen.append((was.app.name, *args))

    @source.route('/')
    def emits(was: Any) -> str:
        source.emit('model-reloaded', 'ava')
        return 'OK'

    mounts = Mounts()
    for step in (0, 1):
        if (step == 0) == listener_first:
            mounts.add('/', listener, name='listener', subscribe=['source'])
        else:
            mounts.add('/tf', source, name='source')
    client = client_for(mounts)
    assert seen == [('listener',)] * 2
    seen.clear()
    assert client.get('/tf/').text == 'OK'
    assert seen == [('listener', 'ava'), ('listener', 'OK')]


def test_subscriptions_in_a_circle_end(client_for: ClientFor) -> None:
    one, two, seen = Atila('one'), Atila('two'), []
    for app in (one, two):
        app.on('e')(lambda was: seen.append(was.app.name))
    mounts = Mounts()
    mounts.add('/one', one, name='one', subscribe='two')
    mounts.add('/two', two, name='two', subscribe='one')
    build(mounts)
    one.emit('e')
    assert sorted(seen) == ['one', 'two']


def test_emit_after_and_broadcast(client_for: ClientFor) -> None:
    """SPEC EV-06."""
    one, two, seen = Atila('one'), Atila('two'), []

    @one.route('/')
    @one.emit_after('done')
    def service(was: Any) -> str:
        seen.append('service')
        return 'OK'

    @one.route('/async')
    @one.broadcast_after('done')
    async def later(was: Any) -> str:
        seen.append('service')
        return 'OK'

    one.on('done')(lambda was: seen.append('one'))
    two.on_broadcast('done')(lambda was: seen.append('two'))
    mounts = Mounts()
    mounts.add('/', one, name='one')
    mounts.add('/two', two, name='two')
    client = client_for(mounts)
    assert client.get('/').text == 'OK'
    assert seen == ['service', 'one']
    seen.clear()
    assert client.get('/async').text == 'OK'
    wait_for(lambda: seen == ['service', 'one', 'two'], f'the broadcast in {seen}')


def test_was_g_is_shared_by_the_apps_of_a_server(client_for: ClientFor) -> None:
    """SPEC G-03, A-29."""
    one, two = Atila('one'), Atila('two')

    @one.route('/')
    def writes(was: Any) -> str:
        was.g['LABELS'] = ['a', 'b']
        return ''

    @two.route('/')
    def reads(was: Any) -> str:
        return '|'.join(was.g['LABELS'])

    mounts = Mounts()
    mounts.add('/tf', one)
    mounts.add('/', two)
    client = client_for(mounts)
    client.get('/tf/')
    assert client.get('/').text == 'a|b'


SCRIPT = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.on ('before_reload', 'reloaded', 'mounted', 'mounted_or_reloaded', 'before_umount')
    def on_life (was):
        pass

    for event in ('before_reload', 'reloaded', 'mounted', 'mounted_or_reloaded', 'before_umount'):
        def handler (was, event = event):
            with open ('events', 'a') as file:
                file.write (event + ' ')
        handler.__qualname__ = event
        app.on (event) (handler)

    @app.route ('/')
    def index (was):
        return 'one'

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run ()
"""


def test_reload_events_at_sighup(launch: Launcher) -> None:
    """SPEC ST-13, EV-03: `before_reload` in the old app, `reloaded` in the new."""
    client = launch({'serve.py': SCRIPT}, silent=False)
    assert client.get('/').text == 'one'
    launch.write({'serve.py': SCRIPT.replace("'one'", "'two'")})
    assert client.pid is not None
    os.kill(client.pid, signal.SIGHUP)
    events = launch.directory / 'events'
    wait_for(lambda: 'before_umount' in events.read_text(), 'the old worker ends')
    assert events.read_text().split() == [
        'mounted',
        'mounted_or_reloaded',
        'mounted',
        'reloaded',
        'mounted_or_reloaded',
        'before_reload',
        'before_umount',
    ]


def test_reload_events_with_devel(launch: Launcher) -> None:
    """SPEC ST-13."""
    client = launch({'serve.py': SCRIPT}, devel=True)
    assert client.get('/').text == 'one'
    launch.write({'serve.py': SCRIPT.replace("'one'", "'two'")})
    wait_for(lambda: client.get('/').text == 'two', 'the new code')
    seen = (launch.directory / 'events').read_text().split()
    assert seen == [
        'mounted',
        'mounted_or_reloaded',
        'before_reload',
        'before_umount',
        'mounted',
        'reloaded',
        'mounted_or_reloaded',
    ]
